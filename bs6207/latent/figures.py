"""Pictures of autoencoders; they draw the rows of the tables and the numbers of metrics.json."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from bs6207.experiment import Table
from bs6207.figures import INK, MUTED, PALETTE, image_grid, panels

FLOORS = {"black": "black image", "median": "median image"}


def scatter(latents: Table) -> Figure:
    """The two numbers of every test image, one colour per digit."""
    figure, ((axes,),) = panels(1, 1, (6.4, 5.2))
    size = 4 if len(latents.rows) > 3000 else 12
    digits = sorted({row["digit"] for row in latents.rows})
    for digit in digits:
        points = np.array([(row["z1"], row["z2"]) for row in latents.rows if row["digit"] == digit])
        colour = colormaps["tab10"](digit % 10)
        axes.scatter(*points.T, s=size, color=colour, alpha=0.6, linewidth=0, label=str(digit), rasterized=True)
        x, y = np.median(points, axis=0)
        halo = [withStroke(linewidth=3, foreground="white")]
        axes.text(x, y, str(digit), weight="bold", ha="center", va="center", color=INK, size=12, path_effects=halo)
    axes.legend(title="digit", loc="center left", bbox_to_anchor=(1, 0.5), markerscale=2)
    axes.set(xlabel="$z_1$", ylabel="$z_2$")
    axes.set_title(f"{len(latents.rows):,} test images in a latent of two numbers")
    return figure


def reconstructions(
    originals: NDArray[np.float32], restored: Mapping[int, tuple[NDArray[np.float32], float]]
) -> Figure:
    """Test images above what each latent size makes of them, with the size's test L1."""
    rows = [("original", originals)]
    rows += [(f"{dim} numbers\nL1 {l1:.4f}", images) for dim, (images, l1) in restored.items()]
    return image_grid(rows)


def loss_curves(history: Table, baselines: Mapping[str, Any]) -> Figure:
    """L1 over epochs on training batches and validation images, above the floors that take no learning."""
    figure, ((axes,),) = panels(1, 1, (6.4, 3.8))
    dims = sorted({row["dim"] for row in history.rows})
    for dim, colour in zip(dims, PALETTE * len(dims), strict=False):
        for seed in sorted({row["seed"] for row in history.rows}):
            rows = [row for row in history.rows if (row["dim"], row["seed"]) == (dim, seed)]
            epochs = [row["epoch"] for row in rows]
            axes.plot(epochs, [row["train_l1"] for row in rows], ":", color=colour, linewidth=1)
            (line,) = axes.plot(epochs, [row["validation_l1"] for row in rows], "o-", color=colour, markersize=2.5)
        line.set_label(f"{dim} numbers")
    for name, label in FLOORS.items():
        axes.axhline(baselines[name]["l1"], color=MUTED, linewidth=0.8, linestyle="--")
        axes.annotate(
            label, (1, baselines[name]["l1"]), xycoords=("axes fraction", "data"), ha="right", va="bottom", color=MUTED
        )
    axes.plot([], [], ":", color=INK, linewidth=1, label="on training batches")
    axes.set(xlabel="epoch", ylabel="L1 per pixel", ylim=(0, None))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def scores(metrics: Mapping[str, Any]) -> Figure:
    """Test L1 and cluster accuracy over the latent size, beside PCA, raw pixels and the floors."""
    figure, ((errors, accuracies),) = panels(1, 2, (4.6, 3.4))
    cells, baselines = metrics["cells"], metrics["baselines"]
    dims = sorted(cells)
    pca = baselines["pca"]
    errors.plot(dims, [cells[dim]["l1"] for dim in dims], "o-", color=PALETTE[0], label="autoencoder")
    errors.plot(dims, [pca[dim]["l1"] for dim in dims], "s--", color=MUTED, label="PCA")
    for name, style in zip(FLOORS, (":", "-."), strict=True):
        errors.axhline(baselines[name]["l1"], color=MUTED, linewidth=0.8, linestyle=style, label=FLOORS[name])
    errors.set(xlabel="numbers in the latent", ylabel="test L1 per pixel", ylim=(0, None))
    for name, colour in zip(baselines["pixels"]["clusters"], PALETTE, strict=False):
        accuracy = [cells[dim]["clusters"][name]["accuracy"] for dim in dims]
        accuracies.plot(dims, accuracy, "o-", color=colour, label=f"{name} on latents")
        accuracy = [pca[dim]["clusters"][name]["accuracy"] for dim in dims]
        accuracies.plot(dims, accuracy, "s--", color=colour, alpha=0.5, label=f"{name} on PCA")
        pixels = baselines["pixels"]["clusters"][name]["accuracy"]
        accuracies.axhline(pixels, color=colour, linewidth=0.8, linestyle=":", label=f"{name} on raw pixels")
    accuracies.set(xlabel="numbers in the latent", ylabel="cluster accuracy on test images", ylim=(0, 1))
    for axes in (errors, accuracies):
        axes.set_xscale("log", base=2)
        axes.set_xticks(dims, [str(dim) for dim in dims])
        axes.minorticks_off()
        axes.legend(fontsize=7)
    return figure
