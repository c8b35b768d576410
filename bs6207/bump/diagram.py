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
from bs6207.runs.result import Table
from bs6207.runs.sweep import Axis

OnCells = Callable[[int], None]  # called with the number of cells that are finished
FindThreshold = Callable[..., tuple[float | None, int, float]]  # the settings that vary -> h_max or None, step, margin
KERNEL_CELLS, TORCH_CELLS = 2**16, 2**8  # of a diagram in one task, by kernel or through torch; seconds
COLUMNS = ("h_max", "step", "margin", "holds_for_ever")


@dataclass(frozen=True)
class PhaseDiagram(Maxima):
    """The maxima of one optimizer over two of its settings, [rows, columns], or one, [values]."""

    optimizer: str
    axes: tuple[Axis, ...]  # rows and columns, or the only axis

    @property
    def is_tie(self) -> NDArray[np.bool_]:
        return self.margin < TIE  # rounding decides

    def metrics(self) -> dict[str, Any]:
        heights = self.h_max[np.isfinite(self.h_max)]
        return {
            **dict(zip(("rows", "columns"), map(axis_metrics, self.axes), strict=False)),
            "low": heights.min() if heights.size else None,
            "high": heights.max() if heights.size else None,
            "cells_without_bump": int(self.h_max.size - heights.size),
            "cells_decided_by_rounding": int(self.is_tie.sum()),
            "cells_that_hold_for_ever": int(self.holds_for_ever.sum()),
        }

    def npz(self) -> bytes:
        stream = io.BytesIO()
        arrays: dict[str, Any] = {axis.name: np.array(axis.values) for axis in self.axes}
        np.savez_compressed(stream, allow_pickle=False, **arrays, **{key: getattr(self, key) for key in COLUMNS})
        return stream.getvalue()

    def table(self) -> Table:
        """One row per cell, columns fastest; None where no bump is reached."""
        columns = grid(self.axes) | {key: getattr(self, key).ravel() for key in COLUMNS}
        cells = zip(*(column.tolist() for column in columns.values()), strict=True)
        rows = [dict(zip(columns, cell, strict=True)) for cell in cells]
        no_bump = {"h_max": None, "step": None, "margin": None}
        return Table(tuple(columns), [{**row, **no_bump} if np.isnan(row["h_max"]) else row for row in rows])


def axis_metrics(axis: Axis) -> dict[str, Any]:
    ends = {"low": axis.values[0], "high": axis.values[-1], "count": axis.count, "spacing": axis.spacing}
    return {"name": axis.name, **ends, **({"values": axis.values} if axis.spacing == "list" else {})}


def grid(axes: Sequence[Axis], rows: slice = slice(None)) -> dict[str, Array]:
    """The values of every axis in each cell of some rows, [cells], the last axis fastest."""
    planes = np.meshgrid(axes[0].values[rows], *(axis.values for axis in axes[1:]), indexing="ij")
    return {axis.name: plane.ravel() for axis, plane in zip(axes, planes, strict=True)}


def row_size(axes: Sequence[Axis]) -> int:
    """Cells in a row of a diagram; one in a curve."""
    return prod(axis.count for axis in axes[1:])


def split_rows(optimizer: str, axes: Sequence[Axis]) -> list[tuple[int, int]]:
    """The rows of each task of a diagram: the first, and the one after the last; none without a sweep."""
    count = axes[0].count if axes else 0
    height = max(1, (KERNEL_CELLS if optimizer in KERNELS else TORCH_CELLS) // row_size(axes))
    return [(first, min(first + height, count)) for first in range(0, count, height)]


def join_rows(optimizer: str, axes: tuple[Axis, ...], parts: Sequence[Maxima]) -> PhaseDiagram:
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
    on_cells: OnCells,
) -> Maxima:
    """Find h_max for many settings at once.

    `varied` are those that differ, each [cells], and `common` the other hyperparameters, `distance` and `up_slope`.
    Where the optimizer has no kernel, `find_threshold` is called cell by cell, with the varied ones as keywords.
    """
    if kernel := choose_kernel(optimizer, {**common, **varied}):
        cells = next(iter(varied.values())).size
        maxima = find_maxima(kernel, {**common, **varied}, cells, steps)
        on_cells(cells)
        return maxima
    found: list[tuple[float, int, float]] = []
    for values in zip(*(array.tolist() for array in varied.values()), strict=True):
        height, step, margin = find_threshold(**dict(zip(varied, values, strict=True)))
        found.append((np.nan, 0, np.nan) if height is None else (height, step, margin))
        on_cells(len(found))
    h_max, step_of, margins = zip(*found, strict=True)
    return Maxima(np.array(h_max), np.array(step_of, np.int32), np.array(margins), np.zeros(len(found), bool))
