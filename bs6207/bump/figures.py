"""Pictures of descents; they draw the rows of trajectories.csv and the numbers of metrics.json."""

import io
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from bs6207.bump.diagram import PhaseDiagram
from bs6207.bump.landscape import START, Landscape
from bs6207.bump.noise import CONFIDENCE, Survival
from bs6207.experiment import Table
from bs6207.figures import GROUND, INK, MUTED, PALETTE, panels, render

SHOWN_STEPS = 40  # by then every path has passed or is caught
FRAME_MILLISECONDS = 200
LABELS = {
    "lr": "learning rate (units of x per unit of slope)",
    "beta1": r"decay of the mean slope, $\beta_1$",
    "beta2": r"decay of the mean squared slope, $\beta_2$",
    "eps": r"$\epsilon$ (units of slope)",
    "momentum": "momentum",
    "dampening": "dampening",
    "weight_decay": "weight decay (per unit of x)",
    "distance": "distance L to the foot of the bump (units of x)",
    "up_slope": "slope up the bump (loss per unit of x)",
}
CONTOURS = 7
TIE_COLOUR = PALETTE[1]
OUTLIERS = 0.5  # percent of cells, at the top, that do not stretch the colours


def trajectory(
    trajectories: Table, found: Mapping[str, Any], landscape: Landscape, passed: Mapping[str, bool], height: float
) -> Figure:
    """One row per optimizer: its path on the loss, and x over the first steps."""
    figure, axes = panels(len(found), 2, (4.6, 2.3), width_ratios=(1.25, 1))
    first, last = landscape.kinks[0], landscape.kinks[-1]
    left, right = START - 0.1, last + max(0.8, height)
    ground = np.array([left, *landscape.kinks, right])
    losses = [landscape.loss(x) for x in ground]
    floor = min(losses) - 0.15
    for (name, one), (on_loss, over_steps), colour in zip(found.items(), axes, cycle(PALETTE), strict=False):
        rows = [row for row in trajectories.rows if row["optimizer"] == name][: SHOWN_STEPS + 1]
        x, loss = [row["x"] for row in rows], [row["loss"] for row in rows]

        on_loss.fill_between(ground, losses, floor, color=GROUND, linewidth=0)
        on_loss.plot(ground, losses, color=INK, linewidth=1)
        on_loss.plot(x, loss, color=colour, linewidth=0.6, alpha=0.5)
        on_loss.scatter(x, loss, s=14, color=colour, zorder=3)
        on_loss.set(xlim=(left, right), ylim=(floor, max(losses) + 0.1), ylabel="loss")
        h_max = "no threshold" if one["h_max"] is None else f"$h_{{max}}$ = {one['h_max']:.6g}"
        on_loss.set_title(f"{name}: {h_max}", color=colour, weight="bold")

        over_steps.axhspan(first, last, color=GROUND, linewidth=0)
        over_steps.axhline(landscape.crest, color=MUTED, linewidth=0.8, linestyle="--")
        over_steps.annotate("crest", (SHOWN_STEPS - 0.5, landscape.crest), ha="right", va="bottom", color=MUTED)
        over_steps.plot([row["step"] for row in rows], x, "o-", color=colour, markersize=2.5, linewidth=0.8)
        over_steps.set(xlim=(0, SHOWN_STEPS), ylim=(left, right), ylabel="x")
        over_steps.set_title(f"{'passes' if passed[name] else 'stays before'} the crest at h = {height:g}")
    axes[-1][0].set_xlabel("x")
    axes[-1][1].set_xlabel("step")
    return figure


def animation(trajectories: Table, landscape: Landscape, height: float) -> bytes:
    """The first steps of all paths over the loss, as a GIF: one frame a step."""
    figure, ((axes,),) = panels(1, 1, (6.4, 3.2))
    left, right = START - 0.1, landscape.kinks[-1] + max(0.8, height)
    ground = np.array([left, *landscape.kinks, right])
    losses = [landscape.loss(x) for x in ground]
    floor = min(losses) - 0.15
    axes.fill_between(ground, losses, floor, color=GROUND, linewidth=0)
    axes.plot(ground, losses, color=INK, linewidth=1)
    axes.set(xlim=(left, right), ylim=(floor, max(losses) + 0.2), xlabel="x", ylabel="loss")
    names = list(dict.fromkeys(row["optimizer"] for row in trajectories.rows))
    paths = {name: [row for row in trajectories.rows if row["optimizer"] == name] for name in names}
    balls = [axes.plot([], [], "o", color=c, label=n)[0] for n, c in zip(names, cycle(PALETTE), strict=False)]
    axes.legend(loc="upper right")
    frames = []
    for step in range(SHOWN_STEPS + 1):
        for ball, path in zip(balls, paths.values(), strict=True):
            row = path[min(step, len(path) - 1)]
            ball.set_data([row["x"]], [row["loss"]])
        axes.set_title(f"step {step}")
        frames.append(Image.open(io.BytesIO(render(figure, "png"))).convert("P", palette=Image.Palette.ADAPTIVE))
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], duration=FRAME_MILLISECONDS, loop=0)
    return stream.getvalue()


def thresholds(found: Mapping[str, Any]) -> Figure:
    """The tallest bump of each optimizer, as bars."""
    figure, ((axes,),) = panels(1, 1, (6.0, 0.8 + 0.4 * len(found)))
    names = list(found)
    heights = [one["h_max"] or 0.0 for one in found.values()]
    bars = axes.barh(names, heights, color=list(islice(cycle(PALETTE), len(names))), height=0.6)
    axes.bar_label(
        bars, ["none" if one["h_max"] is None else f"{one['h_max']:.6g}" for one in found.values()], padding=4
    )
    axes.invert_yaxis()
    axes.set_xlim(0, 1.2 * max(heights) or 1)
    axes.set_xlabel("tallest bump escaped, $h_{max}$ (units of x)")
    return figure


def phase_diagram(diagram: PhaseDiagram) -> Figure:
    """h_max as colour and contours over the two settings.

    Coloured apart where rounding decides, dotted where more steps might raise it, plain where no bump is reached.
    """
    figure, ((axes,),) = panels(1, 1, (6.4, 4.6))
    x, y, h_max = diagram.columns.values, diagram.rows.values, np.ma.masked_invalid(diagram.h_max)
    notes = []
    axes.set_facecolor(GROUND)
    if h_max.count():
        low, high = h_max.min(), np.percentile(h_max.compressed(), 100 - OUTLIERS)
        clipped = "max" if h_max.max() > high else "neither"
        mesh = axes.pcolormesh(x, y, h_max, cmap="viridis", vmin=low, vmax=high, shading="nearest", rasterized=True)
        bar = figure.colorbar(mesh, ax=axes, extend=clipped, pad=0.02)
        bar.set_label("tallest bump escaped, $h_{max}$ (units of x)")
        bar.outline.set_visible(False)
        if high > low:
            lines = axes.contour(x, y, h_max, levels=CONTOURS, colors="white", linewidths=0.6, alpha=0.8)
            bar.add_lines(lines, erase=False)
    if np.isnan(diagram.h_max).any():
        notes.append(Patch(facecolor=GROUND, edgecolor=MUTED, label="no bump reached"))
    if diagram.is_tie.any():
        ties = np.ma.masked_equal(diagram.is_tie, False)
        axes.pcolormesh(x, y, ties, cmap=ListedColormap([TIE_COLOUR]), shading="nearest", rasterized=True)
        notes.append(Patch(color=TIE_COLOUR, label="rounding decides"))
    if diagram.holds_for_ever.any() and not diagram.holds_for_ever.all():
        axes.contourf(x, y, ~diagram.holds_for_ever, levels=[0.5, 1.5], colors="none", hatches=["...."])
        notes.append(Patch(facecolor="none", edgecolor=MUTED, hatch="....", label="more steps might raise it"))
    if notes:
        figure.legend(handles=notes, loc="outside lower right", ncols=len(notes))
    axes.set(xlabel=LABELS.get(diagram.columns.name, diagram.columns.name), title=diagram.optimizer)
    axes.set_ylabel(LABELS.get(diagram.rows.name, diagram.rows.name))
    return figure


def survival(curves: Sequence[Survival]) -> Figure:
    """The chance to escape over the height of the bump, with its band, and h50 as a dot, one curve each."""
    figure, ((axes,),) = panels(1, 1, (6.0, 3.8))
    for curve, colour in zip(curves, PALETTE * len(curves), strict=False):
        height = np.concatenate([[0.0], curve.height, curve.height[-1:]])  # and none escapes a taller one
        chance = np.concatenate([curve.chance[:1], curve.chance, [0.0]])
        (half,) = (one for one in curve.quantiles if one.chance == 0.5)
        label = f"{curve.optimizer}, noise {curve.noise:g}: $h_{{50}}$ = {half.height:.3g}"
        axes.fill_between(curve.height, curve.lower, curve.upper, color=colour, alpha=0.25, linewidth=0)
        axes.plot(height, chance, color=colour, linewidth=1.4, label=label)
        axes.errorbar(
            half.height, 0.5, xerr=[[half.height - half.lower], [half.upper - half.height]], fmt="o", color=colour
        )
    axes.axhline(0.5, color=MUTED, linewidth=0.6, linestyle=":")
    axes.set(xlabel="height of the bump (units of x)", ylabel="chance to escape", xlim=(0, None), ylim=(0, 1.02))
    axes.set_title(f"{curves[0].trials:,} paths each; bands hold {CONFIDENCE:.0%} at each height", color=MUTED)
    axes.legend(loc="best")
    return figure
