"""Faults planted in every array, field and step of merging, and in backends: `verify` names exactly what is wrong.

And no false alarm: on weights of unusual sizes, on half precision, on trees that `build` does not make.
"""

import os
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS, architectures, float_network, log_mels

from minirep import MinirepError, fuse, ops, random_network, reparam, save
from minirep.architecture import INCEPTION, REP, Architecture
from minirep.cli import main
from minirep.exact import DoubleDouble
from minirep.files.modelfile import Model
from minirep.network import BatchNorm, Conv, Linear
from minirep.proof import bounds, coarse, verify
from minirep.tree import as_type, map_arrays, map_tree, named_arrays

KINDS = pytest.mark.parametrize("kind", [REP, INCEPTION])
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
X = log_mels((1, 16, 16), 0)
JIT_OFF = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")


@cache
def net(kind: str):
    """Two stages whose widths differ, so that a block is known by its shapes; one block has no shortcut."""
    return random_network(
        Architecture(kind, 2, (1, 1), ((7, 3), (5, 3)), ((9, 3), (3, 5)), (1, 2), (1, 2), expansion=2, frames=32,
                     heads={"verb": 2, "noun": 3})
    )  # fmt: skip


def bare(tree) -> Model:
    return Model(tree, None, {}, {})


def outside(rows) -> list[str]:
    return [f"{row.name}: {what}" for row in rows for what in row.outside]


def off(array, at: tuple, by: float):
    """The array with one number that is off, whatever it computes in."""
    array = array.copy()
    array[at] = array[at] + by
    return array


def is_array(node) -> bool:
    return isinstance(node, (np.ndarray, DoubleDouble))


def part_of(name: str, tree) -> str:
    """The part of a block that an array belongs to: "paths.0.1 along frequency"."""
    if not name.startswith("stages"):
        return "head" if name.startswith("heads") else "stem"
    _, i, j, part, *inner = name.split(".")
    if part != "paths":
        return part
    layer = tree.blocks[f"stages.{i}.{j}"].paths[int(inner[0])][int(inner[1])]
    return f"paths.{inner[0]}.{inner[1]} along {layer.axis}"


def owner(name: str) -> str:
    """The row of a report that an array or a field belongs to: "stem", "stages.0.1", "heads.verb"."""
    parts = name.split(".")
    return ".".join(parts[: {"stem": 1, "heads": 2}.get(parts[0], 3)])


def cases(kind: str) -> list:
    """(array of the merged tree, a place in it): of kernels the outermost tap, which only a long axis reaches."""
    rng = np.random.default_rng(0)
    found = named_arrays(fuse(net(kind)))
    return [(name, tuple(0 if ".paths." in name and n > 4 else int(rng.integers(n)) for n in array.shape))
            for name, array in found.items()]  # fmt: skip


# --- what `fuse` makes --------------------------------------------------------------------------------------------


@DTYPES
@KINDS
def test_every_array_that_fuse_gets_wrong(kind, dtype, monkeypatch):
    tree = as_type(net(kind), dtype)
    honest = fuse(tree)
    for name, at in cases(kind):
        by = 1e-3 if dtype == "float32" else 1e-11
        wrong = map_tree(honest, lambda n, node, at=at, by=by, name=name: off(node, at, by) if n == name else node)
        monkeypatch.setattr(reparam, "fuse", lambda _, wrong=wrong: wrong)
        found = outside(verify.check_network(tree, X))
        assert len(found) == 1, (name, found)
        before, channel = found[0].rsplit(" ", 1)
        assert before == f"{owner(name)}: {part_of(name, tree)}, step fuse, channel", name
        assert int(channel) == at[-1] or "expand_project.0" in name  # behind that one is another


def unlike(value, name: str):
    """Another value of a field that is no array."""
    if isinstance(value, str):
        return {"time": "frequency", "frequency": "time"}[value]
    return not value if isinstance(value, bool) else value + 1


@KINDS
def test_every_field_that_fuse_gets_wrong(kind, monkeypatch):
    tree, honest = net(kind), fuse(net(kind))
    fields = {}
    map_tree(honest, lambda n, node: fields.setdefault(n, node) if isinstance(node, (bool, str, int)) else node)
    last = len(honest.blocks["stages.0.0"].expand_project) - 1
    for name in fields:
        wrong = map_tree(honest, lambda n, node, name=name: unlike(node, n) if n == name else node)
        monkeypatch.setattr(reparam, "fuse", lambda _, wrong=wrong: wrong)
        found = outside(verify.check_network(tree, X))
        if name.startswith("pool"):
            assert found == ["heads.verb: head, step fuse", "heads.noun: head, step fuse"]  # of another shape
        elif name.endswith("bfloat16") and ("stem" in name or ".paths." in name):
            assert found == []  # only 1 x 1 convolutions compute in it
        elif name.endswith(f"expand_project.{last}.relu") or (name.endswith("branches.0.relu") and "paths" in name):
            # The block's own ReLU follows anyway; and so does the layer's, in which nothing else is left to add.
            assert found == []
        else:
            parts = {line.partition(": ")[2].partition(", ")[0] for line in found}
            block = honest.blocks.get(owner(name))
            both = {"entry", "shortcut"} if "stride" in name and block.shortcut else {part_of(name, honest)}
            assert parts == ({"entry"} if "stride" in name and not block.shortcut else both), (name, found)
            assert {line.partition(": ")[0] for line in found} == {owner(name)}


# --- steps of merging ---------------------------------------------------------------------------------------------


def planted(step, stage: int, change):
    """The step, with its result changed in the blocks of one stage: they are known by their width."""
    width = 2 * 2**stage

    def faulty(block):
        done = step(block)
        return map_tree(done, change) if block.entry.weight.shape[1] == width else done

    return faulty


@DTYPES
@KINDS
def test_every_step_of_merging_in_every_array(kind, dtype, monkeypatch):
    tree = as_type(net(kind), dtype)
    tried = set()
    for step, honest in list(reparam.STEPS.items()):
        form = dict(zip(reparam.STEPS, forms(tree.blocks["stages.1.0"])))[step]
        for name, array in named_arrays(form).items():
            at = tuple(n // 2 for n in array.shape)

            def change(n, node, name=name, at=at):
                return off(node, at, 1e-2 if dtype == "float32" else 1e-9) if n == name and is_array(node) else node

            monkeypatch.setitem(reparam.STEPS, step, planted(honest, 1, change))
            part = part_of(f"stages.1.0.{name}", tree)
            expected = f"stages.1.0: {part}, step {step}, channel "
            found = outside(verify.check_network(tree, X))
            assert len(found) == 1 and found[0].startswith(expected), (step, name, found)
            tried.add((step, part))
        monkeypatch.setitem(reparam.STEPS, step, honest)
    layers = len(tree.blocks["stages.1.0"].layers)
    assert len(tried) == 4 * (3 + layers)


def forms(block) -> list:
    found = []
    for step in reparam.STEPS.values():
        block = step(block)
        found.append(block)
    return found


def other_bn(conv, **changes):
    return reparam_fold(replace(conv, bn=replace(conv.bn, **changes))) if conv.bn is not None else reparam_fold(conv)


reparam_fold, reparam_pad, reparam_merge = reparam.fold, reparam.pad_kernel, reparam.merge_branches
reparam_identity, reparam_collapse = reparam.absorb_identity, reparam.collapse


def shifted(kernel, size):
    padded = reparam_pad(kernel, size)
    return np.concatenate([padded[1:], padded[:1]]) if isinstance(padded, np.ndarray) else DoubleDouble(
        np.roll(padded.high, -1, 0), np.roll(padded.low, -1, 0))  # fmt: skip


def wrong_tap(layer):
    done = reparam_identity(layer)
    if not layer.identity:
        return done
    (conv,) = done.branches
    weight = conv.weight.copy()
    weight[0], weight[len(weight) // 2] = weight[0] + 1, weight[len(weight) // 2] - 1
    return replace(done, branches=(replace(conv, weight=weight),))


FUNCTIONS = {
    "eps left out": ("fold", lambda conv: other_bn(conv, eps=0.0), "fold"),
    "mean left out": ("fold", lambda conv: other_bn(conv, mean=0 * conv.bn.mean) if conv.bn else conv, "fold"),
    "shift left out": ("fold", lambda conv: other_bn(conv, shift=0 * conv.bn.shift) if conv.bn else conv, "fold"),
    "sign of the scale": ("fold", lambda conv: other_bn(conv, scale=0 - conv.bn.scale) if conv.bn else conv, "fold"),
    "padding": ("pad_kernel", shifted, "merge"),
    "a branch dropped": (
        "merge_branches", lambda layer: reparam_merge(replace(layer, branches=layer.branches[:1])), "merge"),
    "a branch twice": (
        "merge_branches",
        lambda layer: reparam_merge(replace(layer, branches=(*layer.branches, *layer.branches[1:]))),
        "merge",
    ),
    "identity dropped": ("absorb_identity", lambda layer: replace(layer, identity=False), "identity"),
    "identity twice": (
        "absorb_identity", lambda layer: replace(reparam_identity(layer), identity=layer.identity), "identity"),
    "identity on the wrong tap": ("absorb_identity", wrong_tap, "identity"),
    "first bias lost": (
        "collapse", lambda a, b: replace(reparam_collapse(a, b), bias=b.bias), "collapse"),
    "second bias lost": (
        "collapse", lambda a, b: replace(reparam_collapse(a, b), bias=a.bias @ b.weight), "collapse"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FUNCTIONS)
def test_a_wrong_function_of_merging_is_named_by_its_step(fault, monkeypatch):
    name, wrong, step = FUNCTIONS[fault]
    tree = net(INCEPTION if step == "collapse" else REP)
    monkeypatch.setattr(reparam, name, wrong)
    for dtype in ("float32", "float64"):
        rows = verify.check_network(as_type(tree, dtype), X)
        assert all(f", step {step}, channel " in line for line in outside(rows)), outside(rows)
        assert {line.partition(":")[0] for line in outside(rows)} >= {"stages.0.0", "stages.1.0"}


def test_a_fault_of_rounding_once_alone_is_named_fuse(monkeypatch):
    """Every step is right in the network's own type; what merges more precisely is not."""
    honest = DoubleDouble.rounded
    monkeypatch.setattr(DoubleDouble, "rounded", lambda self, dtype: honest(self, dtype) * np.float32(1.01))
    found = outside(verify.check_network(net(REP), X))
    assert found and all(", step fuse, channel " in line for line in found)
    assert {line.partition(":")[0] for line in found} == {"stem", "stages.0.0", "stages.1.0"}
    assert outside(verify.check_network(as_type(net(REP), np.float64), X)) == []


# --- merged kernels beside the branches -------------------------------------------------------------------------------


@DTYPES
def test_every_stored_kernel_that_is_off(dtype):
    """By a little more than rounding, and by more; up to that it passes."""
    tree = as_type(net(REP), dtype)
    stored = {
        f"{name}.paths.{i}.{j}": reparam.merge_branches(layer).branches[0]
        for name, block in tree.blocks.items()
        for i, path in enumerate(block.paths)
        for j, layer in enumerate(path)
    }
    assert all(d.within for d in verify.check_stored(tree, stored).values())
    for path, conv in stored.items():
        block, _, (i, j) = path.partition(".paths.")[0], None, path.rpartition("paths.")[2].split(".")
        layer = tree.blocks[block].paths[int(i)][int(j)]
        exact = reparam.merge_branches(map_arrays(layer, lambda a: a.astype(np.float64))).branches[0]
        own = bounds.merged_branches(layer, np.float64)
        for k, part in enumerate(("weight", "bias")):
            allowed = bounds.merged_branches(layer, tree.dtype)[k] + own[k]
            at = tuple(n // 2 for n in allowed.shape)
            for share, within in ((0.9, True), (1.1, False), (1e4, False)):
                array = getattr(conv, part).astype(np.float64)
                array[at] = getattr(exact, part)[at] + share * allowed[at]
                if dtype == "float32":
                    array = array.astype(np.float32)
                found = verify.check_stored(tree, stored | {path: replace(conv, **{part: array})})
                wrong = [name for name, d in found.items() if not d.within]
                assert wrong == ([] if within else [f"{path}.branches.0.{part}"]) or share * allowed[at] < np.spacing(
                    np.abs(array[at])
                )
                assert within or not wrong or found[wrong[0]].place == at


# --- backends -----------------------------------------------------------------------------------------------------


def compiled():
    pytest.importorskip("numba")
    if JIT_OFF:
        pytest.skip("Numba's compiler is off")
    from minirep.fast import CompiledNetwork, plan

    return CompiledNetwork, plan


def wrongly(tree, tmp_path, capsys) -> list[str]:
    """What the command finds wrong; the exit status says so, too."""
    save(tree, tmp_path / "model.npz")
    status = main(["verify", str(tmp_path / "model.npz")])
    mark = "NOT WITHIN ITS BOUND: "
    found = [line.removeprefix(mark) for line in capsys.readouterr().out.splitlines() if line.startswith(mark)]
    assert status == (1 if found else 0)
    return found


@KINDS
def test_a_compiled_network_that_is_right_and_one_that_is_not(kind, tmp_path, capsys, monkeypatch):
    """A part at a time: its activations moved by one place, or a thousandth too large."""
    network_class, _ = compiled()
    assert wrongly(net(kind), tmp_path, capsys) == []
    honest = network_class.walk
    for part in ("stem", *net(kind).blocks):
        for change in (
            lambda y: np.roll(y, 1, axis=1),
            lambda y: np.roll(y, 1, axis=3),
            lambda y: y * np.float32(1.001),
        ):

            def walk(self, x, part=part, change=change):
                return ((name, change(y) if name == part else y) for name, y in honest(self, x))

            monkeypatch.setattr(network_class, "walk", walk)
            rows = verify.check_backends(net(kind), X)
            assert list(rows) == ["numba, merged", "numba, as stored"]
            for form in rows.values():
                # The probabilities belong to other activations than those that were handed on.
                assert [line for line in outside(form) if "probab" not in line][:1] == [f"{part}: as a whole"]
    found = wrongly(net(kind), tmp_path, capsys)
    assert [line for line in found if "probab" not in line] == [
        f"stages.1.0 in numba, {form}: as a whole" for form in ("merged", "as stored")]  # fmt: skip


ONLY = {  # on which inputs (n, T, F) a backend goes wrong, beside two sounds of 16 frames
    "one clip": lambda n, frames: n == 1 and frames == 16,
    "three": lambda n, frames: n == 3,
    "four": lambda n, frames: n == 4,
    "other lengths": lambda n, frames: frames not in (1, 16),
    "a single frame": lambda n, frames: frames == 1,
    "loud input": None,
}


@pytest.mark.parametrize("only", ONLY)
def test_a_backend_that_is_wrong_for_some_inputs_only(only, monkeypatch):
    """The last example is off by a hundredth there."""
    network_class, _ = compiled()
    honest = network_class.walk

    def walk(self, x):
        wrong = np.abs(x).max() > 100 if ONLY[only] is None else ONLY[only](*x.shape[:2])
        scale = np.ones((len(x), 1, 1, 1), np.float32)
        scale[-1] += 0.01 * wrong
        return ((name, y * scale if name == "stages.1.0" else y) for name, y in honest(self, x))

    sounds = log_mels((2, 16, 16), 0)
    assert not any(map(outside, verify.check_backends(net(REP), sounds).values()))
    monkeypatch.setattr(network_class, "walk", walk)
    for rows in verify.check_backends(net(REP), sounds).values():
        assert outside(rows)[0] == "stages.1.0: as a whole"


@KINDS
def test_a_backend_that_cuts_off_where_it_should_round_to_bfloat16(kind, monkeypatch):
    """It stays within the bound on the rounding; on whole numbers it is found, and one that rounds is right."""

    class Cutting(coarse.Plain):
        def cut(self, run, x):
            with monkeypatch.context() as patch:
                patch.setattr(ops, "round_bfloat16", lambda x: (x.view(np.uint32) & 0xFFFF0000).view(np.float32))
                return run(x)

        def walk(self, log_mels):
            yield from self.cut(lambda x: list(coarse.Plain.walk(self, x)), log_mels)

        def __call__(self, log_mels):
            return self.cut(lambda x: coarse.Plain.__call__(self, x), log_mels)

    model = bare(net(kind))
    for backend, expected in ((coarse.Plain, []), (Cutting, [f"{b}: as a whole" for b in net(kind).blocks])):
        monkeypatch.setattr(coarse, "compiled", backend)
        report = coarse.with_bfloat16(verify.verify(model, X), model.network, X)
        wrong = {where: outside(rows) for where, rows in report.backends.items() if "bfloat16" in where}
        assert wrong == {"numba, bfloat16": [], "numba, whole numbers, bfloat16": expected}


@KINDS
def test_each_part_of_a_backend_has_the_bound_of_itself_alone(kind):
    """On the input that the backend gives it: what earlier parts are off by does not excuse it."""
    network_class, _ = compiled()
    run = network_class(net(kind))
    rows = {row.name: row for row in verify.check_backend(net(kind), X, run)}
    before = None
    for name, y in run.walk(X):
        if before is not None:
            known = bounds.through_block(bounds.start(before, np.float32), net(kind).blocks[name])
            assert rows[name] == verify.check_row(name, known, y)
        before = y
    assert list(rows) == ["stem", *net(kind).blocks, "probabilities.verb", "probabilities.noun"]


@pytest.mark.parametrize("wrong", ["clipped", "shifted"])
@KINDS
def test_a_compiled_head_that_is_wrong(kind, wrong, tmp_path, capsys, monkeypatch):
    """An exponential that is cut off at -1, and probabilities in the wrong order: activations are right."""
    network_class, _ = compiled()

    def head(y, pool, linear):
        z = ops.logits(y, pool, linear)
        e = np.exp(np.maximum(z - z.max(-1, keepdims=True), -1))
        return (e / e.sum(-1, keepdims=True)).mean(axis=(1, 2))

    honest = network_class.__call__

    def call(self, x):
        if wrong == "shifted":
            return {name: np.roll(p, 1, axis=1) for name, p in honest(self, x).items()}
        *_, (_, y) = self.walk(x)
        return {name: head(y, self.network.pool, linear) for name, linear in self.network.heads.items()}

    steep = {n: Linear(3 * h.weight, 3 * h.bias - 2 * np.arange(h.bias.size, dtype=np.float32))
             for n, h in net(kind).heads.items()}  # fmt: skip
    louder = replace(net(kind), heads=steep)
    assert wrongly(louder, tmp_path, capsys) == []
    monkeypatch.setattr(network_class, "__call__", call)
    expected = [f"probabilities.{head} in numba, {form}: as a whole"
                for form in ("merged", "as stored") for head in ("verb", "noun")]  # fmt: skip
    assert wrongly(louder, tmp_path, capsys) == expected


@pytest.mark.parametrize(
    "packer, part",
    [("pack_matrix", "stem"), ("pack_kernel", "stages.0.0")],
)
def test_compiled_weights_that_are_one_place_off(packer, part, tmp_path, capsys, monkeypatch):
    """What is packed for the kernels is shifted by a row: the real kernels compute with it."""
    _, plan = compiled()
    honest = getattr(plan, packer)
    monkeypatch.setattr(plan, packer, lambda array, *more: honest(np.roll(array, 1, axis=0), *more))
    found = wrongly(net(REP), tmp_path, capsys)
    assert any(line.startswith((f"{part} in numba", "stages.0.0 in numba")) for line in found)


def test_what_the_compiled_kernels_do_not_cover_is_not_held_against_them():
    assert verify.check_backends(as_type(net(REP), np.float64), X) == {}


# --- no false alarm -----------------------------------------------------------------------------------------------


def silent(tree) -> bool:
    """Whether nothing is found: in both precisions, on every backend, merged in three ways."""
    assert verify.verify(bare(tree), X, stored=None, merged=bare(fuse(tree))).outside == []
    with np.errstate(all="ignore"):
        plain = tree.map_blocks(lambda block: forms(block)[-1])
        plain = replace(plain, stem=reparam.fold(tree.stem))
        half = as_type(as_type(plain, np.float16), tree.dtype)
        for other in (plain, half):
            if all(np.isfinite(a).all() for a in named_arrays(other).values()):
                assert verify.check_merged(bare(tree), bare(other), X).outside == []
        assert verify.verify(bare(fuse(tree)), X).outside == []
    return True


@KINDS
@settings(max_examples=3)
@given(st.data(), SEEDS, st.sampled_from([1e-3, 1e-1, 1.0, 30.0, 1e3]))
def test_rescaled_weights_raise_no_alarm(kind, data, seed, factor):
    """Convolutions times a factor, and what their batch norms expect with them."""
    tree = float_network(data.draw(architectures(kinds=(kind,), stages=2, blocks=2, width=2, kernel=7)), seed)

    def change(name, node):
        if isinstance(node, Conv) and node.bn is not None:
            f = np.float32(factor)
            bn = replace(node.bn, mean=node.bn.mean * f, variance=node.bn.variance * f * f)
            return replace(node, weight=node.weight * f, bn=bn)
        return node

    assert silent(map_tree(tree, change))


@KINDS
@settings(max_examples=3)
@given(st.data(), SEEDS, st.booleans(), st.booleans())
def test_large_means_tiny_variances_and_half_precision_raise_no_alarm(kind, data, seed, means, half):
    tree = float_network(data.draw(architectures(kinds=(kind,), stages=2, blocks=2, width=2, kernel=7)), seed)

    def change(name, node):
        if not isinstance(node, BatchNorm):
            return node
        if means:
            return replace(node, mean=node.mean * np.float32(1e4))
        return replace(node, variance=node.variance * np.float32(1e-9))

    tree = map_tree(tree, change)
    if half:
        tree = map_arrays(tree, lambda a: a.astype(np.float16).astype(np.float32))
    assert silent(tree)


@KINDS
@settings(max_examples=1)
@given(st.data(), SEEDS)
def test_unusual_trees_raise_no_alarm(kind, data, seed):
    tree = float_network(data.draw(architectures(kinds=(kind,), stages=2, blocks=2, width=2, kernel=5)), seed)
    kinked = tree.map_blocks(lambda b: b if b.shortcut is None else replace(b, shortcut=replace(b.shortcut, relu=True)))
    assert silent(kinked)
    eye = [replace(b.entry, weight=np.eye(len(b.entry.weight[0]), dtype=np.float32)) for b in tree.blocks.values()]
    square = iter(eye)
    assert silent(tree.map_blocks(lambda b: replace(b, expand_project=(next(square),) * 3)))  # one in three places
    twice = tree.map_blocks(lambda b: b if b.shortcut is None else replace(b, shortcut=b.entry))
    assert silent(twice)
    layers = tree.map_blocks(lambda b: replace(b, paths=tuple((path[0],) * 3 for path in b.paths)))
    assert silent(layers)
    bias = map_tree(tree, lambda _, c: replace(c, bias=c.bn.mean) if isinstance(c, Conv) and c.bn else c)
    assert silent(bias)
    folded = tree.map_blocks(reparam.fold_block)
    assert silent(folded)


def test_a_relu_on_a_branch_cannot_be_merged_and_the_file_is_named(tmp_path, capsys):
    layer = net(REP).blocks["stages.0.0"].paths[0][0]
    kinked = replace(layer, branches=(layer.branches[0], replace(layer.branches[1], relu=True)))
    tree = net(REP)
    first = tree.blocks["stages.0.0"]
    path = (kinked, first.paths[0][1])
    tree = replace(tree, stages=((replace(first, paths=(path,)),), tree.stages[1]))
    with pytest.raises(MinirepError, match="found a ReLU on a depthwise branch"):
        fuse(tree)
    save(tree, tmp_path / "kinked.npz")
    assert main(["verify", str(tmp_path / "kinked.npz")]) == 2
    out, err = capsys.readouterr()
    expected = "found a ReLU on a depthwise branch; expected linear branches, whose kernels add up"
    assert out == "" and err == f"minirep: error: {tmp_path / 'kinked.npz'}: fuse: {expected}\n"


@pytest.mark.parametrize("eps", [-1e-5, 1e-39, float("nan"), float("inf"), None, "1e-5"])
def test_an_eps_for_which_no_bound_holds_is_refused(eps):
    tree = map_tree(net(REP), lambda name, node: eps if name == "stem.bn.eps" else node)
    with pytest.raises(MinirepError, match=r"stem.bn.eps: found .*, expected 0 or a number of at least"):
        verify.verify(bare(tree), X)


def test_what_overflows_is_reported_and_no_traceback(tmp_path, capsys):
    tree = net(REP)
    huge = replace(tree, stem=replace(tree.stem, weight=tree.stem.weight * np.float32(1e37)))
    found = wrongly(huge, tmp_path, capsys)
    assert found[0].startswith("stem in float32: ") and not any("float64: stem" in line for line in found)


@KINDS
def test_is_fused(kind):
    """Batch norms, branches, an identity, a collapse to come: each alone is something left to merge."""
    done = fuse(net(kind))
    assert reparam.is_fused(done) and not reparam.is_fused(net(kind))
    assert not reparam.is_fused(net(kind).map_blocks(reparam.fold_block))
    one = np.ones(2, np.float32)
    assert not reparam.is_fused(replace(done, stem=replace(done.stem, bn=BatchNorm(one, one, one, one))))
    name = "stages.0.0.paths.0.0.identity"
    assert not reparam.is_fused(map_tree(done, lambda n, node: True if n == name else node))
    for change in (
        lambda b: replace(b, expand_project=(replace(b.expand_project[0], relu=False), *b.expand_project)),
        lambda b: b.map_layers(lambda layer: replace(layer, branches=layer.branches * 2)),
    ):
        assert not reparam.is_fused(done.map_blocks(change))
