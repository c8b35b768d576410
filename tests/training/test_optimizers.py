"""Optimizers of our own against torch's."""

import subprocess
import sys

import pytest
import torch

from bs6207.training.optimizers import NEWTON_SCHULZ_STEPS, AdamW, Muon, orthogonalized


def trained(optimizer_of, step):
    """The weights of a small network after five steps with falling learning rates."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.ReLU(), torch.nn.Linear(7, 2))
    inputs = torch.randn(5, 16, 5)
    weights = [one for one in model.parameters() if one.ndim > 1], [one for one in model.parameters() if one.ndim == 1]
    optimizer = optimizer_of(*weights)
    for number in range(5):
        model(inputs[number]).square().mean().backward()
        optimizer = step(optimizer, 0.1 / (number + 1)) or optimizer
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


def torchs(decayed, free):
    groups = [{"params": decayed}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.8, 0.95), weight_decay=0.1, fused=True)


def torchs_step(optimizer, lr):
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    optimizer.zero_grad()


def ours(decayed, free):
    return AdamW([(decayed, 0.1), (free, 0.0)], (0.8, 0.95))


def test_adamw_is_torchs_to_the_bit_and_goes_on_from_what_it_remembers():
    def step_and_move_on(optimizer, lr):
        optimizer.step(lr)
        other = AdamW(optimizer.groups, optimizer.betas)
        other.load_state_dict({name: [one.clone() for one in held] for name, held in optimizer.state_dict().items()})
        return other

    expected = trained(torchs, torchs_step)
    assert torch.equal(trained(ours, lambda optimizer, lr: optimizer.step(lr)), expected)
    assert torch.equal(trained(ours, step_and_move_on), expected)


@pytest.mark.slow
def test_adamw_does_not_wait_for_torchs_compiler():
    line = (
        "import sys, torch; from bs6207.training.optimizers import AdamW; w = torch.ones(3, requires_grad=True);"
        "w.sum().backward(); AdamW([([w], 0.1)], (0.9, 0.99)).step(0.1); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", line]).returncode == 0


@pytest.mark.parametrize("shape", [(5, 12), (12, 5), (6, 6)])
def test_orthogonalizing_keeps_the_singular_vectors_and_makes_the_values_alike(shape):
    matrices = torch.randn(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    expected = values / values.norm(dim=1, keepdim=True)
    for _ in range(NEWTON_SCHULZ_STEPS):
        expected = 3.4445 * expected - 4.775 * expected**3 + 2.0315 * expected**5
    assert torch.allclose(orthogonalized(matrices), left @ torch.diag_embed(expected) @ right)
    assert expected.median() > 0.7
    assert expected.max() < 1.2
    assert not orthogonalized(0 * matrices).any()


def matrices_and_gradients(steps=4):
    """Two matrices of one size, one of another, a wide and a tall kernel, with the gradients of every step."""
    random = torch.Generator().manual_seed(0)
    shapes = [(4, 9), (4, 9), (7, 3), (6, 2, 3, 3), (20, 2, 3, 3)]
    weights = [torch.randn(shape, generator=random).requires_grad_(True) for shape in shapes]
    return weights, [[torch.randn(shape, generator=random) for shape in shapes] for _ in range(steps)]


def muon(weights):
    return Muon(weights, AdamW([([torch.ones(1, requires_grad=True)], 0.0)], (0.9, 0.99)))


def stepped(weights, gradients, step):
    for place, given in enumerate(gradients):
        for weight, gradient in zip(weights, given, strict=True):
            weight.grad = gradient.clone()
        step(0.1 / (place + 1))
    return [weight.detach() for weight in weights]


@pytest.fixture
def still(monkeypatch):
    """An AdamW that has no gradients to step by."""
    monkeypatch.setattr(AdamW, "step", lambda self, lr: None)


@pytest.mark.usefixtures("still")
def test_muon_is_torchs_but_for_its_rounding_and_for_kernels_as_matrices():
    weights, gradients = matrices_and_gradients()
    matrices = [weight.detach().clone().flatten(1).requires_grad_(True) for weight in weights]
    theirs = torch.optim.Muon(matrices, weight_decay=0.0, adjust_lr_fn="match_rms_adamw", ns_steps=NEWTON_SCHULZ_STEPS)
    start = [matrix.detach().clone() for matrix in matrices]
    flat = [[gradient.flatten(1) for gradient in given] for given in gradients]
    expected = stepped(matrices, flat, lambda lr: torchs_step(theirs, lr))
    for ours, torchs_own, before in zip(stepped(weights, gradients, muon(weights).step), expected, start, strict=True):
        assert (ours.flatten(1) - torchs_own).norm() < 0.03 * (torchs_own - before).norm()  # torch's is in bfloat16


@pytest.mark.usefixtures("still")
def test_muon_forgets_gradients_and_goes_on_from_what_it_remembers():
    weights, gradients = matrices_and_gradients()
    expected = stepped(weights, gradients, muon(weights).step)
    assert all(weight.grad is None for weight in weights)
    weights, gradients = matrices_and_gradients()
    first = muon(weights)
    stepped(weights, gradients[:2], lambda lr: first.step(lr))
    second = muon(weights)
    second.load_state_dict(first.state_dict())
    for place, given in enumerate(gradients[2:], 2):
        for weight, gradient in zip(weights, given, strict=True):
            weight.grad = gradient.clone()
        second.step(0.1 / (place + 1))
    assert all(torch.equal(weight.detach(), one) for weight, one in zip(weights, expected, strict=True))


def test_muon_steps_all_else_too():
    weights, gradients = matrices_and_gradients(steps=1)
    bias = torch.zeros(3, requires_grad=True)
    optimizer = Muon(weights, AdamW([([bias], 0.0)], (0.9, 0.99)))
    bias.grad = torch.tensor([1.0, -2.0, 3.0])
    stepped(weights, gradients, optimizer.step)
    assert torch.allclose(bias.detach(), torch.tensor([-0.1, 0.1, -0.1]))
