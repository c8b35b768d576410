"""A trained autoencoder, to be used again."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from numpy.typing import ArrayLike
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bs6207.errors import FolderError
from bs6207.latent.autoencoder import AT_ONCE, Autoencoder, Recipe
from bs6207.runs.names import at_home
from bs6207.runs.result import METADATA, Weights


class Model:
    """An autoencoder that has been trained; it only computes.

    Attributes:
        dim: numbers in a latent.
        image_shape: channels, height, width.
    """

    def __init__(self, network: Autoencoder, dim: int, image_shape: tuple[int, int, int]):
        self.network, self.dim, self.image_shape = network.eval(), dim, image_shape

    @torch.no_grad()
    def encode(self, images: ArrayLike | Tensor) -> Tensor:
        """Latents, float32, [N, dim].

        Args:
            images: [N, C, H, W] in [0, 1].

        Raises:
            ValueError: the images have another shape, or values outside.
        """
        values = self.checked(images, self.image_shape, "images")
        if not bool(((values >= 0) & (values <= 1)).all()):
            raise ValueError("images must lie in [0, 1]; divide 8-bit pixels by 255")
        return torch.cat([self.network.encoder(part) for part in values.split(AT_ONCE)])

    @torch.no_grad()
    def decode(self, latents: ArrayLike | Tensor) -> Tensor:
        """Images in [0, 1], float32, [N, C, H, W].

        Args:
            latents: [N, dim].

        Raises:
            ValueError: the latents have another size.
        """
        values = self.checked(latents, (self.dim,), "latents")
        return torch.cat([self.network.decoder(part) for part in values.split(AT_ONCE)])

    def checked(self, values: ArrayLike | Tensor, shape: tuple[int, ...], noun: str) -> Tensor:
        """The values in float32, if they are of that shape."""
        tensor = torch.as_tensor(values, dtype=torch.float32)
        if tensor.ndim != 1 + len(shape) or tuple(tensor.shape[1:]) != shape:
            wanted = ", ".join(("N", *map(str, shape)))
            raise ValueError(f"{noun} must be [{wanted}], not {list(tensor.shape)}")
        return tensor


def saved(network: Autoencoder, dim: int, recipe: Recipe, arch: str, image_shape: Sequence[int]) -> Weights:
    """The network as it is written into a run folder, with what `load` needs to build it again."""
    facts = {"dim": dim, "arch": arch, "image_shape": list(image_shape), "recipe": asdict(recipe)}
    return Weights({name: tensor.cpu() for name, tensor in network.state_dict().items()}, facts)


def file_name(dim: int, seed: int) -> str:
    """What the weights of an autoencoder are called in the run folder, without the ending."""
    return f"autoencoder_{dim}_{seed}"


def load(folder: str | Path, dim: int, seed: int | None = None) -> Model:
    """Read an autoencoder; `bs6207.latent.load` says how."""
    pattern = re.compile(r"autoencoder_(\d+)_(\d+)\.safetensors")
    place = Path(at_home(str(folder)))
    if not place.is_dir():
        raise FolderError(f"there is no folder {folder}; give one that bs6207 latent has filled")
    there = sorted(
        (int(match[1]), int(match[2]))
        for file in place.glob("*.safetensors")
        if (match := pattern.fullmatch(file.name))
    )
    chosen = [one for one in there if one[0] == dim and seed in (None, one[1])]
    if not chosen:
        has = ", ".join(f"{size} (seed {number})" for size, number in there) or "none"
        which = f"{dim} numbers" + ("" if seed is None else f" with seed {seed}")
        raise FolderError(f"{folder} holds no autoencoder of {which}; it has {has}")
    file = place / f"{file_name(*chosen[0])}.safetensors"
    try:
        with safe_open(file, framework="pt") as content:
            facts: dict[str, Any] = json.loads(content.metadata()[METADATA])
            names = content.keys()
            tensors = {name: content.get_tensor(name) for name in names}
        shape = tuple(facts["image_shape"])
        network = Autoencoder(shape, facts["dim"], Recipe(**facts["recipe"]), facts["arch"])
        network.load_state_dict(tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as failure:
        raise FolderError(
            f"{file} is not an autoencoder of bs6207 latent: {failure}; run bs6207 latent again"
        ) from None
    return Model(network, dim, shape)
