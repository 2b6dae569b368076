"""Compare the merged and the unmerged network, block by block (the command: `minirep.cli.verify`).

Each block runs as stored and merged, on the activations that sounds produce. Each part of it runs before and after each
step of merging, on inputs that reach every channel and every tap. Outputs are compared in float32 and in float64, and
their difference with the bound of `minirep.proof.bounds`. See docs/concepts/why-merged-is-equal.md for the algebra.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, is_dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from .. import ops, reparam
from ..check import check
from ..errors import MinirepError
from ..files.modelfile import Model
from ..network import Block, Conv, Depthwise, Network, block_forward, forward
from ..reparam import STEPS, is_fused
from ..tree import as_type, map_arrays, map_tree, named_arrays
from . import bounds

VIEWS = 2  # log-mels on which blocks are compared; probabilities are compared on all


@dataclass(frozen=True)
class Difference:
    """The largest difference between two arrays, and the largest share of its bound."""

    absolute: float  # the largest difference
    relative: float  # over the largest number
    ulps: float  # in units in the last place
    bound: float  # at the place of the largest difference
    used: float  # the largest share of the bound at any place
    place: tuple[int, ...] = ()  # of that share

    @property
    def within(self) -> bool:
        return self.used <= 1


def difference(a: np.ndarray, b: np.ndarray, bound: np.ndarray) -> Difference:
    """Compare ``b`` with ``a``, number by number. Infinite bounds, NaN or unequal shapes count as outside the bound.

    >>> difference(np.ones(2, np.float32), np.float32([1, 1 + 2**-22]), np.full(2, 1e-6)).ulps
    2.0
    """
    if a.shape != b.shape:
        return Difference(np.inf, np.inf, np.inf, np.inf, np.inf)
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
        place=tuple(int(i) for i in np.unravel_index(np.argmax(used), used.shape)),
    )


def worst(differences) -> Difference:
    """Return the difference with the largest share of its bound."""
    return max(differences, key=lambda d: d.used)


def probe(shape: tuple[int, ...], dtype) -> np.ndarray:
    """Draw random inputs (3, T, F, C), each ten times as large as the one before.

    With activations of real sounds, a fault can be hidden in a channel whose ReLU is always off, or in a tap that meets
    only padding. Here every channel is on somewhere, and every tap counts.
    """
    sizes = np.array([1.0, 10.0, 100.0])[:, None, None, None]
    return (sizes * np.random.default_rng(0).normal(size=(3, *shape))).astype(dtype)


@dataclass(frozen=True)
class Part:
    """The stem, a block, a head, or a part of a block between two sums."""

    name: str
    nodes: Callable[..., tuple]  # from any form of the whole, a network or a block, to the nodes of this part
    run: Callable[..., np.ndarray]  # from an input and these nodes to the output
    through: Callable[[bounds.Known], bounds.Known]  # from a known input to the output, with a bound for all forms
    probe: np.ndarray  # random inputs of its own

    def of(self, form: Any, x: np.ndarray) -> np.ndarray:
        return self.run(x, *self.nodes(form))


def body(network: Network) -> Iterator[Part]:
    """Yield the stem and the blocks; the output of each is the input of the next."""
    through: Any = partial(bounds.through_stem, conv=network.stem)
    yield Part("stem", lambda n: (n.stem,), ops.stem, through, probe((16, 16, 1), network.dtype))
    for name, block in network.blocks.items():
        x, through = probe((8, 8, len(block.entry.weight)), network.dtype), partial(bounds.through_block, node=block)
        yield Part(name, lambda n, name=name: (n.blocks[name],), lambda x, b: block_forward(b, x), through, x)


def head_part(network: Network, head: str) -> Part:
    """Return a head up to its logits."""
    linear, (wt, wf) = network.heads[head], network.pool
    through = partial(bounds.through_head, pool=network.pool, linear=linear)
    x = probe((wt + 1, wf + 1, len(linear.weight)), network.dtype)
    return Part("head", lambda n: (n.pool, n.heads[head]), ops.logits, through, x)


def parts(block: Block) -> Iterator[Part]:
    """Yield the parts of a block."""
    c_in, c = block.entry.weight.shape
    dtype = block.entry.weight.dtype

    def summed(known: bounds.Known, conv: Conv) -> bounds.Known:
        return bounds.add([bounds.through_pointwise(known, conv, block.stride)], dtype, relu=False)

    for name in ("entry", "shortcut"):
        if (conv := getattr(block, name)) is not None:
            x, through = probe((8, 8, c_in), dtype), partial(summed, conv=conv)
            yield Part(name, lambda b, name=name: (getattr(b, name), b.stride), ops.pointwise, through, x)
    for i, path in enumerate(block.paths):
        for j, layer in enumerate(path):
            length = max(len(branch.weight) for branch in layer.branches) + 2
            x = probe((length, 3, c) if layer.axis == "time" else (3, length, c), dtype)
            name, through = f"paths.{i}.{j} along {layer.axis}", partial(bounds.through_depthwise, layer=layer)
            yield Part(name, lambda b, i=i, j=j: (b.paths[i][j],), ops.depthwise, through, x)
    convs, residual = block.expand_project, probe((8, 8, block.expand_project[-1].weight.shape[-1]), dtype)
    summand = bounds.identity(bounds.start(residual, dtype))
    yield Part(
        "expand_project",
        lambda b: (b.expand_project,),
        lambda x, convs: ops.expand_project(x, convs, residual),
        lambda known: bounds.through_expand_project(known, convs, summand),
        probe((8, 8, c), dtype),
    )


@dataclass(frozen=True)
class Step:
    """One step of merging on one part of a block, which gets the same input before and after."""

    part: str
    step: str  # of `STEPS`, or "fuse" for all of them, as in `reparam.fuse`
    difference: Difference


def unchanged(old: tuple, new: tuple) -> bool:
    """Return whether two forms of a part have the same nodes and the identical arrays: the step changed nothing."""
    olds, news = named_arrays(old), named_arrays(new)
    return describe(old) == describe(new) and all(a is news[name] for name, a in olds.items())


def check_steps(parts: Iterable[Part], form: Any, steps: dict[str, Any], fused: Any) -> tuple[Step, ...]:
    """Check every step of merging on every part that it changes, and all steps at once, which give ``fused``."""
    forms, found = [("stored", form)], []
    for name, step in steps.items():
        forms.append((name, step(forms[-1][1])))
    for part in parts:
        bound = 2 * part.through(bounds.start(part.probe, part.probe.dtype)).error
        for (_, before), (name, after) in [*pairwise(forms), (forms[0], ("fuse", fused))]:
            if not unchanged(part.nodes(before), part.nodes(after)):
                apart = difference(part.of(before, part.probe), part.of(after, part.probe), bound)
                found.append(Step(part.name, name, apart))
    return tuple(found)


@dataclass(frozen=True)
class Row:
    """One block, or the stem or a head, in one precision."""

    name: str
    fused: Difference | None  # between the merged and the stored form; None if there was nothing to merge
    rounding: Difference  # between the merged form and the function itself, computed in float64
    steps: tuple[Step, ...] = ()  # each step of merging, alone

    @property
    def outside(self) -> list[str]:
        """Parts and steps outside their bound; ["as a whole"] if only the whole block is."""
        found: dict[str, str] = {}  # the first step of each part: later steps start from a wrong form
        for s in self.steps:
            if not s.difference.within:
                channel = ", channel ".join(["", *map(str, s.difference.place[-1:])])
                found.setdefault(s.part, f"{s.part}, step {s.step}{channel}")
        whole = [d for d in (self.fused, self.rounding) if d is not None and not d.within]
        return list(found.values()) or ["as a whole"] * bool(whole)

    @property
    def within(self) -> bool:
        return not self.outside


def check_row(name: str, known: bounds.Known, stored: np.ndarray, fused: np.ndarray | None = None, steps=()) -> Row:
    """Compare the outputs of the stored and, if there is one, the fused form with each other and with ``known``."""
    apart = None if fused is None else difference(stored, fused, 2 * known.error)
    rounded = difference(known.value, stored if fused is None else fused, known.value_error + known.error)
    return Row(name, apart, rounded, steps)


def check_network(network: Network, log_mels: np.ndarray, done=lambda: None) -> list[Row]:
    """Check stem, blocks and heads in the network's precision, each on the input that the stored form computes."""
    merged, fused = is_fused(network), reparam.fuse(network)

    def steps(part: Part) -> tuple[Step, ...]:
        if part.name in fused.blocks:
            block = network.blocks[part.name]
            return check_steps(parts(block), block, STEPS, fused.blocks[part.name])
        fold = {"fold": lambda n: replace(n, stem=reparam.fold(n.stem))}  # it leaves the heads as they are
        return check_steps([part], network, fold, fused)

    x, rows = log_mels[..., None].astype(network.dtype), []
    for part in body(network):
        known, y = part.through(bounds.start(x, network.dtype)), part.of(network, x)
        rows.append(check_row(part.name, known, y, *(() if merged else (part.of(fused, x), steps(part)))))
        x = y
        done()
    for head, linear in network.heads.items():
        part = head_part(network, head)
        known = part.through(bounds.start(x, network.dtype))
        rows.append(check_row(f"heads.{head}", known, part.of(network, x), steps=() if merged else steps(part)))
        rows.append(check_probabilities(head, known, ops.head(x, network.pool, linear)))
    return rows


def check_probabilities(head: str, logits: bounds.Known, found: np.ndarray) -> Row:
    """Compare probabilities (N, classes) from any backend with those of the logits in float64."""
    exact = ops.softmax(logits.value).mean(axis=(1, 2))
    bound = bounds.probabilities(replace(logits, error=logits.error + logits.value_error))
    return Row(f"probabilities.{head}", None, difference(exact, found, np.broadcast_to(bound, found.shape)))


def check_backend(network: Network, log_mels: np.ndarray, run: Any) -> list[Row]:
    """Compare each part on a backend with the same part in float64, on the input that the backend computed for it."""
    known, rows = bounds.start(log_mels[..., None].astype(network.dtype), network.dtype), []
    for part, (name, y) in zip(body(network), run.walk(log_mels), strict=True):
        known = part.through(known)
        rows.append(check_row(name, known, y))
        known = bounds.start(y if y.shape == known.value.shape else known.value, network.dtype)
    probabilities = run(log_mels)
    for head in network.heads:
        rows.append(check_probabilities(head, head_part(network, head).through(known), probabilities[head]))
    return rows


def compiled(network: Network) -> Any:
    """Compile a network; return None if Numba is not installed or does not cover the network."""
    with contextlib.suppress(ImportError):
        from .. import fast  # here, because Numba is an extra

        return fast.CompiledNetwork(network) if fast.available(network) else None


def inputs(log_mels: np.ndarray, whole: bool = False) -> dict[str, np.ndarray]:
    """Return inputs for a backend: sounds, and random numbers that reach every channel, in other shapes.

    With two sounds, there is every batch size up to `minirep.classify.BATCH`. A single frame is shorter than the head's
    pooling window. With ``whole``, every input has the length of a clip.
    """
    sizes = np.array([1, 10, 100, 1], np.float32)[:, None, None]
    random = sizes * np.random.default_rng(0).normal(size=(4, *log_mels.shape[1:])).astype(np.float32)
    shorter = random if whole else random[:, : log_mels.shape[1] // 3 + 1]
    found = {"sounds": log_mels, "random": shorter, "one example": random[1:2]}
    return found if whole else found | {"one frame": random[:3, :1]}


def try_backend(network: Network, log_mels: np.ndarray, run: Any) -> list[Row]:
    """Check a backend on all `inputs`; each row is from the input that uses the largest share of the bound."""
    tried = [check_backend(network, x, run) for x in inputs(log_mels).values()]
    return [max(rows, key=lambda row: row.rounding.used) for rows in zip(*tried)]


def check_backends(network: Network, log_mels: np.ndarray) -> dict[str, list[Row]]:
    """Check the compiled backend, if it is installed, on the network merged and as stored: {form: its rows}."""
    forms = {"merged": reparam.fuse(network)} | ({} if is_fused(network) else {"as stored": network})
    return {
        f"numba, {form}": try_backend(tree, log_mels, run)
        for form, tree in forms.items()
        if (run := compiled(tree)) is not None
    }


@dataclass(frozen=True)
class Outcome:
    """The effect of merging on probabilities: ``agree`` of ``views`` keep their most probable class in every head."""

    precision: str
    backend: str  # of the merged form; the other runs in plain NumPy
    absolute: float
    views: int
    agree: int


def compare_outcomes(precision: str, reference: Any, runs: dict[str, Any], log_mels: np.ndarray) -> list[Outcome]:
    """Compare backends, {name: function from log-mels to probabilities, or None}, with a reference on log-mels."""

    def probabilities(run) -> dict[str, np.ndarray]:
        found = [run(log_mels[i : i + VIEWS]) for i in range(0, len(log_mels), VIEWS)]  # some at a time: memory
        return {head: np.concatenate([p[head] for p in found]) for head in found[0]}

    before, outcomes = probabilities(reference), []
    for backend, run in runs.items():
        if run is not None:
            after = probabilities(run)
            absolute, agree = [], np.ones(len(log_mels), bool)
            for head, p in before.items():
                absolute.append(np.abs(p - after[head]).max())
                agree &= p.argmax(axis=1) == after[head].argmax(axis=1)
                agree &= np.isfinite(p + after[head]).all(axis=1)  # NaN has no most probable class
            outcomes.append(Outcome(precision, backend, float(np.max(absolute)), len(agree), int(agree.sum())))
    return outcomes


def check_stored(network: Network, stored: dict[str, Conv]) -> dict[str, Difference]:
    """Compare merged kernels in a file, {path of the layer: Conv}, with those merged from its branches.

    The names of the differences are those of the arrays, such as "stages.0.2.paths.0.1.branches.0.weight".
    """
    found, layers = {}, dict[str, Depthwise]()
    map_tree(network, lambda name, node: layers.setdefault(name, node) if isinstance(node, Depthwise) else node)
    for path, conv in stored.items():
        layer = map_arrays(layers[path], lambda a: a.astype(np.float64))
        merged = reparam.merge_branches(layer).branches[0]
        if conv.weight.shape != merged.weight.shape:
            raise MinirepError(f"{path}: found a merged kernel {conv.weight.shape}, expected {merged.weight.shape}")
        allowed = (bounds.merged_branches(layer, dtype) for dtype in (conv.weight.dtype, np.float64))
        for part, rounded, own in zip(("weight", "bias"), *allowed):
            apart = difference(getattr(conv, part), getattr(merged, part), rounded + own)
            found[f"{path}.branches.0.{part}"] = apart
    return found


def describe(tree) -> dict[str, str]:
    """Describe every node of a tree, and every field that is not the numbers of an array, by its path."""
    found: dict[str, str] = {}

    def note(name, node):
        text = type(node).__name__ if is_dataclass(node) else repr(node)
        if isinstance(node, np.ndarray):
            text = f"{node.dtype} {node.shape}"
        elif isinstance(node, dict):
            text = f"entries {', '.join(map(str, node))}"
        elif isinstance(node, tuple):
            text = f"{len(node)} parts"
        found[name] = f"{found[name]} and {text}" if name in found else text  # a head may be called "a.0"
        return node

    map_tree(tree, note)
    return found


def differing(found, expected) -> list[str]:
    """Return in words the fields in which two trees differ; nothing below a node that differs is compared."""
    theirs, ours = describe(found), describe(expected)
    names = [name for name in {**ours, **theirs} if theirs.get(name) != ours.get(name)]
    above = {name for name in names if not any(name.startswith(f"{other}.") for other in names)}
    return [f"{n}: found {theirs.get(n, 'nothing')}, expected {ours.get(n, 'nothing')}" for n in names if n in above]


@dataclass(frozen=True)
class Merged:
    """The comparison of a merged model from a file with the result of merging the original model."""

    fields: list[str]  # differences of trees, labels or recipe, in words
    weights: dict[str, Difference]  # by the path of each array
    exact: int  # number of weights that are correctly rounded
    total: int  # number of weights
    rows: list[Row]  # stem and blocks; none if a field differs or the weights were stored as float16
    called: str = "the merged model"

    @property
    def outside(self) -> list[str]:
        weights = [f"{path}, {at(path, d)}" for path, d in self.weights.items() if not d.within]
        blocks = [f"{row.name}: {what}" for row in self.rows for what in row.outside]
        return self.fields + weights or list(dict.fromkeys(blocks))


def at(path: str, d: Difference) -> str:
    """Return a place in an array of weights in words: its tap and channel, or its input and output channel."""
    if len(d.place) == 1:
        return f"channel {d.place[0]}"
    names = ["time tap", "frequency tap", "input", "output"]
    if len(d.place) == 2:
        names = ["tap", "channel"] if ".branches." in path else ["input", "output"]
    return ", ".join(f"{name} {i}" for name, i in zip(names, d.place))


def check_merged(model: Model, merged: Model, log_mels: np.ndarray, exported: bool = False) -> Merged:
    """Compare a merged model with the result of merging ``model``: every field, weight and block.

    A model that minirep ``exported`` may also be unmerged, and its weights must be identical.
    """
    network, theirs = model.network, merged.network
    ours = network if exported and not is_fused(theirs) else reparam.fuse(network)
    fields = differing(theirs, ours)
    fields += differing(*({"labels": m.labels, "recipe": m.recipe} for m in (merged, model)))
    arrays = named_arrays(theirs)
    half = all(np.array_equal(a, a.astype(np.float16)) for a in arrays.values())
    nearest = named_arrays(as_type(as_type(ours, np.float16), ours.dtype) if half else ours)
    rounded, own = (
        named_arrays(map_arrays(ours, np.zeros_like) if exported else bounds.merged_weights(network, dtype))
        for dtype in (theirs.dtype, np.float64)
    )
    weights, exact = {}, 0
    for name, expected in named_arrays(ours).items():
        if name in arrays and arrays[name].shape == expected.shape:
            allowed = rounded[name] + own[name]
            if half:  # ``--half`` moved it by up to half a unit in the last place (ulp) of float16
                allowed = allowed + np.spacing(np.abs(expected).astype(np.float16)).astype(np.float64) / 2
            weights[name] = difference(arrays[name], expected, allowed)
            exact += int((arrays[name] == nearest[name]).sum())
    total = sum(a.size for a in named_arrays(ours).values())
    rows = [] if fields or half else check_forms(network, theirs, log_mels)
    return Merged(fields, weights, exact, total, rows)


def check_forms(network: Network, merged: Network, log_mels: np.ndarray) -> list[Row]:
    """Compare stem and blocks of two forms of one network, on the inputs that the first form computes."""
    x, rows = log_mels[..., None].astype(network.dtype), []
    for part in body(network):
        for given in [x] if part.name == "stem" else [x, part.probe]:
            known = part.through(bounds.start(given, network.dtype))
            rows.append(check_row(part.name, known, part.of(network, given), part.of(merged, given)))
        x = part.of(network, x)
    return rows


@dataclass(frozen=True)
class Report:
    """All results of `verify`; ``within`` decides the exit status."""

    merged: bool  # whether the network is stored merged: then only ``rounding`` is checked
    rows: dict[str, list[Row]]  # by precision, in plain NumPy
    backends: dict[str, list[Row]]  # by backend and form, in float32
    outcome: list[Outcome]
    stored: dict[str, Difference] = field(default_factory=dict)  # merged kernels in the same file
    given: Merged | None = None  # another, merged file

    @property
    def outside(self) -> list[str]:
        """Names of everything outside its bound."""
        rows = [(where, row) for where, rows in (self.rows | self.backends).items() for row in rows]
        found = [f"{row.name} in {where}: {what}" for where, row in rows for what in row.outside]
        wrong = {path: d for path, d in self.stored.items() if not d.within}
        found += [f"the merged kernel stored as {path}, {at(path, d)}" for path, d in wrong.items()]
        return found + [f"{what} ({given.called})" for given in [self.given] if given for what in given.outside]

    @property
    def within(self) -> bool:
        return not self.outside


def precisions(network: Network) -> tuple[str, ...]:
    """Return both precisions; for a merged network only float32, which is compared with float64."""
    return ("float32",) if is_fused(network) else ("float32", "float64")


def verify(
    model: Model,
    log_mels: np.ndarray,
    stored: dict[str, Conv] | None = None,
    merged: Model | None = None,
    done: Callable[[], None] = lambda: None,
) -> Report:
    """Compare a network with its merged form, block by block.

    Parameters
    ----------
    model : Model
    log_mels : array (N, frames, 128)
        Sounds; blocks are compared on the first two, probabilities on all.
    stored : dict of str to Conv, optional
        Merged kernels from the same file (`minirep.files.checkpoint.stored_merged`).
    merged : Model, optional
        A model that should be this one, merged.
    done : function
        Called after each block in each precision.

    Returns
    -------
    Report

    Raises
    ------
    MinirepError
        For a network or a merged kernel whose shapes do not fit.
    """
    check(model.network)
    rows, outcome, views = {}, [], log_mels[:VIEWS]
    with np.errstate(all="ignore"):  # what overflows is reported as not within its bound
        for precision in precisions(model.network):
            typed = as_type(model.network, precision)
            rows[precision] = check_network(typed, views, done)
            merged_form = reparam.fuse(typed)
            runs = {"numpy": partial(forward, merged_form), "numba": compiled(merged_form)}
            reference = as_type(typed, np.float64) if is_fused(typed) else typed
            outcome += compare_outcomes(precision, partial(forward, reference), runs, log_mels)
        backends = check_backends(as_type(model.network, np.float32), views)
        kernels = check_stored(model.network, stored or {})
        given = None if merged is None else check_merged(model, merged, views)
    return Report(is_fused(model.network), rows, backends, outcome, kernels, given)
