"""Images of any size in bounded memory: a convolutional network, tile by tile, gives what it gives in one go."""

from collections.abc import Iterator
from copy import deepcopy
from itertools import product
from typing import NamedTuple

import torch
from torch import nn

from bs6207.deblur.networks import STRIDE

TILE = 512  # pixels, a multiple of every STRIDE: 100 MB of features at most, and little is computed twice

Window = tuple[slice, slice]  # rows and columns


class Tile(NamedTuple):
    """One part of an image: what the network is shown, which part of its answer is kept, and where that goes."""

    shown: Window
    kept: Window
    place: Window


def tiles(height: int, width: int, reach: int) -> Iterator[Tile]:
    """Tiles whose `place` covers the image once, each shown with `reach` pixels around it.

    What is shown starts at a multiple of STRIDE, as the network's own grid does, and ends at one or where the image
    ends; so every pixel kept depends on the same pixels in the same way as if the whole image were shown.
    """
    for (rows, kept_rows), (columns, kept_columns) in product(spans(height, reach), spans(width, reach)):
        yield Tile(
            (rows, columns),
            (kept_rows, kept_columns),
            (moved(kept_rows, rows.start), moved(kept_columns, columns.start)),
        )


def spans(length: int, reach: int) -> Iterator[tuple[slice, slice]]:
    """Along one axis: what is shown, and what of that is kept."""
    for start in range(0, length, TILE):
        stop = min(start + TILE, length)
        shown = slice(max(0, start - reach), min(stop + reach, length))
        yield shown, slice(start - shown.start, stop - shown.start)


def moved(part: slice, by: int) -> slice:
    """The same slice, `by` further on."""
    return slice(part.start + by, part.stop + by)


@torch.enable_grad()
def reach_of(network: nn.Module, channels: int) -> int:
    """How far beyond a block of STRIDE x STRIDE outputs the network looks, in pixels, rounded up to STRIDE.

    Read off the gradient, with weights that are all positive, so that nothing cancels and no ReLU is shut.
    """
    positive = deepcopy(network).cpu().double().requires_grad_(True)
    with torch.no_grad():
        for parameter in positive.parameters():
            parameter.fill_(1 / max(1, parameter[0].numel()) if parameter.ndim > 1 else 1)
    middle = 16 * STRIDE
    while True:
        image = torch.ones(1, channels, 2 * middle, 2 * middle, dtype=torch.float64, requires_grad=True)
        block = positive(image)[..., middle : middle + STRIDE, middle : middle + STRIDE]
        (gradient,) = torch.autograd.grad(block.sum(), image)
        seen = gradient.sum((0, 1)).nonzero()
        first, last = int(seen.min()), int(seen.max())
        if first > 0 and last < 2 * middle - 1:
            farthest = max(middle - first, last - (middle + STRIDE - 1))
            return -(-farthest // STRIDE) * STRIDE
        middle *= 2
