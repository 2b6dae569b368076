"""The tutorials as they are stored: complete, small, and free of anything that belongs to one computer.

`tutorials/execute.py` runs them with their assertions. Here their files are read, and the glossary that leads to them.
"""

import ast
import json
import re
from pathlib import Path

import pytest

TUTORIALS = Path(__file__).resolve().parent.parent / "tutorials"
NOTEBOOKS = sorted(TUTORIALS.glob("*.ipynb"), key=lambda path: int(path.name.split("-")[0]))
GLOSSARY = TUTORIALS.parent / "docs/reference/glossary.md"
MOST = 700_000  # bytes

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
    """All that the cells printed, and the alternative texts of their figures."""
    found = []
    for output in outputs(notebook):
        found.append("".join(output.get("text", ())))
        found += ["".join(data) for kind, data in output.get("data", {}).items() if kind.startswith("text/")]
    return "\n".join(found)


def code(notebook):
    """All code cells, and the code of the hidden answers."""
    cells = ["".join(cell["source"]) for cell in code_cells(notebook)]
    return "\n".join([*cells, *re.findall(r"(?s)```python\n(.*?)```", text(notebook))])


def tutorial(number):
    return read(next(TUTORIALS.glob(f"{number}-*.ipynb")))


def test_there_are_tutorials():
    numbers = [int(path.name.split("-")[0]) for path in NOTEBOOKS]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= 10


# Lessons that were wrong once: the assertion that fails where the wrong lesson is right.
LESSONS = [
    (1, "assert all(0 < share < 1 for ms, share in zip(lengths, two) if ms < 20)"),  # the phase decides below 20 ms
    (1, "assert all(share == 1 for ms, share in zip(lengths, two) if ms >= 20)"),
    (3, "assert unchanged.any() and (values == 0).mean() > 0.99"),  # shut ReLUs, not the receptive field
    (3, 'assert reached["stage1"].all() and reached["stage4"].all()'),
    (3, "assert sure.sum() > 4 and np.ptp(p[sure]) < 0.1 < np.ptp(z[sure])"),  # a saturated probability
    (5, 'assert errors["without ReLUs: product of sums"] > 0.5'),  # the ReLU is not to blame for this error
    (5, 'assert errors["without ReLUs: sum of products"] < 1e-14'),
    (5, 'assert errors["with ReLUs: sum of products"] > 0.1'),
    (5, 'assert errors["with ReLUs: sum of products, then a ReLU"] > 0.1'),
    (6, 'assert "os.system" in str(error)'),  # PyTorch refuses the attack by default
    (6, 'assert try_to_read(work / "short.pyth") is None'),
    (7, 'assert not any("(" in line for line in loop)'),  # the sums of the peak are in registers
    (7, 'assert below_the_peak(max(rates["textbook"], rates["along rows"]))'),
    (7, "assert below_the_peak(max(found.values()), n)"),
    (9, 'assert plain["validation"][0] > 1.5 * plain["known speakers"][0]'),  # split by speaker
    (9, "assert accuracies.max() > 0.3 and fresh < 0.23"),  # what tuning on the test set does
    (10, "assert not proof.equal and proof.source == []"),  # zeros between two convolutions: found without any input
]


@pytest.mark.parametrize(("number", "assertion"), LESSONS)
def test_a_lesson_that_was_wrong_keeps_its_assertion(number, assertion):
    assert assertion in code(tutorial(number))


def test_the_depthwise_share_of_the_time_is_as_the_text_has_it():
    """Tutorial 7: several times its share of the arithmetic, and not the most of all."""
    arithmetic, duration = map(int, re.search(r"depthwise: (\d+)% .*, (\d+)% of the time", shown(tutorial(7))).groups())
    assert 1.5 * arithmetic < duration < 50


def test_the_test_set_is_read_once_and_after_every_decision():
    """Tutorial 9, exercise included."""
    cells = ["".join(cell["source"]) for cell in code_cells(tutorial(9))]
    (reads,) = [i for i, cell in enumerate(cells) if 'load(sets["test"])' in cell]
    (chosen,) = [i for i, cell in enumerate(cells) if "best, title, chosen = min(" in cell]
    assert reads > chosen
    assert not any("test" in cell for cell in re.findall(r"(?s)```python\n(.*?)```", text(tutorial(9))))
    assert not any('sets["test"]' in cell for cell in cells[:reads] + cells[reads + 1 :])


def terms():
    """(term, where it is taught) of the glossary."""
    glossary = GLOSSARY.read_text("utf-8") if GLOSSARY.exists() else ""
    return re.findall(r"(?m)^(\w.*)\n  .*?\]\((.*?)\)", glossary)


def test_the_glossary_is_in_order():
    found = [term.lower() for term, _ in terms()]
    assert len(found) > 60 and found == sorted(set(found))


@pytest.mark.parametrize(("term", "where"), terms(), ids=lambda value: value.split("/")[-1])
def test_a_term_is_in_bold_where_the_glossary_says(term, where):
    notebook = where.startswith("../tutorials/")  # on the site they are beside the other pages
    path = TUTORIALS / Path(where).name if notebook else GLOSSARY.parent / where
    explained = text(read(path)) if notebook else path.read_text("utf-8")
    bold = [" ".join(words.split()) for words in re.findall(r"(?s)\*\*(.+?)\*\*", explained)]
    assert any(re.search(rf"(?i)\b{term}s?\b", words) for words in bold), f"{term} is not in bold in {path.name}"


def luminance(colour):
    """Relative luminance of "#rrggbb" (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return sum(
        share * (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4)
        for share, part in zip((0.2126, 0.7152, 0.0722), parts)
    )


def test_the_colours_of_figures_fit_light_and_dark_pages():
    """Their backgrounds are transparent: a contrast of at least 3:1 with white and with the dark theme of the site."""
    dark, *colours = sorted(
        set(re.findall(r"#[0-9a-f]{6}", (TUTORIALS / "style.py").read_text("utf-8"))), key=luminance
    )
    assert dark == "#131416" and len(colours) == 8
    for colour in colours:
        assert 1.05 / (luminance(colour) + 0.05) >= 3, colour
        assert (luminance(colour) + 0.05) / (luminance(dark) + 0.05) >= 3, colour


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 8, 9])
def test_sounds_can_be_played(number):
    """Players for embedded WAVs, each with a title that can be read aloud."""
    players = re.findall(r'<audio aria-label="([^"]+)".*?src="data:audio/wav;base64,UklGR', shown(tutorial(number)))
    assert players and all(title.strip() for title in players)


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
        assert any(kind.startswith("image/") for output in outputs(read(path)) for kind in output.get("data", {}))

    def test_no_errors(self, path):
        kinds = {(output["output_type"], output.get("name")) for output in outputs(read(path))}
        assert kinds <= {("stream", "stdout"), ("display_data", None), ("execute_result", None)}

    def test_nothing_of_one_computer(self, path):
        notebook = read(path)
        places = r"/(home|root|tmp|usr|opt|work|mnt|Users|var|proc)/\w|[A-Z]:\\\\|site-packages|localhost|ipykernel_"
        assert not re.search(places, shown(notebook))
        assert not re.search(places, text(notebook) + "\n".join("".join(c["source"]) for c in code_cells(notebook)))

    def test_has_three_graded_exercises_with_hidden_answers(self, path):
        """`tutorials/execute.py` runs the code of the answers."""
        _, exercises = text(read(path)).split("\n## Exercises\n")
        graded = re.findall(r"(?m)^### (?:\d\. )?(\w+)", exercises)
        assert graded == ["Recall", "Apply", "Extend"]
        for exercise in re.split(r"(?m)^### ", exercises)[1:]:
            answer = re.search(r"(?s)\n<details><summary>Answer</summary>\n\n(.*)\n\n</details>", exercise)
            code = "".join(re.findall(r"(?s)```python\n(.*?)```", answer[1]))
            assert "assert " in code, exercise[:40]
            ast.parse(code)

    def test_lines_of_code_fit_the_column(self, path):
        assert not [line for line in code(read(path)).split("\n") if len(line) > 88]

    def test_has_the_common_style(self, path):
        found = code(read(path))
        assert "rcParams" not in found and not re.search(r"(?m)^from style import .*\*|plt\.show|savefig", found)

    def test_every_figure_has_an_alternative_text(self, path):
        """In the output's metadata for Jupyter, in the cell's for the site; the code is folded where it only plots."""
        texts = []
        for cell in code_cells(read(path)):
            for output in cell["outputs"]:
                pictures = [kind for kind in output.get("data", {}) if kind.startswith("image/")]
                for kind in pictures:
                    alt = output["metadata"][kind]["alt"]
                    assert cell["metadata"]["mystnb"]["image"]["alt"] == alt == "".join(output["data"]["text/plain"])
                    assert len(alt.split()) > 8 and not re.search(r"\.(png|svg)\b|<Figure|^(figure|image)\b", alt), alt
                    texts.append(alt)
        assert texts and len(set(texts)) == len(texts)
        assert any("hide-input" in cell["metadata"].get("tags", ()) for cell in code_cells(read(path)))

    def test_ends_with_references_and_leads_to_the_glossary(self, path):
        cells = [cell for cell in read(path)["cells"] if cell["cell_type"] == "markdown"]
        assert "(../docs/reference/glossary.md)" in "".join(cells[0]["source"])
        assert re.search(r"(?s)\n## References\n\n- .*\Z", "".join(cells[-1]["source"]))

    def test_links_lead_somewhere(self, path):
        """Those to other tutorials and their files."""
        for link in re.findall(r"\]\(([^)#]+)\)", text(read(path))):
            assert link.startswith("https://") or (TUTORIALS / link).exists(), link
