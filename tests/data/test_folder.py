"""Folders of the user's own: read as they lie, split alike every time, refused in one sentence otherwise."""

import gzip
import os
import re
import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bs6207.data import folder as module
from bs6207.data.folder import SUFFIXES, read_picture
from bs6207.data.form import Form
from bs6207.data.idx import IDX_FILES
from bs6207.data.images import SPLIT_SEED
from bs6207.errors import DataError
from bs6207.runs import memory

AS_GIVEN = Form()
read_folder = partial(module.read_folder, form=AS_GIVEN)


def save(path: Path, value: int = 0, size: tuple[int, int] = (5, 4), mode: str = "L", **options) -> None:
    """A picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, (value,) * len(mode) if len(mode) > 1 else value).save(path, **options)


def fill(place: Path, values: range, **options) -> None:
    """Pictures 000.png, 001.png, ... of one colour each."""
    for value in values:
        save(place / f"{value:03}.png", value, **options)


def colours(images) -> list[int]:
    """The colour of every picture."""
    return images.pixels[:, 0, 0, 0].tolist()


def read(folder: Path, *words: str, form: Form | None = AS_GIVEN):
    """The data set of a folder, of which as many sentences are told as words are given, each with one of them."""
    notes: list[str] = []
    data = read_folder(folder, notes.append, form=form)
    assert len(notes) == len(words), notes
    assert all(word in note for word, note in zip(words, notes, strict=True)), notes
    return data


def refusal(folder: Path, form: Form | None = AS_GIVEN) -> str:
    """The sentence with which a folder is refused."""
    with pytest.raises(DataError) as refused:
        read_folder(folder, pytest.fail, form=form)
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert "; " in sentence
    return sentence


def test_classes_are_sub_folders_in_sorted_order_and_the_split_is_random_but_fixed(tmp_path):
    fill(tmp_path / "mine/b", range(40))
    fill(tmp_path / "mine/a", range(40, 100))
    data = read_folder(tmp_path / "mine", pytest.fail)
    assert data.classes == ("a", "b")
    parts = (data.train, data.validation, data.test)
    assert [len(part) for part in parts] == [70, 10, 20]
    by_name = np.array([*range(40, 100), *range(40)])
    order = colours(data.validation) + colours(data.test) + colours(data.train)
    assert order == by_name[np.random.RandomState(SPLIT_SEED).permutation(100)].tolist()
    for part in parts:
        assert part.labels.dtype == np.int64
        assert part.labels.tolist() == [0 if value >= 40 else 1 for value in colours(part)]
        assert 0 < part.labels.mean() < 1
    assert data.record() == {
        "name": "mine",
        "train": 70,
        "validation": 10,
        "test": 20,
        "classes": 2,
        "class_names": ["a", "b"],
        "image_shape": [1, 4, 5],
        "sha256": data.sha256,
    }
    assert data.source == str(tmp_path / "mine")


def test_train_and_test_are_the_split_and_a_tenth_of_train_is_for_validation(tmp_path):
    fill(tmp_path / "train/x", range(20))
    fill(tmp_path / "train/y", range(20, 30))
    fill(tmp_path / "test/x", range(30, 40))
    fill(tmp_path / "test/y", range(40, 60))
    data = read(tmp_path)
    assert sorted(colours(data.train) + colours(data.validation)) == list(range(30))
    assert len(data.validation) == 3
    assert sorted(colours(data.test)) == list(range(30, 60)) != colours(data.test)
    assert data.test.labels.tolist() == [0 if value < 40 else 1 for value in colours(data.test)]
    save(tmp_path / "test/y/059.png", 61)
    assert read(tmp_path).sha256 != data.sha256


PARTS = [  # what people call the folders for training, validation and test
    ("train", "validation", "test"),
    ("train", "val", "test"),
    ("training", "valid", "testing"),
    ("Train", "VAL", "test"),
    ("Training Set", "dev-set", "eval"),
    ("train_images", "validation_images", "test_images"),
    ("train2017", "val2017", "test2017"),
]


@pytest.mark.parametrize("names", PARTS)
def test_folders_for_training_validation_and_test_are_known_by_their_usual_names(tmp_path, names):
    for value, name in enumerate(names):
        fill(tmp_path / name, range(value, value + 1))
    data = read(tmp_path)
    assert [colours(part) for part in (data.train, data.validation, data.test)] == [[0], [1], [2]]
    assert data.classes == ()
    assert data.record()["split"] == dict(zip(("train", "validation", "test"), names, strict=True))


@pytest.mark.parametrize("held_out", ["val", "valid", "validation", "dev", "Val", "val_set"])
@pytest.mark.parametrize("classes", [("",), ("/a", "/b")])
def test_held_out_images_are_the_test_where_there_is_no_other_and_never_learned_from(tmp_path, held_out, classes):
    for place, one in enumerate(classes):
        fill(tmp_path / f"train{one}", range(50 * place, 50 * place + 20))
        fill(tmp_path / f"{held_out}{one}", range(100 + place, 101 + place))
    data = read(tmp_path, f"has no test images, so those of {held_out} are the test, and a tenth of train")
    assert sorted(colours(data.test)) == [100 + place for place in range(len(classes))]
    assert max(colours(data.train) + colours(data.validation)) < 100
    assert data.classes == tuple(one[1:] for one in classes if one)
    assert data.record()["split"] == {"train": "train", "test": held_out}


@pytest.mark.parametrize(
    "names", [("train", "bus", "car"), ("valid", "invalid"), ("dev", "prod"), ("train1", "train2")]
)
def test_a_class_may_be_called_like_a_part_where_no_other_part_lies_beside_it(tmp_path, names):
    for place, name in enumerate(names):
        fill(tmp_path / name, range(10 * place, 10 * place + 10))
    notes = [f"{name} is taken for a class" for name in sorted(names) if name not in ("bus", "car", "invalid", "prod")]
    assert read(tmp_path, *notes).classes == tuple(sorted(names))


def test_classes_are_in_the_order_of_their_numbers_and_the_split_in_that_of_their_names(tmp_path):
    names = ["a", "a0", "-1", *map(str, range(1, 13)), "001", "x2y10", "x2y9", "x10"]
    for value, name in enumerate(sorted(names)):
        fill(tmp_path / name, range(10 * value, 10 * value + 10))
    data = read(tmp_path)
    assert data.classes == ("001", *map(str, range(1, 13)), "-1", "a", "a0", "x2y9", "x2y10", "x10")
    order = colours(data.validation) + colours(data.test) + colours(data.train)
    assert order == np.random.RandomState(SPLIT_SEED).permutation(190).tolist()
    assert [sorted(names)[value // 10] for value in colours(data.test)] == [data.classes[n] for n in data.test.labels]


def test_classes_that_one_side_lacks_are_reported(tmp_path):
    for name in ("train/a", "train/b", "train/c", "test/b", "test/d"):
        fill(tmp_path / name, range(10))
    notes = (
        "only test images show class d, which no cluster can be named after",
        "only training images show classes a, c",
    )
    assert read(tmp_path, *notes).classes == ("a", "b", "c", "d")


DEEPER = {  # where a class of two, or pictures without one, lie; what is read, and whether it is for training
    "one level": "mydigits/{}",
    "two levels": "mydigits/mydigits/{}",
    "a level above the parts": "mydigits/train/{} mydigits/test/{}",
    "a level in each part": "train/images/{} val/images/{}",
    "parts within themselves": "train/train/{} test1/test1/{}",
}


@pytest.mark.parametrize("places", DEEPER.values(), ids=DEEPER)
def test_an_archives_extra_level_is_looked_through_and_what_else_it_holds_left_out(tmp_path, places):
    for place in places.split():
        fill(tmp_path / place.format("a"), range(10))
        fill(tmp_path / place.format("b"), range(10, 20))
    extra = (tmp_path / places.split()[0].format("a")).parent
    (extra.parent / "README.txt").touch()
    save(tmp_path / "__MACOSX/mydigits/a/x.png", size=(9, 9))
    notes: list[str] = []
    data = read_folder(tmp_path, notes.append)
    assert data.classes == ("a", "b")
    assert len(data.train) in (14, 18)
    assert data.name == tmp_path.name
    assert any(f"reads {extra}" in note for note in notes) or "mydigits/train" in places
    assert any("folders without an image" in note and "__MACOSX" in note for note in notes)
    assert any("README.txt" in note for note in notes) or "mydigits/train" in places
    assert data.record()["left_out"] >= 1


@pytest.mark.parametrize("name", ["images/train", "train/train", "train/images"])
def test_folders_whose_names_say_nothing_of_their_pictures_are_no_classes(tmp_path, name):
    fill(tmp_path / name, range(20))
    fill(tmp_path / name.replace("train", "test"), range(20, 22))
    notes: list[str] = []
    data = read_folder(tmp_path, notes.append)
    assert len(notes) == (1 if name.startswith("images") else 2)
    assert data.classes == ()
    assert len(data.test) == 2


def test_pictures_without_sub_folders_have_no_labels(tmp_path):
    fill(tmp_path, range(10))
    data = read_folder(tmp_path, pytest.fail)
    assert data.classes == ()
    assert data.record()["classes"] == 0
    assert data.train.labels is data.train[:2].labels is data.test.labels is None


def test_one_class_is_enough(tmp_path):
    fill(tmp_path / "only", range(10))
    assert read_folder(tmp_path, pytest.fail).classes == ("only",)


def test_the_checksum_sees_every_pixel_and_every_label(tmp_path):
    checksums = set()
    for name, last in (("as it is", "a/009.png"), ("label", "b/009.png")):
        fill(tmp_path / name / "a", range(9))
        save(tmp_path / name / last, 9)
        checksums.add(read_folder(tmp_path / name, pytest.fail).sha256)
    save(tmp_path / "label/b/009.png", 10)
    checksums.add(read_folder(tmp_path / "label", pytest.fail).sha256)
    (tmp_path / "label").rename(tmp_path / "moved")
    checksums.add(read_folder(tmp_path / "moved", pytest.fail).sha256)
    assert len(checksums) == 3


@pytest.mark.parametrize("suffix", sorted(SUFFIXES | {".PNG"}))
def test_every_format_is_read(tmp_path, suffix):
    for value in range(10):
        save(tmp_path / f"{value}{suffix}", 255)
    assert colours(read_folder(tmp_path, pytest.fail).test) == [255, 255]


MODES = {  # how a picture is stored, and the channels it is read with
    "1": (1, [255]),
    "L": (100, [100]),
    "P": (100, [100]),
    "RGB": ((10, 20, 30), [10, 20, 30]),
    "LA": ((100, 255), [100]),
    "RGBA": ((10, 20, 30, 255), [10, 20, 30]),
    "CMYK": ((255, 0, 0, 0), [0, 255, 255]),
}


@pytest.mark.parametrize(("mode", "stored", "read"), [(mode, *values) for mode, values in MODES.items()])
def test_every_kind_of_picture_is_read_as_grey_or_rgb(tmp_path, mode, stored, read):
    picture = Image.new(mode, (5, 4), stored)
    if mode == "P":
        picture.putpalette([value for value in range(256) for _ in range(3)])
    for place in range(10):
        picture.save(tmp_path / f"{place}.tif")
    images = read_folder(tmp_path, pytest.fail, form=None).train
    assert images.image_shape == (len(read), 4, 5)
    assert images.pixels[0, :, 0, 0].tolist() == read


def test_grey_pictures_among_coloured_ones_become_rgb(tmp_path):
    fill(tmp_path, range(9))
    picture = Image.new("RGB", (5, 4), (200, 200, 200))
    picture.putpixel((0, 0), (200, 201, 200))
    picture.save(tmp_path / "colour.png")
    data = read(tmp_path, form=None)
    everything = np.concatenate([part.pixels for part in (data.train, data.validation, data.test)])
    assert everything.shape == (10, 3, 4, 5)
    assert sorted(everything[:, 2, 3, 4].tolist()) == [*range(9), 200]


@pytest.mark.parametrize("mode", ["P", "RGB", "RGBA"])
def test_pictures_without_colour_are_grey_however_they_are_stored(tmp_path, mode):
    fill(tmp_path, range(9))
    Image.new("L", (5, 4), 200).convert(mode).save(tmp_path / "x.png")
    assert read(tmp_path).train.image_shape == (1, 4, 5)


TALL = np.arange(12, dtype=np.uint8).reshape(4, 3) * 20
UPRIGHT = {  # EXIF orientation: how the stored pixels are turned to stand upright (Exif 2.3, tag 274)
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).T,
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp"])
def test_pictures_are_read_upright(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if suffix == "webp" else {"quality": 100} if suffix == "jpg" else {}
    for place in range(10):
        Image.fromarray(TALL).save(tmp_path / f"{place}.{suffix}", exif=exif, **lossless)
    difference = read(tmp_path).train.pixels[0, 0] - UPRIGHT[orientation](TALL).astype(int)
    assert np.abs(difference).max() <= (3 if suffix == "jpg" else 0)


def test_one_size_is_one_to_the_eye(tmp_path):
    fill(tmp_path, range(9))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (4, 5)).save(tmp_path / "x.png", exif=exif)
    assert read(tmp_path).train.image_shape == (1, 4, 5)
    Image.new("L", (5, 4)).save(tmp_path / "x.png", exif=exif)
    assert read(tmp_path, "brings 10 of 4 x 4 to 5 x 5 pixels to 28 x 28").train.image_shape == (1, 28, 28)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_read_with_eight_and_reported(tmp_path, suffix):
    for value in range(9):
        save(tmp_path / f"{value}.png", value)
    stored = np.array([[0, 128, 129, 65535], [257, 385, 386, 32896]], np.uint16).repeat(2, 0)
    (tmp_path / "0.png").unlink()
    for name in (f"0.{suffix}", f"x.{suffix}"):
        Image.fromarray(np.pad(stored, ((0, 0), (0, 1)))).save(tmp_path / name)
    data = read(tmp_path, f"stored with 16 bits and read with 8, 65535 being white: {tmp_path}/0.{suffix} and 1 more")
    assert data.record()["sixteen_bit"] == 2
    everything = np.concatenate([part.pixels for part in (data.train, data.validation, data.test)])
    (found, *_) = (image for image in everything[:, 0] if image.max() == 255)
    assert found.tolist() == np.pad(np.array([[0, 0, 1, 255], [1, 1, 2, 128]]).repeat(2, 0), ((0, 0), (0, 1))).tolist()


def test_big_endian_tiff_files_of_sixteen_bits_are_read(tmp_path):
    for place in range(10):
        Image.fromarray(np.full((4, 5), 257 * 7, ">u2")).save(tmp_path / f"{place}.tif")
    assert colours(read(tmp_path, "16 bits").test) == [7, 7]


def test_a_phones_photo_with_a_preview_in_it_is_one_picture(tmp_path):
    photo, preview = Image.new("RGB", (5, 4), (90, 9, 9)), Image.new("RGB", (2, 2))
    for place in range(10):
        photo.save(tmp_path / f"{place}.jpg", "MPO", save_all=True, append_images=[preview])
    assert read(tmp_path, form=None).train.image_shape == (3, 4, 5)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("size", "counts"), [((33, 31), (40, 12)), ((4, 60), (10, 1))])
def test_four_idx_files_of_any_size_count_and_labels(tmp_path, size, counts, packed):
    random = np.random.RandomState(0)
    for stem, dimensions in IDX_FILES.items():
        count = counts[stem.startswith("t10k")]
        values = random.randint(0, 256, (count, *size)) if dimensions == 3 else 3 + 5 * (np.arange(count) % 3)
        write_idx(tmp_path / stem, values.astype(np.uint8), packed)
    data = read(tmp_path, *["only training images show classes 8, 13, so how well these"] * (counts[1] == 1))
    assert data.classes == ("3", "8", "13")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [
        counts[0] - counts[0] // 10,
        counts[0] // 10,
        counts[1],
    ]
    assert data.test.image_shape == (1, *size)
    assert set(data.train.labels.tolist()) == {0, 1, 2}


def write_idx(path: Path, values: np.ndarray, packed: bool = False) -> None:
    content = struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()
    path.with_name(path.name + ".gz" * packed).write_bytes(gzip.compress(content) if packed else content)


IDX_LAYOUTS = {  # where people have MNIST's four files: by stem, with {} for its beginning and its end
    "kaggle": "{0}idx{1}-ubyte/{0}idx{1}-ubyte",
    "dots": "{}idx{}-ubyte",
    "a dot": "mnist/{}idx{}.ubyte",
    "as torchvision leaves them": "MNIST/raw/{}idx{}-ubyte",
    "upper case": "{}IDX{}-UBYTE",
    "gzipped in name only": "{}idx{}-ubyte.gz",
}


@pytest.mark.parametrize("layout", IDX_LAYOUTS)
def test_idx_files_are_found_as_people_have_them(tmp_path, layout):
    for stem, dimensions in IDX_FILES.items():
        beginning, end = stem.split("idx")
        name = IDX_LAYOUTS[layout].format(beginning[:-1] + "." if layout == "dots" else beginning, end[0])
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_idx(
            tmp_path / name,
            np.arange(20 * 12 if dimensions == 3 else 20, dtype=np.uint8).reshape(20, *(3, 4)[: dimensions - 1]),
        )
    notes: list[str] = []
    data = read_folder(tmp_path, notes.append)
    assert len(notes) == ("/" in IDX_LAYOUTS[layout] and layout != "kaggle" and layout == "as torchvision leaves them")
    assert data.train.image_shape == (1, 3, 4)
    assert sorted(data.test.pixels[:, 0, 0, 0].tolist()) == [12 * place for place in range(20)]


def test_images_and_labels_may_lie_in_folders_of_their_own_and_be_gzipped_twice(tmp_path):
    for stem, dimensions in IDX_FILES.items():
        place = tmp_path / ("images" if dimensions == 3 else "labels")
        place.mkdir(exist_ok=True)
        write_idx(place / stem, np.zeros((20, 3, 4)[:dimensions], np.uint8), packed=True)
        (file,) = place.glob(f"{stem}*")
        file.write_bytes(gzip.compress(file.read_bytes()))
    assert len(read(tmp_path).test) == 20


def emnist(folder: Path, name: str) -> np.ndarray:
    """Four files as EMNIST has them, and the upright test images."""
    folder.mkdir(parents=True, exist_ok=True)
    upright = np.random.RandomState(0).randint(0, 256, (26, 3, 4)).astype(np.uint8)
    for part in ("train", "test"):
        write_idx(folder / f"emnist-{name}-{part}-images-idx3-ubyte", upright.transpose(0, 2, 1), packed=True)
        write_idx(folder / f"emnist-{name}-{part}-labels-idx1-ubyte", np.arange(1, 27, dtype=np.uint8), packed=True)
    return upright


def test_the_letters_of_emnist_are_turned_upright_and_begin_with_label_one(tmp_path):
    upright = emnist(tmp_path, "letters")
    data = read(tmp_path, "EMNIST stores its images with rows and columns exchanged")
    assert data.classes == tuple(map(str, range(1, 27)))
    assert data.test.image_shape == (1, 3, 4)
    assert np.array_equal(data.test.pixels[:, 0], upright[data.test.labels])
    assert data.record()["transposed"] is True


def test_several_data_sets_in_one_folder_are_named(tmp_path):
    emnist(tmp_path, "letters")
    emnist(tmp_path, "digits")
    assert f"{tmp_path} holds several data sets, emnist-digits, emnist-letters; put the four" in refusal(tmp_path)
    for name in ("mnist", "fashion"):
        (tmp_path / "all" / name).mkdir(parents=True)
        for stem, dimensions in IDX_FILES.items():
            write_idx(tmp_path / "all" / name / stem, np.zeros((20, 3, 4)[:dimensions], np.uint8))
    assert "holds several data sets, fashion/, mnist/; put the four" in refusal(tmp_path / "all")


def test_idx_files_that_do_not_fit_together_are_refused(tmp_path):
    arrays = dict(zip(IDX_FILES, (np.zeros((20, 3, 4)), np.zeros(20), np.zeros((5, 3, 4)), np.zeros(5)), strict=True))
    for stem, values in arrays.items():
        write_idx(tmp_path / stem, values.astype(np.uint8))
    assert read_folder(tmp_path, pytest.fail).classes == ("0",)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(19, np.uint8))
    assert "train-images-idx3-ubyte holds 20 images and" in refusal(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(20, np.uint8))
    write_idx(tmp_path / "t10k-images-idx3-ubyte", np.zeros((5, 4, 3), np.uint8))
    assert "is 4 x 3 pixels and" in refusal(tmp_path)
    write_idx(tmp_path / "t10k-images-idx3-ubyte", np.zeros((0, 3, 4), np.uint8))
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.zeros(0, np.uint8))
    assert "holds 0 images" in refusal(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    assert "but no t10k-labels-idx1-ubyte" in refusal(tmp_path)


def test_hidden_files_are_ignored_and_other_files_are_left_out_aloud(tmp_path):
    fill(tmp_path / "a", range(10))
    save(tmp_path / ".hidden/x.png", size=(1, 1))
    (tmp_path / "a/.DS_Store").write_bytes(b"")
    assert len(read_folder(tmp_path, pytest.fail).train) == 7
    (tmp_path / "README.txt").write_text("")
    (tmp_path / "a/notes.csv").write_text("")
    notes = []
    assert len(read_folder(tmp_path, notes.append).train) == 7
    assert len(notes) == 1
    assert f"{tmp_path}/README.txt and 1 more" in notes[0]


def bomb(path: Path, side: int) -> None:
    """A PNG file of a few bytes that says it has side x side pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 9) + b"IDAT")


def animation(path: Path) -> None:
    frames = [Image.new("L", (5, 4), value) for value in (0, 255)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def transparent(path: Path) -> None:
    Image.new("RGBA", (5, 4), (1, 2, 3, 4)).save(path)


def transparent_palette(path: Path) -> None:
    Image.new("L", (5, 4), 3).convert("P").save(path, transparency=3)


def truncated(path: Path) -> None:
    Image.fromarray(np.random.RandomState(0).randint(0, 255, (4, 5), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:60])


STRAYS = {  # one file beside nine good ones: how it is made, and what the sentence says besides its name
    "empty": (lambda path: path.write_bytes(b""), "is not an image"),
    "text": (lambda path: path.write_text("not an image"), "is not an image"),
    "truncated": (truncated, "cannot read"),
    "floats": (lambda path: Image.new("F", (5, 4), 0.5).save(path, "TIFF"), "is stored as F; save it with 8 bits"),
    "16 bits and colour": (
        lambda path: path.write_bytes(b"P6 5 4 65535\n" + bytes(5 * 4 * 3 * 2)),
        "has more than 8 bits per channel",
    ),
    "a bomb": (lambda path: bomb(path, 60_000), "has [0-9,]+ pixels, more than the [0-9,]+ that"),
    "half a bomb": (lambda path: bomb(path, 10_000), "has [0-9,]+ pixels, more than the [0-9,]+ that"),
    "an animation": (animation, "holds several pictures"),
    "a pipe": (os.mkfifo, "is not a file"),
    "a broken link": (lambda path: path.symlink_to("nowhere"), "is not a file"),
    "a link to itself": (lambda path: path.symlink_to(path), "is not a file|cannot read"),
}


@pytest.mark.parametrize(("make", "words"), STRAYS.values(), ids=STRAYS)
def test_a_file_that_cannot_be_used_is_named(tmp_path, make, words):
    fill(tmp_path, range(9))
    make(tmp_path / "x.png")
    for form in (Form(), None):
        sentence = refusal(tmp_path, form)
        assert f"{tmp_path}/x.png" in sentence
        assert re.search(words, sentence)


@pytest.mark.parametrize("make", [transparent, transparent_palette])
def test_transparent_pixels_are_refused_where_pictures_stay_as_they_are(tmp_path, make):
    fill(tmp_path, range(9))
    make(tmp_path / "x.png")
    assert f"{tmp_path}/x.png has transparent pixels" in refusal(tmp_path, None)


@pytest.mark.parametrize(("level", "ground", "name"), [(20, 255, "white"), (230, 0, "black")])
def test_transparent_pictures_are_laid_on_what_they_stand_out_from(tmp_path, level, ground, name):
    fill(tmp_path, range(100, 109))
    picture = np.full((4, 5, 2), level, np.uint8)
    picture[:, 2:, 1], picture[:, :2, 1] = 0, 255
    Image.fromarray(picture).save(tmp_path / "x.png")
    data = read(tmp_path, f"of 10 pictures, lays 1 with transparent pixels on {name}")
    everything = np.concatenate([part.pixels for part in (data.train, data.validation, data.test)])
    assert [level, level, ground, ground, ground] in everything[:, 0, 0].tolist()
    assert data.record()["brought_to_one"]["made_opaque"] == 1


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
def test_pictures_of_several_sizes_become_squares(tmp_path, fit):
    fill(tmp_path, range(10, 20), size=(20, 20))
    wide = np.full((10, 20), 200, np.uint8)
    wide[(0, -1), :] = wide[:, (0, -1)] = 9  # the colour of the margins
    Image.fromarray(wide).save(tmp_path / "wide.png")
    data = read(tmp_path, f"brings 11 of 20 x 10 to 20 x 20 pixels to 32 x 32 (--size) by {fit}", form=Form(32, fit))
    pixels, files = (np.concatenate([getattr(part, key) for part in parts_of(data)]) for key in ("pixels", "files"))
    assert pixels.shape == (11, 1, 32, 32)
    found = pixels[files == "wide.png"][0, 0]
    if fit == "pad":
        assert np.unique(found[[*range(8), *range(24, 32)]]).tolist() == [9]
    else:
        assert (found[16, 0] == 200) == (fit == "crop")  # which leaves out the margins at the sides
    assert found[16, 16] == 200
    assert data.record()["brought_to_one"] == {
        **{"width": 32, "height": 32, "fit": fit, "rgb": False},
        **{"resized": 11, "made_grey": 0, "made_opaque": 0},
    }


def parts_of(data) -> tuple:
    return data.train, data.validation, data.test


@pytest.mark.parametrize(("sides", "side"), [((5, 9), 28), ((30, 42), 36), ((200, 300), 64)])
def test_the_size_follows_from_those_of_the_pictures(tmp_path, sides, side):
    for place in range(10):
        save(tmp_path / f"{place}.png", place, (sides[place % 2],) * 2)
    assert read(tmp_path, "of 10 pictures, brings").train.image_shape == (1, side, side)


def test_every_file_stands_beside_its_picture(tmp_path):
    fill(tmp_path / "mine/a", range(20))
    fill(tmp_path / "mine/b", range(20, 50))
    for part in parts_of(read(tmp_path / "mine")):
        expected = [f"{'a' if value < 20 else 'b'}/{value:03}.png" for value in colours(part)]
        assert part.files.tolist() == expected


def test_nested_pictures_are_read_without_classes_where_asked_for(tmp_path):
    for value, place in enumerate(("a/b/c", "a", "", "b", "__MACOSX", ".hidden")):
        fill(tmp_path / place, range(10 * value, 10 * value + 10))
    data = read(tmp_path, form=Form(recursive=True))
    assert data.classes == ()
    assert sorted(value for part in parts_of(data) for value in colours(part)) == [*range(40)]
    assert sorted(file for part in parts_of(data) for file in part.files)[::10] == [
        *("020.png", "a/010.png", "a/b/c/000.png", "b/030.png")
    ]


@pytest.mark.parametrize(("spread", "channels"), [(3, 1), (90, 3)])
def test_colour_is_kept_where_it_matters(tmp_path, spread, channels):
    random = np.random.RandomState(0)
    for place in range(10):
        light = random.randint(90, 160, (6, 6, 1))
        Image.fromarray((light + random.randint(-spread, spread + 1, (6, 6, 3))).astype(np.uint8)).save(
            tmp_path / f"{place}.png"
        )
    words = ["reads 10 of colour in grey"] if channels == 1 else []
    assert read(tmp_path, *words).train.image_shape[0] == channels
    assert read(tmp_path, form=Form(colour="rgb")).train.image_shape[0] == 3
    grey = read(tmp_path, "reads 10 of colour in grey", form=Form(colour="grey")).train
    assert grey.image_shape[0] == 1


def test_idx_files_are_of_one_size_and_mode_already(tmp_path):
    for stem in IDX_FILES:
        (tmp_path / stem).touch()
    assert "idx files, of one size and grey; leave out --size" in refusal(tmp_path, Form(size=20))


LAYOUTS = {  # pictures, and what the sentence says
    "none": ([], "holds no image"),
    "too few": ([f"a/{place}.png" for place in range(9)], "has 9 images to train on"),
    "too few to cut from": (["train/0.png", "test/0.png"], "has 1 images to train on"),
    "no test": (["train/a/0.png"], "has train but no test; add it, or give /.*/train"),
    "no train": (["test/a/0.png"], "has test but no train"),
    "no train, but validation": (["val/a/0.png"], "has val but no train; add it, or give /.*/val"),
    "a part twice": (["train/0.png", "Train/0.png", "test/0.png"], "Train and .*train both hold train images"),
    "a part of another name": (["train/0.png", "test/0.png", "more/0.png"], "more is none of train, validation, test"),
    "a test among the classes": (["a/0.png", "b/0.png", "test/0.png"], "a is none of train, validation, test, as test"),
    "a picture beside the parts": (["train/0.png", "test/0.png", "0.png"], "0.png is none of train, validation, test"),
    "a picture beside the classes": (["a/0.png", "0.png"], "0.png lies beside the folder a"),
    "too deep": (["a/b/0.png", "c/0.png"], "b is a folder inside the class a; move it out of there, or give /.*/a if"),
    "labels in one part only": (
        ["train/a/0.png", "test/0.png"],
        "test/0.png lies in no class and others do; put it into a folder of its class, or give /.*/train alone",
    ),
}


@pytest.mark.parametrize(("pictures", "words"), LAYOUTS.values(), ids=LAYOUTS)
def test_a_layout_that_means_nothing_is_refused(tmp_path, pictures, words):
    for picture in pictures:
        save(tmp_path / picture)
    with pytest.raises(DataError, match=words):
        read_folder(tmp_path, pytest.fail)


def test_what_programs_leave_in_folders_and_a_class_without_a_picture_are_left_out(tmp_path):
    fill(tmp_path / "a", range(10))
    (tmp_path / "b").mkdir()
    (tmp_path / "loop").symlink_to("b")
    save(tmp_path / "@eaDir/a/000.png", size=(9, 9))
    for name in (".DS_Store", "._000.png", "Thumbs.db", "desktop.ini"):
        (tmp_path / "a" / name).write_bytes(b"")
    data = read(
        tmp_path, "a/Thumbs.db and 1 more", f"left out, as folders without an image: {tmp_path}/@eaDir and 2 more"
    )
    assert data.classes == ("a",)
    assert data.record()["left_out"] == 5


@pytest.mark.parametrize("suffix", [".heic", ".AVIF", ".jxl"])
def test_a_picture_of_a_kind_that_is_not_read_is_refused_and_not_left_out(tmp_path, suffix):
    fill(tmp_path, range(10))
    (tmp_path / f"x{suffix}").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    assert f"x{suffix} is " in refusal(tmp_path)


def test_a_class_whose_name_cannot_be_written_down_is_refused(tmp_path):
    fill(tmp_path / "a\udcff", range(10))
    assert "is not UTF-8 and cannot be recorded; rename the folder" in refusal(tmp_path)


@pytest.mark.parametrize("place", ["loop", "a/loop", "train/loop"])
def test_a_loop_of_links_does_not_hang(tmp_path, place):
    fill(tmp_path / "a", range(10))
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).symlink_to(tmp_path)
    with pytest.raises(DataError):
        read_folder(tmp_path, lambda sentence: None)


def test_more_than_memory_is_refused_when_one_picture_has_been_read(tmp_path, monkeypatch):
    fill(tmp_path, range(10))
    seen: list[Path] = []
    monkeypatch.setattr(module, "read_picture", lambda file: seen.append(file) or read_picture(file))
    monkeypatch.setattr(memory, "available", lambda: memory.COPIES * 200 - 1)
    assert f"images of {tmp_path} need about" in refusal(tmp_path)
    assert len(seen) == 0  # the sizes are known before
    monkeypatch.setattr(memory, "available", lambda: memory.COPIES * 200 - 1)
    assert f"images of {tmp_path} need about" in refusal(tmp_path, None)
    assert len(seen) == 1
