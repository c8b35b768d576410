"""The split of the data set, and degradation by Gaussian blur, noise and rounding to 8 bits.

"A Gaussian of sigma 2" is no specification: libraries cut and approximate the kernel and pad the image differently, and
a network trained on one of them learns that one. So training draws all of that anew for every image, in torch, while
the test images are blurred by scipy in double precision.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from bs6207.data.images import DataSet, ImageSet, Photographs, shuffled, to_float, to_uint8
from bs6207.data.pictures import convert
from bs6207.deblur.settings import DeblurSettings
from bs6207.errors import DataError
from bs6207.runs.progress import TaskProgress
from bs6207.training.devices import choose_device
from bs6207.training.metrics.restoration import Images

FOLLOWED_IMAGES = 250  # validation images that show the progress of a training and choose the clarity
MOST_PIXELS = 8_000_000  # of all test images: of larger images fewer are scored, but
FEWEST_TESTED = 50
HELDOUT_SHARE = 10  # one in so many training images is for the held-out discriminator only
TYPICAL = 5  # test images that are drawn as they come, and the fewest there may be
FEWEST_VALIDATED = 2
FEWEST_IMAGES = 20  # for training
SMALLEST_SIDE = 7  # pixels, the windows of SSIM
TEST_NOISE, VALIDATION_NOISE = 6207, 6208  # seeds of the noise on test and validation images, whatever --seed says

CUT = 4.0  # sigmas at which scipy and scikit-image cut the kernel
NARROWEST_CUT = 1.0  # sigmas; torchvision and OpenCV cut wherever the caller's kernel size says
CUT_SHARE, BOXES_SHARE = 0.1, 0.2  # of the kernels cut elsewhere, and of those made of three boxes, as Pillow's
PADDINGS = ("constant", "edge", "symmetric", "reflect")  # numpy's names; zeros are drawn more often than the others
ZEROS_SHARE = 0.55
CACHED_SIDE = 128  # pixels along an axis up to which `folds` are cached for the next batch: 9 MB for each radius

# Of photographs:
FEWEST_PHOTOGRAPHS = 2  # for training, one of them for the held-out discriminator
LONGEST_SIDE = 1024  # pixels: of larger ones the middle is scored, or the classical baselines would take hours
MOST_SCORED, MOST_FOLLOWED = 4_000_000, 1_000_000  # pixels of all test and of all validation photographs
BORDERS = {False: "constant", True: "reflect"}  # scipy's names: digits are black beyond the border, photographs are not

Pixels: TypeAlias = NDArray[np.uint8]  # [N, C, H, W]
Batches: TypeAlias = list[Images]  # images of one size each: a batch of digits, or a photograph


@dataclass(frozen=True)
class Split:
    train: ImageSet  # for the restorers and disc_net
    heldout: ImageSet  # training images that those never see, for the held-out discriminator
    train_full: ImageSet  # both, for the classifier, which does not evaluate sharpness
    validation: ImageSet
    test: ImageSet
    crop: int | None = None  # pixels a side, of photographs; other images are trained on and scored as they are

    @property
    def followed(self) -> ImageSet:
        return self.validation[:FOLLOWED_IMAGES]

    @property
    def border(self) -> str:
        """What lies beyond the border of a test image, by scipy's name."""
        return BORDERS[self.crop is not None]

    def crops(self, batches: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """What the discriminators see, [N, C, H, W]: all crops of photographs side by side, or the images."""
        return batches[0] if self.crop is None else crops_of(batches, self.crop)


@dataclass(frozen=True)
class Context:
    """The data and settings of every task, and where it reports."""

    split: Split
    settings: DeblurSettings
    progress: TaskProgress
    seed: int

    @property
    def device(self) -> torch.device:
        return choose_device(self.settings.device)

    def validation_pair(self) -> tuple[Batches, Batches]:
        """The followed images, sharp and under the blur in the middle of the range."""
        sharp = unit_batches(self.split.followed)
        return sharp, self.blurred_validation(sharp, sum(self.settings.sigma) / 2)

    def blurred_validation(self, sharp: Batches, sigma: float) -> Batches:
        return self.blurred(sharp, sigma, VALIDATION_NOISE)

    def blurred_test(self, sigma: float) -> Batches:
        return self.blurred(unit_batches(self.split.test), sigma, TEST_NOISE)

    def blurred(self, sharp: Batches, sigma: float, seed: int) -> Batches:
        noise, border = self.settings.noise, self.split.border
        return [blur_for_test(batch, sigma, noise, seed + place, border) for place, batch in enumerate(sharp)]


def settings_of(data: DataSet, settings: DeblurSettings) -> DeblurSettings:
    """The settings with the defaults for photographs, if the data are some, or are to be cropped like them."""
    if isinstance(data.train, Photographs) or settings.crop is not None:
        return settings.for_photographs()
    return settings


def split_data(data: DataSet, settings: DeblurSettings) -> Split:
    """Split a data set; test images are a fixed random choice, as the first of MNIST's are the easier ones."""
    if settings.crop is not None:
        return split_photographs(data, settings, settings.crop)
    images = in_colour(data.train_subset(settings.train_images), settings.colour)
    if min(images.image_shape[1:]) < SMALLEST_SIDE:
        raise DataError(f"{data.name} has images of less than {SMALLEST_SIDE} pixels a side; give larger ones")
    if len(images) < FEWEST_IMAGES:
        raise DataError(f"{data.name} has {len(images)} training images; deblur needs {FEWEST_IMAGES}, so give more")
    if len(data.validation) < FEWEST_VALIDATED or len(data.test) < TYPICAL:
        raise DataError(
            f"{data.name} has {len(data.validation)} validation and {len(data.test)} test images; deblur needs "
            f"{FEWEST_VALIDATED} and {TYPICAL}, so give more"
        )
    heldout = len(images) // HELDOUT_SHARE
    tested = min(settings.test_images, max(FEWEST_TESTED, MOST_PIXELS // math.prod(images.image_shape)))
    validation, test = (in_colour(part, settings.colour) for part in (data.validation, shuffled(data.test)[:tested]))
    return Split(images[heldout:], images[:heldout], images, validation, test)


def split_photographs(data: DataSet, settings: DeblurSettings, crop: int) -> Split:
    """Split photographs, by picture; of those to score, what makes the classical baselines end in time."""
    if settings.arch != "unet":
        raise DataError(f"{data.name} has photographs, which --arch {settings.arch} cannot restore; use --arch unet")
    colour = "grey" if settings.colour == "auto" else settings.colour
    parts = data.train_subset(settings.train_images), data.validation, data.test[: settings.test_images]
    train, validation, test = (in_colour(Photographs.of([*part.pixels]), colour) for part in parts)
    if len(train) < FEWEST_PHOTOGRAPHS or not len(validation) or not len(test):
        counts = f"{len(train)} photographs to train on, {len(validation)} to validate and {len(test)} to test on"
        raise DataError(f"{data.name} has {counts}; deblur needs {FEWEST_PHOTOGRAPHS}, 1 and 1, so give more")
    if min(side for part in (train, validation, test) for side in part.image_shape[1:]) < SMALLEST_SIDE:
        raise DataError(f"{data.name} has pictures of less than {SMALLEST_SIDE} pixels a side; leave them out")
    heldout = max(1, len(train) // HELDOUT_SHARE)
    validation, test = middles(validation, MOST_FOLLOWED), middles(test, MOST_SCORED)
    return Split(train[heldout:], train[:heldout], train, validation, test, crop)


def middles(images: ImageSet, most: int) -> ImageSet:
    """The middles of the first photographs, together of at most so many pixels, but of one at least."""
    pictures: list[Pixels] = []
    for picture in images.pixels:
        tops = [max(0, side - LONGEST_SIDE) // 2 for side in picture.shape[1:]]
        pictures.append(picture[:, *(slice(top, top + LONGEST_SIDE) for top in tops)])
        if sum(one[0].size for one in pictures) > most and len(pictures) > 1:
            pictures.pop()
            break
    return Photographs.of(pictures)


def in_colour(images: ImageSet, colour: str) -> ImageSet:
    """Images as they are (`auto`), in grey, or in three colours."""
    channels = images.image_shape[0]
    if colour == "auto" or channels == (3 if colour == "rgb" else 1):
        return images

    if isinstance(images, Photographs):
        return Photographs.of([convert(picture, colour) for picture in images.pixels])
    return replace(images, pixels=convert(images.pixels, colour))


def unit_batches(images: ImageSet) -> Batches:
    """Images in [0, 1], in batches of one size."""
    return [to_float(batch) for batch in images.batches]


def crops_of(batches: Sequence[NDArray[Any]], side: int) -> NDArray[Any]:
    """Crops side by side, [N, C, side, side], of all images; what is left of their middle is left out."""
    crops = []
    for batch in batches:
        batch = mirrored(batch, side)
        tops, lefts = (range(size % side // 2, size - side + 1, side) for size in batch.shape[-2:])
        crops += [batch[..., top : top + side, left : left + side] for top in tops for left in lefts]
    return np.concatenate(crops)


def mirrored(images: NDArray[Any], side: int) -> NDArray[Any]:
    """Images of less than `side` pixels with their mirror image beside and below them."""
    missing = [(0, max(0, side - size)) for size in images.shape[-2:]]
    return np.pad(images, [(0, 0)] * (images.ndim - 2) + missing, "symmetric") if any(map(any, missing)) else images


def draw_blur(sharp: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian blur of every image by its own sigma, [N], kernel and padding; a sigma of 0 leaves it as it is."""
    count = len(sharp)
    kernels = draw_kernels(sigma.cpu(), generator).to(sharp.device)
    zeros = torch.rand(count, generator=generator) < ZEROS_SHARE
    padding = torch.randint(1, len(PADDINGS), (count,), generator=generator).masked_fill(zeros, 0).to(sharp.device)
    rows, columns = (axis_matrix(kernels, padding, size)[:, None] for size in sharp.shape[2:])
    return rows @ sharp @ columns.transpose(-1, -2)


def draw_kernels(sigma: Tensor, generator: torch.Generator) -> Tensor:
    """One-dimensional kernels as different libraries make them, [N, odd width], each of sum 1."""
    family, cut = torch.rand(2, len(sigma), generator=generator)
    cut = torch.where(family < CUT_SHARE, NARROWEST_CUT + (CUT - NARROWEST_CUT) * cut, CUT)
    boxes = (family > 1 - BOXES_SHARE)[:, None]
    radius = int(CUT * float(sigma.max()) + 0.5) + 1
    return torch.where(boxes, three_boxes(sigma, radius), gaussian_kernels(sigma, cut, radius))


def gaussian_kernels(sigma: Tensor, cut: Tensor | float, radius: int) -> Tensor:
    """A Gaussian sampled at whole pixels and cut at `cut` sigmas, [N, 2 * radius + 1]."""
    offsets = torch.arange(-radius, radius + 1, dtype=sigma.dtype)
    inside = offsets.abs() <= (cut * sigma + 0.5).floor()[:, None]
    weights = torch.exp(-0.5 * (offsets / sigma.clamp_min(1e-3)[:, None]) ** 2) * inside
    return weights / weights.sum(1, keepdim=True)


def three_boxes(sigma: Tensor, radius: int) -> Tensor:
    """Three boxes one after the other, with fractional edges, as wide as makes their variance sigma squared.

    [N, 2 * radius + 1]. The extended box filter of Gwosdek et al. 2011, doi:10.1007/978-3-642-24785-9_38.
    """
    variance = sigma**2 / 3
    inner = (((12 * variance + 1).sqrt() - 1) / 2).floor()
    edge = (2 * inner + 1) * (inner * (inner + 1) - 3 * variance) / (6 * (variance - (inner + 1) ** 2))
    distance = torch.arange(-radius, radius + 1, dtype=sigma.dtype).abs()
    box = (distance <= inner[:, None]) + edge[:, None] * (distance == inner[:, None] + 1)
    spectrum = torch.fft.rfft(box / box.sum(1, keepdim=True), 6 * radius + 1)
    return torch.fft.irfft(spectrum**3, 6 * radius + 1)[:, 2 * radius : 4 * radius + 1]


def axis_matrix(kernels: Tensor, padding: Tensor, size: int) -> Tensor:
    """Blurs of one axis, [N, size, size]: row i holds the weights that make pixel i; `padding` indexes `PADDINGS`."""
    count, width = kernels.shape
    make = folds if size <= CACHED_SIDE else folds.__wrapped__
    every = kernels @ make(size, width // 2).to(kernels)
    return every[padding, torch.arange(count, device=kernels.device)].view(count, size, size)


@lru_cache(maxsize=8)
def folds(size: int, radius: int) -> Tensor:
    """1 where tap k of a kernel at pixel i reads pixel j, [paddings, 2 * radius + 1, size * size]."""
    reads = np.zeros((len(PADDINGS), 2 * radius + 1, size, size), np.float32)
    for place, padding in enumerate(PADDINGS):
        beyond = {"constant_values": -1} if padding == "constant" else {}
        line = np.pad(np.arange(size), radius, padding, **beyond)  # type: ignore[call-overload]
        source = np.lib.stride_tricks.sliding_window_view(line, 2 * radius + 1)  # [size, 2 * radius + 1]
        pixel, tap = np.nonzero(source >= 0)
        np.add.at(reads[place], (tap, pixel, source[pixel, tap]), 1)
    return torch.from_numpy(reads.reshape(len(PADDINGS), 2 * radius + 1, size * size))


def degrade(images: Tensor, noise: Tensor, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise of a standard deviation per image, [N], and round to 8 bits."""
    grain = torch.randn(images.shape, generator=generator).to(images.device)
    noisy = images + noise.to(images.device).view(-1, 1, 1, 1) * grain
    return torch.round(noisy.clamp(0, 1) * 255) / 255


def degrade_for_test(exact: NDArray[np.float64], noise: float, seed: int) -> Images:
    """`degrade` in double precision, with noise that is the same for the same seed."""
    return to_float(to_uint8(exact + noise * np.random.RandomState(seed).standard_normal(exact.shape)))


def gaussian_blur(images: NDArray, sigma: float, border: str = "constant") -> NDArray:
    """scipy's Gaussian blur of images [N, C, H, W] in double precision; `border` by scipy's names, zeros at first."""
    return gaussian_filter(images.astype(np.float64), (0, 0, sigma, sigma), mode=border, truncate=CUT)


def blur_for_test(sharp: Images, sigma: float, noise: float, seed: int, border: str = "constant") -> Images:
    """Images under `gaussian_blur`, degraded, [N, C, H, W] in [0, 1]."""
    return degrade_for_test(gaussian_blur(sharp, sigma, border), noise, seed)
