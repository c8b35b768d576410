"""What the deblur experiment shows: tables, figures, sentences and metrics.json, all from what was judged."""

from collections.abc import Mapping
from functools import partial
from math import isnan
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bs6207.data.images import DataSet, npz, on_one_side
from bs6207.deblur import figures
from bs6207.deblur.answer import LEARNED, NAMES, best_rival, remarks
from bs6207.deblur.classical import RIVALS
from bs6207.deblur.conditions import CONDITIONS
from bs6207.deblur.judging import CLEAR, IDENTITY, Judged, Line, curve_sigmas
from bs6207.deblur.model import State, saved
from bs6207.deblur.parts import TYPICAL, Parts, from_file
from bs6207.deblur.settings import DeblurSettings
from bs6207.experiment import Drawing, Result, Row, Table, Weights
from bs6207.metrics.seeds import over_seeds

AllJudged: TypeAlias = Mapping[tuple[str, int], Judged]  # by restorer and seed
WORST = 3  # test images shown beside the typical ones: those that L1 restores worst


def report(
    parts: Parts,
    judged: AllJudged,
    line: Line,
    strengths: Mapping[str, Mapping[float, float]],
    history: list[Row],
    states: Mapping[str, State],
    data: DataSet,
    settings: DeblurSettings,
) -> Result:
    """Everything that is printed, drawn and written; what is drawn is the first seed.

    Args:
        strengths: of the rivals, by name and sigma.
        states: the weights of the restorers and of disc_net, of the first seed.
    """
    first = {name: one for (name, seed), one in judged.items() if seed == settings.seed}
    restorers = {name: summed_up(name, judged, strengths, settings) for name in first if name != CLEAR}
    shown = {name: one for name, one in first.items() if one.conditions}
    metrics: dict[str, Any] = {
        "restorers": restorers,
        "clear": {str(sigma): scores for sigma, scores in first[CLEAR].scores.items()},
        "conditions": {
            condition: {
                "caption": what.caption,
                "psnr": {name: one.conditions[condition] for name, one in shown.items()},
            }
            for condition, what in CONDITIONS.items()
        },
        "clarity": {"chosen": line.clarity, "clear_score": line.clear_score, "validation": line.choices},
        "disc_net": {"validation_accuracy": last(history, "disc_net", settings.seed)["validation_accuracy"]},
        "stages": settings.stages,
        "data": data.record()
        | {"train": len(parts.learn), "apart": len(parts.apart), "scored": len(parts.test)}
        | on_one_side(parts.whole, parts.test, data.classes),
    }
    if settings.frontier:
        metrics["frontier"] = frontier(line)
    tables = {
        "scores": scores_table(restorers),
        "history": Table(("stage", "seed", "epoch", "loss", "validation_psnr", "validation_accuracy"), history),
        "curve": curve_table(shown, settings),
        "conditions": conditions_table(shown),
        "images": images_table(first, settings),
        "clarity": Table(("weight", "psnr", "heldout_score"), line.choices),
    }
    if settings.frontier:
        tables["frontier"] = Table(tuple(line.frontier[0]), line.frontier)
    return Result(
        settings=settings,
        metrics=metrics,
        headline=headline(restorers, settings),
        remarks=remarks(metrics, settings),
        tables=tables,
        figures=drawings(parts, first, tables, metrics, settings),
        weights=weights(states, line, parts, settings),
        files={"examples.npz": examples(parts, line, settings)},
    )


def summed_up(
    name: str, judged: AllJudged, strengths: Mapping[str, Mapping[float, float]], settings: DeblurSettings
) -> dict[str, Row]:
    """A restorer's scores by sigma, as metrics.json has them: over the seeds if it was trained, else as they are."""
    seeds = {seed: one.scores for (which, seed), one in judged.items() if which == name}
    if name == IDENTITY:
        return {str(sigma): seeds[settings.seed][sigma] for sigma in settings.test_sigmas}
    if name in RIVALS:
        return {
            str(sigma): {**seeds[settings.seed][sigma], RIVALS[name].dial: strengths[name][sigma]}
            for sigma in settings.test_sigmas
        }
    return {
        str(sigma): over_seeds({seed: scores[sigma] for seed, scores in seeds.items()})
        for sigma in settings.test_sigmas
    }


def frontier(line: Line) -> list[Row]:
    """One row per weight: means over the sigmas."""
    keys = ("psnr", "l1", "heldout_clear", "sharpness")
    weights = dict.fromkeys(row["weight"] for row in line.frontier)
    return [
        {"weight": weight}
        | {key: float(np.mean([row[key] for row in line.frontier if row["weight"] == weight])) for key in keys}
        for weight in weights
    ]


SCORES = (
    "psnr", "ssim", "l1", "sharpness", "heldout_clear", "disc_clear", "two_sample", "digit_accuracy", "frechet",
    "plausibility",
)  # fmt: skip


def scores_table(restorers: Mapping[str, Mapping[str, Row]]) -> Table:
    """Every score, and of trained restorers the standard deviation of the PSNR over the seeds."""
    rows = [
        {"restorer": name, "sigma": float(sigma), **{key: row[key] for key in SCORES}, "psnr_sd": sd(row, "psnr")}
        for name, by_sigma in restorers.items()
        for sigma, row in by_sigma.items()
    ]
    return Table(("restorer", "sigma", *SCORES, "psnr_sd"), rows)


def sd(row: Row, key: str) -> float | None:
    """Standard deviation of a score over the seeds; None of one seed, and of what is not trained."""
    return row["sd"][key] if "sd" in row else None


def curve_table(shown: Mapping[str, Judged], settings: DeblurSettings) -> Table:
    """PSNR of the blind restorers, and of the blurred images, over the blur."""
    rows = [
        {"restorer": name, "sigma": sigma, "psnr": psnr}
        for name, one in shown.items()
        for sigma, psnr in zip(curve_sigmas(settings), one.curve, strict=True)
    ]
    return Table(("restorer", "sigma", "psnr"), rows)


def conditions_table(shown: Mapping[str, Judged]) -> Table:
    """PSNR where the training does not reach, and the gain over leaving the images as they are."""
    rows = [
        {"condition": condition, "restorer": name, "psnr": psnr, "gain": psnr - shown[IDENTITY].conditions[condition]}
        for condition in CONDITIONS
        for name, one in shown.items()
        if np.isfinite(psnr := one.conditions[condition]) and np.isfinite(shown[IDENTITY].conditions[condition])
    ]
    return Table(("condition", "restorer", "psnr", "gain"), rows)


def images_table(first: Mapping[str, Judged], settings: DeblurSettings) -> Table:
    """PSNR of every test image, and what both discs score it: above 0 is clear."""
    rows = [
        {"restorer": name, "sigma": sigma, "image": image, "psnr": psnr, "disc_net": disc, "heldout": heldout}
        for name, one in first.items()
        for sigma in settings.test_sigmas
        for image, (psnr, disc, heldout) in enumerate(
            zip(one.psnr[sigma].tolist(), one.disc[sigma].tolist(), one.heldout[sigma].tolist(), strict=True)
        )
    ]
    return Table(("restorer", "sigma", "image", "psnr", "disc_net", "heldout"), rows)


def headline(restorers: Mapping[str, Mapping[str, Row]], settings: DeblurSettings) -> Table:
    """Sigma by sigma: the blurred images, the best rival of each, and what was trained."""
    rows = []
    for sigma in map(str, sorted(settings.test_sigmas)):
        for name in (IDENTITY, best_rival(restorers, sigma), *LEARNED):
            if name in restorers:
                row = restorers[name][sigma]
                rows.append(
                    {
                        "sigma": f"{float(sigma):g}",
                        "restorer": NAMES[name],
                        "PSNR dB": f"{row['psnr']:.2f}",
                        "L1": f"{row['l1']:.4f}",
                        "sharpness": "" if isnan(row["sharpness"]) else f"{row['sharpness']:.3f}",
                        "held-out": f"{row['heldout_clear']:.2f}",
                        "two-sample": "" if row["two_sample"] is None else f"{row['two_sample']:.2f}",
                    }
                )
    return Table(tuple(rows[0]), rows)


def examples(parts: Parts, line: Line, settings: DeblurSettings) -> bytes:
    """A few test images, clear, blurred at every sigma and restored at every weight, uint8, as an npz file."""
    return npz(
        {
            "clear": parts.test.pixels[: line.blurred.shape[1]],
            "blurred": line.blurred,
            "restored": line.restored,
            "sigmas": np.array(settings.test_sigmas),
            "weights": np.array([row["weight"] for row in line.choices]),
        }
    )


def last(history: list[Row], stage: str, seed: int) -> Row:
    """The final row of a stage."""
    return [row for row in history if row["stage"] == stage and row["seed"] == seed][-1]


def weights(states: Mapping[str, State], line: Line, parts: Parts, settings: DeblurSettings) -> dict[str, Weights]:
    """The networks, each with what is needed to build it again."""
    facts = {
        "arch": settings.arch,
        "channels": parts.learn.image_shape[0],
        "image_shape": list(parts.learn.image_shape),
        "sigma": list(settings.sigma_range),
        "noise": settings.noise,
        "clarity": line.clarity,
    }
    return {name if name == "disc_net" else f"restorer_{name}": saved(state, facts) for name, state in states.items()}


def drawings(
    parts: Parts,
    first: Mapping[str, Judged],
    tables: Mapping[str, Table],
    metrics: Mapping[str, Any],
    settings: DeblurSettings,
) -> dict[str, Drawing]:
    """How to draw the figures, by name, each from what is written beside it."""
    sigmas = sorted(settings.test_sigmas)
    two = sorted({sigmas[(len(sigmas) - 1) // 2], sigmas[-1]})
    grids = {sigma: grid(parts, first, best_rival(metrics["restorers"], str(sigma)), sigma) for sigma in two}
    return {
        "restorations": partial(figures.restorations, grids, tables["scores"], TYPICAL),
        "psnr_over_sigma": partial(figures.psnr_over_sigma, tables["curve"], tables["scores"], settings.sigma_range),
        "perception": partial(figures.perception, tables["scores"], tables.get("frontier"), first[CLEAR].scores),
        "disc_scores": partial(figures.disc_scores, tables["images"], two),
        "conditions": partial(
            figures.conditions,
            tables["conditions"],
            {name: first[name].examples for name in ("l1", "l1_disc")},
            {condition: what.caption for condition, what in CONDITIONS.items()},
        ),
        "loss_curves": partial(figures.loss_curves, tables["history"], settings.seed),
    }


def grid(parts: Parts, first: Mapping[str, Judged], rival: str, sigma: float) -> dict[str, NDArray[np.float32]]:
    """Rows of images at one blur, by restorer, `clear` first: typical ones, then those that L1 restores worst."""
    chosen = [*range(TYPICAL), *np.argsort(first["l1"].psnr[sigma])[:WORST].tolist()]
    truth = parts.test.unit_pixels[chosen]
    made = {name: from_file(first[name].restored[sigma][chosen]) for name in (rival, "l1", "l1_disc")}
    return {CLEAR: truth, IDENTITY: from_file(first[IDENTITY].restored[sigma][chosen]), **made}
