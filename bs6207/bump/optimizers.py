"""Optimizers as people name them: found, built with the given hyperparameters, and tried before a descent.

Each flag and each keyword of --set is used or refused, and no hyperparameter is given twice. A hyperparameter has the
name of its flag here; a constructor may spell it in another way (`SPELLINGS`).
"""

import ast
import hashlib
import inspect
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any, get_args

from bs6207.bump.adapter import (
    EPS,
    Adapter,
    Convention,
    KeywordError,
    MakeOptimizer,
    Presentation,
    allowed_types,
    constructor_keywords,
    descend,
    isolated,
    last_line,
    load,
    read_value,
)
from bs6207.bump.formula import require_bumps
from bs6207.bump.kernels import KERNELS, Hyperparameters
from bs6207.bump.landscape import START, Valley
from bs6207.bump.settings import BETAS, FIELDS, BumpSettings, imported, is_foreign, require_allowed
from bs6207.errors import SettingsError, suggest
from bs6207.training.optimizers import CONSTANT, LR, OPTIMIZERS, SCHEDULES

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

SPELLINGS = {  # of a hyperparameter, the first that a constructor takes; `betas` holds both
    "lr": ("lr", "learning_rate", "step_size", "stepsize"),
    "momentum": ("momentum", "beta"),
    "beta1": ("beta1", "beta_1", "b1", "betas"),
    "beta2": ("beta2", "beta_2", "b2", "betas"),
    "eps": ("eps", "epsilon"),
    "weight_decay": ("weight_decay", "wd"),
}
UNKNOWN_KEYWORD = "keyword_that_nobody_takes"
OF_ITSELF = {"adamw": {"decoupled_weight_decay": True}}  # what torch.optim adds to the parameters' group
NOT_HYPERPARAMETERS = ("params", "param_names", "use_muon")  # entries of a parameter group
CLASS = re.compile(r"[^\s:]+:[A-Za-z_][\w.]*")  # package.module:Class
PROBE_STEPS = 12  # preconditioners are often renewed every tenth step, and some only then find x too small
CONVENTIONS = [
    Convention(dtype, parameters, sparse, closure, shape)
    for dtype, parameters in product(EPS, get_args(Presentation))
    for sparse, closure in ((False, False), (True, False), (False, True))
    for shape in ((), (1,), (1, 1))
]
OF_MODELS = ("parameters", "named_parameters", "modules", "named_modules")
NEEDS_MODEL = "it needs the whole model, not its parameters"
REASONS = {  # part of an error of torch's, which has no type of its own, and what it means here
    "does not require grad and does not have a grad_fn": "it differentiates the gradient (a Hessian), and here each "
    "slope is a plain number",
    "process group": "it needs several processes",
    "is not an Optimizer": "it is no torch.optim.Optimizer",
    "leaf Variable that requires grad": "its steps are to be differentiable, and here nothing differentiates them",
}


class Probe(Valley):
    """A valley in which no slope is a round number, and which records where its slope was evaluated.

    Slopes lie between -1 and 1, so no optimizer that works on a bump diverges here.
    """

    def __init__(self) -> None:
        super().__init__(bottom=math.sqrt(2), width=1.0, steepest=1.0)
        self.seen: list[float] = []

    def slope(self, x: float) -> float:
        self.seen.append(x)
        return super().slope(x)


def coarsest_dtype() -> Any:
    """A context that sees every tensor that Python code passes to torch or gets from it.

    Its `dtype` is the coarsest floating one of them. State alone is not enough: Muon stores its momentum in float64 and
    orthogonalizes in bfloat16. Tensors of whole numbers are exact in any dtype and do not count, or torch's float32
    step counters would. It misses what torch never shows to Python: rounding inside a kernel or a scripted function,
    and integers that stand for fractions (8-bit optimizers). It reports, although harmless, a coarse number without
    influence, such as an `eps` tensor.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class Coarsest(TorchFunctionMode):
        dtype = torch.float64

        def __torch_function__(
            self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
        ) -> Any:
            result = function(*args, **(kwargs or {}))
            for tensor in tensors([*args, *(kwargs or {}).values(), result]):
                # the values of a sparse one come by as a dense one
                is_dense = tensor.is_floating_point() and tensor.layout is torch.strided
                is_coarser = is_dense and torch.finfo(tensor.dtype).eps > torch.finfo(self.dtype).eps
                if is_coarser and tensor.double().frac().any():
                    self.dtype = tensor.dtype
            return result

    return Coarsest()


def tensors(values: Iterable[Any]) -> "Iterator[Tensor]":
    """The tensors among `values`, and in the lists and tuples among them."""
    import torch

    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors(value)


def make_adapter(name: str, settings: BumpSettings) -> Adapter:
    """The optimizer called `name`, with the first calling convention under which it moves.

    An entry of `OPTIMIZERS`, or `package.module:Class` for anything that Python can import, which gets a step size, and
    those hyperparameters that are not None, where it takes them. A SettingsError says why it cannot be used.
    """
    of_schedule = schedule_arguments(settings)
    rest = [text for text in settings.set if text.partition("=")[0] not in of_schedule]
    settings = settings.model_copy(update={"set": rest})
    if adapter_by_rule := construct_by_rule(name, settings):
        return adapter_by_rule
    constructed = (construct_foreign if is_foreign(name) else construct_known)(name, settings)
    adapter, failure = find_convention(constructed, lambda tried: read_back(tried, settings))
    if adapter is None:
        if is_foreign(name):
            require_constructible(name, constructed.hyperparameters)
        raise SettingsError(f"{name} cannot be used: {explain(failure)}") from failure
    return adapter if settings.schedule == CONSTANT else with_schedule(adapter, settings.schedule, of_schedule)


def find_convention(
    constructed: Adapter, check: Callable[[Adapter], Adapter] = lambda adapter: adapter
) -> tuple[Adapter | None, BaseException]:
    """The adapter with the first calling convention under which it moves, or else stands still without an error.

    `check` may refuse it by a SettingsError, or add to it. Under none, None and the clearest of the errors.
    """
    adapter: Adapter | None = None
    failures: list[tuple[int, bool, BaseException]] = []
    for convention in CONVENTIONS:
        probe, tried = Probe(), replace(constructed, convention=convention)
        try:
            with coarsest_dtype() as coarsest:
                path = descend(tried, probe, PROBE_STEPS, "cpu")
            tried = check(tried)
        except SettingsError:
            raise
        except (Exception, SystemExit) as failure:
            failures.append((len(probe.seen), explain(failure) != last_line(failure), failure))
            continue
        is_moved = any(x != START for x in path)
        if is_moved or adapter is None:
            precision = str(coarsest.dtype).removeprefix("torch.")
            adapter = replace(tried, precision=precision, looks_elsewhere=not set(probe.seen) <= set(path))
        if is_moved:
            break
    # it came farthest, or as far and is understood
    *_, clearest = max(failures, key=lambda entry: entry[:2], default=(0, False, RuntimeError("it takes no step")))
    return adapter, clearest


def schedule_arguments(settings: BumpSettings) -> dict[str, Any]:
    """The arguments of the schedule, those of --set that it takes among them; none for a constant lr."""
    if settings.schedule == CONSTANT:
        return {}
    recipe = SCHEDULES[settings.schedule]
    if recipe.peak in settings.keywords:
        raise KeywordError(f"--set {recipe.peak} is the highest lr of {settings.schedule}; give it as --lr")
    takes, texts = recipe.takes(), settings.keywords
    given = {key: read_value(key, texts[key], takes[key]) for key in texts if key in takes}
    return recipe.own(settings.steps) | given


def describe_schedule(settings: BumpSettings) -> dict[str, Any]:
    recipe = SCHEDULES[settings.schedule]
    arguments = {name: one.default for name, one in recipe.takes().items()} | schedule_arguments(settings)
    return {"name": settings.schedule, "class": recipe.kind, "arguments": plain(arguments)}


def with_schedule(adapter: Adapter, name: str, arguments: Mapping[str, Any]) -> Adapter:
    """The adapter with a schedule of its lr; a SettingsError if they do not go together."""
    if both := arguments.keys() & adapter.takes.keys():
        raise KeywordError(f"--set {min(both)} is taken by {name} and by {adapter.name}; leave it out, or --schedule")
    schedule = partial(SCHEDULES[name], arguments=arguments)
    x = adapter.convention.start()
    try:
        with isolated(adapter.name):
            schedule(adapter.make(adapter.convention.present(x)))
    except (Exception, SystemExit) as failure:
        raise KeywordError(f"--schedule {name} cannot be used with {adapter.name}: {explain(failure)}") from failure
    return replace(adapter, schedule=schedule)


def learning_rates(settings: BumpSettings, lr: float) -> list[float]:
    """lr in each step under the schedule, [steps]; a SettingsError if some are no learning rates."""
    arguments = schedule_arguments(settings)
    shown = " and ".join(f"{key} {value}" for key, value in arguments.items())
    try:
        with isolated(settings.schedule):
            rates = SCHEDULES[settings.schedule].rates(lr, settings.steps, arguments)
    except Exception as failure:
        raise SettingsError(f"--schedule {settings.schedule} with {shown}: {last_line(failure)}") from failure
    if bad := next((step for step, rate in enumerate(rates, 1) if not 0 <= rate < math.inf), None):
        raise SettingsError(f"--schedule {settings.schedule} with {shown}: lr is {rates[bad - 1]:g} in step {bad}")
    return rates


def explain(failure: BaseException) -> str:
    """Why an optimizer cannot be used, in half a sentence: the meaning of its error if it is known, or the error."""
    if isinstance(failure, AttributeError) and isinstance(failure.obj, list) and failure.name in OF_MODELS:
        return NEEDS_MODEL
    message = last_line(failure)
    return next((meaning for part, meaning in REASONS.items() if part in message), message)


def require_constructible(name: str, passed: Mapping[str, Any]) -> None:
    """Raises a SettingsError about a class that is made of a model or of another optimizer, or lacks an argument."""
    target = load(name)
    if isinstance(target, type) and not hasattr(target, "step"):
        raise SettingsError(f"{name} has no step(); name an optimizer")
    if not (taken := [*inspect.signature(target).parameters.values()]):
        raise SettingsError(f"{name} cannot be used: it takes no parameters")
    first, *others = taken
    if first.name == "model":
        raise SettingsError(f"{name} cannot be used: {NEEDS_MODEL}")
    if "optim" in first.name:
        raise SettingsError(
            f"{name} is made of another optimizer; write a function into a file, def make(params, lr): "
            f"return {name.rpartition(':')[2]}(torch.optim.SGD(params, lr)), and give its name, as in mine.py:make"
        )
    named = [one for one in others if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    if missing := [one.name for one in named if one.default is one.empty and one.name not in passed]:
        way = "NAME=VALUE"
        if len(missing) == 1 and "optim" in missing[0]:
            way = f"{missing[0]}=package.module:Class, as in --set {missing[0]}=torch.optim:SGD"
        raise SettingsError(f"{name} cannot be used: it needs {' and '.join(map(repr, missing))}; add --set {way}")


def read_back(adapter: Adapter, settings: BumpSettings) -> Adapter:
    """The adapter with the hyperparameters it got, if all are of use, and those that the optimizer then has."""
    takes, present = adapter.takes, adapter.convention.present
    x = adapter.convention.start()
    with isolated(adapter.name):
        optimizer = adapter.make(present(x))
        unused = unused_keywords(adapter, optimizer, present(x))
    check_keywords(adapter.name, unused & {*settings.given, *settings.keywords}, takes)
    given = by_flag({key: value for key, value in adapter.hyperparameters.items() if key not in unused}, takes)
    groups = getattr(optimizer, "param_groups", None)
    group = groups[0] if isinstance(groups, list) and groups else None
    values = group.items() if isinstance(group, dict) else ()
    has = by_flag({key: value for key, value in values if key not in NOT_HYPERPARAMETERS}, takes)
    is_on = {key: value for key, value in has.items() if key in given or value not in (None, False, 0)}
    return replace(adapter, given=given, has=given | is_on)


def unused_keywords(adapter: Adapter, optimizer: "Optimizer", parameters: list[Any]) -> set[str]:
    """The keywords that end in a **kwargs and are not mentioned in any code that could look there for them."""
    loose = adapter.hyperparameters.keys() - adapter.takes.keys()
    if not loose or adapter.target is None:
        return set()
    from torch.optim import Optimizer

    with suppress(Exception, SystemExit):
        adapter.target(parameters, **adapter.hyperparameters, **{UNKNOWN_KEYWORD: 0})
        classes = [base for base in type(optimizer).__mro__ if base not in (Optimizer, object)]
        mentioned = [string_constants(code) for code in (adapter.target, *classes)]
        return set() if None in mentioned else loose - set[str]().union(*filter(None, mentioned))
    return set()  # the final receiver of the keywords refuses those it does not know


@cache
def string_constants(code: Callable[..., Any]) -> frozenset[str] | None:
    """Every string in the source of a class or function, with which it could look up a keyword; None without source."""
    try:
        nodes = ast.walk(ast.parse(dedent(inspect.getsource(code))))
    except (OSError, TypeError, SyntaxError):
        return None
    return frozenset(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


def plain(value: Any) -> Any:
    """A value as JSON holds it; anything but numbers, strings, lists and dicts becomes the name of its class."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    import torch

    if isinstance(value, torch.Tensor) and value.numel() == 1:
        return value.item()
    return getattr(value, "__qualname__", type(value).__qualname__)


def require_optimizers(settings: BumpSettings) -> None:
    """Raises a SettingsError, flag first, unless all optimizers work and all that is given or swept reaches one.

    And unless the landscape has a bump that can be escaped.
    """
    if settings.has_own_landscape:
        require_bumps(settings.landscape, settings.height, settings.tallest)
    adapters = [make_for("--optimizer", name, settings) for name in settings.names]
    for name in settings.given:
        if not any(name in adapter.given for adapter in adapters):
            raise SettingsError(f"--{name.replace('_', '-')}: none of {', '.join(settings.names)} has it")
    for adapter in adapters if settings.schedule != CONSTANT else ():
        learning_rates(settings, adapter.has.get("lr", LR))
    for axis, end, name in product(settings.axes, (0, -1), settings.names):
        adapter = make_for("--sweep", name, settings.model_copy(update={axis.name: axis.values[end]}))
        if axis.name in FIELDS and axis.name not in adapter.given:
            raise SettingsError(f"--sweep: {name} has no {axis.name}")


def make_for(flag: str, name: str, settings: BumpSettings) -> Adapter:
    try:
        return make_adapter(name, settings)
    except SettingsError as failure:
        if flag == "--optimizer" and isinstance(failure, KeywordError):  # which names --set
            raise
        raise SettingsError(f"{flag}: {failure}") from failure


def source_checksum(settings: BumpSettings) -> str:
    """A checksum of the Python files beside every optimizer of the user's own: results are of that code only.

    Of one that a notebook defines it is that of its functions, as there is no file.
    """
    digest = hashlib.sha256()
    for name in filter(is_foreign, [*settings.names, settings.landscape]):
        target = load(name)
        try:
            file = inspect.getsourcefile(target)
        except (OSError, TypeError):  # of the main module, and of any other
            file = None
            for function in filter(inspect.isfunction, [target, *getattr(target, "__dict__", {}).values()]):
                code = inspect.unwrap(function).__code__
                digest.update(repr((code.co_code, code.co_names)).encode())
                digest.update(repr([part for part in code.co_consts if not inspect.iscode(part)]).encode())
        for source in sorted(Path(file).parent.glob("*.py")) if file else ():
            digest.update(source.read_bytes())
    return digest.hexdigest()


def construct_by_rule(name: str, settings: BumpSettings) -> Adapter | None:
    """An entry of `KERNELS`, which steps without torch; None where a setting is about torch's own."""
    if name not in KERNELS or settings.set or settings.schedule != CONSTANT or settings.device == "cuda":
        return None
    recipe = OPTIMIZERS[name]
    has = {key: settings.given.get(key, value) for key, value in recipe.defaults.items()}
    if "nesterov" in recipe.fixed and not has["momentum"]:  # which torch refuses
        return None
    takes = {
        key: inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=float)
        for key, value in recipe.defaults.items()
    }
    rule, switches = (KERNELS[name].on_number, Hyperparameters(**has)), {**recipe.fixed, **OF_ITSELF.get(name, {})}
    make: MakeOptimizer = lambda parameters: recipe(parameters, **has)  # noqa: E731
    return Adapter(name, make, has, settings.seed, takes, given=has, has={**has, **switches}, rule=rule)


def construct_known(name: str, settings: BumpSettings) -> Adapter:
    """An entry of `OPTIMIZERS` with its keywords."""
    import torch.optim

    entry, flags, texts = OPTIMIZERS[name], settings.given, settings.keywords
    own = entry.defaults
    takes = constructor_keywords(getattr(torch.optim, entry.kind))[0] | {
        field: inspect.Parameter(field, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=float)
        for field, value in own.items()
    }
    check_keywords(name, texts, takes)
    require_once(name, flags.keys() & own.keys(), texts, takes)
    if fixed := texts.keys() & entry.fixed.keys():
        raise SettingsError(f"{name} sets {min(fixed)} by itself; leave it out, or name another optimizer")
    extra = {keyword: read_value(keyword, text, takes[keyword]) for keyword, text in texts.items()}
    if "betas" in extra and "beta1" in own:
        if len(extra["betas"]) != len(BETAS):
            raise KeywordError(f"--set betas must be two numbers, as in betas=(0.9,0.99), not {texts['betas']!r}")
        extra |= zip(BETAS, extra.pop("betas"), strict=True)
    for key in extra.keys() & own.keys():
        try:
            require_allowed(key, extra[key])
        except ValueError as failure:
            raise KeywordError(f"--set {failure}") from None
    passed = own | {key: value for key, value in flags.items() if key in own} | extra
    return Adapter(name, lambda parameters: entry(parameters, **passed), passed, settings.seed, takes)


def construct_foreign(name: str, settings: BumpSettings) -> Adapter:
    """An imported class, or a function that makes optimizers, with its keywords."""
    target, flags, texts = load(name), settings.given, settings.keywords
    takes, takes_anything = constructor_keywords(target)
    if not takes_anything:
        check_keywords(name, texts, takes)
    require_once(name, flags, texts, takes)

    passed: dict[str, Any] = {}
    for key, value in ({"lr": LR} | flags).items():
        keyword = spelling(key, takes) or ("lr" if key == "lr" and takes_anything else None)
        if keyword == "betas":
            default = takes["betas"].default
            betas = [*passed.get("betas", default if isinstance(default, tuple | list) else (0.9, 0.999))]
            betas[BETAS.index(key)] = value
            passed["betas"] = tuple(betas)
        elif keyword is not None:
            passed[keyword] = value
    for keyword, text in texts.items():
        value = read_value(keyword, text, takes.get(keyword))
        is_class = CLASS.fullmatch(text) or "optim" in keyword.lower()  # as in a base_optimizer
        is_name = isinstance(value, str) and str not in allowed_types(takes.get(keyword))
        passed[keyword] = load(imported(text)) if is_class and is_name else value

    def make(parameters: list[Any]) -> "Optimizer":
        optimizer = target(parameters, **passed)
        if not hasattr(optimizer, "step"):
            raise TypeError(f"it makes a {type(optimizer).__name__}, which has no step(); name an optimizer")
        return optimizer

    return Adapter(name, make, passed, settings.seed, takes, target if takes_anything else None)


def check_keywords(name: str, given: Iterable[str], taken: Collection[str]) -> None:
    """Raises a SettingsError about the first keyword that optimizer `name` does not take."""
    for keyword in given:
        if keyword not in taken:
            other = next((spelling(field, taken) for field, ways in SPELLINGS.items() if keyword in ways), None)
            hint = f"did you mean {other}?" if other else suggest(keyword, taken) if taken else "it takes none"
            raise SettingsError(f"{name} takes no {keyword!r}; {hint}")


def require_once(name: str, flags: Iterable[str], keywords: Iterable[str], takes: Collection[str]) -> None:
    """Raises a KeywordError about the first keyword of --set that holds a hyperparameter given before."""
    given = set(flags)
    for keyword in keywords:
        for field in fields_of(keyword, takes):
            if field in given:
                raise KeywordError(f"--set {keyword} gives {name} its {field} a second time; give it once")
            given.add(field)


def spelling(field: str, takes: Collection[str]) -> str | None:
    """The keyword by which a constructor takes a hyperparameter; None if it takes it by none."""
    return next((keyword for keyword in SPELLINGS.get(field, (field,)) if keyword in takes), None)


def fields_of(keyword: str, takes: Collection[str]) -> list[str]:
    return list(BETAS) if keyword == "betas" else [field for field in FIELDS if spelling(field, takes) == keyword]


def by_flag(keywords: Mapping[str, Any], takes: Collection[str]) -> dict[str, Any]:
    """Keywords and their values as JSON holds them, those that hold a hyperparameter under the name of its flag too.

    A pair of betas becomes beta1 and beta2 only.
    """
    shown: dict[str, Any] = {}
    for keyword, held in keywords.items():
        fields, value = fields_of(keyword, takes), plain(held)
        is_pair = keyword == "betas" and isinstance(value, list) and len(value) >= len(BETAS)
        shown |= dict(zip(fields, value, strict=False)) if is_pair else dict.fromkeys(fields, value)
        if not fields or not (is_pair and len(value) == len(BETAS)):
            shown[keyword] = value
    return shown
