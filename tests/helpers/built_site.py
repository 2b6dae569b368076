"""The built site, and a Chromium to look at it: fixtures of tests/test_site_*.py.

The environment variable MINIREP_SITE may name a site that is built already; otherwise it is built, which takes a while.
"""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
CHROMIUM = shutil.which("chromium")


def require() -> None:
    """Skip a module where the site cannot be built or looked at."""
    pytest.importorskip("playwright.sync_api", reason="of the extra programs")
    for name in ("sphinx", "furo", "myst_nb", "numpydoc", "sphinx_copybutton", "sphinx_design"):
        pytest.importorskip(name, reason="building the site needs the extra docs")
    if CHROMIUM is None or not (DOCS / "reference/glossary.md").exists():
        pytest.skip("needs Debian's chromium, and the repository", allow_module_level=True)


@functools.lru_cache(maxsize=1)
def build() -> tuple[Path, object]:
    """The folder of the site, and what keeps it until the tests end."""
    if given := os.environ.get("MINIREP_SITE"):
        return Path(given), None
    folder = tempfile.TemporaryDirectory()
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", str(DOCS), folder.name]
    subprocess.run(command, check=True, capture_output=True)
    return Path(folder.name), folder


@pytest.fixture(scope="module")
def built():
    """The folder of the site."""
    return build()[0]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, built):
    """Open a page of the site by its name; at the end of the test, nothing may have been complained of."""
    complaints, contexts = [], []

    def address(name):
        page, mark, query = name.partition("?")
        return (built / f"{page}.html").as_uri() + mark + query

    def show(name, viewport=WIDE, listen=True, **options):
        contexts.append(browser.new_context(viewport=viewport, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(120_000)
        if not listen:  # the search loads pages to quote from them, which browsers refuse on a disk
            page.goto(address(name))
            return page
        page.on("console", lambda message: message.type in ("error", "warning") and complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(f"not loaded: {request.url}"))
        page.goto(address(name))
        return page

    yield show
    for context in contexts:
        context.close()
    assert not complaints
