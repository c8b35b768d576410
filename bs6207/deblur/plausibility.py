"""Whether a restoration can be true, where nobody knows the truth: blurred again, it must give the input back."""

from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize_scalar

from bs6207.metrics.restoration import mse, psnr_of

WINDOW = 1000  # pixels a side: a larger picture is judged by its middle
BEYOND = 1.5  # times the widest blur trained on: how far the search goes
AT_THE_END = 0.99  # of it: what is found there may be more

# Found with a restorer trained on MNIST with sigma 0.2 to 4, on digits of the test set and on photographs: restored
# digits of its range lead back by 30.2 dB or more, and photographs, which it spoils, by 27.0 dB or less.
PLAUSIBLE = 30.0  # dB
SHARP = 0.35  # pixels: clear digits show 0.26 to 0.33, those of sigma 0.5 show 0.46 to 0.54
NARROWER = 0.9  # times the narrowest blur trained on
WIDER = 1.1  # times the widest: digits of sigma 4 show up to 4.29, a page of them with sigma 5 shows 4.63 or more


def blur_between(blurred: NDArray[np.float32], restored: NDArray[np.float32], widest: float) -> tuple[float, float]:
    """The Gaussian blur that leads from the restored picture back to the blurred one.

    Args:
        blurred, restored: [C, H, W] in [0, 1]; of large ones, the `middle` will do.
        widest: of the blurs to try, in pixels.

    Returns:
        Its sigma in pixels, and how close it leads: the PSNR in decibels away from the borders, beyond which nobody
        knows what was there.
    """
    border = ceil(4 * widest)  # where scipy's Gaussian ends

    def distance(sigma: float) -> float:
        again = gaussian_filter(restored, (0, sigma, sigma), mode="nearest")
        return mse(middle(blurred, border), middle(again, border))

    nearest = minimize_scalar(distance, bounds=(0, widest), method="bounded", options={"xatol": 0.005})
    if distance(0) <= nearest.fun:
        return 0.0, psnr_of(distance(0))
    return float(nearest.x), psnr_of(nearest.fun)


def doubts(sigma: float, psnr: float, trained: tuple[float, float]) -> list[str]:
    """What speaks against a restoration, a sentence each.

    Args:
        sigma, psnr: what `blur_between` found.
        trained: the narrowest and the widest blur that the restorer was trained on, in pixels.
    """
    narrowest, widest = trained
    sentences = []
    if sigma < SHARP:
        sentences.append(f"sigma {sigma:.2f} is hardly any blur, so there is little to restore")
    elif sigma < NARROWER * narrowest:
        sentences.append(f"sigma {sigma:.2f} is less blur than the restorer was trained on, from {narrowest:g}")
    if sigma > WIDER * widest:
        where = " (it was sought up to there)" if sigma > AT_THE_END * BEYOND * widest else ""
        sentences.append(f"sigma {sigma:.2f}{where} is more blur than the restorer was trained on, up to {widest:g}")
    if psnr < PLAUSIBLE:
        sentences.append(
            f"no Gaussian blur leads back from the result to the picture (re-blur PSNR {psnr:.1f} dB, below "
            f"{PLAUSIBLE:g}): another kind of blur, noise, or images unlike those of the training; do not trust it"
        )
    return sentences


def middle(picture: NDArray[Any], border: int = 0) -> NDArray[Any]:
    """At most WINDOW x WINDOW pixels without a border, or without a quarter of the side if that is less."""
    rows, columns = (inner(length, border) for length in picture.shape[1:])
    return picture[:, rows, columns]


def inner(length: int, border: int) -> slice:
    """The middle of one axis."""
    off = max(min(border, length // 4), (length - WINDOW) // 2)
    return slice(off, length - off)
