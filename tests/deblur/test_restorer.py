"""The restorer for arrays and images in memory."""

import pickle

import numpy as np
import pytest
import torch
from conftest import HURRY
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.base import clone

from bs6207.data.images import Photographs
from bs6207.data.photos import photos
from bs6207.data.sources import embedded_digits
from bs6207.deblur import Restorer
from bs6207.deblur.model import Model
from bs6207.deblur.networks import UNet
from bs6207.deblur.restorer import image_set
from bs6207.errors import DataError, DivergenceError

STAGES = {"l1", "disc_net", "l1, last stage", "l1_disc, last stage"}
MAKER = 0x010F  # of the camera: a tag of EXIF


@pytest.fixture
def untrained():
    """One that changes nothing: its last layer is zero."""
    restorer = Restorer()
    restorer.model_ = Model(UNet(1), UNet(1), {"channels": 1, "sigma": (0.2, 4.0), "clarity": 0.0})
    return restorer


IMAGES = {
    "grey": np.arange(20 * 30, dtype=np.uint8).reshape(20, 30),
    "colour": np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3),
    "one channel": np.arange(20 * 30, dtype=np.uint8).reshape(20, 30, 1),
    "deep": np.arange(20 * 30, dtype=np.uint16).reshape(20, 30) * 99,
    "float": np.linspace(0, 1, 600).reshape(20, 30),
    "float32": np.linspace(0, 1, 1800, dtype=np.float32).reshape(20, 30, 3),
}


@pytest.mark.parametrize("name", IMAGES)
def test_an_array_comes_back_in_its_type_and_shape(untrained, name):
    restored = untrained.restore(IMAGES[name])
    assert (restored.dtype, restored.shape) == (IMAGES[name].dtype, IMAGES[name].shape)
    assert np.allclose(restored, IMAGES[name], atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "RGB", "LA", "RGBA"])
def test_an_image_comes_back_in_its_mode_and_keeps_its_transparency(untrained, mode):
    image = Image.fromarray(np.full((20, 30, 4), 200, np.uint8) + np.arange(30, dtype=np.uint8)[:, None]).convert(mode)
    restored = untrained.restore(image)
    assert (restored.mode, restored.size) == (mode, image.size)
    assert np.array_equal(np.asarray(restored), np.asarray(image))


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (np.zeros((2, 3, 4, 5)), r"an image is \[H, W\] or \[H, W, 1 or 3\], not \[2, 3, 4, 5\]"),
        (np.zeros((8, 8), np.int64), "pixels are uint8, uint16 or floats"),
        (np.full((8, 8), 2.0), r"images must lie in \[0, 1\], and some pixels are above 1; divide 8-bit pixels by 255"),
        (np.full((8, 8), -0.1), r"images must lie in \[0, 1\], and some pixels are negative"),
        (np.full((8, 8), np.nan), r"images must lie in \[0, 1\], and some pixels are no numbers \(NaN\)"),
    ],
)
def test_what_is_no_image_is_refused(untrained, image, sentence):
    with pytest.raises(ValueError, match=sentence):
        untrained.restore(image)


def test_pixels_that_rounding_takes_out_of_the_range_are_clipped(untrained):
    image = np.array([[-1e-9, 0.5], [1 + 2e-16, 1.0000005]])
    assert np.allclose(untrained.restore(image), image.clip(0, 1), atol=1e-6)
    tensor = torch.from_numpy(IMAGES["float"]).requires_grad_()
    assert np.allclose(untrained.restore(tensor), IMAGES["float"], atol=1e-6)
    for clarity in ("a", None):
        with pytest.raises(ValueError, match="clarity must lie in"):
            untrained.restore(IMAGES["grey"], clarity)


def test_it_is_shown_cloned_and_set_like_an_estimator_of_scikit_learn():
    restorer = Restorer(epochs=5, blur=["disk"])
    assert repr(restorer) == "Restorer(epochs=5, blur=['disk'])"
    assert repr(clone(restorer).set_params(epochs=4)) == "Restorer(epochs=4, blur=['disk'])"
    with pytest.raises(ValueError, match="--epochs: should be greater"):
        restorer.set_params(epochs=1)


def test_wrong_settings_and_images_are_refused_before_any_training():
    with pytest.raises(ValueError, match="--epochs: should be greater than or equal to 3, not 1"):
        Restorer(epochs=1)
    with pytest.raises(ValueError, match="Restorer has no setting 'data'; fit takes the images"):
        Restorer(data="mnist")
    with pytest.raises(ValueError, match="not fitted"):
        Restorer().restore(np.zeros((8, 8)))
    with pytest.raises(ValueError, match=r"an image is \[H, W\] or \[H, W, 1 or 3\], not \[8\]"):
        Restorer().fit([np.zeros(8)])
    with pytest.raises(DataError, match="pictures of less than 7 pixels a side"):
        Restorer().fit([np.zeros((8, 8)), np.zeros((9, 3)), *np.zeros((9, 9, 9))])
    with pytest.raises(DataError, match="1 photographs to train on, 1 to validate and 1 to test on"):
        Restorer().fit(np.zeros((2, 200, 200)))
    with pytest.raises(DataError, match="10 images are too few to fit; give 25 or more"):
        Restorer().fit(np.zeros((10, 28, 28), np.uint8), None)
    with pytest.raises(ValueError, match="'folder' is no image; open it with Pillow"):
        Restorer().fit("folder")
    with pytest.raises(ValueError, match=r"an image is \[H, W\]"):
        Restorer().fit(None)


def test_images_of_several_sizes_are_photographs_grey_or_in_colour_as_they_come():
    grey, colour = np.zeros((20, 30), np.uint8), np.full((30, 20, 3), 0.2)
    images = image_set([grey, colour, Image.fromarray(grey), np.full((9, 9), 65535, np.uint16)])
    assert isinstance(images, Photographs)
    assert [one.shape for one in images.pixels] == [(3, 20, 30), (3, 30, 20), (3, 20, 30), (3, 9, 9)]
    assert [one.max() for one in images.pixels] == [0, 51, 0, 255]
    assert image_set(np.zeros((5, 1, 28, 28))).image_shape == (1, 28, 28)
    assert image_set(np.zeros((5, 28, 28, 3))).image_shape == (3, 28, 28)
    assert isinstance(image_set(np.zeros((5, 200, 300))), Photographs)


def test_a_photograph_is_refused_by_a_restorer_of_drawings_unless_it_is_asked_to_restore_it_anyway(untrained):
    untrained.model_.trained_on = {"data": "the images of fit", "pictures": "drawings"}
    ramp = np.linspace(0, 1, 600).reshape(20, 30)
    eight_bits = (255 * ramp).astype(np.uint8)
    for photograph in (ramp, eight_bits, Image.fromarray(eight_bits)):
        with pytest.raises(DataError, match=r"looks like a photograph.*; fit one on such images, or pass anyway=True"):
            untrained.restore(photograph)
        assert np.allclose(untrained.restore(photograph, anyway=True), photograph, atol=1e-6)


def test_what_a_camera_wrote_into_an_image_is_kept(untrained):
    image = Image.fromarray(np.arange(600, dtype=np.uint8).reshape(20, 30))
    exif = Image.Exif()
    exif[MAKER] = "a maker"
    image.info |= {"icc_profile": b"a profile", "exif": exif.tobytes()}
    restored = untrained.restore(image)
    assert restored.getexif()[MAKER] == "a maker"
    assert restored.info["icc_profile"] == b"a profile"


@pytest.mark.usefixtures("narrow")
def test_a_fit_has_all_stages_and_what_it_learned_survives_a_pickle(monkeypatch):
    for name, value in HURRY["bs6207.deblur.evaluators"].items():
        monkeypatch.setattr(f"bs6207.deblur.evaluators.{name}", value)
    data = embedded_digits()
    restorer = Restorer(epochs=3, precision="fp32").fit(data.train.pixels[:40, 0])
    assert {row["stage"] for row in restorer.history_} == STAGES
    assert restorer.model_.trained_on == {"data": "the images of fit", "pictures": "drawings"}
    image = data.test.pixels[0, 0] / 255
    again = pickle.loads(pickle.dumps(restorer))
    assert np.array_equal(again.restore(image, 1.0), restorer.restore(image, 1.0))
    assert not np.array_equal(restorer.restore(image, 1.0), restorer.restore(image, 0.0))


@pytest.mark.usefixtures("narrow")
def test_a_fit_that_ends_worse_than_the_blurred_images_is_refused(monkeypatch):
    for name, value in HURRY["bs6207.deblur.evaluators"].items():
        monkeypatch.setattr(f"bs6207.deblur.evaluators.{name}", value)
    images = embedded_digits().train.pixels[:40, 0]
    with pytest.raises(DivergenceError, match=r"l1 ends at a validation PSNR of .* dB, below the .* dB of the "):
        Restorer(epochs=3, lr=10, precision="fp32").fit(images)


@pytest.mark.slow
def test_it_learns_from_photographs_by_crops(monkeypatch):
    monkeypatch.setattr("bs6207.deblur.training.CROPS", 640)
    data = photos()
    pictures = [picture.transpose(1, 2, 0)[:200, :300] for picture in data.train.pixels]
    restorer = Restorer(epochs=4, crop=32, blur=["gaussian"], sigma=2, precision="fp32").fit(pictures)
    assert restorer.model_.trained_on["pictures"] == "photographs"
    clear = data.test.pixels[0][:, 100:300, 100:300].transpose(1, 2, 0) / 255
    blurred = gaussian_filter(clear, (2, 2, 0), mode="reflect")
    assert ((restorer.restore(blurred) - clear) ** 2).mean() < 0.97 * ((blurred - clear) ** 2).mean()


@pytest.mark.slow
def test_what_it_learns_restores_what_it_has_not_seen():
    data = embedded_digits()
    restorer = Restorer(epochs=3, batch_size=16, precision="fp32").fit(data.train.pixels[:400])
    clear = data.test.pixels[:50, 0] / 255
    blurred = gaussian_filter(clear, (0, 1.5, 1.5))
    restored = np.stack([restorer.restore(image) for image in blurred])
    assert ((restored - clear) ** 2).mean() < 0.6 * ((blurred - clear) ** 2).mean()  # 0.45 was seen
