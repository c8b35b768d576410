"""How long the page of finished runs takes to be built, and to open in Chromium.

    python tests/bench/page.py outputs/bump outputs/latent outputs/deblur

builds it a few times and opens it, from its file, in new windows; medians are printed. What a window does first, before
the page is even read, is in the time.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, sync_playwright

BUILT, OPENED = 3, 9  # times


def build(runs: list[str], file: Path) -> float:
    """Seconds of `bs6207 report` from the shell."""
    start = time.perf_counter()
    line = [sys.executable, "-m", "bs6207", "report", *runs, "--out", str(file)]
    subprocess.run(line, check=True, capture_output=True)
    return time.perf_counter() - start


def open_once(browser: Browser, file: Path) -> tuple[float, float]:
    """Milliseconds from asking for the page until its first explorer answers, and until all do."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready]", state="attached")
    times = page.evaluate("['interactive', 'ready'].map((name) => Number(document.documentElement.dataset[name]))")
    page.close()
    return times[0], times[1]


def main() -> None:
    """Build and open."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN")
    runs = parser.parse_args().runs
    with TemporaryDirectory() as place, sync_playwright() as playwright:
        file = Path(place) / "report.html"
        seconds = median(build(runs, file) for _ in range(BUILT))
        chromium = os.environ.get("CHROME") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--headless", "--no-sandbox"])
        first, last = zip(*(open_once(browser, file) for _ in range(OPENED)), strict=True)
        print(f"{file.stat().st_size / 2**20:.2f} MiB, built in {seconds:.1f} s")
        print(f"the first explorer answers after {median(first):.0f} ms, the last after {median(last):.0f} ms")


if __name__ == "__main__":
    main()
