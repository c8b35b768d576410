"""Kill the commands at random instants and run them again: do they end with the bytes of a run that was left alone?

    python tests/bench/kills.py --kills 200 --at-a-time 2

prints one line for every kill that did otherwise, and last how many did not.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

COMMANDS = {  # short, but with all that the long ones do: several tasks, epochs, figures
    "bump": "--optimizer adam --sweep lr=0.05:1:40 distance=0.5:1:40 --noise 0.1 --trials 20000",
    "latent": "--data mnist-5k --train-images 1000 --dims 2 5 --epochs 6 --jobs 2 --skip-probes",
    "deblur": "--data mnist-5k --train-images 300 --test-images 10 --test-sigmas 2 --epochs 4 --batch-size 8 --jobs 2",
}
TURNS = (*4 * ("bump", "latent"), "bump", "deblur")  # the slowest comes less often
SAME = ("metrics.json", "history.jsonl")


@dataclass(frozen=True)
class Whole:
    """A run that was left alone: its command, its folder and the seconds it took."""

    command: str
    outputs: Path
    seconds: float

    def contents(self, outputs: Path) -> tuple[bytes, ...]:
        """The files that must be the same, from another folder of outputs."""
        return tuple((outputs / self.command / name).read_bytes() for name in SAME)


def start(command: str, outputs: Path) -> subprocess.Popen[str]:
    """The command on its way to its end."""
    line = [sys.executable, "-m", "bs6207", command, *COMMANDS[command].split(), "--out", str(outputs / command)]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def leave_alone(command: str, folder: Path) -> Whole:
    """Run a command to its end."""
    outputs, begun = folder / f"{command}-whole", time.monotonic()
    process = start(command, outputs)
    _, message = process.communicate()
    assert process.returncode == 0, message
    return Whole(command, outputs, time.monotonic() - begun)


def kill_and_resume(whole: Whole, share: float, folder: Path) -> str:
    """Kill a run after a share of its time, beside an earlier finished one, and run it again.

    Returns:
        What was wrong, empty if nothing.
    """
    outputs = folder / f"{whole.command}-{share:.6f}"
    shutil.copytree(whole.outputs / whole.command, outputs / whole.command)
    process = start(whole.command, outputs)
    try:
        process.wait(share * whole.seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()
    finished = [file for file in outputs.rglob("metrics.json") if not file.parent.name.endswith(".partial")]
    if whole.contents(whole.outputs)[0] not in [file.read_bytes() for file in finished]:
        return "takes the finished run with it"
    again = start(whole.command, outputs)
    _, message = again.communicate()
    if again.returncode != 0:
        return f"ends with {again.returncode}: {message}"
    if whole.contents(outputs) != whole.contents(whole.outputs):
        return "ends with other bytes"
    known = {file.name for file in (whole.outputs / whole.command).iterdir()}
    if left := {file.name for file in (outputs / whole.command).iterdir()} - known:
        return f"leaves {left} behind"
    if (outputs / f"{whole.command}.partial").exists():
        return "leaves an unfinished run behind"
    shutil.rmtree(outputs)
    return ""


def instants(count: int, seed: int) -> list[tuple[str, float]]:
    """Commands and shares of their time, random but spread evenly from the start to the end, and a little beyond."""
    chance = random.Random(seed)
    shares = [1.05 * (place + chance.random()) / count for place in range(count)]
    return [(TURNS[place % len(TURNS)], share) for place, share in enumerate(shares)]


def main() -> None:
    """Kill as often as asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--at-a-time", type=int, default=max(1, (os.cpu_count() or 1) // 2))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(given.at_a_time) as several:
        folder = Path(place)
        wholes = dict(zip(COMMANDS, several.map(lambda name: leave_alone(name, folder), COMMANDS), strict=True))

        def kill(instant: tuple[str, float]) -> str:
            command, share = instant
            wrong = kill_and_resume(wholes[command], share, folder)
            if wrong:
                print(f"{command} killed after {share:.3f} of its time {wrong}", flush=True)
            return wrong

        wrong = [one for one in several.map(kill, instants(given.kills, given.seed)) if one]
    print(f"{given.kills - len(wrong)} of {given.kills} runs ended with the bytes of a run that was left alone")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
