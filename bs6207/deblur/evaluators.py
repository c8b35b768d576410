"""Evaluators of restored images that took no part in training a restorer.

The disc_net that trained a restorer cannot evaluate it, and no other evaluator can alone: clear images of the wrong
thing please a held-out discriminator. So a classifier tells whether they still show the same class, a new network
whether they differ from clear images, and plausibility whether they explain the blurred ones.

The networks see images in 8 bits, as a file would hold them, and train on one core in seconds, whatever the run's
device. Random numbers come from `seed` alone, and the run's own stream is left as it was.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bs6207.data.images import to_float, to_uint8
from bs6207.deblur.blur import Context, Pixels, gaussian_blur
from bs6207.deblur.networks import Residual, State, channels_last, load_weights
from bs6207.runs.result import Checkpointable
from bs6207.training.batches import batch_indices
from bs6207.training.devices import flush_denormals, multiplies_in_bfloat16
from bs6207.training.epochs import warm_up_then_decay
from bs6207.training.metrics.restoration import Images, psnr_per_image
from bs6207.training.optimizers import AdamW

WIDTH = 32  # of the maps at half resolution; twice as many at a quarter
HIDDEN = 32  # units of the last layer but one of a detector
DROPOUT = 0.8  # of the pooled maps, or a few hundred images are learned by heart
FEATURES = 64  # dimensions of the classifier's features
GRID = 4  # cells per side that the classifier pools its maps to


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    """3 x 3, with BatchNorm."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs))


def residual_block(channels: int) -> nn.Module:
    body = Residual(convolution(channels, channels), nn.ReLU(), convolution(channels, channels))
    return nn.Sequential(body, nn.ReLU())


class Trunk(nn.Module):
    """Maps of images of any size at a quarter of their resolution, [N, 2 WIDTH, H / 4, W / 4]."""

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.PixelUnshuffle(2),  # no pixel is lost, and a quarter of the places to convolve at
            convolution(4 * channels, WIDTH),
            nn.ReLU(),
            residual_block(WIDTH),
            convolution(WIDTH, 2 * WIDTH, stride=2),
            nn.ReLU(),
            residual_block(2 * WIDTH),
        )

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        even = functional.pad(images, (0, width % 2, 0, height % 2), mode="replicate")
        return self.layers(even.contiguous(memory_format=torch.channels_last))


class Detector(nn.Module):
    """Tells clear images from others, by mean and maximum of its maps and, if it sees levels, of the pixels."""

    def __init__(self, channels: int, sees_levels: bool):
        super().__init__()
        self.trunk, self.sees_levels = Trunk(channels), sees_levels
        self.dropout = nn.Dropout(DROPOUT)
        pooled = 4 * WIDTH + 3 * channels * sees_levels
        self.head = nn.Sequential(  # normalized first: levels that differ by a hundredth would take long to learn
            nn.BatchNorm1d(pooled), nn.Linear(pooled, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits of "not clear" and "clear", [N, 2]."""
        maps = self.trunk(images).float()
        pooled = [self.dropout(torch.cat((maps.mean((2, 3)), maps.amax((2, 3))), dim=1))]
        if self.sees_levels:
            pooled += [images.amin((2, 3)), images.mean((2, 3)), images.amax((2, 3))]
        return self.head(torch.cat(pooled, dim=1))


def new_classifier(channels: int, classes: int) -> nn.Sequential:
    """A network for features, [N, FEATURES], and one for their logits, [N, classes]; for images of any size."""
    pooled = (Trunk(channels), nn.AdaptiveAvgPool2d(GRID), nn.Flatten())
    features = nn.Sequential(*pooled, nn.Linear(2 * WIDTH * GRID**2, FEATURES), nn.ReLU())
    return nn.Sequential(features, nn.Linear(FEATURES, classes))


CPU = torch.device("cpu")
PEAK_RATE, WEIGHT_DECAY = 5e-3, 1e-2
WARM_UP = 0.2  # share of the steps in which the learning rate rises; it then falls linearly to 0
BATCH, SMALLEST_BATCH, PIXELS_AT_ONCE = 128, 16, 128 * 28 * 28  # larger images come in smaller batches
LEAST_BATCHES = 16  # in a pass over few images: smaller ones teach as much a step, and cost less
DISC_STEPS, TWO_SAMPLE_STEPS = 200, 120
TWO_SAMPLE_PASSES = 15  # over the smaller side, at most: few images would be learned by heart
CLASSIFIER_STEPS, CLASSIFIER_PASSES = (160, 280), 6  # so many passes over the images, within so many steps
Batches: TypeAlias = Iterator[tuple[Tensor, Tensor]]  # uint8 images [N, C, H, W] and their classes [N]


@dataclass(frozen=True)
class HeldOutDisc(Checkpointable):
    """A discriminator that trained no restorer: other layers, other images, other blur."""

    channels: int
    weights: State

    def scores(self, images: Images) -> NDArray[np.float32]:
        """Scores of images in [0, 1], [N]; above 0 it classifies one as clear."""
        logits = outputs(trained(partial(Detector, self.channels, sees_levels=False), self.weights), images)
        return (logits[:, 1] - logits[:, 0]).numpy()

    def clearness(self, images: Images) -> float:
        """Share of images in [0, 1] classified as clear; the share of clear images is the aim, not 1."""
        return float(np.mean(self.scores(images) > 0))


def train_heldout_disc(sharp: Pixels, sigma: tuple[float, float], seed: int, border: str = "constant") -> HeldOutDisc:
    """Train a discriminator of clear images and images blurred by scipy, by a sigma drawn anew for each.

    There is no noise on either side: it would give the blurred side away.
    """
    random = torch.Generator().manual_seed(seed)
    pixels = torch.from_numpy(sharp)
    low, high = sigma

    def blurred_and_clear() -> Batches:
        for chosen in batch_indices(len(pixels), train_batch_size(pixels, len(pixels)), DISC_STEPS, random):
            across, down = (torch.rand(2, generator=random) < 0.5).tolist()  # mirrored, which changes no sharpness
            images = pixels[chosen].flip([axis for axis, turned in ((3, across), (2, down)) if turned])
            clear, others = images[::2], to_float(images[1::2].numpy())
            sigmas = (low + (high - low) * torch.rand(len(others), generator=random)).tolist()
            pairs = zip(np.split(others, len(others)), sigmas, strict=True)
            blurred = np.concatenate([gaussian_blur(image, sigma, border) for image, sigma in pairs])
            yield with_classes(uint8_tensor(blurred), clear)

    network = fit(partial(Detector, pixels.shape[1], sees_levels=False), blurred_and_clear(), DISC_STEPS, seed)
    return HeldOutDisc(pixels.shape[1], network.state_dict())


def two_sample_accuracy(
    clear_train: Images, restored_train: Images, clear_test: Images, restored_test: Images, seed: int
) -> float:
    """Test accuracy of a new network trained to tell restored from clear images; 0.5 is chance.

    The mean of the shares right on both sides, so their sizes may differ (classifier two-sample test, Lopez-Paz & Oquab
    2017, arXiv:1610.06545). It assumes independent samples, so those to train on must be of different originals: pairs
    would show the network what the restorer did to each.
    """
    random = torch.Generator().manual_seed(seed)
    sides = [uint8_tensor(images) for images in (restored_train, clear_train)]
    half = train_batch_size(sides[0], sum(map(len, sides))) // 2
    steps = min(TWO_SAMPLE_STEPS, 1 + TWO_SAMPLE_PASSES * min(map(len, sides)) // half)

    def restored_and_clear() -> Batches:
        for chosen in zip(*(batch_indices(len(side), half, steps, random) for side in sides), strict=True):
            yield with_classes(*(side[places] for side, places in zip(sides, chosen, strict=True)))

    network = fit(partial(Detector, clear_train.shape[1], sees_levels=True), restored_and_clear(), steps, seed)
    clear, restored = (
        float((outputs(network, images).argmax(1) == 1).float().mean()) for images in (clear_test, restored_test)
    )
    return (clear + 1 - restored) / 2


@dataclass(frozen=True)
class Classifier(Checkpointable):
    """A classifier of images, and the features of its last layer but one, in which similar images are near."""

    channels: int
    classes: int
    weights: State

    @property
    def network(self) -> nn.Module:
        return trained(partial(new_classifier, self.channels, self.classes), self.weights)

    def accuracy(self, images: Images, labels: NDArray[np.int64]) -> float:
        return float((outputs(self.network, images).argmax(1) == torch.from_numpy(labels)).float().mean())

    def features(self, images: Images) -> NDArray[np.float32]:
        return outputs(self.network.get_submodule("0"), images).numpy()


def train_classifier(sharp: Pixels, labels: NDArray[np.int64], classes: int, seed: int) -> Classifier:
    """Train a classifier of images by their labels, [N], 0 to classes - 1."""
    random = torch.Generator().manual_seed(seed)
    pixels, targets = torch.from_numpy(sharp), torch.from_numpy(labels)
    batch = train_batch_size(pixels, len(pixels))
    least, most = CLASSIFIER_STEPS
    steps = max(least, min(most, CLASSIFIER_PASSES * len(pixels) // batch))
    batches = ((pixels[chosen], targets[chosen]) for chosen in batch_indices(len(pixels), batch, steps, random))
    network = fit(partial(new_classifier, pixels.shape[1], classes), batches, steps, seed)
    return Classifier(pixels.shape[1], classes, network.state_dict())


@dataclass(frozen=True)
class Evaluators(Checkpointable):
    heldout: HeldOutDisc
    classifier: Classifier | None = None  # where the images have labels to learn
    clear_features: NDArray[np.float32] | None = None  # of clear validation images, for the Fréchet distance


def train_evaluators(context: Context) -> Evaluators:
    split, seed = context.split, context.seed
    heldout = train_heldout_disc(split.crops(split.heldout.batches), context.settings.sigma, seed, split.border)
    context.progress.step("the held-out disc", "evaluators")
    labels = split.train_full.labels
    if labels is None or len(np.unique(labels)) < 2:
        context.progress.step("no classifier", "evaluators")
        return Evaluators(heldout)
    classifier = train_classifier(split.train_full.pixels, labels, int(labels.max()) + 1, seed)
    context.progress.step("the classifier", "evaluators")
    return Evaluators(heldout, classifier, classifier.features(split.validation.unit_pixels))


def plausibility(restored: Images, blurred: Images, sigma: float, border: str = "constant") -> float:
    """PSNR, in decibels, of restored images blurred again, for the blurred images they were made from, noise included.

    The truth does not reach infinity but what noise and 8 bits leave; more than that is noise explained by edges.
    """
    return psnr_per_image(blurred, gaussian_blur(restored, sigma, border))


def uint8_tensor(images: NDArray) -> Tensor:
    return torch.from_numpy(to_uint8(images))


def with_classes(others: Tensor, clear: Tensor) -> tuple[Tensor, Tensor]:
    """A batch of both, and class 1 for the clear ones."""
    return torch.cat((others, clear)), torch.arange(len(others) + len(clear)).ge(len(others)).long()


def batch_size(images: Tensor) -> int:
    """Images to pass through a network at once: fewer where they are larger, so that a step takes about as long."""
    return max(SMALLEST_BATCH, min(BATCH, PIXELS_AT_ONCE // (images.shape[2] * images.shape[3])))


def train_batch_size(images: Tensor, count: int) -> int:
    """Images per training step, of `count` such as these: fewer where there are few."""
    return max(SMALLEST_BATCH, min(batch_size(images), count // LEAST_BATCHES))


@flush_denormals()
def fit(build: Callable[[], nn.Module], batches: Batches, steps: int, seed: int) -> nn.Module:
    """Train with cross-entropy; the layers in bfloat16 where the processor has it, weights and loss not."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = channels_last(build()).train()
        optimizer = AdamW([([*network.parameters()], WEIGHT_DECAY)], (0.9, 0.99))
        for step, (images, classes) in enumerate(batches):
            with torch.autocast("cpu", torch.bfloat16, enabled=multiplies_in_bfloat16("cpu")):
                logits = network(images.float() / 256)  # bfloat16 holds no 255ths, but all 256ths
            functional.cross_entropy(logits.float(), classes).backward()
            optimizer.step(PEAK_RATE * warm_up_then_decay(step, steps, WARM_UP))
    return network.eval()


def trained(build: Callable[[], nn.Module], weights: State) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        return load_weights(build(), weights, CPU).eval()


@torch.no_grad()
def outputs(network: nn.Module, images: Images) -> Tensor:
    """Outputs of a network for images in [0, 1], in float32."""
    pixels = uint8_tensor(images)
    return torch.cat([network(batch.float() / 256) for batch in pixels.split(batch_size(pixels))])
