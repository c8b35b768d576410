"""Latents of many numbers seen in a plane: by principal components, or by UMAP, a second model."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bs6207.data.images import SPLIT_SEED
from bs6207.latent.clusterers import umap_quiet

MOST_POINTS = 2000  # images that are projected: more hide each other, and make the files large
TINY = np.finfo(np.float64).tiny
FEWEST = {"pca": 1, "umap": 4}  # images
NEIGHBOURS = 15  # that UMAP keeps near, its default; fewer where there are no more images


def drawn(count: int) -> NDArray[np.int64]:
    """The places of at most 2,000 of `count` images, ascending; the same in every run."""
    return np.sort(np.random.RandomState(SPLIT_SEED).permutation(count)[:MOST_POINTS])


def project(latents: NDArray[np.float32], method: str, seed: int) -> tuple[NDArray[np.float32], list[float] | None]:
    """Places in a plane, [N, 2], and with `pca` the share of the variance along each axis.

    Args:
        latents: [N, dim], at least two numbers each.
        method: `pca`, or `umap` (McInnes et al. 2018, arXiv:1802.03426), whose distances mean little.
        seed: of UMAP.
    """
    with threadpool_limits(1):  # the order in which threads add up would change the last digits
        if method == "umap":
            return umap(latents, seed), None
        centred = latents - latents.mean(axis=0, dtype=np.float64)
        _, lengths, axes = np.linalg.svd(centred, full_matrices=False)
        places, shares = np.zeros((len(latents), 2)), np.zeros(2)  # of a single image there is one axis
        places[:, : len(axes)] = centred @ axes[:2].T
        places *= np.sign(places[np.abs(places).argmax(0), [0, 1]])  # of the two directions always the same
        shares[: len(axes)] = (lengths**2 / np.maximum((lengths**2).sum(), TINY))[:2]
        return places.astype(np.float32), shares.tolist()


def umap(latents: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """UMAP's places in the plane, [N, 2]."""
    with umap_quiet():
        from umap import UMAP

        model: Any = UMAP(n_neighbors=min(NEIGHBOURS, len(latents) - 1), random_state=seed, n_jobs=1)
        return model.fit_transform(latents).astype(np.float32)
