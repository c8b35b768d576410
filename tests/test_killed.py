"""Every command, killed at random instants from its first import to its last rename, ends with the same bytes."""

import pytest
from bench.kills import COMMANDS, instants, kill_and_resume, leave_alone

KILLS = 20


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    """Every command's run that was left alone."""
    folder = tmp_path_factory.mktemp("whole")
    return {command: leave_alone(command, folder) for command in COMMANDS}


@pytest.mark.parametrize(("command", "share"), instants(KILLS, seed=6207))
def test_a_killed_run_ends_with_the_bytes_of_one_that_was_left_alone(wholes, tmp_path, command, share):
    assert kill_and_resume(wholes[command], share, tmp_path) == ""
