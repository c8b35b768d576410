"""`--data photos`: photographs of scikit-image, all CC0 or public domain; those of scikit-learn are for the test."""

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bs6207.data import pictures
from bs6207.data.images import DataSet, Photographs, sha256_of
from bs6207.errors import DataError


class Photo(NamedTuple):
    """A photograph in an installed package, and what the package's page says of it."""

    package: str
    file: str  # below the package's folder
    licence: str
    source: str


def of_skimage(file: str, licence: str, source: str) -> Photo:
    return Photo("skimage", f"data/{file}", licence, source)


# Pages: https://scikit-image.org/docs/stable/api/skimage.data.html. Left out are pictures whose page does not say CC0
# or public domain (coins, moon, motorcycle), a blurred one (clock), and those that are no photographs of a scene.
# The first is for the held-out discriminator: see deblur/blur.py.
TRAIN = (
    of_skimage("gravel.png", "CC0", "CC0Textures, cc0textures.com/view.php?tex=Gravel04"),
    of_skimage("astronaut.png", "public domain", "NASA Great Images, flic.kr/p/r9qvLn"),
    of_skimage("camera.png", "CC0", "Lav Varshney"),
    of_skimage("chelsea.png", "CC0", "Stefan van der Walt"),
    of_skimage("coffee.png", "CC0", "Rachel Michetti, Pikolo Espresso Bar"),
    of_skimage("grass.png", "CC0", "www.deviantart.com/linolafett/art/Grass-01-434853879"),
    of_skimage("hubble_deep_field.jpg", "public domain", "NASA, HubbleSite 2012/37"),
    of_skimage("retina.jpg", "CC0", "Mikael Häggström, Wikimedia Commons"),
)
VALIDATION = (
    of_skimage("brick.png", "CC0", "CC0Textures, cc0textures.com/view.php?tex=Bricks25"),
    of_skimage("rocket.jpg", "public domain", "SpaceX Photos, www.flickr.com/photos/spacexphotos/16511594820"),
)
TEST = (  # scored on, never trained on, and not part of what we distribute
    Photo("sklearn", "datasets/images/china.jpg", "CC BY 2.0", "danielbuechele, flickr.com 6061409035"),
    Photo("sklearn", "datasets/images/flower.jpg", "CC BY 2.0", "vultilion, flickr.com 6056698931"),
)


def photos() -> DataSet:
    """The photographs, in colour where they have it, split by picture.

    Raises:
        DataError: a package is missing, or comes with other photographs.
    """
    train, validation, test = (read(part) for part in (TRAIN, VALIDATION, TEST))
    sha256 = sha256_of(*train.arrays, *validation.arrays, *test.arrays)
    return DataSet("photos", train, validation, test, sha256)


def read(photos: tuple[Photo, ...]) -> Photographs:
    every = []
    for package, file, *_ in photos:
        found = find_spec(package)
        if found is None or found.origin is None:
            raise DataError(f"photos needs the package {package}", "run pip install scikit-image scikit-learn")
        pixels = pictures.read(Path(found.origin).parent / file).pixels
        every.append(np.ascontiguousarray(np.broadcast_to(pixels, (3, *pixels.shape[1:])), np.uint8))
    return Photographs.of(every)
