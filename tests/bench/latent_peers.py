"""How well `bs6207 latent` restores test images beside the autoencoders of ClustPy and pythae, and PCA, at equal time.

    python tests/bench/latent_peers.py
    python tests/bench/latent_peers.py --dims 8 --seconds 5 --peers pythae --out peers.json

Everybody learns from the same training images on one thread of the CPU, denormals flushed. Ours trains its default
epochs; a peer trains until it has used as much processor time as the slower of our two. Peers keep their networks,
loaders and optimizers, at the learning rates of their documentation, and train with L1 as well as with their squared
error. Whatever leaves [0, 1] is clipped.

pythae's convolutions for MNIST are not tried unless named: one core sees 90 images per second (its perceptron: 9,900).
"""

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ["TQDM_DISABLE"] = "1"  # the peers' progress bars

import torch
from torch import Tensor
from torch.nn import functional

from bs6207.data.images import DataSet
from bs6207.data.sources import load
from bs6207.latent.autoencoder import Autoencoder, recipe_for
from bs6207.latent.evaluation import principal_components, score_images
from bs6207.latent.settings import LatentSettings
from bs6207.latent.training import reconstruct, train_autoencoder
from bs6207.training.batches import to_device
from bs6207.training.devices import choose_precision, flush_denormals, prepare

try:
    from clustpy.deep._train_utils import get_neural_network  # what its deep clusterers call for their autoencoder
    from pythae.data.datasets import BaseDataset
    from pythae.models import AE, AEConfig
    from pythae.models.nn.benchmarks.mnist import Decoder_Conv_AE_MNIST, Encoder_Conv_AE_MNIST
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
except ImportError as missing:
    sys.exit(f"{missing}; the peers are no dependencies: run pip install clustpy==0.0.3 pythae==0.1.2")

CPU, FOR_EVER = torch.device("cpu"), 10**6  # epochs of a peer, which the clock ends
LOSSES = ("l1", "mse")
PYTHAE_RATE = 1e-3  # of its README; at its default of 1e-4 it is worse: L1 .067 instead of .052 at dim 8 after 20 s
PACKAGES = ("bs6207", "clustpy", "pythae", "scikit-learn", "torch", "numpy")

Loss = Callable[[Tensor, Tensor], Tensor]
Restore = Callable[[], Tensor]  # of the test images, [N, C, H, W]
Row = dict[str, Any]


class TimeIsUpError(Exception):
    """Leaves a peer's training from within its loss, the one place where both peers let us in."""


def until(deadline: float, loss: Loss) -> Loss:
    """The same loss, up to `deadline` in process time."""

    def limited(restored: Tensor, images: Tensor) -> Tensor:
        if time.process_time() >= deadline:
            raise TimeIsUpError
        return loss(restored, images)

    return limited


def train_ours(data: DataSet, dim: int, loss: str, epochs: int) -> Restore:
    """What `bs6207 latent` trains."""
    recipe = recipe_for(dim, len(data.train))
    components = principal_components(data.train, dim) if recipe.linear else None
    model = Autoencoder(data.train.image_shape, dim, recipe, components=components)
    pixels, validation, test = (to_device(images, CPU) for images in (data.train, data.validation, data.test))
    for _ in train_autoencoder(model, pixels, validation, epochs, recipe, 0, loss, choose_precision("auto", CPU)):
        pass
    return lambda: reconstruct(model, test)


def train_clustpy(data: DataSet, dim: int, loss: str, seconds: float) -> Restore:
    """ClustPy's FeedforwardAutoencoder: 784-500-500-2000-dim and back, batches of 128, Adam 1e-3."""
    deadline = time.process_time() + seconds
    model = get_neural_network(data.train.flat.shape[1], dim, device=CPU, random_state=0)
    error = functional.l1_loss if loss == "l1" else functional.mse_loss
    try:
        model.fit(FOR_EVER, data=data.train.flat, ssl_loss_fn=until(deadline, error))
    except TimeIsUpError:
        model.eval()
    return lambda: model(torch.from_numpy(data.test.flat)).reshape(data.test.pixels.shape)


def train_pythae(data: DataSet, dim: int, loss: str, seconds: float, conv: bool = False) -> Restore:
    """pythae's AE: 784-512-dim and back, or its convolutions for MNIST; batches of 64, Adam."""
    deadline = time.process_time() + seconds
    config = AEConfig(input_dim=data.train.image_shape, latent_dim=dim)
    model = AE(config, Encoder_Conv_AE_MNIST(config), Decoder_Conv_AE_MNIST(config)) if conv else AE(config)
    model.loss_function = until(deadline, summed_l1 if loss == "l1" else model.loss_function)
    dataset = BaseDataset(torch.from_numpy(data.train.unit_pixels), torch.zeros(len(data.train)))
    with TemporaryDirectory() as folder:
        rules = BaseTrainerConfig(folder, num_epochs=FOR_EVER, learning_rate=PYTHAE_RATE, no_cuda=True)
        try:
            BaseTrainer(model, dataset, training_config=rules).train()
        except TimeIsUpError:
            model.eval()
    test = torch.from_numpy(data.test.unit_pixels).split(1000)
    return lambda: torch.cat([model.decoder(model.encoder(part).embedding).reconstruction for part in test])


def summed_l1(restored: Tensor, images: Tensor) -> Tensor:
    """Sum over pixels, mean over images, as pythae's own squared error."""
    return functional.l1_loss(restored, images, reduction="sum") / len(images)


def train_components(data: DataSet, dim: int, *_: object) -> Restore:
    """PCA, which knows neither epochs nor another loss."""
    components = principal_components(data.train, dim)
    return lambda: torch.from_numpy(components.decode(components.encode(data.test), data.test.image_shape))


PEERS = {
    "ClustPy": train_clustpy,
    "pythae": train_pythae,
    "pythae-conv": partial(train_pythae, conv=True),
}


def measure(method: str, learn: Callable[..., Restore], data: DataSet, dim: int, loss: str, *limit: float) -> Row:
    """Train, score on the test images, and print the row."""
    prepare(0)
    start = time.process_time()
    restore = learn(data, dim, loss, *limit)
    seconds = time.process_time() - start
    with torch.no_grad():
        scores = score_images(data.test.unit_pixels, restore().clamp(0, 1).numpy())
    print(f"{method:12}{loss:5}{dim:5}{seconds:9.1f}{scores['l1']:9.4f}{scores['mse']:9.5f}", flush=True)
    return {"method": method, "loss": loss, "dim": dim, "seconds": seconds} | scores


@flush_denormals()
def compare(data: DataSet, dim: int, peers: list[str], seconds: float | None) -> list[Row]:
    """The rows of one latent size."""
    epochs = LatentSettings().epochs
    if seconds:
        start = time.process_time()
        train_ours(data, dim, "l1", 1)
        epochs = max(1, round(seconds / (time.process_time() - start)))
    rows = [measure("ours", train_ours, data, dim, loss, epochs) for loss in LOSSES]
    limit = max(row["seconds"] for row in rows)
    rows += [measure(name, PEERS[name], data, dim, loss, limit) for name in peers for loss in LOSSES]
    return [*rows, measure("PCA", train_components, data, dim, "mse")]


def summarize(rows: list[Row], score: str) -> Row:
    """What ours leaves of the best peer's error at one latent size, by the loss ours was trained with."""
    best = min((row for row in rows if row["method"] != "ours"), key=lambda row: row[score])
    ratios = {row["loss"]: row[score] / best[score] for row in rows if row["method"] == "ours"}
    return {"dim": best["dim"], "score": score, "best peer": best["method"], "its loss": best["loss"], "ratios": ratios}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, nargs="+", default=[2, 4, 8, 16, 64, 256])
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=["ClustPy", "pythae"])
    parser.add_argument("--seconds", type=float, help="about so many for everybody, for a quick try")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--out", type=Path, help="a JSON file")
    given = parser.parse_args()

    logging.disable(logging.INFO)  # pythae's
    data = load(given.data, print)
    print(f"{'method':12}{'loss':5}{'dim':>5}{'seconds':>9}{'L1':>9}{'MSE':>9}")
    tables = [compare(data, dim, given.peers, given.seconds) for dim in given.dims]

    summary = [summarize(rows, score) for rows in tables for score in ("l1", "mse")]
    print("\nours / best peer, by our loss; below 1 ours is better")
    print(f"{'dim':>5}  {'score':7}{'l1':>6}{'mse':>6}  best peer")
    for line in summary:
        by_loss = "".join(f"{line['ratios'][loss]:6.2f}" for loss in LOSSES)
        print(f"{line['dim']:5}  {line['score'].upper():7}{by_loss}  {line['best peer']}, {line['its loss']}")
    if given.out:
        record = {"versions": {name: version(name) for name in PACKAGES}, "data": data.record(), "summary": summary}
        record["rows"] = [row for rows in tables for row in rows]
        given.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
