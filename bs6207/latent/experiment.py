"""The latent experiment: an autoencoder per latent size, clusters of its latents, and the baselines they must beat."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bs6207.data.images import ImageSet, on_one_side
from bs6207.data.sources import load, require_data, settings_for
from bs6207.errors import DataError, DivergenceError, UserError
from bs6207.latent.clusterers import reason_to_skip
from bs6207.latent.evaluation import Scoring, constant_images, mcnemar, score_constants, unscored
from bs6207.latent.memory import need, require_memory
from bs6207.latent.settings import LatentSettings
from bs6207.latent.summary import summarize
from bs6207.latent.tasks import BEST_CONSTANT, AutoencoderResult, Baseline, Failure, Task, run_task
from bs6207.runs import sweep
from bs6207.runs.progress import FailedTask, MapTasks, Progress, map_serially
from bs6207.runs.result import Result
from bs6207.training.metrics.clusters import agreement, chance
from bs6207.training.metrics.seeds import over_seeds

SLOW = {"best"}  # clusterers whose baselines are scored with the first seed only, as each takes a minute
SWEPT = sweep.Measure("l1", "test L1", "dim", ("vectors", "autoencoder"), "pca", "PCA", "min")

Key = tuple[Any, ...]  # ("autoencoder", dim, seed), ("pixels", seed) or ("pca", seed)


def run(settings: LatentSettings, progress: Progress, map_tasks: MapTasks = map_serially) -> Result:
    """Train, cluster and score an autoencoder of every size of `settings.dims`, beside the baselines.

    Raises:
        DataError: the images do not fit the settings.
        DivergenceError: every autoencoder failed.
    """
    if settings.sweep:
        return sweep.run(run, settings, SWEPT, progress, map_tasks, need, load, require_data)
    data = load(settings.data, progress.warn)
    settings = settings_for(data, settings, progress.warn)
    train = data.train_subset(settings.train_images)
    require_memory(data, settings)
    clusters = settings.clusters or count_classes(train)
    require_enough_images(train, max(settings.dims), clusters)
    clusterers, left_out = choose_clusterers(settings, clusters, len(train))

    constants = constant_images(train)
    constant_loss = score_constants(constants, data.validation)[BEST_CONSTANT[settings.loss]][settings.loss]
    tasks = make_tasks(settings, clusterers, clusters, constant_loss, data.sha256)
    for task in tasks.values():
        for kind, count in task.steps.items():
            progress.expect(count, kind)
    outcomes = map_tasks(run_task, tasks, progress, data.sha256)

    failed = failures(outcomes)
    results = autoencoders(outcomes)
    if not results:
        raise DivergenceError(failed[0]["reason"])
    pixels, pca = baselines(outcomes, "pixels"), baselines(outcomes, "pca")
    metrics: dict[str, Any] = {
        "cells": {
            dim: over_seeds({seed: result.scores for seed, result in by_seed.items()})
            | {"agreement": agreements(by_seed), "paired": paired_tests(next(iter(by_seed.values())), pixels, pca)}
            for dim, by_seed in results.items()
        },
        "baselines": score_constants(constants, data.test)
        | {
            "pixels": over_seeds({seed: baseline.scores for seed, baseline in pixels.items()}),
            "pca": {
                dim: over_seeds({seed: baseline.scores[dim] for seed, baseline in pca.items()}) for dim in settings.dims
            },
        },
        "data": data.record() | {"train": len(train)} | on_one_side(train, data.test, data.classes),
        "left_out": left_out,
        "unscored": unscored(train, data.test),
        "chance": chance_accuracy(train, data.test, clusters),
        "failed": failed,
        "weak": [result.weakness for by_seed in results.values() for result in by_seed.values() if result.weakness],
    }
    return summarize(metrics, results, data, settings)


def count_classes(images: ImageSet) -> int:
    """The default number of clusters.

    Raises:
        DataError: there are no labels.
    """
    if images.labels is None:
        raise DataError("images without labels do not say how many clusters to look for; give --clusters")
    return len(np.unique(images.labels))


def require_enough_images(train: ImageSet, dim: int, clusters: int) -> None:
    """Check that the images allow a latent of `dim` dimensions, and so many clusters.

    Raises:
        DataError: they do not.
    """
    pixels = math.prod(train.image_shape)
    if dim > pixels:
        raise DataError(f"a latent of {dim} dimensions is larger than the {pixels} pixels of an image; lower --dims")
    if len(train) < 2:
        raise DataError("latent needs 2 training images, and there is one; give more")
    if dim > len(train):
        raise DataError(f"PCA with {dim} components needs as many images, and there are {len(train)}; lower --dims")
    if clusters > len(train):
        raise DataError(f"{clusters} clusters need as many images, and there are {len(train)}; lower --clusters")


def choose_clusterers(settings: LatentSettings, clusters: int, images: int) -> tuple[tuple[str, ...], dict[str, str]]:
    """The clusterers that can find so many clusters in so many images, and by name why the others cannot.

    Raises:
        DataError: none can.
    """
    reasons = {name: reason_to_skip(name, clusters, images) for name in settings.clusterer}
    left_out = {name: reason for name, reason in reasons.items() if reason}
    if len(left_out) == len(reasons):
        raise DataError(f"{' and '.join(left_out.values())}; give other --clusters or another --clusterer")
    return tuple(name for name in reasons if name not in left_out), left_out


def make_tasks(
    settings: LatentSettings, clusterers: tuple[str, ...], clusters: int, constant_loss: float, sha256: str
) -> dict[Key, Task]:
    """All tasks, the longest neither first nor last: pixels, autoencoders, PCA."""
    seeds = range(settings.seed, settings.seed + settings.seeds)
    fast = tuple(name for name in clusterers if name not in SLOW)

    def task(kind: str, dims: tuple[int, ...], seed: int) -> Task:
        names = clusterers if kind == "autoencoder" or seed == settings.seed else fast
        scoring = Scoring(names, clusters, seed, not settings.skip_probes)
        return Task(kind, dims, scoring, constant_loss, sha256, settings)

    return {
        **{("pixels", seed): task("pixels", (), seed) for seed in seeds},
        **{("autoencoder", dim, seed): task("autoencoder", (dim,), seed) for dim in settings.dims for seed in seeds},
        **{("pca", seed): task("pca", tuple(settings.dims), seed) for seed in seeds},
    }


def autoencoders(outcomes: Mapping[Key, Any]) -> dict[int, dict[int, AutoencoderResult]]:
    """Results by dim and seed, of the dims that have any."""
    results: dict[int, dict[int, AutoencoderResult]] = {}
    for (kind, *key), outcome in outcomes.items():
        if kind == "autoencoder" and isinstance(outcome, AutoencoderResult):
            dim, seed = key
            results.setdefault(dim, {})[seed] = outcome
    return results


def failures(outcomes: Mapping[Key, Any]) -> list[dict[str, Any]]:
    """The autoencoders that failed, and why.

    Raises:
        UserError: a baseline failed, without which no result can be read.
    """
    failed = {key: outcome for key, outcome in outcomes.items() if isinstance(outcome, Failure | FailedTask)}
    for (kind, *_), outcome in failed.items():
        if kind != "autoencoder":
            raise UserError(outcome.reason)
    return [{"dim": dim, "seed": seed, "reason": outcome.reason} for (_, dim, seed), outcome in failed.items()]


def baselines(outcomes: Mapping[Key, Any], kind: str) -> dict[int, Baseline]:
    """The baselines of one kind by seed."""
    return {key[1]: outcome for key, outcome in outcomes.items() if key[0] == kind}


def paired_tests(
    result: AutoencoderResult, pixels: Mapping[int, Baseline], pca: Mapping[int, Baseline]
) -> dict[str, dict[str, Any]]:
    """By clusterer, McNemar's test of one autoencoder against pixels and PCA of its seed, or of the first seed."""
    tests: dict[str, dict[str, Any]] = {}
    for name, correct in result.correct.items():
        seed = result.seed if name in pixels[result.seed].correct else min(pixels)  # slow ones have the first only
        baselines = {"pixels": pixels[seed].correct, "pca": pca[seed].correct[result.dim]}
        tests[name] = {kind: mcnemar(correct, baseline[name]) for kind, baseline in baselines.items()}
    return tests


def chance_accuracy(train: ImageSet, test: ImageSet, clusters: int) -> dict[str, float] | None:
    """The accuracy of random clusters, and of one cluster; None where clusters are not scored."""
    if train.labels is None or test.labels is None or unscored(train, test):
        return None
    return chance(clusters, train.labels, test.labels)


def agreements(results: Mapping[int, AutoencoderResult]) -> dict[str, float | None]:
    """By clusterer, the mean pairwise adjusted Rand index of the test clusters of different seeds."""
    every = [result.partitions for result in results.values()]
    return {name: agreement([partitions[name] for partitions in every]) for name in every[0]}
