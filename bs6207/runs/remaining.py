"""An estimate of the time left of a run.

Steps of one kind take about as long; there is no estimate until steps of every kind that is still to come were timed.
"""

import math
from collections import Counter, defaultdict, deque
from statistics import fmean

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
