"""How well clusters agree with the true classes, and clusterings with each other."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations

import numpy as np
from numpy.typing import NDArray


def match_clusters(clusters: NDArray[np.int64], labels: NDArray[np.int64]) -> dict[int, int]:
    """The one-to-one naming of clusters by classes that agrees with most labels (Hungarian method).

    As in Xie et al. 2016 (arXiv:1511.06335). Of more clusters than classes, all but as many stay without a name; of
    fewer, some classes stay without a cluster.
    """
    from scipy.optimize import linear_sum_assignment

    names, classes, together = count_together(clusters, labels)
    rows, columns = linear_sum_assignment(-together)
    return {int(names[row]): int(classes[column]) for row, column in zip(rows, columns, strict=True)}


def majority_classes(clusters: NDArray[np.int64], labels: NDArray[np.int64]) -> dict[int, int]:
    """Every cluster named by its most frequent class, the smallest of equals; several may bear the same name."""
    names, classes, together = count_together(clusters, labels)
    return dict(zip(names.tolist(), classes[together.argmax(axis=1)].tolist(), strict=True))


def count_together(
    clusters: NDArray[np.int64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The clusters and the classes there are, ascending, and how many images each pair shares, [clusters, classes]."""
    names, cluster_places = np.unique(clusters, return_inverse=True)
    classes, class_places = np.unique(labels, return_inverse=True)
    together = np.zeros((len(names), len(classes)), np.int64)
    np.add.at(together, (cluster_places, class_places), 1)
    return names, classes, together


def score_clusters(clusters: NDArray[np.int64], labels: NDArray[np.int64], naming: dict[int, int]) -> dict[str, float]:
    """Accuracy under a naming found on other images, and two scores that need none; 1 is perfect.

    Args:
        clusters, labels: [N], of the images to be scored.
        naming: from `match_clusters` on the training images.

    Returns:
        accuracy: share of images whose cluster bears the name of their class; see `chance`.
            The naming is one to one: where there are more clusters than classes, the images of the unnamed clusters
            count as wrong, where there are fewer, those of the classes left over. `purity` forgives the first.
        nmi: normalized mutual information, arithmetic mean; ari: adjusted Rand index, 0 for random clusters.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    with many_classes_are_fine():
        return {
            "accuracy": share_named_right(clusters, labels, naming),
            "nmi": float(normalized_mutual_info_score(labels, clusters)),
            "ari": float(adjusted_rand_score(labels, clusters)),
        }


def chance(count: int, train_labels: NDArray[np.int64], test_labels: NDArray[np.int64]) -> dict[str, float]:
    """What accuracy clusters that know nothing have.

    Args:
        count: of the clusters.
        train_labels, test_labels: [N], [M]; clusters are named on the former and scored on the latter.

    Returns:
        random: expected of clusters drawn for each image, all equally likely. One cluster in `count` bears the name of
            an image's class, or none if there are fewer clusters than classes: then the most frequent ones are named.
        one: of one cluster for all images, the share of the most frequent class.
    """
    classes, counts = np.unique(train_labels, return_counts=True)
    frequent = classes[np.argsort(-counts, kind="stable")]
    return {
        "random": float(np.isin(test_labels, frequent[:count]).mean() / count),
        "one": float((test_labels == frequent[0]).mean()),
    }


def purity(clusters: NDArray[np.int64], labels: NDArray[np.int64], majority: dict[int, int]) -> float:
    """Share of images whose cluster has their class for its majority; at least the share of the largest class.

    More clusters make it higher, up to 1 with an image each: compare it at equal numbers of clusters only.

    Args:
        clusters, labels: [N], of the images to be scored.
        majority: from `majority_classes` on the training images.
    """
    return share_named_right(clusters, labels, majority)


def share_named_right(clusters: NDArray[np.int64], labels: NDArray[np.int64], naming: dict[int, int]) -> float:
    """Share of images whose cluster bears the name of their class; a cluster without a name is always wrong."""
    pairs = zip(clusters.tolist(), labels.tolist(), strict=True)
    return sum(naming.get(cluster) == label for cluster, label in pairs) / len(labels)


def sizes(clusters: NDArray[np.int64], count: int) -> list[int]:
    """Images in each of the clusters 0 ... count - 1, the empty ones too.

    Raises:
        ValueError: a cluster lies outside.
    """
    found = np.bincount(clusters, minlength=count).tolist()
    if len(found) > count:
        raise ValueError(f"cluster {len(found) - 1} is not one of {count}")
    return found


def agreement(partitions: Sequence[NDArray[np.int64]]) -> float | None:
    """Mean adjusted Rand index over all pairs of clusterings of the same images; None where there is no pair.

    1 where all agree up to the names of their clusters, about 0 where they have nothing in common. It needs no labels.
    """
    if len(partitions) < 2:
        return None
    from sklearn.metrics import adjusted_rand_score

    with many_classes_are_fine():
        pairs = [adjusted_rand_score(one, other) for one, other in combinations(partitions, 2)]
    return float(np.mean(pairs))


@contextmanager
def many_classes_are_fine() -> Iterator[None]:
    """Silences scikit-learn where there are more classes than half the images: it suspects a regression."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%", UserWarning)
        yield
