"""The latent experiment's result: answer, remarks, headline, tables, figures and files."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bs6207.data.images import DataSet, npz, to_uint8
from bs6207.latent import figures
from bs6207.latent.clusterers import SEES_IMAGES, UMAP_WARNINGS, ignore_warnings
from bs6207.latent.evaluation import subset
from bs6207.latent.figures import class_noun
from bs6207.latent.projector import projector_files
from bs6207.latent.settings import LatentSettings
from bs6207.latent.tasks import AutoencoderResult, shown_images, walk_ends
from bs6207.runs.names import legible, listed
from bs6207.runs.result import Drawing, Result, Row, Table

MAX_POINTS = 2000  # test images that are projected: more hide each other, and make the files large
MIN_POINTS = {"pca": 1, "umap": 4}
UMAP_NEIGHBOURS = 15  # UMAP's default
SIGNIFICANCE = 0.05  # of McNemar's test
GRID_PIXELS = 1_000_000  # of all test images that the page shows in the plane


def summarize(
    metrics: dict[str, Any],
    results: Mapping[int, Mapping[int, AutoencoderResult]],
    data: DataSet,
    settings: LatentSettings,
) -> Result:
    """Answer, tables, figures and files; images and points are those of the first seed of each dim.

    Args:
        results: by dim and seed.
    """
    first = {dim: next(iter(by_seed.values())) for dim, by_seed in results.items()}
    every = [result for by_seed in results.values() for result in by_seed.values()]
    clusterers = [*every[0].partitions]
    names = () if data.test.labels is None else data.classes
    scored = () if metrics["unscored"] else clusterers
    points = subset(len(data.test), MAX_POINTS)
    projected = {dim: result for dim, result in first.items() if dim > 2}
    left_out = dict(metrics["left_out"])
    if projected and len(points) < (fewest := MIN_POINTS[settings.projection]):
        projected = {}
        left_out["projection"] = (
            f"{settings.projection} needs {fewest} test images for a projection, and there are {len(points)}"
        )
    planes = {
        dim: project(result.latents[points], settings.projection, result.seed) for dim, result in projected.items()
    }
    metrics = metrics | {
        "left_out": left_out,
        "answer": answer(metrics, clusterers, scored),
        "projections": {"method": settings.projection, "shares": {dim: shares for dim, (_, shares) in planes.items()}},
    }

    tables = {
        "history": Table(tuple(every[0].history[0]), [row for result in every for row in result.history]),
        "scores": scores_table(metrics),
        "clusters": clusters_table(every, data, names),
    }
    images = image_arrays(first, data)
    if 2 in first:
        rows = images_table(first[2], data, names, np.arange(len(data.test)))
        tables["latents_2"] = with_columns(rows, ("z1", "z2"), first[2].latents)
        images |= grid_arrays(first[2], data)
    if projected:
        shown = {dim: images_table(result, data, names, points) for dim, result in projected.items()}
        tables["projections"] = projections_table(shown, {dim: xy for dim, (xy, _) in planes.items()}, clusterers[0])
    files = {"images.npz": npz(images)}
    files |= {f"latents_{dim}.npz": npz(latent_arrays(result, data)) for dim, result in first.items()}
    if settings.projector:
        files |= projector_files(
            {dim: result.latents[points] for dim, result in first.items()},
            {dim: images_table(result, data, names, points) for dim, result in first.items()},
            data.test.pixels[points],
        )
    return Result(
        settings=settings,
        metrics=metrics,
        headline=headline(metrics, scored),
        remarks=remarks(metrics, scored),
        tables=tables,
        figures=dict(drawings(metrics, tables, images, first, data, clusterers, names)),
        files=files,
        failures=[row["reason"] for row in metrics["failed"]],
        weights={f"autoencoder_{result.dim}_{result.seed}": result.weights for result in every},
    )


def project(latents: NDArray[np.float32], method: str, seed: int) -> tuple[NDArray[np.float32], list[float] | None]:
    """Points in a plane, [N, 2], and with `pca` the share of the variance along each axis.

    Args:
        latents: [N, dim].
        method: `pca`, or `umap` (McInnes et al. 2018, arXiv:1802.03426), whose distances mean little.
        seed: of UMAP.
    """
    with threadpool_limits(1):  # the order in which threads add up would change the last digits
        if method == "umap":
            with ignore_warnings(*UMAP_WARNINGS):
                from umap import UMAP

                model: Any = UMAP(n_neighbors=min(UMAP_NEIGHBOURS, len(latents) - 1), random_state=seed, n_jobs=1)
                return model.fit_transform(latents).astype(np.float32), None
        centred = latents - latents.mean(axis=0, dtype=np.float64)
        _, lengths, axes = np.linalg.svd(centred, full_matrices=False)
        points, shares = np.zeros((len(latents), 2)), np.zeros(2)  # of a single image there is one axis
        points[:, : len(axes)] = centred @ axes[:2].T
        points *= np.sign(points[np.abs(points).argmax(0), [0, 1]])  # a fixed choice of the two directions
        shares[: len(axes)] = (lengths**2 / np.maximum((lengths**2).sum(), np.finfo(np.float64).tiny))[:2]
        return points.astype(np.float32), shares.tolist()


# --- sentences


def accuracies(scores: Mapping[str, Any], clusterer: str) -> list[float]:
    """The accuracy of every seed that has any."""
    every = [seed["clusters"] for seed in scores["seeds"].values()]
    return [clusters[clusterer]["accuracy"] for clusters in every if clusterer in clusters]


def accuracy_text(scores: Mapping[str, Any], clusterer: str) -> str:
    """The median accuracy over the seeds, and their standard deviation where there are several."""
    accuracy, sd = (group["clusters"][clusterer]["accuracy"] for group in (scores, scores["sd"]))
    return f"{accuracy:.3f}" if sd is None else f"{accuracy:.3f} ±{sd:.3f}"


def ties(scores: Mapping[str, Any], other: Mapping[str, Any], clusterer: str, images: int) -> bool:
    """Whether the ranges of the seeds overlap, or the difference is within two standard errors of so few images."""
    ours, theirs = accuracies(scores, clusterer), accuracies(other, clusterer)
    overlap = min(ours) <= max(theirs) and min(theirs) <= max(ours)
    accuracy, other_accuracy = (group["clusters"][clusterer]["accuracy"] for group in (scores, other))
    return overlap or abs(accuracy - other_accuracy) <= 2 * math.sqrt(accuracy * (1 - accuracy) / images)


def answer(metrics: Mapping[str, Any], clusterers: Sequence[str], scored: Sequence[str]) -> str:
    """The dim and clusterer of best accuracy, its spread, and whether it beats raw pixels and PCA.

    Args:
        scored: the clusterers whose accuracy is known; none without classes.
    """
    if not scored:
        return answer_without_classes(metrics, clusterers[0])
    cells = metrics["cells"]

    def accuracy(dim: int, name: str) -> float:
        return cells[dim]["clusters"][name]["accuracy"]

    ranks = {name: sorted(sorted(cells), key=lambda dim: -accuracy(dim, name)) for name in scored}
    clusterer = max(scored, key=lambda name: accuracy(ranks[name][0], name))
    best, *others = ranks[clusterer]
    scores = cells[best]["clusters"][clusterer]
    which = f"Best: {clusterer} at dim {best}" if others else f"{clusterer} at dim {best}"
    return " ".join(
        [
            f"{which}, accuracy {accuracy_text(cells[best], clusterer)} on the test images "
            f"(NMI {scores['nmi']:.3f}, ARI {scores['ari']:.3f}).",
            *on_spread(metrics, best, others, clusterer),
            *on_baselines(metrics, best, clusterer),
            *on_stability({best: cells[best]}, [clusterer]),
            *(
                f"{name}: dim {ranks[name][0]}, {accuracy_text(cells[ranks[name][0]], name)}."
                for name in sorted(scored, key=lambda name: -accuracy(ranks[name][0], name))
                if name != clusterer
            ),
            "No training and no clustering uses a test label; the best dim is chosen by test scores.",
        ]
    )


def answer_without_classes(metrics: Mapping[str, Any], clusterer: str) -> str:
    cells = metrics["cells"]
    best = min(cells, key=lambda dim: cells[dim]["l1"])
    sentence = (
        f"Clusters have no accuracy, NMI or ARI, because {metrics['unscored']}. "
        f"Best reconstruction: dim {best} (L1 {cells[best]['l1']:.4f})."
    )
    agreements = {dim: cell["agreement"][clusterer] for dim, cell in cells.items()}
    known = {dim: value for dim, value in agreements.items() if value is not None}
    if not known:
        return sentence
    stable = max(known, key=lambda dim: known[dim])
    return (
        f"{sentence} Most stable clusters of {clusterer}: dim {stable} (mean adjusted Rand index between seeds "
        f"{known[stable]:.3f})."
    )


def on_spread(metrics: Mapping[str, Any], best: int, others: Sequence[int], clusterer: str) -> Iterator[str]:
    """The lead of the best dim, as far as the seeds tell."""
    cells = metrics["cells"]
    texts = {dim: f"dim {dim} ({accuracy_text(cells[dim], clusterer)})" for dim in others}
    seeds = len(accuracies(cells[best], clusterer))
    if seeds == 1:
        yield "One seed, so the spread is unknown; --seeds 3 shows it."
        if others:
            yield f"The next is {texts[others[0]]}."
        return
    tied = [dim for dim in others if ties(cells[best], cells[dim], clusterer, metrics["data"]["test"])]
    if tied:
        yield f"It ties, within the spread of seeds and test images, with {', '.join(texts[dim] for dim in tied)}."
    elif others:
        yield f"The next, {texts[others[0]]}, is outside the range of its seeds."
    yield f"Medians of {seeds} seeds ± their standard deviation."


def on_baselines(metrics: Mapping[str, Any], dim: int, clusterer: str) -> Iterator[str]:
    """The same clusterer on raw pixels, and on PCA of the same dim: by seeds, or with one seed by McNemar's test."""
    cell, pixels, pca = metrics["cells"][dim], metrics["baselines"]["pixels"], metrics["baselines"]["pca"][dim]
    outcomes: dict[str, list[str]] = {}
    for key, name, baseline in (("pixels", "raw pixels", pixels), ("pca", f"PCA at dim {dim}", pca)):
        ours, theirs = (scores["clusters"][clusterer]["accuracy"] for scores in (cell, baseline))
        text = accuracy_text(baseline, clusterer)
        if len(accuracies(cell, clusterer)) == 1:
            test = cell["paired"][clusterer][key]
            tie, better = test["p_value"] >= SIGNIFICANCE, test["only_latents"] > test["only_baseline"]
            text += ", p < 0.001" if test["p_value"] < 0.001 else f", p = {test['p_value']:.3f}"
        else:
            tie, better = ties(cell, baseline, clusterer, metrics["data"]["test"]), ours > theirs
        verb = "ties with" if tie else "beats" if better else "loses to"
        outcomes.setdefault(verb, []).append(f"{name} ({text})")
    clauses = [f"{verb} {' and '.join(texts)}" for verb, texts in outcomes.items()]
    yield f"With the same clusterer it {' and '.join(clauses)}."


def on_stability(cells: Mapping[int, Any], clusterers: Sequence[str]) -> Iterator[str]:
    """The clusters that their clusterer calls unstable."""
    for name in clusterers:
        stability = {
            (dim, seed): scores["clusters"][name].get("trust", {"trusted": True})
            for dim, cell in cells.items()
            for seed, scores in cell["seeds"].items()
        }
        unstable = [(key, trust["agreement"]) for key, trust in stability.items() if not trust["trusted"]]
        if unstable:
            texts = [f"dim {dim}, seed {seed} ({agreement:.2f})" for (dim, seed), agreement in unstable]
            yield (
                f"Unstable clusters of {name}: {'; '.join(texts)}. In parentheses, the adjusted Rand index between "
                "clusters of different subsets of the images; 1 is full agreement."
            )


def remarks(metrics: Mapping[str, Any], scored: Sequence[str]) -> list[str]:
    """What the headline must not be read without; the answer comes last."""
    data, cells, pca = metrics["data"], metrics["cells"], metrics["baselines"]["pca"]
    most = max(len(cell["seeds"]) for cell in cells.values())
    seeds = "one seed" if most == 1 else f"medians of {most} seeds ± their standard deviation"
    sentences = [
        f"Scores on {data['test']:,} test images of {legible(data['name'])}, trained on {data['train']:,} others; "
        f"{seeds}. L1: mean absolute error per pixel in [0, 1]; the median and the black image need no training."
    ]
    if scored:
        sentences.append(
            "Accuracy: clusters are fitted without labels, matched one to one with the classes on the training images "
            f"(Hungarian method) and scored on the test images; random clusters have "
            f"{metrics['chance']['random']:.2g}, one cluster for all images has {metrics['chance']['one']:.2g}."
        )
        if data["only_in_test"]:
            sentences.append(
                f"No training image shows {listed(data['only_in_test'])}, so {data['images_of_only_in_test']} of the "
                f"{data['test']:,} test images count as wrong in any cluster."
            )
        if data["only_in_train"]:
            sentences.append(f"No test image shows {listed(data['only_in_train'])}: clusters of it are not tested.")
    clusterers = [*next(iter(cells.values()))["clusters"]]
    sentences += [
        f"{name} trains on the images and uses only the neighbours of the latents: its result is not the latents' own."
        for name in clusterers
        if name in SEES_IMAGES
    ]
    sentences += [f"Left out: {reason}." for reason in metrics["left_out"].values()]
    untrained = [dim for dim, cell in cells.items() if any(seed["best_epoch"] == 0 for seed in cell["seeds"].values())]
    lists = {
        "Failed, and left out of all scores": [f"dim {row['dim']} (seed {row['seed']})" for row in metrics["failed"]],
        "No better than a constant image on validation images (too few training images or dimensions)": [
            f"dim {dim}" for dim, cell in cells.items() if not cell["beats_constant"]
        ],
        "Hardly better than a constant image": metrics["weak"],
        "Training is no better on validation images than the initial PCA, which is kept": [
            f"dim {dim}" for dim in untrained
        ],
        "Reconstruction, no better than PCA": [
            f"dim {dim} (L1 {cell['l1']:.4f} vs {pca[dim]['l1']:.4f})"
            for dim, cell in cells.items()
            if cell["l1"] >= pca[dim]["l1"]
        ],
    }
    for name in scored:
        pairs = {dim: [group[dim]["clusters"][name]["accuracy"] for group in (cells, pca)] for dim in cells}
        worse = {dim: f"{ours:.3f} vs {theirs:.3f}" for dim, (ours, theirs) in pairs.items() if ours <= theirs}
        lists[f"{name}, no better than on PCA"] = [f"dim {dim} (accuracy {text})" for dim, text in worse.items()]
    sentences += [f"{title}: {'; '.join(entries)}." for title, entries in lists.items() if entries]
    return [*sentences, *on_stability(cells, clusterers), metrics["answer"]]


# --- tables


def headline(metrics: Mapping[str, Any], scored: Sequence[str]) -> Table:
    """A row per dim and clusterer beside PCA of that dim, then the baselines without training."""
    baselines = metrics["baselines"]
    rows: list[dict[str, Any]] = []
    for dim, cell in metrics["cells"].items():
        pca = baselines["pca"][dim]
        l1 = {"L1": with_sd(cell["l1"], cell["sd"]["l1"], 4), "PCA L1": f"{pca['l1']:.4f}"}
        rows.append({"latent": dim, **l1, "PSNR dB": f"{cell['psnr']:.2f}"})
        for name in scored:
            on_pca = {"on PCA": f"{pca['clusters'][name]['accuracy']:.3f}"}
            add_clusters(rows, cell, name, on_pca)
    for name in ("median", "black"):
        constant = baselines[name]
        rows.append({"latent": name, "L1": f"{constant['l1']:.4f}", "PSNR dB": f"{constant['psnr']:.2f}"})
    rows += [{"latent": "pixels"}] if scored else []
    for name in scored:
        add_clusters(rows, baselines["pixels"], name, {})
    return Table(("latent", "L1", "PCA L1", "PSNR dB", *(("clusterer", "accuracy", "on PCA") if scored else ())), rows)


def add_clusters(rows: list[dict[str, Any]], scores: Mapping[str, Any], name: str, more: Mapping[str, str]) -> None:
    """Add the accuracy of one clusterer to the last row or, if it holds one, in a new row."""
    if "clusterer" in rows[-1]:
        rows.append({})
    accuracy, sd = (group["clusters"][name]["accuracy"] for group in (scores, scores["sd"]))
    rows[-1] |= {"clusterer": name, "accuracy": with_sd(accuracy, sd, 3), **more}


def with_sd(value: float, sd: float | None, digits: int) -> str:
    """A score and its standard deviation, without the leading zero as a terminal has 80 columns."""
    return f"{value:.{digits}f}" + ("" if sd is None else "±" + f"{sd:.{digits}f}".removeprefix("0"))


def scores_table(metrics: Mapping[str, Any]) -> Table:
    """A row per kind of vectors, dim, seed and clusterer, with every score."""
    groups = [("autoencoder", dim, cell) for dim, cell in metrics["cells"].items()]
    groups += [("pca", dim, scores) for dim, scores in metrics["baselines"]["pca"].items()]
    groups += [("pixels", None, metrics["baselines"]["pixels"])]
    rows: list[Row] = []
    for vectors, dim, group in groups:
        for seed, scores in group["seeds"].items():
            for name, clusters in scores["clusters"].items():
                row = {"vectors": vectors, "dim": dim, "seed": seed, "clusterer": name}
                for part in (scores, clusters, scores.get("probes", {}), clusters.get("trust", {})):
                    row |= {key: value for key, value in part.items() if isinstance(value, int | float)}
                rows.append(row)
    return Table(tuple(dict.fromkeys(key for row in rows for key in row)), rows)


def clusters_table(results: Sequence[AutoencoderResult], data: DataSet, names: Sequence[str]) -> Table:
    """The number of test images in every cluster, by class where it is known, and the class it is named after."""
    class_columns = ("name", class_noun(names)) if names else ()
    rows: list[Row] = []
    for result in results:
        for clusterer, clusters in result.partitions.items():
            scores = result.scores["clusters"][clusterer]
            for cluster, size in enumerate(scores["sizes"]):
                row = {"dim": result.dim, "seed": result.seed, "clusterer": clusterer, "cluster": cluster}
                if data.test.labels is None:
                    rows.append(row | {"count": size})
                    continue
                counts = np.bincount(data.test.labels[clusters == cluster], minlength=len(names))
                row["name"] = scores["class_names"][cluster]
                rows += [
                    row | {class_noun(names): name, "count": count}
                    for name, count in zip(names, counts.tolist(), strict=True)
                ]
    return Table(("dim", "seed", "clusterer", "cluster", *class_columns, "count"), rows)


def images_table(result: AutoencoderResult, data: DataSet, names: Sequence[str], chosen: NDArray[np.int64]) -> Table:
    """The chosen test images: their places in the test set, their classes where known, their clusters."""
    columns: dict[str, list[Any]] = {"image": chosen.tolist()}
    if data.test.labels is not None:
        columns[class_noun(names)] = [names[label] for label in data.test.labels[chosen]]
    columns |= {clusterer: clusters[chosen].tolist() for clusterer, clusters in result.partitions.items()}
    return Table(tuple(columns), [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])


def with_columns(table: Table, columns: Sequence[str], values: NDArray[np.float32]) -> Table:
    """The table with further columns; values are [rows, columns]."""
    rows = [{**row, **dict(zip(columns, line, strict=True))} for row, line in zip(table.rows, values, strict=True)]
    return Table((*table.columns, *columns), rows)


def projections_table(images: Mapping[int, Table], points: Mapping[int, NDArray[np.float32]], clusterer: str) -> Table:
    """The images of each dim as points in the plane, with the clusters of one clusterer."""
    rows: list[Row] = []
    for dim, table in images.items():
        known = table.columns[: table.columns.index(clusterer)]
        for row, (x, y) in zip(table.rows, points[dim], strict=True):
            shown = {column: row[column] for column in known}
            rows.append({"dim": dim, **shown, "cluster": row[clusterer], "x": x, "y": y})
    return Table(tuple(rows[0]), rows)


# --- figures and arrays


def drawings(
    metrics: Mapping[str, Any],
    tables: Mapping[str, Table],
    images: Mapping[str, NDArray[Any]],
    first: Mapping[int, AutoencoderResult],
    data: DataSet,
    clusterers: Sequence[str],
    names: Sequence[str],
) -> Iterator[tuple[str, Drawing]]:
    """The figures by name, each drawn from tables, metrics and images that are written beside it."""
    clusterer, labels = clusterers[0], data.test.labels
    seeds = {dim: result.seed for dim, result in first.items()}
    rows = [row for row in tables["clusters"].rows if (row["clusterer"], row["seed"]) == (clusterer, seeds[row["dim"]])]
    clusters = Table(tables["clusters"].columns, rows)
    if 2 in first:
        yield "scatter", partial(figures.scatter, tables["latents_2"], names)
        yield "thumbnails", partial(figures.thumbnails, tables["latents_2"], data.test.pixels, names)
    if "projections" in tables:
        shares = metrics["projections"]["shares"]
        yield "projection", partial(figures.projection, tables["projections"], clusters, shares, names)
    scores = {dim: result.scores["clusters"][clusterer].get("accuracy") for dim, result in first.items()}
    centroids = {dim: images[f"centroids_{dim}_{clusterer}"] for dim in first}
    yield "centroids", partial(figures.centroids, clusters, centroids, scores, names)
    captions = [] if labels is None else [names[label] for label in labels[shown_images(data.test)]]
    restored = {dim: images[f"reconstructions_{dim}"] for dim in first}
    l1 = {dim: result.scores["l1"] for dim, result in first.items()}
    yield "reconstructions", partial(figures.reconstructions, images["originals"], restored, l1, captions)
    walks = {dim: images[f"walks_{dim}"] for dim in first}
    yield "walks", partial(figures.walks, walks, images["walk_starts"], images["walk_ends"])
    yield "scores", partial(figures.scores, metrics, () if metrics["unscored"] else clusterers)
    if any(cell["probes"] for cell in metrics["cells"].values()):
        yield "probes", partial(figures.probes, metrics)
    yield "loss_curves", partial(figures.loss_curves, tables["history"], metrics["baselines"])


def image_arrays(first: Mapping[int, AutoencoderResult], data: DataSet) -> dict[str, NDArray[Any]]:
    """The images of the figures: [N, C, H, W] in [0, 1]; walks are [walks, steps, C, H, W]."""
    test, ends = data.test.unit_pixels, np.array(walk_ends(data.test))
    arrays = {
        "originals": test[shown_images(data.test)],
        "walk_starts": test[ends[:, 0]],
        "walk_ends": test[ends[:, 1]],
    }
    for dim, result in first.items():
        arrays |= {f"reconstructions_{dim}": result.shown, f"walks_{dim}": result.walks}
        arrays |= {f"centroids_{dim}_{clusterer}": decoded for clusterer, decoded in result.centroids.items()}
    return arrays


def grid_arrays(result: AutoencoderResult, data: DataSet) -> dict[str, NDArray[Any]]:
    """The latent of 2 dimensions as the page shows it: decoded grid, its ends, and test images in it, as uint8."""
    assert result.grid is not None
    chosen = subset(len(data.test), MAX_POINTS)[: max(1, GRID_PIXELS // data.test.pixels[0].size)]
    return {
        "plane": to_uint8(result.grid),
        "plane_ends": np.stack([result.latents.min(0), result.latents.max(0)]),
        "plane_images": chosen,
        "plane_pixels": data.test.pixels[chosen],
    }


def latent_arrays(result: AutoencoderResult, data: DataSet) -> dict[str, NDArray[Any]]:
    """The latents of all test images and their clusters; where known their labels, which are places in `classes`."""
    labels = {} if data.test.labels is None else {"labels": data.test.labels, "classes": np.array(data.classes)}
    clusters = {f"clusters_{clusterer}": clusters for clusterer, clusters in result.partitions.items()}
    return {"latents": result.latents, **labels, **clusters}
