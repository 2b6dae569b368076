"""The tutorials as they are kept: complete, small, and free of anything that belongs to one computer.

`tutorials/execute.py` runs them; here they are only looked at.
"""

import ast
import json
import re
from pathlib import Path

import pytest

TUTORIALS = Path(__file__).resolve().parent.parent / "tutorials"
NOTEBOOKS = sorted(TUTORIALS.glob("*.ipynb"))
MOST = 600_000  # bytes

pytestmark = pytest.mark.skipif(not TUTORIALS.is_dir(), reason="the tutorials are in the repository alone")


def read(path):
    return json.loads(path.read_text("utf-8"))


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell["outputs"]]


def text(notebook):
    """All markdown."""
    return "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")


def shown(notebook):
    """All that the cells printed; the pictures as their kind alone."""
    found = []
    for output in outputs(notebook):
        found.append("".join(output.get("text", ())))
        found += ["".join(data) for kind, data in output.get("data", {}).items() if kind.startswith("text/")]
    return "\n".join(found)


def test_there_are_tutorials():
    numbers = [int(path.name.split("-")[0]) for path in NOTEBOOKS]
    assert numbers == list(range(1, 10))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestNotebook:
    def test_format(self, path):
        notebook = read(path)
        assert notebook["nbformat"] == 4 and notebook["cells"]
        assert "".join(notebook["cells"][0]["source"]).startswith(f"# {path.name.split('-')[0]} · ")
        ids = [cell["id"] for cell in notebook["cells"]]
        assert len(set(ids)) == len(ids)

    def test_size(self, path):
        assert path.stat().st_size < MOST

    def test_was_run_from_top_to_bottom(self, path):
        counts = [cell["execution_count"] for cell in code_cells(read(path))]
        assert counts == list(range(1, len(counts) + 1))
        assert any("image/png" in output.get("data", {}) for output in outputs(read(path)))

    def test_no_errors(self, path):
        kinds = {(output["output_type"], output.get("name")) for output in outputs(read(path))}
        assert kinds <= {("stream", "stdout"), ("display_data", None), ("execute_result", None)}

    def test_nothing_of_one_computer(self, path):
        notebook = read(path)
        places = r"/(home|root|tmp|usr|opt|work|mnt|Users|var|proc)/\w|[A-Z]:\\\\|site-packages|localhost|ipykernel_"
        assert not re.search(places, shown(notebook))
        assert not re.search(places, text(notebook) + "\n".join("".join(c["source"]) for c in code_cells(notebook)))

    def test_has_an_exercise_with_a_hidden_answer(self, path):
        answer = re.search(
            r"(?s)## Exercise\n.*<details><summary>Answer</summary>\n\n(.*)\n\n</details>", text(read(path))
        )
        code = "".join(re.findall(r"(?s)```python\n(.*?)```", answer[1]))
        assert code
        ast.parse(code)

    def test_links_lead_somewhere(self, path):
        """Those to other tutorials and their files."""
        for link in re.findall(r"\]\(([^)#]+)\)", text(read(path))):
            assert link.startswith("https://") or (TUTORIALS / link).exists(), link
