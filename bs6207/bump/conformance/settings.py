"""The settings of `bs6207 audit`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, model_validator

from bs6207.bump.settings import ALL, OptimizerName, accepted_by, parse_set
from bs6207.runs.settings import Settings, distinct, setting
from bs6207.training.optimizers import OPTIMIZERS

OTHER = "other"  # a rule that is none of the published ones


class AuditSettings(Settings):
    """Settings of the audit."""

    optimizers: Annotated[list[OptimizerName], AfterValidator(distinct)] = setting(
        [],
        "Optimizers to audit: package.module:Class, file.py:Class, a built-in name of bs6207 bump; all of these: all.",
        positional=True,
        metavar="NAME_OR_CLASS",
    )
    set: Annotated[list[str], AfterValidator(accepted_by(parse_set))] = setting(
        [], "Keywords for the optimizer's constructor, as in amsgrad=True.", metavar="KEY=VALUE..."
    )
    rule: str | None = setting(
        None,
        "The published rule that it should equal, as in adamw; other: none of them. What its name says, if not given.",
        metavar="NAME",
    )
    expect_failed: list[str] = setting(
        [],
        "Checks that may fail without exit code 1, as in closure pickle; those of the class attribute "
        "expected_failed_checks are added.",
        metavar="CHECK...",
    )
    device: Literal["auto", "cpu", "cuda"] = setting("auto", "Where parameters live; auto is the CPU.", panel="Run")
    jobs: int | None = setting(1, "Processes that share the optimizers.", panel="Run", ge=1, le=1024, exclude=True)

    @property
    def names(self) -> list[str]:
        """The optimizers, with `all` spelt out."""
        spelt = [name for given in self.optimizers for name in (OPTIMIZERS if given == ALL else [given])]
        return list(dict.fromkeys(spelt))

    @model_validator(mode="after")
    def names_an_optimizer(self) -> "AuditSettings":
        if not self.optimizers:
            raise ValueError("there is nothing to audit; name an optimizer, as in torch.optim:Adam or mine.py:MyAdam")
        return self
