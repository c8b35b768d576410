"""What is said of the numbers: the table people read, and the sentences it must not be read without."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bs6207.bump.search import TIE
from bs6207.bump.settings import BumpSettings
from bs6207.runs.result import Table

FIRST_STEPS = 10  # of a path that is told
MOST_PATHS = 3  # optimizers whose first steps are told
ROUNDED = 1e-30  # of an exact height that is known in decimals only

CERTAINTY = {
    "interval": "ever, proof",
    "recurrence": "ever, float64",
    "steps": "{steps} steps",
}


def headline(found: dict[str, Any], passed: dict[str, bool], settings: BumpSettings) -> Table:
    """One row per optimizer, in the order they were asked for."""
    passes = f"passes {settings.height:g}"
    rows = [
        {
            "optimizer": name,
            "h_max": "none" if one["h_max"] is None else f"{one['h_max']:.16g}",
            "at step": "" if one["h_max"] is None else one["step"],
            "holds for": how_long(one, settings),
            passes: "yes" if passed[name] else "no",
        }
        for name, one in found.items()
    ]
    return Table(("optimizer", "h_max", "at step", "holds for", passes), rows)


def remarks(metrics: dict[str, Any], paths: Mapping[str, Sequence[float]], settings: BumpSettings) -> list[str]:
    """What the table must not be read without."""
    found = metrics["optimizers"]
    sentences = [
        f"h_max is the tallest bump escaped, and `at step` where x is largest; the next float above "
        f"h_max is not escaped within {settings.steps} steps."
    ]
    for field, value in settings.given.items():
        if without := [name for name, one in found.items() if field not in one["given"]]:
            flag = f"--{field.replace('_', '-')} {value:g}"
            sentences.append(f"{flag} does not reach {' and '.join(without)}: no such keyword.")
    if len(found) <= MOST_PATHS:
        for name, one in found.items():
            words = [f"{key} {in_words(value)}" for key, value in hyperparameters(one).items()]
            sentences.append(f"{name} has {', '.join(words) or 'no hyperparameters'}.")
        for name, path in paths.items():
            steps = " ".join(f"{x:.6g}" for x in path[1 : FIRST_STEPS + 1])
            sentences.append(f"{name} over a bump of {settings.height:g}: {steps} ...")
    for name, one in found.items():
        sentences += [f"{name}: {sentence}" for sentence in caveats(one, settings)]
    if len(found) <= MOST_PATHS:
        sentences += map(parting, metrics["parity"])
    for name, plane in metrics.get("phase_diagrams", {}).items():
        over = f"{name} over {' and '.join(plane[key]['name'] for key in ('rows', 'columns') if key in plane)}"
        heights = (
            "no bump is reached" if plane["high"] is None else f"h_max from {plane['low']:.4g} to {plane['high']:.4g}"
        )
        files = "phase_diagram_*.png and .npz" if "columns" in plane else "sweep.png and phase_diagram_*.npz"
        sentences.append(f"{over}: {heights}, in {files}.")
    for name, curve in metrics.get("noise", {}).items():
        heights = ", ".join(f"{key} {curve[key]['height']:.4g}" for key in ("h90", "h50", "h10"))
        sentences.append(
            f"{name} under noise {settings.noise:g}: {heights}; nine, five and one path in ten escape these."
        )
    return sentences


def parting(pair: dict[str, Any]) -> str:
    """Where two optimizers part, in a sentence."""
    both = " and ".join(pair["optimizers"])
    if pair["agree"]:
        return f"{both} agree, over the bump and where slopes vary: never more than {pair['difference']:.1g} apart."
    ended = pair["not_finite"]
    how = f"by {pair['difference']:.3g}" if ended is None else f"where x of {ended} is no longer finite"
    alike = "walk alike over the bump; where slopes vary, they " if pair["landscape"] == "valley" else ""
    return f"{both} {alike}part at step {pair['first_step']}, {how}."


def hyperparameters(one: dict[str, Any]) -> dict[str, Any]:
    """What one optimizer has."""
    return {key: value for key, value in one["settings"].items() if key not in ("distance", "steps")}


def in_words(value: Any) -> str:
    """A hyperparameter as a person writes it."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def how_long(one: dict[str, Any], settings: BumpSettings) -> str:
    """For which steps h_max holds, in two words."""
    is_unproved_tie = one["margin"] < TIE and one["certificate"]["kind"] != "interval"
    if is_unproved_tie or is_contradicted(one, settings):
        return "a rounding"
    kind = "steps" if rises_later(one, settings) else one["certificate"]["kind"]
    return CERTAINTY[kind].format(steps=settings.steps)


def proved_heights(one: dict[str, Any]) -> tuple[float, float]:
    """Bounds of the all-time h_max, as far as the certificate states any."""
    stated = one["certificate"].get("h_max", [0, math.inf])
    low, high = stated if isinstance(stated, list) else (stated, stated)
    return max(float(low), 0.0), max(float(high), 0.0)


def rises_later(one: dict[str, Any], settings: BumpSettings) -> bool:
    """Whether the certificate names a greater maximum at a step that was not simulated."""
    step = one["certificate"].get("step")
    return step is not None and step > settings.steps and proved_heights(one)[0] > (one["h_max"] or 0.0) + TIE


def is_contradicted(one: dict[str, Any], settings: BumpSettings) -> bool:
    """Whether a proof in real arithmetic gives another h_max for these steps than the float64 implementation."""
    proof = one["certificate"]
    if proof["kind"] != "interval" or (proof["step"] or 0) > settings.steps:
        return False
    low, high = proved_heights(one)
    approached = proof["step"] is None  # the maximum is never reached, so a finite path stays below it
    h_max = one["h_max"] or 0.0
    return h_max > high + TIE or (h_max < low - TIE and not approached)


def exactly(exact: dict[str, Any]) -> str:
    """What exact arithmetic says of h_max."""
    if "h_max" not in exact:
        return f"no exact answer: {exact['reason']}."
    height = float(exact["decimal"])
    if height < -ROUNDED:
        return "in exact arithmetic the bump is not reached."
    if height <= ROUNDED:
        return "in exact arithmetic h_max is 0: x comes to the foot of the bump and no farther."
    return f"in exact arithmetic h_max is {exact['h_max'] if isinstance(exact['h_max'], str) else exact['decimal']}."


def caveats(one: dict[str, Any], settings: BumpSettings) -> list[str]:
    """What is particular about one optimizer's answer."""
    sentences = [
        f"it was given {key} {in_words(value)} and has {in_words(one['settings'][key])}."
        for key, value in one["given"].items()
        if one["settings"][key] != value
    ]
    if one["reason"]:
        sentences.append(f"{one['reason']}.")
    if one["margin"] < TIE:
        more = "; --exact may settle it" if one.get("exact_settles") else ""
        sentences.append(
            f"a step lands {one['margin']:.1g} from the foot of the bump, so rounding decides this answer{more}."
        )
    if rises_later(one, settings):
        sentences.append(
            f"after these steps it rises to {proved_heights(one)[0]:.12g}, at step {one['certificate']['step']}."
        )
    if is_contradicted(one, settings):
        proved = proved_heights(one)[0]
        sentences.append(
            f"in real arithmetic h_max is {proved:.12g}, proved for ever; rounding made it what it is here."
        )
    elif one["certificate"].get("kind") == "interval" and one["certificate"].get("step", 0) is None:
        low, _ = proved_heights(one)
        limit = f"{low:.12g}" if low > TIE else "0, the foot of the bump"
        sentences.append(f"h_max is only approached; its limit is {limit}.")
    if exact := one.get("exact"):
        sentences.append(exactly(exact))
    if one["h_max"] is not None and one["left_for_good"] != one["h_max"]:
        left = "none" if one["left_for_good"] is None else f"up to {one['left_for_good']:.12g} only"
        sentences.append(f"of the bumps it passes it leaves {left} behind within {settings.steps} steps.")
    if len(one["intervals"]) > 1:
        spans = ", ".join(f"{low:.6g} to {high:.6g}" for low, high in one["intervals"])
        sentences.append(f"escapes heights {spans} (scanned up to {settings.tallest:g}).")
    if one["method"] == "scan":
        sentences.append("heights were scanned, so gaps narrower than the scan's steps can be missed.")
    if one["precision"] != "float64":
        sentences.append(f"computes in {one['precision']}, so its digits beyond that mean nothing.")
    if scan := one.get("scan"):
        sentences.append(
            f"a scan in steps of {scan['step']:g} would report {scan['last_escape']:.10g}, the last height that "
            f"escapes, or {scan['first_failure']:.10g}, the first that fails; the truth lies between them."
        )
    if band := one.get("band"):
        sentences.append(
            f"over one step of L, h_max runs from {band['low']:.6g} to {band['high']:.6g}, median {band['median']:.6g}."
            if band["low"] is not None
            else "over one step of L no bump is reached."
        )
    return sentences
