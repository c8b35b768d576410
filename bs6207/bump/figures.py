"""Pictures of descents; they draw the rows of trajectories.csv and the numbers of metrics.json."""

from itertools import cycle, islice
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bs6207.bump.landscape import START, Landscape
from bs6207.experiment import Table
from bs6207.figures import GROUND, INK, MUTED, PALETTE, panels

SHOWN_STEPS = 40  # by then every path has passed or is caught


def trajectory(trajectories: Table, found: dict[str, Any], landscape: Landscape) -> Figure:
    """One row per optimizer: its path on the loss, and x over the first steps."""
    figure, axes = panels(len(found), 2, (4.6, 2.3), width_ratios=(1.25, 1))
    left, right = START - 0.1, landscape.end + max(0.8, landscape.height)
    ground = np.array([left, landscape.distance, landscape.crest, landscape.end, right])
    losses = [landscape.loss(x) for x in ground]
    floor = min(losses) - 0.15
    for (name, one), (on_loss, over_steps), colour in zip(found.items(), axes, cycle(PALETTE), strict=False):
        rows = [row for row in trajectories.rows if row["optimizer"] == name][: SHOWN_STEPS + 1]
        x, loss = [row["x"] for row in rows], [row["loss"] for row in rows]
        passed = any(landscape.is_past_crest(position) for position in x)

        on_loss.fill_between(ground, losses, floor, color=GROUND, linewidth=0)
        on_loss.plot(ground, losses, color=INK, linewidth=1)
        on_loss.plot(x, loss, color=colour, linewidth=0.6, alpha=0.5)
        on_loss.scatter(x, loss, s=14, color=colour, zorder=3, clip_on=True)
        on_loss.set(xlim=(left, right), ylim=(floor, max(losses) + 0.1), ylabel="loss")
        h_max = "no bump reached" if one["h_max"] is None else f"$h_{{max}}$ = {one['h_max']:.6g}"
        on_loss.set_title(f"{name}: {h_max}", color=colour, weight="bold")

        over_steps.axhspan(landscape.distance, landscape.end, color=GROUND, linewidth=0)
        over_steps.axhline(landscape.crest, color=MUTED, linewidth=0.8, linestyle="--")
        over_steps.annotate("crest", (SHOWN_STEPS - 0.5, landscape.crest), ha="right", va="bottom", color=MUTED)
        over_steps.plot([row["step"] for row in rows], x, "o-", color=colour, markersize=2.5, linewidth=0.8)
        over_steps.set(xlim=(0, SHOWN_STEPS), ylim=(left, right), ylabel="x")
        over_steps.set_title(f"{'passes' if passed else 'stays before'} the bump of h = {landscape.height:g}")
    axes[-1][0].set_xlabel("x")
    axes[-1][1].set_xlabel("step")
    return figure


def thresholds(found: dict[str, Any]) -> Figure:
    """The tallest bump of each optimizer, as bars."""
    figure, ((axes,),) = panels(1, 1, (6.0, 0.8 + 0.4 * len(found)))
    names = list(found)
    heights = [one["h_max"] or 0.0 for one in found.values()]
    bars = axes.barh(names, heights, color=list(islice(cycle(PALETTE), len(names))), height=0.6)
    axes.bar_label(
        bars, ["none" if one["h_max"] is None else f"{one['h_max']:.6g}" for one in found.values()], padding=4
    )
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("tallest bump escaped, $h_{max}$ (units of x)")
    return figure
