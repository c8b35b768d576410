"""The restorer of photographs: periodograms, the kernel estimated, Wiener filters, and the network that sees them."""

from itertools import islice

import numpy as np
import pytest
import torch
from deblur.made_restorers import made
from scipy.fft import next_fast_len
from scipy.ndimage import convolve
from skimage import data

from bs6207.data.images import Photographs, to_uint8
from bs6207.data.pictures import Picture
from bs6207.data.sources import load as load_data
from bs6207.deblur import model as models
from bs6207.deblur import training
from bs6207.deblur.blur import Context, Split, degrade_for_test, settings_of, split_data
from bs6207.deblur.conditions import disk_kernel, gaussian_kernel, motion_kernel, reflected_blur
from bs6207.deblur.model import load
from bs6207.deblur.networks import (
    BALANCES,
    FOLDS,
    KERNEL_RADIUS,
    MARGIN,
    OVERSHOOT,
    SPECTRUM_FLOOR,
    WINDOW,
    BlindUNet,
    KernelNet,
    UNet,
    inputs_of,
    log_periodograms,
    wiener_filters,
)
from bs6207.deblur.restore import restore_picture
from bs6207.deblur.settings import DeblurSettings
from bs6207.deblur.training import (
    Stage,
    blind_pairs,
    draw_crops,
    kernel_pairs,
    train_kernel_net,
    train_restorer,
)
from bs6207.errors import SettingsError
from bs6207.runs.progress import TaskProgress
from bs6207.training.metrics.restoration import psnr_per_image

CAMERA = data.camera()[100:300, 150:380].astype(np.float32) / 255
KERNELS = {"gaussian": gaussian_kernel(1.5), "disk": disk_kernel(0), "motion": motion_kernel(30.0)}
PICTURES = [torch.from_numpy(np.ascontiguousarray(picture))[None] for picture in (data.camera(), data.coins())]
SETTINGS = DeblurSettings(
    crop=16, batch_size=4, sigma="0.5:2", noise=0.01, blur=["gaussian", "motion"], precision="fp32"
)


def images(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(3))


def padded(kernel):
    """A kernel as those that are estimated, [1, k, k]."""
    edge = KERNEL_RADIUS - len(kernel) // 2
    return torch.from_numpy(np.pad(kernel, edge)[None]).float()


@pytest.mark.parametrize("shape", [(70, 81), (64, 64), (129, 200)])
def test_periodograms_are_those_of_a_plain_loop_over_windows(shape):
    picture = images(1, 3, *shape)
    grey, hann, powers = picture[0].mean(0).numpy(), np.hanning(WINDOW + 1)[:-1], []
    for top in range(0, shape[0] - WINDOW + 1, WINDOW // 2):
        for left in range(0, shape[1] - WINDOW + 1, WINDOW // 2):
            window = grey[top : top + WINDOW, left : left + WINDOW]
            powers.append(np.abs(np.fft.rfft2((window - window.mean()) * np.outer(hann, hann))) ** 2)
    expected = np.log(np.mean(powers, axis=0) + SPECTRUM_FLOOR)
    assert log_periodograms(picture)[0, 0].numpy() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("shape", [(1, 1), (5, 90), (63, 64)])
def test_a_picture_smaller_than_a_window_goes_on_as_its_mirror_image(shape):
    picture = images(1, 1, *shape)
    wide = np.pad(picture[0, 0].numpy(), [(0, max(0, WINDOW - side)) for side in shape], "symmetric")
    assert torch.allclose(log_periodograms(picture), log_periodograms(torch.from_numpy(wide)[None, None]), atol=1e-4)


@pytest.mark.parametrize("name", KERNELS)
def test_wiener_filters_are_those_of_the_picture_with_its_mirror_images(name):
    height, width, beyond = 60, 47, 2 * KERNEL_RADIUS
    picture, kernel = CAMERA[:height, :width], KERNELS[name]
    after = [next_fast_len(side + 2 * beyond, real=True) - side - beyond for side in (height, width)]
    wide = np.pad(picture.astype(np.float64), [(beyond, more) for more in after], "symmetric")
    placed = np.zeros_like(wide)
    placed[: len(kernel), : len(kernel)] = kernel
    spectrum = np.fft.fft2(np.roll(placed, (-(len(kernel) // 2),) * 2, (0, 1)))
    slopes = [2 - 2 * np.cos(2 * np.pi * np.fft.fftfreq(side)) for side in wide.shape]
    filtered = wiener_filters(torch.from_numpy(picture)[None, None], padded(kernel))[0].numpy()
    for balance, ours in zip(BALANCES, filtered, strict=True):
        inverse = spectrum.conj() / (np.abs(spectrum) ** 2 + balance * np.add.outer(*slopes))
        exact = np.fft.ifft2(np.fft.fft2(wide) * inverse).real[beyond : beyond + height, beyond : beyond + width]
        assert np.abs(ours - exact.clip(-OVERSHOOT, 1 + OVERSHOOT)).max() < 1e-4


@pytest.mark.parametrize("name", KERNELS)
def test_wiener_filters_restore_what_their_kernel_blurred(name):
    truth = CAMERA[None, None]
    blurred = convolve(CAMERA, KERNELS[name], mode="reflect")[None, None].astype(np.float32)
    filtered = wiener_filters(torch.from_numpy(blurred), padded(KERNELS[name])).numpy().clip(0, 1)
    for place in range(len(BALANCES)):
        assert psnr_per_image(truth, filtered[:, place : place + 1]) > psnr_per_image(truth, blurred) + 1.5


def test_an_image_of_one_colour_stays_as_it_is():
    even = torch.full((1, 3, 20, 31), 0.7)
    assert (wiener_filters(even, padded(KERNELS["disk"])) - 0.7).abs().max() < 1e-5


def test_each_image_is_filtered_by_its_own_kernel():
    both, kernels = images(2, 3, 40, 33), torch.cat([padded(KERNELS["disk"]), padded(KERNELS["motion"])])
    together = wiener_filters(both, kernels)
    assert together.shape == (2, 3 * len(BALANCES), 40, 33)
    for place in range(2):
        assert torch.allclose(together[place], wiener_filters(both[place : place + 1], kernels[place : place + 1])[0])


def test_a_crop_lies_in_the_middle_of_its_margin_and_of_what_its_kernel_sees():
    still = SETTINGS.model_copy(update={"noise": 0.0})
    sharp, degraded, *_ = next(draw_crops(PICTURES, still, 1.0, torch.Generator().manual_seed(0), for_blind=True))
    assert degraded.shape == (4, 1, 16 + 2 * MARGIN, 16 + 2 * MARGIN)
    assert (degraded[..., MARGIN:-MARGIN, MARGIN:-MARGIN] - sharp).abs().max() < 0.51 / 255  # it has 8 bits


@pytest.mark.parametrize("widest", ["2", "10"])
def test_kernels_to_learn_have_one_size_and_sum(widest):
    settings = SETTINGS.model_copy(update={"sigma": type(SETTINGS.sigma).parse(widest)})
    kernels, periodograms = next(kernel_pairs(PICTURES, settings, torch.Generator().manual_seed(0)))
    assert kernels.shape == (4, 1, 2 * KERNEL_RADIUS + 1, 2 * KERNEL_RADIUS + 1)
    assert kernels.sum((1, 2, 3)).numpy() == pytest.approx(np.ones(4), abs=1e-5)
    assert periodograms.shape == (4, 1, WINDOW, WINDOW // 2 + 1)


def test_the_estimator_learns_how_wide_a_blur_is(monkeypatch):
    monkeypatch.setattr(training, "CROPS", 400)
    monkeypatch.setattr(training, "STANDARDIZED", 32)
    photographs = load_data("photos", pytest.fail, any_size=True)
    changes = {"epochs": 10, "batch_size": 16, "blur": ["gaussian"], "device": "cpu"}
    settings = settings_of(photographs, DeblurSettings(data="photos", **changes))
    torch.manual_seed(0)
    context = Context(split_data(photographs, settings), settings, TaskProgress(lambda *event: None), 0)
    trained = train_kernel_net(0, context)
    losses = [row["loss"] for row in trained.history]
    assert losses[-1] < losses[0] - 0.3
    kernel_net = KernelNet()
    kernel_net.load_state_dict(trained.state)
    axis = torch.arange(-KERNEL_RADIUS, KERNEL_RADIUS + 1.0)
    spreads = []
    for sigma in (0.5, 3.0):
        blurred = degrade_for_test(reflected_blur(CAMERA[None, None], gaussian_kernel(sigma)), 0.01, 0)
        with torch.no_grad():
            kernel = kernel_net(log_periodograms(torch.from_numpy(blurred)))[0, 0].exp()
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        spreads.append(float((kernel.sum(0) * axis.square()).sum().sqrt()))
    assert 2 * spreads[0] < spreads[1]


GREYS = [np.full((1, 200, 200), 40 * grey, np.uint8) for grey in range(1, 6)]  # photographs, told by their grey


@pytest.mark.parametrize("count", [1, 5])
def test_each_estimator_is_trained_without_its_share_of_the_photographs(monkeypatch, count):
    photographs, seen = Photographs.of(GREYS[:count]), []

    def note(images, *_):
        seen.append({int(image[0, 0, 0]) // 40 for image in images})
        raise StopIteration

    monkeypatch.setattr(training, "kernel_pairs", note)
    context = Context(Split(*[photographs] * 5, crop=16), SETTINGS, TaskProgress(lambda *event: None), 0)
    for fold in range(FOLDS):
        with pytest.raises(StopIteration):
            train_kernel_net(fold, context)
    # Of one photograph there is no other
    assert seen == ([{1}] * FOLDS if count == 1 else [{2, 3, 4}, {1, 3, 4, 5}, {1, 2, 4, 5}, {1, 2, 3, 5}])


def test_the_restorer_learns_from_estimates_for_photographs_that_the_estimator_has_not_seen():
    restorer, asked = BlindUNet(), set()
    restorer.kernels = lambda degraded: torch.arange(FOLDS)[:, None].expand(-1, len(degraded))  # its estimator's number

    def inputs(degraded, kernels):
        asked.update(zip((degraded.mean((1, 2, 3)) * 255 / 40).round().int().tolist(), kernels.tolist(), strict=True))
        return degraded

    restorer.inputs = inputs
    still = SETTINGS.model_copy(update={"noise": 0.0})
    images = [torch.from_numpy(picture) for picture in GREYS]
    for _ in islice(blind_pairs(restorer, images, still, torch.Generator().manual_seed(0)), 20):
        pass
    assert asked == {(1, 0), (2, 1), (3, 2), (4, 3), (5, 0)}


@pytest.mark.usefixtures("narrow")
class TestNetwork:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_untrained_it_does_nothing(self, channels):
        net, blurred = BlindUNet(channels), images(2, channels, 21, 34)
        inputs = inputs_of(net, blurred)
        assert inputs.shape == (2, channels * (1 + len(BALANCES)), 21, 34)
        assert torch.equal(net(inputs), blurred)
        assert inputs_of(UNet(channels), blurred) is blurred

    def test_its_training_leaves_the_estimator_and_changes_all_else(self, monkeypatch):
        monkeypatch.setattr(training, "CROPS", 8)
        net = BlindUNet()
        before = {name: value.clone() for name, value in net.state_dict().items()}
        train_restorer(net, PICTURES, Stage("l1", 2, 0.01), SETTINGS)
        for name, value in net.state_dict().items():
            assert torch.equal(value, before[name]) == name.startswith("kernel_nets."), name

    @pytest.mark.parametrize("channels", [1, 3])
    def test_tiles_are_what_one_pass_over_the_whole_picture_gives(self, tmp_path, monkeypatch, channels):
        monkeypatch.setattr(models, "TILE", 64)
        model, picture = load(made(tmp_path / "run", kind=BlindUNet)), images(1, channels, 130, 141)
        assert isinstance(model.control, BlindUNet)
        beyond, network = 64, model.network(0.75)
        with torch.no_grad():
            inputs = model.inputs(network, picture).numpy()
            wide = np.pad(inputs, ((0, 0), (0, 0), (beyond, beyond), (beyond, beyond)), "edge")
            whole = network(torch.from_numpy(wide)).clamp(0, 1)[..., beyond : beyond + 130, beyond : beyond + 141]
        assert (model.restore(picture) - whole.reshape(picture.shape)).abs().max() < 1e-5

    @pytest.mark.parametrize("channels", [1, 3])
    def test_a_file_is_restored_as_an_array_is(self, tmp_path, channels):
        model = load(made(tmp_path / "run", kind=BlindUNet, channels=channels))
        pixels = to_uint8(images(3, 40, 51).numpy())
        restored = restore_picture(model, Picture(pixels), 0.75).pixels
        expected = model.restore(torch.from_numpy(pixels)[None] / 255)[0].numpy() * 255
        assert np.abs(restored - expected).max() < 0.51

    def test_the_colours_of_a_picture_have_one_kernel(self, tmp_path):
        model = load(made(tmp_path / "run", kind=BlindUNet))
        picture = images(1, 3, 66, 70)
        kernel = model.control.kernels(picture).mean(0)
        inputs = model.inputs(model.control, picture)
        one_by_one = [model.control.inputs(picture[:, place : place + 1], kernel) for place in range(3)]
        assert torch.allclose(inputs, torch.cat(one_by_one), atol=1e-6)

    def test_it_is_no_onnx_file(self, tmp_path):
        from deblur.test_restore import restore

        folder = made(tmp_path / "run", kind=BlindUNet)
        with pytest.raises(SettingsError, match="Fourier transforms, which are not exported"):
            restore(folder, onnx=str(tmp_path / "my.onnx"))
        assert not (tmp_path / "my.onnx").exists()
