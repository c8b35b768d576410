"""Scores summarized over several seeds."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from statistics import mean, median, stdev
from typing import Any


def over_seeds(scores: Mapping[int, Mapping[Any, Any]]) -> dict[str, Any]:
    """The median of every score over the seeds, and beside it mean, sample standard deviation and each seed's own."""
    every = list(scores.values())
    return summary(every, median) | {
        "mean": summary(every, mean),
        "sd": summary(every, lambda values: stdev(values) if len(values) > 1 and all(map(isfinite, values)) else None),
        "seeds": scores,
    }


def summary(scores: Sequence[Mapping[Any, Any]], reduce: Callable[[list[float]], Any]) -> dict[str, Any]:
    """Equally nested scores reduced, number by number, without the lists.

    A truth value is true if it is with every seed; a number that is None with some seeds is reduced over the others.
    """
    reduced: dict[str, Any] = {}
    for key, value in scores[0].items():
        values = [of_seed[key] for of_seed in scores if of_seed.get(key) is not None]
        if isinstance(value, Mapping):
            reduced[key] = summary(values, reduce)
        elif isinstance(value, bool):
            reduced[key] = all(values)
        elif not isinstance(value, list):
            reduced[key] = reduce(values) if values else None
    return reduced
