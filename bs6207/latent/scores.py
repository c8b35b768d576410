"""What an autoencoder is scored by, and the baselines it must beat."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bs6207.data.images import ImageSet
from bs6207.latent.clusterers import CLUSTERERS
from bs6207.latent.settings import LatentSettings
from bs6207.metrics.clusters import match_clusters, score_clusters
from bs6207.metrics.restoration import l1, mse, psnr_of

Vectors = NDArray[np.float32]  # [N, dim]


def score_images(truth: NDArray[np.float32], guess: NDArray[np.float32]) -> dict[str, Any]:
    """L1, MSE and PSNR of the mean MSE, over all pixels of all images."""
    error = mse(truth, guess)
    return {"l1": l1(truth, guess), "mse": error, "psnr": psnr_of(error)}


def cluster(
    train_vectors: Vectors,
    train_labels: NDArray[np.int64],
    test_vectors: Vectors,
    test_labels: NDArray[np.int64],
    settings: LatentSettings,
    seed: int,
) -> dict[str, dict[str, float]]:
    """Scores of every clusterer: fitted without labels and named on the training images, scored on the test images."""
    count = len(np.unique(train_labels))
    scores = {}
    for name in settings.clusterer:
        with threadpool_limits(1):  # the order in which threads add up would change the last digits
            clusterer = CLUSTERERS[name](count, seed).fit(train_vectors)
            naming = match_clusters(clusterer.predict(train_vectors), train_labels)
            scores[name] = score_clusters(clusterer.predict(test_vectors), test_labels, naming)
    return scores


def score_baselines(learn: ImageSet, test: ImageSet, settings: LatentSettings) -> dict[str, Any]:
    """What has learned nothing (black, median, mean image), raw pixels, and PCA at the same sizes."""
    from sklearn.decomposition import PCA

    truth, known = test.unit_pixels, learn.unit_pixels
    constants = {"black": np.zeros_like(known[0]), "median": np.median(known, 0), "mean": known.mean(0)}
    baselines: dict[str, Any] = {
        name: score_images(truth, np.broadcast_to(image, truth.shape).astype(np.float32))
        for name, image in constants.items()
    }

    flat_learn, flat_test = known.reshape(len(known), -1), truth.reshape(len(truth), -1)

    def clusters(train_vectors: Vectors, test_vectors: Vectors) -> dict[str, dict[str, float]]:
        return cluster(train_vectors, learn.known_labels, test_vectors, test.known_labels, settings, settings.seed)

    baselines["pixels"] = {"clusters": clusters(flat_learn, flat_test)}
    baselines["pca"] = {}
    with threadpool_limits(1):
        largest = PCA(max(settings.dims), svd_solver="covariance_eigh").fit(flat_learn)
    codes_learn, codes_test = largest.transform(flat_learn), largest.transform(flat_test)
    for dim in settings.dims:  # the leading components of one PCA are the smaller PCA
        restored = codes_test[:, :dim] @ largest.components_[:dim] + largest.mean_
        baselines["pca"][dim] = score_images(truth, np.clip(restored, 0, 1).reshape(truth.shape)) | {
            "clusters": clusters(codes_learn[:, :dim], codes_test[:, :dim])
        }
    return baselines


def middle(scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The median over seeds of every number in equally nested scores."""
    return {
        key: middle([one[key] for one in scores]) if isinstance(value, dict) else median(one[key] for one in scores)
        for key, value in scores[0].items()
    }
