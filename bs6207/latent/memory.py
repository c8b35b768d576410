"""The memory that latent takes, from the number and size of the images.

Measured as the growth of a process, images of 28 x 28 to 300 x 300 pixels, torch 2.14, x86.
"""

from collections.abc import Iterator
from typing import NamedTuple

from bs6207.data.images import DataSet
from bs6207.latent.evaluation import EXACT_PCA_PIXELS, MAX_PROBE_TRAIN
from bs6207.latent.graph import SIDE
from bs6207.latent.settings import LatentSettings
from bs6207.runs.memory import COPIES, Need, require_room

# Bytes per pixel value of the training images,
TRAINING, PROBED = 12, 28  # of all, to cluster or reconstruct them, and of those that are probed
LINEAR_PROBE = 450  # of one image, for each class
PCA, COMPONENT = 4000, 60  # of one image, and for each component
COVARIANCE = 40  # for each entry of the covariance matrix of exact PCA

REGISTERED = 17  # for each value of a registered image, of all images that are assigned to clusters by their pixels
MLP_WEIGHTS, CONV_WEIGHTS = 512, 1024  # that a pixel meets in the first and in the last layer
TRAINED, STORED = 9, 3  # copies of the weights: with gradients, momenta and the checkpoint; in a result
BEST, BEST_PIXEL = 2**30, 12_000  # bytes of the clusterer `best`, and for each pixel value of an image
MIN_TASK = 128 * 2**20  # bytes
SCALE, MIN_SIDE, MIN_IMAGES = 0.8, 8, 100  # of the smaller images, or fewer, that are suggested


class Sizes(NamedTuple):
    """The number of training images, of all images and of classes, the image shape, and whether images have files."""

    train: int
    all: int
    classes: int
    channels: int
    height: int
    width: int
    have_files: bool


def require_memory(data: DataSet, settings: LatentSettings) -> None:
    """Check that a run fits into memory, or raise DataError that says what would."""
    sizes = sizes_of(data, settings)
    subject = f"latent on {data.name}, images of {sizes.width} x {sizes.height} pixels,"
    require_room(subject, estimate(sizes, settings), settings.jobs or 1, alternatives(sizes, settings))


def need(data: DataSet, settings: LatentSettings) -> Need:
    return estimate(sizes_of(data, settings), settings)


def sizes_of(data: DataSet, settings: LatentSettings) -> Sizes:
    train = data.train_subset(settings.train_images)
    total = len(data.train) + len(data.validation) + len(data.test)
    return Sizes(len(train), total, len(data.classes), *train.image_shape, train.files is not None)


def alternatives(sizes: Sizes, settings: LatentSettings) -> Iterator[tuple[str, Need]]:
    """Fewer or smaller images, in words, and the memory they need."""
    fewer = sizes
    while fewer.train // 2 >= max(MIN_IMAGES, *settings.dims):
        fewer = fewer._replace(train=fewer.train // 2)
        yield f"--train-images {fewer.train}", estimate(fewer, settings)
    while min(sizes.height, sizes.width) * SCALE >= MIN_SIDE:
        sizes = sizes._replace(height=int(sizes.height * SCALE), width=int(sizes.width * SCALE))
        yield f"images of {sizes.width} x {sizes.height} pixels", estimate(sizes, settings)


def estimate(sizes: Sizes, settings: LatentSettings) -> Need:
    values = sizes.channels * sizes.height * sizes.width
    images = COPIES * sizes.all * values + MIN_TASK
    every = images + TRAINING * sizes.train * values + (BEST + BEST_PIXEL * values) * ("best" in settings.clusterer)
    if sizes.have_files or "graph" in settings.clusterer:
        every += REGISTERED * sizes.all * sizes.channels * SIDE**2
    probes = 0 if settings.skip_probes else PROBED * min(sizes.train, MAX_PROBE_TRAIN) + LINEAR_PROBE * sizes.classes
    pca = (PCA + COMPONENT * max(settings.dims)) * values + COVARIANCE * min(values, EXACT_PCA_PIXELS) ** 2
    # The layers next to the pixels, and the linear path; no other layers count beside them.
    layers = CONV_WEIGHTS * sizes.height * sizes.width if settings.arch == "conv" else MLP_WEIGHTS * values
    weights = [4 * 2 * (layers + dim * values) for dim in settings.dims]  # bytes
    tasks = [every + probes * values, every + pca, *(every + TRAINED * size for size in weights)] * settings.seeds
    return Need(images + STORED * settings.seeds * sum(weights), [[] if settings.scheduler else tasks])
