"""Training one autoencoder with L1, reached through a loss that starts smooth."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from bs6207.data.batches import batches, steps_per_epoch
from bs6207.errors import DivergenceError
from bs6207.latent.autoencoder import Autoencoder
from bs6207.optimizers import OPTIMIZERS

BETAS, WEIGHT_DECAY = (0.8, 0.95), 0.1
WARM_UP = 0.15  # share of the steps in which the learning rate rises; it then falls linearly to 0
SMOOTH_START, SMOOTH_UNTIL = 0.5, 0.7  # errors below this are squared at first; pure L1 after this share of the steps


def train(
    model: Autoencoder, pixels: Tensor, validation: Tensor, epochs: int, batch_size: int, lr: float, seed: int
) -> Iterator[tuple[float, float]]:
    """Train `model` in place, yielding the L1 on training batches and on validation images after every epoch.

    Args:
        pixels, validation: uint8, [N, C, H, W], on the model's device.
        epochs, batch_size, lr: as in the settings.
        seed: of the order of the batches.

    Raises:
        DivergenceError: the loss is no longer a number.
    """
    steps = epochs * steps_per_epoch(len(pixels), batch_size)
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]  # not biases, not BatchNorm
    free = [weight for weight in model.parameters() if weight.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": free, "weight_decay": 0.0}]
    optimizer = OPTIMIZERS["adamw"](groups, lr=lr, beta1=BETAS[0], beta2=BETAS[1], eps=1e-8, weight_decay=WEIGHT_DECAY)
    schedule = LambdaLR(optimizer, lambda step: min((step + 1) / (WARM_UP * steps), (1 - step / steps) / (1 - WARM_UP)))
    generator = torch.Generator().manual_seed(seed)
    step = 0
    for epoch in range(1, epochs + 1):
        model.train()
        total = torch.zeros((), device=pixels.device)
        for images in batches(pixels, batch_size, generator):
            restored = model(images)
            smooth = SMOOTH_START * max(0.0, 1 - step / (SMOOTH_UNTIL * steps))
            loss = functional.smooth_l1_loss(restored, images, beta=smooth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
            total += functional.l1_loss(restored.detach(), images)
        train_l1 = (total / steps_per_epoch(len(pixels), batch_size)).item()
        if train_l1 != train_l1:
            raise DivergenceError(f"the loss is not a number in epoch {epoch}; try a smaller --lr than {lr:g}")
        yield train_l1, functional.l1_loss(reconstruct(model, validation), validation / 255).item()


@torch.no_grad()
def encode(model: Autoencoder, pixels: Tensor, batch_size: int = 2000) -> Tensor:
    """Latents of uint8 images, [N, dim], on the CPU."""
    model.eval()
    return torch.cat([model.encoder(part / 255) for part in pixels.split(batch_size)]).cpu()


@torch.no_grad()
def reconstruct(model: Autoencoder, pixels: Tensor, batch_size: int = 2000) -> Tensor:
    """Reconstructions of uint8 images, [N, C, H, W] in (0, 1), on the model's device."""
    model.eval()
    return torch.cat([model(part / 255) for part in pixels.split(batch_size)])
