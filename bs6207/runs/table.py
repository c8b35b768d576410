"""The headline table as text, no wider than the terminal."""

import io
from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from bs6207.runs.names import legible

if TYPE_CHECKING:
    from bs6207.runs.result import Table

UNBOUNDED = 10_000  # letters, where the width of a table is asked for


def as_text(table: "Table") -> str:
    """The table without colours, as a terminal of this size shows it."""
    # a console of rich's in a notebook would show the table there instead
    console = Console(file=io.StringIO(), color_system=None, force_jupyter=False, highlight=False)
    with console.capture() as captured:
        console.print(fitting(table, console))
    return captured.get()


def fitting(table: "Table", console: Console) -> RichTable:
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
