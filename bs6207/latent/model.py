"""A trained autoencoder, saved and loaded."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import torch
from numpy.typing import ArrayLike
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bs6207.data.images import within_unit
from bs6207.errors import FolderError, reason_of
from bs6207.latent.autoencoder import AT_ONCE, Autoencoder, Recipe
from bs6207.runs.names import at_home
from bs6207.runs.result import METADATA, Weights


class Model:
    """A trained autoencoder, for inference only.

    Attributes:
        dim: dimensions of a latent.
        image_shape: channels, height, width.
    """

    def __init__(self, network: Autoencoder):
        self.network, self.dim, self.image_shape = network.eval(), network.dim, network.image_shape

    @torch.no_grad()
    def encode(self, images: ArrayLike | Tensor) -> Tensor:
        """Latents of images, from [N, C, H, W] in [0, 1] to float32, [N, dim].

        Raises:
            ValueError: the images have another shape, or values outside.
        """
        values = within_unit(as_tensor(images, self.image_shape, "images"))
        return torch.cat([self.network.encoder(batch) for batch in values.split(AT_ONCE)])

    @torch.no_grad()
    def decode(self, latents: ArrayLike | Tensor) -> Tensor:
        """Images of latents, from [N, dim] to float32 in [0, 1], [N, C, H, W].

        Raises:
            ValueError: the latents have another size.
        """
        values = as_tensor(latents, (self.dim,), "latents")
        return torch.cat([self.network.decoder(batch) for batch in values.split(AT_ONCE)])


def as_tensor(values: ArrayLike | Tensor, shape: tuple[int, ...], noun: str) -> Tensor:
    tensor = torch.as_tensor(values, dtype=torch.float32)
    if tensor.ndim != 1 + len(shape) or tuple(tensor.shape[1:]) != shape:
        raise ValueError(f"{noun} must be [{', '.join(('N', *map(str, shape)))}], not {list(tensor.shape)}")
    return tensor


def to_weights(network: Autoencoder) -> Weights:
    """The network as it is saved, with what `load` needs to build it again."""
    metadata = {"dim": network.dim, "arch": network.arch, "image_shape": list(network.image_shape)}
    tensors = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
    return Weights(tensors, metadata | {"recipe": asdict(network.recipe)})


def load(folder: str | Path, dim: int, seed: int | None = None) -> Model:
    """See `bs6207.latent.load`."""
    path = Path(at_home(str(folder)))
    if not path.is_dir():
        raise FolderError(f"there is no folder {folder}; give the folder of a run of bs6207 latent")
    matches = (re.fullmatch(r"autoencoder_(\d+)_(\d+)\.safetensors", file.name) for file in path.iterdir())
    saved = sorted((int(match[1]), int(match[2])) for match in matches if match)
    chosen = [key for key in saved if key[0] == dim and seed in (None, key[1])]
    if not chosen:
        available = ", ".join(f"dim {dim} (seed {seed})" for dim, seed in saved) or "none"
        wanted = f"dim {dim!r}" + ("" if seed is None else f" with seed {seed}")
        raise FolderError(f"{folder} holds no autoencoder of {wanted}; it has {available}")
    file = path / "autoencoder_{}_{}.safetensors".format(*chosen[0])
    try:
        with safe_open(file, framework="pt") as content:
            saved_as = json.loads(content.metadata()[METADATA])
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
        recipe = Recipe(**saved_as["recipe"])
        network = Autoencoder(tuple(saved_as["image_shape"]), saved_as["dim"], recipe, saved_as["arch"])
        network.load_state_dict(tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as failure:
        raise FolderError(
            f"{file} is not an autoencoder of bs6207 latent: {reason_of(failure)}; run bs6207 latent again"
        ) from None
    return Model(network)
