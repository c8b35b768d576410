"""Evaluation of restorers: scores on the test images, conditions that the training does not cover, interpolation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_letters

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps
from scipy.ndimage import convolve, gaussian_filter, rotate, uniform_filter
from skimage.filters import gaussian
from skimage.morphology import disk
from torch import nn

from bs6207.data.images import to_float, to_uint8
from bs6207.deblur.blur import (
    TEST_NOISE,
    VALIDATION_NOISE,
    Context,
    Pixels,
    blur_for_test,
    degrade_for_test,
)
from bs6207.deblur.evaluators import (
    CPU,
    Classifier,
    HeldOutDisc,
    plausibility,
    train_classifier,
    train_heldout_disc,
    two_sample_accuracy,
)
from bs6207.deblur.model import interpolated
from bs6207.deblur.networks import DiscNet, State, load_weights, new_restorer
from bs6207.deblur.settings import DeblurSettings
from bs6207.deblur.training import restore_images, scores_of
from bs6207.runs.result import Checkpointable, Row
from bs6207.training.metrics.distributions import frechet_distance
from bs6207.training.metrics.restoration import Images, l1, psnr_of_each, psnr_per_image, sharpness, ssim

Exact = NDArray[np.float64]  # [N, C, H, W]
MOTION_LENGTH = 9  # pixels
MOTION_SEED = 6207  # of the directions
BOX_SIDE = 5  # pixels
DEFOCUS_RADIUS = 3  # pixels
SIGMA = 1.5  # pixels, where a Gaussian is blurred by other code, or other images are
WIDER = 1.25  # times the widest sigma of the training
FONTS = ("DejaVuSans.ttf", "DejaVuSerif.ttf")  # come with matplotlib, so letters are the same everywhere
LETTER_SHARE = 20 / 28  # of the shorter side: as large as digits are in MNIST
LARGE = 200  # pixels, the font size before a letter is shrunk


def motion(sharp: Exact, widest: float) -> Exact:
    """Every image moves along a straight line of its own direction."""
    angles = np.random.RandomState(MOTION_SEED).uniform(0, 180, len(sharp))
    pairs = zip(sharp, angles, strict=True)
    return np.stack([convolve(image, motion_kernel(angle)[None], mode="constant") for image, angle in pairs])


def motion_kernel(angle: float) -> Exact:
    """A line of `MOTION_LENGTH` pixels through the middle, `angle` degrees from the horizontal; its sum is 1."""
    line = np.zeros((MOTION_LENGTH + 2, MOTION_LENGTH + 2))  # room at the ends, where rotation interpolates
    line[MOTION_LENGTH // 2 + 1, 1:-1] = 1
    turned = rotate(line, angle, reshape=False, order=1)
    return turned / turned.sum()


def defocus(sharp: Exact, widest: float) -> Exact:
    """Every point spreads evenly over a disk."""
    kernel = disk(DEFOCUS_RADIUS, dtype=np.float64)
    return convolve(sharp, (kernel / kernel.sum())[None, None], mode="constant")


def pillow(sharp: Exact, widest: float) -> Exact:
    """Pillow's Gaussian, really three box filters, on 8-bit channels."""
    blur = ImageFilter.GaussianBlur(SIGMA)
    channels = to_uint8(sharp).reshape(-1, *sharp.shape[2:])
    blurred = [np.asarray(Image.fromarray(channel).filter(blur)) for channel in channels]
    return np.reshape(blurred, sharp.shape) / 255


def gaussian_of(sharp: Exact, sigma: float) -> Exact:
    """The blur of `blur_for_test`, before noise and rounding."""
    return gaussian_filter(sharp, (0, 0, sigma, sigma), mode="constant")


def letters(shape: tuple[int, ...]) -> Exact:
    """The 52 letters in every font, white on black, each as large as a digit, [104, C, H, W] in [0, 1] of `shape`."""
    channels, height, width = shape[-3:]
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    drawn = [draw(letter, str(folder / font), height, width) for font in FONTS for letter in ascii_letters]
    return np.repeat(np.stack(drawn)[:, None], channels, axis=1)


def draw(letter: str, font: str, height: int, width: int) -> Exact:
    """One letter in the middle of an image, [H, W] in [0, 1]; antialiased, as it is drawn large and then shrunk."""
    large = Image.new("L", (2 * LARGE, 2 * LARGE))
    ImageDraw.Draw(large).text((LARGE // 2, LARGE // 2), letter, fill=255, font=ImageFont.truetype(font, LARGE))
    side = round(LETTER_SHARE * min(height, width))
    small = ImageOps.contain(large.crop(large.getbbox()), (side, side))
    image = Image.new("L", (width, height))
    image.paste(small, ((width - small.width) // 2, (height - small.height) // 2))
    return np.asarray(image) / 255


@dataclass(frozen=True)
class Condition:
    """A blur, or images, that the training does not cover.

    Attributes:
        caption: one line.
        blur: of (images in [0, 1], the widest sigma of the training); gives the exact blurred images.
        replace: gives images of a shape [N, C, H, W] in place of the test images; None where those are blurred.
    """

    caption: str
    blur: Callable[[Exact, float], Exact]
    replace: Callable[[tuple[int, ...]], Exact] | None = None

    def pair(self, sharp: Images, noise: float, seed: int, widest: float) -> tuple[Images, Images]:
        """The truth and the degraded images, both [M, C, H, W] in [0, 1]; M is N unless other images replace them.

        Args:
            sharp: clear test images, [N, C, H, W] in [0, 1].
            noise: standard deviation.
            widest: the widest sigma of the training, in pixels.
        """
        truth = self.replace(sharp.shape) if self.replace else sharp.astype(np.float64)
        return truth.astype(np.float32), degrade_for_test(self.blur(truth, widest), noise, seed)


CONDITIONS = {
    "clear": Condition("no blur: what is good should stay as it is", lambda sharp, widest: sharp),
    "motion": Condition(f"motion along a line of {MOTION_LENGTH} pixels, its direction drawn for every image", motion),
    "box": Condition(
        f"the mean of {BOX_SIDE} x {BOX_SIDE} pixels",
        lambda sharp, widest: uniform_filter(sharp, (0, 0, BOX_SIDE, BOX_SIDE), mode="constant"),
    ),
    "defocus": Condition(f"out of focus: a disc of radius {DEFOCUS_RADIUS}", defocus),
    "pillow": Condition(f"Pillow's GaussianBlur of radius {SIGMA:g}, 8 bits in and out", pillow),
    "nearest": Condition(
        f"skimage's Gaussian of sigma {SIGMA:g}, the border repeated beyond it",
        lambda sharp, widest: gaussian(sharp, (0, 0, SIGMA, SIGMA), mode="nearest"),
    ),
    "letters": Condition(
        f"letters A to Z and a to z in two typefaces, sigma {SIGMA:g}",
        lambda sharp, widest: gaussian_of(sharp, SIGMA),
        letters,
    ),
    "wide": Condition(
        "a Gaussian a quarter wider than the widest of the training",
        lambda sharp, widest: gaussian_of(sharp, WIDER * widest),
    ),
}
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
class Evaluators(Checkpointable):
    """Networks that took no part in training a restorer.

    Attributes:
        classifier: None where the images have no labels to learn.
        clear_features: its features of clear validation images, [N, D], for the Fréchet distance.
    """

    heldout: HeldOutDisc
    classifier: Classifier | None = None
    clear_features: NDArray[np.float32] | None = None


def train_evaluators(context: Context) -> Evaluators:
    split, settings, progress = context.split, context.settings, context.progress
    heldout = train_heldout_disc(split.heldout.pixels, settings.sigma, settings.seed)
    progress.step("the held-out disc", "evaluators")
    pixels, labels = split.train_full.pixels, split.train_full.labels
    if labels is None or len(np.unique(labels)) < 2:
        progress.step("no classifier", "evaluators")
        return Evaluators(heldout)
    classifier = train_classifier(pixels, labels, int(labels.max()) + 1, settings.seed)
    progress.step("the classifier", "evaluators")
    return Evaluators(heldout, classifier, classifier.features(split.validation.unit_pixels))


@dataclass(frozen=True)
class Evaluation(Checkpointable):
    """The scores of a restorer on the test images.

    Attributes:
        scores: by sigma; see `evaluate`.
        restored: by sigma.
        psnr: by sigma, of each test image, [N].
        disc, heldout: by sigma, the scores of disc_net and of the held-out disc, [N]; above 0 is clear.
        conditions: PSNR by the name of the condition.
        curve: PSNR at `curve_sigmas`.
        examples: by condition, the first images: the truth, blurred, restored, [3, EXAMPLES, C, H, W].

    The last three are of trained restorers and of the first seed only.
    """

    scores: dict[float, dict[str, float | None]] = field(default_factory=dict)
    restored: dict[float, Pixels] = field(default_factory=dict)
    psnr: dict[float, NDArray[np.float64]] = field(default_factory=dict)
    disc: dict[float, NDArray[np.float32]] = field(default_factory=dict)
    heldout: dict[float, NDArray[np.float32]] = field(default_factory=dict)
    conditions: dict[str, float] = field(default_factory=dict)
    curve: list[float] = field(default_factory=list)
    examples: dict[str, Pixels] = field(default_factory=dict)


def evaluate_restorer(
    name: str, state: State, evaluators: Evaluators, disc: State, seed: int, context: Context
) -> Evaluation:
    """Score a trained restorer, or with the name `identity` the blurred images as they are."""
    split, settings, progress, device = context.split, context.settings, context.progress, context.device
    arch = name if name == "autoencoder" else settings.arch
    restorer: nn.Module = nn.Identity()
    if name != IDENTITY:
        restorer = load_weights(new_restorer(arch, split.train.image_shape), state, device)

    by_sigma = {
        sigma: to_uint8(restore_images(restorer, context.blurred_test(sigma), device)) for sigma in settings.test_sigmas
    }
    evaluation = evaluate(name, by_sigma, evaluators, disc, context)
    if seed == settings.seed:
        evaluate_conditions(evaluation, restorer, context)
    progress.step(f"{name} under conditions that the training does not cover", "conditions")
    samples = split.validation[: 2 * TWO_SAMPLES].unit_pixels
    clear, others = samples[::2], samples[1::2]  # of different originals: the test assumes independent samples
    if name != IDENTITY and len(others) >= FEWEST_SAMPLES:  # of blurred images the answer is known
        for sigma in settings.test_sigmas:
            blurred = blur_for_test(others, sigma, settings.noise, VALIDATION_NOISE)
            restored = restore_images(restorer, blurred, device)
            evaluation.scores[sigma]["two_sample"] = two_sample_accuracy(
                clear, restored, split.test.unit_pixels, to_float(by_sigma[sigma]), seed
            )
    progress.step(f"{name} against clear images", "two-sample")
    return evaluation


def evaluate(
    name: str, images: Mapping[float, Pixels], evaluators: Evaluators, disc: State, context: Context
) -> Evaluation:
    """Score restored test images, by sigma."""
    evaluation = Evaluation(restored=dict(images))
    test = context.split.test
    sharp, labels = test.unit_pixels, test.labels
    disc_net = load_weights(DiscNet(test.image_shape[0]), disc, CPU)
    for sigma, pixels in images.items():
        restored = to_float(pixels)
        evaluation.psnr[sigma] = psnr_of_each(sharp, restored)
        evaluation.disc[sigma] = scores_of(disc_net, torch.from_numpy(restored)).numpy()
        evaluation.heldout[sigma] = evaluators.heldout.scores(restored)
        evaluation.scores[sigma] = scores = {
            "psnr": float(evaluation.psnr[sigma].mean()),
            "ssim": ssim(sharp, restored),
            "l1": l1(sharp, restored),
            "sharpness": sharpness(sharp, restored),
            "heldout_clear": float(np.mean(evaluation.heldout[sigma] > 0)),
            "disc_clear": float(np.mean(evaluation.disc[sigma] > 0)),
            "plausibility": plausibility(restored, context.blurred_test(sigma), sigma),
            "digit_accuracy": None,
            "frechet": None,
            "two_sample": None,
        }
        if evaluators.classifier is not None and evaluators.clear_features is not None and labels is not None:
            features = evaluators.classifier.features(restored)
            scores["digit_accuracy"] = evaluators.classifier.accuracy(restored, labels)
            scores["frechet"] = frechet_distance(features, evaluators.clear_features)
    context.progress.step(f"{name} evaluated", "evaluation")
    return evaluation


def evaluate_conditions(evaluation: Evaluation, restorer: nn.Module, context: Context) -> None:
    """Add the PSNR under conditions that the training does not cover, and over all blurs."""
    sharp, settings = context.split.test.unit_pixels, context.settings

    def restored(blurred: Images) -> Images:
        return to_float(to_uint8(restore_images(restorer, blurred, context.device)))

    for name, condition in CONDITIONS.items():
        truth, blurred = condition.pair(sharp, settings.noise, TEST_NOISE, settings.sigma.high)
        images = restored(blurred)
        evaluation.conditions[name] = psnr_per_image(truth, images)
        evaluation.examples[name] = to_uint8(np.stack([side[:EXAMPLES] for side in (truth, blurred, images)]))
    for sigma in curve_sigmas(settings):
        evaluation.curve.append(psnr_per_image(sharp, restored(context.blurred_test(sigma))))


def curve_sigmas(settings: DeblurSettings) -> list[float]:
    """Blurs of the PSNR curve, evenly from none to beyond the widest trained or tested."""
    widest = max(settings.sigma.high, *settings.test_sigmas, 1.0)
    return [round(sigma, 3) for sigma in np.linspace(0, BEYOND * widest, CURVE_POINTS).tolist()]


@dataclass(frozen=True)
class Interpolation(Checkpointable):
    """Restorers between the control and the one with the strongest discriminator.

    Attributes:
        choices: by weight, PSNR and the mean score of the held-out disc on validation images.
        clarity: the weight chosen by them.
        clear_score: the held-out disc's mean score of clear validation images.
        frontier: scores on the test images by weight and sigma; empty without --frontier.
        blurred: by sigma, the first few test images, [sigmas, images, C, H, W].
        restored: by weight and sigma, [weights, sigmas, images, C, H, W].
    """

    choices: list[Row]
    clarity: float
    clear_score: float
    frontier: list[Row]
    blurred: Pixels
    restored: Pixels


def interpolate(control: State, clearest: State, evaluators: Evaluators, context: Context) -> Interpolation:
    """Interpolate between the weights of two restorers, choose one by the held-out disc, score all for a frontier."""
    split, settings, device, heldout = context.split, context.settings, context.device, evaluators.heldout
    validation, sharp, sigmas = split.followed, split.test.unit_pixels, settings.test_sigmas
    blurred_test = [context.blurred_test(sigma) for sigma in sigmas]
    blurred_validation = [blur_for_test(validation, sigma, settings.noise, VALIDATION_NOISE) for sigma in sigmas]
    few = max(1, min(FOLLOWED_EXAMPLES, MOST_EXAMPLE_PIXELS // sharp[0].size))
    choices: list[Row] = []
    frontier: list[Row] = []
    examples: list[Pixels] = []
    for weight in [point / (FRONTIER_POINTS - 1) for point in range(FRONTIER_POINTS)]:
        new = new_restorer(settings.arch, split.train.image_shape)
        restorer = load_weights(new, interpolated(control, clearest, weight), device)
        restored = [restore_images(restorer, blurred, device) for blurred in blurred_validation]
        choices.append(
            {
                "weight": weight,
                "psnr": float(np.mean([psnr_per_image(validation, images) for images in restored])),
                "heldout_score": float(np.mean([heldout.scores(images) for images in restored])),
            }
        )
        examples.append(
            np.stack([to_uint8(restore_images(restorer, blurred[:few], device)) for blurred in blurred_test])
        )
        for sigma, blurred in zip(sigmas, blurred_test, strict=True) if settings.frontier else ():
            images = to_float(to_uint8(restore_images(restorer, blurred, device)))
            frontier.append(
                {
                    "weight": weight,
                    "sigma": sigma,
                    "psnr": psnr_per_image(sharp, images),
                    "l1": l1(sharp, images),
                    "heldout_clear": heldout.clearness(images),
                    "sharpness": sharpness(sharp, images),
                }
            )
        context.progress.step(f"interpolation at {weight:.0%}", "interpolation")
    clear_score = float(heldout.scores(validation).mean())
    blurred_few = np.stack([to_uint8(blurred[:few]) for blurred in blurred_test])
    clarity = choose_clarity(choices, clear_score)
    return Interpolation(choices, clarity, clear_score, frontier, blurred_few, np.stack(examples))


def choose_clarity(choices: list[Row], clear_score: float) -> float:
    """The least weight at which the held-out disc's mean score reaches that of clear images, or else the best."""
    enough = [row["weight"] for row in choices if row["heldout_score"] >= clear_score]
    return enough[0] if enough else max(choices, key=lambda row: row["heldout_score"])["weight"]
