"""Calls from Python: keywords become the settings of a command, and its run a `Result`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeAlias

from bs6207.errors import SettingsError, suggest
from bs6207.runs.config import check_settings
from bs6207.runs.names import path_text, usable
from bs6207.runs.report import NotebookBar, Report, is_in_notebook
from bs6207.runs.run import FinishedRun, MakeReport
from bs6207.runs.settings import BaseSettings, element_of, spelling
from bs6207.runs.view import Result

HOW = ("out", "progress", "config")  # the keywords that are no settings
LARGEST = 2**1000  # whole number that becomes a float
RunWith: TypeAlias = Callable[[Any, Path | None, MakeReport], FinishedRun]  # takes the settings first


def call(
    command: str,
    settings_type: type[BaseSettings],
    run_with: RunWith,
    keywords: Mapping[str, Any],
    out: str | PathLike[str] | None,
    progress: bool,
    config: str | PathLike[str] | None,
) -> Result:
    """Run a story with the settings of `keywords`."""
    kind = partial(Report, quiet=True) if not progress else NotebookBar if is_in_notebook() else Report
    settings = settings_of(command, settings_type, keywords, config)
    folder = path_from("--out", out)
    return Result.of(run_with(settings, Path(folder) if folder else None, partial(kind, command)))


def path_from(flag: str, path: str | PathLike[str] | None) -> str | None:
    try:
        return None if path is None else usable(path_text(path))
    except ValueError as failure:
        raise SettingsError(f"{flag}: {failure}") from None


def settings_of(
    command: str,
    settings_type: type[BaseSettings],
    keywords: Mapping[str, Any],
    config: str | PathLike[str] | None = None,
) -> Any:
    """The checked settings; SettingsError, a ValueError, with the sentence of the command if they are refused."""
    for name in keywords:
        if name not in settings_type.model_fields:
            remedy = "run takes it" if name in HOW else suggest(name, [*settings_type.model_fields, *HOW])
            raise SettingsError(f"bs6207.{command} has no setting {name!r}", remedy)
    given = {name: as_setting(settings_type, name, value) for name, value in keywords.items()}
    return check_settings(settings_type, command, given, path_from("--config", config))


def only(name: str, values: Sequence[Any]) -> Any:
    """The one value of what is a list for a command; SettingsError if it holds more."""
    if len(values) > 1:
        raise SettingsError(f"{name} is one value here, not {len(values)}", "call run for several")
    return values[0]


def as_setting(settings_type: type[BaseSettings], name: str, value: Any) -> Any:
    """A value as its setting takes it: one value for a list of one, a pair of numbers or a range for LOW:HIGH."""
    info: Any = settings_type.model_fields[name]
    element, is_list = element_of(info)
    if isinstance(value, range) and value.step == 1 and len(value) > 1 and not is_list:
        value = value[0], value[-1]
    try:
        value = plain(value)
    except ValueError as failure:
        raise SettingsError(f"{spelling(settings_type, name)}: {failure}") from None
    if is_list:
        if isinstance(value, dict) and name != "sweep":
            return [f"{key}={part}" for key, part in value.items()]
        values = value if isinstance(value, list | dict) or value is None else [value]
        return [as_float(part) for part in values] if element is float and isinstance(values, list) else values
    if "LOW:HIGH" in info.json_schema_extra["metavar"] and not isinstance(value, str) and value is not None:
        return ":".join(map(str, value if isinstance(value, list) else [value]))
    return as_float(value) if element is float else value


def as_float(value: Any) -> Any:
    """A whole number as a float, as a command reads it; a larger one is refused as it is."""
    return float(value) if type(value) is int and abs(value) < LARGEST else value


def plain(value: Any) -> Any:
    """A value of Python's own types: numbers and arrays of numpy's, paths, iterables, classes as package.module:Class.

    Raises a ValueError about anything else.
    """
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if value is None or isinstance(value, str | bytes | int | float):
        return value
    if isinstance(value, PathLike):
        return fspath(value)
    if is_named(value):
        return f"{value.__module__}:{value.__qualname__}"
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, Iterable):
        return [plain(part) for part in value]
    what = getattr(value, "__qualname__", f"an object of {type(value).__name__}")
    raise ValueError(f"{what} is no setting; give numbers, words, or a class or function of a module")


def is_named(value: Any) -> bool:
    """Whether it is a class or a function that can be imported by its name."""
    return callable(value) and "<" not in getattr(value, "__qualname__", "<")
