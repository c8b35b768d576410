"""The deblur figures: what they draw are the rows they are given, whatever the images, sigmas and restorers."""

import numpy as np
import pytest

from bs6207.deblur import figures
from bs6207.deblur.classical import BASELINES
from bs6207.deblur.evaluation import CONDITIONS
from bs6207.deblur.figures import NAMES
from bs6207.figures import render, texts
from bs6207.runs.result import Table

RESTORERS = [*NAMES]
ALWAYS = [name for name in RESTORERS if name != "autoencoder"]
CAPTIONS = {name: what.caption for name, what in CONDITIONS.items()}
WEIGHTS = [number / 10 for number in range(11)]


def drawn(figure):
    """Renders it, and gives every text on it."""
    assert len(render(figure, "png")) < 400_000
    return " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def grids_of(sigmas=(1.5, 3.0), shape=(8, 1, 28, 28)):
    random = np.random.RandomState(0)
    names = ("clear", "identity", "tv", "l1", "l1_disc")
    return {sigma: {name: random.rand(*shape).astype(np.float32) for name in names} for sigma in sigmas}


def scores_of(sigmas=(1.5, 3.0), names=RESTORERS, **fixed):
    random = np.random.RandomState(1)
    keys = {"psnr": 30, "l1": 0.1, "sharpness": 1, "heldout_clear": 1, "disc_clear": 1, "frechet": 100}
    rows = [
        {"restorer": name, "sigma": sigma} | {key: most * random.uniform(0.1, 1) for key, most in keys.items()} | fixed
        for name in names
        for sigma in sigmas
    ]
    return Table(tuple(rows[0]), rows)


def clear_of(sigmas, frechet=5.0):
    return {sigma: {"psnr": np.inf, "heldout_clear": 0.99, "frechet": frechet} for sigma in sigmas}


def frontier_of(sigmas):
    rows = [
        {"weight": weight, "sigma": sigma, "psnr": 25 - weight, "heldout_clear": weight, "l1": 0.02, "sharpness": 1.0}
        for weight in WEIGHTS
        for sigma in sigmas
    ]
    return Table(tuple(rows[0]), rows)


def curve_of(names=("identity", "autoencoder", "l1", "l1_disc")):
    random = np.random.RandomState(2)
    rows = [
        {"restorer": name, "sigma": sigma, "psnr": random.uniform(10, 40)}
        for name in names
        for sigma in (0.0, 1.0, 2.0, 3.0)
    ]
    return Table(tuple(rows[0]), rows)


def images_of(sigmas=(1.5, 3.0), count=200):
    random = np.random.RandomState(3)
    rows = [
        {"restorer": name, "sigma": sigma, "image": image, "psnr": 20.0, "disc_net": a, "heldout": b}
        for name in ("clear", *RESTORERS)
        for sigma in sigmas
        for image, (a, b) in enumerate(random.normal(size=(count, 2)))
    ]
    return Table(tuple(rows[0]), rows)


def conditions_of(names=("identity", "autoencoder", "l1", "l1_disc")):
    random = np.random.RandomState(4)
    gains = {name: random.uniform(-5, 8, len(CAPTIONS)) for name in names}
    rows = [
        {"condition": condition, "restorer": name, "psnr": 20.0, "gain": float(gains[name][line])}
        for line, condition in enumerate(CAPTIONS)
        for name in names
    ]
    return Table(tuple(rows[0]), rows)


def examples_of(shape=(3, 4, 1, 28, 28)):
    random = np.random.RandomState(5)
    made = {}
    for condition in CAPTIONS:
        shared = random.randint(0, 256, shape).astype(np.uint8)
        for name in ("l1", "l1_disc"):
            mine = shared.copy()
            mine[2] = random.randint(0, 256, shape[1:])
            made.setdefault(name, {})[condition] = mine
    return made


def history_of(seeds=(0,), strong=False, autoencoder=True, epochs=7):
    lasts = ["l1, last stage", "l1_disc, last stage"] + ["strong, last stage"] * strong
    stages = {"l1": epochs, **dict.fromkeys(lasts, 2 if epochs > 1 else 1)} | (
        {"autoencoder": 10} if autoencoder else {}
    )
    rows = [
        {"stage": stage, "seed": seed, "epoch": epoch, "loss": 0.1, "validation_psnr": 10.0 + seed + len(stage) + epoch}
        for seed in seeds
        for stage, count in stages.items()
        for epoch in range(1, count + 1)
    ]
    rows.append({"stage": "disc_net", "seed": 0, "epoch": 1, "loss": 0.1, "validation_accuracy": 0.9})
    return Table(("stage", "seed", "epoch", "loss", "validation_psnr", "validation_accuracy"), rows)


def points_of(axes):
    """By label, the points of every line that has one."""
    lines = [line for line in axes.lines if not line.get_label().startswith("_")]
    return {line.get_label(): list(zip(line.get_xdata(), line.get_ydata(), strict=True)) for line in lines}


def strips_of(figure):
    return [axes.images[0] for axes in figure.axes if axes.images]


def test_error_maps_are_the_absolute_difference_from_the_truth_on_one_scale():
    grids = grids_of()
    strips = strips_of(figures.restorations(grids, scores_of(), 5))
    wide = {5: 5 * 28 + 4 * 2, 3: 3 * 28 + 2 * 2}
    for name, row in (("l1", 5), ("l1_disc", 6)):
        for block, grid in enumerate(grids.values()):
            errors = np.abs(grid[name] - grid["clear"])
            typical, worst = strips[row * 4 + block * 2 : row * 4 + block * 2 + 2]
            assert (typical.get_array().shape, worst.get_array().shape) == ((28, wide[5]), (28, wide[3]))
            np.testing.assert_array_equal(typical.get_array()[:, 30:58], errors[1, 0])
            np.testing.assert_array_equal(worst.get_array()[:, -28:], errors[7, 0])
            most = max(np.abs(one[other] - one["clear"]).max() for one in grids.values() for other in ("l1", "l1_disc"))
            assert typical.norm.vmax == worst.norm.vmax == pytest.approx(most)


def test_errors_in_colour_are_the_mean_over_the_channels():
    grids = grids_of(shape=(8, 3, 12, 20))
    strips = strips_of(figures.restorations(grids, scores_of(), 5))
    assert strips[0].get_array().shape == (12, 5 * 20 + 4, 3)
    errors = np.abs(grids[1.5]["l1"] - grids[1.5]["clear"])
    np.testing.assert_allclose(strips[5 * 4].get_array()[:, :20], errors[0].mean(axis=0), atol=1e-6)


def test_rows_of_restorations_are_the_images_given_with_their_psnr_over_all():
    grids, scores = grids_of(), scores_of()
    figure = figures.restorations(grids, scores, 5)
    for row, name in enumerate(("clear", "identity", "tv", "l1", "l1_disc")):
        np.testing.assert_array_equal(strips_of(figure)[4 * row + 2].get_array()[:, :28], grids[3.0][name][0, 0])
    said = drawn(figure)
    for row in scores.rows:
        if row["restorer"] in grids[1.5]:
            assert f"{NAMES[row['restorer']]}\n{row['psnr']:.1f} dB" in said


def test_curves_and_baselines_are_the_rows_of_their_tables():
    curve, scores = curve_of(), scores_of()
    figure = figures.psnr_over_sigma(curve, scores, (0.2, 4.0))
    points = points_of(figure.axes[0])
    for table, names in ((curve, ("identity", "l1", "l1_disc", "autoencoder")), (scores, BASELINES)):
        for name in names:
            rows = [(row["sigma"], row["psnr"]) for row in table.rows if row["restorer"] == name]
            assert points[figures.label_of(name)] == rows
    assert len(points) == 8
    assert [label for label in points if "true kernel" in label] == [
        f"{NAMES[name]} (true kernel)" for name in BASELINES
    ]


def test_an_infinite_psnr_is_left_out():
    curve = curve_of()
    curve.rows[0]["psnr"] = np.inf
    name = curve.rows[0]["restorer"]
    points = points_of(figures.psnr_over_sigma(curve, scores_of(), (1.0, 1.0)).axes[0])
    assert [sigma for sigma, _ in points[figures.label_of(name)]] == [1.0, 2.0, 3.0]


def test_the_plane_has_every_restorer_at_its_scores_and_what_clear_images_reach():
    scores = scores_of()
    figure = figures.perception(scores, None, clear_of((1.5, 3.0)))
    assert len(figure.axes) == 4
    for axes, (key, sigma) in zip(
        figure.axes, [(key, sigma) for key in ("heldout_clear", "frechet") for sigma in (1.5, 3.0)], strict=True
    ):
        points = points_of(axes)
        for row in (row for row in scores.rows if row["sigma"] == sigma):
            assert points[figures.label_of(row["restorer"])] == [(row["psnr"], row[key])]
        assert set(axes.get_lines()[0].get_ydata()) == {clear_of((sigma,))[sigma][key]}
    assert "by clarity" not in drawn(figure)
    assert figure.axes[2].get_yscale() == "log"
    assert figure.axes[2].yaxis_inverted()
    assert not figure.axes[0].yaxis_inverted()


def test_without_labels_there_is_no_frechet_distance():
    figure = figures.perception(scores_of(frechet=None), None, clear_of((1.5, 3.0), None))
    assert len(figure.axes) == 2
    assert "Fréchet" not in drawn(figure)


def test_the_frontier_is_a_line_by_clarity_with_a_few_of_them_named():
    figure = figures.perception(scores_of(), frontier_of((1.5, 3.0)), clear_of((1.5, 3.0)))
    for axes in figure.axes[4:]:
        points = points_of(axes)
        assert points["by clarity"] == [(25 - weight, weight) for weight in WEIGHTS]
        assert set(points) == {"by clarity", "L1", "L1 + disc"}
        assert [text.get_text() for text in axes.texts] == ["0", "0.5", "1"]
    assert len(figure.axes) == 6


def test_histograms_count_the_scores_and_the_share_right_of_zero_is_written():
    images = images_of()
    figure = figures.disc_scores(images, [1.5, 3.0])
    for axes, (sigma, key) in zip(
        figure.axes, [(sigma, key) for sigma in (1.5, 3.0) for key in ("disc_net", "heldout")], strict=True
    ):
        for level, name in enumerate(("l1_disc", "l1", "identity", "clear")):
            values = np.array([r[key] for r in images.rows if r["sigma"] == sigma and r["restorer"] == name])
            heights, edges, _ = axes.patches[level].get_data()
            counts, _ = np.histogram(values, edges)
            assert counts.sum() == len(values)
            np.testing.assert_allclose((heights - level) / (heights - level).max(), counts / counts.max(), atol=1e-12)
            assert axes.texts[level].get_text() == f"{(values > 0).mean():.0%}"
    assert "blurred" in drawn(figure)


def test_bars_are_as_long_as_the_gains():
    table = conditions_of()
    figure = figures.conditions(table, examples_of(), CAPTIONS)
    containers = figure.axes[0].containers
    assert [one.get_label() for one in containers] == [NAMES[name] for name in figures.BLIND]
    for name, bars in zip(figures.BLIND, containers, strict=True):
        gains = [row["gain"] for row in table.rows if row["restorer"] == name]
        assert [bar.get_width() for bar in bars] == gains
        assert [round(bar.get_y() + bar.get_height() / 2) for bar in bars] == [*range(len(CAPTIONS))]
    said = " ".join(drawn(figure).split())
    assert all(caption in said for caption in CAPTIONS.values())


def test_a_gain_that_is_absent_or_infinite_has_no_bar_and_one_far_below_is_cut_but_written():
    table = conditions_of(("identity", "l1", "l1_disc"))
    ours = [row for row in table.rows if row["restorer"] == "l1"]
    ours[0]["gain"], ours[1]["gain"] = -np.inf, -80.0
    table.rows.remove(ours[2])
    figure = figures.conditions(table, examples_of(), CAPTIONS)
    ours_drawn, _ = figure.axes[0].containers
    assert [bar.get_width() for bar in ours_drawn] == [row["gain"] for row in [ours[1], *ours[3:]]]
    assert figure.axes[0].get_xlim()[0] > -80
    assert "\N{MINUS SIGN}80.0" in drawn(figure)


def test_beside_each_condition_stand_the_truth_the_blurred_and_what_was_made_of_it():
    examples = examples_of()
    strips = strips_of(figures.conditions(conditions_of(), examples, CAPTIONS))
    assert len(strips) == 2 * len(CAPTIONS)
    for line, condition in enumerate(CAPTIONS):
        for place in range(2):
            truth, blurred, ours = examples["l1"][condition][:, place, 0]
            theirs = examples["l1_disc"][condition][2, place, 0]
            strip = strips[2 * line + place].get_array()
            for column, image in enumerate((truth, blurred, ours, theirs)):
                np.testing.assert_allclose(strip[:, 30 * column : 30 * column + 28], image / 255, atol=1e-6)


def test_last_stages_go_on_from_the_end_of_l1_of_the_same_seed():
    history = history_of(seeds=(0, 1), strong=True)
    points = points_of(figures.loss_curves(history, 1).axes[0])
    rows = {
        stage: [row["validation_psnr"] for row in history.rows if row["stage"] == stage and row["seed"] == 1]
        for stage in figures.STAGES
    }
    assert len(points) == len(rows)
    for stage, (label, *_) in figures.STAGES.items():
        if "last stage" in stage:
            assert points[label] == [*zip((7, 8, 9), [rows["l1"][-1], *rows[stage]], strict=True)]
        else:
            assert points[label] == [*enumerate(rows[stage], 1)]


def test_what_was_not_trained_is_not_drawn():
    names = ("identity", "l1", "l1_disc")
    figs = [
        figures.loss_curves(history_of(autoencoder=False, epochs=1), 0),
        figures.conditions(conditions_of(names), examples_of(), CAPTIONS),
        figures.psnr_over_sigma(curve_of(names), scores_of(names=ALWAYS), (0.2, 4.0)),
        figures.perception(scores_of(names=ALWAYS), None, clear_of((1.5, 3.0))),
    ]
    for figure in figs:
        said = drawn(figure)
        assert "autoencoder" not in said
        assert "more of disc" not in said


@pytest.mark.parametrize(
    "sigmas",
    [pytest.param((2.0,), marks=pytest.mark.slow), (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)],
    ids=["one sigma", "six sigmas"],
)
@pytest.mark.parametrize(
    "shape", [pytest.param((2, 1, 28, 28), marks=pytest.mark.slow), (8, 3, 40, 24)], ids=["few", "colour"]
)
def test_whatever_the_images_and_sigmas_are_figures_keep_to_their_size(sigmas, shape):
    two = [*dict.fromkeys((sigmas[0], sigmas[-1]))]
    for figure in (
        figures.restorations(grids_of(two, shape), scores_of(sigmas), 5),
        figures.psnr_over_sigma(curve_of(), scores_of(sigmas), (2.0, 2.0)),
        figures.perception(scores_of(sigmas), frontier_of(sigmas), clear_of(sigmas)),
        figures.disc_scores(images_of(two, 2), two),
        figures.conditions(conditions_of(), examples_of((3, 1, *shape[1:])), CAPTIONS),
    ):
        assert max(figure.get_size_inches()) < 17
        assert render(figure, "svg")
        assert not [text for text in texts(figure) if "$" in text.get_text()], "mathematics, which is not parsed"
