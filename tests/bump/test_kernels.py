"""Every kernel takes the steps that torch.optim takes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bs6207.bump.kernels import ADAM_OF_SIGNS, KERNELS, Hyperparameters

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
