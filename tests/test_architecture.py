"""The picture of the house: which room imports which, where each library lives, how far a story reaches."""

import ast
import importlib
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bs6207"
FILES = sorted(PACKAGE.rglob("*.py"))
each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))

STORIES = {"bump", "latent", "deblur"}
MAY_IMPORT = {  # a room: the rooms that it may import beside itself
    "__init__": STORIES | {"_version", "runs"},
    "_version": set(),
    "__main__": {"cli"},
    "cli": STORIES | {"__init__", "_version", "page", "training", "data", "runs", "errors", "figures"},
    **{story: {"training", "data", "runs", "errors", "figures"} for story in STORIES},
    "page": {"_version", "data", "runs", "errors"},
    "training": {"data", "runs", "errors"},
    "data": {"runs", "errors"},
    "runs": {"_version", "errors", "figures"},
    "figures": {"runs"},
    "errors": set(),
}
NOUNS_OF_RUNS = {"settings", "result", "progress", "memory", "names", "files"}
OF_RUNS = {  # a room: the files of runs/ that it may import; cli and page may import all
    **{story: NOUNS_OF_RUNS | {"sweep"} for story in STORIES},
    "training": NOUNS_OF_RUNS,
    "data": NOUNS_OF_RUNS,
    "figures": {"names"},
}
FOR_CALLERS = {"__init__.py", "estimators.py", "restorer.py"}  # files of a story for callers from Python, and
TO_BE_CALLED = {"run", "python", "caller", "view"}  # what of runs/ they may import too

HOME = {  # a library: the files that may import it
    "typer": {"cli/commands.py", "cli/lazy.py", "cli/options.py"},
    "rich": {"cli/console.py", "cli/progress.py", "runs/table.py"},
    "pandas": {"runs/view.py"},
    "IPython": {"runs/report.py"},
    "matplotlib": {"figures.py", *(f"{story}/figures.py" for story in STORIES), "deblur/conditions.py"},  # its fonts
    "filelock": {"runs/folder.py"},
    "distributed": {"runs/dask.py"},
    "jinja2": {"page/build.py"},
    "torchvision": {"data/sources.py"},
    "PIL": {
        *("data/pictures.py", "page/pictures.py", "bump/figures.py", "latent/projector.py"),
        "deblur/conditions.py",  # letters, and Pillow's blur
    },
    "click": set(),
}
IMPORTS_BY_STRING = {"bump", "cli/doctor.py"}  # the user's own optimizer; the libraries that doctor checks

TOUCHES = {"write_text", "write_bytes", "mkdir", "rename", "unlink", "rmdir", "rmtree", "touch"}
MAY_TOUCH_FILES = {"runs/files.py", "runs/folder.py", "data/sources.py"}

MOST_AT_THE_TOP = 10
MOST_REACHED = {"bump": 22, "latent": 38, "deblur": 36}  # files
SHORT = 12  # lines; a shorter file does not count


@cache
def imports(file: Path) -> set[str]:
    """Dotted names of all that a file imports when it runs, inside functions too."""
    tree = ast.parse(file.read_text())
    tree.body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING")
    ]
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def path_of(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def file_of(dotted: str) -> Path | None:
    """The file of the package that `bs6207.room.module.name` or `bs6207.room.module` stands for."""
    parts = dotted.split(".")
    if parts[0] != PACKAGE.name:
        return None
    place = PACKAGE
    for part in parts[1:]:
        if (place / part).is_dir():
            place /= part
        elif (place / f"{part}.py").is_file():
            return place / f"{part}.py"
    return place / "__init__.py"


@cache
def imported_files(file: Path) -> set[Path]:
    """The files of the package that a file imports; the root, which only lists the stories, leads nowhere."""
    if file == PACKAGE / "__init__.py":
        return set()
    return {found for name in imports(file) if (found := file_of(name)) and found != file}


def reach(file: Path) -> set[Path]:
    """A file and all that it imports, directly or not."""
    seen, todo = set(), [file]
    while todo:
        if (file := todo.pop()) not in seen:
            seen.add(file)
            todo += imported_files(file)
    return seen


@each_file
def test_every_room_imports_only_what_lies_below_it(file):
    room = room_of(file)
    used = {room_of(other) for other in imported_files(file)} - {room}
    assert used <= MAY_IMPORT[room]
    of_runs = {other.stem for other in imported_files(file) if room_of(other) == "runs"} - {"__init__"}
    may = TO_BE_CALLED if file.name in FOR_CALLERS else set()
    assert room not in OF_RUNS or of_runs <= OF_RUNS[room] | may


@each_file
def test_every_library_stays_in_its_home(file):
    used = {name.split(".")[0] for name in imports(file)}
    assert not {library for library in used & HOME.keys() if path_of(file) not in HOME[library]}


@each_file
def test_only_the_run_folder_and_the_cache_are_written(file):
    calls = {
        node.func.attr
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert path_of(file) in MAY_TOUCH_FILES or not calls & TOUCHES


@each_file
def test_nothing_is_imported_by_a_string(file):
    tree = ast.walk(ast.parse(file.read_text()))
    names = {getattr(node, "attr", getattr(node, "id", None)) for node in tree}
    assert {room_of(file), path_of(file)} & IMPORTS_BY_STRING or not names & {"import_module", "__import__"}


def test_no_two_files_import_each_other():
    circles = [
        f"{path_of(file)} <-> {path_of(other)}"
        for file in FILES
        for other in imported_files(file)
        if file < other and file in reach(other)
    ]
    assert not circles


@pytest.mark.parametrize("story", sorted(STORIES))
def test_a_story_reaches_few_files(story):
    files = [file for file in reach(PACKAGE / story / "experiment.py") if len(file.read_text().splitlines()) > SHORT]
    assert len(files) <= MOST_REACHED[story]


def test_few_rooms_lie_at_the_top():
    modules = [path for path in PACKAGE.iterdir() if path.suffix == ".py" or any(path.rglob("*.py"))]
    assert len([path for path in modules if not path.name.startswith("_")]) <= MOST_AT_THE_TOP


@pytest.mark.parametrize("library", ["torch", "sklearn", "matplotlib"])
def test_what_every_command_imports_imports_no_large_library(library):
    light = (
        "cli.commands",
        "runs.settings",
        "runs.result",
        "page.settings",
        *(f"{story}.settings" for story in STORIES),
    )
    script = f"import {', '.join(f'bs6207.{name}' for name in light)}, sys; print({library!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("bench", sorted(Path(__file__).with_name("bench").glob("*.py")), ids=lambda file: file.name)
def test_every_name_that_a_bench_imports_is_there(bench):
    for node in ast.walk(ast.parse(bench.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(PACKAGE.name):
            module = importlib.import_module(node.module)
            assert not [alias.name for alias in node.names if not hasattr(module, alias.name)]
