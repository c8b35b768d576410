"""Training a restorer with L1, disc_net on clear against blurred, and the restorer again with both."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from bs6207.deblur.blur import draw_blur, photograph
from bs6207.deblur.networks import DiscNet
from bs6207.deblur.settings import DeblurSettings
from bs6207.runs.progress import TaskProgress
from bs6207.runs.result import Row
from bs6207.training.batches import batches, steps_per_epoch
from bs6207.training.devices import choose_precision
from bs6207.training.epochs import ResumableEpochs, require_finite, warm_up_then_decay
from bs6207.training.optimizers import AdamW, Muon

BETAS, WEIGHT_DECAY = (0.9, 0.99), 1e-4
WARM_UP = 0.1  # share of the steps in which the learning rate rises; it then falls linearly to 0
FINE_TUNE = 0.2  # share of the learning rate for the last stage, which starts from a trained network
DISC_LR = 0.002  # peak learning rate of disc_net
TAKEN_LEAST = 1e-12  # a batch from which the blur took nothing has no images to weigh
PIXELS_AT_ONCE = 100 * 28 * 28  # to restore: what a layer makes of more leaves the cache of a core
LEFT_CLEAR = 0.05  # share of images that are not blurred: a clear image must stay as it is
TOWARDS_SHARP = 1.4  # 1 would draw blurs evenly about the middle; strong ones, restored worst, outweigh weak ones in L1

PerImage = Callable[[Tensor], Tensor]  # a loss for every score, [N]


class DiscLoss(NamedTuple):
    """What scores cost: disc_net for a clear image and for another, and the restorer for what it made."""

    clear: PerImage
    other: PerImage
    restored: PerImage


DISC_LOSSES = {
    # the cross-entropy of disc_net; the restorer maximizes log p(clear) (Goodfellow et al. 2014, arXiv:1406.2661)
    "bce": DiscLoss(lambda score: functional.softplus(-score), functional.softplus, lambda s: functional.softplus(-s)),
    # squares (Mao et al. 2017, arXiv:1611.04076), with -1 and 1 as labels, so that 0 parts the two here too
    "lsgan": DiscLoss(lambda score: (score - 1) ** 2, lambda score: (score + 1) ** 2, lambda score: (score - 1) ** 2),
    # Lim and Ye 2017, arXiv:1705.02894
    "hinge": DiscLoss(lambda score: (1 - score).relu(), lambda score: (1 + score).relu(), lambda score: -score),
}


class Watch(NamedTuple):
    """What is done after every epoch: figures to add to its row, and where it is put aside."""

    judge: Callable[[], dict[str, float]] = dict
    progress: TaskProgress | None = None


UNWATCHED = Watch()
NOTHING: Mapping[str, Any] = {}


def train_restorer(
    restorer: nn.Module,
    pixels: Tensor,
    epochs: int,
    lr: float,
    seed: int,
    settings: DeblurSettings,
    disc_net: DiscNet | None = None,
    watch: Watch = UNWATCHED,
) -> Iterator[Row]:
    """Train in place with L1, and with disc_net's verdict if there is one; yields a row with each epoch's L1.

    disc_net stays as it is; with `--disc joint` it learns on, from clear images against what is being restored.
    """
    disc_loss = DISC_LOSSES[settings.disc_loss]
    joint = disc_net is not None and settings.disc == "joint"
    if disc_net is not None:
        disc_net.requires_grad_(joint)
    opponent = adamw(disc_net.parameters()) if disc_net is not None and joint else None

    def loss_of(sharp: Tensor, blurred: Tensor) -> tuple[Tensor, Tensor]:
        restored = restorer(blurred)
        shown = restored.clamp(0, 1)
        # What is shown is what counts: a background below black is black, so the noise of the input ends there. The
        # gradient of L1 passes the clip unchanged, so that no pixel is lost beyond it; that of disc_net does not, as
        # there would be nothing to hold it back.
        error = functional.l1_loss(restored + (shown - restored).detach(), sharp)
        if disc_net is None:
            return error, error
        if opponent is not None:
            lesson = disc_loss.clear(disc_net(sharp)) + disc_loss.other(disc_net(shown.detach()))
            disc_net.zero_grad()  # the restorer's last step went through it
            lesson.mean().backward()
            opponent.step(FINE_TUNE * DISC_LR)
            torch.clear_autocast_cache()  # it holds the weights from before the step
        verdict = weighed_by_blur(disc_loss.restored(disc_net(shown)), sharp, blurred)
        return error + settings.disc_weight * verdict, error

    opposed = {"disc_net": disc_net, "opponent": opponent} if opponent is not None else {}
    yield from train(restorer, muon(restorer), loss_of, pixels, epochs, lr, seed, settings, watch=watch, others=opposed)


def weighed_by_blur(verdicts: Tensor, sharp: Tensor, blurred: Tensor) -> Tensor:
    """The mean of verdicts on restored images, [N], each weighing as the square of what the blur took from its image.

    Where that is much, L1 leaves much open and disc_net has something to say; where it is little, L1 knows better.
    """
    taken = (blurred - sharp).abs().mean(dim=(1, 2, 3)).square()
    return (verdicts * taken / taken.mean().clamp_min(TAKEN_LEAST)).mean()


def train_disc_net(
    disc_net: DiscNet, pixels: Tensor, epochs: int, seed: int, settings: DeblurSettings, watch: Watch = UNWATCHED
) -> Iterator[Row]:
    """Train in place to tell clear images from blurred ones; yields a row with each epoch's loss.

    Neither side carries noise: disc_net is to judge sharpness, and noise would give the blurred side away.
    """
    disc_loss = DISC_LOSSES[settings.disc_loss]

    def loss_of(sharp: Tensor, blurred: Tensor) -> tuple[Tensor, Tensor]:
        loss = (disc_loss.clear(disc_net(sharp)) + disc_loss.other(disc_net(blurred))).mean()
        return loss, loss / 2

    noiseless = settings.model_copy(update={"noise": 0.0})
    optimizer = adamw(disc_net.parameters())
    yield from train(
        disc_net, optimizer, loss_of, pixels, epochs, DISC_LR, seed, noiseless, left_clear=0.0, watch=watch
    )


def train(
    model: nn.Module,
    optimizer: Muon | AdamW,
    loss_of: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    pixels: Tensor,
    epochs: int,
    lr: float,
    seed: int,
    settings: DeblurSettings,
    left_clear: float = LEFT_CLEAR,
    watch: Watch = UNWATCHED,
    others: Mapping[str, Any] = NOTHING,
) -> Iterator[Row]:
    """Minimize `loss_of(sharp, blurred)[0]`, yielding the mean of its second value after every epoch as `loss`.

    Every call with the same settings sees the same images under the same blur and noise, so that what differs
    between two trained networks is what they were trained for.

    Args:
        watch: what else stands in every row, and where every epoch is put aside: a training that was interrupted
            yields its rows again and goes on.
        others: what `loss_of` changes beside the model.

    Raises:
        DivergenceError: the loss is no longer a number.
    """
    count = steps_per_epoch(len(pixels), settings.batch_size)
    steps = epochs * count
    precision = choose_precision(settings.precision, pixels.device)
    generator = torch.Generator().manual_seed(seed)
    parts = {"model": model, "optimizer": optimizer, "generator": generator, **others}
    resumable = ResumableEpochs(epochs, watch.progress, parts, {})
    rows = resumable.rows
    yield from rows
    for epoch in resumable:
        model.train()  # whoever looks at it between two epochs leaves it otherwise
        total = torch.zeros((), device=pixels.device)
        for place, sharp in enumerate(batches(pixels, settings.batch_size, generator), (epoch - 1) * count):
            blurred = draw_photograph(sharp, settings, left_clear, generator)
            with torch.autocast(pixels.device.type, precision, enabled=precision != torch.float32):
                loss, shown = loss_of(
                    sharp.contiguous(memory_format=torch.channels_last),
                    blurred.contiguous(memory_format=torch.channels_last),
                )
            loss.backward()
            optimizer.step(lr * warm_up_then_decay(place, steps, WARM_UP))
            total += shown.detach()
        mean = (total / count).item()
        require_finite(mean, epoch, lr, f"{rows[-1]['loss']:.4f} in epoch {epoch - 1}" if rows else "")
        rows.append({"epoch": epoch, "loss": mean, **watch.judge()})
        yield rows[-1]


def draw_photograph(sharp: Tensor, settings: DeblurSettings, left_clear: float, generator: torch.Generator) -> Tensor:
    """Clear images as a camera out of focus would store them, everything drawn anew for each."""
    low, high = settings.sigma
    one, other, chance, noise, more = torch.rand(5, len(sharp), generator=generator)
    # rarer at the ends, where a blur is harmless or beyond help
    sigma = low + (high - low) * ((one + other) / 2) ** TOWARDS_SHARP
    if low < high:  # a specialist for one blur is shown nothing else
        sigma = sigma.masked_fill(chance < left_clear, 0.0)
    return photograph(draw_blur(sharp, sigma, generator), settings.noise * (noise + more), generator)


def muon(network: nn.Module) -> Muon:
    """Muon for the kernels and matrices between the first layer and the last, AdamW for all else."""
    hidden = [weight for weight in network.parameters() if weight.ndim > 1][1:-1]
    chosen = {id(weight) for weight in hidden}
    return Muon(hidden, adamw(weight for weight in network.parameters() if id(weight) not in chosen))


def adamw(weights: Iterable[nn.Parameter]) -> AdamW:
    """AdamW with weight decay on all that it is given."""
    return AdamW([([*weights], WEIGHT_DECAY)], BETAS)


@torch.no_grad()
def restore(restorer: nn.Module, blurred: Tensor) -> Tensor:
    """Restored images, [N, C, H, W], clipped to [0, 1]."""
    restorer.eval()
    return torch.cat([restorer(part) for part in blurred.split(batch_size(blurred))]).clamp(0, 1)


@torch.no_grad()
def scores_of(disc_net: DiscNet, images: Tensor) -> Tensor:
    """What disc_net makes of images, [N], on the CPU; above 0 it takes one for clear."""
    return torch.cat([disc_net(part) for part in images.split(batch_size(images))]).cpu()


def batch_size(images: Tensor) -> int:
    """How many images, [N, C, H, W], to pass through a network at once."""
    return max(1, PIXELS_AT_ONCE // (images.shape[2] * images.shape[3]))
