"""Evaluation of restorers: scores on the test images, conditions that the training does not cover, interpolation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from string import ascii_letters

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps
from scipy.ndimage import convolve, rotate, uniform_filter
from skimage.filters import gaussian
from skimage.morphology import disk
from torch import nn

from bs6207.data.images import to_float, to_uint8
from bs6207.deblur.blur import TEST_NOISE, Context, Pixels, degrade_for_test, gaussian_blur
from bs6207.deblur.evaluators import CPU, Evaluators, plausibility, two_sample_accuracy
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
DEFOCUS_RADIUS = 3  # pixels
SIGMA = 1.5  # pixels, where a Gaussian is blurred by other code, or other images are
WIDER = 1.25  # times the widest sigma of the training
FONTS = ("DejaVuSans.ttf", "DejaVuSerif.ttf")  # come with matplotlib, so letters are the same everywhere
LETTERS = [*product(FONTS, ascii_letters)]
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
    kernel = disk(DEFOCUS_RADIUS, dtype=np.float64)
    return convolve(sharp, (kernel / kernel.sum())[None, None], mode="constant")


def pillow(sharp: Exact, widest: float) -> Exact:
    """Pillow's Gaussian, really three box filters, on 8-bit channels."""
    blur = ImageFilter.GaussianBlur(SIGMA)
    channels = to_uint8(sharp).reshape(-1, *sharp.shape[2:])
    return np.reshape([np.asarray(Image.fromarray(channel).filter(blur)) for channel in channels], sharp.shape) / 255


def letters(shape: tuple[int, ...]) -> Exact:
    """The 52 letters in every font, white on black, each as large as a digit, [104, C, H, W] in [0, 1] of `shape`."""
    channels, height, width = shape[-3:]
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    drawn = [draw(letter, str(folder / font), height, width) for font, letter in LETTERS]
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
    """A blur, or images, that the training does not cover."""

    caption: str
    # of images in [0, 1], and the widest sigma of the training
    blur: Callable[[Exact, float], Exact] = lambda sharp, widest: gaussian_blur(sharp, SIGMA)
    replace: Callable[[tuple[int, ...]], Exact] | None = None  # gives images of a shape in place of the test images

    def pair(self, sharp: Images, noise: float, seed: int, widest: float) -> tuple[Images, Images]:
        """The truth and the degraded images, both [M, C, H, W] in [0, 1]; M is N unless other images replace them."""
        truth = self.replace(sharp.shape) if self.replace else sharp.astype(np.float64)
        return truth.astype(np.float32), degrade_for_test(self.blur(truth, widest), noise, seed)


CONDITIONS = {
    "clear": Condition("no blur: what is good should stay as it is", lambda sharp, widest: sharp),
    "motion": Condition(f"motion along a line of {MOTION_LENGTH} pixels, its direction drawn for every image", motion),
    "box": Condition("the mean of 5 x 5 pixels", lambda sharp, _: uniform_filter(sharp, (0, 0, 5, 5), mode="constant")),
    "defocus": Condition(f"out of focus: a disc of radius {DEFOCUS_RADIUS}", defocus),
    "pillow": Condition(f"Pillow's GaussianBlur of radius {SIGMA:g}, 8 bits in and out", pillow),
    "nearest": Condition(
        f"skimage's Gaussian of sigma {SIGMA:g}, the border repeated beyond it",
        lambda sharp, widest: gaussian(sharp, (0, 0, SIGMA, SIGMA), mode="nearest"),
    ),
    "letters": Condition(f"letters A to Z and a to z in two typefaces, sigma {SIGMA:g}", replace=letters),
    "wide": Condition(
        "a Gaussian a quarter wider than the widest of the training",
        lambda sharp, widest: gaussian_blur(sharp, WIDER * widest),
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
class Evaluation(Checkpointable):
    """The scores of a restorer on the test images by sigma; the last three of trained ones and the first seed only."""

    restored: dict[float, Pixels]
    scores: dict[float, dict[str, float | None]] = field(default_factory=dict)
    psnr: dict[float, NDArray[np.float64]] = field(default_factory=dict)  # of each test image, [N]
    disc: dict[float, NDArray[np.float32]] = field(default_factory=dict)  # scores of disc_net, [N]; above 0 is clear
    heldout: dict[float, NDArray[np.float32]] = field(default_factory=dict)  # and of the held-out disc
    conditions: dict[str, float] = field(default_factory=dict)  # PSNR by condition
    curve: list[float] = field(default_factory=list)  # PSNR at `curve_sigmas`
    examples: dict[str, Pixels] = field(default_factory=dict)  # truth, blurred, restored, [3, EXAMPLES, C, H, W]


def evaluate_restorer(name: str, state: State, evaluators: Evaluators, disc: State, context: Context) -> Evaluation:
    """Score a trained restorer, or with the name `identity` the blurred images as they are."""
    split, settings, progress, device = context.split, context.settings, context.progress, context.device
    restorer: nn.Module = nn.Identity()
    if name != IDENTITY:
        arch = name if name == "autoencoder" else settings.arch
        restorer = load_weights(new_restorer(arch, split.train.image_shape), state, device)

    def restored(blurred: Images) -> Pixels:
        return to_uint8(restore_images(restorer, blurred, device))

    by_sigma = {sigma: restored(context.blurred_test(sigma)) for sigma in settings.test_sigmas}
    evaluation = evaluate(name, by_sigma, evaluators, disc, context)
    if context.seed == settings.seed:
        evaluate_conditions(evaluation, restored, context)
    progress.step(f"{name} under conditions that the training does not cover", "conditions")
    samples = split.validation[: 2 * TWO_SAMPLES].unit_pixels
    clear, others = samples[::2], samples[1::2]  # of different originals: the test assumes independent samples
    if name != IDENTITY and len(others) >= FEWEST_SAMPLES:  # of blurred images the answer is known
        for sigma, images in by_sigma.items():
            learned = restore_images(restorer, context.blurred_validation(others, sigma), device)
            evaluation.scores[sigma]["two_sample"] = two_sample_accuracy(
                clear, learned, split.test.unit_pixels, to_float(images), context.seed
            )
    progress.step(f"{name} against clear images", "two-sample")
    return evaluation


def evaluate(
    name: str, images: Mapping[float, Pixels], evaluators: Evaluators, disc: State, context: Context
) -> Evaluation:
    evaluation, test = Evaluation(dict(images)), context.split.test
    sharp, classifier = test.unit_pixels, evaluators.classifier
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
            **dict.fromkeys(("digit_accuracy", "frechet", "two_sample")),
        }
        if classifier is not None and evaluators.clear_features is not None and test.labels is not None:
            scores["digit_accuracy"] = classifier.accuracy(restored, test.labels)
            scores["frechet"] = frechet_distance(classifier.features(restored), evaluators.clear_features)
    context.progress.step(f"{name} evaluated", "evaluation")
    return evaluation


def evaluate_conditions(evaluation: Evaluation, restored: Callable[[Images], Pixels], context: Context) -> None:
    """Add the PSNR under conditions that the training does not cover, and over all blurs."""
    sharp, settings = context.split.test.unit_pixels, context.settings
    for name, condition in CONDITIONS.items():
        truth, blurred = condition.pair(sharp, settings.noise, TEST_NOISE, settings.sigma.high)
        pixels = restored(blurred)
        evaluation.conditions[name] = psnr_per_image(truth, to_float(pixels))
        evaluation.examples[name] = np.stack([side[:EXAMPLES] for side in (to_uint8(truth), to_uint8(blurred), pixels)])
    for sigma in curve_sigmas(settings):
        evaluation.curve.append(psnr_per_image(sharp, to_float(restored(context.blurred_test(sigma)))))


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
    validation, sharp = split.followed, split.test.unit_pixels
    tests = {sigma: context.blurred_test(sigma) for sigma in settings.test_sigmas}
    blurred_validation = [context.blurred_validation(validation, sigma) for sigma in tests]
    few = max(1, min(FOLLOWED_EXAMPLES, MOST_EXAMPLE_PIXELS // sharp[0].size))
    choices: list[Row] = []
    frontier: list[Row] = []
    examples: list[list[Pixels]] = []
    for weight in [point / (FRONTIER_POINTS - 1) for point in range(FRONTIER_POINTS)]:
        new = new_restorer(settings.arch, split.train.image_shape)
        restorer = load_weights(new, interpolated(control, clearest, weight), device)
        restored = [restore_images(restorer, blurred, device) for blurred in blurred_validation]
        psnr = float(np.mean([psnr_per_image(validation, images) for images in restored]))
        score = float(np.mean([heldout.scores(images) for images in restored]))
        choices.append({"weight": weight, "psnr": psnr, "heldout_score": score})
        examples.append([to_uint8(restore_images(restorer, blurred[:few], device)) for blurred in tests.values()])
        for sigma, blurred in tests.items() if settings.frontier else ():
            images = to_float(to_uint8(restore_images(restorer, blurred, device)))
            frontier.append(
                {"weight": weight, "sigma": sigma, "psnr": psnr_per_image(sharp, images), "l1": l1(sharp, images)}
                | {"heldout_clear": heldout.clearness(images), "sharpness": sharpness(sharp, images)}
            )
        context.progress.step(f"interpolation at {weight:.0%}", "interpolation")
    clear_score = float(heldout.scores(validation).mean())
    blurred_few = np.stack([to_uint8(blurred[:few]) for blurred in tests.values()])
    clarity = choose_clarity(choices, clear_score)
    return Interpolation(choices, clarity, clear_score, frontier, blurred_few, np.array(examples))


def choose_clarity(choices: list[Row], clear_score: float) -> float:
    """The least weight at which the held-out disc's mean score reaches that of clear images, or else the best."""
    enough = [row["weight"] for row in choices if row["heldout_score"] >= clear_score]
    return enough[0] if enough else max(choices, key=lambda row: row["heldout_score"])["weight"]
