"""Folders made at random, each given to `latent` or `deblur` with random settings: a result, or one sentence.

`python tests/test_random_folders.py SEED` makes the folder of one seed here, and prints the command to run in it.
"""

import csv
import json
import random
import shlex
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import HURRY
from PIL import Image

from bs6207 import figures
from bs6207.deblur.classical import BASELINES
from bs6207.figures import STYLE

FOLDERS, SHARES = 300, 20
FEW = {  # whatever only takes time
    **HURRY,
    "bs6207.deblur.evaluation": {"FRONTIER_POINTS": 3, "CURVE_POINTS": 3},
    "bs6207.deblur.blur": {"FOLLOWED_IMAGES": 20},
    "bs6207.deblur.classical": {"TUNING_IMAGES": 2},
    "bs6207.latent.clusterers": {"STARTS": 2, "MAX_ITERATIONS": 20},
    "bs6207.latent.contrastive": {"MOST_PASSES": 3},
}
DRAWN = 0.25  # share of the figures that are rendered; all are drawn

ODD = [
    *(
        "$$",
        "Ba$$in",
        r"\frac{1}{2}$",
        "_hidden",
        "-x",
        "--help",
        " ",
        "a b",
        "a\nb",
        "a\rb",
        "a\tb",
        "\x1b[31mred",
        "\x7f",
    ),
    *("\u202eturned", "{}", "%s", "<&>", "'", '"', "日本語", "한국어", "עברית", "العربية", "😀", "e\u0301", "x" * 255),
    *("語" * 80, "a,b", "a;b", "#", "~", "nul", "train", "con.png", "[bold]", "=1", "01", "1", "10", "2", "\\", "*"),
]
JUNK = {  # what may lie beside the pictures
    "notes.txt": b"no picture",
    ".DS_Store": b"\0\0",
    "Thumbs.db": b"\xd0\xcf",
    "labels.csv": b"a,b\n",
    "empty.png": b"",
    "broken.png": b"\x89PNG\r\n\x1a\n",
    "text.jpg": b"no picture",
}
MODES = ("L",) * 6 + ("RGB", "1", "P", "LA", "RGBA")


def one_of(draw: random.Random, *choices):
    return draw.choice(choices)


def small(draw: random.Random, most: int) -> int:
    """From 1 to `most`, the small ones far more often."""
    return min(most, int((most + 1) ** draw.random()))


def named(draw: random.Random, count: int) -> list[str]:
    """Names that a file system takes, all different."""
    names = dict.fromkeys(draw.choice(ODD) if draw.random() < 0.4 else f"class {place}" for place in range(count))
    return [*names]


def pixels(draw: random.Random, shape: tuple[int, int], kind: str) -> np.ndarray:
    """A grey picture."""
    if kind == "black":
        return np.zeros(shape, np.uint8)
    if kind == "grey":
        return np.full(shape, 100, np.uint8)
    if kind == "levels":
        return np.full(shape, draw.randrange(256), np.uint8)
    noise = np.frombuffer(draw.randbytes(shape[0] * shape[1]), np.uint8).reshape(shape)
    if kind == "noise":
        return noise
    rows, columns = np.indices(shape)
    centre, width = (draw.random() * shape[0], draw.random() * shape[1]), 1 + min(shape) / 4
    blob = np.exp(-((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / width**2)
    return (200 * blob + noise / 8).astype(np.uint8)


def fill(folder: Path, draw: random.Random, least: int) -> None:
    """Pictures of any size, mostly at least `least`, number, mode, content and layout, and what may lie beside."""
    least = least if draw.random() < 0.95 else 1
    shape, mode = (max(least, small(draw, 64)), max(least, small(draw, 64))), draw.choice(MODES)
    kind = one_of(draw, "blobs", "blobs", "blobs", "noise", "levels", "black", "grey")
    classes = named(draw, small(draw, 60)) if draw.random() < 0.8 else [""]
    parts = one_of(draw, [""], [""], ["train", "test"], ["train", "validation", "test"])
    count = small(draw, 300) if draw.random() < 0.3 else draw.randint(10, 80)
    for part in parts:
        there = [name for name in classes if part in ("", "train") or draw.random() < 0.8] or classes
        for place in range(count if part in ("", "train") else max(1, count // draw.randint(1, 8))):
            home = folder / part / (there[place] if place < len(there) else draw.choice(there))
            home.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels(draw, shape, kind)).convert(mode).save(home / f"{place}.{suffix(draw, mode)}")
    homes = [folder, *sorted(home for home in folder.rglob("*") if home.is_dir())]
    for name in draw.sample([*JUNK], one_of(draw, 0, 0, 0, 0, 0, 0, 0, 1, 2)):
        (draw.choice(homes) / name).write_bytes(JUNK[name])
    if draw.random() < 0.03:
        (draw.choice(homes) / one_of(draw, "empty", ".hidden", "deeper/still")).mkdir(parents=True, exist_ok=True)


def suffix(draw: random.Random, mode: str) -> str:
    """A format that takes the mode."""
    return one_of(draw, "png", "tif") if mode not in ("L", "RGB") else one_of(draw, "png", "png", "bmp", "jpg", "webp")


def settings(draw: random.Random) -> list[str]:
    """A command and its flags, all but the data."""
    command = one_of(draw, "latent", "latent", "deblur")
    line = [command, "--jobs", "1", "--device", "cpu", *one_of(draw, [], [], ["--json"], ["--quiet"])]

    def perhaps(share: float, *words: object) -> None:
        if draw.random() < share:
            line.extend(map(str, words))

    perhaps(0.2, "--seed", draw.randrange(10))
    perhaps(0.1, "--seeds", 2)
    perhaps(0.03, "--train-images", 100)
    perhaps(0.1, "--lr", one_of(draw, 1e-9, 1e-3, 0.1, 10))
    perhaps(0.3, "--batch-size", one_of(draw, 2, 3, 16, 1000))
    if command == "latent":
        line += ["--dims", *map(str, draw.sample(one_of(draw, [1, 2], [2], [1, 2, 3, 4], [2, 30, 700]), 1))]
        line += ["--epochs", str(one_of(draw, 1, 5, 10))]
        dear = ["spectral", "best"] + ["umap-gmm"] * (draw.random() < 0.01)
        perhaps(0.5, "--clusterer", *draw.sample(["kmeans", "gmm", *dear], draw.randint(1, 2)))
        perhaps(0.6, "--clusters", one_of(draw, 2, 5, 5, 50))
        perhaps(0.01, "--projection", "umap")
        perhaps(0.2, "--projector")
        perhaps(0.3, "--skip-probes")
        perhaps(0.3, "--arch", "conv")
        perhaps(0.3, "--loss", "mse")
        perhaps(0.3, "--recipe", "fast")
    else:
        line += ["--epochs", "3", "--test-sigmas", *map(str, draw.sample([0, 0.5, 1.5, 4, 10], 1))]
        perhaps(0.5, "--sigma", one_of(draw, "0:1", "2", "0.2:10", "10"))
        perhaps(0.5, "--noise", one_of(draw, 0, 0, 0.1, 1))
        perhaps(0.3, "--arch", "autoencoder")
        perhaps(0.3, "--disc", "frozen")
        perhaps(0.3, "--disc-loss", one_of(draw, "lsgan", "hinge"))
        perhaps(0.3, "--disc-weight", one_of(draw, 0, 1, 1000))
        perhaps(0.1, "--frontier")
        perhaps(0.3, "--test-images", 10)
    return line


def made(seed: int, place: Path) -> list[str]:
    """The folder of a seed, in `place`, and the words of its command."""
    draw = random.Random(seed)
    name = draw.choice(ODD) if draw.random() < 0.2 else "pictures"
    folder = place / ("pictures" if len(name.encode()) > 200 else name)
    folder.mkdir(parents=True)
    line = settings(draw)
    fill(folder, draw, 7 if line[0] == "deblur" else 1)
    return [*line, "--data", f"./{folder.name}"]


@pytest.fixture
def hurried(main, monkeypatch):
    """`hurried(line, place, seed)`: the command in this process, with as little work as shows what there is to see."""
    for module, values in FEW.items():
        for name, value in values.items():
            monkeypatch.setattr(f"{module}.{name}", value)
    for name, baseline in BASELINES.items():
        monkeypatch.setitem(BASELINES, name, replace(baseline, grid=baseline.grid[:45:5]))
    monkeypatch.setitem(STYLE, "figure.dpi", 40)
    drawn = figures.drawn

    def run(line, place, seed):
        draw = random.Random(seed)
        monkeypatch.setattr(
            figures, "drawn", lambda figure: drawn(figure) if draw.random() < DRAWN else (figure() and {}, "")
        )
        monkeypatch.chdir(place)
        return main(*line)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("share", range(SHARES))
def test_a_folder_comes_to_a_result_or_is_refused_in_one_sentence(hurried, share, tmp_path):
    failed = []
    for seed in range(share, FOLDERS, SHARES):
        place = tmp_path / str(seed)
        line = made(seed, place)
        done = hurried(line, place, seed)
        try:
            check(done, place / "outputs" / line[0], "--json" in line)
        except AssertionError as failure:
            failed.append(
                f"{failure}\nexit code {done.returncode}, stderr:\n{done.stderr}\n"
                f"python tests/test_random_folders.py {seed} makes this folder; in it bs6207 {shlex.join(line)}"
            )
    assert not failed, "\n\n".join(failed)


def check(done, folder: Path, prints_json: bool) -> None:
    """Hold a finished command to what it promises."""
    lines = done.stderr.splitlines()
    assert done.returncode in (0, 1, 2), "an exit code of its own"
    assert "run again with --debug" not in done.stderr, "an exception that nobody expected"
    said = (f"{folder.name}: ", "bs6207: ", f"outputs/{folder.name}")
    assert not [one for one in lines if not one.startswith(said)], "stderr holds more than the command has to say"
    if done.returncode:
        assert lines, "no sentence"
        assert lines[-1].startswith("bs6207: "), "no sentence"
        assert "; " in lines[-1], "a sentence without a way out"
    if done.returncode == 2:
        assert not folder.parent.exists(), "files, though the line was refused"
    if done.returncode == 0:
        metrics = json.loads((folder / "metrics.json").read_text())
        assert metrics, "no metrics"
        assert tomllib.loads((folder / "config.toml").read_text()), "no settings"
        with (folder / "scores.csv").open(newline="") as file:
            columns, *rows = csv.reader(file)
        assert {len(row) for row in rows} == {len(columns)}, "a row that is broken"
        assert not prints_json or json.loads(done.stdout) == metrics, "other metrics were printed than written"


if __name__ == "__main__":
    seed = int(sys.argv[1])
    print("bs6207", shlex.join(made(seed, Path(f"folder-{seed}"))))
