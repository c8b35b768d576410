"""Probes on vectors whose answers are known on paper, and on vectors that have none."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.manifold import trustworthiness

from bs6207.data.images import SPLIT_SEED
from bs6207.latent import evaluation as probes
from bs6207.latent.clusterers import subset
from bs6207.latent.evaluation import dimension_of, intrinsic_dimension, linear_accuracy, probe


def gaussian(count, dims, seed=0):
    return np.random.RandomState(seed).normal(size=(count, dims)).astype(np.float32)


def rings(count, seed):
    """Points on two circles around one centre, and on which."""
    random = np.random.RandomState(seed)
    labels, angles = random.randint(0, 2, count), random.uniform(0, 2 * np.pi, count)
    return ((1 + labels) * np.array([np.cos(angles), np.sin(angles)])).T.astype(np.float32), labels


def test_rings_are_read_by_neighbours_and_not_by_lines():
    (train, train_labels), (test, test_labels) = rings(500, 0), rings(200, 1)
    scores = probe(train, train_labels, test, test_labels, test)
    assert scores["knn"] == 1
    assert scores["linear"] < 0.65
    assert scores["trustworthiness"] == scores["continuity"] == 1
    assert scores["intrinsic_dimension"] == pytest.approx(1, rel=0.1)


def test_lines_read_what_lines_part_whatever_the_units():
    train, test = gaussian(300, 2), gaussian(200, 2, seed=1)
    for vectors in (train, test):
        vectors[:, 0] += 2 * np.sign(vectors[:, 0])
    units = np.array([1e-4, 1e4], np.float32)
    assert linear_accuracy(train * units, train[:, 0] > 0, test * units, test[:, 0] > 0) == 1


def test_accuracies_are_of_the_test_images():
    vectors, labels = gaussian(200, 3), np.repeat([0, 1], 100)
    vectors[:, 0] += 50 * labels
    half_wrong = np.array([0, 1] * 100)
    assert probe(vectors, labels, vectors, labels, vectors)["knn"] == 1
    scores = probe(vectors, labels, vectors, half_wrong, vectors)
    assert (scores["knn"], scores["linear"]) == (0.5, 0.5)


def trustworthiness_on_paper(original, mapped, k=5):
    """1 - 2 / (n k (2n - 3k - 1)) times the ranks beyond k, summed over the false neighbours (Venna and Kaski)."""
    count, excess = len(original), 0
    for place in range(count):
        ranks = np.argsort(np.argsort(np.linalg.norm(original - original[place], axis=1)))  # 0 is the point itself
        nearest = np.argsort(np.linalg.norm(mapped - mapped[place], axis=1))[1 : k + 1]
        excess += np.maximum(ranks[nearest] - k, 0).sum()
    return 1 - 2 * excess / (count * k * (2 * count - 3 * k - 1))


def test_trustworthiness_and_continuity_are_the_papers_and_not_each_other():
    pixels = gaussian(60, 4)
    latents = pixels[:, :1]
    scores = probe(latents, None, latents, None, pixels)
    assert scores["trustworthiness"] == pytest.approx(trustworthiness_on_paper(pixels, latents))
    assert scores["continuity"] == pytest.approx(trustworthiness_on_paper(latents, pixels))
    assert scores["trustworthiness"] < scores["continuity"]  # a projection brings together what is far


def test_unlabelled_vectors_are_probed_for_all_but_classes():
    vectors = gaussian(70, 3)
    scores = probe(vectors, None, vectors, None, vectors)
    assert [name for name, score in scores.items() if score is not None] == [
        "trustworthiness",
        "continuity",
        "intrinsic_dimension",
    ]


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_two_neighbours_find_the_dimension_of_a_cube_turned_into_ten_dimensions(dim):
    turned = np.linalg.qr(gaussian(10, 10))[0][:dim]
    cube = np.random.RandomState(1).uniform(size=(2000, dim)) @ turned
    assert intrinsic_dimension(cube) == pytest.approx(dim, rel=0.1)


@pytest.mark.parametrize("dim", [0.5, 3, 40])
def test_ratios_at_the_quantiles_of_the_law_give_its_dimension_and_the_largest_tenth_nothing(dim):
    shares = np.arange(1, 201) / 200
    ratios = np.append((1 - shares[:-1]) ** (-1 / dim), np.inf)
    ratios[180:] = 1e30
    assert dimension_of(np.random.RandomState(0).permutation(ratios)) == pytest.approx(dim)


def test_equal_vectors_count_once():
    vectors = gaussian(300, 3)
    repeated = np.concatenate([vectors, vectors[::2], vectors[:7], vectors[:7]])
    assert intrinsic_dimension(repeated) == intrinsic_dimension(vectors)


def test_vectors_too_near_for_a_square_are_left_out():
    vectors = gaussian(300, 1).astype(np.float64)
    vectors[:2] = [[0.0], [1e-200]]
    assert intrinsic_dimension(vectors) == pytest.approx(intrinsic_dimension(vectors[2:]), rel=0.05)


def test_distances_far_from_the_origin_keep_their_digits():
    vectors = gaussian(300, 20).astype(np.float64)  # from 16 dimensions on, the search works with squares
    assert intrinsic_dimension(vectors + 1e7) == pytest.approx(intrinsic_dimension(vectors), rel=1e-3)


def test_pairs_much_nearer_than_all_others_keep_their_digits():
    vectors = gaussian(200, 20).astype(np.float64)
    pairs = np.concatenate([vectors, vectors + 1e-9 * gaussian(200, 20, seed=1)])
    nearest = np.sort(cdist(pairs, pairs))[:, 1:3]
    assert intrinsic_dimension(pairs) == pytest.approx(dimension_of(nearest[:, 1] / nearest[:, 0]), rel=1e-6)


GRID = np.stack(np.meshgrid(np.arange(8) * 0.1, np.arange(8) * 0.1), -1).reshape(-1, 2)


@pytest.mark.parametrize("vectors", [np.ones((50, 3)), gaussian(9, 3), GRID], ids=["equal", "too few", "grid"])
def test_vectors_without_a_dimension_have_none(vectors):
    assert intrinsic_dimension(vectors) is None


@pytest.mark.parametrize("dims", [1, 2, 784])
def test_vectors_that_are_all_equal_are_probed_as_chance_and_no_warning_escapes(dims):
    labels = np.arange(70) % 7
    equal = np.full((70, dims), 3.25, np.float32)
    scores = probe(equal, labels, equal, labels, gaussian(70, 20))
    assert scores["linear"] == pytest.approx(1 / 7)
    assert 0 <= scores["knn"] <= 0.3
    assert all(0 <= scores[name] <= 1 for name in ("trustworthiness", "continuity"))
    assert scores["intrinsic_dimension"] is None


def test_one_class_and_classes_never_learned_do_not_stop_it():
    vectors, one = gaussian(70, 3), np.zeros(70, np.int64)
    other = np.repeat([0, 4], 35)
    scores = probe(vectors, one, vectors, other, vectors)
    assert scores["knn"] == scores["linear"] == 0.5
    scores = probe(vectors, np.append(np.zeros(69, np.int64), 9), vectors, other, vectors)  # one class has one image
    assert scores["linear"] == pytest.approx(0.5, abs=0.05)


def test_a_regression_that_does_not_converge_is_scored_as_it_stands(monkeypatch):
    monkeypatch.setattr(probes, "LINEAR_ITERATIONS", 1)
    vectors = gaussian(200, 20)
    assert linear_accuracy(vectors, vectors[:, 0] > 0, vectors, vectors[:, 0] > 0) > 0.5


def test_a_handful_of_images_is_probed_too():
    vectors, labels = gaussian(4, 3), np.array([0, 1, 0, 1])
    scores = probe(vectors, labels, vectors, labels, vectors)
    assert (scores["trustworthiness"], scores["continuity"], scores["intrinsic_dimension"]) == (None, None, None)
    assert 0 <= scores["knn"] <= 1
    few, eleven = gaussian(10, 3), gaussian(11, 3)
    assert probe(few, None, few, None, few)["trustworthiness"] is None
    assert probe(eleven, None, eleven, None, eleven)["trustworthiness"] == 1


def test_large_sets_are_probed_by_parts_that_are_always_the_same(monkeypatch):
    monkeypatch.setattr(probes, "MAX_PROBE_TRAIN", 50)
    monkeypatch.setattr(probes, "MAX_PROBE_TEST", 30)
    train, test, pixels = gaussian(200, 3), gaussian(100, 3, seed=1), gaussian(100, 6, seed=2)
    train_labels, test_labels = train[:, 0] > 0, test[:, 0] > 0
    np.random.seed(0)
    scores = probe(train, train_labels, test, test_labels, pixels)
    np.random.seed(1)
    assert probe(train, train_labels, test, test_labels, pixels) == scores
    known, seen = subset(200, 50, SPLIT_SEED), subset(100, 30, SPLIT_SEED)
    assert len(set(known)) == 50
    assert scores["linear"] == linear_accuracy(train[known], train_labels[known], test, test_labels)
    assert scores["continuity"] == trustworthiness(test[seen], pixels[seen], n_neighbors=5)
    assert scores["intrinsic_dimension"] == intrinsic_dimension(test[seen])
