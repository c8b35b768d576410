"""What the tests of the page share: runs to show, and a browser that reaches nothing but the file."""

import os
import shutil
from pathlib import Path

import pytest
from conftest import call
from playwright.sync_api import sync_playwright
from report.made_runs import made_run

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture(scope="session")
def outputs(tmp_path_factory):
    """outputs/ with a run of bump and one of latent as the commands leave them, one of deblur made by hand."""
    folder = tmp_path_factory.mktemp("page")
    for line in ("bump --jobs 1", "latent --config quick --dims 2 4 --epochs 3 --train-images 1000 --jobs 1"):
        done = call(*line.split(), cwd=folder)
        assert done.returncode == 0, done.stderr
        assert "bs6207 report makes a page of it" in done.stdout
    made_run(folder / "outputs/deblur", "deblur")
    done = call("report", cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "outputs/report.html\n", "")
    return folder / "outputs"


@pytest.fixture(scope="module")
def browser():
    """Chromium, as long as a file of tests needs it; they fail without, as a page nobody opened is not tested."""
    place = os.environ.get("CHROME") or shutil.which("chromium")
    if not place or not Path(place).exists():
        pytest.fail("Chromium is missing: apt-get install -y chromium, or set CHROME to where it is", pytrace=False)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=place, args=FLAGS.split())
        yield running
        running.close()


@pytest.fixture
def visit(browser):
    """`visit(file)` opens a page without network; in the end it has asked for nothing and complained of nothing."""
    asked, said, contexts = [], [], []

    def inspect(route):
        if not route.request.url.startswith(("data:", "blob:")) and route.request.url not in allowed:
            asked.append(route.request.url)
            route.abort()
        else:
            route.continue_()

    allowed = set()

    def visit(file, width=1280, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options)
        contexts.append(context)
        allowed.add(Path(file).resolve().as_uri())
        page = context.new_page()
        page.route("**/*", inspect)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.goto(Path(file).resolve().as_uri())
        if options.get("java_script_enabled", True):
            page.wait_for_selector("html[data-ready]", state="attached")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not asked
    assert not said
