"""Baselines, and the scores of vectors (pixels, PCA or latents): reconstruction, clusters against classes, probes."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import trustworthiness
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from bs6207.data.images import SPLIT_SEED, DataSet, ImageSet
from bs6207.latent.clusterers import subset
from bs6207.training.metrics.clusters import (
    majority_classes,
    many_classes_are_fine,
    match_clusters,
    purity,
    score_clusters,
    sizes,
)
from bs6207.training.metrics.restoration import l1, mse, psnr_of

Vectors: TypeAlias = NDArray[np.floating]  # [N, dim]
Labels: TypeAlias = NDArray[np.int64]  # [N]; of classes or of clusters, from 0
Images: TypeAlias = NDArray[np.float32]  # [N, C, H, W] in [0, 1]
Correct: TypeAlias = dict[str, NDArray[np.bool_]]  # by clusterer, whether a test image has the class of its cluster

EXACT_PCA_PIXELS = 2000  # above, the eigenvectors of the covariance matrix take minutes

NEIGHBOURS = 5  # of the kNN classifier and of trustworthiness and continuity
MAX_PROBE_TRAIN = 10_000  # training vectors of the classifiers
MAX_PROBE_TEST = 2_000  # test vectors whose neighbourhoods are compared: the time grows with the square
LINEAR_ITERATIONS = 1000  # of L-BFGS, which on MNIST needs 30 at dim 16 and 136 on pixels; then it is scored as it is
DISCARDED = 0.1  # share of the largest distance ratios that TwoNN leaves out, as Facco et al. do
ROUNDING = 1e-9  # distances that differ by less than this share count as equal


def score_images(truth: Images, guess: Images) -> dict[str, Any]:
    """L1, MSE and PSNR of the mean MSE, over all pixels of all images."""
    error = mse(truth, guess)
    return {"l1": l1(truth, guess), "mse": error, "psnr": psnr_of(error)}


def constant_images(train: ImageSet) -> dict[str, NDArray[np.float32]]:
    """The black, the median and the mean training image, [C, H, W] in [0, 1]."""
    images = {"black": np.zeros(train.image_shape), "median": np.median(train.pixels, 0), "mean": train.pixels.mean(0)}
    return {name: (image / 255).astype(np.float32) for name, image in images.items()}


def score_constants(constants: Mapping[str, NDArray[np.float32]], images: ImageSet) -> dict[str, Any]:
    truth = images.unit_pixels
    return {name: score_images(truth, np.broadcast_to(image, truth.shape)) for name, image in constants.items()}


@dataclass(frozen=True)
class Components:
    """The leading principal components of images: the best linear code (Pearson 1901)."""

    mean: NDArray[np.float32]  # [pixels]
    directions: NDArray[np.float32]  # [count, pixels], orthonormal, in order of decreasing variance

    def encode(self, images: ImageSet) -> NDArray[np.float32]:
        with threadpool_limits(1):
            return images.flat @ self.directions.T - self.mean @ self.directions.T

    def decode(self, codes: NDArray[np.float32], image_shape: tuple[int, int, int]) -> Images:
        """Images of codes, [N, C, H, W], clipped to [0, 1]."""
        with threadpool_limits(1):
            flat = codes @ self.directions[: codes.shape[1]] + self.mean
        return np.clip(flat, 0, 1).reshape(-1, *image_shape)


def principal_components(images: ImageSet, count: int) -> Components:
    """Exact up to 2,000 pixels, by a randomized method above (Halko et al. 2011)."""
    solver = "covariance_eigh" if images.pixels[0].size <= EXACT_PCA_PIXELS else "randomized"
    # One thread, as the order in which threads add up would change the last digits; of images that are all alike
    # scikit-learn divides a variance of 0 by itself.
    with threadpool_limits(1), np.errstate(invalid="ignore"):
        pca = PCA(count, svd_solver=solver, random_state=0).fit(images.flat)
    return Components(pca.mean_, pca.components_)


def unscored(train: ImageSet, test: ImageSet) -> str | None:
    """Why clusters and probes cannot be scored against the classes; None where they can."""
    for split, images in (("training", train), ("test", test)):
        if images.labels is None:
            return "the images have no labels"
        if len(np.unique(images.labels)) < 2:
            return f"all {split} images are of one class"
    return None


def score_partition(
    train_clusters: Labels, test_clusters: Labels, count: int, train: ImageSet, data: DataSet
) -> tuple[dict[str, Any], NDArray[np.bool_] | None]:
    """Scores of clusters named on the training images, and which test images have the class of their cluster.

    Without labels, or with one class only, the scores are None.
    """
    facts: dict[str, Any] = {"sizes": sizes(test_clusters, count)}
    if train.labels is not None and data.test.labels is not None:
        naming = match_clusters(train_clusters, train.labels)
        names = [naming.get(cluster) for cluster in range(count)]
        facts |= {"names": names, "class_names": [None if name is None else data.classes[name] for name in names]}
        if not unscored(train, data.test):
            majority = majority_classes(train_clusters, train.labels)
            facts |= {"purity": purity(test_clusters, data.test.labels, majority)}
            correct = np.array([-1 if name is None else name for name in names])[test_clusters] == data.test.labels
            return facts | score_clusters(test_clusters, data.test.labels, naming), correct
    return facts | dict.fromkeys(("purity", "accuracy", "nmi", "ari")), None


def mcnemar(correct: NDArray[np.bool_], baseline: NDArray[np.bool_]) -> dict[str, Any]:
    """McNemar's exact two-sided test of the numbers of images that only one of two classifications has right (1947)."""
    only_latents, only_baseline = int((correct & ~baseline).sum()), int((baseline & ~correct).sum())
    discordant = only_latents + only_baseline
    p_value = float(binomtest(only_latents, discordant).pvalue) if discordant else 1.0
    return {"only_latents": only_latents, "only_baseline": only_baseline, "p_value": p_value}


def probe(
    train: Vectors, train_labels: Labels | None, test: Vectors, test_labels: Labels | None, test_pixels: Vectors
) -> dict[str, float | None]:
    """Five properties of the latents of images, or of any other vectors; deterministic, in one thread.

    The classifiers are fitted to a fixed subset of 10,000 training vectors and scored on all test vectors; the other
    three are computed on a fixed subset of 2,000 test vectors.

    Returns:
        knn, linear: accuracies of the 5 nearest training vectors and of multinomial logistic regression on
            standardised vectors; None without labels.
        trustworthiness, continuity: in [0, 1], higher is better, about 0.5 by chance. Trustworthiness falls with those
            of the 5 nearest in the latent that are far in pixels, continuity with those of the 5 nearest in pixels
            that are far in the latent (Venna and Kaski 2001). None for fewer than 11 images.
    """
    scores: dict[str, float | None] = {"knn": None, "linear": None}
    with threadpool_limits(1), many_classes_are_fine():
        if train_labels is not None and test_labels is not None:
            chosen = subset(len(train), MAX_PROBE_TRAIN, SPLIT_SEED)
            vectors, labels = train[chosen], train_labels[chosen]
            knn = KNeighborsClassifier(min(NEIGHBOURS, len(vectors))).fit(vectors, labels)
            scores["knn"] = float(np.mean(knn.predict(test) == test_labels))
            scores["linear"] = linear_accuracy(vectors, labels, test, test_labels)
        chosen = subset(len(test), MAX_PROBE_TEST, SPLIT_SEED)
        latents, pixels = test[chosen], test_pixels[chosen]
        enough = len(chosen) > 2 * NEIGHBOURS  # below this the measure is not normalised to [0, 1]
        for name, spaces in (("trustworthiness", (pixels, latents)), ("continuity", (latents, pixels))):
            scores[name] = float(trustworthiness(*spaces, n_neighbors=NEIGHBOURS)) if enough else None
        scores["intrinsic_dimension"] = intrinsic_dimension(latents)
    return scores


def linear_accuracy(train_vectors: Vectors, train_labels: Labels, test_vectors: Vectors, test_labels: Labels) -> float:
    """Test accuracy of multinomial logistic regression on standardised vectors, or of the only class there is."""
    classes = np.unique(train_labels)
    if len(classes) == 1:
        return float(np.mean(test_labels == classes[0]))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=LINEAR_ITERATIONS))
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        model.fit(train_vectors.astype(np.float64), train_labels)
    return float(np.mean(model.predict(test_vectors.astype(np.float64)) == test_labels))


def intrinsic_dimension(vectors: Vectors) -> float | None:
    """Intrinsic dimension by TwoNN, from the distances to two neighbours (Facco et al. 2017, arXiv:1803.06992).

    Equal vectors count once. It depends a little on the number of vectors: compare equal ones. None for fewer than 10
    distinct vectors, or where all ratios that count are 1 (as on a grid).
    """
    distinct = np.unique(vectors.astype(np.float64), axis=0)
    if len(distinct) < 10:
        return None
    distinct -= distinct.mean(axis=0)
    neighbours = NearestNeighbors(n_neighbors=2).fit(distinct).kneighbors(return_distance=False)
    # centred for the search, and measured again: differences of squares lose the digits of small distances
    pairs = [np.linalg.norm(distinct - distinct[neighbours[:, rank]], axis=1) for rank in (0, 1)]
    first, second = np.sort(pairs, axis=0)
    return dimension_of(second[first > 0] / first[first > 0])  # 0 where the square of a difference underflows


def dimension_of(ratios: NDArray[np.float64]) -> float | None:
    """The d of the law P(ratio > r) = r^-d, from a line through the origin in log r and -log(1 - share below)."""
    logs = np.sort(np.log(ratios))
    logs[logs < ROUNDING] = 0
    count = int(len(logs) * (1 - DISCARDED))
    shares = np.arange(1, count + 1) / len(logs)
    x, y = logs[:count], -np.log1p(-shares)
    return float(x @ y / (x @ x)) if x.any() else None
