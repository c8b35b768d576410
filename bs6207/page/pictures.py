"""The figures of a run, small enough for the page, with captions and the numbers they show."""

import base64
import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from PIL import Image, UnidentifiedImageError

from bs6207.page.runs import RunFolder, by_dim, decimals

QUALITY = 56  # of WebP, from 0 to 100; lettering stays clean

Metrics = Mapping[str, Any]


class Picture(NamedTuple):
    """A figure as the page holds it; `alt` is the caption with the numbers that are read off the figure."""

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
                small = image.convert("RGB")
        except (OSError, UnidentifiedImageError):
            continue
        small.thumbnail((widest, widest), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        small.save(stream, "webp", quality=QUALITY, method=4)
        source = "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
        default = name.replace("_", " ").capitalize(), SUMMARIES[run.command]
        caption, summarize = CAPTIONS.get((run.command, name), default)
        yield Picture(name, caption, f"{caption}. {summarize(run.metrics)}", source, *small.size)


def swept_runs(metrics: Metrics) -> str:
    return f"{len(metrics['points'])} runs over {', '.join(metrics['axes'])}."


def heights(metrics: Metrics) -> str:
    results = metrics.get("optimizers", {}).items()
    return "h_max: " + ", ".join(f"{name} {known(result.get('h_max'), 6)}" for name, result in results) + "."


def errors(metrics: Metrics) -> str:
    cells = by_dim(metrics.get("cells", {}))
    return "Test L1 at " + ", ".join(f"dim {dim} {known(cell.get('l1'), 4)}" for dim, cell in cells) + "."


def accuracies(metrics: Metrics) -> str:
    """Accuracy of the first clusterer by latent size."""
    cells = by_dim(metrics.get("cells", {}))
    firsts: list[tuple[str, Any]] = [(dim, next(iter(cell.get("clusters", {}).values()), {})) for dim, cell in cells]
    return "Cluster accuracy at " + ", ".join(f"dim {dim} {known(one.get('accuracy'), 3)}" for dim, one in firsts) + "."


def restored(metrics: Metrics, score: str = "psnr", unit: str = " dB") -> str:
    """A score of the blurred images and of both restorers, by sigma."""
    restorers = metrics.get("restorers", {})
    words = {"identity": "blurred", "l1": "L1", "l1_disc": "L1 + disc"}
    return " ".join(
        f"At sigma {sigma}: "
        + ", ".join(
            f"{word} {known(restorers[name].get(sigma, {}).get(score), 3)}{unit}"
            for name, word in words.items()
            if name in restorers
        )
        + "."
        for sigma in restorers.get("identity", {})
    )


def sharpnesses(metrics: Metrics) -> str:
    return "Sharpness, 1 as the truth. " + restored(metrics, "sharpness", "")


def known(value: float | None, digits: int) -> str:
    return decimals(value, digits, "unknown")


SUMMARIES = {"bump": heights, "latent": errors, "deblur": restored}
CAPTIONS: dict[tuple[str, str], tuple[str, Callable[[Metrics], str]]] = {
    ("bump", "trajectory"): ("Paths over one and the same bump", heights),
    ("bump", "thresholds"): ("The tallest bump that each optimizer escapes", heights),
    ("bump", "survival"): ("How often a bump is escaped with noise on every slope", heights),
    ("bump", "sweep"): ("The tallest bump that each optimizer escapes, along the setting swept", heights),
    ("latent", "scatter"): ("Test images by their two latent dimensions, coloured by class", accuracies),
    ("latent", "thumbnails"): ("Test images drawn at their two latent dimensions", errors),
    ("latent", "projection"): ("Larger latents in a plane, and how clusters and classes meet", accuracies),
    ("latent", "centroids"): ("The decoded mean of every cluster", accuracies),
    ("latent", "reconstructions"): ("Test images, their reconstructions at each latent size, and the errors", errors),
    ("latent", "walks"): ("Straight lines between the latents of two test images, decoded", errors),
    ("latent", "scores"): ("Test L1 and cluster accuracy over the latent size, beside PCA and raw pixels", errors),
    ("latent", "probes"): ("What else can be read off the latents", accuracies),
    ("latent", "sweep"): ("Test L1 of every run of the sweep, by each setting swept", swept_runs),
    ("latent", "loss_curves"): ("Validation L1 over the epochs, above the constant images", errors),
    ("deblur", "sweep"): ("PSNR of every run of the sweep, by each setting swept", swept_runs),
    ("deblur", "restorations"): ("Clear, blurred and restored images, and what is wrong with them", restored),
    ("deblur", "psnr_over_sigma"): ("PSNR over the width of the blur", restored),
    ("deblur", "perception"): ("What sharpness costs in PSNR", sharpnesses),
    ("deblur", "disc_scores"): ("Scores of the discriminators on clear, blurred and restored images", sharpnesses),
    ("deblur", "conditions"): ("Blur and images that are not in the training", restored),
    ("deblur", "loss_curves"): ("Validation PSNR over the epochs", restored),
}
