"""The summit of a path in exact arithmetic, for where rounding decides.

With a learning rate of 1/4 and the foot of the bump at 1, x can stand exactly on the foot, or come ever nearer to it;
floats then fall to either side. Here the path is walked in fractions, and from where these grow too long in intervals.
On the foot the slope is that of the right-hand side, +1; on the crest x has escaped: as in landscape.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

from bs6207.bump.intervals import UNIT, Interval, Refusal, decimal, enclose
from bs6207.bump.rules import follow, linear_rule

LONGEST = 13_000  # bits of a denominator that is written out, some 4,000 digits


@dataclass(frozen=True)
class ExactSummit:
    """The tallest bump escaped within a number of steps, h_max.

    Attributes:
        low, high: h_max lies between them, and is both if they are equal; below 0 if the bump is never reached.
        step: after which x is largest; the first such, as far as can be told.
        ties: the steps after which x stood exactly on the foot of the bump.
        exact_steps: how many steps were taken in fractions.
    """

    low: Fraction
    high: Fraction
    step: int
    ties: list[int]
    exact_steps: int

    def report(self) -> dict[str, Any]:
        """The summit as plain data; `h_max` is the fraction itself, or [low, high], rounded outward to 60 decimals."""
        exact = self.low == self.high and self.low.denominator.bit_length() < LONGEST
        return {
            "h_max": str(self.low) if exact else [decimal(enclose(self.low).low), decimal(enclose(self.high).high)],
            "decimal": rounded(self.low),
            "step": self.step,
            "ties": self.ties,
            "exact_steps": self.exact_steps,
        }


def exact_summit(name: str, hyperparameters: Mapping[str, float], distance: float, steps: int) -> ExactSummit:
    """Find the summit of an optimizer's path of `steps` steps, 1 or more, towards a bump at `distance`.

    Raises:
        Refusal: the optimizer's steps are not rational in its hyperparameters, or x comes too near to the foot of the
            bump after the fractions have grown too long.
    """
    rule = linear_rule(name, hyperparameters)
    if not rule.rational:
        raise Refusal(f"the steps of {name} hold a square root, which exact fractions cannot follow")
    foot = Fraction(str(distance))
    *_, walk = follow(rule, foot, steps)
    lows = [Fraction(x.low, UNIT) if isinstance(x, Interval) else x for x in walk.path]
    highs = [Fraction(x.high, UNIT) if isinstance(x, Interval) else x for x in walk.path]
    low, high = max(lows), max(highs)
    exact_steps = sum(isinstance(x, Fraction) for x in walk.path) - 1
    return ExactSummit(low - foot, high - foot, lows.index(low), walk.ties, exact_steps)


def rounded(number: Fraction) -> str:
    """A fraction to 30 significant digits."""
    with localcontext(prec=30):
        return f"{(Decimal(number.numerator) / number.denominator).normalize():f}"
