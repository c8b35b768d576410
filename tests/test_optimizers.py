"""Optimizers of our own against torch's."""

import subprocess
import sys

import torch

from bs6207.optimizers import AdamW


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


def test_adamw_does_not_wait_for_torchs_compiler():
    line = (
        "import sys, torch; from bs6207.optimizers import AdamW; w = torch.ones(3, requires_grad=True);"
        "w.sum().backward(); AdamW([([w], 0.1)], (0.9, 0.99)).step(0.1); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", line]).returncode == 0
