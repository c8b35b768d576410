"""Training one autoencoder with L1, reached through a loss that starts smooth, or with the squared error."""

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
SHARPEST = 1e-30  # far below any error but 0
SMOOTH_UNTIL = 0.7  # share of the steps in which the loss becomes pure L1


@dataclass(frozen=True)
class Epoch(Checkpointable):
    """Where a training stands after an epoch.

    Attributes:
        train_l1, validation_l1, validation_mse: on the epoch's batches, and on the validation images after it.
        best: the epoch so far whose weights did best on the validation images; 0 is the start.
    """

    number: int
    train_l1: float
    validation_l1: float
    validation_mse: float
    best: int


def train(
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
    """Train `model` in place, one `Epoch` after the other; it ends with the weights that did best on validation.

    The weights it starts with take part in that choice, as epoch 0: they may be principal components, which no
    training improves where they already are exact.

    Args:
        pixels, validation: uint8, [N, C, H, W], on the model's device.
        recipe: learning rate, batch size and smoothness; the layers are the model's already.
        seed: of the order of the batches.
        loss: `l1`, or `mse` for the squared error throughout.
        precision: of the layers' arithmetic while training; weights, loss and validation stay in float32.
        progress: where every epoch is put aside; a training that was interrupted yields its epochs again and goes on.

    Raises:
        DivergenceError: the loss is no longer a number.
    """
    steps_each = steps_per_epoch(len(pixels), recipe.batch_size)
    steps = epochs * steps_each
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]  # not biases, not BatchNorm
    free = [weight for weight in model.parameters() if weight.ndim <= 1]
    optimizer = AdamW([(decayed, WEIGHT_DECAY), (free, 0.0)], BETAS)
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros((), device=pixels.device)

    def step(images: Tensor, lr: Tensor | float, smooth: Tensor | float) -> None:
        with torch.autocast(pixels.device.type, precision, enabled=precision != torch.float32, cache_enabled=False):
            restored = model(images)
        restored = restored.float()
        error = restored.detach() - images
        # A product's gradient is its other factor; torch first imports sympy where backward itself is given one.
        (restored.flatten() @ slope(error, loss, smooth).flatten()).backward()
        optimizer.step(lr)
        total.add_(error.abs_().mean())

    advance = CudaGraphStep(step, pixels.device) if pixels.is_cuda else step

    resumable = ResumableEpochs(
        epochs,
        progress,
        {"model": model, "optimizer": optimizer, "generator": generator},
        {"best": 0, "weights": deepcopy(model.state_dict()), "lowest": validate(model, validation)[loss]},
    )
    state = resumable.state
    yield from resumable.rows
    for number in resumable:
        model.train()
        total.zero_()
        with flush_denormals():
            for place, images in enumerate(batches(pixels, recipe.batch_size, generator), (number - 1) * steps_each):
                lr = recipe.lr * warm_up_then_decay(place, steps, WARM_UP)
                smooth = recipe.smooth * (1 - place / (SMOOTH_UNTIL * steps))
                advance(images, lr, max(smooth, recipe.smooth_end, SHARPEST))
            train_l1, reached = (total / steps_each).item(), validate(model, validation)
        before = f"a validation loss of {state['lowest']:.4f} in epoch {state['best']}"
        require_finite(train_l1, number, recipe.lr, before)
        if reached[loss] < state["lowest"]:
            state |= {"best": number, "weights": deepcopy(model.state_dict()), "lowest": reached[loss]}
        resumable.rows.append(Epoch(number, train_l1, reached["l1"], reached["mse"], state["best"]))
        yield resumable.rows[-1]
    model.load_state_dict(state["weights"])


def slope(error: Tensor, loss: str, smooth: Tensor | float) -> Tensor:
    """The gradient of the mean loss in the restored pixels; autograd would go over them three times as often.

    Args:
        error: restored less true pixels, of any shape.
        loss: `mse`, or `l1`, of which errors below `smooth` count squared (Huber 1964), with slopes of at most 1.
        smooth: above 0; `SHARPEST` for an L1 that is not smooth at all.
    """
    if loss == "mse":
        return error * (2 / error.numel())
    return error.clamp(-smooth, smooth).div_(smooth * error.numel())  # type: ignore[arg-type]


def validate(model: Autoencoder, pixels: Tensor) -> dict[str, float]:
    """Both losses of the model on uint8 images."""
    restored, truth = reconstruct(model, pixels), pixels / 255
    return {
        "l1": functional.l1_loss(restored, truth).item(),
        "mse": functional.mse_loss(restored, truth).item(),
    }


@torch.no_grad()
def encode(model: Autoencoder, pixels: Tensor) -> Tensor:
    """Latents of uint8 images, float32, [N, dim], on the CPU."""
    model.eval()
    return torch.cat([model.encoder(part / 255) for part in pixels.split(AT_ONCE)]).cpu()


@torch.no_grad()
def decode(model: Autoencoder, latents: Tensor) -> Tensor:
    """The images of latents on the model's device, [N, C, H, W] in [0, 1], on the CPU."""
    model.eval()
    return torch.cat([model.decoder(part) for part in latents.split(AT_ONCE)]).cpu()


@torch.no_grad()
def reconstruct(model: Autoencoder, pixels: Tensor) -> Tensor:
    """Reconstructions of uint8 images, [N, C, H, W] in [0, 1], on the model's device."""
    model.eval()
    return torch.cat([model(part / 255) for part in pixels.split(AT_ONCE)])
