"""Files of latents for TensorBoard's projector (`tensorboard --logdir outputs/latent`), written without TensorBoard."""

import io
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bs6207.runs.result import Row

MAX_SPRITE_SIDE = 8192  # pixels, the limit of browsers
SPRITE = "projector_sprite.png"


def projector_files(
    latents: Mapping[int, NDArray[np.float32]], metadata: Mapping[int, Sequence[Row]], pixels: NDArray[np.uint8]
) -> dict[str, bytes]:
    """The projector's files by name: vectors and metadata per latent size, one sprite, and their configuration.

    Args:
        latents: by dim, [N, dim].
        metadata: by dim, a row for each of the N images and at least two columns, or the projector reads no header.
        pixels: uint8, [N, C, H, W]; subsampled where all images in a square would be too large.
    """
    side = math.ceil(math.sqrt(len(pixels)))
    step = math.ceil(side * max(pixels.shape[2:]) / MAX_SPRITE_SIDE)
    shown = pixels[:, :3, ::step, ::step]
    count, channels, height, width = shown.shape
    padded = np.pad(shown, [(0, side * side - count), (0, 0), (0, 0), (0, 0)])
    sprite = padded.reshape(side, side, channels, height, width).transpose(0, 3, 1, 4, 2)
    sprite = sprite.reshape(side * height, side * width, channels).squeeze(2 if channels == 1 else ())
    Image.fromarray(sprite).save(stream := io.BytesIO(), "PNG")

    files, entries = {SPRITE: stream.getvalue()}, []
    for dim, vectors in latents.items():
        tensor, labels, rows = f"projector_{dim}_vectors.tsv", f"projector_{dim}_metadata.tsv", metadata[dim]
        files[tensor] = tsv(vectors)  # numpy writes a float32 in as few digits as identify it
        files[labels] = tsv([rows[0], *(row.values() for row in rows)])
        entries.append(
            f'embeddings {{\n  tensor_name: "latent of {dim} dimensions"\n  tensor_path: "{tensor}"\n'
            f'  metadata_path: "{labels}"\n  sprite {{\n    image_path: "{SPRITE}"\n'
            f"    single_image_dim: {width}\n    single_image_dim: {height}\n  }}\n}}\n"
        )
    return files | {"projector_config.pbtxt": "".join(entries).encode()}


def tsv(rows: Iterable[Iterable[object]]) -> bytes:
    """Lines of tab-separated values; a tab or a line break inside a value becomes a space."""
    return "".join("\t".join(" ".join(str(cell).split()) for cell in row) + "\n" for row in rows).encode()
