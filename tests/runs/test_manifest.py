"""A run resumes only with the same code, versions and kind of device; env.json says which they were."""

import json
import shutil

import pytest
import torch

from bs6207.bump import experiment
from bs6207.errors import UserError
from bs6207.runs import manifest
from bs6207.runs.result import Result, Table


def double(number, progress):
    progress.step("doubled")
    return 2 * number


def run_once(main, monkeypatch, fails=False):
    """One run of a single task, which fails once the task is finished or ends well."""

    def run(settings, progress, map_tasks):
        progress.expect(1)
        outcomes = map_tasks(double, {"one": 1}, progress, "data")
        if fails:
            raise UserError("stopped")
        return Result(settings, outcomes, Table((), ()))

    monkeypatch.setattr(experiment, "run", run)
    return main("bump", "--optimizer", "gd")


@pytest.mark.parametrize("changed", [False, True])
def test_a_run_resumes_only_where_the_processor_multiplies_in_the_same_format(main, monkeypatch, changed):
    monkeypatch.setattr("bs6207.training.devices.multiplies_in_bfloat16", lambda device: True)
    run_once(main, monkeypatch, fails=True)
    monkeypatch.setattr("bs6207.training.devices.multiplies_in_bfloat16", lambda device: not changed)
    done = run_once(main, monkeypatch)
    assert ("begins anew, as its data or the device have changed" in done.stderr) == changed
    assert ("goes on where it was interrupted" in done.stderr) == (not changed)


def test_env_json_says_which_device_was_used_and_how_many_threads_each_process_had(main, monkeypatch, tmp_path):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)  # of this process, which does not compute
    assert run_once(main, monkeypatch).returncode == 0
    environment = json.loads((tmp_path / "outputs/bump/env.json").read_text())
    assert environment["device"] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert environment["threads"] == 1


def test_versions_of_all_that_reads_degrades_and_projects_images_must_match():
    versions = manifest.code_and_versions("deblur")["versions"]
    assert versions["pillow"]
    assert versions["matplotlib"]
    assert "umap-learn" in versions
    assert manifest.version_of("no-such-package") is None


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package, whose code is hashed instead."""
    copy = tmp_path / "bs6207"
    shutil.copytree(manifest.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(manifest, "PACKAGE", copy)
    return copy


COMMENT, CODE = "\n# a comment\n", "\nADDED = 1\n"


@pytest.mark.parametrize(
    ("file", "added", "matters"),
    [
        ("cli/doctor.py", CODE, False),
        ("page/build.py", CODE, False),
        ("latent/figures.py", CODE, False),
        ("bump/search.py", CODE, False),
        ("latent/autoencoder.py", COMMENT, False),
        ("latent/autoencoder.py", '\ndef unused():\n    """Words."""\n', True),
        ("latent/experiment.py", CODE, True),
        ("latent/contrastive.py", CODE, True),  # imported inside a function only
        ("training/epochs.py", CODE, True),
        ("errors.py", CODE, True),
    ],
)
def test_only_code_that_can_change_a_task_of_the_command_discards_its_checkpoints(package, file, added, matters):
    before = manifest.code_hash("latent")
    text = (package / file).read_text()
    (package / file).write_text(text + added)
    assert (manifest.code_hash("latent") != before) == matters


def test_neither_docstrings_nor_moved_lines_discard_checkpoints(package):
    before = manifest.code_hash("latent")
    file = package / "latent/training.py"
    text = file.read_text()
    assert text.startswith('"""')
    file.write_text('"""Other words."""\n\n\n\n' + text.split('"""', 2)[2])
    assert manifest.code_hash("latent") == before
