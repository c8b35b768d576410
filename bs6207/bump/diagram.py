"""Phase diagrams: the tallest bump escaped, over a plane of any two settings, or along one."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bs6207.bump.envelope import Summits, find_summits
from bs6207.bump.kernels import ADAM_OF_SIGNS, KERNELS, Array, Kernel
from bs6207.bump.search import TIE
from bs6207.runs.axes import Axis
from bs6207.runs.result import Table

FindSummit = Callable[..., tuple[float | None, int, float]]
Done = Callable[[int], None]


@dataclass(frozen=True)
class PhaseDiagram:
    """The tallest bump one optimizer escapes, over two of its settings, or one.

    Attributes:
        axes: rows and columns, or the only axis; arrays are [rows, columns], or [values].
        h_max: units of x; NaN where no bump is reached, 0 where x comes to its foot and no farther.
        step: the step at which x is largest; 0 where h_max is NaN.
        margin: least |x - distance| up to that step; under `TIE`, rounding decides the cell.
        holds_for_ever: whether more steps are known to change nothing (see envelope.py).
    """

    optimizer: str
    axes: tuple[Axis, ...]
    h_max: Array
    step: NDArray[np.int32]
    margin: Array
    holds_for_ever: NDArray[np.bool_]

    @property
    def is_tie(self) -> NDArray[np.bool_]:
        """True where rounding decides."""
        return self.margin < TIE

    def metrics(self) -> dict[str, Any]:
        """What metrics.json says of the plane."""
        heights = self.h_max[np.isfinite(self.h_max)]
        return {
            **dict(zip(("rows", "columns"), map(described, self.axes), strict=False)),
            "low": heights.min() if heights.size else None,
            "high": heights.max() if heights.size else None,
            "cells_without_bump": int(self.h_max.size - heights.size),
            "cells_decided_by_rounding": int(self.is_tie.sum()),
            "cells_that_hold_for_ever": int(self.holds_for_ever.sum()),
        }

    def npz(self) -> bytes:
        """The same as NumPy reads it: one array per column, and the axes."""
        stream = io.BytesIO()
        np.savez_compressed(
            stream,
            allow_pickle=False,
            **{axis.name: np.array(axis.values) for axis in self.axes},
            h_max=self.h_max,
            step=self.step,
            margin=self.margin,
            holds_for_ever=self.holds_for_ever,
        )
        return stream.getvalue()

    def table(self) -> Table:
        """One row per cell, columns fastest; None where no bump is reached."""
        found = {key: getattr(self, key).ravel() for key in ("h_max", "step", "margin", "holds_for_ever")}
        arrays = grid(self.axes) | found
        columns = tuple(arrays)
        cells = zip(*(one.tolist() for one in arrays.values()), strict=True)
        rows = [dict(zip(columns, cell, strict=True)) for cell in cells]
        nothing = {"h_max": None, "step": None, "margin": None}
        return Table(columns, [{**row, **nothing} if np.isnan(row["h_max"]) else row for row in rows])


def described(axis: Axis) -> dict[str, Any]:
    """An axis in metrics.json; its values where they are listed."""
    about = {"name": axis.name, "low": axis.values[0], "high": axis.values[-1], "count": axis.count}
    return about | {"spacing": axis.spacing} | ({"values": axis.values} if axis.spacing == "list" else {})


def grid(axes: Sequence[Axis]) -> dict[str, Array]:
    """The values of every axis in each cell, [cells], the last axis fastest."""
    planes = np.meshgrid(*(axis.values for axis in axes), indexing="ij")
    return {axis.name: plane.ravel() for axis, plane in zip(axes, planes, strict=True)}


def draw_tile(
    optimizer: str,
    axes: Sequence[Axis],
    part: slice,
    settings: Mapping[str, float],
    steps: int,
    find_summit: FindSummit,
    done: Done = lambda cells: None,
) -> Summits:
    """Find h_max in the cells of some rows of the diagram, the last axis fastest."""
    first, *rest = axes
    plane = grid((replace(first, values=first.values[part]), *rest))
    return find_all(optimizer, settings, plane, steps, find_summit, done)


def joined(optimizer: str, axes: tuple[Axis, ...], tiles: Sequence[Summits]) -> PhaseDiagram:
    """The diagram of tiles that follow each other."""

    def plane(name: str) -> Any:
        return np.concatenate([getattr(tile, name) for tile in tiles]).reshape([axis.count for axis in axes])

    margin = plane("margin")
    for_ever = plane("holds_for_ever") & ~(margin < TIE)  # proofs are in real arithmetic
    return PhaseDiagram(optimizer, axes, plane("h_max"), plane("step"), margin, for_ever)


def find_all(
    optimizer: str,
    settings: Mapping[str, float],
    varied: Mapping[str, Array],
    steps: int,
    find_summit: FindSummit,
    done: Done = lambda cells: None,
) -> Summits:
    """Find h_max for many settings at once.

    Args:
        settings: the optimizer's hyperparameters, `distance` and `up_slope`; those varied need not be there.
        varied: the settings that differ, each [cells].
        find_summit: asked cell by cell, with the varied settings as keywords, where there is no kernel for the
            optimizer; gives (h_max or None, step, margin).
        done: told how many more cells are done, from time to time.
    """
    kernel = choose_kernel(optimizer, {**settings, **varied})
    if kernel is None:
        return ask_cell_by_cell(find_summit, varied, done)
    return find_summits(kernel, {**settings, **varied}, next(iter(varied.values())).size, steps, done)


def choose_kernel(optimizer: str, settings: Mapping[str, float | Array]) -> Kernel | None:
    """The quickest kernel that takes these settings; None if there is none."""
    kernel = KERNELS.get(optimizer)
    if kernel is None or set(settings) - {"distance", "up_slope"} - set(kernel.hyperparameters):
        return None
    if np.any(settings.get("weight_decay", 0.0)):  # pulls towards x = 0: no slope is a sign, and `coast` does not hold
        return Kernel(kernel.rule, kernel.memories)
    if optimizer == "adam" and np.all(np.equal(settings["up_slope"], 1)):
        return ADAM_OF_SIGNS
    return kernel


def ask_cell_by_cell(find_summit: FindSummit, varied: Mapping[str, Array], done: Done) -> Summits:
    """As `find_summits`, for optimizers that only torch knows."""
    h_max, step, margin = [], [], []
    for values in zip(*(one.tolist() for one in varied.values()), strict=True):
        height, at, gap = find_summit(**dict(zip(varied, values, strict=True)))
        h_max.append(np.nan if height is None else height)
        step.append(0 if height is None else at)
        margin.append(np.nan if height is None else gap)
        done(1)
    return Summits(np.array(h_max), np.array(step, np.int32), np.array(margin), np.zeros(len(h_max), bool))
