"""What two runs must share for one to go on from the checkpoints of the other, and what env.json says."""

import hashlib
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bs6207.runs.files import strict_json
from bs6207.runs.settings import Settings

DECIDING = ("torch", "numpy", "scipy", "scikit-learn", "scikit-image", "scikit-network")  # versions that change bytes
VERSIONED = ("torch", "torchvision", "numpy", "scikit-learn", "scikit-image", "matplotlib")


def identity(settings: Settings) -> str:
    """What two runs must share for one to go on with what the other has put aside, as JSON."""
    return strict_json({"settings": settings.model_dump(), **made_by()})


def made_by() -> dict[str, Any]:
    """What decides, beside the settings, which bytes come out: the code, the kind of machine, the versions."""
    code = hashlib.sha256()
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        code.update(file.read_bytes())
    return {
        "code": code.hexdigest(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in DECIDING},
    }


def git_commit() -> str | None:
    """The commit of the checkout this package runs from; None for an installed one."""
    try:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parents[1]), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
