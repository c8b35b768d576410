"""The deblur experiment: L1 + a discriminator, beside L1 alone, classical baselines with the kernel, and nothing."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

from bs6207.data.images import DataSet
from bs6207.data.sources import load, loaded, require_data, settings_for
from bs6207.deblur.blur import Context, Pixels, split_data
from bs6207.deblur.classical import BASELINES, tune_and_restore
from bs6207.deblur.evaluation import (
    CLEAR,
    FRONTIER_POINTS,
    IDENTITY,
    evaluate,
    evaluate_restorer,
    interpolate,
    train_evaluators,
)
from bs6207.deblur.memory import need, require_memory
from bs6207.deblur.networks import State
from bs6207.deblur.settings import DeblurSettings
from bs6207.deblur.summary import report
from bs6207.deblur.training import LAST_STAGE, Trained, fine_tune, train_disc, train_l1
from bs6207.errors import UserError
from bs6207.runs import sweep as sweeps
from bs6207.runs.progress import FailedTask, MapTasks, Progress, TaskProgress, map_serially
from bs6207.runs.result import Result
from bs6207.training.devices import prepare, preserve_torch_state

SWEPT = sweeps.Measure("psnr", "PSNR dB of L1 + disc", "sigma", ("restorer", "l1_disc"), "l1", "L1 alone", "max")

Task: TypeAlias = tuple[int, Callable[..., Any]]  # its seed, and a function of a context
Tasks: TypeAlias = Mapping[tuple[Any, ...], Task]
Outcomes: TypeAlias = dict[tuple[Any, ...], Any]  # of tasks, by their keys


def run(settings: DeblurSettings, progress: Progress, map_tasks: MapTasks = map_serially) -> Result:
    """Train restorers with L1, then with L1 + disc_net and, as the control, with L1 again; evaluate all.

    Raises:
        DataError: the images are too few or too small.
        DivergenceError: a restorer ends worse than what takes no training.
    """
    if settings.sweep:
        return sweeps.run(run, settings, SWEPT, progress, map_tasks, need, load, require_data)
    data = load(settings.data, progress.warn)
    settings = settings_for(data, settings, progress.warn)
    split = split_data(data, settings)
    require_memory(split, settings, data.name)
    for kind, count in expected_steps(settings).items():
        progress.expect(count, kind)
    run_stage = partial(run_tasks, map_tasks, data, settings, progress)

    trained = run_stage("first", first_tasks(settings))
    fine_tuned = run_stage("last", last_tasks(settings, trained))
    discs = {  # with a weight of 0 nothing was trained with it
        seed: fine_tuned["l1_disc", seed].disc or trained["disc_net", seed].state for seed in settings.all_seeds
    }
    evaluations = run_stage("evaluation", evaluation_tasks(settings, trained, fine_tuned, discs, split.test.pixels))

    outcomes = (*trained.values(), *fine_tuned.values())
    return report(
        split,
        interpolation=evaluations.pop(("interpolation",)),
        evaluations=evaluations,
        hyperparameters={key: trained[key].hyperparameter for key in baseline_keys(settings)},
        history=[row for outcome in outcomes if isinstance(outcome, Trained) for row in outcome.history],
        states={f"restorer_{name}": fine_tuned[name, settings.seed].state for name in settings.ends}
        | {"disc_net": discs[settings.seed]},
        data=data,
        settings=settings,
    )


def first_tasks(settings: DeblurSettings) -> Tasks:
    """Train with L1, train disc_net and the evaluators, tune the baselines."""
    first = settings.seed
    return (
        {("l1", seed): (seed, partial(train_l1, settings.arch, "l1", seed)) for seed in settings.all_seeds}
        | {("disc_net", seed): (seed, partial(train_disc, seed)) for seed in settings.all_seeds}
        | {("evaluators",): (first, train_evaluators)}
        | {(name, first): (first, partial(train_l1, name, name, first)) for name in settings.beside}
        | {(name, sigma): (first, partial(tune_and_restore, name, sigma)) for name, sigma in baseline_keys(settings)}
    )


def last_tasks(settings: DeblurSettings, trained: Outcomes) -> Tasks:
    """Continue from L1, each with its own weight of the adversarial loss."""
    return {
        (name, seed): (
            seed,
            partial(fine_tune, name, weight, trained["l1", seed].state, trained["disc_net", seed].state, seed),
        )
        for seed in settings.all_seeds
        for name, weight in settings.ends.items()
        if name != "strong" or seed == settings.seed  # the frontier is of the first seed
    }


def evaluation_tasks(
    settings: DeblurSettings, trained: Outcomes, fine_tuned: Outcomes, discs: Mapping[int, State], clear: Pixels
) -> Tasks:
    """Evaluate restorers, baselines, the blurred and the clear images, and interpolate; the slowest comes first."""
    first, evaluators = settings.seed, trained["evaluators",]
    states = {key: outcome.state for key, outcome in fine_tuned.items() if key[0] != "strong"}
    states |= {(name, first): trained[name, first].state for name in settings.beside} | {(IDENTITY, first): {}}
    images = {CLEAR: dict.fromkeys(settings.test_sigmas, clear)}
    images |= {name: {sigma: trained[name, sigma].restored for sigma in settings.test_sigmas} for name in BASELINES}
    ends = (fine_tuned["l1", first].state, fine_tuned[settings.clearest, first].state)
    return (
        {("interpolation",): (first, partial(interpolate, *ends, evaluators))}
        | {
            (name, seed): (seed, partial(evaluate_restorer, name, state, evaluators, discs[seed], seed))
            for (name, seed), state in states.items()
        }
        | {
            (name, first): (first, partial(evaluate, name, restored, evaluators, discs[first]))
            for name, restored in images.items()
        }
    )


def baseline_keys(settings: DeblurSettings) -> list[tuple[str, float]]:
    return [(name, sigma) for name in BASELINES for sigma in settings.test_sigmas]


def run_tasks(
    map_tasks: MapTasks, data: DataSet, settings: DeblurSettings, progress: Progress, stage: str, tasks: Tasks
) -> Outcomes:
    """Map tasks; all are needed, so one that failed ends the run, and the outcomes of the others are saved."""
    named = {(stage, *key): task for key, task in tasks.items()}
    outcomes = map_tasks(partial(run_task, settings, data.sha256), named, progress, data.sha256)
    for outcome in outcomes.values():
        if isinstance(outcome, FailedTask):
            raise UserError(outcome.reason)
    return {key: outcomes[stage, *key] for key in tasks}


@preserve_torch_state()
def run_task(settings: DeblurSettings, sha256: str, task: Task, progress: TaskProgress) -> Any:
    """Run a task in whatever process this is, whose state must not change the outcome."""
    seed, function = task
    require_data(settings.data, sha256)
    prepare(seed)
    return function(context=Context(split_data(loaded(settings.data), settings), settings, progress))


def expected_steps(settings: DeblurSettings) -> dict[str, int]:
    """How many steps of progress all tasks report, by kind."""
    stages, seeds, sigmas = settings.stages, settings.seeds, len(settings.test_sigmas)
    restorers = 2 * seeds + len(settings.beside) + 1  # with the one that does nothing
    return {
        "l1": seeds * stages["l1"],
        "disc_net": seeds * stages["disc_net"],
        "autoencoder": len(settings.beside) * settings.epochs,
        "evaluators": 2,
        **dict.fromkeys(BASELINES, sigmas),
        LAST_STAGE: (2 * seeds + settings.frontier) * stages["l1_disc"],
        "evaluation": restorers + len(BASELINES) + 1,  # with the clear images
        "conditions": restorers,
        "two-sample": restorers,
        "interpolation": FRONTIER_POINTS,
    }
