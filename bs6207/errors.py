"""What can go wrong in a way the user can mend: one sentence each, naming the value and the way out."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

MOST_TOLD = 3  # failures of one run
FEW_STEPS = 300  # of a training; on MNIST, with so many and a learning rate that suits, every network has learned much


class UserError(Exception):
    """A failure that is told in one sentence, without a traceback."""

    exit_code = 1


class SettingsError(UserError):
    """A flag, a configuration value or a request this machine cannot serve; raised before any file is written."""

    exit_code = 2


class DataError(UserError):
    """A data set that is missing, truncated, foreign or corrupt."""


class FolderError(UserError):
    """A run folder that is busy, taken by something else, or cannot be written."""


class DivergenceError(UserError):
    """A training whose loss is no longer a number, or no better than a constant image."""


def after(steps: int, lr: float | None) -> str:
    """The end of a sentence about a training that came to nothing: how long it was, and what to try.

    Args:
        lr: the learning rate, if the user has chosen it.
    """
    long = f"after {steps} steps" if steps > 1 else "after one step"
    other = "another --lr" if lr is None else f"another --lr than {lr:g}"
    if steps >= FEW_STEPS:
        return f"{long}; try {other}, or more --epochs"
    return f"{long} only; try more --epochs" + ("" if lr is None else f", or {other}")


def together(reasons: Sequence[str]) -> str:
    """The failures of one run as one sentence: the first few, and where the rest stands."""
    more = len(reasons) - MOST_TOLD
    return "; ".join([*reasons[:MOST_TOLD], *[f"and {more} more, see `failed` in metrics.json"] * (more > 0)])


def way_out(word: str, choices: Iterable[str]) -> str:
    """The end of a sentence about an unknown `word`: the nearest choice, or all of them."""
    known = sorted(choices)
    near = get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}"
