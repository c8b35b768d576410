"""Paths that users give, and names in messages."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"  # without which some scripts are misspelt
UNKNOWN = "\N{REPLACEMENT CHARACTER}"
MOST_LISTED = 5


@dataclass(frozen=True)
class Completions:
    """Annotates a setting with the words that a shell completes its values to; others may be accepted."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class PathSetting:
    """Annotates a setting whose values are paths, in a configuration file relative to the folder of the file."""

    names: tuple[str, ...] = ()  # values that are no paths


def legible(text: str) -> str:
    """The text in one line, without letters that would move a cursor or turn others around."""
    line = (" " if letter.isspace() else letter for letter in text)
    return "".join(letter if letter.isprintable() or letter in JOINERS else UNKNOWN for letter in line)


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - MOST_LISTED
    return ", ".join(map(legible, names[:MOST_LISTED])) + (f" and {more} more" if more > 0 else "")


def is_text(name: str) -> bool:
    """Whether a file's name can be written down: on Linux it may hold bytes that are no UTF-8."""
    return name.encode(errors="ignore").decode() == name


def is_at_home(name: str) -> bool:
    """Whether a name begins with the home folder; in `~backup` and `./~/x` the tilde is a letter like any other."""
    return name == "~" or name.startswith(("~/", f"~{os.sep}"))


def at_home(name: str) -> str:
    """The name with the home folder in place of `~` or the tilde of `~/...`, unless a file is called so."""
    if not is_at_home(name) or os.path.lexists(name):
        return name
    try:
        return str(Path(name).expanduser())
    except RuntimeError:
        raise ValueError(f"{name!r} leads nowhere, as there is no home folder; set HOME, or write the path") from None


def writable_name(name: str) -> str:
    """Refuses a file whose name cannot be written into JSON or onto every terminal."""
    if not is_text(name):
        raise ValueError(f"{name!r} is not UTF-8; rename the file")
    return name


def path_text(path: Any) -> str:
    """A path as text, as a caller from Python gives it."""
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"{path!r} is no path; give a text or a pathlib.Path")
    return os.fspath(path)


def usable(value: str | Path) -> str:
    """Accepts the name of a file or folder, there or not, with the home folder for its tilde.

    Refuses a flag (`--out --json` has forgotten the folder) and what has no last part, leads nowhere or is not UTF-8.
    """
    text = str(value)
    name = at_home(text)
    try:
        place = Path(name).resolve()
        with suppress(FileNotFoundError, NotADirectoryError):
            place.lstat()
    except (OSError, RuntimeError, ValueError) as failure:  # too long, a loop of links, a NUL from a TOML file
        why = getattr(failure, "strerror", None) or str(failure).rstrip(".")
        raise ValueError(f"{text!r} leads nowhere ({why}); give another name") from None
    if text.startswith("-") or not place.name:
        raise ValueError(f"{text!r} is no name; give one")
    writable_name(text)
    return name
