"""What reconstructions and latents are scored by; the same for an autoencoder and for what it must beat."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bs6207.data.images import ImageSet
from bs6207.latent.classes import unscored
from bs6207.latent.clusterers import CLUSTERERS, SEES_IMAGES
from bs6207.metrics.clusters import majority_classes, match_clusters, purity, score_clusters, sizes
from bs6207.metrics.restoration import l1, mse, psnr_of

Vectors = NDArray[np.float32]  # [N, dim]


@dataclass(frozen=True)
class Search:
    """What to look for in vectors: clusters, by which clusterers, how many, with which seed; and probes, or not."""

    clusterers: tuple[str, ...]
    clusters: int
    seed: int
    probes: bool = True


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
    from bs6207.latent.probes import probe  # and with it scikit-learn, which only the processes need

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
