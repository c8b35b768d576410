"""The Fréchet distance against closed forms and against a matrix square root of scipy's."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from bs6207.training.metrics.distributions import frechet_distance

RANDOM = np.random.RandomState(0)


def features_with(mean, covariance, count=400):
    """A sample whose mean and unbiased covariance are exactly those."""
    drawn = RANDOM.standard_normal((count, len(mean)))
    drawn -= drawn.mean(0)
    white = drawn @ np.linalg.inv(np.linalg.cholesky(np.cov(drawn.T))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def test_between_gaussians_with_commuting_covariances_it_is_the_difference_of_means_and_deviations():
    axes = np.linalg.qr(RANDOM.standard_normal((5, 5)))[0]
    one, other = np.array([1.0, 2, 3, 4, 5]), np.array([2.0, 2, 1, 0.1, 7])
    shift = np.array([0.5, 0, 0, -1, 2])
    measured = frechet_distance(
        features_with(np.zeros(5), axes * one**2 @ axes.T), features_with(shift, axes * other**2 @ axes.T)
    )
    assert measured == pytest.approx(np.square(shift).sum() + np.square(one - other).sum(), rel=1e-9)


def test_it_agrees_with_scipys_matrix_square_root():
    one = RANDOM.standard_normal((1000, 64)) @ RANDOM.standard_normal((64, 64))
    other = RANDOM.standard_normal((700, 64)) @ RANDOM.standard_normal((64, 64)) + 1
    first, second = np.cov(one.T), np.cov(other.T)
    expected = np.square(one.mean(0) - other.mean(0)).sum() + np.trace(first + second - 2 * sqrtm(first @ second).real)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-9)


def test_equal_sets_are_at_distance_zero_even_where_features_are_constant_or_more_than_images():
    few = RANDOM.standard_normal((10, 64))
    dead = RANDOM.standard_normal((500, 64)) * (np.arange(64) % 2)
    for features in (few, dead):
        assert 0 <= frechet_distance(features, features) < 1e-10


def test_it_is_symmetric():
    one, other = RANDOM.standard_normal((50, 8)), RANDOM.standard_normal((30, 8)) * 2 + 1
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one), rel=1e-12)


@pytest.mark.parametrize("shape", [(1, 8), (30, 7), (8,)])
def test_sets_that_cannot_be_compared_are_refused(shape):
    with pytest.raises(ValueError, match="at least two features of one size"):
        frechet_distance(np.zeros((30, 8)), np.zeros(shape))
