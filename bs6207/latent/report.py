"""What the latent experiment shows of its cells: tables, figures, files and sentences."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bs6207.data.images import DataSet, npz
from bs6207.experiment import Drawing, Result, Row, Table
from bs6207.latent import figures
from bs6207.latent.answer import answer, remarks
from bs6207.latent.classes import class_names, noun
from bs6207.latent.model import file_name
from bs6207.latent.pieces import Cell, shown_images, walk_ends
from bs6207.latent.projections import FEWEST, drawn, project
from bs6207.latent.projector import projector_files
from bs6207.latent.settings import LatentSettings

PLANE_PIXELS = 1_000_000  # of all test images that the page shows in the plane


def report(metrics: dict[str, Any], cells: Sequence[Cell], data: DataSet, settings: LatentSettings) -> Result:
    """Tables, figures and sentences of the finished cells; what is drawn is the first seed of each latent size."""
    names, clusterers = class_names(data), [*cells[0].partitions]
    scored = () if metrics["unscored"] else names  # the classes that clusters are scored against
    first = {dim: next(cell for cell in cells if cell.dim == dim) for dim in metrics["cells"]}
    wide = {dim: cell for dim, cell in first.items() if dim > 2}
    chosen = drawn(len(data.test))
    left_out = dict(metrics["left_out"])
    if wide and len(chosen) < (fewest := FEWEST[settings.projection]):
        wide = {}
        left_out["projection"] = (
            f"{settings.projection} needs {fewest} test images for a projection, and there are {len(chosen)}"
        )
    planes = {dim: project(cell.latents[chosen], settings.projection, cell.seed) for dim, cell in wide.items()}
    metrics = metrics | {
        "left_out": left_out,
        "answer": answer(metrics, clusterers, scored),
        "projections": {"method": settings.projection, "shares": {dim: shares for dim, (_, shares) in planes.items()}},
    }

    tables = {
        "history": Table(tuple(cells[0].history[0]), [row for cell in cells for row in cell.history]),
        "scores": scores_table(metrics),
        "clusters": clusters_table(cells, data, names),
    }
    if 2 in first:
        about = images_table(first[2], data, names, np.arange(len(data.test)))
        tables["latents_2"] = beside(about, ("z1", "z2"), first[2].latents)
    if wide:
        tables["projections"] = projections_table(
            wide, data, names, chosen, {dim: xy for dim, (xy, _) in planes.items()}
        )
    images = shown_arrays(first, data)
    if (plane := first[2].plane if 2 in first else None) is not None:
        images |= plane_arrays(first[2].latents, plane, data)
    files = {"images.npz": npz(images)} | {f"latents_{dim}.npz": npz(arrays(one, data)) for dim, one in first.items()}
    if settings.projector:
        files |= projector_files(
            {dim: cell.latents[chosen] for dim, cell in first.items()},
            {dim: images_table(cell, data, names, chosen) for dim, cell in first.items()},
            data.test.pixels[chosen],
        )
    return Result(
        settings=settings,
        metrics=metrics,
        headline=headline(metrics, clusterers, scored),
        remarks=remarks(metrics, clusterers, scored),
        tables=tables,
        figures=dict(drawings(metrics, tables, images, first, data, clusterers, names)),
        files=files,
        failures=[row["reason"] for row in metrics["failed"]],
        weights={file_name(cell.dim, cell.seed): cell.weights for cell in cells},
    )


def drawings(
    metrics: Mapping[str, Any],
    tables: Mapping[str, Table],
    images: Mapping[str, NDArray[Any]],
    first: Mapping[int, Cell],
    data: DataSet,
    clusterers: Sequence[str],
    names: Sequence[str],
) -> Iterator[tuple[str, Drawing]]:
    """How to draw the figures, by name, each from what is written beside it."""
    seeds = {(dim, cell.seed) for dim, cell in first.items()}
    shown = [
        row
        for row in tables["clusters"].rows
        if (row["dim"], row["seed"]) in seeds and row["clusterer"] == clusterers[0]
    ]
    clusters = Table(tables["clusters"].columns, shown)
    if 2 in first:
        yield "scatter", partial(figures.scatter, tables["latents_2"], names)
        yield "thumbnails", partial(figures.thumbnails, tables["latents_2"], data.test.pixels, names)
    if "projections" in tables:
        shares = metrics["projections"]["shares"]
        yield "projection", partial(figures.projection, tables["projections"], clusters, shares, names)
    accuracies = {dim: cell.scores["clusters"][clusterers[0]].get("accuracy") for dim, cell in first.items()}
    centroids = {dim: images[f"centroids_{dim}_{clusterers[0]}"] for dim in first}
    yield "centroids", partial(figures.centroids, clusters, centroids, accuracies, names)
    labels = data.test.labels
    captions = [] if labels is None else [names[label] for label in labels[shown_images(data.test)]]
    restored = {dim: images[f"reconstructions_{dim}"] for dim in first}
    l1 = {dim: cell.scores["l1"] for dim, cell in first.items()}
    yield "reconstructions", partial(figures.reconstructions, images["originals"], restored, l1, captions)
    walks = {dim: images[f"walks_{dim}"] for dim in first}
    yield "walks", partial(figures.walks, walks, images["walk_starts"], images["walk_ends"])
    yield "scores", partial(figures.scores, metrics, () if metrics["unscored"] else clusterers)
    if any(cell["probes"] for cell in metrics["cells"].values()):
        yield "probes", partial(figures.probes, metrics)
    yield "loss_curves", partial(figures.loss_curves, tables["history"], metrics["baselines"])


def headline(metrics: Mapping[str, Any], clusterers: Sequence[str], names: Sequence[str]) -> Table:
    """A row per latent size and clusterer, PCA of that size beside it, then what takes no training."""
    columns = ("latent", "L1", "PCA L1", "PSNR dB", *(("clusterer", "accuracy", "on PCA") if names else ()))
    baselines = metrics["baselines"]
    rows: list[Row] = []

    def add(row: Row, accuracies: Sequence[Row]) -> None:
        for number, one in enumerate(accuracies or [{}]):
            rows.append(one if number else {**row, **one})

    for dim, cell in metrics["cells"].items():
        pca, sd = baselines["pca"][dim], cell["sd"]["l1"]
        row = {
            "latent": dim,
            "L1": narrow(cell["l1"], sd, 4),
            "PCA L1": f"{pca['l1']:.4f}",
            "PSNR dB": f"{cell['psnr']:.2f}",
        }
        add(
            row,
            [accuracy(cell, name) | {"on PCA": accuracy(pca, name)["accuracy"][:5]} for name in clusterers if names],
        )
    for name in ("median", "black"):
        one = baselines[name]
        add({"latent": name, "L1": f"{one['l1']:.4f}", "PSNR dB": f"{one['psnr']:.2f}"}, [])
    if names:
        add({"latent": "pixels"}, [accuracy(baselines["pixels"], name) for name in clusterers])
    return Table(columns, rows)


def accuracy(scores: Mapping[str, Any], name: str) -> dict[str, str]:
    """The cells of the headline for one clusterer."""
    value, sd = (one["clusters"][name]["accuracy"] for one in (scores, scores["sd"]))
    return {"clusterer": name, "accuracy": narrow(value, sd, 3)}


def narrow(value: float, sd: float | None, digits: int) -> str:
    """A score with its standard deviation, in as few columns as a terminal of eighty asks for."""
    return f"{value:.{digits}f}" + ("" if sd is None else f"±{sd:.{digits}f}".replace("±0.", "±."))


def scores_table(metrics: Mapping[str, Any]) -> Table:
    """A row per kind of vectors, size, seed and clusterer, with every score there is."""
    groups = [("autoencoder", dim, cell) for dim, cell in metrics["cells"].items()]
    groups += [("pca", dim, one) for dim, one in metrics["baselines"]["pca"].items()]
    groups += [("pixels", None, metrics["baselines"]["pixels"])]
    rows: list[Row] = []
    for vectors, dim, group in groups:
        for seed, scores in group["seeds"].items():
            for name, found in scores["clusters"].items():
                row = {"vectors": vectors, "dim": dim, "seed": seed, "clusterer": name} | numbers_of(scores)
                rows.append(
                    row | numbers_of(found) | numbers_of(scores.get("probes", {})) | numbers_of(found.get("trust", {}))
                )
    return Table(tuple(dict.fromkeys(key for row in rows for key in row)), rows)


def numbers_of(scores: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that fit into a cell of a table."""
    return {key: value for key, value in scores.items() if isinstance(value, int | float)}


def clusters_table(cells: Sequence[Cell], data: DataSet, names: Sequence[str]) -> Table:
    """How many test images every cluster holds, by class if it is known, and the class it is named after."""
    known = ("name", noun(names)) if names else ()
    rows: list[Row] = []
    for cell in cells:
        for clusterer, clusters in cell.partitions.items():
            found = cell.scores["clusters"][clusterer]
            for cluster in range(len(found["sizes"])):
                row = {"dim": cell.dim, "seed": cell.seed, "clusterer": clusterer, "cluster": cluster}
                if data.test.labels is None:
                    rows.append(row | {"count": found["sizes"][cluster]})
                    continue
                label = found["names"][cluster]
                counts = np.bincount(data.test.labels[clusters == cluster], minlength=len(names))
                for name, count in zip(names, counts.tolist(), strict=True):
                    called = {"name": None if label is None else names[label], noun(names): name}
                    rows.append(row | called | {"count": count})
    return Table(("dim", "seed", "clusterer", "cluster", *known, "count"), rows)


def images_table(cell: Cell, data: DataSet, names: Sequence[str], chosen: NDArray[np.int64]) -> Table:
    """The chosen test images: their places in the test set, their classes if known, their clusters."""
    columns: dict[str, list[Any]] = {"image": chosen.tolist()}
    if data.test.labels is not None:
        columns[noun(names)] = [names[label] for label in data.test.labels[chosen]]
    columns |= {clusterer: clusters[chosen].tolist() for clusterer, clusters in cell.partitions.items()}
    return Table(tuple(columns), [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])


def beside(table: Table, columns: Sequence[str], values: NDArray[np.float32]) -> Table:
    """The table with further columns, [rows, columns]."""
    rows = [{**row, **dict(zip(columns, line, strict=True))} for row, line in zip(table.rows, values, strict=True)]
    return Table((*table.columns, *columns), rows)


def projections_table(
    cells: Mapping[int, Cell],
    data: DataSet,
    names: Sequence[str],
    chosen: NDArray[np.int64],
    planes: Mapping[int, NDArray[np.float32]],
) -> Table:
    """The places of the chosen images in the plane, with the clusters of the first clusterer."""
    columns = ("dim", "image", *((noun(names),) if names else ()), "cluster", "x", "y")
    rows: list[Row] = []
    for dim, cell in cells.items():
        clusterer = next(iter(cell.partitions))
        for row in beside(images_table(cell, data, names, chosen), ("x", "y"), planes[dim]).rows:
            whole = {**row, "dim": dim, "cluster": row[clusterer]}
            rows.append({column: whole[column] for column in columns})
    return Table(columns, rows)


def shown_arrays(first: Mapping[int, Cell], data: DataSet) -> dict[str, NDArray[Any]]:
    """The images of the figures: [N, C, H, W] in [0, 1], and [walks, steps, C, H, W] on the walks."""
    test = data.test.unit_pixels
    ends = np.array(walk_ends(data.test))
    shown: dict[str, NDArray[Any]] = {
        "originals": test[shown_images(data.test)],
        "walk_starts": test[ends[:, 0]],
        "walk_ends": test[ends[:, 1]],
    }
    for dim, cell in first.items():
        shown |= {f"reconstructions_{dim}": cell.shown, f"walks_{dim}": cell.walks}
        shown |= {f"centroids_{dim}_{clusterer}": decoded for clusterer, decoded in cell.centroids.items()}
    return shown


def plane_arrays(latents: NDArray[np.float32], plane: NDArray[np.float32], data: DataSet) -> dict[str, NDArray[Any]]:
    """The plane of two numbers as the page shows it: where it ends, what it decodes to, test images that lie in it.

    Pixels are uint8; `plane_images` are places in the test set.
    """
    chosen = drawn(len(data.test))[: max(1, PLANE_PIXELS // data.test.pixels[0].size)]
    return {
        "plane": np.round(plane * 255).astype(np.uint8),
        "plane_ends": np.stack([latents.min(0), latents.max(0)]),
        "plane_images": chosen,
        "plane_pixels": data.test.pixels[chosen],
    }


def arrays(cell: Cell, data: DataSet) -> dict[str, NDArray[Any]]:
    """The latents of all test images and their clusters; if known their labels, which are places in `classes`."""
    labels = {} if data.test.labels is None else {"labels": data.test.labels, "classes": np.array(data.classes)}
    clusters = {f"clusters_{clusterer}": found for clusterer, found in cell.partitions.items()}
    return {"latents": cell.latents.astype(np.float32), **labels, **clusters}
