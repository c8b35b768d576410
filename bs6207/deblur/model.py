"""A trained restorer, to be used again."""

import json
from collections.abc import Mapping
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import torch
from numpy.typing import ArrayLike
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from bs6207.deblur.networks import UNet
from bs6207.deblur.tiles import TILE, reach_of, tiles
from bs6207.errors import FolderError
from bs6207.experiment import FACTS, Weights
from bs6207.names import at_home

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
            facts: dict[str, Any] = json.loads(content.metadata()[FACTS])
            names = content.keys()
            return {name: content.get_tensor(name) for name in names}, facts
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as failure:
        raise foreign(file, failure) from None


def foreign(file: Path, failure: Exception) -> FolderError:
    """What is told of a file that cannot be used."""
    reason = " ".join(str(failure).split())  # torch needs several lines
    return FolderError(f"{file} is not a restorer of bs6207 deblur: {reason}; run bs6207 deblur again")
