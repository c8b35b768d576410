"""What `bs6207 report` can be told."""

from typing import Annotated

from pydantic import AfterValidator

from bs6207.experiment import Words, distinct, setting
from bs6207.names import can_be_told


class ReportSettings(Words):
    """Which runs the page shows."""

    runs: Annotated[list[Annotated[str, AfterValidator(can_be_told)]], AfterValidator(distinct)] = setting(
        [],
        "Run folders, those of outputs/history too; several of one command are compared. If none is given, the last "
        "finished run of every command.",
        panel="Runs",
        positional=True,
        metavar="RUN",
    )
    open: bool = setting(False, "Open the page in the browser.", panel="Run")
