"""`python -m bs6207`, which a clone runs without being installed, as long as the libraries are there."""

import sys

try:
    from bs6207.cli.commands import main
except ModuleNotFoundError as missing:
    if str(missing.name).startswith("bs6207"):
        raise
    sys.exit(f"bs6207: {missing.name} is not installed; in the folder of pyproject.toml, run: python -m pip install .")

if __name__ == "__main__":
    main()
