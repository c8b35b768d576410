"""Blur and images outside the training, to see where a restorer fails."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import ascii_letters

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps
from scipy.ndimage import convolve, gaussian_filter, rotate, uniform_filter
from skimage.filters import gaussian
from skimage.morphology import disk

from bs6207.data.blur import stored
from bs6207.metrics.restoration import Images

Exact = NDArray[np.float64]  # [N, C, H, W]

MOTION_LENGTH = 9  # pixels
MOTION_SEED = 6207  # of the directions
BOX_SIDE = 5  # pixels
DEFOCUS_RADIUS = 3  # pixels
SIGMA = 1.5  # pixels, where a Gaussian is blurred by other code, or other images are
WIDER = 1.25  # times the widest sigma of the training

FONTS = ("DejaVuSans.ttf", "DejaVuSerif.ttf")  # come with matplotlib, so letters are the same everywhere
LETTER_SHARE = 20 / 28  # of the shorter side: as large as digits are in MNIST
LARGE = 200  # pixels, the font size before a letter is shrunk


def motion(sharp: Exact, widest: float) -> Exact:
    """Every image moved along a straight line of its own direction."""
    angles = np.random.RandomState(MOTION_SEED).uniform(0, 180, len(sharp))
    pairs = zip(sharp, angles, strict=True)
    return np.stack([convolve(image, motion_kernel(angle)[None], mode="constant") for image, angle in pairs])


def motion_kernel(angle: float) -> Exact:
    """A line of `MOTION_LENGTH` pixels through the middle, so many degrees from the horizontal; its sum is 1."""
    line = np.zeros((MOTION_LENGTH + 2, MOTION_LENGTH + 2))  # room at the ends, where rotation interpolates
    line[MOTION_LENGTH // 2 + 1, 1:-1] = 1
    turned = rotate(line, angle, reshape=False, order=1)
    return turned / turned.sum()


def defocus(sharp: Exact, widest: float) -> Exact:
    """Every point spread evenly over a disc."""
    disc = disk(DEFOCUS_RADIUS, dtype=np.float64)
    return convolve(sharp, (disc / disc.sum())[None, None], mode="constant")


def pillow(sharp: Exact, widest: float) -> Exact:
    """Pillow's Gaussian, really three box filters, on 8-bit channels."""
    blur = ImageFilter.GaussianBlur(SIGMA)
    channels = np.round(sharp * 255).astype(np.uint8).reshape(-1, *sharp.shape[2:])
    blurred = [np.asarray(Image.fromarray(channel).filter(blur)) for channel in channels]
    return np.reshape(blurred, sharp.shape) / 255


def gaussian_of(sharp: Exact, sigma: float) -> Exact:
    """The blur of `blur_for_test`, before noise and rounding."""
    return gaussian_filter(sharp, (0, 0, sigma, sigma), mode="constant")


def letters(shape: tuple[int, ...]) -> Exact:
    """The 52 letters in every font, white on black, each as large as a digit, [104, C, H, W] in [0, 1].

    Args:
        shape: [..., C, H, W] of the images they replace.
    """
    channels, height, width = shape[-3:]
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    drawn = [draw(letter, str(folder / font), height, width) for font in FONTS for letter in ascii_letters]
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
    """Something the training does not show.

    Attributes:
        caption: what it is, in one line.
        blur: of (images in [0, 1], the widest sigma of the training); gives the exact blurred images.
        replace: the images to take instead, for a shape [N, C, H, W]; None where the test images are blurred.
    """

    caption: str
    blur: Callable[[Exact, float], Exact]
    replace: Callable[[tuple[int, ...]], Exact] | None = None

    def pair(self, sharp: Images, noise: float, seed: int, widest: float) -> tuple[Images, Images]:
        """The truth and what is to be restored, both [M, C, H, W] in [0, 1]; noise and 8 bits as in `blur_for_test`.

        Args:
            sharp: clear test images, [N, C, H, W] in [0, 1]; M is N, unless other images take their place.
            noise: standard deviation.
            widest: the widest sigma of the training, in pixels.
        """
        truth = self.replace(sharp.shape) if self.replace else sharp.astype(np.float64)
        return truth.astype(np.float32), stored(self.blur(truth, widest), noise, seed)


CONDITIONS = {
    "clear": Condition("no blur: what is good should stay as it is", lambda sharp, widest: sharp),
    "motion": Condition(f"motion along a line of {MOTION_LENGTH} pixels, its direction drawn for every image", motion),
    "box": Condition(
        f"the mean of {BOX_SIDE} x {BOX_SIDE} pixels",
        lambda sharp, widest: uniform_filter(sharp, (0, 0, BOX_SIDE, BOX_SIDE), mode="constant"),
    ),
    "defocus": Condition(f"out of focus: a disc of radius {DEFOCUS_RADIUS}", defocus),
    "pillow": Condition(f"Pillow's GaussianBlur of radius {SIGMA:g}, 8 bits in and out", pillow),
    "nearest": Condition(
        f"skimage's Gaussian of sigma {SIGMA:g}, the border repeated beyond it",
        lambda sharp, widest: gaussian(sharp, (0, 0, SIGMA, SIGMA), mode="nearest"),
    ),
    "letters": Condition(
        f"letters A to Z and a to z in two typefaces, sigma {SIGMA:g}",
        lambda sharp, widest: gaussian_of(sharp, SIGMA),
        letters,
    ),
    "wide": Condition(
        "a Gaussian a quarter wider than the widest of the training",
        lambda sharp, widest: gaussian_of(sharp, WIDER * widest),
    ),
}
