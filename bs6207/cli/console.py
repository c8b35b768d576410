"""Output: the result on stdout, everything else on stderr."""

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill
from typing import Any, TextIO

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from bs6207.errors import UserError
from bs6207.runs.names import legible
from bs6207.runs.result import Table

UNBOUNDED = 10_000  # letters, where the width of a table is asked for


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


def show(headline: Table, remarks: Sequence[str], folder: Any, prose: bool = False) -> None:
    """Print the headline table, the remarks, and last the folder written.

    Args:
        prose: whether the table holds sentences, which are broken into lines, and not numbers, which are not.
    """
    console = Console(highlight=False, color_system=None if is_plain() else "auto")
    with reader_may_leave(sys.stdout):
        with console.capture() as captured:
            if headline.rows:
                console.print(wrapped(headline) if prose else fitting(headline, console))
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
    """Ignore that the reader of a stream has gone (`| head`).

    Raises:
        UserError: stdout cannot be written for another reason.
    """
    try:
        yield
        stream.flush()
    except OSError as failure:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # or Python would report it at exit
        if stream is sys.stdout and not isinstance(failure, BrokenPipeError):
            raise UserError(f"cannot print to stdout: {failure.strerror}", "what the run wrote is whole") from None


def fitting(table: Table, console: Console) -> RichTable:
    """A table no wider than the terminal, with every value on one line.

    If broken headings are not enough, every value gets a line of its own.
    """
    cells = [[legible(str(row.get(column, ""))) for column in table.columns] for row in table.rows]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    broken = [
        fill(heading, max(width, *map(len, heading.split())), break_on_hyphens=False)
        for heading, width in zip(table.columns, widths, strict=True)
    ]
    for headings in (table.columns, broken):
        shown = rich_table(headings, cells)
        if console.measure(shown, options=console.options.update_width(UNBOUNDED)).maximum <= console.width:
            return shown
    return stacked(table.columns, cells)


def rich_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> RichTable:
    """Names to the left, numbers to the right."""
    shown = RichTable(box=box.SIMPLE_HEAD)
    for place, heading in enumerate(headings):
        shown.add_column(Text(heading), justify="right" if place else "left", no_wrap=True)
    for row in rows:
        shown.add_row(*map(Text, row))
    return shown


def wrapped(table: Table) -> RichTable:
    """A table of sentences, no wider than the terminal."""
    shown = RichTable(box=box.SIMPLE_HEAD)
    for column in table.columns:
        shown.add_column(column, overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(str(row[column])) for column in table.columns))
    return shown


def stacked(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> RichTable:
    """Headings to the left, values to the right, and a rule between rows."""
    shown = RichTable(box=box.SIMPLE_HEAD, show_header=False)
    for _ in range(2):
        shown.add_column(overflow="fold")
    for row in rows:
        for heading, value in zip(headings, row, strict=True):
            shown.add_row(Text(heading), Text(value))
        shown.add_section()
    return shown
