"""The axes of a phase diagram, as written on the command line: `lr=0.01:1:512`."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bs6207.errors import way_out
from bs6207.experiment import Storable

MOST_VALUES = 4096  # on one axis


@dataclass(frozen=True)
class Axis(Storable):
    """One setting and the `count` evenly spaced values it takes, both ends included."""

    name: str
    low: float
    high: float
    count: int

    @property
    def values(self) -> list[float]:
        """[count], rising."""
        step = (self.high - self.low) / (self.count - 1)
        return [self.low + step * place for place in range(self.count - 1)] + [self.high]


def parse_sweep(texts: Sequence[str], names: Collection[str]) -> tuple[Axis, Axis]:
    """The two axes of `--sweep lr=0.01:1:512 beta1=0:0.99:512`: rows, then columns.

    Args:
        texts: KEY=LOW:HIGH:COUNT.
        names: the settings that can be swept.

    Raises:
        ValueError: not two axes, or one that cannot be read; the message says what to write instead.
    """
    if len(texts) != 2:
        raise ValueError(f"a sweep has two axes, not {len(texts)}; write lr=0.01:1:512 beta1=0:0.99:512")
    rows, columns = (parse_axis(text, names) for text in texts)
    if rows.name == columns.name:
        raise ValueError(f"{rows.name} is swept twice; sweep two different settings")
    return rows, columns


def parse_axis(text: str, names: Collection[str]) -> Axis:
    """KEY=LOW:HIGH:COUNT, read and checked; see `parse_sweep`."""
    name, equals, numbers = text.partition("=")
    name = name.replace("-", "_")
    parts = numbers.split(":")
    if not equals or len(parts) != 3:
        raise ValueError(f"{text!r} is no axis; write KEY=LOW:HIGH:COUNT, such as lr=0.01:1:512")
    if name not in names:
        raise ValueError(f"{name!r} cannot be swept; {way_out(name, names)}")
    try:
        low, high, count = float(parts[0]), float(parts[1]), int(parts[2])
    except ValueError:
        raise ValueError(f"{text!r}: write numbers for LOW and HIGH, a whole one for COUNT") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"{text!r}: LOW must be less than HIGH, and both finite")
    if not 2 <= count <= MOST_VALUES:
        raise ValueError(f"{text!r}: COUNT must be from 2 to {MOST_VALUES}")
    return Axis(name, low, high, count)
