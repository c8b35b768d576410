"""Scores of vectors, latents, components or pixels: clusters against classes, probes, and reconstructions."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import trustworthiness
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from bs6207.data.images import ImageSet
from bs6207.latent.clusterers import CLUSTERERS, SEES_IMAGES
from bs6207.latent.tasks import Search, unscored
from bs6207.training.metrics.clusters import (
    majority_classes,
    many_classes_are_fine,
    match_clusters,
    purity,
    score_clusters,
    sizes,
)
from bs6207.training.metrics.restoration import l1, mse, psnr_of

NEIGHBOURS = 5  # that vote, and that are to be kept
TRAIN_MOST = 10_000  # training vectors the classifiers learn from
TEST_MOST = 2_000  # test vectors whose neighbourhoods are compared: the time grows with the square
LINEAR_ROUNDS = 1000
DISCARDED = 0.1  # share of the largest distance ratios that TwoNN leaves out, as Facco et al. do
ROUNDING = 1e-9  # two distances that differ by less than this share of them are the same
PART_SEED = 6207  # the parts are the same whatever --seed says, so that all vectors are probed on the same images
Vectors: TypeAlias = NDArray[np.floating]  # [N, dim]
Labels: TypeAlias = NDArray[np.int64]  # [N]


def probe(
    train_vectors: Vectors,
    train_labels: Labels | None,
    test_vectors: Vectors,
    test_labels: Labels | None,
    test_pixels: Vectors,
) -> dict[str, float | None]:
    """Five numbers about the latents of images, or about any other vectors of theirs; deterministic, in one thread.

    The classifiers learn from 10,000 of the training vectors, drawn with a fixed seed, and are scored on all test
    vectors; the other three are of 2,000 test vectors drawn likewise. Where there are fewer, all are used.

    Args:
        train_vectors, test_vectors: [N, dim], [M, dim], finite.
        train_labels, test_labels: [N], [M]; None where the classes are unknown.
        test_pixels: [M, pixels], the test images.

    Returns:
        knn, linear: accuracies in [0, 1] of the vote of the 5 nearest training vectors, and of multinomial logistic
            regression on standardised vectors; None without labels.
        trustworthiness, continuity: in [0, 1], higher is better, about 0.5 by chance. Trustworthiness falls with those
            of the 5 nearest in the latent that are far in pixels, continuity with those of the 5 nearest in pixels
            that are far in the latent (Venna and Kaski 2001). None of fewer than 11 images.
        intrinsic_dimension: see `intrinsic_dimension`.
    """
    scores: dict[str, float | None] = {"knn": None, "linear": None}
    with threadpool_limits(1), many_classes_are_fine():
        if train_labels is not None and test_labels is not None:
            chosen = drawn(len(train_vectors), TRAIN_MOST)
            known, labels = train_vectors[chosen], train_labels[chosen]
            voters = KNeighborsClassifier(min(NEIGHBOURS, len(known))).fit(known, labels)
            scores["knn"] = float(np.mean(voters.predict(test_vectors) == test_labels))
            scores["linear"] = linear_accuracy(known, labels, test_vectors, test_labels)
        chosen = drawn(len(test_vectors), TEST_MOST)
        latents, pixels = test_vectors[chosen], test_pixels[chosen]
        enough = len(chosen) > 2 * NEIGHBOURS  # below this the measure is not normalised to [0, 1]
        scores["trustworthiness"] = kept(pixels, latents) if enough else None
        scores["continuity"] = kept(latents, pixels) if enough else None
        scores["intrinsic_dimension"] = intrinsic_dimension(latents)
    return scores


def drawn(count: int, most: int) -> NDArray[np.int64]:
    """The places of at most `most` of `count` vectors, ascending; the same in every run."""
    return np.sort(np.random.RandomState(PART_SEED).permutation(count)[:most])


def kept(original: Vectors, mapped: Vectors) -> float:
    """The trustworthiness of the 5 nearest neighbours in `mapped`."""
    return float(trustworthiness(original, mapped, n_neighbors=NEIGHBOURS))


def linear_accuracy(train_vectors: Vectors, train_labels: Labels, test_vectors: Vectors, test_labels: Labels) -> float:
    """Accuracy of multinomial logistic regression on standardised vectors, or of the only class there is.

    L-BFGS converges within 30 rounds on 16 latents of MNIST and within 136 on its pixels; where it has not after 1000,
    it is scored as it stands.
    """
    classes = np.unique(train_labels)
    if len(classes) == 1:
        return float(np.mean(test_labels == classes[0]))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=LINEAR_ROUNDS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train_vectors.astype(np.float64), train_labels)
    return float(np.mean(model.predict(test_vectors.astype(np.float64)) == test_labels))


def intrinsic_dimension(vectors: Vectors) -> float | None:
    """How many dimensions the vectors fill around each of them: TwoNN (Facco et al. 2017, arXiv:1803.06992).

    From the ratio of the distances to the second and to the first neighbour, by the paper's linear fit without the
    10 % of largest ratios. Equal vectors count once. It depends a little on how many there are: compare equal numbers.

    Returns:
        None where fewer than 10 different vectors are left, or all ratios that count are 1 (as on a grid).
    """
    distinct = np.unique(vectors.astype(np.float64), axis=0)
    if len(distinct) < 10:
        return None
    distinct -= distinct.mean(axis=0)
    near = NearestNeighbors(n_neighbors=2).fit(distinct).kneighbors(return_distance=False)
    # centred for the search, and measured again: differences of squares lose the digits of small distances
    first, second = np.sort([np.linalg.norm(distinct - distinct[near[:, rank]], axis=1) for rank in (0, 1)], axis=0)
    apart = first > 0  # 0 where the square of the smallest difference is no longer a number
    return dimension_of(second[apart] / first[apart])


def dimension_of(ratios: NDArray[np.float64]) -> float | None:
    """The d of the law P(ratio > r) = r^-d, from a line through the origin in log r and -log(1 - share below)."""
    logs = np.sort(np.log(ratios))
    logs[logs < ROUNDING] = 0
    count = int(len(logs) * (1 - DISCARDED))
    shares = np.arange(1, count + 1) / len(logs)
    x, y = logs[:count], -np.log1p(-shares)
    return float(x @ y / (x @ x)) if x.any() else None


@dataclass(frozen=True)
class Partition:
    """Cluster numbers, from 0, of the training and of the test images.

    Attributes:
        count: how many clusters there are, empty ones included.
        train: int64, [N]; test: int64, [M].
        trust: what a clusterer can say without labels of how far it may be believed; empty if nothing.
    """

    count: int
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    trust: dict[str, Any]


def score_images(truth: NDArray[np.float32], guess: NDArray[np.float32]) -> dict[str, Any]:
    """L1, MSE and PSNR of the mean MSE, over all pixels of all images."""
    error = mse(truth, guess)
    return {"l1": l1(truth, guess), "mse": error, "psnr": psnr_of(error)}


def constant_images(learn: ImageSet) -> dict[str, NDArray[np.float32]]:
    """What guesses whoever has learned nothing: the black, the median and the mean image, [C, H, W] in [0, 1]."""
    pixels = learn.pixels
    images = {"black": np.zeros(learn.image_shape), "median": np.median(pixels, 0), "mean": pixels.mean(0)}
    return {name: (image / 255).astype(np.float32) for name, image in images.items()}


def score_constants(constants: Mapping[str, NDArray[np.float32]], test: ImageSet) -> dict[str, Any]:
    """The scores of images that are guessed whatever there is to restore."""
    truth = test.unit_pixels
    return {name: score_images(truth, np.broadcast_to(image, truth.shape)) for name, image in constants.items()}


def score_vectors(
    train_vectors: Vectors,
    test_vectors: Vectors,
    learn: ImageSet,
    test: ImageSet,
    classes: Sequence[str],
    search: Search,
    tell: Callable[[str], None],
) -> tuple[dict[str, Partition], dict[str, Any]]:
    """Cluster the vectors of images by every clusterer, and score clusters and vectors.

    `tell` hears what a clusterer that takes long is at.
    """
    partitions = {}
    for name in search.clusterers:
        clusterer: Any = CLUSTERERS[name](search.clusters, search.seed)
        seen: list[tuple[Any, ...]] = [(train_vectors,), (test_vectors,)]
        if name in SEES_IMAGES:
            seen = [(train_vectors, learn.pixels), (test_vectors, test.pixels)]
            clusterer.report = tell
        with threadpool_limits(1):  # the order in which threads add up would change the last digits
            clusterer.fit(*seen[0])
            found, sorted_later = (clusterer.predict(*views) for views in seen)
            partitions[name] = Partition(search.clusters, found, sorted_later, getattr(clusterer, "trust", {}))
    scores = {"clusters": {name: score_partition(found, learn, test, classes) for name, found in partitions.items()}}
    if not search.probes:
        return partitions, scores | {"probes": {}}

    labels = (None, None) if unscored(learn, test) else (learn.labels, test.labels)
    probed = probe(train_vectors, labels[0], test_vectors, labels[1], test.flat)
    return partitions, scores | {"probes": probed}


def score_partition(found: Partition, learn: ImageSet, test: ImageSet, classes: Sequence[str]) -> dict[str, Any]:
    """How well clusters agree with the classes: named on the training images, scored on the test images.

    Without labels, or with one class only, no score is known, but the clusters' sizes and what the clusterer itself
    says of them are.

    Args:
        classes: the names, by label.
    """
    facts: dict[str, Any] = {"sizes": sizes(found.test, found.count)} | ({"trust": found.trust} if found.trust else {})
    if learn.labels is not None and test.labels is not None:
        naming = match_clusters(found.train, learn.labels)
        labels = [naming.get(number) for number in range(found.count)]
        facts |= {"names": labels, "class_names": [None if label is None else classes[label] for label in labels]}
        if not unscored(learn, test):
            facts["purity"] = purity(found.test, test.labels, majority_classes(found.train, learn.labels))
            return facts | score_clusters(found.test, test.labels, naming)
    return facts | dict.fromkeys(("purity", "accuracy", "nmi", "ari"))
