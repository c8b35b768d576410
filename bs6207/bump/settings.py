"""What `bs6207 bump` can be told."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, FiniteFloat, TypeAdapter, ValidationError, model_validator

from bs6207.bump.hyperparameters import FIELDS, parse_set
from bs6207.bump.landscape import Gaussian, Landscape, Staircase, Triangle
from bs6207.errors import suggest
from bs6207.runs.memory import memory
from bs6207.runs.names import Completions
from bs6207.runs.settings import Settings, complaint, distinct, setting
from bs6207.runs.sweep import Axis, Sweep, read_axes
from bs6207.training.optimizers import LR, OPTIMIZERS

HYPERPARAMETERS = "Hyperparameters (those left out are the optimizer's own)"
LANDSCAPE = "Landscape"
STUDIES = "Further studies"

ALL = "all"
MOST_AXES = 2
SWEEPABLE = (*FIELDS, "distance", "up_slope")
NOISY = ("gd", "momentum", "nesterov", "adam", "adamw", "rmsprop")  # those with a kernel (kernels.py)
BUMP_WIDTH, BUMPS = 0.5, 3  # of the Gaussian, in units of x; of the staircase
FINITE = ConfigDict(allow_inf_nan=False)
STEP_BYTES, CELL_BYTES = 400, 240  # of memory, by optimizer: a step of a path (370 seen), a cell of a diagram (230)


def is_foreign(name: str) -> bool:
    """Whether a name means a class of the user's or a third party's, package.module:Class or file.py:Class."""
    return ":" in name


def check_set(texts: list[str]) -> list[str]:
    """Accepts what `parse_set` reads."""
    parse_set(texts)
    return texts


def read_sweep(texts: Sequence[str]) -> tuple[Axis, ...]:
    """The axes of a diagram, one or two, with rising values; none without texts.

    Raises:
        ValueError: they cannot be read; the message says what to write instead.
    """
    found = read_axes(texts, dict.fromkeys(SWEEPABLE, FiniteFloat))
    if len(found) > MOST_AXES:
        raise ValueError(f"a sweep has one axis or two, not {len(found)}; write lr=0.01:1:512 beta1=0:0.99:512")
    if alone := next((axis for axis in found if axis.count == 1), None):
        raise ValueError(f"{alone.name} has one value only; give it as --{alone.name.replace('_', '-')}, or several")
    return tuple(replace(axis, values=tuple(sorted(axis.values))) for axis in found)


def check_sweep(texts: list[str]) -> list[str]:
    """Accepts what `read_sweep` reads."""
    read_sweep(texts)
    return texts


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


OptimizerName = Annotated[str, AfterValidator(check_optimizer), Completions((*OPTIMIZERS, ALL))]


class BumpSettings(Settings):
    """Settings of the bump experiment; the numbers of the classical exercise are the defaults."""

    optimizer: Annotated[list[OptimizerName], AfterValidator(distinct)] = setting(
        ["gd", "momentum", "adam"],
        f"Optimizers to compare: {', '.join(OPTIMIZERS)}; all of these: all; or your own: package.module:Class or "
        "file.py:Class.",
        min_length=1,
        metavar="NAME...",
    )
    steps: int = setting(1000, "Steps each optimizer is followed for.", ge=1, le=1_000_000)
    exact: bool = setting(
        False, "Walk in rational arithmetic too, where the optimizer's steps are linear: it settles ties."
    )
    device: Literal["auto", "cpu", "cuda"] = setting(
        "auto", "Where x lives; auto is the CPU, the fastest for a single number.", panel="Run"
    )
    jobs: int | None = setting(
        1,
        "Processes that share the work; to start one takes longer than most studies.",
        panel="Run",
        ge=1,
        le=1024,
        exclude=True,
    )

    lr: float | None = setting(
        None, f"Step size, in units of x per unit of slope; own: {LR}.", panel=HYPERPARAMETERS, gt=0
    )
    momentum: float | None = setting(
        None, "Decay of the velocity; own: 0.9, rmsprop 0, muon 0.95.", panel=HYPERPARAMETERS, ge=0, lt=1
    )
    dampening: float | None = setting(
        None, "What a slope adds to the velocity is 1 minus this; own: 0.", panel=HYPERPARAMETERS, ge=0, le=1
    )
    beta1: float | None = setting(None, "Decay of Adam's mean slope; own: 0.9.", panel=HYPERPARAMETERS, ge=0, lt=1)
    beta2: float | None = setting(
        None, "Decay of Adam's mean squared slope; own: 0.999.", panel=HYPERPARAMETERS, ge=0, lt=1
    )
    alpha: float | None = setting(
        None, "Decay of RMSprop's mean squared slope; own: 0.99.", panel=HYPERPARAMETERS, ge=0, lt=1
    )
    rho: float | None = setting(
        None, "Decay of Adadelta's mean squared slope; own: 0.9.", panel=HYPERPARAMETERS, ge=0, lt=1
    )
    eps: float | None = setting(
        None,
        "Added to the denominator; own: 0 for Adam and its kin and rmsprop, 1e-8 rmsprop-centered and sparse-adam, "
        "1e-10 adagrad, 1e-6 adadelta.",
        panel=HYPERPARAMETERS,
        ge=0,
    )
    weight_decay: float | None = setting(
        None, "Pull towards x = 0; own: 0.01 for adamw, otherwise 0.", panel=HYPERPARAMETERS, ge=0
    )
    set: Annotated[list[str], AfterValidator(check_set)] = setting(
        [],
        "Further keywords for the optimizer's constructor, as in nesterov=True.",
        panel=HYPERPARAMETERS,
        metavar="KEY=VALUE...",
    )

    landscape: Literal["triangle", "gaussian", "staircase"] = setting(
        "triangle", "The loss: one triangular bump, one smooth one, or several triangular ones.", panel=LANDSCAPE
    )
    distance: float = setting(
        1.0, "L: from the start to the foot of the bump, in units of x.", panel=LANDSCAPE, gt=0, le=1e6
    )
    height: float = setting(
        0.4,
        "Height of the bump that the paths are drawn and tabulated over; h_max does not depend on it.",
        panel=LANDSCAPE,
        gt=0,
        le=1e6,
    )
    up_slope: float = setting(
        1.0,
        "Rise per unit of x on triangles; heights stay half the width, so the crest rises to up-slope times them.",
        panel=LANDSCAPE,
        gt=0,
        le=1e6,
    )
    tail_slope: float = setting(-0.3, "Slope beyond the bump.", panel=LANDSCAPE, lt=0, ge=-1e6)
    bump_width: float | None = setting(
        None,
        f"Standard deviation of the gaussian bump, in units of x; own: {BUMP_WIDTH}.",
        panel=LANDSCAPE,
        gt=0,
        le=1e6,
    )
    bumps: int | None = setting(None, f"Bumps of the staircase; own: {BUMPS}.", panel=LANDSCAPE, ge=1, le=100)
    tallest: float = setting(
        20.0,
        "Tallest bump tried where heights must be scanned (gaussian, staircase, lbfgs).",
        panel=LANDSCAPE,
        gt=0,
        le=1e6,
    )

    band: bool = setting(False, "Also h_max over one step of L, because one L is one phase.", panel=STUDIES)
    sweep: Annotated[Sweep, AfterValidator(check_sweep)] = setting(
        [],
        f"h_max over one setting or two, as in lr=0.01:1:512:log beta1=0,0.5,0.9; any of {', '.join(SWEEPABLE)}.",
        panel=STUDIES,
        metavar="KEY=LOW:HIGH:COUNT[:log]|A,B,C...",
    )
    noise: float = setting(
        0.0, "Standard deviation of noise on every slope: how often is a bump escaped?", panel=STUDIES, ge=0, le=1e6
    )
    trials: int = setting(10_000, "Paths with noise.", panel=STUDIES, ge=10, le=10_000_000)
    scan: float | None = setting(
        None, "Also what a scan of the height in such steps would report.", panel=STUDIES, ge=1e-9, le=1
    )
    animate: bool = setting(False, "Also draw the descent as an animation (GIF).", panel=STUDIES)

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
        """The keywords of `set`, as texts."""
        return parse_set(self.set)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Rows and columns of the phase diagram, or the one axis of a curve; none without a sweep."""
        return read_sweep(self.sweep)

    def landscape_of(self, height: float) -> Landscape:
        """The landscape of these settings with a bump of some height."""
        if self.landscape == "gaussian":
            return Gaussian(self.distance, height, self.bump_width or BUMP_WIDTH, self.tail_slope)
        if self.landscape == "staircase":
            return Staircase(self.distance, height, self.bumps or BUMPS, self.up_slope, self.tail_slope)
        return Triangle(self.distance, height, self.up_slope, self.tail_slope)

    @model_validator(mode="after")
    def fits_together(self) -> "BumpSettings":
        """Refuses what would have no effect, or would fail half-way."""
        owners = {"bump_width": "gaussian", "bumps": "staircase"}
        for field, owner in owners.items():
            if getattr(self, field) is not None and self.landscape != owner:
                raise ValueError(f"--{field.replace('_', '-')} goes with --landscape {owner}")
        if self.landscape == "gaussian" and self.up_slope != 1:
            raise ValueError("--up-slope goes with triangles; a gaussian bump has --bump-width")
        if self.landscape != "triangle" and (self.band or self.sweep or self.noise or self.exact or self.scan):
            raise ValueError("--band, --sweep, --noise, --exact and --scan go with --landscape triangle")
        if self.exact and self.up_slope != 1:
            raise ValueError("--exact is for slopes of -1 and +1; leave --up-slope at 1")
        if self.set and (self.exact or self.noise):
            raise ValueError("--exact and --noise know nothing of the keywords of --set; leave one of them out")
        if self.noise and (unknown := [name for name in self.names if name not in NOISY]):
            raise ValueError(f"--noise: no noisy paths for {unknown[0]}; choose from {', '.join(NOISY)}")
        for axis in self.axes:
            self.check_axis(axis)
        self.check_memory()
        return self

    def check_memory(self) -> None:
        """Paths and diagrams of all optimizers are held until they are written."""
        count = len(self.names)
        values = {"--steps": (self.steps, STEP_BYTES)}
        if self.sweep:
            values["--sweep"] = (prod(axis.count for axis in self.axes), CELL_BYTES)
        has = memory()
        for flag, (how_many, size) in values.items():
            if has is not None and (needed := count * how_many * size) > has:
                raise ValueError(
                    f"{flag}: {how_many:,} values for each of {count} optimizers need about {needed / 2**30:,.1f} GiB "
                    f"of memory and there are {has / 2**30:,.1f}; ask for fewer"
                )

    def check_axis(self, axis: Axis) -> None:
        """Both ends of a swept setting must be values it can take."""
        for end in (axis.values[0], axis.values[-1]):
            try:
                require_allowed(axis.name, end)
            except ValueError as failure:
                raise ValueError(f"--sweep: {failure}") from None


def is_exact_possible(settings: BumpSettings) -> bool:
    """Whether --exact goes with the other settings, see `fits_together`; some optimizers it cannot follow even so."""
    return settings.landscape == "triangle" and settings.up_slope == 1 and not settings.set


def require_allowed(field: str, value: float) -> None:
    """Raises a ValueError if a setting cannot have that value."""
    info = BumpSettings.model_fields[field]
    try:
        TypeAdapter[Any](Annotated[info.annotation, info], config=FINITE).validate_python(value)  # type: ignore[arg-type]
    except ValidationError as failure:
        raise ValueError(f"{field} {complaint(failure)}") from None
