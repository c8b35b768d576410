"""The documentation: its commands and code run, its options are all of them, its numbers are those of the gallery."""

import csv
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import HURRY, call
from gallery import stories
from matplotlib.image import imread
from PIL import Image

from bs6207.bump.conformance.settings import AuditSettings
from bs6207.bump.landscape import START
from bs6207.bump.optimizers import OPTIMIZERS
from bs6207.bump.search import SCANNED
from bs6207.bump.settings import BumpSettings
from bs6207.bump.summary import CERTAINTY
from bs6207.cli import commands
from bs6207.data.sources import AUTO_TIMEOUT, DATASETS, embedded_digits
from bs6207.deblur.classical import BASELINES
from bs6207.deblur.figures import NAMES
from bs6207.deblur.networks import BOTTLENECK
from bs6207.deblur.settings import STRONG, DeblurSettings, RestoreSettings
from bs6207.figures import render
from bs6207.latent.autoencoder import WIDE, WIDE_FOR_FEW
from bs6207.latent.clusterers import CLUSTERERS
from bs6207.latent.contrastive import STABLE
from bs6207.latent.settings import LatentSettings
from bs6207.latent.tasks import WEAK_GAIN
from bs6207.latent.training import SMOOTH_UNTIL
from bs6207.runs.settings import Settings
from bs6207.training.optimizers import LR

ROOT = Path(__file__).parents[1]
GALLERY = ROOT / "tests/gallery"
FILES = ["README.md", "bs6207/GLOSSARY.md", "tests/bench/README.md", *sorted(
    path.relative_to(ROOT).as_posix() for path in ROOT.glob("bs6207/*/README.md")
)]  # fmt: skip
DOCS = {name: (ROOT / name).read_text() for name in FILES}
README = DOCS["README.md"]
METRICS = {file.parent.name: json.loads(file.read_text()) for file in GALLERY.glob("*/metrics.json")}
TRAININGS, RESTORERS, AMX, GPU, CLUSTER, QUICK, COST = (
    json.loads((GALLERY / f"speed/{name}.json").read_text())
    for name in ("trainings", "restorers", "amx", "gpu", "cluster", "start", "cost")
)
INSTALL_AND_RUN = (  # outside scripts use these two lines as they stand
    "python3 -m venv .venv && . .venv/bin/activate && pip install . && bs6207 bump --optimizer adam && "
    "bs6207 latent --dims 2 4 8 16 --config quick && bs6207 deblur --epochs 50 --config quick\n"
)
INSTALL_AND_TEST = (
    "python3 -m venv .venv && . .venv/bin/activate && python -m pip install -e '.[test]' && ruff check && "
    "ruff format --check && mypy && python -m pytest -n 2 --dist loadgroup\n"
)
CHANCE = 0.5  # accuracy of a network that cannot tell two kinds of images apart
NEEDS_NETWORK = ("pip", "uv", "python3", "dask")  # or a second machine
STORIES = {"bump": BumpSettings, "latent": LatentSettings, "deblur": DeblurSettings}
every_file = pytest.mark.parametrize("name", FILES)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    """A text without its code, pictures and headings, on one line."""
    text = re.sub(r"^```.*?^```$|^ {4}.*?$|^#.*?$", "", text, flags=re.MULTILINE | re.DOTALL)
    return " ".join(re.sub(r"!\[[^]]*\]\([^)]*\)|`[^`]*`", "", text).split())


def part(text: str, first: str, last: str) -> str:
    """What stands between two headings, each of which occurs once."""
    assert text.count(f"\n{first}\n") == 1
    return text.split(f"\n{first}\n")[1].split(f"\n{last}")[0]


def rows_in(text: str) -> list[str]:
    """The rows of all tables, without headings."""
    tables = re.findall(r"^\|[-|]+\|\n((?:\|.*\n?)+)", text, re.MULTILINE)
    return "".join(table if table.endswith("\n") else f"{table}\n" for table in tables).splitlines()


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def numbers(text: str) -> set[str]:
    return {one.replace(",", "") for one in re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w-])", text)}


# --- the shape


def test_the_readme_is_short_and_the_glossary_has_ten_to_fifteen_terms():
    assert len(README.splitlines()) <= 160
    assert 10 <= len(re.findall("^### ", DOCS["bs6207/GLOSSARY.md"], re.MULTILINE)) <= 15


def test_the_first_two_blocks_are_the_lines_that_others_use_and_ci_runs_the_second():
    assert blocks(README, "sh")[:2] == [INSTALL_AND_RUN, INSTALL_AND_TEST]
    awk = re.search(r"line=\$\((.*)\)\n", (ROOT / ".ci/run").read_text())[1]
    assert subprocess.check_output(["bash", "-c", awk], cwd=ROOT, text=True) == INSTALL_AND_TEST


@every_file
def test_every_link_leads_to_a_file_and_a_heading_and_every_picture_is_small(name):
    found = re.findall(r"(!?)\[([^]]*)\]\(([^)]*)\)", DOCS[name])
    assert found
    for picture, words, target in found:
        assert words.strip()
        if target.startswith("https://"):
            assert target.split("/")[2] in ("docs.astral.sh", "distributed.dask.org")
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path
        assert file.is_file(), target
        assert not anchor or anchor in anchors(file.read_text()), target
        assert not picture or file.stat().st_size < 400_000


@every_file
def test_no_line_names_a_machine_or_a_registry(name):
    hosts = set(re.findall(r"https?://([\w.-]+)", DOCS[name]))
    assert hosts <= {"docs.astral.sh", "distributed.dask.org", "download.pytorch.org"}
    assert not re.search(r"(?<![\w.~])/(work|home|root|tmp|opt)\b|pypi|shared/", DOCS[name], re.IGNORECASE)


TERMS = re.findall("^### (.*)$", DOCS["bs6207/GLOSSARY.md"], re.MULTILINE)


@pytest.mark.parametrize("term", TERMS)
def test_a_term_of_the_glossary_is_a_link_at_its_first_use(term):
    link = rf"[^]]*\]\([./\w]*GLOSSARY\.md#{term.lower().replace(' ', '-')}\)"
    assert any(re.search(link, text) for name, text in DOCS.items() if name != "bs6207/GLOSSARY.md")
    text = prose(README)
    if first := re.search(rf"\b{term}s?\b", text, re.IGNORECASE):
        assert re.match(link, text[first.start() :]), text[first.start() :][:80]


# --- the commands and the code


def command_lines() -> Iterator[tuple[str, str]]:
    """(file, line) of every command in the blocks, and in code within the text."""
    for name, text in DOCS.items():
        inline = [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]
        for line in "".join(blocks(text, "sh")).splitlines() + inline:
            for one in line.split("#")[0].split(" && "):
                is_bare = len(one.split()) == 2 and one.split()[-1] not in (*STORIES, "report", "doctor")
                if re.match(r"bs6207 [a-z]+", one) and not is_bare and not re.search(r"\b[A-Z]{3,}\b|--help", one):
                    yield name, one.strip()


LINES = [*dict.fromkeys(line for _, line in command_lines())]
ON_THE_FRONT_PAGE = {line for name, line in command_lines() if name == "README.md"}
SWEPT = "".join(blocks(DOCS["bs6207/runs/README.md"], "toml"))
OWN = re.search(r"```python\n(import torch\n.*?)```", README, re.DOTALL)[1]


def save_digits(folder: Path) -> None:
    """Zeros and ones of the embedded digits as a user's folder of images, a sub-folder per class."""
    digits = embedded_digits().train
    for label in (0, 1):
        (folder / str(label)).mkdir()
        for number, pixels in enumerate(digits.pixels[digits.labels == label][:100, 0]):
            Image.fromarray(pixels).save(folder / str(label) / f"{number}.png")


@pytest.fixture
def place(main, shared, tmp_path, monkeypatch):
    """A home folder, which is also the working directory, with what the examples name."""
    monkeypatch.setenv("HOME", str(tmp_path))
    digits = shared("digits", save_digits)
    for name in ("digits", "pictures"):
        (tmp_path / name).symlink_to(digits)
    for name in ("photo.png", "scan.png"):
        shutil.copy(digits / "0/0.png", tmp_path / name)
    (tmp_path / "mine.py").write_text(OWN)
    return tmp_path


def test_every_command_is_shown():
    assert {line.split()[1] for line in LINES} >= {command.name for command in commands.app.registered_commands}


@pytest.mark.parametrize("line", [line for line in LINES if line.split()[1] in STORIES])
def test_every_example_of_a_story_is_accepted_by_its_command(line, place, main, monkeypatch):
    accepted = []
    monkeypatch.setattr(commands, "run_experiment", lambda name, settings, invocation: accepted.append(settings))
    done = main(*shlex.split(line.replace("~", str(place)))[1:])
    assert (done.returncode, done.stderr) == (0, "")
    assert [type(settings) for settings in accepted] == [STORIES[line.split()[1]]]


@pytest.mark.parametrize("line", [line for line in LINES if line.split()[1] == "audit"])
def test_every_example_of_audit_is_accepted(line, place, main, monkeypatch):
    accepted = []
    monkeypatch.setattr(commands, "run_experiment", lambda name, settings, invocation: accepted.append(settings))
    done = main(*shlex.split(line)[1:])
    assert (done.returncode, done.stderr) == (0, "")
    assert [type(settings) for settings in accepted] == [AuditSettings]


def test_the_sweep_in_the_toml_block_is_accepted(main, tmp_path, monkeypatch):
    accepted = []
    monkeypatch.setattr(commands, "run_experiment", lambda name, settings, invocation: accepted.append(settings))
    (tmp_path / "sweep.toml").write_text(SWEPT)
    assert main("latent", "--config", "sweep.toml").returncode == 0
    count = sum(len(values) for values in tomllib.loads(SWEPT)["latent"]["sweep"].values())
    assert len(accepted[0].sweep) == 2
    assert count == 5


FEW_PASSES = {"bs6207.latent.contrastive": {"MOST_PASSES": 1, "PARTITIONS": 2}}  # of the clusterer `best`


def tiny(line: str, place: Path) -> list[str]:
    """The arguments of an example, so that it ends in seconds."""
    words = shlex.split(
        re.sub(r"--seeds \d+", "--seeds 2", line)
        .replace("~", str(place))
        .replace(":512", ":2")
        .replace(":5:log batch_size=256,512 seed=0,1,2", ":2:log seed=0")
    )[1:]
    words = ["mnist-5k" if word in ("mnist", "fashion-mnist") else word for word in words]
    own = {
        "bump": "--steps 40",
        "latent": "--epochs 10 --train-images 800 --skip-probes --jobs 1",
        "deblur": f"--epochs {60 if 'autoencoder' in words else 3} --train-images 100 --test-images 10 --batch-size 8 "
        "--jobs 1",  # an autoencoder that ends below the black image is refused
    }
    if "--data" in words and (str(place) in words[words.index("--data") + 1] or "photos" in words):
        own = {key: re.sub(r"--train-images \d+", "", value) for key, value in own.items()}
    words += own.get(words[0], "").split()
    return [*words, "--trials", "100"] if "--trials" in words else words


def run_example(line: str, place: Path, trained) -> None:
    """Run an example beside the finished runs that it needs."""
    for story in STORIES if line.split()[1] in ("restore", "report") else ():
        shutil.copytree(trained(story), place / "outputs" / story)
    if "outputs/mine" in line and " restore " in line:
        (place / "outputs/deblur").rename(place / "outputs/mine")
    done = call(*tiny(line.replace(" --open", ""), place), cwd=place, constants=HURRY | FEW_PASSES)
    assert done.returncode == 0, done.stderr


@pytest.mark.xdist_group("deblur")
@pytest.mark.parametrize(
    "line",
    [
        pytest.param(line, marks=() if line in ON_THE_FRONT_PAGE else pytest.mark.slow)
        for line in LINES
        if line.split()[1] in ("restore", "report")
    ],
)
def test_every_example_of_restore_and_report_runs(line, place, trained):
    run_example(line, place, trained)
    assert [*place.glob("outputs/restored/*.png"), *place.glob("clear/*.png"), *place.glob("*.html"),
            *place.glob("outputs/*.html"), *place.glob("*.onnx")]  # fmt: skip


def test_doctor_runs_as_shown(main):
    assert "bs6207 doctor" in LINES
    assert "nothing is broken" in main("doctor").stdout


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in LINES if line.split()[1] in STORIES])
def test_every_example_of_a_story_runs_with_tiny_settings(line, place, trained):
    run_example(line, place, trained)
    assert [*place.rglob("metrics.json")]


def test_every_other_line_in_a_block_needs_a_network_or_a_second_machine():
    for text in DOCS.values():
        for line in "".join(blocks(text, "sh")).splitlines():
            assert line.startswith("bs6207 ") or line.split()[0] in NEEDS_NETWORK
        assert {*re.findall(r"^```(.+)$", text, re.MULTILINE)} <= {"sh", "python", "toml"}


def test_the_optimizer_of_the_readme_runs_with_its_command(place):
    (line,) = [line for line in LINES if line.startswith("bs6207 bump") and "mine.py" in line]
    done = call(*shlex.split(line)[1:], "--json", cwd=place)
    assert done.returncode == 0, done.stderr
    first, own = json.loads(done.stdout)["optimizers"].values()
    assert first["h_max"] == METRICS["bump"]["optimizers"]["adam"]["h_max"]
    assert own["h_max"] == METRICS["bump"]["optimizers"]["gd"]["h_max"]  # slopes are -1 and +1 here


def test_the_table_of_foreign_optimizers_is_that_of_its_file():
    with (GALLERY / "audit/pytorch_optimizer.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    unlike = {"skipped": "not compared", "cannot be used": "cannot be used"}
    for row in rows:
        equals = row["rule"] + (row["departures"] and f", but {row['departures']}") or "no known rule"
        line = rf"^\| {re.escape(unlike.get(row['check'], equals))} \|.*\b{row['class']}\b"
        assert re.search(line, DOCS["bs6207/bump/README.md"], re.MULTILINE), row["class"]
    assert len(rows) > 100


@pytest.mark.xdist_group("deblur")
def test_the_python_of_the_readme_runs_and_says_what_its_comments_say(trained, tmp_path, monkeypatch, capsys):
    for story in ("latent", "deblur"):
        (tmp_path / "outputs").mkdir(exist_ok=True)
        (tmp_path / "outputs" / story).symlink_to(trained(story))
    monkeypatch.chdir(tmp_path)
    (code,) = [block for block in blocks(README, "python") if "import bs6207" in block]
    names: dict = {}
    exec(code, names)
    assert capsys.readouterr().out.strip() in re.search(r"print.*# (.*)", code)[1]
    shapes = {name: [*names[name].shape] for name in ("images", "latents")}
    assert shapes == {name: json.loads(re.search(rf"{name} = .*# (\[.*?\])", code)[1]) for name in shapes}
    assert names["restored"].shape == names["images"].shape


# --- the options and the names


def flags(settings: type) -> set[str]:
    return {f"--{field.replace('_', '-')}" for field in settings.model_fields}


@pytest.mark.parametrize("story", STORIES)
def test_every_option_of_a_story_is_in_the_table_of_its_readme(story):
    rows = re.findall(r"^\| (`--.*?) \|", DOCS[f"bs6207/{story}/README.md"], re.MULTILINE)
    helpers = {"deblur": RestoreSettings, "bump": AuditSettings}  # which the same page describes
    own = flags(STORIES[story]) | (flags(helpers[story]) if story in helpers else set())
    message = {flag for row in rows for flag in re.findall(r"`(--[\w-]+)`", row)}
    assert message == own - flags(Settings) - {"--images", "--optimizers"}  # which are taken without a flag


def test_every_common_option_is_in_the_table_of_runs():
    table = part(DOCS["bs6207/runs/README.md"], "## Options of every command", "Paths in")
    own = {"--config", "--out", "--json", "--quiet", "--debug", "--help", "-h"}
    assert {*re.findall(r"`(-?-[\w-]+)`", table)} == flags(Settings) | own


def named(text: str) -> set[str]:
    """The names in the first column of tables."""
    return {*re.findall(r"^\| `([a-z][\w-]*)` \|", text, re.MULTILINE)}


def test_every_name_that_can_be_chosen_has_a_row_with_its_source():
    assert named(part(DOCS["bs6207/bump/README.md"], "## Optimizers", "## Options")) == {*OPTIMIZERS}
    assert named(part(DOCS["bs6207/latent/README.md"], "## The method", "## Results")) == {*CLUSTERERS}
    assert {*BASELINES} <= named(part(DOCS["bs6207/deblur/README.md"], "## The method", "## Results"))
    assert named(DOCS["bs6207/data/README.md"]) == {"auto", *DATASETS}
    scores = METRICS["deblur"]["restorers"]["l1"]["3.0"].keys() - {"mean", "sd", "seeds"}
    assert scores <= named(part(DOCS["bs6207/deblur/README.md"], "## The method", "## Results"))
    benches = {path.name for path in (ROOT / "tests/bench").glob("*.py")}
    assert {*re.findall(r"^\| `([\w.]+)` \|", DOCS["tests/bench/README.md"], re.MULTILINE)} == benches


def test_every_path_and_name_of_the_map_is_there():
    tree = part(README, "## Map", "| to add")
    paths = [word.rstrip("/") for line in tree.splitlines() for word in re.split(r"  +", line.strip())[0].split()]
    places = [next((base / path for base in (ROOT, ROOT / "bs6207") if (base / path).is_dir()), None) for path in paths]
    assert None not in places
    rooms = {path for path in (ROOT / "bs6207").iterdir() if path.is_dir() and not path.name.startswith("_")}
    assert rooms <= {*places}
    touched = part(README, "## Map", "Rooms import")
    pairs = re.findall(r"`(\w+)` in `([\w/.]+)`", touched)
    assert len(pairs) >= 6
    for name, file in pairs:
        assert re.search(rf"\b{name}\b", (ROOT / file).read_text()), f"{name} in {file}"
    for file in re.findall(r"`([\w/]+/[\w.]+)`", README):
        assert (ROOT / file).exists() or file.startswith("outputs/") or file == "digits/3/x.png", file
    for file in re.findall(r"`(\w+\.py)`", touched):
        assert all((ROOT / "bs6207" / story / file).is_file() for story in STORIES), file


# --- the numbers


def latent_rows() -> Iterator[str]:
    for dim, cell in sorted(METRICS["latent"]["cells"].items(), key=lambda item: int(item[0])):
        pca = METRICS["latent"]["baselines"]["pca"][dim]
        ours, theirs = (
            f"{one['clusters']['kmeans']['accuracy']:.3f} ±{one['sd']['clusters']['kmeans']['accuracy']:.3f}"
            for one in (cell, pca)
        )
        yield f"| {dim} | {cell['l1']:.4f} ±{cell['sd']['l1']:.4f} | {pca['l1']:.4f} | {ours} | {theirs} |"


def deblur_rows() -> Iterator[str]:
    restorers = METRICS["deblur"]["restorers"]
    for sigma in restorers["identity"]:
        for name in (name for name in NAMES if name in restorers):
            one = restorers[name][sigma]
            spread = f" ±{one['sd']['psnr']:.2f}" if name in ("l1", "l1_disc") else ""
            message = "—" if one["two_sample"] is None else f"{one['two_sample']:.2f}"
            scores = f"{one['psnr']:.2f}{spread} | {one['ssim']:.3f} | {one['l1']:.4f} | {one['sharpness']:.3f}"
            yield f"| {sigma} | {NAMES[name]} | {scores} | {one['heldout_clear']:.2f} | {message} |"
    for name, condition in METRICS["deblur"]["conditions"].items():
        psnr = [f"{condition['psnr'][key]:.2f}" for key in ("identity", "autoencoder", "l1", "l1_disc")]
        yield f"| `{name}` | {condition['caption']} | {' | '.join(psnr)} |"


def bump_rows() -> Iterator[str]:
    for name in ("gd", "momentum", "adam"):
        entry = METRICS["bump"]["optimizers"][name]
        proof = entry["certificate"]
        height = f"{float(proof['h_max'][0]):.12g}" if name == "gd" else f"{entry['h_max']:.16g}"
        yield f"| {name} | {height} | {entry['step']} | {CERTAINTY[proof['kind']]} | {proof['period']} steps |"


def photograph_rows() -> Iterator[str]:
    """PSNR of every restorer, by sigma and then under the conditions."""
    restorers, conditions = METRICS["photos"]["restorers"], METRICS["photos"]["conditions"]
    shown = ("identity", "wiener", "richardson_lucy", "tv", "l1", "l1_disc")
    for sigma in restorers["identity"]:
        psnr = [f"{restorers[name][sigma]['psnr']:.2f}" for name in shown]
        yield f"| a Gaussian, sigma {float(sigma):g} | {' | '.join(psnr)} |"
    for condition in conditions.values():
        psnr = [f"{condition['psnr'][name]:.2f}" if name in condition["psnr"] else "—" for name in shown]
        yield f"| {condition['caption']} | {' | '.join(psnr)} |"


def test_the_table_of_photographs_and_what_is_said_of_it_are_those_of_the_gallery():
    text = part(DOCS["bs6207/deblur/README.md"], "### Results on photographs", "## ")
    assert rows_in(text) == [*photograph_rows()]
    restorers, conditions = METRICS["photos"]["restorers"], METRICS["photos"]["conditions"]
    over = [row["psnr"] - restorers["wiener"][sigma]["psnr"] for sigma, row in restorers["l1"].items()]
    behind = [restorers["tv"][sigma]["psnr"] - row["psnr"] for sigma, row in restorers["l1"].items()]
    assert f"and tuned for it, by {min(over):.2f} to {max(over):.2f} dB" in prose(text)
    assert f"is ahead of it by {min(behind):.2f} to {max(behind):.2f} dB" in prose(text)
    assert min(*over, *behind) > 0
    gains = {name: row["psnr"]["l1"] - row["psnr"]["identity"] for name, row in conditions.items()}
    assert f"gains {gains['disk']:.1f} dB on a disk and {gains['motion']:.1f} dB on motion" in prose(text)
    assert f"and {gains['clear']:.1f} dB where there is only noise" in prose(text)
    assert min(gains.values()) > 0
    wiener = {name: conditions[name]["psnr"]["l1"] - conditions[name]["psnr"]["wiener"] for name in ("disk", "motion")}
    assert f"{-wiener['disk']:.2f} dB less than Wiener and {wiener['motion']:.2f} dB more" in prose(text)
    changes = [row["psnr"] - restorers["l1"][sigma]["psnr"] for sigma, row in restorers["l1_disc"].items()]
    changes += [row["psnr"]["l1_disc"] - row["psnr"]["l1"] for row in conditions.values()]
    assert f"it changes PSNR by {max(map(abs, changes)):.2f} dB at most" in prose(text)


@pytest.mark.parametrize(("story", "rows"), [("bump", bump_rows), ("latent", latent_rows), ("deblur", deblur_rows)])
def test_the_tables_of_results_hold_the_rows_of_the_gallery_and_no_others(story, rows):
    results = part(DOCS[f"bs6207/{story}/README.md"], "## Results", "## Opt")
    assert rows_in(results) == [*rows()]


def found_numbers() -> dict[str, set[str]]:
    """The numbers that the text about each story may hold, as its metrics.json has them."""
    settings = BumpSettings()
    bump, latent, deblur, best = (METRICS[name] for name in ("bump", "latent", "deblur", "best"))
    optimizers = bump["optimizers"]
    kmeans = {int(dim): cell["clusters"]["kmeans"]["accuracy"] for dim, cell in latent["cells"].items()}
    by_best = sorted(one["clusters"]["best"]["accuracy"] for one in best["cells"]["16"]["seeds"].values())
    pixels = {name: metrics["baselines"]["pixels"] for name, metrics in (("latent", latent), ("best", best))}
    restorers = deblur["restorers"]
    costs = [restorers["l1"][sigma]["psnr"] - row["psnr"] for sigma, row in restorers["l1_disc"].items()]
    return {
        "bump": {
            *(f"{value:g}" for value in (START, settings.distance, LR, settings.height)),
            *(
                text.format(optimizers[name]["h_max"])
                for text in ("{!r}", "{:.3f}")
                for name in ("adam", "momentum", "gd")
            ),
            f"{float(optimizers['gd']['certificate']['h_max'][0]):g}",
        },
        "latent": {
            *(f"{accuracy:.3f}" for accuracy in (*kmeans.values(), pixels["latent"]["clusters"]["kmeans"]["accuracy"])),
            *map(str, kmeans),
            *(f"{latent['baselines'][name]['l1']:.4f}" for name in ("black", "median")),
            *(f"{value:.4f}" for value in (by_best[0], by_best[len(by_best) // 2], by_best[-1])),
            f"{pixels['best']['clusters']['best']['accuracy']:.4f}",
            *(str(len(metrics["cells"]["16"]["seeds"])) for metrics in (latent, best)),
            *(str(latent["data"][key]) for key in ("train", "test")),
            str(int(np.prod(latent["data"]["image_shape"]))),
        },
        "deblur": {
            *(f"{restorers[name]['3.0']['two_sample']:.2f}" for name in ("l1", "l1_disc")),
            *(f"{float(sigma):g}" for sigma in restorers["identity"]),
            f"{max(costs):.2f}",
            f"{CHANCE:g}",
            *(str(deblur["data"][key]) for key in ("train", "scored")),
        },
    }


@pytest.mark.parametrize("story", STORIES)
def test_the_text_about_results_holds_no_number_of_its_own(story):
    findings = part(README, "## What it finds", "## Install")
    (own,) = [text for text in findings.split("\n### ") if text.startswith(f"{story}: ")]
    results = part(DOCS[f"bs6207/{story}/README.md"], "## Results", "## Opt")
    message = prose("\n".join(line for line in results.splitlines() if not line.startswith("|")))
    for text in (prose(own.split("\n", 1)[1]), message):
        assert numbers(text) <= found_numbers()[story]
        assert len(numbers(text)) >= 2


def test_what_the_text_says_of_the_numbers_is_so():
    cells = METRICS["latent"]["cells"]
    pixels = METRICS["latent"]["baselines"]["pixels"]["clusters"]["kmeans"]["accuracy"]
    kmeans = {int(dim): cell["clusters"]["kmeans"]["accuracy"] for dim, cell in cells.items()}
    first, last = sorted(sorted(kmeans, key=kmeans.get)[-2:])
    best = f"{kmeans[first]:.3f} and {kmeans[last]:.3f} of the test images"
    others = f"it is {kmeans[2]:.3f}, at 16 only {kmeans[16]:.3f}, and on the pixels themselves {pixels:.3f}."
    assert f"best at {first} and {last} of the six sizes tried: {best}" in prose(README)
    assert f"At 2 dimensions {others}" in prose(README)
    assert len(kmeans) == 6
    assert all(abs(accuracy - pixels) < 0.05 for dim, accuracy in kmeans.items() if dim > last)
    assert all(cell["l1"] < METRICS["latent"]["baselines"]["pca"][dim]["l1"] for dim, cell in cells.items())
    heights = {name: entry["h_max"] for name, entry in METRICS["bump"]["optimizers"].items()}
    gd, adam, momentum = (f"{heights[name]:.3f}" for name in ("gd", "adam", "momentum"))
    assert f"up to {float(gd):g}, Adam of up to {adam} and momentum of up to {momentum}" in prose(README)
    assert {entry["certificate"]["kind"] for entry in METRICS["bump"]["optimizers"].values()} == {"interval"}
    restorers = METRICS["deblur"]["restorers"]
    without, with_disc = restorers["l1"], restorers["l1_disc"]
    accuracies = [f"{one['3.0']['two_sample']:.2f}" for one in (without, with_disc)]
    assert f"accuracy of {accuracies[0]} after L1 alone and of {accuracies[1]} after L1 + disc" in prose(README)
    for sigma, one in with_disc.items():
        for group in (one, without[sigma]):
            of_seeds = [seed["l1"] for seed in group["seeds"].values()]
            assert abs(one["l1"] - without[sigma]["l1"]) < max(of_seeds) - min(of_seeds)
        assert min(one["psnr"], without[sigma]["psnr"]) > max(restorers[name][sigma]["psnr"] for name in BASELINES)


def test_the_constants_that_the_text_names_are_those_of_the_code():
    message = {name: " ".join(text.split()) for name, text in DOCS.items()}
    assert f"From {WIDE} dimensions ({WIDE_FOR_FEW} with few images)" in message["bs6207/latent/README.md"]
    assert f"shrinks to 0 at {SMOOTH_UNTIL:.0%}".replace("%", " %") in message["bs6207/latent/README.md"]
    assert f"`trust.trusted`, whether that is at least {STABLE:g}" in message["bs6207/latent/README.md"]
    assert f"less than {100 * WEAK_GAIN:g} % better" in message["bs6207/latent/README.md"]
    assert f"downloads within {AUTO_TIMEOUT} seconds" in message["bs6207/data/README.md"]
    assert f"far end has {STRONG:g} times the disc weight" in message["bs6207/deblur/README.md"]
    assert f"autoencoder with {BOTTLENECK} dimensions" in message["bs6207/deblur/README.md"]
    assert f"there {SCANNED} heights are scanned" in message["bs6207/bump/README.md"]


def test_the_picture_of_the_three_stories_is_the_one_that_its_script_draws(trained, tmp_path):
    (tmp_path / "drawn.png").write_bytes(render(stories.draw(trained("bump") / "trajectories.csv"), "png"))
    drawn, committed = (imread(file) for file in (tmp_path / "drawn.png", GALLERY / "stories.png"))
    assert drawn.shape == committed.shape
    assert np.mean(np.abs(drawn - committed) > 0.1) < 0.002  # of the pixels; another number moves more


def speed_rows() -> Iterator[str]:
    """The table rows of how fast it is, as the bench wrote them."""
    for one in [*TRAININGS["rows"], *RESTORERS["rows"], *AMX["rows"], GPU["gpu"]["row"]]:
        plain, ours = (" / ".join(f"{l1:.4f}" for l1 in one[side]) for side in ("plain_l1", "our_l1"))
        seconds = f"{one['plain_seconds']:.0f} s | {one['our_seconds']:.1f} s | {one['ratio']:.3g}x"
        yield f"| {one['what']} | {seconds} | {plain} | {ours} |"


def test_how_fast_holds_the_rows_and_shares_of_the_bench_and_no_others():
    fast = DOCS["tests/bench/README.md"]
    assert [line for line in fast.splitlines() if re.search(r"^\|.*\dx", line)] == [*speed_rows()]
    machines = [one["machine"] for one in (TRAININGS, AMX)]
    shares = {*(machine["share_of_peak"] for machine in machines), RESTORERS["kept_beside_a_busy_process"]}
    assert {*re.findall(r"\d+ %", fast)} == {f"{100 * share:.0f} %" for share in shares}
    for machine in machines:
        peak = machine["peaks"][machine["precision"].removeprefix("torch.")]
        assert f"{peak / 1e9:.0f} GFLOP/s" in " ".join(fast.split())


def test_commands_that_train_nothing_take_the_shares_that_the_bench_wrote_and_those_are_within_the_aim():
    rows = re.findall(r"^\| `(bs6207 [^`]*)` \| ([\d.]+) \| ([\d.]+) \|$", DOCS["tests/bench/README.md"], re.MULTILINE)
    shares = QUICK["start"]["shares"]
    assert {line: share for line, share, _ in rows} == {line: f"{share:.3f}" for line, share in shares.items()}
    assert all(float(share) <= float(aim) for _, share, aim in rows)


def cost_rows() -> Iterator[str]:
    """A row for each command and kind of work, with its three sizes."""
    for name, unit in dict.fromkeys((row["name"], row["unit"]) for row in COST["rows"]):
        own = [row for row in COST["rows"] if (row["name"], row["unit"]) == (name, unit)]
        work = " / ".join(f"{row['work']:,}" for row in own)
        kinds = (("seconds", ".1f"), ("peak_mib", ",.0f"), ("written_mib", ".2f"))
        cells = [" / ".join(format(row[kind], spelling) for row in own) for kind, spelling in kinds]
        yield f"| {name} | {work} {unit} | {' | '.join(cells)} |"


def test_what_each_command_costs_is_what_the_bench_wrote():
    table = part(DOCS["tests/bench/README.md"], "## What each command costs", "Made by")
    assert [line for line in table.splitlines() if " / " in line] == [*cost_rows()]


def test_the_gpu_reaches_what_the_cpu_reaches_to_within_the_spread_of_seeds():
    assert GPU["gpu"]["row"]["our_seconds"] < 10
    for reached in GPU["gpu"]["l1"].values():
        spread = max(map(max, reached.values())) - min(map(min, reached.values()))
        apart = abs(sum(reached["gpu"]) - sum(reached["cpu"])) / len(reached["gpu"])
        assert apart < spread / 2


def test_the_plan_past_one_machine_follows_from_what_the_bench_wrote():
    plan = part(DOCS["bs6207/runs/README.md"], "### What to expect of many workers", "## Known limits")
    cluster, asleep = CLUSTER["cluster"], CLUSTER["asleep"]
    cost, size, seconds = cluster["overhead"], cluster["bytes"], cluster["seconds_a_cell"]
    for workers in (1, 10, 100, 1000):
        rates = [min(workers / (cell + cost), 1 / cost) for cell in (60, 3)]
        columns = [f"{3600 * rate:,.0f} | {size * rate / 1e6:.1f} MB/s" for rate in rates]
        assert f"| {workers:,} | {' | '.join(columns)} |" in plan
    message = [f"{seconds[name]:.2f} s" for name in ("here", "1 worker", "2 workers")]
    message += [f"{seconds['here'] + cost:.2f} and {(seconds['here'] + cost) / 2:.2f}", f"{1000 * cost:.0f} ms"]
    message += [f"{size / 1e6:.1f} MB", f"{asleep['cells_a_second']:.0f} tasks a second", f"{1 / cost:.0f} at most"]
    message += [f"t + {cost:.3f} s", f"{100 * asleep['share_used']:.0f} % of their time"]
    for words in message:
        assert words in " ".join(plan.split()), words
