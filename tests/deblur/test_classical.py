"""The classical baselines, which use the true kernel."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize
from skimage.restoration import richardson_lucy as skimages_lucy

from bs6207.data.sources import embedded_digits
from bs6207.deblur import classical
from bs6207.deblur.blur import blur_for_test
from bs6207.deblur.classical import BASELINES, blur_matrix, differences, differences_adjoint, tune
from bs6207.training.metrics.restoration import psnr_per_image

DIGITS = embedded_digits().train.unit_pixels[:20]
HYPERPARAMETERS = {"unsharp": 5.0, "wiener": 3e-4, "richardson_lucy": 60.0, "tv": 3e-4}  # about right at sigma 1 and 2
NOISE = 0.01


def energy(images, blurred, sigma, weight):
    """What `tv` minimises, by scipy and numpy alone, [N]."""
    errors = gaussian_filter(images.astype(np.float64), (0, 0, sigma, sigma), mode="constant") - blurred
    down = np.diff(images, axis=2, append=images[:, :, -1:]).astype(np.float64)
    right = np.diff(images, axis=3, append=images[..., -1:]).astype(np.float64)
    return (errors**2).sum((1, 2, 3)) / 2 + weight * np.hypot(down, right).sum((1, 2, 3))


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.0, 3.0])
def test_two_matrices_blur_as_scipy_does_up_to_the_border(sigma):
    image = np.random.RandomState(0).rand(9, 14)
    ours = blur_matrix(9, sigma) @ image @ blur_matrix(14, sigma).T
    assert np.abs(ours - gaussian_filter(image, sigma, mode="constant")).max() < 1e-12


def test_the_adjoint_is_that_of_the_differences():
    images, slopes = torch.rand(3, 5, 8, dtype=torch.float64), torch.rand(2, 3, 5, 8, dtype=torch.float64)
    one, other = (differences(images) * slopes).sum(), (images * differences_adjoint(slopes)).sum()
    assert one.item() == pytest.approx(other.item(), rel=1e-12)


def test_tv_finds_the_minimum_of_a_general_solver():
    image = np.zeros((1, 1, 5, 6), np.float32)
    image[..., 1:4, 2:5] = 0.9
    blurred = blur_for_test(image, 0.8, 0.05, 0)
    weight = 0.02

    def smooth(values, rounding):
        x = values.reshape(5, 6)
        rows, columns = blur_matrix(5, 0.8), blur_matrix(6, 0.8)
        errors = rows @ x @ columns.T - blurred[0, 0]
        slopes = differences(torch.from_numpy(x)).numpy()
        steepness = np.sqrt((slopes**2).sum(0) + rounding)
        pull = differences_adjoint(torch.from_numpy(slopes / steepness)).numpy()
        value = (errors**2).sum() / 2 + weight * steepness.sum()
        return value, (rows.T @ errors @ columns + weight * pull).ravel()

    minimum = blurred.astype(np.float64).ravel()
    for rounding in (1e-2, 1e-4, 1e-6, 1e-8, 1e-10):  # TV has corners; L-BFGS-B wants them rounded, less and less
        options = {"maxiter": 20_000, "maxfun": 50_000, "ftol": 1e-15, "gtol": 1e-10}
        minimum = minimize(smooth, minimum, rounding, "L-BFGS-B", jac=True, bounds=[(0, 1)] * 30, options=options).x
    best = energy(minimum.reshape(image.shape), blurred, 0.8, weight)
    ours = BASELINES["tv"].restore(blurred, 0.8, weight)
    assert energy(ours, blurred, 0.8, weight) == pytest.approx(best, rel=1e-4)
    assert np.abs(ours.ravel() - minimum).max() < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [2.0, 1.0])
def test_tv_has_converged_within_two_hundredths_of_a_decibel(sigma, monkeypatch):
    blurred = blur_for_test(DIGITS, sigma, NOISE, 0)
    weight = tune(BASELINES["tv"], DIGITS, sigma, NOISE)
    short = BASELINES["tv"].restore(blurred, sigma, weight)
    iterations = classical.minimize_tv

    def in_double_precision(*factors):
        return iterations(*(factor.double() for factor in factors))

    monkeypatch.setattr(classical, "minimize_tv", in_double_precision)
    monkeypatch.setattr(classical, "TV_ITERATIONS", 4000)
    converged = BASELINES["tv"].restore(blurred, sigma, weight)
    assert psnr_per_image(DIGITS, short) == pytest.approx(psnr_per_image(DIGITS, converged), abs=0.02)
    near, far = (energy(images, blurred, sigma, weight) for images in (converged, short))
    assert (near <= far).all()
    assert far.mean() == pytest.approx(near.mean(), rel=0.01)


@pytest.mark.parametrize(("name", "hyperparameter"), [("wiener", 1e-7), ("richardson_lucy", 4000), ("tv", 1e-6)])
def test_a_mild_blur_without_noise_is_inverted(name, hyperparameter):
    blurred = gaussian_filter(DIGITS, (0, 0, 0.5, 0.5), mode="constant")
    restored = BASELINES[name].restore(blurred, 0.5, hyperparameter)
    assert psnr_per_image(DIGITS, blurred) < 30
    assert psnr_per_image(DIGITS, restored) > 60


@pytest.mark.parametrize("sigma", [1.0, 2.0])
@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_beats_the_blurred_image(name, sigma):
    blurred = blur_for_test(DIGITS, sigma, NOISE, 0)
    restored = BASELINES[name].restore(blurred, sigma, HYPERPARAMETERS[name])
    assert psnr_per_image(DIGITS, restored) > psnr_per_image(DIGITS, blurred) + 2


def test_richardson_lucy_beats_skimages_at_each_ones_best():
    blurred = blur_for_test(DIGITS, 2.0, NOISE, 0)
    kernel = np.outer(blur_matrix(17, 2.0)[8], blur_matrix(17, 2.0)[8]).astype(np.float32)[None, None]
    theirs = [skimages_lucy(blurred, kernel, count).clip(0, 1) for count in (50, 100, 150, 200)]
    ours = [BASELINES["richardson_lucy"].restore(blurred, 2.0, count) for count in (200, 400, 600)]
    assert max(psnr_per_image(DIGITS, one) for one in ours) > max(psnr_per_image(DIGITS, one) for one in theirs) + 1


@pytest.mark.parametrize(("name", "hyperparameter"), [("richardson_lucy", 400), ("tv", 1e-4)])
def test_light_up_to_the_border_is_restored(name, hyperparameter):
    white = np.ones((1, 1, 16, 16), np.float32)
    blurred = blur_for_test(white, 1.5, 0, 0)
    assert blurred[..., 0, :].mean() < 0.6
    assert BASELINES[name].restore(blurred, 1.5, hyperparameter)[..., 0, :].mean() > 0.98


@pytest.mark.parametrize("sigma", [0.0, 0.3, 4.0])
@pytest.mark.parametrize("name", BASELINES)
def test_channels_are_restored_one_by_one_at_any_size_and_sigma(name, sigma):
    sharp = np.random.RandomState(0).rand(2, 3, 7, 10).astype(np.float32)
    blurred = blur_for_test(sharp, sigma, NOISE, 0)
    together = BASELINES[name].restore(blurred, sigma, HYPERPARAMETERS[name])
    assert together.dtype == np.float32
    assert together.shape == blurred.shape
    assert together.min() >= 0
    assert together.max() <= 1
    for channel in range(3):
        alone = BASELINES[name].restore(blurred[:, [channel]], sigma, HYPERPARAMETERS[name])
        assert np.abs(alone - together[:, [channel]]).max() < 1e-4


@pytest.mark.parametrize(
    ("sigma", "noise"),
    [(1.0, 0.01), *(pytest.param(sigma, 0.05, marks=pytest.mark.slow) for sigma in (0.5, 3.0))],
)
@pytest.mark.parametrize("name", BASELINES)
def test_the_tuned_hyperparameter_lies_inside_and_its_neighbours_are_no_better(name, sigma, noise):
    grid = BASELINES[name].grid
    place = grid.index(tune(BASELINES[name], DIGITS, sigma, noise))
    assert 0 < place < len(grid) - 1
    blurred = blur_for_test(DIGITS, sigma, noise, classical.TUNING_SEED)
    weaker, best, stronger = (
        psnr_per_image(DIGITS, BASELINES[name].restore(blurred, sigma, hyperparameter))
        for hyperparameter in grid[place - 1 : place + 2]
    )
    assert weaker <= best >= stronger
