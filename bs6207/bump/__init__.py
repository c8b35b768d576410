"""How tall a bump can this optimizer escape?"""

from typing import Any


def threshold(optimizer: str, **settings: Any) -> dict[str, Any]:
    """What metrics.json holds for one optimizer: h_max, bracket, step, settings, margin, certificate.

    Args:
        optimizer: a name from `bs6207.optimizers.OPTIMIZERS`.
        settings: fields of `BumpSettings`, such as lr=0.3, beta1=0.9, distance=1.0, steps=1000.

    Raises:
        pydantic.ValidationError: a setting is unknown or out of range.
    """
    from bs6207.bump.experiment import study
    from bs6207.bump.settings import BumpSettings

    return study(optimizer, BumpSettings(optimizer=[optimizer], **settings)).metrics
