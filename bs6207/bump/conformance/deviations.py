"""Known ways in which implementations depart from a rule, each as a change of hyperparameters or of a rule's form."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypeAlias

from bs6207.bump.conformance import rules
from bs6207.bump.conformance.rules import Hyperparameters, Rule

Change: TypeAlias = Callable[[Hyperparameters], Mapping[str, Any]]


@dataclass(frozen=True)
class Deviation:
    """A departure by its name; `change` gives what differs in the hyperparameters, of which nothing is no departure."""

    name: str
    change: Change
    steps: frozenset[Any] = field(default_factory=frozenset)  # the rules that can depart so; all if empty

    def applied(self, h: Hyperparameters) -> Hyperparameters:
        return SimpleNamespace(**{**vars(h), **self.change(h)})


def form(name: str, *steps: Any, **changes: Any) -> Deviation:
    """A departure that sets forms."""
    return Deviation(name, lambda h: changes, frozenset(steps))


def ignored(name: str, key: str, value: Any, *steps: Any) -> Deviation:
    """A hyperparameter without effect, which has `value` instead."""
    return Deviation(name, lambda h: {key: value} if hasattr(h, key) else {}, frozenset(steps))


def fourth_root(step: int) -> float:
    return step**0.25


def swapped(h: Hyperparameters) -> Mapping[str, Any]:
    return {"beta1": h.beta2, "beta2": h.beta1}


def inverted(key: str) -> Deviation:
    """A decay that is taken for its complement."""
    change: Change = lambda h: {key: 1 - getattr(h, key)} if hasattr(h, key) else {}  # noqa: E731
    return Deviation(f"{key} and 1 - {key} are swapped", change)


ADAPTIVE = (rules.adam, rules.nadam, rules.radam, rules.lamb, rules.yogi, rules.adabelief, rules.adamax)
OF_BOTH_BIASES = (rules.adam, rules.sparse_adam, rules.lamb, rules.yogi, rules.adabelief)
CORRECTED = (*OF_BOTH_BIASES, rules.nadam, rules.radam, rules.adan)
ROOTED = (*ADAPTIVE, rules.rmsprop, rules.adagrad, rules.sparse_adam, rules.adadelta, rules.adan)
OF_ADAM = (rules.adam, rules.sparse_adam)
WITH_VELOCITY = (rules.sgd, rules.rmsprop)
OF_TWO_BETAS = (*ADAPTIVE, rules.lion)

DEVIATIONS: list[Deviation] = [  # the usual ones first: of several that explain a path, the first is named
    form("no bias correction", *ADAPTIVE, rules.sparse_adam, corrects_first=False, corrects_second=False),
    form("no bias correction of the first moment", *ADAPTIVE, rules.sparse_adam, corrects_first=False),
    form("no bias correction of the second moment", *ADAPTIVE, rules.sparse_adam, corrects_second=False),
    form("bias correction, which the rule lacks", rules.rmsprop, rules.yogi, corrects_first=True, corrects_second=True),
    form("bias correction of the infinity norm, which the rule lacks", rules.adamax, corrects_second=True),
    form("the bias correction of the second moment is not under the root", *OF_BOTH_BIASES, second_power=2),
    form("the root of the second moment's bias correction is taken twice", *OF_BOTH_BIASES, second_power=0.5),
    form("the bias correction of the first moment multiplies instead of dividing", *OF_BOTH_BIASES, first_power=-1),
    form("the bias correction of the second moment multiplies instead of dividing", *OF_BOTH_BIASES, second_power=-1),
    form("the bias corrections of the two moments are swapped", *OF_BOTH_BIASES, swaps_biases=True),
    form("the corrected moments are written back into the state", *OF_ADAM, keeps_corrected=True),
    form("eps inside the root", *ROOTED, eps_place="inside"),
    form("eps inside the root, before the bias correction", *CORRECTED, eps_place="inside, before"),
    form("eps before the bias correction", *CORRECTED, eps_place="before"),
    form("eps outside of the root, after the bias correction", *CORRECTED, eps_place="outside"),
    form("eps outside of the root", rules.rmsprop, rules.adagrad, rules.adadelta, eps_place="outside"),
    form("eps outside of the maximum", rules.adamax, eps_place="outside"),
    form("eps as a lower bound of the root", *ROOTED, eps_place="maximum"),
    form("eps inside the root and outside of it", *ROOTED, eps_place="both"),
    form("eps is added to the quotient, not to the denominator", *ROOTED, eps_place="quotient"),
    form("eps in the numerator only", rules.adadelta, eps_place="numerator"),
    Deviation("eps inside the root, squared", lambda h: {"eps_place": "inside", "eps": h.eps**2}, frozenset(ROOTED)),
    ignored("no eps", "eps", 0.0, *ROOTED),
    form("decay is coupled (L2)", decay="l2"),
    form("decay is decoupled", decay="decoupled"),
    form("decay is decoupled and not scaled by lr", decay="unscaled"),
    form("decay is decoupled and applied after the step", decay="after"),
    form("decay is decoupled and scaled by lr twice", decay="squared"),
    form("decay divides by 1 + lr * weight_decay after the step (the proximal form)", decay="proximal"),
    form("decay is applied twice, coupled (L2) and decoupled", decay="both"),
    form("decay enters the first moment, not the second", rules.adam, decay="first moment"),
    form("decay is added to the first moment and divided by the root", rules.adam, decay="in the quotient"),
    form("decay is part of the update that the trust ratio scales", rules.lamb, rules.lars, decay="inside"),
    form("decay has the wrong sign: parameters grow", decay="grows"),
    Deviation("decay has the wrong sign: parameters grow", lambda h: {"weight_decay": -h.weight_decay}),
    ignored("weight decay has no effect", "weight_decay", 0.0),
    form("decay of matrices only", matrices_only=True),
    Deviation("maximize has no effect", lambda h: {"maximize": False}),
    Deviation("the sign of the step is wrong: it ascends", lambda h: {"maximize": not h.maximize}),
    form("maximize turns the sign of the decay, too", flips_decay=True),
    Deviation("Nesterov's form is missing: plain momentum", lambda h: {"nesterov": False}),
    Deviation("Nesterov's form, without being asked for", lambda h: {"nesterov": True}),
    form("Nesterov's form lacks the gradient of this step", rules.sgd, nesterov_form="bare"),
    form("Nesterov's form applies momentum twice", rules.sgd, nesterov_form="twice"),
    ignored("dampening has no effect", "dampening", 0.0, *WITH_VELOCITY),
    Deviation(
        "momentum with dampening: the velocity is a mean, each gradient adds 1 - momentum of itself, the first too",
        lambda h: {"dampening": h.momentum, "first_dampened": True},
        frozenset(WITH_VELOCITY),
    ),
    Deviation(
        "momentum with dampening: the velocity is a mean, each gradient but the first adds 1 - momentum of itself",
        lambda h: {"dampening": h.momentum},
        frozenset(WITH_VELOCITY),
    ),
    form("dampening of the first gradient, too", rules.sgd, rules.lars, first_dampened=True),
    form("the velocity is that of the step before", rules.sgd, stale="velocity"),
    form("momentum of the gradient, not of the scaled gradient", rules.rmsprop, momentum_of_gradient=True),
    ignored("no momentum", "momentum", 0.0),
    Deviation("amsgrad has no effect", lambda h: {"amsgrad": False}, frozenset(OF_ADAM)),
    Deviation("amsgrad, without being asked for", lambda h: {"amsgrad": True}, frozenset(OF_ADAM)),
    form("amsgrad takes the maximum of the corrected second moment", *OF_ADAM, amsgrad_form="corrected"),
    form("amsgrad compares with the step before only", *OF_ADAM, amsgrad_form="previous"),
    form("amsgrad writes the maximum back into the second moment", *OF_ADAM, amsgrad_form="kept"),
    Deviation("centered has no effect", lambda h: {"centered": False}, frozenset({rules.rmsprop})),
    Deviation("centered, without being asked for", lambda h: {"centered": True}, frozenset({rules.rmsprop})),
    form("centered subtracts the mean, not its square", rules.rmsprop, squares_mean=False),
    Deviation("beta1 and beta2 are swapped", swapped, frozenset(OF_TWO_BETAS)),
    Deviation("beta1 serves as beta2, too", lambda h: {"beta2": h.beta1}, frozenset(OF_TWO_BETAS)),
    Deviation("beta2 serves as beta1, too", lambda h: {"beta1": h.beta2}, frozenset(OF_TWO_BETAS)),
    *(inverted(key) for key in ("beta1", "beta2", "alpha", "rho", "momentum")),
    ignored("no first moment: the gradient itself", "beta1", 0.0, *ADAPTIVE),
    ignored("no second moment: the square of the gradient itself", "beta2", 0.0, *ADAPTIVE),
    ignored("the infinity norm never decays", "beta2", 1.0, rules.adamax),
    form("no root: divided by the second moment itself", *ROOTED, has_root=False),
    form("second moment of |g|, not of its square, without a root", *OF_ADAM, squares=False, has_root=False),
    form("second moment of |g|, not of its square", *OF_ADAM, squares=False),
    form("second moment of the first moment, not of the gradient", *OF_ADAM, square_of_mean=True),
    form("the first moment lacks the factor 1 - beta1", *OF_ADAM, first_whole=True),
    form("the second moment lacks the factor 1 - beta2", *OF_ADAM, second_whole=True),
    form("the moments start with the first gradient, not with 0", *OF_ADAM, starts_with_first=True),
    form(
        "the moments start with the first gradient, not with 0, and no bias correction",
        *OF_ADAM,
        starts_with_first=True,
        corrects_first=False,
        corrects_second=False,
    ),
    form("the first moment is that of the step before", *OF_ADAM, stale="m"),
    form("the second moment is that of the step before", *OF_ADAM, rules.rmsprop, rules.adagrad, stale="v"),
    form("the second moment lacks the factor 1 - alpha", rules.rmsprop, second_whole=True),
    form("the second moment starts at 1, not at 0, as in TensorFlow", rules.rmsprop, first_v=1.0),
    form("the first moment starts at the initial accumulator value, too", rules.yogi, first_starts_too=True),
    form("the second moment starts with the square of the first gradient", rules.yogi, starts_with_first=True),
    form("Nesterov's look-ahead on the first moment", rules.adam, nesterov=True),
    form("the momentum has no schedule: it is always beta1", rules.nadam, is_scheduled=False),
    form("both parts are corrected for the same step", rules.nadam, corrects_ahead=False),
    Deviation(
        "momentum without a schedule, and both parts are corrected for the same step",
        lambda h: {"is_scheduled": False, "corrects_ahead": False},
        frozenset({rules.nadam}),
    ),
    form("x stays until the variance can be rectified", rules.radam, unrectified="none"),
    form("steps that are not rectified lack the bias correction", rules.radam, unrectified="uncorrected"),
    form("steps that are not rectified take the gradient, not its mean", rules.radam, unrectified="gradient"),
    form("rectified above 4 degrees of freedom, as in the paper, not above 5", rules.radam, rectified_above=4.0),
    form("rectified above 6 degrees of freedom, not above 5", rules.radam, rectified_above=6.0),
    form("the rectification lacks its root", rules.radam, rectification="whole"),
    form("no rectification", rules.radam, rectification="none"),
    form("the mean of squared steps holds lr", rules.adadelta, moved_holds_lr=True),
    form("a change of the gradient's sign does not skip the step", rules.rprop, skips=False),
    Deviation("the two etas are swapped", lambda h: {"etas": h.etas[::-1]}, frozenset({rules.rprop})),
    ignored("step_sizes are no bounds", "step_sizes", (0.0, math.inf), rules.rprop),
    form("the sign is missing", rules.rprop, rules.lion, rules.signum, takes_sign=False),
    form("the momentum is updated before it is mixed with the gradient", rules.lion, mixes_new=True),
    form(
        "the bias correction divides the step, which the trust ratio has scaled already, not the moments",
        rules.lamb,
        **{"corrects_first": False, "corrects_second": False, "corrects_step": True},
    ),
    form("the trust ratio has eps in its denominator", rules.lamb, trust_has_eps=True),
    form("vectors are neither scaled nor decayed: plain steps", rules.lars, scales_matrices_only=True),
    form("clipped at the fourth root of the step (algorithm 2)", rules.adopt, clip_lambda=fourth_root),
    form("the bound of the clipping is that of the next step", rules.adopt, clips_ahead=1),
    form("parameters of one shape share their state", state="shape"),
    form("lr falls with 1 / sqrt(step), without being asked for", lr_power=0.5),
    form("the step counter is shared: every parameter advances it", clock="shared"),
    form("the step counter is one ahead", clock="ahead"),
    form("the step counter is one behind", clock="behind"),
    form("the step counter is one behind, and 1 at the first two steps", clock="late"),
    ignored("lr_decay has no effect", "lr_decay", 0.0, rules.adagrad),
    form("gradients are clipped to [-1, 1]", gradient="clipped"),
    form("gradients are clipped to norm 1", gradient="clipped norm"),
    form("gradients are normalized", gradient="normalized"),
    form("gradients are centralized: their mean over a row is subtracted", gradient="centralized"),
    form("only the sign of the gradient is used", gradient="sign"),
    *(form(f"the parameters change only once in {period} steps", period=period) for period in (2, 3, 4, 5, 10)),
]


def deviations(rule: Rule, defaults: Mapping[str, Any]) -> list[Deviation]:
    """The departures that a rule can have; `defaults` of the constructor, which a value may be fixed at."""
    known = [one for one in DEVIATIONS if not one.steps or rule.step in one.steps]
    return known + [fixed(key, value) for key, value in {**rule.own, **defaults}.items() if is_numeric(value)]


def fixed(key: str, value: float | tuple[float, ...]) -> Deviation:
    name = f"{key} has no effect: it is always {value if isinstance(value, tuple) else f'{value:g}'}"
    return Deviation(name, lambda h: {key: value} if hasattr(h, key) else {})


def is_numeric(value: Any) -> bool:
    return is_number(value) or (isinstance(value, tuple) and all(map(is_number, value)))


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
