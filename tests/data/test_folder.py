"""Folders of the user's own: read as they lie, split alike every time, refused in one sentence otherwise."""

import gzip
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bs6207.data import folder as module
from bs6207.data import memory
from bs6207.data.folder import SUFFIXES, read_folder
from bs6207.data.images import SPLIT_SEED
from bs6207.data.sources import IDX_FILES
from bs6207.errors import DataError


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


def refusal(folder: Path) -> str:
    """The sentence with which a folder is refused."""
    with pytest.raises(DataError) as refused:
        read_folder(folder, pytest.fail)
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
    dealt = colours(data.validation) + colours(data.test) + colours(data.train)
    assert dealt == by_name[np.random.RandomState(SPLIT_SEED).permutation(100)].tolist()
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
        "image_shape": [1, 4, 5],
        "sha256": data.sha256,
    }
    assert data.given_as == str(tmp_path / "mine")


def test_train_and_test_are_the_split_and_a_tenth_of_train_is_for_validation(tmp_path):
    fill(tmp_path / "train/x", range(20))
    fill(tmp_path / "train/y", range(20, 30))
    fill(tmp_path / "test/y", range(30, 60))
    data = read_folder(tmp_path, pytest.fail)
    assert sorted(colours(data.train) + colours(data.validation)) == list(range(30))
    assert len(data.validation) == 3
    assert sorted(colours(data.test)) == list(range(30, 60)) != colours(data.test)
    assert data.test.labels.tolist() == [1] * 30
    save(tmp_path / "test/y/059.png", 61)
    assert read_folder(tmp_path, pytest.fail).sha256 != data.sha256


def test_a_validation_folder_is_used_and_small_parts_are_then_no_fault(tmp_path):
    for value, part in enumerate(("test", "train", "validation")):
        fill(tmp_path / part, range(value, value + 1))
    data = read_folder(tmp_path, pytest.fail)
    assert [colours(part) for part in (data.train, data.validation, data.test)] == [[1], [2], [0]]


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
    "P": (100, [100, 100, 100]),
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
    images = read_folder(tmp_path, pytest.fail).train
    assert images.image_shape == (len(read), 4, 5)
    assert images.pixels[0, :, 0, 0].tolist() == read


def test_grey_pictures_among_coloured_ones_become_rgb(tmp_path):
    fill(tmp_path, range(9))
    save(tmp_path / "colour.png", 200, mode="RGB")
    data = read_folder(tmp_path, pytest.fail)
    everything = np.concatenate([part.pixels for part in (data.train, data.validation, data.test)])
    assert everything.shape == (10, 3, 4, 5)
    assert sorted(everything[:, 2, 3, 4].tolist()) == [*range(9), 200]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("size", "counts"), [((33, 31), (40, 12)), ((4, 60), (10, 1))])
def test_four_idx_files_of_any_size_count_and_labels(tmp_path, size, counts, packed):
    random = np.random.RandomState(0)
    for stem, dimensions in IDX_FILES.items():
        count = counts[stem.startswith("t10k")]
        values = random.randint(0, 256, (count, *size)) if dimensions == 3 else 3 + 5 * (np.arange(count) % 3)
        write_idx(tmp_path / stem, values.astype(np.uint8), packed)
    data = read_folder(tmp_path, pytest.fail)
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
    "another size": (lambda path: save(path, size=(4, 5)), r"000.png is 5 x 4 pixels and .* is 4 x 5"),
    "empty": (lambda path: path.write_bytes(b""), "is not an image"),
    "text": (lambda path: path.write_text("not an image"), "is not an image"),
    "truncated": (truncated, "cannot read"),
    "16 bits": (lambda path: Image.new("I;16", (5, 4), 999).save(path), "is stored as I;16; save it with 8 bits"),
    "16 bits and colour": (
        lambda path: path.write_bytes(b"P6 5 4 65535\n" + bytes(5 * 4 * 3 * 2)),
        "has more than 8 bits per channel",
    ),
    "transparent": (transparent, "has transparent pixels"),
    "transparent palette": (transparent_palette, "has transparent pixels"),
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
    sentence = refusal(tmp_path)
    assert f"{tmp_path}/x.png" in sentence
    assert re.search(words, sentence)


LAYOUTS = {  # pictures, and what the sentence says
    "none": ([], "holds no image"),
    "too few": ([f"a/{place}.png" for place in range(9)], "has 9 images to learn from"),
    "too few to cut from": (["train/0.png", "test/0.png"], "has 1 images to learn from"),
    "no test": (["train/a/0.png"], "has train but no test; add it, or give /.*/train"),
    "no train": (["test/a/0.png"], "has test but no train"),
    "a part of another name": (["train/0.png", "test/0.png", "val/0.png"], "val is none of train, validation, test"),
    "a picture beside the parts": (["train/0.png", "test/0.png", "0.png"], "0.png is none of train, validation, test"),
    "a picture beside the classes": (["a/0.png", "0.png"], "0.png lies beside the folder a"),
    "too deep": (["a/b/0.png"], "b is a folder inside a class"),
    "labels in one part only": (["train/a/0.png", "test/0.png"], "test/0.png lies in no class"),
}


@pytest.mark.parametrize(("pictures", "words"), LAYOUTS.values(), ids=LAYOUTS)
def test_a_layout_that_means_nothing_is_refused(tmp_path, pictures, words):
    for picture in pictures:
        save(tmp_path / picture)
    with pytest.raises(DataError, match=words):
        read_folder(tmp_path, pytest.fail)


def test_a_class_without_a_picture_is_refused(tmp_path):
    fill(tmp_path / "a", range(10))
    (tmp_path / "b").mkdir()
    assert "b holds no image" in refusal(tmp_path)


def test_a_class_whose_name_cannot_be_written_down_is_refused(tmp_path):
    fill(tmp_path / "a\udcff", range(10))
    assert "is not UTF-8 and cannot be recorded; rename the folder" in refusal(tmp_path)


@pytest.mark.parametrize("place", ["loop", "a/loop", "train/loop"])
def test_a_loop_of_links_does_not_hang(tmp_path, place):
    fill(tmp_path / "a", range(10))
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).symlink_to(tmp_path)
    assert refusal(tmp_path)


def test_more_than_memory_is_refused_before_a_pixel_is_read(tmp_path, monkeypatch):
    fill(tmp_path, range(10))
    monkeypatch.setattr(module, "read_picture", pytest.fail)
    monkeypatch.setattr(memory, "memory", lambda: memory.COPIES * 200 - 1)
    assert f"images of {tmp_path} need about" in refusal(tmp_path)


def test_this_machine_says_how_much_memory_it_has():
    assert memory.memory() > 2**28
