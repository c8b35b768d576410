"""How tall a bump can this optimizer escape?"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bs6207.bump.conformance.experiment import AuditReport


def threshold(optimizer: str, **settings: Any) -> dict[str, Any]:
    """The entry of metrics.json for one optimizer: h_max, bracket, step, settings, margin, certificate and more.

    Args:
        optimizer: a name from `bs6207.training.optimizers.OPTIMIZERS`, or package.module:Class.
        settings: fields of `BumpSettings`, such as lr=0.3, beta1=0.9, distance=1.0, steps=1000.

    Raises:
        pydantic.ValidationError: a setting is unknown or out of range.
    """
    from bs6207.bump.optimizers import make_adapter
    from bs6207.bump.search import study
    from bs6207.bump.settings import BumpSettings

    chosen = BumpSettings(optimizer=[optimizer], **settings)
    return study(make_adapter(optimizer, chosen), chosen).metrics


def audit(
    optimizer: str | Callable[..., Any], *, rule: str | None = None, expect_failed: Sequence[str] = (), **keywords: Any
) -> "AuditReport":
    """Whether an optimizer does what its name says: a report of checks, with `raise_if_failed()` for tests.

    Args:
        optimizer: a class, a name from `OPTIMIZERS`, or package.module:Class.
        rule: the published rule that it should equal, as in "adamw"; "other" if none; what its name says if not given.
        expect_failed: checks that may fail; those of the class attribute `expected_failed_checks` are added.
        keywords: for its constructor, such as lr=0.01; hyperparameters that are left out are varied.

    Raises:
        SettingsError: the optimizer cannot be used.
        ValueError: there is no such rule or check.
    """
    from bs6207.bump.conformance.experiment import audit_class
    from bs6207.bump.conformance.subject import find_subject

    return audit_class(find_subject(optimizer, keywords, {}), rule, expect_failed)
