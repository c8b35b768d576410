"""The U-Net, disc_net and the stages of their training."""

import pytest
import torch
from torch import nn

from bs6207.data.sources import embedded_digits
from bs6207.deblur.networks import DiscNet, UNet
from bs6207.deblur.settings import DeblurSettings
from bs6207.deblur.training import clearness, restore, train_disc_net, train_restorer
from bs6207.errors import DivergenceError

DIGITS = torch.from_numpy(embedded_digits().train.pixels[:320])
SETTINGS = DeblurSettings(batch_size=32, sigma="1:2")


@pytest.mark.parametrize("size", [(28, 28), (5, 7), (33, 50)])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_untrained_unet_does_nothing_to_images_of_any_size(size, channels):
    images = torch.rand(2, channels, *size)
    assert torch.equal(UNet(channels)(images), images)


def test_no_transposed_convolutions():
    assert not [layer for layer in UNet().modules() if isinstance(layer, nn.ConvTranspose2d)]


@pytest.mark.parametrize("epochs", [*range(3, 40), 50, 100, 9999])
def test_the_stages_add_up_to_epochs_and_none_is_empty(epochs):
    stages = DeblurSettings(epochs=epochs).stages
    assert sum(stages.values()) == epochs
    assert min(stages.values()) >= 1


@pytest.mark.parametrize(("text", "expected"), [("0.5:3", (0.5, 3)), ("1.5", (1.5, 1.5)), ("0:0", (0, 0))])
def test_sigma_is_a_range_or_a_number(text, expected):
    assert DeblurSettings(sigma=text).sigma_range == expected


def weights(net):
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


def test_the_restorer_learns_and_without_disc_weight_equals_its_control():
    nets = []
    frozen = DiscNet().requires_grad_(False)
    for disc_net, weight in ((None, 0.1), (frozen, 0.0), (frozen, 0.1)):
        torch.manual_seed(0)
        net = UNet()
        settings = SETTINGS.model_copy(update={"disc_weight": weight})
        losses = list(train_restorer(net, DIGITS, 4, 0.002, settings, disc_net))
        assert losses[-1] < 0.8 * losses[0]
        nets.append(weights(net))
    assert torch.equal(nets[0], nets[1])  # the same images, blur and noise
    assert not torch.equal(nets[0], nets[2])


def test_disc_net_tells_clear_from_blurred_and_is_frozen_afterwards():
    torch.manual_seed(0)
    disc_net = DiscNet()
    list(train_disc_net(disc_net, DIGITS, 5, SETTINGS.model_copy(update={"sigma": "2:3"})))
    assert not any(parameter.requires_grad for parameter in disc_net.parameters())
    before = weights(disc_net)
    from bs6207.data.blur import blur_batch

    sharp = DIGITS / 255
    assert clearness(disc_net, sharp) > 0.9
    assert clearness(disc_net, blur_batch(sharp, torch.full((len(sharp),), 2.5))) < 0.1
    list(train_restorer(UNet(), DIGITS, 1, 0.002, SETTINGS, disc_net))
    assert torch.equal(before, weights(disc_net))


def test_a_loss_that_is_no_number_stops_the_training():
    with pytest.raises(DivergenceError, match="not a number in epoch"):
        list(train_restorer(UNet(), DIGITS, 3, 1e30, SETTINGS))


def test_restored_images_stay_in_range():
    wild = nn.Module()
    wild.forward = lambda images: images * 9 - 4
    restored = restore(wild, torch.rand(3, 1, 4, 4))
    assert restored.min() >= 0
    assert restored.max() <= 1
