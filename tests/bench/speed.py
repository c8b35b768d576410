"""How much sooner the trainings arrive than the loops one would write, side by side in one run, on all of MNIST.

    python tests/bench/speed.py                              everything: about half an hour on two cores
    python tests/bench/speed.py --parts fast --rounds 1      one part, once

The plain loops are those of a course: torchvision's MNIST through a DataLoader in batches of 128, Adam at 1e-3 in
float32 on torch's default threads, `.item()` at every step. Five epochs of an autoencoder 784-512-256-64-dim with L1,
20,000 images of a U-Net with L1 and a discriminator. They are given a good start (He's, output near the mean pixel),
without which L1 stays at a black image, and the training images that ours get; both are scored by the same code on the
same test images. They and ours take turns, with another seed every round; medians are printed. Nothing else should run.

Parts: machine, the peaks of its matrix products; fast, `latent --config fast`; same, the plain loop's network in our
loop; command, the whole command from the shell; start, commands that train nothing, beside importing torch; deblur, the
restorer; neighbour, beside a busy process; bump, a phase diagram; gpu, only if it is asked for: the full recipe on a
CUDA device against the plain loops there, and on the CPU.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import bump_diagram
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.profiler import profile
from torch.utils.data import DataLoader
from torchvision.datasets import MNIST
from torchvision.transforms import GaussianBlur, ToTensor

from bs6207.data.images import ImageSet
from bs6207.data.sources import loaded
from bs6207.deblur.blur import blur_for_test
from bs6207.deblur.networks import new_restorer
from bs6207.deblur.settings import DeblurSettings
from bs6207.deblur.training import Stage, restore, train_restorer
from bs6207.latent.autoencoder import DARK, RECIPES, Autoencoder, Recipe
from bs6207.latent.training import reconstruct, train_autoencoder
from bs6207.runs.executor import cores, local_executor, map_in_processes
from bs6207.runs.memory import keep_memory
from bs6207.training.batches import to_device
from bs6207.training.devices import choose_precision, flush_denormals, prepare

CPU, GPU = torch.device("cpu"), torch.device("cuda")
DIMS, PLAIN_EPOCHS, PLAIN_BATCH = (2, 4, 8, 16), 5, 128
GPU_EPOCHS = 20
PLAIN_WIDTHS = (784, 512, 256, 64)
SAME = Recipe((), (), linear=False, lr=0.005, batch_size=128, smooth=0.5)  # one epoch; by validation L1 at 8 numbers
SIGMA, NOISE, DISC_WEIGHT, TESTED = 1.5, 0.01, 0.01, 1000
PLAIN_IMAGES = 20_000  # the plain U-Net sees so many once: its loop takes longest
DEBLUR_IMAGES, DEBLUR_BATCH = 400, 8  # ours sees so many once; by validation L1
OURS = {
    "fast": "`latent --config fast`, training",
    "command": "`latent --config fast`, the whole command",
    "same": "the plain loop's network in our loop, one epoch",
}
COUNTED = 10_000  # images, to time an epoch's part
IMPORT_TORCH = "import torch"
QUICK = ("bs6207 --help", "bs6207 bump --optimizer adam --json --no-figures", "bs6207 bump --optimizer adam")


class Handed(MNIST):
    """Images as torchvision's MNIST hands them out, without its files."""

    def __init__(self, images: ImageSet):
        self.data, self.targets = torch.from_numpy(images.pixels[:, 0]), torch.zeros(len(images), dtype=torch.long)
        self.transform, self.target_transform = ToTensor(), None


class Plain(nn.Module):
    """The autoencoder of the plain loop."""

    def __init__(self, dim: int):
        super().__init__()
        widths = (*PLAIN_WIDTHS, dim)
        self.encoder = nn.Sequential(nn.Flatten(), *layers(widths))
        self.decoder = nn.Sequential(*layers(widths[::-1]), nn.Sigmoid(), nn.Unflatten(1, (1, 28, 28)))
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        nn.init.constant_(self.decoder[-3].bias, DARK)

    def forward(self, images: Tensor) -> Tensor:
        return self.decoder(self.encoder(images))


def layers(widths: tuple[int, ...]) -> list[nn.Module]:
    """Linear layers with ReLU between them."""
    found: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        found += [nn.Linear(inputs, outputs), nn.ReLU()]
    return found[:-1]


class PlainUNet(nn.Module):
    """Two double convolutions down, two up, with skips: the U-Net of a tutorial, 16 channels wide."""

    def __init__(self, width: int = 16):
        super().__init__()
        self.one, self.two, self.low = twice(1, width), twice(width, 2 * width), twice(2 * width, 4 * width)
        self.to_two = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2)
        self.to_one = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.back_two, self.back_one = twice(4 * width, 2 * width), twice(2 * width, width)
        self.last = nn.Conv2d(width, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        one = self.one(images)
        two = self.two(functional.max_pool2d(one, 2))
        low = self.low(functional.max_pool2d(two, 2))
        two = self.back_two(torch.cat([self.to_two(low), two], 1))
        return self.last(self.back_one(torch.cat([self.to_one(two), one], 1)))


def twice(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions."""
    first, second = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())


def plain_disc() -> nn.Sequential:
    """Two strided convolutions and a score."""
    convolutions = nn.Conv2d(1, 32, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(32, 64, 4, 2, 1), nn.LeakyReLU(0.2)
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(64 * 7 * 7, 1))


def plain_autoencoder(dim: int, seed: int, device: torch.device = CPU) -> tuple[float, float]:
    """Seconds and test L1 of the plain loop."""
    torch.manual_seed(seed)
    model, loader = Plain(dim).to(device), DataLoader(Handed(loaded("mnist").train), PLAIN_BATCH, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    start = time.perf_counter()
    for _ in range(PLAIN_EPOCHS):
        total = 0.0
        for images, _ in loader:
            images = images.to(device)
            loss = functional.l1_loss(model(images), images)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
    return time.perf_counter() - start, test_l1(model)


def test_l1(model: nn.Module) -> float:
    """Mean absolute error on the test images."""
    test = to_device(loaded("mnist").test, next(model.parameters()).device)
    return float((reconstruct(model, test) - test / 255).abs().mean())  # type: ignore[arg-type]


def our_autoencoder(
    recipe: str, epochs: int, images: int | None, seed: int, dim: int, device: torch.device = CPU
) -> float:
    """The test L1 of what `bs6207 latent` trains, or with `same` of the plain loop's network in our loop."""
    data = loaded("mnist")
    learn = data.train_subset(images)
    prepare(seed)
    keep_memory()
    chosen = SAME if recipe == "same" else RECIPES[recipe](dim, learn)
    model: Any = (Plain(dim) if recipe == "same" else Autoencoder((1, 28, 28), dim, chosen)).to(device)
    pixels, validation = to_device(learn, device), to_device(data.validation, device)
    for _ in train_autoencoder(model, pixels, validation, epochs, chosen, seed, "l1", choose_precision("auto", device)):
        pass
    return test_l1(model)


def plain_restorer(seed: int) -> tuple[float, list[float]]:
    """Seconds and test L1 of the plain loop with a discriminator."""
    torch.manual_seed(seed)
    model, disc = PlainUNet(), plain_disc()
    optimizer, disc_optimizer = (torch.optim.Adam(one.parameters(), 1e-3) for one in (model, disc))
    adversarial, blur = nn.BCEWithLogitsLoss(), GaussianBlur(13, SIGMA)
    start = time.perf_counter()
    for sharp, _ in DataLoader(Handed(loaded("mnist").train[:PLAIN_IMAGES]), PLAIN_BATCH, shuffle=True):
        blurred = (blur(sharp) + NOISE * torch.randn_like(sharp)).clamp(0, 1)
        restored, clear = model(blurred), torch.ones(len(sharp), 1)
        disc_loss = adversarial(disc(sharp), clear) + adversarial(disc(restored.detach()), 1 - clear)
        disc_optimizer.zero_grad()
        disc_loss.backward()
        disc_optimizer.step()
        loss = functional.l1_loss(restored, sharp) + DISC_WEIGHT * adversarial(disc(restored), clear)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
    return time.perf_counter() - start, [restored_l1(model)]


def our_restorer(seed: int) -> tuple[float, list[float]]:
    """Seconds and test L1 of the first stage of `bs6207 deblur --sigma 1.5`, on few images in small batches."""
    settings = DeblurSettings(sigma=f"{SIGMA:g}", noise=NOISE, batch_size=DEBLUR_BATCH)
    pixels = to_device(loaded("mnist").train[:DEBLUR_IMAGES], CPU)
    start = time.perf_counter()
    prepare(seed)
    model = new_restorer("unet", (1, 28, 28))
    train_restorer(model, pixels, Stage("l1", 1, settings.lr, seed), settings)
    return time.perf_counter() - start, [restored_l1(model)]


def restored_l1(model: nn.Module) -> float:
    """Mean absolute error on blurred test images."""
    sharp = loaded("mnist").test.unit_pixels[:TESTED]
    blurred = torch.from_numpy(blur_for_test(sharp, SIGMA, NOISE, 0))
    return float((restore(model, blurred) - torch.from_numpy(sharp)).abs().mean())


def ready(place: int) -> int:
    """Have a process import and read what the trainings need."""
    loaded("mnist")
    time.sleep(1)  # so that no process is ready for two
    return place


@contextmanager
def ready_processes() -> Iterator[Any]:
    """One process per core, which have imported and read everything."""
    with local_executor() as processes:
        list(map_in_processes(processes, ready, range(cores())))
        yield processes


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came of them."""
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def threads(count: int) -> None:
    """What plain loops run on, and ours do not."""
    torch.set_num_threads(count)


def row(what: str, plain: list[tuple[float, Any]], ours: list[tuple[float, Any]]) -> dict[str, Any]:
    """One line of the table, from the seconds and scores of every round; printed at once."""
    seconds = [median(taken for taken, _ in side) for side in (plain, ours)]
    scores = [[median(column) for column in zip(*(l1 for _, l1 in side), strict=True)] for side in (plain, ours)]
    ratio = median(loop / own for (loop, _), (own, _) in zip(plain, ours, strict=True))
    print(f"{what:58} {seconds[0]:7.1f} s {seconds[1]:6.1f} s {ratio:6.1f}x", flush=True)
    for side, l1 in zip(("plain loop", "ours"), scores, strict=True):
        print(f"    test L1, {side:10} " + "  ".join(f"{one:.4f}" for one in l1), flush=True)
    return {
        "what": what,
        "plain_seconds": seconds[0],
        "our_seconds": seconds[1],
        "ratio": ratio,
        "plain_l1": scores[0],
        "our_l1": scores[1],
    }


def autoencoders(rounds: int, parts: set[str]) -> list[dict[str, Any]]:
    """Four plain loops, one after the other, against four of ours on all cores, and against the whole command."""
    loops, ours = [], {part: list[tuple[float, Any]]() for part in OURS if part in parts}
    with ready_processes() as processes:
        for seed in range(rounds):
            for part, runs in ours.items():
                work = partial(command, seed) if part == "command" else partial(trained, processes, part, seed)
                runs.append(timed(work))
            threads(cores())
            four = [plain_autoencoder(dim, seed) for dim in DIMS]
            threads(1)
            loops.append((sum(seconds for seconds, _ in four), [l1 for _, l1 in four]))
            message = ", ".join(f"{part} {runs[-1][0]:.1f} s" for part, runs in ours.items())
            print(f"  round {seed + 1}: plain loops {loops[-1][0]:.1f} s, {message}", flush=True)
    return [row(OURS[part], loops, runs) for part, runs in ours.items()]


def trained(processes: Any, recipe: str, seed: int) -> list[float]:
    """The test L1 of four autoencoders, trained for one epoch by all processes."""
    return [*map_in_processes(processes, partial(our_autoencoder, recipe, 1, None, seed), DIMS)]


def command(seed: int) -> list[float]:
    """The same from the shell, with import, clusters, figures and files."""
    line = ["latent", "--config", "fast", "--data", "mnist", "--quiet", "--json", "--seed", str(seed)]
    with TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, "-m", "bs6207", *line], cwd=folder, check=True, capture_output=True)
    return [json.loads(done.stdout)["cells"][str(dim)]["l1"] for dim in DIMS]


def start(rounds: int) -> dict[str, Any]:
    """Seconds to import torch, and the time of whole commands that need not as a share of that, round by round."""
    lines = {IMPORT_TORCH: ["-c", IMPORT_TORCH], **{line: ["-m", *line.split()] for line in QUICK}}
    seconds: dict[str, list[float]] = {line: [] for line in lines}
    # Python keeps what it compiles, as it does for users
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with TemporaryDirectory() as folder:
        for counted in range(rounds + 1):
            for line, words in lines.items():
                work = partial(subprocess.run, [sys.executable, *words], cwd=folder, env=environment)
                taken, _ = timed(partial(work, check=True, capture_output=True))
                seconds[line] += [taken] * (counted > 0)  # the first reads all files from the disk
    torchs = seconds.pop(IMPORT_TORCH)
    shares = {line: median(map(float.__truediv__, taken, torchs)) for line, taken in seconds.items()}
    print(f"importing torch takes {median(torchs):.2f} s", flush=True)
    for line, share in shares.items():
        print(f"    {share:.3f} of that: {line}", flush=True)
    return {"import_torch_seconds": median(torchs), "shares": shares}


def restorers(rounds: int) -> list[dict[str, Any]]:
    """A plain U-Net and discriminator against our first stage, both for one blur; ours on one core."""
    loops, ours = [], []
    for seed in range(rounds):
        threads(1)
        ours.append(our_restorer(seed))
        threads(cores())
        loops.append(plain_restorer(seed))
        print(f"  round {seed + 1}: plain loop {loops[-1][0]:.1f} s, ours {ours[-1][0]:.1f} s", flush=True)
    return [row(f"`deblur --sigma {SIGMA:g}`, to the plain loop's L1", loops, ours)]


@flush_denormals()
def machine(dim: int) -> dict[str, Any]:
    """Peaks of matrix products, and what share of them a training of the full recipe reaches on one core."""
    prepare(0)
    keep_memory()
    peaks = {name: peak(getattr(torch, name)) for name in ("float32", "bfloat16")}
    print("one core: " + ", ".join(f"{name} {flops / 1e9:.0f} GFLOP/s" for name, flops in peaks.items()))
    data = loaded("mnist")
    precision = choose_precision("auto", CPU)
    recipe = RECIPES["full"](dim, data.train)
    model = Autoencoder((1, 28, 28), dim, recipe)
    first = data.train.image_shape[1] * data.train.image_shape[2] * recipe.encoder[0]
    weights = sum(weight.numel() for weight in model.parameters() if weight.ndim == 2)
    # per image: forward, and backward to the weights and, but for the first layer, to the inputs
    flops = 2 * (3 * weights - first)
    pixels, validation = to_device(data.train[:COUNTED], CPU), to_device(data.validation[:100], CPU)
    run = partial(train_autoencoder, model, pixels, validation, 1, recipe, 0, "l1", precision)
    list(run())
    speeds = [COUNTED / timed(lambda: list(run()))[0] for _ in range(3)]
    share = median(speeds) * flops / peaks[str(precision).removeprefix("torch.")]
    print(f"full recipe, dim {dim}, {precision}: {median(speeds):.0f} images/s, {share:.0%} of the peak")
    with profile() as seen:
        list(run())
    groups = {"matrix products": ("mm", "linear"), "BatchNorm": ("batch_norm",), "optimizer": ("adam", "Optimizer")}
    spent = dict.fromkeys([*groups, "the rest"], 0.0)
    for event in seen.key_averages():
        group = next((name for name, words in groups.items() if any(word in event.key for word in words)), "the rest")
        spent[group] += event.self_cpu_time_total
    whole = sum(spent.values())
    print("  of its time: " + ", ".join(f"{name} {value / whole:.0%}" for name, value in spent.items()), flush=True)
    return {"peaks": peaks, "precision": str(precision), "images_per_second": median(speeds), "share_of_peak": share}


def peak(dtype: torch.dtype, size: int = 2048) -> float:
    """The most operations per second in a product of two large matrices, on one thread."""
    left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
    seconds = [timed(lambda: functional.linear(left, right))[0] for _ in range(8)]
    return 2 * size**3 / min(seconds)


def neighbour(rounds: int) -> float:
    """Throughput of four trainings on all cores with a busy process beside them, as a share of that without."""
    quiet, beside = [], []
    work = partial(our_autoencoder, "full", 1, COUNTED, 0)
    with ready_processes() as processes:
        for _ in range(rounds):
            quiet.append(timed(lambda: [*map_in_processes(processes, work, DIMS)])[0])
            other = multiprocessing.get_context("spawn").Process(target=spin, daemon=True)
            other.start()
            time.sleep(5)  # until it has started
            beside.append(timed(lambda: [*map_in_processes(processes, work, DIMS)])[0])
            other.kill()
            other.join()
    kept = median(map(float.__truediv__, quiet, beside))
    print(f"beside a busy process latent keeps {kept:.0%} of its throughput", flush=True)
    return kept


def spin() -> None:
    """Take a core."""
    while True:
        pass


def gpu(rounds: int) -> dict[str, Any]:
    """Four of ours, one after the other, against four plain loops, both on the GPU; and what ours reach on the CPU."""
    name = torch.cuda.get_device_name()
    ours: list[tuple[float, Any]] = []
    our_autoencoder("full", 1, COUNTED, 0, DIMS[0], GPU)  # libraries set up
    for seed in range(rounds):
        start = time.perf_counter()
        reached = [our_autoencoder("full", GPU_EPOCHS, None, seed, dim, GPU) for dim in DIMS]
        ours.append((time.perf_counter() - start, reached))
        print(f"  round {seed + 1}: ours {ours[-1][0]:.1f} s", flush=True)
    four = [plain_autoencoder(dim, 0, GPU) for dim in DIMS]  # once: every batch comes from the CPU, at its pace
    loops = [(sum(seconds for seconds, _ in four), [l1 for _, l1 in four])] * rounds
    found = row(f"{GPU_EPOCHS} epochs of the full recipe on one {name}", loops, ours)
    cells = [(seed, dim) for seed in range(rounds) for dim in DIMS]
    with local_executor() as processes:
        there = [*map_in_processes(processes, full_on_the_cpu, cells)]
    by_dim = {
        str(dim): {
            "gpu": [l1[place] for _, l1 in ours],
            "cpu": [l1 for (_, size), l1 in zip(cells, there, strict=True) if size == dim],
        }
        for place, dim in enumerate(DIMS)
    }
    for dim, reached in by_dim.items():
        print(f"    test L1 at {dim}: " + ", ".join(f"{where} {l1}" for where, l1 in reached.items()), flush=True)
    return {"name": name, "epochs": GPU_EPOCHS, "row": found, "l1": by_dim}


def full_on_the_cpu(cell: tuple[int, int]) -> float:
    """The test L1 of the full recipe with a seed, at a size."""
    seed, dim = cell
    return our_autoencoder("full", GPU_EPOCHS, None, seed, dim)


PARTS = ("machine", *OURS, "start", "deblur", "neighbour", "bump")


def main() -> None:
    """Measure the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=(*PARTS, "gpu"), default=PARTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()
    parts, kind = set(asked.parts), torch.backends.cpu.get_cpu_capability()
    print(f"torch {torch.__version__}, {cores()} cores, {kind}; medians of {asked.rounds}", flush=True)
    found: dict[str, Any] = {"cores": cores(), "instructions": kind, "rounds": asked.rounds, "torch": torch.__version__}
    if "machine" in parts:
        with ready_processes() as processes:  # not here, where the plain loops run
            (found["machine"],) = map_in_processes(processes, machine, [8])
    found["rows"] = autoencoders(asked.rounds, parts) if parts & {*OURS} else []
    if "start" in parts:
        found["start"] = start(asked.rounds)
    if "deblur" in parts:
        found["rows"] += restorers(asked.rounds)
    if "neighbour" in parts:
        found["kept_beside_a_busy_process"] = neighbour(asked.rounds)
    if "bump" in parts:
        bump_diagram.main()
    if "gpu" in parts:
        found["gpu"] = gpu(asked.rounds)
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    import speed  # by this name workers find what they measure

    speed.main()
