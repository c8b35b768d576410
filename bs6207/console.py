"""What people see: the result on stdout, everything else on stderr."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table as RichTable
from rich.text import Text

from bs6207.experiment import Row, Table

PLAIN_INTERVAL = 10.0  # seconds between two lines of progress where there is no terminal


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
        self.done = self.total = 0
        self.last_line = self.started = time.monotonic()
        self.bar: Progress | None = None

    def __enter__(self) -> "ProgressReport":
        if self.console.is_terminal and not self.quiet:
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self.bar.start()
            self.task = self.bar.add_task(self.command, total=None)
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def expect(self, steps: int) -> None:
        """Announce `steps` further steps of work."""
        self.total += steps
        if self.bar:
            self.bar.update(self.task, total=self.total)

    def step(self, doing: str) -> None:
        """One step is done."""
        self.done += 1
        self.tell(doing)

    def tell(self, doing: str) -> None:
        """What a long step is at."""
        self.end_if_stopped()
        if self.bar:
            self.bar.update(self.task, completed=self.done, description=f"{self.command} {doing}")
        elif not self.quiet and time.monotonic() - self.last_line >= PLAIN_INTERVAL:
            self.last_line = time.monotonic()
            elapsed = self.last_line - self.started
            say(f"{self.command}: {doing}, {self.done} of {self.total} done, {elapsed:.0f} s")

    def note(self, sentence: str) -> None:
        """Tell something that changes how the result is read."""
        if not self.quiet:
            self.console.print(f"{self.command}: {sentence}", markup=False, soft_wrap=True)


def say(sentence: str) -> None:
    """One plain line on stderr."""
    print(sentence, file=sys.stderr, flush=True)


def show(headline: Table, remarks: Sequence[str], folder: Any, justify: Literal["left", "right"] = "right") -> None:
    """Print the headline table, what it must not be read without, and last the folder written."""
    console = Console(highlight=False)
    with console.capture() as captured:
        if headline.rows:
            console.print(rich_table(headline, justify))
        for sentence in remarks:
            console.print(sentence, markup=False, soft_wrap=True)
    with reader_may_leave():
        sys.stdout.write(f"{captured.get()}{folder}\n")


def show_json(text: str, folder: Any) -> None:
    """Print `text` and nothing else on stdout; the folder written goes to stderr."""
    with reader_may_leave():
        sys.stdout.write(text)
    say(str(folder))


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Whoever reads stdout may have seen enough (`| head`); the run is finished all the same."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain at exit


def rich_table(table: Table, justify: Literal["left", "right"] = "right") -> RichTable:
    """A table for the terminal: names to the left, and what stands beside them, mostly numbers, to the side given."""
    shown = RichTable(box=box.SIMPLE_HEAD)
    for place, column in enumerate(table.columns):
        shown.add_column(column, justify=justify if place else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(str(row.get(column, ""))) for column in table.columns))
    return shown
