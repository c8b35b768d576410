"""The study of one optimizer: its threshold, by bisection on one path or by a scan of heights, and why to believe it.

Before an optimizer passes the crest, it sees the same slopes on every bump that is at least as high. So its path over
the bump that never ends, the envelope, decides for all heights at once: it escapes a bump exactly if the envelope's
maximum lies on its crest or beyond.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from bs6207.bump.adapter import EPS, Adapter, descend, last_line
from bs6207.bump.diagram import Maxima, OnCells, find_thresholds
from bs6207.bump.kernels import Array
from bs6207.bump.landscape import TIE, Landscape, Own, Slope, Triangle, Valley, bisect, rounding_error
from bs6207.bump.optimizers import describe_schedule, learning_rates, make_adapter
from bs6207.bump.proof import certify, exact_maximum
from bs6207.bump.settings import BumpSettings
from bs6207.errors import UserError
from bs6207.runs.result import Checkpointable
from bs6207.training.optimizers import CONSTANT, LR, OPTIMIZERS

Descend = Callable[[Landscape], Sequence[float]]
OnStatus = Callable[[str], None]  # called with the state of a long search, in a few words
SCANNED = 200  # heights in a scan
REFINEMENTS = 3  # further scans, each up to the threshold found so far
TRIED_STEPS = 10_000  # in exact arithmetic, before it is advised; half a second
VALLEY_STEPS = 100
BAND_POINTS = 257  # distances in one step of L
SAME = 1e-9  # of the step size or of x; paths nearer to each other than this agree


@dataclass(frozen=True)
class Threshold:
    """The threshold of one optimizer."""

    bracket: tuple[float, float] | None  # neighbouring floats (escaped, not escaped)
    step: int  # at which x is largest on the envelope; in a scan, at which the tallest bump is passed
    margin: float  # least |x - distance| up to that step; under `TIE`, rounding decides the answer
    method: str  # "envelope" or "scan"
    intervals: list[tuple[float, float]]  # of heights that are escaped, up to the tallest scanned
    reason: str | None = None  # why there is no threshold
    touches_foot: bool = False  # x comes to the foot and no farther, so rounding decides whether there is a threshold

    @property
    def h_max(self) -> float | None:
        """The tallest bump escaped, if all lower ones are escaped too."""
        return self.bracket[0] if self.bracket else None


@dataclass(frozen=True)
class Study(Checkpointable):
    """One optimizer: its entry in metrics.json, its path over the bump of `settings.height`, and in the valley."""

    metrics: dict[str, Any]
    path: Sequence[float]
    in_valley: Sequence[float]


def study(adapter: Adapter, settings: BumpSettings, on_status: OnStatus = lambda doing: None) -> Study:
    """Find the threshold of one optimizer and what certifies it, and follow it over the common bump."""
    descend_on = partial(path_over, adapter, settings)
    threshold = find_threshold(adapter, settings, on_status)
    found = ("h_max", "bracket", "step", "margin", "reason", "method", "intervals")
    metrics = {key: getattr(threshold, key) for key in found} | {
        "left_for_good": left_for_good(descend_on, threshold, settings),
        "kink": "right",
        "precision": adapter.precision,
        "settings": {**common_settings(settings), **adapter.has},
        "given": adapter.given,
        "certificate": certificate(adapter, threshold, settings),
    }
    if adapter.schedule:
        metrics["schedule"] = compare_with_constant(adapter, threshold, settings)
    exact = partial(exact_maximum, adapter.name, adapter.hyperparameters, settings.distance)
    is_plain = not (settings.set or adapter.schedule)
    is_exact_possible = settings.landscape == "triangle" and settings.up_slope == 1 and is_plain
    if settings.exact:
        metrics["exact"] = exact(settings.steps)
    elif threshold.margin < TIE and is_exact_possible:
        metrics["exact_settles"] = "h_max" in exact(min(settings.steps, TRIED_STEPS))
    if settings.scan and threshold.h_max is not None:
        metrics["scan"] = scan_report(proved_height(metrics), settings.scan)
    if settings.band:
        metrics["band"] = find_band(adapter, settings, on_status)
    in_valley = descend_on(valley(settings), min(settings.steps, VALLEY_STEPS))
    return Study(metrics, descend_on(settings.landscape_of(settings.height)), in_valley)


def compare_with_constant(adapter: Adapter, threshold: Threshold, settings: BumpSettings) -> dict[str, Any]:
    """The schedule of an optimizer, its lr over the steps, and what a constant lr does."""
    constant = replace(adapter, schedule=None)
    rates = learning_rates(settings, adapter.has.get("lr", LR))
    bump = settings.landscape_of(settings.height)
    report = describe_schedule(settings) | {"first_lr": rates[0], "highest_lr": max(rates), "last_lr": rates[-1]}
    report["changes_path"] = path_over(adapter, settings, bump) != path_over(constant, settings, bump)
    if threshold.method == "envelope":
        report["h_max_of_constant_lr"] = find_threshold(constant, settings, lambda doing: None).h_max
    return report


def common_settings(settings: BumpSettings) -> dict[str, Any]:
    """What all optimizers share, as metrics.json has it beside the hyperparameters of each."""
    ground = {"landscape": settings.landscape} if settings.has_own_landscape else {"distance": settings.distance}
    schedule = {} if settings.schedule == CONSTANT else {"schedule": settings.schedule}
    return {**ground, "steps": settings.steps, **schedule}


def valley(settings: BumpSettings) -> Valley:
    """A valley with slopes from 0 to 4: gradient descent takes some twenty steps to its bottom.

    It is so gentle, for the step size, that two implementations which only round differently stay together.
    """
    width = 10 * (settings.lr or LR)
    return Valley(bottom=math.pi * width, width=width, steepest=4.0)


def path_over(adapter: Adapter, settings: BumpSettings, landscape: Slope, steps: int | None = None) -> list[float]:
    """The path of an optimizer; one that fails on its way raises a UserError."""
    return walk(adapter, settings, landscape, steps or settings.steps)


def path_to_escape(adapter: Adapter, settings: BumpSettings, landscape: Landscape) -> list[float]:
    """The path up to the first point past the crest; the whole path if there is none."""
    return walk(adapter, settings, landscape, settings.steps, landscape.is_past_crest)


def walk(
    adapter: Adapter, settings: BumpSettings, landscape: Slope, steps: int, until: Callable[[float], bool] | None = None
) -> list[float]:
    try:
        return descend(adapter, landscape, steps, settings.chosen_device, until)
    except UserError:  # of a landscape
        raise
    except (Exception, SystemExit) as failure:
        raise UserError(f"{adapter.name} fails on its way: {last_line(failure)}") from failure


def find_threshold(adapter: Adapter, settings: BumpSettings, on_status: OnStatus) -> Threshold:
    """The threshold by the envelope where it is valid, otherwise by a scan."""
    if settings.landscape != "triangle" or adapter.looks_elsewhere:
        return find_by_scan(partial(path_to_escape, adapter, settings), settings, on_status)
    endless = Triangle(settings.distance, math.inf, settings.up_slope, settings.tail_slope)
    eps = EPS[adapter.convention.dtype]
    return find_by_envelope(partial(path_over, adapter, settings), endless, settings.steps, eps, adapter.name)


def find_all(
    adapter: Adapter, settings: BumpSettings, varied: Mapping[str, Array], on_status: OnStatus, on_cells: OnCells
) -> Maxima:
    """The thresholds with some settings changed, each [cells], by a kernel or through torch."""

    def find(**values: float) -> tuple[float | None, int, float]:
        changed = settings.model_copy(update=values)
        threshold = find_threshold(make_adapter(adapter.name, changed), changed, on_status)
        return 0.0 if threshold.touches_foot else threshold.h_max, threshold.step, threshold.margin

    common = adapter.hyperparameters | {"distance": settings.distance, "up_slope": settings.up_slope}
    if adapter.schedule:  # for which there is no kernel
        common["schedule"] = settings.schedule
    return find_thresholds(adapter.name, common, varied, settings.steps, find, on_cells)


def find_band(adapter: Adapter, settings: BumpSettings, on_status: OnStatus) -> dict[str, Any]:
    first, last = settings.distance, settings.distance + adapter.given.get("lr", LR)
    distances = {"distance": np.linspace(first, last, BAND_POINTS, endpoint=False)}
    maxima = find_all(adapter, settings, distances, on_status, lambda at: on_status(f"distance {at} of {BAND_POINTS}"))
    heights = maxima.h_max[np.isfinite(maxima.h_max)]
    low, middle, high = np.quantile(heights, (0, 0.5, 1)) if heights.size else (None,) * 3
    return {"distances": [first, last], "points": BAND_POINTS, "low": low, "median": middle, "high": high}


def find_by_envelope(
    descend: Descend, endless: Triangle, steps: int, eps: float = sys.float_info.epsilon, name: str = "the optimizer"
) -> Threshold:
    """Find the tallest bump that `descend` escapes within `steps` steps, exact to one float.

    Args:
        descend: gives the path over a landscape; one that contradicts the envelope raises a UserError.
        endless: the bump that never ends.
        eps: of the floats that x is kept in.
    """
    path = descend(endless)
    step = max(range(len(path)), key=path.__getitem__)
    margin = min(abs(x - endless.distance) for x in path[: step + 1])
    if len(path) <= steps:
        reason = f"x is no longer finite after step {len(path) - 1}"
        return Threshold(None, step, margin, "envelope", [], reason)
    if path[step] - endless.distance <= rounding_error(step, endless.distance, eps):
        comes = ", x comes to its foot and no farther" if margin < TIE else ""
        reason = f"the bump is not reached within {steps} steps{comes}"
        return Threshold(None, step, margin, "envelope", [], reason, touches_foot=margin < TIE)
    top = math.nextafter(path[step], math.inf)
    bracket = bisect(lambda height: replace(endless, height=height).is_past_crest(path[step]), 0.0, top)
    for height, expected in zip(bracket, (True, False), strict=True):
        bump = replace(endless, height=height)
        if passes(descend(bump), bump) != expected:
            contradiction = f"its path over a bump of {height!r} differs from a higher one's, so it has no threshold"
            raise UserError(f"{name}: {contradiction}")
    return Threshold(bracket, step, margin, "envelope", [(0.0, bracket[0])])


def find_by_scan(descend: Descend, settings: BumpSettings, on_status: OnStatus = lambda doing: None) -> Threshold:
    """Find every interval of heights up to `tallest` that `descend` escapes, as far as a scan sees them."""
    tallest, tried = settings.tallest, 0

    def escapes(height: float) -> bool:
        nonlocal tried
        tried += 1
        on_status(f"height {tried} of {SCANNED}" if tried <= SCANNED else f"height {tried}, to narrow them down")
        landscape = settings.landscape_of(height)
        return passes(descend(landscape), landscape)

    intervals = find_intervals(escapes, tallest)
    for _ in range(REFINEMENTS):  # a threshold must not overlook a gap below it
        end = intervals[0][1] if intervals and intervals[0][0] == 0.0 else tallest / SCANNED
        finer = find_intervals(escapes, end)
        if finer == [(0.0, end)]:
            break
        intervals = finer + [interval for interval in intervals if interval[0] >= end]
    first = intervals[0][1] if intervals and intervals[0][0] == 0.0 else None
    landscape = settings.landscape_of(first or tallest / SCANNED)
    path = descend(landscape)
    highest = max(range(len(path)), key=path.__getitem__)
    step = next((step for step, x in enumerate(path) if landscape.is_past_crest(x)), highest)
    margin = margin_to_foot(path[: step + 1], landscape)
    if first is None:
        reason = f"the lowest bump scanned, {tallest / SCANNED:g}, is not escaped"
    elif first >= tallest:
        reason = f"every bump scanned, up to {tallest:g}, is escaped; raise --tallest"
    else:
        return Threshold((first, math.nextafter(first, math.inf)), step, margin, "scan", intervals)
    return Threshold(None, step, margin, "scan", intervals, reason)


def margin_to_foot(path: Sequence[float], landscape: Landscape) -> float:
    """Least distance from the foot; infinite if it is smooth, because there rounding decides nothing."""
    if isinstance(landscape, Own) and not landscape.is_kinked:
        return math.inf
    foot = landscape.kinks[0]
    return min(abs(x - foot) for x in path)


def find_intervals(predicate: Callable[[float], bool], highest: float) -> list[tuple[float, float]]:
    """The intervals of (0, highest] on which `predicate` is true, ends exact to one float; narrower ones can be missed.

    An interval that includes the lowest value scanned is taken to begin at 0.
    """
    values = [highest * (place + 1) / SCANNED for place in range(SCANNED)]
    results = [*map(predicate, values)]
    intervals: list[tuple[float, float]] = []
    begin = 0.0 if results[0] else math.nan
    for (low, before), (high, after) in pairwise(zip(values, results, strict=True)):
        if before and not after:
            intervals.append((begin, bisect(predicate, low, high)[0]))
        elif after and not before:
            begin = bisect(lambda value: not predicate(value), low, high)[1]
    return [*intervals, (begin, highest)] if results[-1] else intervals


def passes(path: Sequence[float], landscape: Landscape) -> bool:
    return any(landscape.is_past_crest(x) for x in path)


def left_for_good(descend: Descend, threshold: Threshold, settings: BumpSettings) -> float | None:
    """The tallest bump, up to h_max, that is not only passed but left behind; None if none is within the steps."""

    def is_left(height: float) -> bool:
        landscape = settings.landscape_of(height)
        return landscape.is_beyond(descend(landscape)[-1])

    if threshold.h_max is None or is_left(threshold.h_max):
        return threshold.h_max
    intervals = find_intervals(is_left, threshold.h_max)
    return intervals[0][1] if intervals else None


def scan_report(h_max: float | Fraction, step: float) -> dict[str, float]:
    """The result of a scan of heights 0, step, 2 step, ...: the last that escapes and the first that fails."""
    exact_step = Fraction(str(step))  # 0.0001 is one ten-thousandth, as the scan means it
    count = math.floor(Fraction(h_max) / exact_step)
    return {"step": step, "last_escape": float(count * exact_step), "first_failure": float((count + 1) * exact_step)}


def proved_height(metrics: dict[str, Any]) -> Fraction:
    """h_max, or its proved value where float64 is less than `SAME` away from it."""
    h_max, proof = Fraction(metrics["h_max"]), metrics["certificate"]
    proved = Fraction(proof["h_max"][0]) if proof["kind"] == "interval" and proof["step"] is not None else h_max
    return proved if abs(proved - h_max) < SAME else h_max


def certificate(adapter: Adapter, threshold: Threshold, settings: BumpSettings) -> dict[str, Any]:
    """Why the optimizer never escapes above h_max, or that this is known for so many steps only."""
    covered = OPTIMIZERS[adapter.name].defaults if adapter.name in OPTIMIZERS else adapter.hyperparameters
    if threshold.method == "scan":
        reason = "heights were scanned: escaping need not be monotone here"
    elif adapter.schedule:
        reason = "proofs are for a constant lr"
    elif settings.up_slope != 1:
        reason = "proofs are for slopes of -1 and +1 only"
    elif unknown := adapter.hyperparameters.keys() - covered:
        reason = f"no proof covers {min(unknown)}"
    else:
        return certify(adapter.name, adapter.hyperparameters, settings.distance, settings.steps, adapter.follow)
    return {"kind": "steps", "steps": settings.steps, "reason": reason}
