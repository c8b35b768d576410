"""`python -m bs6207`, which a clone runs without being installed, as long as the libraries are there."""

import atexit
import os
import sys
from contextlib import suppress
from typing import NoReturn

try:
    from bs6207.cli.commands import main
except ModuleNotFoundError as missing:
    if str(missing.name).startswith("bs6207"):
        raise
    sys.exit(f"bs6207: {missing.name} is not installed; in the folder of pyproject.toml, run: python -m pip install .")


def run() -> NoReturn:
    """Run the command line and end the process at once: to take its modules apart takes a tenth of a short command."""
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # its reader has gone
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
