"""Clusters as communities of a graph of nearest neighbours, and how many there are.

Images are registered first: moved, scaled and set upright so that what stands out from the border has its moments at
fixed places (Hu 1962, doi:10.1109/TIT.1962.1057692). Histograms of their gradients (Dalal and Triggs 2005,
doi:10.1109/CVPR.2005.177) say where strokes and edges run; their leading principal components are the points of the
graph. Its communities (Blondel et al. 2008, arXiv:0803.0476) depend on a resolution; the number of clusters is that on
which disjoint halves of the images agree over most graphs and resolutions (Lange et al. 2004,
doi:10.1162/089976604773717621).
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_matrix
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor
from torch.nn import functional

from bs6207.runs.result import Checkpointable, Row
from bs6207.training.metrics.clusters import adjusted_rand_index

SIDE = 28  # pixels; images of other sizes are resized
STANDS_OUT = 0.1  # difference from the border, in [0, 1], below which a pixel is ground
SPREAD, SMALLEST_SPREAD = 0.4, 0.01  # standard deviations of registered and of given images, in half image sides
MAX_SLANT = 0.6  # columns per row
ORIENTATIONS = 8
FINE, CELL = 0.7, 2.0  # standard deviations in pixels of the blur before gradients are taken, and of a cell
STEP = 3  # pixels from cell to cell
COMPONENTS = 32
GRAPH_IMAGES = 5000  # in the graph; the others follow their nearest in it
VOTERS = 10
REPEATS = 2  # pairs of disjoint halves
HALF_NEIGHBOURS = (10, 15, 25, 40)  # in graphs of a half: few for small clusters, many where kinds have varieties
SCANNED = tuple(0.05 * 1.25**step for step in range(20))  # resolutions
FEWEST, SMALLEST = 4, 0.01  # images, and share of them, of a community that counts
STABLE = 0.95  # agreement of halves, at least
EXPLAINED = 0.15  # share of the variance that components explain of images not fitted; of white noise it is 0.05
AGREED = 0.8  # agreement of halves above which a resolution counts
LEAST = 4  # images in which a number of clusters can be searched
TINY = 1e-6

# Of exactly so many communities as are wanted.
NEIGHBOURS = 15  # in the graph of features, before it is made symmetric
MIN_CLUSTER_SIZE = 0.1  # of the mean size; smaller communities are outliers
RESOLUTIONS, BISECTIONS = (0.01, 100.0), 20
MAX_COMMUNITIES = 10  # per wanted cluster; with more, the resolution is too fine, however small they are

Pixels: TypeAlias = NDArray[np.uint8]  # [N, C, H, W]
Labels: TypeAlias = NDArray[np.int64]  # [N]


def descriptors(images: Pixels) -> NDArray[np.float32]:
    """Histograms of the gradients of registered images, of length 1, [N, C * ORIENTATIONS * CELLS * CELLS]."""
    return np.concatenate([histograms(register(part / 255)) for part in resized(images).split(1000)])


def register(images: Tensor) -> NDArray[np.float32]:
    """What stands out from the border of images in [0, 1], upright, centred and scaled, [N, C, SIDE, SIDE].

    Moments of the second order are brought to those of a figure that is not slanted.
    """
    edges = [images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1]]
    ground = torch.cat(edges, 2).median(2).values[:, :, None, None]
    figure = (images - ground).abs()
    figure = figure * (figure.amax(1, keepdim=True) > STANDS_OUT)
    weights = figure.mean(1)
    weights = weights / weights.sum((1, 2), keepdim=True).clamp_min(TINY)
    places = (torch.arange(SIDE) + 0.5) * 2 / SIDE - 1  # of the pixels, between the borders at -1 and 1
    along = torch.stack((weights.sum(1), weights.sum(2)))  # columns, rows
    middle = (along * places).sum(2)
    across, down = (along * places.square()).sum(2) - middle.square()
    both = torch.einsum("nij,i,j->n", weights, places, places) - middle[0] * middle[1]
    slant = (both / down.clamp_min(SMALLEST_SPREAD**2)).clamp(-MAX_SLANT, MAX_SLANT)
    upright = across - 2 * slant * both + slant.square() * down
    size = ((upright + down) / 2).clamp_min(SMALLEST_SPREAD**2).sqrt() / SPREAD
    rows = (size, slant * size, middle[0], torch.zeros_like(size), size, middle[1])
    matrix = torch.stack(rows, 1).view(-1, 2, 3)
    grid = functional.affine_grid(matrix, [*figure.shape], align_corners=False)
    return functional.grid_sample(figure, grid, align_corners=False).numpy()


def histograms(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Square roots of the strengths of gradients by direction and cell, of length 1, [N, dim]."""
    smooth = gaussian_filter(images / np.maximum(images.max((1, 2, 3), keepdims=True), TINY), (0, 0, FINE, FINE))
    down, across = np.gradient(smooth, axis=(2, 3))
    strength, direction = np.hypot(down, across), np.arctan2(down, across) * ORIENTATIONS / (2 * np.pi)
    parts = []
    for number in range(ORIENTATIONS):
        apart = np.abs((direction - number + ORIENTATIONS / 2) % ORIENTATIONS - ORIENTATIONS / 2)
        share = gaussian_filter(strength * np.maximum(1 - apart, 0), (0, 0, CELL, CELL))
        parts.append(share[..., STEP // 2 :: STEP, STEP // 2 :: STEP])
    points = np.sqrt(np.stack(parts, 2).reshape(len(images), -1))
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), TINY)


def components_of(points: NDArray[np.float32]) -> PCA:
    with np.errstate(invalid="ignore"):  # of images that are all alike, the share of variance
        return PCA(min(COMPONENTS, *points.shape), svd_solver="covariance_eigh").fit(points)


def features_of(points: NDArray[np.float32], components: PCA) -> Tensor:
    return torch.from_numpy(components.transform(points).astype(np.float32))


class CommunityClusterer:
    """Communities of the neighbour graph of points; any point follows ten of the nearest in the graph."""

    def __init__(self, count: int, seed: int):
        self.count, self.seed = count, seed

    def fit(self, points: NDArray[np.float32]) -> Self:
        """Find clusters of points, [N, dim], which are brought to their principal components first."""
        chosen = points[np.random.RandomState(self.seed).permutation(len(points))[: max(GRAPH_IMAGES, self.count)]]
        self.components = components_of(chosen)
        self.features = features_of(chosen, self.components)
        self.clusters = torch.from_numpy(communities(self.features, self.count, self.seed))
        return self

    def predict(self, points: NDArray[np.float32]) -> Labels:
        voters = nearest(features_of(points, self.components), self.features, min(VOTERS, len(self.features)))
        return functional.one_hot(self.clusters[voters], self.count).sum(1).argmax(1).numpy()


class GraphClusterer(CommunityClusterer):
    """The same of images, by their `descriptors`; `vectors` are not used."""

    def fit(self, vectors: Any, images: Pixels) -> Self:  # type: ignore[override]
        return super().fit(descriptors(images))

    def predict(self, vectors: Any, images: Pixels) -> Labels:  # type: ignore[override]
        return super().predict(descriptors(images))


@dataclass(frozen=True)
class Scan(Checkpointable):
    """Communities of one graph of halves at every resolution.

    Attributes:
        rows: by resolution, {neighbours, resolution, clusters, agreement}; clusters is the median over halves.
        communities: of all images, of every half, [resolutions, halves, N].
    """

    rows: Sequence[Row]
    communities: NDArray[np.int16]


def scan(chosen: Tensor, every: Tensor, neighbours: int, seed: int) -> Scan:
    """Scan the resolutions of graphs of disjoint halves of `chosen` points, and spread communities to `every` point."""
    halves = []
    for number in range(REPEATS):
        order = np.random.RandomState([seed, number]).permutation(len(chosen))
        halves += [chosen[half] for half in (order[::2], order[1::2])]
    graphs = [graph_of(half, neighbours) for half in halves]
    followed = [[nearest(points, half, 1)[:, 0].numpy() for points in (chosen, every)] for half in halves]
    rows, communities = [], []
    for resolution in SCANNED:
        found = [louvain(graph, resolution, seed + number) for number, graph in enumerate(graphs)]
        counts = [len(np.unique(labels[in_large(labels)])) for labels in found]
        large = [follow_large(labels, half) for labels, half in zip(found, halves, strict=True)]
        of_chosen, of_every = zip(
            *([labels[places] for places in both] for labels, both in zip(large, followed, strict=True)), strict=True
        )
        agreement = agreement_of_halves(of_chosen)
        row = {"neighbours": neighbours, "resolution": resolution, "clusters": round(median(counts))}
        rows.append(row | {"agreement": agreement})
        communities.append(of_every)
    return Scan(rows, np.array(communities, np.int16))


def agreement_of_halves(partitions: Sequence[Labels]) -> float:
    """The mean adjusted Rand index between the two halves of each pair."""
    pairs = zip(partitions[::2], partitions[1::2], strict=True)
    return float(np.mean([adjusted_rand_index(*pair) for pair in pairs]))


def in_large(labels: Labels) -> NDArray[np.int64]:
    """Places whose community counts; all where none does."""
    kept = np.flatnonzero((np.bincount(labels) >= max(FEWEST, SMALLEST * len(labels)))[labels])
    return kept if len(kept) else np.arange(len(labels))


def follow_large(labels: Labels, points: Tensor) -> Labels:
    """The same communities, but a point of one that does not count follows the nearest point of one that does."""
    kept, followed = in_large(labels), labels.copy()
    others = np.setdiff1d(np.arange(len(labels)), kept)
    followed[others] = labels[kept][nearest(points[others], points[kept], 1)[:, 0].numpy()]
    return followed


def choose_count(curve: Sequence[Row], bounds: tuple[int, int]) -> tuple[int, float]:
    """The number of clusters, within bounds, on which halves agree most widely, and how well they do at best.

    What each number's agreements have above `AGREED` is added up over graphs and resolutions.
    """
    support, best = dict[int, float](), dict[int, float]()
    for row in curve:
        if bounds[0] <= (number := row["clusters"]) <= bounds[1]:
            support[number] = support.get(number, 0.0) + max(row["agreement"] - AGREED, 0.0)
            best[number] = max(best.get(number, -1.0), row["agreement"])
    if not best:
        return bounds[0], 0.0
    count = max(best, key=lambda number: (support[number], best[number]))
    return count, best[count]


def explained_share(train: Pixels, held_out: Pixels) -> float:
    """The share of the variance of held-out images that leading principal components of others explain."""
    fitted, others = (
        resized(images[:GRAPH_IMAGES]).flatten(1).numpy().astype(np.float32) for images in (train, held_out)
    )
    with np.errstate(invalid="ignore"):
        model = PCA(min(COMPONENTS, *fitted.shape), svd_solver="covariance_eigh").fit(fitted)
    total = np.square(others - model.mean_).sum()
    left = np.square(others - model.inverse_transform(model.transform(others))).sum()
    return float(1 - left / total) if total > 0 else 0.0


def nearest(points: Tensor, references: Tensor, count: int) -> Tensor:
    """Places in `references` of the nearest to every point, nearest first, [N, count]."""
    squares = references.square().sum(1)
    distances = (squares - 2 * batch @ references.T for batch in points.split(1000))  # squared, less a constant each
    return torch.cat([batch.topk(count, largest=False).indices for batch in distances])


def neighbour_graph(points: Tensor, count: int) -> csr_matrix:
    """1 from every point to each of its nearest, 0 elsewhere, [N, N]."""
    size, count = len(points), min(count, len(points) - 1)
    near = nearest(points, points, count + 1).numpy()
    others = near != np.arange(size)[:, None]
    others[others.all(1), -1] = False  # among many equal points it may not be its own nearest
    ends = np.arange(0, size * count + 1, count)
    return csr_matrix((np.ones(size * count, np.float32), near[others], ends), (size, size))


def mutual_neighbours(points: Tensor, count: int) -> csr_matrix:
    """1 between points that are among each other's `count` nearest, 0 elsewhere, [N, N]."""
    graph = neighbour_graph(points, count)
    return graph.multiply(graph.T).tocsr()


def graph_of(points: Tensor, count: int) -> csr_matrix:
    """The weight of two points, [N, N]: for each of them 1 if the other is among its nearest `count`."""
    graph = neighbour_graph(points, count)
    return (graph + graph.T).tocsr()


def louvain(graph: csr_matrix, resolution: float, seed: int) -> NDArray[np.int64]:
    from sknetwork.clustering import Louvain

    return Louvain(resolution, shuffle_nodes=True, random_state=seed).fit_predict(graph)


def communities(features: Tensor, count: int, seed: int) -> NDArray[np.int64]:
    """Exactly `count` communities of the nearest-neighbour graph of features, [N].

    The resolution of the modularity is bisected until so many are large enough to be clusters; outliers and surplus
    clusters are merged into the nearest, smallest first. Where no resolution gives enough, K-means does.
    """
    graph = graph_of(features, NEIGHBOURS)
    best, fewest = None, len(features) + 1
    low, high = RESOLUTIONS
    for _ in range(BISECTIONS):
        middle = math.sqrt(low * high)
        labels = louvain(graph, middle, seed)
        sizes = np.bincount(labels)
        clusters = int((sizes >= MIN_CLUSTER_SIZE * len(features) / count).sum())
        if count <= clusters < fewest:
            best, fewest = labels, clusters
        if clusters == count:
            break
        too_fine = clusters > count or len(sizes) > MAX_COMMUNITIES * count
        low, high = (low, middle) if too_fine else (middle, high)
    if best is None:
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # fewer features than clusters
            return KMeans(count, n_init=1, random_state=seed).fit_predict(features.numpy()).astype(np.int64)
    return merge(features, best, count)


def merge(features: Tensor, clusters: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Clusters 0 to count - 1: the smallest is merged into the one of most similar centre until so many are left."""
    while True:
        clusters = np.unique(clusters, return_inverse=True)[1]
        if (number := int(clusters.max()) + 1) <= count:
            return clusters
        centre = centres(features, clusters, number)
        smallest = int(np.bincount(clusters).argmin())
        similarity = centre @ centre[smallest]
        similarity[smallest] = -math.inf
        clusters[clusters == smallest] = int(similarity.argmax())


def centres(features: Tensor, clusters: NDArray[np.int64], count: int) -> Tensor:
    """The mean feature of every cluster, normalized, [count, FEATURES]."""
    members = functional.one_hot(torch.from_numpy(clusters), count).float()
    return functional.normalize(members.T @ features)


def resized(images: NDArray[np.uint8]) -> Tensor:
    """Images of `SIDE` x `SIDE` pixels, uint8, [N, C, SIDE, SIDE]."""
    pixels = torch.from_numpy(images)
    if pixels.shape[2:] == (SIDE, SIDE):
        return pixels
    resize = partial(functional.interpolate, size=(SIDE, SIDE), mode="bilinear", antialias=True)
    return torch.cat([resize(batch.float()).round().to(torch.uint8) for batch in pixels.split(1000)])
