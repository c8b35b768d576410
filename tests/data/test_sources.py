"""Data sets: read from where users have them, and refused in one sentence where they are not what they should be."""

import gzip

import numpy as np
import pytest

from bs6207.data import sources
from bs6207.data.idx import read_idx
from bs6207.data.images import sha256_of
from bs6207.data.sources import DATASETS, embedded_digits, load, mnist
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
def test_a_broken_idx_file_is_named_with_the_way_out(tmp_path, content, words):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{path}.*{words}.*delete it and run again"):
        read_idx(path, 3, SHA256)


def test_a_file_larger_than_memory_is_refused_by_its_header(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(CONTENT[:4] + 12 * b"\xff" + CONTENT[16:])
    with pytest.raises(DataError, match=f"{path} need about .* GiB of memory"):
        read_idx(path, 3)


@pytest.mark.parametrize("content", [gzip.compress(CONTENT)[:-9], b"not gzip"])
def test_a_broken_gzip_file_is_named_too(tmp_path, content):
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"cannot read {path}"):
        read_idx(path, 3, SHA256)


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


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "mnist-5k"])
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


@pytest.fixture
def small_mnist(monkeypatch, tmp_path):
    """Four files in MNIST's format, with few images, that count as the published ones."""
    random = np.random.RandomState(0)
    table = {}
    for stem, (dimensions, _) in sources.MNIST_FILES.items():
        small = (20 if stem.startswith("train") else 10, 28, 28)[:dimensions]
        values = random.randint(0, 10, small).astype(np.uint8)
        content = bytes((0, 0, 8, len(small))) + b"".join(n.to_bytes(4, "big") for n in small) + values.tobytes()
        (tmp_path / stem).write_bytes(content)
        table[stem] = (dimensions, sha256_of(np.frombuffer(content, np.uint8)))
    monkeypatch.setattr(sources, "MNIST_FILES", table)
    monkeypatch.setattr(sources, "MNIST_VALIDATION", 5)
    return tmp_path


@pytest.mark.parametrize("below", [".", "mnist", "MNIST/raw"])
def test_mnist_is_found_in_the_users_folder_as_it_is_or_as_torchvision_leaves_it(small_mnist, monkeypatch, below):
    root = small_mnist / "root"
    folder = root / below
    folder.mkdir(parents=True)
    for file in list(small_mnist.glob("*ubyte")):
        file.rename(folder / file.name)
    monkeypatch.setenv(sources.DATA_FOLDER, str(root))
    data = mnist()
    assert [len(part) for part in (data.train, data.validation, data.test)] == [15, 5, 10]


def test_a_corrupt_file_in_the_users_folder_is_an_error_even_for_auto(small_mnist, monkeypatch):
    monkeypatch.setenv(sources.DATA_FOLDER, str(small_mnist))
    (small_mnist / "train-images-idx3-ubyte").write_bytes(b"rubbish")
    with pytest.raises(DataError, match="not an idx file"):
        load("auto", pytest.fail)


def test_the_command_says_in_one_line_that_data_is_missing(bs6207, tmp_path):
    done = bs6207("latent", "--data", "mnist", BS6207_DATA=str(tmp_path), HTTPS_PROXY="http://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "set BS6207_DATA" in done.stderr
