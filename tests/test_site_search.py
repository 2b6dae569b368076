"""The search of the built site: it finds every term of the glossary, and the page about a thing first."""

import re
from urllib.parse import quote

import pytest
from built_site import DOCS, require

require()
from playwright.sync_api import TimeoutError  # noqa: E402 (it may be missing)


def test_the_search_finds_every_term_of_the_glossary(open_page):
    terms = re.findall(r"(?m)^(\w.*)\n  ", (DOCS / "reference/glossary.md").read_text("utf-8"))
    page, missing = open_page("search", listen=False), []
    address = page.url
    for term in terms:
        page.goto(f"{address}?q={quote(term)}")
        anchor = f"glossary.html#term-{term.replace(' ', '-')}"
        try:
            page.wait_for_selector(f"#search-results a[href$='{anchor}' i]", timeout=20_000)
        except TimeoutError:
            missing.append(term)
    assert len(terms) > 60 and not missing


@pytest.mark.parametrize(("words", "first"), [("mel", "concepts/front-end.html")])
def test_the_page_about_a_thing_comes_first(open_page, words, first):
    page = open_page(f"search?q={words}", listen=False)
    page.wait_for_selector(".search-summary:has-text('found')")
    assert page.locator("#search-results li a").first.get_attribute("href").partition("#")[0] == first
