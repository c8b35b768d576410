"""Images with their labels."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bs6207.errors import DataError

CHANNELS = (1, 3)  # grey and RGB
ROUNDING = 1e-6  # by which pixels in [0, 1] may lie outside
SPLIT_SEED = 6207  # of every split, whatever --seed says: two runs must be scored on the same images


@dataclass(frozen=True)
class ImageSet:
    """Images, [N, C, H, W], and their labels, [N], indices into the data set's `classes`."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    files: NDArray[np.str_] | None = None  # [N]; of pictures, relative to the folder they are in

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, chosen: "slice | NDArray[np.int64]") -> Self:
        labels = None if self.labels is None else self.labels[chosen]
        return type(self)(self.pixels[chosen], labels, None if self.files is None else self.files[chosen])

    @property
    def unit_pixels(self) -> NDArray[np.float32]:
        """The pixels in [0, 1], [N, C, H, W]."""
        return to_float(self.pixels)

    @property
    def flat(self) -> NDArray[np.float32]:
        """The pixels in [0, 1] as vectors, [N, C * H * W]."""
        return self.unit_pixels.reshape(len(self), -1)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    @property
    def batches(self) -> list[NDArray[np.uint8]]:
        """The pixels as arrays [N, C, H, W] of images of one size: all of them."""
        return [self.pixels]

    @property
    def arrays(self) -> list[NDArray[Any]]:
        """What a checksum is of: pixels and labels."""
        return [self.pixels] if self.labels is None else [self.pixels, self.labels]


@dataclass(frozen=True)
class Photographs(ImageSet):
    """Pictures of any sizes: `pixels` is an array of objects, [N], each [C, H, W] with the same C."""

    @classmethod
    def of(cls, pictures: Sequence[NDArray[np.uint8]]) -> Self:
        pixels = np.empty(len(pictures), object)
        for place, picture in enumerate(pictures):
            pixels[place] = picture
        return cls(pixels, None)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, and the least height and width."""
        channels = self.pixels[0].shape[0] if len(self) else 1
        height, width = (min((picture.shape[axis] for picture in self.pixels), default=0) for axis in (1, 2))
        return channels, height, width

    @property
    def batches(self) -> list[NDArray[np.uint8]]:
        """Each picture as an array of its own, [1, C, H, W]."""
        return [picture[None] for picture in self.pixels]

    @property
    def arrays(self) -> list[NDArray[Any]]:
        return [array for picture in self.pixels for array in (np.array(picture.shape), picture)]


@dataclass(frozen=True)
class DataSet:
    """A named data set, split: train on the first part, choose by the second, score on the third once."""

    name: str
    train: ImageSet
    validation: ImageSet
    test: ImageSet
    sha256: str  # of the pixels and labels as read, before the split
    classes: tuple[str, ...] = ()  # names, by label; empty where the images have no labels
    folder: str | None = None  # of a data set of the user's own
    reading: Mapping[str, Any] = field(default_factory=dict)  # how the folder was read, for metrics.json

    @property
    def source(self) -> str:
        """The value of `--data` that reads it again."""
        return self.folder or self.name

    def train_subset(self, count: int | None) -> ImageSet:
        """The first `count` training images, or DataError if there are fewer; all of them if None."""
        if count is not None and count > len(self.train):
            problem = f"{self.name} has {len(self.train)} training images, not {count}"
            raise DataError(problem, "leave out --train-images to take all")
        return self.train[:count]

    def record(self) -> dict[str, Any]:
        """The entry `data` of metrics.json."""
        return {
            "name": self.name,
            "train": len(self.train),
            "validation": len(self.validation),
            "test": len(self.test),
            "classes": len(self.classes),
            "class_names": list(self.classes),
            "image_shape": list(self.train.image_shape),
            "sha256": self.sha256,
            **({"photographs": True} if isinstance(self.train, Photographs) else {}),
            **self.reading,
        }


def to_uint8(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Images clipped to [0, 1] and rounded to 8 bits."""
    return np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)


def to_float(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """8-bit images in [0, 1]."""
    return np.divide(pixels, 255, dtype=np.float32)


def as_array(image: Any) -> NDArray[Any]:
    """What numpy, Pillow or torch holds of images, as an array."""
    return np.asarray(image.detach() if hasattr(image, "detach") else image)


def within_unit(images: Any) -> Any:
    """The images, of numpy or torch, clipped to [0, 1]; ValueError if more than rounding takes them out of it."""
    wrong = {
        "no numbers (NaN)": images != images,
        "negative": images < -ROUNDING,
        "above 1; divide 8-bit pixels by 255": images > 1 + ROUNDING,
    }
    for what, where in wrong.items():
        if where.any():
            raise ValueError(f"images must lie in [0, 1], and some pixels are {what}")
    return images.clip(0, 1)


def on_one_side(train: ImageSet, test: ImageSet, classes: Sequence[str]) -> dict[str, Any]:
    """Keys of metrics.json: names of the classes that only the training images, or only the test images, show."""
    if train.labels is None or test.labels is None:
        return {"only_in_train": [], "only_in_test": [], "images_of_only_in_test": 0}
    trained, tested = (np.bincount(labels, minlength=len(classes)) for labels in (train.labels, test.labels))
    masks = {"only_in_train": (trained > 0) & (tested == 0), "only_in_test": (trained == 0) & (tested > 0)}
    names = {key: [classes[label] for label in np.flatnonzero(mask).tolist()] for key, mask in masks.items()}
    return {**names, "images_of_only_in_test": int(tested[trained == 0].sum())}


def shuffled(images: ImageSet) -> ImageSet:
    """The same images in a fixed random order."""
    # RandomState's stream is frozen for good (NumPy enhancement proposal 19); default_rng's may change.
    return images[np.random.RandomState(SPLIT_SEED).permutation(len(images))]


def npz(named: Mapping[str, NDArray[Any]]) -> bytes:
    """Arrays as numpy's npz file; numpy writes no times into it, so the same arrays give the same bytes."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **named)  # type: ignore[arg-type]  # numpy 2.1 added a flag beside the arrays
    return stream.getvalue()


def sha256_of(*parts: bytes | NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else part.data)
    return digest.hexdigest()
