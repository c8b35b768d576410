"""`bs6207 restore`: a trained model on the user's own pictures, each restored, checked and written."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.nn.functional import pad

from bs6207.data import pictures
from bs6207.data.folder import list_folder
from bs6207.data.pictures import SAFE_PIXELS, Picture
from bs6207.deblur.model import KINDS, PHOTOGRAPHS, Model, Tile, kinds_of, load, tiles
from bs6207.deblur.networks import REACH, STRIDE, BlindUNet
from bs6207.deblur.settings import RestoreSettings
from bs6207.errors import DataError, FolderError, SettingsError
from bs6207.runs.memory import cores_granted
from bs6207.runs.names import is_text
from bs6207.runs.progress import Progress
from bs6207.runs.result import Row, Table
from bs6207.training.devices import choose_device, prepare
from bs6207.training.metrics.restoration import mse, psnr_of

WINDOW = 1000  # pixels a side: of a larger picture the middle is evaluated
BEYOND = 1.5  # times the widest blur trained on: upper bound of the search for sigma
AT_THE_END = 0.99  # of it: a result there may be more
# Thresholds from restorers trained on MNIST with sigma 0.2 to 4, on digits of the test set and on pictures that they
# spoil. Digits of their range have a re-blur PSNR of 30.2 dB or more, photographs of 27.0 dB or less. With little
# contrast that is little: of digits of sigma 3, 19 in 20 reach 16.6 dB of SNR or more, of sigma 4 12.7 dB; writing in
# grey 0 to 20, or 108 to 148, which they spoil too, 10.6 dB or less.
PLAUSIBLE_PSNR = 30.0  # dB
PLAUSIBLE_SNR = 13.0  # dB
ONE_STEP = 1 / 255  # of change, where no blur could have changed anything
SHARP = 0.35  # pixels: clear digits have a sigma of 0.26 to 0.33, those of sigma 0.5 have 0.46 to 0.54
NARROWER = 0.9  # times the narrowest blur trained on
WIDER = 1.1  # times the widest: digits of sigma 4 have up to 4.29, a page of them with sigma 5 has 4.63 or more

LONG = 5.0  # seconds; of what takes longer an estimate is given
MOST_THREADS = 4

ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
TOLERANCE = 1e-4  # of a pixel in [0, 1]; an 8-bit step is 4e-3
CHECKED = ((1, 4 * STRIDE, 7 * STRIDE), (3, 5 * STRIDE + 1, 3 * STRIDE - 1))  # batch, height, width

Write = Callable[..., Path]  # of a file, its content and the flag that named it; returns the path written


@dataclass(frozen=True)
class Restored:
    rows: list[Row]  # what was measured of every restored picture
    failed: list[Row]  # the files that could not be read or written, each with the reason, a sentence
    onnx: Row | None  # path, clarity and largest difference from torch of the ONNX file

    @property
    def metrics(self) -> dict[str, Any]:
        return {"images": self.rows, "failed": self.failed, "onnx": self.onnx}

    @property
    def headline(self) -> Table:
        def rounded(value: float | None, digits: int) -> str:
            return "—" if value is None else f"{value:.{digits}f}"

        rows = [
            {
                "picture": row["file"],
                "pixels": f"{row['width']} x {row['height']}",
                "sigma": rounded(row["sigma"], 2),
                "re-blur PSNR dB": rounded(row["reblur_psnr"], 1),
                "re-blur SNR dB": rounded(row["reblur_snr"], 1),
                "clarity": f"{row['clarity']:g}",
                "written": Path(row["written"]).name,
            }
            for row in self.rows
        ]
        return Table(tuple(rows[0]) if rows else (), rows)

    @property
    def remarks(self) -> list[str]:
        sentences = []
        if self.rows:
            sentences.append(
                "sigma, in pixels, is the Gaussian blur that leads from the result back to the picture: what the "
                "restorer removed. The re-blur PSNR and SNR are how close it leads, relative to the range of pixels "
                "and to the picture's contrast, of visible pixels away from the borders. Clarity is the weight of the "
                "discriminator, 0 to 1. No number proves that the result is the scene before the blur."
            )
        if onnx := self.onnx:
            sentences.append(
                f"{onnx['written']}: the network at --clarity {onnx['clarity']:g}, any height and width, at most "
                f"{onnx['largest_difference']:.1e} from torch."
            )
        return sentences

    @property
    def failures(self) -> list[str]:
        return [row["reason"] for row in self.failed]

    def written(self, folder: Path) -> str:
        """The folder of the results, or the ONNX file if there is nothing else."""
        return str(folder) if self.rows or not self.onnx else self.onnx["written"]


def run(settings: RestoreSettings, folder: Path, write: Write, progress: Progress) -> Restored:
    """Restore every picture into `folder`; one that fails does not affect the others."""
    missing = [name for name in ONNX_PACKAGES if find_spec(name) is None]
    if settings.onnx and missing:
        raise SettingsError(f"--onnx needs {', '.join(missing)}; pip install 'bs6207[onnx]'")
    prepare(seed=0)
    model = load(settings.model).to(choose_device(settings.device))
    clarity = model.clarity if settings.clarity is None else settings.clarity
    results = Restored([], [], export(model, clarity, settings.onnx, write) if settings.onnx else None)
    names = find_pictures(settings.images)
    progress.expect(len(names))
    for name in names:
        progress.status(name)
        try:
            row = restore_file(model, name, clarity, settings, folder, write, progress)
        except (DataError, FolderError) as failure:
            results.failed.append({"file": name.encode(errors="backslashreplace").decode(), "reason": str(failure)})
        else:
            for remark in row["remarks"]:
                progress.warn(f"{name}: {remark}")
            results.rows.append(row)
        progress.step(name)
    return results


def find_pictures(names: Sequence[str]) -> list[str]:
    """The files to restore, with those of folders by name; a folder without any stays, for reading it to refuse."""
    files = list[str]()
    for name in names:
        try:
            inside = [*map(str, pictures_in(Path(name), set()))] if Path(name).is_dir() else []
        except (DataError, OSError, ValueError):  # reading says what is wrong with it
            inside = []
        files += inside or [name]
    return files


def pictures_in(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """The pictures of a folder, then those of its folders; `seen` are folders that links need not lead to again."""
    if folder.resolve() not in seen:
        seen.add(folder.resolve())
        folders, files, _ = list_folder(folder)
        yield from files
        for inner in folders:
            yield from pictures_in(inner, seen)


def restore_file(
    model: Model, name: str, clarity: float, settings: RestoreSettings, folder: Path, write: Write, progress: Progress
) -> Row:
    if not is_text(name):
        raise DataError(f"{name!r} is not UTF-8; rename the file")
    most_pixels = settings.max_pixels or SAFE_PIXELS
    picture = pictures.read(Path(name), most_pixels, ", or allow more with --max-pixels")
    if not settings.anyway:
        require_trained_on(model, picture, name)
    restored = restore_picture(model, picture, clarity, partial(announce, progress, name))
    written = write(folder / f"{Path(name).stem}.png", pictures.png(restored))
    channels, height, width = picture.pixels.shape
    visible = np.ones((height, width), bool) if picture.alpha is None else picture.alpha > 0
    before, after = (unit(middle(image.pixels)) for image in (picture, restored))
    reblur = find_reblur(before, after, middle(visible[None])[0], BEYOND * model.sigma[1])
    size = {"width": width, "height": height, "channels": channels, "bits": 8 * picture.pixels.itemsize}
    named = {"file": name, "written": str(written), **size, "clarity": clarity}
    is_gaussian = model.blur == ["gaussian"] and model.trained_on.get("pictures") != PHOTOGRAPHS
    return {**named, **reblur, "remarks": doubts(reblur, model.sigma, is_gaussian)}


def require_trained_on(model: Model, picture: Picture, name: str) -> None:
    """Raise DataError for a photograph if the restorer was trained on drawings, such as digits, or the reverse."""
    trained = model.trained_on.get("pictures")
    if trained not in KINDS or trained in (kinds := kinds_of(picture.pixels)):
        return
    seen = "a photograph" if PHOTOGRAPHS in kinds else "a drawing on an even ground, such as a digit"
    other = "photos" if PHOTOGRAPHS in kinds else "mnist-5k"
    raise DataError(
        f"{name} looks like {seen}, and the restorer was trained on {trained} ({model.trained_on['data']})",
        f"give --model, the folder of a run of bs6207 deblur --data {other}, or restore it with --anyway",
    )


def announce(progress: Progress, name: str, done: int, count: int, seconds: float) -> None:
    """Say how far a picture is, after so many of its tiles and seconds, and at first how long it takes."""
    whole = seconds / done * count
    if done == 1 and whole >= LONG:
        progress.warn(f"{name}: about {whole:.0f} s for {count} tiles")
    progress.status(f"{name}, tile {done} of {count}")


@torch.no_grad()
def restore_picture(
    model: Model, picture: Picture, clarity: float, announce: Callable[[int, int, float], None] = lambda *_: None
) -> Picture:
    """Restore the colours, tile by tile from integers to integers: a blind network only sees all of it as floats.

    Every core takes tiles, one thread each.
    """
    network, pixels = model.network(clarity), picture.pixels
    restored = np.empty_like(pixels)

    def inputs_of(some: NDArray[Any]) -> Tensor:
        return model.inputs(network, torch.from_numpy(unit(some))[None].to(model.device))

    whole = inputs_of(pixels) if isinstance(network, BlindUNet) else None

    def restore_tile(tile: Tile) -> None:
        rows, columns = tile.shown
        shown = inputs_of(pixels[:, rows, columns]) if whole is None else whole[..., rows, columns]
        with torch.no_grad():  # which each thread has for itself
            output = model.restore_part(network, len(pixels), shown)[0].cpu().numpy()[:, *tile.used]
        restored[:, *tile.place] = np.round(output * np.iinfo(pixels.dtype).max)

    every, start = [*tiles(pixels.shape[1], pixels.shape[2])], time.monotonic()
    with ThreadPoolExecutor(min(len(every), threads())) as executor:
        for done, _ in enumerate(executor.map(restore_tile, every), 1):
            announce(done, len(every), time.monotonic() - start)
    return Picture(restored, picture.alpha, picture.profile, picture.exif)


def threads() -> int:
    """Cores that tiles are restored on; each takes the memory of a tile."""
    return max(1, min(MOST_THREADS, int(cores_granted() or MOST_THREADS), os.cpu_count() or 1))


def unit(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Integers of 8 or 16 bits as float32 in [0, 1]."""
    return np.divide(pixels, np.iinfo(pixels.dtype).max, dtype=np.float32)


def find_reblur(
    blurred: NDArray[np.float32], restored: NDArray[np.float32], visible: NDArray[np.bool_], widest: float
) -> Row:
    """Search for the Gaussian blur, up to `widest`, that leads from the restored picture back to the blurred one.

    Only visible pixels count, away from the borders, beyond which the scene is unknown. Pictures are [C, H, W] in
    [0, 1]; of large ones, the `middle` will do.

    Returns:
        `sigma` in pixels, what the restorer removed; `reblur_psnr` of the re-blurred picture in decibels; `reblur_snr`,
        the same for the picture's variance; `change`, root mean square of the restorer's; and how many `judged_pixels`.
        The first three are None where these have one colour, and `change` too where there are none.
    """
    border = ceil(4 * widest)  # where scipy's Gaussian ends
    (mask,) = middle(visible[None], border)
    target = middle(blurred, border)[:, mask]

    def distance(sigma: float) -> float:
        reblurred = gaussian_filter(restored, (0, sigma, sigma), mode="nearest")
        return mse(target, middle(reblurred, border)[:, mask])

    change = sqrt(distance(0)) if target.size else None
    row = {**dict.fromkeys(("sigma", "reblur_psnr", "reblur_snr")), "change": change, "judged_pixels": target.shape[1]}
    if change is None or not np.ptp(target, axis=1).any():
        return row
    nearest = minimize_scalar(distance, bounds=(0, widest), method="bounded", options={"xatol": 0.005})
    sigma, residue = (float(nearest.x), nearest.fun) if nearest.fun < change**2 else (0.0, change**2)
    psnr, contrast = psnr_of(residue), float(target.var(axis=1, dtype=np.float64).mean())
    return row | {"sigma": sigma, "reblur_psnr": psnr, "reblur_snr": psnr - psnr_of(contrast)}


def middle(picture: NDArray[Any], border: int = 0) -> NDArray[Any]:
    """At most WINDOW x WINDOW pixels without a border, or without a quarter of the side if that is less."""
    height, width = picture.shape[1:]
    top, left = (max(min(border, side // 4), (side - WINDOW) // 2) for side in (height, width))
    return picture[:, top : height - top, left : width - left]


def doubts(reblur: Row, trained: tuple[float, float], is_gaussian: bool = True) -> list[str]:
    """Reasons to distrust the result of a restorer that was trained on this range of sigma, a sentence each.

    One trained on other blur than Gaussians, or on photographs, need not lead back by one: `is_gaussian` is False.
    """
    sigma, psnr, snr, change = (reblur[key] for key in ("sigma", "reblur_psnr", "reblur_snr", "change"))
    narrowest, widest = trained
    if change is None:
        return ["no visible pixel lies away from the borders, so the result is not evaluated"]
    changed = f"{255 * change:.1f} of 255 levels, root mean square"
    if sigma is None:
        sentence = "away from the borders the picture has one colour, which no blur changes, so there is none to find"
        spoilt = f"; the restorer changed it all the same, by {changed}; do not trust it"
        return [sentence + spoilt * (change > ONE_STEP)]
    sentences = []
    if sigma > WIDER * widest:
        where = " (the end of the search)" if sigma > AT_THE_END * BEYOND * widest else ""
        sentences.append(f"sigma {sigma:.2f}{where} is more blur than the restorer was trained on, up to {widest:g}")
    if is_gaussian and (psnr < PLAUSIBLE_PSNR or snr < PLAUSIBLE_SNR):
        sentences.append(
            f"no Gaussian blur leads back from the result to the picture (re-blur PSNR {psnr:.1f} dB, SNR {snr:.1f} "
            f"dB, where {PLAUSIBLE_PSNR:g} and {PLAUSIBLE_SNR:g} are needed): another kind of blur, noise, or images "
            "unlike those of the training; do not trust it"
        )
    elif sigma < SHARP:
        sentences.append(
            f"the restorer hardly changed the picture ({changed}): sigma {sigma:.2f} measures that change, not the "
            "blur of the picture"
        )
    elif sigma < NARROWER * narrowest:
        sentences.append(f"sigma {sigma:.2f} is less blur than the restorer was trained on, from {narrowest:g}")
    return sentences


class WholeImage(nn.Module):
    """A restorer with the padding and the clipping of `Model.restore`."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, blurred: Tensor) -> Tensor:
        height, width = blurred.shape[-2:]
        sides = (REACH, REACH + -width % STRIDE, REACH, REACH + -height % STRIDE)
        restored = self.network(pad(blurred, sides, mode="replicate"))
        return restored[..., REACH : REACH + height, REACH : REACH + width].clamp(0, 1)


def export(model: Model, clarity: float, file: str, write: Write) -> Row:
    """Write the network at one clarity as an ONNX file, unless it differs from torch by TOLERANCE or more.

    Its input `blurred` and its output `restored` are [batch, channels, height, width] in [0, 1], every size free but
    the channels; padding is part of the graph.
    """
    if isinstance(model.control, BlindUNet):
        raise SettingsError(
            "--onnx takes restorers of digits and other whole images; one of photographs estimates the blur of each by "
            "Fourier transforms, which are not exported; leave out --onnx"
        )
    network = WholeImage(model.network(clarity)).cpu().eval()
    example = torch.zeros(2, model.channels, 3 * STRIDE + 1, 3 * STRIDE + 2)  # no size that might be taken for fixed
    sizes = {"blurred": {0: "batch", 2: "height", 3: "width"}}
    names: Any = {"input_names": ["blurred"], "output_names": ["restored"], "dynamic_shapes": sizes}
    program = torch.onnx.export(network, (example,), dynamo=True, verbose=False, **names)
    assert program is not None  # None only with a file name
    content = program.model_proto.SerializeToString()
    if (difference := largest_difference(network, content, model.channels)) >= TOLERANCE:
        raise FolderError(
            f"the ONNX file would differ from torch by {difference:.1e}, not less than {TOLERANCE:g}, so it is not "
            "written; try another version of torch or onnxruntime"
        )
    written = write(Path(file), content, "--onnx")
    return {"clarity": clarity, "largest_difference": difference, "written": str(written)}


@torch.no_grad()
def largest_difference(network: nn.Module, content: bytes, channels: int) -> float:
    """Between torch and onnxruntime, over random images of two sizes, one of them off the network's grid."""
    from onnxruntime import InferenceSession

    session = InferenceSession(content, providers=["CPUExecutionProvider"])
    random = torch.Generator().manual_seed(0)
    differences = []
    for batch, height, width in CHECKED:
        blurred = torch.rand(batch, channels, height, width, generator=random)
        (restored,) = session.run(None, {"blurred": blurred.numpy()})
        differences.append(float((network(blurred) - torch.from_numpy(restored)).abs().max()))
    return max(differences)
