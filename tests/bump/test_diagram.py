"""Phase diagrams agree with torch.optim cell by cell, and sweeps are read or refused in a sentence."""

from functools import partial

import numpy as np
import pytest
import torch

from bs6207.bump.descent import Candidate, descend
from bs6207.bump.diagram import draw_tile, joined
from bs6207.bump.envelope import find_summits
from bs6207.bump.figures import phase_diagram
from bs6207.bump.kernels import ADAM_OF_SIGNS, KERNELS, Kernel
from bs6207.bump.landscape import Triangle
from bs6207.bump.search import TIE
from bs6207.bump.sweep import Axis, parse_sweep
from bs6207.figures import render

STEPS = 300
BASE = {"distance": 1.0, "up_slope": 1.0, "lr": 0.3}
SGD, Adam, AdamW, RMSprop = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop


def draw_diagram(optimizer, rows, columns, *rest):
    """A diagram, drawn in two tiles."""
    parts = slice(0, 1), slice(1, None)
    return joined(optimizer, rows, columns, [draw_tile(optimizer, rows, columns, part, *rest) for part in parts])


CASES = {  # optimizer, its torch constructor, settings, the two axes
    "gd": (SGD, BASE, Axis("lr", 0.07, 0.9, 9), Axis("distance", 0.53, 2.1, 8)),
    "momentum": (
        SGD,
        {**BASE, "momentum": 0.9, "dampening": 0.0},
        Axis("momentum", 0, 0.98, 9),
        Axis("dampening", 0, 0.9, 8),
    ),
    "nesterov": (
        lambda parameters, **values: SGD(parameters, nesterov=True, **values),
        BASE,
        Axis("lr", 0.05, 0.9, 8),
        Axis("momentum", 0.05, 0.97, 9),
    ),
    "adam": (
        lambda parameters, beta1, beta2, **values: Adam(parameters, betas=(beta1, beta2), **values),
        {**BASE, "beta2": 0.99, "eps": 1e-8},
        Axis("lr", 0.03, 0.97, 8),
        Axis("beta1", 0, 0.98, 9),
    ),
    "adamw": (
        lambda parameters, beta1, beta2, **values: AdamW(parameters, betas=(beta1, beta2), **values),
        {**BASE, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8},
        Axis("lr", 0.13, 0.97, 8),
        Axis("weight_decay", 0.01, 0.3, 9),
    ),
    "rmsprop": (
        RMSprop,
        {**BASE, "eps": 1e-8, "momentum": 0.5},
        Axis("lr", 0.03, 0.5, 8),
        Axis("alpha", 0.1, 0.98, 9),
    ),
}


def summit(make_optimizer, distance, up_slope, **values):
    """h_max, step and margin of one cell, through torch."""
    walker = Candidate("", lambda parameters: make_optimizer(parameters, **values), values)
    path = descend(walker, Triangle(distance, np.inf, up_slope), STEPS, "cpu")
    step = int(np.argmax(path))
    margin = min(abs(x - distance) for x in path[: step + 1])
    return (path[step] - distance, step, margin) if path[step] > distance else (None, step, margin)


@pytest.mark.parametrize("name", CASES)
def test_every_kernel_diagram_agrees_with_torch(name):
    assert set(CASES) == set(KERNELS)
    make_optimizer, values, rows, columns = CASES[name]
    drawn = draw_diagram(name, rows, columns, values, STEPS, None)
    asked = draw_diagram(
        f"{name} by torch",
        rows,
        columns,
        values,
        STEPS,
        partial(
            summit,
            make_optimizer,
            **{key: value for key, value in values.items() if key not in (rows.name, columns.name)},
        ),
    )
    firm = ~(asked.margin < TIE)
    assert firm.mean() > 0.8
    np.testing.assert_allclose(drawn.h_max[firm], asked.h_max[firm], rtol=0, atol=1e-9)
    reaches = firm & np.isfinite(asked.h_max)
    np.testing.assert_allclose(drawn.margin[reaches], asked.margin[reaches], rtol=0, atol=1e-9)


def test_the_assignment_is_one_cell_of_the_diagram():
    rows, columns = Axis("lr", 0.3, 0.4, 2), Axis("beta1", 0.5, 0.9, 2)
    drawn = draw_diagram("adam", rows, columns, {**BASE, "beta2": 0.999, "eps": 0.0}, 1000, None)
    assert drawn.h_max[0, 1] == pytest.approx(0.4101842951299659, abs=1e-12)
    assert drawn.step[0, 1] == 6
    assert drawn.margin[0, 1] == pytest.approx(0.1, abs=1e-12)
    assert drawn.holds_for_ever[0, 1]


@pytest.mark.parametrize(
    ("kernel", "decay"),
    [(KERNELS["momentum"], "momentum"), (KERNELS["nesterov"], "momentum"), (ADAM_OF_SIGNS, "beta1")],
)
def test_what_holds_for_ever_is_not_beaten_by_walking_on(kernel, decay):
    generator = np.random.default_rng(3)
    cells = 3000
    drawn = {"lr": generator.uniform(0.02, 1, cells), decay: generator.uniform(0, 0.97, cells)}
    values = {**BASE, "beta2": 0.9, "eps": 0.0, **drawn}
    early = find_summits(kernel, values, cells, 500)
    late = find_summits(Kernel(kernel.rule, kernel.memories), values, cells, 3000)
    known = early.holds_for_ever
    assert known.mean() > 0.8
    assert not late.holds_for_ever.any()
    np.testing.assert_allclose(early.h_max[known], late.h_max[known], rtol=0, atol=1e-9)


def test_a_slope_up_of_a_half_lets_adam_climb_higher():
    rows, columns = Axis("up_slope", 0.5, 1.0, 2), Axis("lr", 0.2, 0.3, 2)
    values = {"distance": 1.0, "beta1": 0.9, "beta2": 0.999, "eps": 0.0}
    drawn = draw_diagram("adam", rows, columns, values, 1000, None)
    assert drawn.h_max[0, 1] == pytest.approx(0.6582, abs=1e-4)
    assert drawn.h_max[1, 1] == pytest.approx(0.4101842951, abs=1e-9)


def test_a_walk_that_never_reaches_the_bump_or_runs_away_has_no_height():
    rows, columns = Axis("distance", 1.0, 1000.0, 2), Axis("weight_decay", 0.0, 30.0, 2)
    drawn = draw_diagram("gd", rows, columns, {"lr": 0.3, "up_slope": 1.0}, 1000, None)
    assert np.isnan(drawn.h_max).tolist() == [[False, True], [True, True]]
    table = drawn.table()
    assert [row["h_max"] is None for row in table.rows] == [False, True, True, True]
    assert [(row["distance"], row["weight_decay"]) for row in table.rows][1] == (1.0, 30.0)


def test_an_optimizer_without_kernel_is_asked_cell_by_cell():
    asked, ticks = [], []

    def find_summit(**settings):
        asked.append(settings)
        return (None, 0, 1.0) if settings["lr"] > 0.5 else (settings["lr"], 7, 0.1)

    axes = parse_sweep(["lr=0.1:1:2", "rho=0:0.9:3"], ["lr", "rho"])
    drawn = draw_diagram("adadelta", *axes, {"distance": 1.0, "up_slope": 1.0}, 1000, find_summit, ticks.append)
    assert asked[0] == {"lr": 0.1, "rho": 0.0}
    assert len(asked) == sum(ticks) == 6
    assert drawn.h_max[0].tolist() == [0.1] * 3
    assert np.isnan(drawn.h_max[1]).all()


def test_a_sweep_names_rows_then_columns():
    rows, columns = parse_sweep(["lr=0.01:1:512", "beta1=0:0.99:2"], ["lr", "beta1"])
    assert (rows.name, rows.values[0], rows.values[-1], len(rows.values)) == ("lr", 0.01, 1.0, 512)
    assert (columns.name, columns.values) == ("beta1", [0.0, 0.99])


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["lr=0:1:5"], "two axes"),
        (["lr=0:1:5", "lr=0:1:5"], "swept twice"),
        (["lr=0:1:5", "beta=0:1:5"], "did you mean beta1"),
        (["lr=0:1:5", "beta1=1:0:5"], "LOW must be less"),
        (["lr=0:1:5", "beta1=0:inf:5"], "finite"),
        (["lr=0:1:5", "beta1=0:nan:5"], "finite"),
        (["lr=0:1:1", "beta1=0:1:5"], "from 2 to 4096"),
        (["lr=0:1:4097", "beta1=0:1:5"], "from 2 to 4096"),
        (["lr=0:1:2.5", "beta1=0:1:5"], "a whole one"),
        (["lr=0:one:5", "beta1=0:1:5"], "write numbers"),
        (["lr=0:1", "beta1=0:1:5"], "KEY=LOW:HIGH:COUNT"),
        (["lr", "beta1=0:1:5"], "KEY=LOW:HIGH:COUNT"),
    ],
)
def test_a_sweep_that_cannot_be_read_is_refused_with_the_way_out(texts, says):
    with pytest.raises(ValueError, match=says):
        parse_sweep(texts, ["lr", "beta1"])


def test_the_figure_is_drawn_with_ties_and_empty_cells_and_with_one_height_only():
    settings = {**BASE, "beta1": 0.9, "beta2": 0.999, "eps": 0.0}
    for sweep in (["lr=0.25:1:4", "distance=1:400:3"], ["beta2=0.5:0.9:2", "eps=0:1e-12:2"]):
        axes = parse_sweep(sweep, ["lr", "distance", "beta2", "eps"])
        assert render(phase_diagram(draw_diagram("adam", *axes, settings, 50, None)), "png").startswith(b"\x89PNG")
