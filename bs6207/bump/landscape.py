"""Losses over one number: down into a valley, then over one bump or several, then a gentle decline for ever."""

import math
import sys
from dataclasses import dataclass
from typing import Any, Protocol

START = 0.0  # where every descent begins; the loss is `distance` there
VALLEY_SLOPE = -1.0  # change of loss per unit of x, from the start to the foot of the bump
UP_SLOPE = 1.0  # up the bump of the classical exercise
TAIL_SLOPE = -0.3  # beyond it, so that x does not come back once it has passed
TIE = 1e-9  # a step nearer to the foot of the bump than this may fall to either side by rounding alone


class Slope(Protocol):
    """A loss over x that can be descended. At a kink the slope is that of the right-hand side."""

    def loss(self, x: float) -> float: ...

    def slope(self, x: float) -> float:
        """Derivative of the loss."""


class Landscape(Slope, Protocol):
    """A loss with bumps."""

    @property
    def kinks(self) -> list[float]:
        """x of every point worth drawing, from the foot of the first bump to the end of the last."""

    @property
    def crest(self) -> float:
        """x of the last crest."""

    def is_past_crest(self, x: float) -> bool:
        """Whether x has passed the last crest; the crest itself counts, because the slope there leads onward."""

    def is_beyond(self, x: float) -> bool:
        """Whether x has left all bumps behind."""


@dataclass(frozen=True)
class Triangle:
    """The classical bump: as steep down as up, its crest at x = distance + height.

    Positions are compared as `x - distance`, which floats compute exactly near the bump (Sterbenz 1974), so the answer
    never depends on how `distance + height` was rounded.

    Attributes:
        distance: x of the foot of the bump, where the loss is 0.
        height: of the crest where `up_slope` is 1, as in the exercise; always half the width of the bump, units of x.
            Infinite for a bump that never ends.
        up_slope: rise per unit of x; the crest is up_slope * height high.
        tail_slope: of the decline beyond.
    """

    distance: float
    height: float
    up_slope: float = UP_SLOPE
    tail_slope: float = TAIL_SLOPE

    @property
    def kinks(self) -> list[float]:
        return [self.distance + k * self.height for k in range(3)]

    @property
    def crest(self) -> float:
        return self.distance + self.height

    def slope(self, x: float) -> float:
        beyond = x - self.distance
        if beyond < 0:
            return VALLEY_SLOPE
        if beyond < self.height:
            return self.up_slope
        return -self.up_slope if beyond < 2 * self.height else self.tail_slope

    def loss(self, x: float) -> float:
        beyond = x - self.distance
        if beyond < 0:
            return VALLEY_SLOPE * beyond
        if beyond < self.height:
            return self.up_slope * beyond
        if beyond < 2 * self.height:
            return self.up_slope * (2 * self.height - beyond)
        return self.tail_slope * (beyond - 2 * self.height)

    def is_past_crest(self, x: float) -> bool:
        return x - self.distance >= self.height

    def is_beyond(self, x: float) -> bool:
        return x - self.distance >= 2 * self.height


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
        """Contribution of the bump to the loss."""
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


@dataclass(frozen=True)
class Staircase:
    """Several equal triangles, each a decline of length `distance` below the previous one."""

    distance: float
    height: float
    bumps: int
    up_slope: float = UP_SLOPE
    tail_slope: float = TAIL_SLOPE

    @property
    def pitch(self) -> float:
        """x from one foot to the next."""
        return 2 * self.height + self.distance

    @property
    def kinks(self) -> list[float]:
        return [self.distance + stair * self.pitch + k * self.height for stair in range(self.bumps) for k in range(3)]

    @property
    def crest(self) -> float:
        return self.kinks[-2]

    def stair(self, x: float) -> tuple[int, Triangle]:
        """Number of bumps that lie wholly behind x, and the nearest that does not (or the last) as a Triangle."""
        behind = min(max(math.floor((x - self.distance) / self.pitch), 0), self.bumps - 1)
        foot = self.distance + behind * self.pitch
        return behind, Triangle(foot, self.height, self.up_slope, self.tail_slope)

    def slope(self, x: float) -> float:
        return self.stair(x)[1].slope(x)

    def loss(self, x: float) -> float:
        behind, triangle = self.stair(x)
        return triangle.loss(x) + behind * self.tail_slope * self.distance

    def is_past_crest(self, x: float) -> bool:
        behind, triangle = self.stair(x)
        return behind == self.bumps - 1 and triangle.is_past_crest(x)

    def is_beyond(self, x: float) -> bool:
        behind, triangle = self.stair(x)
        return behind == self.bumps - 1 and triangle.is_beyond(x)


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


def rounding_error(steps: Any, distance: Any, eps: float = sys.float_info.epsilon) -> Any:
    """Height beyond the foot that rounding alone can lift x to: its last digit per step, in units of x.

    Args:
        steps, distance: numbers or arrays.
        eps: of the floats that x is kept in.
    """
    return steps * eps * distance
