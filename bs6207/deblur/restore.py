"""A trained restorer on pictures of the user's own, each restored, judged and written."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from math import ceil, sqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from bs6207.data import pictures
from bs6207.data.pictures import SAFE_PIXELS, Picture
from bs6207.deblur.model import Model, load, tiles, with_border
from bs6207.deblur.networks import STRIDE
from bs6207.deblur.settings import RestoreSettings
from bs6207.errors import DataError, FolderError, SettingsError
from bs6207.runs.names import is_text
from bs6207.runs.progress import Progress
from bs6207.runs.result import Row, Table
from bs6207.training.devices import choose_device, prepare
from bs6207.training.metrics.restoration import mse, psnr_of

WINDOW = 1000  # pixels a side: a larger picture is judged by its middle
BEYOND = 1.5  # times the widest blur trained on: how far the search goes
AT_THE_END = 0.99  # of it: what is found there may be more
# Found with restorers trained on MNIST with sigma 0.2 to 4, on digits of the test set and on what they spoil. Digits of
# their range lead back by 30.2 dB or more, and photographs by 27.0 dB or less. That is little where there is little
# contrast: of digits of sigma 3, 19 in 20 lead back to 16.6 dB below their variance or more, of sigma 4 to 12.7 dB;
# writing in grey 0 to 20, or 108 to 148, which it spoils too, to 10.6 dB or less.
PLAUSIBLE_PSNR = 30.0  # dB
PLAUSIBLE_SNR = 13.0  # dB
ONE_STEP = 1 / 255  # of change, where no blur could have changed anything
SHARP = 0.35  # pixels: clear digits show 0.26 to 0.33, those of sigma 0.5 show 0.46 to 0.54
NARROWER = 0.9  # times the narrowest blur trained on
WIDER = 1.1  # times the widest: digits of sigma 4 show up to 4.29, a page of them with sigma 5 shows 4.63 or more


class Reblur(NamedTuple):
    """The Gaussian blur that leads from a restored picture back to the blurred one.

    Attributes:
        sigma: its width in pixels, a measure of what the restorer did. None where there is nothing to judge by: no
            visible pixel, or one colour; then so are the next two.
        psnr: how close it leads, in decibels for pixels in [0, 1].
        snr: the same against the contrast of the picture: its variance, in decibels above the mean squared residue.
        change: root mean square of what the restorer changed, for pixels in [0, 1]; None without a visible pixel.
        judged: how many pixels all of this is of.
    """

    sigma: float | None
    psnr: float | None
    snr: float | None
    change: float | None
    judged: int


def blur_between(
    blurred: NDArray[np.float32], restored: NDArray[np.float32], visible: NDArray[np.bool_], widest: float
) -> Reblur:
    """Look for the Gaussian blur that leads from the restored picture back to the blurred one.

    It is judged by the visible pixels away from the borders, beyond which nobody knows what was there.

    Args:
        blurred, restored: [C, H, W] in [0, 1]; of large ones, the `middle` will do.
        visible: [H, W].
        widest: of the blurs to try, in pixels.
    """
    border = ceil(4 * widest)  # where scipy's Gaussian ends
    (judged,) = middle(visible[None], border)
    given = middle(blurred, border)[:, judged]

    def distance(sigma: float) -> float:
        again = gaussian_filter(restored, (0, sigma, sigma), mode="nearest")
        return mse(given, middle(again, border)[:, judged])

    if not given.size:
        return Reblur(None, None, None, None, 0)
    change = sqrt(distance(0))
    if not np.ptp(given, axis=1).any():
        return Reblur(None, None, None, change, given.shape[1])
    nearest = minimize_scalar(distance, bounds=(0, widest), method="bounded", options={"xatol": 0.005})
    sigma, residue = (float(nearest.x), nearest.fun) if nearest.fun < change**2 else (0.0, change**2)
    psnr = psnr_of(residue)
    contrast = float(given.var(axis=1, dtype=np.float64).mean())
    return Reblur(sigma, psnr, psnr - psnr_of(contrast), change, given.shape[1])


def doubts(found: Reblur, trained: tuple[float, float]) -> list[str]:
    """What speaks against a restoration, a sentence each.

    Args:
        trained: the narrowest and the widest blur that the restorer was trained on, in pixels.
    """
    if found.change is None:
        return ["no visible pixel lies where it is judged, away from the borders, so nothing is said about the result"]
    changed = f"{255 * found.change:.1f} of 255 levels, root mean square"
    if found.sigma is None or found.psnr is None or found.snr is None:
        spoilt = f"; the restorer changed it all the same, by {changed}; do not trust it"
        return [
            "where it is judged the picture has one colour, which no blur changes, so there is none to find"
            + spoilt * (found.change > ONE_STEP)
        ]
    narrowest, widest = trained
    sentences = []
    if found.sigma > WIDER * widest:
        where = " (it was sought up to there)" if found.sigma > AT_THE_END * BEYOND * widest else ""
        sentences.append(
            f"sigma {found.sigma:.2f}{where} is more blur than the restorer was trained on, up to {widest:g}"
        )
    if found.psnr < PLAUSIBLE_PSNR or found.snr < PLAUSIBLE_SNR:
        sentences.append(
            f"no Gaussian blur leads back from the result to the picture (re-blur PSNR {found.psnr:.1f} dB, SNR "
            f"{found.snr:.1f} dB, where {PLAUSIBLE_PSNR:g} and {PLAUSIBLE_SNR:g} are needed): another kind of blur, "
            "noise, or images unlike those of the training; do not trust it"
        )
    elif found.sigma < SHARP:
        sentences.append(
            f"the restorer changed the picture hardly at all ({changed}): sigma {found.sigma:.2f} says how little it "
            "did, and not how blurred the picture is"
        )
    elif found.sigma < NARROWER * narrowest:
        sentences.append(
            f"sigma {found.sigma:.2f}, the blur that the restorer took away, is less blur than it was trained on, from "
            f"{narrowest:g}"
        )
    return sentences


def middle(picture: NDArray[Any], border: int = 0) -> NDArray[Any]:
    """At most WINDOW x WINDOW pixels without a border, or without a quarter of the side if that is less."""
    rows, columns = (inner(length, border) for length in picture.shape[1:])
    return picture[:, rows, columns]


def inner(length: int, border: int) -> slice:
    """The middle of one axis."""
    off = max(min(border, length // 4), (length - WINDOW) // 2)
    return slice(off, length - off)


NEEDED = ("onnx", "onnxruntime", "onnxscript")
TOLERANCE = 1e-4  # of a pixel in [0, 1]; an 8-bit step is 4e-3
CHECKED = ((1, 4 * STRIDE, 7 * STRIDE), (3, 5 * STRIDE + 1, 3 * STRIDE - 1))  # batch, height, width


class WholeImage(nn.Module):
    """A restorer as `Model.restore` applies it: border pixels are repeated, and the answer lies in [0, 1]."""

    def __init__(self, network: nn.Module, reach: int):
        super().__init__()
        self.network, self.reach = network, reach

    def forward(self, blurred: Tensor) -> Tensor:
        """Restored images, [N, C, H, W]."""
        height, width = blurred.shape[-2:]
        restored = self.network(with_border(blurred, self.reach))
        return restored[..., self.reach : self.reach + height, self.reach : self.reach + width].clamp(0, 1)


def require_onnx() -> None:
    """Check that the libraries are here.

    Raises:
        SettingsError: one is not.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise SettingsError(f"--onnx needs {', '.join(missing)}; pip install 'bs6207[onnx]'")


def to_onnx(model: Model, clarity: float) -> tuple[bytes, float]:
    """The network at one clarity as the content of an ONNX file, and its largest difference from torch.

    Its input `blurred` and its output `restored` are [batch, channels, height, width] in [0, 1], every size free but
    the channels; repeating the border, and padding to the network's grid, is part of the graph.

    Raises:
        FolderError: on random images of two other sizes it differs from torch by TOLERANCE or more.
    """
    network = WholeImage(model.network(clarity), model.reach).cpu().eval()
    example = torch.zeros(2, model.channels, 3 * STRIDE + 1, 3 * STRIDE + 2)  # no size that might be taken for fixed
    free = {0: "batch", 2: "height", 3: "width"}
    program = torch.onnx.export(
        network,
        (example,),
        dynamo=True,
        input_names=["blurred"],
        output_names=["restored"],
        dynamic_shapes={"blurred": free},
        verbose=False,
    )
    assert program is not None  # as it is where a file name is given to write to
    content = program.model_proto.SerializeToString()
    if (difference := largest_difference(network, content, model.channels)) >= TOLERANCE:
        raise FolderError(
            f"the ONNX file would differ from torch by {difference:.1e}, not less than {TOLERANCE:g}, so it is not "
            "written; try another version of torch or onnxruntime"
        )
    return content, difference


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


Write = Callable[..., Path]  # of a file, its content and the flag that named it; gives the name it got


@dataclass(frozen=True)
class Restored:
    """What was done.

    Attributes:
        rows: what was measured of every picture restored.
        failed: the files that could not be read or written, each with the reason, a sentence.
        onnx: the ONNX file: where it was written, its clarity, its largest difference from torch.
    """

    rows: list[Row]
    failed: list[Row]
    onnx: Row | None

    @property
    def metrics(self) -> dict[str, Any]:
        """What scripts read."""
        return {"images": self.rows, "failed": self.failed, "onnx": self.onnx}

    @property
    def headline(self) -> Table:
        """One row per picture, for people."""
        columns = ("picture", "pixels", "sigma", "re-blur PSNR dB", "re-blur SNR dB", "clarity", "written")
        return Table(
            columns,
            [
                {
                    "picture": row["file"],
                    "pixels": f"{row['width']} x {row['height']}",
                    "sigma": "—" if row["sigma"] is None else f"{row['sigma']:.2f}",
                    "re-blur PSNR dB": "—" if row["reblur_psnr"] is None else f"{row['reblur_psnr']:.1f}",
                    "re-blur SNR dB": "—" if row["reblur_snr"] is None else f"{row['reblur_snr']:.1f}",
                    "clarity": f"{row['clarity']:g}",
                    "written": Path(row["written"]).name,
                }
                for row in self.rows
            ],
        )

    @property
    def remarks(self) -> list[str]:
        """What the table must not be read without."""
        sentences = []
        if self.rows:
            sentences.append(
                "sigma, in pixels, is the Gaussian blur that leads from the result back to the picture: what the "
                "restorer took away. The re-blur PSNR is how close it leads, measured by the range of pixels, and the "
                "re-blur SNR by the picture's own contrast; both are of visible pixels, away from the borders. None of "
                "them says that the result is what was there before the blur."
            )
        if self.onnx:
            sentences.append(
                f"{self.onnx['written']}: clarity {self.onnx['clarity']:g}, any height and width, at most "
                f"{self.onnx['largest_difference']:.1e} from torch."
            )
        return sentences

    @property
    def failures(self) -> list[str]:
        """A sentence for each file that failed."""
        return [row["reason"] for row in self.failed]

    def written(self, folder: Path) -> str:
        """Where the results lie: the folder, or the ONNX file if there is nothing else."""
        return str(folder) if self.rows or not self.onnx else self.onnx["written"]


def run(settings: RestoreSettings, folder: Path, write: Write, progress: Progress) -> Restored:
    """Restore every picture into `folder`; one that cannot be read costs no other."""
    if settings.onnx:
        require_onnx()
    prepare(seed=0)
    model = load(settings.model).to(choose_device(settings.device))
    clarity = model.clarity if settings.clarity is None else settings.clarity
    progress.expect(len(settings.images))
    done = Restored([], [], save_onnx(model, clarity, settings.onnx, write) if settings.onnx else None)
    for name in settings.images:
        progress.status(name)
        try:
            row = restore_file(model, name, clarity, settings.max_pixels or SAFE_PIXELS, folder, write)
        except (DataError, FolderError) as failure:
            done.failed.append({"file": name.encode(errors="backslashreplace").decode(), "reason": str(failure)})
        else:
            for remark in row["remarks"]:
                progress.warn(f"{name}: {remark}")
            done.rows.append(row)
        progress.step(name)
    return done


def restore_file(model: Model, name: str, clarity: float, most_pixels: int, folder: Path, write: Write) -> Row:
    """Restore one picture into `folder`; what was measured.

    Raises:
        DataError: it cannot be read.
        FolderError: the result cannot be written.
    """
    if not is_text(name):
        raise DataError(f"{name!r} is not UTF-8; rename the file")
    picture = pictures.read(Path(name), most_pixels, ", or allow more with --max-pixels")
    restored = restore_picture(model, picture, clarity)
    written = write(folder / f"{Path(name).stem}.png", pictures.png(restored))
    return {"file": name, "written": str(written), **judge(picture, restored, clarity, model.sigma)}


def save_onnx(model: Model, clarity: float, file: str, write: Write) -> Row:
    """Export the network of this clarity, and say how far it is from torch."""
    content, difference = to_onnx(model, clarity)
    written = write(Path(file), content, "--onnx")
    return {"clarity": clarity, "largest_difference": difference, "written": str(written)}


@torch.no_grad()
def restore_picture(model: Model, picture: Picture, clarity: float) -> Picture:
    """The picture with its colours restored, as many bits as before and the same alpha.

    Tile by tile from integers to integers, so that a large picture is never in memory as floats.
    """
    network, pixels = model.network(clarity), picture.pixels
    top = np.iinfo(pixels.dtype).max
    restored = np.empty_like(pixels)
    height, width = pixels.shape[1:]
    for tile in tiles(height, width, model.reach):
        rows, columns = tile.shown
        shown = torch.from_numpy(unit(pixels[:, rows, columns]))[None].to(model.device)
        answer = model.apply(network, shown)[0].cpu().numpy()[:, *tile.kept]
        restored[:, *tile.place] = np.round(answer * top)
    return Picture(restored, picture.alpha, picture.profile)


def unit(pixels: np.ndarray) -> np.ndarray:
    """Integers as float32 in [0, 1]."""
    return pixels.astype(np.float32) / np.iinfo(pixels.dtype).max


def judge(blurred: Picture, restored: Picture, clarity: float, trained: tuple[float, float]) -> Row:
    """What can be said about one restoration without the truth."""
    before, after = (unit(middle(picture.pixels)) for picture in (blurred, restored))
    channels, height, width = blurred.pixels.shape
    visible = np.ones((height, width), bool) if blurred.alpha is None else blurred.alpha > 0
    found = blur_between(before, after, middle(visible[None])[0], BEYOND * trained[1])
    return {
        "width": width,
        "height": height,
        "channels": channels,
        "bits": 8 * blurred.pixels.itemsize,
        "clarity": clarity,
        "sigma": found.sigma,
        "reblur_psnr": found.psnr,
        "reblur_snr": found.snr,
        "change": found.change,
        "judged_pixels": found.judged,
        "remarks": doubts(found, trained),
    }
