"""How much quicker a phase diagram is than a plain Python loop of the same arithmetic, and whether they agree.

    python tests/bench/bump_diagram.py

Adam, 512 x 512 cells, 1000 steps, float64, one thread. The loop runs on every 32nd cell each way, in turns with the
diagram, and its time is scaled to all cells; "full Adam" is the loop one would write without knowing that the mean
square of signs is 1.
"""

import math
import time
from statistics import median

import numpy as np

from bs6207.bump.diagram import find_thresholds, grid, join_rows
from bs6207.bump.landscape import TIE
from bs6207.runs.sweep import read_axes

SIZE, STEPS, STRIDE, ROUNDS = 512, 1000, 32, 3
BETA2 = 0.999


def loop_of_signs(lr: float, beta1: float, distance: float) -> tuple[float, int, float]:
    """h_max, step and margin of one cell, by the arithmetic of the kernel `adam_of_signs`."""
    x = mean = ones = best = 0.0
    step_of_best, gap, margin = 0, distance, distance
    for step in range(1, STEPS + 1):
        slope = -1.0 if x < distance else 1.0
        mean = beta1 * mean + (1 - beta1) * slope
        ones = beta1 * ones + (1 - beta1)
        x -= lr * (mean / ones)
        beyond = x - distance
        gap = min(gap, abs(beyond))
        if beyond > best:
            best, step_of_best, margin = beyond, step, gap
    return best, step_of_best, margin


def loop_of_adam(lr: float, beta1: float, distance: float) -> tuple[float, int, float]:
    """The same by the arithmetic of Adam as published."""
    x = mean = square = ones = square_ones = best = 0.0
    step_of_best, gap, margin = 0, distance, distance
    for step in range(1, STEPS + 1):
        slope = -1.0 if x < distance else 1.0
        mean = beta1 * mean + (1 - beta1) * slope
        square = BETA2 * square + (1 - BETA2) * slope * slope
        ones = beta1 * ones + (1 - beta1)
        square_ones = BETA2 * square_ones + (1 - BETA2)
        x -= lr * (mean / ones) / math.sqrt(square / square_ones)
        beyond = x - distance
        gap = min(gap, abs(beyond))
        if beyond > best:
            best, step_of_best, margin = beyond, step, gap
    return best, step_of_best, margin


def main() -> None:
    """Print the times, the ratios and the agreement."""
    rows, columns = read_axes([f"lr=0.01:1:{SIZE}", f"beta1=0:0.99:{SIZE}"], {"lr": float, "beta1": float})
    settings = {"beta2": BETA2, "eps": 0.0, "distance": 1.0, "up_slope": 1.0}
    some = [(row, column) for row in range(0, SIZE, STRIDE) for column in range(0, SIZE, STRIDE)]
    scale = SIZE * SIZE / len(some)
    seconds: dict[str, list[float]] = {"diagram": [], "loop of signs": [], "loop of full Adam": []}
    for _ in range(ROUNDS):
        start = time.perf_counter()
        axes = (rows, columns)
        whole = find_thresholds("adam", settings, grid(axes), STEPS, None, lambda cells: None)
        diagram = join_rows("adam", axes, [whole])
        seconds["diagram"].append(time.perf_counter() - start)
        for name, loop in (("loop of signs", loop_of_signs), ("loop of full Adam", loop_of_adam)):
            start = time.perf_counter()
            looped = [loop(rows.values[row], columns.values[column], 1.0) for row, column in some]
            seconds[name].append((time.perf_counter() - start) * scale)
            if loop is loop_of_signs:
                found = np.array(looped)

    quickest = median(seconds["diagram"])
    print(f"{SIZE} x {SIZE} cells, {STEPS} steps; medians of {ROUNDS}, loops extrapolated from {len(some)} cells")
    for name, taken in seconds.items():
        print(f"  {name:18} {median(taken):9.3f} s   {median(taken) / quickest:7.0f} x the diagram")
    place = tuple(np.array(some).T)
    firm = ~((found[:, 2] < TIE) | (diagram.margin[place] < TIE))
    heights = np.nan_to_num(diagram.h_max[place])
    print(f"  largest difference {np.abs(heights - found[:, 0])[firm].max():.1e} over {firm.sum()} cells", end="")
    print(f", {np.count_nonzero(~firm)} left out: margin under {TIE:g}")
    print(f"  known to hold for ever: {diagram.holds_for_ever.mean():.1%} of all cells")


if __name__ == "__main__":
    main()
