"""The tallest bump escaped: by bisection on one path, or by a scan of heights."""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from bs6207.bump.kernels import Numbers
from bs6207.bump.landscape import Landscape, Triangle
from bs6207.errors import UserError

Descend = Callable[[Landscape], Sequence[float]]
Tell = Callable[[str], None]
TIE = 1e-9  # a step nearer to the foot of the bump than this may fall to either side by rounding alone
EPS = sys.float_info.epsilon
SCANNED = 200  # heights in a scan
REFINEMENTS = 3  # further scans, each up to the threshold found so far


def in_silence(doing: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Threshold:
    """The answer for one optimizer.

    Attributes:
        bracket: neighbouring floats (escaped, not escaped), or None where there are none.
        step: the step at which x is largest on the envelope; in a scan, at which the tallest bump is passed.
        margin: least |x - distance| up to that step; under `TIE`, rounding decides the answer.
        method: "envelope" or "scan".
        intervals: of heights that are escaped, (low, high) each, up to the tallest scanned.
        reason: why there is no threshold, where there is none.
        touches_foot: x comes to the foot of the bump and no farther, so rounding decides whether there is one.
    """

    bracket: tuple[float, float] | None
    step: int
    margin: float
    method: str
    intervals: list[tuple[float, float]]
    reason: str | None = None
    touches_foot: bool = False

    @property
    def h_max(self) -> float | None:
        """The tallest bump escaped, of those that all lower ones are escaped too."""
        return self.bracket[0] if self.bracket else None


class Unrepeatable(UserError):
    """A descent that contradicts another of the same optimizer."""


def find_by_envelope(descend: Descend, endless: Triangle, steps: int, eps: float = EPS) -> Threshold:
    """Find the tallest bump that `descend` escapes within `steps` steps, exact to one float.

    Args:
        descend: gives the path over a landscape; it must see nothing but the slope where it stands.
        endless: the bump that never ends.
        eps: of the floats that x is kept in.

    Raises:
        Unrepeatable: a descent over a real bump contradicts the envelope.
    """
    path = descend(endless)
    step = max(range(len(path)), key=path.__getitem__)
    margin = min(abs(x - endless.distance) for x in path[: step + 1])
    if len(path) <= steps:
        reason = f"x is no longer finite after step {len(path) - 1}"
        return Threshold(None, step, margin, "envelope", [], reason)
    if path[step] - endless.distance <= lifted(step, endless.distance, eps):
        comes = ", x comes to its foot and no farther" if margin < TIE else ""
        reason = f"the bump is not reached within {steps} steps{comes}"
        return Threshold(None, step, margin, "envelope", [], reason, touches_foot=margin < TIE)

    def bump(height: float) -> Triangle:
        return Triangle(endless.distance, height, endless.up_slope, endless.tail_slope)

    bracket = bisect(lambda height: bump(height).is_past_crest(path[step]), 0.0, math.nextafter(path[step], math.inf))
    for height, expected in zip(bracket, (True, False), strict=True):
        seen = passes(descend(bump(height)), bump(height))
        if seen != expected:
            raise Unrepeatable(
                f"over a bump of {height!r} it does not walk as over a higher one, so it has no threshold"
            )
    return Threshold(bracket, step, margin, "envelope", [(0.0, bracket[0])])


def lifted(steps: Numbers, distance: Numbers, eps: float = EPS) -> Numbers:
    """How far beyond the foot of the bump rounding alone can lift x: by its last digit per step, in units of x."""
    return steps * eps * distance


def find_by_scan(
    descend: Descend,
    landscape_of: Callable[[float], Landscape],
    distance: float,
    tallest: float,
    tell: Tell = in_silence,
) -> Threshold:
    """Find every interval of heights up to `tallest` that `descend` escapes, as far as a scan sees them."""
    tried = 0

    def escapes(height: float) -> bool:
        nonlocal tried
        tried += 1
        tell(f"height {tried} of {SCANNED}" if tried <= SCANNED else f"height {tried}, to narrow them down")
        return passes(descend(landscape_of(height)), landscape_of(height))

    intervals = find_intervals(escapes, tallest)
    for _ in range(REFINEMENTS):  # a threshold must not overlook a gap below it
        end = intervals[0][1] if intervals and intervals[0][0] == 0.0 else tallest / SCANNED
        finer = find_intervals(escapes, end)
        if finer == [(0.0, end)]:
            break
        intervals = finer + [interval for interval in intervals if interval[0] >= end]
    first = intervals[0] if intervals and intervals[0][0] == 0.0 else None
    landscape = landscape_of(first[1] if first else tallest / SCANNED)
    path = descend(landscape)
    highest = max(range(len(path)), key=path.__getitem__)
    step = next((step for step, x in enumerate(path) if landscape.is_past_crest(x)), highest)
    margin = min(abs(x - distance) for x in path[: step + 1])
    reason = None
    if first is None:
        reason = f"the lowest bump scanned, {tallest / SCANNED:g}, is not escaped"
    elif first[1] >= tallest:
        reason = f"every bump scanned, up to {tallest:g}, is escaped; raise --tallest"
    bracket = (first[1], math.nextafter(first[1], math.inf)) if first and not reason else None
    return Threshold(bracket, step, margin, "scan", intervals, reason)


def find_intervals(holds: Callable[[float], bool], highest: float) -> list[tuple[float, float]]:
    """The intervals of (0, highest] on which `holds` does, ends exact to one float; narrower ones can be missed.

    An interval that holds at the lowest value scanned is taken to begin at 0.
    """
    values = [highest * (place + 1) / SCANNED for place in range(SCANNED)]
    held = [holds(value) for value in values]
    intervals: list[tuple[float, float]] = []
    begin = 0.0 if held[0] else math.nan
    for (low, was), (high, now) in pairwise(zip(values, held, strict=True)):
        if was and not now:
            intervals.append((begin, bisect(holds, low, high)[0]))
        elif now and not was:
            begin = bisect(lambda value: not holds(value), low, high)[1]
    return [*intervals, (begin, highest)] if held[-1] else intervals


def passes(path: Sequence[float], landscape: Landscape) -> bool:
    """Whether a path passes the last crest."""
    return any(landscape.is_past_crest(x) for x in path)


def leaves(path: Sequence[float], landscape: Landscape) -> bool:
    """Whether a path ends up beyond all bumps."""
    return landscape.is_beyond(path[-1])


def bisect(holds: Callable[[float], bool], low: float, high: float) -> tuple[float, float]:
    """Neighbouring floats between which `holds` turns false; it must hold at `low` and not at `high`."""
    while (middle := low + (high - low) / 2) not in (low, high):
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low, high


def scanned(h_max: float | Fraction, step: float) -> dict[str, float]:
    """What a scan of heights 0, step, 2 step, ... reports: the last that escapes and the first that fails.

    Both are a scan's resolution off; which of the two is quoted differs from report to report.
    """
    exact_step = Fraction(str(step))  # 0.0001 is one ten-thousandth, as the scan means it
    count = math.floor(Fraction(h_max) / exact_step)
    return {
        "step": step,
        "last_escape": float(count * exact_step),
        "first_failure": float((count + 1) * exact_step),
    }
