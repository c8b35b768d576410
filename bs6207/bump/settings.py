"""What `bs6207 bump` can be told."""

from typing import Annotated, Literal

from pydantic import AfterValidator

from bs6207.experiment import Settings, distinct, known, setting
from bs6207.optimizers import OPTIMIZERS

OptimizerName = Annotated[str, known("optimizer", OPTIMIZERS)]

HYPERPARAMETERS = "Hyperparameters"
LANDSCAPE = "Landscape"


class BumpSettings(Settings):
    """Settings of the bump experiment; the numbers of the classical exercise are the defaults."""

    optimizer: Annotated[list[OptimizerName], AfterValidator(distinct)] = setting(
        ["gd", "momentum", "adam"], f"Optimizers to compare: {', '.join(OPTIMIZERS)}.", min_length=1
    )
    steps: int = setting(1000, "Steps each optimizer is followed for.", ge=1, le=1_000_000)
    device: Literal["auto", "cpu", "cuda"] = setting(
        "auto", "Where x lives; auto is the CPU, the fastest for a single number.", panel="Run"
    )

    lr: float = setting(0.3, "Step size, in units of x per unit of slope.", panel=HYPERPARAMETERS, gt=0)
    momentum: float = setting(0.9, "Decay of the velocity in momentum.", panel=HYPERPARAMETERS, ge=0, lt=1)
    beta1: float = setting(0.9, "Decay of Adam's mean slope.", panel=HYPERPARAMETERS, ge=0, lt=1)
    beta2: float = setting(0.999, "Decay of Adam's mean squared slope.", panel=HYPERPARAMETERS, ge=0, lt=1)
    eps: float = setting(0.0, "Added to Adam's denominator.", panel=HYPERPARAMETERS, ge=0)
    weight_decay: float = setting(0.01, "Weight decay of AdamW, per unit of lr.", panel=HYPERPARAMETERS, ge=0)

    distance: float = setting(
        1.0, "L: from the start to the foot of the bump, in units of x.", panel=LANDSCAPE, gt=0, le=1e6
    )
    height: float = setting(
        0.4,
        "Height of the bump that the paths are drawn and tabulated over; h_max does not depend on it.",
        panel=LANDSCAPE,
        gt=0,
        le=1e6,
    )
