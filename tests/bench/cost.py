"""What each command costs, and how its cost grows with the work: seconds, memory at its peak, and bytes written.

    python tests/bench/cost.py --out tests/gallery/speed/cost.json

runs every command at three sizes, on the digits that come with the package and on pictures of noise, figures and files
included, and draws the growth beside the JSON. Memory is the sum over all processes of a command of what each has to
itself and of its share of what they have in common.
"""

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import psutil
from PIL import Image

POLL_INTERVAL = 0.1  # seconds between two readings of the memory
MEASURES = {"seconds": "seconds", "peak_mib": "memory at the peak, MiB", "written_mib": "written, MiB"}


class Series(NamedTuple):
    """A command line with a place for the size, and three sizes."""

    name: str
    unit: str
    line: str
    sizes: Sequence[Any]
    works: Sequence[float]  # of each size, in the unit


LATENT, DEBLUR = "latent --config quick", "deblur --config quick --test-images 50"
RESTORE = "restore picture-{}.png --model model/outputs/deblur"
SERIES = [
    Series("bump", "steps", "bump --optimizer adam --steps {}", *[(1_000, 10_000, 100_000)] * 2),
    Series(
        "bump, a diagram", "cells", "bump --optimizer adam --sweep lr=0.05:0.5:{0} beta1=0:0.99:{0} --jobs 1",
        (32, 128, 512), (32**2, 128**2, 512**2),
    ),
    Series("latent", "images", LATENT + " --dims 8 --train-images {}", *[(875, 1750, 3500)] * 2),
    Series("latent", "sizes", LATENT + " --train-images 1750 --dims {}", ("8", "4 8", "2 4 8 16"), (1, 2, 4)),
    Series("deblur", "images", DEBLUR + " --train-images {}", *[(160, 320, 640)] * 2),
    Series("restore", "megapixels, grey", RESTORE, ("1", "4", "12"), (1, 4, 12)),
    Series("restore", "megapixels, colour", RESTORE, ("1-rgb", "4-rgb", "12-rgb"), (1, 4, 12)),
]  # fmt: skip
SHAPES = {"1": (1000, 1000), "4": (2000, 2000), "12": (3000, 4000)}  # height and width by megapixels


def memory_of(process: psutil.Process) -> float:
    """MiB of a process and of all that it started."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.Error):
            total += one.memory_full_info().pss
    return total / 2**20


def measure(line: str, place: Path) -> dict[str, float]:
    """Seconds, peak memory and bytes of a command that ends well."""
    before, start, peak = size_of(place), time.perf_counter(), 0.0
    command = [sys.executable, "-m", "bs6207", *shlex.split(line), "--quiet"]
    with (place.parent / "log").open("wb") as log, psutil.Popen(command, cwd=place, stdout=log, stderr=log) as process:
        while process.poll() is None:
            with suppress(psutil.Error):
                peak = max(peak, memory_of(process))
            with suppress(psutil.TimeoutExpired):
                process.wait(POLL_INTERVAL)
    if process.returncode:
        raise SystemExit(f"{line}\n{(place.parent / 'log').read_text()}")
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_mib": peak, "written_mib": size_of(place) - before}


def size_of(place: Path) -> float:
    """MiB of all files."""
    return sum(file.stat().st_size for file in place.rglob("*") if file.is_file()) / 2**20


def rows(place: Path) -> Iterator[dict[str, Any]]:
    draw = np.random.RandomState(0)
    for name, shape in SHAPES.items():
        for suffix, channels in (("", ()), ("-rgb", (3,))):
            pixels = draw.randint(0, 256, (*shape, *channels), np.uint8)
            Image.fromarray(pixels).save(place / f"picture-{name}{suffix}.png")
    (place / "model").mkdir()
    measure("deblur --data photos --epochs 3 --out model/outputs/deblur", place)
    for number, series in enumerate(SERIES):
        for size, work in zip(series.sizes, series.works, strict=True):
            line = series.line.format(size)
            out = "" if line.startswith("restore") else f" --out outputs/{number}"
            row = {"name": series.name, "unit": series.unit, "line": f"bs6207 {line}", "work": work}
            row |= measure(line + out, place)
            print(f"{row['line']}: " + ", ".join(f"{row[name]:.3g} {name}" for name in MEASURES), flush=True)
            yield row


def draw_growth(found: Sequence[dict[str, Any]], file: Path) -> None:
    """Each measure over the work, relative to that of the smallest size, on logarithmic axes."""
    figure, every = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    for axes, (measure_name, title) in zip(every, MEASURES.items(), strict=True):
        for series in SERIES:
            own = [row for row in found if (row["name"], row["unit"]) == (series.name, series.unit)]
            work = [row["work"] / own[0]["work"] for row in own]
            axes.plot(
                work, [row[measure_name] for row in own], "o-", label=f"{series.name}, {series.unit}", markersize=4
            )
        axes.set(xscale="log", yscale="log", xlabel="work, times the smallest", title=title)
    every[-1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(file, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="a JSON file to write, and a PNG file of the same name")
    out = parser.parse_args().out
    os.environ["BS6207_DATA"] = ""
    with TemporaryDirectory() as folder:
        (place := Path(folder) / "work").mkdir()
        found = [*rows(place)]
    if out:
        out.write_text(json.dumps({"cores": os.cpu_count(), "rows": found}, indent=1) + "\n")
        draw_growth(found, out.with_suffix(".png"))


if __name__ == "__main__":
    main()
