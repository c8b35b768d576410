"""A trained restorer, read from a run folder and applied to images of any size, tile by tile."""

import json
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from functools import partial
from itertools import product
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from bs6207.data.images import ImageSet, Photographs, within_unit
from bs6207.deblur.networks import REACH, STRIDE, BlindUNet, State, UNet
from bs6207.errors import FolderError, reason_of
from bs6207.runs.names import at_home
from bs6207.runs.result import METADATA

TILE = 512  # pixels, a multiple of every STRIDE: 100 MB of features at most, and little is computed twice
CONTROL = "restorer_l1"  # trained with L1 alone: clarity 0
CLEAREST = ("restorer_strong", "restorer_l1_disc")  # clarity 1 is the first of them in the run folder

Window = tuple[slice, slice]  # rows and columns


DRAWINGS, PHOTOGRAPHS = KINDS = ("drawings", "photographs")  # such as digits; and all else
EVEN = 1 / 8  # of a picture's own range: what lies so near to its darkest or brightest levels is its ground
OUTLIERS = 0.5  # per cent of pixels at either end that the range leaves out, for noise
# Of MNIST's test images the ground takes .70 or more, under a blur of sigma 3 .23 or more in 99 of 100; of nine in ten
# photographs .30 or less, but of a night's sky .9, which colour tells from a drawing.
SURELY_DRAWN, HARDLY_DRAWN = 0.65, 0.20
EXAMINED = 100  # training images that tell drawings from photographs


def kinds_of(pixels: NDArray[Any]) -> set[str]:
    """Which of `KINDS` a picture, [C, H, W], may be."""
    grey = pixels.mean(axis=0)
    low, high = np.percentile(grey, (OUTLIERS, 100 - OUTLIERS))
    ends = (grey < low + EVEN * (high - low)).mean(), (grey > high - EVEN * (high - low)).mean()
    has_colour = len(pixels) == 3 and bool((np.ptp(pixels, axis=0) > EVEN * np.iinfo(pixels.dtype).max).any())
    if high > low and (max(ends) < HARDLY_DRAWN or has_colour):
        return {PHOTOGRAPHS}
    return {DRAWINGS} if max(ends) > SURELY_DRAWN else {DRAWINGS, PHOTOGRAPHS}


def kind_of_images(images: ImageSet) -> str:
    """What training images are: drawings if most of them may be nothing else, and else just `images`."""
    if isinstance(images, Photographs):
        return PHOTOGRAPHS
    drawn = [kinds_of(image) == {DRAWINGS} for image in images.pixels[:EXAMINED]]
    return DRAWINGS if np.mean(drawn) > 1 / 2 else "images"


class Tile(NamedTuple):
    shown: tuple[NDArray[np.intp], ...]  # rows, [H, 1], and columns, [1, W], that the network sees; the border repeats
    used: Window  # the part of its output that is used
    place: Window  # where that part belongs


def tiles(height: int, width: int) -> Iterator[Tile]:
    """Tiles whose `place` covers the image once, each shown with REACH pixels around it.

    Beyond the image its border pixels repeat, so that the network's own padding, zeros, affects no pixel that is used.
    Tiles start and end at a multiple of STRIDE, as the network's grid does, so every used pixel depends on the same
    pixels as if the network saw the whole image.
    """
    for (rows, used_rows, top), (columns, used_columns, left) in product(spans(height), spans(width)):
        yield Tile(np.ix_(rows, columns), (used_rows, used_columns), (top, left))


def spans(length: int) -> Iterator[tuple[NDArray[np.intp], slice, slice]]:
    """Along one axis: the pixels shown, the part used, and its place."""
    for start in range(0, length, TILE):
        stop = min(start + TILE, length)
        shown = np.arange(start - REACH, stop + -stop % STRIDE + REACH).clip(0, length - 1)
        yield shown, slice(REACH, REACH + stop - start), slice(start, stop)


def restore_tiles(restore_part: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Inputs of a restorer, [N, K, H, W], restored tile by tile to what one pass would give, [N, C, H, W]."""
    restored = None
    for tile in tiles(inputs.shape[2], inputs.shape[3]):
        rows, columns = map(torch.from_numpy, tile.shown)
        part = restore_part(inputs[..., rows, columns])
        if restored is None:
            restored = part.new_empty(*part.shape[:2], *inputs.shape[2:])
        restored[..., *tile.place] = part[..., *tile.used]
    assert restored is not None  # there is no image without a pixel
    return restored


class Model(nn.Module):
    """A trained restorer; its attributes are those of the run that trained it."""

    def __init__(self, control: nn.Module, clearest: nn.Module, metadata: Mapping[str, Any]):
        super().__init__()
        self.control, self.clearest = control, clearest
        self.eval()
        self.channels: int = metadata["channels"]  # 1 or 3
        self.sigma: tuple[float, float] = metadata["sigma"]  # the narrowest and the widest blur, in pixels
        self.clarity: float = metadata["clarity"]  # the default of `restore`
        self.blur: list[str] = metadata.get("blur", ["gaussian"])  # its kinds
        # what the images of the training were: `data`, the name of the data set, and `pictures`, one of `KINDS`, or
        # `images` if they are neither for sure; empty where the run did not record it
        self.trained_on: dict[str, str] = metadata.get("trained_on", {})

    @property
    def device(self) -> torch.device:
        return next(self.control.parameters()).device

    @torch.no_grad()
    def restore(self, images: ArrayLike | Tensor, clarity: float | None = None) -> Tensor:
        """Restored images in [0, 1], float32, of the same shape, on the model's device.

        A model of one channel restores the three of a colour image one by one. Border pixels repeat as padding.

        Args:
            images: [N, C, H, W] in [0, 1], of any size, C being 1 or 3.
            clarity: from 0, closest to the truth on average, to 1, the most pleasing to a discriminator; see `network`.

        Raises:
            ValueError: the images have another shape, or values outside.
        """
        array = images if isinstance(images, Tensor) else np.array(images, np.float32)  # torch warns of read-only ones
        values = torch.as_tensor(array, dtype=torch.float32)
        if values.ndim != 4 or values.shape[1] not in (1, 3) or not values.numel():
            raise ValueError(f"images must be [N, 1 or 3, H, W], not {list(values.shape)}")
        network = self.network(self.clarity if clarity is None else clarity)
        values = within_unit(values).to(self.device)
        restore_part = partial(self.restore_part, network, values.shape[1])
        return restore_tiles(restore_part, self.inputs(network, values))

    @torch.no_grad()
    def inputs(self, network: nn.Module, images: Tensor) -> Tensor:
        """What the network takes of images [N, C, H, W], each channel by itself if the model has one, [M, K, H, W]."""
        is_grey = self.channels == 1
        planes = images.reshape(-1, 1, *images.shape[2:]) if is_grey else images.expand(-1, self.channels, -1, -1)
        if not isinstance(network, BlindUNet):
            return planes
        kernels = network.kernels(images).mean(0)
        return network.inputs(planes, kernels.repeat_interleave(len(planes) // len(images), 0))

    def restore_part(self, network: nn.Module, channels: int, part: Tensor) -> Tensor:
        """The output for a part of `inputs` that fits in memory, [N, channels, H, W], clipped to [0, 1]."""
        size = max(1, TILE * TILE // (part.shape[2] * part.shape[3]))
        output = torch.cat([network(batch) for batch in part.split(size)]).clamp(0, 1)
        if self.channels > channels:
            return output.mean(1, keepdim=True)
        return output.reshape(-1, channels, *part.shape[2:])

    def network(self, clarity: float) -> nn.Module:
        """The network at one clarity: its weights lie between those of the control, 0, and the clearest, 1."""
        if not isinstance(clarity, Real) or not 0 <= clarity <= 1:
            raise ValueError(f"clarity must lie in [0, 1], not {clarity!r}")
        between = deepcopy(self.control)
        between.load_state_dict(interpolated(self.control.state_dict(), self.clearest.state_dict(), clarity))
        return between


def interpolated(start: State, end: State, weight: float) -> dict[str, Tensor]:
    """Weights between those of two networks fine-tuned from the same start (Wang et al. 2019, arXiv:1811.10515)."""
    return {  # BatchNorm counts its batches in whole numbers, which mean nothing here
        name: torch.lerp(first, end[name], weight) if first.is_floating_point() else first
        for name, first in start.items()
    }


def load(folder: str | Path) -> Model:
    """Read a restorer; see `bs6207.deblur.load`."""
    place = Path(at_home(str(folder)))
    control, *others = (place / f"{name}.safetensors" for name in (CONTROL, *CLEAREST))
    if not control.exists():
        if Path(f"{place}.partial").exists():
            raise FolderError(f"the run of {folder} has not ended; run the same bs6207 deblur again, which goes on")
        remedy = "run bs6207 deblur first, or give --model, the folder of such a run"
        raise FolderError(f"{folder} holds no restorer; {remedy}")
    clearest = next((file for file in others if file.exists()), others[-1])
    (first, metadata), (second, other) = read(control), read(clearest)
    if metadata != other:
        raise FolderError(f"{clearest} and {control.name} are of different runs; run bs6207 deblur again")
    return Model(first, second, metadata)


def read(file: Path) -> tuple[nn.Module, dict[str, Any]]:
    try:
        with safe_open(file, framework="pt") as content:
            metadata: dict[str, Any] = json.loads(content.metadata()[METADATA])
            names = content.keys()
            tensors = {name: content.get_tensor(name) for name in names}
        if (arch := metadata["arch"]) == "autoencoder":
            one_size = "which takes images of one size only; train with --arch unet"
            raise FolderError(f"{file.parent} was trained with --arch {arch}, {one_size}")
        if arch != "unet":
            raise ValueError(f"no architecture {arch!r}")
        is_blind = any(name.startswith("kernel_nets.") for name in tensors)
        network = BlindUNet(metadata["channels"]) if is_blind else UNet(metadata["channels"])
        network.load_state_dict(tensors)
        low, high = metadata["sigma"]
        return network, metadata | {"sigma": (float(low), float(high)), "clarity": float(metadata["clarity"])}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as failure:
        raise FolderError(
            f"{file} is not a restorer of bs6207 deblur: {reason_of(failure)}; run bs6207 deblur again"
        ) from None
