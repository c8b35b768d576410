"""Sweeps: every combination once, what fails beside what does not, a table and a figure over all."""

import json

import pytest
from conftest import UNDRAWN, Watched
from pydantic import ValidationError

from bs6207.data.sources import load, require_data
from bs6207.deblur.settings import DeblurSettings
from bs6207.errors import DataError, DivergenceError
from bs6207.figures import render
from bs6207.latent.settings import LatentSettings
from bs6207.runs import memory
from bs6207.runs.files import to_csv
from bs6207.runs.memory import Need
from bs6207.runs.progress import map_serially
from bs6207.runs.result import Result, Table
from bs6207.runs.sweep import MAX_RUNS, Measure, expand, run, swept_values

MEASURE = Measure("score", "test score", "size", ("kind", "ours"), "theirs", "baseline", "max")


def experiment(settings, progress, map_tasks):
    """Scores that follow from the settings; one of two sizes fails at 3 seeds, and all at 4."""
    progress.expect(7)
    progress.record({"epoch": 1})
    progress.status("half-way")
    if settings.seeds == 4:
        raise DivergenceError("nothing learned")
    rows = [{"kind": "ours", "size": 8, "score": settings.lr * settings.seeds}]
    rows += [{"kind": "theirs", "size": 8, "score": 99.0}]
    if settings.seeds != 3:
        rows.append({"kind": "ours", "size": 2, "score": -settings.lr})
    failures = ["size 2 learned nothing"] if settings.seeds == 3 else []
    tables = {"scores": Table(("kind", "size", "score"), rows)}
    return Result(settings, {"rows": len(rows)}, Table((), ()), tables=tables, failures=failures)


def little(data, settings):
    """The memory that a run takes, in MiB as many as its seeds."""
    return Need(0, [[settings.seeds * 2**20]])


def swept(*texts, **changes):
    """What the experiment above finds over a sweep, and what it reported."""
    seen, settings = Watched(), LatentSettings(data="mnist-5k", sweep=list(texts), **changes)
    return run(experiment, settings, MEASURE, seen, map_serially, little, load, require_data), seen


def test_a_sweep_whose_runs_do_not_fit_into_memory_together_is_refused_before_any(monkeypatch):
    monkeypatch.setattr(memory, "SERVER", 0)
    monkeypatch.setattr(memory, "WORKER", 0)
    monkeypatch.setattr(memory, "available", lambda: 4 * 2**20)
    assert swept("seeds=1,2", lr=0.1, jobs=2)[1].steps == 2
    with pytest.raises(
        DataError, match=r"a sweep of 3 runs needs about 5 MiB .* 4 MiB can be had; --jobs 1 needs 3 MiB"
    ):
        swept("seeds=1,2,3", lr=0.1, jobs=2)


def test_every_combination_runs_once_and_is_named_by_its_settings():
    result, seen = swept("lr=0.1,0.2", "seeds=1,2,3,4", epochs=7)
    assert (seen.expected, seen.steps) == (8, 8)
    assert seen.rows[1] == {"lr": 0.1, "seeds": 2, "epoch": 1}
    assert result.metrics["axes"] == {"lr": [0.1, 0.2], "seeds": [1, 2, 3, 4]}
    assert [point["settings"] for point in result.metrics["points"]] == [
        {"lr": lr, "seeds": seeds} for lr in (0.1, 0.2) for seeds in (1, 2, 3)
    ]
    assert len(result.tables["scores"].rows) == 2 * (3 + 3 + 2)
    assert result.tables["sweep"].rows[0] == {"lr": 0.1, "seeds": 1, "size": 8, "score": 0.1, "score_of_theirs": 99.0}
    headings = ("lr", "seeds", "test score, size 2", "baseline, size 2", "test score, size 8", "baseline, size 8")
    assert tuple(result.headline.columns) == headings
    assert [tuple(row[heading] for heading in headings) for row in result.headline.rows][:4] == [
        ("0.1", "1", "-0.1", "", "0.1", "99"),
        ("0.1", "2", "-0.1", "", "0.2", "99"),
        ("0.1", "3", "failed", "", "0.3", "99"),
        ("0.1", "4", "failed", "", "failed", ""),
    ]


def test_what_fails_is_listed_with_its_reason_and_the_rest_is_kept():
    result, _ = swept("lr=0.1,0.2", "seeds=1,3,4")
    failed = {(one["settings"]["lr"], one["settings"]["seeds"]): one["reason"] for one in result.metrics["failed"]}
    assert failed == {
        **{(lr, 4): f"lr {lr}, seeds 4: nothing learned" for lr in (0.1, 0.2)},
        **{(lr, 3): f"lr {lr}, seeds 3: size 2 learned nothing" for lr in (0.1, 0.2)},
    }
    assert sorted(result.failures) == sorted(failed.values())
    assert "4 of 6 runs" in result.remarks[0]
    assert result.remarks[-1].startswith("Failed: lr 0.1, seeds 4: nothing learned; ")


def test_columns_are_those_of_all_runs_and_a_name_that_is_taken_gets_another():
    """Runs without some scores come first, and each has seeds of its own."""

    def odd(settings, progress, map_tasks):
        row = {"kind": "ours", "size": 8, "score": 1.0, "seed": settings.seed} | ({"knn": 0.5} if settings.seed else {})
        return Result(settings, {}, Table((), ()), tables={"scores": Table(tuple(row), [row])})

    result = run(
        odd,
        LatentSettings(data="mnist-5k", sweep=["seed=0,3"]),
        MEASURE,
        Watched(),
        map_serially,
        little,
        load,
        require_data,
    )
    assert result.tables["scores"].columns == ("swept_seed", "kind", "size", "score", "seed", "knn")
    assert to_csv(result.tables["scores"]).splitlines()[1:] == ["0,ours,8,1.0,0,", "3,ours,8,1.0,3,0.5"]
    assert render(result.figures["sweep"](), "png")


def test_the_best_is_named_by_line_and_called_flattered():
    remarks = swept("lr=0.1,0.2", "seeds=1,2")[0].remarks
    assert "-0.1 at size 2 with lr 0.1, seeds 1; 0.4 at size 8 with lr 0.2, seeds 2" in remarks[0]
    assert "flattered" in remarks[1]


def test_a_sweep_in_which_nothing_is_learned_says_so_and_why():
    result, _ = swept("seeds=4", "lr=0.1,0.2")
    assert result.remarks[0] == "0 of 2 runs came to a result."
    assert result.failures == [f"seeds 4, lr {lr}: nothing learned" for lr in (0.1, 0.2)]
    assert not result.figures
    assert to_csv(result.tables["scores"]) == "seeds,lr\n"


@pytest.mark.parametrize("table", [{}, {"lr": []}, {"lr": 0.1}, {"lr": [[1]]}, {"data": ["a,b"]}])
def test_a_table_that_lists_nothing_is_refused(table):
    with pytest.raises(ValidationError, match=r"list|cannot be a value"):
        LatentSettings(sweep=table)


@pytest.mark.parametrize("texts", [["lr=0.1"], ["lr=0.1,0.2", "seeds=1,3"], [f"{key}=1,2" for key in ("seed", "lr")]])
def test_the_figure_has_a_panel_for_every_axis(texts):
    figure = swept(*texts)[0].figures["sweep"]()
    assert [place.get_xlabel() for place in figure.axes] == [text.split("=")[0] for text in texts]
    assert render(figure, "png").startswith(b"\x89PNG")


def test_a_table_in_a_file_is_the_line_of_a_command():
    table = {"lr": [0.01, 0.02], "arch": ["mlp", "conv"], "skip_probes": [True, False], "clusters": [7]}
    written = ["lr=0.01,0.02", "arch=mlp,conv", "skip_probes=true,false", "clusters=7"]
    settings = LatentSettings(sweep=table)
    assert settings.sweep == written
    assert settings == LatentSettings(sweep=written)
    found = expand(settings)
    assert len(found) == 8
    one = found[0.02, "mlp", False, 7]
    assert (one.lr, one.arch, one.skip_probes, one.clusters, one.sweep) == (0.02, "mlp", False, 7, [])


def test_ranges_are_even_in_difference_or_ratio_and_whole_where_settings_are():
    settings = LatentSettings(sweep=["lr=1e-4:1e-2:3:log", "dims=2:16:4:log", "seed=0:4:3", "clusterer=kmeans,gmm"])
    assert swept_values(settings) == {
        "lr": [1e-4, 1e-3, 1e-2],
        "dims": [2, 4, 8, 16],
        "seed": [0, 2, 4],
        "clusterer": ["kmeans", "gmm"],
    }
    one = expand(settings)[1e-3, 8, 4, "gmm"]
    assert (one.lr, one.dims, one.seed, one.clusterer) == (1e-3, [8], 4, ["gmm"])
    assert LatentSettings(sweep={"lr": "1e-4:1e-2:3:log"}).sweep == ["lr=1e-4:1e-2:3:log"]
    assert swept_values(DeblurSettings(sweep=["sigma=0.5:3,1.5", "noise=0:0.02:3"])) == {
        "sigma": ["0.5:3", "1.5"],
        "noise": [0.0, 0.01, 0.02],
    }


def test_without_a_sweep_there_are_no_runs():
    assert expand(LatentSettings()) == swept_values(DeblurSettings()) == {}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["lr=0"], "lr should be greater than 0, not 0.0"),
        (["lr=a"], "lr should be a valid number"),
        (["lr=1,1.0"], "lr has a value twice"),
        (["lr"], "'lr' is no axis; write KEY=A,B,C or KEY=LOW:HIGH:COUNT[:log]"),
        (["lr="], "'lr=' is no axis"),
        (["lr=1", "lr=2"], "lr is swept twice"),
        (["epoch=1"], "'epoch' cannot be swept; did you mean epochs?"),
        (["dims=2,2"], "dims has a value twice"),
        (["dims=0"], "dims should be greater than or equal to 1"),
        (["clusterer=kmens"], "did you mean kmeans?"),
        (["lr=0.1:1"], "'lr=0.1:1' is no axis; write KEY=A,B,C or KEY=LOW:HIGH:COUNT[:log]"),
        (["lr=0.1:1:5:lg"], "is no axis"),
        (["lr=0.1:1:5:"], "is no axis"),
        (["lr=0:1:5:log"], "LOW must be above 0 with log"),
        (["lr=1:0.1:5"], "LOW must be less than HIGH"),
        (["lr=0.1:nan:5"], "both finite"),
        (["lr=0.1:1:1"], "COUNT must be from 2 to 4096"),
        (["lr=0.1:1:5000"], "COUNT must be from 2 to 4096"),
        (["lr=0.1:1:2.5"], "a whole one for COUNT"),
        (["lr=0.1:one:5"], "write numbers for LOW and HIGH"),
        (["seeds=1:4:3"], "'seeds=1:4:3' falls between whole numbers; list them, as in seeds=2,4,8"),
        (["jobs=2"], "'jobs' cannot be swept"),
        (["sweep=2"], "'sweep' cannot be swept"),
        (["train-images=100"], "--train-images 100 is fewer than the latent size 200"),
        ([f"seed={','.join(map(str, range(101)))}", f"epochs={','.join(map(str, range(1, 101)))}"], "10,100 comb"),
    ],
)
def test_a_sweep_that_leads_nowhere_is_refused_in_one_sentence(main, tmp_path, texts, message):
    done = main("latent", "--dims", "200", "--sweep", *texts)
    assert done.returncode == 2
    assert done.stderr.startswith("bs6207: --sweep: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "outputs").exists()
    assert MAX_RUNS < 101 * 100


def test_the_command_sweeps_over_what_a_file_lists_and_its_record_runs_it_again(bs6207, tmp_path):
    (tmp_path / "sweep.toml").write_text(
        '[latent]\ndata = "mnist-5k"\ndims = [8]\nepochs = 1\ntrain_images = 200\nbatch_size = 16\nskip_probes = true\n'
        "[latent.sweep]\nlr = [0.005, 1e-9]\nseed = [3]\n"
    )
    done = bs6207("latent", "--config", "sweep.toml", "--json", "--jobs", "1")
    assert done.returncode == 1
    assert "bs6207: lr 1e-09, seed 3: " in done.stderr
    metrics = json.loads(done.stdout)
    assert [point["settings"] for point in metrics["points"]] == [{"lr": 0.005, "seed": 3}]
    (failed,) = metrics["failed"]
    assert failed["settings"] == {"lr": 1e-09, "seed": 3}
    assert "no better than the median image" in failed["reason"]
    folder = tmp_path / "outputs/latent"
    assert {"sweep.png", "sweep.svg", "sweep.csv", "scores.csv", "headline.csv"} <= {
        file.name for file in folder.iterdir()
    }
    line = ("latent", "--config", str(folder / "config.toml"), "--out", "again", "--jobs", "1")
    again = bs6207(*line, constants=UNDRAWN)
    assert again.returncode == 1
    for name in ("metrics.json", "scores.csv", "history.jsonl"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert bs6207("report", "outputs/latent").returncode == 0
