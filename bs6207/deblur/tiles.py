"""Images of any size in bounded memory: a convolutional network, tile by tile, gives what it gives in one go."""

from collections.abc import Iterator
from copy import deepcopy
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bs6207.deblur.networks import STRIDE

TILE = 512  # pixels, a multiple of every STRIDE: 100 MB of features at most, and little is computed twice

Window = tuple[slice, slice]  # rows and columns
Places = NDArray[np.intp]  # along one axis of an image


class Tile(NamedTuple):
    """One part of an image: what the network is shown, which part of its answer is kept, and where that goes.

    `shown` are the rows, [H, 1], and the columns, [1, W], of the pixels to show; with those of the border repeated.
    """

    shown: tuple[Places, ...]
    kept: Window
    place: Window


def tiles(height: int, width: int, reach: int) -> Iterator[Tile]:
    """Tiles whose `place` covers the image once, each shown with `reach` pixels around it.

    Beyond the image its border pixels are repeated, so that the network's own padding, zeros, is seen by no pixel that
    is kept. What is shown starts and ends at a multiple of STRIDE, as the network's own grid does; so every pixel kept
    depends on the same pixels in the same way as if the whole image were shown.
    """
    for (rows, kept_rows, place_rows), (columns, kept_columns, place_columns) in product(
        spans(height, reach), spans(width, reach)
    ):
        yield Tile(np.ix_(rows, columns), (kept_rows, kept_columns), (place_rows, place_columns))


def spans(length: int, reach: int) -> Iterator[tuple[Places, slice, slice]]:
    """Along one axis: what is shown, what of that is kept, and where it goes."""
    for start in range(0, length, TILE):
        stop = min(start + TILE, length)
        shown = np.arange(start - reach, stop + -stop % STRIDE + reach).clip(0, length - 1)
        yield shown, slice(reach, reach + stop - start), slice(start, stop)


def with_border(images: Tensor, reach: int) -> Tensor:
    """Images, [N, C, H, W], as one tile shows them: `reach` pixels more on every side, and then up to STRIDE."""
    height, width = images.shape[-2:]
    sides = (reach, reach + -width % STRIDE, reach, reach + -height % STRIDE)
    return functional.pad(images, sides, mode="replicate")


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
