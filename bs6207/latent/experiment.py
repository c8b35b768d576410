"""The latent experiment: an autoencoder per latent size, clusters of its latents, and what both must beat."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bs6207.data.images import ImageSet, on_one_side
from bs6207.data.sources import load, require_data, settings_for
from bs6207.errors import DataError, DivergenceError, UserError
from bs6207.latent.clusterers import hindrance
from bs6207.latent.evaluation import constant_images, score_constants
from bs6207.latent.memory import need, require_memory
from bs6207.latent.settings import LatentSettings
from bs6207.latent.study import study
from bs6207.latent.tasks import CONSTANTS, Baseline, Cell, Failure, Search, Task, unscored
from bs6207.runs.progress import FailedTask, MapTasks, Progress, map_serially
from bs6207.runs.result import Result
from bs6207.training.metrics.clusters import agreement, chance
from bs6207.training.metrics.seeds import over_seeds

FEWEST_TO_LEARN = 2  # training images: of one there is nothing to tell apart
COSTLY = {"best"}  # clusterers whose baselines are found with the first seed only, as each takes a minute


def run(settings: LatentSettings, progress: Progress, map_tasks: MapTasks = map_serially) -> Result:
    """Train, cluster and score every size of `settings.dims`, beside the baselines.

    Raises:
        DataError: the images do not fit the settings.
        DivergenceError: no autoencoder has learned anything.
    """
    if settings.sweep:
        from bs6207.runs import sweep as sweeps

        swept = sweeps.Measure("l1", "test L1", "dim", ("vectors", "autoencoder"), "pca", "PCA", "min")
        return sweeps.run(run, settings, swept, progress, map_tasks, need, load, require_data)
    data = load(settings.data, progress.warn)
    settings = settings_for(data, settings, progress.warn)
    learn = data.learn_from(settings.train_images)
    require_memory(data, settings)
    constants = constant_images(learn)
    clusters = settings.clusters or class_count(learn)
    require_enough(learn, max(settings.dims), clusters)
    hindrances = {name: hindrance(name, clusters, len(learn)) for name in settings.clusterer}
    left_out = {name: reason for name, reason in hindrances.items() if reason}
    clusterers = tuple(name for name in settings.clusterer if name not in left_out)
    if not clusterers:
        raise DataError(f"{' and '.join(left_out.values())}; give other --clusters or another --clusterer")
    floor = score_constants(constants, data.validation)[CONSTANTS[settings.loss]][settings.loss]
    floors = score_constants(constants, data.test)
    tasks = plan(settings, clusterers, clusters, floor, data.sha256)
    for task in tasks.values():
        for kind, count in steps(task).items():
            progress.expect(count, kind)

    outcomes = map_tasks(study, tasks, progress, data.sha256)
    cells = [outcome for outcome in outcomes.values() if isinstance(outcome, Cell)]
    baselines = [outcome for outcome in outcomes.values() if isinstance(outcome, Baseline)]
    failures = [
        told(tasks[key], outcome) for key, outcome in outcomes.items() if isinstance(outcome, Failure | FailedTask)
    ]
    if not cells:
        raise DivergenceError(failures[0].reason)
    metrics: dict[str, Any] = {
        "cells": {
            dim: over_seeds({cell.seed: cell.scores for cell in cells if cell.dim == dim})
            | {"agreement": agreements([cell for cell in cells if cell.dim == dim])}
            for dim in settings.dims
            if any(cell.dim == dim for cell in cells)
        },
        "baselines": floors
        | {
            "pixels": over_seeds({one.seed: one.scores for one in baselines if one.kind == "pixels"}),
            "pca": {
                dim: over_seeds({one.seed: one.scores[dim] for one in baselines if one.kind == "pca"})
                for dim in settings.dims
            },
        },
        "data": data.record() | {"train": len(learn)} | on_one_side(learn, data.test, data.classes),
        "left_out": left_out,
        "unscored": unscored(learn, data.test),
        "chance": guessed(learn, data.test, clusters),
        "failed": [{"dim": one.dim, "seed": one.seed, "reason": one.reason} for one in failures],
    }
    from bs6207.latent.summary import report

    return report(metrics, cells, data, settings)


def plan(
    settings: LatentSettings, every: tuple[str, ...], clusters: int, floor: float, sha256: str
) -> dict[tuple[Any, ...], Task]:
    """The independent pieces of work: by seed, and the autoencoders by size too.

    Args:
        every: the clusterers that can find so many clusters.
    """
    seeds = range(settings.seed, settings.seed + settings.seeds)
    dims = tuple(settings.dims)

    def task(kind: str, dims: tuple[int, ...], seed: int, clusterers: tuple[str, ...]) -> Task:
        return Task(kind, dims, Search(clusterers, clusters, seed, not settings.skip_probes), floor, sha256, settings)

    def baselines(kind: str) -> dict[tuple[Any, ...], Task]:
        fewer = tuple(name for name in every if name not in COSTLY)
        return {(kind, seed): task(kind, dims, seed, every if seed == settings.seed else fewer) for seed in seeds}

    autoencoders = {
        ("autoencoder", dim, seed): task("autoencoder", (dim,), seed, every) for dim in dims for seed in seeds
    }
    return baselines("pixels") | autoencoders | baselines("pca")


def told(task: Task, failed: Failure | FailedTask) -> Failure:
    """What metrics.json says of an autoencoder that failed.

    Raises:
        UserError: it was a baseline, without which nothing is to be said.
    """
    if isinstance(failed, Failure):
        return failed
    if task.kind != "autoencoder":
        raise UserError(failed.reason)
    return Failure(task.dims[0], task.seed, failed.reason)


def steps(task: Task) -> dict[str, int]:
    """How many steps of progress a task will report, by kind; clusters of components take as long as of latents."""
    return {
        "autoencoder": {"epoch": task.settings.epochs, "vectors": 1},
        "pixels": {"pixels": 1},
        "pca": {"vectors": len(task.dims)},
    }[task.kind]


def require_enough(learn: ImageSet, most: int, clusters: int) -> None:
    """Check that the images allow what was asked for.

    Raises:
        DataError: they do not.
    """
    pixels = math.prod(learn.image_shape)
    if most > pixels:
        raise DataError(f"a latent of {most} numbers is larger than the {pixels} pixels of an image; lower --dims")
    if len(learn) < FEWEST_TO_LEARN:
        raise DataError(f"latent needs {FEWEST_TO_LEARN} training images, and there is one; give more")
    if most > len(learn):
        raise DataError(f"PCA with {most} components needs as many images, and there are {len(learn)}; lower --dims")
    if clusters > len(learn):
        raise DataError(f"{clusters} clusters need as many images, and there are {len(learn)}; lower --clusters")


def class_count(images: ImageSet) -> int:
    """How many classes the labels name: so many clusters are looked for if not told otherwise.

    Raises:
        DataError: there are no labels.
    """
    if images.labels is None:
        raise DataError("images without labels do not say how many clusters to look for; give --clusters")
    return len(np.unique(images.labels))


def guessed(learn: ImageSet, test: ImageSet, clusters: int) -> dict[str, float] | None:
    """The accuracy of clusters that know nothing; None where none is scored."""
    if learn.labels is None or test.labels is None or unscored(learn, test):
        return None
    return chance(clusters, learn.labels, test.labels)


def agreements(cells: Sequence[Cell]) -> dict[str, float | None]:
    """How much the clusters of different seeds agree, by clusterer: mean pairwise adjusted Rand index, test images."""
    return {name: agreement([cell.partitions[name] for cell in cells]) for name in cells[0].partitions}
