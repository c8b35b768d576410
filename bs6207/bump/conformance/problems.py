"""Small problems, on each of which an optimizer and a reference rule see the same gradients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from bs6207.bump.conformance.subject import Array, Gradient, Loss
from bs6207.bump.landscape import START, Triangle

STEPS = 25  # of each; longer than the first phases of RAdam and Adam at the decays that are tried
CONDITIONS = (1, 100, 10_000)  # of the quadratics
SEED = 6207
HEIGHT = 0.4  # of the bump


def flat(t: int, xs: list[Array]) -> float:
    return 0.0


@dataclass(frozen=True)
class Problem:
    """Where parameters start, and their gradients at a step; `loss` is for optimizers that ask for it."""

    name: str
    starts: Sequence[Array]
    gradient: Gradient
    loss: Loss = flat
    is_smooth: bool = False  # the gradient is that of `loss`, a function of x alone


def quadratic(shapes: Sequence[tuple[int, ...]], condition: float) -> Problem:
    draw = np.random.default_rng(SEED)
    curvatures = [np.logspace(0, -np.log10(condition), int(np.prod(shape))).reshape(shape) for shape in shapes]
    starts = [draw.uniform(0.5, 2, shape) for shape in shapes]
    return Problem(
        f"quadratic, condition {condition:,}",
        starts,
        lambda t, xs: [curvature * x for curvature, x in zip(curvatures, xs, strict=True)],
        lambda t, xs: sum(float(np.sum(curvature * x**2)) / 2 for curvature, x in zip(curvatures, xs, strict=True)),
        is_smooth=True,
    )


def rosenbrock(shape: tuple[int, ...]) -> Problem:
    def gradient(t: int, xs: list[Array]) -> list[Array | None]:
        a, b = xs[0].ravel()
        return [np.array([2 * (a - 1) - 400 * a * (b - a * a), 200 * (b - a * a)]).reshape(shape)]

    def loss(t: int, xs: list[Array]) -> float:
        a, b = xs[0].ravel()
        return float((1 - a) ** 2 + 100 * (b - a * a) ** 2)

    return Problem("Rosenbrock", [np.array([-1.2, 1.0]).reshape(shape)], gradient, loss, is_smooth=True)


def network(has_biases: bool) -> Problem:
    """Regression of a sine by tanh units: the gradients are those of backpropagation, written out."""
    draw = np.random.default_rng(SEED)
    inputs = draw.uniform(-1, 1, (16, 3))
    targets = np.sin(3 * inputs.sum(1, keepdims=True))
    starts = [draw.normal(0, 0.7, (4, 3)), draw.normal(0, 0.7, (1, 4))]
    starts += [draw.normal(0, 0.1, (4,)), draw.normal(0, 0.1, (1,))] if has_biases else []

    def forward(xs: list[Array]) -> tuple[Array, Array]:
        biases = xs[2:] or [np.zeros(4), np.zeros(1)]
        hidden = np.tanh(inputs @ xs[0].T + biases[0])
        return hidden, hidden @ xs[1].T + biases[1] - targets

    def gradient(t: int, xs: list[Array]) -> list[Array | None]:
        hidden, error = forward(xs)
        error = 2 * error / len(inputs)
        back = (error @ xs[1]) * (1 - hidden**2)
        return [back.T @ inputs, error.T @ hidden, *((back.sum(0), error.sum(0)) if has_biases else ())]

    return Problem("network", starts, gradient, lambda t, xs: float(np.mean(forward(xs)[1] ** 2)), is_smooth=True)


def bump(shape: tuple[int, ...]) -> Problem:
    landscape = Triangle(1.0, HEIGHT)
    return Problem(
        "bump",
        [np.full(shape, START)],
        lambda t, xs: [np.full(shape, landscape.slope(float(xs[0].item())))],
        lambda t, xs: landscape.loss(float(xs[0].item())),
    )


def given_gradients(
    name: str, shapes: Sequence[tuple[int, ...]], of_step: Callable[[int, Array], Array], spread: float, start: float
) -> Problem:
    """Gradients that depend on the step alone; `spread`: their magnitudes, in decades between the entries."""
    draw = np.random.default_rng(SEED)
    starts = [start * draw.uniform(0.5, 2, shape) for shape in shapes]
    sizes = [
        draw.choice([-1, 1], shape) * np.logspace(0, -spread, int(np.prod(shape))).reshape(shape) for shape in shapes
    ]
    return Problem(name, starts, lambda t, xs: [of_step(t, size) for size in sizes])


def random_gradient(t: int, size: Array) -> Array:
    return size * np.random.default_rng((SEED, t, size.size)).normal(0, 1, size.shape)


def alternating(t: int, size: Array) -> Array:
    return size * (-1) ** t * (1 + 0.1 * t)


def sparse(t: int, size: Array) -> Array:
    return np.where(np.arange(size.size).reshape(size.shape) % 3 == t % 3, random_gradient(t, size), 0.0)


def scaled(factor: float, t: int, size: Array) -> Array:
    return factor * random_gradient(t, size)


def make_problems(matrices_only: bool) -> dict[str, Problem]:
    """All problems by name, the one that distinguishes rules best first."""
    shapes = [(4, 3), (2, 5)] if matrices_only else [(5,), (4, 3)]
    one, two = ((1, 1), (1, 2)) if matrices_only else ((1,), (2,))
    entries = [
        given_gradients("random", shapes, random_gradient, 3, 1.0),
        given_gradients("constant", shapes, lambda t, size: size, 3, 1.0),
        given_gradients("alternating", shapes, alternating, 3, 1.0),
        given_gradients("sparse", [shapes[1]] * 2, sparse, 1, 1.0),  # of one shape: they may share their state
        network(not matrices_only),
        *(quadratic(shapes, condition) for condition in CONDITIONS),
        rosenbrock(two),
        bump(one),
        given_gradients("gradients of 1e-20", shapes, partial(scaled, 1e-20), 1, 0.0),
        given_gradients("gradients of 1e20", shapes, partial(scaled, 1e20), 1, 0.0),
    ]
    return {problem.name: problem for problem in entries}
