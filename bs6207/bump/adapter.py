"""Any optimizer as one interface: imported by its name, called by its own convention, isolated from this process."""

import atexit
import importlib
import inspect
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
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from bs6207.bump.landscape import START, Slope
from bs6207.errors import SettingsError, suggest

MakeOptimizer = Callable[[list[Any]], Optimizer]
Presentation = Literal["list", "groups", "named"]
STDOUT = 1  # its file descriptor
NOWHERE = Path(os.devnull).open("w")  # noqa: SIM115
atexit.register(NOWHERE.close)


@dataclass(frozen=True)
class Convention:
    """How an optimizer is called; the defaults suit most.

    Attributes:
        dtype: of x; float32 only for those that refuse float64.
        parameters: the constructor's argument: [x], [("x", x)], or a group with `use_muon`, by which Muon and its kin
            distinguish the matrices they orthogonalize from what they leave to Adam.
        sparse: the slope comes as a sparse tensor.
        closure: `step` is called with a function that sets the gradient where x then stands and returns the loss there.
        shape: of x, which holds one number in any of them.
    """

    dtype: torch.dtype = torch.float64
    parameters: Presentation = "list"
    sparse: bool = False
    closure: bool = False
    shape: tuple[int, ...] = ()

    def present(self, x: Tensor) -> list[Any]:
        """The constructor's argument."""
        choices: dict[Presentation, list[Any]] = {
            "list": [x],
            "groups": [{"params": [x], "use_muon": True}],
            "named": [("x", x)],
        }
        return choices[self.parameters]


@dataclass(frozen=True)
class Adapter:
    """An optimizer with its hyperparameters and its calling convention.

    Attributes:
        make: parameters, presented as `convention` says -> optimizer.
        hyperparameters: the keywords that `make` passes on.
        given: the same as plain data, each hyperparameter also by the name of its flag; has: what the optimizer then
            has, read back from its first group, but for what is off (0, False or None).
        seed: of every random number of a descent.
        precision: the coarsest floating dtype it computes in; see `optimizers.Coarsest` for what that can miss.
        looks_elsewhere: it asks for slopes at points it never stands on, as a line search does; then slopes beyond
            a crest it has not passed can sway it, and the envelope says nothing about real bumps.
    """

    name: str
    make: MakeOptimizer
    hyperparameters: dict[str, Any]
    seed: int = 0
    convention: Convention = Convention()
    precision: str = "float64"
    looks_elsewhere: bool = False
    given: dict[str, Any] = field(default_factory=dict)
    has: dict[str, Any] = field(default_factory=dict)


def descend(adapter: Adapter, landscape: Slope, steps: int, device: str) -> list[float]:
    """Positions after 0, 1, ... `steps` steps, [steps + 1]; ends before the first that is not finite.

    Every descent starts from the adapter's seed. So a stochastic optimizer repeats itself, and on two bumps of
    different height it draws the same numbers until it passes the lower crest, because until then it sees the same
    slopes: its thresholds compare like those of any other, for this one seed.
    """
    convention = adapter.convention
    x = torch.full(convention.shape, START, dtype=convention.dtype, device=device, requires_grad=True)

    def set_grad() -> None:
        # a new tensor each time, as backward() makes: some optimizers keep the last one, or write into it
        slope = torch.full_like(x, landscape.slope(x.item()))
        x.grad = slope.to_sparse() if convention.sparse else slope

    def closure() -> Tensor:
        set_grad()
        return torch.tensor(landscape.loss(x.item()), dtype=x.dtype, device=device)

    path = [START]
    with isolated(adapter.name):
        random.seed(adapter.seed)
        np.random.seed(adapter.seed)
        torch.default_generator.manual_seed(adapter.seed)
        if device != "cpu":
            torch.cuda.manual_seed_all(adapter.seed)
        optimizer = adapter.make(convention.present(x))
        if callable(train := getattr(optimizer, "train", None)):
            train()  # schedule-free: x is then where the slope is wanted, not the average of the path
        step = partial(optimizer.step, closure) if convention.closure else optimizer.step
        for _ in range(steps):
            set_grad()  # before a closure too: sharpness-aware ones start from the gradient that is there
            step()
            position = x.item()
            if not math.isfinite(position):
                break
            path.append(position)
    return path


@contextmanager
def isolated(name: str) -> Iterator[None]:
    """Run the code of the optimizer `name`: without output or warnings, and with the process restored at the end.

    Its modules are found in the current folder and beside its file. Restored are the import path, the current folder,
    the random states of Python, NumPy and torch, torch's threads and its treatment of denormals. Output is discarded
    at the file descriptor too, as some code writes past `sys.stdout`; `NOWHERE` stays open, as some keep a reference.
    """
    path, folder, threads = sys.path.copy(), Path.cwd(), torch.get_num_threads()
    flushes_denormals = sys.float_info.min / 2 == 0
    python_state, numpy_state = random.getstate(), np.random.get_state()
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    if (place := name.rpartition(":")[0]).endswith(".py"):
        sys.path.append(str(Path(place).expanduser().resolve().parent))
    sys.stdout.flush()
    stdout = os.dup(STDOUT)
    os.dup2(NOWHERE.fileno(), STDOUT)
    try:
        with redirect_stdout(NOWHERE), warnings.catch_warnings(), torch.random.fork_rng(gpus):
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(stdout, STDOUT)
        os.close(stdout)
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        torch.set_flush_denormal(flushes_denormals)
        os.chdir(folder)
        sys.path[:] = path


def load(name: str) -> Callable[..., Any]:
    """Import the class that `package.module:Class` or `file.py:Class` names, from the current folder first.

    Raises:
        SettingsError: there is no such module or file, it fails, or it has no such class.
    """
    place, _, dotted = name.rpartition(":")
    is_file = place.endswith(".py")
    if not all(part.isidentifier() for part in (*(() if is_file else place.split(".")), *dotted.split("."))):
        raise SettingsError(f"{name!r} names no class; write package.module:Class")
    try:
        with isolated(name):
            target: Any = import_file(Path(place)) if is_file else importlib.import_module(place)
    except SettingsError:
        raise
    except (Exception, SystemExit) as failure:
        if isinstance(failure, ModuleNotFoundError) and not is_file and f"{place}.".startswith(f"{failure.name}."):
            raise SettingsError(f"no module {failure.name!r}; install it, or run in the folder it is in") from None
        raise SettingsError(f"{name}: importing {place} failed: {last_line(failure)}") from failure
    for attribute in dotted.split("."):
        if not hasattr(target, attribute):
            optimizers = [known for known in dir(target) if hasattr(getattr(target, known, None), "step")]
            hint = suggest(attribute, optimizers) if optimizers else "name a class that has a step method"
            raise SettingsError(f"no {attribute!r} in {getattr(target, '__name__', target)}; {hint}")
        target = getattr(target, attribute)
    try:
        inspect.signature(target)
    except (TypeError, ValueError):  # no callable, or one without a signature
        raise SettingsError(f"{name} is of type {type(target).__name__}; name a class with a step method") from None
    return target


def import_file(file: Path) -> ModuleType:
    """The module in a file, which is imported once.

    Raises:
        SettingsError: there is no such file.
    """
    file = file.expanduser().resolve()
    if not file.is_file():
        raise SettingsError(f"there is no file {file}; give its path from the current folder on")
    if (name := str(file)) not in sys.modules:
        sys.modules[name] = module = ModuleType(name)
        module.__file__ = name
        try:
            exec(compile(file.read_bytes(), name, "exec"), vars(module))
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def last_line(failure: BaseException) -> str:
    """The last line of an error's message, or its type if the message is empty."""
    lines = str(failure).strip().splitlines()
    return lines[-1] if lines else type(failure).__name__
