"""Agreement of clusters with the true classes, and of clusterings with each other."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

Numbers: TypeAlias = NDArray[np.int64]  # [N], the cluster of each image, or its class


def match_clusters(clusters: Numbers, labels: Numbers) -> dict[int, int]:
    """The one-to-one naming of clusters by classes that agrees with most labels (Hungarian method).

    As in Xie et al. 2016 (arXiv:1511.06335). Clusters beyond the number of classes get no name, and the reverse.
    """
    names, classes, counts = count_pairs(clusters, labels)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return dict(zip(names[rows].tolist(), classes[columns].tolist(), strict=True))


def majority_classes(clusters: Numbers, labels: Numbers) -> dict[int, int]:
    """Every cluster named by its most frequent class, in a tie the smallest; several may have the same name."""
    names, classes, counts = count_pairs(clusters, labels)
    return dict(zip(names.tolist(), classes[counts.argmax(axis=1)].tolist(), strict=True))


def count_pairs(clusters: Numbers, labels: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """The clusters and the classes that occur, ascending, and the images that each pair shares, [clusters, classes]."""
    return np.unique(clusters), np.unique(labels), contingency_matrix(clusters, labels)


def score_clusters(clusters: Numbers, labels: Numbers, naming: dict[int, int]) -> dict[str, float]:
    """Accuracy under a naming from other images, `match_clusters`, and two scores that need none; 1 is perfect.

    Returns:
        accuracy: share of images whose cluster has the name of their class; see `chance`. The naming is one to one:
            images of clusters or classes left over count as wrong. `purity` accepts more clusters than classes.
        nmi: normalized mutual information, arithmetic mean; ari: adjusted Rand index, 0 for random clusters.
    """
    with many_classes_are_fine():
        return {
            "accuracy": purity(clusters, labels, naming),
            "nmi": float(normalized_mutual_info_score(labels, clusters)),
            "ari": float(adjusted_rand_score(labels, clusters)),
        }


def chance(count: int, train_labels: Numbers, test_labels: Numbers) -> dict[str, float]:
    """The accuracy of uninformative clusters, named on training images and scored on test images.

    Returns:
        random: expected if each image's cluster is drawn uniformly. One cluster in `count` has the name of an image's
            class; with fewer clusters than classes only the most frequent ones are named.
        one: of one cluster for all images, the share of the most frequent class.
    """
    classes, counts = np.unique(train_labels, return_counts=True)
    frequent = classes[np.argsort(-counts, kind="stable")]
    return {
        "random": float(np.isin(test_labels, frequent[:count]).mean() / count),
        "one": float((test_labels == frequent[0]).mean()),
    }


def purity(clusters: Numbers, labels: Numbers, naming: dict[int, int]) -> float:
    """Share of images whose cluster has the name of their class; a cluster without a name is always wrong.

    With `majority_classes` of training images this is the purity, at least the share of the largest class. More
    clusters raise it, up to 1 with an image each: compare it at equal numbers of clusters only.
    """
    pairs = zip(clusters.tolist(), labels.tolist(), strict=True)
    return sum(naming.get(cluster) == label for cluster, label in pairs) / len(labels)


def sizes(clusters: Numbers, count: int) -> list[int]:
    """Images in each of the clusters 0 ... count - 1, the empty ones too; ValueError if a cluster lies outside."""
    counts = np.bincount(clusters, minlength=count).tolist()
    if len(counts) > count:
        raise ValueError(f"cluster {len(counts) - 1} is not one of {count}")
    return counts


def agreement(partitions: Sequence[Numbers]) -> float | None:
    """Mean adjusted Rand index over all pairs of clusterings of the same images; None without a pair.

    1 where all agree up to a permutation of clusters, about 0 where they are independent. It needs no labels.
    """
    pairs = [adjusted_rand_index(*pair) for pair in combinations(partitions, 2)]
    return float(np.mean(pairs)) if pairs else None


def adjusted_rand_index(clusters: Numbers, others: Numbers) -> float:
    """Agreement of two clusterings of the same images, at most 1 (Hubert and Arabie 1985, doi:10.1007/BF01908075)."""
    with many_classes_are_fine():
        return float(adjusted_rand_score(clusters, others))


@contextmanager
def many_classes_are_fine() -> Iterator[None]:
    """Ignore scikit-learn's warning about more classes than half the images, which suspects a regression."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%", UserWarning)
        yield
