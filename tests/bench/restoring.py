"""How fast `bs6207 restore` is on large pictures, and how much memory it takes at its peak.

    python tests/bench/restoring.py outputs/deblur

makes pictures of noise, restores each with the restorer of that run in a process of its own, and prints megapixels a
second, start included, and the growth of the process's memory in MiB.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

SIZES = ((1000, 1500), (3000, 4000))  # height and width
CHANNELS = {"grey": (), "colour": (3,)}
RESTORE = (
    "import resource, sys; from bs6207.cli.commands import main\n"
    "try: main()\n"
    "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
)


def measure(model: str, picture: Path) -> tuple[float, float]:
    """Seconds of the command, and MiB of memory at its peak."""
    start = time.perf_counter()
    line = [sys.executable, "-c", RESTORE, "restore", picture.name, "--model", model, "--anyway", "--quiet"]
    done = subprocess.run(line, cwd=picture.parent, capture_output=True, text=True, check=True)
    return time.perf_counter() - start, int(done.stderr.splitlines()[-1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--out", type=Path, help="a JSON file to write too")
    arguments = parser.parse_args()
    rows = []
    with TemporaryDirectory() as place:
        for name, channels in CHANNELS.items():
            for height, width in SIZES:
                file = Path(place) / f"{name}-{width}.png"
                Image.fromarray(np.random.RandomState(0).randint(0, 256, (height, width, *channels), np.uint8)).save(
                    file
                )
                seconds, peak = measure(str(Path(arguments.run).resolve()), file)
                megapixels = height * width / 1e6
                row = {"picture": name, "megapixels": megapixels, "seconds": seconds, "peak_mib": peak}
                print(
                    f"{name}, {megapixels:g} MP: {seconds:.1f} s, {megapixels / seconds:.2f} MP/s, {peak:.0f} MiB",
                    flush=True,
                )
                rows.append(row)
    if arguments.out:
        arguments.out.write_text(json.dumps({"cores": os.cpu_count(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
