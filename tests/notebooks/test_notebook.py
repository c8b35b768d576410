"""The notebook that walks through the stories: it is what its script writes, and runs from start to end."""

import base64
import io
import os

import nbformat
import pytest
from nbclient import NotebookClient
from notebooks.make import CELLS, FILE, notebook
from PIL import Image


def test_the_notebook_is_what_its_script_writes():
    assert nbformat.read(FILE, as_version=4) == notebook()
    assert len(CELLS) == 15


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the kernel's machinery
def test_the_notebook_runs_and_shows_tables_figures_and_one_bar_for_a_run(tmp_path, monkeypatch):
    monkeypatch.setenv("BS6207_DATA", "")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    done = notebook()
    client = NotebookClient(done, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    if folder := os.environ.get("SHOW"):  # a folder to look at it in
        nbformat.write(done, f"{folder}/executed.ipynb")
    outputs = [cell["outputs"] for cell in done.cells if cell["cell_type"] == "code"]
    kinds = [{kind for output in shown for kind in output.get("data", ())} for shown in outputs]
    pages = ["".join(output["data"].get("text/html", "") for output in shown if "data" in output) for shown in outputs]
    for place in (1, 4, 7):  # the three runs
        assert pages[place].count("<progress") == 1
        assert "done, " in pages[place]
        assert "data:image/png;base64" in pages[place]
    for place in (3, 9):
        assert any("image/png" in kind for kind in kinds[place]), kinds[place]
    picture = Image.open(io.BytesIO(base64.b64decode(outputs[3][-1]["data"]["image/png"])))
    assert picture.width > 300
    assert not any(output["output_type"] == "stream" for shown in outputs for output in shown)
