"""A trained restorer, to be used again."""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from bs6207.deblur.networks import STRIDE, UNet
from bs6207.errors import FolderError
from bs6207.runs.names import at_home
from bs6207.runs.result import METADATA, Weights

Window = tuple[slice, slice]  # rows and columns
TILE = 512  # pixels, a multiple of every STRIDE: 100 MB of features at most, and little is computed twice
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


CONTROL = "restorer_l1"  # trained with L1 alone: clarity 0
CLEAREST = ("restorer_strong", "restorer_l1_disc")  # clarity 1 is the first of them that a run left
ONE_SIZE = "autoencoder"  # the architecture that is no use here
AT_ONCE = TILE * TILE  # pixels
State: TypeAlias = Mapping[str, Tensor]  # the weights of a network by name


class Model:
    """A restorer that has been trained; it only computes.

    Attributes:
        channels: of the images it was trained on, 1 or 3.
        sigma: the narrowest and the widest blur it was trained on, in pixels.
        clarity: what `restore` takes where it is told none.
    """

    def __init__(self, control: nn.Module, clearest: nn.Module, facts: Mapping[str, Any]):
        self.control, self.clearest = control.eval(), clearest.eval()
        self.channels: int = facts["channels"]
        low, high = facts["sigma"]
        self.sigma = (float(low), float(high))
        self.clarity = float(facts["clarity"])

    def to(self, device: torch.device) -> "Model":
        """The same model, computing there from now on."""
        self.control.to(device)
        self.clearest.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.control.parameters()).device

    @torch.no_grad()
    def restore(self, images: ArrayLike | Tensor, clarity: float | None = None) -> Tensor:
        """Restored images in [0, 1], float32, of the same shape, where the model is.

        A model of one channel restores the three of a colour image one by one. Beyond its border an image goes on with
        its border pixels.

        Args:
            images: [N, C, H, W] in [0, 1], of any size, C being 1 or 3.
            clarity: from 0, closest to the truth on average, to 1, the most pleasing to a discriminator; see `network`.

        Raises:
            ValueError: the images have another shape, or values outside.
        """
        values = torch.as_tensor(images, dtype=torch.float32)
        if values.ndim != 4 or values.shape[1] not in (1, 3) or not values.numel():
            raise ValueError(f"images must be [N, 1 or 3, H, W], not {list(values.shape)}")
        if not bool(((values >= 0) & (values <= 1)).all()):
            raise ValueError("images must lie in [0, 1]; divide 8-bit pixels by 255")
        network = self.network(self.clarity if clarity is None else clarity)
        values = values.to(self.device)
        restored = torch.empty_like(values)
        height, width = values.shape[2:]
        for tile in tiles(height, width, self.reach):
            rows, columns = map(torch.from_numpy, tile.shown)
            restored[..., *tile.place] = self.apply(network, values[..., rows, columns])[..., *tile.kept]
        return restored

    def apply(self, network: nn.Module, part: Tensor) -> Tensor:
        """What the network makes of a part that fits in memory, clipped to [0, 1]."""
        count, channels, height, width = part.shape
        if self.channels == 1:
            part = part.reshape(count * channels, 1, height, width)
        elif channels == 1:
            part = part.expand(count, self.channels, height, width)
        few = max(1, AT_ONCE // (height * width))
        answer = torch.cat([network(some) for some in part.split(few)]).clamp(0, 1)
        if self.channels == 1:
            return answer.reshape(count, channels, height, width)
        return answer.mean(1, keepdim=True) if channels == 1 else answer

    def network(self, clarity: float) -> nn.Module:
        """The network at one clarity: its weights lie between those of the control, 0, and the clearest, 1.

        Raises:
            ValueError: the clarity lies outside [0, 1].
        """
        if not 0 <= clarity <= 1:
            raise ValueError(f"clarity must lie in [0, 1], not {clarity!r}")
        between = deepcopy(self.control)
        between.load_state_dict(interpolated(self.control.state_dict(), self.clearest.state_dict(), clarity))
        return between

    @cached_property
    def reach(self) -> int:
        """How far around a pixel the network looks, in pixels."""
        return reach_of(self.control, self.channels)


def interpolated(start: State, end: State, weight: float) -> dict[str, Tensor]:
    """Weights so far from one network to another; at 0 and 1 they are those networks' own.

    Networks trained on from the same weights can be interpolated, and what they do moves from the one to the other
    (Wang et al. 2019, arXiv:1811.10515).
    """
    return {  # BatchNorm counts its batches in whole numbers, which mean nothing here
        name: torch.lerp(first, end[name], weight) if first.is_floating_point() else first
        for name, first in start.items()
    }


def saved(state: State, facts: Mapping[str, Any]) -> Weights:
    """The weights of a network as they are written into a run folder.

    Args:
        facts: what `load` needs: arch, channels, sigma (the range trained on), noise and clarity (0 to 1, the default).
    """
    return Weights({name: tensor.cpu() for name, tensor in state.items()}, facts)


def load(folder: str | Path) -> Model:
    """Read a restorer; `bs6207.deblur.load` says how."""
    place = Path(at_home(str(folder)))
    if not (place / f"{CONTROL}.safetensors").exists():
        raise FolderError(
            f"{folder} holds no restorer; run bs6207 deblur first, or give --model, the folder of such a run"
        )
    clearest = next((name for name in CLEAREST if (place / f"{name}.safetensors").exists()), CLEAREST[-1])
    networks: list[nn.Module] = []
    told: list[dict[str, Any]] = []
    for name in (CONTROL, clearest):
        file = place / f"{name}.safetensors"
        tensors, facts = read(file)
        told.append(facts)
        try:
            if (arch := facts["arch"]) == ONE_SIZE:
                raise FolderError(
                    f"{folder} was trained with --arch {arch}, which takes images of one size only; train with "
                    "--arch unet"
                )
            if arch != "unet":
                raise ValueError(f"no architecture {arch!r}")
            network = UNet(facts["channels"])
            network.load_state_dict(tensors)
            networks.append(network)
        except (KeyError, TypeError, ValueError, RuntimeError) as failure:
            raise foreign(file, failure) from None
    if told[0] != told[1]:
        raise FolderError(f"{file} and {CONTROL}.safetensors are of different runs; run bs6207 deblur again")
    try:
        control, clearer = networks
        return Model(control, clearer, facts)
    except (KeyError, TypeError, ValueError) as failure:
        raise foreign(file, failure) from None


def read(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file, and the facts beside them."""
    try:
        with safe_open(file, framework="pt") as content:
            facts: dict[str, Any] = json.loads(content.metadata()[METADATA])
            names = content.keys()
            return {name: content.get_tensor(name) for name in names}, facts
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as failure:
        raise foreign(file, failure) from None


def foreign(file: Path, failure: Exception) -> FolderError:
    """What is told of a file that cannot be used."""
    reason = " ".join(str(failure).split())  # torch needs several lines
    return FolderError(f"{file} is not a restorer of bs6207 deblur: {reason}; run bs6207 deblur again")
