"""The pieces of the deblur experiment that make something: networks to train, rivals to tune."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch._dynamo  # which the first optimizer imports: here, once for all workers
from torch import Tensor, nn

from bs6207.data.images import to_uint8
from bs6207.data.sources import loaded, require_same
from bs6207.deblur.blur import blur_for_test
from bs6207.deblur.classical import RIVALS, tune
from bs6207.deblur.model import State
from bs6207.deblur.networks import DiscNet, new_restorer
from bs6207.deblur.parts import FOLLOWED_IMAGES, TEST_NOISE, VALIDATION_NOISE, Parts, Pixels, parts_of
from bs6207.deblur.settings import DeblurSettings
from bs6207.deblur.training import FINE_TUNE, Watch, restore, scores_of, train_disc_net, train_restorer
from bs6207.errors import DivergenceError, after
from bs6207.runs.progress import Progress, TaskProgress
from bs6207.runs.result import Checkpointable, Row
from bs6207.training.batches import steps_per_epoch, to_device
from bs6207.training.devices import choose_device, flush_denormals, keep_memory, prepare
from bs6207.training.metrics.restoration import Images, psnr_per_image

TUNING_IMAGES = 100  # training images by which the rivals are tuned
OTHER_STREAM = 2**31  # added to the seed, which is smaller: the last stage is shown other blur than the first


def do(data: str, sha256: str, piece: Callable[..., Any], progress: TaskProgress) -> Any:
    """Do one piece of work on a data set: a function from here or from judging.py, all but its progress given."""
    require_same(loaded(data), sha256)
    flush_denormals()  # for every piece, or what it finds would depend on what its process did before
    keep_memory()
    return piece(progress=progress)


@dataclass(frozen=True)
class Trained(Checkpointable):
    """A network's weights, and a row for every epoch of the stage they come from.

    Attributes:
        disc: the weights of the disc_net that it was trained with, as they are in the end; None without one.
    """

    state: State
    history: list[Row]
    disc: State | None = None


def begin_training(settings: DeblurSettings, seed: int) -> tuple[torch.device, Parts, Tensor]:
    """Where to train, what is there, and the images to learn from."""
    device, parts = choose_device(settings.device), parts_of(settings)
    prepare(seed)
    return device, parts, to_device(parts.learn, device)


def train_alone(settings: DeblurSettings, arch: str, stage: str, seed: int, progress: TaskProgress) -> Trained:
    """A new restorer trained with L1, for the epochs of its stage or, where it has none, for all of them."""
    device, parts, pixels = begin_training(settings, seed)
    net = new_restorer(arch, parts.learn.image_shape).to(device)
    epochs = settings.stages.get(stage, settings.epochs)
    watch = Watch(validator(net, parts, settings, device), progress)
    return follow(
        net, stage, seed, train_restorer(net, pixels, epochs, settings.lr, seed, settings, watch=watch), progress
    )


def train_on(
    settings: DeblurSettings, name: str, start: State, disc: State, weight: float, seed: int, progress: TaskProgress
) -> Trained:
    """A trained restorer trained on, with L1 and, unless its weight is 0, the verdict of disc_net."""
    device, parts, pixels = begin_training(settings, seed)
    net = network(settings.arch, parts, start, device)
    disc_net = disc_net_of(parts, disc, device) if weight else None
    weighted = settings.model_copy(update={"disc_weight": weight})
    epochs, lr = settings.stages["l1_disc"], FINE_TUNE * settings.lr
    watch = Watch(validator(net, parts, settings, device), progress)
    rows = train_restorer(net, pixels, epochs, lr, seed + OTHER_STREAM, weighted, disc_net, watch)
    trained = follow(net, f"{name}, last stage", seed, rows, progress)
    what, floor = least_to_reach(parts, settings)
    reached = trained.history[-1]["validation_psnr"]
    if name != "strong" and reached < floor < math.inf:  # strong is meant to go too far
        steps = (settings.stages["l1"] + epochs) * steps_per_epoch(len(pixels), settings.batch_size)
        chosen = None if settings.lr == type(settings).model_fields["lr"].default else settings.lr
        raise DivergenceError(
            f"{name} ends at a validation PSNR of {reached:.2f} dB, below the {floor:.2f} dB of the {what}, "
            f"{after(steps, chosen)}"
        )
    return replace(trained, disc=on_cpu(disc_net)) if disc_net else trained


def least_to_reach(parts: Parts, settings: DeblurSettings) -> tuple[str, float]:
    """The worst that takes no training, and its PSNR on the validation images: what ends below has learned nothing.

    A restorer that only does harm has learned something, and its harm is told of.
    """
    sharp, blurred = followed(parts, settings)
    mean = np.broadcast_to(parts.learn.unit_pixels.mean(axis=0), sharp.shape)
    beneath = {"mean image": mean, "blurred images as they are": blurred}
    if settings.arch == "autoencoder":  # which begins from nothing, and with L1 finds a black image first
        beneath["black image"] = 0 * sharp
    floors = {what: psnr_per_image(sharp, images) for what, images in beneath.items()}
    what = min(floors, key=floors.__getitem__)
    return what, floors[what]


def train_disc(settings: DeblurSettings, seed: int, progress: TaskProgress) -> Trained:
    """disc_net, trained on clear against blurred."""
    device, parts, pixels = begin_training(settings, seed)
    net = disc_net_of(parts, None, device)
    sharp, blurred = followed(parts, settings)

    def accuracy() -> dict[str, float]:
        right = [
            (sign * scores_of(net, on(images, device)) > 0).float().mean()
            for sign, images in ((1, sharp), (-1, blurred))
        ]
        return {"validation_accuracy": float(sum(right) / 2)}

    rows = train_disc_net(net, pixels, settings.stages["disc_net"], seed, settings, Watch(accuracy, progress))
    return follow(net, "disc_net", seed, rows, progress)


def follow(net: nn.Module, stage: str, seed: int, rows: Iterable[Row], progress: Progress) -> Trained:
    """Train to the end, with a row of history for every epoch."""
    history: list[Row] = []
    kind = stage.rpartition(", ")[2]  # whichever restorer it is that is in its last stage
    for row in rows:
        history.append({"stage": stage, "seed": seed, **row})
        progress.record(history[-1])
        progress.step(f"{stage}, epoch {row['epoch']}, loss {row['loss']:.4f}", kind)
    return Trained(on_cpu(net), history)


def on_cpu(net: nn.Module) -> State:
    """A network's weights, ready to be sent and written."""
    return {name: tensor.cpu() for name, tensor in net.state_dict().items()}


def followed(parts: Parts, settings: DeblurSettings) -> tuple[Images, Images]:
    """Validation images, clear and under the blur in the middle of the range."""
    sharp = parts.validation[:FOLLOWED_IMAGES].unit_pixels
    return sharp, blur_for_test(sharp, sum(settings.sigma_range) / 2, settings.noise, VALIDATION_NOISE)


def validator(
    net: nn.Module, parts: Parts, settings: DeblurSettings, device: torch.device
) -> Callable[[], dict[str, float]]:
    """What to call for the PSNR of a restorer on validation images."""
    sharp, blurred = followed(parts, settings)
    return lambda: {"validation_psnr": psnr_per_image(sharp, restored_by(net, blurred, device))}


def network(arch: str, parts: Parts, state: State, device: torch.device) -> nn.Module:
    """A trained restorer."""
    net = new_restorer(arch, parts.learn.image_shape)
    net.load_state_dict(state)
    return net.to(device)


def disc_net_of(parts: Parts, state: State | None, device: torch.device) -> DiscNet:
    """disc_net, trained if there are weights."""
    net = DiscNet(parts.learn.image_shape[0])
    if state:
        net.load_state_dict(state)
    return net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def restored_by(net: nn.Module, blurred: Images, device: torch.device) -> Images:
    """What a network makes of images, [N, C, H, W] in [0, 1]."""
    return restore(net, on(blurred, device)).cpu().numpy()


def on(images: Images, device: torch.device) -> Tensor:
    """Images as a tensor where the networks are."""
    return torch.from_numpy(images).to(device)


@dataclass(frozen=True)
class Tuned(Checkpointable):
    """What a rival that was told the kernel makes of the test images, with the strength that suits training images."""

    strength: float
    restored: Pixels


def tune_rival(settings: DeblurSettings, name: str, sigma: float, progress: TaskProgress) -> Tuned:
    """A classical restorer at one blur."""
    parts = parts_of(settings)
    prepare(settings.seed)
    rival = RIVALS[name]
    strength = tune(rival, parts.learn[:TUNING_IMAGES].unit_pixels, sigma, settings.noise)
    blurred = blur_for_test(parts.test.unit_pixels, sigma, settings.noise, TEST_NOISE)
    restored = to_uint8(rival.restore(blurred, sigma, strength))
    progress.step(f"{name} at sigma {sigma:g}", name)
    return Tuned(strength, restored)
