"""Escaping by chance: how often an optimizer passes a bump when every slope it sees carries noise.

The noise N(0, s^2) is added to the slope where the optimizer stands, and before the crest that slope is -1 or +1
whatever the height. So the envelope (search.py) holds path by path: a path escapes a bump of height h exactly if
the same path, with the same noise, on the bump that never ends somewhere stands h or more beyond the foot. One batch
of paths gives the whole survival curve, P(escape | h).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bs6207.bump.kernels import KERNELS, Array, Hyperparameters
from bs6207.bump.landscape import START, VALLEY_SLOPE
from bs6207.bump.settings import BumpSettings
from bs6207.errors import UserError
from bs6207.runs.result import Checkpointable, Table

CHUNK = 10_000  # paths stepped together; the result depends on it, because it orders the random numbers
HEIGHTS = 201  # of the curve, evenly spaced up to the tallest bump that any path escaped
CONFIDENCE = 0.95
QUANTILES = (0.9, 0.5, 0.1)  # of escaping: h90 is passed by nine paths in ten


@dataclass(frozen=True)
class Survival(Checkpointable):
    """How often bumps are escaped."""

    optimizer: str
    noise: float
    trials: int
    height: Array  # [H], of the bump, units of x, rising
    chance: Array  # [H], the fraction of paths that escape it
    lower: Array  # [H], the exact band (Clopper and Pearson 1934) at `CONFIDENCE`, for each height by itself
    upper: Array
    # of h90, h50 and h10 the height and its band (lower, upper); 0 stands for paths that reach no bump at all
    quantiles: dict[str, dict[str, float]]

    def metrics(self) -> dict[str, Any]:
        return {"noise": self.noise, "trials": self.trials, "confidence": CONFIDENCE, **self.quantiles}

    def table(self) -> Table:
        columns = ("height", "chance", "lower", "upper")
        numbers = zip(*(getattr(self, name).tolist() for name in columns), strict=True)
        return Table(columns, [dict(zip(columns, row, strict=True)) for row in numbers])


def survive(
    optimizer: str, hyperparameters: Mapping[str, float], settings: BumpSettings, on_progress: Callable[[], None]
) -> Survival:
    """The survival curve of one optimizer in `KERNELS`; `on_progress` is called after each `CHUNK` of paths."""
    escaped, trials = climb(optimizer, hyperparameters, settings, on_progress), settings.trials
    if escaped[-1] == 0:
        raise UserError(f"{optimizer}: no path reaches the bump within {settings.steps} steps; raise steps or lr")
    height = np.linspace(0, escaped[-1], HEIGHTS + 1)[1:]
    count = trials - np.searchsorted(escaped, height)
    lower, upper = clopper_pearson(count, trials)
    quantiles = {f"h{chance * 100:.0f}": quantile(escaped, chance) for chance in QUANTILES}
    return Survival(optimizer, settings.noise, trials, height, count / trials, lower, upper, quantiles)


def climb(
    optimizer: str, hyperparameters: Mapping[str, float], settings: BumpSettings, on_progress: Callable[[], None]
) -> Array:
    """The tallest bump each path escapes, [trials], rising; 0 where it reaches none."""
    kernel, generator = KERNELS[optimizer], np.random.Generator(np.random.PCG64(settings.seed))
    own = Hyperparameters(**hyperparameters)
    highest = np.full(settings.trials, START)
    for first in range(0, settings.trials, CHUNK):
        top = highest[first : first + CHUNK]
        x, memory, slope = np.full(top.size, START), np.zeros((kernel.memories, top.size)), np.empty(top.size)
        with np.errstate(over="ignore", invalid="ignore"):  # divergence is an error below
            for step in range(1, settings.steps + 1):
                generator.standard_normal(out=slope)
                slope *= settings.noise
                slope += np.where(x < settings.distance, VALLEY_SLOPE, settings.up_slope)
                kernel.rule(x, slope, memory, step, own)
                np.maximum(top, x, out=top)
        if not np.isfinite(x).all():
            raise UserError(f"{optimizer}: a path does not stay finite; lower lr or the noise")
        on_progress()
    return np.sort(np.maximum(highest - settings.distance, 0.0))


def clopper_pearson(count: np.ndarray, trials: int) -> tuple[Array, Array]:
    """Exact bounds of a probability at `CONFIDENCE`, given how many of `trials` succeeded."""
    from scipy.stats import beta

    tail = (1 - CONFIDENCE) / 2
    lower = np.where(count == 0, 0.0, beta.ppf(tail, np.maximum(count, 1), trials - count + 1))
    upper = np.where(count == trials, 1.0, beta.ppf(1 - tail, count + 1, np.maximum(trials - count, 1)))
    return lower, upper


def quantile(escaped: Array, chance: float) -> dict[str, float]:
    """The height that `chance` of the paths escape; the band is between two order statistics, whatever their law.

    `escaped` is [trials], rising. Where there are too few for a band, it ends at 0 or at infinity.
    """
    from scipy.stats import binom

    below, trials = 1 - chance, escaped.size
    tail = (1 - CONFIDENCE) / 2
    first, last = int(binom.ppf(tail, trials, below)), int(binom.ppf(1 - tail, trials, below)) + 1  # ranks, from 1
    return {
        "height": float(np.quantile(escaped, below, method="inverted_cdf")),
        "lower": float(escaped[first - 1]) if first else 0.0,
        "upper": float(escaped[last - 1]) if last <= trials else np.inf,
    }
