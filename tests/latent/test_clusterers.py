"""Every clusterer, on blobs anybody can tell apart and on vectors that have no clusters at all."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from threadpoolctl import threadpool_limits

from bs6207.latent import clusterers, settings
from bs6207.latent.clusterers import (
    CLUSTERERS,
    EXTRAS,
    MORE_IMAGES,
    SEES_IMAGES,
    connected,
    principal_axes,
    reason_to_skip,
    subset,
)
from bs6207.latent.settings import LatentSettings
from bs6207.training.metrics.clusters import agreement, sizes

EVERY = [  # for those that see images see test_contrastive.py; to import UMAP and to compile it takes a minute
    pytest.param(name, marks=pytest.mark.slow) if name == "umap-gmm" else name
    for name in CLUSTERERS
    if name not in SEES_IMAGES
]


@pytest.fixture(autouse=True)
def _one_thread():
    with threadpool_limits(1):
        yield


def blobs(count, each, dims, seed=0, apart=20.0):
    """`count` round clouds of variance 1, `apart` from the origin along an axis each, and which each point is of."""
    random = np.random.RandomState(seed)
    labels = random.permutation(np.repeat(np.arange(count), each))
    return (np.eye(count, dims)[labels] * apart + random.normal(size=(len(labels), dims))).astype(np.float32), labels


@pytest.mark.parametrize("name", EVERY)
def test_every_clusterer_separates_far_apart_blobs_and_names_new_points_alike(name):
    vectors, labels = blobs(4, 60, 5)
    fitted = CLUSTERERS[name](4, 0).fit(vectors)
    assert agreement([fitted.predict(vectors), labels]) == 1
    fresh, fresh_labels = blobs(4, 20, 5, seed=1)
    found = fitted.predict(fresh)
    assert found.dtype == np.int64
    assert agreement([np.concatenate([fitted.predict(vectors), found]), np.concatenate([labels, fresh_labels])]) == 1


@pytest.mark.parametrize("name", EVERY)
def test_every_clusterer_gives_the_same_answer_twice(name):
    vectors = np.random.RandomState(0).normal(size=(300, 5)).astype(np.float32)
    fresh = np.random.RandomState(1).normal(size=(100, 5)).astype(np.float32)
    first, second = (CLUSTERERS[name](6, 3).fit(vectors).predict(fresh) for _ in range(2))
    assert np.array_equal(first, second)
    assert min(first) >= 0
    assert max(first) < 6


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("name", EVERY)
def test_as_few_vectors_as_a_clusterer_is_given_are_enough(name, alike):
    for count in (2, 7):
        fewest = count + MORE_IMAGES.get(name, 0)
        assert reason_to_skip(name, count, fewest) is None
        assert f"needs {fewest} training images" in reason_to_skip(name, count, fewest - 1)
        vectors = np.random.RandomState(0).normal(size=(fewest, 3)).astype(np.float32)
        vectors = np.zeros_like(vectors) if alike else vectors
        assert max(CLUSTERERS[name](count, 0).fit(vectors).predict(vectors)) < count


@pytest.mark.parametrize("name", EVERY)
def test_every_clusterer_takes_more_clusters_than_there_are_blobs_and_a_single_one(name):
    vectors, labels = blobs(2, 60, 5)
    found = CLUSTERERS[name](5, 0).fit(vectors).predict(vectors)
    assert all(len(set(labels[found == cluster])) == 1 for cluster in set(found))
    assert set(CLUSTERERS[name](1, 0).fit(vectors).predict(vectors)) == {0}


@pytest.mark.parametrize("name", [name for name in EVERY if isinstance(name, str)])
@pytest.mark.parametrize(
    "vectors",
    [
        np.full((100, 3), 2.5, np.float32),
        np.full((100, 100), 2.5, np.float32),
        np.repeat(np.eye(3, 80, dtype=np.float32), 50, axis=0),
        np.linspace(0, 1, 90, dtype=np.float32)[:, None],
        np.random.RandomState(0).normal(size=(50, 100)).astype(np.float32),
    ],
    ids=["equal", "equal, many dimensions", "three points", "a line", "fewer than dimensions"],
)
def test_vectors_without_ten_clusters_are_clustered_in_silence(name, vectors):
    found = CLUSTERERS[name](10, 0).fit(vectors).predict(vectors)
    assert sum(sizes(found, 10)) == len(vectors)


def test_a_graph_whose_eigenvectors_arpack_cannot_find_is_clustered_in_silence(monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("ARPACK error 3: No shifts could be applied")

    vectors, labels = blobs(3, 100, 4, apart=6.0)
    monkeypatch.setattr("sklearn.manifold._spectral_embedding.eigsh", fail)
    assert agreement([CLUSTERERS["spectral"](3, 0).fit(vectors).predict(vectors), labels]) == 1


@pytest.mark.parametrize("scale", [1e-3, 1, 1e3])
def test_a_mixture_does_not_care_for_units_nor_for_dimensions_that_never_change(scale):
    vectors, labels = blobs(3, 100, 4, apart=6.0)
    flat = np.concatenate([vectors * np.float32(scale), np.full((300, 2), 1e4 * scale, np.float32)], axis=1)
    assert agreement([CLUSTERERS["gmm"](3, 0).fit(flat).predict(flat), labels]) == 1


def test_a_mixture_finds_crossed_sticks_that_k_means_cannot():
    random = np.random.RandomState(0)
    sticks = random.normal(size=(400, 2)) * (10, 0.1)
    sticks[200:] = sticks[200:, ::-1]
    labels = np.repeat([0, 1], 200)
    assert agreement([CLUSTERERS["gmm"](2, 0).fit(sticks).predict(sticks), labels]) > 0.9
    assert agreement([CLUSTERERS["kmeans"](2, 0).fit(sticks).predict(sticks), labels]) < 0.5


def test_spectral_clustering_finds_rings_that_k_means_cannot():
    angles = np.linspace(0, 2 * np.pi, 300, endpoint=False)
    rings = np.concatenate([np.stack([np.cos(angles), np.sin(angles)], 1) * radius for radius in (1, 2)])
    labels = np.repeat([0, 1], 300)
    assert agreement([CLUSTERERS["spectral"](2, 0).fit(rings).predict(rings), labels]) == 1
    assert agreement([CLUSTERERS["kmeans"](2, 0).fit(rings).predict(rings), labels]) < 0.5


@pytest.mark.parametrize("name", ["kmeans", "gmm", "spectral"])
def test_a_start_on_a_part_ends_where_a_start_on_all_does(name, monkeypatch):
    vectors, _ = blobs(4, 100, 5, apart=6.0)
    whole = CLUSTERERS[name](4, 0).fit(vectors)
    monkeypatch.setattr(clusterers, "START_VECTORS", 100)
    monkeypatch.setattr(clusterers, "SPECTRAL_VECTORS", 100)
    parted = CLUSTERERS[name](4, 0).fit(vectors)
    assert agreement([whole.predict(vectors), parted.predict(vectors)]) > 0.98
    if name == "kmeans":  # finished on all: the centres are the means of all
        means = [vectors[parted.predict(vectors) == cluster].mean(0) for cluster in range(4)]
        assert parted.model.cluster_centers_ == pytest.approx(np.array(means), abs=1e-4)
    if name == "gmm":
        assert parted.model.weights_.sum() == pytest.approx(1)
        assert parted.model.score(parted.project(vectors)) == pytest.approx(
            whole.model.score(whole.project(vectors)), abs=1e-3
        )


def test_a_part_is_drawn_without_repeats_in_order_and_by_the_seed():
    some = subset(1000, 100, 0)
    assert len(some) == 100
    assert np.all(np.diff(some) > 0)
    assert not np.array_equal(some, subset(1000, 100, 1))
    assert np.array_equal(subset(1000, 1000, 0), np.arange(1000))


@pytest.mark.parametrize("dims", [3, 64, 65, 200])
def test_axes_keep_distances_up_to_a_scale_of_what_varies_most(dims):
    vectors = np.random.RandomState(0).normal(size=(300, dims)) * (np.arange(dims) < 40) + 7
    points = principal_axes(vectors)(vectors)
    assert points.shape == (300, min(dims, 64))
    assert points.mean() == pytest.approx(0, abs=1e-9)
    assert np.mean(points**2) == pytest.approx(1)
    ratios = np.linalg.norm(points[1:] - points[0], axis=1) / np.linalg.norm(vectors[1:] - vectors[0], axis=1)
    assert ratios == pytest.approx(ratios[0])


def test_parts_of_a_graph_are_linked_where_they_are_nearest():
    points = np.array([[0.0], [1], [2], [5], [6], [20], [21]])
    chains = [(0, 1), (1, 2), (3, 4), (5, 6)]
    graph = csr_array(([1.0] * 4, tuple(zip(*chains, strict=True))), shape=(7, 7))
    linked = connected(graph + graph.T, points)
    assert connected_components(linked, directed=False)[0] == 1
    new = linked - (graph + graph.T)
    assert {tuple(sorted(pair)) for pair in zip(*map(np.ndarray.tolist, new.nonzero()), strict=True)} == {
        (2, 3),
        (4, 5),
    }


class FirstDimensions:
    """In place of UMAP, which takes a minute to compile: the first dimensions of every vector."""

    def __init__(self, **options):
        FirstDimensions.options = options

    def fit(self, vectors):
        self.embedding_ = self.transform(vectors)
        return self

    def transform(self, vectors):
        return vectors[:, : self.options["n_components"]]


def test_umap_gmm_clusters_what_umap_makes_of_vectors_it_has_seen_and_of_others(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=FirstDimensions))
    vectors, labels = blobs(4, 4, 5)
    fitted = CLUSTERERS["umap-gmm"](4, 7).fit(vectors)
    assert agreement([fitted.predict(vectors), labels]) == 1
    fresh, fresh_labels = blobs(4, 20, 5, seed=1)
    assert agreement([fitted.predict(fresh), fresh_labels]) == 1
    expected = {"n_components": 4, "n_neighbors": 15, "min_dist": 0.0, "random_state": 7}
    assert expected.items() <= FirstDimensions.options.items()  # no more neighbours than there are other vectors


def test_parts_that_are_each_others_nearest_are_linked_to_the_rest_too():
    points = np.array([[0.0], [1], [2], [100], [101], [103], [104]])
    graph = csr_array(([1.0] * 4, ([0, 1, 3, 5], [1, 2, 4, 6])), shape=(7, 7))
    linked = connected(graph + graph.T, points)
    assert connected_components(linked, directed=False)[0] == 1
    assert linked[2, 3] == linked[3, 2] == 0.5


def test_a_clusterer_without_its_extra_is_refused_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setattr(settings, "find_spec", lambda module: None)
    with pytest.raises(ValidationError, match=r'umap-gmm needs the umap extra; run pip install "bs6207\[umap\]"'):
        LatentSettings(clusterer=["kmeans", "umap-gmm"])
    assert LatentSettings(clusterer=["kmeans", "spectral"]).clusterer == ["kmeans", "spectral"]


def test_only_clusterers_need_extras():
    assert EXTRAS.keys() <= CLUSTERERS.keys()
