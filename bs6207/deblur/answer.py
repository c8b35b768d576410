"""What the numbers of the deblur experiment say, in sentences."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from bs6207.deblur.classical import RIVALS
from bs6207.deblur.settings import DeblurSettings
from bs6207.experiment import Row

NAMES = {  # what the restorers are called where people read
    "identity": "blurred",
    "unsharp": "unsharp mask",
    "wiener": "Wiener",
    "richardson_lucy": "Richardson-Lucy",
    "tv": "TV",
    "autoencoder": "bottleneck autoencoder",
    "l1": "L1",
    "l1_disc": "L1 + disc",
}


def remarks(metrics: Mapping[str, Any], settings: DeblurSettings) -> list[str]:
    """What the table must not be read without."""
    data, (low, high) = metrics["data"], settings.sigma_range
    clear = next(iter(metrics["clear"].values()))  # the same at every sigma
    seeds = "one seed" if settings.seeds == 1 else f"medians of {settings.seeds} seeds"
    trained_on = f"{low:g} to {high:g}" if low < high else f"{low:g}"
    return [
        f"Scores on {data['scored']} test images of {data['name']}, {seeds}, after learning from {data['train']}. "
        f"L1 and L1 + disc are blind and trained on sigma {trained_on}; classical methods are told the true kernel and "
        "tuned for it. The blur is scipy's, noise "
        f"{settings.noise:g}, 8 bits.",
        "L1 is the control: as many steps as L1 + disc, without disc_net. Sharpness 1 is as sharp as the truth. "
        "`held-out: clear` is the verdict of a disc that trained nobody "
        f"({clear['heldout_clear']:.2f} of clear images); `two-sample` is how often a new network tells restored "
        "from clear images, 0.5 being never more than by chance.",
        *disc_sentences(metrics, settings),
        *rival_sentences(metrics["restorers"]),
        *condition_sentences(metrics["conditions"]),
        *judge_sentences(metrics),
        *clarity_sentences(metrics, settings),
    ]


def disc_sentences(metrics: Mapping[str, Any], settings: DeblurSettings) -> Iterator[str]:
    """What disc_net adds, at every blur."""
    for sigma in sorted(settings.test_sigmas):
        without, with_disc = (metrics["restorers"][name][str(sigma)] for name in ("l1", "l1_disc"))
        yield (
            f"At sigma {sigma:g} disc_net changes PSNR by {with_disc['psnr'] - without['psnr']:+.2f} dB, L1 by "
            f"{with_disc['l1'] / without['l1'] - 1:+.1%}, sharpness from {without['sharpness']:.3f} "
            f"to {with_disc['sharpness']:.3f}, two-sample from {without['two_sample']:.2f} to "
            f"{with_disc['two_sample']:.2f}."
        )


def best_rival(restorers: Mapping[str, Mapping[str, Row]], sigma: str) -> str:
    """The classical method with the highest PSNR at one blur."""
    return max(RIVALS, key=lambda name: restorers[name][sigma]["psnr"])


def rival_sentences(restorers: Mapping[str, Mapping[str, Row]]) -> Iterator[str]:
    """Where a classical method is still ahead."""
    for sigma, ours in restorers["l1"].items():
        best = best_rival(restorers, sigma)
        if 0 < (ahead := restorers[best][sigma]["psnr"] - ours["psnr"]) < math.inf:
            told = f"{NAMES[best]}, told the kernel, is {ahead:.2f} dB ahead of L1, which is blind"
            yield f"At sigma {float(sigma):g} {told}."


def condition_sentences(conditions: Mapping[str, Row]) -> Iterator[str]:
    """Where restoring does harm, or would have been better left."""
    for what in conditions.values():
        for name in ("l1", "l1_disc"):
            if -math.inf < (gain := what["psnr"][name] - what["psnr"]["identity"]) < 0:
                yield (
                    f"{NAMES[name]} does harm, {gain:+.1f} dB, against leaving the images as they are, where there is: "
                    f"{what['caption']}; they end at {what['psnr'][name]:.1f} dB."
                )


def judge_sentences(metrics: Mapping[str, Any]) -> Iterator[str]:
    """What could not be judged."""
    if next(iter(metrics["clear"].values()))["digit_accuracy"] is None:
        yield (
            "The images have no labels of two classes or more, so there is no classifier: no accuracy on restored "
            "images and no Fréchet distance."
        )


def clarity_sentences(metrics: Mapping[str, Any], settings: DeblurSettings) -> Iterator[str]:
    """What there is between the two restorers."""
    if not settings.disc_weight:
        yield "With a disc weight of 0, L1 + disc is L1 again."
    if settings.arch == "unet":  # the other is of no use to bs6207 restore
        yield (
            f"bs6207 restore takes clarity {metrics['clarity']['chosen']:.1f} unless told otherwise: the least at "
            "which restored validation images score as clear with the held-out disc as clear ones, or the clearest."
        )
