"""What people see: the result on stdout, everything else on stderr."""

import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill
from typing import Any, TextIO

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table as RichTable
from rich.text import Text

from bs6207.errors import UserError
from bs6207.experiment import Row, Table
from bs6207.names import legible
from bs6207.remaining import Remaining, about

UNBOUNDED = 10_000  # letters, where the width of a table is asked for
PLAIN_INTERVAL = 10.0  # seconds between two lines of progress where there is no terminal
BAR_INTERVAL = 1.0  # seconds between two estimates of the time left, where there is one


class ProgressReport:
    """Progress of a run on stderr: a live bar on a terminal, a plain line every ten seconds elsewhere."""

    def __init__(
        self,
        command: str,
        record: Callable[[Row], None],
        end_if_stopped: Callable[[], None] = lambda: None,
        quiet: bool = False,
    ):
        self.command = command
        self.record = record
        self.end_if_stopped = end_if_stopped
        self.quiet = quiet
        self.console = Console(stderr=True, highlight=False)
        # FORCE_COLOR makes a terminal of everything in rich's eyes; a log can take colours, but no moving cursor.
        self.is_live = sys.stderr.isatty() and self.console.is_interactive and not quiet and not is_plain()
        self.done = self.total = 0
        self.last_line = self.last_step = self.started = time.monotonic()
        self.remaining = Remaining()
        self.bar: Progress | None = None

    def __enter__(self) -> "ProgressReport":
        if self.is_live:
            self.bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}"),
                console=self.console,
                transient=True,
            )
            self.bar.start()
            self.task = self.bar.add_task(self.command, total=None, left="")
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def expect(self, steps: int, kind: str = "") -> None:
        """Announce `steps` further steps of a kind."""
        self.total += steps
        self.remaining.expect(steps, kind)
        if self.bar:
            self.bar.update(self.task, total=self.total)

    def step(self, doing: str, kind: str = "", seconds: float | None = None) -> None:
        """One step is done."""
        self.done += 1
        now = time.monotonic()
        self.remaining.step(kind, now - self.last_step if seconds is None else seconds, now)
        self.last_step = now
        self.show(doing, now)

    def tell(self, doing: str) -> None:
        """What a long step is at."""
        self.show(doing, time.monotonic())

    def show(self, doing: str, now: float) -> None:
        """Say how far the run is, if it is time to."""
        self.end_if_stopped()
        is_due = now - self.last_line >= (BAR_INTERVAL if self.bar else PLAIN_INTERVAL)
        if is_due:
            self.last_line, left = now, about(self.remaining.seconds(now))
        if self.bar:
            self.bar.update(self.task, completed=self.done, description=f"{self.command} {doing}")
            if is_due:
                self.bar.update(self.task, left=left)
        elif is_due and not self.quiet:
            parts = (f"{self.done} of {self.total} done", f"{now - self.started:.0f} s", left)
            say(f"{self.command}: {', '.join(filter(None, (doing, *parts)))}")

    def note(self, sentence: str) -> None:
        """Tell something that changes how the result is read."""
        if self.bar:
            self.console.print(f"{self.command}: {legible(sentence)}", markup=False, soft_wrap=True)
        elif not self.quiet:
            say(f"{self.command}: {sentence}")


def open_streams() -> None:
    """Make sure that all three streams are there and that stdout takes every letter, whatever its encoding.

    One that was closed is None, and the next file opened would get its number; stderr escapes letters by itself.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 (till the process ends)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def is_plain() -> bool:
    """Whether nothing but text is wanted, even on a terminal (no-color.org)."""
    return bool(os.environ.get("NO_COLOR"))


def say(sentence: str) -> None:
    """One plain line on stderr."""
    with reader_may_leave(sys.stderr):
        print(legible(sentence), file=sys.stderr)


def show(headline: Table, remarks: Sequence[str], folder: Any, prose: bool = False) -> None:
    """Print the headline table, what it must not be read without, and last the folder written.

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
    say(str(folder))


@contextmanager
def reader_may_leave(stream: TextIO) -> Iterator[None]:
    """Whoever reads a stream may have seen enough (`| head`); the run goes on all the same.

    Raises:
        UserError: what is asked for cannot be written to stdout for another reason.
    """
    try:
        yield
        stream.flush()
    except OSError as failure:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # or Python would complain at exit
        if stream is sys.stdout and not isinstance(failure, BrokenPipeError):
            raise UserError(f"cannot print to stdout: {failure.strerror}; what the run wrote is whole") from None


def fitting(table: Table, console: Console) -> RichTable:
    """A table as wide as the terminal at most, with every value in one piece.

    Where headings broken into lines are not enough, one row stands below the other, a line per value.
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
    """A table for the terminal: names to the left, numbers to the right."""
    shown = RichTable(box=box.SIMPLE_HEAD)
    for place, heading in enumerate(headings):
        shown.add_column(Text(heading), justify="right" if place else "left", no_wrap=True)
    for row in rows:
        shown.add_row(*map(Text, row))
    return shown


def wrapped(table: Table) -> RichTable:
    """A table of words, as wide as the terminal at most."""
    shown = RichTable(box=box.SIMPLE_HEAD)
    for column in table.columns:
        shown.add_column(column, overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(str(row[column])) for column in table.columns))
    return shown


def stacked(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> RichTable:
    """The same for a narrow terminal: headings to the left, values to the right, and a line between two rows."""
    shown = RichTable(box=box.SIMPLE_HEAD, show_header=False)
    for _ in range(2):
        shown.add_column(overflow="fold")
    for row in rows:
        for heading, value in zip(headings, row, strict=True):
            shown.add_row(Text(heading), Text(value))
        shown.add_section()
    return shown
