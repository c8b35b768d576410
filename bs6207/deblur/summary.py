"""What the deblur experiment shows of its restorers: tables, figures, files and sentences."""

import math
from collections.abc import Iterator, Mapping
from functools import partial
from math import isnan
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bs6207.data.images import DataSet, npz, on_one_side, to_float
from bs6207.deblur import figures
from bs6207.deblur.classical import RIVALS
from bs6207.deblur.evaluation import CLEAR, CONDITIONS, IDENTITY, Judged, Line, curve_sigmas
from bs6207.deblur.figures import NAMES
from bs6207.deblur.model import State, saved
from bs6207.deblur.parts import TYPICAL, Parts
from bs6207.deblur.settings import STRONG, DeblurSettings
from bs6207.runs.names import legible, listed
from bs6207.runs.result import Drawing, Result, Row, Table, Weights
from bs6207.training.metrics.seeds import over_seeds

LEARNED = ("autoencoder", "l1", "l1_disc")


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
    low, high = settings.sigma
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
        "sigma": list(settings.sigma),
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
        "psnr_over_sigma": partial(figures.psnr_over_sigma, tables["curve"], tables["scores"], settings.sigma),
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
    made = {name: to_float(first[name].restored[sigma][chosen]) for name in (rival, "l1", "l1_disc")}
    return {CLEAR: truth, IDENTITY: to_float(first[IDENTITY].restored[sigma][chosen]), **made}
