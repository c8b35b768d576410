"""Progress on stderr: a bar or plain lines, and an estimate of the time left.

Steps of one kind take about as long; there is no estimate until steps of every kind that is still to come were timed.
"""

import math
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bs6207.cli.console import echo, is_plain
from bs6207.runs.names import legible
from bs6207.runs.result import Row

ENOUGH = 3  # steps of a kind that are timed before it counts as known; of few, half of them will do
RECENT = 100  # steps of a kind that count, and
WINDOW, LONGEST_STEPS = 30.0, 4  # seconds, or so many times the longest step, over which it is seen how many work
MAX_STEPS = 10_000  # steps in the window
BATCHED = 1e-3  # seconds; a step that follows so soon was done with the one before, in the same time
MIN_REST = 5.0  # seconds; a shorter rest is over before an estimate is read
OVERDUE = 1 / 3  # share of what is left that must not be under way yet: nobody knows how long that still takes
SAME = 0.1  # share of a step's time by which its beginning may miss the end of the one before


class Remaining:
    """Estimates the time left from the times of steps by kind; all times are seconds of the same clock."""

    def __init__(self) -> None:
        self.total, self.left = Counter[str](), Counter[str]()
        self.times: defaultdict[str, deque[tuple[float, int]]] = defaultdict(lambda: deque(maxlen=RECENT))
        self.steps: deque[tuple[float, float]] = deque(maxlen=MAX_STEPS)  # when each ended, and how long it took
        self.began = 0.0
        self.ends: list[float] = []  # of the last step of every process, as far as they can be told apart

    def expect(self, steps: int, kind: str) -> None:
        self.total[kind] += steps
        self.left[kind] += steps

    def step(self, kind: str, took: float, now: float) -> None:
        """Count a step; one that took 0 s was done before an interruption, and is not timed."""
        self.left[kind] -= 1
        if took > 0:
            if not self.steps:
                self.began = now - took
            times = self.times[kind]
            whole, count = times.pop() if took < BATCHED and times else (0.0, 0)
            times.append((whole + took, count + 1))
            self.steps.append((now, took))
            before = min(self.ends, key=lambda end: abs(now - took - end), default=None)
            if before is not None and abs(now - took - before) <= SAME * took:
                self.ends.remove(before)
            self.ends.append(now)

    def seconds(self, now: float) -> float | None:
        """The time left; None while it cannot be estimated."""
        left = {kind: count for kind, count in self.left.items() if count > 0}
        if not left or any(len(self.times[kind]) < min(ENOUGH, max(1, self.total[kind] // 2)) for kind in left):
            return None
        typical = {}
        for kind in left:
            ascending = sorted(whole / count for whole, count in self.times[kind])
            most = len(ascending) - math.ceil(len(ascending) / 10)  # the first step of a process also imports and reads
            typical[kind] = fmean(ascending[: max(1, most)])
        longest = max(typical.values())
        start = max(self.began, now - max(WINDOW, LONGEST_STEPS * longest))
        busy = sum(min(took, end - start) for end, took in self.steps if end > start)
        if not busy:
            return None
        whole = sum(count * typical[kind] for kind, count in left.items())
        latest = max(self.ends)
        under_way = sum(now - end for end in self.ends if end == latest or now - end <= longest)  # the others are idle
        rest = (whole - under_way) * (now - start) / busy  # so many processes share it
        return rest if rest >= MIN_REST and under_way <= (1 - OVERDUE) * whole else None


def about(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"about {seconds / size:.0f} {unit} to go"
    return f"about {max(5, 5 * round(seconds / 5))} s to go"


PLAIN_INTERVAL = 10.0  # seconds between two lines of progress where there is no terminal
BAR_INTERVAL = 1.0  # seconds between two estimates of the time left, where there is one


class ProgressReport:
    """Progress of a run on stderr: a live bar on a terminal, a plain line every ten seconds elsewhere."""

    def __init__(
        self, command: str, record: Callable[[Row], None], end_if_stopped: Any = lambda: None, quiet: bool = False
    ):
        self.command, self.record, self.end_if_stopped, self.quiet = command, record, end_if_stopped, quiet
        self.console = Console(stderr=True, highlight=False)
        # FORCE_COLOR makes a terminal of everything in rich's eyes; a log can take colours, but no moving cursor.
        self.is_live = sys.stderr.isatty() and self.console.is_interactive and not quiet and not is_plain()
        self.done = self.total = 0
        self.last_line = self.last_step = self.started = time.monotonic()
        self.remaining = Remaining()
        name, left = TextColumn("{task.description}", markup=False), TextColumn("{task.fields[left]}")
        columns = (name, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), left)
        self.bar = Progress(*columns, console=self.console, transient=True, disable=not self.is_live)
        self.task = self.bar.add_task(command, total=None, left="")

    def __enter__(self) -> "ProgressReport":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_live:  # or it prints an empty line
            self.bar.stop()

    def expect(self, steps: int, kind: str = "") -> None:
        self.total += steps
        self.remaining.expect(steps, kind)
        self.bar.update(self.task, total=self.total)

    def step(self, doing: str, kind: str = "", seconds: float | None = None) -> None:
        self.done += 1
        now = time.monotonic()
        self.remaining.step(kind, now - self.last_step if seconds is None else seconds, now)
        self.last_step = now
        self.show(doing, now)

    def status(self, doing: str) -> None:
        self.show(doing, time.monotonic())

    def show(self, doing: str, now: float) -> None:
        self.end_if_stopped()
        self.bar.update(self.task, completed=self.done, description=f"{self.command} {doing}")
        if now - self.last_line >= (BAR_INTERVAL if self.is_live else PLAIN_INTERVAL):
            self.last_line, left = now, about(self.remaining.seconds(now))
            self.bar.update(self.task, left=left)
            if not self.is_live and not self.quiet:
                parts = (doing, f"{self.done} of {self.total} done", f"{now - self.started:.0f} s", left)
                echo(f"{self.command}: {', '.join(filter(None, parts))}")

    def warn(self, sentence: str) -> None:
        if self.is_live:
            self.console.print(f"{self.command}: {legible(sentence)}", markup=False, soft_wrap=True)
        elif not self.quiet:
            echo(f"{self.command}: {sentence}")
