"""Losses over one number: down into a valley, then over one bump or several, then a gentle decline for ever.

At a kink the slope is that of the right-hand side. `kinks` are x of every point worth drawing, from the foot of the
first bump to the end of the last; `crest` is x of the last crest, and x that stands on it is past it, because the slope
there leads onward; beyond, all bumps are left behind.
"""

import math
import sys
from dataclasses import dataclass
from typing import Any, TypeAlias

START = 0.0  # where every descent begins; the loss is `distance` there
VALLEY_SLOPE = -1.0  # change of loss per unit of x, from the start to the foot of the bump
UP_SLOPE = 1.0  # up the bump of the classical exercise
TAIL_SLOPE = -0.3  # beyond it, so that x does not come back once it has passed
TIE = 1e-9  # a step nearer to the foot of the bump than this may fall to either side by rounding alone


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


Landscape: TypeAlias = Triangle | Gaussian
Slope: TypeAlias = Landscape | Valley  # what can be descended


def rounding_error(steps: Any, distance: Any, eps: float = sys.float_info.epsilon) -> Any:
    """Height beyond the foot that rounding alone can lift x to: its last digit per step; of numbers or arrays."""
    return steps * eps * distance
