"""Run folders with restorers that were never trained: their weights are random and small, so that they do something."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from bs6207.deblur import networks
from bs6207.deblur.settings import DeblurSettings
from bs6207.runs.folder import open_run
from bs6207.runs.result import Result, Table, Weights

NARROW = {"bs6207.deblur.networks": {"WIDTH": 8, "COARSE_WIDTH": 16, "KERNEL_WIDTH": 16}}


def network(seed: int, channels: int = 1, kind: type[networks.UNet] = networks.UNet) -> networks.UNet:
    """A U-Net whose every layer changes what passes through."""
    torch.manual_seed(seed)
    net = kind(channels)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.17 / networks.WIDTH**0.5)
    return net.eval()


def made(
    folder: Path,
    names: tuple[str, ...] = ("l1", "l1_disc"),
    channels: int = 1,
    kind: type[networks.UNet] = networks.UNet,
    **changes: Any,
) -> Path:
    """The folder of a run that left restorers of these names; blind ones have the same estimator of kernels."""
    metadata = {"arch": "unet", "channels": channels, "sigma": [0.5, 3.0], "noise": 0.01, "clarity": 0.75} | changes
    states = [network(seed, channels, kind).state_dict() for seed in range(len(names))]
    for state in states[1:]:
        state |= {key: value for key, value in states[0].items() if key.startswith("kernel_nets.")}
    weights = {f"restorer_{name}": Weights(state, metadata) for name, state in zip(names, states, strict=True)}
    settings = DeblurSettings()
    with open_run("deblur", folder, settings) as run:
        run.write_result(Result(settings, {}, Table((), []), weights=weights))
    return folder
