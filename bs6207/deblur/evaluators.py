"""Evaluators of restored images that took no part in training a restorer.

The disc_net that trained a restorer cannot evaluate it, and no other evaluator can alone: clear images of the wrong
thing please a held-out discriminator. Each answers one question:

- `HeldOutDisc`: are the images as clear as clear ones?
- `Classifier`: do they still show the same class? The Fréchet distance is between its features.
- `two_sample_accuracy`: can a new network tell them from clear images?
- `plausibility`: blurred again, do they give the blurred image?

The networks see images in 8 bits, as a file would hold them, and train on one core in seconds, whatever the run's
device. Random numbers come from `seed` alone, and the run's own stream is left as it was.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
import torch._dynamo  # which the first optimizer imports: here, once for all workers
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from bs6207.data.images import to_float, to_uint8
from bs6207.deblur.blur import blur_for_test
from bs6207.deblur.networks import Network, Residual, State, channels_last, load_weights
from bs6207.runs.result import Checkpointable
from bs6207.training.batches import batch_indices
from bs6207.training.devices import flush_denormals, multiplies_in_bfloat16
from bs6207.training.epochs import warm_up_then_decay
from bs6207.training.metrics.restoration import Images, psnr_per_image
from bs6207.training.optimizers import OPTIMIZERS

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
    """Maps of an image at a quarter of its resolution, [N, 2 WIDTH, H / 4, W / 4], from images of any size."""

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
    """Tells clear images from others, by the mean and by the maximum of its maps.

    Args:
        sees_levels: whether the darkest, the mean and the brightest pixel are inputs of the head.
    """

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
    features = nn.Sequential(
        Trunk(channels),
        nn.AdaptiveAvgPool2d(GRID),
        nn.Flatten(),
        nn.Linear(2 * WIDTH * GRID**2, FEATURES),
        nn.ReLU(),
    )
    return nn.Sequential(features, nn.Linear(FEATURES, classes))


CPU = torch.device("cpu")
NO_NOISE = 0  # the seed of none
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

    @property
    def network(self) -> Detector:
        return trained_network(lambda: Detector(self.channels, sees_levels=False), self.weights)

    def scores(self, images: Images) -> NDArray[np.float32]:
        """Scores of images in [0, 1], [N]; above 0 it classifies one as clear."""
        logits = outputs(self.network, uint8_tensor(images))
        return (logits[:, 1] - logits[:, 0]).numpy()

    def clearness(self, images: Images) -> float:
        """Share of images in [0, 1] classified as clear; the share of clear images is the aim, not 1."""
        return float(np.mean(self.scores(images) > 0))


def train_heldout_disc(sharp: NDArray[np.uint8], sigma: tuple[float, float], seed: int) -> HeldOutDisc:
    """Train a discriminator of clear images and images blurred by scipy, in double precision.

    There is no noise on either side: it would give the blurred side away.

    Args:
        sharp: [N, C, H, W], images that no restorer was trained on.
        sigma: range of the blur, in pixels; drawn uniformly for every image of every batch.
    """
    random = torch.Generator().manual_seed(seed)
    pixels = torch.from_numpy(sharp)
    low, high = sigma

    def blurred(images: Tensor) -> Tensor:
        sigmas = (low + (high - low) * torch.rand(len(images), generator=random)).tolist()
        pairs = zip(np.split(to_float(images.numpy()), len(images)), sigmas, strict=True)
        return uint8_tensor(np.concatenate([blur_for_test(image, sigma, 0.0, NO_NOISE) for image, sigma in pairs]))

    def clear_and_blurred() -> Batches:
        for chosen in batch_indices(len(pixels), train_batch_size(pixels, len(pixels)), DISC_STEPS, random):
            images = flipped(pixels[chosen], random)
            clear, others = images[::2], images[1::2]
            yield torch.cat((blurred(others), clear)), zeros_then_ones(len(others), len(clear))

    with random_numbers_from(seed):
        network = Detector(pixels.shape[1], sees_levels=False)
        fit(network, clear_and_blurred(), DISC_STEPS)
    return HeldOutDisc(pixels.shape[1], network.state_dict())


def two_sample_accuracy(
    clear_train: Images, restored_train: Images, clear_test: Images, restored_test: Images, seed: int
) -> float:
    """Test accuracy of a new network trained to tell restored from clear images; 0.5 is chance.

    The mean of the shares right on both sides, so their sizes may differ (classifier two-sample test, Lopez-Paz & Oquab
    2017, arXiv:1610.06545).

    Args:
        clear_train, restored_train: images in [0, 1], of different originals (halves of one set), because the test
            assumes two independent samples: pairs would show the network what the restorer did to each original.
        clear_test, restored_test: of originals that are not in training.
    """
    random = torch.Generator().manual_seed(seed)
    sides = [uint8_tensor(images) for images in (restored_train, clear_train)]
    half = train_batch_size(sides[0], sum(map(len, sides))) // 2
    steps = min(TWO_SAMPLE_STEPS, 1 + TWO_SAMPLE_PASSES * min(map(len, sides)) // half)

    def restored_and_clear() -> Batches:
        for chosen in zip(*(batch_indices(len(side), half, steps, random) for side in sides), strict=True):
            restored, clear = (side[places] for side, places in zip(sides, chosen, strict=True))
            yield torch.cat((restored, clear)), zeros_then_ones(len(restored), len(clear))

    with random_numbers_from(seed):
        network = Detector(clear_train.shape[1], sees_levels=True)
        fit(network, restored_and_clear(), steps)
    clear, restored = (
        float((outputs(network, uint8_tensor(images)).argmax(1) == 1).float().mean())
        for images in (clear_test, restored_test)
    )
    return (clear + 1 - restored) / 2


@dataclass(frozen=True)
class Classifier(Checkpointable):
    """A classifier of images, and the features of its last layer but one, in which similar images are near."""

    channels: int
    classes: int
    weights: State

    @property
    def network(self) -> nn.Sequential:
        return trained_network(lambda: new_classifier(self.channels, self.classes), self.weights)

    def accuracy(self, images: Images, labels: NDArray[np.int64]) -> float:
        """Share of images in [0, 1] whose class is right."""
        predicted = outputs(self.network, uint8_tensor(images)).argmax(1)
        return float((predicted == torch.from_numpy(labels)).float().mean())

    def features(self, images: Images) -> NDArray[np.float32]:
        """[N, FEATURES], of images in [0, 1]."""
        return outputs(self.network[0], uint8_tensor(images)).numpy()


def train_classifier(sharp: NDArray[np.uint8], labels: NDArray[np.int64], classes: int, seed: int) -> Classifier:
    """Train a classifier of images, [N, C, H, W], by their labels, [N], 0 to classes - 1."""
    random = torch.Generator().manual_seed(seed)
    pixels, targets = torch.from_numpy(sharp), torch.from_numpy(labels)
    batch = train_batch_size(pixels, len(pixels))
    least, most = CLASSIFIER_STEPS
    steps = max(least, min(most, CLASSIFIER_PASSES * len(pixels) // batch))
    with random_numbers_from(seed):
        network = new_classifier(pixels.shape[1], classes)
        batches = ((pixels[chosen], targets[chosen]) for chosen in batch_indices(len(pixels), batch, steps, random))
        fit(network, batches, steps)
    return Classifier(pixels.shape[1], classes, network.state_dict())


def plausibility(restored: Images, blurred: Images, sigma: float) -> float:
    """How well restored images, blurred again, explain the blurred images they were made from; higher is better.

    The PSNR, in decibels, mean over images. The truth does not reach infinity but what noise and 8 bits leave:
    plausibility(truth, blurred, sigma), the ceiling. More than that is noise explained by edges.

    Args:
        restored: [N, C, H, W] in [0, 1].
        blurred: of the same shape, the input of the restorer, noise included.
        sigma: of the true blur, in pixels.
    """
    reblurred = gaussian_filter(restored.astype(np.float64), (0, 0, sigma, sigma), mode="constant")
    return psnr_per_image(blurred, reblurred)


def uint8_tensor(images: Images) -> Tensor:
    return torch.from_numpy(to_uint8(images))


def flipped(images: Tensor, random: torch.Generator) -> Tensor:
    """Half the time mirrored, half the time upside down, which changes no sharpness."""
    across, down = torch.rand(2, generator=random).tolist()
    axes = [axis for axis, chance in ((3, across), (2, down)) if chance < 0.5]
    return images.flip(axes)


def zeros_then_ones(zeros: int, ones: int) -> Tensor:
    return torch.arange(zeros + ones).ge(zeros).long()


def batch_size(images: Tensor) -> int:
    """Images to pass through a network at once: fewer where they are larger, so that a step takes about as long."""
    return max(SMALLEST_BATCH, min(BATCH, PIXELS_AT_ONCE // (images.shape[2] * images.shape[3])))


def train_batch_size(images: Tensor, count: int) -> int:
    """Images per training step, of `count` such as these: fewer where there are few."""
    return max(SMALLEST_BATCH, min(batch_size(images), count // LEAST_BATCHES))


@contextmanager
def random_numbers_from(seed: int) -> Iterator[None]:
    """Seed torch's random stream, and restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


@flush_denormals()
def fit(network: nn.Module, batches: Batches, steps: int) -> None:
    """Train in place with cross-entropy; the layers in bfloat16 where the processor has it, weights and loss not."""
    optimizer = OPTIMIZERS["adamw"](
        network.parameters(), lr=PEAK_RATE, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=WEIGHT_DECAY, fused=True
    )
    schedule = LambdaLR(optimizer, lambda step: warm_up_then_decay(step, steps, WARM_UP))
    channels_last(network).train()
    for images, classes in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=multiplies_in_bfloat16(CPU)):
            logits = network(to_input(images))
        loss = functional.cross_entropy(logits.float(), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()


def trained_network(build: Callable[[], Network], weights: State) -> Network:
    with random_numbers_from(0):
        return load_weights(build(), weights, CPU).eval()


@torch.no_grad()
def outputs(network: nn.Module, images: Tensor) -> Tensor:
    """Outputs of a network for uint8 images, in float32."""
    return torch.cat([network(to_input(batch)) for batch in images.split(batch_size(images))])


def to_input(images: Tensor) -> Tensor:
    """uint8 images in [0, 1), exactly: bfloat16 holds no 255ths, but all 256ths."""
    return images.float() / 256
