"""A run resumes only with the same code, versions and kind of device; env.json says which they were."""

import json

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
