"""Update rules of torch.optim written on arrays: many descents take a step at once, in float64.

A rule moves the positions x [cells] one step, in place, given the slope [cells] each of them sees. What it
remembers it keeps in `memory` [memories, cells], which is zero before step 1. A hyperparameter is a number, or one
for each cell [cells]; its name and meaning are those of `OPTIMIZERS`. Tests hold every rule against torch.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Numbers = float | Array


def gd(x: Array, slope: Array, memory: Array, step: int, *, lr: Numbers, weight_decay: Numbers = 0.0) -> None:
    """Gradient descent."""
    x -= lr * (slope + weight_decay * x)


def momentum(
    x: Array,
    slope: Array,
    memory: Array,
    step: int,
    *,
    lr: Numbers,
    momentum: Numbers,
    dampening: Numbers = 0.0,
    weight_decay: Numbers = 0.0,
) -> None:
    """Heavy-ball momentum; as in torch, the first slope is not dampened, and none is without momentum."""
    (velocity,) = memory
    slope = slope + weight_decay * x
    velocity *= momentum
    velocity += slope if step == 1 else (1 - dampening * (momentum != 0)) * slope
    x -= lr * velocity


def nesterov(
    x: Array,
    slope: Array,
    memory: Array,
    step: int,
    *,
    lr: Numbers,
    momentum: Numbers,
    weight_decay: Numbers = 0.0,
) -> None:
    """Nesterov's momentum, in the form of Sutskever et al. 2013."""
    (velocity,) = memory
    slope = slope + weight_decay * x
    velocity *= momentum
    velocity += slope
    x -= lr * (slope + momentum * velocity)


def adam(
    x: Array,
    slope: Array,
    memory: Array,
    step: int,
    *,
    lr: Numbers,
    beta1: Numbers,
    beta2: Numbers,
    eps: Numbers,
    weight_decay: Numbers = 0.0,
) -> None:
    """Adam; its bias corrections 1 - beta^t are the same running means, taken of ones."""
    mean, square, mean_of_ones, square_of_ones = memory
    slope = slope + weight_decay * x
    follow(mean, slope, beta1)
    follow(square, slope * slope, beta2)
    follow(mean_of_ones, 1.0, beta1)
    follow(square_of_ones, 1.0, beta2)
    x -= lr * (mean / mean_of_ones) / (np.sqrt(square / square_of_ones) + eps)


def adamw(
    x: Array,
    slope: Array,
    memory: Array,
    step: int,
    *,
    lr: Numbers,
    beta1: Numbers,
    beta2: Numbers,
    eps: Numbers,
    weight_decay: Numbers,
) -> None:
    """Adam with decoupled weight decay."""
    x *= 1 - lr * weight_decay
    adam(x, slope, memory, step, lr=lr, beta1=beta1, beta2=beta2, eps=eps)


def adam_of_signs(
    x: Array, slope: Array, memory: Array, step: int, *, lr: Numbers, beta1: Numbers, beta2: Numbers, eps: Numbers
) -> None:
    """Adam where every slope is -1 or +1: the mean square is 1 whatever beta2 is. Overwrites `slope`."""
    mean, mean_of_ones = memory
    mean -= slope  # decay towards the slope, and towards 1, without temporary arrays: this loop is the hot one
    mean_of_ones -= 1
    memory *= beta1
    mean += slope
    mean_of_ones += 1
    np.divide(mean, mean_of_ones, out=slope)
    slope *= lr
    slope /= 1 + eps
    x -= slope


def rmsprop(
    x: Array,
    slope: Array,
    memory: Array,
    step: int,
    *,
    lr: Numbers,
    alpha: Numbers,
    eps: Numbers,
    momentum: Numbers = 0.0,
    weight_decay: Numbers = 0.0,
) -> None:
    """RMSprop, not centered; `alpha` is the decay of its mean square."""
    square, velocity = memory
    slope = slope + weight_decay * x
    follow(square, slope * slope, alpha)
    velocity *= momentum
    velocity += slope / (np.sqrt(square) + eps)
    x -= lr * velocity


def follow(mean: Array, value: Numbers, decay: Numbers) -> None:
    """Move a running mean towards `value`, in place."""
    mean *= decay
    mean += (1 - decay) * value


@dataclass(frozen=True)
class Coast:
    """Where a walk would come to rest if every slope from now on were 0: at x - reach * memory[0].

    Attributes:
        reach: units of x per unit of memory.
        push: how far one slope of 1 moves that place, downhill.
        decay: the factor by which a difference in memory[0] shrinks each step, if slopes agree.
        unsettled: bound on all that bias corrections will yet move that place, units of x.
    """

    reach: Numbers
    push: Numbers
    decay: Numbers
    unsettled: Numbers = 0.0


@dataclass(frozen=True)
class Kernel:
    """A rule, how many memories it has, and where it coasts: (memory, hyperparameters) -> Coast.

    `coast` is None where slopes do not act on the coasting place each by itself, and holds without weight decay.
    """

    rule: Callable[..., None]
    memories: int
    coast: Callable[..., Coast] | None = None

    @property
    def hyperparameters(self) -> list[str]:
        """The keywords of the rule."""
        return [name for name, one in inspect.signature(self.rule).parameters.items() if one.kind is one.KEYWORD_ONLY]


def gd_coast(memory: Array, *, lr: Numbers, **others: Numbers) -> Coast:
    """No memory (its row stays 0), no coasting."""
    return Coast(0.0, lr, 0.0)


def momentum_coast(
    memory: Array, *, lr: Numbers, momentum: Numbers, dampening: Numbers = 0.0, **others: Numbers
) -> Coast:
    """lr (m + m^2 + ...) v."""
    undampened = 1 - dampening * (momentum != 0)
    return Coast(lr * momentum / (1 - momentum), lr * undampened / (1 - momentum), momentum)


def nesterov_coast(memory: Array, *, lr: Numbers, momentum: Numbers, **others: Numbers) -> Coast:
    """lr (m^2 + m^3 + ...) v."""
    return Coast(lr * momentum**2 / (1 - momentum), lr / (1 - momentum), momentum)


def signs_coast(memory: Array, *, lr: Numbers, beta1: Numbers, eps: Numbers, **others: Numbers) -> Coast:
    """lr (b + b^2 + ...) m, had the bias corrections ended; |m| <= 1 bounds what they add."""
    _, mean_of_ones = memory
    lr = lr / (1 + eps)
    reach = lr * beta1 / (1 - beta1)
    return Coast(reach, lr, beta1, reach * (1 - mean_of_ones) / mean_of_ones)


KERNELS = {
    "gd": Kernel(gd, 1, gd_coast),
    "momentum": Kernel(momentum, 1, momentum_coast),
    "nesterov": Kernel(nesterov, 1, nesterov_coast),
    "adam": Kernel(adam, 4),
    "adamw": Kernel(adamw, 4),
    "rmsprop": Kernel(rmsprop, 2),
}
ADAM_OF_SIGNS = Kernel(adam_of_signs, 2, signs_coast)
