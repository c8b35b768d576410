"""What the tests of the page share: runs to show, and a browser that reaches nothing but the file."""

import shutil
from pathlib import Path

import pytest
from conftest import call
from page.browsing import Visits, find_browser, running_browser, wait_for_frame, wait_until_ready
from page.made_runs import made_run


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Look for the browser before any fixture is made; what a fixture skips, pytest would list test by test."""
    if "browser" in item.fixturenames:
        find_browser()


@pytest.fixture(scope="module")
def browser():
    """A browser, as long as a file of tests needs it: the driver keeps an event loop in the thread of the tests."""
    with running_browser() as running:
        yield running


@pytest.fixture(scope="module")
def outputs(browser, shared, trained):
    """outputs/ with a run of bump and one of latent as the commands leave them, one of deblur made by hand.

    All test processes share it: a test that writes makes itself a copy. It needs `browser`, so that nothing is trained
    where no browser will show it.
    """

    def make(folder: Path) -> None:
        for story in ("bump", "latent"):
            run = trained(story)
            assert "bs6207 report makes a page of it" in (run.parents[1] / "stdout").read_text()
            shutil.copytree(run, folder / "outputs" / story)
        made_run(folder / "outputs/deblur", "deblur")
        done = call("report", cwd=folder)
        assert (done.returncode, done.stdout, done.stderr) == (0, "outputs/report.html\n", "")

    return shared("page", make) / "outputs"


@pytest.fixture
def visit(browser):
    """`visit(file)` opens a page without network; in the end it has asked for nothing and complained of nothing."""
    visits = Visits(browser)
    yield visits
    visits.end()


@pytest.fixture(scope="module")
def opened(browser, outputs):
    """The visits of a file of tests to the page of `outputs`, and the page, opened once."""
    visits = Visits(browser)
    yield visits, visits(outputs / "report.html")
    visits.end()


@pytest.fixture
def shown(opened):
    """The page of `outputs`, for a test that leaves it as it was; it has asked and complained as little as any."""
    visits, page = opened
    yield page
    wait_for_frame(page)
    visits.check()


@pytest.fixture
def page(shown):
    """The page of `outputs`, for a test that changes it: afterwards it is opened again."""
    yield shown
    address = shown.url
    shown.goto("about:blank")  # as a mere reload keeps where the page was scrolled to
    shown.goto(address)
    wait_until_ready(shown)


@pytest.fixture(scope="module")
def unfolded(browser, outputs, request):
    """The page of `outputs`, opened at the width that is the parameter, and everything in it unfolded."""
    visits = Visits(browser)
    page = visits(outputs / "report.html", request.param)
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    yield page
    visits.end()
