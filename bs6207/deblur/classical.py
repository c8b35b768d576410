"""Classical baselines: deconvolution with the true kernel, which a blind network does not know.

Each has one hyperparameter, tuned on training images, and uses what is known of the images: zeros beyond the border
where the method allows it, and pixels in [0, 1]. Of photographs they are told any kernel, [k, k], beside a border that
reflects, as that of the test is: a picture with its mirror images is periodic, so Fourier transforms serve.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.filters import unsharp_mask
from skimage.restoration import wiener as wiener_hunt
from torch import Tensor

from bs6207.data.images import to_uint8
from bs6207.deblur.blur import (
    CUT,
    TEST_NOISE,
    Context,
    Pixels,
    Split,
    blur_for_test,
    crops_of,
    degrade_for_test,
    unit_batches,
)
from bs6207.deblur.conditions import PHOTOGRAPH_CONDITIONS, gaussian_condition, reflected_blur
from bs6207.training.metrics.restoration import Images, psnr_per_image

TUNING_IMAGES = 100  # training images
TUNING_CROPS, TUNING_SIDE = 6, 96  # of photographs: the middles of so many, in pixels
TUNING_SEED = 6208  # of the noise to tune under; the test images have other noise
UNSHARP_RADIUS = 0.75  # of sigma; better than all of it for every sigma on MNIST, by 0.1 dB at 3 and 0.3 dB at 1
LUCY_FLOOR = 0.01  # added to both images of the ratio: the noise of dark pixels is not as small as Poisson's
TV_ITERATIONS = 200
TV_STEP = 0.01  # pixel values; how far TV may move a pixel in one iteration
TV_RELAXATION = 1.8
AT_ONCE = 50  # images; of 28 x 28 pixels, so many stay in a core's cache from one iteration to the next


def unsharp(planes: Images, sigma: float, amount: float) -> NDArray:
    return unsharp_mask(planes, UNSHARP_RADIUS * sigma, amount, channel_axis=0)


def wiener(planes: Images, sigma: float, balance: float) -> NDArray:
    """Wiener-Hunt deconvolution with a balance between smoothness and the blurred image.

    The filter takes images as periodic; a ramp down to zero, as wide as the kernel, keeps opposite borders apart.
    """
    margin = int(CUT * sigma + 0.5)  # as scipy rounds it
    kernel = np.zeros((2 * margin + 1, 2 * margin + 1))
    kernel[margin, margin] = 1
    kernel = gaussian_filter(kernel, sigma, mode="constant", truncate=CUT)
    padded = np.pad(planes, ((0, 0), (margin, margin), (margin, margin)), mode="linear_ramp")
    restored = np.stack([wiener_hunt(plane, kernel, balance, clip=False) for plane in padded])
    height, width = planes.shape[1:]
    return restored[:, margin : margin + height, margin : margin + width]


def richardson_lucy(planes: Images, sigma: float, iterations: float) -> NDArray:
    """Richardson-Lucy deconvolution.

    Not skimage's, which is 3 dB worse at sigma 3: it does not divide by the share of a pixel's light that falls inside
    the border, and each iteration takes ten times as long. A floor allows for noise that is not Poisson's
    (Snyder et al. 1993, doi:10.1364/JOSAA.10.001014), and no pixel may become brighter than white.
    """
    rows, columns = (torch.from_numpy(blur_matrix(size, sigma)).float() for size in planes.shape[1:])
    inside = rows.sum(0)[:, None] * columns.sum(0)
    batches = []
    for observed in torch.from_numpy(planes).split(AT_ONCE):
        restored = torch.full_like(observed, 0.5)
        for _ in range(round(iterations)):
            ratio = (observed + LUCY_FLOOR) / (rows @ restored @ columns.T + LUCY_FLOOR)
            restored = (restored * (rows.T @ ratio @ columns / inside)).clamp_(max=1)
        batches.append(restored)
    return torch.cat(batches).numpy()


def tv(planes: Images, sigma: float, weight: float) -> NDArray:
    """Total-variation deconvolution: the minimum of |A x - y|^2 / 2 + weight * TV(x) over all x in [0, 1].

    A is the blur of `blur_for_test`, borders included. TV is isotropic (Rudin, Osher and Fatemi 1992,
    doi:10.1016/0167-2789(92)90242-F). After `TV_ITERATIONS` the PSNR is within 0.02 dB of convergence on MNIST with
    noise of 0.01.
    """
    (row_values, rows), (column_values, columns) = (
        np.linalg.eigh(blur_matrix(size, sigma)) for size in planes.shape[1:]
    )
    spectrum = row_values[:, None] * column_values
    step = TV_STEP / weight  # along |A x - y|^2: the step along TV is then the same for every weight
    shrink = 1 / (1 + step * spectrum**2)
    pull = rows @ (step * spectrum * shrink * (rows.T @ planes.astype(np.float64) @ columns)) @ columns.T
    pulls, down, across, factor = (torch.from_numpy(one).float() for one in (pull, rows, columns, shrink))
    return torch.cat([minimize_tv(batch, down, across, factor) for batch in pulls.split(AT_ONCE)]).numpy()


def minimize_tv(pull: Tensor, rows: Tensor, columns: Tensor, shrink: Tensor) -> Tensor:
    """The iterations of `tv`; `rows` and `columns` are the eigenvectors of A."""
    return iterate_tv(pull, lambda moved: rows @ (rows.T @ moved @ columns * shrink) @ columns.T)


def iterate_tv(pull: Tensor, shrink: Callable[[Tensor], Tensor]) -> Tensor:
    """Minimize TV: primal-dual, over-relaxed (Condat 2013, doi:10.1007/s10957-012-0245-9, algorithm 3.2).

    Both dual variables are scaled by the step, which leaves the weight in `shrink` and `pull` only. Their own steps,
    1/16 and 1/2, times the squared norms 8 of the differences and 1 of the identity, add up to the 1 that is allowed.
    `shrink` applies (1 + step A' A)^-1, and `pull`, [N, H, W], is the constant term of a step.
    """
    restored = pull.clone()
    slope_dual, range_dual = pull.new_zeros((2, *pull.shape)), torch.zeros_like(pull)
    for _ in range(TV_ITERATIONS):
        moved = restored - differences_adjoint(slope_dual) - range_dual
        nearer = shrink(moved) + pull
        ahead = 2 * nearer - restored
        slopes = slope_dual + differences(ahead) / 16
        slopes /= (slopes.square().sum(0).sqrt_() / TV_STEP).clamp_min_(1)
        beyond = range_dual + ahead / 2
        beyond -= (2 * beyond).clamp_(0, 1) / 2
        restored = torch.lerp(restored, nearer, TV_RELAXATION)
        slope_dual = torch.lerp(slope_dual, slopes, TV_RELAXATION)
        range_dual = torch.lerp(range_dual, beyond, TV_RELAXATION)
    return restored


def differences(images: Tensor) -> Tensor:
    """From every pixel to the next one down and to the right, [2, ..., H, W]; zero at the border."""
    slopes = images.new_zeros((2, *images.shape))
    slopes[0, ..., :-1, :] = images[..., 1:, :] - images[..., :-1, :]
    slopes[1, ..., :-1] = images[..., 1:] - images[..., :-1]
    return slopes


def differences_adjoint(slopes: Tensor) -> Tensor:
    """The transpose of `differences`, [..., H, W]."""
    down, right = slopes[0, ..., :-1, :], slopes[1, ..., :-1]
    images = torch.zeros_like(slopes[0])
    images[..., 1:, :] += down
    images[..., :-1, :] -= down
    images[..., 1:] += right
    images[..., :-1] -= right
    return images


def blur_matrix(size: int, sigma: float) -> NDArray[np.float64]:
    """The blur of `blur_for_test` along one axis as a symmetric matrix, [size, size]."""
    return gaussian_filter(np.eye(size), (sigma, 0), mode="constant", truncate=CUT)


class Reflected:
    """The blur of planes of one shape by a kernel, [k, k], with borders that reflect: a circular one of four mirrored.

    Its adjoint and inverse are exact for kernels that are symmetric in both axes, and else but for a kernel's width at
    the borders.
    """

    def __init__(self, shape: tuple[int, int], kernel: NDArray):
        self.shape = shape
        placed = np.zeros([2 * side for side in shape])
        reach = [np.arange(size) - size // 2 for size in kernel.shape]
        np.add.at(placed, np.ix_(*(offsets % side for offsets, side in zip(reach, placed.shape, strict=True))), kernel)
        self.spectrum = torch.from_numpy(np.fft.rfft2(placed)).to(torch.complex64)

    def filter(self, planes: Tensor, spectrum: Tensor) -> Tensor:
        height, width = self.shape
        wide = torch.cat((planes, planes.flip(-1)), -1)
        mirrored = torch.cat((wide, wide.flip(-2)), -2)
        return torch.fft.irfft2(torch.fft.rfft2(mirrored) * spectrum, s=mirrored.shape[-2:])[..., :height, :width]


def unsharp_reflected(planes: Images, kernel: NDArray, amount: float) -> NDArray:
    """`unsharp` with a Gaussian of the kernel's mean variance."""
    rows, columns = (np.arange(size) - size // 2 for size in kernel.shape)
    variance = (kernel * (rows[:, None] ** 2 + columns**2)).sum() / 2
    return unsharp_mask(planes, UNSHARP_RADIUS * float(variance) ** 0.5, amount, channel_axis=0)


def wiener_reflected(planes: Images, kernel: NDArray, balance: float) -> NDArray:
    height, width = planes.shape[1:]
    mirrored = np.pad(planes, ((0, 0), (0, height), (0, width)), "symmetric")
    return np.stack([wiener_hunt(plane, kernel, balance, clip=False)[:height, :width] for plane in mirrored])


def richardson_lucy_reflected(planes: Images, kernel: NDArray, iterations: float) -> NDArray:
    observed = torch.from_numpy(planes)
    blur = Reflected(planes.shape[1:], kernel)
    restored = torch.full_like(observed, 0.5)
    for _ in range(round(iterations)):
        ratio = (observed + LUCY_FLOOR) / (blur.filter(restored, blur.spectrum).clamp_min(0) + LUCY_FLOOR)
        restored = (restored * blur.filter(ratio, blur.spectrum.conj())).clamp(0, 1)
    return restored.numpy()


def tv_reflected(planes: Images, kernel: NDArray, weight: float) -> NDArray:
    blur, step = Reflected(planes.shape[1:], kernel), TV_STEP / weight
    shrink = 1 / (1 + step * blur.spectrum.abs().square())
    pull = blur.filter(torch.from_numpy(planes), step * blur.spectrum.conj() * shrink)
    return iterate_tv(pull, lambda moved: blur.filter(moved, shrink)).numpy()


@dataclass(frozen=True)
class Baseline:
    """A classical restorer of planes, [N, H, W] in [0, 1]: every channel is an image of its own."""

    restore_planes: Callable[[Images, float, float], NDArray]  # of planes, sigma in pixels and the hyperparameter
    restore_reflected: Callable[[Images, NDArray, float], NDArray]  # of planes, a kernel and the hyperparameter
    hyperparameter: str  # its name
    grid: tuple[float, ...]  # the values to choose from, ascending

    def restore(self, blurred: Images, blur: float | NDArray, value: float) -> Images:
        """Restore after a Gaussian of that sigma, zeros beyond the border, or a kernel, with a border that reflects."""
        planes = blurred.reshape(-1, *blurred.shape[2:])
        if isinstance(blur, np.ndarray):
            restored = self.restore_reflected(planes, blur, value)
        else:
            restored = self.restore_planes(planes, blur, value)
        return np.clip(restored, 0, 1).astype(np.float32).reshape(blurred.shape)


def geometric(low: float, high: float, count: int) -> tuple[float, ...]:
    return tuple(float(f"{value:.3g}") for value in np.geomspace(low, high, count))


BASELINES = {  # the best value lies inside the grid for sigma 0.5 to 4 and noise 0 to 0.05, on MNIST,
    "unsharp": Baseline(unsharp, unsharp_reflected, "amount", geometric(0.01, 100, 81)),
    "wiener": Baseline(wiener, wiener_reflected, "balance", geometric(1e-8, 10, 91)),
    "richardson_lucy": Baseline(  # but for these without noise: more would be a little better, and take minutes
        richardson_lucy,
        richardson_lucy_reflected,
        "iterations",
        tuple(sorted({float(round(count)) for count in geometric(1, 10_000, 61)})),
    ),
    "tv": Baseline(tv, tv_reflected, "strength", geometric(1e-8, 1, 81)),
}


def tune(baseline: Baseline, sharp: Images, blur: float | NDArray, noise: float) -> float:
    """The hyperparameter with the highest mean PSNR on training images blurred as the test images are.

    The PSNR has one maximum: a climb from the middle of the grid whose stride halves at the top, short from the start,
    because many iterations take long.
    """
    if isinstance(blur, np.ndarray):
        blurred = degrade_for_test(reflected_blur(sharp, blur), noise, TUNING_SEED)
    else:
        blurred = blur_for_test(sharp, blur, noise, TUNING_SEED)

    @cache
    def score(place: int) -> float:
        return psnr_per_image(sharp, baseline.restore(blurred, blur, baseline.grid[place]))

    count = len(baseline.grid)
    best, stride = count // 2, count // 8
    while stride:
        higher = max((place for place in (best, best - stride, best + stride) if 0 <= place < count), key=score)
        if higher == best:
            stride //= 2
        best = higher
    return baseline.grid[best]


def tuning_crops(split: Split) -> Images:
    """A crop of each of the first training photographs, from the middle, [N, C, H, W] in [0, 1]."""
    every = [crops_of([picture], TUNING_SIDE) for picture in unit_batches(split.train[:TUNING_CROPS])]
    return np.stack([crops[len(crops) // 2] for crops in every])


def tune_and_restore(name: str, test: float | str, context: Context) -> tuple[float, list[Pixels]]:
    """The hyperparameter tuned on training images, and the test images restored with it, in their batches.

    `test` is a sigma or, of photographs, the name of one of their conditions.
    """
    baseline, split, noise = BASELINES[name], context.split, context.settings.noise
    if split.crop is None:
        sigma = float(test)
        value = tune(baseline, split.train[:TUNING_IMAGES].unit_pixels, sigma, noise)
        restored = [baseline.restore(batch, sigma, value) for batch in context.blurred_test(sigma)]
    else:
        condition = PHOTOGRAPH_CONDITIONS[test] if isinstance(test, str) else gaussian_condition(test)
        value = tune(baseline, tuning_crops(split), condition.kernel(0), noise)
        pairs = condition.pairs(unit_batches(split.test), noise, TEST_NOISE)
        restored = [
            baseline.restore(blurred, condition.kernel(place), value) for place, (_, blurred) in enumerate(pairs)
        ]
    where = f"at sigma {test:g}" if isinstance(test, float) else f"of {test}"
    context.progress.step(f"{name} {where}", name)
    return value, [to_uint8(images) for images in restored]
