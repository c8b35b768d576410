"""The restorer of `bs6207 deblur` for arrays and images in memory."""

from collections.abc import Iterable, Sequence
from os import PathLike
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from bs6207.data import pictures
from bs6207.data.folder import WHOLE
from bs6207.data.images import CHANNELS, DataSet, ImageSet, Photographs, as_array, shuffled, to_uint8, within_unit
from bs6207.data.pictures import Picture
from bs6207.deblur.blur import FEWEST_IMAGES, TYPICAL, Context, split_data
from bs6207.deblur.blur import settings_of as for_data
from bs6207.deblur.model import Model, kind_of_images
from bs6207.deblur.networks import FOLDS, State, load_weights, new_restorer
from bs6207.deblur.restore import require_trained_on, restore_picture
from bs6207.deblur.settings import DeblurSettings
from bs6207.deblur.training import fine_tune, train_disc, train_kernel_net, train_l1
from bs6207.errors import DataError, SettingsError
from bs6207.runs.caller import undisturbed
from bs6207.runs.progress import TaskProgress
from bs6207.runs.python import settings_of
from bs6207.training.devices import prepare, require_device

VALIDATED = 10  # one in so many images is held out
NOT_HERE = {  # settings of the command that are of its data, its tests and its processes
    *("data", "train_images", "seeds", "arch", "test_sigmas", "test_images", "sweep", "jobs", "scheduler", "fresh"),
}


class Restorer:
    """Learns to restore blurred images, with L1 and then L1 + discriminator, as `bs6207 deblur` does.

    Args:
        settings: fields of `DeblurSettings` that concern the training, such as epochs=7, sigma=(0.2, 4), noise=0.01,
            blur=["disk", "motion"], disc_weight=0.0005, seed=0, device="auto".

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
        self._given = settings

    def __repr__(self) -> str:
        return f"Restorer({', '.join(f'{name}={value!r}' for name, value in self._given.items())})"

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings that were given, as scikit-learn asks for them."""
        return dict(self._given)

    def set_params(self, **settings: Any) -> Self:
        self.__init__(**self._given | settings)  # type: ignore[misc]
        return self

    def fit(self, images: ArrayLike | Sequence[Any], y: Any = None) -> Self:
        """Train on clear images, which are blurred anew for every step; `y` is not used.

        Args:
            images: an array [N, H, W], [N, H, W, C] or [N, C, H, W] with 1 or 3 channels, or a sequence of Pillow
                images or arrays [H, W] or [H, W, C]. Pixels are uint8, uint16, or floats in [0, 1]. Images of several
                sizes, or of more than 128 pixels a side, are photographs, of which crops are trained on. A tenth is
                held out to follow the training, and another one, as the command holds it out for its test.

        Raises:
            ValueError: an image has another shape, or pixels of another kind.
            bs6207.errors.DataError: they are too few or too small.
            bs6207.errors.DivergenceError: the restorer ends worse than what takes no training.
        """
        mixed = shuffled(image_set(images))
        are_whole = not isinstance(mixed, Photographs) and self.settings.crop is None
        if are_whole and len(mixed) < (fewest := FEWEST_IMAGES + TYPICAL):
            raise DataError(f"{len(mixed)} images are too few to fit; give {fewest} or more")
        count = max(1 if isinstance(mixed, Photographs) else TYPICAL, len(mixed) // VALIDATED)
        data = DataSet("the images of fit", mixed[count:], mixed[:count], mixed[:count], sha256="")
        settings = for_data(data, self.settings)
        split = split_data(data, settings)
        require_device(settings.device)
        context = Context(split, settings, TaskProgress(lambda *event: None), settings.seed)
        shape = split.train.image_shape
        with undisturbed():
            kernel_nets = []
            for fold in range(0 if settings.crop is None else FOLDS):
                prepare(settings.seed)
                kernel_nets.append(train_kernel_net(fold, context))
            prepare(settings.seed)
            first = train_l1("unet", "l1", [net.state for net in kernel_nets], context)
            prepare(settings.seed)
            disc = train_disc(context)
            tuned = []
            for name, weight in settings.ends.items():
                prepare(settings.seed)
                tuned.append(fine_tune(name, weight, first.state, disc.state, context))
            metadata = {"channels": shape[0], "sigma": tuple(settings.sigma), "clarity": 0.0, "blur": settings.blur}
            metadata["trained_on"] = {"data": data.name, "pictures": kind_of_images(split.train)}
            control, clearest = (network(part.state, shape, bool(kernel_nets)) for part in (tuned[0], tuned[-1]))
            self.model_ = Model(control, clearest, metadata)
        self.history_ = [dict(row) for part in (*kernel_nets, first, disc, *tuned) for row in part.history]
        return self

    def restore(self, image: Any, clarity: float = 0.0, anyway: bool = False) -> Any:
        """The image restored, of the same type and shape.

        Args:
            image: of any size, an array [H, W] or [H, W, C] with 1 or 3 channels, of uint8, uint16 or floats in [0, 1],
                or a Pillow image, whose transparency, colour profile and EXIF are kept; of mode 1 it returns as L, of
                P and CMYK as RGB.
            clarity: from 0, closest to the truth on average, to 1, the most pleasing to the discriminator.
            anyway: restore a photograph too if `fit` saw drawings, such as digits, or the reverse.

        Raises:
            ValueError: the image has another shape, or values outside of [0, 1]; or clarity lies outside.
            bs6207.errors.DataError: it is unlike the images of `fit`.
        """
        if not hasattr(self, "model_"):
            raise ValueError("this Restorer is not fitted; call fit with clear images first")
        picture = pictures.from_image(image) if is_pillow(image) else Picture(layers_of(image))
        is_float = np.issubdtype(picture.pixels.dtype, np.floating)
        if not anyway:
            seen = Picture(to_uint8(picture.pixels)) if is_float else picture
            try:
                require_trained_on(self.model_, seen, "the image")
            except DataError as failure:
                raise DataError(failure.problem, "fit one on such images, or pass anyway=True") from None
        with undisturbed():
            if is_float:
                pixels = self.model_.restore(picture.pixels[None], clarity)[0].numpy()
            else:
                restored = restore_picture(self.model_, picture, clarity)
                if is_pillow(image):
                    return pictures.to_image(restored)
                pixels = restored.pixels
        return pixels.astype(picture.pixels.dtype).transpose(1, 2, 0).reshape(np.shape(image))


def network(state: State, shape: tuple[int, int, int], is_blind: bool) -> torch.nn.Module:
    return load_weights(new_restorer("unet", shape, is_blind), state, torch.device("cpu"))


def is_pillow(image: Any) -> bool:
    return hasattr(image, "getbands")


def layers_of(image: Any) -> NDArray[Any]:
    """An image as an array [C, H, W] of uint8, uint16 or floats."""
    if is_pillow(image):
        return pictures.from_image(image).pixels
    if isinstance(image, str | PathLike):
        raise ValueError(f"{str(image)!r} is no image; open it with Pillow, as in PIL.Image.open")
    pixels = as_array(image)
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in CHANNELS) or not pixels.size:
        raise ValueError(f"an image is [H, W] or [H, W, 1 or 3], not {list(pixels.shape)}")
    if pixels.dtype not in (np.uint8, np.uint16) and not np.issubdtype(pixels.dtype, np.floating):
        raise ValueError(f"pixels are uint8, uint16 or floats in [0, 1], not {pixels.dtype}")
    if np.issubdtype(pixels.dtype, np.floating):
        pixels = within_unit(pixels)
    return np.ascontiguousarray(np.atleast_3d(pixels).transpose(2, 0, 1))


def image_set(images: Any) -> ImageSet:
    """Images as uint8, grey, or RGB if any has colour."""
    if isinstance(images, str) or not isinstance(images, Iterable):
        images = [images]  # which is refused, unless one picture is enough
    if getattr(images, "ndim", 0) == 4 and images.shape[3] not in CHANNELS:
        images = np.moveaxis(as_array(images), 1, 3)
    every = []
    for pixels in map(layers_of, images):
        if pixels.dtype != np.uint8:
            pixels = to_uint8(pixels / 65535 if pixels.dtype == np.uint16 else pixels)
        every.append(pixels)
    if not every:
        raise ValueError("there are no images to fit")
    channels = max(map(len, every))
    every = [pixels if len(pixels) == channels else pixels.repeat(channels, axis=0) for pixels in every]
    sizes = {pixels.shape[1:] for pixels in every}
    is_photographs = len(sizes) > 1 or min(min(sizes)) > WHOLE
    return Photographs.of(every) if is_photographs else ImageSet(np.stack(every), None)
