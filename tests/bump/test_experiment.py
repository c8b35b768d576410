"""The bump command from settings to files."""

import csv
import json

import pytest

from bs6207.bump.experiment import parting


@pytest.fixture
def folder(bs6207, tmp_path):
    done = bs6207("bump")
    assert done.returncode == 0, done.stderr
    return tmp_path / "outputs/bump"


def test_the_trajectories_are_the_paths_over_the_common_bump(folder):
    with (folder / "trajectories.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["optimizer", "step", "x", "loss", "slope"]
    adam = [float(row["x"]) for row in rows if row["optimizer"] == "adam"]
    assert len(adam) == 1001
    assert adam[6] == pytest.approx(1.41018429513, abs=1e-11)
    gd = [row for row in rows if row["optimizer"] == "gd"][:6]
    assert [float(row["x"]) for row in gd] == pytest.approx([0, 0.3, 0.6, 0.9, 1.2, 0.9])
    assert [float(row["loss"]) for row in gd] == pytest.approx([1, 0.7, 0.4, 0.1, 0.2, 0.1])
    assert [float(row["slope"]) for row in gd] == [-1, -1, -1, -1, 1, -1]


def test_metrics_compare_every_pair_and_say_for_how_many_steps_they_are_known(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    assert [pair["optimizers"] for pair in metrics["parity"]] == [
        ["gd", "momentum"],
        ["gd", "adam"],
        ["momentum", "adam"],
    ]
    assert metrics["parity"][0]["first_step"] == 2
    assert metrics["optimizers"]["adam"]["certificate"] == {"kind": "steps", "steps": 1000}
    assert {file.name for file in folder.iterdir()} >= {"trajectory.png", "trajectory.svg", "thresholds.png"}


def test_paths_that_never_part_say_so():
    paths = {"a": [0.0, 1.0], "b": [0.0, 1.0]}
    assert parting(("a", "b"), paths) == {"optimizers": ("a", "b"), "first_step": None, "difference": 0.0}
