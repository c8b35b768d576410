"""The imports of every file, held to the picture of the house."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bs6207"
FILES = sorted(PACKAGE.rglob("*.py"))
STORIES = {"bump", "latent", "deblur"}
TRAINING = {"optimizers", "recorded", "snapshot"}
SHARED = {"data", "metrics", "devices", "figures", "experiment", "errors", "names", "axes", "sweeps"} | TRAINING

MAY_IMPORT = {  # a module or package: what of this project it may import, itself included
    "__init__": STORIES,
    "__main__": {"cli"},
    "errors": set(),
    "containers": set(),
    "names": set(),
    "experiment": {"errors"},
    "optimizers": set(),
    "devices": {"errors"},
    "figures": {"names"},
    "console": {"experiment", "errors", "names", "remaining"},
    "remaining": set(),
    "options": {"experiment", "errors", "names"},
    "recorded": set(),
    "snapshot": {"experiment"},
    "axes": {"errors", "experiment"},
    "sweeps": {"axes", "data", "errors", "experiment", "figures"},
    "checkpoints": {"runs", "experiment"},
    "processes": {"errors"},
    "preloaded": set(),
    "cluster": {"errors", "processes", "runs"},
    "cells": {"checkpoints", "experiment", "errors", "processes"},
    "runs": {"__init__", "experiment", "errors", "figures"},
    "data": {"containers", "data", "experiment", "errors", "names"},
    "metrics": {"metrics"},
    **{story: SHARED | {story} for story in STORIES},
    "report": {"report", "runs", "experiment", "errors", "names", "__init__"},
    "doctor": {"__init__", "containers", "data", "devices", "errors", "figures", "processes", "runs"},
    "cli": STORIES
    | {"__init__", "cells", "checkpoints", "cluster", "console", "devices", "doctor", "errors", "experiment", "options"}
    | {"processes", "report", "runs"},
}

HOME = {  # a library: the modules that may import it
    "typer": {"cli.py", "options.py"},
    "rich": {"console.py", "figures.py"},  # where it says how wide letters are
    "matplotlib": {"figures.py", "conditions.py"},  # whose fonts conditions.py draws with
    "filelock": {"runs.py"},
    "jinja2": {"page.py"},
    "torchvision": {"download.py"},
    "PIL": {"pictures.py", "figures.py", "projector.py", "conditions.py"},
    "distributed": {"cluster.py"},
    "click": set(),
}

MAY_TOUCH_FILES = {"runs.py", "sources.py"}
TOUCHES = {"write_text", "write_bytes", "mkdir", "rename", "unlink", "rmdir", "rmtree", "touch"}


def is_for_types_only(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(file: Path) -> set[str]:
    """Dotted names of all that a file imports when it runs, inside functions too."""
    tree = ast.parse(file.read_text())
    tree.body = [node for node in tree.body if not is_for_types_only(node)]
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part(dotted: str) -> str:
    """The part of the house that `bs6207.part.name` stands in."""
    second = dotted.split(".")[1]
    return second if (PACKAGE / second).is_dir() or (PACKAGE / f"{second}.py").is_file() else "__init__"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_every_file_imports_only_what_lies_below_it(file):
    own = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    used = {part(name) for name in imports(file) if name.startswith("bs6207.")}
    assert used <= MAY_IMPORT[own]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_every_library_stays_in_its_home(file):
    used = {name.split(".")[0] for name in imports(file)}
    assert not {library for library in used & HOME.keys() if file.name not in HOME[library]}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_only_the_run_folder_and_the_cache_are_written(file):
    calls = {
        node.func.attr
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert file.name in MAY_TOUCH_FILES or not calls & TOUCHES
