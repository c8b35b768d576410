"""Several runs of one command side by side: in which settings and results do they differ?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bs6207.page.runs import RunFolder


@dataclass(frozen=True)
class Line:
    """One setting or result; a value per run, as text, and whether they differ."""

    name: str
    values: Sequence[str]
    differs: bool


def compare(runs: Sequence[RunFolder]) -> dict[str, list[Line]]:
    """Settings, results and circumstances of runs of one command."""
    return {
        "settings": lines([run.settings for run in runs]),
        "results": lines([dict(RESULTS[run.command](run.metrics)) for run in runs]),
        "circumstances": lines([dict(circumstances(run)) for run in runs]),
    }


def lines(sides: Sequence[Mapping[str, Any]]) -> list[Line]:
    """A line per name that any side has, in the order they first come."""
    names = dict.fromkeys(name for side in sides for name in side)
    return [
        Line(
            name, [shown(side.get(name)) for side in sides], any(side.get(name) != sides[0].get(name) for side in sides)
        )
        for name in names
    ]


def shown(value: Any) -> str:
    """A value as people write it."""
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(shown, value))
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def of_bump(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """h_max of every optimizer, and what is known of it."""
    for name, one in metrics.get("optimizers", {}).items():
        yield f"{name}: h_max", one.get("h_max")
        yield f"{name}: at step", one.get("step")
        yield f"{name}: certificate", one.get("certificate", {}).get("kind")


def of_latent(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Reconstruction and clusters of every latent size, beside PCA and raw pixels."""
    baselines = metrics.get("baselines", {})
    groups = [
        *((f"{dim} numbers", one) for dim, one in by_size(metrics.get("cells", {}))),
        *((f"PCA {dim}", one) for dim, one in by_size(baselines.get("pca", {}))),
        *((name, baselines.get(name, {})) for name in ("pixels", "median", "black")),
    ]
    for group, one in groups:
        yield from ((f"{group}: {word}", one[key]) for key, word in (("l1", "L1"), ("psnr", "PSNR dB")) if key in one)
        for clusterer, scores in one.get("clusters", {}).items():
            yield from ((f"{group}: {clusterer} {key}", scores[key]) for key in ("accuracy", "nmi") if key in scores)


def of_deblur(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The scores of every restorer by sigma, and the clarity chosen."""
    scores = {"psnr": "PSNR dB", "l1": "L1", "sharpness": "sharpness", "two_sample": "two-sample"}
    for name, by_sigma in metrics.get("restorers", {}).items():
        for sigma, one in by_sigma.items():
            for key, word in scores.items():
                yield f"{name}, sigma {sigma}: {word}", one.get(key)
    yield "clarity chosen", metrics.get("clarity", {}).get("chosen")


RESULTS = {"bump": of_bump, "latent": of_latent, "deblur": of_deblur}


def by_size(cells: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Entries of metrics.json by latent size, which JSON has sorted as text."""
    return sorted(cells.items(), key=lambda item: int(item[0]))


def circumstances(run: RunFolder) -> Iterator[tuple[str, Any]]:
    """The data a run has seen, and where and when it ran, as far as it is known."""
    data = run.metrics.get("data", {})
    yield from ((f"data: {key}", data.get(key)) for key in ("name", "train", "test", "sha256") if key in data)
    for key in ("start", "seconds", "python", "platform", "device", "threads", "commit"):
        if key in run.environment:
            yield key, run.environment[key]
    yield from run.environment.get("versions", {}).items()
