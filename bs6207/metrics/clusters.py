"""How well clusters agree with the true classes."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score


def match_clusters(clusters: NDArray[np.int64], labels: NDArray[np.int64]) -> dict[int, int]:
    """The one-to-one naming of clusters by classes that agrees with most labels (Hungarian method).

    As in Xie et al. 2016 (arXiv:1511.06335). Where there are more clusters than classes, some stay without a name.
    """
    names, cluster_places = np.unique(clusters, return_inverse=True)
    classes, class_places = np.unique(labels, return_inverse=True)
    together = np.zeros((len(names), len(classes)), np.int64)
    np.add.at(together, (cluster_places, class_places), 1)
    rows, columns = linear_sum_assignment(-together)
    return {int(names[row]): int(classes[column]) for row, column in zip(rows, columns, strict=True)}


def score_clusters(clusters: NDArray[np.int64], labels: NDArray[np.int64], naming: dict[int, int]) -> dict[str, float]:
    """Accuracy under a naming found on other images, and two scores that need none; 1 is perfect.

    Args:
        clusters, labels: [N], of the images to be scored.
        naming: from `match_clusters` on the training images; a cluster without a name is always wrong.

    Returns:
        accuracy: share of images whose cluster bears the name of their class; chance is about 0.1 for ten classes.
        nmi: normalized mutual information, arithmetic mean; ari: adjusted Rand index, 0 for random clusters.
    """
    named = np.array([naming.get(int(cluster), -1) for cluster in clusters])
    return {
        "accuracy": float(np.mean(named == labels)),
        "nmi": float(normalized_mutual_info_score(labels, clusters)),
        "ari": float(adjusted_rand_score(labels, clusters)),
    }
