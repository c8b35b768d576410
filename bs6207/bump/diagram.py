"""Phase diagrams: the tallest bump escaped, over a plane of any two settings, or along one.

Many descents at once step over the bump that never ends (search.py), by the rules of kernels.py.

A descent is stopped as soon as the rest of it is known. Where slopes are -1 and +1, the place Q it would coast to
(`Coast`) moves by exactly push times minus the slope, so after n slopes that sum to 0 it is back. Were the next n
slopes the same, and so on, x would differ from n steps ago only as its coasting distance does, and these differences
shrink by decay^n each time: all together they are a `shift` of at most |difference| / (1 - decay^n), and what bias
corrections add. The slopes *are* the same if that is less than the distance of the nearest of the n points from the
foot. So no later point, for ever, rises above the highest of the n by more than `shift`. (In real arithmetic; descents
that come nearer to the foot than `TIE`, where rounding could matter, are not stopped.)
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bs6207.bump.kernels import KERNELS, Array, Hyperparameters, Kernel, Numbers, choose_kernel
from bs6207.bump.landscape import START, TIE, UP_SLOPE, rounding_error
from bs6207.runs.result import Checkpointable, Table
from bs6207.runs.sweep import Axis

OnCells = Callable[[int], None]  # called with the number of cells that are finished
FindThreshold = Callable[..., tuple[float | None, int, float]]  # the settings that vary -> h_max or None, step, margin
KERNEL_CELLS, TORCH_CELLS = 2**16, 2**8  # of a diagram in one task, by kernel or through torch; seconds
COLUMNS = ("h_max", "step", "margin", "holds_for_ever")
CHUNK = 16_384  # cells stepped together: a dozen arrays of them fit a core's cache
SLACK = 1e-10  # units of x; the most that the rest of a descent can add to h_max when it is stopped
FIRST_WINDOW, GROWTH = 16, 1.5  # steps at which repetition is looked for anew; a window must hold a whole period
WORTH_SORTING = 0.1  # fraction of descents known; below it, sorting them out costs more than stepping on
Cells = dict[str, NDArray]  # by name, [..., cells]


@dataclass(frozen=True)
class Maxima(Checkpointable):
    """Where x is largest in each descent, all [cells]."""

    h_max: Array  # the tallest bump escaped; 0 where x comes to the foot and no farther; NaN without one or a finite x
    step: NDArray[np.int32]  # 0 where h_max is NaN; of peaks that only rounding distinguishes, any may be named
    margin: Array  # least |x - distance| up to that step; NaN where h_max is
    holds_for_ever: NDArray[np.bool_]  # whether more steps are known to change nothing, but for `SLACK`


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


def find_maxima(kernel: Kernel, settings: Mapping[str, Numbers], cells: int, steps: int) -> Maxima:
    """Step every cell for `steps` steps, or until the rest of its descent is known; settings are numbers or [cells]."""
    common = {name: value for name, value in settings.items() if np.ndim(value) == 0}
    descents = {name: np.asarray(value) for name, value in settings.items() if np.ndim(value) == 1}
    descents |= {"cell": np.arange(cells), "x": np.full(cells, START), "memory": np.zeros((kernel.memories, cells))}
    descents |= {"step": np.zeros(cells, np.int32), "best": np.full(cells, START - settings["distance"])}
    descents |= {name: np.abs(descents["best"]) for name in ("margin", "gap")}  # `best` is the greatest x - distance
    maxima = Maxima(np.full(cells, np.nan), np.zeros(cells, np.int32), np.full(cells, np.nan), np.zeros(cells, bool))
    windows = [FIRST_WINDOW]
    while windows[-1] < steps:
        windows.append(int(windows[-1] * GROWTH))
    for since, until in pairwise([0, *windows[:-1], steps]):
        parts = [slice(place, place + CHUNK) for place in range(0, descents["cell"].size, CHUNK)]
        chunks = [{name: values[..., part] for name, values in descents.items()} for part in parts]  # views
        known = np.concatenate([advance(kernel, chunk, common, since, until) for chunk in chunks])
        if until < steps and known.mean() < WORTH_SORTING:
            continue
        maxima.holds_for_ever[descents["cell"][known]] = True
        over = select(descents, known | (until == steps))
        lifted = rounding_error(over["step"], over.get("distance", settings["distance"]))
        over["best"][over["best"] <= lifted] = 0.0
        over = select(over, ((over["best"] > 0) | (over["margin"] < TIE)) & np.isfinite(over["x"]))
        at = over["cell"]
        maxima.h_max[at], maxima.step[at], maxima.margin[at] = over["best"], over["step"], over["margin"]
        descents = select(descents, ~known)
        if not descents["cell"].size:
            break
    return maxima


def select(descents: Cells, wanted: NDArray[np.bool_]) -> Cells:
    places = np.flatnonzero(wanted)
    return {name: values.take(places, axis=-1) for name, values in descents.items()}


@np.errstate(over="ignore", invalid="ignore")  # a descent that diverges ends as NaN
def advance(
    kernel: Kernel, descents: Cells, common: Mapping[str, Numbers], since: int, until: int
) -> NDArray[np.bool_]:
    """Step in place from after step `since` to `until`; return which maxima are known from there on, [cells]."""
    settings = {**common, **descents}
    hyperparameters = Hyperparameters(**{name: settings[name] for name in kernel.hyperparameters if name in settings})
    distance, up_slope = settings["distance"], settings["up_slope"]
    is_unequal = np.any(up_slope != UP_SLOPE)
    coast = kernel.coast(descents["memory"], hyperparameters) if kernel.coast and since and not is_unequal else None
    x_before, memory_before, best_before, margin = (descents[name] for name in ("x", "memory", "best", "margin"))
    x, memory, best = x_before.copy(), memory_before.copy(), best_before.copy()
    highest, nearest = np.full_like(x, -np.inf), np.full_like(x, np.inf)  # of the points from here on
    known, beyond, slope = np.zeros(x.size, bool), x - distance, np.empty_like(x)

    for length in range(1, until - since + 1):
        np.copysign(UP_SLOPE, beyond, out=slope)  # quicker than np.where, and VALLEY_SLOPE is -UP_SLOPE
        if is_unequal:
            np.copyto(slope, up_slope, where=slope > 0)
        kernel.rule(x, slope, memory, since + length, hyperparameters)
        np.subtract(x, distance, out=beyond)
        higher = beyond > best
        np.maximum(best, beyond, out=best)
        np.maximum(highest, beyond, out=highest)
        np.minimum(nearest, np.abs(beyond, out=slope), out=nearest)
        np.copyto(descents["step"], since + length, where=higher)
        np.copyto(margin, nearest, where=higher)

        if coast and length % 2 == 0 and 2 * length > until - since:  # a multiple of any period passes here
            change = np.subtract(memory[0], memory_before[0], out=slope)
            change *= coast.reach
            near = np.flatnonzero(~known & (np.abs(change) < nearest))
            values = (coast.decay, coast.push, coast.unsettled)
            decay, push, unsettled = (np.asarray(value)[near] if np.ndim(value) else value for value in values)
            # the coasting place moves by whole pushes: by none if it is back to within half of one
            is_back = np.abs(x[near] - x_before[near] - change[near]) < push / 2 - unsettled
            shift = np.abs(change[near]) / (1 - decay**length) + unsettled
            sees_the_same = (shift < nearest[near] / 2) & (nearest[near] > TIE)
            known[near] = is_back & sees_the_same & ((highest[near] + shift < best[near]) | (shift < SLACK))

    np.minimum(margin, descents["gap"], out=margin, where=best > best_before)
    np.minimum(descents["gap"], nearest, out=descents["gap"])
    x_before[:], memory_before[:], best_before[:] = x, memory, best
    return known
