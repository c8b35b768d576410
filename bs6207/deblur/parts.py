"""The images of the deblur experiment: who learns from which, and who is scored on which."""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bs6207.data.images import DataSet, ImageSet, shuffled
from bs6207.data.sources import loaded
from bs6207.deblur.settings import DeblurSettings
from bs6207.errors import DataError

FOLLOWED_IMAGES = 250  # validation images by which progress is followed and the clarity chosen
MOST_PIXELS = 8_000_000  # of all test images; of larger ones fewer are scored, but
FEWEST_TESTED = 50
APART = 10  # one in so many training images is kept from the restorers, for the held-out disc
TYPICAL = 5  # test images that are drawn as they come; there must be so many
FEWEST_VALIDATED = 2
FEWEST_IMAGES = 20  # to learn from
SMALLEST_SIDE = 7  # pixels, the windows of SSIM
TEST_NOISE, VALIDATION_NOISE = 6207, 6208  # seeds of the noise on test and validation images, whatever --seed says

Pixels: TypeAlias = NDArray[np.uint8]  # [N, C, H, W]


@dataclass(frozen=True)
class Parts:
    """A data set as this experiment divides it.

    Attributes:
        learn: what restorers and disc_net are trained on.
        apart: training images that they never see, for the held-out disc.
        whole: both, for the classifier, which does not judge clearness.
        validation: to follow progress and to choose by.
        test: to be scored on.
    """

    learn: ImageSet
    apart: ImageSet
    whole: ImageSet
    validation: ImageSet
    test: ImageSet


def divide(data: DataSet, settings: DeblurSettings) -> Parts:
    """The parts of a data set; test images are a fixed random choice, as the first of MNIST's are the easier ones.

    Raises:
        DataError: the images are too few or too small.
    """
    whole, pixels = data.train_subset(settings.train_images), math.prod(data.train.image_shape)
    if min(whole.image_shape[1:]) < SMALLEST_SIDE:
        raise DataError(f"{data.name} has images of less than {SMALLEST_SIDE} pixels a side; give larger ones")
    if len(whole) < FEWEST_IMAGES:
        raise DataError(f"{data.name} has {len(whole)} training images; deblur needs {FEWEST_IMAGES}, so give more")
    if len(data.validation) < FEWEST_VALIDATED or len(data.test) < TYPICAL:
        raise DataError(
            f"{data.name} has {len(data.validation)} validation and {len(data.test)} test images; deblur needs "
            f"{FEWEST_VALIDATED} and {TYPICAL}, so give more"
        )
    apart = len(whole) // APART
    tested = min(settings.test_images, max(FEWEST_TESTED, MOST_PIXELS // pixels))
    return Parts(whole[apart:], whole[:apart], whole, data.validation, shuffled(data.test)[:tested])


def parts_of(settings: DeblurSettings) -> Parts:
    """The images for these settings."""
    return divide(loaded(settings.data), settings)
