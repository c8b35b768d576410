"""The data that the page's scripts read, by experiment."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from bs6207.data.images import to_uint8
from bs6207.page.decoder import read_decoder
from bs6207.page.packing import pack
from bs6207.page.runs import by_dim
from bs6207.runs.finished import RunFolder
from bs6207.runs.result import Row, Table

CHECKED = 6  # places along each axis of the plane at which a decoder is held against what the run has drawn
MOST_PIXELS = 400_000  # bytes of the test images in the plane; further ones are left out


def bump(run: RunFolder, exact: bool) -> dict[str, Any]:
    """The run's settings and optimizers; the script computes the paths."""
    return {"settings": run.settings, "optimizers": list(run.metrics.get("optimizers", {}))}


def latent(run: RunFolder, exact: bool) -> dict[str, Any] | None:
    """Images by latent size, and the plane of two dimensions; `exact`: with the decoder, if the page can run it."""
    images, cells, sizes = run.arrays("images.npz"), by_dim(run.metrics.get("cells", {})), []
    cells = [(dim, cell) for dim, cell in cells if f"reconstructions_{dim}" in images]
    if not cells:
        return None
    clusterers, clusters = list(cells[0][1].get("clusters", {})), run.table("clusters")
    for dim, cell in cells:
        centroids = {
            name: {"images": pack(to_uint8(images[key])), "captions": captions(clusters, dim, name)}
            for name in clusterers
            if (key := f"centroids_{dim}_{name}") in images
        }
        reconstructions = pack(to_uint8(images[f"reconstructions_{dim}"]))
        sizes.append(
            {"dim": int(dim), "l1": cell.get("l1"), "reconstructions": reconstructions, "centroids": centroids}
        )
    return {
        "originals": pack(to_uint8(images["originals"])),
        "clusterers": clusterers,
        "sizes": sizes,
        "plane": plane(run, images, clusterers, exact),
    }


def plane(run: RunFolder, images: Mapping[str, Any], clusterers: list[str], exact: bool) -> dict[str, Any] | None:
    """The latent of two dimensions: test images in it, and the decoder, or its images at an even grid of places."""
    table = run.table("latents_2")
    if table is None or not table.rows:
        return None
    latents = np.array([[float(row["z1"]), float(row["z2"])] for row in table.rows], np.float32)
    chosen, pixels = images.get("plane_images", np.arange(min(1000, len(latents)))), images.get("plane_pixels")
    if pixels is not None:
        count = max(1, MOST_PIXELS // math.prod(pixels.shape[1:]))
        chosen, pixels = chosen[:count], pixels[:count]
    ends = images.get("plane_ends", np.stack([latents.min(0), latents.max(0)]))
    drawn = images.get("plane")
    decoder = read_decoder(run.place / f"autoencoder_2_{run.settings.get('seed', 0)}.safetensors") if exact else None
    if decoder and drawn is not None:
        steps = np.linspace(0, len(drawn) - 1, CHECKED).round().astype(int)
        checked = np.ix_(steps, steps)
        places, expected = grid(ends, len(drawn))[checked], drawn[checked]
        if not decoder.agrees(places.reshape(-1, 2), expected.reshape(-1, *drawn.shape[2:])):
            decoder = None
    if decoder is None and drawn is None:
        return None
    around = np.concatenate([latents[chosen], grid(ends, CHECKED).reshape(-1, 2)])
    rows = [table.rows[place] for place in chosen]
    return {
        "shape": list((drawn if drawn is not None else images["originals"]).shape[-3:]),
        "ends": ends.tolist(),
        "layers": decoder.packed(around) if decoder else None,
        "grid": None if decoder or drawn is None else pack(drawn),
        "latents": pack(latents[chosen]),
        "pixels": None if pixels is None else pack(pixels),
        "images": chosen.tolist(),
        "colours": {name: coloured(rows, name) for name in table.columns if name not in ("image", "z1", "z2")},
        "clusterers": clusterers,
    }


def grid(ends: np.ndarray, side: int) -> np.ndarray:
    """Places on an even grid between two corners, [side, side, 2], row by row of the second dimension."""
    return np.stack(np.meshgrid(*np.linspace(ends[0], ends[1], side).T), axis=-1)


def coloured(rows: list[Row], column: str) -> dict[str, Any]:
    """The distinct values of a column, sorted, and the index of each row's."""
    names = sorted({row[column] for row in rows}, key=lambda name: (len(name), name) if name.isdigit() else (99, name))
    return {"names": names, "places": [names.index(row[column]) for row in rows]}


def captions(clusters: Table | None, dim: str, clusterer: str) -> list[str]:
    """Name and number of test images of each cluster of the first seed."""
    if clusters is None or not clusters.rows:
        return []
    chosen = [row for row in clusters.rows if (row["dim"], row["clusterer"]) == (dim, clusterer)]
    counts, names = Counter[str](), dict[str, str]()
    for row in chosen:
        if row["seed"] == chosen[0]["seed"]:
            counts[row["cluster"]] += int(row["count"])
            names[row["cluster"]] = f"named {row['name'] or '?'}\n" if "name" in clusters.columns else ""
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


def audit(run: RunFolder, exact: bool) -> None:
    """Nothing moves: the section has the tables and the figure."""


EXPLORERS = {"bump": bump, "latent": latent, "deblur": deblur, "audit": audit}
