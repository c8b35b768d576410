"""The deblur experiment: L1 + a discriminator, beside L1 alone, classical baselines with the kernel, and nothing."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from typing import Any, TypeAlias

from bs6207.data.sources import load, require_data, settings_for
from bs6207.deblur.blur import Context, settings_of, split_data
from bs6207.deblur.classical import BASELINES, tune_and_restore
from bs6207.deblur.conditions import KERNEL_BASELINES, WITH_BASELINES
from bs6207.deblur.evaluation import (
    CLEAR,
    FRONTIER_POINTS,
    IDENTITY,
    evaluate,
    evaluate_restorer,
    interpolate,
    score_condition,
)
from bs6207.deblur.evaluators import train_evaluators
from bs6207.deblur.memory import need, require_memory
from bs6207.deblur.networks import FOLDS
from bs6207.deblur.settings import DeblurSettings
from bs6207.deblur.summary import report
from bs6207.deblur.training import LAST_STAGE, Trained, fine_tune, train_disc, train_kernel_net, train_l1
from bs6207.errors import UserError
from bs6207.runs import sweep as sweeps
from bs6207.runs.progress import FailedTask, MapTasks, Progress, TaskProgress, map_serially
from bs6207.runs.result import Result
from bs6207.training.devices import prepare, preserve_torch_state

SWEPT = sweeps.Measure("psnr", "PSNR dB of L1 + disc", "sigma", ("restorer", "l1_disc"), "l1", "L1 alone", "max")

Task: TypeAlias = tuple[int, Callable[[Context], Any]]  # its seed, and a function
Key: TypeAlias = tuple[Any, ...]  # a name, and a seed or a sigma


def run(settings: DeblurSettings, progress: Progress, map_tasks: MapTasks = map_serially) -> Result:
    """Train restorers with L1, then with L1 + disc_net and, as the control, with L1 again; evaluate all.

    Raises:
        DataError: the images are too few or too small.
        DivergenceError: a restorer ends worse than what takes no training.
    """
    if settings.sweep:
        return sweeps.run(run, settings, SWEPT, progress, map_tasks, need, load, require_data)
    data = load(settings.data, progress.warn, **settings.read_as)
    settings = settings_of(data, settings_for(data, settings, progress.warn))
    split = split_data(data, settings)
    require_memory(split, settings, data.name)
    for kind, count in expected_steps(settings).items():
        progress.expect(count, kind)
    first, seeds, sigmas = settings.seed, range(settings.seed, settings.seed + settings.seeds), settings.test_sigmas

    def run_stage(stage: str, tasks: Mapping[Key, Task]) -> dict[Key, Any]:
        """Map tasks; all are needed, so one that failed ends the run, and the outcomes of the others are saved."""
        named = {(stage, *key): task for key, task in tasks.items()}
        outcomes = map_tasks(partial(run_task, settings, data.sha256), named, progress, data.sha256)
        for outcome in outcomes.values():
            if isinstance(outcome, FailedTask):
                raise UserError(outcome.reason)
        return {key: outcomes[stage, *key] for key in tasks}

    tasks: dict[Key, Task] = {("disc_net", seed): (seed, train_disc) for seed in seeds}
    tasks |= {("evaluators",): (first, train_evaluators)}
    tasks |= {(name, first): (first, partial(train_l1, name, name, [])) for name in settings.beside}
    tasks |= {key: (first, partial(tune_and_restore, *key)) for key in product(BASELINES, sigmas)}
    tasks |= {key: (first, partial(tune_and_restore, *key)) for key in baseline_conditions(settings)}
    folds, trained = range(0 if settings.crop is None else FOLDS), {}
    if folds:  # photographs have estimators of kernels, which L1 needs, so all else is trained beside them
        kernel_nets = {
            ("kernel_net", *key): (key[0], partial(train_kernel_net, key[1])) for key in product(seeds, folds)
        }
        trained, tasks = run_stage("kernels", kernel_nets | tasks), {}
    longest: dict[Key, Task] = {}
    for seed in seeds:
        states = [trained["kernel_net", seed, fold].state for fold in folds]
        longest["l1", seed] = seed, partial(train_l1, settings.arch, "l1", states)
    trained |= run_stage("first", longest | tasks)

    tasks = {}  # from L1, each with its own weight of the adversarial loss
    for seed, (name, weight) in product(seeds, settings.ends.items()):
        if name != "strong" or seed == first:  # the frontier is of the first seed
            start, disc = trained["l1", seed].state, trained["disc_net", seed].state
            tasks[name, seed] = (seed, partial(fine_tune, name, weight, start, disc))
    fine_tuned = run_stage("last", tasks)

    evaluators = trained["evaluators",]
    # with a weight of 0 nothing was trained with disc_net
    discs = {seed: fine_tuned["l1_disc", seed].disc or trained["disc_net", seed].state for seed in seeds}
    restorers = {key: outcome.state for key, outcome in fine_tuned.items() if key[0] != "strong"}
    restorers |= {(name, first): trained[name, first].state for name in settings.beside} | {(IDENTITY, first): {}}
    images = {CLEAR: dict.fromkeys(sigmas, split.test.batches)}
    images |= {name: {sigma: trained[name, sigma][1] for sigma in sigmas} for name in BASELINES}
    ends = (fine_tuned["l1", first].state, fine_tuned[[*settings.ends][-1], first].state)
    tasks = {("interpolation",): (first, partial(interpolate, *ends, evaluators))}  # the slowest comes first
    for (name, seed), state in restorers.items():
        tasks[name, seed] = (seed, partial(evaluate_restorer, name, state, evaluators, discs[seed]))
    for name, restored in images.items():
        tasks[name, first] = (first, partial(evaluate, name, restored, evaluators, discs[first]))
    evaluations = run_stage("evaluation", tasks)
    for name, sigma in product(BASELINES, sigmas):
        evaluations[name, first].scores[sigma][BASELINES[name].hyperparameter] = trained[name, sigma][0]
    for name, condition in baseline_conditions(settings):
        score_condition(evaluations[name, first], condition, trained[name, condition][1], split)

    outcomes = (*trained.values(), *fine_tuned.values())
    return report(
        split,
        interpolation=evaluations.pop(("interpolation",)),
        evaluations=evaluations,
        history=[row for outcome in outcomes if isinstance(outcome, Trained) for row in outcome.history],
        states={f"restorer_{name}": fine_tuned[name, first].state for name in settings.ends}
        | {"disc_net": discs[first]},
        data=data,
        settings=settings,
    )


@preserve_torch_state()
def run_task(settings: DeblurSettings, sha256: str, task: Task, progress: TaskProgress) -> Any:
    """Run a task in whatever process this is, whose state must not change the outcome."""
    seed, function = task
    data = require_data(settings.data, sha256, **settings.read_as)
    prepare(seed)
    return function(Context(split_data(data, settings), settings, progress, seed))


def baseline_conditions(settings: DeblurSettings) -> list[tuple[str, str]]:
    """The classical baselines of photographs, and the conditions that they are scored under."""
    return [] if settings.crop is None else [*product(KERNEL_BASELINES, WITH_BASELINES)]


def expected_steps(settings: DeblurSettings) -> dict[str, int]:
    """How many steps of progress all tasks report, by kind."""
    stages, seeds = settings.stages, settings.seeds
    restorers = 2 * seeds + len(settings.beside) + 1  # with the one that does nothing
    return {
        "kernel_net": FOLDS * seeds * stages.get("kernel_net", 0),
        "l1": seeds * stages["l1"],
        "disc_net": seeds * stages["disc_net"],
        "autoencoder": len(settings.beside) * settings.epochs,
        "evaluators": 2,
        **Counter(name for name, _ in (*product(BASELINES, settings.test_sigmas), *baseline_conditions(settings))),
        LAST_STAGE: (2 * seeds + settings.frontier) * stages["l1_disc"],
        "evaluation": restorers + len(BASELINES) + 1,  # with the clear images
        **dict.fromkeys(("conditions", "two-sample"), restorers),
        "interpolation": FRONTIER_POINTS,
    }
