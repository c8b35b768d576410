"""Optimizers under the names people use.

Each entry of `OPTIMIZERS` takes the parameters and, by keyword, the hyperparameters it has, with defaults of its own;
the keywords are the names of the settings they are read from, and further ones go to torch's constructor as they are.
To add one, write the function and name it in the table.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

Parameters: TypeAlias = "Iterable[Tensor] | Iterable[dict[str, Any]]"  # plain, or in groups


def gd(parameters: Parameters, *, lr: float, weight_decay: float = 0.0, **more: Any) -> "Optimizer":
    """Gradient descent (SGD without momentum)."""
    from torch.optim import SGD

    return SGD(parameters, lr=lr, weight_decay=weight_decay, **more)


def momentum(
    parameters: Parameters,
    *,
    lr: float,
    momentum: float = 0.9,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    **more: Any,
) -> "Optimizer":
    """Heavy-ball momentum (Polyak 1964), in PyTorch's form: v <- m v + g, x <- x - lr v."""
    from torch.optim import SGD

    return SGD(parameters, lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay, **more)


def nesterov(
    parameters: Parameters, *, lr: float, momentum: float = 0.9, weight_decay: float = 0.0, **more: Any
) -> "Optimizer":
    """Nesterov momentum, in the form of Sutskever et al. 2013."""
    from torch.optim import SGD

    return SGD(parameters, lr=lr, momentum=momentum, nesterov=True, weight_decay=weight_decay, **more)


def adam(
    parameters: Parameters,
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 0.0,
    weight_decay: float = 0.0,
    **more: Any,
) -> "Optimizer":
    """Adam (Kingma and Ba 2015, arXiv:1412.6980)."""
    from torch.optim import Adam

    return Adam(parameters, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, **more)


def adamw(
    parameters: Parameters,
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 0.0,
    weight_decay: float = 0.01,
    **more: Any,
) -> "Optimizer":
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101)."""
    from torch.optim import AdamW

    return AdamW(parameters, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, **more)


def amsgrad(
    parameters: Parameters,
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 0.0,
    weight_decay: float = 0.0,
    **more: Any,
) -> "Optimizer":
    """Adam whose second moment never falls (Reddi et al. 2018, arXiv:1904.09237)."""
    return adam(parameters, lr=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay, amsgrad=True, **more)


def adamax(
    parameters: Parameters,
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 0.0,
    weight_decay: float = 0.0,
    **more: Any,
) -> "Optimizer":
    """Adam with the largest slope in place of the root mean square (Kingma and Ba 2015, section 7)."""
    from torch.optim import Adamax

    return Adamax(parameters, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, **more)


def nadam(
    parameters: Parameters,
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 0.0,
    weight_decay: float = 0.0,
    **more: Any,
) -> "Optimizer":
    """Adam with Nesterov momentum (Dozat 2016)."""
    from torch.optim import NAdam

    return NAdam(parameters, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, **more)


def radam(
    parameters: Parameters,
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 0.0,
    weight_decay: float = 0.0,
    **more: Any,
) -> "Optimizer":
    """Rectified Adam (Liu et al. 2020, arXiv:1908.03265)."""
    from torch.optim import RAdam

    return RAdam(parameters, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, **more)


def rmsprop(
    parameters: Parameters,
    *,
    lr: float,
    alpha: float = 0.99,
    eps: float = 0.0,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    **more: Any,
) -> "Optimizer":
    """RMSprop (Hinton 2012, lecture 6e)."""
    from torch.optim import RMSprop

    return RMSprop(parameters, lr=lr, alpha=alpha, eps=eps, momentum=momentum, weight_decay=weight_decay, **more)


def rmsprop_centered(
    parameters: Parameters,
    *,
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    **more: Any,
) -> "Optimizer":
    """RMSprop divided by the standard deviation of the slope (Graves 2013, arXiv:1308.0850)."""
    return rmsprop(
        parameters, lr=lr, alpha=alpha, eps=eps, momentum=momentum, weight_decay=weight_decay, centered=True, **more
    )


def adagrad(
    parameters: Parameters, *, lr: float, eps: float = 1e-10, weight_decay: float = 0.0, **more: Any
) -> "Optimizer":
    """Adagrad (Duchi et al. 2011)."""
    from torch.optim import Adagrad

    return Adagrad(parameters, lr=lr, eps=eps, weight_decay=weight_decay, **more)


def adadelta(
    parameters: Parameters, *, lr: float, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0.0, **more: Any
) -> "Optimizer":
    """Adadelta (Zeiler 2012, arXiv:1212.5701); without eps it would never move."""
    from torch.optim import Adadelta

    return Adadelta(parameters, lr=lr, rho=rho, eps=eps, weight_decay=weight_decay, **more)


def rprop(parameters: Parameters, *, lr: float, **more: Any) -> "Optimizer":
    """Rprop (Riedmiller and Braun 1993)."""
    from torch.optim import Rprop

    return Rprop(parameters, lr=lr, **more)


def asgd(parameters: Parameters, *, lr: float, weight_decay: float = 0.0, **more: Any) -> "Optimizer":
    """SGD whose rate falls as in averaged SGD (Polyak and Juditsky 1992); x is the iterate, not the average."""
    from torch.optim import ASGD

    return ASGD(parameters, lr=lr, weight_decay=weight_decay, **more)


def adafactor(parameters: Parameters, *, lr: float, weight_decay: float = 0.0, **more: Any) -> "Optimizer":
    """Adafactor (Shazeer and Stern 2018, arXiv:1804.04235)."""
    from torch.optim import Adafactor

    return Adafactor(parameters, lr=lr, weight_decay=weight_decay, **more)


def muon(
    parameters: Parameters, *, lr: float, momentum: float = 0.95, weight_decay: float = 0.0, **more: Any
) -> "Optimizer":
    """Muon (Jordan et al. 2024) on a 1 x 1 matrix; it orthogonalizes in bfloat16, good to two or three digits."""
    from torch.optim import Muon

    return Muon(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay, **more)


def sparse_adam(
    parameters: Parameters, *, lr: float, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8, **more: Any
) -> "Optimizer":
    """Adam for sparse gradients; with one number that is never absent it is Adam, but refuses eps 0."""
    from torch.optim import SparseAdam

    return SparseAdam(parameters, lr=lr, betas=(beta1, beta2), eps=eps, **more)


def lbfgs(parameters: Parameters, *, lr: float, **more: Any) -> "Optimizer":
    """L-BFGS (Liu and Nocedal 1989); a step evaluates the loss at up to 20 points, and escapes may go unordered."""
    from torch.optim import LBFGS

    return LBFGS(parameters, lr=lr, **more)


OPTIMIZERS: dict[str, Callable[..., "Optimizer"]] = {
    "gd": gd,
    "momentum": momentum,
    "nesterov": nesterov,
    "adam": adam,
    "adamw": adamw,
    "amsgrad": amsgrad,
    "adamax": adamax,
    "nadam": nadam,
    "radam": radam,
    "rmsprop": rmsprop,
    "rmsprop-centered": rmsprop_centered,
    "adagrad": adagrad,
    "adadelta": adadelta,
    "rprop": rprop,
    "asgd": asgd,
    "adafactor": adafactor,
    "muon": muon,
    "sparse-adam": sparse_adam,
    "lbfgs": lbfgs,
}


def hyperparameters(name: str, settings: object) -> dict[str, float]:
    """The hyperparameters optimizer `name` takes: as `settings` has them, or its own where that is None."""
    return {
        keyword: parameter.default if (value := getattr(settings, keyword)) is None else value
        for keyword, parameter in inspect.signature(OPTIMIZERS[name]).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
