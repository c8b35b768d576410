"""The trainings: a restorer with L1, disc_net on clear against blurred images, and the restorer again with both.

The restorer of photographs has estimators of kernels, which are trained before it.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import softplus

from bs6207.data.images import ImageSet, Photographs
from bs6207.deblur.blur import Batches, Context, degrade, draw_blur
from bs6207.deblur.degradation import (
    degrade_windows,
    draw_any_kernels,
    draw_padded,
    draw_softened,
    draw_windows,
    radius_of,
)
from bs6207.deblur.model import restore_tiles
from bs6207.deblur.networks import (
    FOLDS,
    KERNEL_RADIUS,
    MARGIN,
    BlindUNet,
    ByHalves,
    DiscNet,
    KernelNet,
    State,
    UNet,
    channels_last,
    cpu_state,
    inputs_of,
    load_weights,
    log_periodograms,
    new_restorer,
)
from bs6207.deblur.settings import PHOTOGRAPHS, DeblurSettings
from bs6207.errors import DivergenceError, after
from bs6207.runs.progress import TaskProgress
from bs6207.runs.result import Checkpointable, Row
from bs6207.training.batches import batches, steps_per_epoch, to_device
from bs6207.training.devices import PrecisionName, choose_precision, flush_denormals
from bs6207.training.epochs import ResumableEpochs, require_finite, warm_up_then_decay
from bs6207.training.metrics.restoration import Images, psnr_of_batches
from bs6207.training.optimizers import AdamW, Muon

BETAS, WEIGHT_DECAY = (0.9, 0.99), 1e-4
WARM_UP = 0.1  # share of the steps in which the learning rate rises; it then falls linearly to 0
FINE_TUNE = 0.2  # share of the learning rate for the last stage, which starts from a trained network
DISC_LR = 0.002  # peak learning rate of disc_net
KERNEL_LR, KERNEL_LEFT_CLEAR = 0.002, 0.1  # of the estimator of kernels
STANDARDIZED = 256  # crops that say how its input is spread
WORSE = 0.1  # dB below what takes no training from which a restorer is refused; less is a weak result, but one
LEAST_REMOVED = 1e-12  # a batch from which the blur removed nothing has no images to weight
PIXELS_AT_ONCE = 100 * 28 * 28  # to restore: the layers of more leave the cache of a core
LEFT_CLEAR = 0.05  # share of images that are not blurred: a clear image must stay as it is; of photographs,
PHOTOGRAPHS_LEFT_CLEAR = 0.15  # whose noise is as strong as what a weak blur takes
TOWARDS_SHARP = 1.4  # 1 would draw blurs evenly about the middle; strong ones, restored worst, outweigh weak ones in L1
PHOTOGRAPHS_TOWARDS_SHARP = 1.1  # of several kinds of kernels, the wide ones are the harder
LAST_STAGE = "last stage"
OTHER_STREAM = 2**31  # added to the seed, which is smaller: the last stage sees other blur than the first

CROPS = 6400  # of photographs, in what is called an epoch: as many pixels as half of MNIST has

TrainImages: TypeAlias = Tensor | list[Tensor]  # uint8: images of one size, [N, C, H, W], or photographs, [C, H, W]
Pair: TypeAlias = tuple[Tensor, Tensor]  # batches, [N, C, H, W]
Draw: TypeAlias = Callable[[torch.Generator], Iterator[Pair]]  # the pairs of an epoch
LossOf: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
DISC_LOSSES: dict[str, tuple[Callable[[Tensor], Tensor], ...]] = {
    # for each score, to disc_net of a clear image and of another, to the restorer of a restored one
    # the cross-entropy of disc_net; the restorer maximizes log p(clear) (Goodfellow et al. 2014, arXiv:1406.2661)
    "bce": (lambda score: softplus(-score), softplus, lambda score: softplus(-score)),
    # squares (Mao et al. 2017, arXiv:1611.04076), with -1 and 1 as labels, so that 0 is the threshold here too
    "lsgan": (lambda score: (score - 1) ** 2, lambda score: (score + 1) ** 2, lambda score: (score - 1) ** 2),
    # Lim and Ye 2017, arXiv:1705.02894
    "hinge": (lambda score: (1 - score).relu(), lambda score: (1 + score).relu(), lambda score: -score),
}


@dataclass(frozen=True)
class Stage:
    network: str  # name of what is trained
    epochs: int
    lr: float  # peak learning rate
    seed: int = 0  # of order, blur and noise: networks of stages of the same seed differ by their losses only
    is_last: bool = False
    validate: Callable[[], dict[str, float]] = dict  # scores added to the row of every epoch
    progress: TaskProgress | None = None

    def report(self, row: Row) -> None:
        if self.progress:
            self.progress.record(row)
            step = f"{row['stage']}, epoch {row['epoch']}, loss {row['loss']:.4f}"
            self.progress.step(step, LAST_STAGE if self.is_last else self.network)


@dataclass(frozen=True)
class Trained(Checkpointable):
    """A network's weights, and the history of the stage they come from."""

    state: State
    history: list[Row]
    disc: State | None = None  # final weights of the disc_net that it was trained with


def train_kernel_net(fold: int, context: Context) -> Trained:
    """Train an estimator of kernels on all photographs but those of a fold, with the cross-entropy of all taps."""
    settings, device = context.settings, context.device
    images = [*train_images(context.split.train, device)]
    seen = [image for place, image in enumerate(images) if fold_of(place) != fold] or images  # there may be one only
    kernel_net = KernelNet().to(device)
    draw = partial(kernel_pairs, seen, settings)
    first = islice(draw(torch.Generator().manual_seed(context.seed)), math.ceil(STANDARDIZED / settings.batch_size))
    kernel_net.standardize(torch.cat([periodograms for _, periodograms in first]))

    def loss_of(kernels: Tensor, periodograms: Tensor) -> tuple[Tensor, Tensor]:
        loss = -(kernels * kernel_net(periodograms)).sum((1, 2, 3)).mean()
        return loss, loss

    epochs = settings.stages["kernel_net"]
    stage = Stage(f"kernel_net {fold + 1}", epochs, KERNEL_LR, context.seed, progress=context.progress)
    parts = {"model": kernel_net, "optimizer": adamw(kernel_net.parameters())}
    history = train(parts, loss_of, draw, steps_in_epoch(len(images), settings), stage, "fp32")
    return Trained(cpu_state(kernel_net), history)


def train_l1(arch: str, name: str, kernel_nets: Sequence[State], context: Context) -> Trained:
    """Train a new restorer with L1, for the epochs of its stage or, where it has none, for all.

    That of photographs has these estimators of kernels, one for each fold.
    """
    settings, images, device = context.settings, context.split.train, context.device
    restorer = new_restorer(arch, images.image_shape, bool(kernel_nets)).to(device)
    if isinstance(restorer, BlindUNet):
        for kernel_net, state in zip(restorer.kernel_nets, kernel_nets, strict=True):
            kernel_net.load_state_dict(state)
    epochs, validate = settings.stages.get(name, settings.epochs), validation_psnr(restorer, context)
    stage = Stage(name, epochs, settings.lr, context.seed, validate=validate, progress=context.progress)
    history = train_restorer(restorer, train_images(images, device), stage, settings)
    return Trained(cpu_state(restorer), history)


def train_disc(context: Context) -> Trained:
    settings, images, device = context.settings, context.split.train, context.device
    disc_net = channels_last(DiscNet(images.image_shape[0])).to(device)
    sides = (context.split.crops(side) for side in context.validation_pair())
    clear, blurred = (torch.from_numpy(side).to(device) for side in sides)

    def accuracy() -> dict[str, float]:
        hits = (scores_of(disc_net, clear) > 0).float().mean() + (scores_of(disc_net, blurred) < 0).float().mean()
        return {"validation_accuracy": float(hits / 2)}

    epochs = settings.stages["disc_net"]
    stage = Stage("disc_net", epochs, DISC_LR, context.seed, validate=accuracy, progress=context.progress)
    history = train_disc_net(disc_net, train_images(images, device), stage, settings)
    return Trained(cpu_state(disc_net), history)


def fine_tune(name: str, weight: float, start: State, disc: State, context: Context) -> Trained:
    """Continue the training of a restorer with L1 and, unless its weight is 0, the adversarial loss."""
    settings, images, device = context.settings, context.split.train, context.device
    restorer = load_weights(new_restorer(settings.arch, images.image_shape, settings.crop is not None), start, device)
    disc_net = load_weights(DiscNet(images.image_shape[0]), disc, device) if weight else None
    epochs, lr, validate = settings.stages["l1_disc"], FINE_TUNE * settings.lr, validation_psnr(restorer, context)
    stage = Stage(name, epochs, lr, context.seed, is_last=True, validate=validate, progress=context.progress)
    weighted = settings.model_copy(update={"disc_weight": weight})
    history = train_restorer(restorer, train_images(images, device), stage, weighted, disc_net)
    sharp, blurred = context.validation_pair()
    untrained = {"blurred images as they are": blurred}
    if settings.crop is None:
        untrained["mean image"] = [np.broadcast_to(images.unit_pixels.mean(axis=0), sharp[0].shape)]
    if settings.arch == "autoencoder":  # which starts from nothing, and with L1 reaches a black image first
        untrained["black image"] = [0 * sharp[0]]
    floor, baseline = min((psnr_of_batches(sharp, others), kind) for kind, others in untrained.items())
    psnr = history[-1]["validation_psnr"]
    if name != "strong" and psnr < floor - WORSE < math.inf:  # strong is meant to go too far
        steps = (settings.stages["l1"] + epochs) * steps_in_epoch(len(images), settings)
        usual = DeblurSettings().lr if settings.crop is None else PHOTOGRAPHS["lr"]
        advice = after(steps, None if settings.lr == usual else settings.lr)
        below = f"below the {floor:.2f} dB of the {baseline}"
        raise DivergenceError(f"{name} ends at a validation PSNR of {psnr:.2f} dB, {below}, {advice}")
    return Trained(cpu_state(restorer), history, cpu_state(disc_net) if disc_net else None)


def validation_psnr(restorer: nn.Module, context: Context) -> Callable[[], dict[str, float]]:
    sharp, blurred = context.validation_pair()
    return lambda: {"validation_psnr": psnr_of_batches(sharp, restore_batches(restorer, blurred, context))}


def train_restorer(
    restorer: nn.Module, images: TrainImages, stage: Stage, settings: DeblurSettings, disc_net: nn.Module | None = None
) -> list[Row]:
    """Train in place with L1 and, if there is a disc_net, the adversarial loss; the history holds each epoch's L1.

    disc_net is frozen or, with `--disc joint`, trained on clear images against restored ones.
    """
    clear_loss, other_loss, restored_loss = DISC_LOSSES[settings.disc_loss]
    disc_optimizer, others = None, {}
    if disc_net is not None:
        disc_net.requires_grad_(settings.disc == "joint")
        if settings.disc == "joint":
            disc_optimizer = adamw(disc_net.parameters())
            others = {"disc_net": disc_net, "disc_optimizer": disc_optimizer}

    other_core = ThreadPoolExecutor(1)
    treats_each_alone = isinstance(restorer, UNet) and images[0].device.type == "cpu"
    network = ByHalves(restorer, other_core) if treats_each_alone else restorer

    def loss_of(sharp: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        output, blurred = network(inputs), inputs[:, : sharp.shape[1]]
        restored = output.clamp(0, 1)
        # The clipped image counts: a background below black is black, so the noise of the input ends there. The
        # gradient of L1 passes the clip unchanged, so that no pixel is lost beyond it; that of disc_net does not, as
        # there would be nothing to hold it back.
        error = functional.l1_loss(output + (restored - output).detach(), sharp)
        if disc_net is None:
            return error, error
        if disc_optimizer is not None:
            disc_loss = clear_loss(disc_net(sharp)) + other_loss(disc_net(restored.detach()))
            disc_net.zero_grad()  # the restorer's last step went through it
            disc_loss.mean().backward()
            disc_optimizer.step(FINE_TUNE * DISC_LR)
            torch.clear_autocast_cache()  # it holds the weights from before the step
        adversarial = weighted_by_blur(restored_loss(disc_net(restored)), sharp, blurred)
        return error + settings.disc_weight * adversarial, error

    # Muon for the kernels and matrices between the first layer and the last, AdamW for all else
    trained = [weight for weight in restorer.parameters() if weight.requires_grad]
    hidden = [weight for weight in trained if weight.ndim > 1][1:-1]
    chosen = {id(weight) for weight in hidden}
    optimizer = Muon(hidden, adamw(weight for weight in trained if id(weight) not in chosen))
    parts = {"model": restorer, "optimizer": optimizer, **others}
    draw: Draw = partial(pairs, images, settings, LEFT_CLEAR)
    if isinstance(restorer, BlindUNet):
        draw = partial(blind_pairs, restorer, [*images], settings)
    with other_core:
        return train(parts, loss_of, draw, steps_in_epoch(len(images), settings), stage, settings.precision)


def weighted_by_blur(losses: Tensor, sharp: Tensor, blurred: Tensor) -> Tensor:
    """The mean of losses of restored images, [N], each weighted by the square of what the blur removed.

    Where that is much, L1 leaves much open to disc_net; where it is little, L1 knows better.
    """
    removed = (blurred - sharp).abs().mean(dim=(1, 2, 3)).square()
    return (losses * removed / removed.mean().clamp_min(LEAST_REMOVED)).mean()


def train_disc_net(disc_net: nn.Module, images: TrainImages, stage: Stage, settings: DeblurSettings) -> list[Row]:
    """Train in place to tell clear images from blurred ones; the history holds each epoch's loss.

    Neither side carries noise: disc_net is to score sharpness, and noise would give the blurred side away.
    """
    clear_loss, other_loss, _ = DISC_LOSSES[settings.disc_loss]

    def loss_of(sharp: Tensor, blurred: Tensor) -> tuple[Tensor, Tensor]:
        loss = (clear_loss(disc_net(sharp)) + other_loss(disc_net(blurred))).mean()
        return loss, loss / 2

    noiseless = settings.model_copy(update={"noise": 0.0})
    parts = {"model": disc_net, "optimizer": adamw(disc_net.parameters())}
    draw, count = partial(pairs, images, noiseless, 0.0), steps_in_epoch(len(images), settings)
    return train(parts, loss_of, draw, count, stage, settings.precision)


def train(
    parts: Mapping[str, Any], loss_of: LossOf, draw: Draw, count: int, stage: Stage, precision_name: PrecisionName
) -> list[Row]:
    """Minimize `loss_of(*pair)[0]` over `count` pairs an epoch; the history holds the mean of its second as `loss`.

    Parts are the `model`, its `optimizer` and what else `loss_of` changes.
    """
    device = next(parts["model"].parameters()).device
    precision = choose_precision(precision_name, device)
    generator = torch.Generator().manual_seed(stage.seed + OTHER_STREAM * stage.is_last)
    name = f"{stage.network}, {LAST_STAGE}" if stage.is_last else stage.network
    resumable = ResumableEpochs(stage.epochs, stage.progress, {**parts, "generator": generator}, {})
    history = resumable.rows
    for row in history:
        stage.report(row)
    for epoch in resumable:
        parts["model"].train()  # validation leaves it otherwise
        total = torch.zeros((), device=device)
        with flush_denormals():
            for step, pair in enumerate(draw(generator), (epoch - 1) * count):
                with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                    loss, shown = loss_of(*(batch.contiguous(memory_format=torch.channels_last) for batch in pair))
                loss.backward()
                parts["optimizer"].step(stage.lr * warm_up_then_decay(step, stage.epochs * count, WARM_UP))
                total += shown.detach()
        mean = (total / count).item()
        require_finite(mean, epoch, stage.lr, f"{history[-1]['loss']:.4f} in epoch {epoch - 1}" if history else "")
        row = {"stage": name, "seed": stage.seed, "epoch": epoch, "loss": mean, **stage.validate()}
        history.append(row)
        stage.report(row)
    return history


def train_images(images: ImageSet, device: torch.device) -> TrainImages:
    """The images as uint8 on the device."""
    if isinstance(images, Photographs):
        return [torch.from_numpy(picture).to(device) for picture in images.pixels]
    return to_device(images, device)


def steps_in_epoch(count: int, settings: DeblurSettings) -> int:
    """Steps of an epoch of `count` images or, of photographs, of `CROPS` crops."""
    return steps_per_epoch(count if settings.crop is None else CROPS, settings.batch_size)


def pairs(
    images: TrainImages, settings: DeblurSettings, left_clear: float, generator: torch.Generator
) -> Iterator[Pair]:
    """One epoch of batches, clear and degraded, [N, C, H, W]: images in random order, or crops of photographs.

    A share `left_clear` of them has no blur.
    """
    if isinstance(images, Tensor):
        for sharp in batches(images, settings.batch_size, generator):
            yield sharp, draw_degraded(sharp, settings, left_clear, generator)
    else:
        for sharp, degraded, *_ in draw_crops(images, settings, left_clear, generator):
            yield sharp, degraded


def blind_pairs(
    restorer: BlindUNet, images: list[Tensor], settings: DeblurSettings, generator: torch.Generator
) -> Iterator[Pair]:
    """One epoch of batches of crops, clear ones and what a restorer takes of degraded ones.

    Their kernels are what the estimator says that has not seen their photographs.
    """
    for sharp, degraded, _, places in draw_crops(images, settings, PHOTOGRAPHS_LEFT_CLEAR, generator, for_blind=True):
        kernels = restorer.kernels(degraded)[fold_of(places), range(len(places))]
        yield sharp, middle(restorer.inputs(degraded, kernels), sharp.shape[-1])


def kernel_pairs(images: list[Tensor], settings: DeblurSettings, generator: torch.Generator) -> Iterator[Pair]:
    """One epoch of batches of kernels, [N, 1, k, k], and `log_periodograms` of what they make of crops."""
    for _, degraded, kernels, _ in draw_crops(images, settings, KERNEL_LEFT_CLEAR, generator, for_blind=True):
        edge = KERNEL_RADIUS - kernels.shape[-1] // 2
        within = functional.pad(kernels, [edge] * 4)  # less than 0 cuts
        yield (within / within.sum((1, 2), keepdim=True))[:, None].to(degraded.device), log_periodograms(degraded)


def fold_of(place: Any) -> Any:
    """Which share of the photographs of the training has the one at a place."""
    return place % FOLDS


def draw_crops(
    images: list[Tensor],
    settings: DeblurSettings,
    left_clear: float,
    generator: torch.Generator,
    for_blind: bool = False,
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """One epoch of batches of crops of photographs, sharp and degraded, [N, C, H, W].

    With them come their kernels, [N, k, k], and the places of their photographs, [N]. For a blind restorer the degraded
    ones have a margin, which their kernel is estimated from, and some photographs are softened before.
    """
    size = min(settings.batch_size, CROPS)
    radius, crop, margin = radius_of(settings.sigma.high), settings.crop or 0, MARGIN if for_blind else 0
    for _ in range(CROPS // size):
        windows, places = draw_windows(images, size, crop + 2 * margin, radius, generator)
        if for_blind:
            windows = draw_softened(windows, generator)
        sigma, noise = draw_sigma_and_noise(size, settings, left_clear, generator)
        kernels = draw_any_kernels(settings.blur, sigma, radius, generator)
        yield middle(windows, crop), degrade_windows(windows, kernels, noise, settings, generator), kernels, places


def middle(images: Tensor, side: int) -> Tensor:
    """The middle of square images, [N, C, side, side]; all of them where they are no larger."""
    edge = max(0, images.shape[-1] - side) // 2
    return images[..., edge : images.shape[-2] - edge, edge : images.shape[-1] - edge]


def draw_degraded(sharp: Tensor, settings: DeblurSettings, left_clear: float, generator: torch.Generator) -> Tensor:
    """Clear images blurred, with noise, in 8 bits; everything drawn anew for each."""
    sigma, noise = draw_sigma_and_noise(len(sharp), settings, left_clear, generator)
    if settings.blur == ["gaussian"] and settings.gamma == 1 and settings.jpeg is None:
        return degrade(draw_blur(sharp, sigma, generator), noise, generator)
    radius = radius_of(settings.sigma.high)
    windows = draw_padded(sharp, radius, generator)
    kernels = draw_any_kernels(settings.blur, sigma, radius, generator)
    return degrade_windows(windows, kernels, noise, settings, generator)


def draw_sigma_and_noise(
    count: int, settings: DeblurSettings, left_clear: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    low, high = settings.sigma
    one, other, chance, noise, more = torch.rand(5, count, generator=generator)
    # triangular distribution: extreme blurs carry little training signal
    towards_sharp = TOWARDS_SHARP if settings.crop is None else PHOTOGRAPHS_TOWARDS_SHARP
    sigma = low + (high - low) * ((one + other) / 2) ** towards_sharp
    if low < high:  # a specialist for one blur sees nothing else
        sigma = sigma.masked_fill(chance < left_clear, 0.0)
    return sigma, settings.noise * (noise + more)


def adamw(weights: Iterable[nn.Parameter]) -> AdamW:
    return AdamW([([*weights], WEIGHT_DECAY)], BETAS)


@torch.no_grad()
def outputs(network: nn.Module, images: Tensor) -> Tensor:
    """Outputs of a network for images, [N, C, H, W], which pass it a few at a time."""
    size = max(1, PIXELS_AT_ONCE // (images.shape[2] * images.shape[3]))
    return torch.cat([network(batch) for batch in images.split(size)])


def restore(restorer: nn.Module, blurred: Tensor) -> Tensor:
    return outputs(restorer.eval(), blurred).clamp(0, 1)


def restore_images(restorer: nn.Module, blurred: Images, device: torch.device) -> Images:
    return restore(restorer, torch.from_numpy(blurred).to(device)).cpu().numpy()


@torch.no_grad()
def restore_batches(restorer: nn.Module, batches: Batches, context: Context) -> Batches:
    """Images as they are; photographs tile by tile, as `bs6207 restore` does."""
    if context.settings.crop is None:
        return [restore_images(restorer, batch, context.device) for batch in batches]
    network = restorer.eval()
    photographs = (inputs_of(network, torch.from_numpy(batch).to(context.device)) for batch in batches)
    return [restore_tiles(lambda part: network(part).clamp(0, 1), one).cpu().numpy() for one in photographs]


def scores_of(disc_net: nn.Module, images: Tensor) -> Tensor:
    """Scores of disc_net, [N], on the CPU; above 0 it classifies an image as clear."""
    return outputs(disc_net, images).cpu()
