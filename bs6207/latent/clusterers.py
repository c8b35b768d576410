"""Ways to cluster: each entry of `CLUSTERERS` learns from the training vectors and then names any vector.

To add one, write a class of the number of clusters and the seed that has scikit-learn's `fit` and `predict`, and name
it in the table; if it needs an extra of this package, in `EXTRAS` too. None ever sees a label. The numbers here were
chosen by what each minimises or by time (inertia, likelihood, cut), on MNIST in one thread.
"""

from __future__ import annotations  # the settings name clusterers, and --help must not wait for numpy

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.floating]  # [N, dim]
    Clusters = NDArray[np.int64]  # [N], in 0 ... count - 1

STARTS = 10  # on a part of the vectors; the best, finished on all, is within 2e-4 of the inertia of starts on all
START_VECTORS, START_NUMBERS = 10_000, 2_000_000  # in that part at most, and numbers in them all together
SHORT = 32  # numbers in a vector
MIXTURE_DIMS = 64  # a full covariance of more numbers is slow, and near singular with a few thousand images a cluster
ROUNDS = 500  # of expectation and maximisation
FLOOR = 1e-4  # of the variances of a mixture, in units of the mean variance of the vectors

SPECTRAL_VECTORS = 5_000
GRAPH_NEIGHBOURS = 10
VOTERS = 10

UMAP_VECTORS = 20_000
UMAP_NEIGHBOURS, UMAP_DISTANCE = 20, 0.0  # McConville et al. 2019


class Clusterer(Protocol):
    """Anything with scikit-learn's `fit` and `predict`."""

    def fit(self, vectors: Vectors) -> Clusterer:
        """Learn the clusters of `vectors`, at least as many as there are clusters, and return itself."""

    def predict(self, vectors: Vectors) -> Clusters:
        """The cluster of each vector; the same for the same vector, seed and training vectors."""


@dataclass
class KMeansOfStarts:
    """K-means, of ten starts on 10,000 vectors the one of least inertia, finished on all; fewer where they are long."""

    count: int
    seed: int

    def fit(self, vectors: Vectors) -> KMeansOfStarts:
        from sklearn.cluster import KMeans

        # The same answer, in half the time for short vectors and three quarters for long; elkan refuses one cluster.
        algorithm = "lloyd" if vectors.shape[1] <= SHORT or self.count == 1 else "elkan"
        most = min(START_VECTORS, START_NUMBERS // vectors.shape[1])
        some = part(vectors, max(most, self.count), self.seed)
        with stopping_early_is_fine():
            model = KMeans(self.count, n_init=STARTS, random_state=self.seed, algorithm=algorithm).fit(some)
            if len(some) < len(vectors):
                model = KMeans(self.count, init=model.cluster_centers_, n_init=1, algorithm=algorithm).fit(vectors)
        self.model = model
        return self

    def predict(self, vectors: Vectors) -> Clusters:
        return self.model.predict(vectors).astype("int64")


@dataclass
class GaussianMixtureOfStarts:
    """A mixture of Gaussians with full covariances: ten starts on 10,000 vectors, the likeliest finished on all.

    Starts are K-means', which end likelier than k-means++'. Of more than 64 dimensions it sees the 64 of most variance.
    """

    count: int
    seed: int

    def fit(self, vectors: Vectors) -> GaussianMixtureOfStarts:
        from sklearn.mixture import GaussianMixture

        self.project = principal_axes(vectors)
        points = self.project(vectors)
        some = part(points, START_VECTORS, self.seed)
        fixed: dict[str, Any] = {"reg_covar": FLOOR, "max_iter": ROUNDS, "random_state": self.seed}
        with stopping_early_is_fine():
            model = GaussianMixture(self.count, n_init=STARTS, **fixed).fit(some)
            if len(some) < len(points):
                found = {
                    "weights_init": model.weights_,
                    "means_init": model.means_,
                    "precisions_init": model.precisions_,
                }
                model = GaussianMixture(self.count, **found, **fixed).fit(points)
        self.model = model
        return self

    def predict(self, vectors: Vectors) -> Clusters:
        return self.model.predict(self.project(vectors)).astype("int64")


@dataclass
class SpectralOfPart:
    """Spectral clustering of the 10-nearest-neighbour graph of 5,000 vectors; ten of them vote on any vector.

    The graph is unweighted and symmetric, each vector its own first neighbour, its Laplacian normalised (Ng, Jordan
    and Weiss 2001).
    """

    count: int
    seed: int

    def fit(self, vectors: Vectors) -> SpectralOfPart:
        from sklearn.cluster import SpectralClustering
        from sklearn.neighbors import KNeighborsClassifier, kneighbors_graph

        from bs6207.training.metrics.clusters import many_classes_are_fine

        some = part(vectors, SPECTRAL_VECTORS, self.seed)
        near = kneighbors_graph(some, min(GRAPH_NEIGHBOURS, len(some)), include_self=True)
        graph = connected(0.5 * (near + near.T), some)
        with stopping_early_is_fine(), many_classes_are_fine():
            clusters = SpectralClustering(self.count, affinity="precomputed", random_state=self.seed).fit_predict(graph)
            self.voters = KNeighborsClassifier(min(VOTERS, len(some))).fit(some, clusters.astype("int64"))
        return self

    def predict(self, vectors: Vectors) -> Clusters:
        return self.voters.predict(vectors)


@dataclass
class UmapThenMixture:
    """A mixture of Gaussians after UMAP to as many dimensions as clusters (N2D, McConville et al. 2019).

    As in the paper (arXiv:1908.05968): 20 neighbours, minimal distance 0. UMAP learns from 20,000 vectors and places
    all others among them. It is a model of its own, so its score is not the latent's alone.
    """

    count: int
    seed: int

    def fit(self, vectors: Vectors) -> UmapThenMixture:
        some = part(vectors, UMAP_VECTORS, self.seed)
        with umap_quiet():
            from umap import UMAP

            self.map = UMAP(
                n_components=self.count,
                n_neighbors=min(UMAP_NEIGHBOURS, len(some) - 1),
                min_dist=UMAP_DISTANCE,
                random_state=self.seed,
                n_jobs=1,  # several would make the last digits those of the thread that came first
            ).fit(some)
        self.mixture = GaussianMixtureOfStarts(self.count, self.seed).fit(self.map.embedding_)
        return self

    def predict(self, vectors: Vectors) -> Clusters:
        with umap_quiet():
            return self.mixture.predict(self.map.transform(vectors))


def best(count: int, seed: int) -> Any:
    """The strongest route there is without labels; it looks at the images, too: see `latent/contrast.py`."""
    from bs6207.latent.contrastive import ContrastiveClusters

    return ContrastiveClusters(count, seed)


CLUSTERERS: dict[str, Callable[[int, int], Clusterer]] = {
    "kmeans": KMeansOfStarts,
    "gmm": GaussianMixtureOfStarts,
    "spectral": SpectralOfPart,
    "umap-gmm": UmapThenMixture,
    "best": best,
}

SEES_IMAGES = {"best"}  # clusterers whose `fit` and `predict` take the images, too
EXTRAS = {"umap-gmm": "umap"}  # the extra a clusterer needs, named like the module it brings
MORE_IMAGES = {"spectral": 1, "umap-gmm": 2}  # than clusters: the graph's eigenvectors must be fewer than the images
FEWEST_CLUSTERS = {"best": 2}


def hindrance(name: str, count: int, images: int) -> str | None:
    """Why a clusterer cannot find `count` clusters in so many training images; None if it can."""
    if count < (fewest := FEWEST_CLUSTERS.get(name, 1)):
        return f"{name} needs {fewest} clusters or more, not {count}"
    if images < (needed := count + MORE_IMAGES.get(name, 0)):
        return f"{name} needs {needed} training images for {count} clusters, and there are {images}"
    return None


def part(vectors: Vectors, most: int, seed: int) -> Vectors:
    """At most `most` of the vectors, drawn by the seed, in their order."""
    import numpy as np

    if len(vectors) <= most:
        return vectors
    return vectors[np.sort(np.random.RandomState(seed).permutation(len(vectors))[:most])]


def principal_axes(vectors: Vectors) -> Callable[[Vectors], NDArray[np.float64]]:
    """A map to float64 points of mean 0 and mean variance 1: the vectors, or their 64 principal components if more."""
    import numpy as np
    from sklearn.decomposition import PCA

    mean = vectors.mean(axis=0, dtype=np.float64)
    axes = None
    if vectors.shape[1] > MIXTURE_DIMS:
        with np.errstate(invalid="ignore"):  # the share of variance explained, where there is none
            axes = PCA(min(MIXTURE_DIMS, len(vectors)), svd_solver="covariance_eigh").fit(vectors).components_

    def project(some: Vectors) -> NDArray[np.float64]:
        centred = some - mean
        return centred if axes is None else centred @ axes.T

    spread = np.sqrt(np.mean(project(vectors) ** 2)) or 1.0
    return lambda some: project(some) / spread


def connected(graph: Any, points: Vectors) -> Any:
    """The graph with its parts linked: each but the largest to the point nearest to it outside, until it is one.

    Spectral clustering of a graph in parts finds the parts, however few points they have. A link weighs as much as a
    neighbour that is not mutual.
    """
    import numpy as np
    from scipy.sparse.csgraph import connected_components
    from sklearn.metrics import pairwise_distances_argmin_min

    count, places = connected_components(graph, directed=False)
    while count > 1:
        graph = graph.tolil()
        for place in np.argsort(-np.bincount(places), kind="stable")[1:]:
            inside, outside = np.flatnonzero(places == place), np.flatnonzero(places != place)
            nearest, distances = pairwise_distances_argmin_min(points[inside], points[outside])
            closest = np.argmin(distances)
            here, there = inside[closest], outside[nearest[closest]]
            graph[here, there] = graph[there, here] = 0.5
        graph = graph.tocsr()
        count, places = connected_components(graph, directed=False)
    return graph


@contextmanager
def stopping_early_is_fine() -> Iterator[None]:
    """Silences scikit-learn where it finds fewer distinct vectors than clusters, or stops at the limit of rounds.

    Both are answers to be scored like others: equal vectors share a cluster, and the likeliest start so far is used.
    """
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


@contextmanager
def umap_quiet() -> Iterator[None]:
    """Silences what UMAP and numba say of themselves: TensorFlow is missing, a name is deprecated, a start is random.

    It starts at random where its graph's eigenvectors cannot be found, as of images that are all alike.
    """
    with warnings.catch_warnings():
        for category in (ImportWarning, FutureWarning, DeprecationWarning, UserWarning):
            warnings.simplefilter("ignore", category)
        yield
