"""The doctor: each check on a machine where the thing works, and on one where it does not."""

import gzip
import json
import os
import signal
import subprocess
import sys
import tomllib
import warnings
from collections import namedtuple
from dataclasses import replace
from functools import partial
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import torch
from conftest import call

from bs6207.cli import doctor
from bs6207.cli.doctor import EXTRAS, Check, guarded
from bs6207.data import sources
from bs6207.data.idx import IDX_FILES
from bs6207.errors import UserError
from bs6207.runs.memory import in_words

ROOT = Path(__file__).parents[2]
NMS = "raise RuntimeError('operator torchvision::nms does not exist')"
RUNNING = """
import sys
from pathlib import Path
from bs6207.bump.settings import BumpSettings
from bs6207.runs.folder import open_run
with open_run("bump", Path("outputs/bump"), BumpSettings()):
    print("locked", flush=True)
    sys.stdin.read()
"""


def rows(look, outputs: Path = Path("outputs"), device: str = "auto") -> dict[str, Check]:
    """What one check yields, by name."""
    return {row.name: row for row in guarded(look.__name__, partial(look, outputs, device))}


def diagnosis(done) -> dict[str, Check]:
    """What `doctor --json` said, by name; nothing but strict JSON may be on stdout, and no traceback anywhere."""

    def refuse(constant):
        raise AssertionError(constant)

    assert "Traceback" not in done.stderr
    said = json.loads(done.stdout, parse_constant=refuse)
    assert said["ok"] == (done.returncode == 0) == all(row["state"] != "broken" for row in said["checks"])
    assert set(said) == {"checks", "ok"}
    return {row["name"]: Check(**row) for row in said["checks"]}


def fake(place: Path, package: str, content: str) -> str:
    """A PYTHONPATH on which `package` is one that runs `content` when it is imported."""
    (place / package).mkdir(parents=True)
    (place / package / "__init__.py").write_text(content)
    return os.pathsep.join((str(place), os.environ.get("PYTHONPATH", "")))


def test_where_all_works_nothing_is_broken_and_nothing_is_left_behind(tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    done = call("doctor", "--json", cwd=here)
    found = diagnosis(done)
    assert done.returncode == 0
    assert {"python", "packages", "import torch", "import torchvision", "cores", "device", "cpu", "cuda"} <= set(found)
    assert {"mps", "data mnist-5k", "outputs", "disk", "memory", "terminal", "figures"} <= set(found)
    assert all(row.remedy for row in found.values() if row.state != "ok")
    assert found["outputs"].found == f"{here} can be written, and {here / 'outputs'} be made"
    assert not list(here.iterdir())
    cached = {path.name for path in tmp_path.glob("*/*")}
    assert cached <= {"matplotlib"}  # which keeps a list of fonts for itself


def test_a_table_lists_all_that_is_broken_with_its_remedy_and_no_traceback(tmp_path):
    (tmp_path / "data").mkdir()
    for stem in IDX_FILES:
        (tmp_path / "data" / stem).write_bytes(b"rubbish")
    (tmp_path / "a[b]").write_text("a file, and markup too")
    broken = {"PYTHONPATH": fake(tmp_path / "fake", "torchvision", f"print('loud')\n{NMS}"), "MPLBACKEND": "nosuch"}
    narrow = {"COLUMNS": "60", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "BS6207_DATA": "data"}
    done = call("doctor", "--out", "a[b]", "--device", "mps", cwd=tmp_path, **broken, **narrow)
    message = " ".join(done.stdout.replace("|", " ").split())
    assert done.returncode == 1
    assert not done.stderr
    assert "loud" not in done.stdout
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 60
    *_, conclusion = done.stdout.splitlines()
    broken = ["import torchvision", "device", "data mnist", "data fashion-mnist", "outputs", "figures"]
    assert conclusion == f"broken: {', '.join(broken)}"
    for words in ("operator torchvision::nms does not exist", "install both together", "is not an idx file"):
        assert words in message
    for words in ("delete it and run again", "choose another --out", "unset MPLBACKEND", "set PYTHONIOENCODING=utf-8"):
        assert words in message
    assert "a[b]" in message


def test_a_torch_that_cannot_be_imported_costs_the_other_checks_nothing(tmp_path):
    path = fake(tmp_path / "fake", "torch", "raise ImportError('libtorch_cpu.so: cannot open shared object file')")
    found = diagnosis(call("doctor", "--json", cwd=tmp_path, PYTHONPATH=path))
    for name in ("import torch", "import torchvision", "devices"):
        assert found[name].state == "broken"
        assert found[name].found == "ImportError: libtorch_cpu.so: cannot open shared object file"
    assert "install both together" in found["import torch"].remedy
    assert {found[name].state for name in ("packages", "cores", "data mnist-5k", "outputs", "figures")} == {"ok"}


def test_the_python_is_held_to_what_the_package_asks_for(monkeypatch):
    assert rows(doctor.python)["python"].state == "ok"
    monkeypatch.setattr(doctor.platform, "python_version", lambda: "3.10.14")
    row = rows(doctor.python)["python"]
    assert (row.state, row.remedy) == ("broken", "install bs6207 with Python >=3.11")


def test_a_package_that_is_missing_or_too_old_is_a_row_and_the_others_are_listed(monkeypatch):
    asked = ["numpy>=999", "torch>=999", "nosuch-package>=1", "rich", "nosuch-extra; extra == 'dask'"]
    monkeypatch.setattr(doctor, "requires", lambda name: asked)
    found = rows(doctor.packages)
    assert {name: row.state for name, row in found.items()} == {
        "packages": "ok",
        "numpy": "broken",
        "torch": "broken",
        "nosuch-package": "broken",
    }
    assert "rich " in found["packages"].found
    assert found["nosuch-package"].found == "nosuch-package is not installed"
    assert found["numpy"].remedy == 'python -m pip install --upgrade "numpy>=999"'
    assert found["torch"].remedy == doctor.REINSTALL


@pytest.mark.parametrize("look", [doctor.python, doctor.packages, doctor.extras])
def test_a_package_that_runs_from_its_folder_says_how_to_be_installed(monkeypatch, look):
    def missing(name):
        raise PackageNotFoundError(name)

    for name in ("metadata", "requires"):
        monkeypatch.setattr(doctor, name, missing)
    (row,) = rows(look).values()
    assert (row.state, row.remedy) == ("warn", "there, pip install .")


def test_every_extra_is_reported_with_what_it_brings_and_a_missing_one_breaks_nothing(monkeypatch):
    offered = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS) == set(offered) - {"test"}
    monkeypatch.setattr(doctor, "requires", lambda name: ["rich; extra == 'umap'", "nosuch; extra == 'dask'"])
    found = rows(doctor.extras)
    assert {row.state for row in found.values()} == {"ok"}
    assert (found["extra umap"].found, found["extra umap"].remedy) == ("here", "")
    assert found["extra dask"].found == "nosuch is not installed"
    assert 'pip install "bs6207[dask]"' in found["extra dask"].remedy


def test_a_torchvision_built_for_another_torch_is_seen_in_its_metadata(monkeypatch):
    monkeypatch.setattr(doctor, "requires", lambda name: [f"torch=={version('torch')}", "numpy>=999"])
    assert {row.state for row in rows(doctor.torch_and_torchvision).values()} == {"ok"}
    monkeypatch.setattr(doctor, "requires", lambda name: ["torch==1.0", "numpy"])
    row = rows(doctor.torch_and_torchvision)["torch pair"]
    assert (row.state, row.remedy) == ("warn", doctor.REINSTALL)
    assert row.found.endswith(f"torch {version('torch')} is not ==1.0")


@pytest.mark.parametrize(("granted", "state"), [(None, "ok"), (4.0, "ok"), (1.5, "warn")])
def test_a_container_that_grants_less_than_its_cores_is_reported(monkeypatch, granted, state):
    monkeypatch.setattr(doctor, "cores_granted", lambda: granted)
    monkeypatch.setattr(doctor, "cores", lambda: 4)
    row = rows(doctor.processor)["cores"]
    assert (row.state, row.remedy) == (state, "give --jobs 1" if state == "warn" else "")


@pytest.mark.parametrize(
    ("native", "words"), [(True, "takes bfloat16, which is"), (False, "takes float32, as bfloat16")]
)
def test_the_precision_of_the_processor_is_reported_with_its_reason(monkeypatch, native, words):
    monkeypatch.setattr("bs6207.training.devices.multiplies_in_bfloat16", lambda device: native)
    assert words in rows(doctor.devices)["cpu"].found


def test_a_device_that_is_not_here_is_broken_only_if_asked_for(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    found = rows(doctor.devices, device="mps")
    assert found["device"] == Check("device", "broken", "mps is not available here", "use --device auto")
    assert found["mps"].state == "ok"
    assert rows(doctor.devices)["device"].state == "ok"


def test_a_card_whose_driver_is_too_old_is_reported_in_the_words_of_torch(monkeypatch):
    def unavailable() -> bool:
        warnings.warn("CUDA initialization: the driver\nis too old", stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", unavailable)
    row = rows(doctor.devices)["cuda"]
    assert (row.state, row.found) == ("warn", "CUDA initialization: the driver is too old")
    assert "update the driver" in row.remedy


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_a_card_that_cannot_compute_is_broken_and_hides_no_other_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    card = namedtuple("card", ("name", "total_memory"))("Card", 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    monkeypatch.setattr("bs6207.training.devices.multiplies_in_bfloat16", lambda device: True)
    found = rows(doctor.devices)
    assert found["cuda"].state == "broken"
    assert "\n" not in found["cuda"].found
    assert {"device", "cpu", "mps"} <= set(found)


@pytest.fixture
def mnist(monkeypatch, tmp_path):
    """Four small files in $BS6207_DATA that count as MNIST's."""
    checksums = []
    for stem, dimensions in IDX_FILES.items():
        shape = (20, 28, 28)[:dimensions]
        sizes = b"".join(size.to_bytes(4, "big") for size in shape)
        content = bytes((0, 0, 8, dimensions)) + sizes + bytes(20 * 28 * 28 if dimensions == 3 else 20)
        (tmp_path / f"{stem}.gz").write_bytes(gzip.compress(content))
        checksums.append(sha256(content).hexdigest())
    small = replace(sources.PUBLISHED["mnist"], sha256=tuple(checksums))
    monkeypatch.setattr(sources, "VALIDATION", 5)
    monkeypatch.setitem(sources.PUBLISHED, "mnist", small)
    monkeypatch.setattr(sources, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setenv(sources.DATA_FOLDER, str(tmp_path))
    monkeypatch.setattr(sources, "download", None)  # nothing may be downloaded
    return tmp_path


def test_data_is_found_with_its_checksums(mnist):
    found = rows(doctor.data)
    assert found["data mnist"] == Check("data mnist", "ok", f"in {mnist}, checksums right")
    assert found["data mnist-5k"].state == "ok"


def test_data_that_is_not_here_is_no_fault_and_says_how_to_get_it(mnist, monkeypatch):
    row = rows(doctor.data)["data kmnist"]
    assert (row.state, row.found) == ("ok", "not here")
    assert "bs6207 latent --data kmnist" in row.remedy
    monkeypatch.setenv(sources.DATA_FOLDER, str(mnist / "nowhere"))
    assert rows(doctor.data)["data folders"].state == "warn"


def test_a_flipped_bit_in_the_data_is_broken(mnist):
    file = mnist / "train-images-idx3-ubyte.gz"
    content = bytearray(gzip.decompress(file.read_bytes()))
    content[1000] ^= 1
    file.write_bytes(gzip.compress(content))
    row = rows(doctor.data)["data mnist"]
    assert (row.state, row.remedy) == ("broken", "replace it, or delete it and run again")
    assert row.found == f"{file} is not the published file (its SHA-256 differs)"


@pytest.mark.parametrize("remedy", ["", "replace it; or delete it"])
def test_a_failure_is_told_apart_from_its_remedy_whatever_signs_are_in_either(remedy):
    def look():
        raise UserError("the folder a; b is lost", remedy)
        yield

    (row,) = guarded("x", look)
    assert (row.found, row.remedy) == ("the folder a; b is lost", remedy)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, whose /proc refuses root too")
@pytest.mark.parametrize("place", ["/proc", "/proc/nowhere/outputs"])
def test_an_outputs_folder_that_cannot_be_written_is_broken(place):
    row = rows(doctor.outputs, Path(place))["outputs"]
    assert (row.state, row.remedy) == ("broken", "choose another --out")
    assert row.found.startswith("cannot write /proc")


def test_a_file_in_the_place_of_the_outputs_folder_is_broken(tmp_path):
    (tmp_path / "outputs").touch()
    assert rows(doctor.outputs, tmp_path / "outputs")["outputs"].state == "broken"
    assert rows(doctor.outputs, tmp_path / "outputs/deeper")["outputs"].state == "broken"
    assert rows(doctor.outputs, tmp_path)["outputs"] == Check("outputs", "ok", f"{tmp_path} can be written")


@pytest.mark.parametrize(("mebibytes", "state"), [(49, "broken"), (51, "warn"), (1023, "warn"), (1025, "ok")])
def test_a_disk_that_is_nearly_full_is_reported(monkeypatch, tmp_path, mebibytes, state):
    usage = namedtuple("usage", "free")(mebibytes * 2**20)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: usage)
    assert rows(doctor.outputs, tmp_path)["disk"].state == state


@pytest.mark.parametrize(("mebibytes", "state"), [(1000, "warn"), (1100, "ok")])
def test_little_memory_is_reported(monkeypatch, mebibytes, state):
    monkeypatch.setattr(doctor, "memory_here", lambda: 3 * 2**30)
    monkeypatch.setattr(doctor, "available", lambda: mebibytes * 2**20)
    row = rows(doctor.memory)["memory"]
    assert (row.state, row.found) == (state, f"{in_words(mebibytes * 2**20)} of 3.0 GiB can be had")


def test_without_a_folder_for_temporary_files_the_remedy_is_tmpdir_whatever_fails_for_it(monkeypatch):
    assert rows(doctor.temporary)["temporary"].state == "ok"

    def none(*_):
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("tempfile.gettempdir", none)
    monkeypatch.setattr(doctor, "gettempdir", none)
    monkeypatch.setattr(doctor, "import_module", none)
    for look, name in ((doctor.temporary, "temporary"), (doctor.torch_and_torchvision, "import torch")):
        row = rows(look)[name]
        assert (row.state, row.remedy) == ("broken", "set TMPDIR to a folder that can be written")


def test_a_user_without_a_home_has_no_cache_and_is_reported(mnist, monkeypatch):
    monkeypatch.setattr(sources, "cache_folder", lambda: None)
    assert rows(doctor.data)["data folders"].found.endswith("then no cache, as there is no home folder")


def test_a_run_under_way_is_named_by_its_process_and_a_killed_one_by_its_command(tmp_path):
    assert not rows(doctor.runs, tmp_path / "outputs")
    command = [sys.executable, "-c", RUNNING, "--optimizer", "adam gd"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout.readline() == b"locked\n"
        (under_way,) = rows(doctor.runs, tmp_path / "outputs").values()
        running.send_signal(signal.SIGKILL)
    folder = tmp_path / "outputs/bump"
    assert under_way == Check("lock bump", "ok", f"process {running.pid} is filling {folder}")
    os.utime(tmp_path / "outputs/bump.partial", (0, 0))
    for file in (tmp_path / "outputs/bump.partial").rglob("*"):
        os.utime(file, (0, 86400))
    before = sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*"))
    found = rows(doctor.runs, tmp_path / "outputs")
    assert set(found) == {"locks", "bump.partial"}
    assert found["locks"] == Check("locks", "ok", "1 held by nobody, and harmless")
    assert found["bump.partial"].found == (
        "bs6207 --optimizer 'adam gd', not running, last written 1970-01-02 00:00:00 UTC"
    )
    assert (found["bump.partial"].state, found["bump.partial"].remedy[:20]) == ("warn", "run the same command")
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*")) == before


def test_a_partial_run_without_a_record_is_reported_all_the_same(tmp_path):
    (tmp_path / "latent.partial").mkdir()
    (tmp_path / "latent.partial/env.json").write_text('{"argv')
    assert "not recorded" in rows(doctor.runs, tmp_path)["latent.partial"].found


def test_a_check_that_fails_itself_is_a_broken_row_of_one_line():
    def confused(*_):
        yield Check("first", "ok", "")
        raise KeyError("two\nlines")

    found = rows(confused)
    assert found["first"].state == "ok"
    assert (found["confused"].state, found["confused"].found) == ("broken", r"KeyError: 'two\nlines'")


@pytest.mark.parametrize("flag", ["--quiet", "--config"])
def test_the_doctor_has_no_flag_that_would_do_nothing(bs6207, flag):
    done = bs6207("doctor", flag)
    assert done.returncode == 2
    assert flag in done.stderr
