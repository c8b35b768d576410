"""Traces of an optimizer on the problems, and how far a reference rule departs from them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch

from bs6207.bump.adapter import last_line
from bs6207.bump.conformance.problems import STEPS, Problem
from bs6207.bump.conformance.rules import Hyperparameters, Rule, advance
from bs6207.bump.conformance.subject import Array, Subject, Walk, repeatable

SAME = 1e-12  # relative difference in float64, over `STEPS` steps; rounding stays below 1e-13
SAME_IN = {"float64": SAME, "float32": 1e-5, "float16": 1e-2, "bfloat16": 5e-2}  # by what an optimizer computes in
CLOSED_SAME = 1e-9  # where a rule evaluates gradients of its own, which enlarges what rounding has left
CLOSED_STEPS = 3


@dataclass(frozen=True)
class Trace:
    """Where an optimizer stood after 0, 1, ... steps of one problem, and the gradients it got there."""

    problem: Problem
    configuration: str
    keywords: Mapping[str, Any]
    has: Mapping[str, Any]  # its hyperparameters
    dtype: torch.dtype
    positions: list[list[Array]]
    gradients: list[list[Any]]
    failure: str = ""

    @cached_property
    def flat(self) -> list[tuple[Array, Array]]:
        """All positions after each step as one vector, and how far from 0 the parameter of each entry has been."""
        largest, steps = [np.max(np.abs(x)) for x in self.positions[0]], []
        for xs in self.positions[1:]:
            reached = [np.max(np.abs(x), where=np.isfinite(x), initial=0.0) for x in xs]
            largest = [max(both) for both in zip(largest, reached, strict=True)]
            steps.append((flat(xs), flat([np.full(x.shape, one or 1.0) for x, one in zip(xs, largest, strict=True)])))
        return steps

    @property
    def moves(self) -> bool:
        return any(
            not np.array_equal(x, start)
            for xs in self.positions
            for x, start in zip(xs, self.positions[0], strict=True)
        )

    @property
    def where(self) -> str:
        kind = "" if self.dtype is torch.float64 else f" in {str(self.dtype).removeprefix('torch.')}"
        return f"{self.problem.name}{kind}, {self.configuration}"


def trace(
    subject: Subject,
    problem: Problem,
    configuration: str,
    keywords: Mapping[str, Any],
    dtype: torch.dtype = torch.float64,
) -> Trace:
    positions, gradients, has, failure = list[list[Array]](), list[list[Any]](), dict[str, Any](), ""
    with repeatable(subject.name):
        try:
            walk = Walk(subject, problem.starts, problem.gradient, problem.loss, dtype, keywords=keywords)
            has = subject.hyperparameters(walk.optimizer, keywords)
            positions.append(walk.values())
            for _ in range(STEPS):
                walk.step()
                gradients.append(walk.given)
                positions.append(walk.values())
        except (Exception, SystemExit) as error:
            failure = last_line(error)
    return Trace(problem, configuration, keywords, has, dtype, positions, gradients, failure)


class Departure(NamedTuple):
    """Where a rule and a trace part: at `step` they differ by `difference`, relative to how far x has been."""

    step: int
    difference: float
    found: float
    expected: float


def reference_path(rule: Rule, h: Hyperparameters, trace: Trace) -> Iterator[list[Array]]:
    """Where a rule stands after 1, 2, ... steps with the gradients of a trace."""
    if rule.needs_closure:
        yield from closed_path(rule, h, trace)
        return
    yield from open_path(rule, h, trace.positions[0], trace.gradients)


def open_path(
    rule: Rule,
    h: Hyperparameters,
    starts: Sequence[Array],
    gradients: Sequence[Sequence[Array]],
    rates: Sequence[float] | None = None,
) -> Iterator[list[Array]]:
    """The same of a rule that takes one gradient a step; `rates` are lr at each step, if it changes."""
    xs, by_shape = [*starts], dict[tuple[int, ...], dict[str, Any]]()
    states: list[dict[str, Any]] = [by_shape.setdefault(x.shape, {}) if h.state == "shape" else {} for x in xs]
    for count, given in enumerate(gradients):
        if rates is not None:
            h.lr = rates[count]
        for place, gradient in enumerate(given):
            if h.clock == "shared":  # a counter that every parameter advances
                states[place]["clock"] = count * len(xs) + place
            xs[place] = advance(rule, xs[place], gradient, states[place], h)
        yield [*xs]


def closed_path(rule: Rule, h: Hyperparameters, trace: Trace) -> Iterator[list[Array]]:
    """The same of a rule that asks for gradients itself."""
    shapes = [x.shape for x in trace.positions[0]]
    ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]

    def split(vector: Array) -> list[Array]:
        return [part.reshape(shape) for part, shape in zip(np.split(vector, ends), shapes, strict=True)]

    def evaluate(vector: Array) -> tuple[float, Array]:
        xs, sign = split(vector), -1 if h.maximize else 1
        gradients: list[Any] = trace.problem.gradient(0, xs)
        return sign * trace.problem.loss(0, xs), sign * np.concatenate([g.ravel() for g in gradients])

    start = np.concatenate([x.ravel() for x in trace.positions[0]])
    yield from map(split, rule.step(evaluate, start, h, CLOSED_STEPS)[1:])


def distance(x: Array, other: Array) -> Array:
    """The absolute difference; of equal values 0, and of two that overflowed, be they infinite or NaN."""
    apart = np.abs(x - other)
    if np.isfinite(apart).all():
        return apart
    return np.where((x == other) | ~(np.isfinite(x) | np.isfinite(other)), 0.0, apart)


def flat(xs: Sequence[Array]) -> Array:
    return np.concatenate([np.ravel(x) for x in xs])


def differences(rule: Rule, h: Hyperparameters, trace: Trace) -> Iterator[Departure]:
    """How far the rule is from the trace after each step."""
    with np.errstate(all="ignore"):
        for step, (expected, found) in enumerate(zip(reference_path(rule, h, trace), trace.flat, strict=False)):
            ours, theirs, largest = flat(expected), *found
            relative = distance(theirs, ours) / largest
            entry = int(np.argmax(relative))  # the first NaN, if there is any
            difference = math.inf if np.isnan(relative[entry]) else float(relative[entry])
            yield Departure(step + 1, difference, float(theirs[entry]), float(ours[entry]))


def departure(rule: Rule, h: Hyperparameters, trace: Trace, same: float) -> Departure | None:
    """The first step at which a rule and a trace differ; None if they never do."""
    tolerance = max(same, CLOSED_SAME) if rule.needs_closure else same
    try:
        return next((one for one in differences(rule, h, trace) if one.difference > tolerance), None)
    except (ArithmeticError, AttributeError, IndexError, TypeError, ValueError):  # it is not for these parameters
        return Departure(0, math.inf, math.nan, math.nan)
