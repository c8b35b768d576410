"""The audit names what is wrong with copies of optimizers, and finds nothing wrong with right ones."""

import inspect
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from bump.conformance import mutants, rarer_mutants
from conftest import Watched

import bs6207 as package
from bs6207.bump.conformance.checks import CHECKS
from bs6207.bump.conformance.contract import Contract
from bs6207.bump.conformance.deviations import DEVIATIONS
from bs6207.bump.conformance.examine import (
    OF_MATRICES,
    PROBED,
    Audit,
    coarse_check,
    compare_with_rules,
    configurations,
    difference_rows,
    lr_between_steps,
    problems_check,
    rule_check,
)
from bs6207.bump.conformance.experiment import OTHER_CHECKS, run
from bs6207.bump.conformance.identify import Search, claim_of, claimed, expected, ranked
from bs6207.bump.conformance.problems import make_problems
from bs6207.bump.conformance.rules import RULES
from bs6207.bump.conformance.settings import AuditSettings
from bs6207.bump.conformance.subject import find_subject
from bs6207.bump.conformance.traces import trace
from bs6207.errors import SettingsError

audit = package.bump.audit
OF_TORCH = ["SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta", "Rprop", "ASGD",
            "Adafactor", "Muon", "SparseAdam", "LBFGS"]  # fmt: skip
SWITCHES = ("foreach", "fused", "maximize", "amsgrad", "nesterov", "centered", "decoupled_weight_decay")
QUICK = ("SGD", "M04", "M30", "M31", "M33", "M70")  # each of another part of the audit

SHARED_STATE = "M73"  # shows where two parameters have one shape

slow = pytest.mark.slow


def some(names):
    return [name if name in QUICK else pytest.param(name, marks=slow) for name in names]


@pytest.mark.parametrize("name", some(OF_TORCH))
def test_every_optimizer_of_torch_passes_and_equals_the_rule_of_its_name(name):
    report = audit(f"torch.optim:{name}")
    assert report.ok, report
    assert (report.rule, report.departures) == (name.lower(), [])
    states = {check["name"]: check["state"] for check in report.checks}
    assert not {kind for kind in ("foreach", "fused", "differentiable") if states[kind] == "failed"}
    report.raise_if_failed()


def variants():
    """Every switch of every class, alone and with all those that change the rule."""
    for name in OF_TORCH:
        switches = [key for key in inspect.signature(getattr(torch.optim, name)).parameters if key in SWITCHES]
        of_rule = dict.fromkeys((key for key in switches if key not in SWITCHES[:2]), True)
        chosen = [some for key in switches for some in ({key: True}, {**of_rule, key: True})]
        for some in [one for place, one in enumerate(chosen) if one not in chosen[:place]]:
            yield name, some | ({"momentum": 0.9} if "nesterov" in some and name == "SGD" else {})


@slow
@pytest.mark.parametrize(("name", "keywords"), [*variants()], ids=str)
def test_every_variant_of_torch_passes(name, keywords):
    report = audit(getattr(torch.optim, name), **keywords)
    assert report.ok, report
    assert report.departures == []


@slow
@pytest.mark.parametrize("kind", [*mutants.RIGHT, *rarer_mutants.RIGHT], ids=lambda kind: kind.__name__)
def test_right_copies_pass(kind):
    report = audit(kind)
    assert report.ok, report
    assert (report.rule, report.departures) == (kind.__name__.lower(), [])


@pytest.mark.parametrize("name", some(mutants.MUTANTS))
def test_a_mutant_is_caught_and_named(name):
    kind, words = mutants.MUTANTS[name]
    report = audit(kind)
    assert not report.ok
    assert any(words in finding for finding in report.findings), report
    with pytest.raises(AssertionError, match=name):
        report.raise_if_failed()


CHECK_OF = {  # mutants that keep to their rule: the check that names what they break
    **dict.fromkeys(("M39", "M40", "M41"), "closure"), **dict.fromkeys(("M32", "M71"), "inputs"),
    **dict.fromkeys(("M30", "M76"), "state_dict"), **dict.fromkeys(("M35", "M36"), "None gradients"),
    **dict.fromkeys(("M33", "M34"), "lr of parameter groups"),
    "M37": "gradient memory", "M38": "state", "M44": "deterministic", "M70": "foreach", "M72": "memory layout",
    "M74": "instances", "M75": "options between steps", "M77": "zero gradients", "M78": "generator",
}  # fmt: skip
OTHER_RULE = [name for name in mutants.MUTANTS if name not in {*CHECK_OF, "M31"}]  # of which M31 has a check of its own


@pytest.mark.parametrize("name", CHECK_OF)
def test_a_check_names_what_a_mutant_breaks(name):
    kind, words = mutants.MUTANTS[name]
    (outcome,) = Contract(find_subject(kind, {}, {})).run({CHECK_OF[name]: CHECKS[CHECK_OF[name]]})
    assert outcome.state == "failed"
    assert words in f"{outcome.name} failed: {outcome.finding}"


def searched(kind, problem="random"):
    """The rule that a class claims, and a search on its traces of one problem."""
    subject = find_subject(kind, {}, {})
    claim = claim_of(subject)
    problem = make_problems(subject.convention.shape == (1, 1) or claim.rule in OF_MATRICES)[problem]
    traces = [trace(subject, problem, *chosen) for chosen in configurations(subject).items()]
    ran = sorted((one for one in traces if not one.failure), key=lambda one: one.configuration != PROBED)
    return claim.rule, Search(subject, ran, claim)


@pytest.mark.parametrize("name", OTHER_RULE)
def test_one_departure_explains_what_a_mutant_computes(name):
    kind, words = mutants.MUTANTS[name]
    rule, search = searched(kind, "sparse" if name == SHARED_STATE else "random")
    (plain,) = search.plain(rule)
    best, *_ = ranked([plain, *search.with_one(rule)])
    assert not plain.is_whole
    assert any(words in departure for departure in best.names)


@pytest.mark.parametrize("name", OF_TORCH)
def test_every_rule_is_what_torchs_class_of_its_name_computes(name):
    rule, search = searched(getattr(torch.optim, name), "quadratic, condition 1" if name == "LBFGS" else "random")
    assert rule == name.lower()
    assert [match.is_whole for match in search.plain(rule)] == [True]


class Bare:
    """Not of torch.optim: it has nothing but steps of one size."""

    def __init__(self, params):
        self.params = [*params]

    def step(self):
        for x in self.params:
            x.data -= 0.1 * x.grad


def varied(step=None, make=None, **methods):
    """A class of torch's SGD whose `step` and attributes are changed."""

    class Varied(torch.optim.SGD):
        def __init__(self, params, lr=0.01):
            super().__init__(params, lr)
            if make:
                make(self)

        def step(self, closure=None):
            return (step or plain_step)(self, closure)

    return type("Varied", (Varied,), methods)


def plain_step(self, closure=None):
    return torch.optim.SGD.step(self, closure)


def normalized(self, closure):
    for x, size in zip(self.param_groups[0]["params"], (1.0, 0.5), strict=False):
        x.grad = size * x.grad / sum(y.grad.norm() for y in self.param_groups[0]["params"])
    plain_step(self, closure)


def doubled(self, closure):
    loss = plain_step(self, closure)
    return loss if loss is None else 2 * loss


def frozen(self, closure):
    plain_step(self, closure)
    self.param_groups[0]["params"][0].requires_grad_(False)


def moved(self, closure):
    plain_step(self, closure)
    for x in self.param_groups[0]["params"]:
        x.data = x.data.clone()


def set_attribute(name, value):
    return lambda self: setattr(self, name, value)


BROKEN = [  # a class, a check, its outcome, and words of the finding
    (Bare, "state_dict", "failed", "it has no state_dict()"),
    (Bare, "zero_grad", "failed", "it has no zero_grad()"),
    (Bare, "closure", "refused", "step() takes no closure"),
    (Bare, "lr of parameter groups", "skipped", "its constructor takes no lr"),
    (Bare, "scheduler", "skipped", "no torch.optim.Optimizer"),
    (Bare, "added parameter", "skipped", "it has no add_param_group()"),
    (Bare, "tensor lr", "skipped", "it takes no lr"),
    (varied(normalized), "independent parameters", "warning", "depends on the other parameters"),
    (varied(normalized), "options of parameter groups", "skipped", "are not independent"),
    (varied(make=set_attribute("held", (x for x in ""))), "pickle", "failed", "cannot be pickled"),
    (varied(make=lambda self: self.param_groups[0].update(lr=0.5)), "keywords", "failed", "kept as 0.5"),
    (varied(zero_grad=lambda self, set_to_none=True: None), "zero_grad", "failed", "leaves gradients behind"),
    (varied(zero_grad=lambda self: torch.optim.SGD.zero_grad(self)), "zero_grad", "passed", ""),
    (varied(doubled), "closure", "failed", "another loss"),
    (varied(lambda self, closure: plain_step(self)), "closure", "failed", "does not evaluate the closure"),
    (varied(frozen), "inputs", "failed", "no longer require gradients"),
    (varied(moved), "inputs", "warning", "new storage"),
    (torch.optim.SparseAdam, "zero gradients", "skipped", "gradients are sparse"),
    (torch.optim.SparseAdam, "complex parameters", "skipped", "gradients are sparse"),
    (torch.optim.SparseAdam, "sparse gradients", "skipped", "sparse already"),
    (torch.optim.SparseAdam, "memory layout", "skipped", "sparse gradients or a closure"),
    (torch.optim.LBFGS, "sparse gradients", "skipped", "it takes a closure"),
    (torch.optim.LBFGS, "gradient memory", "skipped", "sparse gradients or a closure"),
    (torch.optim.LBFGS, "complex parameters", "passed", ""),
    (torch.optim.LBFGS, "closure", "passed", ""),
]


@pytest.mark.parametrize(("kind", "name", "state", "words"), BROKEN, ids=lambda part: getattr(part, "__name__", part))
def test_a_check_says_what_is_broken_or_why_it_is_skipped(kind, name, state, words):
    (outcome,) = Contract(find_subject(kind, {}, {})).run({name: CHECKS[name]})
    assert (outcome.state, words in outcome.finding) == (state, True), outcome


def test_lr_is_looked_for_where_schedulers_change_it_and_has_to_act_at_once():
    def late(self, closure):
        (group,) = self.param_groups
        self.next, group["lr"] = group["lr"], getattr(self, "next", group["lr"])
        plain_step(self, closure)
        group["lr"] = self.next

    def outcome_of(kind):
        _, search = searched(kind)
        (match,) = search.plain("sgd")
        (check,) = Contract(find_subject(kind, {}, {})).run({"lr": lambda contract: lr_between_steps(contract, match)})
        return check.state, check.finding

    assert outcome_of(torch.optim.SGD) == ("passed", "")
    assert outcome_of(varied(late)) == ("failed", "a change of lr between steps is obeyed in part, or late")
    bare, hidden = Contract(find_subject(Bare, {}, {})), varied(make=lambda self: self.param_groups[0].pop("lr"))
    assert bare.run({"lr": lambda contract: lr_between_steps(contract, None)})[0].finding == "it takes no lr"
    hidden.step = Bare.step
    hidden.params = property(lambda self: self.param_groups[0]["params"])
    (check,) = Contract(find_subject(hidden, {}, {})).run({"lr": lambda contract: lr_between_steps(contract, None)})
    assert check.finding == "parameter groups hold no lr, so that no scheduler can change it"


def test_what_is_compared_with_no_rule_or_differs_from_it_is_told_in_words():
    def fails_later(self, closure):
        self.count = getattr(self, "count", 0) + 1
        if self.count > 20:
            raise RuntimeError("out of ideas")
        plain_step(self, closure)

    def rough(self, closure):
        plain_step(self, closure)
        for x in self.param_groups[0]["params"]:
            if x.dtype is not torch.float64:
                x.data.mul_(1.01)

    _, search = searched(torch.optim.SGD)
    assert rule_check([], [], None).finding.startswith("it takes its steps on none of the problems")
    assert rule_check([], search.traces, None).finding.startswith("it evaluates gradients elsewhere")
    adam = rule_check(search.plain("sgd"), search.traces, claimed("Adam"))
    assert (adam.state, adam.finding) == ("failed", "is not adam, as its name says: it equals sgd")
    failing = find_subject(varied(fails_later), {}, {})
    found = problems_check([trace(failing, make_problems(False)["random"], PROBED, {})])
    assert (found.finding, found.evidence["step"]) == ("fails on random, probing: out of ideas", 21)
    subject = find_subject(varied(rough), {}, {})
    coarse = trace(subject, make_problems(False)["random"], PROBED, {}, torch.float32)
    (match,) = search.plain("sgd")
    assert coarse_check(torch.float32, [coarse], match, 1e-12).finding == "differs from sgd by more than rounding"
    lost = replace(coarse, positions=[[np.array([np.nan])]])
    assert coarse_check(torch.float32, [lost], match, 1e-12).finding == "positions are not finite"
    refused = coarse_check(torch.float32, [replace(coarse, failure="float64 only")], match, 1e-12)
    assert (refused.state, refused.finding) == ("refused", "refused: float64 only")


def test_lbfgs_is_compared_on_smooth_problems_only():
    _, search = searched(torch.optim.LBFGS, "Rosenbrock")
    (match,) = search.plain("lbfgs")
    assert match.is_whole
    assert [row["step"] for row in difference_rows(search.traces, match)] == [1, 2, 3]
    bump = [replace(one, problem=make_problems(False)["bump"]) for one in search.traces]
    assert not [*difference_rows(bump, match)]


class Filled(torch.optim.SGD):
    value = float("nan")

    def step(self, closure=None):
        for x in self.param_groups[0]["params"]:
            x.data.fill_(self.value)


class Infinite(Filled):
    value = float("-inf")


class Still(torch.optim.SGD):
    def step(self, closure=None):
        pass


@pytest.mark.parametrize("kind", [pytest.param(Filled, marks=slow), Infinite])
def test_an_optimizer_that_leaves_what_is_finite_is_told_so_and_like_no_rule(kind):
    subject = find_subject(kind, {}, {})
    compared = compare_with_rules(subject)
    assert compared.best is None
    finding = rule_check([], compared.traces, compared.claim)
    assert (finding.state, finding.finding) == ("failed", "positions are not finite")
    found = {check.name: check for check in Contract(subject).run(CHECKS)}
    assert found["inputs"].state == found["deterministic"].state == found["state_dict"].state == "passed"


def test_an_optimizer_that_never_moves_is_like_no_rule_and_caches_no_lr():
    subject = find_subject(Still, {}, {})
    assert rule_check([], compare_with_rules(subject).traces, None).finding.startswith("it moves no parameter")
    (check,) = Contract(subject).run({"lr between steps": lambda contract: lr_between_steps(contract, None)})
    assert (check.state, check.finding) == ("skipped", "it moves no parameter")


def test_an_optimizer_that_no_rule_is_compared_with_has_no_panel():
    row = {"rule": "adam", "problem": "random", "dtype": "float64", "step": 1, "difference": 1e-16}
    rows_of = {"adam": [row], "gd": []}

    def outcomes(function, tasks, progress, fingerprint):
        return {
            name: {"metrics": Audit(name, {}, "float64", *[None] * 3, [], 0, 0, [], []).metrics, "differences": rows}
            for name, rows in rows_of.items()
            if name in tasks
        }

    both, alone = (run(AuditSettings(optimizers=names), Watched(), outcomes) for names in (["adam", "gd"], ["gd"]))
    titles = [axes.get_title(loc="left") for axes in both.figures["differences"]().axes if axes.axison]
    assert titles == ["adam against None"]
    assert alone.figures == {}


def test_forty_mutants_are_tried():
    assert len(mutants.MUTANTS) >= 40


def test_a_departure_that_is_expected_does_not_fail():
    report = audit(mutants.M04, expect_failed=["rule"])
    assert report.ok
    assert next(check["state"] for check in report.checks if check["name"] == "rule") == "expected"


def test_every_rule_has_a_source_and_every_name_of_a_check_or_departure_is_used_once():
    assert all(any(digit in rule.source for digit in ("19", "20", "torch.optim")) for rule in RULES.values())
    assert len({one.name for one in DEVIATIONS}) >= len(DEVIATIONS) - 1  # two ways to grow have one name
    assert len({*CHECKS, *OTHER_CHECKS}) == len(CHECKS) + len(OTHER_CHECKS)


@pytest.mark.parametrize(
    ("name", "rule", "is_firm"),
    [("Adam", "adam", True), ("AdamW", "adamw", True), ("MyAdam", "adam", True), ("AdamNoBias", "adam", True),
     ("ScheduleFreeAdamW", "adamw", False), ("NesterovSGD", "sgd", True), ("sparse_adam", "adam", False)],
)  # fmt: skip
def test_a_name_claims_the_longest_known_one_within_it(name, rule, is_firm):
    claim = claimed(name)
    assert (claim.rule, claim.is_firm) == (rule, is_firm)


@pytest.mark.parametrize("name", ["AdamP", "Prodigy", "Amos", "SGDP"])
def test_names_of_their_own_claim_nothing(name):
    assert claimed(name) is None


@pytest.mark.parametrize(
    ("switches", "form"),
    [
        ({}, "l2"),
        ({"weight_decouple": True}, "decoupled"),
        ({"weight_decouple": True, "fixed_decay": True}, "unscaled"),
        ({"weight_decouple": False, "fixed_decay": True}, "l2"),  # there is nothing to be fixed
        ({"fixed_decay": True}, "unscaled"),
    ],
)
def test_switches_of_the_decay_are_read_together(switches, form):
    assert expected("adadelta", {"weight_decay": 0.1, **switches}, {}).decay == form


def test_what_is_no_optimizer_is_refused_in_a_sentence():
    with pytest.raises(SettingsError, match=r"json:JSONDecoder has no step\(\); name an optimizer"):
        audit("json:JSONDecoder")
    with pytest.raises(SettingsError, match="it makes a dict, which has no step"):
        audit(lambda params: {})


def test_a_name_of_the_command_and_the_spellings_of_others_are_understood():
    assert claim_of(find_subject("adam", {}, {})).rule == "adam"
    assert expected("adagrad", {"initial_accumulator": 0.2}, {}).initial_accumulator_value == 0.2


def test_unknown_rules_checks_and_keywords_are_refused_in_a_sentence():
    with pytest.raises(ValueError, match="no rule 'adamx'; did you mean adam"):
        audit(torch.optim.SGD, rule="adamx")
    with pytest.raises(ValueError, match=r"no optimizer 'adm'; .* did you mean adam"):
        audit("adm")
    with pytest.raises(ValueError, match="all is no optimizer; choose from"):
        audit("all")
    with pytest.raises(ValueError, match="no check 'pickles'; did you mean pickle"):
        audit(torch.optim.SGD, expect_failed=["pickles"])
    with pytest.raises(SettingsError, match="takes no 'lrr'; did you mean lr"):
        audit(torch.optim.SGD, lrr=1)


MINE = """
import torch

class Adagrad(torch.optim.Adagrad):
    def step(self, closure=None):
        for group in self.param_groups:
            group["lr"] *= 0.5
        return super().step(closure)
"""


def test_the_command_writes_what_it_found_and_ends_with_exit_code_1(bs6207, tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    done = bs6207("audit", "mine.py:Adagrad", "--json")
    assert done.returncode == 1, done.stderr
    metrics = json.loads(done.stdout)
    assert metrics == json.loads((tmp_path / "outputs/audit/metrics.json").read_text())
    assert metrics["failed"][0] in done.stderr.replace("\n", "")
    entry = metrics["optimizers"]["mine.py:Adagrad"]
    assert (entry["claim"], entry["ok"], metrics["ok"]) == ("adagrad", False, False)
    names = {file.name for file in (tmp_path / "outputs/audit").iterdir()}
    assert names >= {"checks.csv", "differences.csv", "differences.png", "config.toml"}
    result = package.load_run(tmp_path / "outputs/audit")
    assert (result.metrics, result.failures, result.figures) == (metrics, metrics["failed"], ("differences",))
    assert {*result.tables} == {"headline", "checks", "differences"}
    page = bs6207("report")
    assert page.returncode == 0, page.stderr
    assert "Does this optimizer do what its name says?" in (tmp_path / "outputs/report.html").read_text()
