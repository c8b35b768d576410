"""The independent pieces of the latent experiment and what comes of them; study.py does them.

Apart from it, as torch takes a second to import, and whoever plans the pieces need not wait for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bs6207.data.images import DataSet, ImageSet
from bs6207.latent.settings import LatentSettings
from bs6207.runs.result import Checkpointable, Row, Weights

CONSTANTS = {"l1": "median", "mse": "mean"}  # by the loss, the image that is the best guess for all images
SHOWN_IMAGES = 12
WALKS, WALK_STEPS = 5, 9  # pairs of test images, and images on the way from one to the other
PLANE_SIDE = 24  # places along each axis of a latent of two numbers that are decoded


@dataclass(frozen=True)
class Search:
    """What to look for in vectors: clusters, by which clusterers, how many, with which seed; and probes, or not."""

    clusterers: tuple[str, ...]
    clusters: int
    seed: int
    probes: bool = True


@dataclass(frozen=True)
class Task:
    """A piece of work that needs nothing but itself.

    Attributes:
        dims: one latent size for an autoencoder, all of them for PCA; raw pixels have none and take no notice.
        floor: the validation loss of the best constant image; an autoencoder must do clearly better.
        sha256: of the data set.
    """

    kind: str
    dims: tuple[int, ...]
    search: Search
    floor: float
    sha256: str
    settings: LatentSettings

    @property
    def seed(self) -> int:
        """Of every random number in the task."""
        return self.search.seed


@dataclass(frozen=True)
class Cell(Checkpointable):
    """One autoencoder: what it scores on the test images, and what is drawn of it.

    Attributes:
        scores: l1, mse, psnr, clusters, probes, best_epoch, and beats_constant, whether it does clearly better than the
            best constant image on validation images.
        history: a row per epoch.
        latents: float32, [N, dim], of the test images; `partitions` their clusters, [N], by clusterer.
        centroids: by clusterer, the decoded mean latent of each cluster, [clusters, C, H, W].
        shown: reconstructions of `shown_images`, [SHOWN_IMAGES, C, H, W].
        walks: decoded straight lines between the latents of `walk_ends`, [WALKS, WALK_STEPS, C, H, W].
        plane: of a latent of two numbers, what `plane_places` decode to, [PLANE_SIDE, PLANE_SIDE, C, H, W].
    """

    dim: int
    seed: int
    scores: dict[str, Any]
    history: list[Row]
    latents: NDArray[np.float32]
    partitions: dict[str, NDArray[np.int64]]
    centroids: dict[str, NDArray[np.float32]]
    shown: NDArray[np.float32]
    walks: NDArray[np.float32]
    weights: Weights = field(repr=False)
    plane: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Baseline(Checkpointable):
    """Scores of raw pixels, or by latent size those of PCA, with one seed of the clusterers."""

    kind: str
    seed: int
    scores: Mapping[Any, Any]


@dataclass(frozen=True)
class Failure(Checkpointable):
    """An autoencoder that has learned nothing, and why it is said to."""

    dim: int
    seed: int
    reason: str


def shown_images(images: ImageSet) -> NDArray[np.int64]:
    """The places of the images that stand for all: the first of every class, then the first of the rest."""
    first = np.zeros(0, np.int64) if images.labels is None else np.unique(images.labels, return_index=True)[1]
    rest = np.setdiff1d(np.arange(len(images)), first)
    return np.concatenate([first, rest])[:SHOWN_IMAGES]


def walk_ends(images: ImageSet) -> list[tuple[int, int]]:
    """Pairs of test images to walk between: the first of a class and the first of the next, as far as there are any."""
    labels = images.labels
    first = range(len(images)) if labels is None else np.unique(labels, return_index=True)[1].tolist()
    return list(zip(first[0::2], first[1::2], strict=False))[:WALKS] or [(0, len(images) - 1)]


DIGITS = tuple("0123456789")


def class_names(data: DataSet) -> tuple[str, ...]:
    """The name of every class, by label; empty where the images have no labels."""
    return () if data.test.labels is None else data.classes


def noun(names: Sequence[str]) -> str:
    """What one of the classes is called; also the name of its column."""
    return "digit" if tuple(names) == DIGITS else "class"


def unscored(learn: ImageSet, test: ImageSet) -> str | None:
    """Why clusters and probes cannot be scored against the classes; None where they can be."""
    for kind, images in (("training", learn), ("test", test)):
        if images.labels is None:
            return "the images have no labels"
        if len(np.unique(images.labels)) < 2:
            return f"all {kind} images are of one class"
    return None


def numbers(dim: int) -> str:
    """A latent size in words."""
    return "1 number" if dim == 1 else f"{dim} numbers"
