"""Finished runs, read from their folders; runs of earlier versions may lack files, and are shown without."""

import csv
import io
import json
import shlex
import tomllib
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bs6207.errors import FolderError
from bs6207.runs.folder import HEADLINE, RECORD, REMARKS, is_run
from bs6207.runs.result import Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOOK_FIRST = ("trajectory", "scatter", "restorations", "differences", "sweep")  # figures
COMMANDS = ("bump", "latent", "deblur", "audit")  # in the order of the page
GIVE = "give one that bs6207 bump, latent, deblur or audit has filled"


@dataclass(frozen=True)
class RunFolder:
    """One run. `name` is the folder as the user wrote it; `environment`, of env.json, may be empty."""

    place: Path
    name: str
    command: str
    settings: dict[str, Any]
    metrics: dict[str, Any]
    environment: dict[str, Any]

    def table(self, name: str) -> Table | None:
        """A CSV file by its name without the ending, every cell as text; None where there is none."""
        text = self.text(f"{name}.csv")
        if not text:
            return None
        columns, *rows = csv.reader(io.StringIO(text))
        return Table(columns, [dict(zip(columns, row, strict=False)) for row in rows])

    def text(self, name: str) -> str:
        """A text file; empty where there is none."""
        file = self.place / name
        if not file.is_file():
            return ""
        with file.open(encoding="utf-8", errors="replace", newline="") as stream:  # a value may hold a carriage return
            return stream.read()

    def arrays(self, name: str) -> "dict[str, NDArray[Any]]":
        """The arrays of an npz file; none where it is missing or cannot be read."""
        import numpy as np

        try:
            with np.load(self.place / name, allow_pickle=False) as file:
                return {key: file[key] for key in file.files}
        except (OSError, ValueError, zipfile.BadZipFile):
            return {}

    @cached_property
    def headline(self) -> Table | None:
        """The table that the command printed; of an earlier version, the most similar one."""
        if (table := self.table(HEADLINE) or self.table("scores")) is not None or self.command != "bump":
            return table
        rows = [
            {"optimizer": name, "h_max": str(result.get("h_max")), "step": str(result.get("step"))}
            for name, result in self.metrics.get("optimizers", {}).items()
        ]
        return Table(("optimizer", "h_max", "step"), rows)

    @property
    def remarks(self) -> list[str]:
        return self.text(REMARKS).splitlines() or ([self.metrics["answer"]] if "answer" in self.metrics else [])

    @property
    def command_lines(self) -> list[str]:
        """Commands that repeat the run: from its record, and as it was typed if that is known."""
        lines = [[self.command, "--config", str(Path(self.name) / RECORD)], self.environment.get("argv", [])[1:]]
        return [shlex.join(["bs6207", *map(str, words)]) for words in lines if words]

    @property
    def tables(self) -> list[str]:
        """Names of its CSV files but the headline."""
        return sorted(file.stem for file in self.place.glob("*.csv") if file.stem != HEADLINE)

    @property
    def figures(self) -> list[str]:
        """Names of its PNG files, the one to look at first coming first, and the others as they were written."""
        written = sorted(self.place.glob("*.png"), key=lambda file: (file.stat().st_mtime_ns, file.name))
        return sorted((file.stem for file in written), key=lambda name: name not in LOOK_FIRST)


def read_run(name: str) -> RunFolder:
    """The run in a folder; FolderError if there is none, or it cannot be read."""
    place = Path(name)
    if not place.is_dir():
        raise FolderError(f"there is no folder {name}; {GIVE}")
    command = next((command for command in COMMANDS if is_run(place, command)), None)
    if command is None or not (place / "metrics.json").is_file():
        raise FolderError(f"{name} holds no finished run; {GIVE}")
    try:
        settings = tomllib.loads((place / RECORD).read_text(encoding="utf-8"))[command]
        metrics = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
        environment = json.loads(file.read_text(encoding="utf-8")) if (file := place / "env.json").is_file() else {}
    except (OSError, ValueError) as failure:  # TOML, JSON and UTF-8 that are none are ValueErrors
        raise FolderError(f"cannot read the run in {name}: {failure}; run bs6207 {command} again") from None
    if not all(isinstance(part, dict) for part in (settings, metrics, environment)):
        raise FolderError(f"cannot read the run in {name}: its files hold no tables; run bs6207 {command} again")
    return RunFolder(place, name, command, settings, metrics, environment)
