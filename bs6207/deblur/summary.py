"""The result of the deblur experiment: remarks, tables, figures and files."""

import math
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bs6207.data.images import DataSet, npz, on_one_side, to_float
from bs6207.deblur import figures
from bs6207.deblur.blur import TYPICAL, Split
from bs6207.deblur.classical import BASELINES
from bs6207.deblur.evaluation import CLEAR, CONDITIONS, IDENTITY, Evaluation, Interpolation, curve_sigmas
from bs6207.deblur.figures import NAMES
from bs6207.deblur.networks import State
from bs6207.deblur.settings import STRONG, DeblurSettings
from bs6207.runs.names import legible, listed
from bs6207.runs.result import Drawing, Result, Row, Table, Weights
from bs6207.training.metrics.seeds import over_seeds

LEARNED = ("autoencoder", "l1", "l1_disc")
WORST = 3  # test images shown beside the typical ones: those that L1 restores worst
SCORES = (
    "psnr", "ssim", "l1", "sharpness", "heldout_clear", "disc_clear", "two_sample", "digit_accuracy", "frechet",
    "plausibility",
)  # fmt: skip

Restorers: TypeAlias = Mapping[str, Mapping[str, Row]]  # scores by name and sigma
Evaluations: TypeAlias = Mapping[str, Evaluation]  # of the first seed, by restorer


def report(
    split: Split,
    evaluations: Mapping[tuple[str, int], Evaluation],
    interpolation: Interpolation,
    hyperparameters: Mapping[tuple[str, float], float],
    history: list[Row],
    states: Mapping[str, State],
    data: DataSet,
    settings: DeblurSettings,
) -> Result:
    """Everything that is printed, drawn and written; the figures are of the first seed.

    Args:
        evaluations: by restorer and seed.
        hyperparameters: of the baselines, by name and sigma.
        states: the weights to save, by file name.
    """
    by_name: dict[str, dict[int, Evaluation]] = {}
    for (name, seed), evaluation in evaluations.items():
        by_name.setdefault(name, {})[seed] = evaluation
    first = {name: by_seed[settings.seed] for name, by_seed in by_name.items()}
    restorers = {
        name: {str(sigma): scores(name, sigma, by_seed, hyperparameters) for sigma in settings.test_sigmas}
        for name, by_seed in by_name.items()
        if name != CLEAR
    }
    blind = {name: evaluation for name, evaluation in first.items() if evaluation.conditions}
    disc_rows = [row for row in history if (row["stage"], row["seed"]) == ("disc_net", settings.seed)]
    metrics: dict[str, Any] = {
        "restorers": restorers,
        "clear": {str(sigma): scores for sigma, scores in first[CLEAR].scores.items()},
        "conditions": {
            key: {
                "caption": condition.caption,
                "psnr": {name: evaluation.conditions[key] for name, evaluation in blind.items()},
            }
            for key, condition in CONDITIONS.items()
        },
        "clarity": {
            "chosen": interpolation.clarity,
            "clear_score": interpolation.clear_score,
            "validation": interpolation.choices,
        },
        "disc_net": {"validation_accuracy": disc_rows[-1]["validation_accuracy"]},
        "stages": settings.stages,
        "data": data.record()
        | {"train": len(split.train), "apart": len(split.heldout), "scored": len(split.test)}
        | on_one_side(split.train_full, split.test, data.classes),
    }
    tables = {
        "scores": scores_table(restorers),
        "history": Table(("stage", "seed", "epoch", "loss", "validation_psnr", "validation_accuracy"), history),
        "curve": curve_table(blind, settings),
        "conditions": conditions_table(blind),
        "images": images_table(first, settings),
        "clarity": Table(("weight", "psnr", "heldout_score"), interpolation.choices),
    }
    if settings.frontier:
        metrics["frontier"] = frontier(interpolation.frontier)
        tables["frontier"] = Table(tuple(interpolation.frontier[0]), interpolation.frontier)
    metadata = {
        "arch": settings.arch,
        "channels": split.train.image_shape[0],
        "image_shape": list(split.train.image_shape),
        "sigma": list(settings.sigma),
        "noise": settings.noise,
        "clarity": interpolation.clarity,
    }
    examples = {
        "clear": split.test.pixels[: interpolation.blurred.shape[1]],
        "blurred": interpolation.blurred,
        "restored": interpolation.restored,
        "sigmas": np.array(settings.test_sigmas),
        "weights": np.array([row["weight"] for row in interpolation.choices]),
    }
    return Result(
        settings=settings,
        metrics=metrics,
        headline=headline(restorers, settings),
        remarks=remarks(metrics, settings),
        tables=tables,
        figures=drawings(split, first, tables, restorers, settings),
        weights={name: Weights(state, metadata) for name, state in states.items()},
        files={"examples.npz": npz(examples)},
    )


def scores(
    name: str,
    sigma: float,
    by_seed: Mapping[int, Evaluation],
    hyperparameters: Mapping[tuple[str, float], float],
) -> Row:
    """Scores at one blur, as metrics.json has them: over the seeds if the restorer is trained, else of the only one."""
    rows = {seed: evaluation.scores[sigma] for seed, evaluation in by_seed.items()}
    if name in LEARNED:
        return over_seeds(rows)
    (row,) = rows.values()
    return row if name == IDENTITY else {**row, BASELINES[name].hyperparameter: hyperparameters[name, sigma]}


def frontier(rows: list[Row]) -> list[Row]:
    """One row per weight: means over the sigmas."""
    keys = ("psnr", "l1", "heldout_clear", "sharpness")
    return [
        {"weight": weight}
        | {key: float(np.mean([row[key] for row in rows if row["weight"] == weight])) for key in keys}
        for weight in dict.fromkeys(row["weight"] for row in rows)
    ]


def scores_table(restorers: Restorers) -> Table:
    """Every score, and of trained restorers the standard deviation of the PSNR over the seeds."""
    rows = [
        {"restorer": name, "sigma": float(sigma), **{key: row[key] for key in SCORES}}
        | {"psnr_sd": row["sd"]["psnr"] if "sd" in row else None}
        for name, by_sigma in restorers.items()
        for sigma, row in by_sigma.items()
    ]
    return Table(("restorer", "sigma", *SCORES, "psnr_sd"), rows)


def curve_table(blind: Evaluations, settings: DeblurSettings) -> Table:
    """PSNR of the blind restorers, and of the blurred images, over the blur."""
    rows = [
        {"restorer": name, "sigma": sigma, "psnr": psnr}
        for name, evaluation in blind.items()
        for sigma, psnr in zip(curve_sigmas(settings), evaluation.curve, strict=True)
    ]
    return Table(("restorer", "sigma", "psnr"), rows)


def conditions_table(blind: Evaluations) -> Table:
    """PSNR under conditions that the training does not cover, and the gain over the blurred images."""
    identity = blind[IDENTITY].conditions
    rows = [
        {"condition": condition, "restorer": name, "psnr": psnr, "gain": psnr - identity[condition]}
        for condition, (name, evaluation) in product(CONDITIONS, blind.items())
        if np.isfinite(psnr := evaluation.conditions[condition]) and np.isfinite(identity[condition])
    ]
    return Table(("condition", "restorer", "psnr", "gain"), rows)


def images_table(first: Evaluations, settings: DeblurSettings) -> Table:
    """PSNR of every test image, and the scores of both discriminators: above 0 is clear."""
    rows = [
        {"restorer": name, "sigma": sigma, "image": image, "psnr": psnr, "disc_net": disc, "heldout": heldout}
        for (name, evaluation), sigma in product(first.items(), settings.test_sigmas)
        for image, (psnr, disc, heldout) in enumerate(
            zip(
                *(column[sigma].tolist() for column in (evaluation.psnr, evaluation.disc, evaluation.heldout)),
                strict=True,
            )
        )
    ]
    return Table(("restorer", "sigma", "image", "psnr", "disc_net", "heldout"), rows)


def headline(restorers: Restorers, settings: DeblurSettings) -> Table:
    """Sigma by sigma: the blurred images, the best baseline of each, and the trained restorers."""
    rows = []
    for sigma in map(str, sorted(settings.test_sigmas)):
        for name in (IDENTITY, best_baseline(restorers, sigma), *LEARNED):
            if name in restorers:
                row = restorers[name][sigma]
                rows.append(
                    {
                        "sigma": f"{float(sigma):g}",
                        "restorer": NAMES[name],
                        "PSNR dB": f"{row['psnr']:.2f}",
                        "L1": f"{row['l1']:.4f}",
                        "sharpness": "" if math.isnan(row["sharpness"]) else f"{row['sharpness']:.3f}",
                        "held-out": f"{row['heldout_clear']:.2f}",
                        "two-sample": "" if row["two_sample"] is None else f"{row['two_sample']:.2f}",
                    }
                )
    return Table(tuple(rows[0]), rows)


def remarks(metrics: Mapping[str, Any], settings: DeblurSettings) -> list[str]:
    data = metrics["data"]
    clear = next(iter(metrics["clear"].values()))  # the same at every sigma
    seeds = "one seed" if settings.seeds == 1 else f"medians of {settings.seeds} seeds"
    return [
        f"Scores on {data['scored']} test images of {legible(data['name'])}, {seeds}; {data['train']} training images. "
        "The blur is scipy's, with noise of standard deviation "
        f"{settings.noise:g}, rounded to 8 bits. `L1 + disc` is a restorer trained with L1 and the adversarial loss of "
        "a discriminator, disc_net; `L1` is the control, trained for as many steps without it. Both are "
        f"{training_of(settings)}; the classical baselines use the true kernel and are tuned for it.",
        "`sharpness` is the strength of the edges relative to the truth, 1 being as sharp. `held-out` is the share of "
        "images that the held-out discriminator, which trained no restorer, classifies as clear "
        f"({clear['heldout_clear']:.2f} of clear images). `two-sample` is the test accuracy of a new network trained "
        "to tell restored from clear images, 0.5 being chance.",
        *disc_sentences(metrics, settings),
        *baseline_sentences(metrics["restorers"], settings),
        *harm_sentences(metrics),
        *evaluator_sentences(metrics),
        *clarity_sentences(metrics, settings),
    ]


def training_of(settings: DeblurSettings) -> str:
    low, high = settings.sigma
    return f"blind, trained on sigma {low:g} to {high:g}" if low < high else f"trained on sigma {low:g} only"


def disc_sentences(metrics: Mapping[str, Any], settings: DeblurSettings) -> Iterator[str]:
    for sigma in sorted(settings.test_sigmas):
        without, with_disc = (metrics["restorers"][name][str(sigma)] for name in ("l1", "l1_disc"))
        changes = [*changes_of(without, with_disc)] or ["no score: both equal the truth"]
        yield f"Sigma {sigma:g}: disc_net changes {', '.join(changes)}."


def changes_of(without: Row, with_disc: Row) -> Iterator[str]:
    if math.isfinite(gain := with_disc["psnr"] - without["psnr"]):  # infinite, of what is perfect
        yield f"PSNR by {gain:+z.2f} dB"
    if without["l1"]:
        yield f"L1 by {with_disc['l1'] / without['l1'] - 1:+z.1%}"
    for key, name, digits in (("sharpness", "sharpness", 3), ("two_sample", "two-sample", 2)):
        before, after = without[key], with_disc[key]
        if before is not None and math.isfinite(before):  # not of images without edges, not of too few
            yield f"{name} from {before:.{digits}f} to {after:.{digits}f}"


def best_baseline(restorers: Restorers, sigma: str) -> str:
    """The classical baseline with the highest PSNR at one blur."""
    return max(BASELINES, key=lambda name: restorers[name][sigma]["psnr"])


def baseline_sentences(restorers: Restorers, settings: DeblurSettings) -> Iterator[str]:
    for sigma, l1 in restorers["l1"].items():
        best = best_baseline(restorers, sigma)
        if 0 < (ahead := restorers[best][sigma]["psnr"] - l1["psnr"]) < math.inf:
            yield (
                f"Sigma {float(sigma):g}: {NAMES[best]} with the true kernel has a PSNR {ahead:.2f} dB above that of "
                f"L1, {training_of(settings)}."
            )


def harm_sentences(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Where a restored image is worse than the blurred one, and by how much."""
    restorers = metrics["restorers"]
    tested = {
        f"Sigma {float(sigma):g}": {name: by_sigma[sigma]["psnr"] for name, by_sigma in restorers.items()}
        for sigma in restorers[IDENTITY]
    }
    beyond = {f'Condition "{row["caption"]}"': row["psnr"] for row in metrics["conditions"].values()}
    for where, psnr in (tested | beyond).items():
        harm = {name: psnr[name] - psnr[IDENTITY] for name in LEARNED if name in psnr}
        losses = [
            f"{NAMES[name]} {gain:+.1f} dB, to {psnr[name]:.1f}" for name, gain in harm.items() if -math.inf < gain < 0
        ]
        if losses:
            yield f"{where}: restored images have a lower PSNR than the blurred ones: {'; '.join(losses)} dB."


def evaluator_sentences(metrics: Mapping[str, Any]) -> Iterator[str]:
    if next(iter(metrics["clear"].values()))["digit_accuracy"] is None:
        yield (
            "The images have no labels of two classes or more, so there is no classifier, no accuracy on restored "
            "images and no Fréchet distance."
        )
    if next(iter(metrics["restorers"]["l1"].values()))["two_sample"] is None:
        yield (
            f"The {metrics['data']['validation']} validation images are too few to train the network of `two-sample`, "
            "so it is left out."
        )
    data = metrics["data"]
    if data["only_in_test"] and next(iter(metrics["clear"].values()))["digit_accuracy"] is not None:
        yield (
            f"No training image shows {listed(data['only_in_test'])}, so {data['images_of_only_in_test']} of the "
            f"{data['scored']} test images count as wrong in every accuracy on restored images."
        )


def clarity_sentences(metrics: Mapping[str, Any], settings: DeblurSettings) -> Iterator[str]:
    if not settings.disc_weight:
        yield "With --disc-weight 0, L1 + disc equals L1."
    if settings.frontier or settings.arch == "unet":
        strongest = f"L1 + {STRONG:g} times the adversarial loss" if settings.frontier else "L1 + disc"
        yield f"Clarity is the weight, 0 to 1, of an interpolation from the network of L1 to that of {strongest}."
    if settings.frontier:
        control, *_, strong = metrics["frontier"]
        moves = [
            f"{name} from {control[key]:.{digits}f} to {strong[key]:.{digits}f}{unit}"
            for key, name, digits, unit in (("psnr", "PSNR goes", 2, " dB"), ("sharpness", "sharpness", 3, ""))
            if math.isfinite(control[key] + strong[key])
        ]
        if moves:
            yield (
                f"From clarity 0 to 1 {' and '.join(moves)}, means over the blurs; see frontier.csv and perception.png."
            )
    if settings.arch == "unet":  # bs6207 restore takes no other
        clarity = metrics["clarity"]
        score = next(row["heldout_score"] for row in clarity["validation"] if row["weight"] == clarity["chosen"])
        why = (
            "the least at which the held-out discriminator scores restored validation images as high as clear ones"
            if score >= clarity["clear_score"]
            else "that of the highest score of the held-out discriminator, which scores clear ones higher still"
        )
        yield (
            f"bs6207 restore uses clarity {clarity['chosen']:g} by default: {why} (mean score {score:.2f}, of clear "
            f"ones {clarity['clear_score']:.2f})."
        )


def drawings(
    split: Split, first: Evaluations, tables: Mapping[str, Table], restorers: Restorers, settings: DeblurSettings
) -> dict[str, Drawing]:
    """How to draw the figures, by name, each from what is written beside it."""
    sigmas = sorted(settings.test_sigmas)
    two = sorted({sigmas[(len(sigmas) - 1) // 2], sigmas[-1]})
    grids = {sigma: grid(split, first, best_baseline(restorers, str(sigma)), sigma) for sigma in two}
    captions = {key: condition.caption for key, condition in CONDITIONS.items()}
    examples = {name: first[name].examples for name in ("l1", "l1_disc")}
    return {
        "restorations": partial(figures.restorations, grids, tables["scores"], TYPICAL),
        "psnr_over_sigma": partial(figures.psnr_over_sigma, tables["curve"], tables["scores"], settings.sigma),
        "perception": partial(figures.perception, tables["scores"], tables.get("frontier"), first[CLEAR].scores),
        "disc_scores": partial(figures.disc_scores, tables["images"], two),
        "conditions": partial(figures.conditions, tables["conditions"], examples, captions),
        "loss_curves": partial(figures.loss_curves, tables["history"], settings.seed),
    }


def grid(split: Split, first: Evaluations, baseline: str, sigma: float) -> dict[str, NDArray[np.float32]]:
    """Rows of images at one blur, by restorer, `clear` first: typical ones, then those that L1 restores worst."""
    chosen = [*range(TYPICAL), *np.argsort(first["l1"].psnr[sigma])[:WORST].tolist()]
    names = (IDENTITY, baseline, "l1", "l1_disc")
    restored = {name: to_float(first[name].restored[sigma][chosen]) for name in names}
    return {CLEAR: split.test.unit_pixels[chosen], **restored}
