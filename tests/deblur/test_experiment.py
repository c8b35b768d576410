"""The whole experiment on images of the user's own."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from bs6207.deblur.experiment import RESTORERS, SMALLEST_SIDE, run
from bs6207.deblur.settings import DeblurSettings
from bs6207.errors import DataError

SILENT = SimpleNamespace(**dict.fromkeys(("expect", "step", "record", "note"), lambda words: None))


def save_squares(folder, shape):
    """Fifty pictures of a bright square on black."""
    random = np.random.RandomState(0)
    for place in range(50):
        pixels = np.zeros(shape, np.uint8)
        top, left = random.randint(0, shape[0] - 6), random.randint(0, shape[1] - 6)
        pixels[top : top + 6, left : left + 6] = random.randint(100, 255, shape[2:])
        Image.fromarray(pixels).save(folder / f"{place}.png")


@pytest.mark.parametrize(("shape", "image_shape"), [((20, 24, 3), [3, 20, 24]), ((33, 31), [1, 33, 31])])
def test_images_of_any_size_and_colour_without_labels_are_restored(tmp_path, shape, image_shape):
    save_squares(tmp_path, shape)
    settings = DeblurSettings(data=str(tmp_path), epochs=10, batch_size=8, sigma="1.5", test_sigmas=[1.5])
    result = run(settings, SILENT)
    assert result.settings.data == str(tmp_path)
    assert result.metrics["data"]["image_shape"] == image_shape
    restored = {name: result.metrics["restorers"][name]["1.5"]["psnr"] for name in RESTORERS}
    assert restored["l1"] > restored["identity"]
    assert restored["l1_disc"] > restored["identity"]


def test_images_too_small_to_be_scored_are_refused(tmp_path):
    save_squares(tmp_path, (SMALLEST_SIDE, SMALLEST_SIDE))
    for file in tmp_path.iterdir():
        Image.open(file).crop((0, 0, 12, SMALLEST_SIDE - 1)).save(file)
    with pytest.raises(DataError, match="less than 7 pixels a side"):
        run(DeblurSettings(data=str(tmp_path)), SILENT)
