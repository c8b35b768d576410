"""Names, as people give them: which a shell offers, and which of files can be used and written down."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Name = TypeVar("Name", str, Path)


@dataclass(frozen=True)
class Offered:
    """In the annotation of a setting: the words that a shell completes its values to; others may be accepted."""

    words: tuple[str, ...]


def is_text(name: str) -> bool:
    """Whether a file's name can be written down: on Linux it may hold bytes that are no UTF-8."""
    return name.encode(errors="ignore").decode() == name


def can_be_told(name: str) -> str:
    """Refuses a file whose name cannot be written into JSON or onto every terminal."""
    if not is_text(name):
        raise ValueError(f"{name!r} is not UTF-8; rename the file")
    return name


def usable(value: Name) -> Name:
    """Accepts the name of a file or folder, there or not.

    Raises:
        ValueError: it is a flag (`--out --json` has forgotten the folder), has no last part, leads nowhere, or cannot
            be written down.
    """
    text = str(value)
    try:
        place = Path(value).expanduser().resolve()
        with suppress(FileNotFoundError, NotADirectoryError):
            place.lstat()
    except (OSError, RuntimeError, ValueError) as failure:  # too long, a loop of links, no home, a NUL from a TOML file
        why = getattr(failure, "strerror", None) or str(failure).rstrip(".")
        raise ValueError(f"{text!r} leads nowhere ({why}); give another name") from None
    if text.startswith("-") or not place.name:
        raise ValueError(f"{text!r} is no name; give one")
    can_be_told(text)
    return value
