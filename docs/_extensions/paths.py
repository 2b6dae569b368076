"""How pages lead to one another: numbered paths from the front page, and pages beside the notebooks that teach them.

`PATHS` and `LESSONS` are the two tables. The directive ``path`` lists the pages of a path; each of them ends with the
next one. A page of `LESSONS` begins with its notebook; the notebook begins with how to run it, a link to its file, and
its pages. A notebook is named by its number; one that is not there is left out.
"""

import fnmatch
import shutil
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

TUTORIALS = Path(__file__).parents[2] / "tutorials"
PATHS = {
    "Learn it": (
        "concepts/front-end", 1, 2, "concepts/network", 3, "concepts/merging", 4, 5, 10, "concepts/files", 6,
        "concepts/kernels", 7, 8, 9,
    ),
    "Use it": (
        "guide/quickstart", "guide/classify-a-folder", "guide/measure", "guide/listen", "guide/your-own-checkpoint",
        "guide/labels", "guide/in-a-service", "guide/small-boards", "guide/precision", "guide/troubleshooting",
    ),
    "Check it": (
        "concepts/merging", 4, "concepts/why-merged-is-equal", 5, "concepts/other-merges", 10, "measured/counts",
        "guide/read-the-figures", "measured/benchmarks", "measured/model-card", "measured/sounds-card",
        "measured/open-questions",
    ),
}  # fmt: skip
LESSONS = (  # a page, and the notebook that teaches it
    ("guide/quickstart", 3),
    ("concepts/front-end", 1),
    ("guide/another-rate", 1),
    ("concepts/network", 2),
    ("concepts/network", 3),
    ("concepts/merging", 4),
    ("concepts/why-merged-is-equal", 4),
    ("concepts/why-merged-is-equal", 5),
    ("concepts/other-merges", 10),
    ("concepts/files", 6),
    ("guide/your-own-checkpoint", 6),
    ("concepts/kernels", 7),
    ("guide/listen", 8),
    ("guide/small-boards", 8),
    ("guide/measure", 9),
)


def find(env, page: str | int) -> str | None:
    """The name of a page, or of the notebook with this number."""
    return next(iter(fnmatch.filter(env.found_docs, f"tutorials/{page}-*" if isinstance(page, int) else page)), None)


def pages_of(env, path: str) -> list[str]:
    return [found for page in PATHS[path] if (found := find(env, page))]


def link(here: str, page: str) -> addnodes.pending_xref:
    """A link to a page; Sphinx puts in its title."""
    options = {"refdomain": "std", "reftype": "doc", "reftarget": f"/{page}", "refdoc": here, "refexplicit": False}
    return addnodes.pending_xref("", nodes.inline("", page), refwarn=True, **options)


def line(*parts, kind: str) -> nodes.paragraph:
    return nodes.paragraph("", "", *(nodes.Text(p) if isinstance(p, str) else p for p in parts), classes=[kind])


def joined(links: list) -> list:
    return [part for one in links for part in (", ", one)][1:]


class PathList(SphinxDirective):
    required_arguments = 1
    final_argument_whitespace = True

    def run(self):
        here = self.env.docname
        pages = [nodes.paragraph("", "", link(here, page)) for page in pages_of(self.env, self.arguments[0])]
        items = [nodes.list_item("", page) for page in pages]
        return [nodes.enumerated_list("", *items, enumtype="arabic", prefix="", suffix=".", classes=["path"])]


def above(env, here: str) -> list[nodes.paragraph]:
    """What a page begins with, under its title."""
    if here.startswith("tutorials/") and (TUTORIALS / f"{Path(here).name}.ipynb").exists():
        name = f"{Path(here).name}.ipynb"
        run = nodes.literal("", f"jupyter lab tutorials/{name}")
        file = nodes.raw("", f'<a href="{name}" download>Download the notebook</a>', format="html")
        lines = [
            line("Run it: ", run, " (", link(here, "tutorials/index"), " has the setup). ", file, ".", kind="lesson")
        ]
        beside = [link(here, page) for page, number in LESSONS if find(env, number) == here and find(env, page)]
        return lines + [line("Explained in: ", *joined(beside), ".", kind="lesson")] * bool(beside)
    beside = [link(here, found) for page, number in LESSONS if page == here and (found := find(env, number))]
    return [line("Tutorial: ", *joined(beside), ".", kind="lesson")] * bool(beside)


def below(env, here: str) -> list[nodes.paragraph]:
    """The next page of each path that the page is on."""
    lines = []
    for path in PATHS:
        pages = pages_of(env, path)
        if here in pages[:-1]:
            place = pages.index(here) + 1
            after = link(here, pages[place])
            lines.append(line(f"{path}, {place} of {len(pages)}. Next in this path: ", after, ".", kind="path-next"))
    return lines


def add_lines(app, doctree):
    here = app.env.docname
    for section in list(doctree.findall(nodes.section))[:1]:
        for paragraph in reversed(above(app.env, here)):
            section.insert(1, paragraph)
        doctree += below(app.env, here)


def copy_notebooks(app, error):
    if not error and app.builder.format == "html":
        for notebook in TUTORIALS.glob("*.ipynb"):
            shutil.copy(notebook, Path(app.outdir) / "tutorials" / notebook.name)


def setup(app):
    app.add_directive("path", PathList)
    app.connect("doctree-read", add_lines)
    app.connect("build-finished", copy_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
