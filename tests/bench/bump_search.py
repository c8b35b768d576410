"""How long one threshold takes: the walk, the search on it, the proof, and the whole command.

python tests/bench/bump_search.py
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from statistics import median

ROUNDS = 7
COMMAND = [sys.executable, "-m", "bs6207", "bump", "--optimizer", "adam"]


def milliseconds(work: Callable[[], object]) -> float:
    """Median time of `ROUNDS` calls."""
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return 1000 * median(taken)


def main() -> None:
    """Print the times."""
    import math

    from bs6207.bump.adapter import descend
    from bs6207.bump.landscape import Triangle
    from bs6207.bump.optimizers import make_adapter
    from bs6207.bump.proof import certify
    from bs6207.bump.search import bisect
    from bs6207.bump.settings import BumpSettings

    adapter, endless = make_adapter("adam", BumpSettings()), Triangle(1.0, math.inf)
    path = descend(adapter, endless, 1000, "cpu")
    top = max(path)
    print(f"Adam, 1000 steps, medians of {ROUNDS}")
    print(f"  walk on plain floats      {milliseconds(lambda: descend(adapter, endless, 1000, 'cpu')):9.2f} ms")
    search = milliseconds(lambda: bisect(lambda height: Triangle(1.0, height).is_past_crest(max(path)), 0.0, top))
    print(f"  search on the walk       {search:9.2f} ms")
    proof = milliseconds(lambda: certify("adam", adapter.hyperparameters, 1.0, 1000, adapter.follow))
    print(f"  proof for all steps      {proof:9.2f} ms")
    with tempfile.TemporaryDirectory() as folder:
        whole = milliseconds(lambda: subprocess.run(COMMAND, cwd=folder, check=True, capture_output=True))
        torch = milliseconds(lambda: subprocess.run([sys.executable, "-c", "import torch"], check=True))
    print(f"  whole command            {whole:9.0f} ms, of which import torch {torch:.0f} ms")


if __name__ == "__main__":
    main()
