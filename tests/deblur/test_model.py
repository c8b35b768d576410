"""Restorers read back: which they are, what they do to images of any size and colour, and what is refused."""

import pickle

import numpy as np
import pytest
import torch
from deblur.made_restorers import made, network
from PIL import Image
from safetensors.torch import save_file

import bs6207
from bs6207.data.sources import embedded_digits
from bs6207.deblur import model as models
from bs6207.deblur.model import load
from bs6207.deblur.networks import REACH, STRIDE
from bs6207.errors import FolderError

pytestmark = pytest.mark.usefixtures("narrow")

SIZES = [(1, 1), (5, 7), (28, 28), (130, 61), (64, 129), (200, 203)]


def random_images(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def restored_by(net, images, beyond=64):
    """What a network makes of whole images whose border pixels go on farther than it looks."""
    height, width = images.shape[2:]
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (beyond, beyond), (beyond, beyond)), "edge")
    return net(torch.from_numpy(padded)).clamp(0, 1)[..., beyond : beyond + height, beyond : beyond + width]


@pytest.mark.parametrize("channels", [1, 3])
def test_clarity_0_and_1_are_the_two_networks_and_the_default_is_the_run_s(tmp_path, channels):
    model = bs6207.deblur.load(made(tmp_path / "run", channels=channels))
    images = random_images(2, channels, 30, 33)
    for clarity in (0, 1):
        assert torch.allclose(
            model.restore(images, clarity), restored_by(network(clarity, channels), images), atol=1e-6
        )
    assert model.clarity == 0.75
    assert torch.equal(model.restore(images), model.restore(images, 0.75))
    assert not torch.allclose(model.restore(images, 0), model.restore(images, 1), atol=1e-3)


def test_the_strong_restorer_is_clarity_1_where_there_is_one(tmp_path):
    images = random_images(1, 1, 9, 9)
    model = load(made(tmp_path / "run", ("l1", "l1_disc", "strong")))
    assert torch.allclose(model.restore(images, 1), restored_by(network(2), images), atol=1e-6)


def test_half_way_every_weight_is_the_mean_of_the_two(tmp_path):
    between = load(made(tmp_path / "run")).network(0.5).state_dict()
    for name, weight in network(0).state_dict().items():
        assert torch.allclose(between[name], (weight + network(1).state_dict()[name]) / 2, atol=1e-8)


def test_a_model_of_one_channel_restores_the_colours_one_by_one(tmp_path):
    model, images = load(made(tmp_path / "run")), random_images(2, 3, 20, 21)
    one_by_one = [model.restore(images[:, place : place + 1]) for place in range(3)]
    assert torch.allclose(model.restore(images), torch.cat(one_by_one, 1), atol=1e-6)


def test_a_model_of_three_channels_restores_grey_as_the_mean_of_equal_colours(tmp_path):
    model, images = load(made(tmp_path / "run", channels=3)), random_images(2, 1, 20, 21)
    colours = restored_by(model.network(0.75), torch.cat([images] * 3, 1))
    assert torch.allclose(model.restore(images), colours.mean(1, keepdim=True), atol=1e-6)


@pytest.mark.parametrize("channels", [1, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("size", SIZES)
def test_tiles_give_what_the_whole_image_gives(tmp_path, monkeypatch, size, channels):
    monkeypatch.setattr(models, "TILE", 64)
    model, images = load(made(tmp_path / "run", channels=channels)), random_images(2, channels, *size)
    whole = restored_by(model.network(0.75), images)
    assert (model.restore(images) - whole).abs().max() < 1e-5


def test_an_image_of_more_than_one_tile_of_the_true_size_has_no_seam(tmp_path):
    model, image = load(made(tmp_path / "run")), random_images(1, 1, models.TILE + 77, models.TILE + 5)
    assert (model.restore(image) - restored_by(model.network(0.75), image)).abs().max() < 1e-5


def test_tiles_with_less_than_the_reach_show(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "TILE", 64)
    monkeypatch.setattr(models, "REACH", STRIDE)
    model, image = load(made(tmp_path / "run")), random_images(1, 1, 130, 130)
    assert (model.restore(image) - restored_by(model.network(0.75), image)).abs().max() > 1e-4


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (6, 80), (31, 45)])
def test_an_image_of_one_colour_is_restored_at_its_border_as_in_its_middle(tmp_path, monkeypatch, size, channels):
    monkeypatch.setattr(models, "TILE", 64)
    model = load(made(tmp_path / "run", channels=channels))
    restored, wide = (model.restore(torch.full((1, 1, *sides), 0.5)) for sides in (size, (100, 100)))
    block = wide[..., 48 : 48 + STRIDE, 48 : 48 + STRIDE]  # the network's pattern, far from any border
    expected = block.repeat(1, 1, 20, 20)[..., : size[0], : size[1]]
    assert (restored - expected).abs().max() < 1e-5
    assert 0 < block.min() <= block.max() < 1  # where clipping hides nothing


def test_an_image_whose_border_goes_on_is_restored_to_the_same_pixels(tmp_path):
    model, image = load(made(tmp_path / "run")), random_images(1, 1, 30, 21)
    wider = torch.from_numpy(np.pad(image.numpy(), ((0, 0), (0, 0), (8, 8), (8, 8)), "edge"))
    assert (model.restore(wider)[..., 8:38, 8:29] - model.restore(image)).abs().max() < 1e-5


@pytest.mark.parametrize("size", [(1, 1), (511, 513), (512, 512), (1500, 2000)])
def test_the_tiles_cover_every_pixel_once_and_stay_on_the_network_s_grid(size):
    times = torch.zeros(size)
    for tile in models.tiles(*size):
        times[tile.place] += 1
        for shown, used, place in zip(tile.shown, tile.used, tile.place, strict=True):
            assert np.array_equal(shown.ravel()[used], np.arange(place.start, place.stop))
            assert len(shown.ravel()) % STRIDE == (place.start - used.start) % STRIDE == 0
    assert bool((times == 1).all())


def test_weights_of_another_network_are_refused_in_a_sentence_that_can_be_read(tmp_path, monkeypatch):
    folder = made(tmp_path / "run")
    monkeypatch.undo()  # networks of full width, which these weights do not fit
    with pytest.raises(FolderError, match="is not a restorer of bs6207 deblur: Error") as refused:
        load(folder)
    assert len(str(refused.value)) < 300 + len(str(folder))


@torch.no_grad()
def test_nothing_beyond_the_reach_changes_a_pixel_and_something_within_does():
    net = network(0).double()
    image = random_images(1, 1, 8 * REACH, 8 * REACH).double()
    middle = 4 * REACH
    block = slice(middle, middle + STRIDE)

    def change(distance):
        other = image.clone()
        other[..., : middle - distance, :] = 1 - other[..., : middle - distance, :]
        other[..., middle + STRIDE + distance :, :] = 1 - other[..., middle + STRIDE + distance :, :]
        return (net(other) - net(image))[..., block, block].abs().max().item()

    assert change(REACH) < 1e-15
    assert change(REACH - STRIDE) > 1e-15


def test_digits_come_back_as_float32_within_0_and_1(tmp_path):
    digits = embedded_digits().test.unit_pixels[:50]
    restored = load(made(tmp_path / "run")).restore(digits)
    assert restored.shape == digits.shape
    assert restored.dtype == torch.float32
    assert 0 <= restored.min() < restored.max() <= 1


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(1, 28, 28), "must be"),
        (torch.zeros(1, 2, 28, 28), "1 or 3"),
        (torch.zeros(0, 1, 28, 28), "must be"),
        (Image.new("RGB", (5, 4)), r"must be \[N, 1 or 3, H, W\], not \[4, 5, 3\]"),
        (torch.full((1, 1, 4, 4), 255), "divide 8-bit pixels by 255"),
        (torch.full((1, 1, 4, 4), torch.nan), "no numbers"),
    ],
)
def test_images_of_another_kind_are_refused(tmp_path, images, words):
    with pytest.raises(ValueError, match=words):
        load(made(tmp_path / "run")).restore(images)


@pytest.mark.parametrize("clarity", [-0.1, 1.1, float("nan")])
def test_a_clarity_outside_of_its_range_is_refused(tmp_path, clarity):
    with pytest.raises(ValueError, match="clarity must lie in"):
        load(made(tmp_path / "run")).restore(torch.zeros(1, 1, 4, 4), clarity)


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_a_folder_without_a_restorer_is_refused_with_a_remedy(tmp_path, folder):
    with pytest.raises(FolderError, match="holds no restorer; run bs6207 deblur first"):
        load(tmp_path / folder)


def test_of_a_run_that_has_not_ended_it_is_said_how_to_go_on(tmp_path):
    (tmp_path / "mine.partial").mkdir()
    with pytest.raises(FolderError, match="mine has not ended; run the same bs6207 deblur again"):
        load(tmp_path / "mine")


def test_an_autoencoder_is_refused_because_it_takes_one_size(tmp_path):
    folder = made(tmp_path / "run", arch="autoencoder", image_shape=[1, 28, 28])
    with pytest.raises(FolderError, match="--arch autoencoder, which takes images of one size only; train with --arch"):
        load(folder)


def flipped(file):
    content = bytearray(file.read_bytes())
    content[20] ^= 0x55  # in the header, where safetensors keeps the shapes
    file.write_bytes(content)


BROKEN = {
    "empty": lambda file: file.write_bytes(b""),
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "rotten": flipped,
    "a pickle": lambda file: file.write_bytes(pickle.dumps({"a": 1})),
    "without metadata": lambda file: save_file({"a": torch.zeros(1)}, file),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "missing": lambda file: file.unlink(),
    "another network": lambda file: file.write_bytes(
        (made(file.parents[1] / "other", channels=3) / file.name)
        .read_bytes()
        .replace(b'channels\\": 3', b'channels\\": 1')
    ),
    "an unknown architecture": lambda file: file.write_bytes(
        (made(file.parents[1] / "other", arch="vit") / file.name).read_bytes()
    ),
}


@pytest.mark.parametrize("breakage", BROKEN)
def test_a_broken_file_is_named_with_a_remedy(tmp_path, breakage):
    file = made(tmp_path / "run") / "restorer_l1_disc.safetensors"
    BROKEN[breakage](file)
    with pytest.raises(FolderError, match=r"restorer_l1_disc.safetensors is not a restorer.*; run bs6207 deblur again"):
        load(tmp_path / "run")


@pytest.mark.parametrize("changes", [{"clarity": None}, {"sigma": 3.0}])
def test_metadata_that_makes_no_sense_is_refused_with_a_remedy(tmp_path, changes):
    with pytest.raises(FolderError, match=r"is not a restorer.*; run bs6207 deblur again"):
        load(made(tmp_path / "other", **changes))


def test_restorers_of_two_runs_are_not_mixed(tmp_path):
    run, other = made(tmp_path / "run"), made(tmp_path / "other", channels=3)
    name = "restorer_l1_disc.safetensors"
    (run / name).write_bytes((other / name).read_bytes())
    with pytest.raises(FolderError, match="are of different runs"):
        load(run)


def test_metadata_is_what_was_saved(tmp_path):
    model = load(made(tmp_path / "run", channels=3, sigma=[0.2, 4.0], clarity=0.5))
    assert (model.channels, model.sigma, model.clarity) == (3, (0.2, 4.0), 0.5)
