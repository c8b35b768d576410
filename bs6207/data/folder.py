"""A folder of the user's own as a data set: pictures, their classes being sub-folders, or four idx files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bs6207.data.idx import read_idx
from bs6207.data.images import DataSet, ImageSet, sha256_of, shuffled
from bs6207.data.memory import require_memory
from bs6207.data.pictures import READ_AS, opened
from bs6207.data.sources import IDX_FILES, Note, find_idx
from bs6207.errors import DataError
from bs6207.names import is_text

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
CHANNELS = {"L": 1, "RGB": 3}

HELD_OUT = {"validation": 10, "test": 5}  # one in so many, where the folder does not say which
FEWEST = max(HELD_OUT.values())
PARTS = ("train", *HELD_OUT)

Picture = tuple[Path, str | None]  # a file and its class; None where there are no classes
Parts = Mapping[str, ImageSet]


def read_folder(folder: Path, note: Note) -> DataSet:
    """Read a folder of images and split it.

    Sub-folders train and test (and validation, or a tenth of train) are the split; without them it is a random one,
    always the same. Below, sub-folders are classes; pictures that lie there without any have no labels.

    Raises:
        DataError: it holds something else, too much, too little, or images of several sizes.
    """
    is_idx = any(find_idx(folder, stem).is_file() for stem in IDX_FILES)
    parts, classes = read_idx_files(folder) if is_idx else read_pictures(folder, note)
    arrays = [array for name in PARTS if name in parts for array in (parts[name].pixels, parts[name].labels)]
    sha256 = sha256_of(*(array for array in arrays if array is not None))
    return DataSet(folder.name or str(folder), *split(folder, parts), sha256, classes, str(folder))


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


def read_idx_files(folder: Path) -> tuple[Parts, tuple[str, ...]]:
    """The images of four idx files and the names of their classes, which are the numbers that occur."""
    files = [find_idx(folder, stem) for stem in IDX_FILES]
    for file in files:
        if not file.is_file():
            raise DataError(f"{folder} holds some idx files but no {file.name}; give all of {', '.join(IDX_FILES)}")
    train, train_labels, test, test_labels = (
        read_idx(file, dimensions) for file, dimensions in zip(files, IDX_FILES.values(), strict=True)
    )
    for place, images, labels in ((0, train, train_labels), (2, test, test_labels)):
        if len(images) != len(labels) or not images.size:
            raise DataError(
                f"{files[place]} holds {len(images)} images and {files[place + 1]} {len(labels)} labels; give one "
                "label for every image"
            )
    require_one_size([(files[0], train.shape[:0:-1]), (files[2], test.shape[:0:-1])])
    values = np.unique(np.concatenate((train_labels, test_labels)))
    parts = {
        name: ImageSet(images[:, None], np.searchsorted(values, labels).astype(np.int64))
        for name, images, labels in (("train", train, train_labels), ("test", test, test_labels))
    }
    return parts, tuple(str(value) for value in values)


def read_pictures(folder: Path, note: Note) -> tuple[Parts, tuple[str, ...]]:
    """The pictures of a folder, in the order of their names, and its classes, sorted."""
    left_out: list[Path] = []
    found = {name: find_pictures(place, left_out) for name, place in parts_of(folder).items()}
    pictures = [picture for part in found.values() for picture in part]
    if left_out:
        more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
        note(f"left out, as no {', '.join(sorted(SUFFIXES))}: {left_out[0]}{more}")
    classes = tuple(sorted({name for _, name in pictures if name is not None}))
    label_of: dict[str | None, int] = {name: label for label, name in enumerate(classes)}
    if classes and (bare := [file for file, name in pictures if name is None]):
        raise DataError(f"{bare[0]} lies in no class and others do; put it into a folder of its class")

    looks = [look_at(file) for file, _ in pictures]
    require_one_size([(file, size) for (file, _), (size, _) in zip(pictures, looks, strict=True)])
    mode = "RGB" if any(mode == "RGB" for _, mode in looks) else "L"
    width, height = looks[0][0]
    require_memory(len(pictures) * CHANNELS[mode] * height * width, folder)
    parts = {}
    for name, part in found.items():
        pixels = np.empty((len(part), CHANNELS[mode], height, width), np.uint8)
        for place, (file, _) in enumerate(part):
            pixels[place] = read_picture(file, mode)
        labels = np.array([label_of[one] for _, one in part], np.int64) if classes else None
        parts[name] = ImageSet(pixels, labels)
    return parts, classes


def parts_of(folder: Path) -> dict[str, Path]:
    """Where the training images lie, and the others where they lie apart."""
    folders, pictures, _ = contents(folder)
    names = [one.name for one in folders]
    if not set(names) & {"validation", "test"} and names != ["train"]:
        return {"train": folder}
    if strays := [one for one in (*folders, *pictures) if one.name not in PARTS]:
        raise DataError(f"{strays[0]} is none of {', '.join(PARTS)}, which lie beside it; rename or move it")
    if missing := {"train", "test"} - set(names):
        raise DataError(f"{folder} has {' and '.join(names)} but no {min(missing)}; add it, or give {folders[0]}")
    return {name: folder / name for name in PARTS if name in names}


def find_pictures(folder: Path, left_out: list[Path]) -> list[Picture]:
    """Every picture of a folder and of its classes; other files are added to `left_out`.

    Raises:
        DataError: there are none, or they lie at several depths.
    """
    classes, pictures, others = contents(folder)
    left_out += others
    if classes and pictures:
        raise DataError(f"{pictures[0]} lies beside the folder {classes[0].name}; put it into a folder of its class")
    found: list[Picture] = [(file, None) for file in pictures]
    for one in classes:
        deeper, pictures, others = contents(one)
        left_out += others
        if not is_text(one.name):
            raise DataError(f"the class {str(one)!r} is not UTF-8 and cannot be recorded; rename the folder")
        if deeper:
            raise DataError(f"{deeper[0]} is a folder inside a class; put its images into {one}, or move it away")
        if not pictures:
            raise DataError(f"{one} holds no image ({', '.join(sorted(SUFFIXES))}); remove it, or put some in")
        found += [(file, one.name) for file in pictures]
    if not found:
        raise DataError(f"{folder} holds no image ({', '.join(sorted(SUFFIXES))}) and no idx file; give another folder")
    return found


def contents(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """The folders, pictures and other files in a folder, each sorted by name, without the hidden ones."""
    kinds: tuple[list[Path], list[Path], list[Path]] = ([], [], [])
    try:
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
            if not entry.name.startswith("."):
                kinds[0 if entry.is_dir() else 1 if entry.suffix.lower() in SUFFIXES else 2].append(entry)
    except OSError as failure:
        raise DataError(f"cannot read {folder}: {failure.strerror or failure}; give a folder of images") from None
    return kinds


def require_one_size(sizes: Sequence[tuple[Path, tuple[int, ...]]]) -> None:
    """Check that all files hold images of one width and height."""
    first, (width, height) = sizes[0]
    for file, size in sizes:
        if size != (width, height):
            raise DataError(
                f"{first} is {width} x {height} pixels and {file} is {size[0]} x {size[1]}; resize them to one size"
            )


def look_at(file: Path) -> tuple[tuple[int, int], str]:
    """Width and height, and whether it is to be read as `L` or `RGB`; the pixels stay unread."""
    with opened(file) as image:
        if getattr(image, "is_animated", False):
            raise DataError(f"{file} holds several pictures; save each as a file of its own")
        if image.mode not in READ_AS:
            raise DataError(f"{file} is stored as {image.mode}; save it with 8 bits per channel, grey or RGB")
        return image.size, READ_AS[image.mode]


def read_picture(file: Path, mode: str) -> NDArray[np.uint8]:
    """The pixels, [C, H, W]."""
    with opened(file) as image:
        if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
            raise DataError(f"{file} has transparent pixels; save it without an alpha channel")
        return np.atleast_3d(np.asarray(image.convert(mode))).transpose(2, 0, 1)
