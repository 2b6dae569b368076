"""The search of the built site in a real Chromium without a screen: it finds every term of the glossary."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

ROOT = Path(__file__).resolve().parent.parent
GLOSSARY = ROOT / "docs/reference/glossary.md"
playwright = pytest.importorskip("playwright.sync_api", reason="of the extra programs")
for name in ("sphinx", "furo", "myst_nb", "numpydoc", "sphinx_copybutton", "sphinx_design"):
    pytest.importorskip(name, reason="building the site needs the extra docs")
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None or not GLOSSARY.exists():
    pytest.skip("needs Debian's chromium, and the repository", allow_module_level=True)


def test_the_search_finds_every_term_of_the_glossary(tmp_path):
    site = tmp_path / "site"
    build = [sys.executable, "-m", "sphinx", "-q", "-b", "html", str(ROOT / "docs"), str(site)]
    subprocess.run(build, check=True, capture_output=True)
    terms = re.findall(r"(?m)^(\w.*)\n  ", GLOSSARY.read_text("utf-8"))
    missing = []
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        for term in terms:
            page.goto(f"{(site / 'search.html').as_uri()}?q={quote(term)}")
            anchor = f"glossary.html#term-{term.replace(' ', '-')}"
            try:
                page.wait_for_selector(f"#search-results a[href$='{anchor}' i]", timeout=10_000)
            except playwright.TimeoutError:
                missing.append(term)
        browser.close()
    assert len(terms) > 60 and not missing
