"""The result of the deblur experiment: remarks, tables, figures and files."""

import math
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import bs6207.deblur.figures as figures
from bs6207.data.images import DataSet, npz, on_one_side, to_float
from bs6207.deblur.blur import TYPICAL, Split
from bs6207.deblur.classical import BASELINES
from bs6207.deblur.conditions import CONDITIONS, PHOTOGRAPH_CONDITIONS, Condition, PhotographCondition
from bs6207.deblur.evaluation import CLEAR, IDENTITY, Evaluation, Interpolation, curve_sigmas, middle_crops
from bs6207.deblur.figures import NAMES
from bs6207.deblur.model import kind_of_images
from bs6207.deblur.networks import State
from bs6207.deblur.settings import STRONG, DeblurSettings
from bs6207.figures import DPI
from bs6207.runs.names import legible, listed
from bs6207.runs.result import Drawing, Result, Row, Table, Weights
from bs6207.training.metrics.seeds import over_seeds

LEARNED = ("autoencoder", "l1", "l1_disc")
TYPICAL_CROPS, WORST_CROPS = 3, 2  # of photographs: those of the median PSNR of L1, and the worst
WORST = 3  # test images shown beside the typical ones: those that L1 restores worst
SCORES = (
    "psnr", "ssim", "l1", "sharpness", "heldout_clear", "disc_clear", "two_sample", "digit_accuracy", "frechet",
    "plausibility",
)  # fmt: skip

Restorers: TypeAlias = Mapping[str, Mapping[str, Row]]  # scores by name and sigma
Evaluations: TypeAlias = Mapping[str, Evaluation]  # of the first seed, by restorer


def report(
    split: Split,
    evaluations: Mapping[tuple[str, int], Evaluation],  # by restorer and seed
    interpolation: Interpolation,
    history: list[Row],
    states: Mapping[str, State],  # the weights to save, by file name
    data: DataSet,
    settings: DeblurSettings,
) -> Result:
    """Everything that is printed, drawn and written; the figures are of the first seed."""
    choices = interpolation.choices
    first = {name: evaluation for (name, seed), evaluation in evaluations.items() if seed == settings.seed}
    restorers: dict[str, dict[str, Row]] = {}
    for name, sigma in product([name for name in first if name != CLEAR], settings.test_sigmas):
        by_seed = {seed: one.scores[sigma] for (of, seed), one in evaluations.items() if of == name}
        row = over_seeds(by_seed) if name in LEARNED else by_seed[settings.seed]
        restorers.setdefault(name, {})[str(sigma)] = row
    blind = {name: evaluation for name, evaluation in first.items() if evaluation.curve}
    conditions = conditions_of(settings)
    disc_rows = [row for row in history if (row["stage"], row["seed"]) == ("disc_net", settings.seed)]
    metrics: dict[str, Any] = {
        "restorers": restorers,
        "clear": {str(sigma): scores for sigma, scores in first[CLEAR].scores.items()},
        "conditions": {
            key: {"caption": caption, "psnr": by_name(first, "conditions", key)}
            | ({} if settings.crop is None else {"ssim": by_name(first, "condition_ssim", key)})
            for key, caption in conditions.items()
        },
        "clarity": {"chosen": interpolation.clarity, "clear_score": interpolation.clear_score, "validation": choices},
        "disc_net": {"validation_accuracy": disc_rows[-1]["validation_accuracy"]},
        "stages": settings.stages,
        "data": data.record()
        | {"train": len(split.train), "apart": len(split.heldout), "scored": len(split.test)}
        | on_one_side(split.train_full, split.test, data.classes),
    }
    tables = {
        "history": Table(("stage", "seed", "epoch", "loss", "validation_psnr", "validation_accuracy"), history),
        "clarity": Table(("weight", "psnr", "heldout_score"), choices),
        **score_tables(restorers, first, blind, settings),
    }
    if rows := interpolation.frontier:
        tables["frontier"] = Table(tuple(rows[0]), rows)
        keys = ("psnr", "l1", "heldout_clear", "sharpness")  # means over the sigmas
        metrics["frontier"] = [
            {"weight": weight}
            | {key: float(np.mean([row[key] for row in rows if row["weight"] == weight])) for key in keys}
            for weight in dict.fromkeys(row["weight"] for row in rows)
        ]
    shape = split.train.image_shape
    metadata: dict[str, Any] = {"arch": settings.arch, "channels": shape[0], "image_shape": list(shape)}
    metadata["trained_on"] = {"data": data.name, "pictures": kind_of_images(split.train)}
    metadata |= {
        "sigma": list(settings.sigma),
        "blur": list(settings.blur),
        "noise": settings.noise,
        "clarity": interpolation.clarity,
    }
    examples = {
        "clear": middle_crops(split, split.test.batches)[: interpolation.blurred.shape[1]],
        "blurred": interpolation.blurred,
        "restored": interpolation.restored,
        "sigmas": np.array(settings.test_sigmas),
        "weights": np.array([row["weight"] for row in choices]),
    }
    figures = drawings(split, first, tables, restorers, settings)
    weights = {name: Weights(state, metadata) for name, state in states.items()}
    texts = headline(restorers, settings), remarks(metrics, settings)
    return Result(settings, metrics, *texts, tables, figures, weights, {"examples.npz": npz(examples)})


def conditions_of(settings: DeblurSettings) -> dict[str, str]:
    """The captions of the conditions that are scored, by name."""
    conditions: Mapping[str, Condition | PhotographCondition] = CONDITIONS
    if settings.crop is not None:
        conditions = PHOTOGRAPH_CONDITIONS
    return {name: condition.caption for name, condition in conditions.items()}


def by_name(evaluations: Evaluations, score: str, condition: str) -> dict[str, float]:
    """One score under one condition, by restorer."""
    scores = {name: getattr(one, score) for name, one in evaluations.items()}
    return {name: by_condition[condition] for name, by_condition in scores.items() if condition in by_condition}


def score_tables(
    restorers: Restorers, first: Evaluations, blind: Evaluations, settings: DeblurSettings
) -> dict[str, Table]:
    """By file name; `scores` has the standard deviation of the PSNR over the seeds too, of trained restorers."""
    scores = [
        {"restorer": name, "sigma": float(sigma), **{key: row[key] for key in SCORES}}
        | {"psnr_sd": row["sd"]["psnr"] if "sd" in row else None}
        for name, by_sigma in restorers.items()
        for sigma, row in by_sigma.items()
    ]
    curve = [
        {"restorer": name, "sigma": sigma, "psnr": psnr}
        for name, evaluation in blind.items()
        for sigma, psnr in zip(curve_sigmas(settings), evaluation.curve, strict=True)
    ]
    identity = blind[IDENTITY].conditions
    conditions = [
        {"condition": condition, "restorer": name, "psnr": psnr, "gain": psnr - identity[condition]}
        for condition, (name, evaluation) in product(conditions_of(settings), first.items())
        if np.isfinite(psnr := evaluation.conditions.get(condition, math.nan)) and np.isfinite(identity[condition])
    ]
    images = []
    for (name, one), sigma in product(first.items(), settings.test_sigmas):
        discs = zip(one.psnr[sigma].tolist(), one.disc[sigma].tolist(), one.heldout[sigma].tolist(), strict=True)
        images += [
            {"restorer": name, "sigma": sigma, "image": image, "psnr": psnr, "disc_net": disc, "heldout": heldout}
            for image, (psnr, disc, heldout) in enumerate(discs)
        ]
    return {
        "scores": Table(("restorer", "sigma", *SCORES, "psnr_sd"), scores),
        "curve": Table(("restorer", "sigma", "psnr"), curve),
        "conditions": Table(("condition", "restorer", "psnr", "gain"), conditions),
        "images": Table(("restorer", "sigma", "image", "psnr", "disc_net", "heldout"), images),
    }


def headline(restorers: Restorers, settings: DeblurSettings) -> Table:
    """Sigma by sigma: the blurred images, the best baseline of each, and the trained restorers."""
    rows = [
        {
            "sigma": f"{float(sigma):g}",
            "restorer": NAMES[name],
            "PSNR dB": f"{row['psnr']:.2f}",
            "L1": f"{row['l1']:.4f}",
            "sharpness": "" if math.isnan(row["sharpness"]) else f"{row['sharpness']:.3f}",
            "held-out": f"{row['heldout_clear']:.2f}",
            "two-sample": "" if row["two_sample"] is None else f"{row['two_sample']:.2f}",
        }
        for sigma in map(str, sorted(settings.test_sigmas))
        for name in (IDENTITY, best_baseline(restorers, sigma), *LEARNED)
        if (row := restorers.get(name, {}).get(sigma))
    ]
    return Table(tuple(rows[0]), rows)


def remarks(metrics: Mapping[str, Any], settings: DeblurSettings) -> list[str]:
    data = metrics["data"]
    clear = next(iter(metrics["clear"].values()))  # the same at every sigma
    seeds = "one seed" if settings.seeds == 1 else f"medians of {settings.seeds} seeds"
    return [
        f"Scores on {data['scored']} test images of {legible(data['name'])}, {seeds}; {data['train']} training images. "
        f"The blur is scipy's, with noise of standard deviation {settings.noise:g}, rounded to 8 bits. `L1 + disc` is "
        "a restorer trained with L1 and the adversarial loss of a discriminator, disc_net; `L1` is the control, "
        f"trained for as many steps without it. Both are {training_of(settings)}; the classical baselines use the true "
        "kernel and are tuned for it.",
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
        changes = []
        if math.isfinite(gain := with_disc["psnr"] - without["psnr"]):  # infinite, of what is perfect
            changes.append(f"PSNR by {gain:+z.2f} dB")
        if without["l1"]:
            changes.append(f"L1 by {with_disc['l1'] / without['l1'] - 1:+z.1%}")
        for key, name, digits in (("sharpness", "sharpness", 3), ("two_sample", "two-sample", 2)):
            before, after = without[key], with_disc[key]
            if before is not None and math.isfinite(before):  # not of images without edges, not of too few
                changes.append(f"{name} from {before:.{digits}f} to {after:.{digits}f}")
        yield f"Sigma {sigma:g}: disc_net changes {', '.join(changes) or 'no score: both equal the truth'}."


def best_baseline(restorers: Restorers, sigma: str) -> str:
    """The classical baseline with the highest PSNR at one blur."""
    return max(BASELINES, key=lambda name: restorers[name][sigma]["psnr"])


def baseline_sentences(restorers: Restorers, settings: DeblurSettings) -> Iterator[str]:
    for sigma, l1 in restorers["l1"].items():
        best = best_baseline(restorers, sigma)
        if 0 < (ahead := restorers[best][sigma]["psnr"] - l1["psnr"]) < math.inf:
            lead = f"{ahead:.2f} dB above that of L1, {training_of(settings)}"
            yield f"Sigma {float(sigma):g}: {NAMES[best]} with the true kernel has a PSNR {lead}."


def harm_sentences(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Where a restored image is worse than the blurred one, and by how much."""
    restorers = metrics["restorers"]
    tested = {
        f"Sigma {float(sigma):g}": {name: by_sigma[sigma]["psnr"] for name, by_sigma in restorers.items()}
        for sigma in restorers[IDENTITY]
    }
    beyond = {f'Condition "{row["caption"]}"': row["psnr"] for row in metrics["conditions"].values()}
    for where, psnr in (tested | beyond).items():
        losses = [
            f"{NAMES[name]} {gain:+.1f} dB, to {psnr[name]:.1f}"
            for name in LEARNED
            if name in psnr and -math.inf < (gain := psnr[name] - psnr[IDENTITY]) < 0
        ]
        if losses:
            yield f"{where}: restored images have a lower PSNR than the blurred ones: {'; '.join(losses)} dB."


def evaluator_sentences(metrics: Mapping[str, Any]) -> Iterator[str]:
    data, clear, l1 = metrics["data"], metrics["clear"], metrics["restorers"]["l1"]
    has_classifier = next(iter(clear.values()))["digit_accuracy"] is not None
    if not has_classifier:
        yield "There are no labels of two classes or more, so no accuracy on restored images and no Fréchet distance."
    if next(iter(l1.values()))["two_sample"] is None:
        yield f"The {data['validation']} validation images are too few to train the network of `two-sample`."
    if has_classifier and data["only_in_test"]:
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
            yield f"From clarity 0 to 1 {' and '.join(moves)}, means over the blurs; see perception.png."
    if settings.arch == "unet":  # bs6207 restore takes no other
        clarity = metrics["clarity"]
        score = next(row["heldout_score"] for row in clarity["validation"] if row["weight"] == clarity["chosen"])
        why = "that of the highest score of the held-out discriminator, which scores clear ones higher still"
        if score >= clarity["clear_score"]:
            why = "the least at which the held-out discriminator scores restored validation images like clear ones"
        means = f"mean score {score:.2f}, of clear ones {clarity['clear_score']:.2f}"
        yield f"bs6207 restore uses clarity {clarity['chosen']:g} by default: {why} ({means})."


def chosen_images(psnr: NDArray[np.float64], settings: DeblurSettings) -> list[int]:
    """The images, or crops of photographs, to draw: typical ones, and those that are restored worst."""
    ascending = np.argsort(psnr)
    if settings.crop is None:
        return [*range(TYPICAL), *ascending[:WORST].tolist()]
    middle = len(ascending) // 2
    return [*ascending[middle : middle + TYPICAL_CROPS].tolist(), *ascending[:WORST_CROPS].tolist()]


def drawings(
    split: Split, first: Evaluations, tables: Mapping[str, Table], restorers: Restorers, settings: DeblurSettings
) -> dict[str, Drawing]:
    """How to draw the figures, by name, each from what is written beside it."""
    sigmas = sorted(settings.test_sigmas)
    two = sorted({sigmas[(len(sigmas) - 1) // 2], sigmas[-1]})
    grids = {}
    for sigma in two:
        chosen = chosen_images(first["l1"].psnr[sigma], settings)
        names = (CLEAR, IDENTITY, best_baseline(restorers, str(sigma)), "l1", "l1_disc")
        grids[sigma] = {name: to_float(split.crops(first[name].restored[sigma])[chosen]) for name in names}
    looks = (TYPICAL,) if settings.crop is None else (TYPICAL_CROPS, "crops of median PSNR", 2 * settings.crop / DPI)
    captions = conditions_of(settings)
    examples = {name: first[name].examples for name in ("l1", "l1_disc")}
    return {
        "restorations": partial(figures.restorations, grids, tables["scores"], *looks),
        "psnr_over_sigma": partial(figures.psnr_over_sigma, tables["curve"], tables["scores"], settings.sigma),
        "perception": partial(figures.perception, tables["scores"], tables.get("frontier"), first[CLEAR].scores),
        "disc_scores": partial(figures.disc_scores, tables["images"], two),
        "conditions": partial(figures.conditions, tables["conditions"], examples, captions),
        "loss_curves": partial(figures.loss_curves, tables["history"], settings.seed),
    }
