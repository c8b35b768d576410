"""The independent tasks of the latent experiment: an autoencoder per dim and seed, and baselines per seed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import sklearn.cluster  # noqa: F401 (every task needs it: here, once for all workers)
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from bs6207.data.images import DataSet, ImageSet
from bs6207.data.sources import require_data
from bs6207.errors import DivergenceError, after
from bs6207.latent.assignments import (
    REFERENCES,
    Assignment,
    Features,
    Found,
    Opinion,
    assess,
    find,
    find_communities,
    neighbours_of,
    parts_of,
)
from bs6207.latent.autoencoder import RECIPES, Autoencoder
from bs6207.latent.clusterers import CLUSTERERS, SEES_IMAGES
from bs6207.latent.evaluation import (
    Correct,
    Labels,
    Vectors,
    constant_images,
    principal_components,
    probe,
    score_constants,
    score_images,
    score_partition,
    unscored,
)
from bs6207.latent.graph import EXPLAINED, Pixels, Scan, scan
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
    kind: str  # autoencoder, pixels or pca
    dims: tuple[int, ...]  # one latent size for an autoencoder, all of them for PCA, none for pixels
    seed: int
    clusterers: tuple[str, ...]
    clusters: int
    constant_loss: float  # the validation loss of the best constant image
    sha256: str  # of the data set
    settings: LatentSettings
    opinion: Opinion
    found: Found | None = None  # by `graph`, which is the same at every dim


@dataclass(frozen=True)
class AutoencoderResult(Checkpointable):
    """One autoencoder: its scores on the test images, and what is drawn."""

    dim: int
    seed: int
    scores: dict[str, Any]  # l1, mse, psnr, clusters, probes, best_epoch, and beats_constant, on the validation images
    history: list[Row]  # a row per epoch
    latents: NDArray[np.float32]  # [N, dim], of the test images
    partitions: dict[str, Labels]  # by clusterer, the clusters of the test images
    correct: Correct
    centroids: dict[str, NDArray[np.float32]]  # by clusterer, the decoded mean latents, [clusters, C, H, W]
    shown: NDArray[np.float32]  # reconstructions of `shown_images`, [SHOWN_IMAGES, C, H, W]
    walks: NDArray[np.float32]  # decoded lines between the latents of `walk_ends`, [WALKS, WALK_STEPS, C, H, W]
    weights: Weights = field(repr=False)
    grid: NDArray[np.float32] | None = None  # for dim 2, decoded `grid_points`, [GRID_SIDE, GRID_SIDE, C, H, W]
    assignments: dict[str, Assignment] = field(default_factory=dict)  # by clusterer; of every picture of a folder
    weakness: str = ""  # if it gains less than `WEAK_GAIN` over the best constant image: how much, and what to try


@dataclass(frozen=True)
class Baseline(Checkpointable):
    """Scores and correct images of raw pixels, or by latent size those of PCA, with one seed of the clusterers."""

    scores: Mapping[Any, Any]
    correct: Mapping[Any, Any]


@dataclass(frozen=True)
class Failure(Checkpointable):
    reason: str  # why an autoencoder failed


@dataclass(frozen=True)
class ScanTask:
    """The search of communities in one graph."""

    features: Features
    neighbours: int  # in the graph
    seed: int


@dataclass(frozen=True)
class GraphTask:
    """The clusters of `graph`, and their stability."""

    clusters: int
    seed: int
    sha256: str  # of the data set
    settings: LatentSettings


@preserve_torch_state()
def run_graph_task(task: GraphTask, progress: TaskProgress) -> Found:
    data = require_data(task.settings.data, task.sha256, **task.settings.read_as)
    train = data.train_subset(task.settings.train_images)
    prepare(task.seed)
    progress.status("communities of registered images")
    with threadpool_limits(1):
        return find_communities(train.pixels, pixels_of(train, data, task.settings), task.clusters, task.seed)


@preserve_torch_state()
def run_scan_task(task: ScanTask, progress: TaskProgress) -> Scan:
    prepare(task.seed)
    progress.status(f"number of clusters, {task.neighbours} neighbours")
    with threadpool_limits(1):
        chosen, every = (torch.from_numpy(points) for points in (task.features.chosen, task.features.every))
        return scan(chosen, every, task.neighbours, task.seed)


def images_by_part(train: ImageSet, data: DataSet, settings: LatentSettings) -> dict[str, ImageSet]:
    """The images that are assigned to clusters: all pictures of a folder, else the test images."""
    return {"test": data.test} if train.files is None else parts_of(data, settings.train_images)


def pixels_of(train: ImageSet, data: DataSet, settings: LatentSettings) -> Pixels:
    """Of all images that are assigned, the test images last."""
    return np.concatenate([images.pixels for images in images_by_part(train, data, settings).values()])


@preserve_torch_state()
def run_task(task: Task, progress: TaskProgress) -> AutoencoderResult | Baseline | Failure:
    data = require_data(task.settings.data, task.sha256, **task.settings.read_as)
    train = data.train_subset(task.settings.train_images)
    prepare(task.seed)
    scorers: dict[str, Any] = {"pixels": score_pixels, "pca": score_pca, "autoencoder": train_and_score}
    try:
        return scorers[task.kind](task, train, data, progress)
    except DivergenceError as failure:  # of an autoencoder
        return Failure(f"dim {task.dims[0]}, seed {task.seed}: {failure}")


def train_and_score(task: Task, train: ImageSet, data: DataSet, progress: TaskProgress) -> AutoencoderResult:
    """One autoencoder; DivergenceError if it is no better than a constant image, and there was something to learn."""
    settings, (dim,), seed = task.settings, task.dims, task.seed
    device = choose_device(settings.device)
    model = new_autoencoder(train, dim, settings)
    recipe = model.recipe
    model.to(device).to(memory_format=torch.channels_last)  # convolutions are half as fast again with it
    pixels, validation, test = (to_device(images, device) for images in (train, data.validation, data.test))

    history: list[Row] = []
    precision = choose_precision(settings.precision, device)
    for epoch in train_autoencoder(
        model, pixels, validation, settings.epochs, recipe, seed, settings.loss, precision, progress
    ):
        row = {"dim": dim, "seed": seed, "epoch": epoch.number, "train_l1": epoch.train_l1}
        history.append(row | {"validation_l1": epoch.validation_l1, "validation_mse": epoch.validation_mse})
        progress.record(history[-1])
        progress.step(f"dim {dim}, epoch {epoch.number}, validation L1 {epoch.validation_l1:.4f}", "epoch")
    loss = validate(model, validation)[settings.loss]  # of the weights of the best epoch
    gain = 1 - loss / task.constant_loss if task.constant_loss else 0.0
    constant = BEST_CONSTANT[settings.loss]
    advice = after(settings.epochs * steps_per_epoch(len(train), recipe.batch_size), settings.lr)
    comparison = f"than the {constant} image ({task.constant_loss:.4f}), {advice}"
    ends = f"a validation {settings.loss.upper()} of {loss:.4f}"
    is_learnable = task.opinion.explained >= EXPLAINED  # noise is not
    if not gain > 0 and is_learnable and has_learned_nothing(train, dim, constant, epoch.train_l1):
        raise DivergenceError(f"it ends at {ends}, no better {comparison}")
    weakness = f"dim {dim}, seed {seed}: {ends}, {100 * gain:.1f} % better {comparison}"

    restored = reconstruct(model, test).cpu().numpy()
    train_latents, latents = encode(model, pixels), encode(model, test)
    vectors = train_latents.numpy(), latents.numpy()
    clusterers: dict[str, Any] = {}
    scores, train_clusters, partitions, correct = score_vectors(vectors, train, data, task, progress, clusterers)
    assignments = assign(clusterers, model, train_latents, train, data, task, scores["clusters"], progress)
    progress.step(f"dim {dim}, clustered", "vectors")

    line = torch.linspace(0, 1, WALK_STEPS)[:, None]
    training = {"best_epoch": epoch.best, "beats_constant": gain > 0}
    centroids = {
        name: decode(model, cluster_means(train_latents, clusters, task.clusters)).numpy()
        for name, clusters in train_clusters.items()
    }
    walks = [decode(model, torch.lerp(latents[start], latents[end], line)) for start, end in walk_ends(data.test)]
    grid = decode(model, grid_points(latents)).reshape(GRID_SIDE, GRID_SIDE, *train.image_shape) if dim == 2 else None
    return AutoencoderResult(
        dim=dim,
        seed=seed,
        scores=training | score_images(data.test.unit_pixels, restored) | scores,
        history=history,
        latents=latents.numpy(),
        partitions=partitions,
        correct=correct,
        centroids=centroids,
        shown=restored[shown_images(data.test)],
        walks=torch.stack(walks).numpy(),
        weights=to_weights(model),
        grid=None if grid is None else grid.numpy(),
        assignments=assignments,
        weakness=weakness if 0 < gain < WEAK_GAIN else "",
    )


def new_autoencoder(train: ImageSet, dim: int, settings: LatentSettings) -> Autoencoder:
    """An untrained autoencoder of the recipe that the settings ask for."""
    recipe = RECIPES[settings.recipe](dim, train)
    if settings.batch_size:
        recipe = recipe.with_batch_size(min(settings.batch_size, len(train)))
    if settings.lr:
        recipe = replace(recipe, lr=settings.lr)
    components = principal_components(train, dim) if recipe.linear else None
    return Autoencoder(train.image_shape, dim, recipe, settings.arch, components)


def assign(
    clusterers: Mapping[str, Any],
    model: Autoencoder,
    latents: Tensor,
    train: ImageSet,
    data: DataSet,
    task: Task,
    scores: dict[str, Any],
    progress: Progress,
) -> dict[str, Assignment]:
    """Add to the scores of every clusterer how stable its clusters are; assign the pictures of a folder to them."""
    parts, pixels = images_by_part(train, data, task.settings), pixels_of(train, data, task.settings)
    encoded = [encode(model, to_device(images, next(model.parameters()).device)).numpy() for images in parts.values()]
    vectors, some, assignments = (latents.numpy()[:REFERENCES], np.concatenate(encoded)), train[:REFERENCES], {}
    with threadpool_limits(1):
        progress.status("stability of the clusters")
        for name, clusterer in clusterers.items():
            given = [*zip(vectors, (some.pixels, pixels), strict=True)] if name in SEES_IMAGES else [*zip(vectors)]
            found = task.found if name == "graph" else None
            found = found or find(name, CLUSTERERS[name], clusterer, *given)
            neighbours = (name in SEES_IMAGES and task.opinion.neighbours) or neighbours_of(*vectors)
            own_estimate = getattr(clusterer, "stability", None)
            facts, assignments[name] = assess(found, neighbours, task.opinion, own_estimate)
            scores[name] |= facts
    return assignments if train.files is not None else {}


def has_learned_nothing(train: ImageSet, dim: int, constant: str, train_l1: float) -> bool:
    """Whether an autoencoder is no better than a constant image on its own training images, although PCA is.

    PCA is not where the images are all alike: then there is nothing to learn.
    """
    constants = score_constants(constant_images(train), train)
    components = principal_components(train, dim)
    pca_mse = mse(train.unit_pixels, components.decode(components.encode(train), train.image_shape))
    return pca_mse < constants["mean"]["mse"] and not train_l1 < constants[constant]["l1"]


def cluster_means(latents: Tensor, clusters: Labels, count: int) -> Tensor:
    """The mean latent of every cluster, [count, dim]; of an empty one, the mean of all."""
    members = [latents[clusters == number] for number in range(count)]
    return torch.stack([(some if len(some) else latents).mean(0) for some in members])


def grid_points(latents: Tensor) -> Tensor:
    """An even grid over the range of `latents`, [N, 2], row by row of the second dimension, [GRID_SIDE ** 2, 2]."""
    first, second = (torch.linspace(float(axis.amin()), float(axis.amax()), GRID_SIDE) for axis in latents.T)
    return torch.cartesian_prod(second, first).flip(1)


def score_vectors(
    vectors: tuple[Vectors, Vectors],
    train: ImageSet,
    data: DataSet,
    task: Task,
    progress: Progress,
    clusterers: dict[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, Labels], dict[str, Labels], Correct]:
    """Cluster vectors of `train` and of `data.test` by every clusterer; score the clusters, and probe the vectors.

    The fitted clusterers are added to `clusterers`, by name.

    Returns:
        Scores; by clusterer the clusters of the training and of the test images; by clusterer the correct test images.
    """
    scores: dict[str, Any] = {"clusters": {}, "probes": {}}
    train_clusters, test_clusters, correct = {}, {}, {}
    for name in task.clusterers:
        clusterer: Any = CLUSTERERS[name](task.clusters, task.seed)
        inputs: list[tuple[Any, ...]] = [(given,) for given in vectors]
        if name in SEES_IMAGES:
            inputs = [(vectors[0], train.pixels), (vectors[1], data.test.pixels)]
            clusterer.report = progress.status
        if name == "graph" and task.found:
            train_clusters[name], test_clusters[name] = task.found.train, task.found.every[-len(data.test) :]
        else:
            with threadpool_limits(1):  # the order in which threads add up would change the last digits
                clusterer.fit(*inputs[0])
                train_clusters[name], test_clusters[name] = (clusterer.predict(*given) for given in inputs)
        if clusterers is not None:
            clusterers[name] = clusterer
        found, right = score_partition(train_clusters[name], test_clusters[name], task.clusters, train, data)
        trust = getattr(clusterer, "stability", {})  # its own estimate, which takes no labels
        scores["clusters"][name] = found | ({"trust": trust} if trust else {})
        if right is not None:
            correct[name] = right
    if not task.settings.skip_probes:
        labels = (None, None) if unscored(train, data.test) else (train.labels, data.test.labels)
        scores["probes"] = probe(vectors[0], labels[0], vectors[1], labels[1], data.test.flat)
    return scores, train_clusters, test_clusters, correct


def score_pixels(task: Task, train: ImageSet, data: DataSet, progress: Progress) -> Baseline:
    scores, _, _, correct = score_vectors((train.flat, data.test.flat), train, data, task, progress)
    progress.step("raw pixels", "pixels")
    return Baseline(scores, correct)


def score_pca(task: Task, train: ImageSet, data: DataSet, progress: Progress) -> Baseline:
    test = data.test
    components = principal_components(train, max(task.dims))
    train_codes, test_codes = components.encode(train), components.encode(test)
    scores, correct = {}, {}
    for dim in task.dims:
        codes = train_codes[:, :dim].copy(), test_codes[:, :dim].copy()
        of_vectors, _, _, correct[dim] = score_vectors(codes, train, data, task, progress)
        restored = components.decode(codes[1], test.image_shape)
        scores[dim] = score_images(test.unit_pixels, restored) | of_vectors
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
