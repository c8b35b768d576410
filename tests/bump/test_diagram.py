"""Phase diagrams agree with torch.optim cell by cell, and sweeps are read or refused in a sentence."""

import io
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from bs6207.bump.adapter import Adapter, descend
from bs6207.bump.diagram import find_maxima, find_thresholds, grid, join_rows
from bs6207.bump.figures import edges, phase_diagram, sweep
from bs6207.bump.kernels import ADAM_OF_SIGNS, KERNELS
from bs6207.bump.landscape import TIE, Triangle
from bs6207.bump.settings import SWEEPABLE, read_sweep
from bs6207.figures import render
from bs6207.runs.sweep import read_axes

STEPS = 300
BASE = {"distance": 1.0, "up_slope": 1.0, "lr": 0.3}
ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": 0.0}
SGD, Adam, AdamW, RMSprop = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop


def axis(text):
    (one,) = read_axes([text], dict.fromkeys(SWEEPABLE, float))
    return one


def draw_diagram(optimizer, axes, common, steps, find_threshold, on_progress=lambda cells: None):
    """A diagram, drawn in two parts."""
    parts = [
        find_thresholds(optimizer, common, grid(axes, rows), steps, find_threshold, on_progress)
        for rows in (slice(0, 1), slice(1, None))
    ]
    return join_rows(optimizer, axes, parts)


CASES = {  # optimizer, its torch constructor, settings, the two axes
    "gd": (SGD, BASE, axis("lr=0.07:0.9:4"), axis("distance=0.53:2.1:4")),
    "momentum": (
        SGD,
        {**BASE, "momentum": 0.9, "dampening": 0.0},
        axis("momentum=0:0.98:4"),
        axis("dampening=0:0.9:4"),
    ),
    "nesterov": (
        lambda parameters, **values: SGD(parameters, nesterov=True, **values),
        BASE,
        axis("lr=0.05:0.9:4"),
        axis("momentum=0.05:0.97:4"),
    ),
    "adam": (
        lambda parameters, beta1, beta2, **values: Adam(parameters, betas=(beta1, beta2), **values),
        {**BASE, "beta2": 0.99, "eps": 1e-8},
        axis("lr=0.03:0.97:4"),
        axis("beta1=0:0.98:4"),
    ),
    "adamw": (
        lambda parameters, beta1, beta2, **values: AdamW(parameters, betas=(beta1, beta2), **values),
        {**BASE, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8},
        axis("lr=0.13:0.97:4"),
        axis("weight_decay=0.01:0.3:4"),
    ),
    "rmsprop": (
        RMSprop,
        {**BASE, "eps": 1e-8, "momentum": 0.5},
        axis("lr=0.03:0.5:4"),
        axis("alpha=0.1:0.98:4"),
    ),
}


def maximum_of(make_optimizer, distance, up_slope, **values):
    """h_max, step and margin of one cell, through torch."""
    adapter = Adapter("", lambda parameters: make_optimizer(parameters, **values), values)
    path = descend(adapter, Triangle(distance, np.inf, up_slope), STEPS, "cpu")
    step = int(np.argmax(path))
    margin = min(abs(x - distance) for x in path[: step + 1])
    return (path[step] - distance, step, margin) if path[step] > distance else (None, step, margin)


@pytest.mark.parametrize("name", CASES)
def test_every_kernel_diagram_agrees_with_torch(name):
    assert set(CASES) == set(KERNELS)
    make_optimizer, values, rows, columns = CASES[name]
    drawn = draw_diagram(name, (rows, columns), values, STEPS, None)
    asked = draw_diagram(
        f"{name} by torch",
        (rows, columns),
        values,
        STEPS,
        partial(
            maximum_of,
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
    rows, columns = axis("lr=0.3:0.4:2"), axis("beta1=0.5:0.9:2")
    drawn = draw_diagram("adam", (rows, columns), {**BASE, "beta2": 0.999, "eps": 0.0}, 1000, None)
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
    early = find_maxima(kernel, values, cells, 500)
    late = find_maxima(replace(kernel, coast=None), values, cells, 3000)
    known = early.holds_for_ever
    assert known.mean() > 0.8
    assert not late.holds_for_ever.any()
    np.testing.assert_allclose(early.h_max[known], late.h_max[known], rtol=0, atol=1e-9)


def test_a_slope_up_of_a_half_lets_adam_climb_higher():
    rows, columns = axis("up_slope=0.5:1.0:2"), axis("lr=0.2:0.3:2")
    values = {"distance": 1.0, "beta1": 0.9, "beta2": 0.999, "eps": 0.0}
    drawn = draw_diagram("adam", (rows, columns), values, 1000, None)
    assert drawn.h_max[0, 1] == pytest.approx(0.6582, abs=1e-4)
    assert drawn.h_max[1, 1] == pytest.approx(0.4101842951, abs=1e-9)


def test_a_walk_that_never_reaches_the_bump_or_runs_away_has_no_height():
    rows, columns = axis("distance=1.0:1000.0:2"), axis("weight_decay=0.0:30.0:2")
    drawn = draw_diagram("gd", (rows, columns), {"lr": 0.3, "up_slope": 1.0}, 1000, None)
    assert np.isnan(drawn.h_max).tolist() == [[False, True], [True, True]]
    table = drawn.table()
    assert [row["h_max"] is None for row in table.rows] == [False, True, True, True]
    assert [(row["distance"], row["weight_decay"]) for row in table.rows][1] == (1.0, 30.0)


def test_an_optimizer_without_kernel_is_asked_cell_by_cell():
    asked, ticks = [], []

    def find_threshold(**settings):
        asked.append(settings)
        return (None, 0, 1.0) if settings["lr"] > 0.5 else (settings["lr"], 7, 0.1)

    axes = read_sweep(["lr=0.1:1:2", "rho=0:0.9:3"])
    drawn = draw_diagram("adadelta", axes, {"distance": 1.0, "up_slope": 1.0}, 1000, find_threshold, ticks.append)
    assert asked[0] == {"lr": 0.1, "rho": 0.0}
    assert len(asked) == len(ticks) == 6
    assert drawn.h_max[0].tolist() == [0.1] * 3
    assert np.isnan(drawn.h_max[1]).all()


def test_a_sweep_names_rows_then_columns_or_one_axis_and_a_list_rises():
    rows, columns = read_sweep(["lr=0.01:1:512", "beta1=0:0.99:2"])
    assert (rows.name, rows.values[0], rows.values[-1], len(rows.values)) == ("lr", 0.01, 1.0, 512)
    assert (columns.name, columns.values) == ("beta1", (0.0, 0.99))
    (only,) = read_sweep(["weight-decay=0.3,0.1"])
    assert (only.name, only.values) == ("weight_decay", (0.1, 0.3))


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["lr=0:1:5", "beta1=0:1:5", "eps=0:1:5"], "one axis or two, not 3"),
        (["lr=0:1:5", "lr=0:1:5"], "swept twice"),
        (["lr=0:1:5", "beta=0:1:5"], "did you mean beta"),
        (["lr=0.1"], "lr has one value only; give it as --lr, or several"),
        (["lr=0.1,nan"], "lr should be a finite number"),
    ],
)
def test_a_sweep_that_cannot_be_drawn_is_refused_with_the_remedy(texts, says):
    with pytest.raises(ValueError, match=says):
        read_sweep(texts)


def test_a_curve_is_the_row_of_a_plane_and_its_files_have_one_axis():
    plane = draw_diagram("adam", read_sweep(["lr=0.3,0.4", "beta1=0:0.9:4"]), BASE | ADAM, STEPS, None)
    curve = draw_diagram("adam", read_sweep(["beta1=0:0.9:4"]), BASE | ADAM, STEPS, None)
    assert curve.h_max.tolist() == plane.h_max[0].tolist()
    assert curve.metrics()["rows"] == {"name": "beta1", "low": 0.0, "high": 0.9, "count": 4, "spacing": "linear"}
    assert "columns" not in curve.metrics()
    assert plane.metrics()["rows"]["values"] == (0.3, 0.4)
    assert tuple(curve.table().rows[3])[:2] == ("beta1", "h_max")
    with np.load(io.BytesIO(curve.npz())) as held:
        assert held["beta1"].shape == held["h_max"].shape == (4,)


def test_cells_of_a_logarithmic_axis_end_half_way_between_its_values():
    assert edges(axis("lr=0.01:1:3:log")) == pytest.approx([10**power for power in (-2.5, -1.5, -0.5, 0.5)])
    assert edges(axis("lr=0.1,0.2,0.6")) == pytest.approx([0.05, 0.15, 0.4, 0.8])


def test_the_figure_is_drawn_with_ties_and_empty_cells_and_with_one_height_only():
    settings = {**BASE, "beta1": 0.9, "beta2": 0.999, "eps": 0.0}
    for texts in (["lr=0.25:1:4", "distance=1:400:3:log"], ["beta2=0.5:0.9:2", "eps=0:1e-12:2"]):
        axes = read_sweep(texts)
        assert render(phase_diagram(draw_diagram("adam", axes, settings, 50, None)), "png").startswith(b"\x89PNG")


def test_curves_of_many_optimizers_differ_in_colour_and_are_named():
    axes = read_sweep(["lr=0.01:1:5:log"])
    curves = [draw_diagram("adam", axes, BASE | ADAM, 50, None) for _ in range(9)]
    figure = sweep(curves)
    assert len({line.get_color() for line in figure.axes[0].get_lines()[:18:2]}) == 9
    assert figure.axes[0].get_xscale() == "log"
    assert render(figure, "png").startswith(b"\x89PNG")
