"""Batches of images that stay in memory: no loader, no workers, no copies but the batch itself."""

from collections.abc import Iterator

import torch
from torch import Tensor

from bs6207.data.images import ImageSet


def to_device(images: ImageSet, device: torch.device) -> Tensor:
    """The pixels as uint8 on the device, [N, C, H, W]."""
    return torch.from_numpy(images.pixels).to(device)


def batches(pixels: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """One epoch in random order: float batches in [0, 1] of `pixels`, uint8; the last, smaller one is left out.

    With fewer images than `size` all are one batch. The generator is on the CPU, so every device sees the same order.
    """
    size = min(size, len(pixels))
    order = torch.randperm(len(pixels), generator=generator).to(pixels.device)
    for start in range(0, len(pixels) - size + 1, size):
        yield pixels.index_select(0, order[start : start + size]).float().div_(255)  # ten times as fast as [] on a CPU


def batch_indices(count: int, size: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices of `steps` random batches of `count` images, int64, [size]; each comes once before any comes again.

    What is left of a pass and too small for a batch is dropped. ValueError if there are no images.
    """
    if count == 0:
        raise ValueError("there are no images to train on")
    size = min(size, count)
    order = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(order) < size:
            order = torch.randperm(count, generator=generator)
        yield order[:size]
        order = order[size:]


def steps_per_epoch(count: int, size: int) -> int:
    """Number of batches that `batches` yields."""
    return count // min(size, count)
