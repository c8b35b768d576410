"""The runs of a page, and how their numbers are written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bs6207.errors import FolderError
from bs6207.runs.finished import COMMANDS, RunFolder, read_run
from bs6207.runs.folder import is_run


def by_dim(cells: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Entries of metrics.json by latent size, which JSON has sorted as text."""
    return sorted(cells.items(), key=lambda item: int(item[0]))


def decimals(value: float | None, digits: int, missing: str = "—") -> str:
    return missing if value is None else f"{value:.{digits}f}"


def read_runs(names: list[str], outputs: Path) -> list[RunFolder]:
    """The named runs or, without names, the last of every command, in the order of the page; FolderError as above."""
    chosen = names or [str(outputs / command) for command in COMMANDS if is_run(outputs / command, command)]
    if not chosen:
        raise FolderError(f"there is no finished run in {outputs}; run bs6207 bump first, or give the folder of a run")
    return sorted(map(read_run, chosen), key=lambda run: COMMANDS.index(run.command))
