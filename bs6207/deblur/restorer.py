"""The restorer of `bs6207 deblur` for arrays and images in memory."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from bs6207.data import pictures
from bs6207.data.images import DataSet, ImageSet, shuffled, to_uint8
from bs6207.data.pictures import Picture
from bs6207.deblur.blur import TYPICAL, Context, split_data
from bs6207.deblur.model import Model
from bs6207.deblur.networks import State, load_weights, new_restorer
from bs6207.deblur.restore import restore_picture
from bs6207.deblur.settings import DeblurSettings
from bs6207.deblur.training import fine_tune, train_disc, train_l1
from bs6207.errors import SettingsError
from bs6207.runs.caller import undisturbed
from bs6207.runs.progress import TaskProgress
from bs6207.runs.python import settings_of
from bs6207.training.devices import prepare, require_device

CHANNELS = (1, 3)
VALIDATED = 10  # one in so many images is held out
NOT_HERE = {  # settings of the command that are of its data, its tests and its processes
    *("data", "train_images", "seeds", "arch", "test_sigmas", "test_images", "sweep", "jobs", "scheduler", "fresh"),
}


class Restorer:
    """Learns to restore blurred images, with L1 and then L1 + discriminator, as `bs6207 deblur` does.

    Args:
        settings: fields of `DeblurSettings` that concern the training, such as epochs=7, sigma=(0.2, 4), noise=0.01,
            disc_weight=0.0005, seed=0, device="auto".

    Attributes:
        model_: the trained `bs6207.deblur.model.Model`, which takes tensors; on the CPU.
        history_: rows of loss and validation PSNR, one for each epoch of each stage.

    Raises:
        ValueError: a setting is unknown or out of range, with the sentence of the command.
    """

    def __init__(self, **settings: Any):
        for name in settings.keys() & NOT_HERE:
            raise SettingsError(
                f"Restorer has no setting {name!r}", "fit takes the images, and bs6207.deblur.run tests"
            )
        self.settings: DeblurSettings = settings_of("deblur", DeblurSettings, settings)

    def fit(self, images: ArrayLike | Sequence[Any]) -> Self:
        """Train on clear images, which are blurred anew for every step.

        Args:
            images: of one size, an array [N, H, W], [N, H, W, C] or [N, C, H, W] with 1 or 3 channels, or a list of
                arrays [H, W] or [H, W, C] or of Pillow images. Pixels are uint8, or floats in [0, 1]. A tenth is held
                out to follow the training, and another one, as the command holds it out for its test.

        Raises:
            ValueError: the images have several sizes, or pixels of another kind.
            bs6207.errors.DataError: they are too few or too small.
            bs6207.errors.DivergenceError: the restorer ends worse than what takes no training.
        """
        mixed = shuffled(ImageSet(stack(images), None))
        count = max(TYPICAL, len(mixed) // VALIDATED)
        data = DataSet("the data", mixed[count:], mixed[:count], mixed[:count], sha256="")
        settings, split = self.settings, split_data(data, self.settings)
        require_device(settings.device)
        context = Context(split, settings, TaskProgress(lambda *event: None), settings.seed)
        shape = split.train.image_shape
        with undisturbed():
            prepare(settings.seed)
            first = train_l1("unet", "l1", context)
            prepare(settings.seed)
            disc = train_disc(context)
            tuned = []
            for name, weight in settings.ends.items():
                prepare(settings.seed)
                tuned.append(fine_tune(name, weight, first.state, disc.state, context))
        self.history_ = [dict(row) for part in (first, disc, *tuned) for row in part.history]
        metadata = {"channels": shape[0], "sigma": tuple(settings.sigma), "clarity": 0.0}
        self.model_ = Model(network(tuned[0].state, shape), network(tuned[-1].state, shape), metadata)
        return self

    def restore(self, image: Any, clarity: float = 0.0) -> Any:
        """The image restored, of the same type and shape.

        Args:
            image: of any size, an array [H, W] or [H, W, C] with 1 or 3 channels, of uint8, uint16 or floats in [0, 1],
                or a Pillow image. Transparency is kept.
            clarity: from 0, closest to the truth on average, to 1, the most pleasing to the discriminator.

        Raises:
            ValueError: the image has another shape, or values outside of [0, 1]; or clarity lies outside.
        """
        if not hasattr(self, "model_"):
            raise ValueError("this Restorer is not fitted; call fit with clear images first")
        with undisturbed():
            if hasattr(image, "getbands"):
                return pictures.to_image(restore_picture(self.model_, pictures.from_image(image), clarity))
            pixels = np.asarray(image)
            if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in CHANNELS) or not pixels.size:
                raise ValueError(f"an image is [H, W] or [H, W, 1 or 3], not {list(pixels.shape)}")
            layers = np.ascontiguousarray(np.atleast_3d(pixels).transpose(2, 0, 1))
            if pixels.dtype in (np.uint8, np.uint16):
                restored = restore_picture(self.model_, Picture(layers), clarity).pixels
            elif np.issubdtype(pixels.dtype, np.floating):
                restored = self.model_.restore(layers[None], clarity)[0].numpy().astype(pixels.dtype)
            else:
                raise ValueError(f"pixels are uint8, uint16 or floats in [0, 1], not {pixels.dtype}")
        return restored.transpose(1, 2, 0).reshape(pixels.shape)


def network(state: State, shape: tuple[int, int, int]) -> torch.nn.Module:
    return load_weights(new_restorer("unet", shape), state, torch.device("cpu"))


def stack(images: Any) -> NDArray[np.uint8]:
    """Images of one size as uint8, [N, C, H, W]."""
    if not hasattr(images, "ndim"):
        images = [pictures.from_image(one).pixels if hasattr(one, "getbands") else np.asarray(one) for one in images]
        if len({one.shape for one in images}) != 1:
            raise ValueError("images must have one size; crop or resize them")
    pixels = np.asarray(images)
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    elif pixels.ndim == 4 and pixels.shape[3] in CHANNELS:
        pixels = pixels.transpose(0, 3, 1, 2)
    if pixels.ndim != 4 or pixels.shape[1] not in CHANNELS:
        raise ValueError(f"images must be [N, H, W], [N, H, W, C] or [N, C, H, W], not {list(pixels.shape)}")
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if not np.issubdtype(pixels.dtype, np.floating) or not ((pixels >= 0) & (pixels <= 1)).all():
        raise ValueError(f"pixels must be uint8, or floats in [0, 1]; these are {pixels.dtype}")
    return to_uint8(pixels)
