"""What the latent experiment shows of its autoencoders: classes, tables, figures, files and sentences."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bs6207.data.images import DataSet, npz, to_uint8
from bs6207.latent import figures
from bs6207.latent.clusterers import SEES_IMAGES
from bs6207.latent.model import file_name
from bs6207.latent.projections import FEWEST, drawn, project
from bs6207.latent.projector import projector_files
from bs6207.latent.settings import LatentSettings
from bs6207.latent.tasks import Cell, class_names, noun, numbers, shown_images, walk_ends
from bs6207.runs.names import legible, listed
from bs6207.runs.result import Drawing, Result, Row, Table


@dataclass(frozen=True)
class Standing:
    """How the clusters of one latent size by one clusterer score: the medians over the seeds.

    Attributes:
        sd: sample standard deviation of the accuracy over the seeds; None of one.
        values: the accuracy of every seed.
        images: how many were scored.
    """

    dim: int
    clusterer: str
    accuracy: float
    nmi: float
    ari: float
    sd: float | None
    values: tuple[float, ...]
    images: int

    @property
    def seeds(self) -> int:
        """How many there are."""
        return len(self.values)

    def ties(self, other: "Standing") -> bool:
        """Whether the seeds' ranges overlap, or the difference is within two standard errors of so few images."""
        overlap = min(self.values) <= max(other.values) and min(other.values) <= max(self.values)
        error = math.sqrt(self.accuracy * (1 - self.accuracy) / self.images)
        return overlap or abs(self.accuracy - other.accuracy) <= 2 * error


def standing(dim: int, clusterer: str, scores: Mapping[str, Any], images: int) -> Standing:
    """The standing that the scores over seeds amount to."""
    one, sd = scores["clusters"][clusterer], scores["sd"]["clusters"][clusterer]["accuracy"]
    every = [seed["clusters"] for seed in scores["seeds"].values()]
    values = tuple(clusters[clusterer]["accuracy"] for clusters in every if clusterer in clusters)
    return Standing(dim, clusterer, one["accuracy"], one["nmi"], one["ari"], sd, values, images)


def standings(metrics: Mapping[str, Any], clusterer: str) -> list[Standing]:
    """All latent sizes by the accuracy of a clusterer, the best first; of equals the smallest."""
    every = [standing(dim, clusterer, cell, metrics["data"]["test"]) for dim, cell in sorted(metrics["cells"].items())]
    return sorted(every, key=lambda one: -one.accuracy)


def answer(metrics: Mapping[str, Any], clusterers: Sequence[str], names: Sequence[str]) -> str:
    """Which latent size clusters best, by what score, with what spread, and whether it beats what takes no training.

    Args:
        names: of the classes that clusters are scored against; none where they are not.
    """
    if not names:
        return without_scores(metrics, clusterers)
    best, *others = sorted((standings(metrics, name) for name in clusterers), key=lambda ranks: -ranks[0].accuracy)
    top = best[0]
    which = f"A latent of {numbers(top.dim)} clusters best:" if len(best) > 1 else f"At {numbers(top.dim)},"
    return " ".join(
        [
            f"{which} {top.clusterer} puts {spread(top.accuracy, top.sd)} of the test "
            f"images into the cluster named after their {noun(names)} "
            f"(accuracy; NMI {top.nmi:.3f}, ARI {top.ari:.3f}).",
            *on_the_spread(best),
            *on_the_baselines(metrics, top),
            *on_trust({top.dim: chosen(metrics["cells"][top.dim], top.clusterer)}),
            *(
                f"With {one.clusterer} it is {f'{numbers(one.dim)}, ' if rest else ''}{spread(one.accuracy, one.sd)}."
                for one, *rest in others
            ),
            "No training and no clustering saw a test label; which size is best is read off the test scores.",
        ]
    )


def on_the_spread(ranks: Sequence[Standing]) -> Iterator[str]:
    """How much of a lead the best size has, as far as the seeds tell."""
    top, *rest = ranks
    if rest and top.seeds > 1:
        ties = [one for one in rest if top.ties(one)]
        if ties:
            listed = ", ".join(f"{one.dim} ({spread(one.accuracy, one.sd)})" for one in ties)
            yield f"A tie, as far as the seeds and the number of test images tell, with {listed}."
        else:
            one = rest[0]
            yield f"The next, {one.dim} ({spread(one.accuracy, one.sd)}), lies outside the range of its seeds."
    if top.seeds > 1:
        yield f"Each number is the median of {top.seeds} seeds, ± their standard deviation."
    else:
        others = f" The next is {rest[0].dim} ({rest[0].accuracy:.3f})." if rest else ""
        yield f"This is one seed, so the spread is unknown; --seeds 3 would show it.{others}"


def on_the_baselines(metrics: Mapping[str, Any], top: Standing) -> Iterator[str]:
    """The same clusterer on raw pixels, and on PCA of the same size."""
    pixels, pca = metrics["baselines"]["pixels"], metrics["baselines"]["pca"][top.dim]
    said: dict[str, list[str]] = {}
    for what, scores in (("raw pixels", pixels), (f"PCA of {numbers(top.dim)}", pca)):
        baseline = standing(top.dim, top.clusterer, scores, top.images)
        verb = "ties with" if top.ties(baseline) else "beats" if top.accuracy > baseline.accuracy else "loses to"
        said.setdefault(verb, []).append(f"{what} ({spread(baseline.accuracy, baseline.sd)})")
    verdicts = [f"{verb} {' and '.join(beaten)}" for verb, beaten in said.items()]
    yield f"With the same clusterer it {' and '.join(verdicts)}."


def chosen(cell: Mapping[str, Any], clusterer: str) -> dict[str, Any]:
    """The scores of a latent size with the clusters of one clusterer only."""
    return {
        "seeds": {seed: {"clusters": {clusterer: one["clusters"][clusterer]}} for seed, one in cell["seeds"].items()}
    }


def without_scores(metrics: Mapping[str, Any], clusterers: Sequence[str]) -> str:
    """What can be said of clusters that are not held against classes."""
    cells = metrics["cells"]
    best = min(cells, key=lambda dim: cells[dim]["l1"])
    sentences = [
        f"Clusters have no accuracy, NMI or ARI, because {metrics['unscored']}; so no size can be said to cluster "
        f"best, and {numbers(best)} reconstruct best (L1 {cells[best]['l1']:.4f})."
    ]
    agreements = {dim: cell["agreement"][clusterers[0]] for dim, cell in cells.items()}
    known = {dim: value for dim, value in agreements.items() if value is not None}
    if known:
        steadiest = max(known, key=lambda dim: known[dim])
        sentences.append(
            f"The {clusterers[0]} clusters of different seeds agree most at {numbers(steadiest)} "
            f"(mean adjusted Rand index {known[steadiest]:.3f})."
        )
    return " ".join(sentences)


def remarks(metrics: Mapping[str, Any], clusterers: Sequence[str], names: Sequence[str]) -> list[str]:
    """What the table must not be read without; the answer comes last."""
    data, cells = metrics["data"], metrics["cells"]
    most = max(len(cell["seeds"]) for cell in cells.values())
    seeds = "one seed" if most == 1 else f"medians of {most} seeds ± their standard deviation"
    sentences = [
        f"Scores on {data['test']:,} test images of {legible(data['name'])}, after learning from {data['train']:,} "
        f"others; {seeds}. L1 is the mean absolute error per pixel in [0, 1]; the median and the black image are what "
        "it costs to learn nothing."
    ]
    if names:
        sentences.append(
            "Accuracy: clusters are fitted without labels, named one to one on the training images (Hungarian method) "
            f"and scored on the test images; chance is about {metrics['chance']['random']:.2g}, and one cluster for "
            f"all images would reach {metrics['chance']['one']:.2g}."
        )
        sentences += on_one_side(data)
    sentences += [
        f"{name} learns from the images and takes from the latents only which of them are neighbours: its result is "
        "not the latents' own."
        for name in clusterers
        if name in SEES_IMAGES
    ]
    return [
        *sentences,
        *(f"Left out: {reason}." for reason in metrics["left_out"].values()),
        *on_failures(metrics["failed"]),
        *on_constants(cells),
        *on_starts(cells),
        *on_pca(metrics, clusterers if names else ()),
        *on_trust(cells),
        metrics["answer"],
    ]


def on_one_side(data: Mapping[str, Any]) -> Iterator[str]:
    """The classes that only the training images show, or only the test images."""
    if data["only_in_test"]:
        yield (
            f"No training image shows {listed(data['only_in_test'])}, so {data['images_of_only_in_test']} of the "
            f"{data['test']:,} test images count as wrong in whatever cluster they are."
        )
    if data["only_in_train"]:
        yield f"No test image shows {listed(data['only_in_train'])}: clusters named after them are not tested."


def on_failures(failed: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The autoencoders that are missing."""
    if failed:
        which = ", ".join(f"{numbers(one['dim'])} (seed {one['seed']})" for one in failed)
        yield f"Failed, and left out of every number here: {which}."


def on_constants(cells: Mapping[int, Any]) -> Iterator[str]:
    """The sizes at which there was little to learn."""
    useless = [numbers(dim) for dim, cell in cells.items() if not cell["beats_constant"]]
    if useless:
        yield (
            f"At {', '.join(useless)} the autoencoder does hardly better than a constant image on validation images: "
            "there are too few training images, or so few numbers say nothing of them."
        )


def on_starts(cells: Mapping[int, Any]) -> Iterator[str]:
    """The sizes at which training did not help."""
    kept = [
        numbers(dim) for dim, cell in cells.items() if any(one["best_epoch"] == 0 for one in cell["seeds"].values())
    ]
    if kept:
        yield (
            f"At {', '.join(kept)} training did no better on validation images than the principal components it starts "
            "from, and these were kept."
        )


def on_pca(metrics: Mapping[str, Any], clusterers: Sequence[str]) -> Iterator[str]:
    """The sizes at which principal components do better, in reconstruction and in clusters."""
    cells, pca = metrics["cells"], metrics["baselines"]["pca"]
    lost = [
        f"{dim} ({cells[dim]['l1']:.4f} against {pca[dim]['l1']:.4f})"
        for dim in cells
        if cells[dim]["l1"] >= pca[dim]["l1"]
    ]
    if lost:
        yield f"The autoencoder reconstructs no better than PCA at {', '.join(lost)} numbers."
    for name in clusterers:
        accuracies = {dim: [one[dim]["clusters"][name]["accuracy"] for one in (cells, pca)] for dim in cells}
        lost = [
            f"{dim} ({ours:.3f} against {theirs:.3f})" for dim, (ours, theirs) in accuracies.items() if ours <= theirs
        ]
        if lost:
            yield f"{name} clusters the latents no better than PCA at {', '.join(lost)} numbers."


def on_trust(cells: Mapping[int, Any]) -> Iterator[str]:
    """The clusters that their own clusterer does not believe."""
    doubted: dict[str, list[str]] = {}
    for dim, cell in cells.items():
        for seed, scores in cell["seeds"].items():
            for name, one in scores["clusters"].items():
                if "trust" in one and not one["trust"]["trusted"]:
                    where = f"{numbers(dim)}, seed {seed} ({one['trust']['agreement']:.2f})"
                    doubted.setdefault(name, []).append(where)
    for name, places in doubted.items():
        yield (
            f"The clusters of {name} cannot be believed at {'; '.join(places)}: those it finds in one part of "
            "the images and in another agree too little (in parentheses, adjusted Rand index; 1 is in full)."
        )


def spread(value: float, sd: float | None) -> str:
    """An accuracy, with its standard deviation where there is one."""
    return f"{value:.3f}" if sd is None else f"{value:.3f} ±{sd:.3f}"


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
        "plane": to_uint8(plane),
        "plane_ends": np.stack([latents.min(0), latents.max(0)]),
        "plane_images": chosen,
        "plane_pixels": data.test.pixels[chosen],
    }


def arrays(cell: Cell, data: DataSet) -> dict[str, NDArray[Any]]:
    """The latents of all test images and their clusters; if known their labels, which are places in `classes`."""
    labels = {} if data.test.labels is None else {"labels": data.test.labels, "classes": np.array(data.classes)}
    clusters = {f"clusters_{clusterer}": found for clusterer, found in cell.partitions.items()}
    return {"latents": cell.latents.astype(np.float32), **labels, **clusters}
