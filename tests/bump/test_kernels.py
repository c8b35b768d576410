"""Every kernel takes the steps that torch.optim takes."""

import math
import os
import subprocess
import sys
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from bs6207.bump.adapter import descend, follow_torch
from bs6207.bump.kernels import ADAM_OF_SIGNS, KERNELS, Hyperparameters, follow, fused_multiply_add, fuses
from bs6207.bump.landscape import Gaussian, Triangle, Valley
from bs6207.bump.optimizers import construct_by_rule, construct_known, find_convention, make_adapter, read_back
from bs6207.bump.settings import BumpSettings
from bs6207.training.optimizers import OPTIMIZERS

SGD, Adam, AdamW, RMSprop = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop

TORCH = {
    "gd": SGD,
    "momentum": SGD,
    "nesterov": lambda parameters, **values: SGD(parameters, nesterov=True, **values),
    "adam": lambda parameters, beta1, beta2, **values: Adam(parameters, betas=(beta1, beta2), **values),
    "adamw": lambda parameters, beta1, beta2, **values: AdamW(parameters, betas=(beta1, beta2), **values),
    "rmsprop": RMSprop,
}
RANGES = {
    "lr": st.floats(0.001, 1),
    "momentum": st.floats(0.01, 0.99),
    "dampening": st.floats(0, 0.99),
    "beta1": st.floats(0, 0.99),
    "beta2": st.floats(0, 0.999),
    "alpha": st.floats(0, 0.999),
    "eps": st.floats(1e-8, 1),
    "weight_decay": st.floats(0, 0.5),
}
STEPS, CELLS = 30, 3
LANDSCAPES = {
    "triangle": Triangle(1.0, 0.4),
    "endless": Triangle(1.0, math.inf, up_slope=0.7),
    "gaussian": Gaussian(1.0, 0.5, 0.5),
    "valley": Valley(3.0, 1.0, 4.0),
}
LONG = 120  # steps of a path


def walk_with_torch(name, slopes, values):
    """Positions after each step, [steps, cells], under given slopes."""
    x = torch.zeros(slopes.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = TORCH[name]([x], **values)
    path = []
    for slope in slopes:
        x.grad = torch.tensor(slope)
        optimizer.step()
        path.append(x.detach().numpy().copy())
    return np.array(path)


def walk_with_kernel(kernel, slopes, values):
    """The same, by a kernel."""
    x, memory = np.zeros(slopes.shape[1]), np.zeros((kernel.memories, slopes.shape[1]))
    path = []
    for step, slope in enumerate(slopes, start=1):
        kernel.rule(x, slope.copy(), memory, step, Hyperparameters(**values))
        path.append(x.copy())
    return np.array(path)


@pytest.mark.parametrize("name", KERNELS)
@settings(max_examples=25)
@given(data=st.data())
def test_every_kernel_walks_as_torch_does(name, data):
    values = {key: data.draw(RANGES[key], key) for key in KERNELS[name].hyperparameters}
    slopes = np.random.default_rng(data.draw(st.integers(0, 99))).normal(size=(STEPS, CELLS))
    expected = walk_with_torch(name, slopes, values)
    walked = walk_with_kernel(KERNELS[name], slopes, values)
    np.testing.assert_allclose(walked, expected, rtol=1e-12, atol=1e-12 * max(1, np.abs(expected).max()))


@settings(max_examples=25)
@given(lr=RANGES["lr"], beta1=RANGES["beta1"], eps=RANGES["eps"], seed=st.integers(0, 99))
def test_adam_of_signs_walks_as_torch_does_whatever_beta2(lr, beta1, eps, seed):
    values = {"lr": lr, "beta1": beta1, "beta2": 0.9, "eps": eps}
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(STEPS, CELLS))
    np.testing.assert_allclose(
        walk_with_kernel(ADAM_OF_SIGNS, signs, values), walk_with_torch("adam", signs, values), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("name", ["gd", "momentum", "nesterov", "adam of signs"])
@settings(max_examples=10)
@given(data=st.data())
def test_without_slopes_a_walk_ends_where_its_coast_says(name, data):
    kernel = {**KERNELS, "adam of signs": ADAM_OF_SIGNS}[name]
    drawn = {key: data.draw(RANGES[key], key) for key in kernel.hyperparameters}
    values = {**drawn, **({"weight_decay": 0.0} if "weight_decay" in drawn else {})}
    x, memory = np.zeros(CELLS), np.zeros((kernel.memories, CELLS))
    signs = np.random.default_rng(data.draw(st.integers(0, 99))).choice([-1.0, 1.0], size=(STEPS, CELLS))
    for step, slope in enumerate(signs, start=1):
        kernel.rule(x, slope.copy(), memory, step, Hyperparameters(**values))
    coast = kernel.coast(memory, Hyperparameters(**values))
    start, end = x.copy(), x - coast.reach * memory[0]
    kernel.rule(x, np.ones(CELLS), memory, STEPS + 1, Hyperparameters(**values))  # pushes that end down once
    for step in range(4000):
        kernel.rule(x, np.zeros(CELLS), memory, STEPS + 2 + step, Hyperparameters(**values))
    assert np.all(np.abs(x - (end - coast.push)) <= coast.unsettled + 1e-9 * (1 + np.abs(start)))


class ExactRoots(TorchFunctionMode):
    """Rounds square roots correctly, which MKL does not in all places."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.sqrt:
            return torch.tensor(math.sqrt(args[0].item()), dtype=torch.float64)
        return function(*args, **(kwargs or {}))


def hyperparameters(name, data):
    """Random ones of every size, with those that switch something off among them."""
    drawn = {key: data.draw(RANGES[key] | st.sampled_from([0.0]), key) for key in KERNELS[name].hyperparameters}
    drawn["lr"] = 10 ** data.draw(st.floats(-4, 0), "lr's exponent")
    assume(name != "nesterov" or drawn["momentum"])
    return drawn


@pytest.mark.parametrize("name", KERNELS)
@settings(max_examples=15, deadline=None)
@given(data=st.data(), landscape=st.sampled_from([*LANDSCAPES]))
def test_a_path_on_plain_floats_is_that_of_torch_to_the_bit(name, data, landscape):
    values, over = hyperparameters(name, data), LANDSCAPES[landscape]
    by_rule = [
        (x, state()) for x, state in islice(follow(KERNELS[name].on_number, Hyperparameters(**values), over), LONG)
    ]
    with ExactRoots():
        positions = islice(follow_torch(lambda parameters: OPTIMIZERS[name](parameters, **values), over), LONG)
        by_torch = [(x, state()) for x, state in positions if math.isfinite(x)]
    assert by_rule == by_torch[: len(by_rule)]
    assert len(by_rule) == LONG or len(by_torch) == len(by_rule)


@pytest.mark.parametrize("name", ["gd", "momentum", "nesterov"])
@settings(max_examples=5, deadline=None)
@given(data=st.data(), landscape=st.sampled_from([*LANDSCAPES]))
def test_a_path_without_square_roots_is_that_of_torch_as_it_is(name, data, landscape):
    given = {key: value for key, value in hyperparameters(name, data).items() if key != "eps"}
    chosen, over = BumpSettings(optimizer=[name], **given), LANDSCAPES[landscape]
    by_rule, by_torch = make_adapter(name, chosen), construct_known(name, chosen)
    assert by_rule.rule is not None is by_torch.rule
    assert descend(by_rule, over, LONG, "cpu") == descend(by_torch, over, LONG, "cpu")


def test_torch_fuses_where_it_is_expected_to():
    numbers = np.random.default_rng(0).normal(size=(100, 3))
    added = [torch.tensor(c).add_(torch.tensor(b), alpha=a).item() for a, b, c in numbers]
    fma = fused_multiply_add()
    assert [fma(a, b, c) for a, b, c in numbers] != [a * b + c for a, b, c in numbers]
    assert added == [fma(a, b, c) if fuses() else a * b + c for a, b, c in numbers]


@pytest.mark.slow
def test_without_fused_arithmetic_paths_are_those_of_torch_too():
    tests = [
        f"{__file__}::{name}"
        for name in (
            "test_torch_fuses_where_it_is_expected_to",
            "test_a_path_on_plain_floats_is_that_of_torch_to_the_bit",
        )
    ]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, env=os.environ | {"ATEN_CPU_CAPABILITY": "default"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", KERNELS)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_what_is_said_of_an_optimizer_without_torch_is_what_torch_says(name, data):
    drawn = {key: value for key, value in hyperparameters(name, data).items() if data.draw(st.booleans(), key)}
    assume(name != "nesterov" or drawn.get("momentum", 1))
    chosen = BumpSettings(optimizer=[name], **drawn)
    by_rule = construct_by_rule(name, chosen)
    by_torch, _ = find_convention(construct_known(name, chosen), lambda tried: read_back(tried, chosen))
    for field in ("hyperparameters", "given", "has", "convention", "precision", "looks_elsewhere", "seed"):
        mine, theirs = getattr(by_rule, field), getattr(by_torch, field)
        assert mine == theirs
        assert not isinstance(mine, dict) or [*mine] == [*theirs]  # tables are in this order


@pytest.mark.parametrize(
    "given", [{"set": ["maximize=false"]}, {"schedule": "linear"}, {"device": "cuda"}, {"optimizer": ["amsgrad"]}]
)
def test_what_only_torch_knows_goes_through_torch(given):
    chosen = BumpSettings(**{"optimizer": ["adam"], **given})
    assert construct_by_rule(chosen.names[0], chosen) is None


def test_nesterov_without_momentum_is_refused_by_torch():
    assert construct_by_rule("nesterov", BumpSettings(momentum=0.0)) is None


@pytest.mark.parametrize(("mean_slope", "path"), [(0.0, 0), (1.0, LONG)])
def test_a_step_that_divides_by_zero_ends_the_path(mean_slope, path):
    flat = replace(Valley(0.0, 1.0, 1.0), steepest=mean_slope, bottom=1.0)
    step = KERNELS["adam"].on_number
    assert len([*islice(follow(step, Hyperparameters(lr=0.1, beta1=0.9, beta2=0.9), flat), LONG)]) == path


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_once_bias_corrections_are_one_the_step_count_changes_nothing(name):
    h, step, walks = Hyperparameters(lr=0.3, beta1=0.8, beta2=0.9), KERNELS[name].on_number, []
    assert 1 - 0.9**400 == 1
    for leap in (0, 12_345):
        x, state, path = 0.0, {}, []
        for count in range(1, 500):
            x = step(x, LANDSCAPES["endless"].slope(x), state, count + leap * (count > 400), h)
            path.append(x)
        walks.append(path)
    assert walks[0] == walks[1]
