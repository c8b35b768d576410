"""Losses over one number: down into a valley, then over one bump or several, then a gentle decline for ever."""

import math
from dataclasses import dataclass
from typing import Protocol

START = 0.0  # where every descent begins; the loss is `distance` there
VALLEY_SLOPE = -1.0  # change of loss per unit of x, from the start to the foot of the bump
UP_SLOPE = 1.0  # up the bump of the classical exercise
TAIL_SLOPE = -0.3  # beyond it, so that whoever passes does not come back


class Landscape(Protocol):
    """A loss over x. At a kink the slope is that of the right-hand side."""

    @property
    def kinks(self) -> list[float]:
        """x of every point worth drawing, from the foot of the first bump to the end of the last."""

    @property
    def crest(self) -> float:
        """x of the last crest."""

    def loss(self, x: float) -> float:
        """Height of the landscape at x; continuous."""

    def slope(self, x: float) -> float:
        """Derivative of the loss."""

    def is_past_crest(self, x: float) -> bool:
        """Whether x has passed the last crest; the crest itself counts, because the slope there leads onward."""

    def is_beyond(self, x: float) -> bool:
        """Whether x has left all bumps behind."""


@dataclass(frozen=True)
class Triangle:
    """The classical bump: as steep down as up, its crest at x = distance + height.

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
        """Foot, crest and end."""
        return [self.distance + k * self.height for k in range(3)]

    @property
    def crest(self) -> float:
        """x of the crest."""
        return self.distance + self.height

    def slope(self, x: float) -> float:
        """Derivative of the loss.

        Positions are compared as `x - distance`, which floats compute exactly near the bump (Sterbenz 1974),
        so the answer never depends on how `distance + height` was rounded.
        """
        beyond = x - self.distance
        if beyond < 0:
            return VALLEY_SLOPE
        if beyond < self.height:
            return self.up_slope
        return -self.up_slope if beyond < 2 * self.height else self.tail_slope

    def loss(self, x: float) -> float:
        """Height of the landscape at x."""
        beyond = x - self.distance
        if beyond < 0:
            return VALLEY_SLOPE * beyond
        if beyond < self.height:
            return self.up_slope * beyond
        if beyond < 2 * self.height:
            return self.up_slope * (2 * self.height - beyond)
        return self.tail_slope * (beyond - 2 * self.height)

    def is_past_crest(self, x: float) -> bool:
        """Whether x stands on the crest or beyond."""
        return x - self.distance >= self.height

    def is_beyond(self, x: float) -> bool:
        """Whether x has reached the decline."""
        return x - self.distance >= 2 * self.height


@dataclass(frozen=True)
class Gaussian:
    """A smooth bump, height * exp(-(x - crest)^2 / 2 width^2), added to a valley and its decline.

    Its slopes grow with its height, so a tall one can throw an optimizer across: escaping is not monotone.
    """

    distance: float
    height: float
    width: float
    tail_slope: float = TAIL_SLOPE

    @property
    def crest(self) -> float:
        """x where the bump is highest, two widths beyond the valley."""
        return self.distance + 2 * self.width

    @property
    def kinks(self) -> list[float]:
        """The valley, and the bump from two widths before its crest to three beyond."""
        return [self.distance, *(self.crest + k * self.width / 8 for k in range(-15, 25))]

    def bump(self, x: float) -> float:
        """What the bump adds to the loss."""
        return self.height * math.exp(-0.5 * ((x - self.crest) / self.width) ** 2)

    def slope(self, x: float) -> float:
        """Derivative of the loss."""
        base = VALLEY_SLOPE if x < self.distance else self.tail_slope
        return base - self.bump(x) * (x - self.crest) / self.width**2

    def loss(self, x: float) -> float:
        """Height of the landscape at x."""
        base = VALLEY_SLOPE if x < self.distance else self.tail_slope
        return base * (x - self.distance) + self.bump(x)

    def is_past_crest(self, x: float) -> bool:
        """Whether x stands on the crest or beyond."""
        return x >= self.crest

    def is_beyond(self, x: float) -> bool:
        """Whether x is three widths beyond the crest, where 1 % of the bump is left."""
        return x >= self.crest + 3 * self.width


@dataclass
class Valley:
    """A smooth valley, whose slopes grow from none at its bottom to `steepest` far away; for telling optimizers apart.

    On triangles most slopes are -1 or +1, and gradient descent walks as the descent by signs does.
    """

    bottom: float
    width: float
    steepest: float

    def loss(self, x: float) -> float:
        """Height of the landscape at x."""
        return self.steepest * self.width * math.hypot(1, (x - self.bottom) / self.width)

    def slope(self, x: float) -> float:
        """Derivative of the loss."""
        away = (x - self.bottom) / self.width
        return self.steepest * away / math.hypot(1, away)


@dataclass(frozen=True)
class Staircase:
    """Several equal triangles, each a decline of length `distance` below the one before."""

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
        """Foot, crest and end of every bump."""
        return [self.distance + stair * self.pitch + k * self.height for stair in range(self.bumps) for k in range(3)]

    @property
    def crest(self) -> float:
        """x of the last crest."""
        return self.kinks[-2]

    def stair(self, x: float) -> tuple[int, Triangle]:
        """How many bumps lie wholly behind x, and the nearest that does not (or the last), as a bump of its own."""
        behind = min(max(math.floor((x - self.distance) / self.pitch), 0), self.bumps - 1)
        foot = self.distance + behind * self.pitch
        return behind, Triangle(foot, self.height, self.up_slope, self.tail_slope)

    def slope(self, x: float) -> float:
        """Derivative of the loss."""
        return self.stair(x)[1].slope(x)

    def loss(self, x: float) -> float:
        """Height of the landscape at x."""
        behind, triangle = self.stair(x)
        return triangle.loss(x) + behind * self.tail_slope * self.distance

    def is_past_crest(self, x: float) -> bool:
        """Whether x stands on the last crest or beyond."""
        behind, triangle = self.stair(x)
        return behind == self.bumps - 1 and triangle.is_past_crest(x)

    def is_beyond(self, x: float) -> bool:
        """Whether x has reached the last decline."""
        behind, triangle = self.stair(x)
        return behind == self.bumps - 1 and triangle.is_beyond(x)
