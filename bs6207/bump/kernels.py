"""Update rules of torch.optim in float64, without torch: on one number for a path, on arrays for many descents at once.

On a number every operation is rounded as torch rounds it, so a path is that of torch.optim to the bit. The one
exception is the square root, which torch leaves to Intel's MKL where it has it: that is one unit in the last place off
for 1 number in 70, and here it is rounded correctly.

On arrays a rule moves the positions x [cells] one step, in place, given the slope [cells] at each of them. Its state is
`memory` [memories, cells], which is zero before step 1. Rounding differs from torch's. Tests compare every rule with
torch.
"""

import ctypes
import math
import os
import platform
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bs6207.bump.landscape import START, Slope
from bs6207.runs.memory import processor_flags

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


State = dict[str, float]  # what torch.optim keeps of one number, by torch's names; empty before step 1
Floats: TypeAlias = Any  # `Hyperparameters` of which all are floats
Step = Callable[[float, float, State, int, Floats], float]  # changes the state and returns the next x


def fuses() -> bool:
    """Whether torch multiplies and adds with one rounding here.

    Its loops are compiled for plain x86-64 and again for processors with AVX2 and FMA (ATen's DispatchStub.cpp), where
    gcc fuses the two, as it and clang do on 64-bit Arm; Microsoft's compiler does not.
    """
    if platform.machine() == "x86_64":
        is_plain = os.environ.get("ATEN_CPU_CAPABILITY") == "default"
        return sys.platform == "linux" and {"avx2", "fma"} <= processor_flags() and not is_plain
    return sys.platform != "win32"


def fused_multiply_add() -> Callable[[float, float, float], float]:
    """a b + c with one rounding, of C's library; Python's own, from 3.13 on, raises errors instead of inf and nan."""
    fma = ctypes.CDLL(None).fma
    fma.restype, fma.argtypes = ctypes.c_double, [ctypes.c_double] * 3
    return fma


multiply_add = fused_multiply_add() if fuses() else lambda a, b, c: a * b + c


def step_gd(x: float, slope: float, state: State, step: int, h: Floats) -> float:
    return multiply_add(-h.lr, decayed(slope, x, h), x)


def step_momentum(x: float, slope: float, state: State, step: int, h: Floats, is_nesterov: bool = False) -> float:
    slope = decayed(slope, x, h)
    if h.momentum:
        velocity = slope
        if step > 1:
            velocity = multiply_add(1 - h.dampening, slope, state["momentum_buffer"] * h.momentum)
        state["momentum_buffer"] = velocity
        slope = multiply_add(h.momentum, velocity, slope) if is_nesterov else velocity
    return multiply_add(-h.lr, slope, x)


def step_nesterov(x: float, slope: float, state: State, step: int, h: Floats) -> float:
    return step_momentum(x, slope, state, step, h, is_nesterov=True)


def step_adam(x: float, slope: float, state: State, step: int, h: Floats) -> float:
    return adam_of_number(x, decayed(slope, x, h), state, step, h)


def step_adamw(x: float, slope: float, state: State, step: int, h: Floats) -> float:
    return adam_of_number(x * (1 - h.lr * h.weight_decay), slope, state, step, h)


def adam_of_number(x: float, slope: float, state: State, step: int, h: Floats) -> float:
    mean, square, weight = state.get("exp_avg", 0.0), state.get("exp_avg_sq", 0.0), 1 - h.beta1
    away = slope - mean
    # as Tensor.lerp: from the nearer of both
    mean = multiply_add(weight, away, mean) if weight < 0.5 else multiply_add(-away, 1 - weight, slope)
    square = multiply_add((1 - h.beta2) * slope, slope, square * h.beta2)
    state["exp_avg"], state["exp_avg_sq"] = mean, square
    root = math.sqrt(square) / (1 - h.beta2**step) ** 0.5 + h.eps
    return x + -(h.lr / (1 - h.beta1**step)) * mean / root


def step_rmsprop(x: float, slope: float, state: State, step: int, h: Floats) -> float:
    slope = decayed(slope, x, h)
    square = multiply_add((1 - h.alpha) * slope, slope, state.get("square_avg", 0.0) * h.alpha)
    state["square_avg"] = square
    root = math.sqrt(square) + h.eps
    if h.momentum:
        velocity = state["momentum_buffer"] = state.get("momentum_buffer", 0.0) * h.momentum + slope / root
        return multiply_add(-h.lr, velocity, x)
    return x + -h.lr * slope / root


def decayed(slope: float, x: float, h: Floats) -> float:
    return multiply_add(h.weight_decay, x, slope) if h.weight_decay else slope


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
    on_number: Step
    # None where slopes do not act on the coasting place each by itself; valid without weight decay only
    coast: Callable[[Array, Hyperparameters], Coast] | None = None


ADAM = ("lr", "beta1", "beta2", "eps")
KERNELS = {
    "gd": Kernel(gd, 1, ("lr", "weight_decay"), step_gd, lambda memory, h: Coast(0.0, h.lr, 0.0)),  # its memory stays 0
    "momentum": Kernel(momentum, 1, ("lr", "momentum", "dampening", "weight_decay"), step_momentum, momentum_coast),
    "nesterov": Kernel(nesterov, 1, ("lr", "momentum", "weight_decay"), step_nesterov, nesterov_coast),
    "adam": Kernel(adam, 4, (*ADAM, "weight_decay"), step_adam),
    "adamw": Kernel(adamw, 4, (*ADAM, "weight_decay"), step_adamw),
    "rmsprop": Kernel(rmsprop, 2, ("lr", "alpha", "eps", "momentum", "weight_decay"), step_rmsprop),
}
ADAM_OF_SIGNS = Kernel(adam_of_signs, 2, ADAM, step_adam, signs_coast)


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


# x after steps 1, 2, ..., each with a function for the bytes of x and, in the order of names, of the whole state
Positions: TypeAlias = Iterator[tuple[float, Callable[[], bytes]]]
Follow: TypeAlias = Callable[[Slope], Positions]


def follow(take_step: Step, h: Floats, landscape: Slope) -> Positions:
    """The positions of a descent by a rule on numbers; they end before the first that is not finite."""
    x, state = START, State()
    for step in count(1):
        try:
            x = take_step(x, landscape.slope(x), state, step, h)
        except ZeroDivisionError:  # infinite or, for 0 / 0, no number
            x = math.nan
        if not math.isfinite(x):
            return
        yield x, partial(pack, x, state)


def pack(x: float, state: State) -> bytes:
    return struct.pack(f"{1 + len(state)}d", x, *(state[key] for key in sorted(state)))
