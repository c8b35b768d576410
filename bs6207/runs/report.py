"""Progress of a run that Python code has called: plain lines now and then, one bar in a notebook, or nothing."""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from html import escape
from typing import Any, Self

from bs6207.runs.names import legible
from bs6207.runs.remaining import Remaining, about
from bs6207.runs.result import Row

PLAIN_INTERVAL = 10.0  # seconds between two plain lines
BAR_INTERVAL = 1.0  # seconds between two looks at a bar
BAR = (
    '<div style="font:0.9em sans-serif"><progress max="{total}" value="{done}" style="width:16em;'
    'vertical-align:middle"></progress> {line}{notes}</div>'
)


class Report:
    """Progress as a plain line on stderr every ten seconds, and warnings, which are kept as `notes`."""

    def __init__(self, command: str, record: Callable[[Row], None], quiet: bool = False):
        self.command, self.record, self.quiet = command, record, quiet
        self.notes: list[str] = []
        self.done = self.total = 0
        self.last_line = self.last_step = self.started = time.monotonic()
        self.remaining = Remaining()

    @property
    def interval(self) -> float:
        return PLAIN_INTERVAL

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def expect(self, steps: int, kind: str = "") -> None:
        self.total += steps
        self.remaining.expect(steps, kind)

    def step(self, doing: str, kind: str = "", seconds: float | None = None) -> None:
        self.done += 1
        now = time.monotonic()
        self.remaining.step(kind, now - self.last_step if seconds is None else seconds, now)
        self.last_step = now
        self.show(doing, now)

    def status(self, doing: str) -> None:
        self.show(doing, time.monotonic())

    def show(self, doing: str, now: float) -> None:
        if now - self.last_line >= self.interval and not self.quiet:
            self.last_line = now
            self.draw(doing, now)

    def draw(self, doing: str, now: float) -> None:
        self.print(f"{self.command}: {self.line(doing, now)}")

    def line(self, doing: str, now: float) -> str:
        left = about(self.remaining.seconds(now))
        parts = (doing, f"{self.done} of {self.total} done", f"{now - self.started:.0f} s", left)
        return ", ".join(filter(None, parts))

    def warn(self, sentence: str) -> None:
        self.notes.append(sentence)
        if not self.quiet:
            self.print(f"{self.command}: {sentence}")

    def print(self, sentence: str) -> None:
        with suppress(OSError, ValueError):  # stderr is closed; it is the caller's
            print(legible(sentence), file=sys.stderr, flush=True)


class NotebookBar(Report):
    """One bar that is updated in place, with the notes below it."""

    @property
    def interval(self) -> float:
        return BAR_INTERVAL

    def __enter__(self) -> Self:
        from IPython.display import HTML, display

        self.as_output, self.shown = HTML, "begins"
        self.handle: Any = display(HTML(self.html(self.shown)), display_id=True)
        return self

    def __exit__(self, *failure: Any) -> None:
        kind = failure[0]
        state = "done" if kind is None else "interrupted" if issubclass(kind, KeyboardInterrupt) else "failed"
        self.update(f"{state}, {self.done} of {self.total} steps, {time.monotonic() - self.started:.0f} s")

    def draw(self, doing: str, now: float) -> None:
        self.update(self.line(doing, now))

    def print(self, sentence: str) -> None:
        self.update(self.shown)

    def update(self, line: str) -> None:
        self.shown = line
        self.handle.update(self.as_output(self.html(line)))

    def html(self, line: str) -> str:
        notes = "".join(f"<br>{escape(legible(note))}" for note in self.notes)
        text = escape(legible(f"{self.command}: {line}"))
        return BAR.format(total=max(self.total, 1), done=self.done, line=text, notes=notes)


def is_in_notebook() -> bool:
    """Whether this is a kernel of Jupyter's, which shows HTML."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")
