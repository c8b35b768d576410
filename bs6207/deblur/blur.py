"""Blur: as many libraries do it to train with, one of them to test with, and the noise of a camera for both.

"A Gaussian of sigma 2" is no specification: libraries cut the kernel at different widths, approximate it, and continue
the image beyond its border in different ways. A network that only met one of them learns that one. So training draws
all of that anew for every image, in torch, while the test images are blurred by scipy in double precision.
"""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

CUT = 4.0  # sigmas at which scipy and scikit-image cut the kernel
NARROWEST_CUT = 1.0  # sigmas; torchvision and OpenCV cut wherever the caller's kernel size says
CUT_SHARE, BOXES_SHARE = 0.1, 0.2  # of the kernels cut elsewhere, and of those made of three boxes, as Pillow's
PADDINGS = ("constant", "edge", "symmetric", "reflect")  # numpy's names; zeros are drawn more often than the others
ZEROS_SHARE = 0.55
KEPT_UP_TO = 128  # pixels along an axis up to which `folds` are kept for the next batch: 9 MB for each radius


def draw_blur(sharp: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian blur of every image by its own sigma, its own kernel and its own continuation beyond the border.

    Args:
        sharp: [N, C, H, W].
        sigma: [N], in pixels; 0 leaves an image as it is.

    Returns:
        [N, C, H, W].
    """
    count = len(sharp)
    kernels = draw_kernels(sigma.cpu(), generator).to(sharp.device)
    zeros = torch.rand(count, generator=generator) < ZEROS_SHARE
    padding = torch.randint(1, len(PADDINGS), (count,), generator=generator).masked_fill(zeros, 0).to(sharp.device)
    rows, columns = (axis_matrix(kernels, padding, size)[:, None] for size in sharp.shape[2:])
    return rows @ sharp @ columns.transpose(-1, -2)


def draw_kernels(sigma: Tensor, generator: torch.Generator) -> Tensor:
    """One-dimensional kernels as different libraries make them, [N, odd width], each of sum 1."""
    family, cut = torch.rand(2, len(sigma), generator=generator)
    cut = torch.where(family < CUT_SHARE, NARROWEST_CUT + (CUT - NARROWEST_CUT) * cut, CUT)
    boxes = (family > 1 - BOXES_SHARE)[:, None]
    radius = int(CUT * float(sigma.max()) + 0.5) + 1
    return torch.where(boxes, three_boxes(sigma, radius), gaussian_kernels(sigma, cut, radius))


def gaussian_kernels(sigma: Tensor, cut: Tensor | float, radius: int) -> Tensor:
    """A Gaussian sampled at whole pixels and cut at `cut` sigmas, [N, 2 * radius + 1]."""
    offsets = torch.arange(-radius, radius + 1, dtype=sigma.dtype)
    inside = offsets.abs() <= (cut * sigma + 0.5).floor()[:, None]
    weights = torch.exp(-0.5 * (offsets / sigma.clamp_min(1e-3)[:, None]) ** 2) * inside
    return weights / weights.sum(1, keepdim=True)


def three_boxes(sigma: Tensor, radius: int) -> Tensor:
    """Three boxes one after the other, with fractional edges, as wide as makes their variance sigma squared.

    [N, 2 * radius + 1]. The extended box filter of Gwosdek et al. 2011, doi:10.1007/978-3-642-24785-9_38.
    """
    variance = sigma**2 / 3
    inner = (((12 * variance + 1).sqrt() - 1) / 2).floor()
    edge = (2 * inner + 1) * (inner * (inner + 1) - 3 * variance) / (6 * (variance - (inner + 1) ** 2))
    distance = torch.arange(-radius, radius + 1, dtype=sigma.dtype).abs()
    box = (distance <= inner[:, None]) + edge[:, None] * (distance == inner[:, None] + 1)
    spectrum = torch.fft.rfft(box / box.sum(1, keepdim=True), 6 * radius + 1)
    return torch.fft.irfft(spectrum**3, 6 * radius + 1)[:, 2 * radius : 4 * radius + 1]


def axis_matrix(kernels: Tensor, padding: Tensor, size: int) -> Tensor:
    """The blur of one axis as a matrix, [N, size, size]: row i holds the weights that make pixel i.

    Args:
        kernels: [N, odd width].
        padding: [N], places in `PADDINGS`.
    """
    count, width = kernels.shape
    make = folds if size <= KEPT_UP_TO else folds.__wrapped__
    every = kernels @ make(size, width // 2).to(kernels)
    return every[padding, torch.arange(count, device=kernels.device)].view(count, size, size)


@lru_cache(maxsize=8)
def folds(size: int, radius: int) -> Tensor:
    """Where the weights of a kernel fall when it reaches beyond the border, [paddings, 2 * radius + 1, size * size].

    1 where tap k of the kernel at pixel i reads pixel j.
    """
    found = np.zeros((len(PADDINGS), 2 * radius + 1, size, size), np.float32)
    for place, padding in enumerate(PADDINGS):
        beyond = {"constant_values": -1} if padding == "constant" else {}
        line = np.pad(np.arange(size), radius, padding, **beyond)  # type: ignore[call-overload]
        read = np.lib.stride_tricks.sliding_window_view(line, 2 * radius + 1)  # [size, 2 * radius + 1]
        pixel, tap = np.nonzero(read >= 0)
        np.add.at(found[place], (tap, pixel, read[pixel, tap]), 1)
    return torch.from_numpy(found.reshape(len(PADDINGS), 2 * radius + 1, size * size))


def photograph(images: Tensor, noise: Tensor, generator: torch.Generator) -> Tensor:
    """What a camera would store of `images`: Gaussian noise of its own standard deviation, [N], then 8 bits."""
    grain = torch.randn(images.shape, generator=generator).to(images.device)
    noisy = images + noise.to(images.device).view(-1, 1, 1, 1) * grain
    return torch.round(noisy.clamp(0, 1) * 255) / 255


def blur_for_test(sharp: NDArray[np.float32], sigma: float, noise: float, seed: int) -> NDArray[np.float32]:
    """Blurred, noisy, 8-bit test images, [N, C, H, W] in [0, 1]; the same seed gives the same noise."""
    return stored(
        gaussian_filter(sharp.astype(np.float64), (0, 0, sigma, sigma), mode="constant", truncate=CUT), noise, seed
    )


def stored(exact: NDArray[np.float64], noise: float, seed: int) -> NDArray[np.float32]:
    """What `photograph` does, in double precision and with noise that is the same for good."""
    noisy = exact + noise * np.random.RandomState(seed).standard_normal(exact.shape)
    return (np.round(np.clip(noisy, 0, 1) * 255) / 255).astype(np.float32)
