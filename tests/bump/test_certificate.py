"""Certificates against known answers, an independent checker and long float paths; and wrong ones, refused."""

import copy
import json
import math
from fractions import Fraction
from functools import partial

import pytest
import torch
from bump.certificate_checker import Wrong, check
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bs6207.bump import proof
from bs6207.bump.adapter import Adapter, descend, follow_torch
from bs6207.bump.landscape import Triangle
from bs6207.bump.proof import BIAS_CORRECTIONS, LINEAR_RULES, NoProof, certify, find_recurrence
from bs6207.training.optimizers import OPTIMIZERS

ADAM = {"lr": 0.3, "beta1": 0.9, "beta2": 0.999, "eps": 0.0}


def implementation(name, hyperparameters):
    known = OPTIMIZERS[name].defaults
    return partial(OPTIMIZERS[name], **{key: value for key, value in hyperparameters.items() if key in known})


def through_torch(name, hyperparameters):
    return partial(follow_torch, implementation(name, hyperparameters))


def endless(distance):
    return Triangle(distance, math.inf)


# name, hyperparameters, h_max to the digits given, period; L is 1
PROVED = [
    ("gd", {"lr": 0.3}, "0.2", 2),
    ("momentum", {"lr": 0.3, "momentum": 0.0}, "0.2", 2),
    ("momentum", {"lr": 0.3, "momentum": 0.9}, "1.20323", 12),
    pytest.param("momentum", {"lr": 0.3, "momentum": 0.99}, "1.646448203", 334, marks=pytest.mark.slow),
    ("momentum", {"lr": 0.3, "momentum": 0.9, "dampening": 0.9}, "0.9302186", 12),
    ("momentum", {"lr": 0.3, "momentum": 0.9, "dampening": 0.5}, "0.71588", 12),
    ("nesterov", {"lr": 0.3, "momentum": 0.9}, "0.458658389861", 12),
    pytest.param("nesterov", {"lr": 0.3, "momentum": 0.99}, "0.579518251", 30, marks=pytest.mark.slow),
    ("adam", ADAM, "0.41018429512997", 20),
    ("adam", ADAM | {"eps": 1e-8}, "0.410184281028", 20),
    ("adam", ADAM | {"beta1": 0.99}, "0.511222814092", 36),
    ("amsgrad", ADAM, "0.41018429512997", 20),
    ("adamax", ADAM, "0.41018429512997", 20),
    pytest.param("adamw", ADAM | {"weight_decay": 0.01}, "0.397177723481", 901, marks=pytest.mark.slow),
    ("rmsprop", {"lr": 0.3, "alpha": 0.5, "eps": 1e-8}, "0.09138770709204", 2),
]


@pytest.mark.parametrize(("name", "hyperparameters", "h_max", "period"), PROVED)
def test_known_answers_are_proved_for_ever_and_an_independent_checker_agrees(name, hyperparameters, h_max, period):
    certificate = json.loads(json.dumps(certify(name, hyperparameters, 1.0, 1000)))
    assert certificate["kind"] == "interval"
    assert certificate["period"] == period
    low, high = map(Fraction, certificate["h_max"])
    last_digit = Fraction(1, 10 ** len(h_max.partition(".")[2]))
    assert abs(low - Fraction(h_max)) < last_digit
    assert high - low < Fraction(1, 10**30)
    check(certificate)


def test_every_linear_rule_is_among_the_known_answers():
    assert {getattr(case, "values", case)[0] for case in PROVED} == set(LINEAR_RULES)  # some are slow to prove


def test_adam_as_in_the_assignment_is_known_to_58_digits():
    certificate = certify("adam", ADAM, 1.0, 1000)
    assert Fraction(certificate["width"]) < Fraction(1, 10**58)
    assert certificate["step"] == 6
    assert certificate["signs"] == {"transient": "-4+7-6+5-5+5-4+1", "repeated": "+2-3+3-3+3-2+1-1+1-1"}
    assert certificate["hyperparameters"] == {"lr": "3/10", "beta1": "9/10", "beta2": "999/1000", "eps": "0"}


def test_a_maximum_reached_exactly_has_width_nought():
    assert certify("gd", {"lr": 0.3}, 1.0, 1000)["h_max"] == ["0.2", "0.2"]
    assert certify("momentum", {"lr": 0.3, "momentum": 0.9}, 1.0, 1000)["h_max"] == ["1.20323", "1.20323"]


def test_a_maximum_that_is_only_approached_stands_at_no_step():
    assert certify("nesterov", {"lr": 0.3, "momentum": 0.9}, 1.0, 1000)["step"] is None


TIES = [  # name, hyperparameters, h_max, the first ties and whether they go on for ever; L is 1
    ("adam", ADAM | {"lr": 0.25}, "0.175153579274975010189474", [4], False),
    ("adam", ADAM | {"lr": 0.1}, "0.156042749509749520511030", [10], False),
    ("adam", ADAM | {"lr": 0.01}, "0.024340004872350173630424", [100], False),
    ("adamax", ADAM | {"lr": 0.25}, "0.175153579274975010189474", [4], False),
    ("gd", {"lr": 0.25}, "0", [4, 6, 8], True),
    ("gd", {"lr": 0.1}, "0", [10, 12, 14], True),
    ("adam", ADAM | {"lr": 0.25, "beta1": 0.0}, "0", [4, 6, 8], True),
]


@pytest.mark.parametrize(("name", "hyperparameters", "h_max", "ties", "go_on"), TIES)
def test_a_path_that_lands_on_the_foot_of_the_bump_is_proved_all_the_same(name, hyperparameters, h_max, ties, go_on):
    certificate = json.loads(json.dumps(certify(name, hyperparameters, 1.0, 1000)))
    assert certificate["kind"] == "interval"
    assert abs(Fraction(certificate["h_max"][0]) - Fraction(h_max)) < Fraction(1, 10**24)
    assert certificate["ties"][:3] == ties
    assert (len(certificate["ties"]) > 3) == go_on
    check(certificate)


WRONG_TIES = {
    "none": lambda c: c.update(ties=[]),
    "one too many": lambda c: c.update(ties=[4, 6]),
    "the wrong step": lambda c: c.update(ties=[5]),
    "a tie that goes back": lambda c: c["signs"].update(transient="-5"),
    "one that comes back for ever": lambda c: c.update(ties=[4, c["steps"]]),
    "a distance just beyond": lambda c: c.update(distance=str(1 + Fraction(1, 10**90))),
}


@pytest.mark.parametrize("optimizer", ["adam", "gd"])
@pytest.mark.parametrize("what", WRONG_TIES)
def test_the_checker_refuses_wrong_ties(what, optimizer):
    certificate = certify(optimizer, (ADAM if optimizer == "adam" else {}) | {"lr": 0.25}, 1.0, 1000)
    wrong = copy.deepcopy(certificate)
    WRONG_TIES[what](wrong)
    assert wrong != certificate
    with pytest.raises(Wrong):
        check(wrong)


def test_an_orbit_that_tends_to_the_foot_of_the_bump_is_refused():
    halving = certify("momentum", {"lr": 0.3, "momentum": 0.5}, 1.0, 1000)  # nears the foot by half each step
    assert halving["kind"] == "steps"
    assert halving["reason"].endswith("cannot be told from the foot of the bump in 60 decimals")


@pytest.mark.parametrize(
    ("name", "hyperparameters", "reason"),
    [
        ("nadam", ADAM, "nadam are not linear"),
        ("adam", ADAM | {"weight_decay": 0.1}, "weight_decay 0.1 are not linear"),
        ("adamw", ADAM | {"weight_decay": 4.0}, "do not contract"),
        ("adamw", ADAM | {"weight_decay": 1e-80}, "a divisor cannot be told from 0"),
    ],
)
def test_what_the_theorem_does_not_cover_is_refused(name, hyperparameters, reason):
    assert reason in certify(name, hyperparameters, 1.0, 1000)["reason"]


PLANTED = {
    "h_max up": lambda c: c.update(h_max=[c["h_max"][0][:-1] + "9", c["h_max"][1][:-1] + "9"]),
    "h_max of a scan": lambda c: c.update(h_max=["0.4102", "0.4102"], width="0"),
    "h_max below": lambda c: c.update(h_max=["0.4", "0.41"], width="1/100"),
    "h_max above": lambda c: c.update(h_max=["0.411", "0.412"], width="1/1000"),
    "width": lambda c: c.update(width="1e-59"),
    "period": lambda c: c.update(period=c["period"] + 2),
    "half the period": lambda c: (c.update(period=10), c["signs"].update(repeated="+2-3+3-2")),
    "a sign of the transient": lambda c: c["signs"].update(transient="-4+6-7+5-5+5-4+1"),
    "a sign of the period": lambda c: c["signs"].update(repeated="+2-3+3-3+2-2+1-1+1-2"),
    "words that do not cancel": lambda c: (c.update(period=21), c["signs"].update(repeated="+2-3+3-3+3-2+1-1+1-2")),
    "lr": lambda c: c["hyperparameters"].update(lr="31/100"),
    "lr by 1e-40": lambda c: c["hyperparameters"].update(lr=str(Fraction(3, 10) + Fraction(1, 10**40))),
    "beta1": lambda c: c["hyperparameters"].update(beta1="91/100"),
    "eps": lambda c: c["hyperparameters"].update(eps="1/100000000"),
    "optimizer": lambda c: c.update(optimizer="nesterov", hyperparameters={"lr": "3/10", "momentum": "9/10"}),
    "distance": lambda c: c.update(distance="1001/1000"),
    "tail": lambda c: c.update(tail="0.01"),
    "tail too small": lambda c: c.update(tail="0"),
    "margin": lambda c: c["margin"].update(path="0.0017"),
    "orbit's margin": lambda c: c["margin"].update(orbit="0.003"),
    "contraction": lambda c: c["contraction"].update(decay="8/10"),
    "step": lambda c: c.update(step=7),
}


@pytest.mark.parametrize("what", PLANTED)
def test_the_checker_refuses_a_certificate_with_a_wrong(what):
    certificate = certify("adam", ADAM, 1.0, 1000)
    wrong = copy.deepcopy(certificate)
    PLANTED[what](wrong)
    assert wrong != certificate
    with pytest.raises(Wrong):
        check(wrong)


@st.composite
def linear_optimizers(draw):
    """A name with hyperparameters that settle within thousands of steps."""
    name = draw(st.sampled_from(["gd", "momentum", "nesterov", "adam", "amsgrad", "adamax", "rmsprop"]))
    lr = draw(st.floats(0.02, 0.9))
    if name == "gd":
        return name, {"lr": lr}
    if name in ("momentum", "nesterov"):
        return name, {"lr": lr, "momentum": draw(st.floats(0.01, 0.97))}
    if name == "rmsprop":
        return name, {"lr": lr, "alpha": draw(st.floats(0.1, 0.97)), "eps": 1e-8}
    return name, {
        "lr": lr,
        "beta1": draw(st.floats(0.01, 0.97)),
        "beta2": 0.99,
        "eps": draw(st.sampled_from([0, 1e-8])),
    }


@settings(max_examples=5)
@given(linear_optimizers(), st.floats(0.5, 1.5))
def test_a_long_float_path_ends_at_the_proved_maximum_and_never_exceeds_it(optimizer, distance):
    name, hyperparameters = optimizer
    certificate = certify(name, hyperparameters, distance, 1000)
    assume(certificate["kind"] == "interval" and float(certificate["margin"]["path"]) > 1e-9)
    check(certificate)
    path = descend(
        Adapter(name, implementation(name, hyperparameters), {}),
        endless(distance),
        max(4000, 2 * certificate["steps"]),
        "cpu",
    )
    low, high = map(float, certificate["h_max"])
    assert low - 1e-12 <= max(path) - distance <= high + 1e-12


@pytest.mark.parametrize(
    ("name", "hyperparameters", "first_step", "period", "h_max"),
    [
        ("gd", {"lr": 0.3}, 3, 2, 0.2),
        ("gd", {"lr": 0.25}, 3, 2, 0.0),
        ("momentum", {"lr": 0.3, "momentum": 0.9}, 335, 12, 1.20323),
        pytest.param("adam", ADAM, 37_412, 20, 0.4101842951299659, marks=pytest.mark.slow),
        pytest.param(
            "adamw", ADAM | {"beta2": 0.99, "weight_decay": 0.01}, None, 901, 0.397177723481, marks=pytest.mark.slow
        ),
        ("rmsprop", {"lr": 0.3, "alpha": 0.99, "eps": 0.0}, None, 2, 2.0),
        ("rprop", {"lr": 0.3}, None, 4, 0.1136),
    ],
)
def test_the_state_of_the_float_implementation_repeats(name, hyperparameters, first_step, period, h_max):
    make_optimizer = implementation(name, hyperparameters)
    found = find_recurrence(name, hyperparameters, 1.0, partial(follow_torch, make_optimizer), 60_000)
    assert found["kind"] == "recurrence"
    assert found["period"] == period
    assert first_step in (None, found["first_step"])
    assert found["h_max"] == pytest.approx(h_max, abs=1e-12)
    path = descend(Adapter(name, make_optimizer, {}), endless(1.0), found["first_step"] + 3 * period, "cpu")
    assert path[found["first_step"] : -period] == path[found["first_step"] + period :]
    assert max(path) - 1.0 == found["h_max"] == path[found["step"]] - 1.0


@pytest.mark.slow
def test_bias_corrections_must_be_exactly_one_before_a_state_counts():
    found = find_recurrence("adam", ADAM, 1.0, through_torch("adam", ADAM), 60_000)
    assert 1 - 0.999 ** (found["first_step"] - 1) < 1 == 1 - 0.999 ** found["first_step"]


@pytest.mark.parametrize("name", BIAS_CORRECTIONS)
def test_once_bias_corrections_are_one_the_step_count_changes_nothing(name):
    every = {"lr": 0.3, "momentum": 0.9, "beta1": 0.8, "beta2": 0.9, "alpha": 0.9, "eps": 1e-8, "weight_decay": 0.01}
    assert 1 - 0.9**400 == 1

    def walk(leap):
        x = torch.zeros((), dtype=torch.float64, requires_grad=True)
        x.grad = torch.zeros_like(x)
        optimizer = implementation(name, every)([x])
        path = []
        for step in range(500):
            if step == 400 and "step" in optimizer.state[x]:
                optimizer.state[x]["step"] += leap
            x.grad.fill_(endless(1.0).slope(x.item()))
            optimizer.step()
            path.append(x.item())
        return path

    assert walk(leap=0) == walk(leap=12_345)


@pytest.mark.parametrize(("name", "momentum"), [("nesterov", 0.9), ("momentum", 0.99)])
def test_no_recurrence_is_claimed_where_none_is_found(name, momentum):
    h = {"lr": 0.3, "momentum": momentum}
    with pytest.raises(NoProof, match="does not repeat within 2000 steps"):
        find_recurrence(name, h, 1.0, through_torch(name, h), 2000)


def test_a_recurrence_is_sought_where_no_interval_proof_is_found():
    rprop = certify("rprop", {"lr": 0.3}, 1.0, 1000, through_torch("rprop", {"lr": 0.3}))
    assert rprop["kind"] == "recurrence"
    assert rprop["reason"] == "no interval proof: the steps of rprop are not linear in the signs of the slopes"


def test_without_either_proof_the_reasons_for_both_are_given(monkeypatch):
    monkeypatch.setattr(proof, "FOLLOWED", 100)
    h = {"lr": 0.3, "momentum": 0.5}
    known = certify("momentum", h, 1.0, 1000, through_torch("momentum", h))
    assert known["kind"] == "steps"
    assert "no interval proof" in known["reason"]
    assert "no recurrence: the state does not repeat within 100 steps" in known["reason"]


def test_a_path_that_is_no_longer_finite_is_no_recurrence():
    h = {"lr": 0.3, "momentum": 2.0}
    with pytest.raises(NoProof, match="no longer finite"):
        find_recurrence("momentum", h, 1.0, through_torch("momentum", h), 2000)
