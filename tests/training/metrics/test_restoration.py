"""Image scores against values known on paper and against scikit-image."""

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from bs6207.training.metrics.restoration import l1, mse, psnr_of, psnr_per_image, sharpness, ssim

SHARP = np.random.RandomState(0).rand(4, 1, 16, 16).astype(np.float32)
FLAT = np.full((2, 1, 8, 8), 0.5, np.float32)


def test_a_constant_error_of_a_tenth_is_twenty_decibels():
    off = FLAT + np.float32(0.1)
    assert l1(FLAT, off) == pytest.approx(0.1, abs=1e-6)
    assert mse(FLAT, off) == pytest.approx(0.01, abs=1e-6)
    assert psnr_of(mse(FLAT, off)) == pytest.approx(20, abs=1e-4)
    assert psnr_per_image(FLAT, off) == pytest.approx(20, abs=1e-4)


def test_psnr_per_image_is_the_mean_of_scikit_images():
    noisy = np.clip(SHARP + np.random.RandomState(1).normal(0, 0.1, SHARP.shape), 0, 1).astype(np.float32)
    theirs = np.mean([peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(SHARP, noisy, strict=True)])
    assert psnr_per_image(SHARP, noisy) == pytest.approx(theirs, abs=1e-4)


def test_equal_images_are_perfect():
    assert (l1(SHARP, SHARP), mse(SHARP, SHARP), psnr_of(0)) == (0, 0, float("inf"))
    assert psnr_per_image(SHARP, SHARP) == float("inf")
    assert ssim(SHARP, SHARP) == pytest.approx(1)
    assert sharpness(SHARP, SHARP) == 1


def test_where_there_are_no_edges_nothing_is_as_sharp_or_not():
    assert math.isnan(sharpness(FLAT, FLAT))
    assert math.isnan(sharpness(FLAT, SHARP[:2, :, :8, :8]))


def test_half_the_contrast_is_half_as_sharp():
    assert sharpness(SHARP, SHARP / 2) == pytest.approx(0.5)


@pytest.mark.parametrize("score", [l1, mse, psnr_per_image, ssim])
def test_shapes_that_differ_are_refused_not_broadcast(score):
    with pytest.raises(ValueError, match="shapes differ"):
        score(SHARP, SHARP[:1])
