"""``minirep info``: a model's architecture, and the cost of each part."""

import argparse
import os
import textwrap
from dataclasses import asdict

import numpy as np

from ..architecture import INCEPTION, REP, Architecture, build
from ..count import Cost, costs, total
from ..errors import expect
from ..files.modelfile import Model, is_model
from ..files.models import model_path, read
from ..network import Network
from ..recipe import MELS, RECIPES, published_labels
from ..reparam import fuse, is_fused, merge_only
from ..text import pad, printable, shorten
from .arguments import share
from .output import show
from .terminal import table

KINDS = {"rep": REP, "inception": INCEPTION}
FIELD = 64  # columns for a value: a SHA-256 in hexadecimal, and lines of 80


def add_arguments(parser: argparse.ArgumentParser) -> None:
    share(parser, "model")
    recipes = f"describe the published full-size network of a recipe; needs no file: {', '.join(RECIPES)}"
    parser.add_argument("--architecture", choices=RECIPES, metavar="RECIPE", help=recipes)
    parser.add_argument("--kind", choices=KINDS, help="the kind of that network (default: rep)")
    share(parser, "--json")


def run(args) -> int:
    expect(not (args.model and args.architecture), "info: expected either a model or --architecture")
    expect(args.architecture or not args.kind, "info: --kind needs --architecture; a model file has its own kind")
    info = of_published(args.architecture, KINDS[args.kind or "rep"]) if args.architecture else of_file(args.model)
    show(args, info, lines(info))
    return 0


def of_file(path: str | None) -> dict:
    path = str(model_path(path))
    model, form = read(path), "minirep model" if is_model(path) else "PyTorch checkpoint"
    return {"file": path, "format": form, "bytes": os.path.getsize(path)} | describe(model)


def of_published(recipe_name: str, kind: str) -> dict:
    """Describe a full-size network of the papers. Its weights are all zero, which does not change the counts."""
    recipe = RECIPES[recipe_name]
    architecture = Architecture(kind, heads=recipe.heads, frames=recipe.frames)
    network = build(architecture, lambda _, shape: np.zeros(shape, np.float32))
    return describe(Model(network, recipe, published_labels(recipe_name), {}))


def describe(model: Model) -> dict:
    """Return the facts about a model as a JSON object; `lines` formats the same for people."""
    network, recipe, labels, provenance = model
    frames = network.pool[0] * 32 if recipe is None else recipe.frames
    stored = costs(network, frames)
    published = {}
    if any(conv.bn is not None for conv in network.convs):  # the papers count batch norms
        published["stored"] = total(stored)
    if any(len(layer.branches) > 1 for layer in network.layers):
        published["merged"] = total(costs(merge_only(network), frames))
    return {
        "network": _network(network),
        "recipe": None if recipe is None else {k: v for k, v in asdict(recipe).items() if k != "heads"},
        "heads": network.classes,
        "labels": {head: list(names) for head, names in labels.items()},
        "provenance": provenance,
        "input": [frames, MELS],
        "stored": _costs(stored),
        "fused": _costs(costs(fuse(network), frames)),
        "published": {
            form: {"parameters": sums.parameters, "operations": sums.published} for form, sums in published.items()
        },
    }


def _network(network: Network) -> dict:
    blocks = list(network.blocks.values())
    stages = [blocks[0].paths for blocks in network.stages if blocks]
    order = [layer.axis for layer in stages[0][0]] if stages else []
    sizes = {
        axis: [[len(b.weight) for path in paths for layer in path if layer.axis == axis for b in layer.branches]
               for paths in stages]
        for axis in dict.fromkeys((*order, "time", "frequency"))
    }  # fmt: skip
    return {
        # AudioInceptionNeXt has no ReLU after a block's first convolution, merged or not.
        "kind": REP if blocks and blocks[0].entry.relu else INCEPTION,
        "width": network.stem.weight.shape[-1],
        "depths": [len(blocks) for blocks in network.stages],
        "kernels": sizes,
        "order": "-".join(order),
        "fused": is_fused(network),
        "dtype": network.dtype.name,
    }


def _costs(rows: list[Cost]) -> dict:
    sums = asdict(total(rows))
    return {"parts": [asdict(row) for row in rows], "total": {k: sums[k] for k in sums if k not in ("name", "shape")}}


def lines(info: dict):
    network, recipe = info["network"], info["recipe"]
    if "file" in info:
        yield f"{printable(info['file'])}: {info['format']}, {info['bytes']:,} bytes"
    else:
        yield f"{network['kind']} as published for {recipe['name']}"
    yield from _field("network", f"{network['kind']}, {'merged' if network['fused'] else 'not merged'}")
    yield from _field("size", f"width {network['width']}, depths {', '.join(map(str, network['depths']))}")
    yield from _field("kernels", "; ".join(f"{_sizes(stages)} along {a}" for a, stages in network["kernels"].items()))
    if recipe is not None:
        views = f"{recipe['views']} view{'s' * (recipe['views'] > 1)}"
        yield from _field("recipe", f"{recipe['name']}: {recipe['rate']} Hz, {views} of {recipe['clip_seconds']} s")
        steps = f"{recipe['window_ms']} ms every {recipe['hop_ms']} ms"
        yield from _field("log-mel", f"{recipe['frames']} frames of {steps}, {MELS} bands")
    for head, count in info["heads"].items():
        names = info["labels"].get(head, [])
        listed = ("; " if any("," in name for name in names) else ", ").join(names)
        yield from _field(f"head {head}", shorten(printable(f"{count} classes: {listed}"), 2 * FIELD - 8))
    for key, value in info["provenance"].items():
        yield from _field(key, value)
    yield ""
    yield from table(_cost_rows(info))
    if info["published"]:
        yield ""
        yield "As the papers count, with 2 operations for each element of a batch norm:"
    for form, counts in info["published"].items():
        name = "stored" if form == "stored" else "merged as the authors do"
        yield f"  {name:24}  {counts['parameters'] / 1e6:8.4f} M  {counts['operations'] / 1e9:7.4f} G"


def _field(name: str, value: str):
    wrapped = textwrap.wrap(printable(value), FIELD) or [""]
    yield f"  {pad(printable(name), 12)}  {wrapped[0]}"
    yield from (" " * 16 + line for line in wrapped[1:])


def _sizes(stages: list[list[int]]) -> str:
    """Return the kernel sizes of each stage, or only once if all stages have the same."""
    texts = [", ".join(map(str, sizes)) for sizes in stages]
    return texts[0] if len(set(texts)) == 1 else " | ".join(texts)


def _cost_rows(info: dict) -> list[list[str]]:
    """Return the rows of the table of parts, with one column for each count if merging would change nothing."""
    forms = [info["stored"]] if info["network"]["fused"] else [info["stored"], info["fused"]]
    blanks = [""] * (len(forms) - 1)
    parts = zip(*(form["parts"] for form in forms))
    return [
        ["", "", "parameters", *blanks, "M mult-adds", *blanks],
        ["part", "output", *["stored", "fused"][: len(forms)] * 2],
        *([part[0]["name"], " x ".join(map(str, part[0]["shape"])), *_counts(part)] for part in parts),
        ["total", "", *_counts([form["total"] for form in forms])],
    ]


def _counts(parts) -> list[str]:
    parameters = [f"{part['parameters']:,}" for part in parts]
    return parameters + [f"{part['multiply_adds'] / 1e6:,.3f}" for part in parts]
