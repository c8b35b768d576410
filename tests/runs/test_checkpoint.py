"""A checkpoint is loaded as it was saved or not at all, and executes nothing."""

import hashlib
import io
import os
import pickle
import sys
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bs6207.runs.checkpoint import DIGEST, Checkpoint
from bs6207.runs.progress import CHECKPOINT_INTERVAL, TaskProgress
from bs6207.runs.result import Checkpointable, Weights


@dataclass(frozen=True)
class Find(Checkpointable):
    """An outcome with all that outcomes hold."""

    scores: dict
    image: np.ndarray
    weights: Weights
    rest: tuple = ()


@dataclass(frozen=True)
class Stranger:
    """A dataclass that is not `Checkpointable`."""

    x: int = 0


FIND = Find(
    {1.5: None, "l1": 0.1 + 0.2, "n": float("nan"), "deep": [{"a": (1, True)}], "numpy": np.float64(3)},
    np.arange(12, dtype=np.uint8).reshape(3, 4)[:, ::2],
    Weights({"w": torch.arange(6.0).view(1, 2, 3, 1).to(memory_format=torch.channels_last)}, {"dim": 2}),
    (np.zeros((0, 2), np.float32), np.array([1, 2]), np.array([True]), np.arange(3.0)),
)


@pytest.fixture(params=[True, False], ids=["with torch", "without torch"])
def saved(tmp_path, request, monkeypatch):
    """A checkpoint that was saved twice, its file, and the warnings on loading it."""
    checkpoint = Checkpoint(tmp_path / "x.part", "data")
    with monkeypatch.context() as process:
        if not request.param:
            process.delitem(sys.modules, "torch")
        checkpoint.save({"turn": 1})
        checkpoint.save({"turn": 2})
    return checkpoint, checkpoint.file, []


def load(saved):
    checkpoint, _, warnings = saved
    return checkpoint.load(warnings.append)


def test_an_outcome_comes_back_as_it_was(tmp_path):
    checkpoint = Checkpoint(tmp_path / "find.done", "")
    checkpoint.save(FIND)
    back = checkpoint.load(pytest.fail)
    assert isinstance(back, Find)
    assert repr(back.scores) == repr(FIND.scores)
    assert back.image.dtype == np.uint8
    np.testing.assert_array_equal(back.image, FIND.image)
    assert torch.equal(back.weights.tensors["w"], FIND.weights.tensors["w"])
    assert back.weights.tensors["w"].stride() == FIND.weights.tensors["w"].stride()  # optimizers count on it
    assert [part.dtype for part in back.rest] == [part.dtype for part in FIND.rest]


def test_an_outcome_without_tensors_comes_back_as_it_was_in_a_process_without_torch(tmp_path, monkeypatch):
    checkpoint, outcome = Checkpoint(tmp_path / "find.done", ""), replace(FIND, weights=Weights({}, {"dim": 2}))
    monkeypatch.delitem(sys.modules, "torch")
    checkpoint.save(outcome)
    back = checkpoint.load(pytest.fail)
    assert "torch" not in sys.modules
    assert repr(back.scores) == repr(outcome.scores)
    assert back.weights == outcome.weights
    for mine, theirs in zip((back.image, *back.rest), (outcome.image, *outcome.rest), strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


def test_the_last_is_used_without_a_warning(saved):
    assert load(saved) == {"turn": 2}
    assert saved[2] == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_found_and_the_one_before_is_used(saved, place, bit):
    _, file, warnings = saved
    whole = file.read_bytes()
    content = bytearray(whole)
    content[int(place * len(content))] ^= 1 << bit
    file.write_bytes(content)
    assert load(saved) == {"turn": 1}
    assert f"{file} is damaged" in warnings[-1]
    file.write_bytes(whole)


@pytest.mark.parametrize("length", [0, 1, DIGEST - 1, DIGEST, DIGEST + 1, -1])
def test_a_truncated_file_is_found_and_the_one_before_is_used(saved, length):
    _, file, warnings = saved
    file.write_bytes(file.read_bytes()[:length])
    assert load(saved) == {"turn": 1}
    assert "is damaged" in warnings[0]


def test_where_both_are_damaged_there_is_nothing(saved):
    _, file, warnings = saved
    for place in (file, file.with_name("x.part.previous")):
        place.write_bytes(b"rubbish")
    assert load(saved) is None
    assert len(warnings) == 2


def test_a_kill_between_two_renames_leaves_the_one_before(saved):
    saved[1].unlink()
    assert load(saved) == {"turn": 1}


def test_a_checkpoint_of_other_data_is_not_used(saved):
    warnings = []
    assert Checkpoint(saved[1], "other").load(warnings.append) is None
    assert "other data" in warnings[0]


class Malicious:
    """Unpickled by a naive loader, it makes a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (os.mkdir, (str(self.file),))


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_pickle_that_does_something_does_nothing(saved, tmp_path, how):
    """Its checksum is right: it was written by somebody who knows how."""
    _, file, warnings = saved
    trap = {"fingerprint": "data", "value": Malicious(tmp_path / "sprung")}
    if how == "torch":
        torch.save(trap, stream := io.BytesIO())
        content = stream.getvalue()
    else:
        content = pickle.dumps(trap)
    file.write_bytes(hashlib.sha256(content).hexdigest().encode() + content)
    assert load(saved) == {"turn": 1}
    assert "holds what is not data" in warnings[0]
    assert not (tmp_path / "sprung").exists()


def test_a_class_that_was_not_meant_for_it_is_not_load(saved):
    saved[0].save(Stranger())
    assert load(saved) == {"turn": 2}


def test_checkpoints_take_a_small_share_of_the_time(tmp_path):
    class Slow(Checkpoint):
        def save(self, value):
            time.sleep(0.01)
            super().save(value)

    asked = []
    report = TaskProgress(lambda *event: None, Slow(tmp_path / "x", ""))
    start = time.monotonic()
    while time.monotonic() < start + 0.3:
        report.save_checkpoint(lambda: asked.append(1) or {"turn": len(asked)})
    assert 1 <= len(asked) <= 1 + 0.3 / (0.01 * CHECKPOINT_INTERVAL)
    assert report.load_checkpoint()["turn"] == len(asked)
