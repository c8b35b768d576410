"""Cluster scores on cases known on paper."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bs6207.training.metrics.clusters import (
    agreement,
    chance,
    majority_classes,
    match_clusters,
    purity,
    score_clusters,
    sizes,
)

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
    clusters, labels = (np.array(side) for side in zip(*pairs, strict=True))
    ours = score_clusters(clusters, labels, match_clusters(clusters, labels))["accuracy"]
    best = max((np.array(names)[clusters] == labels).mean() for names in permutations(range(4)))
    assert ours == pytest.approx(best)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=40))
def test_of_more_clusters_than_classes_the_best_few_are_named_and_the_rest_are_wrong(pairs):
    clusters, labels = (np.array(side) for side in zip(*pairs, strict=True))
    naming = match_clusters(clusters, labels)
    assert len(naming) == min(len(set(clusters)), len(set(labels)))
    assert len(set(naming.values())) == len(naming)
    ours = score_clusters(clusters, labels, naming)["accuracy"]
    unnamed = 9
    best = max((np.array(names)[clusters] == labels).mean() for names in permutations([0, 1, 2, unnamed, unnamed + 1]))
    assert ours == pytest.approx(best)


def test_a_class_split_in_two_is_half_wrong_one_to_one_and_pure():
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    clusters = np.array([0, 0, 0, 4, 4, 2, 2, 2, 2, 2])
    assert score_clusters(clusters, labels, match_clusters(clusters, labels))["accuracy"] == pytest.approx(0.8)
    assert majority_classes(clusters, labels) == {0: 0, 2: 1, 4: 0}
    assert purity(clusters, labels, majority_classes(clusters, labels)) == 1


def test_two_clusters_for_three_classes_leave_the_smallest_class_wrong():
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2])
    clusters = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1])
    for naming in (match_clusters(clusters, labels), majority_classes(clusters, labels)):
        assert naming == {0: 0, 1: 1}
        assert purity(clusters, labels, naming) == pytest.approx(7 / 9)
    assert score_clusters(clusters, labels, naming)["accuracy"] == pytest.approx(7 / 9)


def test_a_cluster_that_no_training_image_fell_into_has_no_name_not_even_that_of_unlabelled_images():
    clusters, labels = np.array([0, 3]), np.array([5, -1])
    assert score_clusters(clusters, labels, {0: 5})["accuracy"] == purity(clusters, labels, {0: 5}) == 0.5


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=40))
def test_purity_is_at_least_the_accuracy_and_the_share_of_the_largest_class(pairs):
    clusters, labels = (np.array(side) for side in zip(*pairs, strict=True))
    pure = purity(clusters, labels, majority_classes(clusters, labels))
    assert pure >= score_clusters(clusters, labels, match_clusters(clusters, labels))["accuracy"]
    assert pure >= np.bincount(labels).max() / len(labels)


@pytest.mark.parametrize(
    ("shares", "count"), [((1, 1), 2), ((1, 1), 10), ((9, 1), 2), ((5, 3, 2), 2), ((5, 3, 2), 5), ((1, 2, 3, 4), 1)]
)
def test_chance_is_what_random_clusters_reach(shares, count):
    labels = np.repeat(np.arange(len(shares)), 2000 * np.array(shares) // sum(shares))
    random = np.random.RandomState(0)
    reached = []
    for _ in range(20):
        learned, tested = (random.randint(0, count, len(labels)) for _ in range(2))
        reached.append(score_clusters(tested, labels, match_clusters(learned, labels))["accuracy"])
    assert chance(count, labels, labels)["random"] == pytest.approx(np.mean(reached), abs=0.01)
    assert chance(count, labels, labels)["one"] == max(shares) / sum(shares)


def test_chance_knows_that_no_cluster_bears_the_name_of_an_unlearned_class():
    assert chance(2, np.array([0, 0, 1]), np.array([0, 1, 2, 2])) == {"random": 0.25, "one": 0.25}


def test_sizes_count_the_empty_clusters_and_refuse_others():
    assert sizes(np.array([3, 1, 3, 3]), 6) == [0, 1, 0, 3, 0, 0]
    with pytest.raises(ValueError, match="cluster 3 is not one of 3"):
        sizes(np.array([3, 1, 3, 3]), 3)


def test_clusterings_that_differ_in_names_only_agree():
    assert agreement([LABELS, 9 - LABELS, (LABELS + 3) % 10]) == pytest.approx(1)


def test_agreement_is_the_mean_over_pairs_on_paper():
    halves, others = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    # two clusterings into halves that cross: no pair of images is together in both, so ARI = (0 - 2/3) / (2 - 2/3)
    assert agreement([halves, others]) == pytest.approx(-0.5)
    assert agreement([halves, others, halves]) == pytest.approx((-0.5 + 1 - 0.5) / 3)


@pytest.mark.parametrize("partitions", [[], [LABELS]])
def test_fewer_than_two_clusterings_neither_agree_nor_disagree(partitions):
    assert agreement(partitions) is None
