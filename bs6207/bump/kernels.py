"""Many descents at once: update rules of torch.optim on arrays in float64, over the bump that never ends (search.py).

A rule moves the positions x [cells] one step, in place, given the slope [cells] at each of them. Its state is `memory`
[memories, cells], which is zero before step 1. Tests compare every rule with torch.

A descent is stopped as soon as the rest of it is known. Where slopes are -1 and +1, the place Q it would coast to
(`Coast`) moves by exactly push times minus the slope, so after n slopes that sum to 0 it is back. Were the next n
slopes the same, and so on, x would differ from n steps ago only as its coasting distance does, and these differences
shrink by decay^n each time: all together they are a `shift` of at most |difference| / (1 - decay^n), and what bias
corrections add. The slopes *are* the same if that is less than the distance of the nearest of the n points from the
foot. So no later point, for ever, rises above the highest of the n by more than `shift`. (In real arithmetic; descents
that come nearer to the foot than `TIE`, where rounding could matter, are not stopped.)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bs6207.bump.landscape import START, TIE, UP_SLOPE, rounding_error
from bs6207.runs.result import Checkpointable

CHUNK = 16_384  # cells stepped together: a dozen arrays of them fit a core's cache
SLACK = 1e-10  # units of x; the most that the rest of a descent can add to h_max when it is stopped
FIRST_WINDOW, GROWTH = 16, 1.5  # steps at which repetition is looked for anew; a window must hold a whole period
WORTH_SORTING = 0.1  # fraction of descents known; below it, sorting them out costs more than stepping on

Array = NDArray[np.float64]
Numbers = float | Array
Cells = dict[str, NDArray]  # by name, [..., cells]


@dataclass(frozen=True)
class Hyperparameters:
    """Numbers or arrays [cells]; their names and meaning are those of `OPTIMIZERS`."""

    lr: Numbers
    momentum: Numbers = 0.0
    dampening: Numbers = 0.0
    beta1: Numbers = 0.0
    beta2: Numbers = 0.0
    alpha: Numbers = 0.0
    eps: Numbers = 0.0
    weight_decay: Numbers = 0.0


def gd(x: Array, slope: Array, memory: Array, step: int, h: Hyperparameters) -> None:
    x -= h.lr * (slope + h.weight_decay * x)


def momentum(x: Array, slope: Array, memory: Array, step: int, h: Hyperparameters) -> None:
    """Heavy-ball momentum; as in torch, the first slope is not dampened, and none is without momentum."""
    (velocity,) = memory
    slope = slope + h.weight_decay * x
    velocity *= h.momentum
    velocity += slope if step == 1 else (1 - h.dampening * (h.momentum != 0)) * slope
    x -= h.lr * velocity


def nesterov(x: Array, slope: Array, memory: Array, step: int, h: Hyperparameters) -> None:
    """In the form of Sutskever et al. 2013."""
    (velocity,) = memory
    slope = slope + h.weight_decay * x
    velocity *= h.momentum
    velocity += slope
    x -= h.lr * (slope + h.momentum * velocity)


def adam(x: Array, slope: Array, memory: Array, step: int, h: Hyperparameters) -> None:
    """Adam; its bias corrections 1 - beta^t are the same running means, taken of ones."""
    adam_step(x, slope + h.weight_decay * x, memory, h)


def adamw(x: Array, slope: Array, memory: Array, step: int, h: Hyperparameters) -> None:
    x *= 1 - h.lr * h.weight_decay
    adam_step(x, slope, memory, h)


def adam_step(x: Array, slope: Array, memory: Array, h: Hyperparameters) -> None:
    mean, square, mean_of_ones, square_of_ones = memory
    update_mean(mean, slope, h.beta1)
    update_mean(square, slope * slope, h.beta2)
    update_mean(mean_of_ones, 1.0, h.beta1)
    update_mean(square_of_ones, 1.0, h.beta2)
    x -= h.lr * (mean / mean_of_ones) / (np.sqrt(square / square_of_ones) + h.eps)


def adam_of_signs(x: Array, slope: Array, memory: Array, step: int, h: Hyperparameters) -> None:
    """Adam where every slope is -1 or +1: the mean square is 1 whatever beta2 is. Overwrites `slope`."""
    mean, mean_of_ones = memory
    mean -= slope  # decay towards the slope, and towards 1, without temporary arrays: this loop is the hot one
    mean_of_ones -= 1
    memory *= h.beta1
    mean += slope
    mean_of_ones += 1
    np.divide(mean, mean_of_ones, out=slope)
    slope *= h.lr
    slope /= 1 + h.eps
    x -= slope


def rmsprop(x: Array, slope: Array, memory: Array, step: int, h: Hyperparameters) -> None:
    """RMSprop, not centered; `alpha` is the decay of its mean square."""
    square, velocity = memory
    slope = slope + h.weight_decay * x
    update_mean(square, slope * slope, h.alpha)
    velocity *= h.momentum
    velocity += slope / (np.sqrt(square) + h.eps)
    x -= h.lr * velocity


def update_mean(mean: Array, value: Numbers, decay: Numbers) -> None:
    mean *= decay
    mean += (1 - decay) * value


@dataclass(frozen=True)
class Coast:
    """Where x would come to rest if every slope from now on were 0: at x - reach * memory[0]."""

    reach: Numbers  # units of x per unit of memory
    push: Numbers  # how far one slope of 1 moves that place, downhill
    decay: Numbers  # the factor by which a difference in memory[0] shrinks each step, if slopes agree
    unsettled: Numbers = 0.0  # bound on all that bias corrections will yet move that place, units of x


def momentum_coast(memory: Array, h: Hyperparameters) -> Coast:
    """lr (m + m^2 + ...) v."""
    undampened = 1 - h.dampening * (h.momentum != 0)
    return Coast(h.lr * h.momentum / (1 - h.momentum), h.lr * undampened / (1 - h.momentum), h.momentum)


def nesterov_coast(memory: Array, h: Hyperparameters) -> Coast:
    """lr (m^2 + m^3 + ...) v."""
    return Coast(h.lr * h.momentum**2 / (1 - h.momentum), h.lr / (1 - h.momentum), h.momentum)


def signs_coast(memory: Array, h: Hyperparameters) -> Coast:
    """lr (b + b^2 + ...) m, had the bias corrections ended; |m| <= 1 bounds what they add."""
    _, mean_of_ones = memory
    lr = h.lr / (1 + h.eps)
    reach = lr * h.beta1 / (1 - h.beta1)
    return Coast(reach, lr, h.beta1, reach * (1 - mean_of_ones) / mean_of_ones)


@dataclass(frozen=True)
class Kernel:
    rule: Callable[[Array, Array, Array, int, Hyperparameters], None]
    memories: int
    hyperparameters: tuple[str, ...]
    # None where slopes do not act on the coasting place each by itself; valid without weight decay only
    coast: Callable[[Array, Hyperparameters], Coast] | None = None


ADAM = ("lr", "beta1", "beta2", "eps")
KERNELS = {
    "gd": Kernel(gd, 1, ("lr", "weight_decay"), lambda memory, h: Coast(0.0, h.lr, 0.0)),  # its memory stays 0
    "momentum": Kernel(momentum, 1, ("lr", "momentum", "dampening", "weight_decay"), momentum_coast),
    "nesterov": Kernel(nesterov, 1, ("lr", "momentum", "weight_decay"), nesterov_coast),
    "adam": Kernel(adam, 4, (*ADAM, "weight_decay")),
    "adamw": Kernel(adamw, 4, (*ADAM, "weight_decay")),
    "rmsprop": Kernel(rmsprop, 2, ("lr", "alpha", "eps", "momentum", "weight_decay")),
}
ADAM_OF_SIGNS = Kernel(adam_of_signs, 2, ADAM, signs_coast)


def choose_kernel(optimizer: str, settings: Mapping[str, Numbers]) -> Kernel | None:
    """The fastest kernel for these hyperparameters, `distance` and `up_slope`; None if there is none."""
    kernel = KERNELS.get(optimizer)
    if kernel is None or set(settings) - {"distance", "up_slope"} - set(kernel.hyperparameters):
        return None
    if np.any(settings.get("weight_decay", 0.0)):  # pulls towards x = 0: no slope is a sign, and `coast` is not valid
        return replace(kernel, coast=None)
    if optimizer == "adam" and np.all(np.equal(settings["up_slope"], 1)):
        return ADAM_OF_SIGNS
    return kernel


@dataclass(frozen=True)
class Maxima(Checkpointable):
    """Where x is largest in each descent, all [cells]."""

    h_max: Array  # the tallest bump escaped; 0 where x comes to the foot and no farther; NaN without one or a finite x
    step: NDArray[np.int32]  # 0 where h_max is NaN; of peaks that only rounding distinguishes, any may be named
    margin: Array  # least |x - distance| up to that step; NaN where h_max is
    holds_for_ever: NDArray[np.bool_]  # whether more steps are known to change nothing, but for `SLACK`


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
