"""The imports of every file, held to the picture of the house."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bs6207"
FILES = sorted(PACKAGE.rglob("*.py"))
STORIES = {"bump", "latent", "deblur"}
SHARED = {"errors", "figures", "runs", "data", "training"}
RUNS_FOR_STORIES = {"settings", "result", "progress", "sweep", "axes", "names", "memory", "containers"}

MAY_IMPORT = {  # a room: the rooms that it may import, itself included
    "__init__": STORIES,
    "__main__": {"cli"},
    "errors": set(),
    "figures": {"runs"},
    "runs": {"__init__", "runs", "errors", "figures"},
    "data": {"data", "runs", "errors"},
    "training": {"training", "data", "runs", "errors"},
    **{story: SHARED | {story} for story in STORIES},
    "page": {"__init__", "page", "runs", "errors", "data"},
    "cli": STORIES | {"__init__", "cli", "page", "runs", "data", "training", "errors", "figures"},
}

HOME = {  # a library: the modules that may import it
    "typer": {"commands.py", "options.py"},
    "rich": {"console.py", "progress.py", "figures.py"},  # where it says how wide letters are
    "matplotlib": {"figures.py", "evaluation.py"},  # whose fonts deblur/evaluation.py draws with
    "filelock": {"folder.py"},
    "jinja2": {"build.py"},
    "torchvision": {"download.py"},
    "PIL": {"pictures.py", "figures.py", "projector.py", "evaluation.py"},
    "distributed": {"dask.py"},
    "click": set(),
}

MAY_TOUCH_FILES = {"files.py", "folder.py", "sources.py"}
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
