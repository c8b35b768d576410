"""The audit: does each optimizer do what its name says?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bs6207.bump.conformance.checks import CHECKS
from bs6207.bump.conformance.examine import Audit, audit_subject
from bs6207.bump.conformance.figures import differences
from bs6207.bump.conformance.rules import RULES
from bs6207.bump.conformance.settings import OTHER, AuditSettings
from bs6207.bump.conformance.subject import Subject, find_subject
from bs6207.bump.conformance.traces import SAME
from bs6207.bump.optimizers import source_checksum
from bs6207.bump.settings import BumpSettings, parse_set
from bs6207.errors import SettingsError, UserError, suggest
from bs6207.runs.progress import FailedTask, MapTasks, Progress, TaskProgress, map_serially
from bs6207.runs.result import Result, Row, Table

OTHER_CHECKS = ("rule", "problems", "lr between steps", "float32", "bfloat16")
REPORTED = ("failed", "expected", "warning")  # states of checks that have a remark, the worst first


def run(settings: AuditSettings, progress: Progress, map_tasks: MapTasks = map_serially) -> Result:
    """Audit the optimizers of `settings`."""
    progress.expect(len(settings.names), "audit")
    code = source_checksum(BumpSettings(optimizer=settings.names))
    outcomes = map_tasks(run_task, {name: Task(name, settings) for name in settings.names}, progress, code)
    for outcome in outcomes.values():
        if isinstance(outcome, FailedTask):
            raise UserError(outcome.reason)
    entries = {name: outcomes[name]["metrics"] for name in settings.names}
    rows = [{"optimizer": name, **row} for name in settings.names for row in outcomes[name]["differences"]]
    compared = {name: entry for name, entry in entries.items() if outcomes[name]["differences"]}
    failures = [
        sentence.rstrip(".") for name, entry in entries.items() for sentence in sentences(name, entry, ("failed",))
    ]
    return Result(
        settings=settings,
        metrics={"optimizers": entries, "ok": not failures, "failed": failures},
        headline=headline(entries),
        remarks=[sentence for name, entry in entries.items() for sentence in sentences(name, entry, REPORTED)],
        tables={"checks": checks(entries), "differences": Table(COLUMNS, rows)},
        figures={"differences": partial(differences, rows, compared, SAME)} if compared else {},
        failures=failures,
    )


COLUMNS = ("optimizer", "rule", "problem", "dtype", "step", "difference")


@dataclass(frozen=True)
class Task:
    """The audit of one optimizer."""

    name: str
    settings: AuditSettings


def run_task(task: Task, progress: TaskProgress) -> dict[str, Any]:
    settings = task.settings
    subject = find_subject(task.name, {}, parse_set(settings.set), settings.device)
    audit = audit_subject(
        subject, settings.rule, settings.expect_failed, lambda doing: progress.status(f"{task.name}, {doing}")
    )
    progress.record({"optimizer": task.name, "rule": audit.rule, "ok": audit.metrics["ok"]})
    progress.step(task.name, "audit")
    return {"metrics": audit.metrics, "differences": audit.differences}


def require_subjects(settings: AuditSettings) -> None:
    """Raises a SettingsError unless all optimizers can be used and rule and checks exist."""
    require_known(settings.rule, settings.expect_failed)
    for name in settings.names:
        find_subject(name, {}, parse_set(settings.set))


def require_known(rule: str | None, expect_failed: Sequence[str]) -> None:
    if rule not in (None, OTHER, *RULES):
        raise SettingsError(f"--rule: no rule {rule!r}; {suggest(str(rule), [*RULES, OTHER])}")
    for check in expect_failed:
        if check not in (known := [*OTHER_CHECKS, *CHECKS]):
            raise SettingsError(f"--expect-failed: no check {check!r}; {suggest(check, known)}")


def headline(entries: Mapping[str, dict[str, Any]]) -> Table:
    columns = ("optimizer", "rule", "passed", "refused", "warnings", "failed")
    rows = []
    for name, entry in entries.items():
        states = [check["state"] for check in entry["checks"]]
        counts = {"passed": "passed", "refused": "refused", "warnings": "warning", "failed": "failed"}
        rows.append(
            {"optimizer": name, "rule": rule_of(entry)} | {key: states.count(one) for key, one in counts.items()}
        )
    return Table(columns, rows)


def rule_of(entry: Mapping[str, Any]) -> str:
    """The rule in two words: its name, with a mark where it departs from it."""
    if entry["rule"] is None:
        return f"none, near {entry['nearest']}" if entry["nearest"] else "none compared"
    return f"{entry['rule']}, departs" if entry["departures"] else entry["rule"]


def checks(entries: Mapping[str, dict[str, Any]]) -> Table:
    columns = ("optimizer", "check", "state", "finding", "problem", "step", "found", "expected")
    rows = [
        {"optimizer": name, "check": check["name"], "state": check["state"], "finding": check["finding"]}
        | {key: check["evidence"].get(key) for key in columns[4:]}
        for name, entry in entries.items()
        for check in entry["checks"]
    ]
    return Table(columns, rows)


def sentences(name: str, entry: Mapping[str, Any], states: Sequence[str]) -> list[str]:
    """A sentence for each check in one of these states, with its evidence."""
    found = [(state, check) for state in states for check in entry["checks"] if check["state"] == state]
    return [
        f"{name}: {check['name']} {state}: {check['finding']}{evidence(check['evidence'])}." for state, check in found
    ]


def evidence(held: Row) -> str:
    """Where it shows first, in brackets."""
    parts = [str(held["problem"])] if "problem" in held else []
    parts += [f"step {held['step']}"] if "step" in held else []
    if "found" in held:
        parts.append(f"{number(held['found'])} instead of {number(held['expected'])}")
    return f" ({', '.join(parts)})" if parts else ""


def number(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, repr=False)
class AuditReport:
    """The audit of one class, as Python has it; Python and notebooks show it as its findings.

    checks: a dict each with name, state, finding and evidence; state is passed, failed, expected (to fail), warning,
        refused (in words, which is right) or skipped.
    """

    name: str
    metrics: dict[str, Any]
    differences: list[dict[str, Any]]

    @property
    def ok(self) -> bool:
        return self.metrics["ok"]

    @property
    def checks(self) -> list[dict[str, Any]]:
        return self.metrics["checks"]

    @property
    def rule(self) -> str | None:
        return self.metrics["rule"]

    @property
    def departures(self) -> list[str]:
        return self.metrics["departures"]

    @property
    def findings(self) -> list[str]:
        """A sentence for each check that failed, was expected to, or warns."""
        return sentences(self.name, self.metrics, REPORTED)

    def raise_if_failed(self) -> None:
        """Raises an AssertionError with a line for each check that failed."""
        if not self.ok:
            raise AssertionError("\n".join(sentences(self.name, self.metrics, ("failed",))))

    def __repr__(self) -> str:
        return "\n".join([f"{self.name}: {rule_of(self.metrics)}", *self.findings])


def audit_class(subject: Subject, rule: str | None, expect_failed: Sequence[str]) -> AuditReport:
    try:
        require_known(rule, expect_failed)
    except SettingsError as failure:
        raise ValueError(str(failure)) from None
    audit: Audit = audit_subject(subject, rule, expect_failed)
    return AuditReport(audit.name, audit.metrics, audit.differences)
