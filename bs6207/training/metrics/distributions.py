"""The distance of one set of images from another."""

import numpy as np
from numpy.typing import NDArray


def frechet_distance(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """The Fréchet distance of two sets of features, each taken as a Gaussian; lower is closer, 0 for equal sets.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), Heusel et al. 2017, arXiv:1706.08500. Two finite samples of one
    distribution have a distance above 0, so compare with such a pair of the same sizes.

    Args:
        one, other: [N, D] and [M, D]; N and M at least 2, and may be below D; ValueError for other shapes.
    """
    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1] or min(len(one), len(other)) < 2:
        raise ValueError(f"two sets of at least two features of one size are wanted, not {one.shape} and {other.shape}")
    sets = [features.astype(np.float64) for features in (one, other)]
    means = [features.mean(axis=0) for features in sets]
    centred = [(features - mean) / np.sqrt(len(features) - 1) for features, mean in zip(sets, means, strict=True)]
    roots = [np.linalg.qr(features).R for features in centred]
    # With C = R^T R, the eigenvalues of C1 C2 are the squared singular values of R1 R2^T: nothing is squared and
    # rooted again, which would cost half the digits, and nothing can be negative or complex.
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    spread = sum(np.square(root).sum() for root in roots)
    return float(max(np.square(means[0] - means[1]).sum() + spread - 2 * shared, 0))
