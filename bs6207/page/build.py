"""The page: all that runs have left, in one file that needs no network."""

import base64
import csv
import hashlib
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from bs6207._version import __version__
from bs6207.errors import FolderError
from bs6207.page.compare import circumstances, compare, written
from bs6207.page.explorers import EXPLORERS
from bs6207.page.packing import deflate
from bs6207.page.pictures import pictures
from bs6207.page.runs import by_dim, decimals
from bs6207.runs.files import finite
from bs6207.runs.finished import RunFolder

HERE = Path(__file__).parent
MARK = b"<!doctype html><!-- bs6207 report -->"  # how a page begins, so that nothing else is ever replaced by one
STYLE = "page.css"
SCRIPTS = ("bump.js", "latent.js", "deblur.js", "page.js")
QUESTIONS = {
    "bump": "How tall a bump can this optimizer escape?",
    "latent": "How many dimensions does a digit need before the ten classes separate?",
    "deblur": "What does a discriminator add to L1 when restoring a blurred image?",
    "audit": "Does this optimizer do what its name says?",
}
LARGEST = 3 * 2**20  # bytes of a page, as far as less detail helps
DETAIL = ((1000, True), (760, True), (1000, False))  # pixels of its figures, and whether with a decoder's weights
MOST_ROWS = 50  # of a table that is shown
MOST_DOWNLOAD = 100_000  # letters of a packed file; a larger one stays in its folder
TEXTS = ("metrics.json", "history.jsonl", "config.toml", "env.json")


def build(runs: Sequence[RunFolder]) -> bytes:
    """The page of some runs, sorted by command, as a file; in less detail where it gets too large."""
    for widest, exact in DETAIL:
        page = render([show(f"run{place}", run, widest, exact) for place, run in enumerate(runs, 1)])
        if len(page) <= LARGEST:
            break
    return page


def render(shown_runs: Sequence[dict[str, Any]]) -> bytes:
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["thousands"] = "{:,}".format
    environment.filters["written"] = written
    environment.filters["with_code"] = lambda text: Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))
    environment.tests["wordy"] = lambda cell: cell[:1].isalpha()
    style, *scripts = ((HERE / name).read_text(encoding="utf-8") for name in (STYLE, *SCRIPTS))
    script = "\n".join(scripts)
    groups = {command: list(shown) for command, shown in groupby(shown_runs, lambda shown: shown["run"].command)}
    several = {command: [one["run"] for one in shown] for command, shown in groups.items() if len(shown) > 1}
    text = environment.get_template("page.html").render(
        version=__version__,
        questions=QUESTIONS,
        groups=groups,
        comparisons={command: compare(runs) for command, runs in several.items()},
        style=Markup(style),
        script=Markup(script),
        policy=policy(style, script),
        most_rows=MOST_ROWS,
    )
    return MARK + b"\n" + text.encode(errors="replace")


def show(key: str, run: RunFolder, widest: int, exact: bool) -> dict[str, Any]:
    """What the template reads of one run; FolderError if its files are not as this version writes them.

    `key` is unique on the page; figures are `widest` pixels; `exact` is with the weights of a decoder.
    """
    try:
        return {
            "key": key,
            "run": run,
            "explorer": finite(EXPLORERS[run.command](run, exact)),
            "pictures": list(pictures(run, widest)),
            "tables": [(name, table) for name in run.tables if (table := run.table(name)) is not None],
            "downloads": list(downloads(run)),
            "circumstances": list(circumstances(run)),
            "scores": scores_by_dim(run),
        }
    except (AttributeError, IndexError, KeyError, OSError, TypeError, ValueError, csv.Error) as failure:
        problem = f"cannot make a page of the run in {run.name}: {type(failure).__name__} {failure}"
        raise FolderError(problem, f"run bs6207 {run.command} again") from failure


def downloads(run: RunFolder) -> Iterator[dict[str, Any]]:
    """The files that the page hands out; `data` is None for one that is too large."""
    for name in (*TEXTS, *(f"{table}.csv" for table in ("headline", *run.tables))):
        if (file := run.place / name).is_file():
            content = file.read_bytes()
            data = deflate(content) if len(content) < 20 * MOST_DOWNLOAD else ""
            yield {"name": name, "size": len(content), "data": data if 0 < len(data) <= MOST_DOWNLOAD else None}


def scores_by_dim(run: RunFolder) -> list[list[str]]:
    """A row of headings, the scores at every latent size beside PCA's, then the baselines; empty without latents."""
    cells = by_dim(run.metrics.get("cells", {})) if run.command == "latent" else []
    if not cells:
        return []
    baselines = run.metrics.get("baselines", {})
    pca = baselines.get("pca", {})
    clusters = cells[0][1].get("clusters", {})
    has_labels = any(scores.get("accuracy") is not None for scores in clusters.values())
    columns = [(name, key) for name in clusters for key in ("accuracy", "nmi", "ari")] if has_labels else []
    headings = ["dim", "L1", "PCA L1", "PSNR dB"]
    for name, key in columns:
        headings += [f"{name} accuracy", "on PCA"] if key == "accuracy" else [f"{name} {key.upper()}"]
    cells += [(f"{name} image", baselines[name]) for name in ("median", "black") if name in baselines]
    cells += [("raw pixels", baselines["pixels"])] if "pixels" in baselines and columns else []
    rows = [headings]
    for dim, cell in cells:
        row = [dim, decimals(cell.get("l1"), 4), decimals(pca.get(dim, {}).get("l1"), 4), decimals(cell.get("psnr"), 2)]
        for name, key in columns:
            for source in (cell, pca.get(dim, {})) if key == "accuracy" else (cell,):
                row.append(decimals(source.get("clusters", {}).get(name, {}).get(key), 3))
        rows.append(row)
    return rows


def policy(style: str, script: str) -> str:
    """The content security policy, so that even markup which slipped in could neither run nor ask for anything."""
    own = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    allowed = f"style-src 'sha256-{own[0]}'; script-src 'sha256-{own[1]}'; img-src data:"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
