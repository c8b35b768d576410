"""Scores over several seeds."""

import pytest

from bs6207.training.metrics.seeds import over_seeds


def test_scores_over_seeds_keep_median_mean_and_spread():
    scores = {
        3: {"a": 1, "b": {"c": 5.0, "d": [1]}},
        4: {"a": 3, "b": {"c": 1.0, "d": [2]}},
        9: {"a": 5, "b": {"c": 0.0}},
    }
    found = over_seeds(scores)
    assert found == {
        "a": 3,
        "b": {"c": 1.0},
        "mean": {"a": 3, "b": {"c": 2.0}},
        "sd": {"a": 2, "b": {"c": pytest.approx(7**0.5)}},
        "seeds": scores,
    }
    assert over_seeds({0: {"a": 1.0}})["sd"] == {"a": None}
    assert over_seeds({0: {"a": True}, 1: {"a": False}})["a"] is False
    gaps = over_seeds({0: {"a": None, "b": None}, 1: {"a": 2.0, "b": None}})
    assert (gaps["a"], gaps["b"], gaps["mean"]["a"]) == (2.0, None, 2.0)
