"""A folder of the user's own as a data set: pictures, their classes being sub-folders, or four idx files."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bs6207.data import pictures
from bs6207.data.idx import read_idx
from bs6207.data.images import DataSet, ImageSet, sha256_of, shuffled
from bs6207.data.sources import IDX_FILES, Note
from bs6207.errors import DataError
from bs6207.runs.memory import require_memory
from bs6207.runs.names import is_text

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
PICTURES = SUFFIXES | {".avif", ".heic", ".heif", ".hif", ".jp2", ".jxl"}  # those that are not read are named as such
CLUTTER = {"__macosx", "@eadir"}  # folders that macOS and Synology add, with copies of the pictures' names or previews

HELD_OUT = {"validation": 10, "test": 5}  # one in so many, where the folder does not say which
FEWEST = max(HELD_OUT.values())
PARTS = ("train", *HELD_OUT)
PART_CALLED = {  # what folders are called, without case, signs, years and the words that go with all of them
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
GOES_WITH_PARTS = re.compile(r"(set|split|data|images|imgs|\d+)*$")
PARTS_ALONE = {"validation", "val", "test", "testing"}  # even where no train lies beside them; others may be classes
NO_CLASS = {
    "data",
    "images",
    "img",
    "imgs",
    "pictures",
}  # names of folders that say nothing of the pictures
MOST_TOLD = 5  # classes in one sentence

IDX_NAME = re.compile(r"(.*?)-?(train|t10k|test)-(images|labels)-?idx[13](-ubyte)?(-gz)?")  # with - for every sign
EMNIST = "emnist"  # Cohen et al. 2017, arXiv:1702.05373; converted from a format that stores columns first

Picture = tuple[Path, str | None]  # a file and its class; None where there are no classes
Parts = Mapping[str, ImageSet]


def read_folder(folder: Path, note: Note) -> DataSet:
    """Read a folder of images and split it.

    Sub-folders train, validation and test, by these or other usual names, are the split; without a test, the
    validation images are the test images; without validation, a tenth of train is for it. Without any such sub-folder
    the split is random, always the same. Below, sub-folders are classes; pictures that lie there without any have no
    labels.

    Args:
        note: is told what is left out, and what else decides how the images are read.

    Raises:
        DataError: it holds something else, too much, too little, or images of several sizes.
    """
    left_out: list[Path] = []
    place = looked_through(folder, None, left_out, note)
    sets = idx_files(place)
    parts, classes, reading = read_idx_files(place, sets, note) if sets else read_pictures(place, left_out, note)
    arrays = [array for name in PARTS if name in parts for array in (parts[name].pixels, parts[name].labels)]
    sha256 = sha256_of(*(array for array in arrays if array is not None))
    if "test" in parts:
        tell_of_one_side(parts, classes, note)
    return DataSet(folder.name or str(folder), *split(folder, parts), sha256, classes, str(folder), reading)


def looked_through(folder: Path, part: str | None, left_out: list[Path], note: Note) -> Path:
    """The folder itself or, as archives unpack into a folder of their own, the only one in it, and so on.

    Args:
        part: what the folder is of a data set; None for the whole.
        left_out: is added what lies beside the only folder.
    """
    place, seen = folder, set[Path]()
    while not idx_files(place) and place.resolve() not in seen:
        seen.add(place.resolve())
        folders, files, others = contents(place)
        if files or len(folders) != 1 or part_of(folders[0]) not in (None, part):
            break
        (inner,) = folders
        is_class = not (inner.name.casefold() in NO_CLASS or (part and part_of(inner)))
        if is_class and not contents(inner)[0] and not idx_files(inner):
            break
        place = inner
        left_out += others
    if place != folder:
        note(f"reads {place}, as {folder} holds no other images")
    return place


def split(folder: Path, parts: Parts) -> tuple[ImageSet, ImageSet, ImageSet]:
    """Training, validation and test images, each in a fixed random order.

    Raises:
        DataError: there are too few images to hold some out.
    """
    learn, held_out = shuffled(parts["train"]), dict[str, ImageSet]()
    for name, one_in in HELD_OUT.items():
        if name in parts:
            held_out[name] = shuffled(parts[name])
        elif (total := len(parts["train"])) < FEWEST:
            raise DataError(f"{folder} has {total} images to learn from and to hold some out; give at least {FEWEST}")
        else:
            held_out[name], learn = learn[: total // one_in], learn[total // one_in :]
    return learn, held_out["validation"], held_out["test"]


def tell_of_one_side(parts: Parts, classes: Sequence[str], note: Note) -> None:
    """Tell of the classes that only the training images show, or only the test images."""
    train, test = (
        set() if part.labels is None else set(part.labels.tolist()) for part in (parts["train"], parts["test"])
    )
    for words, only in (
        ("only test images show {}, which nothing can be named after, so they are scored as wrong", test - train),
        ("only training images show {}, so how well they are told apart is not tested", train - test),
    ):
        if only:
            names = [classes[label] for label in sorted(only)]
            more = f" and {len(names) - MOST_TOLD} more classes" if len(names) > MOST_TOLD else ""
            note(words.format(f"{'class' if len(names) == 1 else 'the classes'} {', '.join(names[:MOST_TOLD])}{more}"))


def read_idx_files(
    folder: Path, sets: Mapping[str, Mapping[str, Path]], note: Note
) -> tuple[Parts, tuple[str, ...], dict[str, Any]]:
    """The images of four idx files, their classes, which are the numbers that occur, and how they were read."""
    whole = [name for name, files in sets.items() if files.keys() == IDX_FILES.keys()]
    if len(whole) > 1:
        raise DataError(
            f"{folder} holds several data sets, {', '.join(sorted(name or 'MNIST' for name in whole))}; put the four "
            "idx files of one into a folder of their own"
        )
    name = whole[0] if whole else max(sets, key=lambda name: len(sets[name]))
    for stem in IDX_FILES:
        if stem not in sets[name]:
            raise DataError(
                f"{folder} holds some idx files{f' of {name}' if name else ''} but no {stem}; give all of "
                f"{', '.join(IDX_FILES)}"
            )
    files = [sets[name][stem] for stem in IDX_FILES]
    train, train_labels, test, test_labels = (
        read_idx(file, dimensions) for file, dimensions in zip(files, IDX_FILES.values(), strict=True)
    )
    for place, images, labels in ((0, train, train_labels), (2, test, test_labels)):
        if len(images) != len(labels) or not images.size:
            raise DataError(
                f"{files[place]} holds {len(images)} images and {files[place + 1]} {len(labels)} labels; give one "
                "label for every image"
            )
    reading = {}
    if EMNIST in files[0].name.casefold():
        train, test = (np.ascontiguousarray(images.swapaxes(1, 2)) for images in (train, test))
        reading["transposed"] = True
        note(f"EMNIST stores its images with rows and columns exchanged; those of {files[0]} and {files[2]} are turned")
    require_one_size([(files[0], train.shape[1:]), (files[2], test.shape[1:])])
    values = np.unique(np.concatenate((train_labels, test_labels)))
    parts = {
        name: ImageSet(images[:, None], np.searchsorted(values, labels).astype(np.int64))
        for name, images, labels in (("train", train, train_labels), ("test", test, test_labels))
    }
    return parts, tuple(str(value) for value in values), reading


def idx_files(folder: Path) -> dict[str, dict[str, Path]]:
    """The idx files of each data set in a folder and its sub-folders, by its name, "" for MNIST's, and their stems.

    With a dot for a dash, each in a folder of its own, gzipped or not: as Kaggle, EMNIST and others name them. Where
    all four lie in a sub-folder, that is part of the name.
    """
    found: dict[str, dict[str, Path]] = {}
    for place in (folder, *entries(folder)[0]):
        here: dict[str, dict[str, Path]] = {}
        for file in entries(place)[2]:  # by name, so that what is unpacked comes first
            if match := idx_name(file):
                name, part, kind = match.group(1, 2, 3)
                (stem,) = (stem for stem in IDX_FILES if stem.startswith(f"{part.replace('test', 't10k')}-{kind}"))
                here.setdefault(name, {}).setdefault(stem, file)
        for name, files in here.items():
            is_whole = place != folder and files.keys() == IDX_FILES.keys()
            found[f"{place.name}/{name}" if is_whole else name] = files | found.get(name, {})
    return found


def idx_name(file: Path) -> re.Match[str] | None:
    """The name of an idx file, in pieces; None for any other file."""
    return IDX_NAME.fullmatch(re.sub(r"[\W_]", "-", file.name.casefold()))


def read_pictures(folder: Path, left_out: list[Path], note: Note) -> tuple[Parts, tuple[str, ...], dict[str, Any]]:
    """The pictures of a folder, in the order of their names, its classes, by number and name, and how it was read."""
    reading: dict[str, Any] = {}
    places = parts_of(folder, left_out, note)
    if places["train"] != folder:
        reading["split"] = {name: place.name for name, place in places.items()}
        places = {name: looked_through(place, name, left_out, note) for name, place in places.items()}
    found = {name: find_pictures(place, left_out) for name, place in places.items()}
    files = [file for part in found.values() for file, _ in part]
    classes = tuple(sorted({name for part in found.values() for _, name in part if name is not None}, key=by_number))
    label_of: dict[str | None, int] = {name: label for label, name in enumerate(classes)}
    if classes and (bare := [file for part in found.values() for file, name in part if name is None]):
        (sorted_out, *_) = (places[name] for name, part in found.items() if part[0][1] is not None)
        raise DataError(
            f"{bare[0]} lies in no class and others do; put it into a folder of its class, or give {sorted_out} alone"
        )
    tell_of_left_out(left_out, reading, note)
    pixels = read_files(folder, files, reading, note)
    parts, start = {}, 0
    for name, part in found.items():
        labels = np.array([label_of[one] for _, one in part], np.int64) if classes else None
        parts[name] = ImageSet(pixels[start : start + len(part)], labels)
        start += len(part)
    return parts, classes, reading


def parts_of(folder: Path, left_out: list[Path], note: Note) -> dict[str, Path]:
    """Where the training images lie, and the others where they lie apart."""
    folders, files, others = contents(folder)
    named = {one: part for one in folders if (part := part_of(one))}
    is_split = {"train", "test"} <= {*named.values()} or {"train", "validation"} <= {*named.values()}
    if not (is_split or len(named) == len(folders) == 1 or any(one.name.casefold() in PARTS_ALONE for one in named)):
        for one in named:
            note(f"{one} is taken for a class, as the folders beside it are no other parts of a data set")
        return {"train": folder}
    if strays := [one for one in (*folders, *files) if one not in named]:
        beside = next(iter(named)).name
        raise DataError(
            f"{strays[0]} is none of {', '.join(PARTS)}, as {beside} beside it is; put it into one of them or elsewhere"
        )
    places: dict[str, Path] = {}
    for one, part in named.items():
        if part in places:
            raise DataError(f"{places[part]} and {one} both hold {part} images by their names; move one of them away")
        places[part] = one
    if "train" not in places or len(places) == 1:
        names, missing = " and ".join(one.name for one in named), "train" if "train" not in places else "test"
        raise DataError(f"{folder} has {names} but no {missing}; add it, or give {next(iter(named))}")
    left_out += others
    if "test" not in places:
        places["test"] = places.pop("validation")
        note(
            f"{folder} has no test images, so those of {places['test'].name} are the test, and a tenth of "
            f"{places['train'].name} is for validation"
        )
    return {name: places[name] for name in PARTS if name in places}


def part_of(folder: Path) -> str | None:
    """The part of a data set that a folder is called after."""
    return PART_CALLED.get(GOES_WITH_PARTS.sub("", re.sub(r"[\W_]", "", folder.name.casefold())))


def find_pictures(folder: Path, left_out: list[Path]) -> list[Picture]:
    """Every picture of a folder and of its classes; what else there is is added to `left_out`.

    Raises:
        DataError: there are none, or they lie at several depths.
    """
    classes, files, others = contents(folder)
    left_out += others
    if classes and files:
        raise DataError(f"{files[0]} lies beside the folder {classes[0].name}; put it into a folder of its class")
    found: list[Picture] = [(file, None) for file in files]
    for one in classes:
        deeper, files, others = contents(one)
        left_out += others
        if not is_text(one.name):
            raise DataError(f"the class {str(one)!r} is not UTF-8 and cannot be recorded; rename the folder")
        if deeper:
            raise DataError(
                f"{deeper[0]} is a folder inside the class {one.name}; move it out of there, or give {one} if the "
                "classes are in it"
            )
        found += [(file, one.name) for file in files]
    if not found:
        only = f", only such as {left_out[0]}" if left_out else ""
        raise DataError(
            f"{folder} holds no image ({', '.join(sorted(SUFFIXES))}) and no idx file{only}; give another folder"
        )
    return found


def contents(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """The folders with images, the pictures and whatever else is in a folder, each by name, without the hidden."""
    folders, files, others = entries(folder)
    full = [one for one in folders if holds_images(one, set())]
    return full, files, sorted((*others, *(one for one in folders if one not in full)))


def holds_images(folder: Path, seen: set[Path]) -> bool:
    """Whether a picture or an idx file lies in a folder, or anywhere below, but for the folders that `seen` holds."""
    place = folder.resolve()
    if place in seen or folder.name.casefold() in CLUTTER:
        return False
    seen.add(place)
    folders, files, others = entries(folder)
    return bool(files) or any(map(idx_name, others)) or any(holds_images(one, seen) for one in folders)


def entries(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """The folders, pictures and other files in a folder, each by name, without the hidden ones."""
    kinds: tuple[list[Path], list[Path], list[Path]] = ([], [], [])
    try:
        with os.scandir(folder) as listing:
            for entry in sorted(listing, key=lambda entry: entry.name):
                file = folder / entry.name
                is_folder = file.is_dir() if entry.is_symlink() else entry.is_dir()  # of a loop of links it is neither
                if not entry.name.startswith("."):
                    kinds[0 if is_folder else 1 if file.suffix.lower() in PICTURES else 2].append(file)
    except OSError as failure:
        raise DataError(f"cannot read {folder}: {failure.strerror or failure}; give a folder of images") from None
    return kinds


def by_number(name: str) -> tuple[Any, ...]:
    """What to sort names by so that 2 comes before 10."""
    pieces = re.split(r"(\d+)", name)  # every second one is a number
    return [(text, int(number)) for text, number in zip(pieces[::2], (*pieces[1::2], "0"), strict=True)], name


def tell_of_left_out(left_out: Sequence[Path], reading: dict[str, Any], note: Note) -> None:
    """Tell of the files that are no pictures, and of the folders without any."""
    if left_out:
        reading["left_out"] = len(left_out)
    folders = [one for one in left_out if one.is_dir()]
    for why, some in (
        (f"no {', '.join(sorted(SUFFIXES))}", [one for one in left_out if one not in folders]),
        ("folders without an image", folders),
    ):
        if some:
            note(f"left out, as {why}: {some[0]}{f' and {len(some) - 1} more' if len(some) > 1 else ''}")


def read_files(folder: Path, files: Sequence[Path], reading: dict[str, Any], note: Note) -> NDArray[np.uint8]:
    """The pixels of the pictures of a folder, all of one size, [N, C, H, W]; grey, or RGB if any has colour."""
    found: list[NDArray[np.uint8]] = []
    deep, channels = list[Path](), 0
    for file in files:
        pixels, bits = read_picture(file)
        if bits > 8:
            deep.append(file)
        if len(pixels) > channels:  # the first, and the first that has colour
            channels = len(pixels)
            require_memory(len(files) * pixels.size, folder)
        found.append(pixels)
        require_one_size([(files[0], found[0].shape[1:]), (file, pixels.shape[1:])])
    if deep:
        reading["sixteen_bit"] = len(deep)
        more = f" and {len(deep) - 1} more" if len(deep) > 1 else ""
        note(f"stored with 16 bits and read with 8, 65535 being white: {deep[0]}{more}")
    images = np.empty((len(files), channels, *found[0].shape[1:]), np.uint8)
    for place, pixels in enumerate(found):
        images[place] = pixels
    return images


def read_picture(file: Path) -> tuple[NDArray[np.uint8], int]:
    """The pixels of a picture, upright, [C, H, W], with as few channels as it needs; and the bits it is stored with."""
    if not file.is_file():
        raise DataError(f"{file} is not a file; leave it out")
    picture = pictures.read(file)
    if picture.alpha is not None and picture.alpha.min() < 255:
        raise DataError(f"{file} has transparent pixels; save it without an alpha channel")
    is_grey = bool((picture.pixels == picture.pixels[:1]).all())
    pixels = picture.pixels[:1] if is_grey else picture.pixels
    step = np.iinfo(pixels.dtype).max // 255  # the nearest of eight bits: 0 to 65535 become 0 to 255
    return ((pixels.astype(np.uint32) + step // 2) // step).astype(np.uint8), 8 * pixels.itemsize


def require_one_size(sizes: Sequence[tuple[Path, tuple[int, ...]]]) -> None:
    """Check that all files hold images of one height and width."""
    first, shape = sizes[0]
    for file, other in sizes:
        if other != shape:
            raise DataError(
                f"{first} is {shape[1]} x {shape[0]} pixels and {file} is {other[1]} x {other[0]}; resize them to one "
                "size"
            )
