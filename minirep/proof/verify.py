"""How equal the merged and the unmerged network are, block by block (the command: `minirep.cli.verify`).

Each block is run as it is stored and merged, on the activations that sounds give it; and each part of it before and
after each step of merging, on inputs that reach every channel and every tap. What comes out is compared in float32 and
in float64, beside the bound that `minirep.proof.bounds` computes from the weights. Where the authors' merge has left
merged kernels beside the branches, those are held against the kernels that the branches give. The algebra and the bound
are explained in docs/concepts/why-merged-is-equal.md.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from .. import ops, reparam
from ..classify import Classifier
from ..errors import MinirepError
from ..network import Block, Conv, Depthwise, Network, block_forward
from ..recipe import RECIPES
from ..reparam import STEPS, is_fused
from ..tree import as_type, map_arrays, named_arrays
from . import bounds

PRECISIONS = ("float32", "float64")
VIEWS = 2  # log-mels on which blocks are compared; probabilities are compared on all


# --- differences --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """The largest difference between two arrays, and how much of what rounding allows has been used up.

    ``relative`` is the largest difference over the largest number; ``ulps`` and ``bound`` are those of the place where
    the difference is largest; ``used`` is the largest share of its bound that any place takes.
    """

    absolute: float
    relative: float
    ulps: float
    bound: float
    used: float

    @property
    def within(self) -> bool:
        return self.used <= 1


def difference(a: np.ndarray, b: np.ndarray, bound: np.ndarray) -> Difference:
    """Compare ``b`` with ``a``, place by place. Where a bound is infinite or a number is not finite, nothing is proved.

    >>> difference(np.ones(2, np.float32), np.float32([1, 1 + 2**-22]), np.full(2, 1e-6)).ulps
    2.0
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.abs(a.astype(np.float64) - b)
        used = np.where(apart > 0, apart / bound, 0.0)
    used = np.where(np.isfinite(apart) & np.isfinite(bound), used, np.inf)
    place = np.unravel_index(np.argmax(np.nan_to_num(apart, nan=np.inf)), apart.shape)
    largest = np.abs(a).max()
    size = max(abs(a[place]), abs(b[place]), np.finfo(b.dtype).tiny)
    return Difference(
        absolute=float(apart[place]),
        relative=float(apart[place] / largest) if largest else 0.0,
        ulps=float(apart[place] / np.spacing(b.dtype.type(size))),
        bound=float(bound[place]),
        used=float(used.max()),
    )


def worst(differences) -> Difference:
    """The one that comes closest to its bound, or leaves it."""
    return max(differences, key=lambda d: d.used)


# --- one block ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stretch:
    """A stretch of a block between two sums, with an input to try it on.

    ``nodes`` and ``run`` take it from any form of the block; ``bound`` holds for all of them.
    """

    name: str
    nodes: Callable[[Block], tuple]
    run: Callable[[Block], np.ndarray]
    bound: np.ndarray


def probe(shape: tuple[int, ...], dtype) -> np.ndarray:
    """Random inputs (3, T, F, C), ten times as large from each to the next.

    On activations of real sounds a fault can hide: in a channel that is off behind its ReLU, in a tap that meets only
    padding. Here every channel is on somewhere, and every tap counts.
    """
    sizes = np.array([1.0, 10.0, 100.0])[:, None, None, None]
    return (sizes * np.random.default_rng(0).normal(size=(3, *shape))).astype(dtype)


def parts(block: Block) -> Iterator[Stretch]:
    """The parts of a block, each with a `probe`."""
    c_in, c = block.entry.weight.shape
    dtype, stride = block.entry.weight.dtype, block.stride

    def affine(part):
        return bounds.add([part], dtype, relu=False).error

    x = probe((8, 8, c_in), dtype)
    known = bounds.start(x, dtype)
    yield Stretch(
        "entry",
        lambda b: (b.entry,),
        lambda b: ops.pointwise(x, b.entry, stride),
        affine(bounds.through_pointwise(known, block.entry, stride)),
    )
    if block.shortcut is not None:
        yield Stretch(
            "shortcut",
            lambda b: (b.shortcut,),
            lambda b: ops.pointwise(x, b.shortcut, stride),
            affine(bounds.through_pointwise(known, block.shortcut, stride)),
        )
    for i, path in enumerate(block.paths):
        for j, layer in enumerate(path):
            length = max(len(branch.weight) for branch in layer.branches) + 2
            y = probe((length, 3, c) if layer.axis == "time" else (3, length, c), dtype)
            yield Stretch(
                f"paths.{i}.{j} along {layer.axis}",
                lambda b, i=i, j=j: (b.paths[i][j],),
                lambda b, i=i, j=j, y=y: ops.depthwise(y, b.paths[i][j]),
                bounds.through_depthwise(bounds.start(y, dtype), layer).error,
            )
    total, residual = probe((8, 8, c), dtype), probe((8, 8, block.expand_project[-1].weight.shape[-1]), dtype)
    yield Stretch(
        "expand_project",
        lambda b: b.expand_project,
        lambda b: ops.expand_project(total, b.expand_project, residual),
        bounds.through_expand_project(
            bounds.start(total, dtype), block.expand_project, bounds.identity(bounds.start(residual, dtype))
        ).error,
    )


def same_weights(old: tuple, new: tuple) -> bool:
    """Whether two forms of a stretch hold the very same arrays: then a step had nothing to do."""
    olds, news = named_arrays(old), named_arrays(new)
    identities = [layer.identity for layer in (*old, *new) if isinstance(layer, Depthwise)]
    same = olds.keys() == news.keys() and all(a is news[name] for name, a in olds.items())
    return same and len(set(identities)) <= 1


@dataclass(frozen=True)
class Step:
    """What one step of merging does to one part of a block, which is given the same input before and after."""

    part: str
    step: str
    difference: Difference


def check_steps(block: Block) -> tuple[Step, ...]:
    """Every step of merging on every part of a block that it changes."""
    forms = [("stored", block)]
    for name, step in STEPS.items():
        forms.append((name, step(forms[-1][1])))
    found = []
    for part in parts(block):
        for (_, before), (name, after) in pairwise(forms):
            old, new = part.nodes(before), part.nodes(after)
            if not same_weights(old, new):
                apart = difference(part.run(before), part.run(after), 2 * part.bound)
                found.append(Step(part.name, name, apart))
    return tuple(found)


def check_stem(stem: Conv) -> tuple[Step, ...]:
    """The one step of merging in the stem."""
    if stem.bn is None:
        return ()
    x = probe((16, 16, 1), stem.weight.dtype)
    bound = bounds.through_stem(bounds.start(x, x.dtype), stem).error
    return (Step("stem", "fold", difference(ops.stem(x, stem), ops.stem(x, reparam.fold(stem)), 2 * bound)),)


@dataclass(frozen=True)
class Row:
    """One block, or the stem or a head, in one precision.

    ``fused``: merged against as stored, None where nothing was to merge; ``rounding``: merged against the function
    itself, which is known from float64; ``steps``: each step of merging, alone.
    """

    name: str
    fused: Difference | None
    rounding: Difference
    steps: tuple[Step, ...] = ()

    @property
    def outside(self) -> list[str]:
        """What is not within its bound: parts and steps, or else the whole."""
        whole = [d for d in (self.fused, self.rounding) if d is not None and not d.within]
        found = [f"{step.part}, step {step.step}" for step in self.steps if not step.difference.within]
        return found or ["as a whole"] * bool(whole)

    @property
    def within(self) -> bool:
        return not self.outside


def check_row(name: str, known: bounds.Known, stored: np.ndarray, fused: np.ndarray | None, steps=()) -> Row:
    """``stored`` and ``fused``: what the two forms yield; None where there is but one."""
    apart = None if fused is None else difference(stored, fused, 2 * known.error)
    rounded = difference(known.value, stored if fused is None else fused, known.value_error + known.error)
    return Row(name, apart, rounded, steps)


# --- a whole network ----------------------------------------------------------------------------------------------


def check_network(network: Network, log_mels: np.ndarray, done=lambda: None) -> list[Row]:
    """Stem, blocks and heads in the network's precision; each gets the input that the stored form computes for it."""
    merged, fused = is_fused(network), reparam.fuse(network)
    x = log_mels[..., None].astype(network.dtype)
    y = ops.stem(x, network.stem)
    known = bounds.through_stem(bounds.start(x, network.dtype), network.stem)
    rows = [check_row("stem", known, y, None if merged else ops.stem(x, fused.stem), check_stem(network.stem))]
    done()
    merged_blocks = fused.blocks
    for name, block in network.blocks.items():
        x, y = y, block_forward(block, y)
        known = bounds.through_block(bounds.start(x, network.dtype), block)
        other = None if merged else block_forward(merged_blocks[name], x)
        rows.append(check_row(name, known, y, other, check_steps(block)))
        done()
    for head, linear in network.heads.items():
        known = bounds.through_head(bounds.start(y, network.dtype), network.pool, linear)
        rows.append(check_row(f"heads.{head}", known, ops.logits(y, network.pool, linear), None))
    return rows


@dataclass(frozen=True)
class Probabilities:
    """What merging does to the outcome: ``agree`` of ``views`` keep the class they give most to, in every head."""

    precision: str
    backend: str  # of the merged form; the other runs in plain NumPy
    absolute: float
    views: int
    agree: int


def check_probabilities(network: Network, log_mels: np.ndarray) -> list[Probabilities]:
    """The merged form on every backend there is, against the one that is stored; or float64, if that is the same."""
    recipe = next(iter(RECIPES.values()))  # a classifier needs one, but log-mels go in here
    reference = as_type(network, np.float64) if is_fused(network) else network
    before = Classifier(reference, recipe, backend="numpy").probabilities(log_mels)
    merged = reparam.fuse(network)
    found = []
    for backend in dict.fromkeys(("numpy", Classifier(merged, recipe).backend)):
        after = Classifier(merged, recipe, backend=backend).probabilities(log_mels)
        absolute = max(float(np.abs(before[head] - after[head]).max()) for head in before)
        same = np.all([before[head].argmax(axis=1) == after[head].argmax(axis=1) for head in before], axis=0)
        found.append(Probabilities(network.dtype.name, backend, absolute, len(same), int(same.sum())))
    return found


def check_stored(network: Network, stored: dict[str, Conv]) -> dict[str, Difference]:
    """Merged kernels that stand in a file, {path of the layer: Conv}, against those that its branches give."""
    found = {}
    for path, conv in stored.items():
        _, stage, block, _, i, j = path.split(".")
        layer = network.stages[int(stage)][int(block)].paths[int(i)][int(j)]
        layer = map_arrays(layer, lambda a: a.astype(np.float64))
        merged = reparam.merge_branches(layer).branches[0]
        allowed = [
            rounded + own
            for rounded, own in zip(
                bounds.merged_branches(layer, conv.weight.dtype), bounds.merged_branches(layer, np.float64)
            )
        ]
        if conv.weight.shape != merged.weight.shape:
            raise MinirepError(f"{path}: found a merged kernel {conv.weight.shape}, expected {merged.weight.shape}")
        found[path] = worst(
            difference(theirs, ours, bound)
            for theirs, ours, bound in zip((conv.weight, conv.bias), (merged.weight, merged.bias), allowed)
        )
    return found


def check_merged(network: Network, merged: Network) -> dict[str, Difference]:
    """Every array of a merged network, {path: ...}, against the one that merging gives, whoever merged it."""
    ours, theirs = named_arrays(reparam.fuse(as_type(network, np.float64))), named_arrays(merged)
    for name in sorted(ours.keys() | theirs.keys()):
        found, expected = (tree[name].shape if name in tree else "nothing" for tree in (theirs, ours))
        if found != expected:
            raise MinirepError(f"{name}: found {found}, expected {expected}; it was not merged from this network")
    rounded, own = (named_arrays(bounds.merged_weights(network, dtype)) for dtype in (merged.dtype, np.float64))
    stored = half_rounding if all(np.array_equal(a, a.astype(np.float16)) for a in theirs.values()) else np.zeros_like
    return {name: difference(theirs[name], ours[name], rounded[name] + own[name] + stored(ours[name])) for name in ours}


def half_rounding(array: np.ndarray) -> np.ndarray:
    """How far ``--half`` moves numbers at most."""
    half = np.finfo(np.float16)
    return 1.001 * np.abs(array) * float(half.eps) / 2 + float(half.smallest_subnormal)


@dataclass(frozen=True)
class Report:
    """All that `verify` found; ``within`` decides the exit status."""

    merged: bool  # as stored: then there is nothing left to compare, and ``rounding`` is all that is checked
    rows: dict[str, list[Row]]  # by precision
    probabilities: list[Probabilities]
    stored: dict[str, Difference] = field(default_factory=dict)  # merged kernels in the same file
    given: dict[str, Difference] = field(default_factory=dict)  # weights of another, merged file

    @property
    def outside(self) -> list[str]:
        """The names of what is not within its bound."""
        rows = [
            f"{row.name} in {precision}: {what}"
            for precision, rows in self.rows.items()
            for row in rows
            for what in row.outside
        ]
        rows += [f"the merged kernel stored for {path}" for path, d in self.stored.items() if not d.within]
        return rows + [f"{path} of the merged model" for path, d in self.given.items() if not d.within]

    @property
    def within(self) -> bool:
        return not self.outside


def precisions(network: Network) -> tuple[str, ...]:
    """Both; but where nothing is left to merge, float64 is what float32 is held against."""
    return PRECISIONS[:1] if is_fused(network) else PRECISIONS


def verify(
    network: Network,
    log_mels: np.ndarray,
    stored: dict[str, Conv] | None = None,
    merged: Network | None = None,
    done: Callable[[], None] = lambda: None,
) -> Report:
    """Compare a network with its merged form on log-mels (N, frames, 128).

    ``stored``: merged kernels from the same file, see `minirep.files.checkpoint.stored_merged`. ``merged``: a network
    that is said to be this one, merged. ``done`` is called after each block in each precision.
    """
    rows, probabilities = {}, []
    with np.errstate(all="ignore"):  # what overflows is reported as not within its bound
        for precision in precisions(network):
            typed = as_type(network, precision)
            rows[precision] = check_network(typed, log_mels[:VIEWS], done)
            probabilities += check_probabilities(typed, log_mels)
        kernels = check_stored(network, stored or {})
        given = {} if merged is None else check_merged(network, merged)
    return Report(is_fused(network), rows, probabilities, kernels, given)
