"""Any optimizer as one interface: imported, given its keywords, called by its convention and isolated.

Only those that step through torch import it, as that takes ten times as long as all else here.
"""

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union, get_args, get_origin

import numpy as np

from bs6207.bump.kernels import Floats, Follow, Positions, Step, follow
from bs6207.bump.landscape import START, Slope
from bs6207.errors import SettingsError, suggest
from bs6207.runs.settings import shorten

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

MakeOptimizer: TypeAlias = "Callable[[list[Any]], Optimizer]"
EPS = {"float64": 2.0**-52, "float32": 2.0**-23}  # from 1 to the next number
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
WANTED: dict[str, tuple[Callable[[Any], bool], str, str]] = {  # of an import: what to suggest, what it has, its name
    "class": (lambda value: hasattr(value, "step"), "a step method", "Class"),
    "function": (inspect.isfunction, "two arguments, x and h", "function"),
}


class KeywordError(SettingsError):
    """A --set or --schedule that cannot be used; the sentence names it."""


@dataclass(frozen=True)
class Convention:
    """How an optimizer is called; the defaults suit most."""

    dtype: str = "float64"  # of x; float32 only for those that refuse float64
    parameters: Presentation = "list"  # "groups": with `use_muon`, by which Muon and its kin know matrices
    sparse: bool = False  # the slope comes as a sparse tensor
    closure: bool = False  # `step` is called with a function that sets the gradient where x is and returns the loss
    shape: tuple[int, ...] = ()  # of x, which holds one number in any of them

    def start(self, device: str = "cpu") -> "Tensor":
        """x where every descent begins."""
        import torch

        dtype = getattr(torch, self.dtype)
        return torch.full(self.shape, START, dtype=dtype, device=device, requires_grad=True)

    def present(self, x: "Tensor") -> list[Any]:
        return [{"list": x, "named": ("x", x), "groups": {"params": [x], "use_muon": True}}[self.parameters]]


@dataclass(frozen=True)
class Adapter:
    """An optimizer with its hyperparameters and its calling convention.

    One that `looks_elsewhere` asks for slopes at points it never stands on, as a line search does; then slopes beyond a
    crest it has not passed can sway it, and the envelope says nothing about real bumps.
    """

    name: str
    make: MakeOptimizer  # of parameters, presented as `convention` says
    hyperparameters: dict[str, Any]  # the keywords that `make` passes on
    seed: int = 0  # of every random number of a descent
    takes: Mapping[str, inspect.Parameter] = field(default_factory=dict)  # all keywords that its constructor names
    target: Callable[..., Any] | None = None  # the constructor itself, where it takes others too
    convention: Convention = Convention()
    precision: str = "float64"  # the coarsest it computes in; see `optimizers.Coarsest` for what that can miss
    looks_elsewhere: bool = False
    given: dict[str, Any] = field(default_factory=dict)  # as plain data, those of flags by their names too
    has: dict[str, Any] = field(default_factory=dict)  # what it then has, but for what is off (0, False or None)
    schedule: "Callable[[Optimizer], LRScheduler] | None" = None  # of its lr; a constant lr has none
    rule: tuple[Step, Floats] | None = None  # by which it steps, without torch and `make`; None for all that need those

    @property
    def follow(self) -> Follow:
        return partial(follow, *self.rule) if self.rule else partial(follow_torch, self.make)


def descend(
    adapter: Adapter, landscape: Slope, steps: int, device: str, until: Callable[[float], bool] | None = None
) -> list[float]:
    """Positions after 0, 1, ... `steps` steps, [steps + 1]; ends before the first that is not finite.

    It ends with the first position for which `until` is true, if that is given.

    Every descent starts from the adapter's seed. So a stochastic optimizer repeats itself, and on two bumps of
    different height it draws the same numbers until it passes the lower crest, because until then it sees the same
    slopes: its thresholds compare like those of any other, for this one seed.
    """
    if adapter.rule:
        path = [START]
        for position, _ in islice(follow(*adapter.rule, landscape), steps):
            path.append(position)
            if until and until(position):
                break
        return path

    import torch

    convention = adapter.convention
    x = convention.start(device)

    def set_grad() -> None:
        # a new tensor each time, as backward() makes: some optimizers keep the last one, or write into it
        slope = torch.full_like(x, landscape.slope(x.item()))
        x.grad = slope.to_sparse() if convention.sparse else slope

    def closure() -> "Tensor":
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
        scheduler = adapter.schedule(optimizer) if adapter.schedule else None
        step = partial(optimizer.step, closure) if convention.closure else optimizer.step
        for _ in range(steps):
            set_grad()  # before a closure too: sharpness-aware ones start from the gradient that is there
            step()
            if scheduler:
                scheduler.step()
            position = x.item()
            if not math.isfinite(position):
                break
            path.append(position)
            if until and until(position):
                break
    return path


def follow_torch(make: MakeOptimizer, landscape: Slope) -> Positions:
    """The positions of an optimizer of torch's, of a number in float64."""
    import torch

    x = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    slope = x.grad = torch.zeros_like(x)
    optimizer = make([x])

    def state() -> bytes:
        tensors = [x.detach(), *(tensor for key, tensor in sorted(optimizer.state[x].items()) if key != "step")]
        return b"".join(tensor.numpy().tobytes() for tensor in tensors)

    while True:
        slope.fill_(landscape.slope(x.item()))
        optimizer.step()
        yield x.item(), state


@contextmanager
def isolated(name: str) -> Iterator[None]:
    """Run the code of the optimizer `name`: without output or warnings, and with the process restored at the end.

    Its modules are found in the current folder and beside its file. Restored are the import path, the current folder,
    the random states of Python, NumPy and torch, torch's threads and its treatment of denormals. Output is discarded
    at the file descriptor too, as some code writes past `sys.stdout`; `NOWHERE` stays open, as some keep a reference.
    """
    import torch

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


def load(name: str, noun: str = "class") -> Callable[..., Any]:
    """Import the class that `package.module:Class` or `file.py:Class` names, from the current folder first.

    With the noun "function" it is a function of x and h.
    """
    is_wanted, has, example = WANTED[noun]
    place, _, dotted = name.rpartition(":")
    is_file = place.endswith(".py")
    if not all(part.isidentifier() for part in (*(() if is_file else place.split(".")), *dotted.split("."))):
        raise SettingsError(f"{name!r} names no {noun}; write package.module:{example}")
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
            others = [known for known in dir(target) if is_wanted(getattr(target, known, None))]
            hint = suggest(attribute, others) if others else f"name a {noun} that has {has}"
            raise SettingsError(f"no {attribute!r} in {getattr(target, '__name__', target)}; {hint}")
        target = getattr(target, attribute)
    try:
        inspect.signature(target)
    except (TypeError, ValueError):  # no callable, or one without a signature
        raise SettingsError(f"{name} is of type {type(target).__name__}; name a {noun} with {has}") from None
    return target


def import_file(file: Path) -> ModuleType:
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
        inits = [vars(base)["__init__"] for base in target.__mro__[:-1] if "__init__" in vars(base)]
        # but for torch's own base class, and those made after it
        constructors = [init for init in inits if [*inspect.signature(init).parameters][2:] != ["defaults"]]
    taken: dict[str, inspect.Parameter] = {}
    for constructor in constructors:
        try:  # annotations that were written as strings may name what is imported for type checkers only
            signature = inspect.signature(constructor, eval_str=True)
        except Exception:
            signature = inspect.signature(constructor)
        parameters = list(signature.parameters.values())
        beside = parameters[2:] if inspect.isclass(target) else parameters[1:]
        named = {one.name: one for one in beside if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
        taken = named | taken  # the nearest class decides on a default
        if not any(one.kind is one.VAR_KEYWORD for one in beside):
            return taken, False
    return taken, bool(constructors)


def read_value(keyword: str, text: str, parameter: inspect.Parameter | None) -> Any:
    """The value of a keyword of --set, of the type of its default or annotation; a KeywordError if it is of another.

    `parameter` is None for what goes into the constructor's **kwargs, where any type may be right.
    """
    kinds, value = allowed_types(parameter), literal(text)
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
    kinds = annotated_types(parameter.annotation) & TYPE_NAMES.keys()
    if kinds - {NoneType}:
        return kinds | {default} if is_known else kinds
    if not is_known:
        return set()
    return {default} if default is bool else {default, NoneType} | ({float} if default is int else set())


def annotated_types(annotation: Any) -> set[Any]:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return set().union(*map(annotated_types, parts))
    if origin is Literal:
        return {type(part) for part in parts}
    is_any_list = origin in (collections.abc.Sequence, collections.abc.Iterable)
    return {tuple, list} if is_any_list else {origin or annotation}


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
    return (str(failure).strip().splitlines() or [type(failure).__name__])[-1]
