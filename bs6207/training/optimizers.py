"""Optimizers and schedules by their usual names; to add one, write a line of `OPTIMIZERS` or `SCHEDULES`."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

LR = 0.3  # of the classical exercise
NEWTON_SCHULZ_STEPS, MOMENTUM = 3, 0.95  # of Muon; five steps, as in torch, take longer and train no better


@dataclass(frozen=True)
class Recipe:
    """A class of torch.optim with default hyperparameters."""

    kind: str  # name of the class
    own: Mapping[str, float]  # hyperparameters beside lr and their defaults; beta1 and beta2 reach torch as `betas`
    fixed: Mapping[str, Any] = field(default_factory=dict)  # keywords that make this optimizer of the class

    def __call__(self, parameters: "Iterable[Any]", *, lr: float, **keywords: Any) -> "Optimizer":
        """The optimizer of `parameters`; keywords that are no hyperparameters are passed to torch."""
        import torch.optim

        values = {**self.own, **self.fixed, **keywords}
        if "beta1" in values:
            values["betas"] = (values.pop("beta1"), values.pop("beta2"))
        return getattr(torch.optim, self.kind)(parameters, lr=lr, **values)

    @property
    def defaults(self) -> dict[str, float]:
        return {"lr": LR, **self.own}


DECAY = {"weight_decay": 0.0}
BETAS = {"beta1": 0.9, "beta2": 0.999}
ADAM = {**BETAS, "eps": 0.0, **DECAY}
RMSPROP = {"alpha": 0.99, "eps": 0.0, "momentum": 0.0, **DECAY}

OPTIMIZERS: dict[str, Recipe] = {
    "gd": Recipe("SGD", DECAY),
    "momentum": Recipe("SGD", {"momentum": 0.9, "dampening": 0.0, **DECAY}),  # Polyak 1964: v <- m v + g, x <- x - lr v
    "nesterov": Recipe("SGD", {"momentum": 0.9, **DECAY}, {"nesterov": True}),  # in the form of Sutskever et al. 2013
    "adam": Recipe("Adam", ADAM),  # Kingma and Ba 2015, arXiv:1412.6980
    "adamw": Recipe("AdamW", {**ADAM, "weight_decay": 0.01}),  # Loshchilov and Hutter 2019, arXiv:1711.05101
    "amsgrad": Recipe("Adam", ADAM, {"amsgrad": True}),  # Reddi et al. 2018, arXiv:1904.09237
    "adamax": Recipe("Adamax", ADAM),  # Kingma and Ba 2015, section 7
    "nadam": Recipe("NAdam", ADAM),  # Dozat 2016
    "radam": Recipe("RAdam", ADAM),  # Liu et al. 2020, arXiv:1908.03265
    "rmsprop": Recipe("RMSprop", RMSPROP),  # Hinton 2012, lecture 6e
    "rmsprop-centered": Recipe("RMSprop", {**RMSPROP, "eps": 1e-8}, {"centered": True}),  # Graves 2013, arXiv:1308.0850
    "adagrad": Recipe("Adagrad", {"eps": 1e-10, **DECAY}),  # Duchi et al. 2011
    "adadelta": Recipe("Adadelta", {"rho": 0.9, "eps": 1e-6, **DECAY}),  # Zeiler 2012; without eps it would never move
    "rprop": Recipe("Rprop", {}),  # Riedmiller and Braun 1993
    "asgd": Recipe("ASGD", DECAY),  # Polyak and Juditsky 1992; x is the iterate, not the average
    "adafactor": Recipe("Adafactor", DECAY),  # Shazeer and Stern 2018, arXiv:1804.04235
    "muon": Recipe("Muon", {"momentum": 0.95, **DECAY}),  # Jordan et al. 2024; orthogonalizes in bfloat16
    "sparse-adam": Recipe("SparseAdam", {**BETAS, "eps": 1e-8}),  # here nothing is absent, so it is Adam, but eps > 0
    "lbfgs": Recipe("LBFGS", {}),  # Liu and Nocedal 1989; looks at up to 20 points a step
}

CONSTANT = "constant"  # a schedule that leaves lr as it is
NOT_GIVEN = ("optimizer", "last_epoch", "verbose", "max_lr", "epochs", "steps_per_epoch")  # arguments of schedulers


@dataclass(frozen=True)
class ScheduleRecipe:
    """A class of torch.optim.lr_scheduler with default arguments; those not named are torch's own."""

    kind: str  # name of the class
    own: Callable[[int], dict[str, Any]]  # by the number of steps that it lasts
    peak: str | None = None  # the argument for the highest lr, which is here the optimizer's

    def __call__(self, optimizer: "Optimizer", arguments: Mapping[str, Any]) -> "LRScheduler":
        import torch.optim.lr_scheduler

        peak = {self.peak: [group["lr"] for group in optimizer.param_groups]} if self.peak else {}
        return getattr(torch.optim.lr_scheduler, self.kind)(optimizer, **arguments, **peak)

    def takes(self) -> dict[str, inspect.Parameter]:
        """The arguments that can be given."""
        import torch.optim.lr_scheduler

        parameters = inspect.signature(getattr(torch.optim.lr_scheduler, self.kind)).parameters
        return {name: parameter for name, parameter in parameters.items() if name not in NOT_GIVEN}

    def rates(self, lr: float, steps: int, arguments: Mapping[str, Any]) -> list[float]:
        """lr in each of some steps."""
        import torch

        optimizer = torch.optim.SGD([torch.zeros((), requires_grad=True)], lr)
        scheduler, rates = self(optimizer, arguments), list[float]()
        for _ in range(steps):
            rates.append(float(optimizer.param_groups[0]["lr"]))
            optimizer.step()  # without which torch warns
            scheduler.step()
        return rates


SCHEDULES = {
    "linear": ScheduleRecipe("LinearLR", lambda steps: {"total_iters": steps}),  # a warm-up, from a third of lr
    "cosine": ScheduleRecipe("CosineAnnealingLR", lambda steps: {"T_max": steps}),  # Loshchilov and Hutter 2017
    "step": ScheduleRecipe("StepLR", lambda steps: {"step_size": max(1, steps // 3)}),  # a tenth, twice
    "exponential": ScheduleRecipe("ExponentialLR", lambda steps: {"gamma": 0.01 ** (1 / steps)}),  # to a hundredth
    # Smith and Topin 2018, arXiv:1708.07120; momentum stays as it is
    "one-cycle": ScheduleRecipe(
        "OneCycleLR", lambda steps: {"total_steps": steps, "cycle_momentum": False}, peak="max_lr"
    ),
}


class AdamW:
    """AdamW (Loshchilov and Hutter 2019) on torch's fused kernel, with the same results to the bit.

    The first optimizer of torch.optim imports torch's compiler, which takes as long as torch itself, and half of each
    of its steps is overhead.

    Args:
        groups: weights and their weight decay.
    """

    def __init__(self, groups: "Sequence[tuple[Sequence[Tensor], float]]", betas: tuple[float, float]):
        import torch

        self.groups, self.betas = [([*weights], decay) for weights, decay in groups], betas
        weights = [weight for group, _ in self.groups for weight in group]
        self.means, self.squares = ([torch.zeros_like(weight) for weight in weights] for _ in range(2))
        self.steps = [torch.zeros((), device=weight.device) for weight in weights]

    def step(self, lr: "Tensor | float") -> None:
        """Update the weights and clear their gradients."""
        import torch
        from torch.optim.adamw import adamw

        beta1, beta2 = self.betas
        fixed = {"beta1": beta1, "beta2": beta2, "eps": 1e-8, "lr": lr, "amsgrad": False, "maximize": False}
        start = 0
        with torch.no_grad():
            for weights, decay in self.groups:
                own = slice(start, start := start + len(weights))
                means, squares, steps = self.means[own], self.squares[own], self.steps[own]
                gradients: Any = [weight.grad for weight in weights]
                adamw(weights, gradients, means, squares, [], steps, fused=True, weight_decay=decay, **fixed)  # type: ignore[arg-type]
                for weight in weights:
                    weight.grad = None

    def state_dict(self) -> "dict[str, list[Tensor]]":
        return {"means": self.means, "squares": self.squares, "steps": self.steps}

    def load_state_dict(self, state: "Mapping[str, list[Tensor]]") -> None:
        for name, tensors in self.state_dict().items():
            for tensor, saved in zip(tensors, state[name], strict=True):
                tensor.copy_(saved)


class Muon:
    """Muon (Jordan et al. 2024) for weights of two dimensions or more, another optimizer, `rest`, for all else.

    The momentum of a matrix is replaced by the nearest one whose singular values are all about 1, so that directions
    of rare gradients train as fast as the others. torch.optim.Muon takes matrices only, one at a time; this one takes
    kernels too, as [out, in * height * width], and those of one size together.
    """

    def __init__(self, weights: "Iterable[Tensor]", rest: AdamW):
        import torch

        self.groups: dict[torch.Size, list[Tensor]] = {}
        for weight in weights:
            self.groups.setdefault(weight.flatten(1).shape, []).append(weight)
        self.means = [torch.zeros(len(group), *shape, device=group[0].device) for shape, group in self.groups.items()]
        self.rest = rest

    def step(self, lr: "Tensor | float") -> None:
        """Update the weights and clear their gradients.

        lr is on AdamW's scale: the root mean square of a matrix's update is 0.2 lr (Liu et al. 2025, arXiv:2502.16982).
        """
        import torch

        with torch.no_grad():
            for (shape, group), mean in zip(self.groups.items(), self.means, strict=True):
                gradients = torch.stack([cast("Tensor", weight.grad).flatten(1) for weight in group])
                mean.lerp_(gradients, 1 - MOMENTUM)
                moves = orthogonalized(gradients.lerp(mean, MOMENTUM))  # Nesterov's
                for weight, move in zip(group, moves, strict=True):
                    weight.sub_(move.view(weight.shape), alpha=0.2 * max(shape) ** 0.5 * lr)
                    weight.grad = None
        self.rest.step(lr)

    def state_dict(self) -> "dict[str, Any]":
        return {"momenta": self.means, "rest": self.rest.state_dict()}

    def load_state_dict(self, state: "Mapping[str, Any]") -> None:
        for tensor, saved in zip(self.means, state["momenta"], strict=True):
            tensor.copy_(saved)
        self.rest.load_state_dict(state["rest"])


def orthogonalized(matrices: "Tensor") -> "Tensor":
    """Matrices, [N, rows, columns], with their singular values moved to between about 0.5 and 1.5, but the smallest.

    Newton-Schulz iteration with Jordan's coefficients, which raise small singular values fast but never converge.
    """
    import torch

    tall = matrices.shape[1] > matrices.shape[2]
    wide = matrices.mT if tall else matrices
    wide = wide / torch.linalg.matrix_norm(wide, keepdim=True).clamp_min(1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = wide @ wide.mT
        wide = torch.baddbmm(wide, torch.baddbmm(gram, gram, gram, beta=-4.775, alpha=2.0315), wide, beta=3.4445)
    return wide.mT if tall else wide
