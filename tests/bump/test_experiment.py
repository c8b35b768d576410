"""The bump command from settings to files."""

import csv
import io
import json

import numpy as np
import pytest
from conftest import UNDRAWN, Watched, arrays
from PIL import Image

from bs6207.bump import figures
from bs6207.bump.adapter import descend
from bs6207.bump.experiment import run
from bs6207.bump.kernels import KERNELS, Hyperparameters
from bs6207.bump.landscape import TIE
from bs6207.bump.optimizers import make_adapter
from bs6207.bump.search import SAME, VALLEY_STEPS, Study, find_by_scan, study, valley
from bs6207.bump.settings import NOISY, BumpSettings
from bs6207.bump.summary import caveats, divergence, exact_sentence, own_sentences, trajectories
from bs6207.figures import render
from bs6207.runs.progress import map_serially

blank = io.BytesIO()
Image.new("RGB", (2, 2)).save(blank, "PNG")
EMPTY = blank.getvalue()


def rows_of(file):
    with file.open() as lines:
        return list(csv.DictReader(lines))


@pytest.fixture
def folder(trained):
    return trained("bump")


def test_the_trajectories_are_the_paths_over_the_common_bump(folder):
    rows = rows_of(folder / "trajectories.csv")
    assert list(rows[0]) == ["optimizer", "step", "x", "loss", "slope"]
    adam = [float(row["x"]) for row in rows if row["optimizer"] == "adam"]
    assert len(adam) == 1001
    assert adam[6] == pytest.approx(1.41018429513, abs=1e-11)
    gd = [row for row in rows if row["optimizer"] == "gd"][:6]
    assert [float(row["x"]) for row in gd] == pytest.approx([0, 0.3, 0.6, 0.9, 1.2, 0.9])
    assert [float(row["loss"]) for row in gd] == pytest.approx([1, 0.7, 0.4, 0.1, 0.2, 0.1])
    assert [float(row["slope"]) for row in gd] == [-1, -1, -1, -1, 1, -1]


def test_metrics_compare_every_pair_and_certify_every_answer(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    assert [pair["optimizers"] for pair in metrics["parity"]] == [
        ["gd", "momentum"],
        ["gd", "adam"],
        ["momentum", "adam"],
    ]
    assert metrics["parity"][0]["first_step"] == 2
    assert not metrics["parity"][0]["agree"]
    for one in metrics["optimizers"].values():
        assert one["certificate"]["kind"] == "interval"
        low, high = map(float, one["certificate"]["h_max"])
        assert low <= one["h_max"] + 1e-12
        assert one["h_max"] <= high + 1e-12
        assert one["precision"] == "float64"
    rows = rows_of(folder / "parity.csv")
    assert tuple(rows[0][key] for key in ("one", "other", "agree")) == ("gd", "momentum", "False")
    assert {file.name for file in folder.iterdir()} >= {"trajectory.png", "trajectory.svg", "thresholds.png"}


def studied(path, in_valley=(0.0, 1.0, 2.0)):
    return Study({"h_max": 0.5}, path, in_valley)


def test_paths_that_never_diverge_agree_and_the_first_step_apart_is_named():
    studies = {
        "a": studied([0.0, 1.0, 2.0]),
        "b": studied([0.0, 1.0 + 1e-12, 2.0]),
        "c": studied([0.0, 1.0, 2.5]),
        "d": studied([0.0, 1.0, 2.0], [0.0, 1.0, 1.5]),
        "e": studied([0.0, 1.0]),
        "f": studied([0.0, 1.0, 2.0], [0.0]),
    }

    def compare(one, other):
        return divergence((one, other), studies, BumpSettings())

    assert compare("a", "b")["agree"]
    assert compare("a", "b")["difference"] < 1e-11
    assert compare("a", "c") == {
        "optimizers": ("a", "c"),
        "landscape": "bump",
        "first_step": 2,
        "difference": 0.5,
        "not_finite": None,
        "agree": False,
        "h_max": [0.5, 0.5],
    }
    keys = ("landscape", "first_step", "difference", "not_finite", "agree")
    assert [compare("a", "d")[key] for key in keys] == ["valley", 2, 0.5, None, False]
    assert [compare("a", "e")[key] for key in keys] == ["bump", 2, None, "e", False]
    assert [compare("f", "a")[key] for key in keys] == ["valley", 1, None, "f", False]
    assert compare("e", "e")["agree"]


@pytest.mark.parametrize("name", KERNELS)
def test_implementations_that_round_differently_agree_in_the_valley(name):
    """The rules on arrays, and torch's."""
    for lr in (1e-3, 0.3, 7.0):
        settings = BumpSettings(optimizer=[name], lr=lr)
        adapter, ground = make_adapter(name, settings), valley(settings)
        x, memory, path = np.zeros(1), np.zeros((KERNELS[name].memories, 1)), [0.0]
        for step in range(1, VALLEY_STEPS + 1):
            KERNELS[name].rule(
                x, np.array([ground.slope(x.item())]), memory, step, Hyperparameters(**adapter.hyperparameters)
            )
            path.append(x.item())
        apart = np.abs(np.subtract(path, descend(adapter, ground, VALLEY_STEPS, "cpu")))
        assert apart.max() < 0.01 * SAME * ground.width
        assert path[1] > 0.1 * lr


def test_paths_that_agree_where_slopes_are_one_diverge_where_slopes_vary(tmp_path, monkeypatch):
    (tmp_path / "parted.py").write_text(FOREIGN)
    monkeypatch.chdir(tmp_path)
    settings = BumpSettings(optimizer=["gd", "parted.py:Signs", "parted.py:Explodes"], steps=60)
    remarks = run(settings, Watched(), map_serially).remarks
    parts = "gd and parted.py:Signs agree over the bump; where slopes vary, they diverge at step 1, by "
    assert any(sentence.startswith(parts) for sentence in remarks)
    assert "gd and parted.py:Explodes diverge at step 8, where x of parted.py:Explodes is no longer finite." in remarks


def test_two_implementations_of_one_optimizer_agree(undrawn):
    line = "bump --optimizer torch.optim:AdamW adamw --eps 1e-8 --steps 50 --json"
    done = undrawn(*line.split())
    (pair,) = json.loads(done.stdout)["parity"]
    assert pair["agree"]
    assert pair["h_max"][0] == pair["h_max"][1]


def test_the_assignment_in_one_line(undrawn):
    done = undrawn("bump", "--config", "assignment")
    assert "0.3 0.6 0.9 1.2 0.9 1.2" in done.stdout
    assert "0.4101842951299659" in done.stdout
    assert "0.4101, the last height that escapes, or 0.4102, the first that fails" in done.stdout


def test_a_sweep_writes_its_plane_as_csv_npz_and_figure(bs6207, tmp_path):
    done = bs6207("bump", "--optimizer", "adam", "--sweep", "lr=0.1:0.5:5", "beta1=0:0.9:4")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "outputs/bump"
    plane = arrays(folder / "phase_diagram_adam.npz")
    low, high = np.nanmin(plane["h_max"]), np.nanmax(plane["h_max"])
    assert f"adam over lr and beta1: h_max from {low:.4g} to {high:.4g}, in phase_diagram_*" in done.stdout
    assert plane["h_max"].shape == (5, 4)
    assert plane["h_max"][2, 3] == pytest.approx(0.4101842951299659, abs=1e-9)
    rows = rows_of(folder / "phase_diagram_adam.csv")
    assert len(rows) == 20
    assert (folder / "phase_diagram_adam.png").is_file()


def test_a_sweep_over_one_setting_is_a_curve(tmp_path):
    settings = BumpSettings(optimizer=["gd", "adam"], sweep=["lr=0.1,0.2,0.4"], steps=40)
    result = run(settings, Watched(), map_serially)
    assert {"sweep", "trajectory", "thresholds"} == {*result.figures}
    assert render(result.figures["sweep"](), "png")
    assert [row["lr"] for row in result.tables["phase_diagram_adam"].rows] == [0.1, 0.2, 0.4]
    assert any(line.startswith("adam over lr: h_max from ") and "in sweep.png" in line for line in result.remarks)


@pytest.mark.parametrize("name", ["gd", "torch.optim:SGD"])  # by its kernel, and through torch
def test_a_foot_that_is_reached_but_for_rounding_is_a_tie_of_height_0_in_a_sweep(name):
    swept = ["distance=0.75,1,1000", "lr=0.25,0.3"]
    result = run(BumpSettings(optimizer=[name], sweep=swept, steps=100), Watched(), map_serially)
    plane = result.metrics["phase_diagrams"][name]
    assert (plane["low"], plane["cells_without_bump"], plane["cells_decided_by_rounding"]) == (0.0, 2, 2)
    table, file = next(item for item in result.tables.items() if item[0].startswith("phase_diagram"))
    assert [row["h_max"] for row in file.rows] == pytest.approx([0.0, 0.15, 0.0, 0.2, None, None])
    with np.load(io.BytesIO(result.files[f"{table}.npz"])) as held:
        assert held["h_max"][:, 0].tolist()[:2] == [0.0, 0.0]
        assert (held["margin"] < TIE).tolist() == [[True, False], [True, False], [False, False]]
    labels = [text.get_text() for text in result.figures[table]().legends[0].get_texts()]
    assert labels[:2] == ["no bump reached", "rounding decides"]


def test_a_sweep_without_kernel_goes_through_torch(undrawn, tmp_path):
    done = undrawn("bump", "--optimizer", "nadam", "--sweep", "lr=0.1:0.3:2", "beta1=0.5:0.9:2", "--steps", "50")
    assert done.returncode == 0, done.stderr
    plane = arrays(tmp_path / "outputs/bump/phase_diagram_nadam.npz")
    assert plane["h_max"][1, 1] == pytest.approx(0.214821911998, abs=1e-10)


def test_noise_gives_survival_curves_with_bands(undrawn, tmp_path):
    done = undrawn("bump", "--optimizer", "gd", "--noise", "0.5", "--trials", "2000", "--json")
    half = json.loads(done.stdout)["noise"]["gd"]["h50"]
    assert half["lower"] < half["height"] < half["upper"]
    assert half["height"] == pytest.approx(0.66, abs=0.05)
    assert len(rows_of(tmp_path / "outputs/bump/survival_gd.csv")) > 100


def test_every_noisy_optimizer_has_a_kernel():
    assert set(NOISY) == set(KERNELS)


def test_the_band_of_gradient_descent_is_zero_to_lr(undrawn):
    done = undrawn("bump", "--optimizer", "gd", "--band", "--json")
    band = json.loads(done.stdout)["optimizers"]["gd"]["band"]
    assert band["low"] == pytest.approx(0, abs=0.002)
    assert band["high"] == pytest.approx(0.3, abs=0.002)
    assert band["median"] == pytest.approx(0.15, abs=0.002)


def test_exact_arithmetic_settles_a_tie(bs6207, tmp_path):
    line = "bump --optimizer momentum --momentum 0.5 --steps 200 --exact --json"
    never = {"bs6207.bump.proof": {"FOLLOWED": 1000}}  # steps: too few to find a recurrence
    done = bs6207(*line.split(), constants=UNDRAWN | never)
    said = (tmp_path / "outputs/bump/remarks.txt").read_text()
    assert "rounding decides" in said
    assert "11/40" in said
    one = json.loads(done.stdout)["optimizers"]["momentum"]
    assert one["exact"]["h_max"] == "11/40"
    assert one["h_max"] == pytest.approx(0.4, abs=1e-9)  # what float64 makes of it


def caveats_of(name, **given):
    settings = BumpSettings(optimizer=[name], **given)
    return " ".join(caveats(study(make_adapter(name, settings), settings).metrics, settings))


def test_exact_arithmetic_is_advised_only_where_it_settles_a_tie():
    ties = {"lr": 0.25, "steps": 50}
    assert "so rounding decides this answer; --exact may settle it." in caveats_of("adam", **ties)
    others = {"torch.optim:SGD": {}, "radam": {}, "adam": {"up_slope": 2.0}, "gd": {"set": ["momentum=0"]}}
    for name, given in others.items():
        assert "so rounding decides this answer." in caveats_of(name, **ties, **given)


def test_exact_arithmetic_says_what_is_not_reached_or_only_just():
    assert "in exact arithmetic h_max is 0: x comes to the foot" in caveats_of("gd", lr=0.05, steps=50, exact=True)
    assert "in exact arithmetic the bump is not reached." in caveats_of("gd", lr=0.05, steps=5, exact=True)


def test_other_landscapes_are_scanned(undrawn):
    line = "bump --optimizer momentum --landscape gaussian --steps 8 --json"
    one = json.loads(undrawn(*line.split()).stdout)["optimizers"]["momentum"]
    assert one["method"] == "scan"
    assert one["intervals"][0][0] == 0
    assert one["certificate"]["kind"] == "steps"
    line = "bump --optimizer gd --landscape staircase --bumps 2 --steps 8"
    assert undrawn(*line.split()).returncode == 0


def frames_of(paths):
    """What a frame a step shows of optimizers: the data, marker and size of each ball, and the numbers of rings."""
    landscape = BumpSettings().landscape_of(0.4)
    table = trajectories({name: studied(path) for name, path in paths.items()}, BumpSettings())
    shown, seen = [], []

    def look(figure, kind):
        (axes,) = figure.axes
        balls = dict(zip(paths, axes.get_lines()[1:], strict=True))  # the first is the ground
        looks = {
            name: (*ball.get_xydata()[0], ball.get_marker(), ball.get_markersize()) for name, ball in balls.items()
        }
        shown.append((looks, [text.get_text() for text in axes.texts]))
        seen.append(figure)
        return EMPTY

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(figures, "render", look)
        figures.animation(table, landscape, 0.4)
    return shown, seen[0]


def test_balls_that_coincide_are_rings_and_those_that_left_or_ended_are_marked():
    paths = {"a": [0.0, 0.5, 9.0], "b": [0.0, 0.5, -9.0], "c": [0.0, 1.2], "d": [0.0, 1.2001, 8.0]}
    shown, figure = frames_of(paths)
    first, second, last = (places for places, _ in shown[:3])
    assert [numbers for _, numbers in shown[:3]] == [["4"], ["2", "2"], []]
    assert len({size for *_, size in first.values()}) == 4
    assert {marker for *_, marker, _ in second.values()} == {"o"}
    assert [last[name][2] for name in paths] == [">", "<", "X", ">"]
    assert last["a"][1] != last["d"][1]
    legend, (axes,) = figure.legends[0], figure.axes
    figure.draw_without_rendering()
    assert not legend.get_window_extent().overlaps(axes.get_window_extent())


def test_many_optimizers_have_colours_of_their_own():
    names = [f"optimizer {number}" for number in range(19)]
    _, figure = frames_of({name: [0.0, 0.3] for name in names})
    assert len({line.get_color() for line in figure.axes[0].get_lines()[1:]}) == 19
    assert [text.get_text() for text in figure.legends[0].get_texts()] == names


def test_the_animation_moves_and_reports_progress(monkeypatch):
    monkeypatch.setattr(figures, "SHOWN_STEPS", 8)
    seen = Watched()
    result = run(BumpSettings(optimizer=["gd", "adam"], animate=True, steps=40), seen, map_serially)
    assert seen.steps == seen.expected == 2 + 9
    with Image.open(io.BytesIO(result.files["descent.gif"])) as picture:
        assert picture.n_frames == 9


def test_a_scan_reports_its_status():
    statuses = []
    find_by_scan(lambda landscape: [0.0], BumpSettings(), statuses.append)
    assert statuses[:2] == ["height 1 of 200", "height 2 of 200"]
    assert statuses[199:201] == ["height 200 of 200", "height 201, to narrow them down"]


def test_what_rises_after_the_steps_is_not_called_a_rounding(undrawn):
    said = undrawn("bump", "--optimizer", "adam", "--steps", "4").stdout
    assert "after these steps it rises to 0.41018429513, at step 6" in said
    assert "rounding" not in said
    assert "4 steps" in said


def test_a_recurrence_that_goes_higher_is_reported(undrawn):
    line = "bump --optimizer gd --lr 0.1 --weight-decay 0.01 --distance 1.3707"
    assert "after these steps it rises to 0.0984013156842, at step 25800" in undrawn(*line.split()).stdout


@pytest.mark.slow
def test_a_gap_below_the_first_threshold_seen_is_found(undrawn):
    line = "bump --optimizer momentum --landscape staircase --height 0.2316 --steps 100 --json"
    one = json.loads(undrawn(*line.split()).stdout)["optimizers"]["momentum"]
    assert one["h_max"] < 0.2316
    assert any(low < 0.5 < high for low, high in one["intervals"])


FOREIGN = """
import os, sys
import torch
from torch.optim import SGD

KEPT = sys.stdout


class Chatty(SGD):
    def step(self, closure=None):
        print("to stdout", file=KEPT)
        os.write(1, b"past stdout")
        return super().step(closure)


class Signs(SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            for x in group["params"]:
                x.grad.sign_()
        return super().step(closure)


class Explodes(SGD):
    def step(self, closure=None):
        self.count = getattr(self, "count", 0) + 1
        if self.count == 8:
            self.param_groups[0]["params"][0].grad.fill_(float("nan"))
        return super().step(closure)


class Tires(SGD):
    def step(self, closure=None):
        self.count = getattr(self, "count", 0) + 1
        if self.count > 50:
            raise RuntimeError("out of breath")
        return super().step(closure)


class Quits(SGD):
    def step(self, closure=None):
        sys.exit(7)


class Moody(SGD):
    mood = 0

    def step(self, closure=None):
        Moody.mood += 1
        for group in self.param_groups:
            group["lr"] = 0.3 if Moody.mood < 1100 else 0.9
        return super().step(closure)


class Plain:
    def __init__(self, parameters, lr):
        self.parameters, self.lr = list(parameters), lr

    def step(self):
        with torch.no_grad():
            for x in self.parameters:
                x -= self.lr * x.grad
"""


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("foreign:Chatty --json", 0, ""),
        ("foreign:Tires", 1, "foreign:Tires fails on its way: out of breath"),
        ("foreign:Quits", 2, "foreign:Quits cannot be used"),
        ("foreign:Moody", 1, "has no threshold"),
        ("foreign:Plain --beta1 0.5", 2, "none of foreign:Plain has it"),
        ("foreign:Plain --sweep lr=0.1:0.3:2 beta1=0:0.9:3", 2, "foreign:Plain has no beta1"),
        ("foreign:Plain --sweep lr=0.1:0.3:2 distance=1:2:2", 0, ""),
    ],
)
def test_foreign_classes_that_misbehave_are_refused_in_a_sentence(undrawn, tmp_path, line, code, words):
    (tmp_path / "foreign.py").write_text(FOREIGN)
    done = undrawn("bump", "--optimizer", *line.split())
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert done.stderr.count("\n") <= 1
    assert "past stdout" not in done.stdout
    if "--json" in line:
        json.loads(done.stdout)
    if code == 2:
        assert {path.name for path in tmp_path.iterdir()} <= {"foreign.py", "__pycache__"}


def test_without_figures_all_else_is_the_same(bs6207, tmp_path):
    lines = (["--out", "with"], ["--out", "without", "--no-figures"])
    said = [bs6207("bump", "--optimizer", "gd", "adam", "--steps", "50", *line).stdout for line in lines]
    (all_files, files) = ({file.name: file.read_bytes() for file in (tmp_path / line[1]).iterdir()} for line in lines)
    assert {name for name in all_files if name.endswith((".png", ".svg"))} == all_files.keys() - files.keys() != set()
    assert all(files[name] == all_files[name] for name in files if name != "env.json")
    assert "Look at with/trajectory.png first" in said[0]
    assert "Look at" not in said[1]


def test_a_sweep_without_figures_names_the_files_that_there_are(bs6207, tmp_path):
    done = bs6207("bump", "--optimizer", "gd", "--steps", "50", "--sweep", "lr=0.1:0.9:5", "--no-figures")
    assert "in phase_diagram_*.npz." in done.stdout
    assert not [*(tmp_path / "outputs" / "bump").glob("*.png")]


def test_an_animation_without_figures_is_refused(bs6207):
    done = bs6207("bump", "--animate", "--no-figures")
    assert (done.returncode, done.stderr) == (2, "bs6207: --animate draws figures; leave out --no-figures\n")


def test_an_exact_answer_and_a_landscape_of_ones_own_are_told_in_words():
    assert exact_sentence({"reason": "roots"}) == "no exact answer: roots."
    assert exact_sentence({"h_max": "-1/2", "decimal": "-0.5"}) == "in exact arithmetic the bump is not reached."
    assert "comes to the foot of the bump" in exact_sentence({"h_max": "0", "decimal": "0"})
    assert exact_sentence({"h_max": "2/5", "decimal": "0.4"}) == "in exact arithmetic h_max is 2/5."
    own = {"slopes": "given", "height": 0.5, "foot": 1.0, "crest": 1.5, "bumps": 2, "end": 3.0, "searched_up_to": 100.0}
    (sentence,) = own_sentences(own | {"low_heights_have_bumps": True})
    assert "its foot is at x = 1, its crest at 1.5, that of the last of 2 bumps, and from 3 on the loss is" in sentence
    falling, low = own_sentences(own | {"bumps": 0, "low_heights_have_bumps": False})
    assert "the loss only falls; its crest is what h raises most, at x = 1.5; found between" in falling
    assert low.startswith("At low heights the loss only falls")
