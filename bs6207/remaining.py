"""How long the rest of a run will take: an estimate that waits until it is worth something.

Steps of one kind take about as long, and what a step of one kind takes says nothing of another kind. So there is no
estimate before steps of every kind that is still to come were timed, which is how a run of several stages is kept from
being judged by its first.
"""

import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from statistics import fmean

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
