"""Pictures of restorations and of their scores; the numbers on them are rows of the tables written beside them."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from bs6207.deblur.classical import BASELINES
from bs6207.figures import GROUND, INK, MUTED, PALETTE, panels
from bs6207.runs.result import Row, Table

NAMES = {  # what the restorers are called where people read
    "identity": "blurred",
    "unsharp": "unsharp mask",
    "wiener": "Wiener",
    "richardson_lucy": "Richardson-Lucy",
    "tv": "TV",
    "autoencoder": "autoencoder",
    "l1": "L1",
    "l1_disc": "L1 + disc",
}
Images: TypeAlias = NDArray[np.float32]  # [N, C, H, W] in [0, 1]
SIGMA = "\N{GREEK SMALL LETTER SIGMA}"
COLOURS = {
    "clear": INK,
    "identity": MUTED,
    "autoencoder": PALETTE[2],
    "l1": PALETTE[0],
    "l1_disc": PALETTE[1],
    **dict(zip(BASELINES, (PALETTE[5], PALETTE[4], PALETTE[3], PALETTE[6]), strict=True)),
}
MARKERS = {
    "identity": "s",
    "autoencoder": "D",
    "l1": "o",
    "l1_disc": "^",
    **dict(zip(BASELINES, ("v", "P", "X", "*"), strict=True)),
}
BLIND = ("l1", "l1_disc", "autoencoder")
HARM = "#f7e3d9"  # behind bars that say an image had better been left alone
ERRORS = "inferno"
TILE = 0.42  # inches, the width of an image
BINS = 80
MARKED = (0.0, 0.5, 1.0)  # clarity with its number on the frontier
CUT = 0.8  # how far bars may reach to the left, in lengths of the longest to the right
HALO = [withStroke(linewidth=2, foreground="white")]


def called(name: str) -> str:
    """What a restorer is called; whoever is told the kernel is said to be."""
    return f"{NAMES[name]}, told the kernel" if name in BASELINES else NAMES.get(name, name)


def restorations(grids: Mapping[float, Mapping[str, Images]], scores: Table, typical: int) -> Figure:
    """What was blurred and what restorers make of it, the errors of the last two below, one block per blur.

    Args:
        grids: by sigma and restorer; `clear` is the truth, the last two are those whose errors are shown.
        typical: how many of the images come from all of them; the others are the worst cases of L1.
    """
    reached = {(row["restorer"], row["sigma"]): row for row in scores.rows}
    blocks = {sigma: rows_of(grid, sigma, reached) for sigma, grid in grids.items()}
    images = next(iter(grids.values()))["clear"]
    groups = [len(part) for part in (images[:typical], images[typical:]) if len(part)]
    height = TILE * tallness(images)
    rows = len(next(iter(blocks.values())))
    figure = Figure(figsize=(len(grids) * (1.3 + len(images) * TILE) + 0.6, rows * (height + 0.045) + 0.25))
    figure.set_layout_engine("constrained", w_pad=0.05, h_pad=0.015, wspace=0.01, hspace=0.0)
    worst = max(float(strip.max()) for lines in blocks.values() for _, strip in lines[-2:])
    scale = Normalize(0, worst or 1)
    gridded = figure.add_gridspec(rows, len(groups) * len(grids) + 1, width_ratios=[*groups * len(grids), 0.25])
    axes = np.array(
        [[figure.add_subplot(gridded[row, place]) for place in range(gridded.ncols - 1)] for row in range(rows)]
    )
    for block, (sigma, lines) in enumerate(blocks.items()):
        places = axes[:, block * len(groups) : (block + 1) * len(groups)]
        for line, (label, made) in zip(places, lines, strict=True):
            parts = [part for part in (made[:typical], made[typical:]) if len(part)]
            for axis, part in zip(line, parts, strict=True):
                is_error = made.ndim == 3
                show(axis, strip_of(part), *((ERRORS, scale) if is_error else ("gray", Normalize(0, 1))))
            line[0].set_ylabel(label, rotation=0, ha="right", va="center", size=7)
        heads = (f"{SIGMA} = {sigma:g} pixels, first test images", "worst of L1")
        for axis, head in zip(places[0], heads, strict=False):  # without worst cases, no head for them
            axis.set_title(head, size=7, pad=3)
    bar = figure.colorbar(axes[-1, -1].images[0], cax=figure.add_subplot(gridded[-2:, -1]))
    bar.set_label("absolute error", size=7)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    return figure


def rows_of(grid: Mapping[str, Images], sigma: float, reached: Mapping[Any, Row]) -> list[tuple[str, NDArray[Any]]]:
    """Labels and rows of a block: images [N, C, H, W], and errors, the mean over channels, [N, H, W]."""
    made = [name for name in grid if name != "clear"]
    rows: list[tuple[str, NDArray[Any]]] = [("clear", grid["clear"])]
    rows += [(f"{NAMES[name]}\n{reached[name, sigma]['psnr']:.1f} dB", grid[name]) for name in made]
    return rows + [
        (
            f"|{NAMES[name]} \N{MINUS SIGN} clear|\nmean {reached[name, sigma]['l1']:.4f}",
            np.abs(grid[name] - grid["clear"]).mean(axis=1),
        )
        for name in made[-2:]
    ]


def strip_of(images: NDArray[Any]) -> NDArray[Any]:
    """Images [N, C, H, W] or [N, H, W] side by side, [H, W] or in colour [H, W, 3], nothing (NaN) between them."""
    rows = images.transpose(0, 2, 3, 1) if images.ndim == 4 else images[..., None]
    gap = max(1, rows.shape[2] // 14)
    padded = np.pad(rows, [(0, 0), (0, 0), (0, gap), (0, 0)], constant_values=np.nan)
    strip = padded.transpose(1, 0, 2, 3).reshape(rows.shape[1], -1, rows.shape[3])[:, :-gap]
    return strip.squeeze(2) if strip.shape[2] == 1 else np.nan_to_num(strip, nan=1.0)


def tallness(images: NDArray[Any]) -> float:
    """Height over width of images [..., H, W]; at most 2, so that a figure has an end: taller ones become narrower."""
    return min(2.0, images.shape[-2] / images.shape[-1])


def show(axes: Axes, strip: NDArray[Any], colours: str, scale: Normalize) -> None:
    """A strip of images without a frame."""
    axes.imshow(strip, cmap=colours, norm=scale, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def psnr_over_sigma(curve: Table, scores: Table, trained: tuple[float, float]) -> Figure:
    """PSNR over the blur, the range trained on shaded, and the rivals, who are told the kernel, where they were scored.

    Args:
        trained: the least and the most sigma of the training, in pixels.
    """
    figure, ((axes,),) = panels(1, 1, (7.0, 3.8))
    axes.axvspan(
        *trained, facecolor=GROUND, edgecolor=MUTED, linewidth=0.5, alpha=0.6, zorder=0, label="range of the training"
    )
    for name in ("identity", *BLIND):
        draw_line(axes, curve.rows, name, f"{MARKERS[name]}-", linewidth=1.6, markersize=4)
    for name in BASELINES:
        draw_line(axes, scores.rows, name, f"{MARKERS[name]}:", linewidth=0.8, markersize=6, markerfacecolor="white")
    axes.set(xlabel=f"{SIGMA} of the blur (pixels)", ylabel="PSNR (dB)")
    figure.legend(loc="outside right center", fontsize=8)
    return figure


def draw_line(axes: Axes, rows: Sequence[Row], name: str, look: str, **more: Any) -> None:
    """PSNR over sigma of one restorer, if it is there; an infinite one, of what is perfect already, is left out."""
    points = sorted((row["sigma"], row["psnr"]) for row in rows if row["restorer"] == name and np.isfinite(row["psnr"]))
    if points:
        axes.plot(*zip(*points, strict=True), look, color=COLOURS[name], label=called(name), **more)


JUDGES = {  # what stands for perception: its name, its axis, and whether more of it is better
    "heldout_clear": ("share taken for clear\nby the held-out disc", "linear", True),
    "frechet": ("Fréchet distance\n(better upwards)", "log", False),
}


def perception(scores: Table, frontier: Table | None, clear: Mapping[float, Row]) -> Figure:
    """The plane of perception and distortion (Blau and Michaeli 2018, arXiv:1711.06077), a column per blur.

    The further up and to the right the better; the broken line is what clear images reach.

    Args:
        frontier: restorers on the way from L1 to the clearest, by weight (the clarity) and sigma; a close-up of them is
            the last row.
        clear: scores of clear images, by sigma.
    """
    sigmas = sorted({row["sigma"] for row in scores.rows})
    judges = [key for key in JUDGES if all(row[key] is not None for row in scores.rows)]
    rows = len(judges) + (frontier is not None)
    figure, axes = panels(rows, len(sigmas), (max(2.1, 4.2 / len(sigmas)), 2.2))
    figure.set_figwidth(figure.get_figwidth() + 2.4)  # for the legend
    for line in axes:
        for place in line[1:]:
            place.sharey(line[0])
            place.tick_params(labelleft=False)
    for line, key in zip(axes, judges, strict=False):  # below them, the close-up
        label, scale, more_is_better = JUDGES[key]
        for place, sigma in zip(line, sigmas, strict=True):
            place.set_yscale(scale)
            place.axhline(clear[sigma][key], color=INK, linewidth=0.8, linestyle="--", label="clear images")
            draw_restorers(place, [row for row in scores.rows if row["sigma"] == sigma], key)
        if not more_is_better:
            line[0].invert_yaxis()
        line[0].set_ylabel(label)
    if frontier is not None:
        for place, sigma in zip(axes[-1], sigmas, strict=True):
            draw_frontier(place, [row for row in frontier.rows if row["sigma"] == sigma])
            ours = [row for row in scores.rows if row["sigma"] == sigma and row["restorer"] in ("l1", "l1_disc")]
            draw_restorers(place, ours, "heldout_clear")
        axes[-1, 0].set_ylabel("the same share, close up,\nby clarity from 0 to 1")
    for place, sigma in zip(axes[0], sigmas, strict=True):
        place.set_title(f"{SIGMA} = {sigma:g} pixels")
    for place in axes[-1]:
        place.set_xlabel("PSNR (dB)")
    named = {name: handle for handle, name in zip(*axes[0, -1].get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named, loc="outside right center", fontsize=8)
    return figure


def draw_restorers(axes: Axes, rows: Sequence[Row], key: str) -> None:
    """A point for every restorer; none where the PSNR is infinite, of what is perfect already."""
    for row in (row for row in rows if np.isfinite(row["psnr"])):
        name = row["restorer"]
        face = "white" if name in BASELINES else COLOURS[name]
        axes.plot(row["psnr"], row[key], MARKERS[name], color=COLOURS[name], markerfacecolor=face, label=called(name))
    axes.margins(0.14)


def draw_frontier(axes: Axes, rows: Sequence[Row]) -> None:
    """A line through the restorers on the way, with the clarity of a few."""
    points = [(row["psnr"], row["heldout_clear"]) for row in rows if np.isfinite(row["psnr"])]
    if not points:
        return
    axes.plot(*zip(*points, strict=True), ".-", color=MUTED, linewidth=0.9, markersize=4, label="by clarity")
    for row in rows:
        if row["weight"] in MARKED and np.isfinite(row["psnr"]):
            place = (row["psnr"], row["heldout_clear"])
            axes.annotate(
                f"{row['weight']:g}",
                place,
                (-4, -11),
                textcoords="offset points",
                size=7,
                ha="right",
                path_effects=HALO,
            )


def disc_scores(images: Table, sigmas: Sequence[float]) -> Figure:
    """How the disc that trained a restorer scores its images, and how one that trained nobody does.

    Every histogram is as high as every other; its number is the share right of 0, that is taken for clear.
    """
    names = ("clear", "identity", "l1", "l1_disc")
    discs = {"disc_net": "disc_net, which trained L1 + disc", "heldout": "held-out disc, which trained nobody"}
    figure, axes = panels(len(sigmas), len(discs), (3.9, 1.9), sharex="col", sharey=True)
    for column, (key, title) in enumerate(discs.items()):
        drawn = [row[key] for row in images.rows if row["sigma"] in sigmas and row["restorer"] in names]
        edges = np.histogram_bin_edges(drawn, BINS)
        for axis, sigma in zip(axes[:, column], sigmas, strict=True):
            axis.axvline(0, color=INK, linewidth=0.8, linestyle="--")
            for level, name in enumerate(reversed(names)):
                found = [row[key] for row in images.rows if row["sigma"] == sigma and row["restorer"] == name]
                counts, _ = np.histogram(found, edges)
                axis.stairs(level + 0.85 * counts / counts.max(), edges, baseline=level, fill=True, color=COLOURS[name])
                axis.axhline(level, color=MUTED, linewidth=0.5)
                axis.text(
                    1.01,
                    level + 0.3,
                    f"{np.mean(np.array(found) > 0):.0%}",
                    size=8,
                    transform=axis.get_yaxis_transform(),
                )
            axis.set(ylim=(0, len(names)), yticks=np.arange(len(names)) + 0.35)
            axis.set_yticklabels([NAMES.get(name, name) for name in reversed(names)])
            axis.tick_params(axis="y", length=0)
            axis.spines["left"].set_visible(False)
            if column == 0:
                axis.set_ylabel(f"{SIGMA} = {sigma:g} pixels")
        axes[0, column].set_title(title)
        axes[0, column].text(1.01, 1.02, "> 0", size=8, color=MUTED, transform=axes[0, column].transAxes)
        axes[-1, column].set_xlabel("score; right of 0 is taken for clear")
    return figure


def conditions(
    conditions: Table, examples: Mapping[str, Mapping[str, NDArray[np.uint8]]], captions: Mapping[str, str]
) -> Figure:
    """What restoring gains under blur, and on images, that training does not show; with examples.

    Args:
        examples: by restorer and condition, [3, N, C, H, W]: the truth, blurred, restored.
        captions: by condition.
    """
    any_images = next(iter(next(iter(examples.values())).values()))
    shown = min(2, any_images.shape[1])
    heads = ("truth", "blurred", *(NAMES[name] for name in examples))
    across, height = 1.2 * TILE * len(heads), 1.2 * TILE * tallness(any_images)
    figure = Figure(figsize=(5.1 + shown * (across + 0.3), len(captions) * max(height + 0.06, 0.5) + 0.7))
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.015, wspace=0.01, hspace=0.0)
    grid = figure.add_gridspec(len(captions), 1 + shown, width_ratios=[3.1, *[across] * shown])
    bars = figure.add_subplot(grid[:, 0])
    draw_gains(bars, conditions.rows, captions)
    for line, condition in enumerate(captions):
        for place in range(shown):
            axis = figure.add_subplot(grid[line, 1 + place])
            truth, blurred = next(iter(examples.values()))[condition][:2, place]
            made = [by_condition[condition][2, place] for by_condition in examples.values()]
            show(axis, strip_of(np.stack([truth, blurred, *made]) / np.float32(255)), "gray", Normalize(0, 1))
            if line == 0:
                for column, head in enumerate(heads):
                    axis.text((column + 0.5) / len(heads), 1.05, head, size=7, ha="center", transform=axis.transAxes)
    return figure


def draw_gains(axes: Axes, rows: Sequence[Row], captions: Mapping[str, str]) -> None:
    """Bars by condition and restorer, with their numbers; those too long to the left are cut at the edge."""
    gains = {
        (row["condition"], row["restorer"]): row["gain"]
        for row in rows
        if row["restorer"] in BLIND and row["gain"] is not None and np.isfinite(row["gain"])
    }
    names = [name for name in BLIND if any(restorer == name for _, restorer in gains)]
    most, least = max([1.0, *gains.values()]), min([0.0, *gains.values()])
    left = max(1.15 * least, -CUT * most) - 0.25 * most
    thick = 0.8 / max(1, len(names))
    for place, name in enumerate(names):
        found = [(line, gains[one, name]) for line, one in enumerate(captions) if (one, name) in gains]
        ys = [line + (place - (len(names) - 1) / 2) * thick for line, _ in found]
        axes.barh(ys, [gain for _, gain in found], 0.9 * thick, color=COLOURS[name], label=NAMES[name], zorder=2)
        for y, (_, gain) in zip(ys, found, strict=True):
            is_cut, rightwards = gain < left, gain < left or gain >= 0
            axes.annotate(
                f"{'← ' if is_cut else ''}{gain:+.1f}".replace("-", "\N{MINUS SIGN}"),
                (left if is_cut else gain, y),
                (3 if rightwards else -3, 0),
                textcoords="offset points",
                size=6.5,
                va="center",
                ha="left" if rightwards else "right",
                color="white" if is_cut else INK,
            )
    axes.axvspan(left, 0, color=HARM, zorder=0, linewidth=0)
    axes.axvline(0, color=INK, linewidth=0.8, zorder=3)
    axes.set(
        xlim=(left, 1.2 * most), ylim=(len(captions) - 0.5, -0.5), xlabel="gain in PSNR over leaving it as it is (dB)"
    )
    axes.set_yticks(range(len(captions)), [fill(caption, 34) for caption in captions.values()], size=7)
    axes.tick_params(axis="y", length=0)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=7, borderpad=0, columnspacing=1)


STAGES = {  # of the history: colour, marker and name of its line
    "autoencoder": (COLOURS["autoencoder"], MARKERS["autoencoder"], NAMES["autoencoder"]),
    "l1": (INK, ".", "L1, before the last stage"),
    "l1, last stage": (COLOURS["l1"], MARKERS["l1"], "L1, last stage"),
    "l1_disc, last stage": (COLOURS["l1_disc"], MARKERS["l1_disc"], "L1 + disc, last stage"),
    "strong, last stage": (PALETTE[3], "v", "L1 + more of disc, last stage"),
}


def loss_curves(history: Table, seed: int) -> Figure:
    """Validation PSNR of one seed over the restorer's epochs; last stages go on from the end of the stage `l1`."""
    figure, ((axes,),) = panels(1, 1, (6.4, 3.4))
    rows = [row for row in history.rows if row["seed"] == seed]
    points = {
        stage: [(row["epoch"], row["validation_psnr"]) for row in rows if row["stage"] == stage] for stage in STAGES
    }
    before, reached = points["l1"][-1]
    for stage, (colour, marker, label) in STAGES.items():
        line = points[stage]
        if line and stage.endswith("last stage"):
            line = [(before, reached), *((before + epoch, psnr) for epoch, psnr in line)]
        if line:
            axes.plot(*zip(*line, strict=True), f"{marker}-", color=colour, label=label, markersize=4)
    axes.set(xlabel="epoch of the restorer", ylabel="validation PSNR (dB)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend()
    return figure
