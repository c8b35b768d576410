"""How a figure becomes bytes, and that names stand on it as they are."""

from xml.etree import ElementTree

import numpy as np
import pytest
from latent.made_results import made
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font

from bs6207 import figures
from bs6207.bump import figures as bump_figures
from bs6207.figures import clipped, drawn, own_letters, panels, render, texts
from bs6207.latent.summary import summarize
from bs6207.runs.result import Table

NAMES = (
    *("$$", "Ba$$in", "$x", r"\frac{1}{2}$", "_hidden", " ", "a\nb", "a\tb", "\x1b[31mred", "\u202eturned"),
    *("{}", "%s", "<&>\"'", "--", "-->", "日本語", "한국어", "עברית", "العربية", "😀", "x" * 255, "語" * 80),
)


def placed(left):
    """A figure of one picture."""
    figure = Figure()
    figure.add_axes((left, 0.1, 0.6, 0.6)).imshow(np.eye(3))
    return figure


def written(text):
    """A figure of one text."""
    figure, ((axes,),) = panels(1, 1, (3, 2))
    axes.set_title(text)
    return figure


@pytest.fixture
def fonts(monkeypatch):
    """`fonts(name, ...)`: no others are installed beside the default one."""
    installed = list(fontManager.ttflist)

    def install(*names):
        figures.installed_fonts.cache_clear()
        monkeypatch.setattr(fontManager, "ttflist", [one for one in installed if one.name in ("DejaVu Sans", *names)])

    yield install
    figures.installed_fonts.cache_clear()


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_what_a_layout_leaves_to_rounding_does_not_change_a_figure(kind):
    assert render(placed(0.2), kind) == render(placed(0.2 + 1e-15), kind)
    assert render(placed(0.2), kind) != render(placed(0.25), kind)


@pytest.mark.parametrize("name", ["scatter", "centroids", "reconstructions"])
def test_any_class_name_is_a_text(fonts, name):
    fonts()
    figure = summarize(*made((2,), names=NAMES)).figures[name]()
    ElementTree.fromstring(render(figure, "svg"))
    shown = {text.get_text() for text in texts(figure)}
    assert sum(clipped(name, most) in shown for name in NAMES for most in (10, 14)) >= len(NAMES) / 2


def test_any_optimizer_name_is_a_text(fonts):
    fonts()
    figure = bump_figures.thresholds({name: {"h_max": 0.4} for name in NAMES})
    ElementTree.fromstring(render(figure, "svg"))
    assert {clipped(name, bump_figures.MOST_LETTERS) for name in NAMES} <= {text.get_text() for text in texts(figure)}


@pytest.mark.parametrize(("least", "most"), [(0.001, 100), (2, 7)])
def test_a_logarithmic_axis_has_plain_numbers(least, most):
    figure, ((axes,),) = panels(1, 1, (3, 2))
    axes.plot([least, most], [least, most])
    axes.set(xscale="log", yscale="log")
    render(figure, "png")
    labels = [label.get_text() for label in (*axes.get_xticklabels(), *axes.get_yticklabels("both"))]
    assert {float(label) for label in labels if label} & {1, 3}


def test_names_that_are_shortened_alike_keep_bars_of_their_own():
    found = {f"{'x' * 30}{number}{'x' * 30}": {"h_max": number} for number in range(3)}
    (axes,) = bump_figures.thresholds(found).axes
    assert [bar.get_width() for bar in axes.patches] == [0, 1, 2]


def test_a_legend_has_the_names_that_begin_with_an_underscore():
    figure = Figure()
    axes = figure.add_subplot()
    figures.legend_of(["_a", "b"], axes.plot([[0, 1], [1, 0]]), axes)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["_a", "b"]


def test_a_letter_gets_an_installed_font_that_has_it(fonts):
    fonts("STIXGeneral")
    (file,) = {one.fname for one in fontManager.ttflist if (one.name, one.style, one.weight) == STIX}
    letter = next(letter for letter in map(chr, sorted(FT2Font(file).get_charmap())) if letter not in own_letters())
    figure = written(f"a {letter}")
    files, without_font = drawn(lambda: figure)
    assert without_font == ""
    assert {text.get_fontfamily()[-1] for text in texts(figure) if letter in text.get_text()} == {"STIXGeneral"}
    fonts()
    boxes, without_font = drawn(lambda: written(f"a {letter}"))
    assert without_font == letter
    assert boxes["svg"] != files["svg"]


STIX = ("STIXGeneral", "normal", 400)


def test_letters_without_a_font_are_reported_and_no_library_warns(fonts):
    fonts()
    assert drawn(lambda: written("a 語日 語"))[1] == "日語"
    assert drawn(lambda: written("a\nb, σ₁ …"))[1] == ""


@pytest.mark.parametrize(
    ("name", "most", "shown"),
    [
        ("short", 5, "short"),
        ("class 1 of many", 8, "clas…any"),
        ("日本語の名前", 7, "日…前"),
        ("a\nb\x07", 9, "a b\ufffd"),
    ],
)
def test_a_long_name_keeps_both_ends(name, most, shown):
    assert clipped(name, most) == shown


def test_the_command_warns_once_of_letters_without_a_font(main, monkeypatch, tmp_path):
    def run(settings, progress, map_tasks):
        from bs6207.runs.result import Result

        pictures = dict.fromkeys(("one", "two"), lambda: written("語"))
        return Result(settings, {}, Table(("what",), [{"what": "done"}]), figures=pictures)

    monkeypatch.setattr("bs6207.bump.experiment.run", run)
    monkeypatch.setattr(fontManager, "ttflist", [one for one in fontManager.ttflist if one.name == "DejaVu Sans"])
    figures.installed_fonts.cache_clear()
    done = main("bump", "--jobs", "1")
    figures.installed_fonts.cache_clear()
    assert done.returncode == 0
    assert done.stderr.count("語") == 1
    assert "bump: no installed font has 語, so figures show boxes; install one" in done.stderr
