"""The latent experiment: an autoencoder per latent size, clusters of its latents, and the baselines they must beat."""

import math
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np

from bs6207.data.images import ImageSet, on_one_side
from bs6207.data.sources import load, require_data, settings_for
from bs6207.errors import DataError, DivergenceError, UserError
from bs6207.latent.clusterers import reason_to_skip
from bs6207.latent.evaluation import constant_images, mcnemar, score_constants, unscored
from bs6207.latent.graph import LEAST
from bs6207.latent.memory import need, require_memory
from bs6207.latent.settings import LatentSettings
from bs6207.latent.summary import summarize
from bs6207.latent.tasks import BEST_CONSTANT, AutoencoderResult, Baseline, CountTask, Task, run_count_task, run_task
from bs6207.runs import sweep
from bs6207.runs.progress import FailedTask, MapTasks, Progress, map_serially
from bs6207.runs.result import Result, Row
from bs6207.training.metrics.clusters import agreement, chance
from bs6207.training.metrics.seeds import over_seeds

SLOW = {"best"}  # clusterers whose baselines are scored with the first seed only, as each takes a minute
SWEPT = sweep.Measure("l1", "test L1", "dim", ("vectors", "autoencoder"), "pca", "PCA", "min")

Key = tuple[Any, ...]  # ("autoencoder", dim, seed), ("pixels", seed) or ("pca", seed)


def run(settings: LatentSettings, progress: Progress, map_tasks: MapTasks = map_serially) -> Result:
    """Train, cluster and score an autoencoder of every size of `settings.dims`, beside the baselines.

    Raises:
        DataError: the images do not fit the settings.
        DivergenceError: every autoencoder failed; UserError: a baseline failed.
    """
    if settings.sweep:
        return sweep.run(run, settings, SWEPT, progress, map_tasks, need, load, require_data)
    data = load(settings.data, progress.warn, **settings.read_as)
    settings = settings_for(data, settings, progress.warn)
    train = data.train_subset(settings.train_images)
    require_memory(data, settings)
    require_pictures(settings, train)
    is_searched = isinstance(settings.clusters, str) or (settings.clusters is None and train.labels is None)
    if is_searched and "clusterer" not in settings.model_fields_set:
        settings = settings.model_copy(update={"clusterer": ["graph", *settings.clusterer]})
    number: dict[str, Any] = {}
    if len(train) >= LEAST and (is_searched or train.files is not None):
        task = CountTask(settings.cluster_range, data.sha256, settings)
        number = map_tasks(run_count_task, {("number",): task}, progress, data.sha256)["number",]
        if isinstance(number, FailedTask):
            raise UserError(number.reason)
    clusters = count_clusters(settings, train, number.get("clusters") if is_searched else None)
    reasons = {name: reason_to_skip(name, clusters, len(train)) for name in settings.clusterer}
    left_out = {name: reason for name, reason in reasons.items() if reason}
    if len(left_out) == len(reasons):
        raise DataError(f"{' and '.join(left_out.values())}; give other --clusters or another --clusterer")
    clusterers = tuple(name for name in reasons if name not in left_out)

    constants = constant_images(train)
    constant_loss = score_constants(constants, data.validation)[BEST_CONSTANT[settings.loss]][settings.loss]
    curve = tuple(number["curve"]) if number and train.files is not None else ()
    tasks = make_tasks(settings, clusterers, clusters, constant_loss, data.sha256, curve)
    autoencoders = settings.seeds * len(settings.dims)
    for kind, steps in {"epoch": settings.epochs * autoencoders, "vectors": 2 * autoencoders}.items():
        progress.expect(steps, kind)
    progress.expect(settings.seeds, "pixels")
    outcomes = map_tasks(run_task, tasks, progress, data.sha256)

    results: dict[int, dict[int, AutoencoderResult]] = {}
    baselines: dict[str, dict[int, Baseline]] = {"pixels": {}, "pca": {}}
    failed = []
    for (kind, *key), outcome in outcomes.items():
        if isinstance(outcome, AutoencoderResult):
            results.setdefault(outcome.dim, {})[outcome.seed] = outcome
        elif isinstance(outcome, Baseline):
            baselines[kind][key[0]] = outcome
        elif kind == "autoencoder":
            failed.append({"dim": key[0], "seed": key[1], "reason": outcome.reason})
        else:  # no result can be read without its baselines
            raise UserError(outcome.reason)
    if not results:
        raise DivergenceError(failed[0]["reason"])
    pixels, pca = baselines.values()
    reason = unscored(train, data.test)
    metrics: dict[str, Any] = {
        "cells": {dim: score_cell(by_seed, pixels, pca) for dim, by_seed in results.items()},
        "baselines": score_constants(constants, data.test)
        | {
            "pixels": over_seeds({seed: each.scores for seed, each in pixels.items()}),
            "pca": {dim: over_seeds({seed: each.scores[dim] for seed, each in pca.items()}) for dim in settings.dims},
        },
        "data": data.record() | {"train": len(train)} | on_one_side(train, data.test, data.classes),
        "left_out": left_out,
        "unscored": reason,
        "chance": None if reason else chance(clusters, train.labels, data.test.labels),  # type: ignore[arg-type]
        "number_of_clusters": number | {"searched": is_searched, "used": clusters} if number else None,
        "failed": failed,
        "weak": [result.weakness for by_seed in results.values() for result in by_seed.values() if result.weakness],
    }
    return summarize(metrics, results, data, settings)


def require_pictures(settings: LatentSettings, train: ImageSet) -> None:
    """Refuse to link to files where there are none."""
    if settings.link and train.files is None:
        raise DataError(f"{settings.data} holds idx files, and --link is for pictures; leave it out")


def count_clusters(settings: LatentSettings, train: ImageSet, found: int | None) -> int:
    """The number of clusters: the one that was found, else the one asked for, else that of the classes.

    Raises:
        DataError: there are too few images or pixels.
    """
    dim, count, pixels = max(settings.dims), len(train), math.prod(train.image_shape)
    clusters = found or (settings.clusters if isinstance(settings.clusters, int) else None)
    if clusters is None:
        if train.labels is None:
            raise DataError(f"a search of the number takes {LEAST} training images, not {count}; give --clusters")
        clusters = len(np.unique(train.labels))
    if dim > pixels:
        raise DataError(f"a latent of {dim} dimensions is larger than the {pixels} pixels of an image; lower --dims")
    if count < 2:
        raise DataError("latent needs 2 training images, and there is one; give more")
    if dim > count:
        raise DataError(f"PCA with {dim} components needs as many images, and there are {count}; lower --dims")
    if clusters > count:
        raise DataError(f"{clusters} clusters need as many images, and there are {count}; lower --clusters")
    return clusters


def make_tasks(
    settings: LatentSettings,
    clusterers: tuple[str, ...],
    clusters: int,
    constant_loss: float,
    sha256: str,
    curve: tuple[Row, ...],
) -> dict[Key, Task]:
    """All tasks, the longest neither first nor last: pixels, autoencoders, PCA."""
    kinds = [("pixels", ()), *(("autoencoder", (dim,)) for dim in settings.dims), ("pca", tuple(settings.dims))]
    fast = tuple(name for name in clusterers if name not in SLOW)
    tasks: dict[Key, Task] = {}
    for (kind, dims), seed in product(kinds, range(settings.seed, settings.seed + settings.seeds)):
        key = (kind, *dims, seed) if kind == "autoencoder" else (kind, seed)
        names = clusterers if kind == "autoencoder" or seed == settings.seed else fast
        tasks[key] = Task(kind, dims, seed, names, clusters, constant_loss, sha256, settings, curve)
    return tasks


def score_cell(
    by_seed: Mapping[int, AutoencoderResult], pixels: Mapping[int, Baseline], pca: Mapping[int, Baseline]
) -> dict[str, Any]:
    """One latent size: scores over the seeds, and by clusterer the agreement of the seeds and McNemar's tests.

    The tests are of the first autoencoder against pixels and PCA of its seed.
    """
    first, *_ = by_seed.values()
    paired: dict[str, Any] = {}
    for name, correct in first.correct.items():
        seed = first.seed if name in pixels[first.seed].correct else min(pixels)  # slow ones have the first only
        baselines = {"pixels": pixels[seed].correct, "pca": pca[seed].correct[first.dim]}
        paired[name] = {kind: mcnemar(correct, baseline[name]) for kind, baseline in baselines.items()}
    return over_seeds({seed: result.scores for seed, result in by_seed.items()}) | {
        "agreement": {
            name: agreement([result.partitions[name] for result in by_seed.values()]) for name in first.partitions
        },
        "paired": paired,
    }
