"""Progress of a command on stderr: a bar or plain lines, and an estimate of the time left."""

import sys
from collections.abc import Callable
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bs6207.cli.console import echo, is_plain
from bs6207.runs.names import legible
from bs6207.runs.remaining import about
from bs6207.runs.report import BAR_INTERVAL, Report
from bs6207.runs.result import Row


class ProgressReport(Report):
    """Progress of a run on stderr: a live bar on a terminal, a plain line every ten seconds elsewhere."""

    def __init__(
        self, command: str, record: Callable[[Row], None], end_if_stopped: Any = lambda: None, quiet: bool = False
    ):
        super().__init__(command, record, quiet)
        self.end_if_stopped = end_if_stopped
        self.console = Console(stderr=True, highlight=False)
        # FORCE_COLOR makes a terminal of everything in rich's eyes; a log can take colours, but no moving cursor.
        self.is_live = sys.stderr.isatty() and self.console.is_interactive and not quiet and not is_plain()
        name, left = TextColumn("{task.description}", markup=False), TextColumn("{task.fields[left]}")
        columns = (name, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), left)
        self.bar = Progress(*columns, console=self.console, transient=True, disable=not self.is_live)
        self.task = self.bar.add_task(command, total=None, left="")

    @property
    def interval(self) -> float:
        return BAR_INTERVAL if self.is_live else super().interval

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_live:  # or it prints an empty line
            self.bar.stop()

    def expect(self, steps: int, kind: str = "") -> None:
        super().expect(steps, kind)
        self.bar.update(self.task, total=self.total)

    def show(self, doing: str, now: float) -> None:
        self.end_if_stopped()
        self.bar.update(self.task, completed=self.done, description=f"{self.command} {doing}")
        super().show(doing, now)

    def draw(self, doing: str, now: float) -> None:
        if self.is_live:
            self.bar.update(self.task, left=about(self.remaining.seconds(now)))
        else:
            super().draw(doing, now)

    def print(self, sentence: str) -> None:
        if self.is_live:
            self.console.print(legible(sentence), markup=False, soft_wrap=True)
        else:
            echo(sentence)
