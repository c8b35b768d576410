"""How much memory latent takes: of each task what was measured, by the number and size of the images.

Measured as the growth of a process, images of 28 x 28 to 300 x 300 pixels, torch 2.14, x86.
"""

from collections.abc import Iterator
from typing import NamedTuple

from bs6207.data.images import DataSet
from bs6207.latent.settings import LatentSettings
from bs6207.runs.memory import COPIES, Need, require_room

# Bytes for each value of a pixel of all training images, as they are clustered, and of those that probes learn from,
CLUSTERED, PROBED, PROBED_MOST = 12, 28, 10_000
CLASSIFIED = 450  # and for each of a single image, by class: the linear probe
RECONSTRUCTED = 10  # of all training images, by an autoencoder
COMPONENTS, ONE_COMPONENT = 4000, 60  # of a single image; and by component
COVARIANCE_UP_TO, COVARIANCE = 2000, 40  # pixels up to which PCA is exact; bytes for each entry of the matrix

WIDTH, CONVOLVED = 512, 1024  # numbers that a pixel meets in the first and in the last layer, perceptron and not
AUTOENCODER, RESULT = 9, 3  # times these weights: with gradients, momenta and what is put aside; as an outcome
BEST = 2**30  # bytes: the clusterer of that name, on images that it has made small
AT_ONCE = 1000  # images that it makes small at a time, and bytes
MADE_SMALL = 12
LEAST = 128 * 2**20  # bytes: of any task
SMALLER = 0.8  # side of the next smaller image to be offered
SMALLEST_SIDE, FEWEST = 8, 100  # what is offered at least


class Sizes(NamedTuple):
    """How many images there are to learn from and in all, how many classes, and what they measure."""

    learn: int
    all: int
    classes: int
    channels: int
    height: int
    width: int


def require_memory(data: DataSet, settings: LatentSettings) -> None:
    """Check that a run fits into memory.

    Raises:
        DataError: it does not; the message says what would.
    """
    sizes = sizes_of(data, settings)
    what = f"latent on {data.name}, images of {sizes.width} x {sizes.height} pixels,"
    require_room(what, taken(sizes, settings), settings.jobs or 1, less(sizes, settings))


def need(data: DataSet, settings: LatentSettings) -> Need:
    """What a run on a data set takes.

    Raises:
        DataError: there are too few images.
    """
    return taken(sizes_of(data, settings), settings)


def sizes_of(data: DataSet, settings: LatentSettings) -> Sizes:
    """What a run holds."""
    learn = data.train_subset(settings.train_images)
    every = len(data.train) + len(data.validation) + len(data.test)
    return Sizes(len(learn), every, len(data.classes), *learn.image_shape)


def less(sizes: Sizes, settings: LatentSettings) -> Iterator[tuple[str, Need]]:
    """What could be given instead, in words, and what that needs."""
    fewer = sizes
    while fewer.learn // 2 >= max(FEWEST, *settings.dims):
        fewer = fewer._replace(learn=fewer.learn // 2)
        yield f"--train-images {fewer.learn}", taken(fewer, settings)
    while min(sizes.height, sizes.width) * SMALLER >= SMALLEST_SIDE:
        sizes = sizes._replace(height=int(sizes.height * SMALLER), width=int(sizes.width * SMALLER))
        yield f"images of {sizes.width} x {sizes.height} pixels", taken(sizes, settings)


def taken(sizes: Sizes, settings: LatentSettings) -> Need:
    """What a run on images of these sizes takes."""
    values = sizes.channels * sizes.height * sizes.width
    data = COPIES * sizes.all * values + LEAST
    probes = 0 if settings.skip_probes else PROBED * min(sizes.learn, PROBED_MOST) + CLASSIFIED * sizes.classes
    best = (BEST + MADE_SMALL * min(AT_ONCE, sizes.learn) * values) * ("best" in settings.clusterer)
    pixels = data + best + (CLUSTERED * sizes.learn + probes) * values
    components = COMPONENTS + ONE_COMPONENT * max(settings.dims)
    pca = data + best + (CLUSTERED * sizes.learn + components) * values
    pca += COVARIANCE * min(values, COVARIANCE_UP_TO) ** 2

    def autoencoder(dim: int) -> int:
        return data + best + RECONSTRUCTED * sizes.learn * values + AUTOENCODER * weights(sizes, dim, settings.arch)

    tasks = [pixels, pca, *map(autoencoder, settings.dims)] * settings.seeds
    here = data + RESULT * settings.seeds * sum(weights(sizes, dim, settings.arch) for dim in settings.dims)
    return Need(here, [[] if settings.scheduler else tasks])


def weights(sizes: Sizes, dim: int, arch: str) -> int:
    """Bytes of the layers next to the pixels, and of the linear path; next to them no others count."""
    pixels = sizes.height * sizes.width
    layers = CONVOLVED * pixels if arch == "conv" else WIDTH * sizes.channels * pixels
    return 4 * 2 * (layers + dim * sizes.channels * pixels)
