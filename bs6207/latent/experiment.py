"""The latent experiment: an autoencoder per latent size, clusters of its latents, and what both must beat."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bs6207.data.batches import resident
from bs6207.data.images import DataSet, ImageSet
from bs6207.data.sources import load
from bs6207.devices import choose_device, flush_denormals, prepare
from bs6207.errors import DivergenceError
from bs6207.experiment import Progress, Result, Row, Table
from bs6207.latent import figures
from bs6207.latent.autoencoder import Autoencoder
from bs6207.latent.scores import cluster, middle, score_baselines, score_images
from bs6207.latent.settings import LatentSettings
from bs6207.latent.training import encode, reconstruct, train

SHOWN_IMAGES = 12


@dataclass(frozen=True)
class Cell:
    """One autoencoder: what it scores on the test images, and what is drawn of it."""

    dim: int
    seed: int
    scores: dict[str, Any]
    history: list[Row]
    test_latents: NDArray[np.float32]
    shown: NDArray[np.float32]
    weights: dict[str, torch.Tensor]


def run(settings: LatentSettings, progress: Progress) -> Result:
    """Train, cluster and score every size of `settings.dims`, beside the baselines."""
    data = load(settings.data, progress.note)
    learn = data.learn_from(settings.train_images)
    progress.expect(len(settings.dims) * settings.seeds * settings.epochs)

    baselines = score_baselines(learn, data.test, settings)
    cells: list[Cell] = []
    failed: list[Row] = []
    for dim in settings.dims:
        for seed in range(settings.seed, settings.seed + settings.seeds):
            try:
                cells.append(study(dim, seed, learn, data, settings, baselines, progress))
            except DivergenceError as failure:
                failed.append({"dim": dim, "seed": seed, "reason": str(failure)})
    if not cells:
        raise DivergenceError(failed[0]["reason"])
    return report(cells, failed, baselines, data, len(learn), settings)


def study(
    dim: int,
    seed: int,
    learn: ImageSet,
    data: DataSet,
    settings: LatentSettings,
    baselines: dict[str, Any],
    progress: Progress,
) -> Cell:
    """Train one autoencoder and score it on the test images.

    Raises:
        DivergenceError: it ends no better than the median image, that is, it has learned nothing.
    """
    prepare(seed)
    flush_denormals()
    device = choose_device(settings.device)
    model = Autoencoder(learn.image_shape, dim).to(device)
    pixels, validation, test = (resident(images, device) for images in (learn, data.validation, data.test))

    history: list[Row] = []
    curve = train(model, pixels, validation, settings.epochs, settings.batch_size, settings.lr, seed)
    for epoch, (train_l1, validation_l1) in enumerate(curve, start=1):
        row = {"dim": dim, "seed": seed, "epoch": epoch, "train_l1": train_l1, "validation_l1": validation_l1}
        history.append(row)
        progress.record(row)
        progress.step(f"dim {dim}, epoch {epoch}, validation L1 {validation_l1:.4f}")
    if validation_l1 >= baselines["median"]["l1"]:
        raise DivergenceError(
            f"dim {dim} ends at a validation L1 of {validation_l1:.4f}, no better than the median image "
            f"({baselines['median']['l1']:.4f}); try more --epochs or another --lr than {settings.lr:g}"
        )

    restored = reconstruct(model, test).cpu().numpy()
    test_latents = encode(model, test).numpy()
    scores = score_images(data.test.unit_pixels, restored) | {
        "clusters": cluster(
            encode(model, pixels).numpy(), learn.known_labels, test_latents, data.test.known_labels, settings, seed
        )
    }
    weights = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    return Cell(dim, seed, scores, history, test_latents, restored[:SHOWN_IMAGES], weights)


def report(
    cells: Sequence[Cell],
    failed: Sequence[Row],
    baselines: dict[str, Any],
    data: DataSet,
    learned_from: int,
    settings: LatentSettings,
) -> Result:
    """Rows, tables and figures of the finished cells."""
    by_dim = {dim: group for dim in settings.dims if (group := [cell for cell in cells if cell.dim == dim])}
    metrics = {
        "cells": {
            dim: middle([cell.scores for cell in group]) | {"seeds": {cell.seed: cell.scores for cell in group}}
            for dim, group in by_dim.items()
        },
        "baselines": baselines,
        "data": data.record() | {"train": learned_from},
        "failed": failed,
    }
    first = {dim: group[0] for dim, group in by_dim.items()}  # what is drawn is of the first seed
    tables = {"history": Table(tuple(cells[0].history[0]), [row for cell in cells for row in cell.history])}
    drawn = {
        "reconstructions": figures.reconstructions(
            data.test.unit_pixels[:SHOWN_IMAGES], {dim: (cell.shown, cell.scores["l1"]) for dim, cell in first.items()}
        ),
        "loss_curves": figures.loss_curves(tables["history"], baselines),
        "scores": figures.scores(metrics),
    }
    if 2 in first:
        tables["latents_2"] = Table(
            ("digit", "z1", "z2"),
            [
                {"digit": digit, "z1": x, "z2": y}
                for digit, (x, y) in zip(data.test.known_labels.tolist(), first[2].test_latents.tolist(), strict=True)
            ],
        )
        drawn["scatter"] = figures.scatter(tables["latents_2"])
    return Result(
        settings=settings.model_copy(update={"data": data.given_as}),
        metrics=metrics,
        headline=headline(metrics, settings),
        remarks=remarks(metrics, settings),
        tables=tables,
        figures=drawn,
        failures=[row["reason"] for row in failed],
        weights={f"autoencoder_{cell.dim}_{cell.seed}": cell.weights for cell in cells},
    )


def headline(metrics: dict[str, Any], settings: LatentSettings) -> Table:
    """One row per latent size, with PCA at that size beside it, then the floors."""
    clustered = {name: f"{name} accuracy" for name in settings.clusterer}
    columns = ("latent", "L1", "PCA L1", "PSNR dB", *clustered.values(), *(f"PCA {name}" for name in clustered))
    rows: list[Row] = []
    for dim, cell in metrics["cells"].items():
        pca = metrics["baselines"]["pca"][dim]
        rows.append(
            {"latent": dim, "L1": f"{cell['l1']:.4f}", "PCA L1": f"{pca['l1']:.4f}", "PSNR dB": f"{cell['psnr']:.2f}"}
            | {column: f"{cell['clusters'][name]['accuracy']:.3f}" for name, column in clustered.items()}
            | {f"PCA {name}": f"{pca['clusters'][name]['accuracy']:.3f}" for name in clustered}
        )
    for name in ("median", "black"):
        rows.append({"latent": f"{name} image", "L1": f"{metrics['baselines'][name]['l1']:.4f}"})
    pixels = metrics["baselines"]["pixels"]["clusters"]
    rows.append(
        {"latent": "raw pixels"} | {column: f"{pixels[name]['accuracy']:.3f}" for name, column in clustered.items()}
    )
    return Table(columns, rows)


def remarks(metrics: dict[str, Any], settings: LatentSettings) -> list[str]:
    """What the table must not be read without."""
    data = metrics["data"]
    seeds = "one seed" if settings.seeds == 1 else f"medians of {settings.seeds} seeds"
    return [
        f"Scores on {data['test']} test images of {data['name']}, {seeds}, after learning from {data['train']}; "
        "L1 is the mean absolute error per pixel in [0, 1].",
        "Clusters are fitted without labels, named on the training images (Hungarian method) and scored on the test "
        "images; chance is about 0.1.",
    ]
