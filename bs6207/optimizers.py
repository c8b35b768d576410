"""Optimizers under the names people use.

Each entry of `OPTIMIZERS` takes the parameters and, by keyword, the hyperparameters it has; the keywords are
the names of the settings they are read from. To add one, write the function and name it in the table.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

Parameters: TypeAlias = "Iterable[Tensor] | Iterable[dict[str, Any]]"  # plain, or in groups


def gd(parameters: Parameters, *, lr: float) -> "Optimizer":
    """Gradient descent (SGD without momentum)."""
    from torch.optim import SGD

    return SGD(parameters, lr=lr)


def momentum(parameters: Parameters, *, lr: float, momentum: float) -> "Optimizer":
    """Heavy-ball momentum (Polyak 1964), in PyTorch's form: v <- m v + g, x <- x - lr v."""
    from torch.optim import SGD

    return SGD(parameters, lr=lr, momentum=momentum)


def adam(parameters: Parameters, *, lr: float, beta1: float, beta2: float, eps: float) -> "Optimizer":
    """Adam (Kingma and Ba 2015, arXiv:1412.6980)."""
    from torch.optim import Adam

    return Adam(parameters, lr=lr, betas=(beta1, beta2), eps=eps)


def adamw(
    parameters: Parameters, *, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float
) -> "Optimizer":
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101)."""
    from torch.optim import AdamW

    return AdamW(parameters, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay)


OPTIMIZERS: dict[str, Callable[..., "Optimizer"]] = {
    "gd": gd,
    "momentum": momentum,
    "adam": adam,
    "adamw": adamw,
}


def hyperparameters(name: str, settings: object) -> dict[str, Any]:
    """The hyperparameters that optimizer `name` takes, with their values in `settings`."""
    keywords = list(inspect.signature(OPTIMIZERS[name]).parameters)[1:]
    return {keyword: getattr(settings, keyword) for keyword in keywords}
