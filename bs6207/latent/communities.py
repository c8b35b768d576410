"""Graphs of nearest neighbours, and clusters as their communities."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional

from bs6207.latent.clusterers import stopping_early_is_fine

NEIGHBOURS = 15  # in the graph of features, before it is made symmetric
SMALLEST = 0.1  # of the mean size; a community below it is an outlier, not a cluster
RESOLUTIONS, BISECTIONS = (0.01, 100.0), 20
CRUMBS = 10  # communities per wanted cluster; with more, the resolution is too fine, however small they are


def nearest(points: Tensor, among: Tensor, count: int) -> Tensor:
    """Places in `among` of the nearest to every point, nearest first, [N, count]."""
    lengths = among.square().sum(1)
    return torch.cat([(lengths - 2 * part @ among.T).topk(count, largest=False).indices for part in points.split(1000)])


def neighbour_graph(points: Tensor, count: int) -> csr_matrix:
    """1 from every point to each of its nearest, 0 elsewhere, [N, N]."""
    size, count = len(points), min(count, len(points) - 1)
    near = nearest(points, points, count + 1).numpy()
    strangers = near != np.arange(size)[:, None]
    strangers[strangers.all(1), -1] = False  # among many equal points it may not be its own nearest
    ends = np.arange(0, size * count + 1, count)
    return csr_matrix((np.ones(size * count, np.float32), near[strangers], ends), (size, size))


def mutual_neighbours(points: Tensor, count: int) -> csr_matrix:
    """1 between points that are among each other's `count` nearest, 0 elsewhere, [N, N]."""
    graph = neighbour_graph(points, count)
    return graph.multiply(graph.T).tocsr()


def communities(features: Tensor, count: int, seed: int) -> NDArray[np.int64]:
    """Exactly `count` communities of the graph of nearest features, [N].

    The resolution of the modularity is bisected until so many are large enough to be clusters; outliers, and what is
    still too many, are merged into the nearest, smallest first. Where no resolution gives enough, K-means does.
    """
    from sknetwork.clustering import Louvain

    graph = neighbour_graph(features, NEIGHBOURS)
    graph = (graph + graph.T).tocsr()
    best, fewest = None, len(features) + 1
    low, high = RESOLUTIONS
    for _ in range(BISECTIONS):
        middle = math.sqrt(low * high)
        found = Louvain(middle, shuffle_nodes=True, random_state=seed).fit_predict(graph)
        sizes = np.bincount(found)
        clusters = int((sizes >= SMALLEST * len(features) / count).sum())
        if count <= clusters < fewest:
            best, fewest = found, clusters
        if clusters == count:
            break
        if clusters > count or len(sizes) > CRUMBS * count:
            high = middle
        else:
            low = middle
    if best is None:
        with stopping_early_is_fine():
            return KMeans(count, n_init=1, random_state=seed).fit_predict(features.numpy()).astype(np.int64)
    return merge(features, best, count)


def merge(features: Tensor, clusters: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Clusters 0 to count - 1, after giving the smallest to the one with the most similar centre, again and again."""
    clusters = np.unique(clusters, return_inverse=True)[1]
    while (number := int(clusters.max()) + 1) > count:
        centre = centres(features, clusters, number)
        smallest = int(np.bincount(clusters).argmin())
        alike = centre @ centre[smallest]
        alike[smallest] = -math.inf
        clusters[clusters == smallest] = int(alike.argmax())
        clusters = np.unique(clusters, return_inverse=True)[1]
    return clusters


def centres(features: Tensor, clusters: NDArray[np.int64], count: int) -> Tensor:
    """The direction of every cluster's mean, of length 1, [count, FEATURES]."""
    members = functional.one_hot(torch.from_numpy(clusters), count).float()
    return functional.normalize(members.T @ features)
