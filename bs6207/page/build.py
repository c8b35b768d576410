"""The page: all that runs have left, in one file that needs no network."""

import base64
import csv
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from bs6207 import __version__
from bs6207.errors import FolderError
from bs6207.page.compare import by_size, circumstances, compare, shown
from bs6207.page.explorers import EXPLORERS
from bs6207.page.packing import deflated
from bs6207.page.pictures import Picture, pictures
from bs6207.page.runs import RunFolder
from bs6207.runs.files import finite
from bs6207.runs.result import Table

HERE = Path(__file__).parent
MARK = b"<!doctype html><!-- bs6207 report -->"  # how a page begins, so that nothing else is ever replaced by one
SCRIPTS = ("bump.js", "latent.js", "deblur.js", "page.js")
QUESTIONS = {
    "bump": "How tall a bump can this optimizer escape?",
    "latent": "How many numbers does a digit need before the ten classes separate?",
    "deblur": "What does a discriminator add to L1 when restoring a blurred image?",
}
LARGEST = 3 * 2**20  # bytes of a page, as far as it helps to make
LESS = ((1000, True), (760, True), (1000, False))  # its figures smaller (pixels), then to leave out weights
MOST_ROWS = 50  # of a table that is shown
MOST_DOWNLOAD = 100_000  # letters of a packed file; a larger one stays in its folder
TEXTS = ("metrics.json", "history.jsonl", "config.toml", "env.json")


@dataclass(frozen=True)
class Download:
    """A file of the run that the page can hand out; `data` is packed, and None where it was too large."""

    name: str
    size: int
    data: str | None


@dataclass(frozen=True)
class Shown:
    """A run as the template reads it.

    Attributes:
        key: its own among the runs of the page, for ids.
        tables: name, the first rows, and how many there are.
    """

    key: str
    run: RunFolder
    explorer: dict[str, Any] | None
    pictures: list[Picture]
    tables: list[tuple[str, Table, int]]
    downloads: list[Download]
    settings: list[tuple[str, str]]
    circumstances: list[tuple[str, str]]
    sizes: list[list[str]]


def build(runs: Sequence[RunFolder]) -> bytes:
    """The page of some runs, which are sorted by command; where it gets too large, with `LESS`."""
    for widest, exact in LESS:
        page = render([show(f"run{place}", run, widest, exact) for place, run in enumerate(runs, 1)])
        if len(page) <= LARGEST:
            break
    return page


def render(all_shown: Sequence[Shown]) -> bytes:
    """The page as a file."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["thousands"] = lambda count: f"{count:,}"
    environment.filters["with_code"] = with_code
    environment.tests["wordy"] = lambda cell: cell[:1].isalpha()
    style, script = read("page.css"), "\n".join(map(read, SCRIPTS))
    groups = {command: list(some) for command, some in groupby(all_shown, lambda one: one.run.command)}
    text = environment.get_template("page.html").render(
        version=__version__,
        questions=QUESTIONS,
        groups=groups,
        comparisons={command: compare([one.run for one in some]) for command, some in groups.items() if len(some) > 1},
        style=Markup(style),
        script=Markup(script),
        policy=policy(style, script),
    )
    return MARK + b"\n" + text.encode(errors="replace")


def with_code(sentence: str) -> Markup:
    """A sentence in which what stands between backticks is set as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(sentence))))


def show(key: str, run: RunFolder, widest: int, exact: bool) -> Shown:
    """All of one run, its figures at most `widest` pixels wide or high; `exact` with the weights of a decoder.

    Raises:
        FolderError: its files are not as this version writes them.
    """
    try:
        return Shown(
            key,
            run,
            finite(EXPLORERS[run.command](run, exact)),
            list(pictures(run, widest)),
            list(tables(run)),
            list(downloads(run)),
            [(name, shown(value)) for name, value in run.settings.items()],
            [(name, shown(value)) for name, value in circumstances(run)],
            sizes(run),
        )
    except (AttributeError, IndexError, KeyError, OSError, TypeError, ValueError, csv.Error) as failure:
        told = f"{type(failure).__name__} {failure}"
        raise FolderError(
            f"cannot make a page of the run in {run.name}: {told}; run bs6207 {run.command} again"
        ) from failure


def tables(run: RunFolder) -> Iterator[tuple[str, Table, int]]:
    """Every CSV file but the headline: its name, its first rows and how many it has."""
    for name in run.tables:
        table = run.table(name)
        if table is not None:
            yield name, Table(table.columns, table.rows[:MOST_ROWS]), len(table.rows)


def downloads(run: RunFolder) -> Iterator[Download]:
    """What the page can hand out."""
    for name in (*TEXTS, *(f"{table}.csv" for table in ("headline", *run.tables))):
        if (file := run.place / name).is_file():
            content = file.read_bytes()
            data = deflated(content) if len(content) < 20 * MOST_DOWNLOAD else None
            yield Download(name, len(content), data if data and len(data) <= MOST_DOWNLOAD else None)


def sizes(run: RunFolder) -> list[list[str]]:
    """The scores of every latent size beside PCA's of the same size, then the baselines, after a row of headings."""
    cells = by_size(run.metrics.get("cells", {})) if run.command == "latent" else []
    if not cells:
        return []
    baselines = run.metrics.get("baselines", {})
    pca = baselines.get("pca", {})
    clusterers = list(cells[0][1].get("clusters", {}))
    has_labels = any(one.get("accuracy") is not None for one in cells[0][1].get("clusters", {}).values())
    scores = [(name, key) for name in clusterers for key in ("accuracy", "nmi", "ari")] if has_labels else []
    headings = ["numbers", "L1", "PCA L1", "PSNR dB"]
    for name, key in scores:
        headings += [f"{name} {key.upper() if key != 'accuracy' else key}"] + (["on PCA"] if key == "accuracy" else [])
    rows = [headings]
    others = [(f"{name} image", baselines[name]) for name in ("median", "black") if name in baselines]
    others += [("raw pixels", baselines["pixels"])] if "pixels" in baselines and scores else []
    for dim, cell in cells + others:
        row = [dim, decimals(cell.get("l1"), 4), decimals(pca.get(dim, {}).get("l1"), 4), decimals(cell.get("psnr"), 2)]
        for name, key in scores:
            row.append(decimals(cell.get("clusters", {}).get(name, {}).get(key), 3))
            if key == "accuracy":
                row.append(decimals(pca.get(dim, {}).get("clusters", {}).get(name, {}).get(key), 3))
        rows.append(row)
    return rows


def decimals(value: float | None, digits: int) -> str:
    """A score to so many digits."""
    return "—" if value is None else f"{value:.{digits}f}"


def read(name: str) -> str:
    """A part of the page."""
    return (HERE / name).read_text(encoding="utf-8")


def policy(style: str, script: str) -> str:
    """The content security policy: this style, this script, pictures in the page, and nothing else.

    So that even markup which slipped in could neither run nor ask for anything.
    """
    own = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{own[0]}'; script-src 'sha256-{own[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
