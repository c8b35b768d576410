"""Run folders made by hand from the numbers in tests/gallery, so that a page of them needs no training."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from bs6207.data.images import to_uint8
from bs6207.data.sources import embedded_digits
from bs6207.deblur.blur import blur_for_test

GALLERY = Path(__file__).parents[1] / "gallery"
SIGMAS, WEIGHTS = (1.0, 2.0, 3.0), tuple(np.linspace(0, 1, 5).tolist())
SETTINGS = {
    "bump": {"optimizer": ["gd", "momentum", "adam"], "lr": 0.3, "height": 0.4, "distance": 1.0, "steps": 1000},
    "latent": {"dims": [2, 4], "seed": 0},
    "deblur": {"epochs": 10, "noise": 0.01},
}


def made_run(folder: Path, command: str, **settings: Any) -> Path:
    """A run with the metrics and the figure of the gallery; of `deblur` with a few images, too."""
    folder.mkdir(parents=True)
    for file in (GALLERY / command).iterdir():
        shutil.copy(file, folder / file.name)
    lines = [f"{key} = {json.dumps(value)}" for key, value in (SETTINGS[command] | settings).items()]
    (folder / "config.toml").write_text("\n".join([f"[{command}]", *lines]) + "\n")
    (folder / "env.json").write_text(json.dumps({"argv": ["bs6207", command, "--lr", "0.3"], "python": "3.11.7"}))
    if command == "deblur":
        np.savez_compressed(folder / "examples.npz", **examples())
    return folder


def examples() -> dict[str, np.ndarray]:
    """Digits, clear and blurred, and on the way back from the one to the other: the clearer, the farther."""
    clear = embedded_digits().test.unit_pixels[:6]
    blurred = np.stack([blur_for_test(clear, sigma, 0.01, 0) for sigma in SIGMAS])
    restored = np.stack([blurred + (0.5 + 0.4 * weight) * (clear - blurred) for weight in WEIGHTS])
    return {
        "clear": to_uint8(clear),
        "blurred": to_uint8(blurred),
        "restored": to_uint8(restored),
        "sigmas": np.array(SIGMAS),
        "weights": np.array(WEIGHTS),
    }
