"""Pictures of descents; they draw the rows of trajectories.csv and the numbers of metrics.json."""

import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.text import Annotation
from PIL import Image

from bs6207.bump.diagram import PhaseDiagram
from bs6207.bump.landscape import START, Landscape, Own
from bs6207.bump.noise import CONFIDENCE, Survival
from bs6207.bump.settings import BumpSettings, file_name
from bs6207.figures import GROUND, INK, MUTED, PALETTE, clipped, colours, house_style, legend_of, panels, render
from bs6207.runs.result import Drawing, Table
from bs6207.runs.sweep import Axis
from bs6207.training.optimizers import CONSTANT

MOST_OF_FORMULA = 60  # letters of it in a title
SMOOTH = 801  # points at which a loss of the user's own is drawn
MOST_LETTERS = 36  # of an optimizer's name beside what else stands there
SHOWN_STEPS = 40  # by then every path has passed or is caught
FRAME_MILLISECONDS = 200
BALL, RING, WIDEST = 6.0, 4.0, 24.0  # points: a ball, how much wider each around it is, and all of these together
NEAR = 0.015  # of the picture; balls that are nearer to each other coincide
ARROWS = 0.05  # of the picture, from one arrow at its edge to the next
LABELS = {
    "lr": "learning rate (units of x per unit of slope)",
    "beta1": "decay of the mean slope, β₁",
    "beta2": "decay of the mean squared slope, β₂",
    "eps": "ε (units of slope)",
    "momentum": "momentum",
    "dampening": "dampening",
    "weight_decay": "weight decay (per unit of x)",
    "distance": "distance L to the foot of the bump (units of x)",
    "up_slope": "slope up the bump (loss per unit of x)",
}
H_MAX = "tallest bump escaped, h_max (units of x)"
CONTOURS = 7
TIE_COLOUR = PALETTE[1]
OUTLIERS = 0.5  # percent of cells, at the top, that do not stretch the colours


def draw_figures(
    optimizers: Mapping[str, Any],
    trajectories: Table,
    passed: Mapping[str, bool],
    diagrams: Sequence[PhaseDiagram],
    curves: Sequence[Survival],
    settings: BumpSettings,
) -> dict[str, Drawing]:
    landscape = settings.landscape_of(settings.height)
    heading, height = title(settings), settings.height
    drawings: dict[str, Drawing] = {
        "trajectory": partial(trajectory, trajectories, optimizers, landscape, passed, height, heading),
        "thresholds": partial(thresholds, optimizers, heading),
    }
    if len(settings.axes) == 1:
        drawings["sweep"] = partial(sweep, diagrams)
    else:
        drawings |= {f"phase_diagram_{file_name(plane.optimizer)}": partial(phase_diagram, plane) for plane in diagrams}
    if curves:
        drawings["survival"] = partial(survival, curves)
    return drawings


def title(settings: BumpSettings) -> str:
    """What the landscape and the schedule are, unless they are the defaults or named ones."""
    parts = [f"loss: {clipped(settings.landscape, MOST_OF_FORMULA)}"] * settings.has_own_landscape
    parts += [f"{settings.schedule} schedule of lr"] * (settings.schedule != CONSTANT)
    return "; ".join(parts)


def trajectory(
    trajectories: Table,
    optimizers: Mapping[str, Any],
    landscape: Landscape,
    passed: Mapping[str, bool],
    height: float,
    title: str = "",
) -> Figure:
    """One row per optimizer: its path on the loss, and x over the first steps."""
    figure, axes = panels(len(optimizers), 2, (4.6, 2.3), width_ratios=(1.25, 1))
    first, last = landscape.kinks[0], landscape.kinks[-1]
    parts = zip(optimizers.items(), axes, colours(len(optimizers)), strict=True)
    for (name, entry), (on_loss, over_steps), colour in parts:
        rows = [row for row in trajectories.rows if row["optimizer"] == name][: SHOWN_STEPS + 1]
        x, loss = [row["x"] for row in rows], [row["loss"] for row in rows]

        left, right, _, _ = draw_ground(on_loss, landscape, height)
        on_loss.plot(x, loss, color=colour, linewidth=0.6, alpha=0.5)
        on_loss.scatter(x, loss, s=14, color=colour, zorder=3)
        h_max = "no threshold" if entry["h_max"] is None else f"h_max = {entry['h_max']:.6g}"
        on_loss.set_title(f"{clipped(name, MOST_LETTERS)}: {h_max}", color=colour, weight="bold")

        over_steps.axhspan(first, last, color=GROUND, linewidth=0)
        over_steps.axhline(landscape.crest, color=MUTED, linewidth=0.8, linestyle="--")
        over_steps.annotate("crest", (SHOWN_STEPS - 0.5, landscape.crest), ha="right", va="bottom", color=MUTED)
        over_steps.plot([row["step"] for row in rows], x, "o-", color=colour, markersize=2.5, linewidth=0.8)
        over_steps.set(xlim=(0, SHOWN_STEPS), ylim=(left, right), ylabel="x")
        over_steps.set_title(f"{'passes' if passed[name] else 'stays before'} the crest at h = {height:g}")
    axes[-1][0].set_xlabel("x")
    axes[-1][1].set_xlabel("step")
    if title:
        figure.suptitle(title, color=MUTED, parse_math=False)
    return figure


def draw_ground(axes: Axes, landscape: Landscape, height: float, above: float = 0.1) -> tuple[float, ...]:
    """Draw the loss; return the limits of the picture: left, right, bottom, top."""
    left, right = START - 0.1, landscape.kinks[-1] + max(0.8, height)
    is_own = isinstance(landscape, Own)
    ground = np.linspace(left, right, SMOOTH) if is_own else np.array([left, *landscape.kinks, right])
    losses = [landscape.loss(x) for x in ground.tolist()]
    bottom, top = np.nanmin(losses) - 0.15, np.nanmax(losses) + above
    axes.fill_between(ground, losses, bottom, color=GROUND, linewidth=0)
    axes.plot(ground, losses, color=INK, linewidth=1)
    axes.set(xlim=(left, right), ylim=(bottom, top), ylabel="loss")
    return left, right, bottom, top


@house_style()
def animation(
    trajectories: Table, landscape: Landscape, height: float, on_frame: Callable[[], None] = lambda: None
) -> bytes:
    """The first steps of all paths over the loss, as a GIF: one frame a step; `on_frame` is called after each.

    Balls that coincide are rings around each other, under their number; one that has left the picture is an arrow at
    its edge, and one whose path has ended a cross.
    """
    paths = {name: [*rows] for name, rows in groupby(trajectories.rows, key=itemgetter("optimizer"))}
    names = list(paths)
    figure, ((axes,),) = panels(1, 1, (8.0, max(3.2, 0.18 * len(names))))
    left, right, bottom, top = draw_ground(axes, landscape, height, above=0.2)
    axes.set_xlabel("x")
    look: Any = {"marker": "o", "markeredgewidth": 0, "linestyle": "", "clip_on": False}
    looks = zip(names, colours(len(names)), strict=True)
    balls = {name: axes.plot([], [], color=colour, label=name, **look)[0] for name, colour in looks}
    called = [clipped(name, MOST_LETTERS) for name in names]
    legend_of(called, [*balls.values()], figure, loc="outside right upper", fontsize=8)
    frames, numbers = list[Image.Image](), list[Annotation]()
    for step in range(SHOWN_STEPS + 1):
        for number in numbers:
            number.remove()
        numbers = []
        gone, standing = {left: 0, right: 0}, dict[str, tuple[float, float]]()
        for name, path in paths.items():
            row = path[min(step, len(path) - 1)]
            x = min(max(row["x"], left), right)
            if x == row["x"]:
                standing[name] = (x, row["loss"])
                balls[name].set_marker("o" if step < len(path) else "X")
            else:
                gone[x] += 1
                loss = top - ARROWS * gone[x] * (top - bottom)
                balls[name].set(data=([x], [loss]), marker=">" if x == right else "<", markersize=BALL)
        for group in together(standing, (right - left, top - bottom)):
            x, loss = standing[group[0]]
            for place, name in enumerate(group):
                ring = (len(group) - 1 - place) * min(RING, WIDEST / len(group))
                balls[name].set(data=([x], [loss]), markersize=BALL + ring, zorder=3 + place)
            if len(group) > 1:
                above = {"xytext": (0, (BALL + WIDEST) / 2 + 3), "textcoords": "offset points"}
                numbers.append(axes.annotate(str(len(group)), (x, loss), ha="center", fontsize=8, **above))
        axes.set_title(f"step {step}")
        frames.append(Image.open(io.BytesIO(render(figure, "png"))).convert("P", palette=Image.Palette.ADAPTIVE))
        on_frame()
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], duration=FRAME_MILLISECONDS, loop=0)
    return stream.getvalue()


def together(places: Mapping[str, tuple[float, float]], size: tuple[float, float]) -> list[list[str]]:
    """The names of balls that lie on each other in a picture of some size, and those that lie alone."""
    groups: list[list[str]] = []
    for name, place in places.items():
        for group in groups:
            if all(abs(a - b) < NEAR * side for a, b, side in zip(places[group[0]], place, size, strict=True)):
                group.append(name)
                break
        else:
            groups.append([name])
    return groups


def thresholds(optimizers: Mapping[str, Any], title: str = "") -> Figure:
    figure, ((axes,),) = panels(1, 1, (6.0, 0.8 + 0.4 * len(optimizers)))
    places, found = range(len(optimizers)), [entry["h_max"] for entry in optimizers.values()]
    heights = [height or 0.0 for height in found]
    bars = axes.barh(places, heights, color=colours(len(optimizers)), height=0.6)
    axes.set_yticks(places, [clipped(name, MOST_LETTERS) for name in optimizers])
    axes.bar_label(bars, ["none" if height is None else f"{height:.6g}" for height in found], padding=4)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.2 * max(heights) or 1), xlabel=H_MAX)
    if title:
        axes.set_title(title, color=MUTED, parse_math=False)
    return figure


def phase_diagram(diagram: PhaseDiagram) -> Figure:
    """h_max as colour and contours over the two settings.

    Coloured apart where rounding decides, dotted where more steps might raise it, plain where no bump is reached.
    """
    figure, ((axes,),) = panels(1, 1, (6.4, 4.6))
    axes.set_facecolor(GROUND)
    rows, columns = diagram.axes
    x, y, h_max = columns.values, rows.values, np.ma.masked_invalid(diagram.h_max)
    borders, notes = (edges(columns), edges(rows)), []
    if h_max.count():
        low, high = h_max.min(), np.percentile(h_max.compressed(), 100 - OUTLIERS)
        extend = "max" if h_max.max() > high else "neither"
        mesh = axes.pcolormesh(*borders, h_max, cmap="viridis", vmin=low, vmax=high, rasterized=True)
        bar = figure.colorbar(mesh, ax=axes, extend=extend, pad=0.02)
        bar.set_label(H_MAX)
        bar.outline.set_visible(False)
        if high > low:
            lines = axes.contour(x, y, h_max, levels=CONTOURS, colors="white", linewidths=0.6, alpha=0.8)
            bar.add_lines(lines, erase=False)
    if np.isnan(diagram.h_max).any():
        notes.append(Patch(facecolor=GROUND, edgecolor=MUTED, label="no bump reached"))
    if diagram.is_tie.any():
        ties = np.ma.masked_equal(diagram.is_tie, False)
        axes.pcolormesh(*borders, ties, cmap=ListedColormap([TIE_COLOUR]), rasterized=True)
        notes.append(Patch(color=TIE_COLOUR, label="rounding decides"))
    if diagram.holds_for_ever.any() and not diagram.holds_for_ever.all():
        axes.contourf(x, y, ~diagram.holds_for_ever, levels=[0.5, 1.5], colors="none", hatches=["...."])
        notes.append(Patch(facecolor="none", edgecolor=MUTED, hatch="....", label="more steps might raise it"))
    if notes:
        figure.legend(handles=notes, loc="outside lower right", ncols=len(notes))
    axes.set(xscale=scale(columns), yscale=scale(rows), title=clipped(diagram.optimizer, MOST_LETTERS))
    axes.set(xlabel=LABELS.get(columns.name, columns.name), ylabel=LABELS.get(rows.name, rows.name))
    return figure


def scale(axis: Axis) -> str:
    return "log" if axis.spacing == "log" else "linear"


def edges(axis: Axis) -> np.ndarray:
    """Where the cells of an axis end, [count + 1]: half-way between its values, on its scale."""
    values = np.log(axis.values) if axis.spacing == "log" else np.array(axis.values)
    between = (values[1:] + values[:-1]) / 2
    ends = np.array([2 * values[0] - between[0], *between, 2 * values[-1] - between[-1]])
    return np.exp(ends) if axis.spacing == "log" else ends


def sweep(diagrams: Sequence[PhaseDiagram]) -> Figure:
    """h_max of every optimizer along the only axis of a sweep; crosses where rounding decides, gaps without a bump."""
    figure, ((axes,),) = panels(1, 1, (6.4, 3.8))
    (axis,) = diagrams[0].axes
    lines: list[Any] = []
    for diagram, colour in zip(diagrams, colours(len(diagrams)), strict=True):
        lines += axes.plot(axis.values, diagram.h_max, ".-", color=colour, linewidth=1.2, markersize=3)
        ties = np.where(diagram.is_tie, diagram.h_max, np.nan)
        axes.plot(axis.values, ties, "x", color=colour, markersize=7)
    axes.set(xscale=scale(axis), xlabel=LABELS.get(axis.name, axis.name), ylabel=H_MAX)
    axes.set_ylim(bottom=0)
    called = [clipped(diagram.optimizer, MOST_LETTERS) for diagram in diagrams]
    if any(diagram.is_tie.any() for diagram in diagrams):
        called.append("rounding decides")
        lines += axes.plot([], [], "x", color=MUTED, markersize=7)
    legend_of(called, lines, figure, loc="outside right upper", fontsize=8)
    return figure


def survival(curves: Sequence[Survival]) -> Figure:
    """The chance to escape over the height of the bump, with its band, and h50 as a dot, one curve each."""
    figure, ((axes,),) = panels(1, 1, (6.0, 3.8))
    called, lines = list[str](), list[Any]()
    for curve, colour in zip(curves, colours(len(curves)), strict=True):
        height = np.concatenate([[0.0], curve.height, curve.height[-1:]])  # and none escapes a taller one
        chance = np.concatenate([curve.chance[:1], curve.chance, [0.0]])
        half, low, high = (curve.quantiles["h50"][key] for key in ("height", "lower", "upper"))
        called.append(f"{clipped(curve.optimizer, MOST_LETTERS)}, noise {curve.noise:g}: h₅₀ = {half:.3g}")
        axes.fill_between(curve.height, curve.lower, curve.upper, color=colour, alpha=0.25, linewidth=0)
        lines += axes.plot(height, chance, color=colour, linewidth=1.4)
        axes.errorbar(half, 0.5, xerr=[[half - low], [high - half]], fmt="o", color=colour)
    axes.axhline(0.5, color=MUTED, linewidth=0.6, linestyle=":")
    axes.set(xlabel="height of the bump (units of x)", ylabel="chance to escape", xlim=(0, None), ylim=(0, 1.02))
    axes.set_title(f"{curves[0].trials:,} paths each; bands hold {CONFIDENCE:.0%} at each height", color=MUTED)
    legend_of(called, lines, axes, loc="best")
    return figure
