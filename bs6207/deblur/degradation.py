"""Random degradation of training images: windows of photographs, blur of any kind, gamma, JPEG; all drawn for each.

Sigma, in pixels, is the standard deviation of a kernel along its widest axis. As libraries differ, so do the kernels:
with soft or hard edges, lines of several widths, Gaussians as `bs6207.deblur.blur.draw_kernels` makes them.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn.functional import interpolate, pad

from bs6207.data.pictures import as_jpeg
from bs6207.deblur.blur import CUT, PADDINGS, ZEROS_SHARE, degrade, draw_kernels
from bs6207.deblur.settings import BlurKind, DeblurSettings

DISK_RADIUS, MOTION_LENGTH = 2.0, math.sqrt(12)  # in sigmas: of a disk and of a line of standard deviation 1
HARD_SHARE = 0.3  # of disks and lines, whose pixels are all or nothing
LINE_WIDTHS = (0.5, 1.5)  # pixels, of soft lines
NARROWEST = 0.2  # of the wider axis, the narrower one of an anisotropic Gaussian
LEAST_SIGMA = 0.15  # pixels; a Gaussian of less leaves an image as it is
SHARES: dict[BlurKind, float] = {"gaussian": 0.35, "disk": 0.15, "motion": 0.35, "anisotropic": 0.15}

PHOTOGRAPH_PADDINGS = PADDINGS[1:]  # what lies beyond a photograph is not black
BEST_QUALITY = 100  # of JPEG
TURNS = 8  # by quarters, mirrored or not
SOFT_SHARE, ENLARGED = 0.5, 3.0  # of windows that are softened, and how many times larger they become at most

Offsets: TypeAlias = tuple[Tensor, Tensor]  # from the middle of a kernel, down and across, [1, side, side]
Draw: TypeAlias = Callable[[Tensor, Offsets, Generator], Tensor]


def disks(sigma: Tensor, offsets: Offsets, generator: Generator) -> Tensor:
    """Discs, as lenses out of focus make them, with a hard edge or a soft one."""
    radius, distance = DISK_RADIUS * sigma, torch.hypot(*offsets)
    hard = torch.rand(sigma.shape, generator=generator) < HARD_SHARE
    return torch.where(hard, (distance <= radius).float(), (radius - distance + 0.5).clamp(0, 1))


def lines(sigma: Tensor, offsets: Offsets, generator: Generator) -> Tensor:
    """Straight lines in any direction, as motion makes them, about a pixel wide."""
    along, across = turned(sigma, offsets, generator)
    low, high = LINE_WIDTHS
    width = low + (high - low) * torch.rand(sigma.shape, generator=generator)
    hard = torch.rand(sigma.shape, generator=generator) < HARD_SHARE
    beyond = along.abs() - MOTION_LENGTH * sigma / 2
    soft = (width - across.abs()).clamp(0, 1) * (0.5 - beyond).clamp(0, 1)
    return torch.where(hard, ((across.abs() <= 0.5) & (beyond <= 0)).float(), soft)


def anisotropic(sigma: Tensor, offsets: Offsets, generator: Generator) -> Tensor:
    """Gaussians in any direction, narrower across than along."""
    along, across = turned(sigma, offsets, generator)
    narrow = sigma * (NARROWEST + (1 - NARROWEST) * torch.rand(sigma.shape, generator=generator))
    scaled = torch.hypot(along / sigma.clamp_min(LEAST_SIGMA), across / narrow.clamp_min(LEAST_SIGMA))
    return torch.exp(-0.5 * scaled.square())


def gaussian(sigma: Tensor, offsets: Offsets, generator: Generator) -> Tensor:
    line = draw_kernels(sigma.flatten(), generator)
    edge = (offsets[0].shape[1] - line.shape[1]) // 2
    line = pad(line, (edge, edge))
    return line[:, :, None] * line[:, None]


def turned(sigma: Tensor, offsets: Offsets, generator: Generator) -> Offsets:
    """The offsets along and across a direction drawn for each kernel."""
    angle = math.pi * torch.rand(sigma.shape, generator=generator)
    down, right = offsets
    return angle.cos() * right + angle.sin() * down, angle.cos() * down - angle.sin() * right


KINDS: dict[BlurKind, Draw] = {"gaussian": gaussian, "disk": disks, "motion": lines, "anisotropic": anisotropic}


def draw_any_kernels(kinds: Sequence[BlurKind], sigma: Tensor, radius: int, generator: Generator) -> Tensor:
    """Kernels of kinds drawn by their `SHARES`, [N, 2 radius + 1, 2 radius + 1], each of sum 1.

    `radius` must be that of the widest kernel, see `radius_of`. Where sigma, [N], is 0 they leave an image as it is.
    """
    shares = torch.tensor([SHARES[kind] for kind in kinds])
    chosen = torch.multinomial(shares, len(sigma), replacement=True, generator=generator)
    axis = torch.arange(-radius, radius + 1.0)
    offsets = axis[None, :, None], axis[None, None]
    kernels = torch.zeros(len(sigma), 2 * radius + 1, 2 * radius + 1)
    for place, kind in enumerate(kinds):
        own = (chosen == place).nonzero().flatten()
        if len(own):
            kernels[own] = KINDS[kind](sigma[own, None, None], offsets, generator)
    kernels[sigma == 0] = 0.0
    kernels[:, radius, radius] += kernels.sum((1, 2)) == 0  # nothing is left of the narrowest
    return kernels / kernels.sum((1, 2), keepdim=True)


def radius_of(sigma: float) -> int:
    """The radius, in pixels, that holds every kernel of at most that sigma."""
    return int(CUT * sigma + 0.5) + 1


def convolve(windows: Tensor, kernels: Tensor) -> Tensor:
    """Images [N, C, H, W], each convolved with its own kernel [N, k, k], where that lies inside: k - 1 smaller."""
    edge, shape = kernels.shape[1] - 1, windows.shape[-2:]
    spectrum = torch.fft.rfft2(windows) * torch.fft.rfft2(kernels, s=shape)[:, None]
    return torch.fft.irfft2(spectrum, s=shape)[..., edge:, edge:]


def degrade_windows(
    windows: Tensor, kernels: Tensor, noise: Tensor, settings: DeblurSettings, generator: Generator
) -> Tensor:
    """Blur by kernels, [N, k, k], then noise and 8 bits; windows have k // 2 pixels around the result."""
    gamma = 1 + (settings.gamma - 1) * torch.rand(len(windows), 1, 1, 1, generator=generator).to(windows.device)
    linear = settings.gamma > 1
    blurred = convolve(windows**gamma if linear else windows, kernels.to(windows.device))
    degraded = degrade(blurred.clamp_min(0) ** (1 / gamma) if linear else blurred, noise, generator)
    return degraded if settings.jpeg is None else draw_jpeg(degraded, settings.jpeg, generator)


def draw_windows(
    pictures: list[Tensor], count: int, crop: int, radius: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Random crops in [0, 1] with `radius` pixels around them, [count, C, side, side], and the places of the pictures.

    Every picture is drawn as often. Beyond its border it is continued as one of `PHOTOGRAPH_PADDINGS`.
    """
    which, *drawn = torch.rand(5, count, generator=generator)
    places = (which * len(pictures)).long()
    side, windows = crop + 2 * radius, []
    for place, down, across, padding, turn in zip(places.tolist(), *map(Tensor.tolist, drawn), strict=True):
        picture = pictures[place]
        mode = PHOTOGRAPH_PADDINGS[int(padding * len(PHOTOGRAPH_PADDINGS))]
        rows, columns = (
            line_of(length, share, crop, radius, mode)
            for length, share in zip(picture.shape[1:], (down, across), strict=True)
        )
        window = picture[:, torch.from_numpy(rows)[:, None], torch.from_numpy(columns)]
        quarters, is_mirrored = divmod(int(turn * TURNS), 2)
        window = torch.rot90(window, quarters, (1, 2))
        windows.append(window.flip(1) if is_mirrored else window)
    return torch.stack(windows).view(count, -1, side, side).float() / 255, places


def draw_softened(windows: Tensor, generator: Generator) -> Tensor:
    """Windows, [N, C, side, side], some of them enlarged about their middle: many a photograph is as soft as it is."""
    count, _, side, _ = windows.shape
    chance, more = torch.rand(2, count, generator=generator)
    softened = windows.clone()
    for place in (chance < SOFT_SHARE).nonzero().flatten().tolist():
        edge = int(side * (1 - 1 / (1 + (ENLARGED - 1) * float(more[place])))) // 2
        middle = windows[place : place + 1, :, edge : side - edge, edge : side - edge]
        softened[place] = interpolate(middle, size=(side, side), mode="bicubic")[0].clamp(0, 1)
    return softened


def line_of(length: int, share: float, crop: int, radius: int, mode: str) -> NDArray[np.intp]:
    """The pixels of a window along one axis of `length` pixels, at a `share` from 0 to 1 of the way."""
    missing = max(0, crop - length)  # of a picture smaller than a crop
    line = np.pad(np.arange(length), (radius, radius + missing), mode)  # type: ignore[call-overload]
    start = int(share * (length + missing - crop + 1))
    return line[start : start + crop + 2 * radius]


def draw_padded(images: Tensor, radius: int, generator: Generator) -> Tensor:
    """Images, [N, C, H, W], continued by `radius` pixels, each as one of `PADDINGS`."""
    zeros = torch.rand(len(images), generator=generator) < ZEROS_SHARE
    padding = torch.randint(1, len(PADDINGS), (len(images),), generator=generator).masked_fill(zeros, 0)
    width = ((0, 0), (radius, radius), (radius, radius))
    padded = [
        np.pad(image, width, PADDINGS[place])  # type: ignore[call-overload]
        for image, place in zip(images.cpu().numpy(), padding.tolist(), strict=True)
    ]
    return torch.from_numpy(np.stack(padded)).to(images.device)


def draw_jpeg(images: Tensor, worst: int, generator: Generator) -> Tensor:
    """8-bit images in [0, 1], as they come back from JPEG files of a quality from `worst` to 100."""
    quality = torch.randint(worst, BEST_QUALITY + 1, (len(images),), generator=generator).tolist()
    pixels = (images * 255).round().to(torch.uint8).cpu().numpy()
    saved = [as_jpeg(image, one) for image, one in zip(pixels, quality, strict=True)]
    return torch.from_numpy(np.stack(saved)).to(images.device).float() / 255
