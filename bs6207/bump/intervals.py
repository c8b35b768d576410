"""Real numbers enclosed between two decimals of 60 places, rounded outward (Moore 1966)."""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

DIGITS = 60
UNIT = 10**DIGITS  # an interval's ends are integers, in units of 1e-60
Number: TypeAlias = Any  # a Fraction or an Interval; the two never meet in one operation


class Refusal(Exception):
    """Why arithmetic cannot settle a question, in a clause."""


@dataclass(slots=True)
class Interval:
    """The real numbers from `low` to `high`, in units of 1e-60.

    Arithmetic encloses every possible result; a comparison is true where it is true of all numbers in both.
    """

    low: int
    high: int

    def __add__(self, other: "Interval") -> "Interval":
        return Interval(self.low + other.low, self.high + other.high)

    def __sub__(self, other: "Interval") -> "Interval":
        return Interval(self.low - other.high, self.high - other.low)

    def __rsub__(self, number: int) -> "Interval":
        return enclose(number) - self

    def __neg__(self) -> "Interval":
        return Interval(-self.high, -self.low)

    def __mul__(self, other: "Interval") -> "Interval":
        ends = (self.low * other.low, self.low * other.high, self.high * other.low, self.high * other.high)
        return Interval(min(ends) // UNIT, -(-max(ends) // UNIT))

    def __truediv__(self, other: "Interval") -> "Interval":
        """Quotient by an interval that should be above 0."""
        if other.low <= 0:
            raise Refusal(f"a divisor cannot be told from 0 in {DIGITS} decimals")
        ends = [(low * UNIT, divisor) for low in (self.low, self.high) for divisor in (other.low, other.high)]
        return Interval(min(end // by for end, by in ends), max(-(-end // by) for end, by in ends))

    def __rtruediv__(self, number: int) -> "Interval":
        return enclose(number) / self

    def sqrt(self) -> "Interval":
        """Square root of an interval not below 0."""
        return Interval(math.isqrt(self.low * UNIT), math.isqrt(self.high * UNIT) + 1)

    def __abs__(self) -> "Interval":
        return Interval(max(self.low, -self.high, 0), max(-self.low, self.high))

    def __pow__(self, exponent: int) -> "Interval":
        power = enclose(1)
        for _ in range(exponent):
            power = power * self
        return power

    def __lt__(self, other: "Interval") -> bool:
        return self.high < other.low

    def __le__(self, other: "Interval") -> bool:
        return self.high <= other.low


def enclose(number: Number) -> Interval:
    """The narrowest interval around a number; an interval as it is."""
    if isinstance(number, Interval):
        return number
    return Interval(math.floor(number * UNIT), math.ceil(number * UNIT))


def decimal(end: int) -> str:
    """The end of an interval, exactly."""
    whole, part = divmod(abs(end), UNIT)
    return f"{'-' if end < 0 else ''}{whole}.{part:0{DIGITS}}".rstrip("0").rstrip(".")
