"""The memory that deblur takes, from the number and size of the images: one to two times of what was measured.

Measured as the growth of a process, pictures of 28 x 28 to 400 x 400 pixels, torch 2.14, x86.
"""

import math
from collections.abc import Iterator
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
    settings_of,
    split_data,
)
from bs6207.deblur.classical import AT_ONCE, BASELINES, TUNING_IMAGES
from bs6207.deblur.conditions import KERNEL_BASELINES, LETTERS, PHOTOGRAPH_CONDITIONS, WITH_BASELINES
from bs6207.deblur.degradation import radius_of
from bs6207.deblur.evaluation import FEWEST_SAMPLES, TWO_SAMPLES
from bs6207.deblur.evaluators import batch_size
from bs6207.deblur.model import TILE
from bs6207.deblur.networks import BOTTLENECK, MARGIN, REACH, STRIDE, WIDTH
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
MIRRORED = 4 * 60  # of the photograph that is restored, with its three mirror images
DECONVOLVED = 100  # of a photograph, and of crops with their margins: Wiener filters and their Fourier transforms

AUTOENCODER, RESULT = 8, 3  # times its weights: with gradients, momenta and checkpoint; as an outcome
HERE = 3  # bytes for each value restored: as outcome, saved, and drawn
LEAST = 128 * 2**20  # bytes: of any task
SMALLER = 0.8  # side of the next smaller image to be offered


class Sizes(NamedTuple):
    """How many images there are to train on, to validate and to test on, and their shape."""

    train: int
    validation: int
    test: int
    channels: int
    height: int
    width: int


def require_memory(split: Split, settings: DeblurSettings, name: str) -> None:
    """Check that a run fits into memory, or raise DataError that says what would."""
    if split.crop is not None:
        require_room(f"deblur on {name}", taken_by_photographs(split, settings), settings.jobs or 1, ())
        return
    sizes = sizes_of(split)
    run = f"deblur on {name}, images of {sizes.width} x {sizes.height} pixels,"
    require_room(run, taken(sizes, settings), settings.jobs or 1, less(sizes, settings))


def need(data: DataSet, settings: DeblurSettings) -> Need:
    settings = settings_of(data, settings)
    split = split_data(data, settings)
    return taken(sizes_of(split), settings) if split.crop is None else taken_by_photographs(split, settings)


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


def taken_by_photographs(split: Split, settings: DeblurSettings) -> Need:
    """What a run on photographs takes: batches of crops, and whole pictures to score."""
    parts = split.train_full, split.validation, split.test
    bytes_of = [sum(picture.size for picture in part.pixels) for part in parts]
    values, sigmas, seeds = max(bytes_of[1:]), len(settings.test_sigmas), settings.seeds
    data = COPIES * sum(bytes_of) + LEAST
    device = choose_device(settings.device)
    network = UNET[choose_precision(settings.precision, device)] if device.type == "cpu" else 0
    crop = settings.crop or 0
    crops = settings.batch_size * crop**2
    windows = settings.batch_size * (crop + 2 * MARGIN + 2 * radius_of(settings.sigma.high)) ** 2
    largest = max(picture.size for part in parts[1:] for picture in part.pixels)
    training = data + VALIDATED * bytes_of[1] + RESTORING * (TILE + 2 * REACH) ** 2 + network * crops
    training += DECONVOLVED * max(windows * split.train.image_shape[0], largest)
    baseline = data + BASELINE * bytes_of[2] + MIRRORED * largest
    evaluation = data + SCORED * values + HELD * (sigmas + len(PHOTOGRAPH_CONDITIONS)) * values
    evaluation += RESTORING * (TILE + 2 * REACH) ** 2 + EVALUATOR * PIXELS_AT_ONCE + DECONVOLVED * largest
    here = HERE * (2 * seeds + len(BASELINES) + 3) * sigmas * bytes_of[2]
    baselines = len(BASELINES) * sigmas + len(KERNEL_BASELINES) * len(WITH_BASELINES)
    first = [training] * (2 * seeds) + [baseline] * baselines
    return Need(here, [[]] if settings.scheduler else [first, [evaluation] * (2 * seeds + 3)])


def taken(sizes: Sizes, settings: DeblurSettings) -> Need:
    train, validation, test, channels, *sides = sizes
    pixels, longest = math.prod(sides), max(sides)
    values, followed = channels * pixels, min(FOLLOWED_IMAGES, validation)
    sigmas, seeds = len(settings.test_sigmas), settings.seeds
    data = COPIES * (train + validation + test) * values + LEAST
    # the layers around the autoencoder's bottleneck; its others are negligible
    weights = 2 * 4 * BOTTLENECK * 2 * WIDTH * math.prod(math.ceil(side / STRIDE) for side in sides)

    device, batch = choose_device(settings.device), min(settings.batch_size, train)
    network = UNET[choose_precision(settings.precision, device)] if device.type == "cpu" else 0
    taps = 2 * (int(CUT * settings.sigma.high + 0.5) + 1) + 1
    cached = folds.cache_parameters()["maxsize"] if longest <= CACHED_SIDE else 1
    blur = 4 * batch * sum(side**2 for side in sides) + 4 * len(PADDINGS) * longest**2 * (batch + cached * taps)
    step = max(network * batch * pixels + blur, AUTOENCODER * weights)
    training = data + VALIDATED * followed * values + RESTORING * max(PIXELS_AT_ONCE, pixels) + step

    def at_once(count: int) -> int:
        return min(count, batch_size(torch.empty(0, 1, *sides))) * pixels

    tuned = max(test, min(TUNING_IMAGES, train)) * values
    baseline = data + BASELINE * tuned + BASELINE_AT_ONCE * min(AT_ONCE * pixels, tuned)
    evaluators = data + EVALUATOR * at_once(train) + SCORED * followed * values
    evaluation = data + SCORED * max(test, len(LETTERS)) * values + EVALUATING * at_once(test)
    evaluation += HELD * sigmas * (test + followed) * values  # in interpolation
    if validation >= 2 * FEWEST_SAMPLES:
        samples = min(2 * TWO_SAMPLES, validation)
        evaluation += EVALUATOR * at_once(samples) + HELD * samples * values

    here = HERE * (2 * seeds + len(BASELINES) + 3) * sigmas * test * values + RESULT * weights
    first = [training] * (2 * seeds + 1) + [evaluators] + [baseline] * len(BASELINES) * sigmas
    return Need(here, [[]] if settings.scheduler else [first, [evaluation] * (2 * seeds + 3)])
