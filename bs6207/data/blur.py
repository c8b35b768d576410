"""Blur: one implementation to train with, another to test with, and the noise of a camera for both.

A network that only ever met one implementation of a blur learns that implementation. So training blurs here, in
torch, while the test images are blurred by scipy in double precision.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor


def blur_batch(sharp: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of every image by its own sigma, zeros beyond the border.

    Args:
        sharp: [N, C, H, W].
        sigma: [N], in pixels; 0 leaves an image as it is.

    Returns:
        [N, C, H, W].
    """
    rows, columns = (gaussian_matrix(size, sigma)[:, None] for size in sharp.shape[2:])
    return rows @ sharp @ columns.transpose(-1, -2)


def gaussian_matrix(size: int, sigma: Tensor) -> Tensor:
    """The blur of one axis as a matrix, [N, size, size]: row i holds the weights that make pixel i."""
    place = torch.arange(size, dtype=sigma.dtype, device=sigma.device)
    offsets = torch.arange(-2 * size, 2 * size + 1, dtype=sigma.dtype, device=sigma.device)
    width = sigma.clamp_min(1e-3)[:, None, None]  # so narrow that all the weight is on the pixel itself
    weights = torch.exp(-0.5 * ((place[:, None] - place) / width) ** 2)
    return weights / torch.exp(-0.5 * (offsets / width) ** 2).sum(-1, keepdim=True)


def photograph(images: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """What a camera would store of `images`: Gaussian noise of that standard deviation, then 8 bits."""
    noisy = images + noise * torch.randn(images.shape, generator=generator).to(images.device)
    return torch.round(noisy.clamp(0, 1) * 255) / 255


def blur_for_test(sharp: NDArray[np.float32], sigma: float, noise: float, seed: int) -> NDArray[np.float32]:
    """Blurred, noisy, 8-bit test images, [N, C, H, W] in [0, 1]; the same seed gives the same noise."""
    return stored(gaussian_filter(sharp.astype(np.float64), (0, 0, sigma, sigma), mode="constant"), noise, seed)


def stored(exact: NDArray[np.float64], noise: float, seed: int) -> NDArray[np.float32]:
    """What `photograph` does, in double precision and with noise that is the same for good."""
    noisy = exact + noise * np.random.RandomState(seed).standard_normal(exact.shape)
    return (np.round(np.clip(noisy, 0, 1) * 255) / 255).astype(np.float32)
