"""The settings of `bs6207 bump`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from math import prod
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, FiniteFloat, TypeAdapter, ValidationError, model_validator

from bs6207.bump.formula import EXAMPLE, is_function, own_landscape, parse
from bs6207.bump.landscape import Gaussian, Landscape, Triangle
from bs6207.errors import suggest
from bs6207.runs.memory import memory
from bs6207.runs.names import Completions
from bs6207.runs.settings import Settings, distinct, message_of, setting
from bs6207.runs.sweep import Axis, Sweep, read_axes
from bs6207.training.optimizers import CONSTANT, LR, OPTIMIZERS

BETAS = ("beta1", "beta2")
FIELDS = ("lr", "momentum", "dampening", *BETAS, "alpha", "rho", "eps", "weight_decay")  # the hyperparameters
ALL = "all"
LANDSCAPES = ("triangle", "gaussian", "staircase")
MOST_AXES = 2
SWEEPABLE = (*FIELDS, "distance", "up_slope")
NOISY = ("gd", "momentum", "nesterov", "adam", "adamw", "rmsprop")  # those with a kernel (kernels.py)
BUMP_WIDTH, BUMPS = 0.5, 3  # of the Gaussian, in units of x; of the staircase
FINITE = ConfigDict(allow_inf_nan=False)
STEP_BYTES, CELL_BYTES = 400, 240  # of memory, by optimizer: a step of a path (370 seen), a cell of a diagram (230)

run_setting = partial(setting, panel="Run")
hyperparameter = partial(setting, panel="Hyperparameters (those left out are the optimizer's own)")
landscape_setting = partial(setting, panel="Landscape")
study_setting = partial(setting, panel="Further studies")


def is_foreign(name: str) -> bool:
    """Whether a name means a class of the user's or a third party's, package.module:Class or file.py:Class."""
    return ":" in name


def parse_set(texts: Sequence[str]) -> dict[str, str]:
    """The texts of KEY=VALUE by their keys; a ValueError says what to write instead."""
    keywords: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise ValueError(f"{text!r} is not KEY=VALUE, as in nesterov=True")
        if key in keywords:
            raise ValueError(f"{key} is given twice; give each keyword once")
        keywords[key] = value
    return keywords


def read_sweep(texts: Sequence[str]) -> tuple[Axis, ...]:
    """The axes of a diagram, one or two, with rising values, none without texts; a ValueError says what to write."""
    axes = read_axes(texts, dict.fromkeys(SWEEPABLE, FiniteFloat))
    if len(axes) > MOST_AXES:
        raise ValueError(f"a sweep has one axis or two, not {len(axes)}; write lr=0.01:1:512 beta1=0:0.99:512")
    for axis in axes:
        if axis.count == 1:
            raise ValueError(f"{axis.name} has one value only; give it as --{axis.name.replace('_', '-')}, or several")
    return tuple(replace(axis, values=tuple(sorted(axis.values))) for axis in axes)


def accepted_by(read: Callable[[Sequence[str]], Any]) -> Callable[[list[str]], list[str]]:
    def check(texts: list[str]) -> list[str]:
        read(texts)
        return texts

    return check


def imported(text: str) -> str:
    """package.module.Class as package.module:Class; anything else as it is."""
    module, _, attribute = text.rpartition(".")
    return f"{module}:{attribute}" if ":" not in text and module and attribute.isidentifier() else text


def check_optimizer(name: str) -> str:
    """Accepts the names in `OPTIMIZERS` and `all`, in any case, and classes that can be imported."""
    if (plain := name.lower().replace("_", "-")) in (*OPTIMIZERS, ALL):
        return plain
    if name.endswith(".py"):
        raise ValueError(f"{name} is a file; name the class in it, as in {name}:Class")
    if is_foreign(written := imported(name)):
        return written
    torchs = {recipe.kind.lower(): f"torch.optim:{recipe.kind}" for recipe in OPTIMIZERS.values()}
    hint = f"did you mean {torchs[plain]}?" if plain in torchs else suggest(name, [*OPTIMIZERS, ALL])
    raise ValueError(f"no optimizer {name!r}; write package.module:Class or file.py:Class, or {hint}")


def check_landscape(text: str) -> str:
    """Accepts the names in `LANDSCAPES`, in any case, formulas, and functions that can be imported."""
    if (plain := text.lower()) in LANDSCAPES:
        return plain
    if text.endswith(".py"):
        raise ValueError(f"{text} is a file; name the function in it, as in {text}:function")
    if text.isidentifier() and text not in ("x", "h", "pi"):
        raise ValueError(f"no landscape {text!r}; write a formula, file.py:function, or {suggest(text, LANDSCAPES)}")
    if not is_function(text):
        parse(text)
    return text


OptimizerName = Annotated[str, AfterValidator(check_optimizer), Completions((*OPTIMIZERS, ALL))]


def file_name(optimizer: str) -> str:
    """An optimizer's name as part of a file name."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in optimizer)


class BumpSettings(Settings):
    """Settings of the bump experiment; the numbers of the classical exercise are the defaults."""

    optimizer: Annotated[list[OptimizerName], AfterValidator(distinct)] = setting(
        ["gd", "momentum", "adam"],
        f"Optimizers to compare: {', '.join(OPTIMIZERS)}; all of these: all; or your own: package.module:Class or "
        "file.py:Class.",
        min_length=1,
        metavar="NAME...",
    )
    steps: int = setting(1000, "Steps of each optimizer.", ge=1, le=1_000_000)
    exact: bool = setting(False, "Also use rational arithmetic where an optimizer's steps are linear: it settles ties.")
    device: Literal["auto", "cpu", "cuda"] = run_setting("auto", "Where x lives; auto is the CPU, the fastest here.")
    jobs: int | None = run_setting(
        1, "Processes that share the work; to start one takes longer than most studies.", ge=1, le=1024, exclude=True
    )

    no_figures: bool = run_setting(False, "Draw no figures, which takes longer than all else.", exclude=True)

    lr: float | None = hyperparameter(None, f"Step size, in units of x per unit of slope; own: {LR}.", gt=0)
    momentum: float | None = hyperparameter(None, "Decay of the velocity; own: 0.9, rmsprop 0, muon 0.95.", ge=0, lt=1)
    dampening: float | None = hyperparameter(None, "A slope adds 1 minus this to the velocity; own: 0.", ge=0, le=1)
    beta1: float | None = hyperparameter(None, "Decay of Adam's mean slope; own: 0.9.", ge=0, lt=1)
    beta2: float | None = hyperparameter(None, "Decay of Adam's mean squared slope; own: 0.999.", ge=0, lt=1)
    alpha: float | None = hyperparameter(None, "Decay of RMSprop's mean squared slope; own: 0.99.", ge=0, lt=1)
    rho: float | None = hyperparameter(None, "Decay of Adadelta's mean squared slope; own: 0.9.", ge=0, lt=1)
    eps: float | None = hyperparameter(
        None,
        "Added to the denominator; own: 0 for Adam and its kin and rmsprop, 1e-8 rmsprop-centered and sparse-adam, "
        "1e-10 adagrad, 1e-6 adadelta.",
        ge=0,
    )
    weight_decay: float | None = hyperparameter(None, "Pull towards x = 0; own: 0.01 for adamw, otherwise 0.", ge=0)
    schedule: Literal["constant", "linear", "cosine", "step", "exponential", "one-cycle"] = hyperparameter(
        CONSTANT, "How lr changes over the steps, by torch.optim.lr_scheduler; --set takes its arguments too."
    )
    set: Annotated[list[str], AfterValidator(accepted_by(parse_set))] = hyperparameter(
        [], "Further keywords of the optimizer, as in nesterov=True, or of the schedule.", metavar="KEY=VALUE..."
    )

    landscape: Annotated[str, AfterValidator(check_landscape), Completions(LANDSCAPES)] = landscape_setting(
        "triangle",
        "The loss: triangle (one bump), gaussian (a smooth one) or staircase (several triangles); or a formula in x "
        f'and h, as in "{EXAMPLE}"; or a torch function of x and h, package.module:function or file.py:function.',
        metavar="NAME|FORMULA|MODULE:FUNCTION",
    )
    distance: float = landscape_setting(1.0, "L: from the start to the foot of the bump, in units of x.", gt=0, le=1e6)
    height: float = landscape_setting(
        0.4, "Height of the bump that paths are drawn and tabulated over; h_max does not depend on it.", gt=0, le=1e6
    )
    up_slope: float = landscape_setting(
        1.0, "Rise per unit of x on triangles; heights stay half the width, so crests rise with it.", gt=0, le=1e6
    )
    tail_slope: float = landscape_setting(-0.3, "Slope beyond the bump.", lt=0, ge=-1e6)
    bump_width: float | None = landscape_setting(
        None, f"Standard deviation of the gaussian bump, in units of x; own: {BUMP_WIDTH}.", gt=0, le=1e6
    )
    bumps: int | None = landscape_setting(None, f"Bumps of the staircase; own: {BUMPS}.", ge=1, le=100)
    tallest: float = landscape_setting(
        20.0, "Tallest bump tried where heights must be scanned (gaussian, staircase, lbfgs).", gt=0, le=1e6
    )

    band: bool = study_setting(False, "Also h_max over one step of L, because one L is one phase.")
    sweep: Annotated[Sweep, AfterValidator(accepted_by(read_sweep))] = study_setting(
        [],
        f"h_max over one setting or two, as in lr=0.01:1:512:log beta1=0,0.5,0.9; any of {', '.join(SWEEPABLE)}.",
        metavar="KEY=LOW:HIGH:COUNT[:log]|A,B,C...",
    )
    noise: float = study_setting(0.0, "Standard deviation of slope noise: how often is a bump escaped?", ge=0, le=1e6)
    trials: int = study_setting(10_000, "Paths with noise.", ge=10, le=10_000_000)
    scan: float | None = study_setting(None, "Also what a scan of heights in such steps would report.", ge=1e-9, le=1)
    animate: bool = study_setting(False, "Also draw the descent as an animation (GIF).")

    @property
    def chosen_device(self) -> str:
        return "cpu" if self.device == "auto" else self.device

    @property
    def names(self) -> list[str]:
        """The optimizers, with `all` spelt out."""
        spelt = [name for given in self.optimizer for name in (OPTIMIZERS if given == ALL else [given])]
        return list(dict.fromkeys(spelt))

    @property
    def given(self) -> dict[str, float]:
        """The hyperparameters that are given by flags of their own."""
        return {field: value for field in FIELDS if (value := getattr(self, field)) is not None}

    @property
    def keywords(self) -> dict[str, str]:
        return parse_set(self.set)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Rows and columns of the phase diagram, or the one axis of a curve; none without a sweep."""
        return read_sweep(self.sweep)

    @property
    def has_own_landscape(self) -> bool:
        return self.landscape not in LANDSCAPES

    def landscape_of(self, height: float) -> Landscape:
        """The landscape of these settings with a bump of some height; a SettingsError if one's own has none there."""
        if self.has_own_landscape:
            return own_landscape(self.landscape, height)
        if self.landscape == "gaussian":
            return Gaussian(self.distance, height, self.bump_width or BUMP_WIDTH, self.tail_slope)
        bumps = self.bumps or BUMPS if self.landscape == "staircase" else 1
        return Triangle(self.distance, height, self.up_slope, self.tail_slope, bumps)

    @model_validator(mode="after")
    def fits_together(self) -> "BumpSettings":
        """Refuses what would have no effect, or would fail half-way."""
        for field, owner in {"bump_width": "gaussian", "bumps": "staircase"}.items():
            if getattr(self, field) is not None and self.landscape != owner:
                raise ValueError(f"--{field.replace('_', '-')} goes with --landscape {owner}")
        for field in ("distance", "up_slope", "tail_slope") if self.has_own_landscape else ():
            if getattr(self, field) != BumpSettings.model_fields[field].default:
                flag = f"--{field.replace('_', '-')}"
                raise ValueError(f"{flag} has no meaning with a landscape of your own; write it into that")
        if self.landscape == "gaussian" and self.up_slope != 1:
            raise ValueError("--up-slope goes with triangles; a gaussian bump has --bump-width")
        if self.landscape != "triangle" and (self.band or self.sweep or self.noise or self.exact or self.scan):
            raise ValueError("--band, --sweep, --noise, --exact and --scan go with --landscape triangle")
        if self.animate and self.no_figures:
            raise ValueError("--animate draws figures; leave out --no-figures")
        if self.schedule != CONSTANT and (self.exact or self.sweep or self.noise):
            raise ValueError("--exact, --sweep and --noise are for a constant lr; leave out --schedule")
        if self.exact and self.up_slope != 1:
            raise ValueError("--exact is for slopes of -1 and +1; leave --up-slope at 1")
        if self.set and (self.exact or self.noise):
            raise ValueError("--exact and --noise know nothing of the keywords of --set; leave one of them out")
        if self.noise and (unknown := [name for name in self.names if name not in NOISY]):
            raise ValueError(f"--noise: no noisy paths for {unknown[0]}; choose from {', '.join(NOISY)}")
        for axis, end in product(self.axes, (0, -1)):
            try:
                require_allowed(axis.name, axis.values[end])
            except ValueError as failure:
                raise ValueError(f"--sweep: {failure}") from None
        cells = prod(axis.count for axis in self.axes) if self.sweep else 0
        has, count = memory(), len(self.names)  # paths and diagrams of all optimizers are held until they are written
        for flag, values, size in (("--steps", self.steps, STEP_BYTES), ("--sweep", cells, CELL_BYTES)):
            if has is not None and (needed := count * values * size) > has:
                raise ValueError(
                    f"{flag}: {values:,} values for each of {count} optimizers need about {needed / 2**30:,.1f} GiB "
                    f"of memory and there are {has / 2**30:,.1f}; ask for fewer"
                )
        return self


def require_allowed(field: str, value: float) -> None:
    """Raises a ValueError if a setting cannot have that value."""
    info = BumpSettings.model_fields[field]
    try:
        TypeAdapter[Any](Annotated[info.annotation, info], config=FINITE).validate_python(value)  # type: ignore[arg-type]
    except ValidationError as failure:
        raise ValueError(f"{field} {message_of(failure)}") from None
