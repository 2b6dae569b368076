"""The directive ``drawing``: figures of docs/figures side by side, each in its light or dark version as the page is.

Its arguments are the figures' names, its option "alt" says what can be seen, for those who cannot; its content is the
caption.
"""

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective


class Drawing(SphinxDirective):
    required_arguments = 1
    optional_arguments = 12
    has_content = True
    option_spec = {"alt": directives.unchanged_required, "width": directives.unchanged}

    def run(self):
        row = nodes.container(classes=["drawings", f"drawings-{len(self.arguments)}"])
        for name in self.arguments:
            cell = nodes.container(classes=["drawing"])
            for mode in ("light", "dark"):
                image = nodes.image(
                    uri=f"/figures/{name}-{mode}.svg", alt=self.options["alt"], classes=[f"only-{mode}"]
                )
                image["width"] = self.options.get("width", "100%")
                self.add_name(image)
                cell += image
            row += cell
        figure = nodes.container(classes=["figure"])
        figure += row
        if self.content:
            caption = nodes.container(classes=["drawing-caption"])
            self.state.nested_parse(self.content, self.content_offset, caption)
            figure += caption
        return [figure]


def setup(app):
    app.add_directive("drawing", Drawing)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
