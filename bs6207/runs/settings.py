"""The base models of settings, and what checks and describes their fields."""

import re
import types
from collections.abc import Collection, Iterator
from importlib.util import find_spec
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from bs6207.errors import suggest

MAX_SHOWN = 100  # letters of a value that is refused


def setting(
    default: Any, description: str, panel: str = "Settings", metavar: str = "", positional: bool = False, **limits: Any
) -> Any:
    """A field of a settings model: its help, its limits (`gt`, `ge`, ...), its place and look on the help page."""
    look: dict[str, Any] = {"panel": panel, "metavar": metavar, "positional": positional}
    return Field(default, description=description, json_schema_extra=look, **limits)


class BaseSettings(BaseModel):
    """Settings of a command: the only place of their defaults, help, units and ranges."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Options(BaseSettings):
    """Settings of every command that computes."""

    device: Literal["auto", "cpu", "cuda", "mps"] = setting(
        "auto", "Where tensors live; auto is cuda where there is one.", panel="Run"
    )

    @property
    def chosen_device(self) -> str:
        """`device`, with `auto` resolved where that does not depend on the machine."""
        return self.device


def address(text: str) -> str:
    """Accepts the address of a scheduler, as `dask scheduler` prints it, where Dask is installed."""
    if not re.fullmatch(r"(tcp|tls)://(\[[0-9A-Fa-f:.%]+\]|[^\s/:\[\]]+):\d{1,5}", text):
        raise ValueError(f"{text!r} is no address; write tcp://HOST:PORT, as dask scheduler prints it")
    if find_spec("distributed") is None:
        raise ValueError('this needs the dask extra; run pip install "bs6207[dask]"')
    return text


class Settings(Options):
    """The settings of one experiment; those that do not change its result are excluded from its record."""

    seed: int = setting(0, "Seed of every random number in the run.", panel="Run", ge=0, lt=2**31)
    jobs: int | None = setting(
        None, "Processes that share the work; one per core if not given.", panel="Run", ge=1, le=1024, exclude=True
    )
    scheduler: Annotated[str, AfterValidator(address)] | None = setting(
        None,
        "A Dask scheduler whose workers share the work instead, tcp://HOST:PORT; --jobs then draw the figures. Needs "
        "the extra dask.",
        panel="Run",
        metavar="ADDRESS",
        exclude=True,
    )
    fresh: bool = setting(
        False, "Begin anew: the checkpoints of an interrupted run move to the history.", panel="Run", exclude=True
    )


def message_of(failure: ValidationError) -> str:
    """What is wrong with the first value at fault, in words."""
    first = failure.errors()[0]
    if first["type"] == "too_short":
        return "needs at least one value"
    message = first["msg"].removeprefix("Value error, ").replace("Input should", "should")
    return message if first["type"] == "value_error" else f"{message}, not {shorten(first['input'])}"


def shorten(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def known(noun: str, choices: Collection[str]) -> AfterValidator:
    """Accepts the names in `choices`; anything else is met with the nearest of them."""

    def check(name: str) -> str:
        if name not in choices:
            raise ValueError(f"no {noun} {name!r}; {suggest(name, choices)}")
        return name

    return AfterValidator(check)


def distinct(values: list) -> list:
    """Refuses a list that names something twice: it would be trained twice and reported once."""
    for place, value in enumerate(values):
        if value in values[:place]:
            raise ValueError(f"{value} is given twice; give each value once")
    return values


def spelling(settings_type: type[BaseSettings], field: str) -> str:
    """The name of a field in messages: its flag, or its metavar if it is positional."""
    look: Any = settings_type.model_fields[field].json_schema_extra
    return look["metavar"] if look["positional"] else flag_of(field)


def flag_of(field: str) -> str:
    """The flag that sets a field."""
    return "--json" if field == "print_json" else "--" + field.replace("_", "-")  # pydantic models have a `json`


def element_of(info: FieldInfo) -> tuple[Any, bool]:
    """The plain type of a setting or, where that is a list, of its elements; and whether it is a list."""
    kind = plain_type(info.annotation)
    is_list = get_origin(kind) is list
    return plain_type(get_args(kind)[0]) if is_list else kind, is_list


def plain_type(annotation: Any) -> Any:
    """A type without its constraints and without None."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        annotation, *others = (part for part in get_args(annotation) if part is not type(None))
        return str if others else plain_type(annotation)  # a number or a word is read by the model
    return annotation


def constraints(info: FieldInfo) -> Iterator[Any]:
    """The metadata of a field, and of the elements of a list field."""
    yield from info.metadata
    for part in get_args(info.annotation):
        if get_origin(part) is Annotated:
            for extra in get_args(part)[1:]:
                yield from extra.metadata if isinstance(extra, FieldInfo) else (extra,)
