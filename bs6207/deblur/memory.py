"""How much memory deblur needs: for each task, from the number and size of what it holds at its peak.

Measured as the growth of a process, pictures of 28 x 28 to 400 x 400 pixels, torch 2.14, x86: the estimate is one to
two times of what is used.
"""

import math
from collections.abc import Iterator
from string import ascii_letters
from typing import NamedTuple

import torch

from bs6207.data.images import DataSet
from bs6207.deblur.blur import (
    CACHED_SIDE,
    CUT,
    FOLLOWED_IMAGES,
    PADDINGS,
    SMALLEST_SIDE,
    Split,
    folds,
    split_data,
)
from bs6207.deblur.classical import AT_ONCE, BASELINES, TUNING_IMAGES
from bs6207.deblur.evaluation import FEWEST_SAMPLES, FONTS, TWO_SAMPLES
from bs6207.deblur.evaluators import train_batch_size
from bs6207.deblur.networks import BOTTLENECK, STRIDE, WIDTH
from bs6207.deblur.settings import DeblurSettings
from bs6207.deblur.training import PIXELS_AT_ONCE
from bs6207.runs.memory import COPIES, Need, require_room
from bs6207.training.devices import choose_device, choose_precision

# Bytes for each pixel of all images that are held or passed through a network at once, whatever the channels,
UNET = {torch.float32: 1050, torch.bfloat16: 700}  # training it, with disc_net
RESTORING, EVALUATOR, EVALUATING = 250, 900, 450  # EVALUATOR to train, EVALUATING to evaluate with
# and for each value of a pixel, as there are three in colour.
SCORED, VALIDATED, HELD = 60, 40, 8
BASELINE, BASELINE_AT_ONCE = 60, 100  # of all images, and of those restored at once

AUTOENCODER, RESULT = 8, 3  # times its weights: with gradients, momenta and checkpoint; as an outcome
HERE = 3  # bytes for each value restored: as outcome, saved, and drawn
LEAST = 128 * 2**20  # bytes: of any task
SMALLER = 0.8  # side of the next smaller image to be offered


class Sizes(NamedTuple):
    """How many images there are to train on, to validate and to test on, and their size in pixels."""

    train: int
    validation: int
    test: int
    channels: int
    height: int
    width: int

    @property
    def pixels(self) -> int:
        return self.height * self.width


def require_memory(split: Split, settings: DeblurSettings, name: str) -> None:
    """Check that a run fits into memory, or raise DataError that says what would."""
    sizes = sizes_of(split)
    run = f"deblur on {name}, images of {sizes.width} x {sizes.height} pixels,"
    require_room(run, taken(sizes, settings), settings.jobs or 1, less(sizes, settings))


def need(data: DataSet, settings: DeblurSettings) -> Need:
    return taken(sizes_of(split_data(data, settings)), settings)


def sizes_of(split: Split) -> Sizes:
    return Sizes(len(split.train_full), len(split.validation), len(split.test), *split.train.image_shape)


def less(sizes: Sizes, settings: DeblurSettings) -> Iterator[tuple[str, Need]]:
    """Smaller settings and images, in words, and what they need."""
    batch = min(settings.batch_size, sizes.train)
    while (batch := batch // 2) >= 1:
        yield f"--batch-size {batch}", taken(sizes, settings.model_copy(update={"batch_size": batch}))
    while min(sizes.height, sizes.width) * SMALLER >= SMALLEST_SIDE:
        sizes = sizes._replace(height=int(sizes.height * SMALLER), width=int(sizes.width * SMALLER))
        yield f"images of {sizes.width} x {sizes.height} pixels", taken(sizes, settings)


def taken(sizes: Sizes, settings: DeblurSettings) -> Need:
    """What a run on images of these sizes needs."""
    values = sizes.channels * sizes.pixels
    data = COPIES * (sizes.train + sizes.validation + sizes.test) * values + LEAST
    followed = min(FOLLOWED_IMAGES, sizes.validation)
    sigmas, seeds = len(settings.test_sigmas), settings.seeds
    restored = (2 * seeds + len(BASELINES) + 3) * sigmas * sizes.test * values
    weights = autoencoder_bytes(sizes)

    validation = VALIDATED * followed * values + RESTORING * max(PIXELS_AT_ONCE, sizes.pixels)
    evaluating = EVALUATING * training_batch(sizes, sizes.test) * sizes.pixels
    step = step_bytes(sizes, settings)
    training = data + validation + step
    autoencoder = data + validation + max(step, AUTOENCODER * weights)
    evaluators = data + EVALUATOR * training_batch(sizes, sizes.train) * sizes.pixels + SCORED * followed * values
    evaluation = data + SCORED * max(sizes.test, len(FONTS) * len(ascii_letters)) * values + evaluating
    if sizes.validation >= 2 * FEWEST_SAMPLES:
        samples = min(2 * TWO_SAMPLES, sizes.validation)
        evaluation += EVALUATOR * training_batch(sizes, samples) * sizes.pixels + HELD * samples * values
    interpolation = data + validation + evaluating + HELD * sigmas * (sizes.test + followed) * values
    most = max(sizes.test, min(TUNING_IMAGES, sizes.train)) * values
    baseline = data + BASELINE * most + BASELINE_AT_ONCE * min(AT_ONCE * sizes.pixels, most)

    restorer = autoencoder if settings.arch == "autoencoder" else training
    first = [restorer] * seeds + [training] * seeds + [evaluators, autoencoder] + [baseline] * len(BASELINES) * sigmas
    last = [restorer] * (2 * seeds + settings.frontier)
    here = HERE * restored + RESULT * weights
    waves = [first, last, [interpolation, *[evaluation] * (2 * seeds + 2)]]
    return Need(here, [[]] if settings.scheduler else waves)


def step_bytes(sizes: Sizes, settings: DeblurSettings) -> int:
    """What a training step needs, its blur included; for the networks nothing where they are on a GPU."""
    device = choose_device(settings.device)
    batch = min(settings.batch_size, sizes.train)
    network = UNET[choose_precision(settings.precision, device)] if device.type == "cpu" else 0
    radius = int(CUT * settings.sigma.high + 0.5) + 1
    matrices = 4 * batch * (sizes.height**2 + sizes.width**2)
    longest = max(sizes.height, sizes.width)
    cached = folds.cache_parameters()["maxsize"] if longest <= CACHED_SIDE else 1
    blur = 4 * len(PADDINGS) * longest**2 * (batch + cached * (2 * radius + 1))
    return network * batch * sizes.pixels + matrices + blur


def autoencoder_bytes(sizes: Sizes) -> int:
    """The weights of the two layers around the bottleneck of the autoencoder; the others are negligible."""
    return 2 * 4 * BOTTLENECK * 2 * WIDTH * math.prod(math.ceil(side / STRIDE) for side in (sizes.height, sizes.width))


def training_batch(sizes: Sizes, count: int) -> int:
    """How many images an evaluator sees at once."""
    return min(count, train_batch_size(torch.empty(0, 1, sizes.height, sizes.width), count))
