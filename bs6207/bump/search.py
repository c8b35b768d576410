"""The tallest bump an optimizer escapes.

Up to the crest the slope is -1 before the foot and +1 after it, whatever the height. So until it escapes an
optimizer walks one and the same path, that of the bump that never ends (the envelope), and it escapes a bump of
height h exactly if that path somewhere stands h or more beyond the foot. Bisection on that path finds where
escaping stops, and two descents over real bumps, one on each side, confirm it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from bs6207.bump.landscape import START, Landscape

Descend = Callable[[Landscape], list[float]]
TIE = 1e-9  # a step nearer to the foot of the bump than this may fall to either side by rounding alone


@dataclass(frozen=True)
class Threshold:
    """The answer for one optimizer.

    Attributes:
        bracket: neighbouring floats (escaped, not escaped), or None where no bump at all is reached.
        step: the step at which x is largest.
        margin: least |x - distance| up to that step; under `TIE`, rounding decides the answer.
        reason: why there is no threshold, where there is none.
    """

    bracket: tuple[float, float] | None
    step: int
    margin: float
    reason: str | None = None

    @property
    def h_max(self) -> float | None:
        """The tallest bump escaped."""
        return self.bracket[0] if self.bracket else None


def find_threshold(descend: Descend, distance: float, steps: int) -> Threshold:
    """Find the tallest bump that `descend` escapes within `steps` steps, exact to one float.

    Raises:
        AssertionError: a descent over a real bump contradicts the envelope, which holds for every optimizer that
            sees nothing but the slope where it stands.
    """
    path = descend(Landscape(distance, math.inf))
    step = max(range(len(path)), key=path.__getitem__)
    margin = min(abs(x - distance) for x in path[: step + 1])
    if len(path) <= steps:
        return Threshold(None, step, margin, f"x is no longer finite after step {len(path) - 1}")
    if path[step] <= distance:
        return Threshold(None, step, margin, f"the bump is not reached within {steps} steps")

    def escapes_on(path: list[float], height: float) -> bool:
        bump = Landscape(distance, height)
        return any(bump.is_past_crest(x) for x in path)

    tallest = path[step] - START + distance  # taller than the whole path is wide
    bracket = bisect(lambda height: escapes_on(path, height), 0.0, tallest)
    for height, expected in zip(bracket, (True, False), strict=True):
        seen = escapes_on(descend(Landscape(distance, height)), height)
        assert seen == expected, f"at height {height!r} the descent and the envelope disagree"
    return Threshold(bracket, step, margin)


def bisect(holds: Callable[[float], bool], low: float, high: float) -> tuple[float, float]:
    """Neighbouring floats between which `holds` turns false; it must hold at `low`, not at `high`, and turn once."""
    while (middle := low + (high - low) / 2) not in (low, high):
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low, high
