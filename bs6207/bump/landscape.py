"""A one-dimensional loss with a bump: down to a valley, up and down a triangle, then a gentle decline for ever."""

import math
from dataclasses import dataclass

START = 0.0  # where every descent begins; the loss is `distance` there
VALLEY_SLOPE = -1.0  # change of loss per unit of x, from the start to the foot of the bump
UP_SLOPE = 1.0  # up the bump, as steep as the valley
DOWN_SLOPE = -1.0  # down its far side
TAIL_SLOPE = -0.3  # beyond it, so that whoever passes never comes back


@dataclass(frozen=True)
class Landscape:
    """The loss over x.

    Attributes:
        distance: x of the foot of the bump, where the loss is 0.
        height: loss at the crest, which stands at x = distance + height; infinite for a bump that never ends.
    """

    distance: float
    height: float

    @property
    def crest(self) -> float:
        """x of the top of the bump."""
        return self.distance + self.height

    @property
    def end(self) -> float:
        """x where the bump ends and the decline begins."""
        return self.distance + 2 * self.height

    def slope(self, x: float) -> float:
        """Derivative of the loss; at a kink, the slope of the right-hand side.

        Positions are compared as `x - distance`, which floats compute exactly near the bump (Sterbenz 1974),
        so the answer never depends on how `distance + height` was rounded.
        """
        beyond = x - self.distance
        if beyond < 0:
            return VALLEY_SLOPE
        if beyond < self.height:
            return UP_SLOPE
        if beyond < 2 * self.height:
            return DOWN_SLOPE
        return TAIL_SLOPE

    def loss(self, x: float) -> float:
        """Height of the landscape at x; continuous."""
        beyond = x - self.distance
        if beyond < 0:
            return VALLEY_SLOPE * beyond
        if beyond < self.height:
            return UP_SLOPE * beyond
        if beyond < 2 * self.height:
            return UP_SLOPE * self.height + DOWN_SLOPE * (beyond - self.height)
        return TAIL_SLOPE * (beyond - 2 * self.height)

    def is_past_crest(self, x: float) -> bool:
        """Whether x has passed the bump; the crest itself counts, because the slope there leads onward."""
        return x - self.distance >= self.height


def endless(distance: float) -> Landscape:
    """The landscape whose bump never ends: what an optimizer sees of any bump until it passes the crest."""
    return Landscape(distance, math.inf)
