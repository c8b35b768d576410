"""Figures of restorations and scores; the numbers on them are rows of the tables written beside them."""

from collections.abc import Mapping, Sequence
from itertools import product
from textwrap import fill
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from bs6207.data.images import to_float
from bs6207.deblur.classical import BASELINES
from bs6207.figures import GROUND, INK, MUTED, PALETTE, panels
from bs6207.runs.result import Row, Table

LOOKS = {  # of a restorer, or of the truth: its name for people, colour and marker
    "clear": ("clear", INK, ""),
    "identity": ("blurred", MUTED, "s"),
    "unsharp": ("unsharp mask", PALETTE[5], "v"),
    "wiener": ("Wiener", PALETTE[4], "P"),
    "richardson_lucy": ("Richardson-Lucy", PALETTE[3], "X"),
    "tv": ("TV", PALETTE[6], "*"),
    "autoencoder": ("autoencoder", PALETTE[2], "D"),
    "l1": ("L1", PALETTE[0], "o"),
    "l1_disc": ("L1 + disc", PALETTE[1], "^"),
}
NAMES = {restorer: name for restorer, (name, *_) in LOOKS.items() if restorer != "clear"}
STAGES = {  # of the history: name, colour and marker of its line
    "autoencoder": LOOKS["autoencoder"],
    "l1": ("L1, before the last stage", INK, "."),
    "l1, last stage": ("L1, last stage", *LOOKS["l1"][1:]),
    "l1_disc, last stage": ("L1 + disc, last stage", *LOOKS["l1_disc"][1:]),
    "strong, last stage": ("L1 + more of disc, last stage", PALETTE[3], "v"),
}
SIGMA = "\N{GREEK SMALL LETTER SIGMA}"
Images: TypeAlias = NDArray[np.float32]  # [N, C, H, W] in [0, 1]
BLIND = ("l1", "l1_disc", "autoencoder")
HARM = "#f7e3d9"  # behind bars that say an image had better been left alone
TILE = 0.42  # inches, the width of an image
BINS = 80
MARKED = (0.0, 0.5, 1.0)  # clarity with its number on the frontier, whose look this is
LINE: Any = {"color": MUTED, "linewidth": 0.9, "markersize": 4}
HALO = [withStroke(linewidth=2, foreground="white")]
MARK: Any = {"textcoords": "offset points", "size": 7, "ha": "right", "path_effects": HALO}
CUT = 0.8  # how far bars may reach to the left, in lengths of the longest to the right
TIGHT = {"h_pad": 0.015, "wspace": 0.01, "hspace": 0.0}  # between strips of images


def label_of(name: str) -> str:
    return LOOKS[name][0] + " (true kernel)" * (name in BASELINES)


def restorations(
    grids: Mapping[float, Mapping[str, Images]],
    scores: Table,
    typical: int,
    kind: str = "first test images",
    tile: float = TILE,
) -> Figure:
    """Clear, blurred and restored images, and the errors of the last two restorers below, one block per blur.

    Grids are by sigma and restorer, the truth, `clear`, first; after `typical` images of a `kind` come the worst cases
    of L1. Each is `tile` inches wide.
    """
    blocks: dict[float, list[tuple[str, NDArray[Any]]]] = {}  # labels and rows: images, errors [N, H, W] last
    for sigma, grid in grids.items():
        row_of = {row["restorer"]: row for row in scores.rows if row["sigma"] == sigma}
        (clear, truth), *others = grid.items()
        blocks[sigma] = [(clear, truth)]
        blocks[sigma] += [(f"{NAMES[name]}\n{row_of[name]['psnr']:.1f} dB", images) for name, images in others]
        for name, images in others[-2:]:
            label = f"|{NAMES[name]} \N{MINUS SIGN} clear|\nmean {row_of[name]['l1']:.4f}"
            blocks[sigma].append((label, np.abs(images - truth).mean(axis=1)))
    groups = [len(part) for part in (truth[:typical], truth[typical:]) if len(part)]
    rows = len(blocks[sigma])
    size = (len(grids) * (1.3 + len(truth) * tile) + 0.6, rows * (tile * tallness(truth) + 0.045) + 0.25)
    figure = Figure(figsize=size)
    figure.set_layout_engine("constrained", w_pad=0.05, **TIGHT)
    scale = Normalize(0, max(float(errors.max()) for lines in blocks.values() for _, errors in lines[-2:]) or 1)
    gridded = figure.add_gridspec(rows, len(groups) * len(grids) + 1, width_ratios=[*groups * len(grids), 0.25])
    for line, (block, (sigma, lines)) in product(range(rows), enumerate(blocks.items())):
        label, row = lines[line]
        heads = (f"{SIGMA} = {sigma:g} pixels, {kind}", "worst of L1")
        look = ("inferno", scale) if row.ndim == 3 else ("gray", Normalize(0, 1))
        for place, part in enumerate((row[:typical], row[typical:])[: len(groups)]):  # without worst cases, one
            axis = figure.add_subplot(gridded[line, block * len(groups) + place])
            show(axis, strip_of(part), *look)
            if line == 0:
                axis.set_title(heads[place], size=7, pad=3)
            if place == 0:
                axis.set_ylabel(label, rotation=0, ha="right", va="center", size=7)
    bar = figure.colorbar(axis.images[0], cax=figure.add_subplot(gridded[-2:, -1]))
    bar.set_label("absolute error", size=7)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    return figure


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
    axes.imshow(strip, cmap=colours, norm=scale, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def psnr_over_sigma(curve: Table, scores: Table, trained: tuple[float, float]) -> Figure:
    """PSNR over the blur; the range of the training is shaded."""
    figure, ((axes,),) = panels(1, 1, (7.0, 3.8))
    shade: Any = {"facecolor": GROUND, "edgecolor": MUTED, "linewidth": 0.5, "alpha": 0.6, "zorder": 0}
    axes.axvspan(*trained, label="range of the training", **shade)
    looks: tuple[Any, ...] = (
        (("identity", *BLIND), curve, "-", {"linewidth": 1.6, "markersize": 4}),
        (BASELINES, scores, ":", {"linewidth": 0.8, "markersize": 6, "markerfacecolor": "white"}),
    )
    for names, table, style, look in looks:
        for name in names:
            rows = (row for row in table.rows if row["restorer"] == name and np.isfinite(row["psnr"]))
            if points := sorted((row["sigma"], row["psnr"]) for row in rows):
                _, colour, marker = LOOKS[name]
                axes.plot(*zip(*points, strict=True), marker + style, color=colour, label=label_of(name), **look)
    axes.set(xlabel=f"{SIGMA} of the blur (pixels)", ylabel="PSNR (dB)")
    figure.legend(loc="outside right center", fontsize=8)
    return figure


PERCEPTION = {  # a score: its label and scale
    "heldout_clear": ("share classified as clear\nby the held-out disc", "linear"),
    "frechet": ("Fréchet distance\n(better upwards)", "log"),
}


def perception(scores: Table, frontier: Table | None, clear: Mapping[float, Row]) -> Figure:
    """The plane of perception and distortion (Blau and Michaeli 2018, arXiv:1711.06077), a column per blur.

    Up and to the right is better; the broken line is the score of clear images, `clear`, by sigma. The last row is a
    close-up of the interpolated restorers of the frontier, by weight (the clarity) and sigma.
    """
    sigmas = sorted({row["sigma"] for row in scores.rows})
    keys = [key for key in PERCEPTION if all(row[key] is not None for row in scores.rows)]
    height = len(keys) + (frontier is not None)
    figure, axes = panels(height, len(sigmas), (max(2.1, 4.2 / len(sigmas)), 2.2), sharey="row")
    figure.set_figwidth(figure.get_figwidth() + 2.4)  # for the legend
    for column, sigma in zip(axes.T, sigmas, strict=True):
        points = [row for row in scores.rows if row["sigma"] == sigma]
        for axis, key in zip(column, keys, strict=False):  # below them, the close-up
            axis.set_yscale(PERCEPTION[key][1])
            axis.axhline(clear[sigma][key], color=INK, linewidth=0.8, linestyle="--", label="clear images")
            draw_restorers(axis, points, key)
        if frontier is not None:
            rows = [row for row in frontier.rows if row["sigma"] == sigma and np.isfinite(row["psnr"])]
            by_clarity = {row["weight"]: (row["psnr"], row["heldout_clear"]) for row in rows}
            if by_clarity:
                column[-1].plot(*zip(*by_clarity.values(), strict=True), ".-", label="by clarity", **LINE)
            for weight in (weight for weight in MARKED if weight in by_clarity):
                column[-1].annotate(f"{weight:g}", by_clarity[weight], (-4, -11), **MARK)
            draw_restorers(column[-1], [row for row in points if row["restorer"] in ("l1", "l1_disc")], "heldout_clear")
        column[0].set_title(f"{SIGMA} = {sigma:g} pixels")
        column[-1].set_xlabel("PSNR (dB)")
    for axis, key in zip(axes[:, 0], keys, strict=False):
        axis.set_ylabel(PERCEPTION[key][0])
        if key == "frechet":
            axis.invert_yaxis()
    if frontier is not None:
        axes[-1, 0].set_ylabel("the same share, close up,\nby clarity from 0 to 1")
    named = {name: handle for handle, name in zip(*axes[0, -1].get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named, loc="outside right center", fontsize=8)
    return figure


def draw_restorers(axes: Axes, rows: Sequence[Row], key: str) -> None:
    for row in (row for row in rows if np.isfinite(row["psnr"])):
        _, colour, marker = LOOKS[row["restorer"]]
        face = "white" if row["restorer"] in BASELINES else colour
        label = label_of(row["restorer"])
        axes.plot(row["psnr"], row[key], marker, color=colour, markerfacecolor=face, label=label)
    axes.margins(0.14)


def disc_scores(images: Table, sigmas: Sequence[float]) -> Figure:
    """Scores of disc_net, which trained L1 + disc, and of the held-out discriminator, which trained no restorer.

    All histograms have the same height; the number is the share right of 0, that is classified as clear.
    """
    names = ("l1_disc", "l1", "identity", "clear")  # from below
    discs = {"disc_net": "disc_net, which trained L1 + disc", "heldout": "held-out disc, which trained no restorer"}
    figure, axes = panels(len(sigmas), len(discs), (3.9, 1.9), sharex="col", sharey=True)
    for column, (key, title) in zip(axes.T, discs.items(), strict=True):
        drawn = [row[key] for row in images.rows if row["sigma"] in sigmas and row["restorer"] in names]
        edges = np.histogram_bin_edges(drawn, BINS)
        for axis, sigma in zip(column, sigmas, strict=True):
            axis.axvline(0, color=INK, linewidth=0.8, linestyle="--")
            for level, name in enumerate(names):
                scores = [row[key] for row in images.rows if row["sigma"] == sigma and row["restorer"] == name]
                counts, _ = np.histogram(scores, edges)
                heights = level + 0.85 * counts / counts.max()
                axis.stairs(heights, edges, baseline=level, fill=True, color=LOOKS[name][1])
                axis.axhline(level, color=MUTED, linewidth=0.5)
                share = f"{np.mean(np.array(scores) > 0):.0%}"
                axis.text(1.01, level + 0.3, share, size=8, transform=axis.get_yaxis_transform())
            axis.set(ylim=(0, len(names)), yticks=np.arange(len(names)) + 0.35)
            axis.set_yticklabels([LOOKS[name][0] for name in names])
            axis.tick_params(axis="y", length=0)
            axis.spines["left"].set_visible(False)
        column[0].set_title(title)
        column[0].text(1.01, 1.02, "> 0", size=8, color=MUTED, transform=column[0].transAxes)
        column[-1].set_xlabel("score; right of 0 is clear")
    for axis, sigma in zip(axes[:, 0], sigmas, strict=True):
        axis.set_ylabel(f"{SIGMA} = {sigma:g} pixels")
    return figure


def conditions(
    conditions: Table, examples: Mapping[str, Mapping[str, NDArray[np.uint8]]], captions: Mapping[str, str]
) -> Figure:
    """Gain of restoring under conditions that the training does not cover, which have these captions.

    Examples are by restorer and condition, [3, N, C, H, W]: the truth, blurred, restored.
    """
    any_images = next(iter(next(iter(examples.values())).values()))
    shown = min(2, any_images.shape[1])
    heads = ("truth", "blurred", *(NAMES[name] for name in examples))
    across, height = 1.2 * TILE * len(heads), 1.2 * TILE * tallness(any_images)
    figure = Figure(figsize=(5.1 + shown * (across + 0.3), len(captions) * max(height + 0.06, 0.5) + 0.7))
    figure.set_layout_engine("constrained", w_pad=0.06, **TIGHT)
    grid = figure.add_gridspec(len(captions), 1 + shown, width_ratios=[3.1, *[across] * shown])
    draw_gains(figure.add_subplot(grid[:, 0]), conditions.rows, captions)
    for line, place in product(range(len(captions)), range(shown)):
        axis = figure.add_subplot(grid[line, 1 + place])
        first, *others = (by_condition[[*captions][line]][:, place] for by_condition in examples.values())
        show(axis, strip_of(to_float(np.stack([*first, *(other[2] for other in others)]))), "gray", Normalize(0, 1))
        for column, head in enumerate(heads if line == 0 else ()):
            axis.text((column + 0.5) / len(heads), 1.05, head, size=7, ha="center", transform=axis.transAxes)
    return figure


def draw_gains(axes: Axes, rows: Sequence[Row], captions: Mapping[str, str]) -> None:
    """Bars by condition and restorer, with their numbers; those too long to the left are cut at the edge."""
    blind = [row for row in rows if row["restorer"] in BLIND and np.isfinite(row["gain"])]
    gains = {(row["condition"], row["restorer"]): row["gain"] for row in blind}
    names = [name for name in BLIND if name in {row["restorer"] for row in blind}]
    most, least = max([1.0, *gains.values()]), min([0.0, *gains.values()])
    left = max(1.15 * least, -CUT * most) - 0.25 * most
    thick = 0.8 / max(1, len(names))
    for place, name in enumerate(names):
        middle = (place - (len(names) - 1) / 2) * thick
        bars = {line + middle: gains[key, name] for line, key in enumerate(captions) if (key, name) in gains}
        axes.barh([*bars], [*bars.values()], 0.9 * thick, color=LOOKS[name][1], label=NAMES[name], zorder=2)
        for y, gain in bars.items():
            is_cut, rightwards = gain < left, gain < left or gain >= 0
            text = f"{'← ' if is_cut else ''}{gain:+.1f}".replace("-", "\N{MINUS SIGN}")
            look: Any = {"ha": "left" if rightwards else "right", "color": "white" if is_cut else INK}
            place_at, offset = (left if is_cut else gain, y), (3 if rightwards else -3, 0)
            axes.annotate(text, place_at, offset, textcoords="offset points", size=6.5, va="center", **look)
    axes.axvspan(left, 0, color=HARM, zorder=0, linewidth=0)
    axes.axvline(0, color=INK, linewidth=0.8, zorder=3)
    axes.set(xlim=(left, 1.2 * most), ylim=(len(captions) - 0.5, -0.5))
    axes.set_xlabel("gain in PSNR over leaving it as it is (dB)")
    axes.set_yticks(range(len(captions)), [fill(caption, 34) for caption in captions.values()], size=7)
    axes.tick_params(axis="y", length=0)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=7, borderpad=0, columnspacing=1)


def loss_curves(history: Table, seed: int) -> Figure:
    """Validation PSNR of one seed over the restorer's epochs; last stages continue from the end of the stage `l1`."""
    figure, ((axes,),) = panels(1, 1, (6.4, 3.4))
    end = (0, 0.0)
    for stage, (label, colour, marker) in STAGES.items():
        rows = [row for row in history.rows if (row["seed"], row["stage"]) == (seed, stage)]
        first, start = (end[0], [end]) if "last stage" in stage else (0, [])
        line = start + [(first + row["epoch"], row["validation_psnr"]) for row in rows]
        if rows:
            axes.plot(*zip(*line, strict=True), f"{marker}-", color=colour, label=label, markersize=4)
        if stage == "l1":
            end = line[-1]
    axes.set(xlabel="epoch of the restorer", ylabel="validation PSNR (dB)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend()
    return figure
