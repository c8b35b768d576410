"""Pictures of the user's own: read as they are meant to be seen, brought to a size and a mode, encoded without loss."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile
from scipy.ndimage import distance_transform_edt

from bs6207.errors import DataError

GREY = (19595, 38470, 7471)  # 65536ths of red, green and blue: Pillow's weights (ITU-R BT.601)
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # whatever the suffix; others may call programs
READ_AS = {  # Pillow's modes
    **dict.fromkeys(("1", "L", "LA"), "L"),
    **dict.fromkeys(("P", "PA", "RGB", "RGBA", "CMYK"), "RGB"),
}
PHOTOMETRIC, BLACK_ON_WHITE = 262, 0  # a TIFF file's tag, and its value where zero is white
# EXIF tags that a TIFF file shares: width, height, bits, compression, photometric interpretation, orientation, samples,
# where the pixels lie, and how they are coded; TIFF revision 6.0
OF_THE_FILE = (256, 257, 258, 259, 262, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339, 34675)
SIXTEEN_BITS = {"I;16", "I;16B", "I;16L", "I;16N"}
SIXTEEN_BITS_AS_32 = {("I", "PNG"), ("I", "PPM")}  # mode and format: of PNG in Pillow before 11
ORIENTATION, TURNED = 274, (5, 6, 7, 8)  # the tag of EXIF, and its values that exchange width and height
RESAMPLING = Image.Resampling.BICUBIC
SAFE_PIXELS = 89_478_485  # Pillow's bound, a quarter of a gigabyte of RGB: a small file may unpack to far more

# Formats that are not read, recognized by how a file begins: https://en.wikipedia.org/wiki/List_of_file_signatures.
SIGNATURES: dict[str, bytes | tuple[bytes, ...]] = {
    "JPEG XL": (b"\xff\x0a", b"\0\0\0\x0cJXL "),
    "JPEG 2000": (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "),
    "JPEG XR": b"II\xbc\x01",
    "PSD": b"8BPS",
    "XCF": b"gimp xcf",
    "PDF": b"%PDF",
    "PostScript": b"%!PS",
    "SVG": b"<svg",
    "ICO": b"\0\0\1\0",
    "DDS": b"DDS ",
    "QOI": b"qoif",
    "PAM": b"P7\n",
    "OpenEXR": b"v/1\x01",
    "Radiance HDR": b"#?RADIANCE",
    "RAF": b"FUJIFILMCCD-RAW",
}
BRANDS = {  # of the ISO base media format, ISO/IEC 14496-12: pictures coded as frames of a video; generic ones last
    "AVIF": {b"avif", b"avis"},
    "HEIC": {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"},
    "CR3": {b"crx "},
    "HEIF": {b"mif1", b"msf1"},
}


@dataclass(frozen=True)
class Picture:
    """A picture, upright: pixels [C, H, W], grey or RGB, and what else a file holds of it, if it does."""

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    alpha: NDArray[np.uint8] | None = None  # [H, W]
    profile: bytes | None = None  # ICC colour profile
    exif: bytes | None = None  # but for the orientation


def read(file: Path, most_pixels: int = SAFE_PIXELS, or_else: str = "") -> Picture:
    """Read a picture; palettes become RGB, and so does CMYK. Hidden pixels take the colour of the nearest visible one.

    Raises DataError if the file is missing, broken, holds several pictures or more than `most_pixels`; `or_else` then
    ends the message with another remedy.
    """
    with opened(file, most_pixels, or_else) as image:
        return decode(image, file)


def size_of(file: Path) -> tuple[int, int]:
    """Height and width of a picture, upright, from the beginning of its file; DataError if that is broken."""
    with opened(file, SAFE_PIXELS) as image:
        turned = image.getexif().get(ORIENTATION) in TURNED
        return (image.width, image.height) if turned else (image.height, image.width)


@contextmanager
def opened(file: Path, most_pixels: int, or_else: str = "") -> Iterator[Image.Image]:
    """A picture whose pixels are not read yet; what fails then is reported as in `read`."""
    try:
        is_folder, is_file = file.is_dir(), file.is_file()
    except OSError as failure:  # a name that is too long, a folder that may not be entered
        raise DataError(f"cannot read {file}: {failure.strerror}; give a picture") from None
    if is_folder:
        raise DataError(f"{file} is a folder without a picture; give one that holds some")
    if not is_file:
        raise DataError(f"there is no file {file}; give a picture")
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # Pillow's, which is global; it refuses at twice that
    try:
        # From a stream, or Pillow 13 maps an uncompressed TIFF file with width and height exchanged, if it lies so.
        with warnings.catch_warnings(action="ignore"), file.open("rb") as stream:
            image = Image.open(stream, formats=FORMATS)
            if (pixels := image.width * image.height) > most_pixels:
                safe = f"{most_pixels:,} that are safe; make it smaller{or_else}"
                raise DataError(f"{file} has {pixels:,} pixels, more than the {safe}")
            yield image
    except (DataError, MemoryError):
        raise
    except UnidentifiedImageError:
        if kind := kind_of(file):
            raise DataError(f"{file} is in the format {kind}, which is not read; save it as PNG or JPEG") from None
        raise DataError(f"{file} is not an image in {', '.join(FORMATS)}; leave it out, or save it again") from None
    except Exception as failure:  # what Pillow's decoders raise depends on which bytes are broken
        raise DataError(f"cannot read {file}: {failure}; leave it out, or save it again") from None
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def decode(image: Image.Image, file: Path) -> Picture:
    if loses_bits(image):
        raise DataError(f"{file} has more than 8 bits per channel, and colour or alpha; save it with 8")
    if getattr(image, "is_animated", False) and image.format != "MPO":  # a phone's photo with its preview
        raise DataError(f"{file} holds several pictures; save each as a file of its own")
    is_deep = image.mode in SIXTEEN_BITS or (image.mode, image.format) in SIXTEEN_BITS_AS_32
    if image.mode not in READ_AS and not is_deep:
        raise DataError(f"{file} is stored as {image.mode}; save it with 8 bits per channel, or as grey with 16")
    profile = None if image.mode == "CMYK" else image.info.get("icc_profile")
    exif = exif_of(image)
    upright = ImageOps.exif_transpose(image)
    if is_deep:
        if image.has_transparency_data:
            raise DataError(f"{file} has 16 bits and a transparent colour; save it without transparency")
        pixels = np.asarray(upright).astype(np.uint16)[None]
        tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
        if tags.get(PHOTOMETRIC) == BLACK_ON_WHITE:  # with 8 bits Pillow turns it round itself
            pixels = np.iinfo(np.uint16).max - pixels
        return Picture(pixels, profile=profile, exif=exif)
    kind = READ_AS[image.mode] + ("A" if upright.has_transparency_data else "")
    channels = np.atleast_3d(np.asarray(upright.convert(kind))).transpose(2, 0, 1)
    if kind in ("LA", "RGBA"):
        return Picture(without_hidden(channels[:-1], channels[-1]), channels[-1], profile, exif)
    return Picture(channels, profile=profile, exif=exif)


def exif_of(image: Image.Image) -> bytes | None:
    """When, where and how a picture was taken, without what describes the pixels of its file."""
    exif = Image.Exif()
    exif.load(image.getexif().tobytes())  # a copy: the picture's own says how to turn it
    for tag in OF_THE_FILE:
        exif.pop(tag, None)
    return exif.tobytes() if exif else None


def convert(pixels: NDArray[np.uint8], colour: str) -> NDArray[np.uint8]:
    """Pixels, [..., C, H, W], of the other number of channels: `rgb` from grey, or `grey` from RGB."""
    if colour == "rgb":
        return pixels.repeat(3, axis=-3)
    weighted = np.tensordot(np.array(GREY, np.uint32), pixels.astype(np.uint32), (0, pixels.ndim - 3))
    return np.expand_dims((weighted + 2**15 >> 16).astype(np.uint8), -3)


def fit(pixels: NDArray[np.uint8], side: int, how: str, ground: tuple[int, ...] | None = None) -> NDArray[np.uint8]:
    """A picture, [C, H, W], as a square of `side` pixels a side.

    Args:
        how: `pad` (whole, with even margins), `crop` (the middle) or `stretch` (whole, its shape changed).
        ground: the colour of margins; the median of the border if None.
    """
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    if how == "pad":
        edges = [pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1]]
        colour = ground or tuple(np.median(np.concatenate(edges, axis=1), axis=1).astype(int).tolist())
        image = ImageOps.pad(image, (side, side), RESAMPLING, colour[0] if len(colour) == 1 else colour)
    elif how == "crop":
        image = ImageOps.fit(image, (side, side), RESAMPLING)
    else:
        image = image.resize((side, side), RESAMPLING)
    return np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)


def ground_for(transparent: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]]) -> int:
    """The grey level that stands out from what is visible of pictures, each with its alpha: 255, or 0."""
    light = sum(float((pixels * (alpha / 255)).mean(0).sum()) for pixels, alpha in transparent)
    visible = sum(float(alpha.sum()) / 255 for _, alpha in transparent)
    return 0 if light > visible * 255 / 2 else 255


def laid_on(ground: int, pixels: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture on an even ground of that grey level; `alpha` is [1, H, W]."""
    share = alpha / np.float32(255)
    return np.rint(share * pixels + (1 - share) * ground).astype(np.uint8)


def colour_share(every: Sequence[NDArray[np.uint8]]) -> float:
    """The share of the variance of all pixels, over all pictures, that is of their colour and not of their light."""
    count, sums, squares = 0, np.zeros(4), np.zeros(4)
    for pixels in every:
        light = pixels.mean(0, dtype=np.float64)
        parts = np.concatenate((light[None], pixels - light if len(pixels) == 3 else np.zeros((3, *light.shape))))
        count += light.size
        sums += parts.sum((1, 2))
        squares += np.square(parts).sum((1, 2))
    variances = squares / count - np.square(sums / count)
    of_light, of_colour = 3 * variances[0], variances[1:].sum()
    return float(of_colour / total) if (total := of_light + of_colour) > 0 else 0.0


def without_hidden(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels, [C, H, W], where each of alpha 0 has the colour of the nearest visible one; black where none is visible.

    What a file holds there is arbitrary, and a network would spread it into what is visible.
    """
    hidden = alpha == 0
    if not hidden.any():
        return pixels
    if hidden.all():
        return np.zeros_like(pixels)
    rows, columns = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    filled = pixels.copy()
    filled[:, hidden] = pixels[:, rows[hidden], columns[hidden]]
    return filled


def png(picture: Picture) -> bytes:
    """The picture as a PNG file, every pixel as it is."""
    stream = io.BytesIO()
    exif = {"exif": picture.exif} if picture.exif else {}
    to_image(picture).save(stream, "PNG", icc_profile=picture.profile, **exif)
    return stream.getvalue()


def to_image(picture: Picture) -> Image.Image:
    """The picture as an image of Pillow's, L, RGB, LA, RGBA or of 16 bits."""
    layers = picture.pixels if picture.alpha is None else np.concatenate((picture.pixels, picture.alpha[None]))
    image = Image.fromarray(np.ascontiguousarray(layers[0] if len(layers) == 1 else layers.transpose(1, 2, 0)))
    image.info |= {key: held for key, held in (("icc_profile", picture.profile), ("exif", picture.exif)) if held}
    return image


def from_image(image: Image.Image) -> Picture:
    """An image of Pillow's, read as `read` reads a file; DataError if it cannot be."""
    return decode(image, Path("the image"))


def as_jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Pixels, [C, H, W], as they come back from a JPEG file of that quality, 1 to 100."""
    stream = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(stream, "JPEG", quality=quality)
    return np.atleast_3d(np.asarray(Image.open(stream))).transpose(2, 0, 1)


def loses_bits(image: Image.Image) -> bool:
    """Whether Pillow reduces more than 8 bits per channel to 8, as it does but for grey; only its decoders know."""
    for codec, _, _, arguments in getattr(image, "tile", []) if image.mode in READ_AS else []:
        raw_mode, *others = arguments if isinstance(arguments, tuple) else (arguments,)
        if ";16" in str(raw_mode) or (codec in ("ppm", "ppm_plain") and any(most > 255 for most in others)):
            return True
    return False


def kind_of(file: Path) -> str | None:
    """The name of a format that is not read, if it is known."""
    with file.open("rb") as stream:
        beginning = stream.read(256)
    if beginning[4:8] == b"ftyp":
        listed = beginning[8 : int.from_bytes(beginning[:4])]
        brands = {listed[place : place + 4] for place in range(0, len(listed), 4)}
        return next((name for name, known in BRANDS.items() if brands & known), None)
    return next((name for name, known in SIGNATURES.items() if beginning.startswith(known)), None)
