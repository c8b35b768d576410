"""The contract of the command line: what is accepted, what is refused, and what is left behind."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bs6207.bump.kernels import KERNELS
from bs6207.bump.settings import BumpSettings
from bs6207.deblur.settings import DeblurSettings, RestoreSettings
from bs6207.latent.settings import LatentSettings
from bs6207.page.settings import ReportSettings
from bs6207.runs.config import PACKAGE
from bs6207.runs.settings import Options

REFUSED = [  # arguments; words that the one sentence must hold
    ("latent --dims", "--dims needs at least one value"),
    ("latent --dims --epochs 3", "--dims needs at least one value"),
    ("latent --dims=", "--dims needs at least one value"),
    ("latent --dims ,", "--dims needs at least one value"),
    ("latent --dims 0", "--dims: should be greater than or equal to 1, not 0"),
    ("latent --dims -1", "--dims: should be greater than or equal to 1, not -1"),
    ("latent --dims a", "--dims: should be a valid integer"),
    ("latent --dims 2.5", "--dims: should be a valid integer"),
    ("latent --dims 2 2", "2 is given twice"),
    ("latent --dims 2 --dims 4,2", "2 is given twice"),
    ("latent --dims 100000", "--dims: should be less than or equal to 784"),
    ("latent --dims 2 -- 4", "unexpected extra argument"),
    ("latent 2 4", "unexpected extra argument"),
    ("latent --dims 200 --train-images 100", "bs6207: --train-images 100 is fewer than the latent size 200"),
    ("latent --out --json", "--out: '--json' is no name"),
    ("latent --out /", "--out: '/' is no name"),
    ("latent --out a\udcff", r"--out: 'a\udcff' is not UTF-8; rename the file"),
    ("latent --epochs 0", "--epochs: should be greater than or equal to 1"),
    ("latent --epochs 1.5", "--epochs: should be a valid integer"),
    ("latent --epochs", "requires an argument"),
    ("latent --epoch 3", "--epochs"),
    ("latent --epochs 1000000000", "--epochs: should be less than or equal to 10000, not"),
    ("latent --seeds 1000000000", "--seeds: should be less than or equal to 100, not"),
    ("latent --batch-size 1000000000", "--batch-size: should be less than or equal to 65536, not"),
    ("latent --train-images 1000000000000", "--train-images: should be less than or equal to 10000000, not"),
    ("latent --jobs 1000000000", "--jobs: should be less than or equal to 1024, not"),
    ("latent --lr nan", "--lr: should be a finite number"),
    ("latent --lr inf", "--lr: should be a finite number"),
    ("latent --lr -1", "--lr: should be greater than 0"),
    ("latent --data mnits", "did you mean mnist"),
    ("latent --data ./nowhere", "--data: there is no folder"),
    ("deblur --data=~/nowhere/at/all", "--data: there is no folder"),
    ("deblur --data nowhere", "--data: no data set 'nowhere'; choose from auto, fashion-mnist"),
    ("latent --clusterer kmean", "did you mean kmeans"),
    ("latent --seed -1", "--seed: should be greater than or equal to 0"),
    ("latent --device cuda:9", "--device: should be 'auto', 'cpu', 'cuda' or 'mps'"),
    ("latent --config nosuch", "no preset 'nosuch', and no name of a file in .toml; choose from"),
    ("latent --config qick", "did you mean quick"),
    ("latent --config nosuch.toml", "there is no file nosuch.toml"),
    ("latent --config ./", "there is no file ./"),
    ("bump --optimizer adm", "did you mean adam"),
    ("bump --optimizer", "--optimizer needs at least one value"),
    ("bump --optimizer adam adam", "adam is given twice"),
    ("bump --lr 0", "--lr: should be greater than 0"),
    ("bump --beta1 1", "--beta1: should be less than 1"),
    ("bump --steps 1e9", "--steps: should be a valid integer"),
    ("bump --steps 1000000000000", "--steps: should be less than or equal to 1000000, not"),
    ("bump --device mps", "--device"),
    ("bump --optimizer nosuch.module:X", "no module 'nosuch'"),
    ("bump --optimizer torch.optim:Nosuch", "Nosuch"),
    ("bump --optimizer torch.optim:Optimizer", "torch.optim:Optimizer"),
    ("bump --set x", "is not KEY=VALUE"),
    ("bump --set a=1 a=2", "a is given twice"),
    ("bump --optimizer adam --set nesterov=True", "nesterov"),
    ("bump --optimizer gd --beta1 0.5", "none of gd has it"),
    ("bump --sweep lr=1:0:5 beta1=0:0.9:5", "LOW must be less than HIGH"),
    ("bump --sweep lr=1:0:5", "--sweep: 'lr=1:0:5': LOW must be less than HIGH"),
    ("bump --sweep lr=0:1:5:log", "--sweep: 'lr=0:1:5:log': LOW must be above 0 with log"),
    ("bump --sweep lr=0.1:1:1000000000000 beta1=0:0.9:5", "--sweep: 'lr=0.1:1:1000000000000': COUNT must be from 2 to"),
    ("bump --optimizer gd --sweep lr=0.1:1:5 beta1=0:0.9:5", "gd has no beta1"),
    ("bump --optimizer sparse-adam --sweep eps=0:0.1:3 lr=0.1:0.3:3", "sparse-adam cannot be used"),
    ("bump --optimizer adam --sweep lr=0.1:1:5 beta1=0:1.5:5", "--sweep: beta1"),
    ("bump --optimizer nadam --noise 1", "no noisy paths for nadam"),
    ("bump --trials 1e12", "--trials: should be a valid integer"),
    ("bump --trials 1000000000000", "--trials: should be less than or equal to 10000000"),
    ("bump --scheduler tcp:/x", "is no address; write tcp://HOST:PORT"),
    ("bump --exact --up-slope 0.5", "leave --up-slope at 1"),
    ("bump --optimizer momentum --noise 1 --set nesterov=True", "leave one of them out"),
    ("bump --bumps 3", "goes with --landscape staircase"),
    ("bump --landscape gaussian --band", "go with --landscape triangle"),
    (
        "bump --landscape gausian",
        "--landscape: no landscape 'gausian'; write a formula, file.py:function, or did you mean",
    ),
    ("bump --schedule linnear", "--schedule: should be"),
    ("deblur --seeds 1000000000", "--seeds: should be less than or equal to 100, not"),
    ("deblur --epochs 1000000000", "--epochs: should be less than or equal to 10000, not"),
    ("deblur --batch-size 1000000000", "--batch-size: should be less than or equal to 65536, not"),
    ("deblur --test-images 1000000000", "--test-images: should be less than or equal to 100000, not"),
    ("deblur --epochs 2", "--epochs: should be greater than or equal to 3"),
    ("deblur --sigma 3:1", "and rise, as in 0.5:3"),
    ("deblur --sigma -1", "must lie within 0 to 10 pixels"),
    ("deblur --sigma 0", "leaves nothing to restore"),
    ("deblur --sigma a", "neither LOW:HIGH nor a number"),
    ("deblur --sigma nan", "must lie within 0 to 10 pixels"),
    ("deblur --noise 2", "--noise: should be less than or equal to 1"),
    ("restore", "there is no picture to restore; give at least one, or --onnx FILE"),
    ("restore a.png --clarity 1.01", "--clarity: should be less than or equal to 1"),
    ("restore a.png --clarity -1", "--clarity: should be greater than or equal to 0"),
    ("restore a.png --clarity nan", "--clarity: should be"),
    ("restore a.png --claritty 1", "--clarity"),
    ("restore a.png --model --json", "--model: '--json' is no name"),
    ("restore a.png --onnx --json", "--onnx: '--json' is no name"),
    ("restore a.png --device tpu", "--device: should be"),
    ("audit", "there is nothing to audit; name an optimizer"),
    ("audit adm", "NAME_OR_CLASS: no optimizer 'adm'"),
    ("audit adam adam", "adam is given twice"),
    ("audit adam --rule adm", "--rule: no rule 'adm'; did you mean adam?"),
    ("audit adam --expect-failed pickel", "--expect-failed: no check 'pickel'; did you mean pickle?"),
    ("audit adam --set x", "--set: 'x' is not KEY=VALUE"),
    ("audit adam --device tpu", "--device: should be"),
    ("report a a", "RUN: a is given twice; give each value once"),
    ("report --out --open", "--out: '--open' is no name"),
    ("report a\udcff", r"'a\udcff' is not UTF-8; rename the file"),
    ("report --jsn", "--jsn"),
    ("doctor --out --json", "--out: '--json' is no name"),
    ("doctor --device tpu", "--device: should be"),
    ("doctor --jsn", "--json"),
    ("doctor here", "unexpected extra argument"),
    ("latnt", "Did you mean 'latent'"),
    ("--nosuch", "No such option"),
]


@pytest.mark.parametrize(("line", "words"), REFUSED, ids=[line for line, _ in REFUSED])
def test_a_bad_line_gets_one_sentence_and_exit_2_and_writes_nothing(main, tmp_path, line, words):
    done = main(*line.split())
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    flags = [word.partition("=")[0] for word in line.split() if word.startswith("--") and word != "--"]
    assert not flags or "extra argument" in words or any(flag in done.stderr for flag in flags)
    assert not done.stdout
    assert not list(tmp_path.iterdir())


def config_of(tmp_path: Path, content: str | bytes) -> str:
    file = tmp_path / "my.toml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(file)


BAD_CONFIGS = [  # what the file holds, and what is said of it to those who run `latent` (`bump`, where it says so)
    ("[latent]\ndims = []", "dims: needs at least one value"),
    ("[latent]\nepoch = 3", "no setting 'epoch'; did you mean epochs?"),
    ("[latent]\nepochs = true", "epochs: should be a valid integer, not True"),
    ("[latent]\nepochs = '3'", "epochs: should be a valid integer, not '3'"),
    ("[latent]\ndims = [2, 0]", "dims: should be greater than or equal to 1, not 0"),
    ("[latent]\nlr = nan", "lr: should be a finite number"),
    ("[latent]\nepochs = 1979-05-27", "epochs: should be a valid integer, not datetime.date(1979, 5, 27)"),
    ("[latent]\ndims = 2", "dims: should be a valid list, not 2"),
    ("[latent]\nepochs = 1000000000000", "epochs: should be less than or equal to 10000"),
    (f"[latent]\nepochs = {'9' * 5000}", "holds a number of more digits than Python reads; write a smaller one"),
    ("[latent]\ntrain_images = 100\ndims = [200]", "is fewer than the latent size 200"),
    ("[latent.dims]\n2 = 4", "dims: should be a valid list"),
    ('[latent]\ndata = "\\u0000"', "data: cannot look into"),
    ("[bump]\nsweep = ['lr=1:0:5', 'beta1=0:0.9:5']", "sweep: 'lr=1:0:5': LOW must be less than HIGH"),
    ("[bump]\nset = ['x']", "set: 'x' is not KEY=VALUE"),
    ("[latent]\nepochs = = 3", "line 2, column 10"),
    ("[deblur]\nlr = 0.1", "has no [latent] table"),
    ("latent = 3", "has no [latent] table"),
    (b"[latent]\n# \xff", "is not UTF-8"),
]


@pytest.mark.parametrize(("content", "words"), BAD_CONFIGS)
def test_a_bad_config_names_the_file_and_the_key_and_writes_nothing(main, tmp_path, content, words):
    file = config_of(tmp_path, content)
    done = main("bump" if b"[bump]" in Path(file).read_bytes() else "latent", "--config", file)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert words in done.stderr
    assert file in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["my.toml"]


def test_a_device_that_is_not_here_is_refused_with_the_remedy(main, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = main("bump", "--device", "cuda")
    assert (done.returncode, done.stderr) == (2, "bs6207: cuda is not available here; use --device auto\n")
    assert not list(tmp_path.iterdir())


def test_stdout_is_the_result_and_json_is_exactly_the_file(bs6207, tmp_path):
    done = bs6207("bump", "--optimizer", "adam", "gd", "--steps", "20", "--json")
    assert done.returncode == 0
    assert done.stdout == (tmp_path / "outputs/bump/metrics.json").read_text()
    assert list(json.loads(done.stdout)["optimizers"]) == ["adam", "gd"]


def test_the_table_ends_with_the_folder_written(bs6207, tmp_path):
    done = bs6207("bump", "--optimizer", "gd", "--steps", "20", "--out", "runs/mine")
    assert done.stdout.splitlines()[-1] == "runs/mine"
    assert (tmp_path / "runs/mine/metrics.json").is_file()
    assert "Look at runs/mine/trajectory.png first; bs6207 report runs/mine makes" in " ".join(done.stdout.split())
    assert (tmp_path / "runs/mine/trajectory.png").is_file()
    assert not (tmp_path / "outputs").exists()


def test_flag_beats_file_beats_default(bs6207, tmp_path):
    file = config_of(tmp_path, '[bump]\noptimizer = ["momentum"]\nlr = 0.2\nmomentum = 0.5\nsteps = 20')
    done = bs6207("bump", "--config", file, "--lr", "0.25", "--json")
    (one,) = json.loads(done.stdout)["optimizers"].values()
    assert one["settings"] == {
        "distance": 1.0,
        "steps": 20,
        "lr": 0.25,
        "momentum": 0.5,
        "dampening": 0.0,
        "weight_decay": 0.0,
    }


def test_help_is_quick_and_imports_nothing_heavy():
    heavy = {"torch", "torchvision", "sklearn", "matplotlib", "numpy", "scipy", "skimage", "pydantic"}
    assert not heavy & modules_of("--help")


def modules_of(*arguments: str) -> set[str]:
    """The modules that a command has imported when it ends."""
    script = (
        "import atexit, sys; from bs6207.cli.commands import main; atexit.register(lambda: print(*sys.modules)); main()"
    )
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {*done.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize("figures", [False, True])
def test_thresholds_by_kernels_take_no_torch_and_figures_alone_take_matplotlib(tmp_path, figures):
    names = ["adam"] if figures else [*KERNELS, "--no-figures"]
    line = ["bump", "--optimizer", *names, "--steps", "100", "--out", str(tmp_path / "out"), "--json"]
    loaded = modules_of(*line)
    assert not {"torch", "torchvision", "sklearn", "scipy", "skimage", "pandas"} & loaded
    assert ("matplotlib" in loaded, "PIL" in loaded) == (figures, figures)
    assert "matplotlib.pyplot" not in loaded


@pytest.mark.parametrize("command", ["bump", "latent", "deblur", "restore", "report", "doctor"])
def test_help_names_every_setting_with_its_default(bs6207, command):
    model = {
        "bump": BumpSettings,
        "latent": LatentSettings,
        "deblur": DeblurSettings,
        "restore": RestoreSettings,
        "report": ReportSettings,
        "doctor": Options,
    }[command]
    page = " ".join(bs6207(command, "--help", COLUMNS="200", TERM="dumb").stdout.replace("│", " ").split())
    for name, info in model.model_fields.items():
        assert (
            info.json_schema_extra["metavar"]
            if info.json_schema_extra["positional"]
            else f"--{name.replace('_', '-')} "
        ) in page
        if isinstance(info.default, (int, float)) and not isinstance(info.default, bool):
            assert re.search(rf"{re.escape(info.description)} \(default {re.escape(str(info.default))}[,)]", page)


@pytest.mark.parametrize("command", ["bump", "latent", "deblur", "restore", "report", "doctor"])
def test_help_shows_lines_to_type_and_what_most_people_change_first(bs6207, command):
    page = bs6207(command, "--help", COLUMNS="200", TERM="dumb").stdout
    assert f"\n bs6207 {command}" in page
    assert not re.search(r"<\w+(\[\w+\])?>", page)  # a Python type, as in <bool> or <list[str]>
    panels = re.findall("─ ([A-Z]\\w*)", page)  # in their order
    assert all(panel in ("Run", "Sweep") for panel in panels[panels.index("Run") :])


def test_a_clone_without_the_libraries_can_be_imported_and_says_in_one_sentence_what_to_install():
    def bare(*arguments):  # -S: without site-packages
        return subprocess.run([sys.executable, "-S", *arguments], cwd=PACKAGE.parent, capture_output=True, text=True)

    assert bare("-c", "import bs6207; print(bs6207.__version__)").stdout == "0.1.0\n"
    done = bare("-m", "bs6207", "bump")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        r"bs6207: \w+ is not installed; in the folder of pyproject.toml, run: .* pip install \.\n", done.stderr
    )


def test_a_library_that_is_missing_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "typer", None)
    monkeypatch.delitem(sys.modules, "bs6207.cli.commands")
    with pytest.raises(SystemExit, match=r"bs6207: typer is not installed; .* python -m pip install \."):
        runpy.run_module("bs6207", run_name="__main__")


def test_version_and_module_and_completion(bs6207):
    assert bs6207("--version").stdout == "bs6207 0.1.0\n"
    assert "bump" in bs6207(_BS6207_COMPLETE="complete_bash", COMP_WORDS="bs6207 bu", COMP_CWORD="1").stdout
    half = {"COMP_WORDS": "bs6207 latent --dims 2 --clust", "COMP_CWORD": "4"}
    assert "--clusterer" in bs6207(_BS6207_COMPLETE="complete_bash", **half).stdout


COMPLETED = {  # the half-typed line, and the words that a shell offers
    "bump --optimizer ada": ["adam", "adamw", "adamax", "adagrad", "adadelta", "adafactor"],
    "bump --optimizer gd --landscape g": ["gaussian"],
    "latent --data fa": ["fashion-mnist"],
    "deblur --data mn": ["mnist", "mnist-5k"],
    "latent --dims 2 --clusterer k": ["kmeans"],
    "latent --projection ": ["pca", "umap"],
}


@pytest.mark.parametrize("line", COMPLETED)
def test_a_shell_completes_the_names_of_choices(bs6207, line):
    words = f"bs6207 {line}"
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = bs6207(_BS6207_COMPLETE="complete_bash", **asked)
    assert done.stdout.split() == COMPLETED[line]


def test_the_bare_command_is_a_question_for_help(bs6207):
    done = bs6207()
    assert (done.returncode, done.stderr) == (0, "")
    assert "latent" in done.stdout


def test_a_config_saved_by_notepad_is_read(bs6207, tmp_path):
    file = config_of(tmp_path, b'\xef\xbb\xbf[bump]\noptimizer = ["gd"]\nsteps = 20')
    assert bs6207("bump", "--config", file).returncode == 0


def test_a_size_that_learns_nothing_is_listed_and_costs_no_other(undrawn, tmp_path):
    line = "latent --config quick --dims 2 64 --epochs 1 --train-images 100 --skip-probes --jobs 1 --json"
    done = undrawn(*line.split())
    metrics = json.loads(done.stdout)
    assert list(metrics["cells"]) == ["64"]
    assert [(row["dim"], row["seed"]) for row in metrics["failed"]] == [(2, 0)]
    assert done.returncode == 1
    assert "dim 2, seed 0: it ends at a validation L1" in done.stderr
    assert (tmp_path / "outputs/latent/scores.csv").is_file()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param(
            "deblur --config quick --epochs 3 --train-images 100 --lr 10", "below the", marks=pytest.mark.slow
        ),
        (
            "latent --config quick --dims 2 --epochs 1 --train-images 100 --skip-probes --jobs 1",
            "no better than the median",
        ),
        ("latent --config quick --train-images 4000", "has 3500 training images, not 4000; leave out --train-images"),
    ],
)
def test_a_run_that_cannot_be_believed_fails_in_one_sentence(bs6207, tmp_path, line, words):
    done = bs6207(*line.split())
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr.splitlines()[-1]
    assert not (tmp_path / "outputs" / line.split()[0]).exists()
