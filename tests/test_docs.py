"""What README.md and docs/ show is true: their code runs, it prints what they say, their links lead somewhere.

    ```python    run; all blocks of a page share one namespace and an empty folder with a few files (see `scene`)
    ```pycon     run as a doctest: what it prints must be what stands there
    ```console   each line that starts with "$ " is run there; what it prints must follow
    ```sh        commands and arguments must exist; nothing is run

Numbers may differ from the shown ones as much as another processor makes them differ; "..." stands for anything. A
page that needs an extra says so in a comment, ``<!-- needs: plot -->``, and is skipped without it.

``python tests/test_docs.py [page ...]`` writes what comes out today into the pages.
"""

import contextlib
import doctest
import html.parser
import io
import math
import os
import re
import shlex
import subprocess
import sys
import textwrap
import types
import urllib.parse
from pathlib import Path

import pytest

import minirep
from minirep import cli
from minirep.files.models import model_path

ROOT = Path(__file__).parents[1]
GENERATED = ("_build", "tutorials", "api", "jupyter_execute")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if page.exists() and not set(page.relative_to(ROOT).parts) & set(GENERATED)]
FENCE = re.compile(r"^( *)(`{3,}|:{3,}) *\{?([\w-]*)\}?[^\n]*\n(.*?)^\1\2 *$", re.M | re.S)
EXTRAS = {"audio": "soundfile", "plot": "matplotlib", "fast": "numba", "onnx": "onnxruntime", "parity": "torch"}
NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """(line, text) of the fenced blocks of a language, also of those inside a directive."""

    def inside(text, first):
        for match in FENCE.finditer(text):
            line = first + text.count("\n", 0, match.start(4))
            if match[3] == language:
                yield line, textwrap.dedent(match[4])
            elif match[2][0] == ":" or len(match[2]) > 3:
                yield from inside(match[4], line)

    return list(inside(page.read_text("utf-8"), 1))


def shown(page: Path) -> str:
    return str(page.relative_to(ROOT))


def with_any(*languages):
    return [pytest.param(page, id=shown(page)) for page in PAGES if any(blocks(page, name) for name in languages)]


def require(page: Path) -> None:
    """Skip where an extra that the page names is missing, or the model that the package ships."""
    for needed in re.findall(r"<!-- needs: (.*?) -->", page.read_text("utf-8")):
        for extra in needed.replace(",", " ").split():
            pytest.importorskip(EXTRAS[extra], reason=f"{shown(page)} needs the extra {extra}")
    if not model_path().exists():
        pytest.skip("the default model has not been made yet (minirep/data/digits.npz)")


# --- what the pages find in their folder ------------------------------------------------------------------------------


def scene(folder: Path) -> None:
    """clip.wav (a spoken nine), recordings/ with four more, checkpoint.pyth (narrow, untrained) and labels.txt."""
    import pyth

    demo = Path(minirep.__file__).parent / "data/demo"
    for name, target in {"nine": "clip", "zero": "recordings/a/zero", "one": "recordings/a/one",
                         "two": "recordings/two", "three": "recordings/three"}.items():  # fmt: skip
        path = folder / f"{target}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((demo / f"{name}.wav").read_bytes())
    state = pyth.published_state(4, heads={"class": 35})
    pyth.write(folder / "checkpoint.pyth", pyth.checkpoint(state, pyth.config(width=4, classes=(35,))))
    (folder / "labels.txt").write_text("".join(f"my class {i}\n" for i in range(35)))


@contextlib.contextmanager
def inside(folder: Path):
    """Work in a folder that holds the scene."""
    scene(folder)
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close("all")


# --- comparing --------------------------------------------------------------------------------------------------------


def numbers(text: str) -> list[float]:
    return [float(found.replace(",", "")) for found in NUMBER.findall(text)]


def close(found: float, expected: float) -> bool:
    return math.isclose(found, expected, rel_tol=1e-3, abs_tol=1e-4) or (
        abs(expected) < 1e-5 and abs(found) < 10 * abs(expected)  # what is left by rounding has a size, no value
    )


def same(found: str, expected: str) -> bool:
    """Whether a text is as shown, but for spaces, last digits, lengths of bars and the SHA-256 of files made here."""
    found, expected = (re.sub(r"[▏▎▍▌▋▊▉█]+|\b[0-9a-f]{64}\b", "", text) for text in (found, expected))

    def words(text):
        return " ".join(NUMBER.sub("0", text).split())

    if not re.fullmatch(".*".join(map(re.escape, words(expected).split("..."))), words(found), re.S):
        return False
    return "..." in expected or all(map(close, numbers(found), numbers(expected)))


class Checker(doctest.OutputChecker):
    def check_output(self, want, got, flags):
        return same(got, want.replace("<BLANKLINE>", ""))


# --- running ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def page_module():
    """A module for a page's code to run in: what it defines can be pickled and sent to other processes."""
    module = types.ModuleType("page")
    sys.modules["page"] = module
    try:
        yield module.__dict__
    finally:
        del sys.modules["page"]


def page_blocks(page: Path):
    """(line, language, text) of all that runs, in the order of the page."""
    found = [(line, name, text) for name in ("python", "pycon", "console") for line, text in blocks(page, name)]
    return sorted(found)


def run_python(page, line, text, namespace):
    exec(compile("\n" * (line - 1) + text, shown(page), "exec"), namespace)


def run_pycon(page, line, text, namespace):
    test = doctest.DocTestParser().get_doctest(text, namespace, shown(page), str(page), line - 1)
    report = io.StringIO()
    result = doctest.DocTestRunner(Checker(), optionflags=doctest.NORMALIZE_WHITESPACE).run(
        test, out=report.write, clear_globs=False
    )
    namespace.update(test.globs)
    assert not result.failed, report.getvalue()


def commands(text: str):
    """(command, what must follow) of a console block."""
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, _, output = part.partition("\n")
        while command.endswith("\\"):
            more, _, output = output.partition("\n")
            command = command[:-1] + more.strip()
        yield command, output


def run_command(command: str) -> str:
    """What a command prints, on stdout and stderr. Pipes and redirections work."""
    python = f"{shlex.quote(sys.executable)} -m minirep"
    package = str(Path(minirep.__file__).parents[1])
    env = os.environ | {"PYTHONPATH": package, "PYTHONIOENCODING": "utf-8", "COLUMNS": "80"}
    line = re.sub(r"(^|[|;&] *)minirep\b", lambda m: m[1] + python, command)
    done = subprocess.run(["bash", "-c", line], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, timeout=300)
    return done.stdout.decode()


def run_console(page, line, text, namespace):
    for command, expected in commands(text):
        found = run_command(command)
        assert same(found, expected), f"{shown(page)}:{line}: $ {command}\n{found}\n--- shown:\n{expected}"


RUN = {"python": run_python, "pycon": run_pycon, "console": run_console}


@pytest.mark.parametrize("page", with_any(*RUN))
def test_what_a_page_shows_is_what_comes_out(page, tmp_path, monkeypatch):
    require(page)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    with inside(tmp_path), page_module() as namespace:
        for line, language, text in page_blocks(page):
            RUN[language](page, line, text, namespace)


# --- commands ---------------------------------------------------------------------------------------------------------


def command_lines(page: Path):
    """Every line of a shell block that calls minirep, as a list of arguments."""
    lines = [line for _, text in blocks(page, "sh") + blocks(page, "bash") for line in text.splitlines()]
    lines += [command for _, text in blocks(page, "console") for command, _ in commands(text)]
    for line in lines:
        for part in re.split(r"&&|\||;|>|<", line.split("#")[0]):
            words = shlex.split(part)
            if words[:1] == ["minirep"] or words[:3] == ["python", "-m", "minirep"]:
                yield words[words.index("minirep") + 1 :]


@pytest.mark.parametrize("page", with_any("sh", "bash", "console"))
def test_commands_exist(page):
    for words in command_lines(page):
        with contextlib.redirect_stderr(io.StringIO()) as complaint:
            try:
                cli._parser(words).parse_args(words)
            except SystemExit as stopped:
                assert not stopped.code, f"minirep {shlex.join(words)}: {complaint.getvalue()}"


@pytest.mark.parametrize("page", with_any("sh", "bash", "console"))
def test_extras_exist(page):
    declared = (ROOT / "pyproject.toml").read_text("utf-8").split("[project.optional-dependencies]")[1].split("\n[")[0]
    for _, text in blocks(page, "sh") + blocks(page, "bash") + blocks(page, "console"):
        for extras in re.findall(r"(?:minirep|\.)\[([\w, -]+)\]", text):
            for extra in extras.split(","):
                assert re.search(rf"^{extra.strip()} = ", declared, re.M), f"{shown(page)}: no extra {extra}"


# --- links within the repository --------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [pytest.param(page, id=shown(page)) for page in PAGES])
def test_links_lead_somewhere(page):
    text = FENCE.sub(lambda m: "" if m[2][0] == "`" else m[0], page.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", text):
        if not target.startswith(("http:", "https:", "mailto:", "project:", "path:")):
            generated = set(Path(os.path.normpath(target)).parts) & set(GENERATED)
            assert generated or (page.parent / target).exists(), f"{shown(page)} links to {target}, which is not there"


class _Links(html.parser.HTMLParser):
    """Names to be linked to, and what is linked to or fetched, of one built page."""

    def __init__(self):
        super().__init__()
        self.ids, self.links, self.fetched = set(), [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids.update(filter(None, (values.get("id"), values.get("name"))))
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        for name in ("src", "href") if tag in ("link", "script", "img", "iframe", "source", "video", "audio") else ():
            if values.get(name) and values.get("rel") != "canonical":
                self.fetched.append(values[name])


def faults(site: Path) -> list[str]:
    """What is wrong with a built site: links that lead nowhere, and what would be fetched from elsewhere."""
    pages = {}
    for path in site.rglob("*.html"):
        pages[path] = _Links()
        pages[path].feed(path.read_text("utf-8"))
    wrong = []
    for path, page in pages.items():
        for link in page.links + page.fetched:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.fetched and parts.scheme != "data":
                    wrong.append(f"{path.relative_to(site)} fetches {link}")
                continue
            target = Path(os.path.normpath(path.parent / urllib.parse.unquote(parts.path))) if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                wrong.append(f"{path.relative_to(site)} links to {link}, which is not there")
            elif parts.fragment and target in pages and urllib.parse.unquote(parts.fragment) not in pages[target].ids:
                wrong.append(f"{path.relative_to(site)} links to {link}, whose target is not there")
    return wrong


def test_the_site_builds_without_warnings_and_its_links_lead_somewhere(tmp_path):
    for name in ("sphinx", "furo", "myst_nb", "numpydoc", "sphinx_copybutton", "sphinx_design"):
        pytest.importorskip(name, reason="building the site needs the extra docs")
    site = tmp_path / "site"
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-n", "-b", "html"]
    done = subprocess.run([*build, str(ROOT / "docs"), str(site)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not faults(site)
    assert (site / "searchindex.js").stat().st_size > 10_000


# --- writing what comes out into the pages ----------------------------------------------------------------------------


def printed(code: str, namespace: dict) -> str:
    """What a doctest's example prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            exec(compile(code, "<page>", "single"), namespace)
        except Exception as error:
            name = f"{type(error).__module__}.{type(error).__name__}".removeprefix("builtins.")
            return f"Traceback (most recent call last):\n    ...\n{name}: {error}\n"
    return out.getvalue()


def renewed(text: str, language: str, namespace: dict) -> str:
    """A block with today's output."""
    if language == "console":
        parts = re.split(r"^(?=\$ )", text, flags=re.M)
        return parts[0] + "".join(
            part if "..." in expected and same(found, expected) else part.removesuffix(expected) + found
            for part in parts[1:]
            for command, expected in [next(commands(part))]
            for found in [run_command(command)]
        )
    out = ""
    for piece in doctest.DocTestParser().parse(text):
        if isinstance(piece, str):
            out += piece
            continue
        source = piece.source.rstrip("\n").split("\n")
        out += "".join(f"{'... ' if i else '>>> '}{line}".rstrip() + "\n" for i, line in enumerate(source))
        found = printed(piece.source, namespace)
        out += piece.want if "..." in piece.want and same(found, piece.want) else found
    return out


def renew(page: Path, folder: Path) -> None:
    text = page.read_text("utf-8")
    with inside(folder), page_module() as namespace:
        for line, language, block in page_blocks(page):
            if language == "python":
                run_python(page, line, block, namespace)
            else:
                new = renewed(block, language, namespace)
                assert text.count(block) == 1, f"{shown(page)}:{line}: this block stands in the page twice, or indented"
                text = text.replace(block, new)
    page.write_text(text, "utf-8")


if __name__ == "__main__":
    import tempfile

    os.environ["MPLBACKEND"] = "Agg"
    sys.path.insert(0, str(Path(__file__).parent / "helpers"))
    for page in [Path(name).resolve() for name in sys.argv[1:]] or [p for p in PAGES if p.name != "README.md"]:
        with tempfile.TemporaryDirectory() as folder:
            renew(page, Path(folder))
        print(shown(page))
