"""Output: the result on stdout, everything else on stderr."""

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console

from bs6207.errors import UserError
from bs6207.runs.names import legible
from bs6207.runs.table import fitting, rich_table

if TYPE_CHECKING:
    from bs6207.runs.result import Table


def open_streams() -> None:
    """Open standard streams that are closed, and have stdout escape letters that its encoding lacks, as stderr does.

    The next file that is opened would get the number of a closed stream.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 (till the process ends)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def is_plain() -> bool:
    """Whether NO_COLOR asks for plain text, even on a terminal (no-color.org)."""
    return bool(os.environ.get("NO_COLOR"))


def echo(sentence: str) -> None:
    """Print one plain line on stderr."""
    with reader_may_leave(sys.stderr):
        print(legible(sentence), file=sys.stderr)


def show(headline: "Table", remarks: Sequence[str], folder: Any, prose: bool = False) -> None:
    """Print the headline table, of numbers or of `prose`, the remarks, and last the folder written."""
    console = Console(highlight=False, color_system=None if is_plain() else "auto")
    with reader_may_leave(sys.stdout):
        with console.capture() as captured:
            if prose:
                cells = [[str(row[column]) for column in headline.columns] for row in headline.rows]
                console.print(rich_table(headline.columns, cells))
            elif headline.rows:
                console.print(fitting(headline, console))
            for sentence in remarks:
                console.print(legible(sentence), markup=False, soft_wrap=True)
        sys.stdout.write(f"{captured.get()}{folder}\n")


def show_json(text: str, folder: Any) -> None:
    """Print `text` and nothing else on stdout; the folder written goes to stderr."""
    with reader_may_leave(sys.stdout):
        sys.stdout.write(text)
    echo(str(folder))


@contextmanager
def reader_may_leave(stream: TextIO) -> Iterator[None]:
    """Ignore that the reader of a stream has gone (`| head`)."""
    try:
        yield
        stream.flush()
    except OSError as failure:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # or Python would report it at exit
        if stream is sys.stdout and not isinstance(failure, BrokenPipeError):
            raise UserError(f"cannot print to stdout: {failure.strerror}", "what the run wrote is whole") from None
