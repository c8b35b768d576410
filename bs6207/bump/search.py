"""The study of one optimizer: its threshold, by bisection on one path or by a scan of heights, and why to believe it.

Before an optimizer passes the crest, it sees the same slopes on every bump that is at least as high. So its path over
the bump that never ends, the envelope, decides for all heights at once: it escapes a bump exactly if the envelope's
maximum lies on its crest or beyond.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import torch

from bs6207.bump.adapter import Adapter, descend, last_line
from bs6207.bump.diagram import find_band
from bs6207.bump.landscape import TIE, Landscape, Slope, Triangle, Valley, rounding_error
from bs6207.bump.optimizers import make_adapter
from bs6207.bump.proof import NoProof, certify, exact_maximum
from bs6207.bump.settings import BumpSettings
from bs6207.errors import UserError
from bs6207.runs.result import Checkpointable
from bs6207.training.optimizers import LR, OPTIMIZERS

Descend = Callable[[Landscape], Sequence[float]]
OnStatus = Callable[[str], None]  # called with the state of a long search, in a few words
SCANNED = 200  # heights in a scan
REFINEMENTS = 3  # further scans, each up to the threshold found so far
TRIED_STEPS = 10_000  # in exact arithmetic, before it is advised; half a second
VALLEY_STEPS = 100
SAME = 1e-9  # of the step size or of x; paths nearer to each other than this agree


@dataclass(frozen=True)
class Threshold:
    """The threshold of one optimizer.

    Attributes:
        bracket: neighbouring floats (escaped, not escaped), or None where there are none.
        step: the step at which x is largest on the envelope; in a scan, at which the tallest bump is passed.
        margin: least |x - distance| up to that step; under `TIE`, rounding decides the answer.
        method: "envelope" or "scan".
        intervals: of heights that are escaped, (low, high) each, up to the tallest scanned.
        reason: why there is no threshold, where there is none.
        touches_foot: x comes to the foot of the bump and no farther, so rounding decides whether there is one.
    """

    bracket: tuple[float, float] | None
    step: int
    margin: float
    method: str
    intervals: list[tuple[float, float]]
    reason: str | None = None
    touches_foot: bool = False

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
    """Find the threshold of one optimizer and what certifies it, and follow it over the common bump.

    Raises:
        UserError: the optimizer fails on its way, or does not repeat itself.
    """
    descend_on = descent_of(adapter, settings)
    threshold = find_threshold(adapter, settings, on_status)
    metrics = {
        "h_max": threshold.h_max,
        "bracket": threshold.bracket,
        "step": threshold.step,
        "margin": threshold.margin,
        "reason": threshold.reason,
        "method": threshold.method,
        "intervals": threshold.intervals,
        "left_for_good": left_for_good(descend_on, threshold, settings),
        "kink": "right",
        "precision": adapter.precision,
        "settings": {"distance": settings.distance, "steps": settings.steps, **adapter.has},
        "given": adapter.given,
        "certificate": certificate(adapter, threshold, settings),
    }
    if settings.exact:
        metrics["exact"] = exact_answer(adapter, settings, settings.steps)
    elif threshold.margin < TIE and settings.is_exact_possible:
        metrics["exact_settles"] = "h_max" in exact_answer(adapter, settings, min(settings.steps, TRIED_STEPS))
    if settings.scan and threshold.h_max is not None:
        metrics["scan"] = scan_report(proved_height(metrics), settings.scan)
    if settings.band:
        lr, values = adapter.given.get("lr", LR), kernel_settings(adapter, settings)
        find = threshold_finder(adapter, settings, on_status)
        metrics["band"] = find_band(adapter.name, values, settings, lr, find, on_status)
    in_valley = descent_of(adapter, settings, min(settings.steps, VALLEY_STEPS))(valley(settings))
    return Study(metrics, descend_on(settings.landscape_of(settings.height)), in_valley)


def kernel_settings(adapter: Adapter, settings: BumpSettings) -> dict[str, Any]:
    """The arguments of a kernel: the hyperparameters, `distance` and `up_slope`."""
    return adapter.hyperparameters | {"distance": settings.distance, "up_slope": settings.up_slope}


def valley(settings: BumpSettings) -> Valley:
    """A valley with slopes from 0 to 4: gradient descent takes some twenty steps to its bottom.

    It is so gentle, for the step size, that two implementations which only round differently stay together.
    """
    width = 10 * (settings.lr or LR)
    return Valley(bottom=math.pi * width, width=width, steepest=4.0)


def descent_of(adapter: Adapter, settings: BumpSettings, steps: int | None = None) -> Callable[[Slope], list[float]]:
    """The path over a landscape, as a function of it; an optimizer that fails on its way raises a UserError."""
    device = "cpu" if settings.device == "auto" else settings.device  # there is one number to move

    def descend_on(landscape: Slope) -> list[float]:
        try:
            return descend(adapter, landscape, steps or settings.steps, device)
        except (Exception, SystemExit) as failure:
            raise UserError(f"{adapter.name} fails on its way: {last_line(failure)}") from failure

    return descend_on


def find_threshold(adapter: Adapter, settings: BumpSettings, on_status: OnStatus) -> Threshold:
    """The threshold by the envelope where it is valid, otherwise by a scan."""
    descend_on = descent_of(adapter, settings)
    if settings.landscape == "triangle" and not adapter.looks_elsewhere:
        endless = Triangle(settings.distance, math.inf, settings.up_slope, settings.tail_slope)
        eps = torch.finfo(adapter.convention.dtype).eps
        return find_by_envelope(descend_on, endless, settings.steps, eps, adapter.name)
    return find_by_scan(descend_on, settings.landscape_of, settings.distance, settings.tallest, on_status)


def threshold_finder(
    adapter: Adapter, settings: BumpSettings, on_status: OnStatus
) -> Callable[..., tuple[float | None, int, float]]:
    """The threshold through torch, as a function of the settings that vary: (h_max or None, step, margin)."""

    def find(**varied: float) -> tuple[float | None, int, float]:
        changed = settings.model_copy(update=varied)
        threshold = find_threshold(make_adapter(adapter.name, changed), changed, on_status)
        return 0.0 if threshold.touches_foot else threshold.h_max, threshold.step, threshold.margin

    return find


def find_by_envelope(
    descend: Descend, endless: Triangle, steps: int, eps: float = sys.float_info.epsilon, name: str = "the optimizer"
) -> Threshold:
    """Find the tallest bump that `descend` escapes within `steps` steps, exact to one float.

    Args:
        descend: gives the path over a landscape; it must see nothing but the slope where it stands.
        endless: the bump that never ends.
        eps: of the floats that x is kept in.

    Raises:
        UserError: a descent over a real bump contradicts the envelope.
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

    def bump(height: float) -> Triangle:
        return Triangle(endless.distance, height, endless.up_slope, endless.tail_slope)

    bracket = bisect(lambda height: bump(height).is_past_crest(path[step]), 0.0, math.nextafter(path[step], math.inf))
    for height, expected in zip(bracket, (True, False), strict=True):
        if passes(descend(bump(height)), bump(height)) != expected:
            raise UserError(
                f"{name}: its path over a bump of {height!r} differs from a higher one's, so it has no threshold"
            )
    return Threshold(bracket, step, margin, "envelope", [(0.0, bracket[0])])


def find_by_scan(
    descend: Descend,
    landscape_of: Callable[[float], Landscape],
    distance: float,
    tallest: float,
    on_status: OnStatus = lambda doing: None,
) -> Threshold:
    """Find every interval of heights up to `tallest` that `descend` escapes, as far as a scan sees them."""
    tried = 0

    def escapes(height: float) -> bool:
        nonlocal tried
        tried += 1
        on_status(f"height {tried} of {SCANNED}" if tried <= SCANNED else f"height {tried}, to narrow them down")
        return passes(descend(landscape_of(height)), landscape_of(height))

    intervals = find_intervals(escapes, tallest)
    for _ in range(REFINEMENTS):  # a threshold must not overlook a gap below it
        end = intervals[0][1] if intervals and intervals[0][0] == 0.0 else tallest / SCANNED
        finer = find_intervals(escapes, end)
        if finer == [(0.0, end)]:
            break
        intervals = finer + [interval for interval in intervals if interval[0] >= end]
    first = intervals[0] if intervals and intervals[0][0] == 0.0 else None
    landscape = landscape_of(first[1] if first else tallest / SCANNED)
    path = descend(landscape)
    highest = max(range(len(path)), key=path.__getitem__)
    step = next((step for step, x in enumerate(path) if landscape.is_past_crest(x)), highest)
    margin = min(abs(x - distance) for x in path[: step + 1])
    reason = None
    if first is None:
        reason = f"the lowest bump scanned, {tallest / SCANNED:g}, is not escaped"
    elif first[1] >= tallest:
        reason = f"every bump scanned, up to {tallest:g}, is escaped; raise --tallest"
    bracket = (first[1], math.nextafter(first[1], math.inf)) if first and not reason else None
    return Threshold(bracket, step, margin, "scan", intervals, reason)


def find_intervals(predicate: Callable[[float], bool], highest: float) -> list[tuple[float, float]]:
    """The intervals of (0, highest] on which `predicate` is true, ends exact to one float; narrower ones can be missed.

    An interval that includes the lowest value scanned is taken to begin at 0.
    """
    values = [highest * (place + 1) / SCANNED for place in range(SCANNED)]
    results = [predicate(value) for value in values]
    intervals: list[tuple[float, float]] = []
    begin = 0.0 if results[0] else math.nan
    for (low, before), (high, after) in pairwise(zip(values, results, strict=True)):
        if before and not after:
            intervals.append((begin, bisect(predicate, low, high)[0]))
        elif after and not before:
            begin = bisect(lambda value: not predicate(value), low, high)[1]
    return [*intervals, (begin, highest)] if results[-1] else intervals


def bisect(predicate: Callable[[float], bool], low: float, high: float) -> tuple[float, float]:
    """Neighbouring floats between which `predicate` turns false; it must be true at `low` and false at `high`."""
    while (middle := low + (high - low) / 2) not in (low, high):
        low, high = (middle, high) if predicate(middle) else (low, middle)
    return low, high


def passes(path: Sequence[float], landscape: Landscape) -> bool:
    """Whether a path passes the last crest."""
    return any(landscape.is_past_crest(x) for x in path)


def left_for_good(descend: Descend, threshold: Threshold, settings: BumpSettings) -> float | None:
    """The tallest bump, up to h_max, that is not only passed but left behind; None if none is within the steps."""
    if threshold.h_max is None:
        return None

    def is_left(height: float) -> bool:
        landscape = settings.landscape_of(height)
        return landscape.is_beyond(descend(landscape)[-1])

    if is_left(threshold.h_max):
        return threshold.h_max
    intervals = find_intervals(is_left, threshold.h_max)
    return intervals[0][1] if intervals else None


def scan_report(h_max: float | Fraction, step: float) -> dict[str, float]:
    """The result of a scan of heights 0, step, 2 step, ...: the last that escapes and the first that fails.

    Both are a scan's resolution off; which of the two is quoted differs from report to report.
    """
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
    known = {"kind": "steps", "steps": settings.steps}
    if threshold.method == "scan":
        return known | {"reason": "heights were scanned: escaping need not be monotone here"}
    if settings.up_slope != 1:
        return known | {"reason": "proofs are for slopes of -1 and +1 only"}
    covered = OPTIMIZERS[adapter.name].defaults if adapter.name in OPTIMIZERS else adapter.hyperparameters
    if unknown := adapter.hyperparameters.keys() - covered:
        return known | {"reason": f"no proof covers {min(unknown)}"}
    return certify(adapter.name, adapter.hyperparameters, settings.distance, settings.steps, adapter.make)


def exact_answer(adapter: Adapter, settings: BumpSettings, steps: int) -> dict[str, Any]:
    """The maximum in rational arithmetic, or the reason why there is none."""
    try:
        return exact_maximum(adapter.name, adapter.hyperparameters, settings.distance, steps)
    except NoProof as failure:
        return {"reason": str(failure)}
