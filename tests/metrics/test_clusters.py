"""Cluster scores on cases known on paper."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score

from bs6207.metrics.clusters import match_clusters, score_clusters

LABELS = np.repeat(np.arange(10), 30)


@given(st.permutations(range(10)))
def test_any_renaming_of_the_true_classes_is_perfect(names):
    clusters = np.array(names)[LABELS]
    assert score_clusters(clusters, LABELS, match_clusters(clusters, LABELS)) == pytest.approx(
        {"accuracy": 1, "nmi": 1, "ari": 1}
    )


def test_one_cluster_for_all_scores_as_chance():
    clusters = np.zeros_like(LABELS)
    scores = score_clusters(clusters, LABELS, match_clusters(clusters, LABELS))
    assert scores == pytest.approx({"accuracy": 0.1, "nmi": 0, "ari": 0})


def test_two_classes_of_three_swapped_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    clusters = np.array([5, 5, 7, 7, 7, 7, 9, 9, 5])
    naming = match_clusters(clusters, labels)
    assert naming == {5: 0, 7: 1, 9: 2}
    assert score_clusters(clusters, labels, naming)["accuracy"] == pytest.approx(7 / 9)


def test_the_naming_comes_from_elsewhere_and_is_not_mended_on_the_images_scored():
    naming = match_clusters(LABELS, LABELS)
    shifted = (LABELS + 1) % 10
    assert score_clusters(shifted, LABELS, naming)["accuracy"] == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_no_other_one_to_one_naming_does_better(pairs):
    from itertools import permutations

    clusters, labels = (np.array(side) for side in zip(*pairs, strict=True))
    ours = score_clusters(clusters, labels, match_clusters(clusters, labels))["accuracy"]
    best = max(accuracy_score(labels, np.array(names)[clusters]) for names in permutations(range(4)))
    assert ours == pytest.approx(best)
