"""Thresholds against values known on paper, brute force, and recurrences written without torch."""

import math
import random
import sys
import warnings
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from conftest import Watched
from hypothesis import given, settings
from hypothesis import strategies as st

from bs6207 import bump
from bs6207.bump.adapter import descend
from bs6207.bump.diagram import find_maxima
from bs6207.bump.experiment import Task, run_task
from bs6207.bump.kernels import KERNELS
from bs6207.bump.landscape import TIE, Gaussian, Triangle
from bs6207.bump.optimizers import make_adapter
from bs6207.bump.search import (
    bisect,
    find_by_envelope,
    find_by_scan,
    find_intervals,
    passes,
    scan_report,
)
from bs6207.bump.settings import BumpSettings
from bs6207.errors import UserError

KNOWN = [  # optimizer, settings, h_max, step of the maximum in 1000, tolerance
    ("gd", {}, 0.2, 4, 1e-12),
    ("momentum", {}, 1.20323, 5, 1e-12),
    pytest.param("momentum", {"momentum": 0.99}, 1.646448203, 5, 1e-12, marks=pytest.mark.slow),
    ("momentum", {"dampening": 0.9}, 0.9302186, 10, 1e-12),
    pytest.param("momentum", {"dampening": 0.5}, 0.71588, 5, 1e-12, marks=pytest.mark.slow),
    ("nesterov", {}, 0.458658389861, 307, 1e-10),
    pytest.param("nesterov", {"momentum": 0.99}, 0.579517417, 985, 1e-9, marks=pytest.mark.slow),
    ("adam", {}, 0.4101842951299659, 6, 1e-12),
    pytest.param("adam", {"eps": 1e-8}, 0.410184281028, 6, 1e-10, marks=pytest.mark.slow),
    pytest.param("adam", {"weight_decay": 0.1}, 0.364499258071, 6, 1e-10, marks=pytest.mark.slow),
    ("adam", {"up_slope": 0.5}, 0.6582, 8, 1e-4),
    pytest.param("adamax", {"up_slope": 0.5}, 0.6029, 8, 1e-4, marks=pytest.mark.slow),
    ("adamw", {}, 0.397177723481, 6, 1e-10),
    ("amsgrad", {}, 0.4101842951299659, 6, 1e-10),
    ("adamax", {}, 0.4101842951299659, 6, 1e-10),
    ("nadam", {}, 0.214821911998, 5, 1e-10),
    ("radam", {}, 0.354947510816, 6, 1e-10),
    ("rmsprop", {}, 2.0, 1, 1e-10),
    pytest.param("rmsprop", {"momentum": 0.9, "eps": 1e-8}, 4.1233864866, 21, 1e-10, marks=pytest.mark.slow),
    ("rmsprop-centered", {}, 2.01511314275, 1, 1e-10),
    ("adagrad", {}, 0.0919756808, 6, 1e-10),
    ("adadelta", {}, 0.002775, 999, 1e-6),
    ("rprop", {}, 0.1136, 8, 1e-10),
    ("asgd", {}, 0.1999055, 4, 1e-7),
    ("adafactor", {}, 0.126608621595, 44, 1e-10),
    ("sparse-adam", {}, 0.410184, 6, 1e-6),
]


@pytest.mark.parametrize(("name", "given_settings", "h_max", "step", "tolerance"), KNOWN)
def test_known_thresholds_and_brute_force_on_either_side(name, given_settings, h_max, step, tolerance):
    steps = 1000 if step > 200 else 200  # after so many none of these rises again
    up_slope, walk = given_settings.get("up_slope", 1.0), walk_of(name, steps=steps, **given_settings)
    found = find_by_envelope(walk, Triangle(1.0, math.inf, up_slope), steps)
    assert found.h_max == pytest.approx(h_max, abs=tolerance)
    assert found.step == step
    assert found.bracket == (found.h_max, math.nextafter(found.h_max, math.inf))
    for height, expected in ((found.h_max - 1e-9, True), (found.h_max + 1e-9, False)):
        bump = Triangle(1.0, height, up_slope)
        assert passes(walk(bump), bump) == expected


@pytest.mark.parametrize(("lr", "distance"), [(0.05, 1.4), (0.1, 3.0), (0.2, 1.0), (0.25, 1.0), (0.2, 0.6)])
def test_a_foot_that_is_reached_but_for_rounding_is_no_height(lr, distance):
    """In exact arithmetic x stands on the foot of the bump, and on it the slope leads back."""
    found = bump.threshold("gd", lr=lr, distance=distance, steps=100)
    assert (found["h_max"], found["bracket"]) == (None, None)
    assert found["reason"] == "the bump is not reached within 100 steps, x comes to its foot and no farther"
    assert found["certificate"]["h_max"] == ["0", "0"]
    assert found["exact_settles"]
    at_foot = find_maxima(KERNELS["gd"], {"lr": lr, "distance": distance, "up_slope": 1.0}, 1, 100)
    assert (at_foot.h_max[0], at_foot.step[0]) == (0.0, found["step"])
    assert at_foot.margin[0] == found["margin"] < TIE


def test_python_gets_the_threshold_of_one_optimizer_and_why():
    found = bump.threshold("adam")
    assert found["h_max"] == pytest.approx(0.4101842951299659, abs=1e-12)
    assert found["bracket"] == (found["h_max"], math.nextafter(found["h_max"], math.inf))
    assert (found["step"], found["certificate"]["kind"]) == (6, "interval")
    assert found["margin"] == pytest.approx(0.1, abs=1e-12)  # of step 4; later, lower ones do not count


def global_state():
    """All of the process that code which is called can change."""
    return {
        "threads": torch.get_num_threads(),
        "random": random.getstate(),
        "numpy": [part.tolist() if isinstance(part, np.ndarray) else part for part in np.random.get_state()],
        "torch": torch.get_rng_state().tolist(),
        "path": sys.path.copy(),
        "folder": Path.cwd(),
        "warnings": warnings.filters.copy(),
        "denormals are zero": sys.float_info.min / 2 == 0,
        "style": dict(matplotlib.rcParams),
    }


RUDE = """
import os, random, sys, warnings
import numpy, torch

def rude(params, lr):
    os.chdir("/")
    sys.path.append("elsewhere")
    torch.set_num_threads(1 + torch.get_num_threads() % 2)
    torch.set_flush_denormal(True)
    warnings.simplefilter("error")
    random.random(), numpy.random.random(), torch.rand(1)
    return torch.optim.SGD(params, lr)
"""


@pytest.mark.parametrize("name", ["adam", "rude:rude", "rude.py:rude"])
def test_a_call_and_a_task_change_nothing_in_the_process(tmp_path, monkeypatch, name):
    (tmp_path / "rude.py").write_text(RUDE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", str(tmp_path))])
    monkeypatch.delitem(sys.modules, "rude", raising=False)
    torch.set_num_threads(2)
    try:
        before = global_state()
        bump.threshold(name, steps=20)
        run_task(Task("threshold", name, BumpSettings(optimizer=[name], steps=20)), Watched())
        assert global_state() == before
    finally:
        torch.set_num_threads(1)


LATE = [  # what still rises after 1000 steps: h_max then, and after so many
    ("nesterov", {"momentum": 0.99}, 0.579517417, 2000, 0.579518251, 1e-9),
    pytest.param("nesterov", {"momentum": 0.99}, 0.579517417, 20_000, 0.579518251, 1e-9, marks=pytest.mark.slow),
    pytest.param("adadelta", {}, 0.002775, 20_000, 0.007914, 1e-6, marks=pytest.mark.slow),
    pytest.param("asgd", {}, 0.1999055, 6_755, 0.261182, 1e-6, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "given_settings", "early", "steps", "late", "tolerance"), LATE)
def test_how_many_steps_belongs_to_the_answer(name, given_settings, early, steps, late, tolerance):
    for count, h_max in ((1000, early), (steps, late)):
        found = find_by_envelope(walk_of(name, **given_settings, steps=count), Triangle(1.0, math.inf), count)
        assert found.h_max == pytest.approx(h_max, abs=tolerance)


def walk_of(name, **given_settings):
    chosen = BumpSettings(optimizer=[name], **given_settings)
    return partial(descend, make_adapter(name, chosen), steps=chosen.steps, device="cpu")


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


@settings(max_examples=15)
@given(unit, st.floats(0, 0.98), st.floats(0.5, 3).map(lambda x: round(x, 2) + 0.00173), st.booleans())
def test_agrees_with_the_recurrence_on_paper_for_random_settings(lr, decay, distance, is_adam):
    rule = adams_mean(decay) if is_adam else heavy_ball(decay)
    next(rule)
    chosen = {"beta1": decay} if is_adam else {"momentum": decay}
    ours = bump.threshold("adam" if is_adam else "momentum", lr=lr, distance=distance, steps=300, **chosen)
    expected = highest(rule, lr, distance, 300)
    if ours["margin"] > 1e-9 and ours["h_max"] is not None:
        assert ours["h_max"] == pytest.approx(expected, abs=1e-12)
    elif ours["h_max"] is None:
        assert expected < 1e-9


def test_the_classical_oscillation():
    path = walk_of("gd")(Triangle(1.0, 0.4))
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
    found = bump.threshold(name, **given_settings)
    assert (found["h_max"], found["bracket"]) == (None, None)
    assert words in found["reason"]


def test_a_tie_shows_as_a_margin_of_nothing():
    for name, given_settings in (("adam", {"lr": 0.25}), ("momentum", {"momentum": 0.5})):
        walk = walk_of(name, **given_settings, steps=100)
        assert find_by_envelope(walk, Triangle(1.0, math.inf), 100).margin < 1e-9


def test_passed_and_left_for_good_agree_for_momentum_and_adam_and_not_always():
    for name in ("gd", "momentum", "adam"):
        found = bump.threshold(name, steps=100)
        assert found["left_for_good"] == found["h_max"]
    slow = bump.threshold("gd", lr=0.05, distance=1.02, steps=21)  # passes at the last step
    assert slow["h_max"] == pytest.approx(0.03)
    assert slow["left_for_good"] == pytest.approx(0.015)


@given(st.floats(0, 1e6), st.floats(1e-6, 1e6))
def test_bisection_ends_at_neighbouring_floats(turn, beyond):
    low, high = bisect(lambda x: x <= turn, 0.0, turn + beyond)
    assert low == turn
    assert high == math.nextafter(turn, math.inf)


@given(st.lists(st.floats(0.3, 9.7), min_size=2, max_size=2).map(sorted), st.booleans())
def test_intervals_are_found_to_the_float(ends, starts_inside):
    low, high = ends
    if high - low < 0.2:
        return
    found = find_intervals(lambda x: (low <= x <= high) != starts_inside, 10.0)
    if starts_inside:
        assert found == [(0.0, math.nextafter(low, 0)), (math.nextafter(high, math.inf), 10.0)]
    else:
        assert found == [(low, high)]


@pytest.mark.slow
def test_a_tall_smooth_bump_throws_momentum_across():
    walk = walk_of("momentum", steps=60)
    found = find_by_scan(walk, BumpSettings(landscape="gaussian", bump_width=0.5, tallest=20.0))
    assert found.method == "scan"
    assert len(found.intervals) > 1
    for ends in found.intervals:
        assert all(passes(walk(Gaussian(1.0, end, 0.5)), Gaussian(1.0, end, 0.5)) for end in ends if end > 0)
    low, high = found.bracket
    assert passes(walk(Gaussian(1.0, low, 0.5)), Gaussian(1.0, low, 0.5))
    assert not passes(walk(Gaussian(1.0, high, 0.5)), Gaussian(1.0, high, 0.5))


@pytest.mark.slow
def test_the_triangle_scanned_gives_the_envelopes_answer():
    walk = walk_of("adam", steps=30)
    by_scan = find_by_scan(walk, BumpSettings(tallest=2.0))
    by_envelope = find_by_envelope(walk, Triangle(1.0, math.inf), 30)
    assert by_scan.bracket == by_envelope.bracket
    assert (by_scan.step, by_scan.margin) == (by_envelope.step, by_envelope.margin)


def test_an_optimizer_that_contradicts_the_envelope_is_noticed():
    def clairvoyant(landscape):  # jumps over real bumps, crawls on the endless one
        return [0.0, 1.1, 1.2] if math.isinf(landscape.height) else [0.0, 9.0, 9.0]

    with pytest.raises(UserError, match="has no threshold"):
        find_by_envelope(clairvoyant, Triangle(1.0, math.inf), 2)


def test_a_scan_in_steps_of_a_ten_thousandth_reports_either_neighbour():
    assert scan_report(0.4101842951299659, 1e-4) == {"step": 1e-4, "last_escape": 0.4101, "first_failure": 0.4102}
    assert scan_report(0.25, 0.25) == {"step": 0.25, "last_escape": 0.25, "first_failure": 0.5}
