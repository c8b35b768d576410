"""Evaluation of restorers: scores on the test images, other conditions, interpolation.

Test images come in batches of one size: all digits are one, each photograph is one. What is scored of photographs is
the whole picture, up to its borders; discriminators and the two-sample test see crops of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bs6207.data.images import to_float, to_uint8
from bs6207.deblur.blur import TEST_NOISE, Batches, Context, Pixels, Split, unit_batches
from bs6207.deblur.conditions import CONDITIONS, PHOTOGRAPH_CONDITIONS
from bs6207.deblur.evaluators import CPU, Evaluators, plausibility, two_sample_accuracy
from bs6207.deblur.model import interpolated
from bs6207.deblur.networks import DiscNet, State, load_weights, new_restorer
from bs6207.deblur.settings import DeblurSettings
from bs6207.deblur.training import restore_batches, scores_of
from bs6207.runs.result import Checkpointable, Row
from bs6207.training.metrics.distributions import frechet_distance
from bs6207.training.metrics.restoration import l1, psnr_of_batches, psnr_of_each, sharpness, ssim

TWO_SAMPLES = 2000  # validation images a side, at most, that the two-sample test trains on, and
FEWEST_SAMPLES = 50  # at least: of fewer a network learns nothing, and chance is what perfect restoration scores too
EXAMPLES = 4  # images of every condition in the figure
FOLLOWED_EXAMPLES = 6  # test images restored at every weight, for the page;
MOST_EXAMPLE_PIXELS = 20_000  # fewer where they are large, but one at least
CURVE_POINTS, BEYOND = 11, 1.25  # blurs of the PSNR curve, from none to so many times the widest trained
FRONTIER_POINTS = 11
IDENTITY = "identity"  # the restorer that does nothing
CLEAR = "clear"  # the sharp test images: what each score can reach


@dataclass(frozen=True)
class Evaluation(Checkpointable):
    """The scores of a restorer on the test images by sigma; the last three of trained ones and the first seed only."""

    restored: dict[float, list[Pixels]]  # in batches
    scores: dict[float, dict[str, float | None]] = field(default_factory=dict)
    psnr: dict[float, NDArray[np.float64]] = field(default_factory=dict)  # of each test image or crop, [N]
    disc: dict[float, NDArray[np.float32]] = field(default_factory=dict)  # scores of disc_net, [N]; above 0 is clear
    heldout: dict[float, NDArray[np.float32]] = field(default_factory=dict)  # and of the held-out disc
    conditions: dict[str, float] = field(default_factory=dict)  # PSNR by condition
    condition_ssim: dict[str, float] = field(default_factory=dict)  # of photographs
    curve: list[float] = field(default_factory=list)  # PSNR at `curve_sigmas`
    examples: dict[str, Pixels] = field(default_factory=dict)  # truth, blurred, restored, [3, EXAMPLES, C, H, W]


def evaluate_restorer(name: str, state: State, evaluators: Evaluators, disc: State, context: Context) -> Evaluation:
    """Score a trained restorer, or with the name `identity` the blurred images as they are."""
    split, settings, progress, device = context.split, context.settings, context.progress, context.device
    restorer: nn.Module = nn.Identity()
    if name != IDENTITY:
        arch = name if name == "autoencoder" else settings.arch
        restorer = load_weights(new_restorer(arch, split.train.image_shape, split.crop is not None), state, device)

    def restored(blurred: Batches) -> list[Pixels]:
        return [to_uint8(batch) for batch in restore_batches(restorer, blurred, context)]

    by_sigma = {sigma: restored(context.blurred_test(sigma)) for sigma in settings.test_sigmas}
    evaluation = evaluate(name, by_sigma, evaluators, disc, context)
    if context.seed == settings.seed:
        evaluate_conditions(evaluation, restored, context)
    progress.step(f"{name} under conditions that the training does not cover", "conditions")
    samples = unit_batches(split.validation[: 2 * TWO_SAMPLES])
    clear = split.crops(samples)
    if name != IDENTITY and len(clear) // 2 >= FEWEST_SAMPLES:  # of blurred images the answer is known
        # the samples of the two sides are of different originals, or places: the test assumes independent ones
        others = [samples[0][1::2]] if split.crop is None else samples
        for sigma, images in by_sigma.items():
            learned = split.crops(restore_batches(restorer, context.blurred_validation(others, sigma), context))
            evaluation.scores[sigma]["two_sample"] = two_sample_accuracy(
                clear[::2],
                learned if split.crop is None else learned[1::2],
                split.crops(unit_batches(split.test)),
                to_float(split.crops(images)),
                context.seed,
            )
    progress.step(f"{name} against clear images", "two-sample")
    return evaluation


def evaluate(
    name: str, images: Mapping[float, list[Pixels]], evaluators: Evaluators, disc: State, context: Context
) -> Evaluation:
    evaluation, split, classifier = Evaluation(dict(images)), context.split, evaluators.classifier
    test, sharp = split.test, unit_batches(split.test)
    disc_net = load_weights(DiscNet(test.image_shape[0]), disc, CPU)
    for sigma, pixels in images.items():
        restored = [to_float(batch) for batch in pixels]
        crops, blurred = split.crops(restored), context.blurred_test(sigma)
        evaluation.psnr[sigma] = psnr_of_each(split.crops(sharp), crops)
        evaluation.disc[sigma] = scores_of(disc_net, torch.from_numpy(crops)).numpy()
        evaluation.heldout[sigma] = evaluators.heldout.scores(crops)
        evaluation.scores[sigma] = scores = {
            "psnr": psnr_of_batches(sharp, restored),
            "ssim": mean_of(ssim, sharp, restored),
            "l1": mean_of(l1, sharp, restored),
            "sharpness": mean_of(sharpness, sharp, restored),
            "heldout_clear": float(np.mean(evaluation.heldout[sigma] > 0)),
            "disc_clear": float(np.mean(evaluation.disc[sigma] > 0)),
            "plausibility": mean_of(partial(plausibility, sigma=sigma, border=split.border), restored, blurred),
            **dict.fromkeys(("digit_accuracy", "frechet", "two_sample")),
        }
        if classifier is not None and evaluators.clear_features is not None and test.labels is not None:
            scores["digit_accuracy"] = classifier.accuracy(crops, test.labels)
            scores["frechet"] = frechet_distance(classifier.features(crops), evaluators.clear_features)
    context.progress.step(f"{name} evaluated", "evaluation")
    return evaluation


def evaluate_conditions(evaluation: Evaluation, restored: Callable[[Batches], list[Pixels]], context: Context) -> None:
    """Add the PSNR under conditions that the training does not cover, or of photographs of all kinds of blur.

    And the PSNR over all Gaussian blurs.
    """
    split, settings = context.split, context.settings
    sharp = unit_batches(split.test)
    for name, (truth, blurred) in condition_pairs(context).items():
        pixels = restored(blurred)
        evaluation.conditions[name] = psnr_of_batches(truth, [to_float(batch) for batch in pixels])
        if split.crop is not None:
            evaluation.condition_ssim[name] = mean_of(ssim, truth, [to_float(batch) for batch in pixels])
        sides = ([to_uint8(batch) for batch in truth], [to_uint8(batch) for batch in blurred], pixels)
        evaluation.examples[name] = np.stack([middle_crops(split, side)[:EXAMPLES] for side in sides])
    for sigma in curve_sigmas(settings):
        evaluation.curve.append(
            psnr_of_batches(sharp, [to_float(batch) for batch in restored(context.blurred_test(sigma))])
        )


def score_condition(evaluation: Evaluation, name: str, pixels: list[Pixels], split: Split) -> None:
    """Add the scores of photographs restored under a condition by a baseline that knows its kernel."""
    truth, restored = unit_batches(split.test), [to_float(batch) for batch in pixels]
    evaluation.conditions[name] = psnr_of_batches(truth, restored)
    evaluation.condition_ssim[name] = mean_of(ssim, truth, restored)


def mean_of(score: Callable[..., float], images: Batches, others: Batches) -> float:
    """The mean of a score over batches: digits are one, and photographs count alike."""
    return float(np.mean([score(one, other) for one, other in zip(images, others, strict=True)]))


def condition_pairs(context: Context) -> dict[str, tuple[Batches, Batches]]:
    """The truth and the degraded test images under every condition."""
    sharp, settings = unit_batches(context.split.test), context.settings
    if context.split.crop is None:
        pairs = {
            name: condition.pair(sharp[0], settings.noise, TEST_NOISE, settings.sigma.high)
            for name, condition in CONDITIONS.items()
        }
        return {name: ([truth], [blurred]) for name, (truth, blurred) in pairs.items()}
    blurred = {
        name: [degraded for _, degraded in condition.pairs(sharp, settings.noise, TEST_NOISE)]
        for name, condition in PHOTOGRAPH_CONDITIONS.items()
    }
    return {name: (sharp, batches) for name, batches in blurred.items()}


def middle_crops(split: Split, batches: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Images as they are; of every photograph the crop in the middle, [N, C, H, W]."""
    if split.crop is None:
        return batches[0]
    crops = [split.crops([batch]) for batch in batches]
    return np.stack([of_one[len(of_one) // 2] for of_one in crops])


def curve_sigmas(settings: DeblurSettings) -> list[float]:
    """Blurs of the PSNR curve, evenly from none to beyond the widest trained or tested."""
    widest = max(settings.sigma.high, *settings.test_sigmas, 1.0)
    return [round(sigma, 3) for sigma in np.linspace(0, BEYOND * widest, CURVE_POINTS).tolist()]


@dataclass(frozen=True)
class Interpolation(Checkpointable):
    """Restorers between the control and the one with the strongest discriminator."""

    choices: list[Row]  # by weight, PSNR and the mean score of the held-out disc on validation images
    clarity: float  # the weight chosen by them
    clear_score: float  # the held-out disc's mean score of clear validation images
    frontier: list[Row]  # scores on the test images by weight and sigma; empty without --frontier
    blurred: Pixels  # by sigma, the first few test images, [sigmas, images, C, H, W]
    restored: Pixels  # by weight and sigma, [weights, sigmas, images, C, H, W]


def interpolate(control: State, clearest: State, evaluators: Evaluators, context: Context) -> Interpolation:
    """Interpolate between the weights of two restorers, choose one by the held-out disc, score all for a frontier."""
    split, settings, device, heldout = context.split, context.settings, context.device, evaluators.heldout
    validation, sharp = unit_batches(split.followed), unit_batches(split.test)
    tests = {sigma: context.blurred_test(sigma) for sigma in settings.test_sigmas}
    blurred_validation = [context.blurred_validation(validation, sigma) for sigma in tests]
    shown = {sigma: middle_crops(split, blurred) for sigma, blurred in tests.items()}
    few = max(1, min(FOLLOWED_EXAMPLES, MOST_EXAMPLE_PIXELS // middle_crops(split, sharp)[0].size))
    choices: list[Row] = []
    frontier: list[Row] = []
    examples: list[list[Pixels]] = []
    for weight in [point / (FRONTIER_POINTS - 1) for point in range(FRONTIER_POINTS)]:
        new = new_restorer(settings.arch, split.train.image_shape, split.crop is not None)
        restorer = load_weights(new, interpolated(control, clearest, weight), device)
        restored = [restore_batches(restorer, blurred, context) for blurred in blurred_validation]
        psnr = float(np.mean([psnr_of_batches(validation, images) for images in restored]))
        score = float(np.mean([heldout.scores(split.crops(images)) for images in restored]))
        choices.append({"weight": weight, "psnr": psnr, "heldout_score": score})
        few_restored = [restore_batches(restorer, [blurred[:few]], context) for blurred in shown.values()]
        examples.append([to_uint8(images) for (images,) in few_restored])
        for sigma, blurred in tests.items() if settings.frontier else ():
            images = [to_float(to_uint8(batch)) for batch in restore_batches(restorer, blurred, context)]
            frontier.append(
                {"weight": weight, "sigma": sigma, "psnr": psnr_of_batches(sharp, images)}
                | {"l1": mean_of(l1, sharp, images), "heldout_clear": heldout.clearness(split.crops(images))}
                | {"sharpness": mean_of(sharpness, sharp, images)}
            )
        context.progress.step(f"interpolation at {weight:.0%}", "interpolation")
    clear_score = float(heldout.scores(split.crops(validation)).mean())
    blurred_few = np.stack([to_uint8(blurred[:few]) for blurred in shown.values()])
    clarity = choose_clarity(choices, clear_score)
    return Interpolation(choices, clarity, clear_score, frontier, blurred_few, np.array(examples))


def choose_clarity(choices: list[Row], clear_score: float) -> float:
    """The least weight at which the held-out disc's mean score reaches that of clear images, or else the best."""
    enough = [row["weight"] for row in choices if row["heldout_score"] >= clear_score]
    return enough[0] if enough else max(choices, key=lambda row: row["heldout_score"])["weight"]
