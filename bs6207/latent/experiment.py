"""The latent experiment: an autoencoder per latent size, clusters of its latents, and the baselines they must beat."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from bs6207.data.images import DataSet, ImageSet, on_one_side
from bs6207.data.sources import load, require_data, settings_for
from bs6207.errors import DataError, DivergenceError, UserError
from bs6207.latent.assignments import REFERENCES, Found, Opinion, see
from bs6207.latent.clusterers import SEES_IMAGES, reason_to_skip
from bs6207.latent.evaluation import constant_images, mcnemar, score_constants, unscored
from bs6207.latent.graph import EXPLAINED, HALF_NEIGHBOURS, LEAST, STABLE, Scan, choose_count, explained_share
from bs6207.latent.memory import need, require_memory
from bs6207.latent.settings import LatentSettings
from bs6207.latent.summary import summarize
from bs6207.latent.tasks import (
    BEST_CONSTANT,
    AutoencoderResult,
    Baseline,
    GraphTask,
    ScanTask,
    Task,
    pixels_of,
    run_graph_task,
    run_scan_task,
    run_task,
)
from bs6207.runs import sweep
from bs6207.runs.progress import FailedTask, MapTasks, Progress, map_serially
from bs6207.runs.result import Result
from bs6207.training.devices import prepare, preserve_torch_state
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
    require_images(settings, train)
    is_searched = isinstance(settings.clusters, str) or (settings.clusters is None and train.labels is None)
    if is_searched and "clusterer" not in settings.model_fields_set:
        settings = settings.model_copy(update={"clusterer": ["graph", *settings.clusterer]})
    is_scanned = len(train) >= LEAST and (is_searched or train.files is not None)
    opinion, scans = see_images(data, settings, is_scanned, progress, map_tasks)
    number = find_number(scans, settings, opinion.explained) if scans else {}
    clusters = count_clusters(settings, train, number.get("clusters") if is_searched else None)
    opinion = opinion.with_communities(scans, clusters)
    reasons = {name: reason_to_skip(name, clusters, len(train)) for name in settings.clusterer}
    left_out = {name: reason for name, reason in reasons.items() if reason}
    if len(left_out) == len(reasons):
        raise DataError(f"{' and '.join(left_out.values())}; give other --clusters or another --clusterer")
    clusterers = tuple(name for name in reasons if name not in left_out)

    constants = constant_images(train)
    constant_loss = score_constants(constants, data.validation)[BEST_CONSTANT[settings.loss]][settings.loss]
    seeds = range(settings.seed, settings.seed + settings.seeds) if "graph" in clusterers else ()
    graph_tasks = {("communities", seed): GraphTask(clusters, seed, data.sha256, settings) for seed in seeds}
    found = required(map_tasks(run_graph_task, graph_tasks, progress, data.sha256))
    tasks = make_tasks(settings, clusterers, clusters, constant_loss, data.sha256, opinion, found)
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


def see_images(
    data: DataSet, settings: LatentSettings, is_scanned: bool, progress: Progress, map_tasks: MapTasks
) -> tuple[Opinion, list[Scan]]:
    """What the images say without any latent, and communities of their graphs where these are scanned.

    Raises UserError if a task failed.
    """
    train = data.train_subset(settings.train_images)
    with preserve_torch_state(), threadpool_limits(1):  # the order in which threads add up would change the last digits
        prepare(settings.seed)
        opinion = Opinion(explained_share(train.pixels, data.validation.pixels))
        if not is_scanned and SEES_IMAGES.keys().isdisjoint(settings.clusterer):
            return opinion, []
        progress.status("neighbours of registered images")
        features = see(train.pixels[:REFERENCES], pixels_of(train, data, settings), settings.seed)
    tasks = {("graph", size): ScanTask(features, size, settings.seed) for size in HALF_NEIGHBOURS if is_scanned}
    scans = required(map_tasks(run_scan_task, tasks, progress, data.sha256))
    return replace(opinion, neighbours=features.neighbours), [*scans.values()]


def required(outcomes: Mapping[Key, Any]) -> Mapping[Key, Any]:
    """Outcomes that nothing goes on without; UserError if a task failed."""
    for outcome in outcomes.values():
        if isinstance(outcome, FailedTask):
            raise UserError(outcome.reason)
    return outcomes


def find_number(scans: Sequence[Scan], settings: LatentSettings, explained: float) -> dict[str, Any]:
    """The number of clusters that halves agree on most widely, whether it is stable, and the curve of agreement."""
    curve = [row for scan in scans for row in scan.rows]
    clusters, agreement = choose_count(curve, settings.cluster_range)
    stable = agreement >= STABLE and explained >= EXPLAINED
    return {"clusters": clusters, "stable": stable, "agreement": agreement, "explained": explained, "curve": curve}


def require_images(settings: LatentSettings, train: ImageSet) -> None:
    """Refuse what cannot be done with these images: links where there are no files, too few images or pixels."""
    dim, count, pixels = max(settings.dims), len(train), math.prod(train.image_shape)
    if settings.link and train.files is None:
        raise DataError(f"{settings.data} holds idx files, and --link is for pictures; leave it out")
    if dim > pixels:
        raise DataError(f"a latent of {dim} dimensions is larger than the {pixels} pixels of an image; lower --dims")
    if count < 2:
        raise DataError("latent needs 2 training images, and there is one; give more")
    if dim > count:
        raise DataError(f"PCA with {dim} components needs as many images, and there are {count}; lower --dims")


def count_clusters(settings: LatentSettings, train: ImageSet, found: int | None) -> int:
    """The number of clusters: the one that was found, else the one asked for, else that of the classes.

    Raises DataError if there are fewer images.
    """
    clusters, count = found or (settings.clusters if isinstance(settings.clusters, int) else None), len(train)
    if clusters is None:
        if train.labels is None:
            raise DataError(f"a search of the number takes {LEAST} training images, not {count}; give --clusters")
        clusters = len(np.unique(train.labels))
    if clusters > count:
        raise DataError(f"{clusters} clusters need as many images, and there are {count}; lower --clusters")
    return clusters


def make_tasks(
    settings: LatentSettings,
    clusterers: tuple[str, ...],
    clusters: int,
    constant_loss: float,
    sha256: str,
    opinion: Opinion,
    found: Mapping[Key, Found],
) -> dict[Key, Task]:
    """All tasks, the longest neither first nor last: pixels, autoencoders, PCA."""
    kinds = [("pixels", ()), *(("autoencoder", (dim,)) for dim in settings.dims), ("pca", tuple(settings.dims))]
    fast = tuple(name for name in clusterers if name not in SLOW)
    tasks: dict[Key, Task] = {}
    for (kind, dims), seed in product(kinds, range(settings.seed, settings.seed + settings.seeds)):
        key = (kind, *dims, seed) if kind == "autoencoder" else (kind, seed)
        names = clusterers if kind == "autoencoder" or seed == settings.seed else fast
        communities = found.get(("communities", seed))
        tasks[key] = Task(kind, dims, seed, names, clusters, constant_loss, sha256, settings, opinion, communities)
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
