"""The figure of an audit: how far each optimizer is from the nearest rule, step by step."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bs6207.figures import clipped, colours, panels
from bs6207.runs.result import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE = (4.4, 3.8)  # inches of a panel
LEGEND = 1.8  # inches beside the panels
COLUMNS = 3
SMALLEST, LARGEST = 1e-17, 1e3  # of the axis: a difference of 0 is drawn at its foot
DASHES = {"float64": "-", "float32": "--", "bfloat16": ":"}


def differences(rows: Sequence[Row], optimizers: Mapping[str, Any], same: float) -> "Figure":
    """A line per problem and dtype, in a panel per optimizer that is compared with a rule.

    The grey line is what rounding in float64 explains.
    """
    columns = min(COLUMNS, len(optimizers))
    figure, axes = panels(-(-len(optimizers) // columns), columns, SIZE)
    problems = list(dict.fromkeys(row["problem"] for row in rows))
    colour = dict(zip(problems, colours(len(problems)), strict=True))
    handles: dict[str, Any] = {}
    for place, (name, entry) in zip(axes.flat, optimizers.items(), strict=False):
        lines: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            if row["optimizer"] == name:
                lines.setdefault((row["problem"], row["dtype"]), []).append(row)
        for (problem, dtype), line in lines.items():
            heights = [min(max(row["difference"], SMALLEST), LARGEST) for row in line]
            (handle,) = place.plot([row["step"] for row in line], heights, DASHES[dtype], color=colour[problem], lw=1)
            handles.setdefault(problem if dtype == "float64" else f"{problem}, {dtype}", handle)
        place.axhline(same, color="#8a8a8a", lw=0.8)
        place.set(yscale="log", ylim=(SMALLEST / 2, LARGEST * 2), xlabel="step")
        place.set_title(f"{clipped(name, 24)} against {entry['nearest']}")
    for place in axes.flat[len(optimizers) :]:
        place.axis("off")
    for place in axes[:, 0]:
        place.set_ylabel("difference, relative to x")
    figure.set_figwidth(figure.get_figwidth() + LEGEND)
    figure.legend(handles.values(), handles.keys(), loc="outside right center", fontsize=7)
    return figure
