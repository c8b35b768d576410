"""Settings of `bs6207 report`."""

from typing import Annotated

from pydantic import AfterValidator

from bs6207.runs.names import at_home, writable_name
from bs6207.runs.settings import BaseSettings, distinct, setting

RunName = Annotated[str, AfterValidator(writable_name), AfterValidator(at_home)]


class ReportSettings(BaseSettings):
    """The runs that the page shows."""

    runs: Annotated[list[RunName], AfterValidator(distinct)] = setting(
        [],
        "Run folders, those of outputs/history too; several of one command are compared. If none is given, the last "
        "finished run of every command.",
        panel="Runs",
        positional=True,
        metavar="RUN",
    )
    open: bool = setting(False, "Open the page in the browser.", panel="Run")
