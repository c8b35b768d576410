"""Figures of autoencoders, drawn from the tables, metrics.json and images.npz."""

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import cycle
from textwrap import fill
from typing import Any, TypeAlias

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from bs6207.figures import INK, MUTED, PALETTE, clipped, legend_of, panels
from bs6207.runs.names import listed
from bs6207.runs.result import Row, Table

CONSTANTS = {"black": (0, (1, 1)), "median": "-.", "mean": (0, (6, 3))}  # line styles of the constant images
MAX_DIMS = 8  # in a figure of images or points: more are too small to see
MAX_LABELLED = 12  # classes with their names among the points
MAX_LEGEND = 50  # classes in a legend
MAX_CLUSTERS = 30  # rows of a cluster table
MAX_COUNTED = 25  # classes with a count in every cell of it
MIN_INCHES, MAX_INCHES = 0.3, 12.0  # height of a montage
THUMBNAILS_ACROSS = 60  # if they stood side by side
MAX_THUMBNAIL = 32  # pixels along a side
NUMBER_TICKS = (2, 4, 8, 16, 32, 64)  # of an axis of numbers of clusters
MARKERS = "os^Dv"
DIGITS = tuple("0123456789")

Images: TypeAlias = NDArray[np.float32]  # [N, C, H, W] in [0, 1]
Style: TypeAlias = tuple[Any, str]  # colour, marker
UNNAMED: Style = (INK, "o")  # a cluster without a name; tab10 and tab20 have a grey, and no black


def class_noun(names: Sequence[str]) -> str:
    """What a class is called; also the name of its column."""
    return "digit" if tuple(names) == DIGITS else "class"


def scatter(latents: Table, names: Sequence[str]) -> Figure:
    """The test images in a latent of 2 dimensions, one colour per class."""
    figure, ((axes,),) = panels(1, 1, (6.4, 5.2))
    styles = class_styles(names)
    draw_points(axes, latents.rows, ("z1", "z2"), class_noun(names), styles)
    for name in names if len(names) <= MAX_LABELLED else ():
        points = [(row["z1"], row["z2"]) for row in latents.rows if row[class_noun(names)] == name]
        if points:
            label = axes.text(*np.median(points, axis=0), clipped(name, 8), color=styles[name][0], weight="bold")
            label.set(ha="center", va="center", path_effects=[withStroke(linewidth=3, foreground="white")])
    add_class_legend(figure, names)
    axes.set(xlabel="z₁", ylabel="z₂", title=f"{len(latents.rows):,} test images in a latent of 2 dimensions")
    return figure


def thumbnails(latents: Table, pixels: NDArray[np.uint8], names: Sequence[str]) -> Figure:
    """The same plane with as many test images as fit, in the colour of their class; pixels are [N, C, H, W]."""
    step = -(-max(pixels.shape[2:]) // MAX_THUMBNAIL)
    small = pixels[:, :, ::step, ::step]
    side = max(small.shape[2:])
    points = np.array([(row["z1"], row["z2"]) for row in latents.rows])
    low, span = points.min(0), np.ptp(points, axis=0)
    span = np.where(span > 0, span, 1)  # a dimension may be constant
    size = np.array([THUMBNAILS_ACROSS, round(THUMBNAILS_ACROSS * 0.8)]) * side
    corners = np.rint((points - low) / span * (size - side)).astype(int)  # lower left, in pixels
    chosen = without_overlap(corners, side)

    canvas = np.full((size[1], size[0], 3), 255, np.uint8)
    styles = class_styles(names)
    for index in chosen:
        row, (x, y) = latents.rows[index], corners[index]
        ink = small[row["image"]].transpose(1, 2, 0)[::-1] / np.float32(255)
        colour = np.array(styles.get(row.get(class_noun(names)), (0.2,))[0])
        image = ink[..., :3] if ink.shape[2] >= 3 else 1 - ink[..., :1] * (1 - colour)
        canvas[y : y + len(image), x : x + image.shape[1]] = np.rint(255 * image)
    figure, ((axes,),) = panels(1, 1, (8.4, 6.8))
    (left, right), (below, above) = zip(low, low + span + span * side / (size - side), strict=True)
    axes.imshow(canvas, origin="lower", extent=(left, right, below, above), aspect="auto", interpolation="antialiased")
    if small.shape[1] < 3:
        add_class_legend(figure, names)
    axes.set(xlabel="z₁", ylabel="z₂")
    axes.set_title(f"{len(chosen):,} of {len(latents.rows):,} test images; the lower left corner is the image's latent")
    return figure


def without_overlap(corners: NDArray[np.int64], side: int) -> list[int]:
    """Indices of the squares that overlap none chosen before; `corners` is [N, 2]."""
    chosen: list[int] = []
    covered = np.zeros(corners.max(0) + side, bool)
    for index, (x, y) in enumerate(corners):
        square = covered[x : x + side, y : y + side]
        if not square.any():
            square[:] = True
            chosen.append(index)
    return chosen


def projection(points: Table, clusters: Table, shares: Mapping[int, Any], names: Sequence[str]) -> Figure:
    """Latents of more than 2 dimensions in a plane, coloured by class, and again by cluster.

    Clusters have the colour of the class they are named after; those without a name are black.

    Args:
        clusters: of the clusterer shown, and of one seed of each dim.
        shares: by dim, the share of the variance along each axis; None for UMAP.
    """
    dims, note = at_most_eight([*shares])
    kinds = [class_noun(names), "cluster"] if names else ["cluster"]
    if len(dims) <= 2:  # class and cluster side by side
        figure, grid = panels(len(dims), len(kinds), (2.8, 2.6))
    else:  # one above the other
        bands = -(-len(dims) // 4)
        across = -(-len(dims) // bands)
        figure, axes = panels(bands * len(kinds), across, (2.6, 2.4))
        grid = axes.reshape(bands, len(kinds), across).swapaxes(1, 2).reshape(-1, len(kinds))
    by_class = class_styles(names)
    for dim, pair in zip(dims, used(grid, len(dims)), strict=True):
        rows = [row for row in points.rows if row["dim"] == dim]
        named = {row["cluster"]: row.get("name") for row in clusters.rows if row["dim"] == dim}
        by_cluster = {cluster: by_class.get(name, UNNAMED) for cluster, name in named.items()}
        styles = {"cluster": by_cluster if names else class_styles([*named])}
        labels = [f"PC {axis} ({share:.0%} of variance)" for axis, share in enumerate(shares[dim] or (), 1)]
        xlabel, ylabel = labels or ("UMAP 1", "UMAP 2")
        for axis, kind in zip(pair, kinds, strict=True):
            draw_points(axis, rows, ("x", "y"), kind, styles.get(kind, by_class))
            axis.set(title=f"dim {dim}, by {kind}", xlabel=xlabel, ylabel=ylabel)
            axis.tick_params(labelsize=7)
    caption(
        figure,
        "UMAP, a second model; its distances mean little" if None in shares.values() else "PCA of the latents",
        "clusters in the colour of the class they are named after" if names else "",
        "black: named after none" if names and None in [row["name"] for row in clusters.rows] else "",
        note,
    )
    add_class_legend(figure, names)
    return figure


def centroids(
    clusters: Table, images: Mapping[int, Images], scores: Mapping[int, float | None], names: Sequence[str]
) -> Figure:
    """The decoded centroid of every cluster beside its number of test images of each class.

    Args:
        clusters: of one clusterer, and of one seed of each dim.
        images, scores: by dim, the centroids and the accuracy of these clusters.
    """
    dims, note = at_most_eight([*images])
    classes = [*names] or ["images"]
    count = max(len(images[dim]) for dim in dims)
    shown = min(MAX_CLUSTERS, count)
    cell = min(0.27, 5 / max(shown, len(classes)))  # inches
    size = (max(2.6, cell * (len(classes) + 1.6) + 0.7), max(1.8, cell * shown + 0.9))
    across = min(len(dims), max(1, int(12 / size[0])))
    figure, axes = panels(-(-len(dims) // across), across, size)
    for axis, dim in zip(used(axes.flat, len(dims)), dims, strict=True):
        rows = [row for row in clusters.rows if row["dim"] == dim]
        draw_cluster_table(axis, rows, images[dim], classes, class_noun(names))
        accuracy = scores[dim]
        axis.set_title(f"dim {dim}" + (f", accuracy {accuracy:.3f}" if accuracy is not None else ""))
    caption(
        figure,
        "{clusterer}, seed {seed}: decoded centroids and counts of test images".format(**clusters.rows[0]),
        "framed: the class that a cluster is named after" if names else "",
        f"{shown} of {count} clusters" if count > shown else "",
        note,
    )
    return figure


def draw_cluster_table(axes: Axes, rows: Sequence[Row], images: Images, classes: Sequence[str], column: str) -> None:
    """A heat map of clusters by classes in the order of the names, with each cluster's decoded centroid at its left."""
    names = {row["cluster"]: row.get("name") for row in rows}
    place: dict[Any, int] = {name: index for index, name in enumerate(classes)}
    order = sorted(names, key=lambda cluster: (place.get(names[cluster], len(classes)), cluster))[:MAX_CLUSTERS]
    # of a cluster there is a row for every class, in their order
    counts = np.array([[row["count"] for row in rows if row["cluster"] == cluster] for cluster in order])
    top = max(1, counts.max())
    axes.imshow(counts, cmap="Blues", vmin=0, vmax=1.15 * top, aspect="equal")
    strip = montage(images[order][:, None], gap=0)
    axes.imshow(strip, extent=(-1.75, -0.75, len(order) - 0.5, -0.5), interpolation="antialiased", aspect="equal")
    axes.hlines(np.arange(1, len(order)) - 0.5, -1.75, -0.75, color="white", linewidth=1)
    for (line, class_place), count in np.ndenumerate(counts) if len(classes) <= MAX_COUNTED else ():
        colour = "white" if count > 0.6 * top else INK if count else "#c8c8c8"
        text = axes.text(class_place, line, str(count), ha="center", va="center", color=colour)
        text.set(size=5.5 if count < 1000 else 4.5, in_layout=False)  # it is inside its cell
    for line, cluster in enumerate(order):
        if names[cluster] is not None:
            corner = (place[names[cluster]] - 0.5, line - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=PALETTE[1], linewidth=1.2))
    axes.set(xlim=(-1.8, len(classes) - 0.45), ylim=(len(order) - 0.45, -0.55))
    named = column in rows[0]
    labels = [clipped(names[cluster] or "none", 10) if named else str(cluster) for cluster in order]
    axes.set(xlabel=column if named else "", ylabel="cluster, by its name" if named else "cluster")
    axes.set_yticks(range(len(order)), labels, size=6)
    ticks = [clipped(name, 10) if len(classes) <= 2 * MAX_COUNTED else "" for name in classes]
    axes.set_xticks(range(len(classes)), ticks, size=6, rotation=90 if max(map(len, classes)) > 2 else 0)
    axes.tick_params(length=0, pad=2)
    axes.spines[:].set_visible(False)


def reconstructions(
    originals: Images, restored: Mapping[int, Images], l1: Mapping[int, float], captions: Sequence[str]
) -> Figure:
    """Test images and their classes, reconstructions at each dim with its L1 over all test images, and the error."""
    dims, note = at_most_eight([*restored])
    labels, rows = ["original"], [originals]
    for dim in dims:
        error = np.abs(originals - restored[dim]).mean(axis=1)
        labels += [f"dim {dim}\nL1 {l1[dim]:.4f}", "error"]
        rows += [restored[dim], colormaps["magma"](error)[..., :3].transpose(0, 3, 1, 2)]
    count, _, *size = originals.shape
    grid = montage(np.stack([np.broadcast_to(row, (count, 3, *size)) for row in rows]))
    height, width = grid.shape[:2]
    figure, ((axes,),) = panels(1, 1, (7.4, 0.7 + np.clip(6 * height / width, MIN_INCHES, MAX_INCHES)))
    axes.imshow(grid, interpolation="nearest" if width < 600 else "antialiased")
    axes.set_yticks((np.arange(len(rows)) + 0.5) * height / len(rows), labels, size=7)
    columns = (np.arange(count) + 0.5) * width / count
    axes.set_xticks(columns if captions else [], [clipped(caption, 10) for caption in captions], size=7)
    if max(map(len, captions), default=0) > 2:
        axes.tick_params(axis="x", rotation=90)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(ScalarMappable(cmap="magma"), ax=axes, shrink=min(0.7, 4 / len(rows)), aspect=14)
    bar.set_label("error per pixel", size=7)
    bar.ax.tick_params(labelsize=6)
    bar.outline.set_visible(False)
    caption(figure, note)
    return figure


def number_of_clusters(curve: Table, number: Mapping[str, Any], limit: float) -> Figure:
    """How well halves of the images agree on each number of clusters, and the number that is used."""
    figure, ((axes,),) = panels(1, 1, (6.4, 3.6))
    points = sorted({(row["clusters"], row["agreement"]) for row in curve.rows if row["clusters"] > 1})
    if points:
        axes.plot(*zip(*points, strict=True), "o", color=PALETTE[0], markersize=4, label="a graph and a resolution")
    axes.axvline(number["used"], color=PALETTE[1], linewidth=0.9, linestyle="--", label=f"used: {number['used']}")
    axes.axhline(limit, color=MUTED, linewidth=0.8, linestyle=":", label=f"stable from {limit:g} on")
    axes.set(xlabel="communities of the neighbour graph", ylabel="agreement of halves (ARI)", ylim=(-0.1, 1.05))
    axes.set_xscale("log", base=2)
    shown = sorted({number["used"], *(tick for tick in NUMBER_TICKS if points and tick <= max(points)[0])})
    axes.set_xticks(shown, [str(tick) for tick in shown], size=7)
    axes.minorticks_off()
    axes.set_title("number of clusters" if number["stable"] else "number of clusters, not stable")
    axes.legend(fontsize=7)
    return figure


def contact_sheet(
    bands: Mapping[str, tuple[NDArray[np.uint8], NDArray[np.float64]]], cluster: int, size: int
) -> Figure:
    """Members of one cluster, [N, C, H, W] in each band, with their confidences above them."""
    figure, axes = panels(len(bands), 1, (7.4, 1.15))
    for (name, (pixels, confidences)), axis in zip(bands.items(), axes[:, 0], strict=True):
        grid = montage(pixels[None] / np.float32(255))
        width = grid.shape[1] / len(pixels)
        axis.imshow(grid, interpolation="nearest" if grid.shape[1] < 600 else "antialiased")
        axis.set_xlim(-0.5, width * len(bands["surest"][0]) - 0.5)
        axis.set_xticks((np.arange(len(pixels)) + 0.5) * width, [f"{value:.2f}" for value in confidences], size=7)
        axis.xaxis.tick_top()
        axis.set_yticks([len(grid) / 2], [name], size=8)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    caption(figure, f"cluster {cluster}: {size:,} images; above each its confidence")
    return figure


def walks(decoded: Mapping[int, NDArray[np.float32]], starts: Images, ends: Images) -> Figure:
    """Straight lines between the latents of two test images, decoded, [walks, steps, C, H, W], and these images."""
    dims, note = at_most_eight([*decoded])
    first, last = montage(starts[:, None]), montage(ends[:, None])
    gap = np.ones((len(first), max(2, starts.shape[3] // 5), 3))
    grids = [np.hstack([first, gap, montage(decoded[dim]), gap, last]) for dim in dims]
    inches = np.clip(4 * grids[0].shape[0] / grids[0].shape[1], MIN_INCHES, MAX_INCHES)
    across = min(2, len(dims))
    figure, axes = panels(-(-len(dims) // across), across, (4.2, 0.35 + inches))
    for axis, dim, grid in zip(used(axes.flat, len(dims)), dims, grids, strict=True):
        axis.imshow(grid, interpolation="antialiased")
        axis.set_title(f"dim {dim}")
        axis.set_axis_off()
    caption(figure, "straight lines in the latent, decoded, between test images (at both ends)", note)
    return figure


def scores(metrics: Mapping[str, Any], clusterers: Sequence[str]) -> Figure:
    """Test L1 and, where it is known, cluster accuracy over dim, beside PCA, raw pixels and the constant images."""
    figure, (line,) = panels(1, 2 if clusterers else 1, (5.6, 3.4))
    cells, baselines = metrics["cells"], metrics["baselines"]
    pca = {dim: baselines["pca"][dim] for dim in cells}
    draw_over_dims(line[0], cells, ["l1"], "o-", PALETTE[0], "autoencoder")
    draw_over_dims(line[0], pca, ["l1"], "s--", MUTED, "PCA")
    draw_constants(line[0], baselines)
    line[0].set(ylabel="test L1 per pixel", ylim=(0, None))
    for name, colour in zip(clusterers, PALETTE * len(clusterers), strict=False):
        path = ["clusters", name, "accuracy"]
        draw_over_dims(line[1], cells, path, "o-", colour, f"{name} on latents")
        draw_over_dims(line[1], pca, path, "s--", colour, f"{name} on PCA", alpha=0.5)
        pixels = lookup(baselines["pixels"], path)
        line[1].axhline(pixels, color=colour, linewidth=0.9, linestyle=":", label=f"{name} on raw pixels {pixels:.3f}")
        line[1].set(ylabel="cluster accuracy on test images", ylim=(0, 1))
    for axes in line:
        mark_dims(axes, [*cells])
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def probes(metrics: Mapping[str, Any]) -> Figure:
    """Probes of the latents over dim: classifiers, neighbourhoods, intrinsic dimension."""
    cells, pixels = metrics["cells"], metrics["baselines"]["pixels"]
    figure, (line,) = panels(1, 3, (3.6, 3.2))
    groups = [
        ("accuracy on test images", {"knn": "5 nearest neighbours", "linear": "linear"}),
        ("preserved neighbourhoods, 0 to 1", {"trustworthiness": "trustworthiness", "continuity": "continuity"}),
        ("dimensions", {"intrinsic_dimension": "intrinsic dimension"}),
    ]
    for axes, (label, measures) in zip(line, groups, strict=True):
        for (key, name), colour, style in zip(measures.items(), PALETTE, ("o-", "s-"), strict=False):
            draw_over_dims(axes, cells, ["probes", key], style, colour, name)
            score = lookup(pixels, ["probes", key])
            if score is not None and axes is not line[1]:  # of pixels in pixels they are 1
                axes.axhline(score, color=colour, linewidth=0.9, linestyle=":", label=f"raw pixels {score:.3g}")
        axes.set(ylabel=label)
        mark_dims(axes, [*cells])
        if not axes.lines:
            axes.set_title("no classes to tell apart" if axes is line[0] else "too few images", color=MUTED)
    line[2].plot(sorted(cells), sorted(cells), color=MUTED, linewidth=0.8, linestyle="--", label="dim of the latent")
    for axes in line:
        if axes.lines:
            axes.legend(fontsize=7)
    line[2].set_yscale("log", base=2)
    line[2].yaxis.set_major_formatter("{x:g}")
    return figure


def loss_curves(history: Table, baselines: Mapping[str, Any]) -> Figure:
    """L1 on the validation images over the epochs, a line per seed, beside the constant images."""
    figure, ((axes,),) = panels(1, 1, (6.8, 4.0))
    dims = sorted({row["dim"] for row in history.rows})
    colours: Any = PALETTE if len(dims) <= len(PALETTE) else colormaps["viridis"](np.linspace(0, 0.92, len(dims)))
    for dim, colour in zip(dims, colours, strict=False):
        seeds = sorted({row["seed"] for row in history.rows if row["dim"] == dim})
        for seed in seeds:
            rows = [row for row in history.rows if (row["dim"], row["seed"]) == (dim, seed)]
            epochs, losses = zip(*((row["epoch"], row["validation_l1"]) for row in rows), strict=True)
            label = f"dim {dim}" if seed == seeds[0] else None
            axes.plot(epochs, losses, color=colour, linewidth=1.4 if len(seeds) == 1 else 0.8, label=label)
            if label:
                axes.plot(epochs, [row["train_l1"] for row in rows], ":", color=colour, linewidth=0.9)
    axes.plot([], [], ":", color=INK, linewidth=0.9, label="on training batches, first seed")
    draw_constants(axes, baselines, " on test images")
    axes.set(xlabel="epoch", ylabel="validation L1 per pixel", ylim=(0, None))
    axes.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(loc="outside right center", fontsize=7, ncols=-(-len(dims) // 24))
    return figure


def class_styles(names: Sequence[Any]) -> dict[Any, Style]:
    """A colour and a marker for each name: ten colours, or twenty for each of the markers."""
    colours = colormaps["tab10" if len(names) <= 10 else "tab20"].colors  # type: ignore[attr-defined]
    styles = ((colour, marker) for marker in cycle(MARKERS) for colour in colours)
    return dict(zip(names, styles, strict=False))


def draw_points(
    axes: Axes, rows: Sequence[Row], columns: tuple[str, str], column: str, styles: Mapping[Any, Style]
) -> None:
    """A point per row, in their order so that no class hides the others; all alike without styles."""
    unnamed = UNNAMED if styles else (PALETTE[0], UNNAMED[1])
    points = [(*(row[axis] for axis in columns), *styles.get(row.get(column), unnamed)) for row in rows]
    for marker in dict.fromkeys(point[3] for point in points):
        x, y, colours, _ = zip(*(point for point in points if point[3] == marker), strict=True)
        size = 3 if len(rows) > 3000 else 6
        axes.scatter(x, y, s=size, c=colours, marker=marker, alpha=0.65, linewidth=0, rasterized=True)


def add_class_legend(figure: Figure, names: Sequence[str]) -> None:
    if not names:
        return
    labels = [clipped(name) for name in names[:MAX_LEGEND]]
    styles = [*class_styles(names).values()][:MAX_LEGEND]
    handles = [Line2D([], [], linestyle="", marker=marker, color=colour, markersize=4.5) for colour, marker in styles]
    if len(names) > MAX_LEGEND:
        labels.append(f"and {len(names) - MAX_LEGEND} more")
        handles.append(Line2D([], [], linestyle=""))
    columns = -(-len(handles) // max(8, int(6 * figure.get_figheight()) - 3))  # six lines an inch
    figure.set_figwidth(figure.get_figwidth() + columns)  # inches
    legend_of(labels, handles, figure, title=class_noun(names), loc="outside right center", fontsize=7, ncols=columns)


def caption(figure: Figure, *parts: str) -> None:
    """A line of text above all panels, wrapped to the width of the figure."""
    if text := "; ".join(filter(None, parts)):
        figure.suptitle(fill(text, int(15 * figure.get_figwidth())), size=8, color=MUTED)


def at_most_eight(dims: Sequence[int]) -> tuple[list[int], str]:
    """At most eight dims, spread evenly, and a note on the others."""
    places = np.linspace(0, len(dims) - 1, min(len(dims), MAX_DIMS)).round().astype(int)
    shown = np.sort(dims)[places].tolist()
    others = [str(dim) for dim in sorted(dims) if dim not in shown]
    return shown, f"not shown: dim {listed(others)}" if others else ""


def used(axes: Any, count: int) -> Any:
    """The first `count` of the axes; the others are hidden."""
    for axis in np.ravel(axes[count:]):
        axis.set_visible(False)
    return axes[:count]


def montage(images: NDArray[Any], gap: int | None = None) -> NDArray[Any]:
    """A grid of images, [rows, columns, C, H, W], as one image, [H, W, 3], with white gaps."""
    rows, columns, channels, height, width = images.shape
    space = max(1, height // 14) if gap is None else gap
    colour = images if channels == 3 else np.repeat(images.mean(axis=2, keepdims=True), 3, axis=2)
    padded = np.pad(colour, [(0, 0)] * 3 + [(0, space)] * 2, constant_values=1)
    whole = padded.transpose(0, 3, 1, 4, 2).reshape(rows * (height + space), columns * (width + space), 3)
    return whole[: len(whole) - space, : whole.shape[1] - space]


def lookup(scores: Any, path: Sequence[str]) -> float | None:
    """The score at the end of a path of keys; None where there is none."""
    return reduce(lambda value, key: (value or {}).get(key), path, scores)


def draw_over_dims(
    axes: Axes, cells: Mapping[int, Any], path: Sequence[str], style: str, colour: Any, label: str, alpha: float = 1
) -> None:
    """A score over dim, with the range of the seeds shaded."""
    points = [(dim, score) for dim in sorted(cells) if (score := lookup(cells[dim], path)) is not None]
    if points:
        dims, medians = zip(*points, strict=True)
        axes.plot(dims, medians, style, color=colour, label=label, markersize=3.5, linewidth=1.2, alpha=alpha)
        every = [[lookup(seed, path) for seed in cells[dim]["seeds"].values()] for dim in dims]
        known = [[score for score in scores if score is not None] for scores in every]
        if max(map(len, known)) > 1:
            low, high = [*map(min, known)], [*map(max, known)]
            axes.fill_between(dims, low, high, color=colour, alpha=0.18 * alpha, linewidth=0)


def draw_constants(axes: Axes, baselines: Mapping[str, Any], where: str = "") -> None:
    """The L1 of the constant images, each with its number."""
    for name, style in CONSTANTS.items():
        l1 = baselines[name]["l1"]
        axes.axhline(l1, color=MUTED, linewidth=0.8, linestyle=style, label=f"{name} image {l1:.4f}{where}")


def mark_dims(axes: Axes, dims: Sequence[int]) -> None:
    """A logarithmic axis of dims, with as many ticks as fit."""
    ordered = sorted(dims)
    shown = [ordered[0]]
    for dim in ordered[1:]:
        if np.log2(dim / shown[-1]) > np.log2(ordered[-1] / ordered[0]) / 14:
            shown.append(dim)
    axes.set_xscale("log", base=2)
    axes.set(xlim=(ordered[0] / 1.25, ordered[-1] * 1.25), xlabel="dim of the latent")
    axes.set_xticks(shown, [str(dim) for dim in shown])
    axes.minorticks_off()
