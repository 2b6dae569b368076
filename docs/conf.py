"""Sphinx: ``python -m sphinx -W -b html docs docs/_build`` from the repository root builds the site.

Nothing in a built page is fetched from elsewhere: formulas become MathML here, fonts are the reader's own.
"""

import importlib
import json
import pkgutil
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_extensions"), str(HERE.parent)]

import minirep  # noqa: E402 (found through the path above)

project = "minirep"
author = "the minirep contributors"
copyright = "2026, the minirep contributors. MIT licence"
version = release = minirep.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "cli_reference",
    "code_links",
    "drawing",
    "interactive",
    "mathml",
    "paths",
    "plain_docstrings",
    "sounds",
    "source_links",
]
exclude_patterns = ["_build", "_extensions", "jupyter_execute", "**.ipynb_checkpoints", "**/README.md"]
templates_path = []

# Notebooks are shown with the outputs they are committed with; CI executes them by itself.
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # would be fetched from elsewhere; no tutorial has widgets
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "attrs_inline", "attrs_block", "fieldlist"]
myst_heading_anchors = 4
myst_links_external_new_tab = False

default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
autosummary_generate = False
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
nitpick_ignore_regex = [
    # Types of NumPy, of the standard library and of the source's own shorthands have no page here.
    (
        r"py:.*",
        r"(np|numpy|argparse|socket|zipfile|io|os|pathlib|typing|collections|fractions|re|pickle|pickletools)\..*",
    ),
    (r"py:class", r"(Array|Path|Callable|Iterator|Iterable|BinaryIO|Shape|Fraction|optional|dict|tuple|list).*"),
    (r"py:obj", r".*"),  # a word in backticks in a docstring need not be a name that has a page
]
# Pages that land with other parts of the work are found by pattern; a pattern may be ahead of its pages.
suppress_warnings = ["toc.empty_glob"]

html_theme = "furo"
html_title = "minirep"
html_static_path = ["_static"]
html_css_files = ["minirep.css"]
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathml"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0a6a73", "color-brand-content": "#0a6a73"},
    "dark_css_variables": {"color-brand-primary": "#5cc8d2", "color-brand-content": "#5cc8d2"},
    "navigation_with_keys": True,
}
pygments_style = "friendly"
pygments_dark_style = "monokai"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


# --- pages made from the source, before Sphinx looks for pages --------------------------------------------------------


def write_pages(folder: Path, pages: dict[str, bytes]) -> None:
    """Make these the only files of a folder; one that is as it should be keeps its time."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        if old.name not in pages:
            old.unlink()
    for name, content in pages.items():
        page = folder / name
        if not page.exists() or page.read_bytes() != content:
            page.write_bytes(content)


def tutorials() -> dict[str, bytes]:
    """The notebooks of ../tutorials and their overview: Sphinx reads only what lies under docs/."""
    pages = {}
    for path in sorted((HERE.parent / "tutorials").glob("*.ipynb")):
        notebook = json.loads(path.read_text("utf-8"))
        notebook["metadata"].setdefault("language_info", {"name": "python", "pygments_lexer": "ipython3"})
        pages[path.name] = json.dumps(notebook, ensure_ascii=False).replace("](../docs/", "](../").encode()
    overview = HERE.parent / "tutorials" / "README.md"
    if overview.exists():
        text = re.sub(r"\[([^\]]*)\]\([^)]*/[^)]*\)", r"\1", overview.read_text("utf-8"))  # other folders have no page
        pages["index.md"] = text.encode()
    return pages


def modules() -> list[str]:
    """The names of minirep's modules, but for the command line's and for those that cannot be imported here."""
    names = []
    for module in pkgutil.walk_packages(minirep.__path__, "minirep."):
        inner = module.name.removeprefix("minirep.")
        if inner.startswith(("cli", "_", "data")):
            continue
        try:
            importlib.import_module(module.name)
        except ImportError as error:  # it needs an extra
            print(f"no page for {module.name}: {error}")
        else:
            names.append(module.name)
    return names


API_PAGE = """# {name}

```{{eval-rst}}
.. automodule:: {name}
   :members:{options}
```
"""
PUBLIC = """
   :imported-members:

.. py:data:: minirep.RECIPES
   :type: dict[str, Recipe]

   The published recipes by name: vggsound, epic-sounds, epic-kitchens-100, speech-commands-v2, urbansound8k, nsynth."""
OPTIONS = {
    "minirep": PUBLIC,
    "minirep.audio": "\n   :exclude-members: resample",  # the function has the name of its module, which has a page
}


def api() -> dict[str, bytes]:
    """A page for each module; the package's own shows all public names."""
    names = ["minirep", *modules()]
    return {f"{name}.md": API_PAGE.format(name=name, options=OPTIONS.get(name, "")).encode() for name in names}


write_pages(HERE / "tutorials", tutorials())
write_pages(HERE / "reference" / "api", api())
