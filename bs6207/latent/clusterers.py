"""Ways to cluster: each entry of `CLUSTERERS` learns from the training vectors and then names any vector.

To add one, write a function of the number of clusters and the seed that returns something with scikit-learn's
`fit` and `predict`, and name it in the table.
"""

from collections.abc import Callable
from typing import Any


def kmeans(count: int, seed: int) -> Any:
    """K-means, the best of ten starts by inertia; it never sees a label."""
    from sklearn.cluster import KMeans

    return KMeans(count, n_init=10, random_state=seed)


def gmm(count: int, seed: int) -> Any:
    """A mixture of Gaussians with full covariances."""
    from sklearn.mixture import GaussianMixture

    return GaussianMixture(count, random_state=seed, reg_covar=1e-4)


CLUSTERERS: dict[str, Callable[[int, int], Any]] = {"kmeans": kmeans, "gmm": gmm}
