"""The latent figures: they draw what is written beside them, whatever the images, classes and sizes."""

import io

import numpy as np
import pytest
from latent.made_results import made

from bs6207.figures import render, texts
from bs6207.latent import figures
from bs6207.latent.figures import DIGITS, MAX_DIMS, at_most_eight, class_styles, montage, without_overlap
from bs6207.latent.summary import summarize
from bs6207.runs.result import Table

IMAGES = {"reconstructions", "walks", "centroids"}
PLANE = {"scatter", "thumbnails"}
CURVES = {"scores", "loss_curves", "probes"}


def points_of(axes):
    return np.vstack([collection.get_offsets() for collection in axes.collections])


def every_text(figure):
    figure.canvas.draw()
    return " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def test_a_figure_is_named_for_its_function_and_there_for_its_sizes():
    drawn = summarize(*made((2, 5))).figures
    assert set(drawn) == IMAGES | PLANE | CURVES | {"projection"}
    assert all(callable(getattr(figures, name)) for name in drawn)
    assert set(summarize(*made((2,))).figures) == IMAGES | PLANE | CURVES
    assert set(summarize(*made((5,), with_probes=False)).figures) == IMAGES | CURVES - {"probes"} | {"projection"}


def test_the_scatter_has_a_point_for_every_row_in_the_colour_of_its_class():
    result = summarize(*made((2,)))
    rows = result.tables["latents_2"].rows
    (axes,) = result.figures["scatter"]().axes
    assert sorted(map(tuple, points_of(axes).astype(np.float32))) == sorted((row["z1"], row["z2"]) for row in rows)
    assert {tuple(colour[:3]) for colour in axes.collections[0].get_facecolors()} == {
        colour for colour, _ in class_styles(DIGITS).values()
    }


def test_the_projection_has_a_point_for_every_row_by_class_and_by_cluster():
    result = summarize(*made((5, 9)))
    panels = result.figures["projection"]().axes
    for dim, pair in zip((5, 9), (panels[:2], panels[2:]), strict=True):
        rows = [(row["x"], row["y"]) for row in result.tables["projections"].rows if row["dim"] == dim]
        for axes, kind in zip(pair, ("digit", "cluster"), strict=True):
            assert axes.get_title(loc="left") == f"dim {dim}, by {kind}"
            assert sorted(map(tuple, points_of(axes).astype(np.float32))) == sorted(rows)
            shares = result.metrics["projections"]["shares"][dim]
            assert axes.get_xlabel() == f"PC 1 ({shares[0]:.0%} of variance)"


def test_clusters_have_the_colour_of_the_class_they_are_named_after():
    result = summarize(*made((5,)))
    named = {row["cluster"]: row["name"] for row in result.tables["clusters"].rows}
    colours = points_colours(result.figures["projection"]().axes[1])
    for row, colour in zip(result.tables["projections"].rows, colours, strict=True):
        assert tuple(colour[:3]) == class_styles(DIGITS)[named[row["cluster"]]][0]


def test_projections_of_many_sizes_stand_in_bands_each_by_class_above_by_cluster():
    dims = (3, 4, 5, 6, 7)
    panels = summarize(*made(dims)).figures["projection"]().axes
    rows = {axes.get_title(loc="left"): axes.get_subplotspec().rowspan.start for axes in panels}
    for place, dim in enumerate(dims):
        assert rows[f"dim {dim}, by digit"] == 2 * (place // 3)
        assert rows[f"dim {dim}, by cluster"] == 2 * (place // 3) + 1


def points_colours(axes):
    return np.vstack([collection.get_facecolors() for collection in axes.collections])


def test_umap_is_labelled_as_a_second_model():
    result = summarize(*made((5,)))
    clusters = result.tables["clusters"]
    figure = figures.projection(result.tables["projections"], clusters, {5: None}, DIGITS)
    assert "UMAP, a second model" in every_text(figure)
    assert "variance" not in every_text(figure)
    assert "UMAP" not in every_text(result.figures["projection"]())


def test_thumbnails_stand_at_their_places_and_never_overlap():
    random = np.random.RandomState(0)
    corners = random.randint(0, 100, (300, 2))
    taken = without_overlap(corners, 12)
    covered = np.zeros((112, 112), int)
    for x, y in corners[taken]:
        covered[y : y + 12, x : x + 12] += 1
    assert covered.max() == 1
    assert taken == without_overlap(corners, 12)
    for place in set(range(300)) - set(taken):
        assert (np.abs(corners[taken] - corners[place]).max(axis=1) < 12).any()


def test_the_cluster_table_shows_the_counts_of_the_csv_in_the_order_of_the_names():
    result = summarize(*made((5,)))
    (axes,) = result.figures["centroids"]().axes
    heat = axes.images[0].get_array()
    order = [int(label.get_text()) for label in axes.get_yticklabels()]
    for row in result.tables["clusters"].rows:
        assert heat[order.index(row["cluster"]), int(row["digit"])] == row["count"]
    framed = [patch.get_xy() for patch in axes.patches]
    assert framed == [(place - 0.5, place - 0.5) for place in range(10)]


def test_curves_hold_the_numbers_of_metrics_json_and_a_band_from_the_least_to_the_most_of_the_seeds():
    metrics, results, data, settings = made((2, 4, 16), seeds=3)
    errors, accuracies = summarize(metrics, results, data, settings).figures["scores"]().axes
    for axes, score in (
        (errors, lambda one: one["l1"]),
        (accuracies, lambda one: one["clusters"]["kmeans"]["accuracy"]),
    ):
        np.testing.assert_array_equal(axes.lines[0].get_xdata(), [2, 4, 16])
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), [score(metrics["cells"][dim]) for dim in (2, 4, 16)])
        band = axes.collections[0].get_paths()[0].vertices
        seeds = [score(one) for one in metrics["cells"][16]["seeds"].values()]
        assert set(band[band[:, 0] == 16][:, 1]) == {min(seeds), max(seeds)}
    assert not summarize(*made((2, 4))).figures["scores"]().axes[0].collections
    floors = metrics["baselines"]
    for name in ("black", "median", "mean"):
        assert f"{name} image {floors[name]['l1']:.4f}" in every_text(errors.figure)


def test_loss_curves_have_a_line_for_every_seed():
    result = summarize(*made((2, 5), seeds=3))
    (axes,) = result.figures["loss_curves"]().axes
    solid = [line for line in axes.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 3]
    assert len(solid) == 2 * 3


def test_reconstructions_show_every_class_first():
    labels = summarize(*made((2,), images=90)).figures["reconstructions"]().axes[0].get_xticklabels()
    assert [label.get_text() for label in labels] == [*"0123456789", "0", "0"]


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(
            {"names": tuple(f"a class with quite a long name {number}" for number in range(25)), "images": 75},
            marks=pytest.mark.slow,
        ),
        pytest.param({"names": (), "clusters": 40}, marks=pytest.mark.slow),
        pytest.param({"names": ("only",), "clusters": 2}, marks=pytest.mark.slow),
        pytest.param({"image_shape": (3, 40, 24)}, marks=pytest.mark.slow),
        pytest.param({"image_shape": (1, 1, 64)}, marks=pytest.mark.slow),
        pytest.param({"image_shape": (1, 64, 1), "images": 1, "names": ("a", "b")}, marks=pytest.mark.slow),
        {"image_shape": (1, 2, 2), "images": 2, "names": ()},
        pytest.param({"dims": (1,)}, marks=pytest.mark.slow),
        pytest.param({"dims": (2, 3, 5)}, marks=pytest.mark.slow),
        pytest.param({"dims": (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12), "seeds": 2}, marks=pytest.mark.slow),
    ],
    ids="many classes,no labels,one class,colour,flat,one tall,two tiny,one number,three sizes,many sizes".split(","),
)
def test_whatever_the_images_are_figures_keep_to_their_size(shape):
    for name, draw in summarize(*made(**{"dims": (2, 5)} | shape)).figures.items():
        figure = draw()
        width, height = figure.get_size_inches()
        assert max(width, height) < 20, name
        assert render(figure, "png"), name
        assert not [text for text in texts(figure) if "$" in text.get_text()], "mathematics, which is not parsed"


def test_more_than_eight_sizes_are_thinned_out_and_the_title_says_which():
    assert at_most_eight([4, 2]) == ([2, 4], "")
    shown, note = at_most_eight(range(1, 12))
    assert len(shown) == MAX_DIMS
    assert (shown[0], shown[-1]) == (1, 11)
    left = [dim for dim in range(1, 12) if dim not in shown]
    assert note == f"not shown: dim {', '.join(map(str, left))}"
    drawn = summarize(*made(range(1, 12))).figures
    for name in IMAGES:
        assert note in " ".join(every_text(drawn[name]()).split()), name


def test_twenty_five_classes_look_different_each():
    assert len(set(class_styles(range(25)).values())) == 25
    assert len(set(class_styles(range(10)).values())) == 10


def test_a_montage_keeps_every_pixel():
    images = np.random.RandomState(0).rand(2, 3, 3, 5, 4)
    whole = montage(images, gap=2)
    assert whole.shape == (2 * 5 + 2, 3 * 4 + 2 * 2, 3)
    np.testing.assert_array_equal(whole[7:, 6:10], images[1, 1].transpose(1, 2, 0))
    assert (whole[5:7] == 1).all()
    grey = montage(images[:, :, :1], gap=0)
    np.testing.assert_array_equal(grey[:5, :4, 2], images[0, 0, 0])


@pytest.mark.slow
def test_the_same_cells_give_the_same_pictures():
    one, two = (summarize(*made((2, 5))).figures for _ in range(2))
    for name in one:
        assert render(one[name](), "svg") == render(two[name](), "svg"), name


def test_written_images_are_the_ones_drawn():
    metrics, results, data, settings = made((2, 5))
    result = summarize(metrics, results, data, settings)
    images = np.load(io.BytesIO(result.files["images.npz"]))
    np.testing.assert_array_equal(images["reconstructions_5"], results[5][0].shown)
    np.testing.assert_array_equal(images["walks_5"], results[5][0].walks)
    np.testing.assert_array_equal(images["centroids_5_kmeans"], results[5][0].centroids["kmeans"])
    assert images["originals"].shape == images["reconstructions_2"].shape


def test_the_number_of_clusters_that_is_used_is_marked_among_the_agreements_of_halves():
    rows = [{"clusters": count, "agreement": 1 - abs(count - 6) / 10} for count in (1, 3, 6, 12)]
    curve, number = Table(("clusters", "agreement"), rows), {"used": 6, "stable": True}
    (axes,) = figures.number_of_clusters(curve, number, 0.95).axes
    assert axes.lines[0].get_xydata().tolist() == [[row["clusters"], row["agreement"]] for row in rows[1:]]
    assert [axes.lines[1].get_xdata()[0], axes.lines[2].get_ydata()[0]] == [6, 0.95]
    assert axes.get_title(loc="left") == "number of clusters"
    (without,) = figures.number_of_clusters(Table((), ()), number | {"stable": False}, 0.95).axes
    assert without.get_title(loc="left") == "number of clusters, not stable"


def test_the_legend_of_many_classes_says_how_many_are_left_out():
    figure, _ = figures.panels(1, 1, (6, 3))
    figures.add_class_legend(figure, [f"kind {number}" for number in range(200)])
    assert f"and {200 - figures.MAX_LEGEND} more" in every_text(figure)
