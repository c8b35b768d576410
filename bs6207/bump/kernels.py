"""Update rules of torch.optim in float64, on arrays: many descents at once.

A rule moves the positions x [cells] one step, in place, given the slope [cells] at each of them. Its state is `memory`
[memories, cells], which is zero before step 1. Tests compare every rule with torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Numbers = float | Array


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
