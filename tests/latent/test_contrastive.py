"""Clusters from contrast, small: what they find, what they do not claim, and the parts that make them."""

import math

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from torch.nn.functional import normalize, one_hot

from bs6207.data.sources import embedded_digits
from bs6207.latent.contrastive import (
    CONFIRMED,
    ContrastiveClusterer,
    distort,
    most_agreed,
    mutual_information,
    occlude,
)
from bs6207.latent.graph import SIDE, communities, merge, mutual_neighbours, nearest
from bs6207.training.metrics.clusters import match_clusters, score_clusters


def codes(images, dim=16):
    """Latents without an autoencoder."""
    return PCA(dim, random_state=0).fit_transform(images.reshape(len(images), -1) / 255).astype(np.float32)


def three_kinds(size, channels, side):
    """Noisy images of an upright bar, a lying bar or a square, and which it is."""
    random = np.random.RandomState(0)
    kinds = random.randint(0, 3, size)
    images = random.randint(0, 60, (size, channels, side, side)).astype(np.uint8)
    low, high = 3 * side // 8, 5 * side // 8
    images[kinds == 0, :, 1:-1, low:high] += 180
    images[kinds == 1, :, low:high, 1:-1] += 180
    images[kinds == 2, -1, 1:-1, 1:-1] += 180
    return images, kinds


@pytest.mark.parametrize(("channels", "side"), [pytest.param(3, 32, marks=pytest.mark.slow), (1, 8)])
def test_three_kinds_of_images_are_found_and_stable(channels, side):
    images, kinds = three_kinds(400, channels, side)
    latents = codes(images, 4)
    clusters = ContrastiveClusterer(3, 0, contrast_steps=12, assignment_steps=12).fit(latents[:300], images[:300])
    found = clusters.predict(latents[300:], images[300:])
    assert found.dtype == np.int64
    assert adjusted_rand_score(kinds[300:], found) > 0.97
    assert clusters.stability["trusted"]


@pytest.mark.slow
def test_equal_seeds_give_equal_clusters_and_other_seeds_others():
    images, _ = three_kinds(200, 1, 28)

    def weights(seed):
        fitted = ContrastiveClusterer(3, seed, contrast_steps=3, assignment_steps=3).fit(codes(images), images)
        return torch.cat(
            [fitted.prototypes.flatten(), *(value.flatten() for value in fitted.network.state_dict().values())]
        )

    first = weights(0)
    assert torch.equal(first, weights(0))
    assert not torch.equal(first, weights(1))


@pytest.mark.slow
def test_a_few_steps_on_digits_name_unseen_ones_better_than_k_means():
    digits = embedded_digits()
    images, labels, half = digits.train.pixels, digits.train.labels, 1500
    latents = codes(images)
    clusters = ContrastiveClusterer(10, 0, contrast_steps=40, assignment_steps=40).fit(latents[:half], images[:half])
    kmeans = KMeans(10, n_init=10, random_state=0).fit(latents[:half])
    unseen = slice(half, half + 1000)

    def accuracy(train_clusters, test_clusters):
        return score_clusters(test_clusters, labels[unseen], match_clusters(train_clusters, labels[:half]))["accuracy"]

    ours = accuracy(clusters.predict(latents[:half], images[:half]), clusters.predict(latents[unseen], images[unseen]))
    assert ours > accuracy(kmeans.labels_, kmeans.predict(latents[unseen])) + 0.1


def test_communities_are_those_on_which_halves_agree_and_noise_has_none():
    random = np.random.RandomState(0)
    kinds = random.randint(0, 4, 600)
    blobs = (5 * np.eye(4)[kinds] + random.standard_normal((600, 4))).astype(np.float32)
    found = most_agreed(blobs, 4, 0)
    assert adjusted_rand_score(kinds, found.clusters) > 0.97
    assert np.array_equal(found.communities.predict(blobs), found.clusters)
    assert found.agreement > 0.97
    assert most_agreed(random.standard_normal((600, 4)).astype(np.float32), 4, 0).agreement < 0.6


def test_what_changes_the_first_clusters_is_no_refinement_and_they_stay(monkeypatch):
    random = np.random.RandomState(0)
    kinds, images = random.randint(0, 3, 200), random.randint(0, 256, (200, 1, 8, 8)).astype(np.uint8)
    latents = (5 * np.eye(3)[kinds] + random.standard_normal((200, 3))).astype(np.float32)  # which noise cannot tell
    steps = {"contrast_steps": 1, "assignment_steps": 1}
    clusters = ContrastiveClusterer(3, 0, **steps).fit(latents, images)
    assert clusters.space == "latents"
    assert adjusted_rand_score(kinds, clusters.assigned(images)) < CONFIRMED
    assert adjusted_rand_score(kinds, clusters.predict(latents, images)) > 0.97
    monkeypatch.setattr("bs6207.latent.contrastive.CONFIRMED", -1.0)
    again = ContrastiveClusterer(3, 0, **steps).fit(latents, images)
    assert np.array_equal(again.predict(latents, images), again.assigned(images))


def test_clusters_of_noise_are_not_stable():
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (1000, 1, 28, 28)).astype(np.uint8)
    latents = random.standard_normal((1000, 16)).astype(np.float32)
    clusters = ContrastiveClusterer(10, 0, contrast_steps=5, assignment_steps=1).fit(latents, images)
    assert clusters.stability["agreement"] < 0.6
    assert not clusters.stability["trusted"]


def test_images_that_are_all_the_same_are_one_cluster_and_not_stable():
    images, latents = np.zeros((200, 1, 28, 28), np.uint8), np.zeros((200, 4), np.float32)
    clusters = ContrastiveClusterer(3, 0, contrast_steps=1, assignment_steps=1).fit(latents, images)
    assert not clusters.stability["trusted"]
    assert len(set(clusters.predict(latents, images))) == 1


def test_latents_of_other_images_are_refused():
    with pytest.raises(ValueError, match="500 latents of 499 images"):
        ContrastiveClusterer(3, 0).fit(np.zeros((500, 2), np.float32), np.zeros((499, 1, 8, 8), np.uint8))


@pytest.mark.parametrize("count", [2, 5, 40, 100])
@pytest.mark.parametrize("kind", ["blobs", "cloud", "one point"])
def test_there_are_always_as_many_communities_as_asked_for(kind, count):
    torch.manual_seed(0)
    points = torch.randn(400, 8)
    if kind == "blobs":
        points = 0.1 * points + 3 * one_hot(torch.arange(400) % 5, 8)
    if kind == "one point":
        points[1:] = points[0] + 1e-3 * points[1:]
    found = communities(normalize(points), count, 0)
    assert sorted(set(found)) == list(range(count))
    if kind == "blobs" and count == 5:
        assert adjusted_rand_score(found, np.arange(400) % 5) == 1


def test_the_smallest_cluster_joins_the_one_most_like_it():
    features = normalize(torch.tensor([[1, 0.0], [1, 0.1], [0, 1.0], [0.1, 1], [0.4, 1]]))
    assert merge(features, np.array([4, 4, 7, 7, 9]), 2).tolist() == [0, 0, 1, 1, 1]


def test_mutual_neighbours_are_mutual_and_nobody_is_their_own():
    points = torch.tensor([[0.0], [1.0], [1.5], [5.0]])  # 0 is nearest to 1, but 1 to 2; 3 is nearest to 2
    assert nearest(points, points, 2)[:, 1].tolist() == [1, 2, 1, 2]
    assert mutual_neighbours(points, 1).toarray().tolist() == [[0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_mutual_information_is_the_logarithm_of_equal_names_and_nothing_for_unrelated_ones():
    names = one_hot(torch.arange(12) % 4, 4).float()
    assert mutual_information(names, names).item() == pytest.approx(math.log(4), abs=1e-4)
    assert mutual_information(names, torch.full((12, 4), 0.25)).item() == pytest.approx(0, abs=1e-4)


def test_distortion_moves_what_is_seen_and_adds_no_light_beyond_white():
    random = torch.Generator().manual_seed(0)
    images = torch.zeros(64, 2, SIDE, SIDE)
    images[:, :, 10:18, 10:18] = 1
    changed = distort(images, random)
    assert changed.shape == images.shape
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert len(changed.flatten(1).unique(dim=0)) == 64
    centre = (changed[:, 0] * torch.arange(SIDE)).sum((1, 2)) / changed[:, 0].sum((1, 2))
    assert (centre - 13.5).abs().max() < 4
    assert (centre - 13.5).abs().max() > 0.5


def test_patches_hide_a_part_and_only_when_asked_for():
    random = torch.Generator().manual_seed(0)
    images = torch.ones(200, 1, SIDE, SIDE)
    assert torch.equal(occlude(images, 2, 0.0, random), images)
    seen = occlude(images, 1, 1.0, random).mean((1, 2, 3))
    assert seen.min() > 0.7  # a patch covers at most a quarter, and some show another image
    assert 0.9 < seen.mean() < 1
