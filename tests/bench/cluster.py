"""What a cluster costs and what it brings: cells on Dask workers here, beside the same cells in one process.

    python tests/bench/cluster.py            three minutes on two cores, nothing else running

Cells are the autoencoders of `latent` on the digits that come with the package. The overhead is that of cells which do
nothing and return what such an autoencoder returns. The limit of a scheduler is measured with a thousand workers
that only sleep: 250 threads in each of four processes.
"""

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from distributed import Client

from bs6207.data.sources import loaded
from bs6207.latent.experiment import make_tasks
from bs6207.latent.settings import LatentSettings
from bs6207.latent.tasks import Task, run_task
from bs6207.runs.dask import DaskExecutor
from bs6207.runs.progress import TaskProgress
from bs6207.runs.tasks import map_tasks

SETTINGS = LatentSettings(data="mnist-5k", dims=[8], epochs=4, seeds=8, skip_probes=True, batch_size=64)
NOTHING = 200  # cells that do nothing
HERE = str(Path(__file__).parent)  # workers find `hand_back` there
PROCESSES, THREADS, NAP, NAPS = 4, 250, 5.0, 4  # a thousand that sleep, how long, how often each


class Silent:
    """Nobody listens."""

    def step(self, doing: Any) -> None: ...

    status = record = warn = expect = step


def tasks() -> dict[Any, Task]:
    """Autoencoders that differ in their seeds."""
    planned = make_tasks(SETTINGS, ("kmeans",), 10, 1.0, loaded("mnist-5k").sha256)
    return {key: task for key, task in planned.items() if key[0] == "autoencoder"}


def hand_back(size: int, progress: TaskProgress) -> Any:
    """A cell that does nothing but cost what all cells cost: an outcome of so many bytes."""
    progress.step("nothing")
    return np.zeros(size, np.uint8)


@contextmanager
def site(workers: int, threads: int = 1) -> Iterator[str]:
    """A scheduler and its workers, as `dask scheduler` and `dask worker` start them; its address."""
    with tempfile.TemporaryDirectory() as folder:
        file, processes = Path(folder) / "scheduler.json", []

        def start(*words: str) -> None:
            line = [sys.executable, "-m", "dask", *words, "--no-dashboard"]
            nowhere = subprocess.DEVNULL
            processes.append(
                subprocess.Popen(line, stderr=nowhere, stdout=nowhere, env=os.environ | {"PYTHONPATH": HERE})
            )

        start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
        while not (file.is_file() and file.read_text().rstrip().endswith("}")):  # it is empty at first
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        for _ in range(workers):
            start("worker", address, "--nthreads", str(threads), "--no-nanny")
        try:
            with Client(address, set_as_default=False) as client:
                client.wait_for_workers(workers)
            yield address
        finally:
            for process in processes:
                process.kill()
                process.wait()


def timed(workers: Any, work: Any, batch: dict[Any, Any]) -> float:
    """Seconds until all tasks are done and saved."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        map_tasks(workers, Path(folder), work, batch, Silent())
        return time.perf_counter() - start


def speed_up(rounds: int) -> dict[str, Any]:
    """Cells per second here, and on one and two workers; and what a cell that does nothing costs."""
    import cluster as importable  # this file, under the name that workers know

    batch = tasks()
    outcome = run_task(next(iter(batch.values())), TaskProgress(lambda *event: None))  # now all is imported and read
    size = len(pickle.dumps(outcome))
    seconds: dict[str, list[float]] = {"here": [], "1 worker": [], "2 workers": []}
    costs: list[float] = []
    for _ in range(rounds):
        seconds["here"].append(timed(None, run_task, batch))
        for count in (1, 2):
            with site(count) as address:
                engine = DaskExecutor(address)
                warm = {("warm", place): task for place, task in enumerate(list(batch.values())[: 2 * count])}
                timed(engine, run_task, warm)
                seconds[f"{count} worker" + "s" * (count > 1)].append(timed(engine, run_task, batch))
                if count == 1:
                    nothing = dict.fromkeys(range(NOTHING), size)
                    costs.append(timed(engine, importable.hand_back, nothing) / NOTHING)
                engine.close()
    found = {name: median(taken) / len(batch) for name, taken in seconds.items()}
    for name, each in found.items():
        print(
            f"{name:10} {each:6.2f} s a cell, {found['here'] / each:5.2f} times as fast as one process here", flush=True
        )
    sent = len(pickle.dumps(next(iter(batch.values()))))
    print(f"a cell that does nothing: {1000 * median(costs):.1f} ms, with {size / 1e6:.2f} MB coming back", flush=True)
    return {
        "seconds_a_cell": found,
        "overhead": median(costs),
        "bytes": size,
        "bytes_sent": sent,
        "cells": len(batch),
        "rounds": rounds,
    }


def asleep() -> dict[str, float]:
    """Cells per second that a scheduler hands to a thousand workers which only sleep, and how busy it keeps them."""
    workers = PROCESSES * THREADS
    with site(PROCESSES, THREADS) as address, Client(address, set_as_default=False) as client:
        executor, taken = client.get_executor(pure=False), 0.0
        for naps in (1, NAPS):  # the first round finds them all
            start = time.perf_counter()
            for future in [executor.submit(time.sleep, NAP) for _ in range(workers * naps)]:
                future.result()
            taken = time.perf_counter() - start
    rate, busy = workers * NAPS / taken, NAP * NAPS / taken
    print(
        f"{workers} workers asleep for {NAP:g} s: {rate:.0f} cells a second, {busy:.0%} of their time used", flush=True
    )
    return {"workers": workers, "nap": NAP, "cells_a_second": rate, "share_used": busy}


def main() -> None:
    """Measure all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()
    found = {"cluster": speed_up(asked.rounds), "asleep": asleep()}
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
