"""Losses over one number: down into a valley, then over one bump or several, then a gentle decline for ever.

At a kink the slope is that of the right-hand side. `kinks` are x of every point worth drawing, from the foot of the
first bump to the end of the last; `crest` is x of the last crest, and x that stands on it is past it, because the slope
there leads onward; beyond, all bumps are left behind.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, TypeAlias

START = 0.0  # where every descent begins; the loss is `distance` there
VALLEY_SLOPE = -1.0  # change of loss per unit of x, from the start to the foot of the bump
UP_SLOPE = 1.0  # up the bump of the classical exercise
TAIL_SLOPE = -0.3  # beyond it, so that x does not come back once it has passed
TIE = 1e-9  # a step nearer to the foot of the bump than this may fall to either side by rounding alone

# Where the bumps of a loss of the user's own are looked for, and how closely.
SEARCHED = 1000.0  # x of the last point
FIRST, SPACING = 0.05, 1.03  # x of the first point, and of each relative to the one before
NEAR = 1.0  # x up to which the largest slope is the scale of all
LEVEL, GENTLE = 1e-12, 1e-6  # of that scale: less is none, or too little to hide a bump
ALIKE = 1.25  # the ratio of two slopes between which no bump hides
CLOSELY = 100  # steps through what is near a bump
CLOSER, MOST_POINTS = 14, 5000  # halvings of the distance between points where a bump may hide, while there are so few


@dataclass(frozen=True)
class Triangle:
    """The classical bump, as steep down as up, its crest at x = distance + height; or several, one after the other.

    Positions are compared as `x - distance`, which floats compute exactly near the bump (Sterbenz 1974), so the answer
    never depends on how `distance + height` was rounded.
    """

    distance: float  # x of the foot of the bump, where the loss is 0
    height: float  # half the width of the bump, units of x; infinite for a bump that never ends
    up_slope: float = UP_SLOPE  # rise per unit of x; the crest is up_slope * height high
    tail_slope: float = TAIL_SLOPE  # of the decline beyond
    bumps: int = 1  # each begins a decline of length `distance` beyond the previous one

    def foot(self, bump: int) -> float:
        """x of the foot of the bump of that number, from 0."""
        return self.distance + bump * (2 * self.height + self.distance) if bump else self.distance

    def bumps_behind(self, x: float) -> int:
        """Number of bumps that lie wholly behind x, at most all but the last."""
        if self.bumps == 1:
            return 0
        return min(max(math.floor((x - self.distance) / (2 * self.height + self.distance)), 0), self.bumps - 1)

    @property
    def kinks(self) -> list[float]:
        return [self.foot(bump) + k * self.height for bump in range(self.bumps) for k in range(3)]

    @property
    def crest(self) -> float:
        return self.kinks[-2]

    def slope(self, x: float) -> float:
        beyond = x - self.foot(self.bumps_behind(x))
        if beyond < 0:
            return VALLEY_SLOPE
        if beyond < self.height:
            return self.up_slope
        return -self.up_slope if beyond < 2 * self.height else self.tail_slope

    def loss(self, x: float) -> float:
        behind = self.bumps_behind(x)
        beyond, base = x - self.foot(behind), behind * self.tail_slope * self.distance
        if beyond < 0:
            return VALLEY_SLOPE * beyond + base
        if beyond < self.height:
            return self.up_slope * beyond + base
        if beyond < 2 * self.height:
            return self.up_slope * (2 * self.height - beyond) + base
        return self.tail_slope * (beyond - 2 * self.height) + base

    def is_past_crest(self, x: float) -> bool:
        return x - self.foot(self.bumps - 1) >= self.height

    def is_beyond(self, x: float) -> bool:
        return x - self.foot(self.bumps - 1) >= 2 * self.height


@dataclass(frozen=True)
class Gaussian:
    """A smooth bump, height * exp(-(x - crest)^2 / 2 width^2), added to a valley and its decline.

    Its slopes grow with its height, so a tall one can throw an optimizer across: escaping is not monotone. The crest is
    two widths beyond the valley; three widths beyond the crest, 1 % of the bump is left.
    """

    distance: float
    height: float
    width: float
    tail_slope: float = TAIL_SLOPE

    @property
    def crest(self) -> float:
        return self.distance + 2 * self.width

    @property
    def kinks(self) -> list[float]:
        return [self.distance, *(self.crest + k * self.width / 8 for k in range(-15, 25))]

    def bump(self, x: float) -> float:
        return self.height * math.exp(-0.5 * ((x - self.crest) / self.width) ** 2)

    def base_slope(self, x: float) -> float:
        return VALLEY_SLOPE if x < self.distance else self.tail_slope

    def slope(self, x: float) -> float:
        return self.base_slope(x) - self.bump(x) * (x - self.crest) / self.width**2

    def loss(self, x: float) -> float:
        return self.base_slope(x) * (x - self.distance) + self.bump(x)

    def is_past_crest(self, x: float) -> bool:
        return x >= self.crest

    def is_beyond(self, x: float) -> bool:
        return x >= self.crest + 3 * self.width


LossAndSlope = Callable[[float], tuple[float, float]]  # of x


@dataclass(frozen=True)
class Own:
    """A loss of the user's own, whose bumps are found numerically (`find_bumps`)."""

    loss_and_slope: LossAndSlope  # NaN where there is none
    foot: float  # x of the first bump's foot: the first float at which the loss does not fall
    crest: float  # of the last bump: the first float behind all that rises at which the loss falls
    end: float  # of the last bump: the first x where the loss is below its foot; infinite if there is none
    bumps: int = 1
    is_kinked: bool = False  # the slope jumps at the foot

    @property
    def kinks(self) -> list[float]:
        return [self.foot, self.crest, self.end if self.end < math.inf else 2 * self.crest - self.foot]

    def loss(self, x: float) -> float:
        return self.loss_and_slope(x)[0]

    def slope(self, x: float) -> float:
        return self.loss_and_slope(x)[1]

    def is_past_crest(self, x: float) -> bool:
        return x >= self.crest

    def is_beyond(self, x: float) -> bool:
        return x >= self.end


class Unbounded(Exception):
    """A loss whose bumps have no first or no last point."""


def find_bumps(loss_and_slope: LossAndSlope, near: tuple[float, float] | None = None) -> Own | None:
    """The bumps from the start to where the loss falls for good; None if it only falls.

    They are looked for more closely in the part of x that is `near`.

    Raises:
        Unbounded: says in a sentence why they cannot be found.
    """
    if not all(map(math.isfinite, loss_and_slope(START))):
        raise Unbounded(f"the loss or its slope is not finite at x = {START:g}, where every descent starts")
    scale, points = look(loss_and_slope, near)
    x, losses, slopes = zip(*points, strict=True)
    signs = [0 if abs(slope) <= LEVEL * scale else int(math.copysign(1, slope)) for slope in slopes]
    if 1 not in signs:
        return None
    last_rise = len(signs) - 1 - signs[::-1].index(1)
    bumps = sum(sign > 0 for sign, _ in groupby(filter(None, signs)))
    if bumps > 1 and x[last_rise] > x[-1] / 2:
        raise Unbounded(f"there are bumps as far as x = {x[last_rise]:g}; let the loss fall for good behind the last")
    if -1 not in signs[last_rise:]:
        end = f"as far as x = {x[-1]:g}" + ("" if x[-1] == SEARCHED else ", where it is no longer finite")
        raise Unbounded(f"the loss rises at x = {x[last_rise]:g} and never falls behind, {end}; let it fall for good")
    fall = last_rise + signs[last_rise:].index(-1)

    def falls(x: float) -> bool:
        return loss_and_slope(x)[1] < 0

    def is_above_foot(x: float) -> bool:
        return loss_and_slope(x)[0] > level

    def foot_before(rise: int) -> float:
        """x of the foot of the bump on which the point of that number lies."""
        before = max((k for k in range(rise) if signs[k] < 0), default=None)
        return START if before is None else bisect(falls, x[before], x[before + 1])[1]

    foot, level = foot_before(signs.index(1)), loss_and_slope(foot_before(last_rise))[0]
    crest = bisect(lambda x: not falls(x), x[fall - 1], x[fall])[1]
    below = next((k for k in range(fall, len(x)) if losses[k] <= level), None)
    end_of_bump = math.inf if below is None else bisect(is_above_foot, max(crest, x[below - 1]), x[below])[1]
    before, behind = (loss_and_slope(foot + side * TIE * (1 + foot))[1] for side in (-1, 1))
    return Own(loss_and_slope, foot, crest, end_of_bump, bumps, is_kinked=abs(behind - before) > GENTLE * scale)


def look(
    loss_and_slope: LossAndSlope, near: tuple[float, float] | None = None
) -> tuple[float, list[tuple[float, float, float]]]:
    """The largest slope near the start; points (x, loss, slope) to the end of the search or the first not finite.

    They are closer where slopes of one sign differ much, or the loss changes by more or less than they say: there a
    bump may hide.
    """

    def may_hide_a_bump(left: tuple[float, float, float], right: tuple[float, float, float]) -> bool:
        (x, loss, a), (y, other, b) = left, right
        if a * b <= 0 or max(abs(a), abs(b)) < gentle:
            return False
        width, change, rounding = y - x, other - loss, LEVEL * max(abs(loss), abs(other)) + gentle * (y - x)
        is_as_sloped = min(a, b) * width - rounding <= change <= max(a, b) * width + rounding
        return not is_as_sloped or max(abs(a), abs(b)) > ALIKE * min(abs(a), abs(b))

    places = [START, FIRST]
    while places[-1] < SEARCHED:
        places.append(min(places[-1] * SPACING, SEARCHED))
    if near:
        low, high = near
        closer = (low + (high - low) * part / CLOSELY for part in range(CLOSELY + 1))
        places = sorted({*places, *(x for x in closer if START < x < SEARCHED)})
    points = [(x, *loss_and_slope(x)) for x in places]
    finite = [all(map(math.isfinite, point)) for point in points]
    points = points[: finite.index(False)] if False in finite else points
    scale = max(abs(slope) for x, _, slope in points if x <= NEAR)
    gentle = GENTLE * scale
    pairs = [*pairwise(points)]
    for _ in range(CLOSER):
        doubtful = [pair for pair in pairs if may_hide_a_bump(*pair)]
        if len(points) + len(doubtful) > MOST_POINTS:
            break
        pairs = []
        for left, right in doubtful:
            x = (left[0] + right[0]) / 2
            if all(map(math.isfinite, point := (x, *loss_and_slope(x)))):
                points.append(point)
                pairs += (left, point), (point, right)
    return scale, sorted(points)


def bisect(predicate: Callable[[float], bool], low: float, high: float) -> tuple[float, float]:
    """Neighbouring floats between which `predicate` turns false; it must be true at `low` and false at `high`."""
    while (middle := low + (high - low) / 2) not in (low, high):
        low, high = (middle, high) if predicate(middle) else (low, middle)
    return low, high


@dataclass
class Valley:
    """A smooth valley whose slopes grow from 0 at its bottom to `steepest` far away; it distinguishes optimizers.

    On triangles most slopes are -1 or +1, and gradient descent moves as sign descent does.
    """

    bottom: float
    width: float
    steepest: float

    def loss(self, x: float) -> float:
        return self.steepest * self.width * math.hypot(1, (x - self.bottom) / self.width)

    def slope(self, x: float) -> float:
        away = (x - self.bottom) / self.width
        return self.steepest * away / math.hypot(1, away)


Landscape: TypeAlias = Triangle | Gaussian | Own
Slope: TypeAlias = Landscape | Valley  # what can be descended


def rounding_error(steps: Any, distance: Any, eps: float = sys.float_info.epsilon) -> Any:
    """Height beyond the foot that rounding alone can lift x to: its last digit per step; of numbers or arrays."""
    return steps * eps * distance
