"""Checks of what an optimizer makes of gradients, and of what it leaves of its inputs."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from bs6207.bump.adapter import last_line
from bs6207.bump.conformance.contract import (
    ABSENT,
    AFTER,
    BEFORE,
    REFUSALS,
    Broken,
    Contract,
    first_difference,
    refused_in_words,
    require_same,
    shown,
    skip,
)
from bs6207.bump.conformance.problems import SEED
from bs6207.bump.conformance.subject import Array, Walk
from bs6207.bump.conformance.traces import SAME


def none_gradients(contract: Contract) -> None:
    """One parameter has no gradient at some steps, the first among them."""
    walk, before = contract.start(gradient=contract.parts.gradient_with_gaps), contract.parts.starts()[1]
    path = []
    for step in range(BEFORE + AFTER):
        try:
            path += walk.walk(1)
        except Exception as failure:
            raise Broken(
                f"a parameter without a gradient breaks it: {last_line(failure)}", {"step": step + 1}
            ) from None
        after = path[-1][1]
        if step in ABSENT and not np.array_equal(after, before, equal_nan=True) and contract.is_independent():
            finding = "a parameter without a gradient moves: None is not skipped"
            raise Broken(finding, {"step": step + 1, "found": shown(after.flat[0]), "expected": shown(before.flat[0])})
        before = after
    if not contract.is_independent():
        return
    require_same(
        [[one[0]] for one in path],
        contract.start([0]).walk(BEFORE + AFTER),
        "a parameter with gradients feels that another has none",
        contract.same,
    )
    present = [t for t in range(BEFORE + AFTER) if t not in ABSENT]
    single = contract.parts.gradient([1])
    alone = contract.start([1], gradient=lambda t, xs: single(present[t], xs))
    finding = "steps without a gradient count, as if the state of the parameter had advanced"
    require_same([[path[t][1]] for t in present], alone.walk(len(present)), finding, contract.same, "warning")


def zero_gradients(contract: Contract) -> None:
    """Gradients that are zero everywhere, at the first steps and later."""
    if contract.subject.convention.sparse or contract.subject.keywords.get("eps") == 0:
        raise skip("gradients are sparse" if contract.subject.convention.sparse else "eps is given as 0")
    plain, zeros = contract.parts.gradient(), (0, 1, BEFORE)

    def gradient(t: int, xs: list[Array]) -> list[Any]:
        return [0 * g for g in plain(t, xs)] if t in zeros else plain(t, xs)

    for step, xs in enumerate(contract.start(gradient=gradient).walk(BEFORE + AFTER), 1):
        if not all(np.isfinite(x).all() for x in xs):
            raise Broken("positions are not finite after a gradient of zero", {"step": step})


def closure(contract: Contract) -> None:
    walk = contract.start()
    parameters = [*inspect.signature(walk.optimizer.step).parameters.values()]
    if not parameters:
        raise Broken("refused: step() takes no closure", state="refused")
    several = contract.subject.convention.closure or contract.subject.looks_elsewhere
    path = []
    for step in range(1, BEFORE + 1):
        loss, calls = contract.parts.loss()(walk.t, walk.values()), walk.calls
        returned = walk.step(with_closure=True)
        path.append(walk.values())
        if walk.calls == calls:
            raise Broken("step(closure) does not evaluate the closure", {"step": step})
        if walk.calls != calls + 1 and not several:
            raise Broken(f"step(closure) evaluates the closure {walk.calls - calls} times", {"step": step})
        if walk.grad_was_off:
            raise Broken("step(closure) evaluates the closure without gradients: torch.enable_grad is missing")
        if returned is None:
            raise Broken("step(closure) does not return the loss", {"step": step})
        if not several and abs(float(returned) - loss) > SAME * abs(loss):
            evidence = {"step": step, "found": float(returned), "expected": loss}
            raise Broken("step(closure) returns another loss than that of the closure", evidence)
    if not several:
        require_same(path, contract.start().walk(BEFORE), "step(closure) takes another step than step()", contract.same)


def zero_grad(contract: Contract) -> None:
    walk = contract.start()
    if not hasattr(walk.optimizer, "zero_grad"):
        raise Broken("it has no zero_grad()")
    for keywords in ({}, {"set_to_none": False}):
        walk.set_gradients()
        try:
            walk.optimizer.zero_grad(**keywords)
        except TypeError:
            if keywords:
                continue
            raise
        if any(x.grad is not None and bool(x.grad.to_dense().count_nonzero()) for x in walk.xs):
            raise Broken("zero_grad() leaves gradients behind")


def mentions(contract: Contract, *words: str) -> bool:
    """Whether the code of a class speaks of something, so that it must do it right."""
    kind = type(contract.start().optimizer)
    for one in kind.__mro__:
        if one is not Optimizer and one is not object:
            try:
                if any(word in inspect.getsource(one).lower() for word in words):
                    return True
            except (OSError, TypeError):
                continue
    return kind.__module__.startswith("torch.optim")


def complex_parameters(contract: Contract) -> None:
    """Right is what torch.optim does, each part as a real number, or a rule that turns with the phase."""
    if contract.subject.convention.sparse:
        raise skip("gradients are sparse")
    shape = contract.parts.shapes[1]
    draw = np.random.default_rng(SEED)
    start = draw.normal(0, 1, shape) + 1j * draw.normal(0, 1, shape)
    wind = [draw.normal(0, 1, shape) + 1j * draw.normal(0, 1, shape) for _ in range(BEFORE)]
    turn = np.exp(0.7j)

    def walk(start: Array, gradient: Callable[[int, list[Array]], list[Any]], dtype: torch.dtype) -> Any:
        return Walk(contract.subject, [start], gradient, bowl, dtype, keywords=contract.keywords).walk(BEFORE)

    def bowl(t: int, xs: list[Array]) -> float:
        return float(np.sum(np.abs(xs[0]) ** 2)) / 4

    def of(factor: complex) -> Callable[[int, list[Array]], list[Any]]:
        gusts = [0 * gust if contract.parts.is_calm else gust for gust in wind]
        return lambda t, xs: [0.5 * xs[0] + factor * gusts[t]]

    path = refused_in_words(lambda: walk(start, of(1), torch.complex128))
    try:
        real = walk(
            np.stack([start.real, start.imag], -1),
            lambda t, xs: [np.stack([(g := of(1)(t, [xs[0][..., 0] + 1j * xs[0][..., 1]])[0]).real, g.imag], -1)],
            torch.float64,
        )
        evidence = first_difference(path, [[xs[0][..., 0] + 1j * xs[0][..., 1]] for xs in real], contract.same)
    except REFUSALS:
        evidence = {"step": 1}
    if evidence is None:
        return
    turned = walk(start * turn, of(turn), torch.complex128)
    if first_difference(turned, [[xs[0] * turn] for xs in path], contract.same) is not None:
        state = "failed" if mentions(contract, "complex", "view_as_real") else "warning"
        raise Broken("complex parameters are neither refused nor treated right", evidence, state)


def sparse_gradients(contract: Contract) -> None:
    if contract.subject.convention.sparse or contract.subject.convention.closure:
        raise skip("gradients are sparse already" if contract.subject.convention.sparse else "it takes a closure")
    keywords = contract.keywords | contract.subject.spelt(weight_decay=0.0)
    plain = contract.parts.gradient([1])

    def rows(t: int, xs: list[Array]) -> list[Any]:
        gradient = np.array(plain(t, xs)[0])
        gradient[t % 2 :: 2] = 0
        return [gradient]

    dense, sparse = (contract.start([1], gradient=rows, keywords=keywords) for _ in range(2))
    expected = dense.walk(BEFORE)
    path = refused_in_words(lambda: walk_with(sparse, lambda grad: grad.to_sparse(1)))
    state = "failed" if mentions(contract, "sparse") else "warning"
    require_same(
        path, expected, "sparse gradients are neither refused nor treated as dense ones are", contract.same, state
    )


def walk_with(walk: Walk, change: Callable[[Tensor], Tensor]) -> list[list[Array]]:
    """The path of one parameter whose gradients are changed before each step."""
    path = []
    (x,) = walk.xs
    for _ in range(BEFORE):
        walk.set_gradients()
        x.grad = change(x.grad)  # type: ignore[arg-type]
        walk.optimizer.step()
        walk.t += 1
        path.append(walk.values())
    return path


def memory_layout(contract: Contract) -> None:
    """A parameter and gradients that are transposed in memory."""
    if contract.subject.convention.sparse or contract.subject.convention.closure:
        raise skip("it takes sparse gradients or a closure")
    walk = contract.start([1])
    walk.xs[0].data = transposed(walk.xs[0].detach())
    finding = "a parameter that is not contiguous in memory takes other steps"
    require_same(walk_with(walk, transposed), contract.start([1]).walk(BEFORE), finding, contract.same)


def transposed(x: Tensor) -> Tensor:
    """Equal values, column by column in memory."""
    return x.T.contiguous().T


def same_values(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)


def inputs(contract: Contract) -> None:
    walk = contract.start()
    for step in range(1, BEFORE + 1):
        walk.set_gradients()
        before = [x.grad.to_dense().clone() for x in walk.xs if x.grad is not None]
        places = [x.data_ptr() for x in walk.xs]
        closed = contract.subject.convention.closure
        walk.optimizer.step(walk.closure) if closed else walk.optimizer.step()
        walk.t += 1
        for x, grad in zip(walk.xs, before, strict=True):
            if not closed and x.grad is not None and not same_values(x.grad.to_dense(), grad):
                place = int((x.grad.to_dense() - grad).abs().argmax())
                found, expected = float(x.grad.to_dense().flatten()[place]), float(grad.flatten()[place])
                raise Broken("gradients are changed in place", {"step": step, "found": found, "expected": expected})
            if not closed and x.grad is None:
                raise Broken("step() drops the gradients", {"step": step})
            if not x.requires_grad:
                raise Broken("parameters no longer require gradients after a step", {"step": step})
        if places != [x.data_ptr() for x in walk.xs]:
            raise Broken("parameters get a new storage instead of being changed in place", {"step": step}, "warning")


def gradient_kept(contract: Contract) -> None:
    if contract.subject.convention.sparse or contract.subject.convention.closure:
        raise skip("it takes sparse gradients or a closure")
    walk = contract.start()
    walk.reused = [None] * len(walk.xs)
    finding = "the state shares memory with the gradient: it must copy it"
    require_same(walk.walk(BEFORE), contract.start().walk(BEFORE), finding, contract.same)
