"""Training on a CUDA device, where there is one."""

import json

import pytest
import torch
from conftest import Interrupted, Shelf

from bs6207.data.sources import embedded_digits
from bs6207.latent import training
from bs6207.latent.autoencoder import Autoencoder, recipe_for

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: a machine with a CUDA device runs them")
DIGITS = torch.from_numpy(embedded_digits().train.pixels)


def trained(device="cuda", arch="mlp", epochs=6, progress=None, **changes):
    """A model trained on a thousand digits, and its epochs."""
    torch.manual_seed(0)
    recipe = recipe_for(8, 2000)
    model = Autoencoder((1, 28, 28), 8, recipe, arch).to(device)
    pixels, validation = DIGITS[:1000].to(device), DIGITS[1000:1500].to(device)
    return model, list(
        training.train_autoencoder(model, pixels, validation, epochs, recipe, 0, progress=progress, **changes)
    )


class StepByStep:
    """A step that is taken one kernel after the other."""

    def __init__(self, step, device):
        self.step = step

    def __call__(self, *values):
        self.step(*values)


@pytest.mark.parametrize(("arch", "first", "later"), [("mlp", 1e-4, 0.01), ("conv", 0.01, 0.03)])
@pytest.mark.parametrize("loss", ["l1", "mse"])
def test_a_recorded_training_is_the_one_that_is_taken_step_by_step(monkeypatch, arch, first, later, loss):
    """Convolutions add up in whatever order the device's threads end, so they differ between any two runs."""
    _, recorded = trained(arch=arch, loss=loss)
    monkeypatch.setattr(training, "CudaGraphStep", StepByStep)
    _, plain = trained(arch=arch, loss=loss)
    assert recorded[0].train_l1 == pytest.approx(plain[0].train_l1, rel=first)
    assert [one.train_l1 for one in recorded] == pytest.approx([one.train_l1 for one in plain], rel=later)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_it_reaches_what_the_cpu_reaches(precision):
    there, here = (trained(device, precision=precision)[1][-1].validation_l1 for device in ("cuda", "cpu"))
    assert there == pytest.approx(here, rel=0.03)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_nothing_waits_for_the_device_inside_an_epoch(monkeypatch):
    batches, epochs = training.batches, []

    def watched(*arguments):
        epochs.append(0)
        for batch in batches(*arguments):
            if (
                len(epochs) > 1
            ):  # the first epoch records the step; of each, the order of the batches comes from the CPU
                torch.cuda.set_sync_debug_mode("error")
            epochs[-1] += 1
            yield batch
        torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(training, "batches", watched)
    try:
        trained(epochs=3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert min(epochs) > 10


def test_an_interrupted_training_ends_with_the_bytes_of_one_that_was_not():
    whole, curve = trained()
    shelf = Shelf(3)
    with pytest.raises(Interrupted):
        trained(progress=shelf)
    model, same = trained(progress=shelf)
    assert same == curve
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


def test_the_commands_train_there(bs6207):
    for command in ("latent --dims 2 4", "deblur --epochs 5"):
        found = {}
        for device in ("cuda", "cpu"):
            line = [*command.split(), "--config", "quick", "--device", device, "--out", f"{device}/{command[:6]}"]
            done = bs6207(*line, "--json", "--quiet")
            assert done.returncode == 0, done.stderr
            found[device] = json.loads(done.stdout)
        if command.startswith("latent"):
            for dim in ("2", "4"):
                here, there = (found[device]["cells"][dim]["l1"] for device in ("cpu", "cuda"))
                assert there == pytest.approx(here, rel=0.05)
        else:
            here, there = (found[device]["restorers"]["l1"]["1.5"]["psnr"] for device in ("cpu", "cuda"))
            assert there == pytest.approx(here, abs=1.0)


def test_restore_works_there(bs6207, tmp_path):
    from PIL import Image

    assert bs6207("deblur", "--config", "quick", "--epochs", "5", "--quiet").returncode == 0
    Image.fromarray(DIGITS[0, 0].numpy()).resize((90, 70)).save(tmp_path / "picture.png")
    done = bs6207("restore", "picture.png", "--device", "cuda")
    assert done.returncode == 0, done.stderr
