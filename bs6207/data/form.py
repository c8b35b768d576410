"""How a folder of pictures becomes images of one size and mode; `sources` and `folder` both speak of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    """How the pictures of a folder are read and brought to one size and mode."""

    size: int | None = None  # pixels a side; None for that of the pictures, or what suits them where they differ
    fit: str = "pad"  # how other shapes become a square: see `pictures.fit`
    colour: str = "auto"  # grey, rgb, or auto: RGB where colour matters
    recursive: bool = False  # read what lies at any depth, without classes


AS_STORED = Form()
