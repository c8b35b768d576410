"""How a page comes about: which runs it takes, what it says of them, what it refuses."""

import json
import re
import shutil
import subprocess
import sys
import zlib
from base64 import b64decode
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from latent.made_results import made
from markupsafe import escape
from page.made_runs import made_run
from torch import nn

from bs6207.cli import commands as cli
from bs6207.errors import FolderError
from bs6207.latent.autoencoder import Autoencoder, Recipe
from bs6207.latent.model import to_weights
from bs6207.latent.summary import summarize
from bs6207.latent.tasks import GRID_SIDE, grid_points
from bs6207.page import build as page
from bs6207.page.build import MARK, build
from bs6207.page.compare import RESULTS, compare
from bs6207.page.decoder import EXACT, Decoder, read_decoder
from bs6207.page.explorers import grid
from bs6207.page.packing import pack, pack_rounded
from bs6207.page.pictures import pictures
from bs6207.page.runs import read_runs
from bs6207.runs.files import strict_json
from bs6207.runs.finished import read_run
from bs6207.runs.folder import open_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """outputs/ with one run of every command."""
    outputs = tmp_path_factory.mktemp("runs") / "outputs"
    for command in ("bump", "latent", "deblur"):
        made_run(outputs / command, command)
    return outputs


def page_of(*folders: Path) -> str:
    content = build(read_runs([str(folder) for folder in folders], Path("outputs")))
    assert content.startswith(MARK)
    return content.decode()


def test_every_command_has_its_question_its_numbers_and_its_figure(runs):
    shown = page_of(*(runs / command for command in ("deblur", "bump", "latent")))
    places = [shown.index(f'<section class="story" id="{command}"') for command in ("bump", "latent", "deblur")]
    assert places == sorted(places)
    assert shown.count('src="data:image/webp;base64,') == 3
    assert "0.735" in shown  # the accuracy at dim 4, from tests/gallery
    assert 'alt="Paths over one and the same bump. h_max: adam 0.410184, gd 0.200000, momentum 1.203230."' in shown


def test_the_page_names_no_address(runs):
    shown = page_of(*(runs / command for command in ("bump", "latent", "deblur")))
    assert not re.findall(r"""(?:src|href|action)=["'](?!data:|#)[^"']*""", shown)
    assert {*re.findall(r"https?://[^\s\"'<]+", shown)} <= {"http://www.w3.org/2000/svg"}
    assert "default-src &#39;none&#39;" in shown


def test_torch_is_not_needed_to_make_a_page(runs):
    script = (
        "import sys; from bs6207.cli.commands import app; app(sys.argv[1:], standalone_mode=False); print(*sys.modules)"
    )
    line = [
        sys.executable,
        "-c",
        script,
        "report",
        str(runs / "bump"),
        str(runs / "deblur"),
        "--out",
        str(runs / "a.html"),
    ]
    done = subprocess.run(line, capture_output=True, text=True, check=True, cwd=runs)
    assert not {"torch", "matplotlib", "sklearn", "scipy"} & set(done.stdout.split())


def test_the_last_run_of_every_command_is_the_default(main, tmp_path):
    made_run(tmp_path / "outputs/bump", "bump")
    made_run(tmp_path / "outputs/deblur", "deblur")
    made_run(tmp_path / "outputs/history/bump-20250101T000000Z", "bump")
    (tmp_path / "outputs/latent.partial").mkdir()
    done = main("report")
    assert (done.returncode, done.stdout, done.stderr) == (0, "outputs/report.html\n", "")
    shown = (tmp_path / "outputs/report.html").read_text()
    assert shown.count('<article class="run"') == 2
    assert main("report", "outputs/bump").returncode == 0  # an earlier page is replaced
    assert (tmp_path / "outputs/report.html").read_text() != shown


REFUSALS = [
    ("report", "there is no finished run in outputs; run bs6207 bump first, or give the folder of a run"),
    ("report nowhere", "there is no folder nowhere; give one that bs6207 bump, latent, deblur or audit has filled"),
    ("report .", ". holds no finished run; give one that bs6207 bump, latent, deblur or audit has filled"),
    ("report half", "half holds no finished run"),
    ("report broken", "cannot read the run in broken"),
    ("report strange", "cannot make a page of the run in strange"),
    ("report good --out notes.html", "notes.html exists and is something else; choose another --out"),
    ("report good --out good", "cannot write good"),
]


@pytest.mark.parametrize(("line", "words"), REFUSALS, ids=[line for line, _ in REFUSALS])
def test_what_is_no_run_or_no_page_is_refused_in_one_sentence(main, tmp_path, line, words):
    for name in ("half", "broken", "strange", "good"):
        made_run(tmp_path / name, "bump")
    (tmp_path / "half/metrics.json").unlink()
    (tmp_path / "broken/metrics.json").write_text('{"optimizers": ')
    (tmp_path / "strange/metrics.json").write_text('{"optimizers": 3}')
    (tmp_path / "notes.html").write_text("<!doctype html><p>mine")
    done = main(*line.split())
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert words in done.stderr
    assert (tmp_path / "notes.html").read_text() == "<!doctype html><p>mine"


@pytest.mark.parametrize("command", ["bump", "latent", "deblur"])
def test_a_run_of_an_earlier_version_is_shown_without_what_it_lacks(tmp_path, command):
    run = made_run(tmp_path / "old", command)
    for file in run.iterdir():
        if file.name not in ("metrics.json", "config.toml"):
            file.unlink()
    shown = page_of(run)
    assert f"bs6207 {command} --config {run}/config.toml" in shown
    assert {"bump": "0.4101842951299659", "latent": "0.752", "deblur": "Settings"}[command] in shown
    assert "<img" not in shown


def test_a_figure_that_is_no_picture_is_left_out(tmp_path):
    run = made_run(tmp_path / "run", "bump")
    (run / "thresholds.png").write_bytes(b"not a picture")
    assert [one["caption"] for one in pictures(read_run(str(run)), 500)] == ["Paths over one and the same bump"]


def test_the_same_run_given_twice_is_refused(main):
    assert main("report", "a", "a").returncode == 2


def test_open_opens_the_page_and_says_where_it_cannot(main, tmp_path, monkeypatch):
    made_run(tmp_path / "outputs/bump", "bump")
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\necho "$1" > opened\n')
    browser.chmod(0o755)

    def open_with(**environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delitem(sys.modules, "webbrowser")  # it looks for browsers once
        monkeypatch.setattr(cli, "webbrowser", import_module("webbrowser"))
        return main("report", "--open")

    assert open_with(BROWSER=str(browser)).returncode == 0
    assert (tmp_path / "opened").read_text() == (tmp_path / "outputs/report.html").as_uri() + "\n"
    done = open_with(BROWSER="/nowhere/at/all", PATH="/nowhere", DISPLAY="", WAYLAND_DISPLAY="")
    assert "there is no browser to open; open outputs/report.html yourself" in done.stderr


def test_several_runs_are_compared_by_settings_and_results(runs, tmp_path):
    other = made_run(tmp_path / "other", "latent", dims=[2, 8])
    metrics = json.loads((other / "metrics.json").read_text())
    metrics["cells"]["4"]["l1"] = 0.5
    (other / "metrics.json").write_text(json.dumps(metrics))
    found = compare([read_run(str(runs / "latent")), read_run(str(other))])
    assert {line.name: line.values for line in found["settings"] if line.differs} == {"dims": ["2 4", "2 8"]}
    (differing,) = (line for line in found["results"] if line.differs)
    assert (differing.name, differing.values[1]) == ("dim 4: L1", "0.5")
    assert sum("PCA" in line.name for line in found["results"]) > 5


def test_audits_are_compared_by_their_rules_and_checks():
    checks = [{"name": "pickle", "state": "passed"}, {"name": "closure", "state": "failed"}]
    found = dict(RESULTS["audit"]({"optimizers": {"adam": {"rule": "adamw", "checks": checks}}}))
    assert found == {"adam: rule": "adamw", "adam: pickle": "passed", "adam: closure": "failed"}


def test_two_restorers_are_compared_at_every_blur(tmp_path):
    runs = [made_run(tmp_path / name, "deblur") for name in ("one", "other")]
    metrics = json.loads((runs[1] / "metrics.json").read_text())
    metrics["restorers"]["l1_disc"]["1.5"]["psnr"] = 12.5
    (runs[1] / "metrics.json").write_text(json.dumps(metrics))
    found = compare([read_run(str(run)) for run in runs])["results"]
    (differing,) = (line for line in found if line.differs)
    assert (differing.name, differing.values[1]) == ("l1_disc, sigma 1.5: PSNR dB", "12.5")
    assert {"identity, sigma 1.5: sharpness", "clarity chosen"} <= {line.name for line in found}


def test_a_file_that_is_too_large_to_hand_out_is_named_all_the_same(tmp_path):
    run = made_run(tmp_path / "run", "bump")
    noise = np.random.RandomState(0).randint(0, 10**9, 30_000)
    (run / "noise.csv").write_text("number\n" + "\n".join(map(str, noise)))
    shown = page_of(run)
    assert "<span>noise.csv</span>" in shown
    assert "the first 50 of 30,000 rows" in shown


def test_a_page_that_gets_too_large_has_smaller_figures_and_then_no_weights(runs, monkeypatch):
    tried = []
    monkeypatch.setattr(page, "show", lambda key, run, widest, exact: tried.append((widest, exact)))
    monkeypatch.setattr(page, "render", lambda shown: b" " * (page.LARGEST + 2 - len(tried)))
    page.build([read_run(str(runs / "bump"))])
    assert tried == [(1000, True), (760, True)]
    tried.clear()
    monkeypatch.setattr(page, "render", lambda shown: b" " * (page.LARGEST + 1))
    page.build([read_run(str(runs / "bump"))])
    assert tried == [*page.DETAIL]


def unpacked(packed) -> bytes:
    return zlib.decompress(b64decode(packed["data"]))


def test_what_is_packed_can_be_read_back():
    values = np.random.RandomState(0).normal(size=(3, 5)).astype(np.float32)
    assert np.array_equal(np.frombuffer(unpacked(pack(values)), "<f4").reshape(3, 5), values)
    steps = np.array([2.0**-20, 2.0**-10, 2.0**-18], np.float32)
    low, middle, high = np.frombuffer(unpacked(pack_rounded(values, steps)), np.uint8).reshape(3, 3, 5).astype(int)
    counts = (low | middle << 8 | high << 16) - (high >= 128) * 2**24
    np.testing.assert_allclose(counts * steps[:, None], values, atol=steps.max() / 2)
    with pytest.raises(ValueError, match="too large"):
        pack_rounded(values * 1e9, steps)


def autoencoder(folder: Path, shape=(1, 8, 8), arch="mlp", linear=False, window=None) -> Autoencoder:
    """A network of two latent dimensions that has seen some noise, and its file of weights."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    recipe = Recipe((32,), (40, 48), linear, lr=0.1, batch_size=8, smooth=0.1, window=window)
    network = Autoencoder(shape, 2, recipe, arch)
    for _ in range(20):
        network(torch.rand(16, *shape))
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d):
            nn.init.normal_(layer.weight, 1, 0.2)
            nn.init.normal_(layer.bias, 0, 0.2)
    weights = to_weights(network.eval())
    facts = {"bs6207": strict_json(weights.facts)}
    save_file({name: tensor.contiguous() for name, tensor in weights.tensors.items()}, folder / "a.safetensors", facts)
    return network


@pytest.mark.parametrize(("shape", "window"), [((1, 8, 8), None), ((3, 6, 5), None), ((3, 8, 7), (1, 7, 2, 6))])
@torch.no_grad()
def test_a_decoder_read_without_torch_decodes_as_torch_does(tmp_path, shape, window):
    network, places = (
        autoencoder(tmp_path, shape, window=window),
        np.random.RandomState(0).normal(size=(50, 2)).astype(np.float32),
    )
    decoder = read_decoder(tmp_path / "a.safetensors")
    expected = network.decoder(torch.from_numpy(places)).numpy()
    np.testing.assert_allclose(decoder(places), expected, atol=1e-6)
    assert decoder.agrees(places, np.round(expected * 255).astype(np.uint8))
    assert not decoder.agrees(places, np.round(expected[::-1] * 255).astype(np.uint8))


def test_rounding_keeps_the_images_exact(tmp_path):
    autoencoder(tmp_path, (1, 16, 16))
    decoder = read_decoder(tmp_path / "a.safetensors")
    places = np.random.RandomState(0).normal(size=(50, 2))
    layers = []
    for packed, (weight, bias) in zip(decoder.packed(places), decoder.layers, strict=True):
        if packed["weight"]["kind"] == "rounded":
            steps = np.frombuffer(unpacked(packed["weight"]["steps"]), "<f4")[:, None]
            weight = np.round(weight / steps) * steps
        layers.append((weight, bias))
    error = np.abs(Decoder(layers, decoder.image_shape)(places) - decoder(places)).max()
    assert 0 < error <= EXACT


@pytest.mark.parametrize("how", [{"arch": "conv"}, {"linear": True}])
def test_a_decoder_of_another_kind_is_left_to_what_the_run_has_drawn(tmp_path, how):
    autoencoder(tmp_path, **how)
    assert read_decoder(tmp_path / "a.safetensors") is None
    assert read_decoder(tmp_path / "nothing.safetensors") is None
    (tmp_path / "b.safetensors").write_bytes(b"no weights")
    assert read_decoder(tmp_path / "b.safetensors") is None


LATENTS = {
    "without labels": {"names": (), "clusters": 3},
    "in colour": {"image_shape": (3, 9, 7)},
    "many classes": {"names": [f"class {number}" for number in range(30)], "images": 90},
    "several seeds and clusterers": {"seeds": 2, "clusterers": ("kmeans", "gmm")},
    "no two dimensions": {"dims": (3, 64)},
    "without probes": {"with_probes": False},
}


@pytest.mark.parametrize("kind", LATENTS)
def test_a_run_on_any_images_has_its_page(tmp_path, kind):
    result = replace(summarize(*made(**LATENTS[kind])), figures={}, weights={})
    with open_run("latent", tmp_path / "run", result.settings) as run:
        run.write_result(result)
    shown = page_of(tmp_path / "run")
    assert ('data-explorer="plane"' in shown) == (kind != "no two dimensions")
    assert 'data-explorer="sizes"' in shown
    for sentence in result.remarks:
        assert str(escape(sentence)) in shown


def test_the_plane_of_a_run_is_what_its_decoder_makes_of_an_even_grid(tmp_path):
    network = autoencoder(tmp_path)
    latents = torch.randn(30, 2)
    places = grid_points(latents)
    low, high = latents.amin(0), latents.amax(0)
    expected = grid(torch.stack([low, high]).numpy(), GRID_SIDE).reshape(-1, 2)
    np.testing.assert_allclose(places.numpy(), expected, atol=1e-5)
    with torch.no_grad():
        drawn = np.round(network.decoder(places).numpy() * 255).astype(np.uint8)
    assert read_decoder(tmp_path / "a.safetensors").agrees(expected, drawn)


def test_a_folder_that_vanishes_is_reported(runs, tmp_path):
    shutil.copytree(runs / "bump", tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(FolderError, match="there is no folder"):
        read_run(str(tmp_path / "run"))
