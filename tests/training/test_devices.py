"""The state of the process while a task runs, and after it."""

import sys

import numpy as np
import pytest
import torch

from bs6207.bump import experiment as bump
from bs6207.bump.settings import BumpSettings
from bs6207.data.sources import EMBEDDED_SHA256
from bs6207.deblur import experiment as deblur
from bs6207.deblur.settings import DeblurSettings
from bs6207.latent import tasks as latent
from bs6207.latent.assignments import Opinion
from bs6207.latent.contrastive import ContrastiveClusterer
from bs6207.latent.settings import LatentSettings
from bs6207.runs.progress import TaskProgress
from bs6207.training.devices import (
    BFLOAT16,
    describe_device,
    flush_denormals,
    multiplies_in_bfloat16,
    prepare,
    preserve_torch_state,
)


def half_the_smallest(*arguments, **keywords):
    """Half of the smallest normal number; 0 where denormals are flushed."""
    return sys.float_info.min / 2


def latent_task(monkeypatch):
    monkeypatch.setattr(latent, "score_pixels", half_the_smallest)
    task = latent.Task("pixels", (), 0, (), 10, 0.0, EMBEDDED_SHA256, LatentSettings(data="mnist-5k"), Opinion(0.0))
    return latent.run_task(task, None)


def deblur_task(monkeypatch):
    return deblur.run_task(DeblurSettings(data="mnist-5k"), EMBEDDED_SHA256, (0, half_the_smallest), None)


def bump_task(monkeypatch):
    task = bump.Task("threshold", "adam", BumpSettings(optimizer=["adam"], steps=5))
    bump.run_task(task, TaskProgress(lambda *event: None))
    return half_the_smallest()


def contrastive_clusters(monkeypatch):
    images = np.random.RandomState(0).randint(0, 256, (40, 1, 28, 28)).astype(np.uint8)
    ContrastiveClusterer(2, seed=0, contrast_steps=1, assignment_steps=1).fit(np.ones((40, 2), np.float32), images)
    return half_the_smallest()


TASKS = (latent_task, deblur_task, bump_task, contrastive_clusters)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_leaves_threads_and_random_numbers_as_they_were(task, monkeypatch):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.manual_seed(5)
        before = torch.get_rng_state()
        task(monkeypatch)
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.get_rng_state(), before)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_flushes_denormals_in_its_trainings_only(task, monkeypatch):
    assert task(monkeypatch) > 0
    assert sys.float_info.min / 2 > 0


def test_denormals_are_flushed_in_the_block_and_then_as_before():
    with flush_denormals():
        assert torch.tensor(1e-40) * 0.5 == sys.float_info.min / 2 == 0
        with flush_denormals():
            pass
        assert sys.float_info.min / 2 == 0
    assert sys.float_info.min / 2 > 0


def test_the_state_of_torch_is_restored_after_an_error_too():
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="no"), preserve_torch_state():
        prepare(1)
        raise ValueError("no")
    assert torch.equal(torch.get_rng_state(), before)


def test_whether_the_processor_multiplies_in_bfloat16_is_what_torch_says():
    said = torch.cpu.get_capabilities()
    assert multiplies_in_bfloat16("cpu") == any(said.get(name, False) for name in BFLOAT16)


@pytest.mark.parametrize("flags", [set(), {"avx2", "avx512_bf16"}])
@pytest.mark.skipif(sys.platform != "linux", reason="other systems are asked through torch")
def test_the_processor_is_described_without_torch(monkeypatch, flags):
    monkeypatch.setattr("bs6207.training.devices.processor_flags", lambda: flags)
    monkeypatch.delitem(sys.modules, "torch")
    described = describe_device("cpu")
    assert "torch" not in sys.modules
    assert described == {"bfloat16": {"cpu": bool(flags)}, "device": "cpu", "threads": 1}


def test_a_card_is_asked_for_bfloat16_and_other_devices_are_taken_to_lack_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert not multiplies_in_bfloat16("cuda")
    assert not multiplies_in_bfloat16("mps")
    monkeypatch.setattr(sys, "platform", "darwin")  # where torch is asked for the processor
    for name in BFLOAT16:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda name=name: {name: True}, raising=False)
        assert multiplies_in_bfloat16("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    assert not multiplies_in_bfloat16("cpu")
