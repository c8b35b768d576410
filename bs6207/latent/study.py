"""The independent pieces of the latent experiment: one autoencoder with one seed, or one baseline with one seed."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import sklearn.cluster  # noqa: F401 (every task needs it: here, once for all workers)
import torch
from numpy.typing import NDArray

from bs6207.data.images import DataSet, ImageSet
from bs6207.data.sources import loaded, require_same
from bs6207.errors import DivergenceError, after
from bs6207.latent.autoencoder import RECIPES, Autoencoder
from bs6207.latent.components import principal_components
from bs6207.latent.evaluation import Partition, constant_images, score_constants, score_images, score_vectors
from bs6207.latent.model import saved
from bs6207.latent.tasks import (
    CONSTANTS,
    PLANE_SIDE,
    WALK_STEPS,
    Baseline,
    Cell,
    Failure,
    Task,
    numbers,
    shown_images,
    walk_ends,
)
from bs6207.latent.training import decode, encode, reconstruct, train
from bs6207.runs.progress import Progress, TaskProgress
from bs6207.runs.result import Row
from bs6207.training.batches import steps_per_epoch, to_device
from bs6207.training.devices import choose_device, choose_precision, flush_denormals, keep_memory, prepare
from bs6207.training.metrics.restoration import mse

NOTHING_LEARNED = 0.955  # of the median image's L1; on MNIST that is 0.12, where networks sit that see black only


def study(task: Task, progress: TaskProgress) -> Cell | Baseline | Failure:
    """Do one piece of work."""
    data = loaded(task.settings.data)
    require_same(data, task.sha256)
    learn = data.learn_from(task.settings.train_images)
    prepare(task.seed)
    flush_denormals()
    keep_memory()
    if task.kind == "pixels":
        return study_pixels(task, learn, data, progress)
    if task.kind == "pca":
        return study_components(task, learn, data, progress)
    try:
        return study_autoencoder(task, learn, data, progress)
    except DivergenceError as failure:
        return Failure(task.dims[0], task.seed, f"{numbers(task.dims[0])}, seed {task.seed}: {failure}")


def study_autoencoder(task: Task, learn: ImageSet, data: DataSet, progress: TaskProgress) -> Cell:
    """Train one autoencoder, then score it on the test images.

    Raises:
        DivergenceError: it ends hardly better than a constant image, and there was something to learn.
    """
    settings, (dim,) = task.settings, task.dims
    device = choose_device(settings.device)
    recipe = RECIPES[settings.recipe](dim, learn)
    if settings.batch_size:
        recipe = recipe.with_batches_of(min(settings.batch_size, len(learn)))
    if settings.lr:
        recipe = replace(recipe, lr=settings.lr)
    components = principal_components(learn, dim) if recipe.linear else None
    model = Autoencoder(learn.image_shape, dim, recipe, settings.arch, components)
    model.to(device).to(memory_format=torch.channels_last)  # convolutions are half as fast again with it
    pixels, validation, test = (to_device(images, device) for images in (learn, data.validation, data.test))

    history: list[Row] = []
    precision = choose_precision(settings.precision, device)
    for epoch in train(
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
    reached = epoch.validation_l1 if settings.loss == "l1" else epoch.validation_mse
    beats_constant = reached <= NOTHING_LEARNED * task.floor
    constant = CONSTANTS[settings.loss]
    if not beats_constant and has_learned_nothing(learn, dim, constant, epoch.train_l1):
        steps = settings.epochs * steps_per_epoch(len(learn), recipe.batch_size)
        raise DivergenceError(
            f"it ends at a validation {settings.loss.upper()} of {reached:.4f}, hardly better than the {constant} "
            f"image ({task.floor:.4f}), {after(steps, settings.lr)}"
        )

    restored = reconstruct(model, test).cpu().numpy()
    ends = {"best_epoch": epoch.best, "beats_constant": beats_constant}
    train_latents, latents = encode(model, pixels), encode(model, test)
    partitions, scores = score_vectors(
        train_latents.numpy(), latents.numpy(), learn, data.test, data.classes, task.search, progress.status
    )
    progress.step(f"dim {dim}, clustered", "vectors")

    def decoded(places: torch.Tensor) -> NDArray[np.float32]:
        return decode(model, places.to(device)).numpy()

    return Cell(
        dim,
        task.seed,
        ends | score_images(data.test.unit_pixels, restored) | scores,
        history,
        latents.numpy(),
        {name: found.test for name, found in partitions.items()},
        {name: decoded(means(train_latents, found)) for name, found in partitions.items()},
        restored[shown_images(data.test)],
        np.stack([decoded(between(latents[a], latents[b])) for a, b in walk_ends(data.test)]),
        saved(model, dim, recipe, settings.arch, learn.image_shape),
        decoded(plane_places(latents)).reshape(PLANE_SIDE, PLANE_SIDE, *learn.image_shape) if dim == 2 else None,
    )


def has_learned_nothing(learn: ImageSet, dim: int, constant: str, train_l1: float) -> bool:
    """Whether an autoencoder knows no more of its own training images than a constant image does, and could.

    How much can be known, as many principal components tell: their gain over the mean image, as root mean squared
    errors. Half of that will do for L1, and so will `NOTHING_LEARNED`. Of images that are all alike, or of noise in a
    few numbers, there is nothing to know.

    Args:
        constant: of `constant_images`, the one to beat.
        train_l1: of the last epoch.
    """
    truth, constants = learn.unit_pixels, score_constants(constant_images(learn), learn)
    components = principal_components(learn, dim)
    left = mse(truth, components.decode(components.encode(learn), learn.image_shape))
    gain = 1 - math.sqrt(left / constants["mean"]["mse"]) if constants["mean"]["mse"] else 0.0
    return gain > 0 and train_l1 > max(NOTHING_LEARNED, 1 - gain / 2) * constants[constant]["l1"]


def means(latents: torch.Tensor, found: Partition) -> torch.Tensor:
    """The mean latent of every cluster, [clusters, dim]; of an empty one, the mean of all."""
    groups = [latents[found.train == number] for number in range(found.count)]
    return torch.stack([(group if len(group) else latents).mean(0) for group in groups])


def between(start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """Latents on the straight line from one to another, both included, [WALK_STEPS, dim]."""
    return torch.lerp(start, end, torch.linspace(0, 1, WALK_STEPS)[:, None])


def plane_places(latents: torch.Tensor) -> torch.Tensor:
    """Latents on an even grid from the least to the greatest of `latents`, [N, 2], row by row of the second number."""
    low, high = latents.amin(0), latents.amax(0)
    first, second = (torch.linspace(float(low[axis]), float(high[axis]), PLANE_SIDE) for axis in (0, 1))
    return torch.cartesian_prod(second, first).flip(1)


def study_pixels(task: Task, learn: ImageSet, data: DataSet, progress: Progress) -> Baseline:
    """Clusters and probes of the images as they are."""
    _, scores = score_vectors(learn.flat, data.test.flat, learn, data.test, data.classes, task.search, progress.status)
    progress.step("raw pixels", "pixels")
    return Baseline("pixels", task.seed, scores)


def study_components(task: Task, learn: ImageSet, data: DataSet, progress: Progress) -> Baseline:
    """Reconstructions from principal components, and clusters and probes of them, at every latent size."""
    test = data.test
    components = principal_components(learn, max(task.dims))
    all_codes, all_test_codes = components.encode(learn), components.encode(test)
    scores: dict[int, dict[str, Any]] = {}
    for dim in task.dims:
        codes, test_codes = all_codes[:, :dim].copy(), all_test_codes[:, :dim].copy()
        _, found = score_vectors(codes, test_codes, learn, test, data.classes, task.search, progress.status)
        scores[dim] = score_images(test.unit_pixels, components.decode(test_codes, test.image_shape)) | found
        progress.step(f"PCA {dim}", "vectors")
    return Baseline("pca", task.seed, scores)
