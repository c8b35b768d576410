"""The figures of a run, small enough for the page, and what each shows in words and numbers."""

import base64
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image, UnidentifiedImageError

from bs6207.page.runs import RunFolder

QUALITY = 56  # of WebP, from 0 to 100; lettering stays clean


@dataclass(frozen=True)
class Picture:
    """A figure as the page holds it.

    Attributes:
        caption: what it shows.
        alt: the same with the numbers that are read off it, for those who do not see it.
    """

    name: str
    caption: str
    alt: str
    source: str
    width: int
    height: int


def pictures(run: RunFolder, widest: int) -> Iterator[Picture]:
    """The figures of a run, at most `widest` pixels wide or high; a file that is no picture is left out."""
    for name in run.figures:
        try:
            with Image.open(run.place / f"{name}.png") as image:
                shown = image.convert("RGB")
        except (OSError, UnidentifiedImageError):
            continue
        shown.thumbnail((widest, widest), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        shown.save(stream, "webp", quality=QUALITY, method=4)
        caption, numbers = CAPTIONS.get(
            (run.command, name), (name.replace("_", " ").capitalize(), SUMMARIES[run.command])
        )
        yield Picture(
            name,
            caption,
            f"{caption}. {numbers(run.metrics)}",
            "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode(),
            *shown.size,
        )


def swept_runs(metrics: Mapping[str, Any]) -> str:
    """How many runs a sweep has, in words."""
    return f"{len(metrics['points'])} runs over {', '.join(metrics['axes'])}."


def heights(metrics: Mapping[str, Any]) -> str:
    """The tallest bump of every optimizer."""
    found = metrics.get("optimizers", {}).items()
    return "h_max: " + ", ".join(f"{name} {number(one.get('h_max'), 6)}" for name, one in found) + "."


def errors(metrics: Mapping[str, Any]) -> str:
    """Test L1 by latent size."""
    return "Test L1 with " + over_dims(metrics, lambda cell: cell.get("l1"), 4)


def accuracies(metrics: Mapping[str, Any]) -> str:
    """Accuracy of the first clusterer by latent size."""

    def first(cell: Mapping[str, Any]) -> float | None:
        return next((one.get("accuracy") for one in cell.get("clusters", {}).values()), None)

    return "Cluster accuracy with " + over_dims(metrics, first, 3)


def over_dims(metrics: Mapping[str, Any], score: Callable[[Mapping[str, Any]], float | None], digits: int) -> str:
    """A score by latent size, in words."""
    cells = sorted(metrics.get("cells", {}).items(), key=lambda item: int(item[0]))
    return ", ".join(f"{dim} numbers {number(score(cell), digits)}" for dim, cell in cells) + "."


def restored(metrics: Mapping[str, Any], score: str = "psnr", unit: str = " dB") -> str:
    """A score of the blurred images and of both restorers, by sigma."""
    restorers = metrics.get("restorers", {})
    shown = {"identity": "blurred", "l1": "L1", "l1_disc": "L1 + disc"}
    return " ".join(
        f"At sigma {sigma}: "
        + ", ".join(
            f"{word} {number(restorers[name].get(sigma, {}).get(score), 3)}{unit}"
            for name, word in shown.items()
            if name in restorers
        )
        + "."
        for sigma in restorers.get("identity", {})
    )


def sharpnesses(metrics: Mapping[str, Any]) -> str:
    """Sharpness by sigma, 1 being that of the truth."""
    return "Sharpness, 1 as the truth. " + restored(metrics, "sharpness", "")


def number(value: float | None, digits: int) -> str:
    """A number to so many digits behind the point; a word where there is none."""
    return "unknown" if value is None else f"{value:.{digits}f}"


SUMMARIES = {"bump": heights, "latent": errors, "deblur": restored}
CAPTIONS: dict[tuple[str, str], tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    ("bump", "trajectory"): ("Paths over one and the same bump", heights),
    ("bump", "thresholds"): ("The tallest bump that each optimizer escapes", heights),
    ("bump", "survival"): ("How often a bump is escaped with noise on every slope", heights),
    ("latent", "scatter"): ("Test images at their two numbers, coloured by class", accuracies),
    ("latent", "thumbnails"): ("Test images drawn at their two numbers", errors),
    ("latent", "projection"): ("Larger latents in a plane, and how clusters and classes meet", accuracies),
    ("latent", "centroids"): ("What the middle of every cluster decodes to", accuracies),
    ("latent", "reconstructions"): ("Test images, what each latent size makes of them, and where it errs", errors),
    ("latent", "walks"): ("Straight lines between the latents of two test images, decoded", errors),
    ("latent", "scores"): ("Test L1 and cluster accuracy over the latent size, beside PCA and raw pixels", errors),
    ("latent", "probes"): ("What else can be read off the latents", accuracies),
    ("bump", "sweep"): ("The tallest bump that each optimizer escapes, along the setting swept", heights),
    ("latent", "sweep"): ("Test L1 of every run of the sweep, by each setting swept", swept_runs),
    ("deblur", "sweep"): ("PSNR of every run of the sweep, by each setting swept", swept_runs),
    ("latent", "loss_curves"): ("Validation L1 over the epochs, above the constant images", errors),
    ("deblur", "restorations"): ("Clear, blurred and restored images, and what is wrong with them", restored),
    ("deblur", "psnr_over_sigma"): ("PSNR over the width of the blur", restored),
    ("deblur", "perception"): ("What sharpness costs in PSNR", sharpnesses),
    ("deblur", "disc_scores"): ("What the discriminators think of clear, blurred and restored images", sharpnesses),
    ("deblur", "conditions"): ("Blur and images that the training has not shown", restored),
    ("deblur", "loss_curves"): ("Validation PSNR over the epochs", restored),
}
