"""Pictures of several sizes as a data set: the user's own, and those that come with scikit-image and scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
from data.test_folder import save
from PIL import Image

from bs6207.data import photos as module
from bs6207.data.folder import WHOLE, read_folder
from bs6207.data.form import Form
from bs6207.data.images import Photographs, sha256_of, shuffled
from bs6207.data.photos import TEST, TRAIN, VALIDATION, photos
from bs6207.data.sources import load, require_data
from bs6207.errors import DataError

EVERY = TRAIN + VALIDATION + TEST


def save_pictures(folder, count=40):
    """Pictures of different sizes: PNG and JPEG, grey and in colour, some of them taken upright."""
    random = np.random.RandomState(0)
    folder.mkdir()
    for place in range(count):
        height, width = (int(side) for side in random.randint(20, 60, 2))
        pixels = random.randint(0, 256, (height, width) if place % 4 == 1 else (height, width, 3), np.uint8)
        exif = Image.Exif()
        if place % 5 == 2:
            exif[0x0112] = 6
        Image.fromarray(pixels).save(folder / f"{place:02}.{('png', 'jpg')[place % 2]}", exif=exif)


def test_pictures_of_several_sizes_are_split_by_picture_and_stay_in_eight_bits(tmp_path):
    save_pictures(tmp_path / "mine")
    data = read_folder(tmp_path / "mine", pytest.fail, None)
    parts = (data.train, data.validation, data.test)
    assert [len(part) for part in parts] == [28, 4, 8]
    assert all(isinstance(part, Photographs) and part.labels is None for part in parts)
    pictures = [picture for part in parts for picture in part.pixels]
    assert {(picture.dtype, len(picture)) for picture in pictures} == {(np.dtype(np.uint8), 3)}
    assert len({picture.tobytes() for picture in pictures}) == 40
    assert len({picture.shape for picture in pictures}) > 30
    assert all(picture.flags.writeable and picture.flags.c_contiguous for picture in pictures)  # as torch wants them
    assert data.record()["photographs"] is True
    again = read_folder(tmp_path / "mine", pytest.fail, None)
    assert all(np.array_equal(*pair) for pair in zip(data.test.pixels, again.test.pixels, strict=True))


def test_a_portrait_is_upright(tmp_path):
    save_pictures(tmp_path / "mine")
    data = read_folder(tmp_path / "mine", pytest.fail, None)
    with Image.open(tmp_path / "mine/02.png") as image:
        stored = np.asarray(image)
    upright = np.rot90(stored, -1).transpose(2, 0, 1)
    pictures = [picture for part in (data.train, data.validation, data.test) for picture in part.pixels]
    assert any(np.array_equal(upright, picture) for picture in pictures)


def test_a_broken_file_among_them_is_named_in_one_sentence(tmp_path):
    save_pictures(tmp_path / "mine")
    (tmp_path / "mine/17.jpg").write_bytes((tmp_path / "mine/17.jpg").read_bytes()[:300])
    with pytest.raises(DataError, match=r"mine/17.jpg.*; ") as refused:
        read_folder(tmp_path / "mine", pytest.fail, None)
    assert "\n" not in str(refused.value)


def test_pictures_of_one_size_are_photographs_beyond_what_is_trained_on_whole(tmp_path):
    for side, kind in ((WHOLE, False), (WHOLE + 1, True)):
        for place in range(10):
            save(tmp_path / f"{side}/{place}.png", place, (side, side))
        data = read_folder(tmp_path / str(side), pytest.fail, None)
        assert isinstance(data.train, Photographs) == kind
        assert not isinstance(read_folder(tmp_path / str(side), pytest.fail, Form()).train, Photographs)


def test_photos_are_refused_where_one_size_is_needed():
    with pytest.raises(DataError, match="several sizes; use them with bs6207 deblur"):
        load("photos", pytest.fail)


def test_the_checksum_sees_every_pixel_and_every_size():
    flat = np.zeros((1, 4, 6), np.uint8)
    sets = [Photographs.of([picture]) for picture in (flat, flat.reshape(1, 6, 4), flat + np.uint8(1))]
    assert len({sha256_of(*one.arrays) for one in sets}) == 3


def test_photographs_are_chosen_and_shuffled_as_images_are():
    pictures = Photographs.of([np.full((1, side, 9), side, np.uint8) for side in range(7, 17)])
    assert len(pictures[2:5]) == 3
    assert isinstance(pictures[2:5], Photographs)
    assert sorted(one.shape[1] for one in shuffled(pictures).pixels) == [*range(7, 17)]
    assert pictures.image_shape == (1, 7, 9)
    assert [batch.shape for batch in pictures[:2].batches] == [(1, 1, 7, 9), (1, 1, 8, 9)]


def test_the_photos_that_come_with_packages_are_in_one_part_each_and_free_to_use():
    data = photos()
    assert [len(part) for part in (data.train, data.validation, data.test)] == [len(TRAIN), len(VALIDATION), len(TEST)]
    assert len({photo.file for photo in EVERY}) == len(EVERY) == 12
    assert {photo.licence for photo in TRAIN + VALIDATION} == {"CC0", "public domain"}
    assert all(photo.source for photo in EVERY)
    assert all(len(picture) == 3 for part in (data.train, data.validation, data.test) for picture in part.pixels)
    require_data("photos", data.sha256, any_size=True)


def test_the_pages_of_scikit_image_say_that_they_are_free_to_use():
    from skimage import data

    names = {"chelsea": "cat"}
    for photo in TRAIN + VALIDATION:
        stem = photo.file.removeprefix("data/").split(".")[0]
        page = " ".join(getattr(data, names.get(stem, stem)).__doc__.split())
        assert {"CC0": "CC0", "public domain": "public domain"}[photo.licence] in page


def test_every_photo_has_a_row_with_its_licence_and_source_in_the_readme():
    text = (Path(module.__file__).parent / "README.md").read_text()
    for part, photos_of_part in (("training", TRAIN), ("validation", VALIDATION), ("test", TEST)):
        for photo in photos_of_part:
            assert f"| {part} | {photo.package}/{photo.file} | {photo.licence} | {photo.source} |" in text


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="photos needs the package skimage; run pip install"):
        photos()
