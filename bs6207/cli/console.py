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


def fitting(table: Table, console: Console) -> RichTable:
    """A table no wider than the terminal, by broken headings or a line for every value; values are not broken."""
    cells = [[legible(str(row.get(column, ""))) for column in table.columns] for row in table.rows]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    broken = [
        fill(heading, max(width, *map(len, heading.split())), break_on_hyphens=False)
        for heading, width in zip(table.columns, widths, strict=True)
    ]
    for headings in (table.columns, broken):
        shown = rich_table(headings, cells, no_wrap=True)
        if console.measure(shown, options=console.options.update_width(UNBOUNDED)).maximum <= console.width:
            return shown
    pairs = [pair for row in cells for pair in zip(table.columns, row, strict=True)]
    return rich_table(("", ""), pairs, section=len(table.columns))


def rich_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], no_wrap: bool = False, section: int = 0
) -> RichTable:
    """A table of numbers, which stand to the right and are not wrapped, or of words; a rule ends so many rows."""
    shown = RichTable(box=box.SIMPLE_HEAD, show_header=any(headings))
    for place, heading in enumerate(headings):
        justify: Any = "right" if place and no_wrap else "left"
        shown.add_column(Text(heading), justify=justify, no_wrap=no_wrap, overflow="fold")
    for number, row in enumerate(rows, 1):
        shown.add_row(*map(Text, row), end_section=bool(section) and number % section == 0)
    return shown
