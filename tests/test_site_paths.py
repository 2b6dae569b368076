"""How the built site leads from page to page, and what its notebook pages look like, in a real Chromium."""

import sys
from itertools import pairwise

import pytest
from built_site import DOCS, NARROW, ROOT, require

require()
sys.path.insert(0, str(DOCS / "_extensions"))
import paths  # noqa: E402 (found through the path above)

NOTEBOOKS = sorted(path.stem for path in (ROOT / "tutorials").glob("*.ipynb"))
TABLES = [page for _, page in paths.LESSONS] + [page for path in paths.PATHS.values() for page in path]


def names(built) -> dict:
    """{page of a table: its name on the site}"""
    found = {int(name.partition("-")[0]): f"tutorials/{name}" for name in NOTEBOOKS}
    pages = {p for path in paths.PATHS.values() for p in path} | {p for lesson in paths.LESSONS for p in lesson}
    return {page: found.get(page, page) for page in pages if found.get(page) or isinstance(page, str)}


def leads_to(page, selector) -> list[str]:
    """The pages that links lead to, by name."""
    links = page.locator(selector).evaluate_all("links => links.map((a) => a.href)")
    return ["/".join(link.partition("#")[0].removesuffix(".html").rsplit("/", 2)[1:]) for link in links]


def test_every_page_of_the_tables_exists(built):
    assert {n for page in TABLES if isinstance(n := page, int)} <= set(range(1, len(NOTEBOOKS) + 1))
    assert all((built / f"{name}.html").exists() for name in names(built).values())


def test_the_front_page_starts_three_numbered_paths(open_page, built):
    page, name = open_page("index"), names(built)
    expected = [name[p] for path in paths.PATHS.values() for p in path]
    assert leads_to(page, "ol.path a") == expected
    assert {f"tutorials/{notebook}" for notebook in NOTEBOOKS} <= set(expected)  # one click away
    assert page.locator("ol.path").first.bounding_box()["y"] < 900  # without scrolling


@pytest.mark.parametrize("path", paths.PATHS)
def test_each_page_of_a_path_leads_to_the_next(open_page, built, path):
    pages = [names(built)[p] for p in paths.PATHS[path]]
    page = open_page(pages[0])
    for here, after in pairwise(pages):
        page.wait_for_url(f"**/{here}.html")
        link = page.locator("p.path-next").filter(has_text=f"{path}, ").locator("a")
        assert leads_to(page, f"p.path-next:has-text('{path}, ') a") == [after]
        link.click()
    page.wait_for_url(f"**/{pages[-1]}.html")
    assert not page.locator("p.path-next").filter(has_text=f"{path}, ").count()


def test_pages_and_notebooks_lead_to_each_other(open_page, built):
    name, page = names(built), open_page("index")
    root = page.url.removesuffix("index.html")
    for here, number in paths.LESSONS:
        for start, end in ((here, name[number]), (name[number], here)):
            page.goto(f"{root}{start}.html")
            assert end in leads_to(page, "p.lesson a")


@pytest.mark.parametrize("notebook", NOTEBOOKS)
class TestNotebook:
    def test_begins_with_how_to_run_it_and_its_file(self, open_page, built, notebook):
        page = open_page(f"tutorials/{notebook}")
        top = page.locator("h1 + p.lesson")
        assert f"jupyter lab tutorials/{notebook}.ipynb" in top.inner_text()
        assert leads_to(page, "h1 + p.lesson a[download]") == [f"tutorials/{notebook}.ipynb"]
        file = built / f"tutorials/{notebook}.ipynb"
        assert file.read_bytes() == (ROOT / f"tutorials/{notebook}.ipynb").read_bytes()

    def test_no_code_is_wider_than_the_column(self, open_page, notebook):
        page = open_page(f"tutorials/{notebook}")
        wide = page.evaluate(
            """() => {
              for (const details of document.querySelectorAll("details")) details.open = true;
              const blocks = [...document.querySelectorAll(".cell_input pre, details .highlight pre")];
              return blocks.filter((b) => b.scrollWidth > b.clientWidth).map((b) => b.textContent);
            }"""
        )
        assert not wide

    def test_a_phone_scrolls_in_one_direction(self, open_page, notebook):
        page = open_page(f"tutorials/{notebook}", viewport=NARROW)
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
