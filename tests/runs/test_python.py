"""What the commands do, called from Python: the same numbers, and a process that stays as it was."""

import functools
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import HURRY

import bs6207
from bs6207.bump.settings import BumpSettings
from bs6207.deblur.settings import DeblurSettings
from bs6207.errors import FolderError, SettingsError, UserError
from bs6207.latent.settings import LatentSettings
from bs6207.runs.files import strict_json
from bs6207.runs.python import settings_of
from bs6207.runs.report import NotebookBar

QUICK = "--data mnist-5k --jobs 1 --epochs 3"
LATENT = f"{QUICK} --train-images 1000"
DEBLUR = f"--config quick {QUICK} --train-images 200 --test-images 20 --test-sigmas 1.5 --batch-size 8"
SMALL_LATENT = {"data": "mnist-5k", "jobs": 1, "epochs": 3, "train_images": 1000}
SMALL_DEBLUR = SMALL_LATENT | {"train_images": 200, "test_images": 20, "test_sigmas": [1.5], "batch_size": 8}
slow = pytest.mark.slow
SAME = {  # a command line, and the keywords that mean the same
    "bump --optimizer adam": {"optimizer": "adam"},
    "bump --config assignment": {"config": "assignment"},
    "bump --optimizer gd adam --lr 0.1 --steps 200 --exact": {
        "optimizer": ("gd", "adam"), "lr": np.float64(0.1), "steps": 200, "exact": True
    },
    "bump --optimizer adam --sweep lr=0.1,0.2,0.3": {"optimizer": "adam", "sweep": {"lr": (0.1, 0.2, 0.3)}},
    "bump --optimizer torch.optim:SGD --set momentum=0.5 nesterov=True": {
        "optimizer": "torch.optim:SGD", "set": {"momentum": 0.5, "nesterov": True}
    },
    f"latent {LATENT} --dims 2 --skip-probes": SMALL_LATENT | {"dims": 2, "skip_probes": True},
    f"latent {LATENT} --dims 4 8 --clusterer kmeans gmm": SMALL_LATENT
    | {"dims": range(4, 9, 4), "clusterer": ["kmeans", "gmm"]},
    f"latent {LATENT} --dims 4 --skip-probes --sweep lr=0.01,0.02 --jobs 2": SMALL_LATENT
    | {"dims": 4, "skip_probes": True, "sweep": {"lr": [0.01, 0.02]}, "jobs": 2},
    f"deblur {DEBLUR} --sigma 0.5:3": SMALL_DEBLUR | {"config": "quick", "sigma": (0.5, 3)},
    f"deblur {DEBLUR} --sigma 2 --frontier": SMALL_DEBLUR | {"config": "quick", "sigma": 2, "frontier": True},
    "deblur --data photos --epochs 3 --batch-size 4 --crop 32 --sigma 2 --test-sigmas 1.6 --jobs 1": {
        "data": "photos", "epochs": 3, "batch_size": 4, "crop": 32, "sigma": 2, "test_sigmas": 1.6, "jobs": 1
    },
}  # fmt: skip
QUICKEST = "bump --optimizer torch.optim:SGD"
LINES = [line if line.startswith(QUICKEST) else pytest.param(line, marks=slow) for line in SAME]


def story(line: str):
    return getattr(bs6207, line.split()[0])


def hurry(monkeypatch) -> None:
    for module, values in HURRY.items():
        for name, value in values.items():
            monkeypatch.setattr(f"{module}.{name}", value)


@pytest.fixture(autouse=True)
def _only_the_embedded_digits(monkeypatch, tmp_path):
    monkeypatch.setenv("BS6207_DATA", "")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("line", LINES)
def test_the_metrics_of_a_call_are_those_of_the_command_to_the_byte(line, bs6207, tmp_path, monkeypatch):
    hurry(monkeypatch)
    done = bs6207(*line.split(), "--out", "command", constants=HURRY)
    assert done.returncode == 0, done.stderr
    result = story(line).run(progress=False, **SAME[line])
    assert strict_json(result.metrics) == (tmp_path / "command/metrics.json").read_text()
    assert not (tmp_path / "outputs").exists()
    assert result.save("saved") == Path("saved")
    story(line).run(progress=False, out="called", **SAME[line])
    names = {file.name for file in (tmp_path / "command").iterdir()}
    for folder in ("saved", "called"):
        assert {file.name for file in (tmp_path / folder).iterdir()} == names
        for name in names - {"env.json"}:
            assert (tmp_path / folder / name).read_bytes() == (tmp_path / "command" / name).read_bytes(), name


GIVEN = [
    (BumpSettings, {"optimizer": "adam"}, {"optimizer": ["adam"]}),
    (BumpSettings, {"lr": np.float64(0.5), "steps": np.int64(7)}, {"lr": 0.5, "steps": 7}),
    (BumpSettings, {"exact": np.True_}, {"exact": True}),
    (BumpSettings, {"set": {"nesterov": True}}, {"set": ["nesterov=True"]}),
    (BumpSettings, {"sweep": {"lr": np.array([0.5, 1.0])}}, {"sweep": ["lr=0.5,1.0"]}),
    (BumpSettings, {"sweep": "lr=0.1,0.2"}, {"sweep": ["lr=0.1,0.2"]}),
    (LatentSettings, {"dims": range(2, 5)}, {"dims": [2, 3, 4]}),
    (LatentSettings, {"dims": (2, 4)}, {"dims": [2, 4]}),
    (LatentSettings, {"dims": np.array([2, 4])}, {"dims": [2, 4]}),
    (LatentSettings, {"data": Path("pictures")}, {"data": None}),
    (LatentSettings, {"clusters": (2, 12)}, {"clusters": "2:12"}),
    (LatentSettings, {"clusters": range(2, 6)}, {"clusters": "2:5"}),
    (LatentSettings, {"clusters": np.int64(10)}, {"clusters": 10}),
    (DeblurSettings, {"sigma": (0.5, 3)}, {"sigma": (0.5, 3.0)}),
    (DeblurSettings, {"sigma": 1.5}, {"sigma": (1.5, 1.5)}),
    (DeblurSettings, {"sigma": "0.5:3"}, {"sigma": (0.5, 3.0)}),
]  # fmt: skip


@pytest.mark.parametrize(("model", "keywords", "wanted"), GIVEN, ids=str)
def test_values_are_taken_in_the_types_that_people_have(model, keywords, wanted, tmp_path):
    (tmp_path / "pictures").mkdir()
    settings = settings_of("bump", model, keywords)
    for name, value in wanted.items():
        assert getattr(settings, name) == (str(tmp_path / "pictures") if value is None else value)


def test_what_a_generator_yields_is_a_list():
    assert settings_of("latent", LatentSettings, {"dims": (dim for dim in (2, 3))}).dims == [2, 3]
    assert settings_of("bump", BumpSettings, {"optimizer": (name for name in ["gd"])}).optimizer == ["gd"]
    assert settings_of("deblur", DeblurSettings, {"sigma": (sigma for sigma in (0.5, 3))}).sigma == (0.5, 3.0)


WRONG = {
    "bump --lr -1": {"lr": -1},
    "bump --optimizer adm": {"optimizer": "adm"},
    "bump --steps 0": {"steps": 0},
    "bump --optimizer nosuch.module:X": {"optimizer": "nosuch.module:X"},
    "bump --exact --up-slope 2": {"exact": True, "up_slope": 2.0},
    "latent --dims 2 2": {"dims": [2, 2]},
    "latent --config nosuch": {"config": "nosuch"},
    "latent --device mps": {"device": "mps"},
    "deblur --sigma 3:1": {"sigma": (3, 1)},
    "deblur --sweep lr=1:0:5": {"sweep": "lr=1:0:5"},
}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_argument_raises_a_value_error_with_the_sentence_of_the_command(line, main, tmp_path):
    done = main(*line.split())
    assert done.returncode == 2
    with pytest.raises(SettingsError) as raised:
        story(line).run(progress=False, out="out", **WRONG[line])
    assert isinstance(raised.value, ValueError)
    assert f"bs6207: {raised.value}\n" == done.stderr
    assert not list(tmp_path.iterdir())


OBJECTS = [
    ({"optimizer": functools.partial(torch.optim.SGD, lr=0.9)}, "--optimizer: an object of partial is no setting"),
    ({"optimizer": torch.optim.SGD([torch.zeros(1)])}, "--optimizer: an object of SGD is no setting; give .* a class"),
    ({"landscape": lambda x, h: x}, "--landscape: <lambda> is no setting; give .* function of a module"),
    ({"optimizer": "no_step:NoStep"}, r"no_step:NoStep has no step\(\); name an optimizer"),
    ({"optimizer": "no_step:nothing"}, "it takes no parameters"),
    ({"learning_rate": 0.1}, r"no setting 'learning_rate'; did you mean lr\?"),
    ({"out": 3}, "--out: 3 is no path; give a text or a pathlib.Path"),
    ({"config": {"lr": 0.1}}, "--config: {'lr': 0.1} is no path"),
]  # fmt: skip


@pytest.mark.parametrize(("keywords", "sentence"), OBJECTS, ids=[sentence for _, sentence in OBJECTS])
def test_what_is_no_setting_is_refused_in_a_sentence(keywords, sentence, monkeypatch, tmp_path):
    (tmp_path / "no_step.py").write_text("class NoStep: pass\ndef nothing(): pass\n")
    with pytest.raises(SettingsError, match=sentence):
        bs6207.bump.run(progress=False, **keywords)


def test_what_takes_one_optimizer_refuses_what_it_would_not_use():
    for several in (["adam", "gd"], "all"):
        with pytest.raises(SettingsError, match="optimizer is one value here, not "):
            bs6207.bump.threshold(several)
    for name, value in {"sweep": "lr=0.1,0.2", "noise": 0.1, "animate": True}.items():
        with pytest.raises(SettingsError, match=f"threshold has no setting '{name}'; run takes it"):
            bs6207.bump.threshold("adam", **{name: value})
    with pytest.raises(SettingsError, match="no setting 'out'; run takes it"):
        bs6207.bump.threshold("adam", out="x")
    for several in (["adam"], torch.optim.SGD([torch.zeros(1)])):
        with pytest.raises(SettingsError, match="is no optimizer; give a name, or the class itself"):
            bs6207.bump.audit(several)
    with pytest.raises(ValueError, match="no check 'rul'"):
        bs6207.bump.audit("adam", expect_failed="rul")


@pytest.mark.parametrize("name", ["bump", "latent", "deblur"])
def test_an_unknown_keyword_is_met_with_the_nearest(name):
    with pytest.raises(ValueError, match=rf"bs6207.{name} has no setting 'sed'; did you mean seed\?"):
        story(name).run(sed=1)


def test_an_unknown_figure_or_table_is_met_with_the_nearest():
    result = bs6207.bump.run(optimizer="gd", progress=False)
    with pytest.raises(ValueError, match="no figure 'trajectry'; did you mean trajectory"):
        result.figure("trajectry")
    with pytest.raises(KeyError, match="no table 'trajectory'; did you mean trajectories"):
        result.tables["trajectory"]


def test_a_call_without_figures_has_none_but_is_otherwise_the_same():
    drawn, bare = (bs6207.bump.run(optimizer="gd", no_figures=bare, progress=False) for bare in (False, True))
    assert (bare.metrics, bare.settings, repr(bare)) == (drawn.metrics, drawn.settings, repr(drawn))
    assert "<img" in drawn._repr_html_()
    bare.save("bare")
    for run in (bare, bs6207.load_run("bare")):
        assert run.figures == ()
        assert "<img" not in run._repr_html_()
        with pytest.raises(ValueError, match="this run has no figures"):
            run.figure()
    assert {*drawn.save("drawn").iterdir()} > {Path("drawn") / file.name for file in Path("bare").iterdir()}
    assert not [*Path("bare").glob("*.[ps][nv]g")]


def test_a_loaded_run_is_the_same_object_as_that_of_the_call(trained, tmp_path, bs6207):
    import bs6207

    for name, main_figure in (("bump", "trajectory"), ("latent", "scatter"), ("deblur", "restorations")):
        run = bs6207.load_run(trained(name))
        assert run.metrics == json.loads((trained(name) / "metrics.json").read_text())
        assert run.figures[0] == main_figure
        assert run.figure().get_size_inches().min() > 1
        assert [*run.tables] == ["headline", *sorted({f.stem for f in trained(name).glob("*.csv")} - {"headline"})]
        assert all(len(run.tables[table].columns) for table in run.tables)
        assert "<table" in run._repr_html_()
    fresh = bs6207.bump.run(progress=False)
    loaded = bs6207.load_run(trained("bump"))
    assert (fresh.metrics, fresh.remarks, fresh.settings) == (loaded.metrics, loaded.remarks, loaded.settings)
    assert fresh.history == loaded.history
    assert {*fresh.figures} == {*loaded.figures}
    assert {*fresh.tables} == {*loaded.tables}
    for name in fresh.tables:
        assert fresh.tables[name].equals(loaded.tables[name])
    assert repr(fresh).strip() in repr(loaded)
    copied = loaded.save(tmp_path / "copied")
    assert {file.name for file in copied.iterdir()} == {file.name for file in trained("bump").iterdir()}
    with pytest.raises(FolderError, match="holds no finished run"):
        bs6207.load_run(tmp_path)
    (tmp_path / "file").mkdir()
    (tmp_path / "file/mine.txt").touch()
    with pytest.raises(FolderError, match="is not a run of bs6207 bump"):
        fresh.save(tmp_path / "file")


def test_a_result_survives_a_pickle_whether_it_is_new_or_loaded(trained):
    fresh, loaded = bs6207.bump.run(optimizer="gd", progress=False), bs6207.load_run(trained("bump"))
    for result in (fresh, loaded):
        again = pickle.loads(pickle.dumps(result))
        assert (again.metrics, repr(again)) == (result.metrics, repr(result))
        assert again.tables["trajectories"].equals(result.tables["trajectories"])
        assert again.figure().get_size_inches().min() > 1
    assert again._repr_html_() == loaded._repr_html_()
    for wrong in (fresh.save, bs6207.load_run):
        with pytest.raises((ValueError, FolderError), match="None is no path"):
            wrong(None)


def test_what_a_notebook_shows_needs_no_network_and_is_read_on_any_ground(trained):
    page = bs6207.load_run(trained("latent"))._repr_html_()
    assert "http" not in page
    assert "<script" not in page
    assert page.count('src="data:image/png;base64,') == page.count("src=") == 2
    assert "color:inherit;background:transparent" in page
    table = bs6207.bump.run(optimizer="gd", progress=False)
    table.remarks.append("<b>&")
    assert "&lt;b&gt;&amp;" in table._repr_html_()


def test_figures_are_in_the_house_style_whatever_style_the_caller_has_chosen():
    import matplotlib

    result = bs6207.bump.run(optimizer="gd", progress=False)
    before = result.figure("thresholds")
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 20, "xtick.color": "red"}):
        chosen = dict(matplotlib.rcParams)
        after = result.figure("thresholds")
        assert dict(matplotlib.rcParams) == chosen
        first, second = (figure._repr_png_()[0] for figure in (before, after))
    assert first == second


def test_two_threads_get_the_results_of_their_own_settings():
    settings = [{"optimizer": "adam", "lr": 0.1}, {"optimizer": ["momentum", "nesterov"], "lr": 0.2}]
    alone = [bs6207.bump.run(progress=False, **one).metrics for one in settings]
    together = {}

    def call(place):
        together[place] = bs6207.bump.run(progress=False, **settings[place % 2]).metrics

    threads = [threading.Thread(target=call, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[place] for place in range(4)] == alone * 2


def test_progress_is_a_line_now_and_then_or_nothing(capfd, monkeypatch):
    bs6207.bump.run(optimizer="gd", progress=False)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr("bs6207.runs.report.PLAIN_INTERVAL", 0)
    bs6207.bump.run(optimizer="gd")
    out, err = capfd.readouterr()
    assert out == ""
    assert "bump: gd, 1 of 1 done" in err


def test_a_bar_in_a_notebook_is_updated_in_place_and_says_how_it_ended(monkeypatch):
    shown = []
    handle = SimpleNamespace(update=lambda html: shown.append(html.data))
    monkeypatch.setattr("IPython.display.display", lambda html, display_id: handle.update(html) or handle)
    monkeypatch.setattr("bs6207.runs.report.BAR_INTERVAL", 0)
    for ending, failure in (("done", None), ("interrupted", KeyboardInterrupt), ("failed", ValueError)):
        shown.clear()
        with suppress(KeyboardInterrupt, ValueError), NotebookBar("bump", print) as bar:
            bar.expect(2)
            bar.step("<gd>")
            bar.warn("a < b")
            if failure:
                raise failure
        begun, stepped, warned, ended = shown
        assert "bump: begins" in begun
        assert 'max="2" value="1"' in stepped
        assert "bump: &lt;gd&gt;, 1 of 2 done" in stepped
        assert warned == stepped.replace("</div>", "<br>a &lt; b</div>")
        assert f"bump: {ending}, 1 of 2 steps" in ended
        assert "<br>a &lt; b" in ended


STATE = """
import decimal, gc, locale, logging, os, random, signal, sys, threading, warnings
import matplotlib, matplotlib.pyplot, multiprocessing, numpy as np, torch
from pathlib import Path

torch.set_num_threads(3); torch.manual_seed(5); torch.set_default_dtype(torch.float64)
torch.set_flush_denormal({flush}); torch.set_float32_matmul_precision("medium"); torch.set_grad_enabled(False)
np.random.seed(3); np.seterr(under="raise"); random.seed(4); sys.path.insert(0, "/nowhere")
matplotlib.use("svg"); matplotlib.rcParams["font.size"] = 17; matplotlib.rcParams["axes.facecolor"] = "black"
logging.getLogger("matplotlib").setLevel(logging.INFO); logging.getLogger().setLevel(logging.ERROR)
signal.signal(signal.SIGTERM, lambda *_: None); signal.signal(signal.SIGHUP, signal.SIG_IGN)
gc.set_threshold(701, 11, 12); warnings.simplefilter("error")

CACHE = "torchinductor"  # an empty folder that torch makes among the temporary files when its compiler is imported

def children():
    return [pid for pid in os.listdir("/proc") if pid.isdigit() and f"PPid:\\t{{os.getpid()}}\\n" in status(pid)]

def status(pid):
    try: return Path(f"/proc/{{pid}}/status").read_text()
    except OSError: return ""

def state():
    return {{
        "torch": (torch.get_num_threads(), torch.get_rng_state().tolist(), torch.get_default_dtype(),
            torch.get_float32_matmul_precision(), torch.is_grad_enabled(), torch.get_default_device()),
        "denormals": sys.float_info.min / 2 == 0,
        "numpy": (str(np.random.get_state()), np.geterr()), "python": random.getstate(), "path": [*sys.path],
        "matplotlib": (dict(matplotlib.rcParams), matplotlib.get_backend(), matplotlib.pyplot.get_fignums()),
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "mask": signal.pthread_sigmask(signal.SIG_BLOCK, []),
        "folder": os.getcwd(), "files": sorted(file for file in map(str, Path().rglob("*")) if CACHE not in file),
        "logging": [(logging.getLogger(name).level, logging.getLogger(name).handlers)
            for name in ("", "matplotlib", "bs6207")],
        "warnings": [*warnings.filters], "gc": (gc.get_threshold(), gc.isenabled(), gc.get_freeze_count()),
        "methods": multiprocessing.get_start_method(allow_none=True), "threads": threading.enumerate(),
        "children": children(), "main": sys.modules["__main__"], "streams": (sys.stdout, sys.stderr, sys.stdin),
        "argv": sys.argv, "cwd": os.environ.get("MPLCONFIGDIR"),
    }}

open("begun", "a").write("once ")
python_state = random.getstate()
import bs6207
from bs6207.data.sources import embedded_digits
images = embedded_digits().train.pixels[:120]
{calls}
assert random.getstate() == python_state, "the first calls draw random numbers"
for name, call in calls.items():
    random_before = state()
    call()
    after = state()
    changed = [key for key in after if after[key] != random_before[key]]
    assert not changed, (name, [(random_before[key], after[key]) for key in changed if key != "matplotlib"], changed)
    print(name)
"""
LIGHT = """
class Descent(torch.optim.SGD):
    def __init__(self, params, lr=0.3): super().__init__(params, lr)

def own_class():
    assert "'first_step': None" in str(bs6207.bump.run(optimizer=[Descent, "gd"], progress=False).metrics["parity"])
    try: bs6207.bump.run(optimizer=[Descent, "gd"], jobs=2)
    except ValueError as failure: assert str(failure).startswith("__main__:Descent is of this script or notebook")
    else: raise AssertionError("two processes that know no such class")

result = bs6207.bump.run(optimizer="adam", progress=False)
run = bs6207.load_run({bump!r})
calls = {{
    "threshold": lambda: bs6207.bump.threshold("adam"),
    "bump": lambda: bs6207.bump.run(optimizer=["adam", "nesterov"], exact=False, progress=False),
    "with processes": lambda: bs6207.bump.run(optimizer=["adam", "gd"], jobs=2, progress=False),
    "a class of the script": own_class,
    "figure": lambda: result.figure("thresholds"), "shown": lambda: result._repr_html_(), "text": lambda: repr(result),
    "table": lambda: result.tables["trajectories"],
    "loaded": lambda: (bs6207.load_run({bump!r}).figure(), run.tables["headline"]),
    "autoencoder": lambda: bs6207.latent.load({latent!r}, 2).encode(images / 255),
    "restorer": lambda: bs6207.deblur.load({deblur!r}).restore(images[:2] / 255),
}}
"""
HEAVY = """
settings = {small!r}
restorer = bs6207.deblur.Restorer(epochs=3, batch_size=8)
transformer = bs6207.latent.LatentTransformer(dim=3, epochs=1).fit(images)
calls = {{
    "audit": lambda: bs6207.bump.audit("torch.optim:SGD"),
    "animation": lambda: bs6207.bump.run(optimizer="gd", animate=True, progress=False),
    "transformer": lambda: transformer.inverse_transform(transformer.transform(images)),
    "clusterer": lambda: bs6207.latent.LatentClusterer(3, dim=2, epochs=1).fit_predict(images),
    "latent": lambda: bs6207.latent.run(dims=[2], progress=False, **settings),
    "latent with processes": lambda: bs6207.latent.run(dims=[2, 3], progress=False, **settings | {{"jobs": 2}}),
    "deblur": lambda: bs6207.deblur.run(config="quick", progress=False, **{deblur!r}),
    "fit": lambda: restorer.fit(images), "restore": lambda: restorer.restore(images[0, 0]),
}}
"""


def run_script(text: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "temporary").mkdir(exist_ok=True)
    (folder / "script.py").write_text(text)
    own = {"TMPDIR": str(folder / "temporary"), "BS6207_DATA": "", "XDG_CACHE_HOME": str(folder / "cache")}
    command = [sys.executable, "script.py"]
    return subprocess.run(command, cwd=folder, env=os.environ | own | environment, capture_output=True, text=True)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, where /proc tells a process's children")
@pytest.mark.parametrize("flush", [False, pytest.param(True, marks=slow)])
def test_no_light_call_changes_anything_of_the_process(tmp_path, trained, flush):
    folders = {name: str(trained(name)) for name in ("bump", "latent", "deblur")}
    done = run_script(STATE.format(calls=LIGHT.format(**folders), flush=flush), tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(done.stdout.splitlines()) == 11
    assert (tmp_path / "begun").read_text() == "once "  # no process has run the script again


@slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, where /proc tells a process's children")
def test_no_heavy_call_changes_anything_of_the_process(tmp_path):
    calls = HEAVY.format(small=SMALL_LATENT, deblur=SMALL_DEBLUR)
    done = run_script(STATE.format(calls=calls, flush=False), tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(done.stdout.splitlines()) == 9


class DuringImport:
    """A finder of modules that finds none, but calls `action` when `module` is looked for."""

    def __init__(self, module, action):
        self.module, self.action = module, action

    def find_spec(self, name, path=None, target=None):
        if name == self.module:
            self.action()


@pytest.mark.parametrize("module", ["bs6207.bump.experiment", "bs6207.figures"])
def test_ctrl_c_during_an_import_ends_the_call_after_it(monkeypatch, module):
    room, _, name = module.rpartition(".")
    monkeypatch.delattr(sys.modules[room], name, raising=False)
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(sys, "meta_path", [DuringImport(module, lambda: signal.raise_signal(2)), *sys.meta_path])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            bs6207.bump.run(optimizer="gd", progress=False)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert module in sys.modules  # whole, as an import that fails leaves none


def test_the_first_import_of_a_library_leaves_random_numbers_as_they_were(monkeypatch):
    for module in ("bs6207.runs.view", "bs6207.runs.python"):
        monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.delattr(module, raising=False)
        monkeypatch.setattr(sys, "meta_path", [DuringImport(module, random.random), *sys.meta_path])
    before = random.getstate()
    with pytest.raises(FolderError):
        bs6207.load_run("nowhere")
    for name in ("bump", "latent", "deblur"):
        with pytest.raises(ValueError, match="has no setting"):
            story(name).run(sed=1)
    assert random.getstate() == before


INTERRUPTED = """
import bs6207, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
bs6207.latent.run(out="out", dims=[2, 4], data="mnist-5k", train_images=500, epochs=400, jobs={jobs}, skip_probes=True)
"""


@slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_leaves_no_process_and_what_was_done_resumes(tmp_path, jobs):
    (tmp_path / "script.py").write_text(INTERRUPTED.format(jobs=jobs))
    command = [sys.executable, "script.py"]
    started = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not list(tmp_path.glob("out.partial/cells/*.part")):
        assert started.poll() is None
        time.sleep(0.05)
    os.killpg(started.pid, signal.SIGINT)  # as a kernel's manager does
    _, message = started.communicate()
    assert "KeyboardInterrupt" in message
    with pytest.raises(ProcessLookupError):
        os.killpg(started.pid, 0)
    assert not (tmp_path / "out").exists()
    again = bs6207.latent.run(
        out="out", dims=[2, 4], data="mnist-5k", train_images=500, epochs=400, jobs=1, skip_probes=True, progress=False
    )
    assert "goes on where it was interrupted" in again.notes
    assert (tmp_path / "out/metrics.json").exists()


def test_the_package_is_imported_without_any_library():
    heavy = ("numpy", "torch", "matplotlib", "pandas", "sklearn", "pydantic", "rich")
    script = f"import bs6207, sys; print(sys.modules.keys() & {{*{heavy}}})"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


TYPED = """
import bs6207

result = bs6207.bump.run(optimizer="adam", out=None, progress=False)
height: float = result.metrics["optimizers"]["adam"]["h_max"]
names: list[str] = [*result.tables]
result.figure("trajectory").savefig("trajectory.png")
clusterer = bs6207.latent.LatentClusterer(n_clusters=10, dim=4)
restorer = bs6207.deblur.Restorer(epochs=3)
bs6207.bump.audit("adam", lr=0.1).raise_if_failed()
folder: str = str(result.save("outputs/bump"))
again: dict[str, object] = bs6207.load_run(folder).metrics
"""


@slow  # mypy reads torch's types, too
def test_a_script_that_uses_the_package_passes_strict_type_checks(tmp_path):
    (tmp_path / "script.py").write_text(TYPED)
    package = str(Path(bs6207.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "script.py"],
        cwd=tmp_path, env=os.environ | {"MYPYPATH": package}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_a_failed_run_raises_its_sentence():
    with pytest.raises(UserError, match="has 3500 training images, not 100000"):
        bs6207.latent.run(data="mnist-5k", train_images=100_000, progress=False, jobs=1)
