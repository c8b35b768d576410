"""Results of the latent experiment made by hand, so that tests of the summary need no training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bs6207.data.images import DataSet, ImageSet, on_one_side
from bs6207.latent.evaluation import (
    Correct,
    Labels,
    constant_images,
    score_constants,
    score_images,
    score_partition,
    unscored,
)
from bs6207.latent.experiment import score_cell
from bs6207.latent.figures import DIGITS
from bs6207.latent.settings import LatentSettings
from bs6207.latent.tasks import GRID_SIDE, SHOWN_IMAGES, WALK_STEPS, AutoencoderResult, Baseline, walk_ends
from bs6207.runs.result import Weights
from bs6207.training.metrics.clusters import chance
from bs6207.training.metrics.seeds import over_seeds


def made(
    dims: Sequence[int] = (2, 5),
    seeds: int = 1,
    names: Sequence[str] = DIGITS,
    clusterers: Sequence[str] = ("kmeans",),
    clusters: int | None = None,
    image_shape: tuple[int, int, int] = (1, 8, 8),
    images: int = 60,
    with_probes: bool = True,
    **settings: Any,
) -> tuple[dict[str, Any], dict[int, dict[int, AutoencoderResult]], DataSet, LatentSettings]:
    """Arguments of `summarize`: metrics, results, data and settings; without `names` the images have no labels."""
    random = np.random.RandomState(0)
    kinds, count = len(names) or 7, clusters or len(names) or 7
    labels = np.arange(images) * kinds // images
    pixels = random.randint(0, 80, (images, *image_shape)).astype(np.uint8)
    pixels[np.arange(images), :, labels % image_shape[1], labels % image_shape[2]] = 255
    part = ImageSet(pixels, labels if names else None)
    data = DataSet("made", part, part, part, "0" * 64, tuple(names))

    def partition_of(share: float) -> Labels:
        return np.where(random.rand(images) < share, labels % count, random.randint(0, count, images))

    def scored(dim: int, partitions: Mapping[str, Labels]) -> tuple[dict[str, Any], Correct]:
        guess = np.clip(part.unit_pixels + random.normal(0, 0.3 / dim, pixels.shape), 0, 1).astype(np.float32)
        pairs = {name: score_partition(found, found, count, part, data) for name, found in partitions.items()}
        scores = score_images(part.unit_pixels, guess) | {"clusters": {name: pair[0] for name, pair in pairs.items()}}
        return scores, {name: pair[1] for name, pair in pairs.items() if pair[1] is not None}

    results: dict[int, dict[int, AutoencoderResult]] = {dim: {} for dim in dims}
    for dim in dims:
        for seed in range(seeds):
            partitions = {name: partition_of(0.3 + dim / (2 * max(dims))) for name in clusterers}
            scores, correct = scored(dim, partitions)
            scores |= {"best_epoch": 2, "beats_constant": True}
            scores |= {"probes": probes(random, dim, bool(names), with_probes)}
            history = [
                {"dim": dim, "seed": seed, "epoch": epoch, "train_l1": 0.2 / epoch / dim, "validation_l1": 0.25 / epoch}
                for epoch in (1, 2, 3)
            ]
            results[dim][seed] = AutoencoderResult(
                dim,
                seed,
                scores,
                history,
                (random.normal(size=(images, dim)) + 3 * random.normal(size=(kinds, dim))[labels]).astype(np.float32),
                partitions,
                correct,
                {name: random.rand(count, *image_shape).astype(np.float32) for name in clusterers},
                random.rand(min(SHOWN_IMAGES, images), *image_shape).astype(np.float32),
                random.rand(len(walk_ends(part)), WALK_STEPS, *image_shape).astype(np.float32),
                Weights({}, {}),
                random.rand(GRID_SIDE, GRID_SIDE, *image_shape).astype(np.float32) if dim == 2 else None,
            )
    baseline = {name: partition_of(0.4) for name in clusterers}
    (pixels, correct), pca = scored(1, baseline), {dim: scored(dim, baseline)[0] for dim in dims}
    baselines = {0: Baseline({}, correct)}, {0: Baseline({}, dict.fromkeys(dims, correct))}
    reason = unscored(part, part)
    metrics = {
        "cells": {dim: score_cell(by_seed, *baselines) for dim, by_seed in results.items()},
        "baselines": score_constants(constant_images(part), part)
        | {
            "pixels": over_seeds({0: {"clusters": pixels["clusters"]}}),
            "pca": {dim: over_seeds({0: scores}) for dim, scores in pca.items()},
        },
        "data": data.record() | on_one_side(part, part, names),
        "left_out": {},
        "unscored": reason,
        "chance": None if reason else chance(count, labels, labels),
        "failed": [],
        "weak": [],
    }
    given = {"dims": [*dims], "data": "mnist-5k", "seeds": seeds, "clusterer": [*clusterers], "clusters": clusters}
    return metrics, results, data, LatentSettings(**given | settings)


def probes(random: np.random.RandomState, dim: int, labelled: bool, wanted: bool) -> dict[str, float | None]:
    """Probes of one autoencoder."""
    if not wanted:
        return {}
    known = {"knn": random.rand(), "linear": random.rand()} if labelled else {}
    return known | {"trustworthiness": random.rand(), "continuity": None, "intrinsic_dimension": dim * random.rand()}


def changed(tree: Mapping[Any, Any], path: Sequence[Any], value: Any) -> dict[Any, Any]:
    """A nested dict with one entry replaced or added."""
    key, *rest = path
    return {**tree, key: changed(tree.get(key, {}), rest, value) if rest else value}
