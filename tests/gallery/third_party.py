"""The rule that each class of pytorch_optimizer equals: `python tests/gallery/third_party.py` writes it down.

It writes audit/pytorch_optimizer.csv beside itself, a row per class, and takes many minutes.
"""

import csv
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytorch_optimizer as package

from bs6207.bump.conformance.examine import compare_with_rules, rule_check
from bs6207.bump.conformance.subject import find_subject
from bs6207.errors import SettingsError

FILE = Path(__file__).with_name("audit") / "pytorch_optimizer.csv"
COLUMNS = ("class", "rule", "departures", "explained", "traces", "check", "finding", "problem", "step")


def row_of(name: str) -> dict[str, object]:
    """One class: its rule, or the sentence that refuses it."""
    try:
        subject = find_subject(f"pytorch_optimizer:{name}", {}, {})
        compared = compare_with_rules(subject)
    except SettingsError as failure:
        return {"class": name, "check": "cannot be used", "finding": str(failure)}
    check = rule_check(compared.matches, compared.traces, compared.claim)
    best = compared.best
    return {
        "class": name,
        "rule": best.rule if best and best.is_whole else "",
        "departures": "; ".join(best.names) if best and best.is_whole else "",
        "explained": sum(part is None for part in best.parts) if best else 0,
        "traces": len(compared.traces),
        "check": check.state,
        "finding": check.finding,
        "problem": check.evidence.get("problem", ""),
        "step": check.evidence.get("step", ""),
    }


if __name__ == "__main__":
    names = sorted({package.load_optimizer(key).__name__ for key in package.get_supported_optimizers()})
    FILE.parent.mkdir(exist_ok=True)
    with FILE.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        with ProcessPoolExecutor() as pool:
            for row in pool.map(row_of, names):
                writer.writerow(row)
                stream.flush()
                print(row["class"], file=sys.stderr)
