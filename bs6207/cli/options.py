"""Typer options from the fields of settings models, and the settings that they give."""

import inspect
import re
from collections.abc import Iterator, Mapping
from copy import copy
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from typer.core import TyperCommand

from bs6207.cli.lazy import HELP, Command, without_needless_types
from bs6207.errors import SettingsError
from bs6207.runs.config import check_settings
from bs6207.runs.names import Completions, usable
from bs6207.runs.settings import BaseSettings, constraints, element_of, flag_of, message_of, setting, spelling

LAST_PANELS = ("Run", "Sweep")  # of a help page: what most people change stands before them
NEGATIVE_NUMBER = re.compile(r"-\.?\d|-(inf|nan)$")


class Invocation(BaseModel):
    """Options that change how a command runs, but not its result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: Annotated[str, AfterValidator(usable)] | None = setting(
        None, "Settings from a TOML file, or from a preset by its name. Flags win.", panel="Run", metavar="NAME|FILE"
    )
    out: Annotated[Path, BeforeValidator(usable)] | None = setting(
        None, "The run folder to fill; outputs/COMMAND if not given.", panel="Run", metavar="DIR"
    )
    print_json: bool = setting(False, "Print metrics.json instead of the table.", panel="Run")
    quiet: bool = setting(False, "No progress and no notes.", panel="Run")
    debug: bool = setting(False, "Show the traceback of a failure.", panel="Run")


class ListCommand(TyperCommand):
    """A command whose list options take several values: `--dims 2 4`, `--dims 2,4`, `--dims=2,4`, or repeated."""

    def get_params(self, ctx: Any) -> list[Any]:
        return without_needless_types(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:  # while completing, a half-typed line must stay as it is
            lists = {flag for param in self.params if getattr(param, "multiple", False) for flag in param.opts}
            args = list(repeated(args, lists))
        return super().parse_args(ctx, args)


def panel_of(info: FieldInfo) -> str:
    look: Any = info.json_schema_extra
    return look["panel"]


def repeated(args: list[str], lists: set[str]) -> Iterator[str]:
    """Rewrite every list option to one `--flag=value` per value, the only form Typer takes.

    A list runs up to the next flag; `-1` is a value. Commas part values, except in `key=value`.
    """
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if word == "--":
            yield from (word, *rest)
            return
        flag, equals, first = word.partition("=")
        if flag not in lists:
            yield word
            continue
        texts = [first] if equals else []
        while not equals and rest and (not rest[0].startswith("-") or NEGATIVE_NUMBER.match(rest[0])):
            texts.append(rest.pop(0))
        values = [part for text in texts for part in (text.split(",") if "=" not in text else [text]) if part]
        if not values:
            raise SettingsError(f"{flag} needs at least one value, as in {flag} A B")
        yield from (f"{flag}={value}" for value in values)


def with_options(
    function: Command, name: str, settings_type: type[BaseSettings], descriptions: Mapping[str, str | None]
) -> Any:
    """The command of a function with the fields of `settings_type` and of `Invocation` as its options.

    Args:
        descriptions: by field of `Invocation`, its help where it differs for this command; None leaves the field out.
    """

    def callback(**flags: Any) -> None:
        how = {field: flags.pop(field, None) for field in Invocation.model_fields}
        try:
            invocation = Invocation(**{field: value for field, value in how.items() if value is not None})
        except ValidationError as failure:
            place = str(failure.errors()[0]["loc"][0])
            raise SettingsError(f"{flag_of(place)}: {message_of(failure)}") from None
        flags = {field: value for field, value in flags.items() if value is not None}
        function(read_settings(settings_type, name, flags, invocation.config), invocation)

    fields = dict(sorted(settings_type.model_fields.items(), key=lambda item: panel_of(item[1]) in LAST_PANELS))
    for field, info in Invocation.model_fields.items():
        if (description := descriptions.get(field, info.description)) is not None:
            fields[field] = copy(info)
            fields[field].description = description
    parameters = [option(field, info) for field, info in fields.items()]
    callback.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    callback.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    callback.__doc__ = function.__doc__
    alone = typer.Typer(add_completion=False, context_settings=HELP)
    alone.command(name, cls=ListCommand)(callback)
    return typer.main.get_command(alone)


def option(name: str, info: FieldInfo) -> inspect.Parameter:
    """The Typer option or argument of a field; its default is None, so that a file can come before the default."""
    look: Any = info.json_schema_extra
    element, is_list = element_of(info)
    words = list(get_args(element)) if get_origin(element) is Literal else []
    metavar = "|".join(words) or {int: "INT", float: "FLOAT", Path: "PATH", bool: None}.get(element, "NAME")
    words += [word for part in constraints(info) if isinstance(part, Completions) for word in part.words]
    declare = typer.Argument if look["positional"] else partial(typer.Option, flag_of(name))
    declaration = declare(
        help=f"{info.description} {limits_of(info)}".rstrip(),
        metavar=look["metavar"] or metavar,
        show_default=False,  # the model's default is in the help text; the option's own is "not given"
        rich_help_panel=panel_of(info),
        autocompletion=lambda incomplete: [word for word in words if word.startswith(incomplete)],
    )
    typed: Any = bool if element is bool else list[str] if is_list else str
    annotation = Annotated[typed | None, declaration]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def limits_of(info: FieldInfo) -> str:
    """The default and the bounds of a field, or of the numbers of a list, as in `(default 0.3, above 0)`."""
    default = info.get_default()
    shown = " ".join(str(part) for part in default) if isinstance(default, list) else default
    words = [f"default {shown}"] if shown not in (None, "") and not isinstance(shown, bool) else []
    for part, (name, word) in product(constraints(info), BOUNDS.items()):
        if (bound := getattr(part, name, None)) is not None:
            words.append(f"{word} {bound:{',' if isinstance(bound, int) else 'g'}}")
    return f"({', '.join(words)})" if words else ""


BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


def read_settings(settings_type: type[BaseSettings], command: str, flags: Mapping[str, Any], config: str | None) -> Any:
    """One checked model: flags first, as the words that were typed, then the configuration file, then the defaults."""
    values = dict[str, Any]()
    for field, raw in flags.items():
        element, is_list = element_of(settings_type.model_fields[field])
        read = TypeAdapter(element).validate_strings  # which checks only the shape: ranges are the model's
        try:
            values[field] = [read(word) for word in raw] if is_list else raw if element is bool else read(raw)
        except ValidationError as failure:
            raise SettingsError(f"{spelling(settings_type, field)}: {message_of(failure)}") from None
    return check_settings(settings_type, command, values, config)
