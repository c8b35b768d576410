"""Any optimizer as one interface: built from names and keywords, stepped over a loss."""

import atexit
import math
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from bs6207.bump.landscape import START

MakeOptimizer = Callable[[list[Any]], Optimizer]
STDOUT = 1  # its file descriptor
NOWHERE = Path(os.devnull).open("w")  # noqa: SIM115


atexit.register(NOWHERE.close)


Presentation = Literal["list", "groups", "named"]


class Terrain(Protocol):
    """What can be walked on."""

    def loss(self, x: float) -> float:
        """Height at x."""

    def slope(self, x: float) -> float:
        """Derivative of the loss at x."""


@dataclass(frozen=True)
class Handling:
    """How an optimizer wants to be treated; the defaults suit most.

    Attributes:
        dtype: of x; float32 only for those that refuse float64.
        parameters: what the constructor is given: [x], [("x", x)], or a group that says `use_muon`, by which Muon
            and its kin tell the matrices they orthogonalize from what they leave to Adam.
        sparse: the slope comes as a sparse tensor.
        closure: `step` is given a function that gives x the slope where it then stands and returns the loss there.
        shape: of x, which holds one number in any of them.
    """

    dtype: torch.dtype = torch.float64
    parameters: Presentation = "list"
    sparse: bool = False
    closure: bool = False
    shape: tuple[int, ...] = ()

    def present(self, x: Tensor) -> list[Any]:
        """What the constructor is given."""
        choices: dict[Presentation, list[Any]] = {
            "list": [x],
            "groups": [{"params": [x], "use_muon": True}],
            "named": [("x", x)],
        }
        return choices[self.parameters]


@dataclass(frozen=True)
class Candidate:
    """An optimizer that is known to walk.

    Attributes:
        make: parameters, presented as `handling` says -> optimizer.
        hyperparameters: what `make` passes on, by keyword.
        given: the same as plain data, each hyperparameter also by the name of its flag; has: what the optimizer then
            has, read back from its first group, but for what is off (0, False or None).
        seed: of every random number of a walk.
        precision: the coarsest floating dtype it computes in; see `candidates.Coarsest` for what that can miss.
        looks_elsewhere: it asks for slopes at points it never stands on, as a line search does; then slopes beyond
            a crest it has not passed can sway it, and the envelope says nothing about real bumps.
    """

    name: str
    make: MakeOptimizer
    hyperparameters: dict[str, Any]
    seed: int = 0
    handling: Handling = Handling()
    precision: str = "float64"
    looks_elsewhere: bool = False
    given: dict[str, Any] = field(default_factory=dict)
    has: dict[str, Any] = field(default_factory=dict)


def descend(candidate: Candidate, landscape: Terrain, steps: int, device: str) -> list[float]:
    """Positions after 0, 1, ... `steps` steps, [steps + 1]; ends before the first that is not finite.

    Every walk starts from the candidate's seed. So a stochastic optimizer repeats itself, and on two bumps of
    different height it draws the same numbers until it passes the lower crest, because until then it sees the same
    slopes: its thresholds compare like those of any other, for this one seed.
    """
    for start_random_stream in (random.seed, np.random.seed, torch.manual_seed):
        start_random_stream(candidate.seed)
    handling = candidate.handling
    x = torch.full(handling.shape, START, dtype=handling.dtype, device=device, requires_grad=True)

    def feel() -> None:
        # a new tensor each time, as backward() makes: some optimizers keep the last one, or write into it
        slope = torch.full_like(x, landscape.slope(x.item()))
        x.grad = slope.to_sparse() if handling.sparse else slope

    def feel_and_tell() -> Tensor:
        feel()
        return torch.tensor(landscape.loss(x.item()), dtype=x.dtype, device=device)

    path = [START]
    with quiet():
        optimizer = candidate.make(handling.present(x))
        if callable(train := getattr(optimizer, "train", None)):
            train()  # schedule-free: x is then where the slope is wanted, not the average of the path
        step = partial(optimizer.step, feel_and_tell) if handling.closure else optimizer.step
        for _ in range(steps):
            feel()  # before a closure too: sharpness-aware ones start from the gradient that is there
            step()
            position = x.item()
            if not math.isfinite(position):
                break
            path.append(position)
    return path


@contextmanager
def quiet() -> Iterator[None]:
    """Keep foreign code off our standard output, which scripts read, and its warnings off the screen.

    The file descriptor too: some write past `sys.stdout`. `NOWHERE` stays open, since some keep what they saw.
    """
    sys.stdout.flush()
    kept = os.dup(STDOUT)
    os.dup2(NOWHERE.fileno(), STDOUT)
    try:
        with redirect_stdout(NOWHERE), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(kept, STDOUT)
        os.close(kept)
