"""How tall a bump can this optimizer escape?"""

from typing import Any


def threshold(optimizer: str, **settings: Any) -> dict[str, Any]:
    """What metrics.json holds for one optimizer: h_max, bracket, step, settings, margin, certificate and more.

    Args:
        optimizer: a name from `bs6207.training.optimizers.OPTIMIZERS`, or package.module:Class.
        settings: fields of `BumpSettings`, such as lr=0.3, beta1=0.9, distance=1.0, steps=1000.

    Raises:
        pydantic.ValidationError: a setting is unknown or out of range.
    """
    from bs6207.bump.candidates import candidate
    from bs6207.bump.experiment import study
    from bs6207.bump.settings import BumpSettings
    from bs6207.training.devices import prepare

    chosen = BumpSettings(optimizer=[optimizer], **settings)
    prepare(chosen.seed)
    return study(candidate(optimizer, chosen), chosen).metrics
