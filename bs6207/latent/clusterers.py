"""Clusterers by name: each fits clusters to training vectors, without labels, and assigns any vector to one.

To add one, write a class of the number of clusters and the seed with scikit-learn's `fit` and `predict`, and name it
in `CLUSTERERS`; if it needs an extra of this package, in `EXTRAS` too. Constants were chosen on MNIST in one thread, by
the objective (inertia, likelihood, cut) or by time.
"""

from __future__ import annotations  # the settings name clusterers, and --help must not wait for numpy

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.floating]  # [N, dim]
    Clusters = NDArray[np.int64]  # [N], in 0 ... count - 1

STARTS = 10  # on a subset; the best one, continued on all vectors, is within 2e-4 of the inertia of starts on all
START_VECTORS, START_NUMBERS = 10_000, 2_000_000  # most vectors, and most values of all vectors, in that subset
LLOYD_DIMS = 32  # up to here Lloyd's algorithm is faster, above it is Elkan's
MIXTURE_DIMS = 64  # a full covariance of more is slow, and near singular with a few thousand images a cluster
MAX_ITERATIONS = 500  # of expectation-maximisation
MIN_VARIANCE = 1e-4  # of a mixture's components, in units of the mean variance of the vectors

SPECTRAL_VECTORS = 5_000
GRAPH_NEIGHBOURS = 10
VOTING_NEIGHBOURS = 10

UMAP_VECTORS = 20_000
UMAP_NEIGHBOURS, UMAP_DISTANCE = 20, 0.0  # McConville et al. 2019


@dataclass
class Clusterer:
    """Finds `count` clusters; as in scikit-learn, `fit` returns the object itself and `predict` the clusters."""

    count: int
    seed: int


class KMeansClusterer(Clusterer):
    """K-means: the best of ten starts on 10,000 vectors (fewer where they are long), continued on all."""

    def fit(self, vectors: Vectors) -> Self:
        from sklearn.cluster import KMeans

        dims = vectors.shape[1]
        algorithm = "lloyd" if dims <= LLOYD_DIMS or self.count == 1 else "elkan"  # elkan refuses one cluster
        some = vectors[subset(len(vectors), max(min(START_VECTORS, START_NUMBERS // dims), self.count), self.seed)]
        with ignore_convergence():
            model = KMeans(self.count, n_init=STARTS, random_state=self.seed, algorithm=algorithm).fit(some)
            if len(some) < len(vectors):
                model = KMeans(self.count, init=model.cluster_centers_, n_init=1, algorithm=algorithm).fit(vectors)
        self.model = model
        return self

    def predict(self, vectors: Vectors) -> Clusters:
        return self.model.predict(vectors).astype("int64")


class MixtureClusterer(Clusterer):
    """A mixture of Gaussians with full covariances: the likeliest of ten starts on 10,000 vectors, continued on all.

    Starts are from K-means, which end likelier than from k-means++. It uses the 64 leading principal components of
    longer vectors.
    """

    def fit(self, vectors: Vectors) -> Self:
        from sklearn.mixture import GaussianMixture

        self.project = principal_axes(vectors)
        points = self.project(vectors)
        some = points[subset(len(points), START_VECTORS, self.seed)]
        options: Any = {"reg_covar": MIN_VARIANCE, "max_iter": MAX_ITERATIONS, "random_state": self.seed}
        with ignore_convergence():
            model = GaussianMixture(self.count, n_init=STARTS, **options).fit(some)
            if len(some) < len(points):
                options |= {"weights_init": model.weights_, "means_init": model.means_}
                model = GaussianMixture(self.count, precisions_init=model.precisions_, **options).fit(points)
        self.model = model
        return self

    def predict(self, vectors: Vectors) -> Clusters:
        return self.model.predict(self.project(vectors)).astype("int64")


class SpectralClusterer(Clusterer):
    """Spectral clustering of the 10-nearest-neighbour graph of 5,000 vectors; ten of them vote on any vector.

    The graph is unweighted and symmetric, each vector its own first neighbour, its Laplacian normalised (Ng, Jordan
    and Weiss 2001).
    """

    def fit(self, vectors: Vectors) -> Self:
        from sklearn.cluster import SpectralClustering
        from sklearn.neighbors import KNeighborsClassifier, kneighbors_graph

        from bs6207.training.metrics.clusters import many_classes_are_fine

        some = vectors[subset(len(vectors), SPECTRAL_VECTORS, self.seed)]
        graph = kneighbors_graph(some, min(GRAPH_NEIGHBOURS, len(some)), include_self=True)
        graph = connected(0.5 * (graph + graph.T), some)
        with ignore_convergence(), many_classes_are_fine():
            clusters = SpectralClustering(self.count, affinity="precomputed", random_state=self.seed).fit_predict(graph)
            knn = KNeighborsClassifier(min(VOTING_NEIGHBOURS, len(some)))
            self.classifier = knn.fit(some, clusters.astype("int64"))
        return self

    def predict(self, vectors: Vectors) -> Clusters:
        return self.classifier.predict(vectors)


class UmapMixtureClusterer(Clusterer):
    """A mixture of Gaussians after UMAP to as many dimensions as clusters (N2D, McConville et al. 2019).

    As in the paper (arXiv:1908.05968): 20 neighbours, minimal distance 0. UMAP is fitted to 20,000 vectors and maps
    all others. It is a model of its own, so its score is not the latent's alone.
    """

    def fit(self, vectors: Vectors) -> Self:
        some = vectors[subset(len(vectors), UMAP_VECTORS, self.seed)]
        with warnings.catch_warnings(action="ignore"):  # TensorFlow is missing, names are deprecated, a start is random
            from umap import UMAP

            options = {"n_neighbors": min(UMAP_NEIGHBOURS, len(some) - 1), "min_dist": UMAP_DISTANCE}
            # several jobs would make the last digits those of the thread that came first
            self.map = UMAP(n_components=self.count, random_state=self.seed, n_jobs=1, **options).fit(some)
        self.mixture = MixtureClusterer(self.count, self.seed).fit(self.map.embedding_)
        return self

    def predict(self, vectors: Vectors) -> Clusters:
        with warnings.catch_warnings(action="ignore"):
            return self.mixture.predict(self.map.transform(vectors))


def best(count: int, seed: int) -> Any:
    """The strongest clusterer without labels; it uses the images, too."""
    from bs6207.latent.contrastive import ContrastiveClusterer

    return ContrastiveClusterer(count, seed)


def graph(count: int, seed: int) -> Any:
    """Communities of the images' own neighbour graph; it uses no vectors."""
    from bs6207.latent.graph import GraphClusterer

    return GraphClusterer(count, seed)


CLUSTERERS: dict[str, Callable[[int, int], Clusterer]] = {
    "kmeans": KMeansClusterer,
    "gmm": MixtureClusterer,
    "spectral": SpectralClusterer,
    "umap-gmm": UmapMixtureClusterer,
    "graph": graph,
    "best": best,
}

SEES_IMAGES = {  # clusterers whose `fit` and `predict` take the images, too, and what they use
    "graph": "clusters the registered images and uses no latents",
    "best": "trains on the images and uses at most the neighbours of the latents",
}
EXTRAS = {"umap-gmm": "umap"}  # the extra a clusterer needs, named like its module
MORE_IMAGES = {"spectral": 1, "umap-gmm": 2}  # than clusters: the graph's eigenvectors must be fewer than the images
MIN_CLUSTERS = {"graph": 2, "best": 2}


def reason_to_skip(name: str, count: int, images: int) -> str | None:
    """Why a clusterer cannot find `count` clusters in so many training images; None if it can."""
    if count < (fewest := MIN_CLUSTERS.get(name, 1)):
        return f"{name} needs {fewest} clusters or more, not {count}"
    if images < (needed := count + MORE_IMAGES.get(name, 0)):
        return f"{name} needs {needed} training images for {count} clusters, and there are {images}"
    return None


def subset(count: int, size: int, seed: int) -> NDArray[np.int64]:
    """At most `size` random places out of `count`, ascending."""
    import numpy as np

    return np.sort(np.random.RandomState(seed).permutation(count)[:size])


def principal_axes(vectors: Vectors) -> Callable[[Vectors], NDArray[np.float64]]:
    """A map to float64 points of mean 0 and mean variance 1: the vectors, or the 64 principal components of longer."""
    import numpy as np
    from sklearn.decomposition import PCA

    mean = vectors.mean(axis=0, dtype=np.float64)
    axes = None
    if vectors.shape[1] > MIXTURE_DIMS:
        with np.errstate(invalid="ignore"):  # the share of variance explained, where there is none
            axes = PCA(min(MIXTURE_DIMS, len(vectors)), svd_solver="covariance_eigh").fit(vectors).components_

    scale = np.sqrt(np.mean(project(mean, axes, 1.0, vectors) ** 2)) or 1.0
    return partial(project, mean, axes, scale)  # which can be pickled, as a fitted estimator must


def project(mean: Any, axes: Any, scale: float, vectors: Vectors) -> NDArray[np.float64]:
    centred = vectors - mean
    return (centred if axes is None else centred @ axes.T) / scale


def connected(graph: Any, points: Vectors) -> Any:
    """The graph with its components linked: each but the largest to the nearest point outside, until one is left.

    Spectral clustering of a disconnected graph finds the components, however few points they have. A link weighs as
    much as a neighbour that is not mutual.
    """
    import numpy as np
    from scipy.sparse.csgraph import connected_components
    from sklearn.metrics import pairwise_distances_argmin_min

    while (parts := connected_components(graph, directed=False))[0] > 1:
        graph, labels = graph.tolil(), parts[1]
        for label in np.argsort(-np.bincount(labels), kind="stable")[1:]:
            inside, outside = np.flatnonzero(labels == label), np.flatnonzero(labels != label)
            nearest, distances = pairwise_distances_argmin_min(points[inside], points[outside])
            closest = np.argmin(distances)
            start, end = inside[closest], outside[nearest[closest]]
            graph[start, end] = graph[end, start] = 0.5
        graph = graph.tocsr()
    return graph


@contextmanager
def ignore_convergence() -> Iterator[None]:
    """Ignore that vectors are fewer than clusters once equal ones count once, and that iterations end early.

    Such results are scored like others: equal vectors share a cluster, the likeliest start so far is used, and where
    ARPACK fails, as it does on some machines for graphs of equal vectors, LOBPCG finds the eigenvectors.
    """
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        warnings.filterwarnings("ignore", "ARPACK has failed", RuntimeWarning)
        warnings.filterwarnings("ignore", "Exited", UserWarning)  # LOBPCG, where its iterations end early
        yield
