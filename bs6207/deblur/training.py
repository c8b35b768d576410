"""Training the restorer with L1, disc_net on clear against blurred, and the restorer again with both."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from bs6207.data.batches import batches, steps_per_epoch
from bs6207.data.blur import blur_batch, photograph
from bs6207.deblur.networks import DiscNet, UNet
from bs6207.deblur.settings import DeblurSettings
from bs6207.errors import DivergenceError
from bs6207.optimizers import OPTIMIZERS

WEIGHT_DECAY = 1e-4
WARM_UP = 0.1  # share of the steps in which the learning rate rises; it then falls linearly to 0


def train_restorer(
    restorer: UNet, pixels: Tensor, epochs: int, lr: float, settings: DeblurSettings, disc_net: DiscNet | None = None
) -> Iterator[float]:
    """Train in place with L1, and with the verdict of a frozen disc_net if there is one; yields each epoch's L1."""
    disc_weight = settings.disc_weight if disc_net else 0.0

    def loss_of(sharp: Tensor, blurred: Tensor) -> tuple[Tensor, Tensor]:
        restored = restorer(blurred)
        error = functional.l1_loss(restored, sharp)
        verdict = functional.softplus(-disc_net(restored)).mean() if disc_net else 0.0  # -log p(clear)
        return error + disc_weight * verdict, error

    yield from train(restorer, loss_of, pixels, epochs, lr, settings)


def train_disc_net(disc_net: DiscNet, pixels: Tensor, epochs: int, settings: DeblurSettings) -> Iterator[float]:
    """Train in place to tell clear images from blurred ones, then freeze; yields each epoch's cross-entropy.

    Neither side carries noise: disc_net is to judge sharpness, and noise would give the blurred side away.
    """

    def loss_of(sharp: Tensor, blurred: Tensor) -> tuple[Tensor, Tensor]:
        loss = functional.softplus(-disc_net(sharp)).mean() + functional.softplus(disc_net(blurred)).mean()
        return loss, loss / 2

    yield from train(disc_net, loss_of, pixels, epochs, settings.lr, settings.model_copy(update={"noise": 0.0}))
    disc_net.requires_grad_(False)


def train(
    model: nn.Module,
    loss_of: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    pixels: Tensor,
    epochs: int,
    lr: float,
    settings: DeblurSettings,
) -> Iterator[float]:
    """Minimize `loss_of(sharp, blurred)[0]`, yielding the mean of its second value after every epoch.

    Every call with the same settings sees the same images under the same blur and noise, so that what differs
    between two trained networks is what they were trained for.

    Raises:
        DivergenceError: the loss is no longer a number.
    """
    count = steps_per_epoch(len(pixels), settings.batch_size)
    steps = epochs * count
    optimizer = OPTIMIZERS["adamw"](
        model.parameters(), lr=lr, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=WEIGHT_DECAY
    )
    schedule = LambdaLR(optimizer, lambda step: min((step + 1) / (WARM_UP * steps), (1 - step / steps) / (1 - WARM_UP)))
    generator = torch.Generator().manual_seed(settings.seed)
    low, high = settings.sigma_range
    model.train()
    for epoch in range(1, epochs + 1):
        total = torch.zeros((), device=pixels.device)
        for sharp in batches(pixels, settings.batch_size, generator):
            sigma = low + (high - low) * torch.rand(len(sharp), generator=generator).to(sharp.device)
            blurred = photograph(blur_batch(sharp, sigma), settings.noise, generator)
            loss, shown = loss_of(sharp, blurred)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += shown.detach()
        mean = (total / count).item()
        if mean != mean:
            raise DivergenceError(f"the loss is not a number in epoch {epoch}; try a smaller --lr than {settings.lr:g}")
        yield mean


@torch.no_grad()
def restore(restorer: nn.Module, blurred: Tensor, batch_size: int = 500) -> Tensor:
    """Restored images, [N, C, H, W], clipped to [0, 1]."""
    return torch.cat([restorer(part) for part in blurred.split(batch_size)]).clamp(0, 1)


@torch.no_grad()
def clearness(disc_net: DiscNet, images: Tensor, batch_size: int = 500) -> float:
    """Share of images that disc_net takes for clear."""
    return float(torch.cat([disc_net(part) > 0 for part in images.split(batch_size)]).float().mean())
