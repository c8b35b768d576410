"""Progress on stderr, and how long the rest of a run will take: an estimate that waits until it is worth something.

Steps of one kind take about as long, and what a step of one kind takes says nothing of another kind. So there is no
estimate before steps of every kind that is still to come were timed.
"""

import math
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from statistics import fmean

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from bs6207.cli.console import echo, is_plain
from bs6207.runs.names import legible
from bs6207.runs.result import Row

ENOUGH = 3  # steps of a kind that are timed before it counts as known; of few, half of them will do
RECENT = 100  # steps of a kind that count, and
WINDOW, LONGEST_STEPS = 30.0, 4  # seconds, or so many times the longest step, over which it is seen how many work
MOST_HELD = 10_000  # steps in the window
TOGETHER = 1e-3  # seconds; a step that follows so soon was done with the one before, in the same time
LEAST = 5.0  # seconds; less is told by the end itself
OVERDUE = 1 / 3  # share of what is left that must not be under way yet: nobody knows how long that still takes
SAME = 0.1  # share of a step's time by which its beginning may miss the end of the one before


class Remaining:
    """What is left to do, and the pace at which it is done; all times are seconds of the same clock."""

    def __init__(self) -> None:
        self.total, self.left = Counter[str](), Counter[str]()
        self.times: defaultdict[str, deque[tuple[float, int]]] = defaultdict(lambda: deque(maxlen=RECENT))
        self.steps: deque[tuple[float, float]] = deque(maxlen=MOST_HELD)  # when each ended, and how long it took
        self.began = 0.0
        self.ends: list[float] = []  # of the last step of every process, as far as they can be told apart

    def expect(self, steps: int, kind: str) -> None:
        """So many further steps of a kind are to come."""
        self.total[kind] += steps
        self.left[kind] += steps

    def step(self, kind: str, took: float, now: float) -> None:
        """One is done; it took 0 s if it was done before an interruption, and then says nothing of the pace."""
        self.left[kind] -= 1
        if took > 0:
            if not self.steps:
                self.began = now - took
            times = self.times[kind]
            whole, count = times.pop() if took < TOGETHER and times else (0.0, 0)
            times.append((whole + took, count + 1))
            self.steps.append((now, took))
            before = min(self.ends, key=lambda end: abs(now - took - end), default=None)
            if before is not None and abs(now - took - before) <= SAME * took:
                self.ends.remove(before)
            self.ends.append(now)

    def seconds(self, now: float) -> float | None:
        """How long the rest will take; None while nothing is known that is worth telling."""
        left = {kind: count for kind, count in self.left.items() if count > 0}
        if not left or any(len(self.times[kind]) < min(ENOUGH, max(1, self.total[kind] // 2)) for kind in left):
            return None
        typical = {kind: mean_of_most(whole / count for whole, count in self.times[kind]) for kind in left}
        longest = max(typical[kind] for kind in left)
        start = max(self.began, now - max(WINDOW, LONGEST_STEPS * longest))
        busy = sum(min(took, end - start) for end, took in self.steps if end > start)
        if not busy:
            return None
        whole = sum(count * typical[kind] for kind, count in left.items())
        latest = max(self.ends)
        under_way = sum(now - end for end in self.ends if end == latest or now - end <= longest)  # the others are idle
        rest = (whole - under_way) * (now - start) / busy  # so many processes share it
        return rest if rest >= LEAST and under_way <= (1 - OVERDUE) * whole else None


def mean_of_most(times: Iterable[float]) -> float:
    """The mean without the longest tenth: the first step of a process also imports and reads."""
    ascending = sorted(times)
    return fmean(ascending[: max(1, len(ascending) - math.ceil(len(ascending) / 10))])


def about(seconds: float | None) -> str:
    """An estimate in words, no more exact than it is; empty where there is none."""
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

    def status(self, doing: str) -> None:
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
            echo(f"{self.command}: {', '.join(filter(None, (doing, *parts)))}")

    def warn(self, sentence: str) -> None:
        """Tell something that changes how the result is read."""
        if self.bar:
            self.console.print(f"{self.command}: {legible(sentence)}", markup=False, soft_wrap=True)
        elif not self.quiet:
            echo(f"{self.command}: {sentence}")
