"""The directive ``cli-reference``: every command of minirep with its arguments, read from the parser itself."""

import argparse
import importlib

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from minirep import cli


def parsers() -> dict[str, argparse.ArgumentParser]:
    """{command: its parser}, for those commands whose module is there."""
    found = {}
    for name, (module, _) in cli.COMMANDS.items():
        try:
            importlib.import_module(f"minirep.{module}")
        except ModuleNotFoundError as error:
            if error.name != f"minirep.{module}":
                raise
            continue
        commands = next(a for a in cli._parser([name])._actions if isinstance(a, argparse._SubParsersAction))
        found[name] = commands.choices[name]
    return found


class CliReference(SphinxDirective):
    def run(self):
        sections = []
        for name, parser in parsers().items():
            section = nodes.section(ids=[f"minirep-{name}"], names=[f"minirep {name}"])
            section += nodes.title(text=name)
            section += nodes.paragraph(text=parser.description)
            parser.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=88)
            usage = parser.format_usage().removeprefix("usage: ").rstrip()
            section += nodes.literal_block(usage, usage, language="text")
            section += listings(parser)
            section += epilog(parser)
            self.state.document.note_explicit_target(section)
            sections.append(section)
        return sections


def epilog(parser) -> list[nodes.Node]:
    """The text after the arguments: a paragraph, or lines that keep their layout."""
    text = parser.epilog or ""
    if "\n" in text:
        return [nodes.literal_block(text, text, language="text")]
    return [nodes.paragraph(text=text)] if text else []


def listings(parser) -> list[nodes.Node]:
    """The arguments of each group; argparse's own groups need no title."""
    found = []
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if not isinstance(action, argparse._HelpAction)]
        if actions and group.title not in ("positional arguments", "options"):
            title = f"{group.title[:1].upper()}{group.title[1:]}" + f": {group.description}" * bool(group.description)
            found.append(nodes.rubric(text=title))
        if actions:
            found.append(listing(actions))
    return found


def listing(actions) -> nodes.definition_list:
    listed = nodes.definition_list(classes=["cli"])
    for action in actions:
        term = nodes.term()
        for i, text in enumerate(invocations(action)):
            term += [nodes.Text(", ")] * bool(i) + [nodes.literal("", text)]
        help_text = (action.help or "") % (vars(action) | {"prog": "minirep"})
        listed += nodes.definition_list_item("", term, nodes.definition("", nodes.paragraph(text=sentence(help_text))))
    return listed


def invocations(action) -> list[str]:
    """How an argument is written: ["-o MODEL", "--output MODEL"]."""
    if not action.option_strings:
        name = action.metavar or action.dest
        return [name if isinstance(name, str) else " ".join(name)]
    if action.nargs == 0:
        return list(action.option_strings)
    choices = "{" + ",".join(map(str, action.choices or ())) + "}"
    value = action.metavar or (choices if action.choices else action.dest.upper())
    return [f"{option} {value}" for option in action.option_strings]


def sentence(text: str) -> str:
    first = text.split(maxsplit=1)[0] if text else ""
    text = text[:1].upper() + text[1:] if first.isalpha() else text
    return text if text.endswith((".", "!")) or not text else text + "."


def setup(app):
    app.add_directive("cli-reference", CliReference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
