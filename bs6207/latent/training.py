"""Training of one autoencoder with L1, as the limit of a Huber loss, or with the squared error."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bs6207.latent.autoencoder import AT_ONCE, Autoencoder, Recipe
from bs6207.runs.progress import TaskProgress
from bs6207.runs.result import Checkpointable
from bs6207.training.batches import batches, steps_per_epoch
from bs6207.training.cuda_graph import CudaGraphStep
from bs6207.training.devices import flush_denormals
from bs6207.training.epochs import ResumableEpochs, require_finite, warm_up_then_decay
from bs6207.training.optimizers import AdamW

BETAS, WEIGHT_DECAY = (0.8, 0.95), 0.1
WARM_UP = 0.15  # share of the steps in which the learning rate rises; it then falls linearly to 0
MIN_SMOOTH = 1e-30  # far below any error but 0
SMOOTH_UNTIL = 0.7  # share of the steps in which the loss becomes pure L1


@dataclass(frozen=True)
class Epoch(Checkpointable):
    """The losses after an epoch."""

    number: int
    train_l1: float  # mean over the epoch's batches
    validation_l1: float
    validation_mse: float
    best: int  # the epoch so far of least validation loss; 0 is the start


def train_autoencoder(
    model: Autoencoder,
    pixels: Tensor,
    validation: Tensor,
    epochs: int,
    recipe: Recipe,
    seed: int,
    loss: str = "l1",
    precision: torch.dtype = torch.float32,
    progress: TaskProgress | None = None,
) -> Iterator[Epoch]:
    """Train `model` in place, yielding every `Epoch`; it ends with the weights of least validation loss.

    The initial weights take part in that choice, as epoch 0: they may be PCA, which no training improves where it is
    exact. A resumed training yields its earlier epochs again.

    Args:
        pixels, validation: uint8, [N, C, H, W], on the model's device.
        precision: of the layers while training; weights, loss and validation stay in float32.

    Raises:
        DivergenceError: the loss is no longer a number.
    """
    steps_each = steps_per_epoch(len(pixels), recipe.batch_size)
    steps = epochs * steps_each
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    biases = [parameter for parameter in model.parameters() if parameter.ndim <= 1]  # BatchNorm's parameters, too
    optimizer = AdamW([(weights, WEIGHT_DECAY), (biases, 0.0)], BETAS)
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros((), device=pixels.device)

    def step(images: Tensor, lr: Tensor | float, smooth: Tensor | float) -> None:
        with torch.autocast(pixels.device.type, precision, enabled=precision != torch.float32, cache_enabled=False):
            restored = model(images)
        restored = restored.float()
        error = restored.detach() - images
        # The gradient of a dot product is its other factor; given to `backward` itself, torch first imports sympy.
        (restored.flatten() @ loss_gradient(error, loss, smooth).flatten()).backward()
        optimizer.step(lr)
        total.add_(error.abs_().mean())

    advance = CudaGraphStep(step, pixels.device) if pixels.is_cuda else step

    parts = {"model": model, "optimizer": optimizer, "generator": generator}
    start = {"best": 0, "weights": deepcopy(model.state_dict()), "lowest": validate(model, validation)[loss]}
    resumable = ResumableEpochs(epochs, progress, parts, start)
    state = resumable.state
    yield from resumable.rows
    for number in resumable:
        model.train()
        total.zero_()
        with flush_denormals():
            for index, images in enumerate(batches(pixels, recipe.batch_size, generator), (number - 1) * steps_each):
                lr = recipe.lr * warm_up_then_decay(index, steps, WARM_UP)
                smooth = recipe.smooth * (1 - index / (SMOOTH_UNTIL * steps))
                advance(images, lr, max(smooth, recipe.smooth_end, MIN_SMOOTH))
            train_l1, validation_loss = (total / steps_each).item(), validate(model, validation)
        before = f"a validation loss of {state['lowest']:.4f} in epoch {state['best']}"
        require_finite(train_l1, number, recipe.lr, before)
        if validation_loss[loss] < state["lowest"]:
            state |= {"best": number, "weights": deepcopy(model.state_dict()), "lowest": validation_loss[loss]}
        resumable.rows.append(Epoch(number, train_l1, validation_loss["l1"], validation_loss["mse"], state["best"]))
        yield resumable.rows[-1]
    model.load_state_dict(state["weights"])


def loss_gradient(error: Tensor, loss: str, smooth: Tensor | float) -> Tensor:
    """The gradient of the mean loss in the restored pixels; autograd would go over them three times as often.

    The loss is the squared error, or L1 smoothed by Huber (1964): quadratic below `smooth`, with slopes of at most 1.
    """
    if loss == "mse":
        return error * (2 / error.numel())
    return error.clamp(-smooth, smooth).div_(smooth * error.numel())  # type: ignore[arg-type]


def validate(model: Autoencoder, pixels: Tensor) -> dict[str, float]:
    """Both losses of the model on uint8 images."""
    losses = {"l1": functional.l1_loss, "mse": functional.mse_loss}
    restored, truth = reconstruct(model, pixels), pixels / 255
    return {name: loss(restored, truth).item() for name, loss in losses.items()}


@torch.no_grad()
def encode(model: Autoencoder, pixels: Tensor) -> Tensor:
    """Latents of uint8 images, float32, [N, dim], on the CPU."""
    model.eval()
    return torch.cat([model.encoder(batch / 255) for batch in pixels.split(AT_ONCE)]).cpu()


@torch.no_grad()
def decode(model: Autoencoder, latents: Tensor) -> Tensor:
    """The images of latents, [N, C, H, W] in [0, 1]; both are on the CPU."""
    model.eval()
    device = next(model.parameters()).device
    return torch.cat([model.decoder(batch.to(device)) for batch in latents.split(AT_ONCE)]).cpu()


@torch.no_grad()
def reconstruct(model: Autoencoder, pixels: Tensor) -> Tensor:
    """Reconstructions of uint8 images, [N, C, H, W] in [0, 1], on the model's device."""
    model.eval()
    return torch.cat([model(batch / 255) for batch in pixels.split(AT_ONCE)])
