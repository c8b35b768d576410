"""The loss with its bump, against its definition."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bs6207.bump.landscape import Landscape

BUMP = Landscape(distance=1.0, height=0.5)


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


@given(st.floats(0.1, 5), st.floats(0.01, 3), st.floats(-1, 12), st.floats(1e-7, 1e-5))
def test_the_slope_is_the_derivative_and_the_loss_is_continuous(distance, height, x, step):
    bump = Landscape(distance, height)
    assert abs(bump.loss(x + step) - bump.loss(x)) <= step * 1.001
    kinks = (distance, distance + height, distance + 2 * height)
    if all(abs(x - kink) > 2 * step for kink in kinks):
        assert (bump.loss(x + step) - bump.loss(x - step)) / (2 * step) == pytest.approx(bump.slope(x), abs=1e-4)


def test_the_endless_bump_rises_for_ever():
    assert Landscape(1.0, math.inf).slope(1e9) == 1
    assert not Landscape(1.0, math.inf).is_past_crest(1e9)
