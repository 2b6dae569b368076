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
