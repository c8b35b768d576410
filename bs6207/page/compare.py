"""Runs of one command side by side: in which settings and results do they differ?"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bs6207.page.runs import by_dim
from bs6207.runs.finished import RunFolder


class Line(NamedTuple):
    """A setting or result: its value in each run, as text, and whether they differ."""

    name: str
    values: list[str]
    differs: bool


def compare(runs: Sequence[RunFolder]) -> dict[str, list[Line]]:
    return {
        "settings": lines([run.settings for run in runs]),
        "results": lines([dict(RESULTS[run.command](run.metrics)) for run in runs]),
        "circumstances": lines([dict(circumstances(run)) for run in runs]),
    }


def lines(sides: Sequence[Mapping[str, Any]]) -> list[Line]:
    """A line for each name of any side, in the order they first come."""
    rows = {name: [side.get(name) for side in sides] for side in sides for name in side}
    return [Line(name, [*map(written, row)], any(value != row[0] for value in row)) for name, row in rows.items()]


def written(value: Any) -> str:
    """A value as people write it."""
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(written, value))
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def bump_results(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, result in metrics.get("optimizers", {}).items():
        yield f"{name}: h_max", result.get("h_max")
        yield f"{name}: at step", result.get("step")
        yield f"{name}: certificate", result.get("certificate", {}).get("kind")


def latent_results(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    baselines = metrics.get("baselines", {})
    groups = [(f"dim {dim}", scores) for dim, scores in by_dim(metrics.get("cells", {}))]
    groups += [(f"PCA {dim}", scores) for dim, scores in by_dim(baselines.get("pca", {}))]
    groups += [(name, baselines.get(name, {})) for name in ("pixels", "median", "black")]
    for group, scores in groups:
        words = [("L1", scores, "l1"), ("PSNR dB", scores, "psnr")]
        for clusterer, of_clusters in scores.get("clusters", {}).items():
            words += [(f"{clusterer} {key}", of_clusters, key) for key in ("accuracy", "nmi")]
        yield from ((f"{group}: {word}", source[key]) for word, source, key in words if key in source)


def deblur_results(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    words = {"psnr": "PSNR dB", "l1": "L1", "sharpness": "sharpness", "two_sample": "two-sample"}
    for name, by_sigma in metrics.get("restorers", {}).items():
        for sigma, scores in by_sigma.items():
            yield from ((f"{name}, sigma {sigma}: {word}", scores.get(key)) for key, word in words.items())
    yield "clarity chosen", metrics.get("clarity", {}).get("chosen")


def audit_results(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, result in metrics.get("optimizers", {}).items():
        yield f"{name}: rule", result.get("rule")
        yield from ((f"{name}: {check['name']}", check["state"]) for check in result.get("checks", []))


RESULTS = {"bump": bump_results, "latent": latent_results, "deblur": deblur_results, "audit": audit_results}


def circumstances(run: RunFolder) -> Iterator[tuple[str, Any]]:
    """The data of a run, and where and when it ran, as far as it is known."""
    data, environment = run.metrics.get("data", {}), run.environment
    yield from ((f"data: {key}", data[key]) for key in ("name", "train", "test", "sha256") if key in data)
    keys = ("start", "seconds", "python", "platform", "device", "threads", "commit")
    yield from ((key, environment[key]) for key in keys if key in environment)
    yield from environment.get("versions", {}).items()
