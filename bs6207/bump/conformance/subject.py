"""The optimizer under audit: a class or a built-in name, how it is called, and its steps on any parameters."""

import inspect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from bs6207.bump.adapter import Adapter, Convention, constructor_keywords, isolated, load, read_value
from bs6207.bump.optimizers import (
    BETAS,
    by_flag,
    check_keywords,
    explain,
    find_convention,
    require_constructible,
    spelling,
)
from bs6207.bump.settings import is_foreign
from bs6207.errors import SettingsError, suggest
from bs6207.training.optimizers import OPTIMIZERS

Array: TypeAlias = Any  # of float64
Gradient: TypeAlias = Callable[[int, list[Array]], "list[Array | None]"]  # of the step and the parameters
Loss: TypeAlias = Callable[[int, list[Array]], float]
GROUP_FIELDS = ("params", "param_names", "use_muon")


@dataclass(frozen=True)
class Subject:
    """An optimizer under audit."""

    name: str
    target: Callable[..., Any]  # takes parameters and keywords
    takes: Mapping[str, inspect.Parameter]  # its keywords
    keywords: dict[str, Any] = field(default_factory=dict)  # those that the user gave
    convention: Convention = Convention()  # noqa: RUF009 (frozen)
    precision: str = "float64"
    looks_elsewhere: bool = False
    device: str = "cpu"

    def spelt(self, **hyperparameters: Any) -> dict[str, Any]:
        """Hyperparameters as the keywords of this class, but those that it lacks and those that the user gave."""
        keywords: dict[str, Any] = {}
        for key, value in hyperparameters.items():
            keyword = spelling(key, self.takes)
            if keyword == "betas":
                default = self.takes["betas"].default
                betas = [*keywords.get("betas", default if isinstance(default, tuple | list) else (0.9, 0.999))]
                betas[BETAS.index(key)] = value
                keywords["betas"] = tuple(betas)
            elif keyword is not None and is_several(self.takes[keyword].default) == is_several(value):
                keywords[keyword] = value
        return {key: value for key, value in keywords.items() if key not in self.keywords}

    def make(self, groups: Sequence[Mapping[str, Any]], **keywords: Any) -> Any:
        """The optimizer of some groups, each with `params` and perhaps hyperparameters; one plain group is a list."""
        style = self.convention.parameters
        if len(groups) == 1 and groups[0].keys() == {"params"} and style != "groups":
            parameters: Any = self.presented(groups[0]["params"])
        else:
            mark = {"use_muon": True} if style == "groups" else {}
            parameters = [{**group, "params": self.presented(group["params"]), **mark} for group in groups]
        return self.construct(parameters, keywords)

    def construct(self, parameters: Any, keywords: Mapping[str, Any]) -> Any:
        """The optimizer of what its constructor takes as parameters, ready to train."""
        optimizer = self.target(parameters, **self.keywords | dict(keywords))
        if callable(train := getattr(optimizer, "train", None)):
            train()
        return optimizer

    def presented(self, xs: Sequence[Tensor]) -> list[Any]:
        return [(f"x{place}", x) for place, x in enumerate(xs)] if self.convention.parameters == "named" else [*xs]

    def hyperparameters(self, optimizer: Any, keywords: Mapping[str, Any]) -> dict[str, Any]:
        """What an optimizer has: its signature's defaults, what was given, and what its first group holds."""
        defaults = {
            key: one.default for key, one in self.takes.items() if one.default is not one.empty and one.default != ()
        }
        groups = getattr(optimizer, "param_groups", None) or [{}]
        held = {key: value for key, value in groups[0].items() if key not in GROUP_FIELDS}
        known = defaults | self.keywords | dict(keywords) | held
        functions = {key: value for key, value in known.items() if callable(value)}
        given = {key: value for key, value in known.items() if value is not None}
        return given | by_flag(known, self.takes) | functions


def find_subject(
    target: str | Callable[..., Any], keywords: Mapping[str, Any], texts: Mapping[str, str], device: str = "cpu"
) -> Subject:
    """A class, or a name of `OPTIMIZERS` or package.module:Class, as it is called; SettingsError if it cannot be used.

    `texts` are keywords as --set gives them, which get the types of the constructor's defaults.
    """
    name = target if isinstance(target, str) else f"{target.__module__}:{target.__qualname__}"
    if isinstance(target, str) and not is_foreign(target):
        if target not in OPTIMIZERS:
            raise SettingsError(f"{target} is no optimizer", suggest(target, OPTIMIZERS))
        recipe = OPTIMIZERS[target]
        made: Callable[..., Any] = recipe
        takes, takes_anything = constructor_keywords(getattr(torch.optim, recipe.kind))[0], False
        takes = {key: one for key, one in takes.items() if key != "betas" or "beta1" not in recipe.own}
        takes |= {
            key: inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=float)
            for key, value in recipe.defaults.items()
        }
        takes = {key: one for key, one in takes.items() if key not in recipe.fixed}
    else:
        made = load(target) if isinstance(target, str) else target
        takes, takes_anything = constructor_keywords(made)
    if not takes_anything:
        check_keywords(name, [*texts, *keywords], takes)
    given = dict(keywords) | {key: read_value(key, text, takes.get(key)) for key, text in texts.items()}
    subject = Subject(name, made, takes, given, device="cpu" if device == "auto" else device)
    adapter, failure = find_convention(Adapter(name, lambda xs: probed(subject, xs), dict(given), takes=takes))
    if adapter is None:
        if isinstance(target, str) and is_foreign(target):
            require_constructible(name, given)
        raise SettingsError(f"{name} cannot be used: {explain(failure)}") from failure
    found = adapter.convention, adapter.precision, adapter.looks_elsewhere
    return replace(subject, convention=found[0], precision=found[1], looks_elsewhere=found[2])


def is_several(value: Any) -> bool:
    return isinstance(value, tuple | list)


def probed(subject: Subject, xs: list[Any]) -> Any:
    """The optimizer on parameters that are presented already; some cannot do without lr."""
    optimizer = subject.target(xs, **subject.spelt(lr=0.01) | subject.keywords)
    if not hasattr(optimizer, "step"):
        raise TypeError(f"it makes a {type(optimizer).__name__}, which has no step(); name an optimizer")
    return optimizer


class Walk:
    """An optimizer at work on parameters, one step at a time; gradients are functions of the step and of x."""

    def __init__(
        self,
        subject: Subject,
        starts: Sequence[Array],
        gradient: Gradient,
        loss: Loss | None = None,
        dtype: torch.dtype = torch.float64,
        groups: Sequence[tuple[Sequence[int], Mapping[str, Any]]] = (),
        keywords: Mapping[str, Any] | None = None,
    ):
        self.subject, self.gradient, self.loss, self.t = subject, gradient, loss or (lambda t, xs: 0.0), 0
        self.keywords = dict(keywords or {})
        self.xs: list[Tensor] = [
            torch.tensor(start, dtype=dtype, device=subject.device, requires_grad=True) for start in starts
        ]
        if self.keywords.get("differentiable"):  # steps that autograd follows cannot change leaves
            self.xs = [x.clone() for x in self.xs]
        self.reused: list[Tensor | None] | None = None  # gradient tensors that are filled anew at each step
        self.calls = self.grad_was_off = 0
        members = groups or [(range(len(self.xs)), {})]
        self.optimizer = subject.make(
            [{"params": [self.xs[place] for place in places], **own} for places, own in members], **self.keywords
        )

    def set_gradients(self) -> list[Array | None]:
        """Give every parameter the gradient where it is; return these, as they were rounded."""
        gradients, given = self.gradient(self.t, self.values()), list[Any]()
        for place, (x, gradient) in enumerate(zip(self.xs, gradients, strict=False)):
            tensor = None if gradient is None else torch.tensor(gradient, dtype=x.dtype, device=x.device).view_as(x)
            given.append(None if tensor is None else numpy_of(tensor))
            if tensor is not None and self.reused is not None and self.reused[place] is not None:
                tensor = self.reused[place].copy_(tensor)  # type: ignore[union-attr]
            elif self.reused is not None:
                self.reused[place] = tensor
            x.grad = tensor.to_sparse() if tensor is not None and self.subject.convention.sparse else tensor
        return given

    def closure(self) -> Tensor:
        self.calls += 1
        self.grad_was_off += not torch.is_grad_enabled()
        self.set_gradients()
        return torch.tensor(self.loss(self.t, self.values()), dtype=torch.float64)

    def step(self, with_closure: bool | None = None) -> Any:
        """One step; return what the optimizer returns."""
        self.given = self.set_gradients()
        use = self.subject.convention.closure if with_closure is None else with_closure
        returned = self.optimizer.step(self.closure) if use else self.optimizer.step()
        self.t += 1
        return returned

    def walk(self, steps: int) -> list[list[Array]]:
        """So many steps; the positions after each."""
        path = []
        for _ in range(steps):
            self.step()
            path.append(self.values())
        return path

    def values(self) -> list[Array]:
        return [numpy_of(x) for x in self.xs]

    def set_lr(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group[spelling("lr", group) or "lr"] = lr


def numpy_of(x: Tensor) -> Array:
    dense = x.detach().to_dense() if x.layout is not torch.strided else x.detach()
    return dense.cpu().to(torch.complex128 if x.is_complex() else torch.float64).numpy().copy()


@contextmanager
def repeatable(name: str, seed: int = 0) -> Iterator[None]:
    """Run foreign code isolated, with all random numbers from one seed."""
    with isolated(name):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        yield
