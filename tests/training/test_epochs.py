"""The learning rate over a training."""

import pytest

from bs6207.training.epochs import warm_up_then_decay


def test_the_learning_rate_rises_and_then_falls_to_nothing():
    rates = [warm_up_then_decay(step, 100, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert rates[10:] == pytest.approx([(100 - step) / 90 for step in range(10, 100)])
    assert warm_up_then_decay(0, 1, 0.1) == 1  # a single step is whole
