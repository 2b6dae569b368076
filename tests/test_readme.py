"""What the README shows works: its commands run in a fresh clone, and its figures are on the pages that it cites."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import pyth

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"(?ms)^```sh\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"))
COMMANDS = [
    line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines() if line.startswith("minirep ")
]


def test_ci_runs_the_readmes_two_commands_first():
    main, tests = (block.strip() for block in BLOCKS[:2])
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


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A folder with the files of the repository that the commands read, and the reader's own, which begin with my-."""
    folder = tmp_path_factory.mktemp("clone")
    demo = folder / "minirep/data/demo"
    shutil.copytree(ROOT / "minirep/data/demo", demo)
    (folder / "tutorials").mkdir()
    shutil.copy(ROOT / "tutorials/digits-branches.npz", folder / "tutorials")
    state = pyth.published_state(4, heads={"class": 35})
    pyth.write(folder / "my-checkpoint.pyth", pyth.checkpoint(state, pyth.config(width=4, classes=(35,))))
    (folder / "my-recordings").mkdir()
    for name in ("nine", "one"):
        shutil.copy(demo / f"{name}.wav", folder / "my-recordings")
    (folder / "my-test.csv").write_text("path,label\nmy-recordings/nine.wav,nine\nmy-recordings/one.wav,one\n")
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs_in_a_fresh_clone(command, clone):
    words = [sys.executable, "-m", *shlex.split(command)]
    options = {"cwd": clone, "env": os.environ | {"PYTHONPATH": str(ROOT)}, "stdin": subprocess.DEVNULL, "text": True}
    if words[3] == "web":  # serves until it is stopped
        with subprocess.Popen([*words, "--port", "0"], stdout=subprocess.PIPE, **options) as server:
            try:
                assert server.stdout.readline().startswith("http://127.0.0.1:")
            finally:
                server.kill()
        return
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600, **options)
    assert done.returncode == 0, done.stdout


def test_commands_write_nothing_over_and_read_nothing_that_a_clone_lacks():
    """A path in a command is in the repository, or its name shows that it is the reader's own."""
    assert len(COMMANDS) >= 9
    for command in COMMANDS:
        words = shlex.split(command)
        output = [words[words.index("-o") + 1]] if "-o" in words else []
        paths = [word for word in words if "/" in word or "." in word or word.startswith("my-")]
        assert [p for p in paths if not p.startswith("my-") and p not in output and not (ROOT / p).exists()] == []
        assert [p for p in output if (ROOT / p).exists()] == []
