"""What would not fit into memory is refused before anything is computed."""

import pytest

from bs6207.bump import settings as module
from bs6207.bump.settings import CELL_BYTES, STEP_BYTES, BumpSettings

ASKED = {  # the settings, and the bytes they take
    "--steps": ({"optimizer": ["gd", "adam"], "steps": 5000}, 2 * 5000 * STEP_BYTES),
    "--sweep": ({"optimizer": ["adam"], "sweep": ["lr=0.1:1:30", "beta1=0:0.9:20"], "steps": 1}, 600 * CELL_BYTES),
}


@pytest.mark.parametrize(("flag", "given", "needed"), [(flag, *asked) for flag, asked in ASKED.items()])
def test_what_needs_more_memory_than_there_is_is_refused_with_how_much(monkeypatch, flag, given, needed):
    monkeypatch.setattr(module, "memory", lambda: needed)
    BumpSettings(**given)
    monkeypatch.setattr(module, "memory", lambda: needed - 1)
    with pytest.raises(ValueError, match=f"{flag}: .* GiB of memory and there are .*; ask for fewer"):
        BumpSettings(**given)
    monkeypatch.setattr(module, "memory", lambda: None)
    BumpSettings(**given)
