"""The loss with its bump, against its definition."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bs6207.bump.landscape import Gaussian, Triangle

BUMP = Triangle(distance=1.0, height=0.5)


@pytest.mark.parametrize(
    ("x", "loss", "slope"),
    [
        (0, 1, -1),
        (0.5, 0.5, -1),
        (1, 0, 1),
        (1.25, 0.25, 1),
        (1.5, 0.5, -1),
        (1.75, 0.25, -1),
        (2, 0, -0.3),
        (3, -0.3, -0.3),
    ],
)
def test_the_assignments_landscape(x, loss, slope):
    assert BUMP.loss(x) == pytest.approx(loss)
    assert BUMP.slope(x) == slope


ANY = {
    "triangle": lambda distance, height: Triangle(distance, height, up_slope=0.7),
    "gaussian": lambda distance, height: Gaussian(distance, height, width=0.4),
    "staircase": lambda distance, height: Triangle(distance, height, bumps=3, up_slope=1.3),
}


@pytest.mark.parametrize("name", ANY)
@given(st.floats(0.1, 5), st.floats(0.01, 3), st.floats(-1, 30))
def test_the_slope_is_the_derivative_and_the_loss_is_continuous(name, distance, height, x):
    bump, step = ANY[name](distance, height), 1e-6
    steepest = 1.3 + height / 0.4
    assert abs(bump.loss(x + step) - bump.loss(x)) <= step * steepest * 1.001
    if all(abs(x - kink) > 2 * step for kink in bump.kinks):
        assert (bump.loss(x + step) - bump.loss(x - step)) / (2 * step) == pytest.approx(bump.slope(x), abs=1e-4)


@pytest.mark.parametrize("name", ANY)
def test_the_crest_is_a_top_that_is_passed_before_all_is_left_behind(name):
    bump = ANY[name](1.0, 0.5)
    crest = bump.crest
    if name == "gaussian":  # where the decline shifts the top a little
        crest = max((bump.crest + k / 1000 for k in range(-200, 1)), key=bump.loss)
    assert bump.loss(crest) >= max(bump.loss(crest - 0.01), bump.loss(crest + 0.01))
    assert not bump.is_past_crest(bump.crest - 1e-9)
    assert bump.is_past_crest(bump.crest + 1e-9)
    assert not bump.is_beyond(bump.crest)
    assert bump.is_beyond(bump.kinks[-1] + 1e-9)
    assert bump.slope(bump.kinks[-1] + 9) < 0


def test_stairs_go_down():
    stairs = Triangle(1.0, 0.25, bumps=3)
    feet = stairs.kinks[::3]
    assert feet == pytest.approx([1, 2.5, 4])
    assert [stairs.loss(foot) for foot in feet] == pytest.approx([0, -0.3, -0.6])
    assert [stairs.loss(foot + 0.25) for foot in feet] == pytest.approx([0.25, -0.05, -0.35])


def test_the_endless_bump_rises_for_ever():
    assert Triangle(1.0, math.inf).slope(1e9) == 1
    assert not Triangle(1.0, math.inf).is_past_crest(1e9)
