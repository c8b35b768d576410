"""How the checks of an audit walk an optimizer, compare its paths and report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from bs6207.bump.adapter import last_line
from bs6207.bump.conformance.problems import SEED
from bs6207.bump.conformance.subject import Array, Subject, Walk, repeatable
from bs6207.bump.conformance.traces import SAME, SAME_IN, distance

BEFORE, AFTER = 5, 7  # steps before and after what a check does
ABSENT = (0, 3, 4)  # steps at which a parameter has no gradient, in checks of such
LR, OTHER_LR = 0.03, 0.005
COUNTED = 1e-6  # where steps are counted in float32 tensors, and bias corrections computed from them
REFUSALS = (ValueError, RuntimeError, NotImplementedError, TypeError, AssertionError)
IMPLEMENTATIONS = ("foreach", "fused", "differentiable", "capturable")
SWITCHES = {  # keywords that turn another rule on, and what else it takes
    **{key: {} for key in ("maximize", "amsgrad", "centered", "decoupled_weight_decay", "weight_decouple")},
    "nesterov": {"dampening": 0.0},
    "fixed_decay": {},
}
PROBING = {  # hyperparameters that show: the defaults hide eps, and all that only long runs would tell
    **{"lr": LR, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3, "momentum": 0.7, "alpha": 0.9, "rho": 0.8},
    **{"lr_decay": 0.1, "initial_accumulator_value": 0.2, "initial_accumulator": 0.2, "weight_decay": 0.0},
    **{"etas": (0.4, 1.3), "step_sizes": (1e-3, 0.1), "momentum_decay": 0.1, "nu": 0.6, "nus": (0.6, 0.8)},
    **{"lambd": 0.01, "trust_coefficient": 0.01, "beta2_decay": -0.5, "ns_steps": 4},
    **{"max_iter": 4, "history_size": 5},
}
DECAY = 0.1


@dataclass(frozen=True)
class Check:
    """The outcome of one check: `finding` says what is wrong in a sentence, `evidence` where it shows first."""

    name: str
    state: str  # passed, failed, warning, refused (in words, which is right) or skipped
    finding: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)


class Broken(Exception):
    """A check fails, or only warns."""

    def __init__(self, finding: str, evidence: Mapping[str, Any] | None = None, state: str = "failed"):
        super().__init__(finding)
        self.finding, self.evidence, self.state = finding, evidence or {}, state


def skip(reason: str) -> Broken:
    return Broken(reason, state="skipped")


@dataclass(frozen=True)
class Parts:
    """Two parameters in bowls with a wind that turns: the gradient of each depends on the step and itself alone."""

    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    is_calm: bool  # no wind, for those that ask for several gradients a step

    def starts(self, places: Sequence[int] = (0, 1)) -> list[Array]:
        return [np.random.default_rng((SEED, place)).uniform(0.5, 2, self.shapes[place]) for place in places]

    def wind(self, place: int, t: int) -> Array:
        return np.random.default_rng((SEED, place, t)).normal(0, 1, self.shapes[place]) * (not self.is_calm)

    def gradient(self, places: Sequence[int] = (0, 1)) -> Callable[[int, list[Array]], list[Any]]:
        return lambda t, xs: [0.5 * x + self.wind(place, t) for place, x in zip(places, xs, strict=True)]

    def gradient_with_gaps(self, t: int, xs: list[Array]) -> list[Any]:
        """The gradients of both, the second of which is missing at the steps of `ABSENT`."""
        first, second = self.gradient()(t, xs)
        return [first, None if t in ABSENT else second]

    def loss(self, places: Sequence[int] = (0, 1)) -> Callable[[int, list[Array]], float]:
        return lambda t, xs: sum(
            float(np.sum(x**2) / 4 + np.sum(self.wind(place, t) * x)) for place, x in zip(places, xs, strict=True)
        )


class Contract:
    """All checks of one optimizer; each is a method that returns nothing or raises `Broken`."""

    def __init__(self, subject: Subject):
        self.subject = subject
        shapes = ((4, 3), (2, 5)) if subject.convention.shape == (1, 1) else ((5,), (4, 3))
        self.parts = Parts(shapes, subject.convention.closure)  # type: ignore[arg-type]
        self.keywords = subject.spelt(**PROBING)
        self.same = SAME_IN.get(subject.precision, SAME)

    def start(self, places: Sequence[int] = (0, 1), **options: Any) -> Walk:
        options.setdefault("keywords", self.keywords)
        torch.manual_seed(0)
        return Walk(
            self.subject,
            self.parts.starts(places),
            options.pop("gradient", self.parts.gradient(places)),
            self.parts.loss(places),
            **options,
        )

    def path_of_groups(self, keywords: Mapping[str, Any]) -> list[list[Array]]:
        """A path with a group per parameter, the second with an lr of its own and without a gradient at some steps."""
        groups = [((0,), {}), ((1,), self.subject.spelt(lr=OTHER_LR))]
        walk = self.start(keywords=keywords, groups=groups, gradient=self.parts.gradient_with_gaps)
        return walk.walk(BEFORE + AFTER)

    def run(self, checks: Mapping[str, Callable[["Contract"], None]]) -> list[Check]:
        return [self.outcome(name, check) for name, check in checks.items()]

    def outcome(self, name: str, check: Callable[["Contract"], None]) -> Check:
        with repeatable(self.subject.name):
            try:
                check(self)
            except Broken as broken:
                return Check(name, broken.state, broken.finding, broken.evidence)
            except (Exception, SystemExit) as failure:
                return Check(name, "failed", f"raises {type(failure).__name__}: {last_line(failure)}")
        return Check(name, "passed")

    def is_independent(self) -> bool:
        """Whether each parameter goes its way as if it were alone."""
        both = self.start().walk(BEFORE)
        alone = [self.start([place]).walk(BEFORE) for place in (0, 1)]
        return first_difference(both, joined(alone), self.same) is None

    def continued(self, walk: Walk, steps: int = AFTER) -> list[list[Array]]:
        torch.manual_seed(1)
        return walk.walk(steps)


def joined(paths: Sequence[list[list[Array]]]) -> list[list[Array]]:
    """Paths of single parameters as one of all."""
    return [[x for xs in step for x in xs] for step in zip(*paths, strict=True)]


def first_difference(path: list[list[Array]], other: list[list[Array]], same: float = 0.0) -> dict[str, Any] | None:
    """Where two paths first differ, relative to how large x is, as evidence."""
    for step, (xs, ys) in enumerate(zip(path, other, strict=True), 1):
        for x, y in zip(xs, ys, strict=True):
            difference = distance(x, y)
            place = int(np.argmax(np.nan_to_num(difference, nan=np.inf)))
            if not difference.flat[place] <= same * float(np.max(np.abs(y), where=np.isfinite(y), initial=1.0)):
                return {"step": step, "found": shown(x.flat[place]), "expected": shown(y.flat[place])}
    return None


def shown(value: Any) -> Any:
    return str(complex(value)) if np.iscomplexobj(value) else float(value)


def require_same(
    path: list[list[Array]], other: list[list[Array]], finding: str, same: float = 0.0, state: str = "failed"
) -> None:
    if evidence := first_difference(path, other, same):
        raise Broken(finding, evidence, state)


def refused_in_words(make: Callable[[], Any]) -> Any:
    """What `make` returns; an error of `REFUSALS` ends the check."""
    try:
        return make()
    except REFUSALS as failure:
        raise Broken(f"refused: {last_line(failure)}", state="refused") from None
