"""One optimizer on one landscape, step by step, through the plain `torch.optim` interface in float64."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer

from bs6207.bump.landscape import START, Landscape

MakeOptimizer = Callable[[list[Tensor]], Optimizer]


def descend(make_optimizer: MakeOptimizer, landscape: Landscape, steps: int, device: str) -> list[float]:
    """Positions after 0, 1, ... `steps` steps, [steps + 1]; ends before the first that is not finite."""
    x = torch.tensor(START, dtype=torch.float64, device=device, requires_grad=True)
    slope = x.grad = torch.zeros_like(x)
    optimizer = make_optimizer([x])
    path = [START]
    for _ in range(steps):
        slope.fill_(landscape.slope(path[-1]))
        optimizer.step()
        position = x.item()
        if not math.isfinite(position):
            break
        path.append(position)
    return path
