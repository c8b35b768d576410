"""Phase diagrams: the tallest bump escaped, over a plane of any two settings, or along one."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bs6207.bump.kernels import KERNELS, Array, Maxima, choose_kernel, find_maxima
from bs6207.bump.landscape import TIE
from bs6207.bump.settings import BumpSettings
from bs6207.runs.progress import Progress
from bs6207.runs.result import Table
from bs6207.runs.sweep import Axis

FindThreshold = Callable[..., tuple[float | None, int, float]]  # the settings that vary -> h_max or None, step, margin
KERNEL_CELLS, TORCH_CELLS = 2**16, 2**8  # of a diagram in one task, by kernel or through torch; seconds
COLUMNS = ("h_max", "step", "margin", "holds_for_ever")
BAND_POINTS = 257  # distances in one step of L


@dataclass(frozen=True)
class PhaseDiagram(Maxima):
    """The maxima of one optimizer over two of its settings, or one.

    Attributes:
        axes: rows and columns, or the only axis; the arrays are [rows, columns], or [values].
    """

    optimizer: str
    axes: tuple[Axis, ...]

    @property
    def is_tie(self) -> NDArray[np.bool_]:
        """Whether rounding decides the cell."""
        return self.margin < TIE

    def metrics(self) -> dict[str, Any]:
        """The entry in metrics.json."""
        heights = self.h_max[np.isfinite(self.h_max)]
        return {
            **dict(zip(("rows", "columns"), map(axis_metrics, self.axes), strict=False)),
            "low": heights.min() if heights.size else None,
            "high": heights.max() if heights.size else None,
            "cells_without_bump": int(self.h_max.size - heights.size),
            "cells_decided_by_rounding": int(self.is_tie.sum()),
            "cells_that_hold_for_ever": int(self.holds_for_ever.sum()),
        }

    def arrays(self) -> dict[str, NDArray]:
        return {key: getattr(self, key) for key in COLUMNS}

    def npz(self) -> bytes:
        """The file that NumPy reads: one array per column, and the axes."""
        stream = io.BytesIO()
        axes: dict[str, Any] = {axis.name: np.array(axis.values) for axis in self.axes}
        np.savez_compressed(stream, allow_pickle=False, **axes, **self.arrays())
        return stream.getvalue()

    def table(self) -> Table:
        """One row per cell, columns fastest; None where no bump is reached."""
        columns = grid(self.axes) | {key: array.ravel() for key, array in self.arrays().items()}
        cells = zip(*(column.tolist() for column in columns.values()), strict=True)
        rows = [dict(zip(columns, cell, strict=True)) for cell in cells]
        no_bump = {"h_max": None, "step": None, "margin": None}
        return Table(tuple(columns), [{**row, **no_bump} if np.isnan(row["h_max"]) else row for row in rows])


def axis_metrics(axis: Axis) -> dict[str, Any]:
    about = {"name": axis.name, "low": axis.values[0], "high": axis.values[-1], "count": axis.count}
    return about | {"spacing": axis.spacing} | ({"values": axis.values} if axis.spacing == "list" else {})


def grid(axes: Sequence[Axis], rows: slice = slice(None)) -> dict[str, Array]:
    """The values of every axis in each cell of some rows, [cells], the last axis fastest."""
    planes = np.meshgrid(axes[0].values[rows], *(axis.values for axis in axes[1:]), indexing="ij")
    return {axis.name: plane.ravel() for axis, plane in zip(axes, planes, strict=True)}


def row_size(axes: Sequence[Axis]) -> int:
    """Cells in a row of a diagram; one in a curve."""
    return prod(axis.count for axis in axes[1:])


def split_rows(optimizer: str, axes: Sequence[Axis]) -> list[tuple[int, int]]:
    """The rows of each task of a diagram: the first, and the one after the last; none without a sweep."""
    if not axes:
        return []
    count = axes[0].count
    height = max(1, (KERNEL_CELLS if optimizer in KERNELS else TORCH_CELLS) // row_size(axes))
    return [(first, min(first + height, count)) for first in range(0, count, height)]


def draw_rows(
    optimizer: str,
    common: Mapping[str, float],
    settings: BumpSettings,
    rows: tuple[int, int],
    find_threshold: FindThreshold,
    progress: Progress,
) -> Maxima:
    """h_max in the cells of some rows of the diagram of --sweep, the last axis fastest; see `find_thresholds`."""
    size, rows_done = row_size(settings.axes), 0

    def on_progress(cells: int) -> None:
        nonlocal rows_done
        while rows_done < cells // size:
            over = " and ".join(axis.name for axis in settings.axes)
            progress.step(f"{optimizer} over {over}", f"row of {optimizer}")
            rows_done += 1

    varied = grid(settings.axes, slice(*rows))
    return find_thresholds(optimizer, common, varied, settings.steps, find_threshold, on_progress)


def join_rows(optimizer: str, axes: tuple[Axis, ...], parts: Sequence[Maxima]) -> PhaseDiagram:
    """The diagram whose rows are `parts`, in order."""
    shape = [axis.count for axis in axes]
    planes = {name: np.concatenate([getattr(part, name) for part in parts]).reshape(shape) for name in COLUMNS}
    planes["holds_for_ever"] &= ~(planes["margin"] < TIE)  # proofs are in real arithmetic
    return PhaseDiagram(**planes, optimizer=optimizer, axes=axes)


def find_thresholds(
    optimizer: str,
    common: Mapping[str, float],
    varied: Mapping[str, Array],
    steps: int,
    find_threshold: FindThreshold,
    on_progress: Callable[[int], None],
) -> Maxima:
    """Find h_max for many settings at once.

    Args:
        common: the optimizer's hyperparameters, `distance` and `up_slope`; those varied need not be there.
        varied: the settings that differ, each [cells].
        find_threshold: called cell by cell, with the varied settings as keywords, where the optimizer has no kernel.
        on_progress: called with the number of cells that are finished.
    """
    if kernel := choose_kernel(optimizer, {**common, **varied}):
        cells = next(iter(varied.values())).size
        return find_maxima(kernel, {**common, **varied}, cells, steps, on_progress)
    h_max, step, margin = [], [], []
    for values in zip(*(array.tolist() for array in varied.values()), strict=True):
        height, at, gap = find_threshold(**dict(zip(varied, values, strict=True)))
        h_max.append(np.nan if height is None else height)
        step.append(0 if height is None else at)
        margin.append(np.nan if height is None else gap)
        on_progress(len(h_max))
    return Maxima(np.array(h_max), np.array(step, np.int32), np.array(margin), np.zeros(len(h_max), bool))


def find_band(
    optimizer: str,
    common: Mapping[str, float],
    settings: BumpSettings,
    step_size: float,
    find_threshold: FindThreshold,
    on_status: Callable[[str], None],
) -> dict[str, Any]:
    """h_max over one step of L, from `distance` to `distance` + `step_size`: least, median and greatest."""
    first, last = settings.distance, settings.distance + step_size
    distances = {"distance": np.linspace(first, last, BAND_POINTS, endpoint=False)}
    maxima = find_thresholds(
        optimizer,
        common,
        distances,
        settings.steps,
        find_threshold,
        on_progress=lambda cells: on_status(f"distance {cells} of {BAND_POINTS}"),
    )
    heights = maxima.h_max[np.isfinite(maxima.h_max)]
    low, middle, high = np.quantile(heights, (0, 0.5, 1)) if heights.size else (None,) * 3
    return {"distances": [first, last], "points": BAND_POINTS, "low": low, "median": middle, "high": high}
