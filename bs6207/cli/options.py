"""Typer options and configuration files from settings models.

The fields of a model become Typer options; flags, configuration file and defaults, in this order, become one checked
model.
"""

import inspect
import re
import tomllib
import types
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import typer
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from typer.core import TyperCommand

from bs6207.errors import SettingsError, suggest
from bs6207.runs.names import Completions, PathSetting, usable
from bs6207.runs.settings import BaseSettings, Settings, complaint, setting, shorten

AnySettings = TypeVar("AnySettings", bound=BaseSettings)

NEGATIVE_NUMBER = re.compile(r"-\.?\d|-(inf|nan)$")
PACKAGE = Path(__file__).parents[1]
PRESETS = tuple(folder.resolve() for folder in (PACKAGE / "configs", PACKAGE.parent / "configs"))  # in a wheel, here


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

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:  # while completing, a half-typed line must stay as it is
            lists = {flag for param in self.params if getattr(param, "multiple", False) for flag in param.opts}
            args = list(repeated(args, lists))
        return super().parse_args(ctx, args)


def repeated(args: list[str], lists: set[str]) -> Iterator[str]:
    """Rewrite every list option to one `--flag=value` per value, the only form Typer takes.

    A list runs up to the next flag; `-1` is a value. Commas part values, except in `key=value`.

    Raises:
        SettingsError: a list option stands without a value.
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


def command(
    app: typer.Typer, name: str, settings_type: type[AnySettings], **descriptions: str | None
) -> Callable[[Callable[[AnySettings, Invocation], None]], Callable[[AnySettings, Invocation], None]]:
    """Add a command whose options are the fields of `settings_type` and of `Invocation`.

    Args:
        descriptions: by field of `Invocation`, its help where it differs for this command; None leaves the field out.
    """

    def add(function: Callable[[AnySettings, Invocation], None]) -> Callable[[AnySettings, Invocation], None]:
        def callback(**flags: Any) -> None:
            how = {field: flags.pop(field, None) for field in Invocation.model_fields}
            try:
                invocation = Invocation(**{field: value for field, value in how.items() if value is not None})
            except ValidationError as failure:
                place = str(failure.errors()[0]["loc"][0])
                raise SettingsError(f"{flag_of(place)}: {complaint(failure)}") from None
            flags = {field: value for field, value in flags.items() if value is not None}
            function(read_settings(settings_type, name, flags, invocation.config), invocation)

        common = Settings.model_fields.keys()
        fields = dict(sorted(settings_type.model_fields.items(), key=lambda item: item[0] in common))
        for field, info in Invocation.model_fields.items():
            if (description := descriptions.get(field, info.description)) is not None:
                fields[field] = copy(info)
                fields[field].description = description
        parameters = [option(field, info) for field, info in fields.items()]
        callback.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        callback.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        callback.__doc__ = function.__doc__
        app.command(name, cls=ListCommand)(callback)
        return function

    return add


def option(name: str, info: FieldInfo) -> inspect.Parameter:
    """The Typer option or argument of a field; its default is None, so that a file can come before the default."""
    look: Any = info.json_schema_extra
    kind = plain_type(info.annotation)
    is_list = get_origin(kind) is list
    element = plain_type(get_args(kind)[0]) if is_list else kind
    declare = typer.Argument if look["positional"] else partial(typer.Option, flag_of(name))
    declaration = declare(
        help=f"{info.description} {limits_of(info)}".rstrip(),
        metavar=look["metavar"] or (None if element is bool else metavar_of(element)),
        show_default=False,  # the model's default is in the help text; the option's own is "not given"
        rich_help_panel=look["panel"],
        autocompletion=lambda incomplete: [
            word for word in completions_of(info, element) if word.startswith(incomplete)
        ],
    )
    typed: Any = bool if element is bool else list[str] if is_list else str
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[typed | None, declaration]
    )


def spelling(settings_type: type[BaseSettings], field: str) -> str:
    """The name of a field in messages: its flag, or its metavar if it is positional."""
    look: Any = settings_type.model_fields[field].json_schema_extra
    return look["metavar"] if look["positional"] else flag_of(field)


def flag_of(field: str) -> str:
    """The flag that sets a field."""
    return "--json" if field == "print_json" else "--" + field.replace("_", "-")  # pydantic models have a `json`


def plain_type(annotation: Any) -> Any:
    """A type without its constraints and without None."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (part for part in get_args(annotation) if part is not type(None))
        return plain_type(annotation)
    return annotation


def choices_of(kind: Any) -> tuple[str, ...]:
    return get_args(kind) if get_origin(kind) is Literal else ()


def completions_of(info: FieldInfo, element: Any) -> list[str]:
    offered = [word for part in constraints(info) if isinstance(part, Completions) for word in part.words]
    return [*choices_of(element), *offered]


def metavar_of(kind: Any) -> str:
    return "|".join(choices_of(kind)) or {int: "INT", float: "FLOAT", Path: "PATH"}.get(kind, "NAME")


def limits_of(info: FieldInfo) -> str:
    """The default and the bounds of a field, or of the numbers of a list, as in `(default 0.3, above 0)`."""
    default = info.get_default()
    shown = " ".join(str(part) for part in default) if isinstance(default, list) else default
    words = [f"default {shown}"] if shown not in (None, "") and not isinstance(shown, bool) else []
    words += [
        f"{word} {getattr(part, name):{',' if isinstance(getattr(part, name), int) else 'g'}}"
        for part in constraints(info)
        for name, word in BOUNDS.items()
        if hasattr(part, name)
    ]
    return f"({', '.join(words)})" if words else ""


BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


def constraints(info: FieldInfo) -> Iterator[Any]:
    """The metadata of a field, and of the elements of a list field."""
    yield from info.metadata
    for part in get_args(info.annotation):
        if get_origin(part) is Annotated:
            for extra in get_args(part)[1:]:
                yield from extra.metadata if isinstance(extra, FieldInfo) else (extra,)


def read_settings(
    settings_type: type[AnySettings], command: str, flags: Mapping[str, Any], config: str | None
) -> AnySettings:
    """One checked model: flags first, then the configuration file, then the defaults.

    Its `model_fields_set` names what the user has set, which leaves out the settings of a preset.

    Raises:
        SettingsError: naming the flag, or the file and its key, and the remedy.
    """
    file, table = read_config(config, command, settings_type) if config is not None else (None, {})
    from_preset = set(table) - set(flags) if file and file.parent.resolve() in PRESETS else set()
    values = dict(table)
    for field, raw in flags.items():
        try:
            values[field] = from_text(settings_type.model_fields[field], raw)
        except ValidationError as failure:
            raise SettingsError(f"{spelling(settings_type, field)}: {complaint(failure)}") from None
    try:
        settings = settings_type.model_validate(values)
        settings.model_fields_set.difference_update(from_preset)
        return settings
    except ValidationError as failure:
        place = str(next(iter(failure.errors()[0]["loc"]), ""))
        if place in flags or file is None:
            where = f"{spelling(settings_type, place)}: " if place else ""
        else:
            where = f"{file}: {place}: " if place else f"{file}: " if not flags else ""
        raise SettingsError(f"{where}{complaint(failure)}") from None


def from_text(info: FieldInfo, raw: Any) -> Any:
    """A flag's text as the value it stands for; only shape is checked here, ranges are the model's."""
    kind = plain_type(info.annotation)
    if get_origin(kind) is list:
        reader = TypeAdapter(plain_type(get_args(kind)[0]))
        return [reader.validate_strings(word) for word in raw]
    return raw if kind is bool else TypeAdapter(kind).validate_strings(raw)


def read_config(config: str, command: str, settings_type: type[AnySettings]) -> tuple[Path, Mapping[str, Any]]:
    """The table of one command in a TOML file, or in a preset given by name, and the file it stands in.

    Paths in it are taken from the folder of the file.
    """
    file = find_config(config)
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as failure:
        raise SettingsError(f"cannot read {file}: {failure.strerror or failure}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{file} is not UTF-8 text; save it as UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as failure:
        raise SettingsError(f"{file} is not TOML: {failure}") from None
    except ValueError:
        raise SettingsError(f"{file} holds a number of more digits than Python reads; write a smaller one") from None

    table = document.get(command)
    if not isinstance(table, dict):
        raise SettingsError(f"{file} has no [{command}] table; add one with the settings of bs6207 {command}")
    for key in table:
        if key not in settings_type.model_fields:
            raise SettingsError(
                f"{file}: [{command}] has no setting {key!r}; {suggest(key, settings_type.model_fields)}"
            )
    return file, {key: located(file.absolute().parent, settings_type, key, value) for key, value in table.items()}


def located(folder: Path, settings_type: type[BaseSettings], key: str, value: Any) -> Any:
    """A value in a configuration file of that folder with its paths relative to it, those of a list or a sweep too."""
    if isinstance(value, list):
        return [located(folder, settings_type, key, one) for one in value]
    if isinstance(value, dict):
        return {name: located(folder, settings_type, name, one) for name, one in value.items()}
    paths = constraints(settings_type.model_fields[key]) if key in settings_type.model_fields else ()
    path = next((part for part in paths if isinstance(part, PathSetting)), None)
    return path.relative_to(folder, value) if path and isinstance(value, str) else value


def find_config(config: str) -> Path:
    """The file that `--config` names: a path, or a preset."""
    if Path(config).suffix == ".toml" or "/" in config or "\\" in config:
        file = Path(config)
        if not file.exists() or file.is_dir():
            raise SettingsError(
                f"--config: there is no file {config}; give a TOML file, or a preset: {', '.join(presets())}"
            )
        return file
    if config not in presets():
        raise SettingsError(
            f"--config: no preset {shorten(config)}, and no name of a file in .toml; {suggest(config, presets())}"
        )
    return next(file for folder in PRESETS if (file := folder / f"{config}.toml").is_file())


def presets() -> list[str]:
    """The names of the presets that come with the package."""
    return sorted(file.stem for folder in PRESETS for file in folder.glob("*.toml"))
