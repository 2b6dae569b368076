"""A word in code type that is the full name of something in minirep, `minirep.fuse`, leads to where it is described."""

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode


class CodeLinks(SphinxPostTransform):
    default_priority = 400
    formats = ("html",)

    def run(self, **kwargs):
        domain, here = self.env.domains["py"], self.env.docname
        for word in list(self.document.findall(nodes.literal)):
            name = word.astext().removesuffix("()")
            known = domain.objects.get(name) if name.startswith("minirep") else None
            if known is None or isinstance(word.parent, nodes.reference) or known.docname == here:
                continue
            link = make_refnode(self.app.builder, here, known.docname, known.node_id, word.deepcopy(), name)
            word.replace_self(link)


def setup(app):
    app.add_post_transform(CodeLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
