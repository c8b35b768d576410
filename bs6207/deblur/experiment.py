"""The deblur experiment: what disc_net adds to L1, beside L1 alone, classical methods told the kernel, and nothing."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

from bs6207.data.sources import load, require_data, settings_for
from bs6207.deblur.classical import RIVALS
from bs6207.deblur.evaluation import (
    CLEAR,
    FRONTIER_POINTS,
    IDENTITY,
    judge_images,
    judge_restorer,
    trace,
    train_referees,
)
from bs6207.deblur.memory import need, require_memory
from bs6207.deblur.parts import divide
from bs6207.deblur.settings import DeblurSettings
from bs6207.deblur.study import Trained, do, train_alone, train_disc, train_on, tune_rival
from bs6207.deblur.summary import report
from bs6207.errors import UserError
from bs6207.runs import sweep as sweeps
from bs6207.runs.progress import FailedTask, MapTasks, Progress, map_serially
from bs6207.runs.result import Result

SWEPT = sweeps.Measure("psnr", "PSNR dB of L1 + disc", "sigma", ("restorer", "l1_disc"), "l1", "L1 alone", "max")

Pieces: TypeAlias = Mapping[tuple[Any, ...], Callable[..., Any]]


def run(settings: DeblurSettings, progress: Progress, map_tasks: MapTasks = map_serially) -> Result:
    """Train restorers with L1, then on with L1 + disc_net and, beside it, with L1 alone; judge them and their rivals.

    Raises:
        DataError: the images are too few or too small.
        DivergenceError: a restorer ends worse than doing nothing.
    """
    if settings.sweep:
        return sweeps.run(run, settings, SWEPT, progress, map_tasks, need, load, require_data)
    data = load(settings.data, progress.warn)
    settings = settings_for(data, settings, progress.warn)
    parts = divide(data, settings)
    require_memory(parts, settings, data.name)
    seeds = range(settings.seed, settings.seed + settings.seeds)
    rivals = [(name, sigma) for name in RIVALS for sigma in settings.test_sigmas]
    others = ["autoencoder"] if settings.arch == "unet" else []
    for kind, count in steps(settings, len(others)).items():
        progress.expect(count, kind)

    def work(wave: str, pieces: Pieces) -> dict[Any, Any]:
        outcomes = map_tasks(
            partial(do, settings.data, data.sha256),
            {(wave, *key): piece for key, piece in pieces.items()},
            progress,
            data.sha256,
        )
        for lost in outcomes.values():
            if isinstance(lost, FailedTask):  # every piece is needed; those that are not lost have been put aside
                raise UserError(lost.reason)
        return {key: outcomes[wave, *key] for key in pieces}

    trained = work(
        "first",
        {("l1", seed): partial(train_alone, settings, settings.arch, "l1", seed) for seed in seeds}
        | {("disc_net", seed): partial(train_disc, settings, seed) for seed in seeds}
        | {("referees",): partial(train_referees, settings)}
        | {(name, settings.seed): partial(train_alone, settings, name, name, settings.seed) for name in others}
        | {(name, sigma): partial(tune_rival, settings, name, sigma) for name, sigma in rivals},
    )
    referees = trained["referees",]
    finished = work(
        "last",
        {
            (name, seed): partial(
                train_on, settings, name, trained["l1", seed].state, trained["disc_net", seed].state, weight, seed
            )
            for seed in seeds
            for name, weight in settings.ends.items()
            if name != "strong" or seed == settings.seed  # the frontier is of the first seed
        },
    )

    states = {name: finished[name, settings.seed].state for name in settings.ends}
    networks = {key: one.state for key, one in finished.items() if key[0] != "strong"}
    networks |= {(name, settings.seed): trained[name, settings.seed].state for name in others}
    images = {CLEAR: dict.fromkeys(settings.test_sigmas, parts.test.pixels)}
    images |= {name: {sigma: trained[name, sigma].restored for sigma in settings.test_sigmas} for name in RIVALS}
    # disc_net as it was in the end; with a weight of 0 nothing was trained with it
    discs = {seed: finished["l1_disc", seed].disc or trained["disc_net", seed].state for seed in seeds}
    disc = discs[settings.seed]
    judged = work(
        "judged",
        {("line",): partial(trace, settings, states["l1"], states[settings.clearest], referees)}  # what takes longest
        | {
            (name, seed): partial(judge_restorer, settings, name, state, referees, discs[seed], seed)
            for (name, seed), state in (networks | {(IDENTITY, settings.seed): {}}).items()
        }
        | {
            (name, settings.seed): partial(judge_images, settings, name, found, referees, disc)
            for name, found in images.items()
        },
    )
    line = judged.pop(("line",))
    strengths = {name: {sigma: trained[name, sigma].strength for sigma in settings.test_sigmas} for name in RIVALS}
    history = [
        row for one in (*trained.values(), *finished.values()) if isinstance(one, Trained) for row in one.history
    ]
    return report(parts, judged, line, strengths, history, states | {"disc_net": disc}, data, settings)


def steps(settings: DeblurSettings, others: int) -> dict[str, int]:
    """How many steps of progress all pieces will report, by kind."""
    stages, seeds, sigmas = settings.stages, settings.seeds, len(settings.test_sigmas)
    restorers = 2 * seeds + others + 1  # with the one that does nothing
    return {
        "l1": seeds * stages["l1"],
        "disc_net": seeds * stages["disc_net"],
        "autoencoder": others * settings.epochs,
        "referees": 2,
        **dict.fromkeys(RIVALS, sigmas),
        "last stage": (2 * seeds + settings.frontier) * stages["l1_disc"],
        "judged": restorers + len(RIVALS) + 1,  # with the clear images
        "beyond": restorers,
        "two-sample": restorers,
        "line": FRONTIER_POINTS,
    }
