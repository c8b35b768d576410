"""The latent experiment's result: answer, remarks, headline, tables, figures and files."""

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

import bs6207.latent.figures as figures
from bs6207.data.images import SPLIT_SEED, DataSet, npz, to_uint8
from bs6207.latent.assignments import SURE, assignment_rows, contact_sheets, links_of, parts_of
from bs6207.latent.clusterers import SEES_IMAGES, subset
from bs6207.latent.figures import class_noun
from bs6207.latent.graph import STABLE
from bs6207.latent.projector import projector_files
from bs6207.latent.settings import LatentSettings
from bs6207.latent.tasks import AutoencoderResult, shown_images, walk_ends
from bs6207.runs.names import legible, listed
from bs6207.runs.result import Drawing, Links, Result, Row, Table

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
    """Answer, tables, figures and files of results by dim and seed; images and points are those of the first seeds."""
    first = {dim: next(iter(by_seed.values())) for dim, by_seed in results.items()}
    every = [result for by_seed in results.values() for result in by_seed.values()]
    clusterer = next(iter(every[0].partitions))
    points = subset(len(data.test), MAX_POINTS, SPLIT_SEED)
    left_out, planes, shares = dict(metrics["left_out"]), {}, {}
    method, fewest = settings.projection, MIN_POINTS[settings.projection]
    for dim, result in first.items():
        if dim > 2 and len(points) >= fewest:
            planes[dim], shares[dim] = project(result.latents[points], method, result.seed)
        elif dim > 2:
            reason = f"{method} needs {fewest} test images for a projection, and there are {len(points)}"
            left_out["projection"] = reason
    projections = {"method": method, "shares": shares}
    metrics = metrics | {"left_out": left_out, "projections": projections, "assignments": most_stable(first)}
    metrics["answer"] = answer(metrics)

    tables = {
        "history": table_of(row for result in every for row in result.history),
        "scores": table_of(score_rows(metrics)),
        "clusters": table_of(cluster_rows(every, data)),
    }
    images = {dim: image_rows(result, data) for dim, result in first.items()}
    sheets: dict[str, Drawing] = {}
    links = None
    if chosen := metrics["assignments"]:
        assignment, parts = first[chosen["dim"]].assignments[chosen["clusterer"]], parts_of(data, settings.train_images)
        tables["assignments"] = table_of(assignment_rows(assignment, parts, data.classes))
        sheets = contact_sheets(assignment, parts)
        if settings.link:
            links = Links(Path(settings.link), links_of(tables["assignments"], Path(settings.data)))
    if number := metrics.get("number_of_clusters"):
        tables["number_of_clusters"] = table_of(number["curve"])
    if 2 in first:
        rows = zip(images[2], first[2].latents, strict=True)
        tables["latents_2"] = table_of(row | {"z1": z1, "z2": z2} for row, (z1, z2) in rows)
    if planes:
        known = ["image", class_noun(data.classes)] if data.classes else ["image"]
        tables["projections"] = table_of(
            {"dim": dim, **{key: row[key] for key in known}, "cluster": row[clusterer], "x": x, "y": y}
            for dim, plane in planes.items()
            for row, (x, y) in zip([images[dim][place] for place in points], plane, strict=True)
        )
    files = {"images.npz": npz(image_arrays(first, data))}
    classes: dict[str, Any] = {"labels": data.test.labels, "classes": np.array(data.classes)} if data.classes else {}
    for dim, result in first.items():
        clusters = {f"clusters_{name}": clusters for name, clusters in result.partitions.items()}
        files[f"latents_{dim}.npz"] = npz({"latents": result.latents, **classes, **clusters})
    if settings.projector:
        files |= projector_files(
            {dim: result.latents[points] for dim, result in first.items()},
            {dim: [images[dim][place] for place in points] for dim in first},
            data.test.pixels[points],
        )
    return Result(
        settings=settings,
        metrics=metrics,
        headline=headline(metrics),
        remarks=[*remarks(metrics)],
        tables=tables,
        figures=dict(drawings(metrics, tables, first, data)) | sheets,
        files=files,
        links=links,
        failures=[row["reason"] for row in metrics["failed"]],
        weights={f"autoencoder_{result.dim}_{result.seed}": result.weights for result in every},
    )


def project(latents: NDArray[np.float32], method: str, seed: int) -> tuple[NDArray[np.float32], list[float] | None]:
    """Points in a plane, [N, 2], and the share of the variance along each axis; None with UMAP (arXiv:1802.03426)."""
    with threadpool_limits(1):  # the order in which threads add up would change the last digits
        if method == "umap":
            with warnings.catch_warnings(action="ignore"):  # as in `UmapMixtureClusterer`
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


def most_stable(first: Mapping[int, AutoencoderResult]) -> dict[str, Any] | None:
    """The clusters that assign the pictures of a folder, by their stability alone; None where there are none."""
    every = [
        {"dim": dim, "clusterer": name, "seed": result.seed, "stable": scores["stable"], **scores["stability"]}
        for dim, result in first.items()
        for name, scores in result.scores["clusters"].items()
        if name in result.assignments
    ]
    return max(every, key=lambda row: (row["stable"], row["agreement"] or 0.0), default=None)


def accuracy(scores: Mapping[str, Any], clusterer: str) -> float:
    return scores["clusters"][clusterer]["accuracy"]


def accuracies(scores: Mapping[str, Any], clusterer: str) -> list[float]:
    """Of every seed that has any."""
    return [accuracy(seed, clusterer) for seed in scores["seeds"].values() if clusterer in seed["clusters"]]


def accuracy_text(scores: Mapping[str, Any], clusterer: str) -> str:
    """The median accuracy over the seeds, and their standard deviation where there are several."""
    sd = accuracy(scores["sd"], clusterer)
    return f"{accuracy(scores, clusterer):.3f}" + ("" if sd is None else f" ±{sd:.3f}")


def ties(scores: Mapping[str, Any], other: Mapping[str, Any], clusterer: str, images: int) -> bool:
    """Whether the ranges of the seeds overlap, or the difference is within two standard errors of so few images."""
    ours, theirs = accuracies(scores, clusterer), accuracies(other, clusterer)
    share = accuracy(scores, clusterer)
    close = abs(share - accuracy(other, clusterer)) <= 2 * math.sqrt(share * (1 - share) / images)
    return close or (min(ours) <= max(theirs) and min(theirs) <= max(ours))


def scored_clusterers(metrics: Mapping[str, Any]) -> list[str]:
    """The clusterers whose accuracy is known; none without classes."""
    return [] if metrics["unscored"] else [*next(iter(metrics["cells"].values()))["clusters"]]


def answer(metrics: Mapping[str, Any]) -> str:
    """The dim and clusterer of best accuracy, its spread, and whether it beats raw pixels and PCA; the assignments."""
    scores = with_classes(metrics) if scored_clusterers(metrics) else without_classes(metrics)
    return " ".join((*scores, *on_number(metrics), *on_assignments(metrics)))


def on_number(metrics: Mapping[str, Any]) -> Iterator[str]:
    """The number of clusters, where it was searched."""
    number = metrics.get("number_of_clusters")
    if number and number["searched"]:
        agreement = f"adjusted Rand index {number['agreement']:.2f}"
        if number["stable"]:
            yield f"{number['used']} clusters: disjoint halves of the images agree best on that number ({agreement})."
        else:
            yield f"The number of clusters, {number['used']}, is not stable: no other has more support ({agreement})."


def on_assignments(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Which clusters the pictures of a folder are assigned to, and how many of them are sure."""
    if chosen := metrics.get("assignments"):
        source = f"assignments.csv has the clusters of {chosen['clusterer']} at dim {chosen['dim']}"
        if chosen["stable"]:
            yield f"{source}, which are stable; {chosen['sure']:.0%} of the images have a confidence above {SURE:g}."
        else:
            yield f"{source}, which are not stable: do not rely on them."


def with_classes(metrics: Mapping[str, Any]) -> Iterator[str]:
    cells, scored = metrics["cells"], scored_clusterers(metrics)
    ranks = {name: sorted(sorted(cells), key=lambda dim: -accuracy(cells[dim], name)) for name in scored}
    clusterer, *rest = sorted(scored, key=lambda name: -accuracy(cells[ranks[name][0]], name))
    best, *others = ranks[clusterer]
    scores = cells[best]["clusters"][clusterer]
    yield (
        f"{'Best: ' if others else ''}{clusterer} at dim {best}, accuracy {accuracy_text(cells[best], clusterer)} "
        f"on the test images (NMI {scores['nmi']:.3f}, ARI {scores['ari']:.3f})."
    )
    texts = {dim: f"dim {dim} ({accuracy_text(cells[dim], clusterer)})" for dim in others}
    tied = [texts[dim] for dim in others if ties(cells[best], cells[dim], clusterer, metrics["data"]["test"])]
    seeds = len(accuracies(cells[best], clusterer))
    if seeds == 1:
        yield "One seed, so the spread is unknown; --seeds 3 shows it."
        if others:
            yield f"The next is {texts[others[0]]}."
    elif tied:
        yield f"It ties, within the spread of seeds and test images, with {', '.join(tied)}."
    elif others:
        yield f"The next, {texts[others[0]]}, is outside the range of its seeds."
    if seeds > 1:
        yield f"Medians of {seeds} seeds ± their standard deviation."
    yield from on_baselines(metrics, best, clusterer)
    if any("trust" in seed["clusters"].get(clusterer, {}) for seed in cells[best]["seeds"].values()):
        yield from on_stability({best: cells[best]}, [clusterer])  # of the others, among the remarks
    for name in rest:
        dim = ranks[name][0]
        yield f"{name}: dim {dim}, {accuracy_text(cells[dim], name)}."
    yield "No training and no clustering uses a test label; the best dim is chosen by test scores."


def without_classes(metrics: Mapping[str, Any]) -> Iterator[str]:
    cells = metrics["cells"]
    best = min(cells, key=lambda dim: cells[dim]["l1"])
    yield f"Clusters have no accuracy, NMI or ARI, because {metrics['unscored']}."
    yield f"Best reconstruction: dim {best} (L1 {cells[best]['l1']:.4f})."
    clusterer = next(iter(cells[best]["agreement"]))
    agreements = {dim: cell["agreement"][clusterer] for dim, cell in cells.items()}
    if known := {dim: index for dim, index in agreements.items() if index is not None}:
        dim = max(known, key=lambda dim: known[dim])
        means = f"mean adjusted Rand index between seeds {known[dim]:.3f}"
        yield f"Most stable clusters of {clusterer}: dim {dim} ({means})."


def on_baselines(metrics: Mapping[str, Any], dim: int, clusterer: str) -> Iterator[str]:
    """The same clusterer on raw pixels, and on PCA of the same dim: by seeds, or with one seed by McNemar's test."""
    cell, pixels, pca = metrics["cells"][dim], metrics["baselines"]["pixels"], metrics["baselines"]["pca"][dim]
    outcomes: dict[str, list[str]] = {}
    for key, name, baseline in (("pixels", "raw pixels", pixels), ("pca", f"PCA at dim {dim}", pca)):
        text = accuracy_text(baseline, clusterer)
        if len(accuracies(cell, clusterer)) == 1:
            test = cell["paired"][clusterer][key]
            tie, better = test["p_value"] >= SIGNIFICANCE, test["only_latents"] > test["only_baseline"]
            text += ", p < 0.001" if test["p_value"] < 0.001 else f", p = {test['p_value']:.3f}"
        else:
            tie = ties(cell, baseline, clusterer, metrics["data"]["test"])
            better = accuracy(cell, clusterer) > accuracy(baseline, clusterer)
        verb = "ties with" if tie else "beats" if better else "loses to"
        outcomes.setdefault(verb, []).append(f"{name} ({text})")
    clauses = [f"{verb} {' and '.join(texts)}" for verb, texts in outcomes.items()]
    yield f"With the same clusterer it {' and '.join(clauses)}."


def on_stability(cells: Mapping[int, Any], clusterers: Iterable[str]) -> Iterator[str]:
    """The clusters that are not stable."""
    for name in clusterers:
        unstable = [
            f"dim {dim}, seed {seed} ({index_text(stability['agreement'])})"
            for dim, cell in cells.items()
            for seed, scores in cell["seeds"].items()
            if (stability := scores["clusters"][name].get("stability")) and not scores["clusters"][name]["stable"]
        ]
        if unstable:
            yield (
                f"Unstable clusters of {name}: {'; '.join(unstable)}. In parentheses, the adjusted Rand index between "
                "clusters of different subsets of the images; 1 is full agreement."
            )


def index_text(agreement: float | None) -> str:
    return "too few images" if agreement is None else f"{agreement:.2f}"


def remarks(metrics: Mapping[str, Any]) -> Iterator[str]:
    """What the headline must not be read without; the answer comes last."""
    data, cells, pca = metrics["data"], metrics["cells"], metrics["baselines"]["pca"]
    scored, clusterers = scored_clusterers(metrics), next(iter(cells.values()))["clusters"]
    most = max(len(cell["seeds"]) for cell in cells.values())
    seeds = "one seed" if most == 1 else f"medians of {most} seeds ± their standard deviation"
    yield (
        f"Scores on {data['test']:,} test images of {legible(data['name'])}, trained on {data['train']:,} others; "
        f"{seeds}. L1: mean absolute error per pixel in [0, 1]; the median and the black image need no training."
    )
    if scored:
        yield (
            "Accuracy: clusters are fitted without labels, matched one to one with the classes on the training images "
            f"(Hungarian method) and scored on the test images; random clusters have "
            f"{metrics['chance']['random']:.2g}, one cluster for all images has {metrics['chance']['one']:.2g}."
        )
    if scored and data["only_in_test"]:
        yield (
            f"No training image shows {listed(data['only_in_test'])}, so {data['images_of_only_in_test']} of the "
            f"{data['test']:,} test images count as wrong in any cluster."
        )
    if scored and data["only_in_train"]:
        yield f"No test image shows {listed(data['only_in_train'])}: clusters of it are not tested."
    yield from (
        f"{name} {SEES_IMAGES[name]}: its result is not the latents' own." for name in clusterers if name in SEES_IMAGES
    )
    yield from (f"Left out: {reason}." for reason in metrics["left_out"].values())
    lists = {
        "Failed, and left out of all scores": [f"dim {row['dim']} (seed {row['seed']})" for row in metrics["failed"]],
        "No better than a constant image on validation images (too few training images or dimensions)": [
            f"dim {dim}" for dim, cell in cells.items() if not cell["beats_constant"]
        ],
        "Hardly better than a constant image": metrics["weak"],
        "Training is no better on validation images than the initial PCA, which is kept": [
            f"dim {dim}" for dim, cell in cells.items() if 0 in [seed["best_epoch"] for seed in cell["seeds"].values()]
        ],
        "Reconstruction, no better than PCA": [
            f"dim {dim} (L1 {cell['l1']:.4f} vs {pca[dim]['l1']:.4f})"
            for dim, cell in cells.items()
            if cell["l1"] >= pca[dim]["l1"]
        ],
    }
    for name in scored:
        lists[f"{name}, no better than on PCA"] = [
            f"dim {dim} (accuracy {ours:.3f} vs {theirs:.3f})"
            for dim, cell in cells.items()
            if (ours := accuracy(cell, name)) <= (theirs := accuracy(pca[dim], name))
        ]
    yield from (f"{title}: {'; '.join(entries)}." for title, entries in lists.items() if entries)
    yield from on_stability(cells, clusterers)
    yield metrics["answer"]


def headline(metrics: Mapping[str, Any]) -> Table:
    """A row per dim and clusterer beside PCA of that dim, then the baselines without training."""
    baselines, scored = metrics["baselines"], scored_clusterers(metrics)
    groups: dict[Any, Any] = {dim: (cell, baselines["pca"][dim]) for dim, cell in metrics["cells"].items()}
    groups |= {name: (baselines[name], None) for name in ("median", "black", *(["pixels"] if scored else []))}
    rows: list[dict[str, Any]] = []
    for latent, (scores, pca) in groups.items():
        row: dict[str, Any] = {"latent": latent}
        sd = scores.get("sd", {})
        if "l1" in scores:
            row |= {"L1": with_sd(scores["l1"], sd.get("l1"), 4), "PSNR dB": f"{scores['psnr']:.2f}"}
        if pca:
            row["PCA L1"] = f"{pca['l1']:.4f}"
        for name in scored if "clusters" in scores else ():
            row |= {"clusterer": name, "accuracy": with_sd(accuracy(scores, name), accuracy(sd, name), 3)}
            if pca:
                row["on PCA"] = f"{accuracy(pca, name):.3f}"
            rows.append(row)
            row = {}
        if row:
            rows.append(row)
    return Table(("latent", "L1", "PCA L1", "PSNR dB", *(("clusterer", "accuracy", "on PCA") if scored else ())), rows)


def with_sd(value: float, sd: float | None, digits: int) -> str:
    """A score and its standard deviation, without the leading zero as a terminal has 80 columns."""
    return f"{value:.{digits}f}" + ("" if sd is None else "±" + f"{sd:.{digits}f}".removeprefix("0"))


def table_of(rows: Iterable[Row]) -> Table:
    """A table with every column that a row has."""
    rows = [*rows]
    return Table(tuple(dict.fromkeys(key for row in rows for key in row)), rows)


def score_rows(metrics: Mapping[str, Any]) -> Iterator[Row]:
    """Every score, by kind of vectors, dim, seed and clusterer."""
    groups = [("autoencoder", dim, cell) for dim, cell in metrics["cells"].items()]
    groups += [("pca", dim, scores) for dim, scores in metrics["baselines"]["pca"].items()]
    groups += [("pixels", None, metrics["baselines"]["pixels"])]
    for vectors, dim, group in groups:
        for seed, scores in group["seeds"].items():
            for name, clusters in scores["clusters"].items():
                row = {"vectors": vectors, "dim": dim, "seed": seed, "clusterer": name}
                parts = (scores.get("probes"), clusters.get("trust"), clusters.get("stability"))
                for part in (scores, clusters, *filter(None, parts)):
                    row |= {key: value for key, value in part.items() if isinstance(value, int | float)}
                yield row


def cluster_rows(results: Sequence[AutoencoderResult], data: DataSet) -> Iterator[Row]:
    """The number of test images in every cluster, by class where it is known, and the class it is named after."""
    for result in results:
        for clusterer, clusters in result.partitions.items():
            scores = result.scores["clusters"][clusterer]
            for cluster, size in enumerate(scores["sizes"]):
                row = {"dim": result.dim, "seed": result.seed, "clusterer": clusterer, "cluster": cluster}
                if data.test.labels is None:
                    yield row | {"count": size}
                    continue
                row["name"] = scores["class_names"][cluster]
                counts = np.bincount(data.test.labels[clusters == cluster], minlength=len(data.classes))
                for name, count in zip(data.classes, counts.tolist(), strict=True):
                    yield row | {class_noun(data.classes): name, "count": count}


def image_rows(result: AutoencoderResult, data: DataSet) -> list[dict[str, Any]]:
    """The places of the test images, their classes where known, and their clusters."""
    columns: dict[str, Iterable[Any]] = {"image": range(len(data.test))}
    if data.test.labels is not None:
        columns[class_noun(data.classes)] = [data.classes[label] for label in data.test.labels]
    columns |= {clusterer: clusters.tolist() for clusterer, clusters in result.partitions.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def drawings(
    metrics: Mapping[str, Any], tables: Mapping[str, Table], first: Mapping[int, AutoencoderResult], data: DataSet
) -> Iterator[tuple[str, Drawing]]:
    """The figures by name, each drawn from tables, metrics and images that are written beside it."""
    test, names, (clusterer, *_) = data.test, data.classes, next(iter(first.values())).partitions
    shown = {(result.dim, result.seed, clusterer) for result in first.values()}
    clusters = table_of(row for row in tables["clusters"].rows if (row["dim"], row["seed"], row["clusterer"]) in shown)
    if 2 in first:
        yield "scatter", partial(figures.scatter, tables["latents_2"], names)
        yield "thumbnails", partial(figures.thumbnails, tables["latents_2"], test.pixels, names)
    if "projections" in tables:
        shares = metrics["projections"]["shares"]
        yield "projection", partial(figures.projection, tables["projections"], clusters, shares, names)
    scores = {dim: accuracy(result.scores, clusterer) for dim, result in first.items()}
    centroids = {dim: result.centroids[clusterer] for dim, result in first.items()}
    yield "centroids", partial(figures.centroids, clusters, centroids, scores, names)
    originals = test[shown_images(test)]
    captions = [] if originals.labels is None else [names[label] for label in originals.labels]
    restored = {dim: result.shown for dim, result in first.items()}
    l1 = {dim: result.scores["l1"] for dim, result in first.items()}
    yield "reconstructions", partial(figures.reconstructions, originals.unit_pixels, restored, l1, captions)
    starts, ends = (test[np.array(places)].unit_pixels for places in zip(*walk_ends(test), strict=True))
    yield "walks", partial(figures.walks, {dim: result.walks for dim, result in first.items()}, starts, ends)
    yield "scores", partial(figures.scores, metrics, scored_clusterers(metrics))
    if any(cell["probes"] for cell in metrics["cells"].values()):
        yield "probes", partial(figures.probes, metrics)
    if "number_of_clusters" in tables:
        number = metrics["number_of_clusters"]
        yield "number_of_clusters", partial(figures.number_of_clusters, tables["number_of_clusters"], number, STABLE)
    yield "loss_curves", partial(figures.loss_curves, tables["history"], metrics["baselines"])


def image_arrays(first: Mapping[int, AutoencoderResult], data: DataSet) -> dict[str, NDArray[Any]]:
    """The images of the figures, in [0, 1], and for the page those in the plane of a latent of 2 dimensions, uint8."""
    test, ends = data.test.unit_pixels, np.array(walk_ends(data.test))
    arrays = {
        "originals": test[shown_images(data.test)],
        "walk_starts": test[ends[:, 0]],
        "walk_ends": test[ends[:, 1]],
    }
    for dim, result in first.items():
        arrays |= {f"reconstructions_{dim}": result.shown, f"walks_{dim}": result.walks}
        arrays |= {f"centroids_{dim}_{clusterer}": decoded for clusterer, decoded in result.centroids.items()}
    if (plane := first.get(2)) and plane.grid is not None:
        chosen = subset(len(data.test), MAX_POINTS, SPLIT_SEED)[: max(1, GRID_PIXELS // data.test.pixels[0].size)]
        plane_ends = np.stack([plane.latents.min(0), plane.latents.max(0)])
        arrays |= {"plane": to_uint8(plane.grid), "plane_ends": plane_ends}
        arrays |= {"plane_images": chosen, "plane_pixels": data.test.pixels[chosen]}
    return arrays
