"""The figures of a run, small enough for the page, with captions and the numbers they show."""

import base64
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from PIL import Image, UnidentifiedImageError

from bs6207.page.runs import by_dim, decimals
from bs6207.runs.finished import RunFolder

QUALITY = 56  # of WebP, from 0 to 100; lettering stays clean

Metrics = Mapping[str, Any]


def pictures(run: RunFolder, widest: int) -> Iterator[dict[str, Any]]:
    """The figures of a run, at most `widest` pixels wide or high; a file that is no picture is left out.

    `alt` is the caption with the numbers that are read off the figure.
    """
    for file in sorted(run.place.glob("*.png"), key=lambda file: file.stem):
        try:
            with Image.open(file) as image:
                small = image.convert("RGB")
        except (OSError, UnidentifiedImageError):
            continue
        small.thumbnail((widest, widest), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        small.save(stream, "webp", quality=QUALITY, method=4)
        source = "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
        default = file.stem.replace("_", " ").capitalize(), SUMMARIES[run.command]
        caption, summarize = CAPTIONS.get((run.command, file.stem), default)
        alt = f"{caption}. {summarize(run.metrics)}"
        yield {"caption": caption, "alt": alt, "source": source, "width": small.width, "height": small.height}


def swept_runs(metrics: Metrics) -> str:
    return f"{len(metrics['points'])} runs over {', '.join(metrics['axes'])}."


def heights(metrics: Metrics) -> str:
    results = metrics.get("optimizers", {}).items()
    return "h_max: " + listed(((name, result.get("h_max")) for name, result in results), 6)


def errors(metrics: Metrics) -> str:
    cells = by_dim(metrics.get("cells", {}))
    return "Test L1 at " + listed(((f"dim {dim}", cell.get("l1")) for dim, cell in cells), 4)


def accuracies(metrics: Metrics) -> str:
    """Accuracy of the first clusterer by latent size."""
    cells = by_dim(metrics.get("cells", {}))
    firsts: list[tuple[str, Any]] = [(dim, next(iter(cell.get("clusters", {}).values()), {})) for dim, cell in cells]
    return "Cluster accuracy at " + listed(((f"dim {dim}", scores.get("accuracy")) for dim, scores in firsts), 3)


def restored(metrics: Metrics, score: str = "psnr", unit: str = " dB") -> str:
    """A score of the blurred images and of both restorers, by sigma."""
    found, sentences = metrics.get("restorers", {}), []
    words = {"identity": "blurred", "l1": "L1", "l1_disc": "L1 + disc"}
    for sigma in found.get("identity", {}):
        scores = ((word, found[name].get(sigma, {}).get(score)) for name, word in words.items() if name in found)
        sentences.append(f"At sigma {sigma}: {listed(scores, 3, unit)}")
    return " ".join(sentences)


def sharpnesses(metrics: Metrics) -> str:
    return "Sharpness, 1 as the truth. " + restored(metrics, "sharpness", "")


def listed(scores: Iterable[tuple[str, float | None]], digits: int, unit: str = "") -> str:
    return ", ".join(f"{name} {decimals(score, digits, 'unknown')}{unit}" for name, score in scores) + "."


def rules(metrics: Metrics) -> str:
    """The rule that each optimizer equals."""
    found = metrics.get("optimizers", {})
    return ". ".join(f"{name}: {one.get('rule') or 'no known rule'}" for name, one in found.items()) + "."


SUMMARIES = {"bump": heights, "latent": errors, "deblur": restored, "audit": rules}
CAPTIONS: dict[tuple[str, str], tuple[str, Callable[[Metrics], str]]] = {
    ("bump", "trajectory"): ("Paths over one and the same bump", heights),
    ("bump", "thresholds"): ("The tallest bump that each optimizer escapes", heights),
    ("bump", "survival"): ("How often a bump is escaped with noise on every slope", heights),
    ("bump", "sweep"): ("The tallest bump that each optimizer escapes, along the setting swept", heights),
    ("audit", "differences"): ("The difference from the nearest rule after each step", rules),
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
