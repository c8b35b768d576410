"""The deblur experiment: the same restorer trained with L1 alone and with L1 + disc_net, beside doing nothing."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bs6207.data.batches import resident
from bs6207.data.blur import blur_for_test
from bs6207.data.images import ImageSet, shuffled
from bs6207.data.sources import load
from bs6207.deblur import figures
from bs6207.deblur.networks import DiscNet, UNet
from bs6207.deblur.settings import DeblurSettings
from bs6207.deblur.training import clearness, restore, train_disc_net, train_restorer
from bs6207.devices import choose_device, flush_denormals, prepare
from bs6207.errors import DataError, DivergenceError
from bs6207.experiment import Progress, Result, Row, Table, Weights
from bs6207.metrics.restoration import l1, psnr_per_image, sharpness, ssim

TEST_IMAGES = 1000  # a fixed random choice: the first thousand of MNIST's test images are the easier half
SMALLEST_SIDE = 7  # pixels, the windows of SSIM
NOISE_SEED = 6207  # of the noise on validation and test images, whatever --seed says
FINE_TUNE = 0.1  # share of the learning rate for the last stage, which starts from a trained network
SHOWN_IMAGES = 10
RESTORERS = {"identity": "blurred", "l1": "L1", "l1_disc": "L1 + disc"}


def run(settings: DeblurSettings, progress: Progress) -> Result:
    """Train the restorer with L1, then on with L1 + disc_net and, beside it, with L1 alone; score both."""
    data = load(settings.data, progress.note)
    settings = settings.model_copy(update={"data": data.given_as})
    if min(data.train.image_shape[1:]) < SMALLEST_SIDE:
        raise DataError(f"{data.name} has images of less than {SMALLEST_SIDE} pixels a side; give larger ones")
    learn, test = data.learn_from(settings.train_images), shuffled(data.test)[:TEST_IMAGES]
    device = choose_device(settings.device)
    prepare(settings.seed)
    flush_denormals()
    pixels = resident(learn, device)
    channels = learn.image_shape[0]
    l1_net, disc_net = UNet(channels).to(device), DiscNet(channels).to(device)
    stages = settings.stages
    progress.expect(sum(stages.values()) + stages["l1_disc"])
    history: list[Row] = []

    def follow(stage: str, losses: Iterable[float], judge: Callable[[], dict[str, float]]) -> None:
        for epoch, loss in enumerate(losses, start=1):
            row = {"stage": stage, "epoch": epoch, "loss": loss, **judge()}
            history.append(row)
            progress.record(row)
            progress.step(f"{stage}, epoch {epoch}, loss {loss:.4f}")

    sharp = data.validation.unit_pixels
    blurred = on_device(blur_for_test(sharp, sum(settings.sigma_range) / 2, settings.noise, NOISE_SEED), device)

    def validate(net: UNet) -> dict[str, float]:
        return {"validation_psnr": psnr_per_image(sharp, restore(net, blurred).cpu().numpy())}

    def validate_disc() -> dict[str, float]:
        clear = clearness(disc_net, on_device(sharp, device))
        return {"validation_accuracy": (clear + 1 - clearness(disc_net, blurred)) / 2}

    follow("l1", train_restorer(l1_net, pixels, stages["l1"], settings.lr, settings), lambda: validate(l1_net))
    follow("disc_net", train_disc_net(disc_net, pixels, stages["disc_net"], settings), validate_disc)
    l1_disc_net, gentle = deepcopy(l1_net), FINE_TUNE * settings.lr
    more = train_restorer(l1_disc_net, pixels, stages["l1_disc"], gentle, settings, disc_net)
    follow("l1_disc", more, lambda: validate(l1_disc_net))
    more = train_restorer(l1_net, pixels, stages["l1_disc"], gentle, settings)
    follow("control", more, lambda: validate(l1_net))

    untouched = psnr_per_image(sharp, blurred.cpu().numpy())
    for stage in ("control", "l1_disc"):
        if (reached := last(history, stage)["validation_psnr"]) < untouched:
            raise DivergenceError(
                f"{stage} ends at a validation PSNR of {reached:.2f} dB, below the {untouched:.2f} dB of the blurred "
                f"images as they are; try more --epochs or another --lr than {settings.lr:g}"
            )
    nets = {"l1": l1_net, "l1_disc": l1_disc_net}
    images = {sigma: restored_images(test, sigma, nets, settings, device) for sigma in settings.test_sigmas}
    return report(test, images, disc_net, nets, history, data.record() | {"train": len(learn)}, settings, device)


def restored_images(
    test: ImageSet, sigma: float, nets: dict[str, UNet], settings: DeblurSettings, device: torch.device
) -> dict[str, NDArray[np.float32]]:
    """What every restorer makes of the test images under one blur, each [N, C, H, W] in [0, 1]."""
    blurred = blur_for_test(test.unit_pixels, sigma, settings.noise, NOISE_SEED)
    restored = {name: restore(net, on_device(blurred, device)).cpu().numpy() for name, net in nets.items()}
    return {"identity": blurred, **restored}


def report(
    test: ImageSet,
    images: dict[float, dict[str, NDArray[np.float32]]],
    disc_net: DiscNet,
    nets: dict[str, UNet],
    history: list[Row],
    data: dict[str, Any],
    settings: DeblurSettings,
    device: torch.device,
) -> Result:
    """Score every restorer at every sigma; rows become the table, metrics.json and the figures."""
    truth = test.unit_pixels
    scores = Table(
        ("restorer", "sigma", "psnr", "ssim", "l1", "sharpness", "disc_clear"),
        [
            {
                "restorer": name,
                "sigma": sigma,
                "psnr": psnr_per_image(truth, images[sigma][name]),
                "ssim": ssim(truth, images[sigma][name]),
                "l1": l1(truth, images[sigma][name]),
                "sharpness": sharpness(truth, images[sigma][name]),
                "disc_clear": clearness(disc_net, on_device(images[sigma][name], device)),
            }
            for name in RESTORERS
            for sigma in settings.test_sigmas
        ],
    )
    columns = ("stage", "epoch", "loss", "validation_psnr", "validation_accuracy")
    curves = Table(columns, history)
    sigmas = sorted(images)
    shown = {sigmas[(len(sigmas) - 1) // 2], sigmas[-1]}
    drawn = {sigma: {name: images[sigma][name][:SHOWN_IMAGES] for name in RESTORERS} for sigma in sorted(shown)}
    return Result(
        settings=settings,
        metrics={
            "restorers": {
                name: {
                    str(row["sigma"]): {key: row[key] for key in scores.columns[2:]}
                    for row in scores.rows
                    if row["restorer"] == name
                }
                for name in RESTORERS
            },
            "disc_net": {"validation_accuracy": last(history, "disc_net")["validation_accuracy"]},
            "stages": settings.stages,
            "data": data | {"scored": len(test)},
        },
        headline=headline(scores),
        remarks=remarks(scores, len(test), data, settings),
        tables={"scores": scores, "history": curves},
        figures={
            "restorations": figures.restorations(truth[:SHOWN_IMAGES], drawn, scores),
            "psnr_over_sigma": figures.psnr_over_sigma(scores, settings.sigma_range),
            "loss_curves": figures.loss_curves(curves),
        },
        weights={f"unet_{name}": Weights(on_cpu(net), {"channels": len(truth[0])}) for name, net in nets.items()}
        | {"disc_net": Weights(on_cpu(disc_net), {"channels": len(truth[0])})},
    )


def headline(scores: Table) -> Table:
    """One row per restorer and sigma, sigma by sigma, so that what must be compared stands together."""
    rows = [
        {
            "sigma": f"{row['sigma']:g}",
            "restorer": RESTORERS[row["restorer"]],
            "PSNR dB": f"{row['psnr']:.2f}",
            "SSIM": f"{row['ssim']:.3f}",
            "L1": f"{row['l1']:.4f}",
            "sharpness": f"{row['sharpness']:.3f}",
            "disc: clear": f"{row['disc_clear']:.2f}",
        }
        for row in sorted(scores.rows, key=lambda row: row["sigma"])
    ]
    return Table(tuple(rows[0]), rows)


def remarks(scores: Table, scored: int, data: dict[str, Any], settings: DeblurSettings) -> list[str]:
    """What the table must not be read without."""
    at = {(row["restorer"], row["sigma"]): row for row in scores.rows}
    sentences = [
        f"Scores on {scored} test images of {data['name']}, one seed, after learning from {data['train']}; the blur "
        f"is scipy's, noise {settings.noise:g}, 8 bits. Sharpness 1 is as sharp as the truth.",
        "L1 is the control: as many steps as L1 + disc, without disc_net. `disc: clear` is the verdict of the disc_net "
        "that L1 + disc was trained to please, so it cannot judge; PSNR and sharpness can.",
    ]
    for sigma in sorted(settings.test_sigmas):
        with_disc, without = at["l1_disc", sigma], at["l1", sigma]
        sentences.append(
            f"At sigma {sigma:g} disc_net changes PSNR by {with_disc['psnr'] - without['psnr']:+.2f} dB and sharpness "
            f"from {without['sharpness']:.3f} to {with_disc['sharpness']:.3f}."
        )
    return sentences


def last(history: list[Row], stage: str) -> Row:
    """The final row of a stage."""
    return [row for row in history if row["stage"] == stage][-1]


def on_device(images: NDArray[np.float32], device: torch.device) -> Tensor:
    """Images as a tensor where the networks are."""
    return torch.from_numpy(images).to(device)


def on_cpu(net: nn.Module) -> dict[str, Tensor]:
    """A network's weights, ready to be written."""
    return {name: tensor.cpu() for name, tensor in net.state_dict().items()}
