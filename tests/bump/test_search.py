"""Thresholds against values known on paper, brute force, and recurrences written without torch."""

import math
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bs6207.bump import threshold
from bs6207.bump.descent import descend
from bs6207.bump.landscape import Landscape
from bs6207.bump.search import bisect, find_threshold
from bs6207.bump.settings import BumpSettings
from bs6207.optimizers import OPTIMIZERS, hyperparameters

KNOWN = [  # optimizer, settings, h_max, step of the maximum
    ("gd", {}, 0.2, 4),
    ("momentum", {}, 1.20323, 5),
    ("momentum", {"momentum": 0.99}, 1.646448203, 5),
    ("adam", {}, 0.4101842951299659, 6),
    ("adam", {"eps": 1e-8}, 0.410184281028, 6),
    ("adamw", {}, 0.397177723481, 6),
]


@pytest.mark.parametrize(("name", "given_settings", "h_max", "step"), KNOWN)
def test_known_thresholds(name, given_settings, h_max, step):
    found = threshold(name, **given_settings)
    assert found["h_max"] == pytest.approx(h_max, abs=1e-12)
    assert found["step"] == step
    assert found["bracket"] == (found["h_max"], math.nextafter(found["h_max"], math.inf))


def walk_of(name, **given_settings):
    values = hyperparameters(name, BumpSettings(**given_settings))
    return partial(descend, lambda parameters: OPTIMIZERS[name](parameters, **values), steps=1000, device="cpu")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_passes_just_below_its_threshold_and_not_just_above(name):
    walk = walk_of(name)
    h_max = find_threshold(walk, 1.0, 1000).h_max
    for height, passes in ((h_max - 1e-9, True), (h_max, True), (h_max + 1e-9, False)):
        bump = Landscape(1.0, height)
        assert any(bump.is_past_crest(x) for x in walk(bump)) == passes


def highest(velocities, lr, distance, steps):
    """The envelope of an optimizer that turns signs of slopes into steps, in plain floats."""
    x, top = 0.0, 0.0
    for _ in range(steps):
        x -= lr * velocities.send(1.0 if x >= distance else -1.0)
        top = max(top, x)
    return top - distance


def heavy_ball(momentum):
    velocity, slope = 0.0, (yield)
    while True:
        velocity = momentum * velocity + slope
        slope = yield velocity


def adams_mean(beta1):
    mean, correction, slope = 0.0, 1.0, (yield)
    while True:
        mean = beta1 * mean + (1 - beta1) * slope
        correction *= beta1
        slope = yield mean / (1 - correction)


unit = st.floats(0.02, 1).map(lambda x: round(x, 3) + 0.000317)  # off the ties of round numbers


@settings(deadline=None, max_examples=25)
@given(unit, st.floats(0, 0.98), st.floats(0.5, 3).map(lambda x: round(x, 2) + 0.00173), st.booleans())
def test_agrees_with_the_recurrence_on_paper_for_random_settings(lr, decay, distance, is_adam):
    rule = adams_mean(decay) if is_adam else heavy_ball(decay)
    next(rule)
    ours = threshold(
        "adam" if is_adam else "momentum", lr=lr, beta1=decay, momentum=decay, distance=distance, steps=300
    )
    expected = highest(rule, lr, distance, 300)
    if ours["margin"] > 1e-9 and ours["h_max"] is not None:
        assert ours["h_max"] == pytest.approx(expected, abs=1e-12)
    elif ours["h_max"] is None:
        assert expected < 1e-9


def test_the_classical_oscillation():
    path = walk_of("gd")(Landscape(1.0, 0.4))
    assert path[:8] == pytest.approx([0, 0.3, 0.6, 0.9, 1.2, 0.9, 1.2, 0.9])
    assert max(path) < 1.4


@pytest.mark.parametrize(
    ("name", "given_settings", "words"),
    [
        ("gd", {"lr": 0.001, "steps": 10}, "not reached within 10 steps"),
        ("adamw", {"lr": 10.0, "weight_decay": 10.0}, "no longer finite"),
    ],
)
def test_no_threshold_has_a_reason(name, given_settings, words):
    found = threshold(name, **given_settings)
    assert (found["h_max"], found["bracket"]) == (None, None)
    assert words in found["reason"]


def test_a_tie_shows_as_a_margin_of_nothing():
    assert threshold("adam", lr=0.25)["margin"] < 1e-9
    assert threshold("adam")["margin"] > 0.09


@given(st.floats(0, 1e6), st.floats(1e-6, 1e6))
def test_bisection_ends_at_neighbouring_floats(turn, beyond):
    low, high = bisect(lambda x: x <= turn, 0.0, turn + beyond)
    assert low == turn
    assert high == math.nextafter(turn, math.inf)


def test_an_optimizer_that_contradicts_the_envelope_is_noticed():
    def clairvoyant(landscape):  # jumps over real bumps, crawls on the endless one
        return [0.0, 1.1, 1.2] if math.isinf(landscape.height) else [0.0, 9.0, 9.0]

    with pytest.raises(AssertionError, match="disagree"):
        find_threshold(clairvoyant, 1.0, 2)
