"""The pieces of the deblur experiment that judge: restorers, what rivals have made, and what lies between restorers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
from bs6207.deblur.blur import blur_for_test, stored
from bs6207.deblur.evaluators import (
    Classifier,
    HeldOutDisc,
    plausibility,
    train_classifier,
    train_heldout_disc,
    two_sample_accuracy,
)
from bs6207.deblur.model import State, interpolated
from bs6207.deblur.networks import DiscNet
from bs6207.deblur.parts import (
    FOLLOWED_IMAGES,
    TEST_NOISE,
    VALIDATION_NOISE,
    Parts,
    Pixels,
    parts_of,
)
from bs6207.deblur.settings import DeblurSettings
from bs6207.deblur.study import disc_net_of, network, restored_by
from bs6207.deblur.training import scores_of
from bs6207.runs.progress import TaskProgress
from bs6207.runs.result import Checkpointable, Row
from bs6207.training.devices import choose_device, prepare
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
    """Every image moved along a straight line of its own direction."""
    angles = np.random.RandomState(MOTION_SEED).uniform(0, 180, len(sharp))
    pairs = zip(sharp, angles, strict=True)
    return np.stack([convolve(image, motion_kernel(angle)[None], mode="constant") for image, angle in pairs])


def motion_kernel(angle: float) -> Exact:
    """A line of `MOTION_LENGTH` pixels through the middle, so many degrees from the horizontal; its sum is 1."""
    line = np.zeros((MOTION_LENGTH + 2, MOTION_LENGTH + 2))  # room at the ends, where rotation interpolates
    line[MOTION_LENGTH // 2 + 1, 1:-1] = 1
    turned = rotate(line, angle, reshape=False, order=1)
    return turned / turned.sum()


def defocus(sharp: Exact, widest: float) -> Exact:
    """Every point spread evenly over a disc."""
    disc = disk(DEFOCUS_RADIUS, dtype=np.float64)
    return convolve(sharp, (disc / disc.sum())[None, None], mode="constant")


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
    """The 52 letters in every font, white on black, each as large as a digit, [104, C, H, W] in [0, 1].

    Args:
        shape: [..., C, H, W] of the images they replace.
    """
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
    """Something the training does not show.

    Attributes:
        caption: what it is, in one line.
        blur: of (images in [0, 1], the widest sigma of the training); gives the exact blurred images.
        replace: the images to take instead, for a shape [N, C, H, W]; None where the test images are blurred.
    """

    caption: str
    blur: Callable[[Exact, float], Exact]
    replace: Callable[[tuple[int, ...]], Exact] | None = None

    def pair(self, sharp: Images, noise: float, seed: int, widest: float) -> tuple[Images, Images]:
        """The truth and what is to be restored, both [M, C, H, W] in [0, 1]; noise and 8 bits as in `blur_for_test`.

        Args:
            sharp: clear test images, [N, C, H, W] in [0, 1]; M is N, unless other images take their place.
            noise: standard deviation.
            widest: the widest sigma of the training, in pixels.
        """
        truth = self.replace(sharp.shape) if self.replace else sharp.astype(np.float64)
        return truth.astype(np.float32), stored(self.blur(truth, widest), noise, seed)


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
TWO_SAMPLES = 2000  # validation images a side, at most, that the two-sample test learns from, and
FEWEST_SAMPLES = 50  # at least: of fewer a network learns nothing, and chance is what perfect restoration scores too
EXAMPLES = 4  # images that are shown of every condition
FOLLOWED_EXAMPLES = 6  # test images kept at every weight, for the page;
MOST_EXAMPLE_PIXELS = 20_000  # fewer where they are large, but one at least
CURVE_POINTS, BEYOND = 11, 1.25  # blurs at which PSNR is drawn, from none to so many times the widest trained
FRONTIER_POINTS = 11
IDENTITY = "identity"  # the restorer that does nothing
CLEAR = "clear"  # the test images as they should be: what each score can reach


@dataclass(frozen=True)
class Referees(Checkpointable):
    """Judges that took no part in training.

    Attributes:
        classifier: None where the images have no labels to learn.
        clear_features: what it makes of clear validation images, [N, D], to measure the Fréchet distance from.
    """

    heldout: HeldOutDisc
    classifier: Classifier | None = None
    clear_features: NDArray[np.float32] | None = None


def train_referees(settings: DeblurSettings, progress: TaskProgress) -> Referees:
    """Both judges, on images and blur of their own."""
    parts = parts_of(settings)
    prepare(settings.seed)
    heldout = train_heldout_disc(parts.apart.pixels, settings.sigma, settings.seed)
    progress.step("the held-out disc", "referees")
    pixels, labels = parts.whole.pixels, parts.whole.labels
    if labels is None or len(np.unique(labels)) < 2:
        progress.step("no classifier", "referees")
        return Referees(heldout)
    classifier = train_classifier(pixels, labels, int(labels.max()) + 1, settings.seed)
    progress.step("the classifier", "referees")
    return Referees(heldout, classifier, classifier.features(parts.validation.unit_pixels))


@dataclass(frozen=True)
class Judged(Checkpointable):
    """A restorer's scores on the test images.

    Attributes:
        scores: by sigma; see `judge`.
        restored: by sigma, what it made of the test images.
        psnr: by sigma, of each test image, [N].
        disc, heldout: by sigma, what disc_net and the held-out disc score each image, [N]; above 0 is clear.
        conditions: by name, PSNR under blur, or of images, that training does not show.
        curve: PSNR at `curve_sigmas`.
        examples: by condition, the first images: the truth, blurred, restored, [3, EXAMPLES, C, H, W].

    The last three are found for the first seed only, and not for rivals.
    """

    scores: dict[float, dict[str, float | None]]
    restored: dict[float, Pixels]
    psnr: dict[float, NDArray[np.float64]]
    disc: dict[float, NDArray[np.float32]]
    heldout: dict[float, NDArray[np.float32]]
    conditions: dict[str, float]
    curve: list[float]
    examples: dict[str, Pixels]


def curve_sigmas(settings: DeblurSettings) -> list[float]:
    """Blurs at which PSNR is drawn, evenly from none to beyond the widest trained or tested."""
    widest = max(settings.sigma[1], *settings.test_sigmas, 1.0)
    return [round(sigma, 3) for sigma in np.linspace(0, BEYOND * widest, CURVE_POINTS).tolist()]


def judge_images(
    settings: DeblurSettings,
    name: str,
    found: Mapping[float, Pixels],
    referees: Referees,
    disc: State,
    progress: TaskProgress,
) -> Judged:
    """Score what somebody has made of the test images."""
    parts = parts_of(settings)
    prepare(settings.seed)
    judged = judge(parts, found, referees, disc_net_of(parts, disc, torch.device("cpu")), settings)
    progress.step(f"{name} judged", "judged")
    return judged


def judge_restorer(
    settings: DeblurSettings,
    name: str,
    state: State,
    referees: Referees,
    disc: State,
    seed: int,
    progress: TaskProgress,
) -> Judged:
    """Score a trained restorer, or with the name `identity` the blurred images as they are."""
    parts, device = parts_of(settings), choose_device(settings.device)
    prepare(seed)
    arch = name if name == "autoencoder" else settings.arch
    net = nn.Identity() if name == IDENTITY else network(arch, parts, state, device)
    sharp = parts.test.unit_pixels

    def restored(images: Images, sigma: float, noise_seed: int) -> Images:
        return restored_by(net, blur_for_test(images, sigma, settings.noise, noise_seed), device)

    found = {sigma: to_uint8(restored(sharp, sigma, TEST_NOISE)) for sigma in settings.test_sigmas}
    judged = judge(parts, found, referees, disc_net_of(parts, disc, torch.device("cpu")), settings)
    progress.step(f"{name} judged", "judged")
    if seed == settings.seed:
        go_beyond(judged, net, sharp, settings, device)
    progress.step(f"{name} where it was not trained", "beyond")
    samples = parts.validation[: 2 * TWO_SAMPLES].unit_pixels
    clear, others = samples[::2], samples[1::2]  # of different originals, as the test wants
    asked = name != IDENTITY and len(others) >= FEWEST_SAMPLES  # blurred images are told apart at sight
    for sigma in settings.test_sigmas if asked else ():
        judged.scores[sigma]["two_sample"] = two_sample_accuracy(
            clear, restored(others, sigma, VALIDATION_NOISE), sharp, to_float(judged.restored[sigma]), seed
        )
    progress.step(f"{name} against clear images", "two-sample")
    return judged


def go_beyond(judged: Judged, net: nn.Module, sharp: Images, settings: DeblurSettings, device: torch.device) -> None:
    """Score a restorer where it was not trained, and over all blurs."""

    def scored(blurred: Images) -> Images:
        return to_float(to_uint8(restored_by(net, blurred, device)))

    for condition, what in CONDITIONS.items():
        truth, blurred = what.pair(sharp, settings.noise, TEST_NOISE, settings.sigma[1])
        made = scored(blurred)
        judged.conditions[condition] = psnr_per_image(truth, made)
        judged.examples[condition] = to_uint8(np.stack([part[:EXAMPLES] for part in (truth, blurred, made)]))
    judged.curve.extend(
        psnr_per_image(sharp, scored(blur_for_test(sharp, sigma, settings.noise, TEST_NOISE)))
        for sigma in curve_sigmas(settings)
    )


def judge(
    parts: Parts, found: Mapping[float, Pixels], referees: Referees, disc_net: DiscNet, settings: DeblurSettings
) -> Judged:
    """Every score of what a restorer made of the test images, by sigma."""
    judged = Judged({}, dict(found), {}, {}, {}, {}, [], {})
    sharp, labels = parts.test.unit_pixels, parts.test.labels
    for sigma, pixels in found.items():
        restored = to_float(pixels)
        blurred = blur_for_test(sharp, sigma, settings.noise, TEST_NOISE)
        judged.psnr[sigma] = psnr_of_each(sharp, restored)
        judged.disc[sigma] = scores_of(disc_net, torch.from_numpy(restored)).numpy()
        judged.heldout[sigma] = referees.heldout.scores(restored)
        judged.scores[sigma] = {
            "psnr": float(judged.psnr[sigma].mean()),
            "ssim": ssim(sharp, restored),
            "l1": l1(sharp, restored),
            "sharpness": sharpness(sharp, restored),
            "heldout_clear": share_clear(judged.heldout[sigma]),
            "disc_clear": share_clear(judged.disc[sigma]),
            "plausibility": plausibility(restored, blurred, sigma),
            "digit_accuracy": None,
            "frechet": None,
            "two_sample": None,
        }
        if referees.classifier is not None and referees.clear_features is not None and labels is not None:
            features = referees.classifier.features(restored)
            judged.scores[sigma]["digit_accuracy"] = referees.classifier.accuracy(restored, labels)
            judged.scores[sigma]["frechet"] = frechet_distance(features, referees.clear_features)
    return judged


def share_clear(scores: NDArray[np.float32]) -> float:
    """Share of images that a disc takes for clear."""
    return float(np.mean(scores > 0))


@dataclass(frozen=True)
class Line(Checkpointable):
    """Restorers on the way from the control to the clearest one.

    Attributes:
        choices: for every weight tried on validation images, PSNR and the mean score of the held-out disc.
        clarity: the weight chosen by them.
        clear_score: the held-out disc's mean score of clear validation images.
        frontier: scores on the test images by weight and sigma; empty if none was asked for.
        blurred: by sigma, the first few test images as the restorers are given them, [sigmas, images, C, H, W].
        restored: what becomes of them, [weights, sigmas, images, C, H, W].
    """

    choices: list[Row]
    clarity: float
    clear_score: float
    frontier: list[Row]
    blurred: Pixels
    restored: Pixels


def trace(
    settings: DeblurSettings, control: State, clearest: State, referees: Referees, progress: TaskProgress
) -> Line:
    """Interpolate weights, choose among them by the held-out disc, and score them if a frontier is wanted."""
    parts, device = parts_of(settings), choose_device(settings.device)
    prepare(settings.seed)
    validation, sharp = parts.validation[:FOLLOWED_IMAGES].unit_pixels, parts.test.unit_pixels
    given, tried = (
        [blur_for_test(images, sigma, settings.noise, noise_seed) for sigma in settings.test_sigmas]
        for images, noise_seed in ((sharp, TEST_NOISE), (validation, VALIDATION_NOISE))
    )
    few = max(1, min(FOLLOWED_EXAMPLES, MOST_EXAMPLE_PIXELS // sharp[0].size))
    choices: list[Row] = []
    frontier: list[Row] = []
    examples: list[Pixels] = []
    for weight in [point / (FRONTIER_POINTS - 1) for point in range(FRONTIER_POINTS)]:
        net = network(settings.arch, parts, interpolated(control, clearest, weight), device)
        restored = [restored_by(net, blurred, device) for blurred in tried]
        choices.append(
            {
                "weight": weight,
                "psnr": float(np.mean([psnr_per_image(validation, images) for images in restored])),
                "heldout_score": float(np.mean([referees.heldout.scores(images) for images in restored])),
            }
        )
        examples.append(np.stack([to_uint8(restored_by(net, blurred[:few], device)) for blurred in given]))
        for sigma, blurred in zip(settings.test_sigmas, given, strict=True) if settings.frontier else ():
            shown = to_float(to_uint8(restored_by(net, blurred, device)))
            frontier.append(
                {
                    "weight": weight,
                    "sigma": sigma,
                    "psnr": psnr_per_image(sharp, shown),
                    "l1": l1(sharp, shown),
                    "heldout_clear": referees.heldout.clearness(shown),
                    "sharpness": sharpness(sharp, shown),
                }
            )
        progress.step(f"{weight:.0%} of the way to the clearest restorer", "line")
    clear_score = float(referees.heldout.scores(validation).mean())
    blurred_few = np.stack([to_uint8(blurred[:few]) for blurred in given])
    return Line(choices, choose(choices, clear_score), clear_score, frontier, blurred_few, np.stack(examples))


def choose(choices: list[Row], clear: float) -> float:
    """The least weight that looks as clear to the held-out disc as clear images do, or else the clearest.

    Args:
        clear: its mean score of clear validation images.
    """
    enough = [row["weight"] for row in choices if row["heldout_score"] >= clear]
    return enough[0] if enough else max(choices, key=lambda row: row["heldout_score"])["weight"]
