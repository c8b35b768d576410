"""The independent pieces of the deblur experiment: a network to train, a rival to tune, a restorer to judge."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bs6207.data.batches import resident
from bs6207.data.blur import blur_for_test
from bs6207.data.images import DataSet, ImageSet, shuffled
from bs6207.data.sources import load
from bs6207.deblur.classical import RIVALS, tune
from bs6207.deblur.conditions import CONDITIONS
from bs6207.deblur.model import State, interpolated
from bs6207.deblur.networks import DiscNet, new_restorer
from bs6207.deblur.referees import (
    Classifier,
    HeldOutDisc,
    eight_bits,
    plausibility,
    train_classifier,
    train_heldout_disc,
    two_sample_accuracy,
)
from bs6207.deblur.settings import DeblurSettings
from bs6207.deblur.training import FINE_TUNE, restore, scores_of, train_disc_net, train_restorer
from bs6207.devices import choose_device, flush_denormals, prepare
from bs6207.errors import DataError, DivergenceError
from bs6207.experiment import Row, Steps
from bs6207.metrics.distributions import frechet_distance
from bs6207.metrics.restoration import Images, l1, psnr_of_each, psnr_per_image, sharpness, ssim

FOLLOWED_IMAGES = 500  # validation images by which progress is followed and the clarity chosen
TWO_SAMPLES = 2000  # validation images a side, at most, that the two-sample test learns from
TUNING_IMAGES = 100  # training images by which the rivals are tuned
MOST_PIXELS = 8_000_000  # of all test images; of larger ones fewer are scored, but
FEWEST_TESTED = 50
APART = 10  # one in so many training images is kept from the restorers, for the held-out disc
SMALLEST_SIDE = 7  # pixels, the windows of SSIM
EXAMPLES = 4  # images that are shown of every condition
FEWEST_VALIDATED, FEWEST_SHOWN = 2, 5
FEWEST_IMAGES = 20  # to learn from
TEST_NOISE, VALIDATION_NOISE = 6207, 6208  # seeds of the noise on test and validation images, whatever --seed says
OTHER_STREAM = 2**31  # added to the seed, which is smaller: the last stage is shown other blur than the first
CURVE_POINTS, BEYOND = 11, 1.25  # blurs at which PSNR is drawn, from none to so many times the widest trained
FRONTIER_POINTS = 11
JUDGING = 3  # steps in which a restorer is judged
IDENTITY = "identity"  # the restorer that does nothing
CLEAR = "clear"  # the test images as they should be: what each score can reach

Pixels: TypeAlias = NDArray[np.uint8]  # [N, C, H, W]


@dataclass(frozen=True)
class Parts:
    """A data set as this experiment divides it.

    Attributes:
        learn: what restorers and disc_net are trained on.
        apart: training images that they never see, for the held-out disc.
        whole: both, for the classifier, which does not judge clearness.
        validation: to follow progress and to choose by.
        test: to be scored on.
    """

    learn: ImageSet
    apart: ImageSet
    whole: ImageSet
    validation: ImageSet
    test: ImageSet


@lru_cache(maxsize=1)
def loaded(name: str) -> DataSet:
    """The data set, read once in a process."""
    return load(name, note=lambda sentence: None)


def divide(data: DataSet, settings: DeblurSettings) -> Parts:
    """The parts of a data set; test images are a fixed random choice, as the first of MNIST's are the easier ones.

    Raises:
        DataError: the images are too few or too small.
    """
    whole, pixels = data.learn_from(settings.train_images), math.prod(data.train.image_shape)
    if min(whole.image_shape[1:]) < SMALLEST_SIDE:
        raise DataError(f"{data.name} has images of less than {SMALLEST_SIDE} pixels a side; give larger ones")
    if len(whole) < FEWEST_IMAGES:
        raise DataError(f"{data.name} has {len(whole)} training images; deblur needs {FEWEST_IMAGES}, so give more")
    if len(data.validation) < FEWEST_VALIDATED or len(data.test) < FEWEST_SHOWN:
        raise DataError(
            f"{data.name} has {len(data.validation)} validation and {len(data.test)} test images; deblur needs "
            f"{FEWEST_VALIDATED} and {FEWEST_SHOWN}, so give more"
        )
    apart = len(whole) // APART
    tested = min(settings.test_images, max(FEWEST_TESTED, MOST_PIXELS // pixels))
    return Parts(whole[apart:], whole[:apart], whole, data.validation, shuffled(data.test)[:tested])


def parts_of(settings: DeblurSettings) -> Parts:
    """The images for these settings."""
    return divide(loaded(settings.data), settings)


def do(piece: Callable[..., Any], progress: Steps) -> Any:
    """Do one piece of work: any of the functions below, all but its progress given."""
    flush_denormals()  # for every piece, or what it finds would depend on what its process did before
    return piece(progress=progress)


@dataclass(frozen=True)
class Trained:
    """A network's weights, and a row for every epoch of the stage they come from.

    Attributes:
        disc: the weights of the disc_net that it was trained with, as they are in the end; None without one.
    """

    state: State
    history: list[Row]
    disc: State | None = None


def begin_training(settings: DeblurSettings, seed: int) -> tuple[torch.device, Parts, Tensor]:
    """Where to train, what is there, and the images to learn from."""
    device, parts = choose_device(settings.device), parts_of(settings)
    prepare(seed)
    return device, parts, resident(parts.learn, device)


def train_alone(settings: DeblurSettings, arch: str, stage: str, seed: int, progress: Steps) -> Trained:
    """A new restorer trained with L1, for the epochs of its stage or, where it has none, for all of them."""
    device, parts, pixels = begin_training(settings, seed)
    net = new_restorer(arch, parts.learn.image_shape).to(device)
    epochs = settings.stages.get(stage, settings.epochs)
    losses = train_restorer(net, pixels, epochs, settings.lr, seed, settings)
    return follow(net, stage, seed, losses, validator(net, parts, settings, device), progress)


def train_on(
    settings: DeblurSettings, name: str, start: State, disc: State, weight: float, seed: int, progress: Steps
) -> Trained:
    """A trained restorer trained on, with L1 and, unless its weight is 0, the verdict of disc_net."""
    device, parts, pixels = begin_training(settings, seed)
    net = network(settings.arch, parts, start, device)
    disc_net = disc_net_of(parts, disc, device) if weight else None
    weighted = settings.model_copy(update={"disc_weight": weight})
    losses = train_restorer(
        net, pixels, settings.stages["l1_disc"], FINE_TUNE * settings.lr, seed + OTHER_STREAM, weighted, disc_net
    )
    trained = follow(net, f"{name}, last stage", seed, losses, validator(net, parts, settings, device), progress)
    # A U-Net starts from doing nothing; an autoencoder that has seen little may end below that and yet have learned.
    sharp, blurred = followed(parts, settings)
    what, beneath = ("blurred images as they are", blurred) if settings.arch == "unet" else ("black image", 0 * sharp)
    reached, floor = trained.history[-1]["validation_psnr"], psnr_per_image(sharp, beneath)
    if name != "strong" and reached < floor < math.inf:  # strong is meant to go too far
        raise DivergenceError(
            f"{name} ends at a validation PSNR of {reached:.2f} dB, below the {floor:.2f} dB of the {what}; try more "
            f"--epochs or another --lr than {settings.lr:g}"
        )
    return replace(trained, disc=on_cpu(disc_net)) if disc_net else trained


def train_disc(settings: DeblurSettings, seed: int, progress: Steps) -> Trained:
    """disc_net, trained on clear against blurred."""
    device, parts, pixels = begin_training(settings, seed)
    net = disc_net_of(parts, None, device)
    sharp, blurred = followed(parts, settings)

    def accuracy() -> dict[str, float]:
        right = [
            (sign * scores_of(net, on(images, device)) > 0).float().mean()
            for sign, images in ((1, sharp), (-1, blurred))
        ]
        return {"validation_accuracy": float(sum(right) / 2)}

    losses = train_disc_net(net, pixels, settings.stages["disc_net"], seed, settings)
    return follow(net, "disc_net", seed, losses, accuracy, progress)


def follow(
    net: nn.Module,
    stage: str,
    seed: int,
    losses: Iterable[float],
    judge: Callable[[], dict[str, float]],
    progress: Steps,
) -> Trained:
    """Train to the end, with a row of history for every epoch."""
    history: list[Row] = []
    for epoch, loss in enumerate(losses, start=1):
        history.append({"stage": stage, "seed": seed, "epoch": epoch, "loss": loss, **judge()})
        progress.record(history[-1])
        progress.step(f"{stage}, epoch {epoch}, loss {loss:.4f}")
    return Trained(on_cpu(net), history)


def on_cpu(net: nn.Module) -> State:
    """A network's weights, ready to be sent and written."""
    return {name: tensor.cpu() for name, tensor in net.state_dict().items()}


def followed(parts: Parts, settings: DeblurSettings) -> tuple[Images, Images]:
    """Validation images, clear and under the blur in the middle of the range."""
    sharp = parts.validation[:FOLLOWED_IMAGES].unit_pixels
    return sharp, blur_for_test(sharp, sum(settings.sigma_range) / 2, settings.noise, VALIDATION_NOISE)


def validator(
    net: nn.Module, parts: Parts, settings: DeblurSettings, device: torch.device
) -> Callable[[], dict[str, float]]:
    """What to call for the PSNR of a restorer on validation images."""
    sharp, blurred = followed(parts, settings)
    return lambda: {"validation_psnr": psnr_per_image(sharp, restored_by(net, blurred, device))}


def network(arch: str, parts: Parts, state: State, device: torch.device) -> nn.Module:
    """A trained restorer."""
    net = new_restorer(arch, parts.learn.image_shape)
    net.load_state_dict(state)
    return net.to(device)


def disc_net_of(parts: Parts, state: State | None, device: torch.device) -> DiscNet:
    """disc_net, trained if there are weights."""
    net = DiscNet(parts.learn.image_shape[0])
    if state:
        net.load_state_dict(state)
    return net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def restored_by(net: nn.Module, blurred: Images, device: torch.device) -> Images:
    """What a network makes of images, [N, C, H, W] in [0, 1]."""
    return restore(net, on(blurred, device)).cpu().numpy()


def on(images: Images, device: torch.device) -> Tensor:
    """Images as a tensor where the networks are."""
    return torch.from_numpy(images).to(device)


def as_file(images: Images) -> Pixels:
    """Images as a file would hold them, and as all are scored."""
    return eight_bits(images).numpy()


def from_file(pixels: Pixels) -> Images:
    """And back, in [0, 1]."""
    return np.divide(pixels, 255, dtype=np.float32)


@dataclass(frozen=True)
class Tuned:
    """What a rival that was told the kernel makes of the test images, with the strength that suits training images."""

    strength: float
    restored: Pixels


def tune_rival(settings: DeblurSettings, name: str, sigma: float, progress: Steps) -> Tuned:
    """A classical restorer at one blur."""
    parts = parts_of(settings)
    prepare(settings.seed)
    rival = RIVALS[name]
    strength = tune(rival, parts.learn[:TUNING_IMAGES].unit_pixels, sigma, settings.noise)
    blurred = blur_for_test(parts.test.unit_pixels, sigma, settings.noise, TEST_NOISE)
    restored = as_file(rival.restore(blurred, sigma, strength))
    progress.step(f"{name} at sigma {sigma:g}")
    return Tuned(strength, restored)


@dataclass(frozen=True)
class Referees:
    """Judges that took no part in training; the classifier is None where the images have no labels to learn."""

    heldout: HeldOutDisc
    classifier: Classifier | None


def train_referees(settings: DeblurSettings, progress: Steps) -> Referees:
    """Both judges, on images and blur of their own."""
    parts = parts_of(settings)
    prepare(settings.seed)
    heldout = train_heldout_disc(parts.apart.pixels, settings.sigma_range, settings.seed)
    progress.step("the held-out disc")
    whole, classifier = parts.whole, None
    if whole.labels is not None and len(np.unique(whole.labels)) > 1:
        classifier = train_classifier(whole.pixels, whole.labels, int(whole.labels.max()) + 1, settings.seed)
    progress.step("the classifier")
    return Referees(heldout, classifier)


@dataclass(frozen=True)
class Judged:
    """A restorer's scores on the test images.

    Attributes:
        scores: by sigma; see `score`.
        restored: by sigma, what it made of the test images.
        psnr: by sigma, of each test image, [N].
        disc, heldout: by sigma, what disc_net and the held-out disc score each image, [N]; above 0 is clear.
        conditions: by name, PSNR under blur, or of images, that training does not show.
        curve: PSNR at `curve_sigmas`.
        examples: by condition, the first images: the truth, blurred, restored, [3, EXAMPLES, C, H, W].
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
    widest = max(settings.sigma_range[1], *settings.test_sigmas, 1.0)
    return [round(sigma, 3) for sigma in np.linspace(0, BEYOND * widest, CURVE_POINTS).tolist()]


def judge_images(
    settings: DeblurSettings, name: str, found: Mapping[float, Pixels], referees: Referees, disc: State, progress: Steps
) -> Judged:
    """Score what somebody has made of the test images."""
    parts = parts_of(settings)
    prepare(settings.seed)
    judged = judge(parts, found, referees, disc_net_of(parts, disc, torch.device("cpu")), settings)
    progress.step(f"{name} judged")
    return judged


def judge_restorer(
    settings: DeblurSettings, name: str, state: State, referees: Referees, disc: State, seed: int, progress: Steps
) -> Judged:
    """Score a trained restorer, or with the name `identity` the blurred images as they are."""
    parts, device = parts_of(settings), choose_device(settings.device)
    prepare(seed)
    arch = name if name == "autoencoder" else settings.arch
    net = nn.Identity() if name == IDENTITY else network(arch, parts, state, device)
    sharp = parts.test.unit_pixels

    def restored(images: Images, sigma: float, noise_seed: int) -> Images:
        return restored_by(net, blur_for_test(images, sigma, settings.noise, noise_seed), device)

    found = {sigma: as_file(restored(sharp, sigma, TEST_NOISE)) for sigma in settings.test_sigmas}
    judged = judge(parts, found, referees, disc_net_of(parts, disc, torch.device("cpu")), settings)
    progress.step(f"{name} judged")
    for condition, what in CONDITIONS.items():
        truth, blurred = what.pair(sharp, settings.noise, TEST_NOISE, settings.sigma_range[1])
        made = from_file(as_file(restored_by(net, blurred, device)))
        judged.conditions[condition] = psnr_per_image(truth, made)
        judged.examples[condition] = as_file(np.stack([part[:EXAMPLES] for part in (truth, blurred, made)]))
    judged.curve.extend(
        psnr_per_image(sharp, from_file(as_file(restored(sharp, sigma, TEST_NOISE))))
        for sigma in curve_sigmas(settings)
    )
    progress.step(f"{name} where it was not trained")
    samples = parts.validation[: 2 * TWO_SAMPLES].unit_pixels
    clear, others = samples[::2], samples[1::2]  # of different originals, as the test wants
    for sigma in settings.test_sigmas if name != IDENTITY else ():  # blurred images are told apart at sight
        judged.scores[sigma]["two_sample"] = two_sample_accuracy(
            clear, restored(others, sigma, VALIDATION_NOISE), sharp, from_file(judged.restored[sigma]), seed
        )
    progress.step(f"{name} against clear images")
    return judged


def judge(
    parts: Parts, found: Mapping[float, Pixels], referees: Referees, disc_net: DiscNet, settings: DeblurSettings
) -> Judged:
    """Every score of what a restorer made of the test images, by sigma."""
    judged = Judged({}, dict(found), {}, {}, {}, {}, [], {})
    sharp, labels = parts.test.unit_pixels, parts.test.labels
    for sigma, pixels in found.items():
        restored = from_file(pixels)
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
        if referees.classifier is not None and labels is not None:
            features, reference = map(referees.classifier.features, (restored, parts.validation.unit_pixels))
            judged.scores[sigma]["digit_accuracy"] = referees.classifier.accuracy(restored, labels)
            judged.scores[sigma]["frechet"] = frechet_distance(features, reference)
    return judged


def share_clear(scores: NDArray[np.float32]) -> float:
    """Share of images that a disc takes for clear."""
    return float(np.mean(scores > 0))


@dataclass(frozen=True)
class Line:
    """Restorers on the way from the control to the clearest one.

    Attributes:
        choices: for every weight tried on validation images, PSNR and the mean score of the held-out disc.
        clarity: the weight chosen by them.
        frontier: scores on the test images by weight and sigma; empty if none was asked for.
    """

    choices: list[Row]
    clarity: float
    frontier: list[Row]


def trace(settings: DeblurSettings, control: State, clearest: State, referees: Referees, progress: Steps) -> Line:
    """Interpolate weights, choose among them by the held-out disc, and score them if a frontier is wanted."""
    parts, device = parts_of(settings), choose_device(settings.device)
    prepare(settings.seed)
    validation, sharp = parts.validation[:FOLLOWED_IMAGES].unit_pixels, parts.test.unit_pixels
    choices: list[Row] = []
    frontier: list[Row] = []
    for weight in np.linspace(0, 1, FRONTIER_POINTS).tolist():
        net = network(settings.arch, parts, interpolated(control, clearest, weight), device)
        restored = [
            restored_by(net, blur_for_test(validation, sigma, settings.noise, VALIDATION_NOISE), device)
            for sigma in settings.test_sigmas
        ]
        choices.append(
            {
                "weight": weight,
                "psnr": float(np.mean([psnr_per_image(validation, images) for images in restored])),
                "heldout_score": float(np.mean([referees.heldout.scores(images) for images in restored])),
            }
        )
        for sigma in settings.test_sigmas if settings.frontier else ():
            blurred = blur_for_test(sharp, sigma, settings.noise, TEST_NOISE)
            shown = from_file(as_file(restored_by(net, blurred, device)))
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
        progress.step(f"{weight:.0%} of the way to the clearest restorer")
    return Line(choices, choose(choices, float(referees.heldout.scores(validation).mean())), frontier)


def choose(choices: list[Row], clear: float) -> float:
    """The least weight that looks as clear to the held-out disc as clear images do, or else the clearest.

    Args:
        clear: its mean score of clear validation images.
    """
    enough = [row["weight"] for row in choices if row["heldout_score"] >= clear]
    return enough[0] if enough else max(choices, key=lambda row: row["heldout_score"])["weight"]
