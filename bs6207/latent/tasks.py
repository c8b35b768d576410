"""The independent tasks of the latent experiment: an autoencoder per dim and seed, and baselines per seed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import sklearn.cluster  # noqa: F401 (every task needs it: here, once for all workers)
import torch
from numpy.typing import NDArray
from torch import Tensor

from bs6207.data.images import DataSet, ImageSet
from bs6207.data.sources import loaded, require_same
from bs6207.errors import DivergenceError, after
from bs6207.latent.autoencoder import RECIPES, Autoencoder
from bs6207.latent.evaluation import (
    Correct,
    Partition,
    Scoring,
    constant_images,
    correct_images,
    principal_components,
    score_constants,
    score_images,
    score_vectors,
)
from bs6207.latent.model import to_weights
from bs6207.latent.settings import LatentSettings
from bs6207.latent.training import decode, encode, reconstruct, train_autoencoder, validate
from bs6207.runs.progress import Progress, TaskProgress
from bs6207.runs.result import Checkpointable, Row, Weights
from bs6207.training.batches import steps_per_epoch, to_device
from bs6207.training.devices import choose_device, choose_precision, prepare, preserve_torch_state
from bs6207.training.metrics.restoration import mse

WEAK_GAIN = 0.045  # over the best constant image, as a share of its loss; a smaller one is remarked on
BEST_CONSTANT = {"l1": "median", "mse": "mean"}  # the constant image of least loss, by loss
SHOWN_IMAGES = 12
WALKS, WALK_STEPS = 5, 9  # pairs of test images, and images of each walk between two
GRID_SIDE = 24  # points along each axis of a latent of 2 dimensions that are decoded


@dataclass(frozen=True)
class Task:
    """What one task needs.

    Attributes:
        kind: `autoencoder`, `pixels` or `pca`.
        dims: one latent size for an autoencoder, all of them for PCA, unused for pixels.
        constant_loss: the validation loss of the best constant image.
        sha256: of the data set.
    """

    kind: str
    dims: tuple[int, ...]
    scoring: Scoring
    constant_loss: float
    sha256: str
    settings: LatentSettings

    @property
    def seed(self) -> int:
        return self.scoring.seed

    @property
    def steps(self) -> dict[str, int]:
        """The number of steps of progress that it reports, by kind; steps of a kind take about as long."""
        return {
            "autoencoder": {"epoch": self.settings.epochs, "vectors": 1},
            "pixels": {"pixels": 1},
            "pca": {"vectors": len(self.dims)},
        }[self.kind]


@dataclass(frozen=True)
class AutoencoderResult(Checkpointable):
    """One autoencoder: its scores on the test images, and what is drawn.

    Attributes:
        scores: l1, mse, psnr, clusters, probes, best_epoch, and beats_constant, whether its loss on the validation
            images is below that of the best constant image.
        history: a row per epoch.
        latents: float32, [N, dim], of the test images.
        partitions: clusters of the test images, [N], by clusterer.
        correct: by clusterer, see `correct_images`.
        centroids: by clusterer, the decoded mean latent of each cluster, [clusters, C, H, W].
        shown: reconstructions of `shown_images`, [SHOWN_IMAGES, C, H, W].
        walks: decoded straight lines between the latents of `walk_ends`, [WALKS, WALK_STEPS, C, H, W].
        grid: for dim 2, the decoded `grid_points`, [GRID_SIDE, GRID_SIDE, C, H, W].
        weakness: where it is less than `WEAK_GAIN` better than the best constant image, by how much and what to try.
    """

    dim: int
    seed: int
    scores: dict[str, Any]
    history: list[Row]
    latents: NDArray[np.float32]
    partitions: dict[str, NDArray[np.int64]]
    correct: Correct
    centroids: dict[str, NDArray[np.float32]]
    shown: NDArray[np.float32]
    walks: NDArray[np.float32]
    weights: Weights = field(repr=False)
    grid: NDArray[np.float32] | None = None
    weakness: str = ""


@dataclass(frozen=True)
class Baseline(Checkpointable):
    """Scores and `correct_images` of raw pixels, or by latent size those of PCA, with one seed of the clusterers."""

    scores: Mapping[Any, Any]
    correct: Mapping[Any, Any]


@dataclass(frozen=True)
class Failure(Checkpointable):
    """Why an autoencoder failed."""

    reason: str


@preserve_torch_state()
def run_task(task: Task, progress: TaskProgress) -> AutoencoderResult | Baseline | Failure:
    data = loaded(task.settings.data)
    require_same(data, task.sha256)
    train = data.train_subset(task.settings.train_images)
    prepare(task.seed)
    if task.kind == "pixels":
        return score_pixels(task, train, data, progress)
    if task.kind == "pca":
        return score_pca(task, train, data, progress)
    try:
        return train_and_score(task, train, data, progress)
    except DivergenceError as failure:
        return Failure(f"dim {task.dims[0]}, seed {task.seed}: {failure}")


def train_and_score(task: Task, train: ImageSet, data: DataSet, progress: TaskProgress) -> AutoencoderResult:
    """Train one autoencoder and score it on the test images.

    Raises:
        DivergenceError: it is no better than a constant image, and there was something to learn.
    """
    settings, (dim,) = task.settings, task.dims
    device = choose_device(settings.device)
    recipe = RECIPES[settings.recipe](dim, train)
    if settings.batch_size:
        recipe = recipe.with_batch_size(min(settings.batch_size, len(train)))
    if settings.lr:
        recipe = replace(recipe, lr=settings.lr)
    components = principal_components(train, dim) if recipe.linear else None
    model = Autoencoder(train.image_shape, dim, recipe, settings.arch, components)
    model.to(device).to(memory_format=torch.channels_last)  # convolutions are half as fast again with it
    pixels, validation, test = (to_device(images, device) for images in (train, data.validation, data.test))

    history: list[Row] = []
    precision = choose_precision(settings.precision, device)
    for epoch in train_autoencoder(
        model, pixels, validation, settings.epochs, recipe, task.seed, settings.loss, precision, progress
    ):
        history.append(
            {
                "dim": dim,
                "seed": task.seed,
                "epoch": epoch.number,
                "train_l1": epoch.train_l1,
                "validation_l1": epoch.validation_l1,
                "validation_mse": epoch.validation_mse,
            }
        )
        progress.record(history[-1])
        progress.step(f"dim {dim}, epoch {epoch.number}, validation L1 {epoch.validation_l1:.4f}", "epoch")
    loss = validate(model, validation)[settings.loss]  # of the weights of the best epoch
    gain = 1 - loss / task.constant_loss if task.constant_loss else 0.0
    constant = BEST_CONSTANT[settings.loss]
    advice = after(settings.epochs * steps_per_epoch(len(train), recipe.batch_size), settings.lr)
    comparison = f"than the {constant} image ({task.constant_loss:.4f}), {advice}"
    ends = f"a validation {settings.loss.upper()} of {loss:.4f}"
    if not gain > 0 and has_learned_nothing(train, dim, constant, epoch.train_l1):
        raise DivergenceError(f"it ends at {ends}, no better {comparison}")

    restored = reconstruct(model, test).cpu().numpy()
    train_latents, latents = encode(model, pixels), encode(model, test)
    partitions, vector_scores = score_vectors(
        train_latents.numpy(), latents.numpy(), train, data.test, data.classes, task.scoring, progress.status
    )
    progress.step(f"dim {dim}, clustered", "vectors")

    def decoded(points: Tensor) -> NDArray[np.float32]:
        return decode(model, points.to(device)).numpy()

    line = torch.linspace(0, 1, WALK_STEPS)[:, None]
    training = {"best_epoch": epoch.best, "beats_constant": gain > 0}
    weakness = f"dim {dim}, seed {task.seed}: {ends}, {100 * gain:.1f} % better {comparison}"
    return AutoencoderResult(
        dim=dim,
        seed=task.seed,
        scores=training | score_images(data.test.unit_pixels, restored) | vector_scores,
        history=history,
        latents=latents.numpy(),
        partitions={name: partition.test for name, partition in partitions.items()},
        correct=correct_images(partitions, vector_scores, data.test),
        centroids={name: decoded(cluster_means(train_latents, partition)) for name, partition in partitions.items()},
        shown=restored[shown_images(data.test)],
        walks=np.stack([decoded(torch.lerp(latents[a], latents[b], line)) for a, b in walk_ends(data.test)]),
        weights=to_weights(model),
        grid=decoded(grid_points(latents)).reshape(GRID_SIDE, GRID_SIDE, *train.image_shape) if dim == 2 else None,
        weakness=weakness if 0 < gain < WEAK_GAIN else "",
    )


def has_learned_nothing(train: ImageSet, dim: int, constant: str, train_l1: float) -> bool:
    """Whether an autoencoder is no better than a constant image on its own training images, although PCA is.

    PCA is not where the images are all alike: then there is nothing to learn.

    Args:
        constant: of `constant_images`, the one to beat.
        train_l1: of the last epoch.
    """
    constants = score_constants(constant_images(train), train)
    components = principal_components(train, dim)
    pca_mse = mse(train.unit_pixels, components.decode(components.encode(train), train.image_shape))
    return pca_mse < constants["mean"]["mse"] and not train_l1 < constants[constant]["l1"]


def cluster_means(latents: Tensor, partition: Partition) -> Tensor:
    """The mean latent of every cluster, [clusters, dim]; of an empty one, the mean of all."""
    clusters = [latents[partition.train == number] for number in range(partition.count)]
    return torch.stack([(cluster if len(cluster) else latents).mean(0) for cluster in clusters])


def grid_points(latents: Tensor) -> Tensor:
    """An even grid over the range of `latents`, [N, 2], row by row of the second dimension, [GRID_SIDE ** 2, 2]."""
    low, high = latents.amin(0), latents.amax(0)
    first, second = (torch.linspace(float(low[axis]), float(high[axis]), GRID_SIDE) for axis in (0, 1))
    return torch.cartesian_prod(second, first).flip(1)


def score_pixels(task: Task, train: ImageSet, data: DataSet, progress: Progress) -> Baseline:
    """Clusters and probes of raw pixels."""
    inputs = (train.flat, data.test.flat, train, data.test, data.classes)
    partitions, scores = score_vectors(*inputs, task.scoring, progress.status)
    progress.step("raw pixels", "pixels")
    return Baseline(scores, correct_images(partitions, scores, data.test))


def score_pca(task: Task, train: ImageSet, data: DataSet, progress: Progress) -> Baseline:
    """Reconstructions, clusters and probes of principal components at every latent size."""
    test = data.test
    components = principal_components(train, max(task.dims))
    train_codes, test_codes = components.encode(train), components.encode(test)
    scores, correct = {}, {}
    for dim in task.dims:
        codes = train_codes[:, :dim].copy(), test_codes[:, :dim].copy()
        partitions, vector_scores = score_vectors(*codes, train, test, data.classes, task.scoring, progress.status)
        restored = components.decode(codes[1], test.image_shape)
        scores[dim] = score_images(test.unit_pixels, restored) | vector_scores
        correct[dim] = correct_images(partitions, vector_scores, test)
        progress.step(f"PCA {dim}", "vectors")
    return Baseline(scores, correct)


def shown_images(images: ImageSet) -> NDArray[np.int64]:
    """Places of the images that are drawn: the first of every class, then the first of the rest."""
    first = np.zeros(0, np.int64) if images.labels is None else np.unique(images.labels, return_index=True)[1]
    rest = np.setdiff1d(np.arange(len(images)), first)
    return np.concatenate([first, rest])[:SHOWN_IMAGES]


def walk_ends(images: ImageSet) -> list[tuple[int, int]]:
    """Pairs of places of images to walk between: the first of a class and the first of the next."""
    labels = images.labels
    first = range(len(images)) if labels is None else np.unique(labels, return_index=True)[1].tolist()
    return list(zip(first[0::2], first[1::2], strict=False))[:WALKS] or [(0, len(images) - 1)]
