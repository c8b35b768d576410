"""Settings from values that are given, a TOML file or a preset, and the defaults, as one checked model."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bs6207.errors import SettingsError, suggest
from bs6207.runs.names import PathSetting, is_at_home
from bs6207.runs.settings import BaseSettings, constraints, message_of, shorten, spelling

PACKAGE = Path(__file__).parents[1]
PRESETS = tuple(folder.resolve() for folder in (PACKAGE / "configs", PACKAGE.parent / "configs"))  # in a wheel, here


def check_settings(
    settings_type: type[BaseSettings], command: str, given: Mapping[str, Any], config: str | None
) -> Any:
    """One checked model: the given values first, then the configuration file, then the defaults.

    Its `model_fields_set` names what the user has set, which leaves out the settings of a preset.
    """
    file, table = read_config(config, command, settings_type) if config is not None else (None, {})
    from_preset = set(table) - set(given) if file and file.parent.resolve() in PRESETS else set()
    try:
        settings = settings_type.model_validate({**table, **given})
    except ValidationError as failure:
        place = str(next(iter(failure.errors()[0]["loc"]), ""))
        if place in given or file is None:
            where = f"{spelling(settings_type, place)}: " if place else ""
        else:
            where = f"{file}: {place}: " if place else f"{file}: " if not given else ""
        raise SettingsError(f"{where}{message_of(failure)}") from None
    settings.model_fields_set.difference_update(from_preset)
    return settings


def read_config(config: str, command: str, settings_type: type[BaseSettings]) -> tuple[Path, Mapping[str, Any]]:
    """The table of one command in a TOML file or a preset, its paths taken from the file's folder; and the file."""
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
            remedy = suggest(key, settings_type.model_fields)
            raise SettingsError(f"{file}: [{command}] has no setting {key!r}", remedy)
    return file, {key: located(file.absolute().parent, settings_type, key, value) for key, value in table.items()}


def located(folder: Path, settings_type: type[BaseSettings], key: str, value: Any) -> Any:
    """A value in a configuration file of that folder with its paths relative to it, those of a list or a sweep too."""
    if isinstance(value, list):
        return [located(folder, settings_type, key, one) for one in value]
    if isinstance(value, dict):
        return {name: located(folder, settings_type, name, one) for name, one in value.items()}
    paths = constraints(settings_type.model_fields[key]) if key in settings_type.model_fields else ()
    path = next((part for part in paths if isinstance(part, PathSetting)), None)
    is_relative = path and isinstance(value, str) and value not in ("", *path.names) and not is_at_home(value)
    return str(folder / value) if is_relative else value


def find_config(config: str) -> Path:
    """The file that `--config` names: a path, or a preset."""
    if Path(config).suffix == ".toml" or "/" in config or "\\" in config:
        if not Path(config).exists() or Path(config).is_dir():
            remedy = f"give a TOML file, or a preset: {', '.join(presets())}"
            raise SettingsError(f"--config: there is no file {config}", remedy)
        return Path(config)
    if config not in presets():
        remedy = suggest(config, presets())
        raise SettingsError(f"--config: no preset {shorten(config)}, and no name of a file in .toml", remedy)
    return next(file for folder in PRESETS if (file := folder / f"{config}.toml").is_file())


def presets() -> list[str]:
    """The names of the presets that come with the package."""
    return sorted(file.stem for folder in PRESETS for file in folder.glob("*.toml"))
