"""What the numbers of the deblur experiment say, in sentences."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from bs6207.deblur.classical import RIVALS
from bs6207.deblur.judging import IDENTITY
from bs6207.deblur.settings import STRONG, DeblurSettings
from bs6207.experiment import Row
from bs6207.names import legible, listed

LEARNED = ("autoencoder", "l1", "l1_disc")
NAMES = {  # what the restorers are called where people read
    "identity": "blurred",
    "unsharp": "unsharp mask",
    "wiener": "Wiener",
    "richardson_lucy": "Richardson-Lucy",
    "tv": "TV",
    "autoencoder": "autoencoder",
    "l1": "L1",
    "l1_disc": "L1 + disc",
}


def remarks(metrics: Mapping[str, Any], settings: DeblurSettings) -> list[str]:
    """What the table must not be read without."""
    data = metrics["data"]
    clear = next(iter(metrics["clear"].values()))  # the same at every sigma
    seeds = "one seed" if settings.seeds == 1 else f"medians of {settings.seeds} seeds"
    return [
        f"Scores on {data['scored']} test images of {legible(data['name'])}, {seeds}, after learning from "
        f"{data['train']}. L1 and L1 + disc are {training_of(settings)}; classical methods are told the true kernel "
        f"and tuned for it. The blur is scipy's, noise {settings.noise:g}, 8 bits.",
        "L1 is the control: as many steps as L1 + disc, without disc_net. Sharpness 1 is as sharp as the truth. "
        "`held-out` is the share taken for clear by a disc that trained nobody "
        f"({clear['heldout_clear']:.2f} of clear images); `two-sample` is how often a new network tells restored "
        "from clear images, 0.5 being chance.",
        *disc_sentences(metrics, settings),
        *rival_sentences(metrics["restorers"], settings),
        *harm_sentences(metrics),
        *judge_sentences(metrics),
        *class_sentences(metrics),
        *clarity_sentences(metrics, settings),
    ]


def training_of(settings: DeblurSettings) -> str:
    """What the networks know of the blur."""
    low, high = settings.sigma_range
    return f"blind and trained on sigma {low:g} to {high:g}" if low < high else f"trained on sigma {low:g} alone"


def disc_sentences(metrics: Mapping[str, Any], settings: DeblurSettings) -> Iterator[str]:
    """What disc_net adds, at every blur."""
    for sigma in sorted(settings.test_sigmas):
        without, with_disc = (metrics["restorers"][name][str(sigma)] for name in ("l1", "l1_disc"))
        changes = [*changes_of(without, with_disc)] or ["nothing that is measured: both are as the truth"]
        yield f"At sigma {sigma:g} disc_net changes {', '.join(changes)}."


def changes_of(without: Row, with_disc: Row) -> Iterator[str]:
    """What changes from one row of scores to another, as far as both have a number."""
    if math.isfinite(gain := with_disc["psnr"] - without["psnr"]):  # infinite, of what is perfect
        yield f"PSNR by {gain:+z.2f} dB"
    if without["l1"]:
        yield f"L1 by {with_disc['l1'] / without['l1'] - 1:+z.1%}"
    for key, name, digits in (("sharpness", "sharpness", 3), ("two_sample", "two-sample", 2)):
        before, after = without[key], with_disc[key]
        if before is not None and math.isfinite(before):  # not of images without edges, not of too few
            yield f"{name} from {before:.{digits}f} to {after:.{digits}f}"


def best_rival(restorers: Mapping[str, Mapping[str, Row]], sigma: str) -> str:
    """The classical method with the highest PSNR at one blur."""
    return max(RIVALS, key=lambda name: restorers[name][sigma]["psnr"])


def rival_sentences(restorers: Mapping[str, Mapping[str, Row]], settings: DeblurSettings) -> Iterator[str]:
    """Where a classical method is still ahead."""
    for sigma, ours in restorers["l1"].items():
        best = best_rival(restorers, sigma)
        if 0 < (ahead := restorers[best][sigma]["psnr"] - ours["psnr"]) < math.inf:
            told = f"{NAMES[best]}, told the kernel, is {ahead:.2f} dB ahead of L1, {training_of(settings)}"
            yield f"At sigma {float(sigma):g} {told}."


def harm_sentences(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Where images had better been left as they are, by how much, and what becomes of them."""
    restorers = metrics["restorers"]
    tested = {
        f"At sigma {float(sigma):g}": {name: by_sigma[sigma]["psnr"] for name, by_sigma in restorers.items()}
        for sigma in restorers[IDENTITY]
    }
    beyond = {f'Under "{what["caption"]}"': what["psnr"] for what in metrics["conditions"].values()}
    for where, psnr in (tested | beyond).items():
        harm = {name: psnr[name] - psnr[IDENTITY] for name in LEARNED if name in psnr}
        told = [
            f"{NAMES[name]} {gain:+.1f} dB, to {psnr[name]:.1f}" for name, gain in harm.items() if -math.inf < gain < 0
        ]
        if told:
            yield f"{where} restoring does harm, against leaving the images as they are: {'; '.join(told)} dB."


def judge_sentences(metrics: Mapping[str, Any]) -> Iterator[str]:
    """What could not be judged."""
    if next(iter(metrics["clear"].values()))["digit_accuracy"] is None:
        yield (
            "The images have no labels of two classes or more, so there is no classifier: no accuracy on restored "
            "images and no Fréchet distance."
        )
    if next(iter(metrics["restorers"]["l1"].values()))["two_sample"] is None:
        yield (
            f"The {metrics['data']['validation']} validation images are too few for a network to learn the two-sample "
            "test from, so there is none."
        )


def class_sentences(metrics: Mapping[str, Any]) -> Iterator[str]:
    """The classes that the classifier cannot know."""
    data = metrics["data"]
    if data["only_in_test"] and next(iter(metrics["clear"].values()))["digit_accuracy"] is not None:
        yield (
            f"No training image shows {listed(data['only_in_test'])}, so {data['images_of_only_in_test']} of the "
            f"{data['scored']} test images count as wrong in every accuracy on restored images."
        )


def clarity_sentences(metrics: Mapping[str, Any], settings: DeblurSettings) -> Iterator[str]:
    """What there is between the two restorers."""
    if not settings.disc_weight:
        yield "With a disc weight of 0, L1 + disc is L1 again."
    if settings.frontier:
        control, *_, strong = metrics["frontier"]
        moves = [
            f"{name} from {control[key]:.{digits}f} to {strong[key]:.{digits}f}{unit}"
            for key, name, digits, unit in (("psnr", "PSNR goes", 2, " dB"), ("sharpness", "sharpness", 3, ""))
            if math.isfinite(control[key] + strong[key])
        ]
        if moves:
            yield (
                f"On the frontier, from clarity 0, L1, to 1, {STRONG:g} times the disc weight, {' and '.join(moves)}, "
                "means over the blurs; frontier.csv and perception.png have the way."
            )
    if settings.arch == "unet":  # the other is of no use to bs6207 restore
        clarity = metrics["clarity"]
        score = next(row["heldout_score"] for row in clarity["validation"] if row["weight"] == clarity["chosen"])
        why = (
            "the least at which the held-out disc takes restored validation images for as clear as clear ones"
            if score >= clarity["clear_score"]
            else "the clearest to the held-out disc, which finds clear validation images clearer still"
        )
        yield (
            f"bs6207 restore takes clarity {clarity['chosen']:g} unless told otherwise: {why} (mean score {score:.2f}, "
            f"of clear ones {clarity['clear_score']:.2f})."
        )
