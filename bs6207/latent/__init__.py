"""How many dimensions does a digit need before the ten classes separate?"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bs6207.latent.model import Model


def load(folder: str | Path, dim: int, seed: int | None = None) -> "Model":
    """A trained autoencoder from a finished run of `bs6207 latent`, such as outputs/latent.

    Args:
        dim: one of its latent sizes.
        seed: one of its seeds, the first if None.

    Returns:
        A model with `encode(images)`, from [N, C, H, W] in [0, 1] to latents, [N, dim], and `decode(latents)`.

    Raises:
        bs6207.errors.FolderError: the folder holds none of that size, or its file is damaged.
    """
    from bs6207.latent import model

    return model.load(folder, dim, seed)
