"""Latents as TensorBoard's projector reads them: text files and a sprite, written without TensorBoard.

`tensorboard --logdir outputs/latent` shows them; the extra `[tensorboard]` brings only that viewer.
"""

import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bs6207.runs.result import Table

WIDEST_SPRITE = 8192  # pixels a side, what browsers take
SPRITE = "projector_sprite.png"


def projector_files(
    latents: Mapping[int, NDArray[np.float32]], metadata: Mapping[int, Table], pixels: NDArray[np.uint8]
) -> dict[str, bytes]:
    """The projector's files by name: vectors and metadata per latent size, one sprite, and the list of them.

    Args:
        latents: by size, [N, dim].
        metadata: by size, a row for each of the N images and at least two columns, or there would be no header.
        pixels: uint8, [N, C, H, W].
    """
    image, (height, width) = sprite(pixels)
    files, entries = {SPRITE: image}, []
    for dim, vectors in latents.items():
        tensor, about = f"projector_{dim}_vectors.tsv", f"projector_{dim}_metadata.tsv"
        table = metadata[dim]
        files[tensor] = tsv(list(vectors))  # numpy writes a float32 in as few digits as tell it apart
        files[about] = tsv([table.columns, *([row[column] for column in table.columns] for row in table.rows)])
        entries.append(
            f'embeddings {{\n  tensor_name: "latent of {dim} numbers"\n  tensor_path: "{tensor}"\n'
            f'  metadata_path: "{about}"\n  sprite {{\n    image_path: "{SPRITE}"\n'
            f"    single_image_dim: {width}\n    single_image_dim: {height}\n  }}\n}}\n"
        )
    return files | {"projector_config.pbtxt": "".join(entries).encode()}


def tsv(rows: Sequence[Sequence[object]]) -> bytes:
    """Lines of tab-separated values; a tab or a line break inside a value becomes a space."""
    return "".join("\t".join(" ".join(str(cell).split()) for cell in row) + "\n" for row in rows).encode()


def sprite(pixels: NDArray[np.uint8]) -> tuple[bytes, tuple[int, int]]:
    """All images in rows of one square PNG, thinned out where it would be too wide; and their height and width."""
    side = math.ceil(math.sqrt(len(pixels)))
    step = math.ceil(side * max(pixels.shape[2:]) / WIDEST_SPRITE)
    shown = pixels[:, :, ::step, ::step].transpose(0, 2, 3, 1)  # [N, H, W, C]
    count, height, width, channels = shown.shape
    grid = np.zeros((side * side, height, width, channels), np.uint8)
    grid[:count] = shown
    whole = grid.reshape(side, side, height, width, channels).swapaxes(1, 2)
    whole = whole.reshape(side * height, side * width, channels)
    stream = io.BytesIO()
    Image.fromarray(whole[:, :, 0] if channels == 1 else whole[:, :, :3]).save(stream, "PNG")
    return stream.getvalue(), (height, width)
