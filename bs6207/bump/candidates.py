"""From the name of an optimizer, in our table or anywhere in Python, to one that is known to walk.

How an optimizer must be treated is not written down anywhere, so it is found by trying: a few steps over a probe,
with one handling after the other, the simplest first.
"""

import hashlib
import importlib
import inspect
import math
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode

from bs6207.bump.descent import Candidate, Handling, MakeOptimizer, Presentation, descend, quiet
from bs6207.bump.landscape import START
from bs6207.bump.settings import BETAS, OWN, BumpSettings, is_foreign
from bs6207.errors import SettingsError, way_out
from bs6207.optimizers import OPTIMIZERS

PROBE_STEPS = 12  # preconditioners are often renewed every tenth step, and some only then find x too small

HANDLINGS = [
    Handling(dtype, parameters, sparse, closure, shape)
    for dtype, parameters, (sparse, closure), shape in product(
        (torch.float64, torch.float32),
        get_args(Presentation),
        ((False, False), (True, False), (False, True)),
        ((), (1,), (1, 1)),
    )
]

REASONS = [  # what the last line of an error matches, and what it means here
    (r"'list' object has no attribute '(named_)?(parameters|modules)'", "it needs the whole model, not its parameters"),
    (
        r"does not require grad and does not have a grad_fn",
        "it differentiates the gradient (a Hessian), and here each slope is a plain number",
    ),
    (r"process group", "it needs several processes"),
    (r"^(?!.*step\(\)).*missing \d+ required .*: (.+)", r"it needs \1; add --set NAME=VALUE"),
]


class Probe:
    """A valley in which no slope is a round number, and which remembers where it was looked at.

    Slopes lie between -1 and 1, so nothing that walks on a bump blows up here.
    """

    def __init__(self) -> None:
        self.seen: list[float] = []

    def loss(self, x: float) -> float:
        return math.hypot(1, x - math.sqrt(2))

    def slope(self, x: float) -> float:
        self.seen.append(x)
        return (x - math.sqrt(2)) / self.loss(x)


class Coarsest(TorchFunctionMode):
    """Sees every tensor that Python code hands to torch or gets from it, and keeps the coarsest floating dtype.

    State alone would not tell: Muon keeps its momentum in float64 and orthogonalizes in bfloat16. Tensors of whole
    numbers are exact in any dtype and do not count, or torch's float32 step counters would. Missed is what torch
    never shows to Python: rounding inside a kernel or a scripted function, and integers that stand for fractions
    (8-bit optimizers). Told although harmless is a coarse number without influence, such as an `eps` tensor.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dtype = torch.float64

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tensors([*args, *(kwargs or {}).values(), result]):
            if (
                tensor.is_floating_point()
                and tensor.layout is torch.strided  # the values of a sparse one come by as a dense one
                and torch.finfo(tensor.dtype).eps > torch.finfo(self.dtype).eps
                and tensor.double().frac().any()
            ):
                self.dtype = tensor.dtype
        return result


def tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among `values`, and in the lists and tuples among them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors(value)


def candidate(name: str, settings: BumpSettings) -> Candidate:
    """The optimizer called `name`, with the handling under which it walks.

    Args:
        name: an entry of `OPTIMIZERS`, or `package.module:Class` for anything that Python can import.
        settings: the seed, and hyperparameters in fields of their own. A foreign class is given `lr`, and of the
            others those that are not None, where its constructor takes them; the keywords of `set` go before these.

    Raises:
        SettingsError: it cannot be imported, does not take a keyword, or walks under no handling.
    """
    find = foreign if is_foreign(name) else from_table
    make, passed = find(name, settings)

    walker: Candidate | None = None
    failures: list[tuple[int, bool, BaseException]] = []
    for handling in HANDLINGS:
        probe, tried = Probe(), Candidate(name, make, passed, settings.seed, handling)
        try:
            with Coarsest() as coarsest:
                path = descend(tried, probe, PROBE_STEPS, "cpu")
        except (Exception, SystemExit) as failure:
            failures.append((len(probe.seen), reason(failure) != last_line(failure), failure))
            continue
        is_moved = any(x != START for x in path)
        if is_moved or walker is None:
            precision = str(coarsest.dtype).removeprefix("torch.")
            walker = replace(tried, precision=precision, looks_elsewhere=not set(probe.seen) <= set(path))
        if is_moved:
            break
    if walker is None:
        *_, most_telling = max(failures, key=lambda one: one[:2])  # it came farthest, or as far and is understood
        raise SettingsError(f"{name} cannot walk: {reason(most_telling)}") from most_telling
    return walker


def require_candidates(settings: BumpSettings) -> None:
    """Check that all optimizers of `settings` walk, and that what is set or swept reaches them.

    Raises:
        SettingsError: one does not, or a hyperparameter has no effect.
    """
    with naming("--optimizer"):
        walkers = [candidate(name, settings) for name in settings.names]
    for field in OWN:
        if getattr(settings, field) is not None and not any(has(walker, field) for walker in walkers):
            raise SettingsError(f"--{field.replace('_', '-')}: none of {', '.join(settings.names)} has it")
    for axis in settings.axes if settings.sweep else ():
        for end in (axis.low, axis.high):
            for name in settings.names:
                with naming("--sweep"):
                    walker = candidate(name, settings.model_copy(update={axis.name: end}))
                if axis.name in ("lr", *OWN) and not has(walker, axis.name):
                    raise SettingsError(f"--sweep: {name} has no {axis.name}")


def sources(settings: BumpSettings) -> str:
    """A checksum of the Python files beside every optimizer of the user's own: what was found is of that code only."""
    digest = hashlib.sha256()
    for name in filter(is_foreign, settings.names):
        file = inspect.getsourcefile(load(name))
        for source in sorted(Path(file).parent.glob("*.py")) if file else ():
            digest.update(source.read_bytes())
    return digest.hexdigest()


@contextmanager
def naming(flag: str) -> Iterator[None]:
    """Put the flag at fault before the sentence about it."""
    try:
        yield
    except SettingsError as failure:
        raise SettingsError(f"{flag}: {failure}") from failure


def has(walker: Candidate, field: str) -> bool:
    """Whether a hyperparameter, given in the settings, has reached an optimizer."""
    return field in walker.hyperparameters or (field in BETAS and "betas" in walker.hyperparameters)


def from_table(name: str, settings: BumpSettings) -> tuple[MakeOptimizer, dict[str, Any]]:
    """An entry of `OPTIMIZERS` and what it is given."""
    own, extra = OPTIMIZERS[name].values(settings), settings.extra
    if extra:
        torchs = keywords(type(OPTIMIZERS[name]([torch.zeros(1, 1)], lr=1.0)))
        check_keywords(name, extra, own.keys() | torchs.keys())
    passed = own | extra
    return lambda parameters: OPTIMIZERS[name](parameters, **passed), passed


def foreign(name: str, settings: BumpSettings) -> tuple[MakeOptimizer, dict[str, Any]]:
    """An imported class, or a function that makes optimizers, and what it is given."""
    target, extra = load(name), settings.extra
    takes = keywords(target)
    takes_anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values())
    if not takes_anything:
        check_keywords(name, extra, takes)

    given = {field: value for field in OWN if (value := getattr(settings, field)) is not None}
    passed = {field: value for field, value in given.items() if field in takes}
    if "lr" in takes or takes_anything:
        passed["lr"] = settings.lr
    if "betas" in takes and given.keys() & set(BETAS):
        own = takes["betas"].default if isinstance(takes["betas"].default, tuple) else (0.9, 0.999)
        passed["betas"] = (given.get("beta1", own[0]), given.get("beta2", own[1]), *own[2:])
    passed |= extra

    def make(parameters: list[Any]) -> Optimizer:
        optimizer = target(parameters, **passed)
        if not hasattr(optimizer, "step"):
            raise TypeError(f"it makes a {type(optimizer).__name__}, which has no step(); name an optimizer")
        return optimizer

    return make, passed


def load(name: str) -> Callable[..., Any]:
    """Import what `package.module:Class` names, from the current folder first.

    Raises:
        SettingsError: there is no such module, it fails, or it has no such class.
    """
    module_name, _, dotted = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *dotted.split("."))):
        raise SettingsError(f"{name!r} names no class; write package.module:Class")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # for good: optimizers may import more when they step
    try:
        with quiet():
            found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as failure:
        if not f"{module_name}.".startswith(f"{failure.name}."):
            raise SettingsError(f"{name}: importing {module_name} failed: {last_line(failure)}") from failure
        raise SettingsError(f"no module {failure.name!r}; install it, or run in the folder it is in") from None
    except (Exception, SystemExit) as failure:
        raise SettingsError(f"{name}: importing {module_name} failed: {last_line(failure)}") from failure
    for attribute in dotted.split("."):
        if not hasattr(found, attribute):
            optimizers = [known for known in dir(found) if hasattr(getattr(found, known, None), "step")]
            hint = way_out(attribute, optimizers) if optimizers else "name a class that has a step method"
            raise SettingsError(f"no {attribute!r} in {getattr(found, '__name__', found)}; {hint}")
        found = getattr(found, attribute)
    try:
        inspect.signature(found)
    except (TypeError, ValueError):  # no callable, or one that does not say what it takes
        raise SettingsError(f"{name} is of type {type(found).__name__}; name a class with a step method") from None
    return found


def keywords(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """What may be passed beside the parameters, through every `**kwargs` that hands on to a base class.

    A `**kwargs` with nothing but torch's own base class behind it takes anything, and is among them. One with another
    class behind it is taken to hand on all it gets, because many swallow a misspelt keyword in silence.
    """
    constructors: list[Callable[..., Any]] = [target]
    if inspect.isclass(target):
        constructors = [vars(base)["__init__"] for base in target.__mro__ if "__init__" in vars(base)]
        constructors = [one for one in constructors if one not in (Optimizer.__init__, object.__init__)]
    taken: dict[str, inspect.Parameter] = {}
    for place, constructor in enumerate(constructors):
        parameters = list(inspect.signature(constructor).parameters.values())
        beside = parameters[2:] if inspect.isclass(target) else parameters[1:]
        named = {one.name: one for one in beside if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
        rest = {one.name: one for one in beside if one.kind is one.VAR_KEYWORD}
        taken = named | taken  # the nearest class decides on a default
        if not rest:
            break
        if place == len(constructors) - 1:
            taken |= rest
    return taken


def check_keywords(name: str, given: Iterable[str], taken: Collection[str]) -> None:
    """Raises a SettingsError about the first keyword that optimizer `name` is given and does not take."""
    for keyword in given:
        if keyword not in taken:
            hint = way_out(keyword, taken) if taken else "it takes none"
            raise SettingsError(f"{name} takes no {keyword!r}; {hint}")


def reason(failure: BaseException) -> str:
    """Why an optimizer cannot walk, in half a sentence: what its error means where we know it, or the error."""
    said = last_line(failure)
    for pattern, meaning in REASONS:
        if match := re.search(pattern, said):
            return match.expand(meaning)
    return said


def last_line(failure: BaseException) -> str:
    """The last line of an error's message, or its kind where it has none."""
    lines = str(failure).strip().splitlines()
    return lines[-1] if lines else type(failure).__name__
