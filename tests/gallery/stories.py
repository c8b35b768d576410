"""The picture at the top of the README: the three stories side by side.

    python tests/gallery/stories.py

draws stories.png beside this file, from the paths that `bs6207 bump` writes (run here, in seconds), the metrics.json
of latent and deblur in this folder, and the digits in deblur/restorations.png.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from bs6207.deblur.figures import NAMES
from bs6207.figures import GROUND, INK, MUTED, PALETTE, render

GALLERY = Path(__file__).parent
GD, ADAM = PALETTE[0], PALETTE[2]
BUMP = ((-0.1, 1.1), (0, 1), (1, 0), (1.4, 0.4), (1.8, 0), (2.6, -0.24))  # x and loss where the slope changes
SIGMA = "3.0"  # pixels, of the digits in the right half of restorations.png
TILE, SIDE = 66, 28  # pixels of a digit in that picture, and of the digit itself
COLUMNS = (902, 972, 1042, 1112, 1182)  # their left edges
ROWS = {"clear": 22, "identity": 98, "richardson_lucy": 174, "l1": 251, "l1_disc": 327}  # their top edges


def draw_bump(axes: Axes, paths: dict[str, list[tuple[float, float]]]) -> None:
    x, loss = zip(*BUMP, strict=True)
    axes.fill_between(x, loss, -0.5, color=GROUND, linewidth=0)
    axes.plot(x, loss, color=INK, linewidth=1)
    for name, colour, size in (("adam", ADAM, 7), ("gd", GD, 4)):  # where both stand, Adam's dot frames the other's
        points = [(x, loss) for x, loss in paths[name] if x < BUMP[-1][0]]
        axes.plot(*zip(*points, strict=True), "o-", color=colour, markersize=size, linewidth=0.8)
    line = {"arrowstyle": "-", "color": GD, "linewidth": 0.8}
    axes.annotate("gradient descent\nis caught", (1, 0.05), (0.75, -0.32), color=GD, ha="center", arrowprops=line)
    axes.text(1.6, 0.42, "Adam passes", color=ADAM, va="center")
    axes.text(0.1, 1.02, "start", color=INK, va="center")
    axes.set(xlim=(-0.1, 2.6), ylim=(-0.5, 1.15), xlabel="x", ylabel="loss", yticks=(0, 0.4, 1))


def draw_latent(axes: Axes, metrics: dict[str, Any]) -> None:
    dims = sorted(map(int, metrics["cells"]))
    groups = {"autoencoder": (metrics["cells"], PALETTE[1], "o-"), "PCA": (metrics["baselines"]["pca"], MUTED, "s--")}
    for name, (cells, colour, style) in groups.items():
        every = [[seed["clusters"]["kmeans"]["accuracy"] for seed in cells[str(d)]["seeds"].values()] for d in dims]
        medians = [cells[str(dim)]["clusters"]["kmeans"]["accuracy"] for dim in dims]
        axes.plot(dims, medians, style, color=colour, markersize=4, linewidth=1.2)
        axes.fill_between(dims, [*map(min, every)], [*map(max, every)], color=colour, alpha=0.18, linewidth=0)
        above = 7 if name == "autoencoder" else -14
        axes.annotate(name, (dims[2], medians[2]), (0, above), textcoords="offset points", color=colour, ha="center")
    pixels = metrics["baselines"]["pixels"]["clusters"]["kmeans"]["accuracy"]
    axes.axhline(pixels, color=INK, linewidth=0.8, linestyle=":")
    axes.annotate("raw pixels", (dims[-1], pixels), (0, 3), textcoords="offset points", ha="right", color=INK)
    axes.set_xscale("log", base=2)
    axes.set_xticks(dims, [*map(str, dims)])
    axes.minorticks_off()
    axes.set(ylim=(0, 1), xlabel="dimensions of the latent", ylabel="K-means accuracy")


def digits(row: str) -> NDArray[np.uint8]:
    """The digits of one row of restorations.png, pixel for pixel, side by side."""
    picture = np.asarray(Image.open(GALLERY / "deblur/restorations.png").convert("L"))
    centres = ((np.arange(SIDE) + 0.5) * TILE / SIDE).astype(int)
    tiles = [picture[np.ix_(ROWS[row] + centres, left + centres)] for left in COLUMNS]
    return np.hstack([np.pad(tile, ((1, 1), (1, 1)), constant_values=255) for tile in tiles])


def draw_deblur(axes: Axes, metrics: dict[str, Any]) -> None:
    labels = dict.fromkeys(("identity", "richardson_lucy", "l1", "l1_disc")) | {"clear": "clear"}
    labels = {row: NAMES.get(row, label).replace("-", "-\n") for row, label in labels.items()}
    strips = [digits(row) for row in labels]
    height, width = strips[0].shape
    axes.imshow(np.vstack(strips), cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="equal")
    for place, (row, label) in enumerate(labels.items()):
        middle = (place + 0.5) * height
        axes.text(-4, middle, label, ha="right", va="center", color=INK)
        if row in ("l1", "l1_disc"):  # the test is of restorers that train
            share = metrics["restorers"][row][SIGMA]["two_sample"]
            axes.text(width + 4, middle, f"{share:.0%}", va="center", color=PALETTE[1], size=12, weight="bold")
    axes.text(width + 4, 1.5 * height, "told from\nclear by a\nnew network", va="center", color=PALETTE[1], size=8)
    axes.text(width + 4, 4.5 * height, "50% is\na coin toss", va="center", color=MUTED, size=8)
    axes.set_axis_off()


def draw(trajectories: Path) -> Figure:
    """The picture.

    Args:
        trajectories: the file of that name that `bs6207 bump` wrote.
    """
    paths: dict[str, list[tuple[float, float]]] = {}
    with trajectories.open() as lines:
        for row in csv.DictReader(lines):
            paths.setdefault(row["optimizer"], []).append((float(row["x"]), float(row["loss"])))
    latent, deblur = (json.loads((GALLERY / name / "metrics.json").read_text()) for name in ("latent", "deblur"))
    figure = Figure(figsize=(11.2, 3.5), layout="constrained", facecolor="white")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.15, 1, 1.15))
    draw_bump(left, {name: path[:40] for name, path in paths.items()})
    draw_latent(middle, latent)
    draw_deblur(right, deblur)
    titles = (
        "bump: a bump 0.4 high catches\ngradient descent, not Adam",
        "latent: K-means finds the digits\nbest in 4 to 8 dimensions",
        "deblur: with a discriminator, restored\nimages are hard to tell from clear ones",
    )
    for axes, title in zip((left, middle, right), titles, strict=True):
        axes.set_title(title, size=10.5, weight="bold", pad=8)
    return figure


def main() -> None:
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bs6207", "bump", "--out", f"{folder}/bump", "--quiet"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        picture = render(draw(Path(folder) / "bump/trajectories.csv"), "png")
    (GALLERY / "stories.png").write_bytes(picture)


if __name__ == "__main__":
    main()
