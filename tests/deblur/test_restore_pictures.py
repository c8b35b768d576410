"""`bs6207 restore` on photographs: folders, what a camera writes beside the pixels, and restorers of other pictures."""

import re

import numpy as np
import pytest
import torch
from deblur.made_restorers import made
from deblur.test_restore import Listener, restore, seen
from PIL import Image
from skimage import data

from bs6207.data.pictures import Picture, read
from bs6207.data.sources import embedded_digits
from bs6207.deblur import model as models
from bs6207.deblur import restore as restoring
from bs6207.deblur.blur import blur_for_test
from bs6207.deblur.model import DRAWINGS, PHOTOGRAPHS, kinds_of, load
from bs6207.deblur.restore import doubts, restore_picture

pytestmark = pytest.mark.usefixtures("narrow")

ORIENTATION, MADE_BY, TAKEN, GPS, LATITUDE = 0x0112, 0x010F, 0x9003, 0x8825, 2
DIGITS = embedded_digits().test.unit_pixels[:40]
PHOTOS = {name: getattr(data, name)() for name in ("astronaut", "camera", "chelsea", "coffee", "rocket", "brick")}


@pytest.fixture
def model(tmp_path):
    return made(tmp_path / "model")


def of(tmp_path, pictures):
    return made(tmp_path / pictures, trained_on={"data": "some", "pictures": pictures})


def test_every_picture_of_a_folder_is_restored_in_the_order_of_names(model, tmp_path):
    (tmp_path / "album").mkdir()
    for place, size in enumerate([(9, 12), (20, 8), (7, 7)]):
        Image.new("L", size, 90).save(tmp_path / "album" / f"{place}.{('png', 'jpg', 'bmp')[place]}")
    (tmp_path / "album/more").mkdir()
    Image.new("L", (8, 8), 90).save(tmp_path / "album/more/0.png")
    (tmp_path / "album/more/loop").symlink_to(tmp_path / "album")
    (tmp_path / "album/notes.txt").write_text("no picture")
    (tmp_path / "album/.hidden.png").write_text("no picture")
    done = restore(model, tmp_path / "album")
    assert [row["file"] for row in done.rows] == [
        str(tmp_path / f"album/{n}") for n in ("0.png", "1.jpg", "2.bmp", "more/0.png")
    ]
    assert not done.failed
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"0.png", "0-2.png", "1.png", "2.png"}


def test_a_folder_without_a_picture_is_reported_and_costs_no_other(model, tmp_path):
    (tmp_path / "empty").mkdir()
    Image.new("L", (9, 9), 90).save(tmp_path / "good.png")
    done = restore(model, tmp_path / "empty", tmp_path / "good.png")
    assert len(done.rows) == 1
    assert "empty is a folder without a picture; give one" in done.failures[0]


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_what_the_camera_wrote_is_kept_but_for_the_orientation(model, tmp_path, suffix):
    exif = Image.Exif()
    exif[ORIENTATION], exif[MADE_BY] = 8, "a camera"
    exif.get_ifd(0x8769)[TAKEN] = "2026:11:30 06:00:00"
    exif.get_ifd(GPS)[LATITUDE] = (1.0, 21.0, 0.0)
    Image.fromarray(PHOTOS["coffee"][:40, :60]).save(tmp_path / f"my.{suffix}", exif=exif)
    (row,) = restore(model, tmp_path / f"my.{suffix}").rows
    written = seen(row["written"])
    kept = written.getexif()
    assert written.size == (40, 60)
    assert kept.get(ORIENTATION) is None
    assert kept[MADE_BY] == "a camera"
    if suffix == "tif":  # Pillow writes these two tables into no TIFF file
        return
    assert kept.get_ifd(0x8769)[TAKEN] == "2026:11:30 06:00:00"
    assert kept.get_ifd(GPS)[LATITUDE] == (1.0, 21.0, 0.0)


def test_what_describes_the_pixels_of_a_tiff_file_is_not_written_into_a_png_file(model, tmp_path):
    Image.fromarray(PHOTOS["camera"][:30, :50]).save(tmp_path / "my.tif", compression="tiff_lzw")
    (row,) = restore(model, tmp_path / "my.tif").rows
    assert not {256, 257, 259, 273, 279} & {*seen(row["written"]).getexif()}


@pytest.mark.parametrize("name", PHOTOS)
def test_photographs_are_no_drawings(name):
    pixels = np.atleast_3d(PHOTOS[name]).transpose(2, 0, 1)
    assert PHOTOGRAPHS in kinds_of(pixels)
    if name in ("chelsea", "coffee", "rocket", "brick"):
        assert kinds_of(pixels) == {PHOTOGRAPHS}


@pytest.mark.parametrize("sigma", [0.0, 1.0, 2.0, 3.0])
def test_digits_are_drawings_however_blurred(sigma):
    blurred = np.uint8(255 * blur_for_test(DIGITS, sigma, 0.01, 0))
    kinds = [kinds_of(image) for image in blurred]
    assert np.mean([DRAWINGS in one for one in kinds]) > 0.95
    if sigma == 0:
        assert np.mean([one == {DRAWINGS} for one in kinds]) > 0.9


def test_a_photograph_for_a_restorer_of_digits_is_refused_with_the_way_out_and_so_is_the_reverse(tmp_path):
    Image.fromarray(PHOTOS["chelsea"]).save(tmp_path / "cat.png")
    Image.fromarray(np.uint8(255 * DIGITS[0, 0])).save(tmp_path / "digit.png")
    for trained, wrong, right in ((DRAWINGS, "cat", "digit"), (PHOTOGRAPHS, "digit", "cat")):
        folder = of(tmp_path, trained)
        done = restore(folder, tmp_path / "cat.png", tmp_path / "digit.png")
        assert [row["file"] for row in done.rows] == [str(tmp_path / f"{right}.png")]
        ((reason),) = done.failures
        assert f"{wrong}.png looks like a" in reason
        assert f"trained on {trained} (some); give --model" in reason
        assert reason.endswith("or restore it with --anyway")
        assert len(restore(folder, tmp_path / "cat.png", tmp_path / "digit.png", anyway=True).rows) == 2


def test_a_restorer_whose_run_did_not_record_its_images_takes_all(model, tmp_path):
    Image.fromarray(PHOTOS["camera"][:50, :60]).save(tmp_path / "my.png")
    assert load(model).trained_on == {}
    assert restore(model, tmp_path / "my.png").rows


def test_a_restorer_of_images_that_are_neither_takes_all(tmp_path):
    Image.fromarray(PHOTOS["chelsea"][:60, :60]).save(tmp_path / "cat.png")
    Image.fromarray(np.uint8(255 * DIGITS[0, 0])).save(tmp_path / "digit.png")
    assert len(restore(of(tmp_path, "images"), tmp_path / "cat.png", tmp_path / "digit.png").rows) == 2


def test_a_restorer_of_photographs_need_not_lead_back_by_a_gaussian():
    reblur = {"sigma": 1.0, "reblur_psnr": 25.0, "reblur_snr": 9.0, "change": 0.02}
    assert "no Gaussian blur leads back" in " ".join(doubts(reblur, (0.2, 4.0)))
    assert doubts(reblur, (0.2, 4.0), is_gaussian=False) == []


@pytest.mark.parametrize("threads", [1, 3])
def test_tiles_on_every_core_give_the_pixels_of_one_pass(model, monkeypatch, threads):
    restorer, pixels = load(model), np.random.RandomState(0).randint(0, 256, (3, 150, 201), np.uint8)
    whole = restore_picture(restorer, Picture(pixels), 0.5).pixels  # one tile
    monkeypatch.setattr(models, "TILE", 64)
    monkeypatch.setattr(restoring, "threads", lambda: threads)
    torch.set_num_threads(1)
    assert np.array_equal(restore_picture(restorer, Picture(pixels), 0.5).pixels, whole)


def test_of_a_large_picture_the_time_is_estimated_first_and_every_tile_reported(model, tmp_path, monkeypatch):
    class Watching(Listener):
        def __init__(self):
            super().__init__()
            self.doing = []
            self.status = lambda words: self.doing.append((words, len(self.notes)))

    monkeypatch.setattr(models, "TILE", 64)
    monkeypatch.setattr(restoring, "LONG", 0.0)
    Image.new("L", (130, 60), 90).save(tmp_path / "my.png")
    listener = Watching()
    restore(model, tmp_path / "my.png", listener=listener)
    assert re.search(r"my.png: about \d+ s for 3 tiles$", listener.notes[0])
    places = [words for words, _ in listener.doing]
    assert [words.rsplit(", ", 1)[1] for words in places[1:]] == ["tile 1 of 3", "tile 2 of 3", "tile 3 of 3"]
    assert listener.doing[1][1] == 1  # the estimate came before


def test_the_exif_of_a_picture_without_any_is_none(tmp_path):
    Image.new("L", (9, 9), 90).save(tmp_path / "my.png")
    assert read(tmp_path / "my.png").exif is None
