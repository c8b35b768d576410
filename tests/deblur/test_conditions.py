"""Blur and images outside the training."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, uniform_filter

from bs6207.data.sources import embedded_digits
from bs6207.deblur.blur import blur_for_test
from bs6207.deblur.conditions import CONDITIONS, MOTION_LENGTH, letters, motion_kernel
from bs6207.training.metrics.restoration import psnr_per_image, sharpness

DIGITS = embedded_digits().test.unit_pixels[:40]
COLOURED = np.random.RandomState(0).rand(3, 3, 14, 11).astype(np.float32)
ROUNDING = 0.5 / 255 + 1e-6


def exact_pair(name, sharp, widest=3.0):
    return CONDITIONS[name].pair(sharp, 0.0, 0, widest)


@pytest.mark.parametrize("name", CONDITIONS)
def test_every_pair_is_of_one_shape_in_range_and_the_same_every_time(name):
    for sharp in (DIGITS, COLOURED):
        truth, blurred = CONDITIONS[name].pair(sharp, 0.01, 0, 3.0)
        assert truth.shape == blurred.shape
        assert truth.shape[1:] == sharp.shape[1:]
        assert truth.dtype == blurred.dtype == np.float32
        assert 0 <= min(truth.min(), blurred.min()) <= max(truth.max(), blurred.max()) <= 1
        assert np.array_equal(blurred, CONDITIONS[name].pair(sharp, 0.01, 0, 3.0)[1])
        assert not np.array_equal(blurred, CONDITIONS[name].pair(sharp, 0.01, 1, 3.0)[1])
    assert "\n" not in CONDITIONS[name].caption


@pytest.mark.parametrize("name", [name for name in CONDITIONS if name != "clear"])
def test_every_condition_but_clear_blurs(name):
    truth, blurred = exact_pair(name, DIGITS)
    assert sharpness(truth, blurred) < 0.6
    assert psnr_per_image(truth, blurred) > 8


def test_clear_images_get_noise_only():
    truth, blurred = exact_pair("clear", DIGITS)
    assert np.array_equal(truth, DIGITS)
    assert np.array_equal(blurred, DIGITS)


def test_box_is_the_mean_of_twenty_five_pixels():
    image = np.zeros((1, 1, 11, 11), np.float32)
    image[0, 0, 5, 5] = 1
    _, blurred = exact_pair("box", image)
    inside = np.zeros((11, 11))
    inside[3:8, 3:8] = 1 / 25
    assert np.abs(blurred[0, 0] - inside).max() < ROUNDING
    _, blurred = exact_pair("box", COLOURED)
    assert np.abs(blurred[1, 2] - uniform_filter(COLOURED[1, 2], 5, mode="constant")).max() < ROUNDING


def test_a_point_out_of_focus_becomes_a_disc_seven_pixels_across():
    image = np.zeros((1, 1, 15, 15), np.float32)
    image[0, 0, 7, 7] = 1
    lit = exact_pair("defocus", image)[1][0, 0] > 0
    assert np.array_equal(lit, np.hypot(*np.mgrid[-7:8, -7:8]) <= 3)


@pytest.mark.parametrize("angle", [0.0, 30.0, 45.0, 90.0, 137.0])
def test_motion_is_a_line_of_its_length_and_direction_and_keeps_the_light(angle):
    kernel = motion_kernel(angle)
    assert kernel.sum() == pytest.approx(1)
    down, right = np.mgrid[: len(kernel), : len(kernel)] - len(kernel) // 2
    spread = np.array([[(kernel * a * b).sum() for a in (right, -down)] for b in (right, -down)])
    variances, directions = np.linalg.eigh(spread)
    assert np.sqrt(12 * variances[1] + 1) == pytest.approx(MOTION_LENGTH, abs=0.5)  # of an even row of pixels
    assert variances[0] < 0.5
    direction = np.degrees(np.arctan2(directions[1, 1], directions[0, 1]))
    assert abs((direction - angle + 90) % 180 - 90) < 1


def test_every_image_moves_in_a_direction_of_its_own():
    points = np.zeros((4, 1, 15, 15), np.float32)
    points[:, 0, 7, 7] = 1
    _, moved = exact_pair("motion", points)
    assert len(np.unique(moved, axis=0)) == 4
    assert moved.sum((1, 2, 3)) == pytest.approx(np.ones(4), abs=0.1)


def test_pillow_and_nearest_are_gaussians_of_the_same_width_away_from_the_border():
    image = np.zeros((1, 1, 25, 25), np.float32)
    image[..., 9:16, 9:16] = 1
    gauss = gaussian_filter(image, (0, 0, 1.5, 1.5))
    assert np.abs(exact_pair("nearest", image)[1] - gauss).max() < ROUNDING
    assert 0.002 < np.abs(exact_pair("pillow", image)[1] - gauss).max() < 0.03


def test_nearest_repeats_the_border():
    white = np.ones((1, 1, 9, 9), np.float32)
    assert np.array_equal(exact_pair("nearest", white)[1], white)


def test_letters_are_all_different_centred_and_as_large_as_digits():
    drawn = letters((5, 1, 28, 28))
    assert drawn.shape == (104, 1, 28, 28)
    assert len(np.unique(drawn, axis=0)) > 95  # some may differ in size only, as l and I do without serifs
    for image in drawn[:, 0]:
        rows, columns = np.flatnonzero(image.max(1)), np.flatnonzero(image.max(0))
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
        for lit in (rows, columns):
            assert abs((lit[0] + lit[-1]) / 2 - 13.5) <= 1
    assert len(np.unique(drawn)) > 50  # antialiased


def test_letters_replace_the_images_in_every_channel():
    truth, _ = exact_pair("letters", COLOURED)
    assert np.array_equal(truth, letters(COLOURED.shape).astype(np.float32))
    assert np.array_equal(truth[:, 0], truth[:, 2])


def test_wide_is_a_quarter_wider_than_the_widest():
    truth, blurred = CONDITIONS["wide"].pair(DIGITS, 0.01, 7, 2.0)
    assert np.array_equal(truth, DIGITS)
    assert np.array_equal(blurred, blur_for_test(DIGITS, 2.5, 0.01, 7))
