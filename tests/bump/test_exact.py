"""Exact maximums against values known on paper, the float path and exact arithmetic written here."""

import json
import math
from fractions import Fraction
from functools import partial

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bs6207.bump.adapter import Adapter, descend
from bs6207.bump.landscape import Triangle
from bs6207.bump.proof import LINEAR_RULES, exact_maximum
from bs6207.training.optimizers import OPTIMIZERS

ADAM = {"lr": 0.3, "beta1": 0.9, "beta2": 0.999, "eps": 0.0}


def float_path(name, hyperparameters, distance=1.0, steps=1000):
    return descend(
        Adapter(name, partial(OPTIMIZERS[name], **hyperparameters), {}), Triangle(distance, math.inf), steps, "cpu"
    )


def test_momentum_one_half_gives_eleven_fortieths_and_floats_do_not():
    half = {"lr": 0.3, "momentum": 0.5}
    assert exact_maximum("momentum", half, 1.0, 1000) == {
        "h_max": "11/40",
        "decimal": "0.275",
        "step": 3,
        "ties": [],
        "exact_steps": 1000,
    }
    assert max(float_path("momentum", half)) - 1 == pytest.approx(0.4, abs=1e-12)


def test_gradient_descent_that_lands_on_the_foot_turns_back_there():
    maximum = exact_maximum("gd", {"lr": 0.25}, 1.0, 1000)
    assert (maximum["h_max"], maximum["step"]) == ("0", 4)
    assert maximum["ties"] == list(range(4, 1001, 2))


@pytest.mark.parametrize("beta2", [0.9, 0.99, 0.999, 0.9999])
def test_adam_at_a_quarter_does_not_depend_on_beta2_as_it_does_in_floats(beta2):
    quarter = ADAM | {"lr": 0.25, "beta2": beta2}
    maximum = exact_maximum("adam", quarter, 1.0, 1000)
    assert maximum["h_max"] == "353772611/2019785222"
    assert (maximum["step"], maximum["ties"]) == (6, [4])
    floats = max(float_path("adam", quarter)) - 1
    assert min(abs(floats - 0.473280), abs(floats - 0.175154)) < 1e-6


def test_adam_on_paper():
    # four steps of 1/4 reach the foot, where the slope turns; m_t = (1 - b^t) m_hat_t
    b, x, m = Fraction(9, 10), Fraction(1), -(1 - Fraction(9, 10) ** 4)
    for t in (5, 6):
        m = b * m + (1 - b)
        x -= Fraction(1, 4) * m / (1 - b**t)
    assert exact_maximum("adam", ADAM | {"lr": 0.25}, 1.0, 6)["h_max"] == str(x - 1)


KNOWN = [  # values of torch.optim, or on paper
    ("momentum", {"lr": 0.3, "momentum": 0.9}, "1.20323", 5),
    ("momentum", {"lr": 0.3, "momentum": 0.99}, "1.646448203", 5),
    ("momentum", {"lr": 0.3, "momentum": 0.9, "dampening": 0.9}, "0.9302186", 10),
    ("nesterov", {"lr": 0.3, "momentum": 0.9}, "0.458658389861", 991),  # floats stop rising at step 307
    ("adam", ADAM, "0.41018429512997", 6),
    ("adam", ADAM | {"eps": 1e-8}, "0.410184281028", 6),
    ("amsgrad", ADAM, "0.41018429512997", 6),
    ("adamax", ADAM, "0.41018429512997", 6),
    ("adamw", ADAM | {"weight_decay": 0.01}, "0.397177723481", 6),
    ("gd", {"lr": 0.3, "weight_decay": 0.0}, "0.2", 4),
]


@pytest.mark.parametrize(("name", "hyperparameters", "h_max", "step"), KNOWN)
def test_known_answers(name, hyperparameters, h_max, step):
    maximum = json.loads(json.dumps(exact_maximum(name, hyperparameters, 1.0, 1000)))
    height = Fraction(maximum["h_max"])
    assert float(height) == pytest.approx(float(h_max), abs=2e-12)
    assert maximum["step"] == step
    assert Fraction(maximum["decimal"]) == pytest.approx(height, abs=1e-29)


def test_every_rational_rule_is_among_the_known_answers():
    assert {name for name, *_ in KNOWN} == set(LINEAR_RULES) - {"rmsprop"}


def test_a_maximum_after_the_fractions_have_grown_too_long_is_enclosed():
    odd = ADAM | {"lr": 0.25, "beta1": 0.123456789012345}
    maximum = exact_maximum("adam", odd, 1.0, 1000)
    assert maximum["exact_steps"] < maximum["step"]
    low, high = map(Fraction, maximum["h_max"])
    assert 0 < high - low < Fraction(1, 10**50)
    assert Fraction(maximum["decimal"]) == pytest.approx(low, abs=1e-29)


def test_a_bump_out_of_reach_has_a_maximum_below_nought():
    assert exact_maximum("gd", {"lr": 0.3}, 1.0, 2)["h_max"] == "-2/5"


@pytest.mark.parametrize(
    ("name", "hyperparameters", "steps", "reason"),
    [
        ("rmsprop", {"lr": 0.3, "alpha": 0.9, "eps": 0.0}, 10, "the steps of rmsprop hold a square root"),
        ("nadam", ADAM, 10, "nadam are not linear"),
        ("adam", ADAM | {"weight_decay": 0.1}, 10, "weight_decay 0.1 are not linear"),
        ("momentum", {"lr": 0.3, "momentum": 0.5}, 10_000, "x after step 7306 cannot be told from the foot"),
    ],
)
def test_what_exact_arithmetic_cannot_settle_is_refused(name, hyperparameters, steps, reason):
    (refused,) = exact_maximum(name, hyperparameters, 1.0, steps).values()
    assert reason in refused


@settings(max_examples=60)
@given(st.integers(1, 500), st.integers(1, 1500))
def test_gradient_descent_ties_exactly_where_the_rate_divides_the_distance(lr, distance):
    """In thousandths: up to the first multiple of lr at L or beyond, and back and forth from there."""
    landing = -(-distance // lr)
    maximum = exact_maximum("gd", {"lr": lr / 1000}, distance / 1000, landing + 10)
    assert maximum["h_max"] == str(Fraction(landing * lr - distance, 1000))
    assert maximum["step"] == landing
    assert maximum["ties"] == (list(range(landing, landing + 11, 2)) if distance % lr == 0 else [])


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 500), st.integers(0, 99), st.booleans())
def test_adam_ties_first_exactly_where_the_rate_divides_the_distance(count, lr, beta1, divides):
    """Until the slope turns every step of Adam is lr, whatever its betas (lr in thousandths, beta1 in hundredths)."""
    distance = count * lr if divides else count * lr + Fraction(lr, 2)
    hyperparameters = ADAM | {"lr": lr / 1000, "beta1": beta1 / 100}
    ties = exact_maximum("adam", hyperparameters, float(distance / 1000), count + 1)["ties"]
    assert ties == ([count] if divides else [])


@st.composite
def rational_optimizers(draw):
    name = draw(st.sampled_from(["gd", "momentum", "nesterov", "adam", "amsgrad", "adamax", "adamw"]))
    lr, decay = draw(st.floats(0.02, 0.9)), draw(st.floats(0, 0.99))
    if name == "gd":
        return name, {"lr": lr}
    if name in ("momentum", "nesterov"):
        return name, {"lr": lr, "momentum": decay or 0.5}  # torch has no nesterov without momentum
    return name, ADAM | {"lr": lr, "beta1": decay} | ({"weight_decay": 0.01} if name == "adamw" else {})


@settings(max_examples=30)
@given(rational_optimizers(), st.floats(0.5, 1.5))
def test_away_from_ties_the_float_path_has_the_same_maximum(optimizer, distance):
    name, hyperparameters = optimizer
    path = float_path(name, hyperparameters, distance, steps=200)
    assume(min(abs(x - distance) for x in path) > 1e-9)
    maximum = exact_maximum(name, hyperparameters, distance, 200)
    assert max(path) - distance == pytest.approx(float(maximum["decimal"]), abs=1e-9)
    assert maximum["ties"] == []
