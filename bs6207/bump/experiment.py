"""The bump experiment: one threshold per optimizer, and all paths over one and the same bump."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

from bs6207.bump import figures
from bs6207.bump.descent import descend
from bs6207.bump.landscape import Landscape
from bs6207.bump.search import TIE, find_threshold
from bs6207.bump.settings import BumpSettings
from bs6207.devices import prepare
from bs6207.experiment import Progress, Result, Row, Table
from bs6207.optimizers import OPTIMIZERS, hyperparameters


@dataclass(frozen=True)
class Study:
    """One optimizer: what metrics.json says of it, and its path over the bump of `settings.height`."""

    metrics: dict[str, Any]
    path: list[float]


def study(name: str, settings: BumpSettings) -> Study:
    """Find the threshold of one optimizer and follow it over the common bump."""
    prepare(settings.seed)
    values = hyperparameters(name, settings)
    walk = partial(
        descend,
        lambda parameters: OPTIMIZERS[name](parameters, **values),
        steps=settings.steps,
        device="cpu" if settings.device == "auto" else settings.device,
    )
    found = find_threshold(walk, settings.distance, settings.steps)
    metrics = {
        "h_max": found.h_max,
        "bracket": found.bracket,
        "step": found.step,
        "margin": found.margin,
        "reason": found.reason,
        "settings": {"distance": settings.distance, "steps": settings.steps, **values},
        "certificate": {"kind": "steps", "steps": settings.steps},
    }
    return Study(metrics, walk(Landscape(settings.distance, settings.height)))


def run(settings: BumpSettings, progress: Progress) -> Result:
    """Compare the optimizers of `settings` on the height they escape."""
    landscape = Landscape(settings.distance, settings.height)
    progress.expect(len(settings.optimizer))
    studies: dict[str, Study] = {}
    for name in settings.optimizer:
        studies[name] = study(name, settings)
        progress.record({"optimizer": name, "h_max": studies[name].metrics["h_max"]})
        progress.step(name)

    found = {name: one.metrics for name, one in studies.items()}
    paths = {name: one.path for name, one in studies.items()}
    trajectories = Table(
        ("optimizer", "step", "x", "loss", "slope"),
        [row for name, path in paths.items() for row in trajectory(name, path, landscape)],
    )
    return Result(
        settings=settings,
        metrics={
            "optimizers": found,
            "parity": [parting(pair, paths) for pair in combinations(settings.optimizer, 2)],
        },
        headline=headline(found, paths, landscape),
        remarks=remarks(found, settings),
        tables={"trajectories": trajectories},
        figures={
            "trajectory": figures.trajectory(trajectories, found, landscape),
            "thresholds": figures.thresholds(found),
        },
    )


def trajectory(name: str, path: Sequence[float], landscape: Landscape) -> list[Row]:
    """One row per step of a path."""
    return [
        {"optimizer": name, "step": step, "x": x, "loss": landscape.loss(x), "slope": landscape.slope(x)}
        for step, x in enumerate(path)
    ]


def parting(pair: tuple[str, str], paths: dict[str, list[float]]) -> dict[str, Any]:
    """Where two optimizers first stand apart over the common bump, and by how much; None if they never do."""
    for step, (one, other) in enumerate(zip(paths[pair[0]], paths[pair[1]], strict=False)):
        if one != other:
            return {"optimizers": pair, "first_step": step, "difference": abs(one - other)}
    return {"optimizers": pair, "first_step": None, "difference": 0.0}


def headline(found: dict[str, Any], paths: dict[str, list[float]], landscape: Landscape) -> Table:
    """One row per optimizer, in the order they were asked for."""
    passes = f"passes h = {landscape.height:g}"
    rows = [
        {
            "optimizer": name,
            "h_max": "none" if one["h_max"] is None else f"{one['h_max']:.16g}",
            "at step": one["step"],
            "margin": f"{one['margin']:.2g}",
            passes: "yes" if any(landscape.is_past_crest(x) for x in paths[name]) else "no",
        }
        for name, one in found.items()
    ]
    return Table(("optimizer", "h_max", "at step", "margin", passes), rows)


def remarks(found: dict[str, Any], settings: BumpSettings) -> list[str]:
    """What the table must not be read without."""
    sentences = [f"h_max is the tallest bump escaped within {settings.steps} steps; a taller one is not."]
    for name, one in found.items():
        if one["reason"]:
            sentences.append(f"{name}: {one['reason']}.")
        if one["margin"] < TIE:
            sentences.append(
                f"{name}: a step lands {one['margin']:.1g} from the foot of the bump, so rounding decides this "
                f"answer; change --lr or --distance a little to see the other one."
            )
    return sentences
