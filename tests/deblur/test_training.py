"""The U-Net, disc_net and the stages of their training."""

from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest
import torch
from conftest import Interrupted, Shelf, Watched
from torch import nn

from bs6207.data.sources import embedded_digits
from bs6207.deblur.blur import blur_for_test
from bs6207.deblur.networks import BOTTLENECK, Autoencoder, ByHalves, DiscNet, UNet
from bs6207.deblur.settings import DeblurSettings, SigmaRange
from bs6207.deblur.training import (
    DISC_LOSSES,
    DISC_LR,
    Stage,
    draw_degraded,
    restore,
    scores_of,
    train_disc_net,
    train_restorer,
    weighted_by_blur,
)
from bs6207.errors import DivergenceError
from bs6207.runs.sweep import expand, swept_values

DIGITS = torch.from_numpy(embedded_digits().train.pixels[:160])
FEW = DIGITS[:48]
SETTINGS = DeblurSettings(batch_size=16, sigma="1:2", lr=0.002, precision="fp32")


@pytest.mark.parametrize("size", [(28, 28), (5, 7), (33, 50)])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_untrained_unet_does_nothing_to_images_of_any_size(size, channels):
    images = torch.rand(2, channels, *size)
    assert torch.equal(UNet(channels)(images), images)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 14)])
def test_all_that_an_autoencoder_shows_passes_its_bottleneck(shape):
    net = Autoencoder(shape).eval()
    images = torch.rand(2, *shape)
    assert net(images).shape == images.shape
    assert 0 <= net(images).min() <= net(images).max() <= 1
    passing = []
    net.encoder.register_forward_hook(lambda layer, given, numbers: passing.append(numbers))
    net(images)
    assert passing[0].shape == (2, BOTTLENECK)


class OneCore(Executor):
    """Computes what is submitted at once, in the same thread."""

    def submit(self, function, /, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("count", [1, 2, 7, 48])
def test_halves_of_a_batch_have_the_gradients_of_the_whole_and_the_same_bits_on_one_core_and_two(count, precision):
    torch.manual_seed(0)
    net = UNet()
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.03)  # untrained, the last layer is 0 and passes no gradient
    sharp, blurred = torch.rand(2, count, 1, 28, 28)

    def gradients(network):
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            output = network(blurred)
            loss = (output - sharp).square().mean()
        return output, torch.autograd.grad(loss, [*net.parameters()])

    expected, whole = gradients(net)
    with ThreadPoolExecutor(1) as other_core:
        output, found = gradients(ByHalves(net, other_core))
    same_output, same = gradients(ByHalves(net, OneCore()))
    assert torch.equal(output, same_output)
    tolerance = {"rtol": 1e-3, "atol": 1e-6} if precision == torch.float32 else {"rtol": 0.05, "atol": 1e-3}
    torch.testing.assert_close(output, expected, **tolerance)
    for one, other, of_whole in zip(found, same, whole, strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(one, of_whole, **tolerance)


@pytest.mark.parametrize("epochs", [*range(3, 40), 50, 100, 9999])
def test_the_stages_add_up_to_epochs_and_none_is_empty(epochs):
    stages = DeblurSettings(epochs=epochs).stages
    assert sum(stages.values()) == epochs
    assert min(stages.values()) >= 1


@pytest.mark.parametrize(
    ("text", "expected", "written"),
    [
        ("0.5:3.0", (0.5, 3), "0.5:3"),
        ("1.5", (1.5, 1.5), "1.5"),
        ("0:3", (0, 3), "0:3"),
        ("0.1:0.1", (0.1, 0.1), "0.1"),
    ],
)
def test_sigma_is_read_once_from_a_range_or_a_number_and_recorded_as_one(text, expected, written):
    settings = DeblurSettings(sigma=text)
    assert settings.sigma == expected
    assert settings.model_dump()["sigma"] == written
    assert DeblurSettings(**settings.model_dump()).sigma == expected


def test_a_sweep_over_sigma_keeps_what_was_written():
    settings = DeblurSettings(sweep=["sigma=1.5,0.5:3.0"])
    assert swept_values(settings) == {"sigma": ["1.5", "0.5:3.0"]}
    assert [one.sigma for one in expand(settings).values()] == [(1.5, 1.5), (0.5, 3)]


def spread_of_a_point(settings, count=2000):
    """How wide a bright point becomes in training, [count], as the variance of where its light falls."""
    points = torch.zeros(count, 1, 29, 29)
    points[:, :, 14, 14] = 1
    seen = draw_degraded(points, settings.model_copy(update={"noise": 0.0}), 0.05, torch.Generator().manual_seed(0))
    rows = seen.sum((1, 3)) / seen.sum((1, 2, 3))[:, None]
    return (rows * torch.arange(-14.0, 15) ** 2).sum(1)


def test_a_range_is_drawn_whole_with_some_images_left_clear_and_a_specialist_sees_one_blur():
    blind = spread_of_a_point(DeblurSettings(sigma="0.5:1")).sqrt()
    assert 0.03 < (blind == 0).float().mean() < 0.07
    assert blind[blind > 0].min() < 0.55
    assert 0.93 < blind.max() < 1.05
    special = spread_of_a_point(DeblurSettings(sigma="0.8"))
    assert (special > 0).all()
    assert special.sqrt().max() < 0.85


def weights(net):
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


@pytest.mark.usefixtures("narrow")
def test_the_restorer_learns_and_without_disc_weight_equals_its_control():
    nets = []
    for disc_net, weight in ((None, 0.1), (DiscNet(), 0.0), (DiscNet(), 0.1)):
        torch.manual_seed(0)
        net = UNet()
        settings = SETTINGS.model_copy(update={"disc_weight": weight, "disc": "frozen"})
        rows = train_restorer(net, DIGITS, Stage("l1", 4, 0.002), settings, disc_net)
        assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
        nets.append(weights(net))
    assert torch.equal(nets[0], nets[1])  # the same images, blur and noise
    assert not torch.equal(nets[0], nets[2])


def test_what_lies_beyond_black_costs_nothing_and_can_come_back():
    """A restorer of one number, added to every pixel: L1 of what is shown stops pulling once all black is black."""

    class Shift(nn.Module):
        def __init__(self):
            super().__init__()
            self.by = nn.Parameter(torch.tensor(-3.0))

        def forward(self, blurred):
            return blurred * 0 + self.by

    black, white = (torch.full((64, 1, 28, 28), level, dtype=torch.uint8) for level in (0, 255))
    settings = SETTINGS.model_copy(update={"noise": 0.0})
    for pixels, moves in ((black, False), (white, True)):
        shift = Shift()
        (row,) = train_restorer(shift, pixels, Stage("l1", 1, 0.01), settings)
        assert row["loss"] == (1.0 if moves else 0.0)
        assert (shift.by.item() > -2.99) == moves or shift.by.item() == pytest.approx(-3, abs=1e-3)


@pytest.mark.parametrize("loss", DISC_LOSSES)
def test_disc_net_tells_clear_from_blurred_with_every_loss(loss):
    torch.manual_seed(0)
    disc_net = DiscNet()
    settings = SETTINGS.model_copy(update={"sigma": SigmaRange(2.0, 3.0), "disc_loss": loss})
    train_disc_net(disc_net, DIGITS, Stage("disc_net", 5, DISC_LR), settings)
    sharp = DIGITS / 255
    blurred = torch.from_numpy(blur_for_test(sharp.numpy(), 2.5, 0.0, 0))
    assert (scores_of(disc_net, sharp) > 0).float().mean() > 0.9
    assert (scores_of(disc_net, blurred) < 0).float().mean() > 0.9


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("loss", DISC_LOSSES)
@pytest.mark.parametrize("disc", ["frozen", "joint"])
def test_disc_net_learns_on_only_if_it_is_asked_to(disc, loss):
    torch.manual_seed(0)
    disc_net, net = DiscNet(), UNet()
    before = weights(disc_net)
    settings = SETTINGS.model_copy(update={"disc": disc, "disc_loss": loss})
    train_restorer(net, FEW, Stage("l1_disc", 1, 0.002), settings, disc_net)
    assert torch.equal(before, weights(disc_net)) == (disc == "frozen")


def test_an_adversarial_loss_is_weighted_by_the_square_of_what_the_blur_removed():
    losses, sharp = torch.tensor([1.0, 10.0, 100.0]), torch.zeros(3, 1, 2, 2)
    blurred = torch.tensor([0.0, 0.1, 0.3]).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    assert weighted_by_blur(losses, sharp, blurred).item() == pytest.approx((10 * 0.01 + 100 * 0.09) / 0.1)
    assert weighted_by_blur(losses, sharp, sharp) == 0  # nothing was blurred: sigma and noise of 0


@pytest.mark.usefixtures("narrow")
def test_the_restorer_is_pulled_to_where_disc_net_scores_high():
    scored = []
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        disc_net, net = DiscNet(), UNet()
        disc_net.layers[-1].weight.data *= 100  # so that it has strong opinions, if no grounds for them
        settings = SETTINGS.model_copy(update={"disc_weight": weight, "disc": "frozen"})
        train_restorer(net, DIGITS, Stage("l1_disc", 3, 0.002), settings, disc_net)
        blurred = torch.from_numpy(blur_for_test((DIGITS / 255).numpy(), 1.5, 0.0, 0))
        scored.append(scores_of(disc_net, restore(net, blurred)).mean())
    assert scored[1] > scored[0] + 1


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def test_weights_stay_in_single_precision(precision):
    net = UNet()
    settings = SETTINGS.model_copy(update={"precision": precision})
    train_restorer(net, FEW, Stage("l1", 1, 0.002), settings)
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
    assert restore(net, DIGITS[:4] / 255).dtype == torch.float32


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("disc", ["frozen", "joint"])
def test_an_interrupted_training_ends_with_the_bytes_of_one_that_was_not(disc):
    settings = SETTINGS.model_copy(update={"disc": disc})

    def trained(progress):
        torch.manual_seed(0)
        net, disc_net = UNet(), DiscNet()
        stage = Stage("l1", 4, 0.002, validate=lambda: {"sum": weights(net).sum().item()}, progress=progress)
        rows = train_restorer(net, FEW, stage, settings, disc_net)
        return rows, weights(net), weights(disc_net)

    whole, shelf = trained(None), Shelf(2)
    for epochs in (2, 1):
        shelf.epochs = epochs
        with pytest.raises(Interrupted):
            trained(shelf)
    rows, *tensors = trained(shelf)
    assert rows == whole[0]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert all(torch.equal(one, other) for one, other in zip(tensors, whole[1:], strict=True))


@pytest.mark.usefixtures("narrow")
def test_a_loss_that_is_no_number_stops_the_training():
    with pytest.raises(DivergenceError, match="not a number in epoch"):
        train_restorer(UNet(), DIGITS, Stage("l1", 3, 1e30), SETTINGS)


def test_restored_images_stay_in_range():
    wild = nn.Module()
    wild.forward = lambda images: images * 9 - 4
    restored = restore(wild, torch.rand(3, 1, 4, 4))
    assert restored.min() >= 0
    assert restored.max() <= 1


@pytest.mark.usefixtures("narrow")
def test_steps_are_counted_by_the_stage_and_not_by_words_in_its_name():
    class Counted(Watched):
        def step(self, doing, kind="", seconds=None):
            kinds.append(kind)

    kinds = []
    for is_last in (False, True):
        stage = Stage("l1, wide", 1, 0.002, is_last=is_last, progress=Counted())
        (row,) = train_restorer(UNet(), FEW, stage, SETTINGS)
        assert row["stage"] == ("l1, wide, last stage" if is_last else "l1, wide")
    assert kinds == ["l1, wide", "last stage"]
