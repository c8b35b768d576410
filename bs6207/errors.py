"""Failures that the user can fix: one sentence each, naming the value and the remedy."""

import errno
import re
import tempfile
import textwrap
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

MOST_LISTED = 3  # failures of one run
LONGEST_REASON = 200  # letters of a library's message
FEW_STEPS = 300  # of a training; on MNIST, with a suitable learning rate, enough for every network to improve much

# How torch words a RuntimeError where an allocation is refused, on a GPU and elsewhere.
GPU_IS_FULL = r"(CUDA|HIP|MPS)\b.*out of memory|CU(BLAS|DNN|SOLVER|FFT)_(STATUS_)?ALLOC_FAILED"
MEMORY_IS_FULL = r"DefaultCPUAllocator|can't allocate memory|not enough memory|std::bad_alloc|Cannot allocate memory"
LESS = "ask for less at a time: smaller batches, fewer or smaller images"
NO_TEMPORARY_FOLDER = "no folder for temporary files can be written"
SET_TMPDIR = "set TMPDIR to a folder that can be written"


class UserError(Exception):
    """A failure that is printed as one sentence, "PROBLEM" or "PROBLEM; REMEDY", without a traceback."""

    exit_code = 1

    def __init__(self, problem: str, remedy: str = ""):
        super().__init__(*filter(None, (problem, remedy)))  # all that is pickled
        self.problem, self.remedy = problem, remedy

    def __str__(self) -> str:
        return "; ".join(self.args)


class SettingsError(UserError, ValueError):
    """A setting, a configuration value or a request this machine cannot serve; raised before any file is written."""

    exit_code = 2


class DataError(UserError):
    """A data set that is missing, truncated, foreign or corrupt."""


class FolderError(UserError):
    """A run folder that is busy, taken by something else, or cannot be written."""


class DivergenceError(UserError):
    """A training whose loss is no longer a number, or no better than a constant image."""


def after(steps: int, lr: float | None) -> str:
    """The end of a sentence about a failed training, its length and what to try; `lr` is None if it is the default."""
    long = f"after {steps} steps" if steps > 1 else "after one step"
    other = "another --lr" if lr is None else f"another --lr than {lr:g}"
    if steps >= FEW_STEPS:
        return f"{long}; try {other}, or more --epochs"
    return f"{long} only; try more --epochs" + ("" if lr is None else f", or {other}")


class MemoryShortage(UserError):
    """A refused allocation."""


def memory_shortage(failure: BaseException, where: str = "") -> MemoryShortage | None:
    """The error to report for an allocation refused by Python, numpy, torch, a driver or the system, else None."""
    at = f" at {where}" if where else ""
    of_torch = str(failure) if isinstance(failure, RuntimeError) else ""
    if re.search(GPU_IS_FULL, of_torch):
        return MemoryShortage(f"the GPU's memory was full{at}; try fewer --jobs, or --device cpu")
    is_full = isinstance(failure, MemoryError) or getattr(failure, "errno", None) == errno.ENOMEM
    if is_full or re.search(MEMORY_IS_FULL, of_torch):
        return MemoryShortage(f"the memory was full{at}; close other programs, try fewer --jobs, or {LESS}")
    return None


def in_a_sentence(failure: Exception) -> str:
    """A failure without a message of ours; most are of the system, and name a file."""
    if shortage := memory_shortage(failure):
        return str(shortage)
    if isinstance(failure, OSError) and not has_temporary_folder():
        return f"{NO_TEMPORARY_FOLDER}; {SET_TMPDIR}"
    if isinstance(failure, OSError) and failure.filename is not None:
        return f"cannot use {failure.filename}: {failure.strerror}; see that it is there and that you may use it"
    return f"{type(failure).__name__}: {failure}; run again with --debug for where it happened"


def reason_of(failure: Exception) -> str:
    """The message of a library's exception in one short line; torch lists every weight that does not fit."""
    return textwrap.shorten(str(failure), LONGEST_REASON)


def has_temporary_folder() -> bool:
    """Whether temporary files can be made, as Python, torch and matplotlib must."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        return False
    return True


def require_temporary_folder() -> None:
    """Raise UserError unless temporary files can be made, as torch does when it is imported."""
    if not has_temporary_folder():
        raise UserError(NO_TEMPORARY_FOLDER, SET_TMPDIR)


def together(reasons: Sequence[str]) -> str:
    """The failures of one run as one sentence: the first few, and where to find the rest."""
    more = len(reasons) - MOST_LISTED
    return "; ".join([*reasons[:MOST_LISTED], *[f"and {more} more, see `failed` in metrics.json"] * (more > 0)])


def suggest(word: str, choices: Iterable[str]) -> str:
    """The end of a sentence about an unknown `word`: the nearest choice, or all of them."""
    known = sorted(choices)
    initials = "".join(part[:1] for part in re.split("[-_]", word))  # lr for learning_rate
    near = [initials] if initials in known else get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}"
