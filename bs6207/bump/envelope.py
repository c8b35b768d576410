"""The tallest bump of many descents at once: each walks the bump that never ends (see search.py).

A walk is left alone as soon as the rest of it is known. Where slopes are -1 and +1, the place Q it would coast to
(`kernels.Coast`) moves by exactly push times minus the slope, so after n slopes that sum to 0 it is back. Were the
next n slopes the same, and so on, x would differ from n steps ago only as its coasting distance does, and these
differences shrink by decay^n each time: all together they are a `shift` of at most |difference| / (1 - decay^n),
and what bias corrections add. The slopes *are* the same if that is less than the nearest of the n points is from
the foot. So no later point, for ever, rises above the highest of the n by more than `shift`. (In real arithmetic;
walks that come nearer to the foot than `TIE`, where rounding could matter, are not left alone.)
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bs6207.bump.kernels import Array, Kernel, Numbers
from bs6207.bump.landscape import START, UP_SLOPE
from bs6207.bump.search import TIE, lifted
from bs6207.runs.result import Checkpointable

CHUNK = 16_384  # cells stepped together: a dozen arrays of them fit a core's cache
BLOCK = 1 << 18  # cells whose memories are held at a time, so that a diagram of any size needs some 60 MB
SLACK = 1e-10  # units of x; the most that the rest of a walk can add to h_max when it is left alone
FIRST_WINDOW, GROWTH = 16, 1.5  # steps at which repetition is looked for anew; a window must hold a whole period
WORTH_SORTING = 0.1  # fraction of walks known; below it, sorting them out costs more than walking on

Cells = dict[str, NDArray]  # by name, [..., cells]


@dataclass(frozen=True)
class Summits(Checkpointable):
    """Where each walk stands highest, all [cells].

    Attributes:
        h_max: the tallest bump escaped, units of x; 0 where x comes to the foot and no farther, which is a tie that
            rounding decides; NaN where none is reached or x does not stay finite.
        step: the step at which x is largest; 0 where h_max is NaN. Peaks that rounding alone tells apart count
            as one, and any of them may be named.
        margin: least |x - distance| up to that step; NaN where h_max is.
        holds_for_ever: whether more steps are known to change nothing, but for `SLACK`.
    """

    h_max: Array
    step: NDArray[np.int32]
    margin: Array
    holds_for_ever: NDArray[np.bool_]


def find_summits(
    kernel: Kernel,
    settings: Mapping[str, Numbers],
    cells: int,
    steps: int,
    done: Callable[[int], None] = lambda cells: None,
) -> Summits:
    """Walk every cell for `steps` steps, or until the rest of its walk is known.

    Args:
        settings: the rule's hyperparameters, `distance` and `up_slope`: numbers, or arrays [cells].
        done: told the number of cells after each block.
    """
    common = {name: value for name, value in settings.items() if np.ndim(value) == 0}
    own = {name: np.asarray(value) for name, value in settings.items() if np.ndim(value) == 1}
    found = Summits(np.full(cells, np.nan), np.zeros(cells, np.int32), np.full(cells, np.nan), np.zeros(cells, bool))
    for first in range(0, cells, BLOCK):
        cell = np.arange(first, min(first + BLOCK, cells))
        walks = begin(kernel, cell, {name: values[cell] for name, values in own.items()}, settings["distance"])
        for since, until in pairwise([0, *windows(steps), steps]):
            known = np.concatenate([advance(kernel, chunk, common, since, until) for chunk in split(walks)])
            if until < steps and known.mean() < WORTH_SORTING:
                continue
            found.holds_for_ever[walks["cell"][known]] = True
            over = select(walks, known | (until == steps))
            by_rounding = lifted(over["step"], over.get("distance", settings["distance"]))
            over["best"][over["best"] <= by_rounding] = 0.0
            over = select(over, ((over["best"] > 0) | (over["margin"] < TIE)) & np.isfinite(over["x"]))
            at = over["cell"]
            found.h_max[at], found.step[at], found.margin[at] = over["best"], over["step"], over["margin"]
            walks = select(walks, ~known)
            if not walks["cell"].size:
                break
        done(cell.size)
    return found


def windows(steps: int) -> Iterator[int]:
    """The steps, fewer than `steps`, at which the walks are sorted and a new search for repetition starts."""
    window = FIRST_WINDOW
    while window < steps:
        yield window
        window = int(window * GROWTH)


def begin(kernel: Kernel, cell: NDArray[np.int64], own: Mapping[str, Array], distance: Numbers) -> Cells:
    """All there is to know about walks at step 0; `own` are the settings in which they differ."""
    size, foot = cell.size, own.get("distance", distance)
    return {
        **own,
        "cell": cell,
        "x": np.full(size, START),
        "memory": np.zeros((kernel.memories, size)),
        "best": np.full(size, START - foot),  # the greatest x - distance
        "step": np.zeros(size, np.int32),
        "margin": np.full(size, np.abs(START - foot)),
        "gap": np.full(size, np.abs(START - foot)),
    }


def split(walks: Cells) -> Iterator[Cells]:
    """Views of the walks, `CHUNK` cells at a time."""
    for first in range(0, walks["cell"].size, CHUNK):
        yield {name: values[..., first : first + CHUNK] for name, values in walks.items()}


def select(walks: Cells, wanted: NDArray[np.bool_]) -> Cells:
    """Copies of the wanted walks."""
    places = np.flatnonzero(wanted)
    return {name: values.take(places, axis=-1) for name, values in walks.items()}


@np.errstate(over="ignore", invalid="ignore")  # a walk that runs away ends as NaN
def advance(kernel: Kernel, walks: Cells, common: Mapping[str, Numbers], since: int, until: int) -> NDArray[np.bool_]:
    """Step the walks in place, from after step `since` to `until`; tells whose summits are known from there on."""
    settings = {**common, **walks}
    hyperparameters = {name: settings[name] for name in kernel.hyperparameters if name in settings}
    distance, up_slope = settings["distance"], settings["up_slope"]
    is_unequal = np.any(up_slope != UP_SLOPE)
    coast = kernel.coast(walks["memory"], **hyperparameters) if kernel.coast and since and not is_unequal else None
    x_before, memory_before, best_before, margin = walks["x"], walks["memory"], walks["best"], walks["margin"]
    x, memory, best = x_before.copy(), memory_before.copy(), best_before.copy()
    highest, nearest = np.full_like(x, -np.inf), np.full_like(x, np.inf)  # of the points from here on
    known, beyond, slope = np.zeros(x.size, bool), x - distance, np.empty_like(x)

    for length in range(1, until - since + 1):
        np.copysign(UP_SLOPE, beyond, out=slope)  # quicker than np.where, and VALLEY_SLOPE is -UP_SLOPE
        if is_unequal:
            np.copyto(slope, up_slope, where=slope > 0)
        kernel.rule(x, slope, memory, since + length, **hyperparameters)
        np.subtract(x, distance, out=beyond)
        higher = beyond > best
        np.maximum(best, beyond, out=best)
        np.maximum(highest, beyond, out=highest)
        np.minimum(nearest, np.abs(beyond, out=slope), out=nearest)
        np.copyto(walks["step"], since + length, where=higher)
        np.copyto(margin, nearest, where=higher)

        if coast and length % 2 == 0 and 2 * length > until - since:  # a multiple of any period passes here
            change = np.subtract(memory[0], memory_before[0], out=slope)
            change *= coast.reach
            near = np.flatnonzero(~known & (np.abs(change) < nearest))
            decay, push, unsettled = (pick(value, near) for value in (coast.decay, coast.push, coast.unsettled))
            # the coasting place moves by whole pushes: by none if it is back to within half of one
            is_back = np.abs(x[near] - x_before[near] - change[near]) < push / 2 - unsettled
            shift = np.abs(change[near]) / (1 - decay**length) + unsettled
            sees_the_same = (shift < nearest[near] / 2) & (nearest[near] > TIE)
            known[near] = is_back & sees_the_same & ((highest[near] + shift < best[near]) | (shift < SLACK))

    np.minimum(margin, walks["gap"], out=margin, where=best > best_before)
    np.minimum(walks["gap"], nearest, out=walks["gap"])
    x_before[:], memory_before[:], best_before[:] = x, memory, best
    return known


def pick(value: Numbers, cells: NDArray[np.int64]) -> Numbers:
    """The entries of `cells`, of a number or an array [cells]."""
    return np.asarray(value)[cells] if np.ndim(value) else value
