"""The data that the page's scripts read, by experiment."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bs6207.data.images import to_uint8
from bs6207.page.decoder import read_decoder
from bs6207.page.packing import pack
from bs6207.page.runs import RunFolder, by_dim
from bs6207.runs.result import Row, Table

CHECKED = 6  # places along each axis of the plane at which a decoder is held against what the run has drawn
MOST_PIXELS = 400_000  # bytes of the test images in the plane; further ones are left out


def bump(run: RunFolder, exact: bool) -> dict[str, Any]:
    """The run's settings and optimizers; the script computes the paths."""
    return {"settings": run.settings, "optimizers": list(run.metrics.get("optimizers", {}))}


def latent(run: RunFolder, exact: bool) -> dict[str, Any] | None:
    """Images by latent size and, where there is a latent of two dimensions, its plane.

    Args:
        exact: with the decoder's weights, if it is of a kind that the page can run.
    """
    images = run.arrays("images.npz")
    dims = [int(dim) for dim, _ in by_dim(run.metrics.get("cells", {})) if f"reconstructions_{dim}" in images]
    if not dims:
        return None
    clusterers = list(run.metrics["cells"][str(dims[0])].get("clusters", {}))
    clusters = run.table("clusters")
    return {
        "originals": pack(to_uint8(images["originals"])),
        "clusterers": clusterers,
        "sizes": [
            {
                "dim": dim,
                "l1": run.metrics["cells"][str(dim)].get("l1"),
                "reconstructions": pack(to_uint8(images[f"reconstructions_{dim}"])),
                "centroids": {
                    name: {"images": pack(to_uint8(images[key])), "captions": captions(clusters, dim, name)}
                    for name in clusterers
                    if (key := f"centroids_{dim}_{name}") in images
                },
            }
            for dim in dims
        ],
        "plane": plane(run, images, clusterers, exact),
    }


def plane(run: RunFolder, images: Mapping[str, Any], clusterers: list[str], exact: bool) -> dict[str, Any] | None:
    """The latent of two dimensions: test images in it, and the decoder, or its images at an even grid of places."""
    table = run.table("latents_2")
    if table is None or not table.rows:
        return None
    latents = np.array([[float(row["z1"]), float(row["z2"])] for row in table.rows], np.float32)
    colours = [column for column in table.columns if column not in ("image", "z1", "z2")]
    chosen, pixels = images.get("plane_images", np.arange(min(1000, len(latents)))), images.get("plane_pixels")
    if pixels is not None:
        count = max(1, MOST_PIXELS // math.prod(pixels.shape[1:]))
        chosen, pixels = chosen[:count], pixels[:count]
    ends = images.get("plane_ends", np.stack([latents.min(0), latents.max(0)]))
    drawn = images.get("plane")
    seed = run.settings.get("seed", 0)
    decoder = read_decoder(run.place / f"autoencoder_2_{seed}.safetensors") if exact else None
    if decoder and drawn is not None:
        steps = np.linspace(0, len(drawn) - 1, CHECKED).round().astype(int)
        places = grid(ends, len(drawn))[np.ix_(steps, steps)].reshape(-1, 2)
        if not decoder.agrees(places, drawn[np.ix_(steps, steps)].reshape(-1, *drawn.shape[2:])):
            decoder = None
    if decoder is None and drawn is None:
        return None
    around = np.concatenate([latents[chosen], grid(ends, CHECKED).reshape(-1, 2)])
    return {
        "shape": list((drawn if drawn is not None else images["originals"]).shape[-3:]),
        "ends": ends.tolist(),
        "layers": decoder.packed(around) if decoder else None,
        "grid": None if decoder or drawn is None else pack(drawn),
        "latents": pack(latents[chosen]),
        "pixels": None if pixels is None else pack(pixels),
        "images": chosen.tolist(),
        "colours": {column: coloured([table.rows[place] for place in chosen], column) for column in colours},
        "clusterers": clusterers,
    }


def grid(ends: np.ndarray, side: int) -> np.ndarray:
    """Places on an even grid between two corners, [side, side, 2], row by row of the second dimension."""
    first, second = (np.linspace(ends[0][axis], ends[1][axis], side) for axis in (0, 1))
    return np.stack(np.meshgrid(first, second), axis=-1)


def coloured(rows: list[Row], column: str) -> dict[str, Any]:
    """The distinct values of a column, sorted, and the index of each row's."""
    names = sorted({row[column] for row in rows}, key=lambda name: (len(name), name) if name.isdigit() else (99, name))
    return {"names": names, "places": [names.index(row[column]) for row in rows]}


def captions(clusters: Table | None, dim: int, clusterer: str) -> list[str]:
    """Name and number of test images of each cluster of the first seed."""
    if clusters is None or not clusters.rows:
        return []
    chosen = [row for row in clusters.rows if (row["dim"], row["clusterer"]) == (str(dim), clusterer)]
    chosen = [row for row in chosen if row["seed"] == chosen[0]["seed"]]
    counts: dict[str, int] = {}
    for row in chosen:
        counts[row["cluster"]] = counts.get(row["cluster"], 0) + int(row["count"])
    named = "name" in clusters.columns
    names = {row["cluster"]: f"named {row['name'] or '?'}\n" if named else "" for row in chosen}
    return [f"cluster {cluster}\n{names[cluster]}{count:,}" for cluster, count in counts.items()]


def deblur(run: RunFolder, exact: bool) -> dict[str, Any] | None:
    """A few test images, blurred and restored at every sigma and clarity, and the scores of all."""
    examples = run.arrays("examples.npz")
    if not examples:
        return None
    frontier, clarity = run.metrics.get("frontier"), run.metrics.get("clarity", {})
    return {
        **{name: examples[name].tolist() for name in ("sigmas", "weights")},
        **{name: pack(examples[name]) for name in ("clear", "blurred", "restored")},
        "line": frontier or clarity.get("validation", []),
        "scored": "test" if frontier else "validation",
        "chosen": clarity.get("chosen", 0),
        "noise": run.settings.get("noise"),
    }


EXPLORERS = {"bump": bump, "latent": latent, "deblur": deblur}
