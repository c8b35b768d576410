"""How tall a bump can this optimizer escape?"""

from typing import Any


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
