"""Scores of restored or reconstructed images against the true ones."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]  # [N, C, H, W] in [0, 1]


def l1(truth: Images, guess: Images) -> float:
    """Mean absolute error per pixel; lower is better."""
    return float(np.mean(np.abs(errors(truth, guess)), dtype=np.float64))


def mse(truth: Images, guess: Images) -> float:
    """Mean squared error per pixel; lower is better."""
    return float(np.mean(np.square(errors(truth, guess)), dtype=np.float64))


def errors(truth: Images, guess: Images) -> Images:
    """The error of every pixel; ValueError if the shapes differ (broadcasting would score the wrong pixels)."""
    if truth.shape != guess.shape:
        raise ValueError(f"shapes differ: {truth.shape} and {guess.shape}")
    return guess - truth


def psnr_of(mean_squared_error: float) -> float:
    """Peak signal-to-noise ratio in decibels, for pixels in [0, 1]; higher is better, infinite for equal images."""
    return float(-10 * np.log10(mean_squared_error)) if mean_squared_error > 0 else math.inf


def psnr_of_each(truth: Images, guess: Images) -> NDArray[np.float64]:
    """Each image's PSNR, in decibels, [N]; higher is better, infinite for equal images."""
    mean_squares = np.square(errors(truth, guess), dtype=np.float64).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return -10 * np.log10(mean_squares)


def psnr_per_image(truth: Images, guess: Images) -> float:
    """Mean over images of each image's PSNR, in decibels; higher is better."""
    return float(psnr_of_each(truth, guess).mean())


def psnr_of_batches(truth: Sequence[Images], guess: Sequence[Images]) -> float:
    """`psnr_per_image` of all images of several batches."""
    pairs = zip(truth, guess, strict=True)
    return float(np.concatenate([psnr_of_each(*pair) for pair in pairs]).mean())


def ssim(truth: Images, guess: Images) -> float:
    """Mean over images of scikit-image's structural similarity, 7 x 7 windows, data range 1; 1 for equal images."""
    from skimage.metrics import structural_similarity

    errors(truth, guess)  # of one shape
    pairs = zip(truth, guess, strict=True)
    return float(np.mean([structural_similarity(a, b, channel_axis=0, data_range=1.0) for a, b in pairs]))


def sharpness(truth: Images, guess: Images) -> float:
    """Steepness of the edges relative to the truth's: 1 as sharp, below 1 softer, above 1 over-sharp.

    The ratio of the root mean squares of the differences between neighbouring pixels; NaN where the truth has no edges.
    """
    steepness = []
    for images in (truth, guess):
        squares = [np.square(np.diff(images.astype(np.float64), axis=axis)).mean() for axis in (2, 3)]
        steepness.append(float(np.sqrt(np.mean(squares))))
    return steepness[1] / (steepness[0] or math.nan)
