"""Whether a restoration can be true, where nobody knows the truth: blurred again, it must give the input back."""

from math import ceil, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize_scalar

from bs6207.metrics.restoration import mse, psnr_of

WINDOW = 1000  # pixels a side: a larger picture is judged by its middle
BEYOND = 1.5  # times the widest blur trained on: how far the search goes
AT_THE_END = 0.99  # of it: what is found there may be more

# Found with restorers trained on MNIST with sigma 0.2 to 4, on digits of the test set and on what they spoil. Digits of
# their range lead back by 30.2 dB or more, and photographs by 27.0 dB or less. That is little where there is little
# contrast: of digits of sigma 3, 19 in 20 lead back to 16.6 dB below their variance or more, of sigma 4 to 12.7 dB;
# writing in grey 0 to 20, or 108 to 148, which it spoils too, to 10.6 dB or less.
PLAUSIBLE_PSNR = 30.0  # dB
PLAUSIBLE_SNR = 13.0  # dB
ONE_STEP = 1 / 255  # of change, where no blur could have changed anything
SHARP = 0.35  # pixels: clear digits show 0.26 to 0.33, those of sigma 0.5 show 0.46 to 0.54
NARROWER = 0.9  # times the narrowest blur trained on
WIDER = 1.1  # times the widest: digits of sigma 4 show up to 4.29, a page of them with sigma 5 shows 4.63 or more


class Reblur(NamedTuple):
    """The Gaussian blur that leads from a restored picture back to the blurred one.

    Attributes:
        sigma: its width in pixels, a measure of what the restorer did. None where there is nothing to judge by: no
            visible pixel, or one colour; then so are the next two.
        psnr: how close it leads, in decibels for pixels in [0, 1].
        snr: the same against the contrast of the picture: its variance, in decibels above the mean squared residue.
        change: root mean square of what the restorer changed, for pixels in [0, 1]; None without a visible pixel.
        judged: how many pixels all of this is of.
    """

    sigma: float | None
    psnr: float | None
    snr: float | None
    change: float | None
    judged: int


def blur_between(
    blurred: NDArray[np.float32], restored: NDArray[np.float32], visible: NDArray[np.bool_], widest: float
) -> Reblur:
    """Look for the Gaussian blur that leads from the restored picture back to the blurred one.

    It is judged by the visible pixels away from the borders, beyond which nobody knows what was there.

    Args:
        blurred, restored: [C, H, W] in [0, 1]; of large ones, the `middle` will do.
        visible: [H, W].
        widest: of the blurs to try, in pixels.
    """
    border = ceil(4 * widest)  # where scipy's Gaussian ends
    (judged,) = middle(visible[None], border)
    given = middle(blurred, border)[:, judged]

    def distance(sigma: float) -> float:
        again = gaussian_filter(restored, (0, sigma, sigma), mode="nearest")
        return mse(given, middle(again, border)[:, judged])

    if not given.size:
        return Reblur(None, None, None, None, 0)
    change = sqrt(distance(0))
    if not np.ptp(given, axis=1).any():
        return Reblur(None, None, None, change, given.shape[1])
    nearest = minimize_scalar(distance, bounds=(0, widest), method="bounded", options={"xatol": 0.005})
    sigma, residue = (float(nearest.x), nearest.fun) if nearest.fun < change**2 else (0.0, change**2)
    psnr = psnr_of(residue)
    contrast = float(given.var(axis=1, dtype=np.float64).mean())
    return Reblur(sigma, psnr, psnr - psnr_of(contrast), change, given.shape[1])


def doubts(found: Reblur, trained: tuple[float, float]) -> list[str]:
    """What speaks against a restoration, a sentence each.

    Args:
        trained: the narrowest and the widest blur that the restorer was trained on, in pixels.
    """
    if found.change is None:
        return ["no visible pixel lies where it is judged, away from the borders, so nothing is said about the result"]
    changed = f"{255 * found.change:.1f} of 255 levels, root mean square"
    if found.sigma is None or found.psnr is None or found.snr is None:
        spoilt = f"; the restorer changed it all the same, by {changed}; do not trust it"
        return [
            "where it is judged the picture has one colour, which no blur changes, so there is none to find"
            + spoilt * (found.change > ONE_STEP)
        ]
    narrowest, widest = trained
    sentences = []
    if found.sigma > WIDER * widest:
        where = " (it was sought up to there)" if found.sigma > AT_THE_END * BEYOND * widest else ""
        sentences.append(
            f"sigma {found.sigma:.2f}{where} is more blur than the restorer was trained on, up to {widest:g}"
        )
    if found.psnr < PLAUSIBLE_PSNR or found.snr < PLAUSIBLE_SNR:
        sentences.append(
            f"no Gaussian blur leads back from the result to the picture (re-blur PSNR {found.psnr:.1f} dB, SNR "
            f"{found.snr:.1f} dB, where {PLAUSIBLE_PSNR:g} and {PLAUSIBLE_SNR:g} are needed): another kind of blur, "
            "noise, or images unlike those of the training; do not trust it"
        )
    elif found.sigma < SHARP:
        sentences.append(
            f"the restorer changed the picture hardly at all ({changed}): sigma {found.sigma:.2f} says how little it "
            "did, and not how blurred the picture is"
        )
    elif found.sigma < NARROWER * narrowest:
        sentences.append(
            f"sigma {found.sigma:.2f}, the blur that the restorer took away, is less blur than it was trained on, from "
            f"{narrowest:g}"
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
