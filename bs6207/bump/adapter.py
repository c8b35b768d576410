"""Any optimizer as one interface: imported, given its keywords, called by its convention and isolated."""

import ast
import atexit
import collections.abc
import importlib
import inspect
import math
import os
import random
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from bs6207.bump.landscape import START, Slope
from bs6207.errors import SettingsError, suggest
from bs6207.runs.settings import shorten

MakeOptimizer = Callable[[list[Any]], Optimizer]
Presentation = Literal["list", "groups", "named"]
STDOUT = 1  # its file descriptor
NOWHERE = Path(os.devnull).open("w")  # noqa: SIM115
atexit.register(NOWHERE.close)


WORDS = {"true": "True", "false": "False", "none": "None", "null": "None", "inf": "1e999", "infinity": "1e999"}
WORD = re.compile(rf"\b({'|'.join(WORDS)})\b", re.IGNORECASE)
TYPE_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    tuple: "a list such as (0.9, 0.99)",
    list: "a list such as [0.9, 0.99]",
    str: "a word",
    NoneType: "none",
}
HUGE = 2**1000  # no float holds larger ones


class KeywordError(SettingsError):
    """A --set that cannot be used; the sentence names it."""


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
        if self.parameters == "groups":
            return [{"params": [x], "use_muon": True}]
        return [("x", x)] if self.parameters == "named" else [x]


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
    path, threads = sys.path.copy(), torch.get_num_threads()
    flushes_denormals = sys.float_info.min / 2 == 0
    python_state, numpy_state = random.getstate(), np.random.get_state()
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    place, colon, _ = name.rpartition(":")
    folder = Path.cwd() if colon else None  # torch's own optimizers need neither
    if folder and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    if place.endswith(".py"):
        sys.path.append(str(Path(place).expanduser().resolve().parent))
    sys.stdout.flush()
    stdout = os.dup(STDOUT)
    os.dup2(NOWHERE.fileno(), STDOUT)
    torch.set_num_threads(1)  # two collapse as soon as another process takes a core
    try:
        with redirect_stdout(NOWHERE), warnings.catch_warnings(), torch.random.fork_rng(gpus):
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(stdout, STDOUT)
        os.close(stdout)
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_num_threads(threads)
        torch.set_flush_denormal(flushes_denormals)
        if folder:
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


def constructor_keywords(target: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], bool]:
    """The keywords beside the parameters, through every `**kwargs` that passes them on to a base class.

    And whether any other is taken: a `**kwargs` with nothing but torch's own base class behind it takes anything. One
    with another class behind it is assumed to pass on all it gets, because many swallow a misspelt keyword in silence.
    """
    constructors: list[Callable[..., Any]] = [target]
    if inspect.isclass(target):
        constructors = [vars(base)["__init__"] for base in target.__mro__ if "__init__" in vars(base)]
        constructors = [init for init in constructors if init is not object.__init__ and not takes_defaults(init)]
    taken: dict[str, inspect.Parameter] = {}
    for constructor in constructors:
        parameters = list(signature(constructor).parameters.values())
        beside = parameters[2:] if inspect.isclass(target) else parameters[1:]
        named = {one.name: one for one in beside if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
        taken = named | taken  # the nearest class decides on a default
        if not any(one.kind is one.VAR_KEYWORD for one in beside):
            return taken, False
    return taken, bool(constructors)


def takes_defaults(constructor: Callable[..., Any]) -> bool:
    """Whether the arguments are parameters and their defaults, as of torch's own base class and those made after it."""
    return [*inspect.signature(constructor).parameters][2:] == ["defaults"]


def signature(constructor: Callable[..., Any]) -> inspect.Signature:
    """The signature, with annotations that were written as strings evaluated if possible."""
    try:
        return inspect.signature(constructor, eval_str=True)
    except Exception:  # they may name what is imported for type checkers only
        return inspect.signature(constructor)


def read_value(keyword: str, text: str, parameter: inspect.Parameter | None) -> Any:
    """The value of a keyword of --set: of the type of its default, or of its annotation.

    Args:
        parameter: of the constructor; None for what goes into its **kwargs, where any type may be right.

    Raises:
        SettingsError: it is of another type.
    """
    kinds = allowed_types(parameter)
    value = literal(text)
    if isinstance(value, tuple | list) and kinds & {tuple, list} and parameter is not None:
        if (items := convert_items(value, parameter.default)) is not None:
            return tuple(items) if isinstance(parameter.default, tuple) or list not in kinds else items
    elif not kinds or type(value) in kinds:
        return value
    elif type(value) is int and float in kinds and abs(value) < HUGE:
        return float(value)
    elif type(value) is int and bool in kinds and value in (0, 1):
        return bool(value)
    elif type(value) is float and int in kinds and value.is_integer():
        return int(value)
    if str in kinds:
        return text
    names = [name for kind, name in TYPE_NAMES.items() if kind in kinds and not (kind is int and float in kinds)]
    raise KeywordError(f"--set {keyword} must be {' or '.join(names)}, not {shorten(text)}")


def literal(text: str) -> Any:
    """A Python literal, in which true, false, none, null and inf may be written in any case; or the text itself."""
    for spelt in (text, WORD.sub(lambda word: WORDS[word[0].lower()], text)):
        with suppress(ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return ast.literal_eval(spelt.strip())
    return text


def allowed_types(parameter: inspect.Parameter | None) -> set[type]:
    """The types of `TYPE_NAMES` that a value may have; none if nothing is known."""
    if parameter is None:
        return set()
    default = type(parameter.default)
    is_known = default in TYPE_NAMES and default is not NoneType
    kinds = set(annotated_types(parameter.annotation)) & TYPE_NAMES.keys()
    if kinds - {NoneType}:
        return kinds | {default} if is_known else kinds
    if not is_known:
        return set()
    return {default} if default is bool else {default, NoneType} | ({float} if default is int else set())


def annotated_types(annotation: Any) -> Iterator[Any]:
    """The types that an annotation allows."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from annotated_types(part)
    elif origin is Literal:
        yield from map(type, get_args(annotation))
    elif origin in (collections.abc.Sequence, collections.abc.Iterable):
        yield from (tuple, list)
    else:
        yield origin or annotation


def convert_items(values: Sequence[Any], default: Any) -> list[Any] | None:
    """Values with whole numbers as floats where the default has floats; None if they are of other types."""
    kinds = {type(item) for item in default} if isinstance(default, tuple | list) else set()
    if kinds & {int, float}:
        kinds |= {int, float}
    if kinds and any(type(value) not in kinds for value in values):
        return None
    return [float(value) if type(value) is int and float in kinds else value for value in values]


def last_line(failure: BaseException) -> str:
    """The last line of an error's message, or its type if the message is empty."""
    lines = str(failure).strip().splitlines()
    return lines[-1] if lines else type(failure).__name__
