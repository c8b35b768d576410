"""Pictures of autoencoders; they draw rows of the tables, numbers of metrics.json and images of images.npz."""

from collections.abc import Mapping, Sequence
from itertools import islice
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
from bs6207.latent.tasks import noun, numbers
from bs6207.runs.result import Row, Table

FLOORS = {"black": (0, (1, 1)), "median": "-.", "mean": (0, (6, 3))}  # constant images, and their lines
MOST_DIMS = 8  # latent sizes in a figure of images or points: more are too small to see
MOST_LABELLED = 12  # classes with their names among the points
MOST_NAMED = 50  # classes in a legend
MOST_CLUSTERS = 30  # rows of a cluster table
MOST_NUMBERED = 25  # classes with a number in every cell of it
LEAST_INCHES, MOST_INCHES = 0.3, 12.0  # height of a picture of images
ACROSS = 60  # thumbnails side by side, if they stood shoulder to shoulder
THUMBNAIL = 32  # most pixels of one, along a side
MARKERS = "os^Dv"
HALO = [withStroke(linewidth=3, foreground="white")]

Images: TypeAlias = NDArray[np.float32]  # [N, C, H, W] in [0, 1]
Look: TypeAlias = tuple[Any, str]  # colour, marker


def scatter(latents: Table, names: Sequence[str]) -> Figure:
    """The two numbers of every test image, one colour per class."""
    figure, ((axes,),) = panels(1, 1, (6.4, 5.2))
    look = looks(names)
    draw_points(axes, latents.rows, ("z1", "z2"), noun(names), look)
    for name in names:
        places = [(row["z1"], row["z2"]) for row in latents.rows if row[noun(names)] == name]
        if places and len(names) <= MOST_LABELLED:
            x, y = np.median(places, axis=0)
            colour = look[name][0]
            axes.text(x, y, clipped(name, 8), color=colour, weight="bold", ha="center", va="center", path_effects=HALO)
    name_classes(figure, names)
    axes.set(xlabel="z₁", ylabel="z₂")
    axes.set_title(f"{len(latents.rows):,} test images in a latent of two numbers")
    return figure


def thumbnails(latents: Table, pixels: NDArray[np.uint8], names: Sequence[str]) -> Figure:
    """The same plane with the test images themselves, as many as find room, ink in the colour of the class.

    Args:
        latents: with the place of its image among `pixels` in each row.
        pixels: uint8, [N, C, H, W].
    """
    step = -(-max(pixels.shape[2:]) // THUMBNAIL)
    small = pixels[:, :, ::step, ::step]
    side = max(small.shape[2:])
    places = np.array([(row["z1"], row["z2"]) for row in latents.rows])
    low, span = places.min(0), np.ptp(places, axis=0)
    span = np.where(span > 0, span, 1)  # one of the numbers may be the same for all
    room = np.array([ACROSS, round(ACROSS * 0.8)]) * side
    corners = np.rint((places - low) / span * (room - side)).astype(int)  # lower left, in pixels
    chosen = apart(corners, side)

    canvas = np.full((room[1], room[0], 3), 255, np.uint8)
    colours = {name: np.array(colour) for name, (colour, _) in looks(names).items()}
    for place in chosen:
        row, (x, y) = latents.rows[place], corners[place]
        ink = small[row["image"]].transpose(1, 2, 0) / np.float32(255)
        image = ink[..., :3] if ink.shape[2] >= 3 else 1 - ink[..., :1] * (1 - colours.get(row.get(noun(names)), 0.2))
        height, width = image.shape[:2]
        bottom = room[1] - y
        canvas[bottom - height : bottom, x : x + width] = np.rint(255 * image)
    margin = span * side / (room - side)
    figure, ((axes,),) = panels(1, 1, (8.4, 6.8))
    (left, right), (below, above) = zip(low, low + span + margin, strict=True)
    axes.imshow(canvas, extent=(left, right, below, above), aspect="auto", interpolation="antialiased")
    if small.shape[1] < 3:
        name_classes(figure, names)
    axes.set(xlabel="z₁", ylabel="z₂")
    axes.set_title(f"{len(chosen):,} of {len(latents.rows):,} test images; the lower left corner is the image's place")
    return figure


def apart(corners: NDArray[np.int64], side: int) -> list[int]:
    """The squares, in their order, that overlap none taken before; `corners` is [N, 2]."""
    taken: list[int] = []
    covered = np.zeros(corners.max(0) + side, bool)
    for place, (x, y) in enumerate(corners):
        square = covered[x : x + side, y : y + side]
        if not square.any():
            square[:] = True
            taken.append(place)
    return taken


def projection(points: Table, clusters: Table, shares: Mapping[int, Any], names: Sequence[str]) -> Figure:
    """Latents of more than two numbers in a plane, coloured by class, and again by cluster.

    Clusters have the colour of the class they were named after, and those without a name are black.

    Args:
        points: columns dim, image, cluster, x, y, and the class if it is known.
        clusters: the first seed's clusters of the clusterer shown.
        shares: by latent size, what part of the variance each axis carries; None for UMAP.
    """
    dims, note = few_of([*shares])
    kinds = [noun(names), "cluster"] if names else ["cluster"]
    bands = -(-len(dims) // 4)
    across = -(-len(dims) // bands)
    if len(dims) <= 2:  # class and cluster side by side
        figure, grid = panels(len(dims), len(kinds), (2.8, 2.6))
    else:  # one above the other
        figure, axes = panels(bands * len(kinds), across, (2.6, 2.4))
        grid = axes.reshape(bands, len(kinds), across).swapaxes(1, 2).reshape(bands * across, len(kinds))
    for axis in grid[len(dims) :].flat:
        axis.set_visible(False)
    for number, dim in enumerate(dims):
        rows = [row for row in points.rows if row["dim"] == dim]
        named = {row["cluster"]: row.get("name") for row in clusters.rows if row["dim"] == dim}
        by_class = looks(names)
        by_cluster = {one: by_class.get(name, OTHER) for one, name in named.items()} if names else looks([*named])
        for line, kind in enumerate(kinds):
            axis = grid[number, line]
            draw_points(axis, rows, ("x", "y"), kind, by_cluster if kind == "cluster" else by_class)
            axis.set_title(f"{numbers(dim)}, by {kind}")
            axis.tick_params(labelsize=7)
            for axis_label, place in ((axis.set_xlabel, 0), (axis.set_ylabel, 1)):
                share = shares[dim]
                axis_label(f"UMAP {place + 1}" if share is None else f"PC {place + 1} ({share[place]:.0%} of variance)")
    caption(
        figure,
        "UMAP, a second model; its distances mean little" if None in shares.values() else "PCA of the latents",
        "clusters in the colour of the class they are named after" if names else "",
        "black: named after none" if names and None in [row["name"] for row in clusters.rows] else "",
        note,
    )
    name_classes(figure, names)
    return figure


def centroids(
    clusters: Table, images: Mapping[int, Images], scores: Mapping[int, float | None], names: Sequence[str]
) -> Figure:
    """The decoded centroid of every cluster beside how many test images of each class it holds.

    Args:
        clusters: columns dim, seed, clusterer, cluster, count, and name and class if they are known; one clusterer and
            one seed of each size.
        images: by latent size, the centroids.
        scores: by latent size, the accuracy of these clusters.
    """
    dims, note = few_of([*images])
    classes = [*names] or ["images"]
    shown = min(MOST_CLUSTERS, max(len(images[dim]) for dim in dims))
    cell = min(0.27, 5 / max(shown, len(classes)))  # inches
    size = (max(2.6, cell * (len(classes) + 1.6) + 0.7), max(1.8, cell * shown + 0.9))
    across = min(len(dims), max(1, int(12 / size[0])))
    bands = -(-len(dims) // across)
    figure, axes = panels(bands, across, size)
    for axis in axes.flat[len(dims) :]:
        axis.set_visible(False)
    for axis, dim in zip(axes.flat, dims, strict=False):
        rows = [row for row in clusters.rows if row["dim"] == dim]
        draw_cluster_table(axis, rows, images[dim], classes, noun(names))
        accuracy = scores[dim]
        axis.set_title(f"{numbers(dim)}" + (f", accuracy {accuracy:.3f}" if accuracy is not None else ""))
    one = clusters.rows[0]
    most = max(len(images[dim]) for dim in dims)
    caption(
        figure,
        f"{one['clusterer']}, seed {one['seed']}: decoded centroids and counts of test images",
        "framed is what a cluster is named after" if names else "",
        f"{MOST_CLUSTERS} of {most} clusters" if most > MOST_CLUSTERS else "",
        note,
    )
    return figure


def draw_cluster_table(axes: Axes, rows: Sequence[Row], images: Images, classes: Sequence[str], column: str) -> None:
    """A heat map of clusters by classes, each cluster's decoded centroid at its left, in the order of the names."""
    names = {row["cluster"]: row.get("name") for row in rows}
    order = sorted(names, key=lambda one: (names[one] is None, classes.index(names[one]) if names[one] else one))
    order = order[:MOST_CLUSTERS]
    counts = np.zeros((len(order), len(classes)), int)
    for row in rows:
        if row["cluster"] in order:
            counts[order.index(row["cluster"]), classes.index(row.get(column, classes[0]))] = row["count"]
    top = max(1, counts.max())
    axes.imshow(counts, cmap="Blues", vmin=0, vmax=1.15 * top, aspect="equal")
    strip = montage(images[order][:, None], gap=0)
    axes.imshow(strip, extent=(-1.75, -0.75, len(order) - 0.5, -0.5), interpolation="antialiased", aspect="equal")
    axes.hlines(np.arange(1, len(order)) - 0.5, -1.75, -0.75, color="white", linewidth=1)
    if len(classes) <= MOST_NUMBERED:
        for (line, place), count in np.ndenumerate(counts):
            colour = "white" if count > 0.6 * top else INK if count else "#c8c8c8"
            size = 5.5 if count < 1000 else 4.5
            # inside its cell, so that the layout need not ask how large it is
            axes.text(place, line, str(count), ha="center", va="center", color=colour, size=size, in_layout=False)
    for line, cluster in enumerate(order):
        if names[cluster] is not None:
            corner = (classes.index(names[cluster]) - 0.5, line - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=PALETTE[1], linewidth=1.2))
    axes.set(xlim=(-1.8, len(classes) - 0.45), ylim=(len(order) - 0.45, -0.55))
    axes.set_ylabel("cluster, by its name" if column in rows[0] else "cluster")
    axes.set_xlabel(column if column in rows[0] else "")
    called = [clipped(names[cluster] or "none", 10) if column in rows[0] else str(cluster) for cluster in order]
    axes.set_yticks(range(len(order)), called, size=6)
    upright = max(map(len, classes)) > 2
    labels = [clipped(name, 10) for name in classes] if len(classes) <= 2 * MOST_NUMBERED else [""] * len(classes)
    axes.set_xticks(range(len(classes)), labels, size=6, rotation=90 if upright else 0)
    axes.tick_params(length=0, pad=2)
    axes.spines[:].set_visible(False)


def reconstructions(
    originals: Images, restored: Mapping[int, Images], l1: Mapping[int, float], captions: Sequence[str]
) -> Figure:
    """Test images, what each latent size makes of them, and where it errs.

    Args:
        originals: [N, C, H, W], and so are those `restored`, by latent size.
        l1: by latent size, over all test images.
        captions: what each image shows; none if that is unknown.
    """
    dims, note = few_of([*restored])
    lines = [("original", montage(originals[None]))]
    for dim in dims:
        error = np.abs(originals - restored[dim]).mean(axis=1)
        coloured = colormaps["magma"](error)[..., :3].transpose(0, 3, 1, 2)
        lines += [(f"{numbers(dim)}\nL1 {l1[dim]:.4f}", montage(restored[dim][None])), ("", montage(coloured[None]))]
    height, width = lines[0][1].shape[:2]
    space = np.ones((max(2, originals.shape[2] // 6), width, 3))
    blocks = [part for number, (_, strip) in enumerate(lines) for part in ((space, strip) if number % 2 else (strip,))]
    whole = np.vstack(blocks)
    figure, ((axes,),) = panels(1, 1, (7.4, 0.7 + high(6 * len(whole) / width)))
    axes.imshow(whole, interpolation="nearest" if width < 600 else "antialiased")
    middles, below = [], 0
    for block in blocks:
        if block is not space:
            middles.append(below + height / 2)
        below += len(block)
    axes.set_yticks(middles, [label or "error" for label, _ in lines], size=7)
    columns = (np.arange(len(originals)) + 0.5) * width / len(originals)
    axes.set_xticks(columns if captions else [], [clipped(caption, 10) for caption in captions], size=7)
    if max(map(len, captions), default=0) > 2:
        axes.tick_params(axis="x", rotation=90)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(ScalarMappable(cmap="magma"), ax=axes, shrink=min(0.7, 4 / len(lines)), aspect=14)
    bar.set_label("error per pixel", size=7)
    bar.ax.tick_params(labelsize=6)
    bar.outline.set_visible(False)
    caption(figure, note)
    return figure


def walks(decoded: Mapping[int, NDArray[np.float32]], starts: Images, ends: Images) -> Figure:
    """Decoded straight lines between the latents of two test images, which stand at both ends.

    Args:
        decoded: by latent size, [walks, steps, C, H, W].
        starts, ends: the test images, [walks, C, H, W].
    """
    dims, note = few_of([*decoded])
    blocks = {}
    for dim in dims:
        parts = [montage(starts[:, None]), montage(decoded[dim]), montage(ends[:, None])]
        gap = np.ones((len(parts[0]), max(2, starts.shape[3] // 5), 3))
        blocks[dim] = np.hstack([parts[0], gap, parts[1], gap, parts[2]])
    height, width = blocks[dims[0]].shape[:2]
    across = min(2, len(dims))
    figure, axes = panels(-(-len(dims) // across), across, (4.2, 0.35 + high(4 * height / width)))
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (dim, block) in zip(axes.flat, blocks.items(), strict=False):
        axis.imshow(block, interpolation="antialiased")
        axis.set_title(f"{numbers(dim)}")
    caption(figure, "straight lines in the latent, decoded, between test images (at both ends)", note)
    return figure


def scores(metrics: Mapping[str, Any], clusterers: Sequence[str]) -> Figure:
    """Test L1 and cluster accuracy over the latent size, beside PCA, raw pixels and the floors.

    Args:
        clusterers: those whose accuracy is known; none without labels.
    """
    figure, (line,) = panels(1, 2 if clusterers else 1, (5.6, 3.4))
    cells, baselines = metrics["cells"], metrics["baselines"]
    pca = {dim: baselines["pca"][dim] for dim in cells}
    draw_over_dims(line[0], cells, ["l1"], "o-", PALETTE[0], "autoencoder")
    draw_over_dims(line[0], pca, ["l1"], "s--", MUTED, "PCA")
    draw_floors(line[0], baselines)
    line[0].set(ylabel="test L1 per pixel")
    line[0].set_ylim(0, None)
    for name, colour in zip(clusterers, PALETTE * len(clusterers), strict=False):
        path = ["clusters", name, "accuracy"]
        draw_over_dims(line[1], cells, path, "o-", colour, f"{name} on latents")
        draw_over_dims(line[1], pca, path, "s--", colour, f"{name} on PCA", alpha=0.5)
        pixels = reach(baselines["pixels"], path)
        line[1].axhline(pixels, color=colour, linewidth=0.9, linestyle=":", label=f"{name} on raw pixels {pixels:.3f}")
        line[1].set(ylabel="cluster accuracy on test images", ylim=(0, 1))
    for axes in line:
        mark_dims(axes, [*cells])
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def probes(metrics: Mapping[str, Any]) -> Figure:
    """What can be read off the latents by size: their classes, the neighbourhoods of the images, their dimension."""
    cells, pixels = metrics["cells"], metrics["baselines"]["pixels"]
    figure, (line,) = panels(1, 3, (3.6, 3.2))
    groups = [
        ("accuracy on test images", {"knn": "5 nearest neighbours", "linear": "linear"}),
        ("neighbourhoods kept, from 0 to 1", {"trustworthiness": "trustworthiness", "continuity": "continuity"}),
        ("dimensions", {"intrinsic_dimension": "intrinsic dimension"}),
    ]
    for axes, (label, measures) in zip(line, groups, strict=True):
        drawn = 0
        for (key, name), colour, style in zip(measures.items(), PALETTE, ("o-", "s-"), strict=False):
            drawn += draw_over_dims(axes, cells, ["probes", key], style, colour, name)
            known = reach(pixels, ["probes", key])
            if known is not None and axes is not line[1]:  # pixels keep their own neighbourhoods
                axes.axhline(known, color=colour, linewidth=0.9, linestyle=":", label=f"raw pixels {known:.3g}")
        axes.set(ylabel=label)
        mark_dims(axes, [*cells])
        if not drawn:
            axes.set_title("no classes to tell apart" if axes is line[0] else "too few images", color=MUTED)
    line[2].plot(
        sorted(cells), sorted(cells), color=MUTED, linewidth=0.8, linestyle="--", label="numbers in the latent"
    )
    for axes in line:
        if axes.lines:
            axes.legend(fontsize=7)
    line[2].set_yscale("log", base=2)
    line[2].yaxis.set_major_formatter("{x:g}")
    return figure


def loss_curves(history: Table, baselines: Mapping[str, Any]) -> Figure:
    """L1 on the validation images over the epochs, a line per seed, above the floors that take no learning."""
    figure, ((axes,),) = panels(1, 1, (6.8, 4.0))
    dims = sorted({row["dim"] for row in history.rows})
    for dim, colour in zip(dims, shades(len(dims)), strict=True):
        seeds = sorted({row["seed"] for row in history.rows if row["dim"] == dim})
        for number, seed in enumerate(seeds):
            rows = [row for row in history.rows if (row["dim"], row["seed"]) == (dim, seed)]
            epochs = [row["epoch"] for row in rows]
            label = None if number else f"{numbers(dim)}"
            lost = [row["validation_l1"] for row in rows]
            axes.plot(epochs, lost, color=colour, linewidth=1.4 if len(seeds) == 1 else 0.8, label=label)
            if not number:
                axes.plot(epochs, [row["train_l1"] for row in rows], ":", color=colour, linewidth=0.9)
    axes.plot([], [], ":", color=INK, linewidth=0.9, label="on training batches, first seed")
    draw_floors(axes, baselines, " on test images")
    axes.set(xlabel="epoch", ylabel="validation L1 per pixel")
    axes.set_ylim(0, None)
    axes.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(loc="outside right center", fontsize=7, ncols=-(-len(dims) // 24))
    return figure


OTHER: Look = (INK, "o")  # a cluster without a name; tab10 and tab20 have a grey, and no black


def looks(names: Sequence[Any]) -> dict[Any, Look]:
    """A colour and a marker for each name: ten colours, or twenty that take turns with the markers."""
    colours = list(colormaps["tab10" if len(names) <= 10 else "tab20"].colors)  # type: ignore[attr-defined]
    return {
        name: (colours[place % len(colours)], MARKERS[place // len(colours) % len(MARKERS)])
        for place, name in enumerate(names)
    }


def shades(count: int) -> list[Any]:
    """A colour for each of `count` lines that have an order."""
    return (
        list(islice(PALETTE, count))
        if count <= len(PALETTE)
        else list(colormaps["viridis"](np.linspace(0, 0.92, count)))
    )


def draw_points(axes: Axes, rows: Sequence[Row], place: tuple[str, str], column: str, look: Mapping[Any, Look]) -> None:
    """A point per row, in their order so that no class hides the others; all alike where no names are known."""
    size = 3 if len(rows) > 3000 else 6
    unnamed = OTHER if look else (PALETTE[0], OTHER[1])
    found = [look.get(row.get(column), unnamed) for row in rows]
    for marker in dict.fromkeys(marker for _, marker in found):
        chosen = [(row, colour) for row, (colour, one) in zip(rows, found, strict=True) if one == marker]
        x, y = np.array([[row[name] for name in place] for row, _ in chosen]).T
        colours = [colour for _, colour in chosen]
        axes.scatter(x, y, s=size, c=colours, marker=marker, alpha=0.65, linewidth=0, rasterized=True)


def name_classes(figure: Figure, names: Sequence[str]) -> None:
    """A legend of the classes beside the figure, of the first fifty if there are more."""
    if not names:
        return
    called = [clipped(name) for name in names[:MOST_NAMED]]
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, markersize=4.5)
        for colour, marker in islice(looks(names).values(), MOST_NAMED)
    ]
    if len(names) > MOST_NAMED:
        called.append(f"and {len(names) - MOST_NAMED} more")
        handles.append(Line2D([], [], linestyle=""))
    columns = -(-len(handles) // max(8, int(6 * figure.get_figheight()) - 3))  # six lines an inch
    figure.set_figwidth(figure.get_figwidth() + columns)  # inches
    legend_of(called, handles, figure, title=noun(names), loc="outside right center", fontsize=7, ncols=columns)


def caption(figure: Figure, *parts: str) -> None:
    """What is to be known of all panels, above them, in as many lines as the width of the figure asks for."""
    said = "; ".join(part for part in parts if part)
    if said:
        figure.suptitle(fill(said, int(15 * figure.get_figwidth())), size=8, color=MUTED)


def few_of(dims: Sequence[int]) -> tuple[list[int], str]:
    """At most eight latent sizes, spread evenly, and a note on those that are left out."""
    ordered = sorted(dims)
    if len(ordered) <= MOST_DIMS:
        return ordered, ""
    shown = [ordered[place] for place in np.linspace(0, len(ordered) - 1, MOST_DIMS).round().astype(int)]
    left = [dim for dim in ordered if dim not in shown]
    listed = ", ".join(map(str, left[:8])) + (f" and {len(left) - 8} more" if len(left) > 8 else "")
    return shown, f"not shown: {listed} numbers"


def high(inches: float) -> float:
    """A height that leaves room for words beside images however flat, and has an end however tall they are."""
    return min(max(inches, LEAST_INCHES), MOST_INCHES)


def montage(images: NDArray[Any], gap: int | None = None) -> NDArray[Any]:
    """Rows of images, [rows, columns, C, H, W], as one, [H, W, 3], with white between them."""
    rows, columns, channels, height, width = images.shape
    space = max(1, height // 14) if gap is None else gap
    colour = images if channels == 3 else np.repeat(images.mean(axis=2, keepdims=True), 3, axis=2)
    padded = np.pad(colour, [(0, 0)] * 3 + [(0, space)] * 2, constant_values=1)
    whole = padded.transpose(0, 3, 1, 4, 2).reshape(rows * (height + space), columns * (width + space), 3)
    return whole[: len(whole) - space, : whole.shape[1] - space]


def reach(scores: Mapping[str, Any], path: Sequence[str]) -> float | None:
    """The number at the end of a path of keys; None where there is none."""
    found: Any = scores
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def draw_over_dims(
    axes: Axes, cells: Mapping[int, Any], path: Sequence[str], style: str, colour: Any, label: str, alpha: float = 1
) -> int:
    """A score over the latent size, from the smallest to the largest of the seeds shaded; the number of points."""
    points = [(dim, score) for dim in sorted(cells) if (score := reach(cells[dim], path)) is not None]
    if points:
        dims, medians = zip(*points, strict=True)
        axes.plot(dims, medians, style, color=colour, label=label, markersize=3.5, linewidth=1.2, alpha=alpha)
        every = [[reach(one, path) for one in cells[dim]["seeds"].values()] for dim in dims]
        known = [[score for score in scores if score is not None] for scores in every]
        if max(map(len, known)) > 1:
            low, high = [min(one) for one in known], [max(one) for one in known]
            axes.fill_between(dims, low, high, color=colour, alpha=0.18 * alpha, linewidth=0)
    return len(points)


def draw_floors(axes: Axes, baselines: Mapping[str, Any], where: str = "") -> None:
    """The L1 of the constant images, each with its number."""
    for name, style in FLOORS.items():
        l1 = baselines[name]["l1"]
        axes.axhline(l1, color=MUTED, linewidth=0.8, linestyle=style, label=f"{name} image {l1:.4f}{where}")


def mark_dims(axes: Axes, dims: Sequence[int]) -> None:
    """A doubling axis of latent sizes in plain numbers, as many as find room."""
    ordered = sorted(dims)
    shown = [ordered[0]]
    for dim in ordered[1:]:
        if np.log2(dim / shown[-1]) > np.log2(ordered[-1] / ordered[0]) / 14:
            shown.append(dim)
    axes.set_xscale("log", base=2)
    axes.set_xlim(ordered[0] / 1.25, ordered[-1] * 1.25)
    axes.set_xticks(shown, [str(dim) for dim in shown])
    axes.minorticks_off()
    axes.set_xlabel("numbers in the latent")
