"""The README and CI run the same two commands."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_ci_runs_the_readmes_two_commands_first():
    commands = re.findall(r"```sh\n(.+?)\n```", (ROOT / "README.md").read_text("utf-8"))
    assert len(commands) >= 2
    main, tests = commands[:2]
    assert "minirep classify" in main and tests.endswith("pytest -n auto")
    script = (ROOT / ".ci/run").read_text("utf-8")
    assert f"fresh readme\n{main}\n{tests}\n" in script


def test_every_figure_is_on_a_page_that_the_section_cites():
    """The README's table of measurements repeats the pages behind it; a figure that only one of them has is stale."""
    section = (ROOT / "README.md").read_text("utf-8").partition("## Measured")[2].partition("\n## ")[0]
    number = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e-\d+)?")
    pages = "\n".join((ROOT / page).read_text("utf-8") for page in re.findall(r"\]\((docs/[^)]+)\)", section))
    known = set(number.findall(pages))
    rows = [line for line in section.splitlines() if line.startswith("|") and not line.startswith(("| | |", "|---"))]
    figures = number.findall("\n".join(rows))
    assert len(figures) > 15 and [figure for figure in figures if figure not in known] == []
