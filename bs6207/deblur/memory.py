"""How much memory deblur takes: of each task what was measured, by the number and size of what it holds at its peak.

Measured as the growth of a process, pictures of 28 x 28 to 400 x 400 pixels, torch 2.14, x86; what is foreseen was
seen to be up to twice of what is taken, and never less.
"""

import math
from collections.abc import Iterator
from string import ascii_letters
from typing import NamedTuple

import torch

from bs6207.data.images import DataSet
from bs6207.deblur.blur import CUT, KEPT_UP_TO, PADDINGS, folds
from bs6207.deblur.classical import AT_ONCE, RIVALS
from bs6207.deblur.evaluation import FEWEST_SAMPLES, FONTS, TWO_SAMPLES
from bs6207.deblur.evaluators import lesson_size
from bs6207.deblur.networks import BOTTLENECK, STRIDE, WIDTH
from bs6207.deblur.parts import FOLLOWED_IMAGES, SMALLEST_SIDE, Parts, divide
from bs6207.deblur.settings import DeblurSettings
from bs6207.deblur.study import TUNING_IMAGES
from bs6207.deblur.training import PIXELS_AT_ONCE
from bs6207.runs.memory import COPIES, Need, require_room
from bs6207.training.devices import choose_device, choose_precision

# Bytes for each pixel of all images that are held or passed through a network at once, whatever the channels,
UNET = {torch.float32: 1050, torch.bfloat16: 700}  # training it, with disc_net
RESTORING, REFEREE, JUDGING_NETWORK = 250, 900, 450
# and for each value of a pixel, as there are three in colour.
SCORED, VALIDATED, HELD = 60, 40, 8
RIVAL, RIVAL_AT_ONCE = 60, 100  # of all images, and of those restored at once

AUTOENCODER, RESULT = 8, 3  # times its weights: with gradients, momenta and what is put aside; as an outcome
HERE = 3  # bytes for each value restored: as it is found, put aside, and drawn
LEAST = 128 * 2**20  # bytes: of any task
SMALLER = 0.8  # side of the next smaller image to be offered


class Sizes(NamedTuple):
    """How many images there are to learn from, to validate and to test on, and what they measure in pixels."""

    learn: int
    validation: int
    test: int
    channels: int
    height: int
    width: int

    @property
    def pixels(self) -> int:
        """Of an image, whatever its channels."""
        return self.height * self.width


def require_memory(parts: Parts, settings: DeblurSettings, name: str) -> None:
    """Check that a run fits into memory.

    Raises:
        DataError: it does not; the message says what would.
    """
    sizes = sizes_of(parts)
    what = f"deblur on {name}, images of {sizes.width} x {sizes.height} pixels,"
    require_room(what, taken(sizes, settings), settings.jobs or 1, less(sizes, settings))


def need(data: DataSet, settings: DeblurSettings) -> Need:
    """What a run on a data set takes.

    Raises:
        DataError: the images are too few or too small.
    """
    return taken(sizes_of(divide(data, settings)), settings)


def sizes_of(parts: Parts) -> Sizes:
    """What a run holds."""
    return Sizes(len(parts.whole), len(parts.validation), len(parts.test), *parts.whole.image_shape)


def less(sizes: Sizes, settings: DeblurSettings) -> Iterator[tuple[str, Need]]:
    """What could be given instead, in words, and what that needs."""
    batch = min(settings.batch_size, sizes.learn)
    while (batch := batch // 2) >= 1:
        yield f"--batch-size {batch}", taken(sizes, settings.model_copy(update={"batch_size": batch}))
    while min(sizes.height, sizes.width) * SMALLER >= SMALLEST_SIDE:
        sizes = sizes._replace(height=int(sizes.height * SMALLER), width=int(sizes.width * SMALLER))
        yield f"images of {sizes.width} x {sizes.height} pixels", taken(sizes, settings)


def taken(sizes: Sizes, settings: DeblurSettings) -> Need:
    """What a run on images of these sizes takes."""
    values = sizes.channels * sizes.pixels
    data = COPIES * (sizes.learn + sizes.validation + sizes.test) * values + LEAST
    followed = min(FOLLOWED_IMAGES, sizes.validation)
    sigmas, seeds = len(settings.test_sigmas), settings.seeds
    restored = (2 * seeds + len(RIVALS) + 3) * sigmas * sizes.test * values
    letters = len(FONTS) * len(ascii_letters)
    weights = autoencoder_bytes(sizes)

    follow = VALIDATED * followed * values + RESTORING * max(PIXELS_AT_ONCE, sizes.pixels)
    judging = JUDGING_NETWORK * lesson(sizes, sizes.test) * sizes.pixels
    step = step_bytes(sizes, settings)
    training = data + follow + step
    autoencoder = data + follow + max(step, AUTOENCODER * weights)
    referees = data + REFEREE * lesson(sizes, sizes.learn) * sizes.pixels + SCORED * followed * values
    judged = data + SCORED * max(sizes.test, letters) * values + judging
    if sizes.validation >= 2 * FEWEST_SAMPLES:
        samples = min(2 * TWO_SAMPLES, sizes.validation)
        judged += REFEREE * lesson(sizes, samples) * sizes.pixels + HELD * samples * values
    line = data + follow + judging + HELD * sigmas * (sizes.test + followed) * values
    most = max(sizes.test, min(TUNING_IMAGES, sizes.learn)) * values
    rival = data + RIVAL * most + RIVAL_AT_ONCE * min(AT_ONCE * sizes.pixels, most)

    restorer = autoencoder if settings.arch == "autoencoder" else training
    first = [restorer] * seeds + [training] * seeds + [referees, autoencoder] + [rival] * len(RIVALS) * sigmas
    last = [restorer] * (2 * seeds + settings.frontier)
    here = HERE * restored + RESULT * weights
    return Need(here, [[]] if settings.scheduler else [first, last, [line, *[judged] * (2 * seeds + 2)]])


def step_bytes(sizes: Sizes, settings: DeblurSettings) -> int:
    """What a step of a training takes, its blur included; of the networks nothing where they are on a GPU."""
    device = choose_device(settings.device)
    batch = min(settings.batch_size, sizes.learn)
    network = UNET[choose_precision(settings.precision, device)] if device.type == "cpu" else 0
    radius = int(CUT * settings.sigma[1] + 0.5) + 1
    matrices = 4 * batch * (sizes.height**2 + sizes.width**2)
    longest = max(sizes.height, sizes.width)
    kept = folds.cache_parameters()["maxsize"] if longest <= KEPT_UP_TO else 1
    blur = 4 * len(PADDINGS) * longest**2 * (batch + kept * (2 * radius + 1))
    return network * batch * sizes.pixels + matrices + blur


def autoencoder_bytes(sizes: Sizes) -> int:
    """The weights of the two layers about the bottleneck of the autoencoder, next to which no others count."""
    return 2 * 4 * BOTTLENECK * 2 * WIDTH * math.prod(math.ceil(side / STRIDE) for side in (sizes.height, sizes.width))


def lesson(sizes: Sizes, count: int) -> int:
    """How many images a referee sees at once."""
    return min(count, lesson_size(torch.empty(0, 1, sizes.height, sizes.width), count))
