"""Pictures of restorations; the numbers on them are rows of scores.csv and history.csv."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bs6207.experiment import Table
from bs6207.figures import GROUND, MUTED, PALETTE, image_grid, panels

NAMES = {"identity": "blurred", "l1": "L1", "l1_disc": "L1 + disc"}
COLOURS = {"identity": MUTED, "l1": PALETTE[0], "l1_disc": PALETTE[1]}
MARKERS = {"identity": "s--", "l1": "o-", "l1_disc": "^-"}


def restorations(
    clear: NDArray[np.float32], restored: Mapping[float, Mapping[str, NDArray[np.float32]]], scores: Table
) -> Figure:
    """Clear test images above, for every sigma, what the blur left and what each restorer makes of it."""
    rows = [("clear", clear)]
    for row in sorted((row for row in scores.rows if row["sigma"] in restored), key=lambda row: row["sigma"]):
        label = f"{NAMES[row['restorer']]}\n$\\sigma$ {row['sigma']:g}, {row['psnr']:.1f} dB"
        rows.append((label, restored[row["sigma"]][row["restorer"]]))
    return image_grid(rows)


def psnr_over_sigma(scores: Table, trained: tuple[float, float]) -> Figure:
    """PSNR and sharpness over the blur, the range trained on shaded."""
    figure, (line,) = panels(1, 2, (4.2, 3.2))
    for axes, key, label in zip(line, ("psnr", "sharpness"), ("PSNR (dB)", "sharpness (1 as the truth)"), strict=True):
        axes.axvspan(*trained, facecolor=GROUND, edgecolor=MUTED, linewidth=0.5, label="trained on")
        for name in NAMES:
            points = sorted((row["sigma"], row[key]) for row in scores.rows if row["restorer"] == name)
            axes.plot(*zip(*points, strict=True), MARKERS[name], color=COLOURS[name], label=NAMES[name], markersize=4)
        axes.set(xlabel="$\\sigma$ of the blur (pixels)", ylabel=label)
    line[1].axhline(1, color=MUTED, linewidth=0.8, linestyle=":")
    line[0].legend()
    return figure


def loss_curves(history: Table) -> Figure:
    """Validation PSNR over the restorer's epochs, the last stage with and without disc_net."""
    figure, ((axes,),) = panels(1, 1, (6.0, 3.4))
    before = [row for row in history.rows if row["stage"] == "l1"]
    axes.plot(
        [row["epoch"] for row in before],
        [row["validation_psnr"] for row in before],
        "o-",
        color=MUTED,
        markersize=2.5,
        label="L1 before",
    )
    for stage, name in (("control", "l1"), ("l1_disc", "l1_disc")):
        after = [before[-1], *(row for row in history.rows if row["stage"] == stage)]
        epochs = [before[-1]["epoch"] + place for place in range(len(after))]
        axes.plot(
            epochs,
            [row["validation_psnr"] for row in after],
            MARKERS[name],
            color=COLOURS[name],
            markersize=3.5,
            label=NAMES[name],
        )
    axes.set(xlabel="epoch of the restorer", ylabel="validation PSNR (dB)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend()
    return figure
