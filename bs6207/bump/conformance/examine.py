"""The audit of one optimizer: its traces, the rule that explains them, and the contract of PyTorch's optimizers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from bs6207.bump.conformance.checks import CHECKS
from bs6207.bump.conformance.contract import (
    AFTER,
    BEFORE,
    DECAY,
    LR,
    OTHER_LR,
    PROBING,
    SWITCHES,
    Broken,
    Check,
    Contract,
    first_difference,
    skip,
)
from bs6207.bump.conformance.identify import Claim, Match, claim_of, identify
from bs6207.bump.conformance.problems import make_problems
from bs6207.bump.conformance.rules import RULES
from bs6207.bump.conformance.subject import Array, Subject
from bs6207.bump.conformance.traces import Trace, departure, differences, open_path, trace
from bs6207.bump.optimizers import plain

DEFAULTS, PROBED = "defaults", "probing"
ON_EVERY_PROBLEM = (DEFAULTS, PROBED)
FEW = ("random", "constant", "network")  # problems of the other configurations
COARSE = {torch.float32: 1e-4, torch.bfloat16: 0.5}  # relative differences that rounding explains (README, "Limits")
OF_COARSE = ("random", "network", "bump")  # problems that are traced in float32 and bfloat16 too
EXTREME = ("gradients of 1e-20", "gradients of 1e20")  # beyond the range of what computes in float32
OF_MATRICES = ("muon",)  # rules that are defined for matrices, though a class may take vectors, too
ONLY_FIRST_LR = ("rprop",)  # rules in which lr is the size of the first step

# Faults of torch's own classes, each seen in torch 2.14: the checks that they fail, and why.
OF_TORCH = {
    "LBFGS": dict.fromkeys(
        ("pickle", "deepcopy"), "torch.optim.LBFGS loses the attribute _params, as Optimizer.__getstate__ leaves it out"
    ),
    "SGD": {"None gradients": "fused with momentum, it asks that a group's first gradients come at one step"},
}


@dataclass(frozen=True)
class Audit:
    """What the audit of one optimizer found."""

    name: str
    keywords: Mapping[str, Any]  # of the configuration that probes
    precision: str
    claim: str | None  # the rule that its name stands for
    rule: str | None  # the published rule that it equals, with `departures` if any
    nearest: str | None
    departures: list[str]
    explained: int  # traces
    traces: int
    checks: list[Check]
    differences: list[dict[str, Any]]  # rows: problem, configuration, dtype, step, difference

    @property
    def metrics(self) -> dict[str, Any]:
        """Its entry of metrics.json."""
        entry = {key: value for key, value in asdict(self).items() if key not in ("name", "differences", "keywords")}
        keywords = {key: plain(value) for key, value in self.keywords.items()}
        return entry | {"keywords": keywords, "ok": all(check.state != "failed" for check in self.checks)}


@dataclass(frozen=True)
class Comparison:
    """An optimizer's traces, in float64 those that ran and in coarser dtypes, and the rules that come nearest."""

    claim: Claim | None
    traces: list[Trace]
    coarse: list[Trace]
    problems: Check
    matches: list[Match]  # the best first; none if no rule can be compared

    @property
    def best(self) -> Match | None:
        return self.matches[0] if self.matches else None


def compare_with_rules(subject: Subject, rule: str | None = None) -> Comparison:
    claim = Claim(rule, {}, True) if rule in RULES else claim_of(subject) if rule is None else None
    matrices_only = subject.convention.shape == (1, 1) or (claim is not None and claim.rule in OF_MATRICES)
    problems, chosen = make_problems(matrices_only), configurations(subject)
    traces = [
        trace(subject, problem, name, keywords)
        for name, keywords in chosen.items()
        for problem in problems.values()
        if (name in ON_EVERY_PROBLEM or problem.name in FEW)
        and (subject.precision == "float64" or problem.name not in EXTREME)
        and (problem.is_smooth or not subject.convention.closure)
    ]
    ran = sorted((one for one in traces if not one.failure), key=lambda one: one.configuration != PROBED)
    coarse = [trace(subject, problems[name], PROBED, chosen[PROBED], kind) for kind in COARSE for name in OF_COARSE]
    is_elsewhere = subject.looks_elsewhere and not subject.convention.closure
    is_comparable = not is_elsewhere and any(one.moves for one in ran) and not is_lost(ran)
    matches = identify(subject, ran, claim) if is_comparable else []
    return Comparison(claim, ran, coarse, problems_check(traces), matches)


def audit_subject(
    subject: Subject,
    rule: str | None = None,
    expected_failed: Sequence[str] = (),
    on_status: Callable[[str], None] = lambda doing: None,
) -> Audit:
    on_status("rule")
    compared = compare_with_rules(subject, rule)
    best = compared.best
    on_status("contract")
    contract = Contract(subject)
    checks = [rule_check(compared.matches, compared.traces, compared.claim), compared.problems]
    checks += contract.run({"lr between steps": lambda contract: lr_between_steps(contract, best)})
    checks += contract.run(CHECKS)
    for kind in COARSE:
        checks.append(coarse_check(kind, [one for one in compared.coarse if one.dtype is kind], best, contract.same))
    return Audit(
        name=subject.name,
        keywords=dict(subject.keywords),
        precision=subject.precision,
        claim=compared.claim.rule if compared.claim else None,
        rule=best.rule if best and best.is_whole else None,
        nearest=best.rule if best else None,
        departures=best.names if best else [],
        explained=sum(part is None for part in best.parts) if best else 0,
        traces=len(compared.traces),
        checks=[declared(check, subject, expected_failed) for check in checks],
        differences=list(difference_rows([*compared.traces, *compared.coarse], best)),
    )


def configurations(subject: Subject) -> dict[str, dict[str, Any]]:
    """Keywords by the name of a configuration: the defaults, values that show, and every switch turned."""
    probing = subject.spelt(**PROBING)
    few = {key: PROBING[key] for key in ("max_iter", "history_size")}  # of L-BFGS, whose defaults take long
    chosen = {DEFAULTS: subject.spelt(lr=LR, **few), PROBED: probing}
    decayed = probing | subject.spelt(weight_decay=DECAY)
    if decayed != probing:
        chosen["weight_decay"] = decayed
    if damped := subject.spelt(dampening=0.3):
        chosen["dampening"] = probing | damped
    for key, more in SWITCHES.items():
        if key in subject.takes and key not in subject.keywords:
            turned = {key: subject.takes[key].default is not True}
            chosen[f"{key}={turned[key]}"] = decayed | turned | subject.spelt(**more)
    return chosen


def rule_check(matches: Sequence[Match], traces: Sequence[Trace], claim: Claim | None) -> Check:
    """Whether it is what its name says; a departure that has a name fails, whatever the optimizer is called."""
    if not traces:
        return Check("rule", "skipped", "it takes its steps on none of the problems; no rule is compared")
    if is_lost(traces):
        return Check("rule", "failed", "positions are not finite", {"problem": traces[0].where, "step": 1})
    if not matches and not any(one.moves for one in traces):
        return Check("rule", "skipped", "it moves no parameter of these problems; no rule is compared")
    if not matches:
        return Check("rule", "skipped", "it evaluates gradients elsewhere than where it stands; no rule is compared")
    best = matches[0]
    if best.is_whole and not best.departures and (claim is None or claim.rule == best.rule):
        return Check("rule", "passed", f"equals {best.rule}")
    claimed = next((one for one in matches if one.rule == (claim or best).rule and not one.departures), best)
    evidence = first_evidence(claimed, traces)
    departures = "; ".join(best.names)
    if best.is_whole and (claim is None or claim.rule == best.rule):
        return Check("rule", "failed", f"equals {best.rule} but for this: {departures}", evidence)
    if best.is_whole and claim:
        but = f" but for this: {departures}" if departures else ""
        return Check("rule", "failed", f"is not {claim.rule}, as its name says: it equals {best.rule}{but}", evidence)
    but = f" ({departures})" if departures else ""
    left = list(dict.fromkeys(one.configuration for one, part in zip(traces, best.parts, strict=True) if part))
    where = f", but not with {', '.join(left)}" if PROBED not in left and traces[0].configuration == PROBED else ""
    is_claimed = claim is not None and (claim.is_firm or bool(where and best.rule == claim.rule and not departures))
    finding = f"equals no known rule; the nearest is {best.rule}{but}{where}"
    return Check("rule", "failed" if is_claimed else "warning", finding, evidence)


def is_lost(traces: Sequence[Trace]) -> bool:
    """Whether the first step of the first trace, the most telling one, leaves what is finite: no rule does so."""
    return bool(traces) and not all(np.isfinite(x).all() for x in traces[0].positions[1])


def first_evidence(match: Match, traces: Sequence[Trace]) -> dict[str, Any]:
    for part, one in zip(match.parts, traces, strict=True):
        if part is not None and part.step:
            return {"problem": one.where, "step": part.step, "found": part.found, "expected": part.expected}
    return {}


def problems_check(traces: Sequence[Trace]) -> Check:
    """Whether it takes its steps on all problems that its constructor allows."""
    for one in traces:
        if one.failure and one.positions:
            evidence = {"problem": one.where, "step": len(one.positions)}
            return Check("problems", "failed", f"fails on {one.where}: {one.failure}", evidence)
    return Check("problems", "passed")


def lr_between_steps(contract: Contract, match: Match | None) -> None:
    """A change of lr between steps is obeyed as the rule obeys it or, without a rule, at all."""
    walk = contract.start()
    group = getattr(walk.optimizer, "param_groups", [{}])[0]
    if "lr" not in group and not contract.subject.spelt(lr=LR):
        raise skip("it takes no lr")
    if "lr" not in group:
        raise Broken("parameter groups hold no lr, so that no scheduler can change it")
    has = contract.subject.hyperparameters(walk.optimizer, contract.keywords)
    rate, path, gradients = float(group["lr"]), list[list[Array]](), list[list[Any]]()
    rates = [rate if t < BEFORE else rate * OTHER_LR / LR for t in range(BEFORE + AFTER)]
    for one in rates:
        walk.set_lr(one)
        path += walk.walk(1)
        gradients.append(walk.given)
    unchanged = contract.start().walk(BEFORE + AFTER)
    if first_difference(unchanged, [contract.parts.starts()] * len(unchanged)) is None:
        raise skip("it moves no parameter")
    if not np.isfinite(unchanged[0][0]).all():
        raise Broken("positions are not finite", {"step": 1})
    if first_difference(path, unchanged, contract.same) is None:
        if match and match.rule in ONLY_FIRST_LR:
            return
        expected = {"step": BEFORE + 1}
        raise Broken("a change of lr between steps has no effect: lr is cached", expected)
    if match is None or not match.is_whole or RULES[match.rule].needs_closure:
        return
    forms = [{"lr_inside": False}, {"lr_inside": True}]
    paths = [scheduled(contract, match, has, rates, gradients, form) for form in forms]
    found = [first_difference(path, other, contract.same) for other in paths]
    if found[0] is not None and found[-1] is None:
        raise Broken("the velocity holds lr, so that a change of lr acts late (Sutskever's form)", found[0], "warning")
    if found[0] is not None:
        raise Broken("a change of lr between steps is obeyed in part, or late", found[0])


def scheduled(
    contract: Contract,
    match: Match,
    has: Mapping[str, Any],
    rates: Sequence[float],
    gradients: Sequence[Sequence[Any]],
    form: Mapping[str, Any],
) -> list[list[Array]]:
    """Where the rule stands after each step with these rates and gradients."""
    h = match.hyperparameters(has)
    vars(h).update(form)
    return [*open_path(RULES[match.rule], h, contract.parts.starts(), gradients, rates)]


def coarse_check(kind: torch.dtype, traces: Sequence[Trace], match: Match | None, same: float) -> Check:
    """Whether an optimizer keeps to its rule in a coarser dtype, but for rounding."""
    name = str(kind).removeprefix("torch.")
    for one in traces:
        if one.failure:
            return Check(name, "refused", f"refused: {one.failure}")
        if not all(np.isfinite(x).all() for xs in one.positions for x in xs):
            return Check(name, "failed", "positions are not finite", {"problem": one.where})
        if match is None or not match.is_whole or RULES[match.rule].needs_closure:
            continue
        h = match.hyperparameters(one.has)
        if part := departure(RULES[match.rule], h, one, max(COARSE[kind], same)):
            evidence = {"problem": one.where, "step": part.step, "found": part.found, "expected": part.expected}
            return Check(name, "failed", f"differs from {match.rule} by more than rounding", evidence)
    return Check(name, "passed")


def declared(check: Check, subject: Subject, expected_failed: Sequence[str]) -> Check:
    """A check that fails as the user, the class or the table of torch's faults says it does, as expected."""
    own = getattr(subject.target, "expected_failed_checks", ())
    kind = getattr(subject.target, "kind", getattr(subject.target, "__name__", ""))
    is_torchs = subject.name.startswith("torch.optim") or not subject.name.count(":")
    known = OF_TORCH.get(kind, {}) if is_torchs else {}
    if check.state != "failed" or check.name not in (*expected_failed, *own, *known):
        return check
    reason = known.get(check.name) or (own.get(check.name, "") if isinstance(own, Mapping) else "")
    return replace(check, state="expected", finding=f"{check.finding}{f' ({reason})' if reason else ''}")


def difference_rows(traces: Sequence[Trace], match: Match | None) -> Iterator[dict[str, Any]]:
    """The difference from the nearest rule as published after each step, in the configuration that probes."""
    match = replace(match, departures=()) if match else None
    for one in traces:
        if match is None or one.configuration != PROBED or one.failure:
            continue
        if RULES[match.rule].needs_closure and not one.problem.is_smooth:
            continue
        kind = str(one.dtype).removeprefix("torch.")
        row = {"rule": match.rule, "problem": one.problem.name, "dtype": kind}
        try:
            for part in differences(RULES[match.rule], match.hyperparameters(one.has), one):
                yield {**row, "step": part.step, "difference": part.difference}
        except (ArithmeticError, AttributeError, IndexError, TypeError, ValueError):
            continue
