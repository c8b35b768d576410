"""`bs6207 restore`: pictures of every kind in, restored pictures out, and the remarks about them."""

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from deblur import made_restorers
from deblur.made_restorers import NARROW, made
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage import data
from skimage.metrics import peak_signal_noise_ratio

from bs6207.data import pictures
from bs6207.deblur import networks
from bs6207.deblur import restore as restoring
from bs6207.deblur.model import TILE, load
from bs6207.deblur.restore import doubts, find_reblur, run
from bs6207.deblur.settings import RestoreSettings
from bs6207.errors import FolderError, SettingsError
from bs6207.runs.files import strict_json, temporary_of, write_new

pytestmark = pytest.mark.usefixtures("narrow")

RANDOM = np.random.RandomState(0)
GREY = RANDOM.randint(0, 256, (21, 34), np.uint8)
COLOUR = RANDOM.randint(0, 256, (21, 34, 3), np.uint8)
DEEP = RANDOM.randint(0, 65536, (21, 34)).astype(np.uint16)


def seen(file):
    """A picture file, decoded by Pillow and closed."""
    with Image.open(file) as image:
        image.load()
        return image


class Listener:
    """Progress that remembers what was noted."""

    def __init__(self):
        self.notes = []

    def warn(self, sentence):
        self.notes.append(sentence)

    expect = step = status = record = lambda self, words: None


def restore(folder, *images, write=write_new, listener=None, **settings):
    """What `run` makes of pictures with the restorer of `folder`, beside it in `out`."""
    chosen = RestoreSettings(model=str(folder), images=[str(image) for image in images], **settings)
    return run(chosen, folder.parent / "out", write, listener or Listener())


@pytest.fixture
def model(tmp_path):
    return made(tmp_path / "model")


def expected(folder, pixels):
    """What the model makes of [H, W] or [H, W, C] integers, as integers of the same type."""
    top = np.iinfo(pixels.dtype).max
    images = torch.from_numpy(np.atleast_3d(pixels).astype(np.float32) / top).permute(2, 0, 1)[None]
    restored = load(folder).restore(images)[0].permute(1, 2, 0).numpy()
    return np.round(restored * top).astype(pixels.dtype).reshape(pixels.shape)


@pytest.mark.parametrize(
    "suffix", ["png", "webp", *(pytest.param(name, marks=pytest.mark.slow) for name in ("tif", "bmp"))]
)
@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_every_pixel_is_what_the_model_makes_of_it(model, tmp_path, suffix, pixels):
    Image.fromarray(pixels).save(tmp_path / f"my.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    pixels = np.asarray(seen(tmp_path / f"my.{suffix}"))  # WebP has no grey
    (row,) = restore(model, tmp_path / f"my.{suffix}").rows
    assert row["written"] == str(tmp_path / "out/my.png")
    restored = np.asarray(seen(row["written"]))
    assert np.array_equal(restored, expected(model, pixels))
    assert not np.array_equal(restored, pixels)
    assert (row["width"], row["height"], row["bits"], row["clarity"]) == (34, 21, 8, 0.75)


def test_sixteen_bits_are_read_and_written_as_sixteen(model, tmp_path):
    for name in ("my.png", "my.tif", "my.pgm"):
        Image.fromarray(DEEP).save(tmp_path / name)
        (row,) = restore(model, tmp_path / name).rows
        restored = np.asarray(seen(row["written"]))
        assert restored.dtype == np.uint16
        assert np.array_equal(restored, expected(model, DEEP))
        assert len(np.unique(restored)) > 256
        assert row["bits"] == 16


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_written_back_as_it_was(model, tmp_path, mode):
    pixels = RANDOM.randint(0, 256, (9, 12, len(mode)), np.uint8)
    pixels[..., -1] |= 1  # nothing is hidden
    Image.fromarray(pixels).save(tmp_path / "my.png")
    (row,) = restore(model, tmp_path / "my.png").rows
    restored = np.asarray(seen(row["written"]))
    assert np.array_equal(restored[..., -1], pixels[..., -1])
    assert np.array_equal(restored[..., :-1], expected(model, pixels[..., :-1]))


def test_a_palette_and_its_transparent_colour_are_resolved(model, tmp_path):
    picture = Image.fromarray(COLOUR).quantize(16)
    picture.save(tmp_path / "my.png", transparency=3)
    (row,) = restore(model, tmp_path / "my.png").rows
    restored, hidden = seen(row["written"]), np.asarray(picture) == 3
    assert restored.mode == "RGBA"
    assert np.array_equal(np.asarray(restored)[..., 3] == 0, hidden)
    filled = pictures.without_hidden(np.asarray(picture.convert("RGB")).transpose(2, 0, 1), np.uint8(255) * ~hidden)
    assert np.array_equal(np.asarray(restored)[..., :3], expected(model, filled.transpose(1, 2, 0)))


def test_hidden_pixels_take_the_colour_of_the_nearest_visible_one():
    alpha = np.uint8([[0, 0, 255, 0, 1, 0, 0]])
    pixels = np.uint8([[[9, 8, 10, 7, 20, 6, 5]]])
    assert pictures.without_hidden(pixels, alpha).tolist() in ([[[10] * 4 + [20] * 3]], [[[10] * 3 + [20] * 4]])
    assert pictures.without_hidden(pixels, 0 * alpha).tolist() == [[[0] * 7]]
    assert pictures.without_hidden(pixels, alpha | 1) is pixels


DISC = np.hypot(*np.mgrid[-10:11, -16:18]) < 9  # what is seen of a sprite


def with_alpha(mode, suffix):
    def save(file, hidden):
        pixels = np.array(Image.fromarray(COLOUR).convert(mode))
        pixels[..., :-1][~DISC] = hidden[: len(mode) - 1]
        pixels[..., -1] = 255 * DISC
        Image.fromarray(pixels).save(file.with_suffix(suffix), lossless=True, exact=True)
        return file.with_suffix(suffix)

    return save


def with_transparent_colour(mode, suffix):
    def save(file, hidden):
        grey = np.asarray(Image.fromarray(COLOUR).convert("L")) // 2
        if mode == "P":
            picture = Image.frombytes("P", (34, 21), np.where(DISC, 1 + grey // 32, 0).astype(np.uint8).tobytes())
            picture.putpalette([*hidden, *range(60, 72)])
            picture.save(file.with_suffix(suffix), transparency=0)
        else:
            picture = Image.composite(
                Image.fromarray(grey).convert(mode), Image.new(mode, (34, 21), hidden), mask(DISC)
            )
            picture.save(file.with_suffix(suffix), transparency=hidden)
        return file.with_suffix(suffix)

    return save


def mask(places):
    return Image.fromarray(places.astype(np.uint8) * 255)


SPRITES = {
    "RGBA": with_alpha("RGBA", ".png"),
    "LA": with_alpha("LA", ".png"),
    "WebP": with_alpha("RGBA", ".webp"),
    "TIFF": with_alpha("RGBA", ".tif"),
    "a palette": with_transparent_colour("P", ".png"),
    "GIF": with_transparent_colour("P", ".gif"),
    "a transparent colour": with_transparent_colour("RGB", ".png"),
    "a transparent grey": with_transparent_colour("L", ".png"),
}


HIDDEN = ((200, 200, 200), (0, 255, 0), (255, 240, 230))


@pytest.mark.parametrize("name", SPRITES)
def test_pictures_that_look_alike_are_read_alike(tmp_path, name):
    colours = (200, 220, 240) if name == "a transparent grey" else HIDDEN
    files = [SPRITES[name](tmp_path / f"{place}", hidden) for place, hidden in enumerate(colours)]
    shown = [np.asarray(seen(file).convert("RGBA")) for file in files]
    assert all(np.array_equal(one[DISC], shown[0][DISC]) for one in shown)
    assert not np.array_equal(shown[0], shown[2])
    first, *others = (pictures.read(file) for file in files)
    assert np.array_equal(first.alpha > 0, DISC)
    assert all(np.array_equal(one.pixels, first.pixels) for one in others)
    assert np.array_equal(first.pixels[:, DISC], shown[0][DISC].T[: len(first.pixels)])


def test_pictures_that_look_alike_are_restored_and_evaluated_alike(model, tmp_path):
    files = [SPRITES["RGBA"](tmp_path / f"{place}", hidden) for place, hidden in enumerate(HIDDEN)]
    rows = restore(model, *files).rows
    assert len({(tmp_path / row["written"]).read_bytes() for row in rows}) == 1
    ours = ("file", "written")
    assert len({json.dumps({key: row[key] for key in row if key not in ours}) for row in rows}) == 1
    assert rows[0]["judged_pixels"] == DISC[5:-5, 8:-8].sum()  # a quarter of each side is border


def test_a_grey_sprite_stays_grey(model, tmp_path):
    pixels = np.zeros((*DISC.shape, 4), np.uint8)
    pixels[..., :3] = np.where(DISC, GREY, 0)[..., None] + ~DISC[..., None] * np.uint8([0, 255, 0])
    pixels[..., 3] = 255 * DISC
    Image.fromarray(pixels).save(tmp_path / "my.png")
    (row,) = restore(model, tmp_path / "my.png").rows
    restored = np.asarray(seen(row["written"]))
    assert np.array_equal(restored[..., 0], restored[..., 1])
    assert np.array_equal(restored[..., 0], restored[..., 2])


def test_of_a_picture_without_a_visible_pixel_nothing_is_said(model, tmp_path):
    Image.fromarray(np.dstack((COLOUR, 0 * GREY))).save(tmp_path / "my.png")
    done = restore(model, tmp_path / "my.png")
    (row,) = done.rows
    assert np.asarray(seen(row["written"]))[..., 3].max() == 0
    assert [row[key] for key in ("sigma", "reblur_psnr", "reblur_snr", "change")] == [None] * 4
    assert "no visible pixel" in " ".join(row["remarks"])
    assert done.headline.rows[0]["sigma"] == "—"


def test_sixteen_bits_of_black_on_white_are_turned_round(tmp_path):
    Image.fromarray(DEEP).save(tmp_path / "white.tif", tiffinfo={262: 0})  # PhotometricInterpretation: zero is white
    assert np.array_equal(pictures.read(tmp_path / "white.tif").pixels[0], 65535 - DEEP)


def test_one_bit_is_black_or_white(model, tmp_path):
    picture = Image.fromarray(GREY).convert("1")
    picture.save(tmp_path / "my.png")
    (row,) = restore(model, tmp_path / "my.png").rows
    pixels = np.asarray(picture).astype(np.uint8) * 255
    assert np.array_equal(np.asarray(seen(row["written"])), expected(model, pixels))


def test_a_picture_for_print_becomes_rgb(model, tmp_path):
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "my.jpg")
    (row,) = restore(model, tmp_path / "my.jpg").rows
    assert seen(row["written"]).mode == "RGB"


def test_a_picture_taken_on_its_side_stands_upright(model, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter, clockwise
    Image.fromarray(GREY).save(tmp_path / "my.png", exif=exif)
    (row,) = restore(model, tmp_path / "my.png").rows
    written = seen(row["written"])
    assert (row["width"], row["height"]) == written.size == (21, 34)
    assert np.array_equal(np.asarray(written), expected(model, np.rot90(GREY, -1)))
    assert not written.getexif().get(0x0112)


def test_what_the_numbers_look_like_is_kept(model, tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "my.png", icc_profile=b"a profile")
    (row,) = restore(model, tmp_path / "my.png").rows
    assert seen(row["written"]).info["icc_profile"] == b"a profile"


def test_nothing_is_ever_overwritten(model, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/my.png").write_text("precious")
    (tmp_path / "out/my-3.png").symlink_to("nowhere")
    Image.fromarray(GREY).save(tmp_path / "my.png")
    Image.fromarray(GREY).save(tmp_path / "my.bmp")
    done = restore(model, tmp_path / "my.png", tmp_path / "my.bmp")
    assert [row["written"].rsplit("/", 1)[1] for row in done.rows] == ["my-2.png", "my-4.png"]
    assert (tmp_path / "out/my.png").read_text() == "precious"
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"my.png", "my-2.png", "my-3.png", "my-4.png"}


def test_a_name_that_another_process_is_writing_is_left_to_it(tmp_path):
    temporary_of(tmp_path / "a.png").write_text("half")
    assert write_new(tmp_path / "a.png", b"whole").name == "a-2.png"
    assert temporary_of(tmp_path / "a.png").read_text() == "half"


LONGEST = os.pathconf("/", "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
ODD = (  # names that a file system holds
    "x" * (LONGEST - 7) + ".png",
    "y" * (LONGEST - 4) + ".png",
    "z" * LONGEST,  # and no room for a suffix
    "字" * ((LONGEST - 4) // 3) + ".png",
    "~nobody.png",
    ".png",
    "[red]x.png",
    "a\nb.png",
    "-x.png",
)
NO_UTF8 = "a\udcff.png"


def test_files_of_any_name_are_restored_or_reported_and_cost_no_other(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in (*ODD, "good.png"):
        Image.fromarray(GREY).save(file, "PNG")
    names: set[str] = set()
    for _ in range(2):  # in the second round the names are taken
        done = restore(model, *ODD[:5], NO_UTF8, *ODD[5:], "good.png")
        assert [row["file"] for row in done.rows] == [*ODD, "good.png"]
        assert done.failed == [{"file": r"a\udcff.png", "reason": r"'a\udcff.png' is not UTF-8; rename the file"}]
        json.loads(strict_json(done.metrics).encode())
        names |= {Path(row["written"]).name for row in done.rows}
    assert len(names) == 2 * len(done.rows)
    assert {file.name for file in (tmp_path / "out").iterdir()} == names  # and nothing temporary


@pytest.mark.parametrize("name", ["x" * 300, "~nobody.png", "a\0b.png"])
def test_a_name_that_no_file_has_costs_no_other(model, tmp_path, name):
    Image.fromarray(GREY).save(tmp_path / "good.png")
    done = restore(model, name, tmp_path / "good.png")
    assert (len(done.rows), len(done.failed)) == (1, 1)
    assert "give a picture" in done.failures[0]


def test_a_picture_that_cannot_be_written_costs_no_other(model, tmp_path):
    def write(file, content):
        if file.name == "bad.png":
            raise FolderError(f"cannot write {file}: no")
        return write_new(file, content)

    for name in ("bad.png", "good.png"):
        Image.fromarray(GREY).save(tmp_path / name)
    done = restore(model, tmp_path / "bad.png", tmp_path / "good.png", write=write)
    assert [row["file"] for row in done.rows] == [str(tmp_path / "good.png")]
    assert done.failed == [{"file": str(tmp_path / "bad.png"), "reason": f"cannot write {tmp_path}/out/bad.png: no"}]


def bomb(path, side):
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 9) + b"IDAT")


def truncated(path):
    Image.fromarray(COLOUR).save(path)
    path.write_bytes(path.read_bytes()[:-200])


def png_file(path, samples, colour, transparent=b""):
    """A PNG file of 16 bits, written by the book (PNG, second edition): Pillow writes grey alone."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in samples)
    chunks = [(b"IHDR", header), (b"tRNS", transparent), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks if one[1] or one[0] == b"IEND"))


def deep(*shape):
    return RANDOM.randint(0, 65536, shape).astype(np.uint16)


def box(brand, path):
    """The beginning of a file of the ISO base media format, whose major brand is a general one."""
    path.write_bytes(struct.pack(">I", 24) + b"ftypmif1\0\0\0\0" + brand + b"miaf" + bytes(200))


def several(kind):
    more = {"save_all": True, "append_images": [Image.fromarray(~COLOUR)]}
    return lambda path: Image.fromarray(COLOUR).save(path, kind, **more)


MORE_BITS = "has more than 8 bits per channel, and colour or alpha; save it with 8"
BAD = {  # how it is made, and what the sentence says besides its name
    "missing": (lambda path: None, "there is no file"),
    "a folder": (lambda path: path.mkdir(), "is a folder without a picture; give one that holds some"),
    "empty": (lambda path: path.write_bytes(b""), "is not an image"),
    "text": (lambda path: path.write_text("no picture"), "is not an image"),
    "truncated": (truncated, "cannot read"),
    "ten gigapixels": (lambda path: bomb(path, 100_000), "has 10,000,000,000 pixels, more than the 89,478,485"),
    "a hundred megapixels": (lambda path: bomb(path, 10_000), "has 100,000,000 pixels, more than the 89,478,485"),
    **{
        f"{name} by its {brand.decode()}": (
            partial(box, brand),
            f"is in the format {name}, which is not read; save it as PNG",
        )
        for name, brand in (("HEIC", b"heic"), ("AVIF", b"avif"), ("HEIF", b"mif1"))
    },
    "JPEG XL": (lambda path: path.write_bytes(b"\xff\x0a more"), "is in the format JPEG XL"),
    "floats": (lambda path: Image.fromarray(GREY.astype(np.float32)).save(path, "TIFF"), "is stored as F"),
    **{f"several in a {kind}": (several(kind), "holds several pictures") for kind in ("TIFF", "GIF", "PNG", "WEBP")},
    "colours of 16 bits": (lambda path: png_file(path, deep(5, 7, 3), 2), MORE_BITS),
    "colours and alpha of 16 bits": (lambda path: png_file(path, deep(5, 7, 4), 6), MORE_BITS),
    "grey and alpha of 16 bits": (lambda path: png_file(path, deep(5, 7, 2), 4), MORE_BITS),
    "16 bits and a transparent grey": (lambda path: png_file(path, deep(5, 7), 0, b"\0\1"), "a transparent colour"),
    "a PPM file of 16 bits": (
        lambda path: path.write_bytes(b"P6 7 5 65535\n" + deep(5, 7, 3).tobytes()),
        MORE_BITS,
    ),
}


def test_a_bad_file_is_reported_in_one_sentence_and_costs_no_other(model, tmp_path):
    files = {name: tmp_path / f"{name}.png" for name in BAD}
    for name, (spoil, _) in BAD.items():
        spoil(files[name])
    Image.fromarray(GREY).save(tmp_path / "good.png")
    done = restore(model, *files.values(), tmp_path / "good.png")
    for (name, (_, words)), reason in zip(BAD.items(), done.failures, strict=True):
        assert words in reason, name
        assert str(files[name]) in reason
    assert [row["file"] for row in done.rows] == [str(tmp_path / "good.png")]
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["good.png"]


def test_a_picture_of_more_pixels_is_restored_where_that_is_allowed(model, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # more than twice: Pillow itself refuses
    Image.fromarray(GREY).save(tmp_path / "my.png")
    assert restore(model, tmp_path / "my.png", max_pixels=714).rows
    ((reason),) = restore(model, tmp_path / "my.png", max_pixels=713).failures
    assert reason.endswith(
        "has 714 pixels, more than the 713 that are safe; make it smaller, or allow more with --max-pixels"
    )
    assert Image.MAX_IMAGE_PIXELS == 100


def test_a_photo_with_a_preview_in_it_is_one_picture(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "my.jpg", "MPO", save_all=True, append_images=[Image.fromarray(COLOUR)])
    assert pictures.read(tmp_path / "my.jpg").pixels.shape == (3, 21, 34)


def test_pillow_reads_what_was_encoded():
    for pixels in (GREY[None], COLOUR.transpose(2, 0, 1), DEEP[None]):
        for alpha in (None,) if pixels.dtype == np.uint16 else (None, GREY):
            whole = pixels if alpha is None else np.concatenate((pixels, alpha[None]))
            decoded = np.asarray(seen(io.BytesIO(pictures.png(pictures.Picture(pixels, alpha)))))
            assert np.array_equal(np.atleast_3d(decoded).transpose(2, 0, 1), whole)


MEMORY = """
import resource, sys
from bs6207.cli.commands import main
try:
    main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


@pytest.mark.slow
def test_a_large_colour_picture_takes_less_than_two_gibibytes(monkeypatch, tmp_path):
    monkeypatch.undo()  # networks of full width, as the process that is measured has them
    model = made(tmp_path / "model")
    pixels = np.tile(data.astronaut(), (3, 4, 1))[:1500, :2000]
    Image.fromarray(pixels).save(tmp_path / "large.png")
    line = ["restore", "large.png", "--model", str(model), "--json"]
    done = subprocess.run([sys.executable, "-c", MEMORY, *line], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stderr.split()[-1]) < 2 * 2**20  # KiB
    (row,) = json.loads(done.stdout)["images"]
    assert np.asarray(seen(tmp_path / row["written"])).shape == pixels.shape


def test_a_picture_of_several_tiles_is_restored_to_the_pixels_of_one_pass(model, tmp_path):
    pixels = np.tile(data.camera(), (2, 2))[: TILE + 30, : TILE + 50]
    Image.fromarray(pixels).save(tmp_path / "tiled.png")
    (row,) = restore(model, tmp_path / "tiled.png", clarity=1.0).rows
    restorer = load(model)
    with torch.no_grad():
        padded = torch.from_numpy(np.pad(pixels, 64, "edge") / np.float32(255))
        whole = restorer.network(1.0)(padded[None, None]).clamp(0, 1)[..., 64:-64, 64:-64]
    restored = np.asarray(seen(row["written"]))
    assert np.abs(restored - 255 * whole[0, 0].numpy()).max() < 0.51  # rounding


def everywhere(picture):
    return np.ones(picture.shape[1:], bool)


@pytest.mark.parametrize("sigma", [0.8, 1.7, 3.0])
@pytest.mark.parametrize("name", ["camera", "astronaut"])
def test_the_blur_between_two_pictures_is_found(name, sigma):
    clear = np.atleast_3d(getattr(data, name)()).transpose(2, 0, 1)[:, :300, 50:400].astype(np.float32) / 255
    blurred = gaussian_filter(clear, (0, sigma, sigma), mode="constant")  # another border than the search's
    noisy = blurred + RANDOM.normal(0, 0.01, blurred.shape).astype(np.float32)
    reblur = find_reblur(noisy, clear, everywhere(clear), 4.5)
    assert reblur["sigma"] == pytest.approx(sigma, abs=0.05)
    assert reblur["reblur_psnr"] == pytest.approx(40, abs=0.3)  # the noise alone: -20 log10(0.01)


def test_a_picture_that_was_left_as_it_was_shows_no_blur():
    clear = data.camera()[None, :200, :200].astype(np.float32) / 255
    sigma, *decibels, change, pixels = find_reblur(clear, clear, everywhere(clear), 4.5).values()
    assert (sigma, decibels, change, pixels) == (0.0, [float("inf")] * 2, 0.0, 164 * 164)


def test_the_re_blur_psnr_is_scikit_image_s():
    clear = data.camera()[None, :200, :200].astype(np.float32) / 255
    blurred = np.clip(gaussian_filter(clear, (0, 2, 2)) + RANDOM.normal(0, 0.02, clear.shape), 0, 1).astype(np.float32)
    reblur = find_reblur(blurred, clear, everywhere(clear), 4.5)
    inside = slice(18, -18)
    again = gaussian_filter(clear, (0, reblur["sigma"], reblur["sigma"]))[:, inside, inside]
    target = blurred[:, inside, inside]
    assert reblur["reblur_psnr"] == pytest.approx(peak_signal_noise_ratio(target, again, data_range=1), abs=0.01)
    # 10 log10 of the variance over the mean squared residue: a PSNR whose peak is the standard deviation
    assert reblur["reblur_snr"] == pytest.approx(
        peak_signal_noise_ratio(target, again, data_range=target.std()), abs=0.01
    )


@pytest.mark.parametrize("channels", [[0, 1, 2], [2]], ids=["every channel", "one channel"])
def test_the_re_blur_snr_is_of_the_picture_s_own_contrast(channels):
    clear = np.full((3, 200, 200), 0.5, np.float32)
    clear[channels] = data.camera()[:200, :200] / 255
    blurred = gaussian_filter(clear, (0, 2, 2)) + RANDOM.normal(0, 0.02, clear.shape).astype(np.float32)
    strong = find_reblur(blurred, clear, everywhere(clear), 4.5)
    for low, contrast in ((0.0, 0.04), (0.4, 0.15), (1.0, -0.04)):  # dark, pale, and black on white
        weak = find_reblur(low + contrast * blurred, low + contrast * clear, everywhere(clear), 4.5)
        assert weak["sigma"] == pytest.approx(strong["sigma"], abs=0.02)
        assert weak["reblur_snr"] == pytest.approx(strong["reblur_snr"], abs=0.1)
        assert weak["reblur_psnr"] == pytest.approx(strong["reblur_psnr"] - 20 * np.log10(abs(contrast)), abs=0.1)


@pytest.mark.parametrize("channels", [[0, 1, 2], [2]], ids=["every channel", "one channel"])
@pytest.mark.parametrize(("low", "high"), [(0, 10), (108, 148), (255, 245)])
def test_writing_of_little_contrast_that_is_spoilt_is_doubted(model, tmp_path, low, high, channels):
    writing = gaussian_filter(data.text()[20:84, 20:120] < 90, 1.0, output=float)
    pixels = np.full((*writing.shape, 3), low, np.uint8)
    pixels[..., channels] = np.round(low + (high - low) * writing)[..., None]
    Image.fromarray(pixels).save(tmp_path / "my.png")
    (row,) = restore(model, tmp_path / "my.png").rows
    assert row["reblur_snr"] < 10
    assert "do not trust it" in row["remarks"][-1]


def test_hidden_pixels_are_not_evaluated():
    clear = np.atleast_3d(data.astronaut()).transpose(2, 0, 1)[:, :120, :150].astype(np.float32) / 255
    blurred, visible = gaussian_filter(clear, (0, 1.5, 1.5)), np.hypot(*np.mgrid[-60:60, -75:75]) < 50
    reblur = find_reblur(blurred, clear, visible, 4.5)
    assert reblur["sigma"] == pytest.approx(1.5, abs=0.02)
    assert find_reblur(np.where(visible, blurred, 1 - blurred), clear, visible, 4.5) == reblur
    assert reblur["judged_pixels"] == visible[18:-18, 18:-18].sum()


TRAINED = (0.5, 3.0)
DOUBTS = {  # sigma, re-blur PSNR and SNR; what is said
    "in range": ((1.5, 40.0, 25.0), []),
    "the narrowest": ((0.47, 40.0, 21.0), []),
    "the widest": ((3.26, 40.0, 23.0), []),
    "clear": ((0.41, 40.0, 19.0), ["less blur"]),
    "wide": ((3.54, 40.0, 20.0), ["sigma 3.54 is more blur"]),
    "as wide as was sought": ((4.498, 40.0, 20.0), ["the end of the search"]),
    "unlike": ((1.2, 40.0, 9.0), ["do not trust it"]),
    "wide and unlike": ((4.5, 40.0, 5.0), ["more blur", "do not trust it"]),
    "unlike, with much contrast": ((1.2, 24.0, 16.0), ["do not trust it"]),
    "unlike, and nothing leads back": ((0.0, 40.0, 5.0), ["do not trust it"]),
}


@pytest.mark.parametrize(("reblur", "said"), DOUBTS.values(), ids=DOUBTS)
def test_what_lies_outside_of_the_training_is_doubted(reblur, said):
    measured = dict(zip(("sigma", "reblur_psnr", "reblur_snr"), reblur, strict=True))
    sentences = doubts(measured | {"change": 0.1}, TRAINED)
    assert len(sentences) == len(said)
    assert all(words in sentence for words, sentence in zip(said, sentences, strict=True))


@pytest.mark.parametrize("sigma", [0, 3])
def test_that_the_restorer_did_nothing_is_not_said_of_the_picture(tmp_path, monkeypatch, sigma):
    # Untrained, it does nothing.
    monkeypatch.setattr(made_restorers, "network", lambda seed, channels, kind: kind(channels))
    folder = made(tmp_path / "model")
    Image.fromarray(gaussian_filter(data.camera()[:64, :64], sigma)).save(tmp_path / "my.png")
    ((remark),) = restore(folder, tmp_path / "my.png").rows[0]["remarks"]
    assert remark.startswith("the restorer hardly changed the picture (0.0 of 255 levels")
    assert "hardly any blur" not in remark


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (24, 30)])
def test_of_a_picture_of_one_colour_no_blur_is_reported(model, tmp_path, size):
    Image.fromarray(np.full((*size, 3), (250, 0, 3), np.uint8)).save(tmp_path / "my.png")
    done = restore(model, tmp_path / "my.png")
    (row,) = done.rows
    assert [row[key] for key in ("sigma", "reblur_psnr", "reblur_snr")] == [None] * 3
    ((remark),) = row["remarks"]
    assert "has one colour, which no blur changes, so there is none to find" in remark
    assert ("do not trust it" in remark) == (row["change"] > 1 / 255)
    restored = np.asarray(seen(row["written"])).astype(float)
    assert row["change"] * 255 == pytest.approx(np.sqrt(((restored - (250, 0, 3)) ** 2).mean()), rel=0.3)


def test_every_doubt_is_recorded_and_noted_with_the_file_s_name(model, tmp_path, monkeypatch):
    monkeypatch.setattr(restoring, "PLAUSIBLE_SNR", np.inf)
    Image.fromarray(GREY).save(tmp_path / "noise.png")
    listener = Listener()
    (row,) = restore(model, tmp_path / "noise.png", listener=listener).rows
    assert "do not trust it" in row["remarks"][-1]
    assert listener.notes == [f"{tmp_path / 'noise.png'}: {remark}" for remark in row["remarks"]]


def onnx_difference(file, folder, clarity, channels, shape):
    from onnxruntime import InferenceSession

    session = InferenceSession(file, providers=["CPUExecutionProvider"])
    images = torch.rand(shape[0], channels, *shape[1:], generator=torch.Generator().manual_seed(5))
    (restored,) = session.run(None, {"blurred": images.numpy()})
    return np.abs(restored - load(folder).restore(images, clarity).numpy()).max()


@pytest.mark.xdist_group("onnx")
@pytest.mark.parametrize(
    ("channels", "blocks"), [(1, (1, 1, 1)), *(pytest.param(count, None, marks=pytest.mark.slow) for count in (1, 3))]
)
def test_the_onnx_file_restores_images_of_any_size_as_torch_does(tmp_path, monkeypatch, channels, blocks):
    if blocks:  # of every kind one, as the time is that of the layers
        for name, count in zip(("FINE_BLOCKS", "COARSE_BLOCKS", "MERGE_BLOCKS"), blocks, strict=True):
            monkeypatch.setattr(networks, name, count)
    folder = made(tmp_path / "model", channels=channels)
    done = restore(folder, onnx=str(tmp_path / "my.onnx"), clarity=0.3)
    assert done.onnx["largest_difference"] < 1e-4
    assert [file.name for file in tmp_path.glob("my*")] == ["my.onnx"]  # weights inside, not beside it
    for shape in ((1, 28, 28), (3, 31, 45), (1, 5, 7), (2, 64, 1)):
        assert onnx_difference(tmp_path / "my.onnx", folder, 0.3, channels, shape) < 1e-5
    assert onnx_difference(tmp_path / "my.onnx", folder, 0.9, channels, (1, 28, 28)) > 1e-3


@pytest.fixture
def exported(monkeypatch):
    """An export that takes no time; onnxruntime cannot read it."""
    program = SimpleNamespace(model_proto=SimpleNamespace(SerializeToString=lambda: b"network"))
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: program)
    monkeypatch.setattr(restoring, "largest_difference", lambda *_: 0.0)


def test_an_onnx_file_that_differs_is_not_left_behind(model, tmp_path, exported, monkeypatch):
    monkeypatch.setattr(restoring, "largest_difference", lambda *_: 1e-4)
    with pytest.raises(FolderError, match="would differ from torch by"):
        restore(model, onnx=str(tmp_path / "my.onnx"))
    assert not (tmp_path / "my.onnx").exists()


def test_onnx_that_is_not_installed_is_refused_with_the_line_that_installs_it(model, tmp_path, monkeypatch):
    monkeypatch.setattr(restoring, "ONNX_PACKAGES", ("no_such_library",))
    with pytest.raises(SettingsError, match=r"needs no_such_library; pip install 'bs6207\[onnx\]'"):
        restore(model, onnx=str(tmp_path / "my.onnx"))


def test_the_command_prints_a_table_or_strict_json_and_exits_1_if_a_picture_failed(bs6207, tmp_path):
    made(tmp_path / "outputs/deblur")
    Image.fromarray(GREY).save(tmp_path / "my.png")
    done = bs6207("restore", "my.png", "--clarity", "0.25", constants=NARROW)
    assert done.returncode == 0, done.stderr
    assert "21" in done.stdout
    assert done.stdout.splitlines()[-1] == "outputs/restored"
    done = bs6207("restore", "nowhere.png", "my.png", "--json", "--quiet", "--out", "mine", constants=NARROW)
    assert done.returncode == 1
    assert "bs6207: there is no file nowhere.png; give a picture" in done.stderr.splitlines()
    printed = json.loads(done.stdout, parse_constant=pytest.fail)
    assert [row["written"] for row in printed["images"]] == ["mine/my.png"]
    assert [row["file"] for row in printed["failed"]] == ["nowhere.png"]
    assert printed["onnx"] is None
    assert "do not trust" not in done.stderr


def test_where_nothing_was_restored_no_folder_is_named(bs6207, tmp_path):
    made(tmp_path / "outputs/deblur")
    done = bs6207("restore", "nowhere.png", "--out", "mine", constants=NARROW)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "bs6207: there is no file nowhere.png; give a picture\n"
    assert not (tmp_path / "mine").exists()


def test_a_missing_model_exits_1_with_the_remedy_and_writes_nothing(bs6207, tmp_path):
    done = bs6207("restore", "my.png")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "bs6207: outputs/deblur holds no restorer; run bs6207 deblur first, or give --model, the folder of such a run\n"
    )
    assert not list(tmp_path.iterdir())


def test_a_disk_that_refuses_is_reported_with_the_flag_to_change(model, tmp_path, exported):
    Image.fromarray(GREY).save(tmp_path / "my.png")
    (tmp_path / "out").write_text("a file where the folder should be")
    ((reason),) = restore(model, tmp_path / "my.png").failures
    assert "choose another --out" in reason
    with pytest.raises(FolderError, match="choose another --onnx"):
        restore(model, onnx=str(tmp_path / "out/my.onnx"))
