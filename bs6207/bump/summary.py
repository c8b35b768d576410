"""The report of a run: metrics, tables, the headline, and the remarks that must be read with it."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from bs6207.bump.diagram import PhaseDiagram
from bs6207.bump.formula import is_function
from bs6207.bump.landscape import SEARCHED, SPACING, START, TIE
from bs6207.bump.noise import Survival
from bs6207.bump.search import SAME, SCANNED, Study, valley
from bs6207.bump.settings import BumpSettings, file_name
from bs6207.runs.result import Table

FIRST_STEPS = 10  # of a path that is shown
MOST_PATHS = 3  # optimizers whose first steps are shown
MOST_ROWS = 2**20  # of a diagram written as CSV too; a larger one is in its npz file only
COMMON = ("distance", "landscape", "steps")  # of an entry's settings: those of all optimizers
ROUNDED = 1e-30  # of an exact height that is known in decimals only

CERTAINTY = {"interval": "all steps (proved)", "recurrence": "all steps (float64)", "steps": "{steps} steps"}


def collect_metrics(
    studies: Mapping[str, Study], diagrams: Sequence[PhaseDiagram], curves: Sequence[Survival], settings: BumpSettings
) -> dict[str, Any]:
    metrics: dict[str, Any] = {
        "optimizers": {name: study.metrics for name, study in studies.items()},
        "parity": [divergence(pair, studies, settings) for pair in combinations(studies, 2)],
    }
    if settings.has_own_landscape:
        metrics["landscape"] = own_metrics(settings)
    if diagrams:
        metrics["phase_diagrams"] = {diagram.optimizer: diagram.metrics() for diagram in diagrams}
    if curves:
        metrics["noise"] = {curve.optimizer: curve.metrics() for curve in curves}
    return metrics


def own_metrics(settings: BumpSettings) -> dict[str, Any]:
    """Where the bumps of a landscape of the user's own were found, at the common height."""
    own: Any = settings.landscape_of(settings.height)
    lowest: Any = settings.landscape_of(settings.tallest / SCANNED)
    return {
        "given": settings.landscape,
        "slopes": "autograd" if is_function(settings.landscape) else "exact",
        "height": settings.height,
        **{key: getattr(own, key) for key in ("foot", "crest", "end", "bumps")},
        "low_heights_have_bumps": lowest.bumps > 0,
        "searched_up_to": SEARCHED,
    }


def own_sentences(own: dict[str, Any]) -> list[str]:
    """How a landscape of the user's own was read."""
    kind = "The loss is a function, with slopes by autograd" if own["slopes"] == "autograd" else "Slopes are exact"
    place = f"At h = {own['height']:g} its foot is at x = {own['foot']:.6g}, its crest at {own['crest']:.6g}"
    several = "" if own["bumps"] < 2 else f", that of the last of {own['bumps']} bumps"
    if not own["bumps"]:
        place = (
            f"At h = {own['height']:g} the loss only falls; its crest is what h raises most, at x = {own['crest']:.6g}"
        )
    elif own["end"] < math.inf:
        several += f", and from {own['end']:.6g} on the loss is below the foot"
    search = f"found between x = {START:g} and {own['searched_up_to']:g}, in steps of {100 * (SPACING - 1):.0f} % of x"
    sentences = [f"{kind}. {place}{several}; {search}."]
    if not own["low_heights_have_bumps"]:
        sentences.append("At low heights the loss only falls; there the crest is the point that h raises most.")
    return sentences


def schedule_sentence(schedule: dict[str, Any]) -> str:
    arguments = ", ".join(f"{key} {format_value(value)}" for key, value in schedule["arguments"].items())
    first, highest, last = (f"{schedule[key]:.6g}" for key in ("first_lr", "highest_lr", "last_lr"))
    sentence = f"its lr goes from {first} to {last}, at most {highest} ({schedule['class']}: {arguments})"
    if not schedule["changes_path"]:
        return f"{sentence}, but its path is the same as with a constant lr"
    if "h_max_of_constant_lr" in schedule:
        height = schedule["h_max_of_constant_lr"]
        sentence += f"; with a constant lr h_max is {'none' if height is None else format(height, '.6g')}"
    return sentence


def divergence(pair: tuple[str, str], studies: Mapping[str, Study], settings: BumpSettings) -> dict[str, Any]:
    """Whether two optimizers agree step by step, over the common bump and in a valley, where slopes vary.

    `landscape` is where they diverge, and `first_step` the first step at which they differ; both are None if they
    never do. `difference` is how far, or the greatest distance if they never diverge; None where only one of them,
    that in `not_finite`, has no finite x.
    """
    first, second = (studies[name] for name in pair)
    wide = SAME * valley(settings).width
    result: dict[str, Any] = {"landscape": None, "first_step": None, "difference": 0.0, "not_finite": None}
    paths = (("bump", first.path, second.path, SAME), ("valley", first.in_valley, second.in_valley, wide))
    for landscape, path, other, same in paths:
        distances = [abs(x - y) for x, y in zip(path, other, strict=False)]
        steps = (step for step, apart in enumerate(distances) if apart > same * max(1, abs(path[step])))
        if (step := next(steps, None)) is not None:
            result |= {"landscape": landscape, "first_step": step, "difference": distances[step]}
            break
        if len(path) != len(other):
            ended = pair[len(other) < len(path)]
            result |= {"landscape": landscape, "first_step": len(distances), "difference": None, "not_finite": ended}
            break
        result["difference"] = max(result["difference"], *distances)
    heights = [study.metrics["h_max"] for study in (first, second)]
    return {"optimizers": pair, **result, "agree": result["landscape"] is None, "h_max": heights}


def trajectories(studies: Mapping[str, Study], settings: BumpSettings) -> Table:
    landscape = settings.landscape_of(settings.height)
    rows = [
        {"optimizer": name, "step": step, "x": x, "loss": landscape.loss(x), "slope": landscape.slope(x)}
        for name, study in studies.items()
        for step, x in enumerate(study.path)
    ]
    return Table(("optimizer", "step", "x", "loss", "slope"), rows)


def collect_tables(
    metrics: dict[str, Any], trajectories: Table, diagrams: Sequence[PhaseDiagram], curves: Sequence[Survival]
) -> dict[str, Table]:
    values = [
        {"optimizer": name, "hyperparameter": key, "value": value}
        for name, entry in metrics["optimizers"].items()
        for key, value in hyperparameters(entry).items()
    ]
    tables = {"trajectories": trajectories, "hyperparameters": Table(("optimizer", "hyperparameter", "value"), values)}
    for diagram in diagrams:
        if diagram.h_max.size <= MOST_ROWS:
            tables[f"phase_diagram_{file_name(diagram.optimizer)}"] = diagram.table()
    tables |= {f"survival_{file_name(curve.optimizer)}": curve.table() for curve in curves}
    if pairs := metrics["parity"]:
        keys = ("landscape", "first_step", "difference", "not_finite", "agree")
        columns = ("one", "other", "h_max_of_one", "h_max_of_other", *keys)
        rows = [(*pair["optimizers"], *pair["h_max"], *(pair[key] for key in keys)) for pair in pairs]
        tables["parity"] = Table(columns, [dict(zip(columns, row, strict=True)) for row in rows])
    return tables


def headline(optimizers: Mapping[str, dict[str, Any]], passed: Mapping[str, bool], settings: BumpSettings) -> Table:
    passes = f"passes {settings.height:g}"
    rows = [
        {
            "optimizer": name,
            "h_max": "none" if entry["h_max"] is None else f"{entry['h_max']:.16g}",
            "at step": "" if entry["h_max"] is None else entry["step"],
            "valid for": validity(entry, settings),
            passes: "yes" if passed[name] else "no",
        }
        for name, entry in optimizers.items()
    ]
    return Table(("optimizer", "h_max", "at step", "valid for", passes), rows)


def remarks(metrics: dict[str, Any], studies: Mapping[str, Study], settings: BumpSettings) -> list[str]:
    optimizers = metrics["optimizers"]
    meaning = "h_max is the tallest bump escaped, and `at step` where x is largest"
    sentences = [f"{meaning}; the next float above h_max is not escaped within {settings.steps} steps."]
    if settings.has_own_landscape:
        sentences += own_sentences(metrics["landscape"])
    for field, value in settings.given.items():
        if without := [name for name, entry in optimizers.items() if field not in entry["given"]]:
            flag = f"--{field.replace('_', '-')} {value:g}"
            sentences.append(f"{flag} does not reach {' and '.join(without)}: no such keyword.")
    if len(studies) <= MOST_PATHS:
        for name, entry in optimizers.items():
            values = [f"{key} {format_value(value)}" for key, value in hyperparameters(entry).items()]
            sentences.append(f"{name} has {', '.join(values) or 'no hyperparameters'}.")
        for name, study in studies.items():
            steps = " ".join(f"{x:.6g}" for x in study.path[1 : FIRST_STEPS + 1])
            sentences.append(f"{name} over a bump of {settings.height:g}: {steps} ...")
    for name, entry in optimizers.items():
        sentences += [f"{name}: {sentence}" for sentence in caveats(entry, settings)]
    if len(studies) <= MOST_PATHS:
        sentences += map(divergence_sentence, metrics["parity"])
    for name, plane in metrics.get("phase_diagrams", {}).items():
        over = f"{name} over {' and '.join(plane[key]['name'] for key in ('rows', 'columns') if key in plane)}"
        low, high = plane["low"], plane["high"]
        heights = "no bump is reached" if high is None else f"h_max from {low:.4g} to {high:.4g}"
        drawn = "phase_diagram_*.png and .npz" if "columns" in plane else "sweep.png and phase_diagram_*.npz"
        files = "phase_diagram_*.npz" if settings.no_figures else drawn
        sentences.append(f"{over}: {heights}, in {files}.")
    for name, curve in metrics.get("noise", {}).items():
        under = f"{name} under noise {settings.noise:g}"
        heights = ", ".join(f"{key} {curve[key]['height']:.4g}" for key in ("h90", "h50", "h10"))
        sentences.append(f"{under}: {heights}; nine, five and one path in ten escape these.")
    return sentences


def divergence_sentence(pair: dict[str, Any]) -> str:
    both = " and ".join(pair["optimizers"])
    if pair["agree"]:
        return f"{both} agree, over the bump and where slopes vary: never more than {pair['difference']:.1g} apart."
    ended = pair["not_finite"]
    how = f"by {pair['difference']:.3g}" if ended is None else f"where x of {ended} is no longer finite"
    agreement = "agree over the bump; where slopes vary, they " if pair["landscape"] == "valley" else ""
    return f"{both} {agreement}diverge at step {pair['first_step']}, {how}."


def hyperparameters(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry["settings"].items() if key not in COMMON}


def format_value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def validity(entry: dict[str, Any], settings: BumpSettings) -> str:
    """The steps for which h_max is valid, in two words."""
    kind, (_, rises_later, is_contradicted) = entry["certificate"]["kind"], compare_with_proof(entry, settings)
    if is_contradicted or (entry["margin"] < TIE and kind != "interval"):
        return "a rounding"
    return CERTAINTY["steps" if rises_later else kind].format(steps=settings.steps)


def compare_with_proof(entry: dict[str, Any], settings: BumpSettings) -> tuple[float, bool, bool]:
    """The all-time h_max that is proved, at least, and two questions about it.

    Does the certificate name a greater maximum at a step that was not simulated? Does a proof in real arithmetic give
    another h_max for these steps than the float64 implementation?
    """
    proof, h_max = entry["certificate"], entry["h_max"] or 0.0
    stated, step = proof.get("h_max", [0, math.inf]), proof.get("step")
    low, high = (max(float(end), 0.0) for end in (stated if isinstance(stated, list) else (stated, stated)))
    is_later = step is not None and step > settings.steps
    # without a step the maximum is only approached, and a finite path stays below it
    is_other = h_max > high + TIE or (h_max < low - TIE and step is not None)
    return low, is_later and low > h_max + TIE, proof["kind"] == "interval" and not is_later and is_other


def exact_sentence(exact: dict[str, Any]) -> str:
    if "h_max" not in exact:
        return f"no exact answer: {exact['reason']}."
    height = float(exact["decimal"])
    if height < -ROUNDED:
        return "in exact arithmetic the bump is not reached."
    if height <= ROUNDED:
        return "in exact arithmetic h_max is 0: x comes to the foot of the bump and no farther."
    return f"in exact arithmetic h_max is {exact['h_max'] if isinstance(exact['h_max'], str) else exact['decimal']}."


def caveats(entry: dict[str, Any], settings: BumpSettings) -> list[str]:
    """What affects how to read the result of one optimizer."""
    proof, h_max, left, margin = (entry[key] for key in ("certificate", "h_max", "left_for_good", "margin"))
    proved, rises_later, is_contradicted = compare_with_proof(entry, settings)
    sentences = [
        f"given {key} {format_value(value)}, it has {format_value(entry['settings'][key])}."
        for key, value in entry["given"].items()
        if entry["settings"][key] != value
    ]
    if schedule := entry.get("schedule"):
        sentences.append(f"{schedule_sentence(schedule)}.")
    if entry["reason"]:
        sentences.append(f"{entry['reason']}.")
    if margin < TIE:
        more = "; --exact may settle it" if entry.get("exact_settles") else ""
        sentences.append(f"a step lands {margin:.1g} from the foot of the bump, so rounding decides this answer{more}.")
    if rises_later:
        sentences.append(f"after these steps it rises to {proved:.12g}, at step {proof['step']}.")
    if is_contradicted:
        cause = "proved for all steps; the value here is an effect of rounding"
        sentences.append(f"in real arithmetic h_max is {proved:.12g}, {cause}.")
    elif proof["kind"] == "interval" and proof["step"] is None:
        limit = f"{proved:.12g}" if proved > TIE else "0, the foot of the bump"
        sentences.append(f"h_max is only approached; its limit is {limit}.")
    if exact := entry.get("exact"):
        sentences.append(exact_sentence(exact))
    if h_max is not None and left != h_max:
        behind = "none" if left is None else f"up to {left:.12g} only"
        sentences.append(f"of the bumps it passes it leaves {behind} behind within {settings.steps} steps.")
    if len(entry["intervals"]) > 1:
        spans = ", ".join(f"{low:.6g} to {high:.6g}" for low, high in entry["intervals"])
        sentences.append(f"escapes heights {spans} (scanned up to {settings.tallest:g}).")
    if entry["method"] == "scan":
        sentences.append("heights were scanned, so gaps narrower than the scan's steps can be missed.")
    if entry["precision"] != "float64":
        sentences.append(f"computes in {entry['precision']}, so further digits of its results are not significant.")
    if scan := entry.get("scan"):
        last, first = (f"{scan[key]:.10g}" for key in ("last_escape", "first_failure"))
        both = f"{last}, the last height that escapes, or {first}, the first that fails"
        sentences.append(f"a scan in steps of {scan['step']:g} would report {both}; the truth lies between them.")
    if band := entry.get("band"):
        low, middle, high = (band[key] for key in ("low", "median", "high"))
        spread = "" if low is None else f", h_max runs from {low:.6g} to {high:.6g}, median {middle:.6g}"
        sentences.append(f"over one step of L{spread or ' no bump is reached'}.")
    return sentences
