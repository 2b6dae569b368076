"""Formulas as MathML, which every current browser draws by itself: no script, no font, no request.

The translator from LaTeX comes with docutils, on which Sphinx stands.
"""

import re

from docutils.nodes import SkipNode
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

# What the translator does not know: sizes of brackets, which MathML finds by itself, and some synonyms.
SYNONYMS = (
    (r"\\[bB]igg?[lrm]?(?![a-zA-Z])", ""),
    (r"\\dots(?![a-zA-Z])", r"\\ldots"),
    (r"\\[lr]vert(?![a-zA-Z])", "|"),
)


def translate(tex: str, block: bool, node) -> str:
    for pattern, other in SYNONYMS:
        tex = re.sub(pattern, other, tex)
    if block and r"\\" in tex and r"\begin" not in tex:
        tex = rf"\begin{{aligned}}{tex}\end{{aligned}}"
    try:
        return tex2mathml(tex, as_block=block)
    except MathError as error:
        logging.getLogger(__name__).warning("formula %r: %s", tex, error, location=node)
        return f"<code>{tex}</code>"


def visit_inline(self, node):
    self.body.append(translate(node.astext(), False, node))
    raise SkipNode


def depart(self, node):
    pass


def visit_block(self, node):
    self.body.append(self.starttag(node, "div", CLASS="math"))
    if node["number"]:
        number = get_node_equation_number(self, node)
        self.body.append(f'<span class="eqno">({number})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append(translate(node.astext(), True, node) + "</div>\n")
    raise SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", inline_renderers=(visit_inline, depart), block_renderers=(visit_block, depart))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
