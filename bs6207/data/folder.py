"""A folder of the user's own as a data set: pictures, their classes being sub-folders, or four idx files."""

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bs6207.data import pictures
from bs6207.data.idx import IDX_FILES, parse_idx_name, read_idx
from bs6207.data.images import DataSet, ImageSet, Photographs, on_one_side, sha256_of, shuffled
from bs6207.errors import DataError
from bs6207.runs.memory import require_memory
from bs6207.runs.names import is_text, listed

if TYPE_CHECKING:
    from bs6207.data.form import Form

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
PICTURES = SUFFIXES | {".avif", ".heic", ".heif", ".hif", ".jp2", ".jxl"}  # those not read are refused, not left out
SUFFIX_LIST = ", ".join(sorted(SUFFIXES))
CLUTTER = {"__macosx", "@eadir"}  # folders that macOS and Synology add, with copies of the pictures' names or previews

SIDES = 28, 64  # pixels: the least and the largest side of squares for pictures of several sizes
MATTERS = 0.02  # share of the variance that makes colour matter; JPEG's rounding of grey pictures has 0.0005
WHOLE = 128  # pixels: pictures with a shorter side beyond it are photographs, where those may be of any size
HELD_OUT = {"validation": 10, "test": 5}  # one in so many, where the folder does not say which
FEWEST = max(HELD_OUT.values())
PARTS = ("train", *HELD_OUT)
PART_NAMES = {  # of folders, without case, signs, years and the words that go with all of them
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
GOES_WITH_PARTS = re.compile(r"(set|split|data|images|imgs|\d+)*$")
PARTS_ALONE = {"validation", "val", "test", "testing"}  # even where no train lies beside them; others may be classes
NO_CLASS = {"data", "images", "img", "imgs", "pictures"}  # names of folders that say nothing of the pictures
EMNIST = "emnist"  # Cohen et al. 2017, arXiv:1702.05373; converted from a format that stores columns first

Warn = Callable[[str], None]
Parts = Mapping[str, ImageSet]
IdxFiles = dict[str, dict[str, Path]]  # by data set, "" for MNIST, and by stem in `IDX_FILES`
Contents = tuple[list[Path], list[Path], list[Path]]  # of a folder: sub-folders, pictures and other files, by name


def read_folder(folder: Path, warn: Warn, form: "Form | None") -> DataSet:
    """Read a folder of images and split it; `warn` is called with what decides how the images are read.

    Pictures of several sizes are brought to one, as `form` says; if that is None, those or pictures of more than
    `WHOLE` pixels a side are `Photographs`, without labels.

    Sub-folders train, validation and test, by these or other usual names, are the split; without a test, the
    validation images are the test images; without validation, a tenth of train is for it. Without any such sub-folder
    the split is random, always the same. Below, sub-folders are classes; pictures that lie there without any have no
    labels.

    Raises:
        DataError: it holds something else, too much, or too little.
    """
    left_out, reading = list[Path](), dict[str, Any]()
    is_nested = form is not None and form.recursive
    root = folder if is_nested else unwrap(folder, None, left_out, warn)
    if sets := {} if is_nested else find_idx_files(root):
        if form is not None and (form.size, form.colour) != (None, "auto"):
            raise DataError(f"{root} holds idx files, of one size and grey", "leave out --size and --colour")
        parts, classes = read_idx_files(root, sets, reading, warn)
    else:
        parts, classes = read_pictures(root, folder, left_out, reading, warn, form)
    sha256 = sha256_of(*(array for name in PARTS if name in parts for array in parts[name].arrays))
    if "test" in parts:
        sides = on_one_side(parts["train"], parts["test"], classes)
        for part, names, consequence in (
            ("test", sides["only_in_test"], "which no cluster can be named after, so they are scored as wrong"),
            ("training", sides["only_in_train"], "so how well these are recognized is not tested"),
        ):
            if names:
                warn(f"only {part} images show class{'es' * (len(names) > 1)} {listed(names)}, {consequence}")
    return DataSet(folder.name or str(folder), *split(folder, parts), sha256, classes, str(folder), reading)


def unwrap(folder: Path, part: str | None, left_out: list[Path], warn: Warn) -> Path:
    """The folder or, as archives unpack into a folder of their own, the only one in it with images, and so on.

    `part`: of a data set, if the folder is one. The files beside that folder are added to `left_out`.
    """
    place, seen = folder, set[Path]()
    while not find_idx_files(place) and place.resolve() not in seen:
        seen.add(place.resolve())
        folders, files, others = contents(place)
        if files or len(folders) != 1 or part_of(folders[0]) not in (None, part):
            break
        (inner,) = folders
        is_class = not (inner.name.casefold() in NO_CLASS or (part and part_of(inner)))
        if is_class and not contents(inner)[0] and not find_idx_files(inner):
            break
        place = inner
        left_out += others
    if place != folder:
        warn(f"reads {place}, as {folder} holds no other images")
    return place


def split(folder: Path, parts: Parts) -> tuple[ImageSet, ImageSet, ImageSet]:
    """Training, validation and test images, each in a fixed random order; DataError if there are too few."""
    total = len(parts["train"])
    if total < FEWEST and len(parts) < len(PARTS):
        raise DataError(f"{folder} has {total} images to train on and to hold some out; give at least {FEWEST}")
    train, held_out = shuffled(parts["train"]), []
    for name, one_in in HELD_OUT.items():
        count = 0 if name in parts else total // one_in
        held_out.append(shuffled(parts[name]) if name in parts else train[:count])
        train = train[count:]
    return train, held_out[0], held_out[1]


def read_idx_files(folder: Path, sets: IdxFiles, reading: dict[str, Any], warn: Warn) -> tuple[Parts, tuple[str, ...]]:
    """The images of four idx files, and their classes, which are the numbers that occur."""
    complete = sorted(name for name, files in sets.items() if files.keys() == IDX_FILES.keys())
    if len(complete) > 1:
        several = ", ".join(name or "MNIST" for name in complete)
        raise DataError(
            f"{folder} holds several data sets, {several}; put the four idx files of one into a folder of their own"
        )
    name = complete[0] if complete else max(sets, key=lambda name: len(sets[name]))
    if missing := [stem for stem in IDX_FILES if stem not in sets[name]]:
        some = f"some idx files{f' of {name}' if name else ''} but no {missing[0]}"
        raise DataError(f"{folder} holds {some}; give all of {', '.join(IDX_FILES)}")
    files = [sets[name][stem] for stem in IDX_FILES]
    train, train_labels, test, test_labels = map(read_idx, files, IDX_FILES.values())
    for place, images, labels in ((0, train, train_labels), (2, test, test_labels)):
        if len(images) != len(labels) or not images.size:
            held = f"{files[place]} holds {len(images)} images and {files[place + 1]} {len(labels)} labels"
            raise DataError(f"{held}; give one label for every image")
    if EMNIST in files[0].name.casefold():
        train, test = (np.ascontiguousarray(images.swapaxes(1, 2)) for images in (train, test))
        reading["transposed"] = True
        warn(f"EMNIST stores its images with rows and columns exchanged; those of {files[0]} and {files[2]} are turned")
    require_one_size(files[0], train.shape[1:], files[2], test.shape[1:])
    values = np.unique(np.concatenate((train_labels, test_labels)))
    parts = {
        name: ImageSet(images[:, None], np.searchsorted(values, labels).astype(np.int64))
        for name, images, labels in (("train", train, train_labels), ("test", test, test_labels))
    }
    return parts, tuple(map(str, values))


def find_idx_files(folder: Path) -> IdxFiles:
    """The idx files in a folder and its sub-folders; the name of a sub-folder with all four is part of the data set's.

    With a dot for a dash, each in a folder of its own, gzipped or not: as Kaggle, EMNIST and others name them.
    """
    sets: IdxFiles = {}
    for place in (folder, *list_folder(folder)[0]):
        here: dict[str, dict[str, Path]] = {}
        for file in list_folder(place)[2]:  # by name, so that the unpacked one comes first
            if parsed := parse_idx_name(file):
                here.setdefault(parsed[0], {}).setdefault(parsed[1], file)
        for name, files in here.items():
            is_complete = place != folder and files.keys() == IDX_FILES.keys()
            sets[f"{place.name}/{name}" if is_complete else name] = files | sets.get(name, {})
    return sets


def read_pictures(
    folder: Path, given: Path, left_out: list[Path], reading: dict[str, Any], warn: Warn, form: "Form | None"
) -> tuple[Parts, tuple[str, ...]]:
    """The pictures of a folder in the one that was given, in the order of their names, and its classes, by number."""
    is_nested = form is not None and form.recursive
    folders = {"train": folder} if is_nested else part_folders(folder, left_out, warn)
    if folders["train"] != folder:
        reading["split"] = {name: place.name for name, place in folders.items()}
        folders = {name: unwrap(place, name, left_out, warn) for name, place in folders.items()}
    find = find_nested_pictures if is_nested else find_pictures
    by_part = {name: find(place, left_out) for name, place in folders.items()}
    every = [picture for part in by_part.values() for picture in part]
    classes = tuple(sorted({name for _, name in every if name is not None}, key=natural_order))
    if classes and (unlabelled := [file for file, name in every if name is None]):
        labelled = next(folders[name] for name, part in by_part.items() if part[0][1] is not None)
        remedy = f"put it into a folder of its class, or give {labelled} alone"
        raise DataError(f"{unlabelled[0]} lies in no class and others do", remedy)
    if left_out:
        reading["left_out"] = len(left_out)
    empty = [path for path in left_out if path.is_dir()]
    files = [path for path in left_out if path not in empty]
    for why, paths in ((f"no {SUFFIX_LIST}", files), ("folders without an image", empty)):
        if paths:
            warn(f"left out, as {why}: {first_and_count(paths)}")
    files = [file for file, _ in every]
    read = read_files(folder, files, reading, warn) if form is None else read_fitted(folder, files, form, reading, warn)
    sizes = {picture.shape[1:] for picture in read}
    images: ImageSet
    if form is None and (len(sizes) > 1 or min(*sizes.pop()) > WHOLE):
        classes, images = (), Photographs.of(read)
    else:
        label_of: dict[str | None, int] = {name: label for label, name in enumerate(classes)}
        labels = np.array([label_of[name] for _, name in every], np.int64) if classes else None
        images = ImageSet(np.stack(read), labels, np.array([legible_path(file, given) for file in files]))
    parts, start = {}, 0
    for name, part in by_part.items():
        parts[name] = images[start : start + len(part)]
        start += len(part)
    return parts, classes


def part_folders(folder: Path, left_out: list[Path], warn: Warn) -> dict[str, Path]:
    """The folder of each part of the data set; the folder itself as `train` where it is not split."""
    folders, files, others = contents(folder)
    named = {path: part for path in folders if (part := part_of(path))}
    is_split = {"train", "test"} <= {*named.values()} or {"train", "validation"} <= {*named.values()}
    if not (is_split or len(named) == len(folders) == 1 or any(path.name.casefold() in PARTS_ALONE for path in named)):
        for path in named:
            warn(f"{path} is taken for a class, as the folders beside it are no other parts of a data set")
        return {"train": folder}
    first = next(iter(named))
    if strays := [path for path in (*folders, *files) if path not in named]:
        other = f"{strays[0]} is none of {', '.join(PARTS)}, as {first.name} beside it is"
        raise DataError(other, "put it into one of them or elsewhere")
    places: dict[str, Path] = {}
    for path, part in named.items():
        if part in places:
            raise DataError(f"{places[part]} and {path} both hold {part} images by their names; move one of them away")
        places[part] = path
    if "train" not in places or len(places) == 1:
        names, missing = " and ".join(path.name for path in named), "test" if "train" in places else "train"
        raise DataError(f"{folder} has {names} but no {missing}; add it, or give {first}")
    left_out += others
    if "test" not in places:
        test = places["test"] = places.pop("validation")
        instead = f"those of {test.name} are the test, and a tenth of {places['train'].name} is for validation"
        warn(f"{folder} has no test images, so {instead}")
    return {name: places[name] for name in PARTS if name in places}


def part_of(folder: Path) -> str | None:
    """The part of a data set that a folder is named after."""
    return PART_NAMES.get(GOES_WITH_PARTS.sub("", re.sub(r"[\W_]", "", folder.name.casefold())))


def find_pictures(folder: Path, left_out: list[Path]) -> list[tuple[Path, str | None]]:
    """Every picture of a folder and its class, if there are any; other files are added to `left_out`.

    Raises:
        DataError: there are none, or they lie at several depths.
    """
    classes, files, others = contents(folder)
    left_out += others
    if classes and files:
        raise DataError(f"{files[0]} lies beside the folder {classes[0].name}; put it into a folder of its class")
    classed: list[tuple[Path, str | None]] = [(file, None) for file in files]
    for class_folder in classes:
        deeper, files, others = contents(class_folder)
        left_out += others
        if not is_text(class_folder.name):
            raise DataError(f"the class {str(class_folder)!r} is not UTF-8 and cannot be recorded; rename the folder")
        if deeper:
            remedy = f"move it out of there, or give {class_folder} if the classes are in it"
            raise DataError(f"{deeper[0]} is a folder inside the class {class_folder.name}", remedy)
        classed += [(file, class_folder.name) for file in files]
    if not classed:
        only = f", only such as {left_out[0]}" if left_out else ""
        raise DataError(f"{folder} holds no image ({SUFFIX_LIST}) and no idx file{only}; give another folder")
    return classed


def find_nested_pictures(folder: Path, left_out: list[Path]) -> list[tuple[Path, str | None]]:
    """Every picture at any depth, without a class; other files are added to `left_out`, DataError if there is none."""
    found, todo, seen = list[Path](), [folder], set[Path]()
    while todo:
        place = todo.pop()
        if place.resolve() in seen or place.name.casefold() in CLUTTER:
            continue
        seen.add(place.resolve())
        folders, files, others = list_folder(place)
        todo += folders
        found += files
        left_out += others
    if not found:
        raise DataError(f"{folder} holds no image ({SUFFIX_LIST}) at any depth; give another folder")
    return [(file, None) for file in sorted(found)]


def contents(folder: Path) -> Contents:
    """Like `list_folder`, but sub-folders without images are among the others."""
    folders, files, others = list_folder(folder)
    with_images = [path for path in folders if holds_images(path, set())]
    return with_images, files, sorted((*others, *(path for path in folders if path not in with_images)))


def holds_images(folder: Path, seen: set[Path]) -> bool:
    """Whether a picture or an idx file lies in a folder or anywhere below; folders in `seen` are not entered again."""
    place = folder.resolve()
    if place in seen or folder.name.casefold() in CLUTTER:
        return False
    seen.add(place)
    folders, files, others = list_folder(folder)
    return bool(files) or any(map(parse_idx_name, others)) or any(holds_images(path, seen) for path in folders)


def list_folder(folder: Path) -> Contents:
    """What is in a folder, but for hidden files."""
    found: Contents = ([], [], [])
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                file = folder / entry.name
                is_folder = file.is_dir() if entry.is_symlink() else entry.is_dir()  # of a loop of links it is neither
                if not entry.name.startswith("."):
                    found[0 if is_folder else 1 if file.suffix.lower() in PICTURES else 2].append(file)
    except OSError as failure:
        raise DataError(f"cannot read {folder}: {failure.strerror or failure}; give a folder of images") from None
    return found


def natural_order(name: str) -> tuple[Any, ...]:
    """Key that sorts 2 before 10."""
    parts = enumerate(re.split(r"(\d+)", name))  # every second one is a number
    return [int(part) if place % 2 else part for place, part in parts], name


def legible_path(file: Path, folder: Path) -> str:
    """The path relative to a folder; bytes that are not UTF-8 are written as in `\\xff`."""
    return os.fsencode(file.relative_to(folder).as_posix()).decode(errors="backslashreplace")


def first_and_count(paths: Sequence[Path]) -> str:
    return f"{paths[0]}{f' and {len(paths) - 1} more' if len(paths) > 1 else ''}"


def read_files(folder: Path, files: Sequence[Path], reading: dict[str, Any], warn: Warn) -> list[NDArray[np.uint8]]:
    """The pictures of a folder, each [C, H, W] and of any size; grey, or RGB if any has colour."""
    every, deep, channels = list[NDArray[np.uint8]](), list[Path](), 0
    for file in files:
        pixels, alpha, bits = read_picture(file)
        if alpha is not None:
            raise DataError(f"{file} has transparent pixels; save it without an alpha channel")
        if bits > 8:
            deep.append(file)
        if len(pixels) > channels:  # the first, and the first that has colour
            channels = len(pixels)
            require_memory(len(files) * pixels.size, folder)
        every.append(pixels)
    report_depth(deep, reading, warn)
    return [with_channels(pixels, channels) for pixels in every]


def read_fitted(
    folder: Path, files: Sequence[Path], form: "Form", reading: dict[str, Any], warn: Warn
) -> list[NDArray[np.uint8]]:
    """The pictures of a folder, each [C, H, W], of one size; opaque; grey or RGB.

    Transparent ones are laid on white, or on black where what is visible is light in the mean of all.
    """
    sizes = [size_of_picture(file) for file in files]
    side = side_for({*sizes}, sizes, form)
    shape = (side, side) if side else sizes[0]
    require_memory(len(files) * math.prod(shape), folder)
    every, alphas, deep = list[NDArray[np.uint8]](), dict[int, NDArray[np.uint8]](), list[Path]()
    for place, (file, size) in enumerate(zip(files, sizes, strict=True)):
        pixels, alpha, bits = read_picture(file)
        if bits > 8:
            deep.append(file)
        if alpha is not None:
            alphas[place] = alpha if size == shape else pictures.fit(alpha, shape[0], form.fit, (0,))
        every.append(pixels if size == shape else pictures.fit(pixels, shape[0], form.fit))
    ground = pictures.ground_for([(every[place], alpha) for place, alpha in alphas.items()])
    for place, alpha in alphas.items():
        every[place] = pictures.laid_on(ground, every[place], alpha)
    coloured = [place for place, pixels in enumerate(every) if len(pixels) == 3]
    is_rgb = form.colour == "rgb" or (form.colour == "auto" and pictures.colour_share(every) >= MATTERS)
    if not is_rgb:
        for place in coloured:
            every[place] = pictures.convert(every[place], "grey")
    report_depth(deep, reading, warn)
    done = {
        "resized": len(files) - sizes.count(shape),
        "made_grey": 0 if is_rgb else len(coloured),
        "made_opaque": len(alphas),
    }
    if any(done.values()):
        reading["brought_to_one"] = {"width": shape[1], "height": shape[0], "fit": form.fit, "rgb": is_rgb, **done}
        widths, heights = (sorted({size[axis] for size in sizes}) for axis in (1, 0))
        clauses = {
            f"brings {done['resized']} of {widths[0]} x {heights[0]} to {widths[-1]} x {heights[-1]} pixels to "
            f"{shape[1]} x {shape[0]} (--size) by {form.fit} (--fit)": done["resized"],
            f"reads {done['made_grey']} of colour in grey (--colour)": done["made_grey"],
            f"lays {done['made_opaque']} with transparent pixels on {'black' if ground == 0 else 'white'}": len(alphas),
        }
        said = [clause for clause, count in clauses.items() if count]
        warn(f"of {len(files)} pictures, {'; '.join(said)}")
    return [with_channels(pixels, 3 if is_rgb else 1) for pixels in every]


def side_for(different: set[tuple[int, int]], sizes: Sequence[tuple[int, int]], form: "Form") -> int | None:
    """The side of the squares that pictures are brought to; None where all are of one size, and none is asked for."""
    if form.size or len(different) == 1:
        return form.size
    return int(np.clip(np.median([max(size) for size in sizes]), *SIDES))


def report_depth(deep: Sequence[Path], reading: dict[str, Any], warn: Warn) -> None:
    if deep:
        reading["sixteen_bit"] = len(deep)
        warn(f"stored with 16 bits and read with 8, 65535 being white: {first_and_count(deep)}")


def with_channels(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    return np.array(np.broadcast_to(pixels, (channels, *pixels.shape[1:])), order="C")


def size_of_picture(file: Path) -> tuple[int, int]:
    require_file(file)
    return pictures.size_of(file)


def read_picture(file: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None, int]:
    """A picture, upright, [C, H, W] with as few channels as it needs, its alpha, [1, H, W], and its bits per channel.

    The alpha is None where all is opaque.
    """
    require_file(file)
    picture = pictures.read(file)
    is_grey = bool((picture.pixels == picture.pixels[:1]).all())
    pixels = picture.pixels[:1] if is_grey else picture.pixels
    step = np.iinfo(pixels.dtype).max // 255  # the nearest of eight bits: 0 to 65535 become 0 to 255
    eight = ((pixels.astype(np.uint32) + step // 2) // step).astype(np.uint8)
    alpha = None if picture.alpha is None or picture.alpha.min() == 255 else picture.alpha[None]
    return eight, alpha, 8 * pixels.itemsize


def require_file(file: Path) -> None:
    if not file.is_file():
        raise DataError(f"{file} is not a file; leave it out")


def require_one_size(first: Path, shape: tuple[int, ...], file: Path, other: tuple[int, ...]) -> None:
    if other != shape:
        raise DataError(
            f"{first} is {shape[1]} x {shape[0]} pixels and {file} is {other[1]} x {other[0]}; resize them to one size"
        )
