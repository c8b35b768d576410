"""Principal components of images: the baseline of every latent size, and where wide autoencoders start."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bs6207.data.images import ImageSet

EXACT_UP_TO = 2000  # pixels: the eigenvectors of a larger covariance matrix take minutes


@dataclass(frozen=True)
class Components:
    """The best linear code of images (Pearson 1901), the most important direction first.

    Attributes:
        mean: float32, [pixels].
        directions: float32, [count, pixels], orthonormal.
    """

    mean: NDArray[np.float32]
    directions: NDArray[np.float32]

    def encode(self, images: ImageSet) -> NDArray[np.float32]:
        """Coordinates along the directions, [N, count]."""
        with threadpool_limits(1):
            return images.flat @ self.directions.T - self.mean @ self.directions.T

    def decode(self, codes: NDArray[np.float32], image_shape: tuple[int, int, int]) -> NDArray[np.float32]:
        """The images of codes, [N, C, H, W], clipped to [0, 1]."""
        with threadpool_limits(1):
            flat = codes @ self.directions[: codes.shape[1]] + self.mean
        return np.clip(flat, 0, 1).reshape(-1, *image_shape)


def principal_components(images: ImageSet, count: int) -> Components:
    """The `count` leading components of the images.

    By the eigenvectors of the covariance matrix, or, for large images, a randomized method (Halko et al. 2011).
    """
    from sklearn.decomposition import PCA

    flat = images.flat
    solver = "covariance_eigh" if flat.shape[1] <= EXACT_UP_TO else "randomized"
    # One thread, as the order in which threads add up would change the last digits; and of images that are all alike
    # scikit-learn divides a variance of 0 by itself.
    with threadpool_limits(1), np.errstate(invalid="ignore"):
        pca = PCA(count, svd_solver=solver, random_state=0).fit(flat)
    return Components(pca.mean_, pca.components_)
