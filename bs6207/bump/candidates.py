"""Optimizers as people name them: found, built with what is given, and checked before a walk."""

import ast
import hashlib
import importlib
import inspect
import math
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode

from bs6207.bump.adapter import Candidate, Handling, MakeOptimizer, Presentation, descend, quiet
from bs6207.bump.hyperparameters import (
    BETAS,
    FIELDS,
    SPELLINGS,
    kinds_of,
    named,
    read_value,
    require_once,
    spelled,
)
from bs6207.bump.landscape import START, Valley
from bs6207.bump.settings import BumpSettings, imported, is_foreign, require_allowed
from bs6207.errors import SettingsError, suggest
from bs6207.training.optimizers import LR, OPTIMIZERS

NO_KEYWORD = "keyword_that_nobody_takes"
OURS = ("params", "param_names", "use_muon")  # entries of a group that are no hyperparameters
CLASS = re.compile(r"[^\s:]+:[A-Za-z_][\w.]*")  # package.module:Class
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
    (r"leaf Variable that requires grad", "its steps are to be differentiable, and here nothing differentiates them"),
    (
        r"^(?!.*step\(\)).*missing 1 required .*: '(\w*optim\w*)'$",
        r"it needs '\1'; add --set \1=package.module:Class, as in --set \1=torch.optim:SGD",
    ),
    (r"^(?!.*step\(\)).*missing \d+ required .*: (.+)", r"it needs \1; add --set NAME=VALUE"),
]


class Given(NamedTuple):
    """What a constructor is given.

    Attributes:
        make: parameters -> optimizer.
        passed: its keywords.
        takes: all keywords that its constructor names.
        target: the constructor itself, where it takes others too.
    """

    make: MakeOptimizer
    passed: dict[str, Any]
    takes: Mapping[str, inspect.Parameter]
    target: Callable[..., Any] | None = None


class Probe(Valley):
    """A valley in which no slope is a round number, and which remembers where it was looked at.

    Slopes lie between -1 and 1, so nothing that walks on a bump blows up here.
    """

    def __init__(self) -> None:
        super().__init__(bottom=math.sqrt(2), width=1.0, steepest=1.0)
        self.seen: list[float] = []

    def slope(self, x: float) -> float:
        self.seen.append(x)
        return super().slope(x)


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
        settings: the seed, hyperparameters in fields of their own, and the keywords of `set`. A foreign class is given
            a step size, and those hyperparameters that are not None, where its constructor takes them.

    Raises:
        SettingsError: it cannot be imported, does not take a keyword or takes another type there, is given something
            twice, or walks under no handling.
    """
    made = (foreign if is_foreign(name) else from_table)(name, settings)
    walker: Candidate | None = None
    failures: list[tuple[int, bool, BaseException]] = []
    for handling in HANDLINGS:
        probe, tried = Probe(), Candidate(name, made.make, made.passed, settings.seed, handling)
        try:
            with Coarsest() as coarsest:
                path = descend(tried, probe, PROBE_STEPS, "cpu")
            tried = examined(tried, made, settings)
        except SettingsError:
            raise
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
        if is_foreign(name):
            require_parameters(name)
        *_, most_telling = max(failures, key=lambda one: one[:2])  # it came farthest, or as far and is understood
        raise SettingsError(f"{name} cannot walk: {reason(most_telling)}") from most_telling
    return walker


def examined(walker: Candidate, made: Given, settings: BumpSettings) -> Candidate:
    """An optimizer that walks, with what it was given and what it has, read back from it.

    Raises:
        SettingsError: it takes any keyword and has no use for one that is given.
    """
    x = torch.zeros(walker.handling.shape, dtype=walker.handling.dtype, requires_grad=True)
    with quiet():
        optimizer = made.make(walker.handling.present(x))
        unused = unused_keywords(made, optimizer, walker.handling.present(x))
    check_keywords(walker.name, unused & {*settings.given, *settings.keywords}, made.takes)
    given = named({key: plain(value) for key, value in made.passed.items() if key not in unused}, made.takes)
    has = named(read_back(optimizer), made.takes)
    is_on = {key: value for key, value in has.items() if key in given or value not in (None, False, 0)}
    return replace(walker, given=given, has=given | is_on)


def unused_keywords(made: Given, optimizer: Optimizer, parameters: list[Any]) -> set[str]:
    """The keywords that end in a **kwargs and are not mentioned in any code that could look there for them."""
    loose = made.passed.keys() - made.takes.keys()
    if not loose or made.target is None:
        return set()
    with suppress(Exception, SystemExit):
        made.target(parameters, **made.passed, **{NO_KEYWORD: 0})
        classes = [one for one in type(optimizer).__mro__ if one not in (Optimizer, object)]
        mentioned = [words_of(one) for one in (made.target, *classes)]
        return set() if None in mentioned else loose - set[str]().union(*filter(None, mentioned))
    return set()  # whoever gets the keywords in the end refuses those it does not know


def read_back(optimizer: Optimizer) -> dict[str, Any]:
    """The hyperparameters of an optimizer's first group, where it has groups."""
    groups = getattr(optimizer, "param_groups", None)
    group = groups[0] if isinstance(groups, list) and groups else None
    return {key: plain(value) for key, value in group.items() if key not in OURS} if isinstance(group, dict) else {}


def plain(value: Any) -> Any:
    """A value as JSON holds it: what is no number, word, list or table is there by the name of its class."""
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.item()
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return getattr(value, "__qualname__", type(value).__qualname__)


def require_candidates(settings: BumpSettings) -> None:
    """Check that all optimizers of `settings` walk, and that what is set or swept reaches them.

    Raises:
        SettingsError: one does not, or a hyperparameter has no effect.
    """
    with naming("--optimizer"):
        walkers = [candidate(name, settings) for name in settings.names]
    for name in settings.given:
        if not any(name in walker.given for walker in walkers):
            raise SettingsError(f"--{name.replace('_', '-')}: none of {', '.join(settings.names)} has it")
    for axis in settings.axes:
        for end in (axis.values[0], axis.values[-1]):
            for name in settings.names:
                with naming("--sweep"):
                    walker = candidate(name, settings.model_copy(update={axis.name: end}))
                if axis.name in FIELDS and axis.name not in walker.given:
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
    """Put the flag at fault before the sentence about it; an optimizer is not what is at fault in its --set."""
    try:
        yield
    except SettingsError as failure:
        if flag == "--optimizer" and str(failure).startswith("--set"):
            raise
        raise SettingsError(f"{flag}: {failure}") from failure


def from_table(name: str, settings: BumpSettings) -> Given:
    """An entry of `OPTIMIZERS` and what it is given."""
    recipe, flags, texts = OPTIMIZERS[name], settings.given, settings.keywords
    own = recipe.defaults
    takes = keywords(getattr(torch.optim, recipe.kind))[0] | {
        field: inspect.Parameter(field, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=float)
        for field, value in own.items()
    }
    check_keywords(name, texts, takes)
    require_once(name, flags.keys() & own.keys(), texts, takes)
    if fixed := texts.keys() & recipe.fixed.keys():
        raise SettingsError(f"{name} sets {min(fixed)} by itself; leave it out, or name another optimizer")
    extra = {keyword: read_value(keyword, text, takes[keyword]) for keyword, text in texts.items()}
    if "betas" in extra and "beta1" in own:
        if len(extra["betas"]) != len(BETAS):
            raise SettingsError(f"--set betas must be two numbers, as in betas=(0.9,0.99), not {texts['betas']!r}")
        extra |= zip(BETAS, extra.pop("betas"), strict=True)
    for key in extra.keys() & own.keys():
        try:
            require_allowed(key, extra[key])
        except ValueError as failure:
            raise SettingsError(f"--set {failure}") from None
    passed = own | {key: value for key, value in flags.items() if key in own} | extra
    return Given(lambda parameters: recipe(parameters, **passed), passed, takes)


def foreign(name: str, settings: BumpSettings) -> Given:
    """An imported class, or a function that makes optimizers, and what it is given."""
    target, flags, texts = load(name), settings.given, settings.keywords
    takes, takes_anything = keywords(target)
    if not takes_anything:
        check_keywords(name, texts, takes)
    require_once(name, flags, texts, takes)

    passed: dict[str, Any] = {}
    for key, value in ({"lr": LR} | flags).items():
        keyword = spelled(key, takes) or ("lr" if key == "lr" and takes_anything else None)
        if keyword == "betas":
            default = takes["betas"].default
            betas = [*passed.get("betas", default if isinstance(default, tuple | list) else (0.9, 0.999))]
            betas[BETAS.index(key)] = value
            passed["betas"] = tuple(betas)
        elif keyword is not None:
            passed[keyword] = value
    passed |= {keyword: read_any(keyword, text, takes.get(keyword)) for keyword, text in texts.items()}

    def make(parameters: list[Any]) -> Optimizer:
        optimizer = target(parameters, **passed)
        if not hasattr(optimizer, "step"):
            raise TypeError(f"it makes a {type(optimizer).__name__}, which has no step(); name an optimizer")
        return optimizer

    return Given(make, passed, takes, target if takes_anything else None)


def require_parameters(name: str) -> None:
    """Raises a SettingsError about a class that is made of a model or of another optimizer, not of parameters."""
    first = next(iter(inspect.signature(load(name)).parameters), "")
    if first == "model":
        raise SettingsError(f"{name} cannot walk: it needs the whole model, not its parameters")
    if "optim" in first:
        raise SettingsError(
            f"{name} is made of another optimizer; write a function into a file, def make(params, lr): "
            f"return {name.rpartition(':')[2]}(torch.optim.SGD(params, lr)), and give its name, as in mine.py:make"
        )


def read_any(keyword: str, text: str, parameter: inspect.Parameter | None) -> Any:
    """As `read_value`, and package.module:Class is that class where no text is wanted, as in a base_optimizer."""
    value = read_value(keyword, text, parameter)
    if not isinstance(value, str) or str in kinds_of(parameter):
        return value
    is_class = CLASS.fullmatch(text) or "optim" in keyword.lower()
    return load(imported(text)) if is_class else value


def check_keywords(name: str, given: Iterable[str], taken: Collection[str]) -> None:
    """Raises a SettingsError about the first keyword that optimizer `name` is given and does not take."""
    for keyword in given:
        if keyword not in taken:
            other = next((spelled(field, taken) for field, ways in SPELLINGS.items() if keyword in ways), None)
            hint = f"did you mean {other}?" if other else suggest(keyword, taken) if taken else "it takes none"
            raise SettingsError(f"{name} takes no {keyword!r}; {hint}")


def reason(failure: BaseException) -> str:
    """Why an optimizer cannot walk, in half a sentence: what its error means where we know it, or the error."""
    said = last_line(failure)
    for pattern, meaning in REASONS:
        if match := re.search(pattern, said):
            return match.expand(meaning)
    return said


def load(name: str) -> Callable[..., Any]:
    """Import what `package.module:Class` or `file.py:Class` names, from the current folder first.

    Raises:
        SettingsError: there is no such module or file, it fails, or it has no such class.
    """
    place, _, dotted = name.rpartition(":")
    is_file = place.endswith(".py")
    if not all(part.isidentifier() for part in (*(() if is_file else place.split(".")), *dotted.split("."))):
        raise SettingsError(f"{name!r} names no class; write package.module:Class")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # for good: optimizers may import more when they step
    try:
        with quiet():
            found: Any = module_of(Path(place)) if is_file else importlib.import_module(place)
    except ModuleNotFoundError as failure:
        if is_file or not f"{place}.".startswith(f"{failure.name}."):
            raise SettingsError(f"{name}: importing {place} failed: {last_line(failure)}") from failure
        raise SettingsError(f"no module {failure.name!r}; install it, or run in the folder it is in") from None
    except SettingsError:
        raise
    except (Exception, SystemExit) as failure:
        raise SettingsError(f"{name}: importing {place} failed: {last_line(failure)}") from failure
    for attribute in dotted.split("."):
        optimizers = [known for known in dir(found) if hasattr(getattr(found, known, None), "step")]
        hint = suggest(attribute, optimizers) if optimizers else "name a class that has a step method"
        if not hasattr(found, attribute):
            raise SettingsError(f"no {attribute!r} in {getattr(found, '__name__', found)}; {hint}")
        found = getattr(found, attribute)
    try:
        inspect.signature(found)
    except (TypeError, ValueError):  # no callable, or one that does not say what it takes
        raise SettingsError(f"{name} is of type {type(found).__name__}; name a class with a step method") from None
    return found


def module_of(file: Path) -> ModuleType:
    """The module in a file, which is imported once; what lies beside it can be imported by it.

    Raises:
        SettingsError: there is no such file.
    """
    file = file.expanduser().resolve()
    if not file.is_file():
        raise SettingsError(f"there is no file {file}; give its path from the current folder on")
    if (name := str(file)) not in sys.modules:
        if (folder := str(file.parent)) not in sys.path:
            sys.path.append(folder)
        sys.modules[name] = module = ModuleType(name)
        module.__file__ = name
        try:
            exec(compile(file.read_bytes(), name, "exec"), vars(module))
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def keywords(target: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], bool]:
    """What may be passed beside the parameters, through every `**kwargs` that hands on to a base class.

    And whether anything else may: a `**kwargs` with nothing but torch's own base class behind it takes anything. One
    with another class behind it is taken to hand on all it gets, because many swallow a misspelt keyword in silence.
    """
    constructors: list[Callable[..., Any]] = [target]
    if inspect.isclass(target):
        constructors = [vars(base)["__init__"] for base in target.__mro__ if "__init__" in vars(base)]
        constructors = [one for one in constructors if one is not object.__init__ and not is_base(one)]
    taken: dict[str, inspect.Parameter] = {}
    for constructor in constructors:
        parameters = list(signature(constructor).parameters.values())
        beside = parameters[2:] if inspect.isclass(target) else parameters[1:]
        named = {one.name: one for one in beside if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
        taken = named | taken  # the nearest class decides on a default
        if not any(one.kind is one.VAR_KEYWORD for one in beside):
            return taken, False
    return taken, bool(constructors)


def is_base(constructor: Callable[..., Any]) -> bool:
    """Whether a constructor takes parameters and their defaults, as torch's own base class and those made after it."""
    return [*inspect.signature(constructor).parameters][2:] == ["defaults"]


def signature(constructor: Callable[..., Any]) -> inspect.Signature:
    """What a constructor takes, with annotations that were written as texts read, if they can be."""
    try:
        return inspect.signature(constructor, eval_str=True)
    except Exception:  # they may name what is imported for type checkers only
        return inspect.signature(constructor)


@cache
def words_of(code: Callable[..., Any]) -> frozenset[str] | None:
    """Every text in the source of a class or function, as which it could look up a keyword; None without source."""
    try:
        nodes = ast.walk(ast.parse(dedent(inspect.getsource(code))))
    except (OSError, TypeError, SyntaxError):
        return None
    return frozenset(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


def last_line(failure: BaseException) -> str:
    """The last line of an error's message, or its kind where it has none."""
    lines = str(failure).strip().splitlines()
    return lines[-1] if lines else type(failure).__name__
