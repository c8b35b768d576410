"""A trained restorer on pictures of the user's own, each restored, judged and written."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bs6207.data import pictures
from bs6207.data.pictures import SAFE_PIXELS, Picture
from bs6207.deblur.export import require_onnx, to_onnx
from bs6207.deblur.model import Model, load
from bs6207.deblur.plausibility import BEYOND, blur_between, doubts, middle
from bs6207.deblur.settings import RestoreSettings
from bs6207.deblur.tiles import tiles
from bs6207.devices import choose_device, prepare
from bs6207.errors import DataError, FolderError
from bs6207.experiment import Progress, Row, Table
from bs6207.names import is_text

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
        progress.tell(name)
        try:
            row = restore_file(model, name, clarity, settings.max_pixels or SAFE_PIXELS, folder, write)
        except (DataError, FolderError) as failure:
            done.failed.append({"file": name.encode(errors="backslashreplace").decode(), "reason": str(failure)})
        else:
            for remark in row["remarks"]:
                progress.note(f"{name}: {remark}")
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
