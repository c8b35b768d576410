"""What does a discriminator add to L1 when restoring a blurred image?"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bs6207.deblur.model import Model


def load(folder: str | Path) -> "Model":
    """A trained restorer from a finished run of `bs6207 deblur`.

    Returns:
        A model with `restore(images [N, C, H, W] in [0, 1], clarity)`, giving restored images of the same shape;
        clarity 0 is L1 alone, 1 the strongest discriminator that the run trained with.

    Raises:
        bs6207.errors.FolderError: the folder holds none, its file is damaged, or it takes images of one size only.
    """
    from bs6207.deblur import model

    return model.load(folder)
