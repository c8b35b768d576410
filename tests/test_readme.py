"""The README: its two lines, and every number of its findings copied from a metrics.json."""

import json
import re
import shlex
from pathlib import Path

import pytest

from bs6207.bump.landscape import START
from bs6207.bump.settings import BumpSettings
from bs6207.cli.commands import app
from bs6207.cli.options import presets
from bs6207.deblur.figures import NAMES
from bs6207.training.optimizers import LR

CHANCE = 0.5  # accuracy of a network that cannot tell two kinds of images apart
ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
GALLERY = ROOT / "tests/gallery"
METRICS = {file.parent.name: json.loads(file.read_text()) for file in GALLERY.glob("*/metrics.json")}
TRAININGS, RESTORERS, AMX, GPU, CLUSTER = (
    json.loads((GALLERY / f"speed/{name}.json").read_text())
    for name in ("trainings", "restorers", "amx", "gpu", "cluster")
)
COMMANDS = {command.name for command in app.registered_commands}


def test_there_are_two_fenced_blocks_of_one_line_and_ci_runs_the_second():
    blocks = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert README.count("```") == 4
    assert [block.count("\n") for block in blocks] == [1, 1]
    assert "bs6207 bump --optimizer adam && bs6207 latent --dims 2 4 8 16" in blocks[0]
    assert "pytest" in blocks[1]
    assert "README.md" in (ROOT / ".ci/run").read_text()


def test_every_command_line_in_the_readme_exists():
    lines = [line for line in re.findall(r"bs6207 ([a-z]+[^`|&\\\n]*)", README) if line.split()[0] in COMMANDS]
    assert {line.split()[0] for line in lines} == COMMANDS
    for line in lines:
        words = shlex.split(line)
        if "--config" in words and "/" not in (config := words[words.index("--config") + 1]):
            assert config in presets()


def test_every_picture_is_there_and_small():
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert len(pictures) == 3
    for picture in pictures:
        assert (ROOT / picture).stat().st_size < 400_000


def expected_rows():
    """The table rows of the findings, as their metrics.json has them."""
    for dim, cell in sorted(METRICS["latent"]["cells"].items(), key=lambda item: int(item[0])):
        pca = METRICS["latent"]["baselines"]["pca"][dim]
        ours, theirs = (
            f"{one['clusters']['kmeans']['accuracy']:.3f} ±{one['sd']['clusters']['kmeans']['accuracy']:.3f}"
            for one in (cell, pca)
        )
        yield f"| {dim} | {cell['l1']:.4f} ±{cell['sd']['l1']:.4f} | {pca['l1']:.4f} | {ours} | {theirs} |"
    restorers = METRICS["deblur"]["restorers"]
    for sigma in restorers["identity"]:
        for name in ("identity", "richardson_lucy", "tv", "autoencoder", "l1", "l1_disc"):
            one = restorers[name][sigma]
            spread = f" ±{one['sd']['psnr']:.2f}" if name in ("l1", "l1_disc") else ""
            told = "—" if one["two_sample"] is None else f"{one['two_sample']:.2f}"
            scores = f"{one['psnr']:.2f}{spread} | {one['l1']:.4f} | {one['sharpness']:.3f} | {told}"
            yield f"| {sigma} | {NAMES[name]} | {scores} |"


@pytest.mark.parametrize("row", [*expected_rows()])
def test_every_row_of_the_findings_is_in_the_readme(row):
    assert row in README


def test_the_findings_hold_no_row_and_no_number_of_their_own():
    findings = README.split("## What it finds")[1].split("## Install and run")[0]
    rows = [line for line in findings.splitlines() if re.match(r"\| [\d.]+ \|", line)]
    assert sorted(rows) == sorted(expected_rows())
    bump, latent = METRICS["bump"]["optimizers"], METRICS["latent"]["baselines"]
    settings = BumpSettings()
    given = {f"{value:g}" for value in (START, settings.distance, LR, settings.height, CHANCE)}
    given |= {f"{float(sigma):g}" for sigma in METRICS["deblur"]["restorers"]["identity"]}
    given |= {*METRICS["latent"]["cells"]}
    given |= {str(len(METRICS[name]["cells"]["16"]["seeds"])) for name in ("latent", "best")}
    found = {f"{bump['adam']['h_max']:.16g}", f"{bump['gd']['h_max']:.12g}", f"{bump['momentum']['h_max']:.12g}"}
    found |= {f"{latent[name]['l1']:.4f}" for name in ("black", "median")}
    pixels = latent["pixels"]["clusters"]["kmeans"]["accuracy"]
    kmeans = {int(dim): cell["clusters"]["kmeans"]["accuracy"] for dim, cell in METRICS["latent"]["cells"].items()}
    best_dims = sorted(sorted(kmeans, key=kmeans.get)[-2:])
    alike = sorted(dim for dim in kmeans if dim > max(best_dims))
    assert all(abs(kmeans[dim] - pixels) < 0.05 for dim in alike)
    found |= {f"{pixels:.3f}"}
    best = METRICS["best"]["cells"]["16"]["seeds"].values()
    accuracies = sorted(one["clusters"]["best"]["accuracy"] for one in best)
    found |= {f"{accuracy:.4f}" for accuracy in (accuracies[0], accuracies[len(accuracies) // 2], accuracies[-1])}
    found |= {f"{METRICS['best']['baselines']['pixels']['clusters']['best']['accuracy']:.4f}"}
    found |= {f"{METRICS[name]['data'][part]}" for name in ("latent", "deblur") for part in ("train", "test")}
    restorers = METRICS["deblur"]["restorers"]
    costs = [restorers["l1"][sigma]["psnr"] - row["psnr"] for sigma, row in restorers["l1_disc"].items()]
    found |= {f"{METRICS['deblur']['data']['scored']}", f"{max(costs):.2f}"}
    found |= {f"{restorers[name]['3.0']['two_sample']:.2f}" for name in ("l1", "l1_disc")}
    prose = "\n".join(line for line in findings.splitlines() if not line.startswith(("|", "!")))
    first, last = best_dims
    assert f"at {first} to {last} dimensions; with {alike[0]} and more" in " ".join(prose.split())
    numbers = {number.replace(",", "") for number in re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?!\w)", prose)}
    assert numbers - given <= found


def speed_rows():
    """The table rows of how fast it is, as the bench wrote them."""
    for one in [*TRAININGS["rows"], *RESTORERS["rows"], *AMX["rows"], GPU["gpu"]["row"]]:
        plain, ours = (" / ".join(f"{l1:.4f}" for l1 in one[side]) for side in ("plain_l1", "our_l1"))
        seconds = f"{one['plain_seconds']:.0f} s | {one['our_seconds']:.1f} s | {one['ratio']:.3g}x"
        yield f"| {one['what']} | {seconds} | {plain} | {ours} |"


def test_how_fast_holds_the_rows_and_shares_of_the_bench_and_no_others():
    fast = README.split("## How fast")[1].split("## Map")[0]
    rows = [line for line in fast.splitlines() if re.search(r"^\|.*\dx", line)]
    assert rows == [*speed_rows()]
    machines = [one["machine"] for one in (TRAININGS, AMX)]
    shares = {*(machine["share_of_peak"] for machine in machines), RESTORERS["kept_beside_a_busy_process"]}
    assert {*re.findall(r"\d+ %", fast)} == {f"{100 * share:.0f} %" for share in shares}
    for machine in machines:
        peak = machine["peaks"][machine["precision"].removeprefix("torch.")]
        assert f"{peak / 1e9:.0f}\nGFLOP/s" in fast or f"{peak / 1e9:.0f} GFLOP/s" in fast


def test_the_gpu_reaches_what_the_cpu_reaches_to_within_the_spread_of_seeds():
    assert GPU["gpu"]["row"]["our_seconds"] < 10
    for reached in GPU["gpu"]["l1"].values():
        spread = max(map(max, reached.values())) - min(map(min, reached.values()))
        apart = abs(sum(reached["gpu"]) - sum(reached["cpu"])) / len(reached["gpu"])
        assert apart < spread / 2


def test_the_plan_past_one_machine_follows_from_what_the_bench_wrote():
    plan = README.split("**What to expect.**")[1].split("### ")[0]
    cluster, asleep = CLUSTER["cluster"], CLUSTER["asleep"]
    cost, size, seconds = cluster["overhead"], cluster["bytes"], cluster["seconds_a_cell"]
    assert cost < 0.05
    for workers in (1, 10, 100, 1000):
        rates = [min(workers / (cell + cost), 1 / cost) for cell in (60, 3)]
        columns = [f"{3600 * rate:,.0f} | {size * rate / 1e6:.1f} MB/s" for rate in rates]
        assert f"| {workers:,} | {' | '.join(columns)} |" in plan
    told = [f"{seconds[name]:.2f} s" for name in ("here", "1 worker", "2 workers")]
    told += [f"{seconds['here'] + cost:.2f} and {(seconds['here'] + cost) / 2:.2f}", f"{1000 * cost:.0f} ms"]
    told += [f"{size / 1e6:.1f} MB", f"{asleep['cells_a_second']:.0f} tasks a second", f"{1 / cost:.0f} at most"]
    for words in [*told, f"{100 * asleep['share_used']:.0f} % of their time"]:
        assert words in plan, words


MAP = README.split("## Map")[1].split("## Tried")[0]


def test_every_file_and_room_of_the_map_is_there():
    tree, rooms = MAP.split("A room imports")[0], ("cli", "bump", "page", "training", "data", "runs")
    for room, end in zip(rooms, (*rooms[1:], "errors.py"), strict=True):
        words = tree.split(f"      {room}/")[1].split(f"      {end}")[0]
        for name in re.findall(r"\b[a-z_]+\.(?:py|html|css)\b", words):
            assert (ROOT / "bs6207" / room / name).is_file(), f"{room}/{name}"
    named = set(re.findall(r"^      (\w+)/|  (\w+)/|^      (\w+\.py)", tree, re.MULTILINE))
    there = {path.name for path in (ROOT / "bs6207").iterdir() if not path.name.startswith("_")}
    assert there <= {name for match in named for name in match}


def test_every_name_that_one_adds_to_is_in_its_file():
    pairs = re.findall(r"`(\w+)` in `([\w/.]+)`", MAP)
    assert len(pairs) >= 10
    for name, file in pairs:
        assert re.search(rf"\b{name}\b", (ROOT / "bs6207" / file).read_text()), f"{name} in {file}"
