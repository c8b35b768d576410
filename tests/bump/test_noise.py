"""Noise: what MEASURED.md found, exact bands, and the same curve from the same seed."""

import numpy as np
import pytest
from scipy.stats import binomtest

from bs6207.bump.figures import survival
from bs6207.bump.kernels import KERNELS, Hyperparameters
from bs6207.bump.landscape import Triangle
from bs6207.bump.noise import climb, clopper_pearson, quantile, survive
from bs6207.bump.settings import BumpSettings
from bs6207.errors import UserError
from bs6207.figures import render

OWN = {"gd": {"lr": 0.3}, "adam": {"lr": 0.3, "beta1": 0.9, "beta2": 0.999, "eps": 0.0}}  # hyperparameters


def curve_of(optimizer, noise, trials=10, steps=10, seed=0, distance=1.0, **own):
    settings = BumpSettings(noise=noise, trials=trials, steps=steps, seed=seed, distance=distance, optimizer=["gd"])
    return survive(optimizer, OWN[optimizer] | own, settings, lambda: None)


@pytest.mark.parametrize(
    ("optimizer", "noise", "h50"),
    [
        ("gd", 0.0, 0.2),
        ("gd", 0.5, 0.66),  # noise helps gradient descent
        ("adam", 0.0, 0.4101842951),
        ("adam", 0.5, 0.375),  # it first hurts Adam
        ("adam", 1.0, 0.60),  # and then helps
    ],
)
def test_noise_moves_h50_as_measured(optimizer, noise, h50):
    curve = curve_of(optimizer, noise, trials=3000, steps=1000, seed=1)
    h90, half, h10 = (curve.quantiles[name] for name in ("h90", "h50", "h10"))
    assert half["lower"] - 0.005 <= h50 <= half["upper"] + 0.005  # the measured value is rounded, and had its own noise
    assert h90["height"] <= half["height"] <= h10["height"]
    assert np.all(np.diff(curve.chance) <= 0)
    assert np.all((curve.lower <= curve.chance) & (curve.chance <= curve.upper))


def test_a_noisy_path_over_a_real_bump_escapes_exactly_when_the_envelope_says():
    steps, trials, noise, height = 200, 50, 0.5, 0.4
    settings = BumpSettings(noise=noise, trials=trials, steps=steps, seed=5, optimizer=["adam"])
    escaped = climb("adam", OWN["adam"], settings, lambda: None)
    drawn = np.random.Generator(np.random.PCG64(5)).standard_normal((steps, trials)) * noise
    bump, kernel = Triangle(1.0, height), KERNELS["adam"]
    x, memory, passed = np.zeros(trials), np.zeros((kernel.memories, trials)), np.zeros(trials, bool)
    for step in range(steps):
        slope = np.array([bump.slope(position) for position in x]) + drawn[step]
        kernel.rule(x, slope, memory, step + 1, Hyperparameters(**OWN["adam"]))
        passed |= x - 1.0 >= height
    assert 0 < passed.sum() < trials
    assert passed.sum() == np.count_nonzero(escaped >= height)


@pytest.mark.parametrize(("count", "trials"), [(0, 10), (3, 10), (10, 10), (500, 1000)])
def test_the_band_is_the_exact_one_of_scipy(count, trials):
    expected = binomtest(count, trials).proportion_ci(0.95, method="exact")
    lower, upper = clopper_pearson(np.array([count]), trials)
    assert (lower[0], upper[0]) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_quantile_band_holds_the_truth_at_least_95_times_in_100():
    generator = np.random.default_rng(0)
    for chance in (0.9, 0.5, 0.1):
        bands = [quantile(np.sort(generator.uniform(size=200)), chance) for _ in range(400)]
        covered = np.mean([band["lower"] <= 1 - chance <= band["upper"] for band in bands])
        assert covered > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 400)


def test_too_few_paths_have_an_open_band():
    band = quantile(np.array([0.3, 0.4]), 0.1)
    assert band == {"height": 0.4, "lower": 0.3, "upper": np.inf}


def test_the_seed_decides_the_curve():
    one, same, other = (curve_of("gd", 0.5, 200, 100, seed) for seed in (1, 1, 2))
    assert one.table() == same.table()
    assert one.table() != other.table()


def test_no_curve_without_a_kernel_a_bump_or_a_finite_path():
    with pytest.raises(ValueError, match="no noisy paths for nadam; choose from gd"):
        BumpSettings(optimizer=["nadam"], noise=0.5)
    with pytest.raises(UserError, match="raise steps"):
        curve_of("gd", 0.5, distance=100.0)
    with pytest.raises(UserError, match="lower lr"):
        curve_of("gd", 0.5, steps=1000, weight_decay=30.0)


def test_the_survival_figure_is_drawn():
    curves = [curve_of(name, noise, 200, 100) for name in OWN for noise in (0.0, 0.5)]
    assert render(survival(curves), "png").startswith(b"\x89PNG")
