"""Conditions to score under: of digits those that the training does not cover, of photographs every kind of blur.

The code is other than that of the training: scipy, scikit-image and Pillow, in double precision.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from string import ascii_letters

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps
from scipy.ndimage import convolve, gaussian_filter, rotate, uniform_filter
from skimage.filters import gaussian
from skimage.morphology import disk

from bs6207.data.images import to_float, to_uint8
from bs6207.data.pictures import as_jpeg
from bs6207.deblur.blur import BORDERS, CUT, Batches, degrade_for_test, gaussian_blur
from bs6207.training.metrics.restoration import Images

Exact = NDArray[np.float64]  # [N, C, H, W]
MOTION_LENGTH = 9  # pixels
MOTION_SEED = 6207  # of the directions
DEFOCUS_RADIUS = 3  # pixels
SIGMA = 1.5  # pixels, where a Gaussian is blurred by other code, or other images are
WIDER = 1.25  # times the widest sigma of the training
FONTS = ("DejaVuSans.ttf", "DejaVuSerif.ttf")  # come with matplotlib, so letters are the same everywhere
LETTERS = [*product(FONTS, ascii_letters)]
LETTER_SHARE = 20 / 28  # of the shorter side: as large as digits are in MNIST
LARGE = 200  # pixels, the font size before a letter is shrunk


def motion(sharp: Exact, widest: float) -> Exact:
    """Every image moves along a straight line of its own direction."""
    angles = np.random.RandomState(MOTION_SEED).uniform(0, 180, len(sharp))
    pairs = zip(sharp, angles, strict=True)
    return np.stack([convolve(image, motion_kernel(angle)[None], mode="constant") for image, angle in pairs])


def motion_kernel(angle: float) -> Exact:
    """A line of `MOTION_LENGTH` pixels through the middle, `angle` degrees from the horizontal; its sum is 1."""
    line = np.zeros((MOTION_LENGTH + 2, MOTION_LENGTH + 2))  # room at the ends, where rotation interpolates
    line[MOTION_LENGTH // 2 + 1, 1:-1] = 1
    turned = rotate(line, angle, reshape=False, order=1)
    return turned / turned.sum()


def defocus(sharp: Exact, widest: float) -> Exact:
    kernel = disk(DEFOCUS_RADIUS, dtype=np.float64)
    return convolve(sharp, (kernel / kernel.sum())[None, None], mode="constant")


def pillow(sharp: Exact, widest: float) -> Exact:
    """Pillow's Gaussian, really three box filters, on 8-bit channels."""
    blur = ImageFilter.GaussianBlur(SIGMA)
    channels = to_uint8(sharp).reshape(-1, *sharp.shape[2:])
    return np.reshape([np.asarray(Image.fromarray(channel).filter(blur)) for channel in channels], sharp.shape) / 255


def letters(shape: tuple[int, ...]) -> Exact:
    """The 52 letters in every font, white on black, each as large as a digit, [104, C, H, W] in [0, 1] of `shape`."""
    channels, height, width = shape[-3:]
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    drawn = [draw(letter, str(folder / font), height, width) for font, letter in LETTERS]
    return np.repeat(np.stack(drawn)[:, None], channels, axis=1)


def draw(letter: str, font: str, height: int, width: int) -> Exact:
    """One letter in the middle of an image, [H, W] in [0, 1]; antialiased, as it is drawn large and then shrunk."""
    large = Image.new("L", (2 * LARGE, 2 * LARGE))
    ImageDraw.Draw(large).text((LARGE // 2, LARGE // 2), letter, fill=255, font=ImageFont.truetype(font, LARGE))
    side = round(LETTER_SHARE * min(height, width))
    small = ImageOps.contain(large.crop(large.getbbox()), (side, side))
    image = Image.new("L", (width, height))
    image.paste(small, ((width - small.width) // 2, (height - small.height) // 2))
    return np.asarray(image) / 255


@dataclass(frozen=True)
class Condition:
    """A blur, or images, that the training does not cover."""

    caption: str
    # of images in [0, 1], and the widest sigma of the training
    blur: Callable[[Exact, float], Exact] = lambda sharp, widest: gaussian_blur(sharp, SIGMA)
    replace: Callable[[tuple[int, ...]], Exact] | None = None  # gives images of a shape in place of the test images

    def pair(self, sharp: Images, noise: float, seed: int, widest: float) -> tuple[Images, Images]:
        """The truth and the degraded images, both [M, C, H, W] in [0, 1]; M is N unless other images replace them."""
        truth = self.replace(sharp.shape) if self.replace else sharp.astype(np.float64)
        return truth.astype(np.float32), degrade_for_test(self.blur(truth, widest), noise, seed)


CONDITIONS = {
    "clear": Condition("no blur: what is good should stay as it is", lambda sharp, widest: sharp),
    "motion": Condition(f"motion along a line of {MOTION_LENGTH} pixels, its direction drawn for every image", motion),
    "box": Condition("the mean of 5 x 5 pixels", lambda sharp, _: uniform_filter(sharp, (0, 0, 5, 5), mode="constant")),
    "defocus": Condition(f"out of focus: a disc of radius {DEFOCUS_RADIUS}", defocus),
    "pillow": Condition(f"Pillow's GaussianBlur of radius {SIGMA:g}, 8 bits in and out", pillow),
    "nearest": Condition(
        f"skimage's Gaussian of sigma {SIGMA:g}, the border repeated beyond it",
        lambda sharp, widest: gaussian(sharp, (0, 0, SIGMA, SIGMA), mode="nearest"),
    ),
    "letters": Condition(f"letters A to Z and a to z in two typefaces, sigma {SIGMA:g}", replace=letters),
    "wide": Condition(
        "a Gaussian a quarter wider than the widest of the training",
        lambda sharp, widest: gaussian_blur(sharp, WIDER * widest),
    ),
}

# Of photographs
DIRECTIONS = 180  # degrees, drawn for every picture
ANISOTROPIC = (3.0, 1.0)  # pixels, sigma along and across
HARDLY = 0.5  # pixels, the sigma of a picture that is still sharp
LINEAR_LIGHT, SAVED_SIGMA, QUALITY = 2.2, 1.6, 75  # a gamma, the sigma under it and before JPEG, and its quality


def gaussian_kernel(sigma: float, place: int = 0) -> Exact:
    return blurred_point(sigma, sigma)


def blurred_point(down: float, across: float) -> Exact:
    side = 2 * int(CUT * max(down, across) + 0.5) + 1
    point = np.zeros((side, side))
    point[side // 2, side // 2] = 1
    return gaussian_filter(point, (down, across), mode="constant", truncate=CUT)


def anisotropic_kernel(place: int) -> Exact:
    along, across = ANISOTROPIC
    turned = rotate(blurred_point(across, along), direction(place), reshape=False, order=3).clip(0)
    return turned / turned.sum()


def disk_kernel(place: int) -> Exact:
    kernel = disk(DEFOCUS_RADIUS, dtype=np.float64)
    return kernel / kernel.sum()


def direction(place: int) -> float:
    return float(np.random.RandomState(MOTION_SEED + place).uniform(0, DIRECTIONS))


def reflected_blur(sharp: Images, kernel: Exact) -> Exact:
    """Images [N, C, H, W], convolved in double precision; beyond the border lies their mirror image."""
    return convolve(sharp.astype(np.float64), kernel[None, None], mode=BORDERS[True])


@dataclass(frozen=True)
class PhotographCondition:
    """A blur of photographs, of which the classical baselines are told the kernel."""

    caption: str
    kernel: Callable[[int], Exact]  # of the picture with this number, [k, k]
    gamma: float = 1.0  # the blur is of pixels to this power
    quality: int | None = None  # of a JPEG file that the picture is saved in at last

    def pairs(self, sharp: Batches, noise: float, seed: int) -> Iterator[tuple[Images, Images]]:
        """The truth and the degraded photographs, [1, C, H, W] each."""
        for place, picture in enumerate(sharp):
            linear = np.power(picture, self.gamma, dtype=np.float64)
            blurred = reflected_blur(linear, self.kernel(place)).clip(0) ** (1 / self.gamma)
            degraded = degrade_for_test(blurred, noise, seed + place)
            if self.quality:
                degraded = to_float(as_jpeg(to_uint8(degraded[0]), self.quality)[None])
            yield picture, degraded


PHOTOGRAPH_CONDITIONS = {
    "clear": PhotographCondition("no blur: what is good should stay as it is", partial(gaussian_kernel, 0.0)),
    "sharp": PhotographCondition(f"a Gaussian of sigma {HARDLY:g}, hardly blurred", partial(gaussian_kernel, HARDLY)),
    "disk": PhotographCondition(f"out of focus: a disc of radius {DEFOCUS_RADIUS}", disk_kernel),
    "motion": PhotographCondition(
        f"motion along a line of {MOTION_LENGTH} pixels, its direction drawn for every image",
        lambda place: motion_kernel(direction(place)),
    ),
    "anisotropic": PhotographCondition(
        "a Gaussian of sigma {:g} along a direction drawn for every image, {:g} across".format(*ANISOTROPIC),
        anisotropic_kernel,
    ),
    "gamma": PhotographCondition(
        f"a Gaussian of sigma {SAVED_SIGMA:g} of linear light, gamma {LINEAR_LIGHT:g}",
        partial(gaussian_kernel, SAVED_SIGMA),
        gamma=LINEAR_LIGHT,
    ),
    "jpeg": PhotographCondition(
        f"a Gaussian of sigma {SAVED_SIGMA:g}, saved as JPEG of quality {QUALITY}",
        partial(gaussian_kernel, SAVED_SIGMA),
        quality=QUALITY,
    ),
}
WITH_BASELINES = ("disk", "motion", "anisotropic")  # conditions that `KERNEL_BASELINES` are scored under too
KERNEL_BASELINES = ("wiener", "tv")


def gaussian_condition(sigma: float) -> PhotographCondition:
    return PhotographCondition(f"a Gaussian of sigma {sigma:g}", partial(gaussian_kernel, sigma))
