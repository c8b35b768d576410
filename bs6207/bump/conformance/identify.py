"""Which published rule an optimizer equals, or by which known departure it misses it, and where they part."""

import inspect
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

from bs6207.bump.conformance.deviations import Deviation, deviations, form, is_number, is_numeric
from bs6207.bump.conformance.rules import RULES, Hyperparameters
from bs6207.bump.conformance.subject import Subject
from bs6207.bump.conformance.traces import SAME, SAME_IN, Departure, Trace, departure, reference_path
from bs6207.training.optimizers import OPTIMIZERS

NAMES: dict[str, tuple[str, Mapping[str, Any]]] = {  # beside the rules' own: the rule, and what the name adds to it
    **{name: (name, {}) for name in RULES},
    **dict.fromkeys(("gd", "gradientdescent", "momentum", "heavyball"), ("sgd", {})),
    **dict.fromkeys(("nesterov", "nag", "nesterovsgd", "sgdnesterov"), ("sgd", {"nesterov": True})),
    "sgdw": ("sgd", {"decay": "decoupled"}),
    "amsgrad": ("adam", {"amsgrad": True}),
    "rmspropcentered": ("rmsprop", {"centered": True}),
    "centeredrmsprop": ("rmsprop", {"centered": True}),
    "signum": ("signsgd", {}),
}
NEAREST = 2  # rules that are tried with two departures where none is claimed, or the claimed one is not equal
NEUTRAL = re.compile(
    r"(?i)(my|our|own|the|an?|mutant|mutated|simple|custom|naive|plain|toy|basic|torch|pure|fast|test|new|old|hand|written|"
    r"copy|copied|of|buggy|bug|bad|wrong|broken|faulty|vanilla|standard|classic|reference|minimal|tiny|small|_|\d)*$"
)
HYPERPARAMETERS = (
    *("lr", "weight_decay", "maximize", "beta1", "beta2", "beta3", "eps", "momentum", "dampening", "nesterov"),
    *("amsgrad", "centered", "alpha", "rho", "lr_decay", "initial_accumulator_value", "momentum_decay", "etas"),
    *("step_sizes", "lambd", "d", "beta2_decay", "ns_steps", "ns_coefficients", "adjust_lr_fn", "nu", "nus"),
    *("trust_coefficient", "clip_lambda", "max_iter", "max_eval", "history_size", "tolerance_grad", "tolerance_change"),
)
DECOUPLED = ("decoupled_weight_decay", "weight_decouple", "decoupled_decay", "decoupled", "decouple")
UNSCALED = ("fixed_decay",)
CORRECTS = ("bias_correction", "correct_bias", "debias", "use_bias_correction")
ACCUMULATOR = "initial_accumulator"  # as pytorch_optimizer spells initial_accumulator_value
AMSGRAD = ("amsgrad", "ams_bound", "use_amsgrad")


@dataclass(frozen=True)
class Claim:
    """The rule that a name stands for; a firm one is the whole name, but for words that say nothing."""

    rule: str
    adds: Mapping[str, Any]
    is_firm: bool


@dataclass(frozen=True)
class Match:
    """A rule with departures, and how it fares on the traces: None where they agree."""

    rule: str
    departures: tuple[Deviation, ...]
    adds: Mapping[str, Any]
    parts: list[Departure | None]

    @property
    def is_whole(self) -> bool:
        return not any(self.parts)

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.departures]

    def hyperparameters(self, has: Mapping[str, Any]) -> Hyperparameters:
        return changed(expected(self.rule, has, self.adds), self.departures)


def claim_of(subject: Subject) -> Claim | None:
    """What the name of a built-in optimizer, of a class or of its bases stands for."""
    if isinstance(subject.target, type(OPTIMIZERS["adam"])):
        return Claim(subject.target.kind.lower(), {}, True)
    own = subject.name.rpartition(":")[2].rpartition(".")[2]
    bases = subject.target.__mro__[1:-1] if inspect.isclass(subject.target) else ()
    return next(filter(None, (claimed(name) for name in (own, *(base.__name__ for base in bases)))), None)


def claimed(name: str) -> Claim | None:
    """The longest known name within a name, at its words' ends; AdamP and its like are names of their own."""
    best: tuple[int, Claim] | None = None
    for known, (rule, adds) in NAMES.items():
        for found in re.finditer(re.escape(known), name, re.IGNORECASE):
            before, after = name[: found.start()], name[found.end() :]
            begins = not before or found[0][0].isupper() or not before[-1].isalpha()
            ends = not after or not after[0].islower() or found[0][-1].isupper()
            if begins and ends and not re.fullmatch(r"[A-Z]", after) and (best is None or len(known) > best[0]):
                best = len(known), Claim(rule, adds, bool(NEUTRAL.match(before)))
    return best[1] if best else None


def expected(name: str, has: Mapping[str, Any], adds: Mapping[str, Any]) -> Hyperparameters:
    """A rule with the hyperparameters that an optimizer has, and the forms that its switches name."""
    rule = RULES[name]
    given: dict[str, Any] = {key: has[key] for key in HYPERPARAMETERS if has.get(key) is not None}
    if ACCUMULATOR in has:
        given.setdefault("initial_accumulator_value", has[ACCUMULATOR])
    own = rule.own.get("decay", "l2")
    coupled = "l2" if own == "decoupled" else own
    for keys, is_on, is_off in (
        (DECOUPLED, {"decay": "decoupled"}, {"decay": coupled}),
        (
            CORRECTS,
            {"corrects_first": True, "corrects_second": True},
            {"corrects_first": False, "corrects_second": False},
        ),
        (AMSGRAD, {"amsgrad": True}, {}),
    ):
        switch = next((has[key] for key in keys if isinstance(has.get(key), bool)), None)
        given |= is_on if switch else is_off if switch is False else {}
    if given.get("decay") != coupled and any(has.get(key) is True for key in UNSCALED):  # it says how to decouple
        given["decay"] = "unscaled"
    if name == "adafactor" and is_number(given.get("eps")):
        given["eps"] = (None, given["eps"])
    h = rule.hyperparameters({**adds, **given})
    if "nesterov" not in rule.own and rule.step is not RULES["sgd"].step and rule.step is not RULES["rmsprop"].step:
        h.nesterov = False  # of another rule
    return h


def changed(h: Hyperparameters, departures: Sequence[Deviation]) -> Hyperparameters:
    for one in departures:
        h = one.applied(h)
    return h


def identify(subject: Subject, traces: Sequence[Trace], claim: Claim | None) -> list[Match]:
    """The rules that come nearest, the best first: whole ones, if any, then by how much of the traces they explain.

    The claimed rule is tried first, alone, with one departure, with two; then every other rule with one, and those that
    come nearest with two.
    """
    search = Search(subject, traces, claim)
    names = [name for name, rule in RULES.items() if rule.needs_closure <= subject.convention.closure]
    found: list[Match] = []
    if claim:
        for stage in (search.plain, search.with_one, search.with_two):
            found += (some := stage(claim.rule))
            if any(one.is_whole for one in some):
                return ranked(found)
        names = [name for name in names if name != claim.rule]
    found += (plain := [one for name in names for one in search.plain(name)])
    if not any(one.is_whole for one in plain):
        found += (some := ranked([one for name in names for one in search.with_one(name)]))
        nearest = list(dict.fromkeys(one.rule for one in some))[:NEAREST]
        if not any(one.is_whole for one in some):
            found += [one for name in nearest for one in search.with_two(name)]
    return ranked(found)


def ranked(matches: Sequence[Match]) -> list[Match]:
    """The best first: by traces that depart, by how late; what explains as much keeps the order of its table."""

    def worth(one: Match) -> tuple[float, ...]:
        parts = [part for part in one.parts if part is not None]
        first = (-parts[0].step, parts[0].difference) if parts else (0, 0.0)
        return len(parts), len(one.departures) if not parts else 0, *first, len(one.departures)

    return sorted(matches, key=worth)


class Search:
    """Tries rules with departures on the traces of one optimizer, each set of hyperparameters once on each trace."""

    def __init__(self, subject: Subject, traces: Sequence[Trace], claim: Claim | None):
        self.subject, self.traces, self.claim = subject, traces, claim
        self.same = SAME_IN.get(subject.precision, SAME)
        self.tried: dict[tuple[str, int, str], Departure | None] = {}

    def adds(self, name: str) -> Mapping[str, Any]:
        return self.claim.adds if self.claim and self.claim.rule == name else {}

    @cache  # noqa: B019 (it lives as long as the search)
    def published(self, name: str) -> list[Hyperparameters]:
        """The hyperparameters of a rule without departures on each trace."""
        return [expected(name, one.has, self.adds(name)) for one in self.traces]

    def part(self, name: str, departures: Sequence[Deviation], place: int) -> Departure | None:
        """Where a rule with these departures parts from a trace."""
        published = self.published(name)[place]
        h = changed(published, departures)
        change = {key: value for key, value in vars(h).items() if value != vars(published).get(key, value)}
        key = name, place, repr(change)
        if key not in self.tried:
            self.tried[key] = departure(RULES[name], h, self.traces[place], self.same)
        return self.tried[key]

    def match(self, name: str, *departures: Deviation) -> Match:
        """How a rule fares; one that departs on the first trace, the most telling one, is taken to depart on all."""
        first, *rest = range(len(self.traces))
        part = self.part(name, departures, first)
        parts = [self.part(name, departures, place) for place in rest] if part is None else [part] * len(rest)
        return Match(name, departures, self.adds(name), [part, *parts])

    def plain(self, name: str) -> list[Match]:
        return [self.match(name)]

    def with_one(self, name: str) -> list[Match]:
        singles = [self.match(name, one) for one in self.visible(name)]
        scale = scale_of(name, self.match(name), self.traces[0])
        return [*singles, *([self.match(name, scale)] if scale else [])]

    def with_two(self, name: str) -> list[Match]:
        """The first pair that explains all traces, if there is one; those that the rule leaves early come first."""
        alone = [self.part(name, (), place) for place in range(len(self.traces))]
        places = sorted(range(len(alone)), key=lambda place: part.step if (part := alone[place]) else math.inf)
        for pair in combinations(self.visible(name), 2):
            if all(self.part(name, pair, place) is None for place in places):
                return [Match(name, pair, self.adds(name), [None] * len(places))]
        return []

    @cache  # noqa: B019
    def visible(self, name: str) -> list[Deviation]:
        """The departures of a rule that change anything on these traces, each once."""
        if RULES[name].needs_closure:
            return []
        defaults = {key: one.default for key, one in self.subject.takes.items()}
        fixed = {key: defaults[key] for key in HYPERPARAMETERS if is_numeric(defaults.get(key))}
        shown, seen = list[Deviation](), [published := self.published(name)]
        for one in deviations(RULES[name], fixed):
            changes = [one.applied(h) for h in published]
            if changes not in seen:
                seen.append(changes)
                shown.append(one)
        return shown


def scale_of(name: str, plain: Match, one: Trace) -> Deviation | None:
    """The one factor between the first step of an optimizer and of a rule, if there is one."""
    if RULES[name].needs_closure:
        return None
    try:
        (ours, *_), theirs = reference_path(RULES[name], plain.hyperparameters(one.has), one), one.positions[1]
    except (ArithmeticError, AttributeError, IndexError, TypeError, ValueError):
        return None
    moves = [
        (a - start, b - start)
        for a, b, start in zip(ours, theirs, one.positions[0], strict=True)
        if abs(a - start).min() > 0
    ]
    factors = [float(factor) for a, b in moves for factor in (b / a).ravel()]
    if not factors or not all(math.isfinite(factor) for factor in factors) or factors[0] in (0.0, 1.0):
        return None
    if max(factors) - min(factors) > 1e-9 * abs(factors[0]):
        return None
    factor = sum(factors) / len(factors)
    return form(f"steps are {factor:.10g} times as long", scale=float(f"{factor:.12g}"))
