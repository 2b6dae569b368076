"""bfloat16: its rounding, the network that it makes, the bound on what it changes, and the same on every backend."""

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import network_bounds
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import SEEDS, Plain, architectures, float_network, inputs, log_mels

from minirep import (
    RECIPES,
    Architecture,
    Classifier,
    MinirepError,
    fuse,
    load,
    network,
    ops,
    random_network,
    save,
)
from minirep.architecture import INCEPTION, REP
from minirep.cli import main
from minirep.exact import round_bfloat16
from minirep.files.modelfile import read_model
from minirep.network import Conv, block_forward
from minirep.precision import as_precision, map_pointwise, precision_of
from minirep.proof import bounds
from minirep.tree import as_type, map_arrays, named_arrays

U = 2.0**-8  # unit roundoff


def compiled(net):
    """The network on the compiled backend, or on the plain one where Numba is missing."""
    try:
        from minirep.fast import CompiledNetwork, available
    except ImportError:
        return Plain(net)
    return CompiledNetwork(net) if available(net) else Plain(net)


# --- the rounding -------------------------------------------------------------------------------------------------


def nearest(value: np.float32) -> float:
    """The bfloat16 nearest to a finite float32, ties to even, found among its two neighbours by exact arithmetic."""
    below = int(np.float32(value).view(np.uint32)) & 0xFFFF0000  # towards zero
    candidates = [np.uint32(b).view(np.float32) for b in (below, below + 0x10000)]

    def distance(c):  # beyond the largest number, infinity stands where the next one would
        c = Fraction(2) ** 128 * (1 if value > 0 else -1) if np.isinf(c) else Fraction(float(c))
        return abs(c - Fraction(float(value)))

    return min(candidates, key=lambda c: (distance(c), int(c.view(np.uint32)) >> 16 & 1))


@given(st.integers(0, 2**32 - 1) | st.integers(0, 2**16 - 1).map(lambda b: b << 16 | 0x8000))  # any bits; ties
def test_rounding_finds_the_nearest_and_the_even(bits):
    value = np.array([bits], np.uint32).view(np.float32)
    found = round_bfloat16(value)
    if np.isnan(value[0]):
        assert np.isnan(found[0])
    elif np.isinf(value[0]):
        assert found[0] == value[0]
    else:
        assert found.view(np.uint32)[0] == np.float32(nearest(value[0])).view(np.uint32)
        assert found.view(np.uint32)[0] & 0xFFFF == 0
        if np.finfo(np.float32).tiny <= abs(value[0]) < 2.0**127:
            assert abs(float(found[0]) - float(value[0])) <= U * abs(float(value[0]))
    assert np.array_equal(round_bfloat16(found), found, equal_nan=True)


def test_what_is_no_number_stays_none():
    """Adding half of the lower bits to the largest NaN would carry into its sign, and give -0."""
    nan = np.array([0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0x7FC00000], np.uint32).view(np.float32)
    assert np.isnan(round_bfloat16(nan)).all()


def test_rounding_is_that_of_pytorch():
    torch = pytest.importorskip("torch")
    bits = np.random.default_rng(0).integers(0, 2**32, 200_000, np.uint32)
    values = np.concatenate([bits, bits & 0xFFFF8000, bits & 0x7FFF]).view(np.float32)
    theirs = torch.from_numpy(values).bfloat16().float().numpy()
    assert np.array_equal(round_bfloat16(values), theirs, equal_nan=True)


# --- the network --------------------------------------------------------------------------------------------------


@given(architectures(), SEEDS)
def test_only_the_products_of_blocks_are_rounded(arch, seed):
    net = fuse(float_network(arch, seed))
    rounded = as_precision(net, "bfloat16")
    convs = {id(c) for b in rounded.blocks.values() for c in (b.entry, *b.expand_project, b.shortcut) if c}
    for name, array in named_arrays(rounded).items():
        old = named_arrays(net)[name]
        block, conv = ".".join(name.split(".")[:3]), name.split(".")[3:]
        product = block in rounded.blocks and conv[0] != "paths" and conv[-1] == "weight"
        assert np.array_equal(array, round_bfloat16(old) if product else old) and array.dtype == np.float32
    assert all(conv.bfloat16 == (id(conv) in convs) for conv in rounded.convs)
    assert as_precision(rounded, "bfloat16") is rounded and as_precision(net, "float32") is net
    assert (precision_of(net), precision_of(rounded)) == ("float32", "bfloat16")
    assert all(map(np.array_equal, named_arrays(fuse(rounded)).values(), named_arrays(rounded).values()))


def test_a_pointwise_convolution_by_hand():
    """1 + 2^-8 and 3 + 2^-7 lie halfway between two bfloat16 numbers; the bias is not rounded."""
    x = np.float32([[[[1 + 2**-8, 3 + 2**-7]]]])
    conv = Conv(np.float32([[1], [2]]), np.float32([2**-20]), bfloat16=True)
    assert ops.pointwise(x, conv) == np.float32(1 + 2 * 3 + 2**-20)
    assert ops.pointwise(x, replace(conv, bfloat16=False)) == np.float32(7 + 2**-8 + 2**-6 + 2**-20)
    assert ops.pointwise(np.float32([[[[np.nan, 1]]]]), conv).tolist() != [[[[0.0]]]]


# --- its bound ----------------------------------------------------------------------------------------------------


def bounded(net):
    """The network before its rounding, as the bound takes it: products whose two factors are to be rounded."""
    return map_pointwise(net, lambda conv: replace(conv, bfloat16=True))


@given(architectures(), inputs(), SEEDS, st.booleans(), st.sampled_from([1e-20, 1.0, 1e4]))
def test_no_network_leaves_its_bound(arch, shape, seed, extreme, size):
    """Against the function before any rounding; and, which is sharper, against that of the rounded weights."""
    net = fuse(float_network(arch, seed, extreme=extreme))
    rounded = as_precision(net, "bfloat16")
    x = np.random.default_rng(seed).normal(0, size, shape).astype(np.float32)
    with np.errstate(all="ignore"):
        for tree in (bounded(net), rounded):
            known = dict(network_bounds.through_stages(tree, x, "float32"))
            for run in (Plain(rounded), compiled(rounded)):
                for name, y in run.stages(x):
                    k = known[name]
                    allowed = k.value_error + k.error
                    assert (np.abs(y - k.value)[np.isfinite(allowed)] <= allowed[np.isfinite(allowed)]).all(), name


@given(st.integers(1, 40), SEEDS, st.booleans())
def test_the_bound_is_reached_from_below(channels, seed, merged_weight):
    """Products whose factors all lie just above a tie reach 0.97 of the bound, for one rounding each and for two."""
    rng = np.random.default_rng(seed)
    up = np.float32(1 + 2.0**-8 + 2.0**-20) * np.float32(2) ** rng.integers(-5, 5, channels).astype(np.float32)
    weight = np.float32(up if not merged_weight else round_bfloat16(up))[:, None]
    conv = Conv(weight, np.zeros(1, np.float32), bfloat16=True)
    x = np.float32(np.full((1, 1, 1, channels), 1 + 2.0**-8 + 2.0**-20))
    rounded = replace(conv, weight=round_bfloat16(weight))
    known = bounds.add([bounds.through_pointwise(bounds.start(x, np.float32), conv)], np.dtype("float32"), relu=False)
    share = np.abs(ops.pointwise(x, rounded) - known.value) / known.error
    assert 0.97 < share.item() <= 1


def test_the_bound_by_hand_from_above():
    """y = w x of two bfloat16 numbers is off by at most 2^-8 of |w x|, else by 2 * 2^-8; and a little for its sums."""
    x = np.float32([[[[3.0]]]])
    for weight, coarse in ((0.5, 1), (0.3, 2)):
        conv = Conv(np.float32([[weight]]), None, bfloat16=True)
        known = bounds.add([bounds.through_pointwise(bounds.start(x, "f4"), conv)], np.dtype("f4"), relu=False)
        assert known.value == np.float32(weight) * 3.0
        assert coarse * U < known.error.item() / (3 * weight) < 1.02 * coarse * U
        plain = bounds.through_pointwise(bounds.start(x, "f4"), replace(conv, bfloat16=False))
        assert bounds.add([plain], np.dtype("f4"), relu=False).error.item() < 3e-6
    chain = (Conv(np.float32([[0.3]]), None, relu=False, bfloat16=True),) * 2
    zero = bounds.identity(bounds.start(0 * x, "f4"))
    assert 4 * U < bounds.through_expand_project(bounds.start(x, "f4"), chain, zero).error.item() / 0.27 < 4.2 * U


def test_what_may_overflow_when_it_is_rounded_has_no_bound():
    conv = Conv(np.float32([[1.0]]), None, bfloat16=True)
    known = bounds.start(np.float32([[[[3.4e38]]]]), "f4")
    assert np.isinf(bounds.add([bounds.through_pointwise(known, conv)], np.dtype("f4"), relu=False).error).all()


# --- backends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    "width, frames, mels",
    [(1, 9, 9), (16, 4 * 223, 4), (16, 4 * 225, 4), (24, 40, 40), (72, 60, 120), (136, 20, 12), (300, 9, 5)],
    ids=str,
)
@pytest.mark.parametrize("kind", [REP, INCEPTION])
def test_blocks_on_every_backend_from_the_same_input(kind, width, frames, mels, threads):
    """Tiles, blocks, panels and depths that end anywhere; both backends round in the same places."""
    fast = pytest.importorskip("minirep.fast", exc_type=ImportError)
    arch = Architecture(
        kind, width, (1, 1), ((5, 3),) * 2, ((5, 3),) * 2, (1, 2), (1, 1), heads={"class": 2}, frames=32
    )
    net = as_precision(fuse(float_network(arch, width)), "bfloat16")
    if not fast.available(net):
        pytest.skip("Numba's compiler is off")
    before, found = None, 0
    for name, y in fast.CompiledNetwork(net, threads).walk(log_mels((2, frames, mels), 0)):
        if before is not None:
            known = bounds.through_block(bounds.start(before, np.float32), net.blocks[name])
            for z in (y, block_forward(net.blocks[name], before)):
                assert (np.abs(z - known.value) <= known.error + known.value_error).all(), name
            # Most inputs of products agree to the bit, so that only float32's rounding sets the two apart.
            apart = np.abs(y - block_forward(net.blocks[name], before)) / np.abs(y).max()
            assert np.quantile(apart, 0.5) < 1e-5
            found += 1
        before = y
    assert found == 2


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("width", [1, 17, 32, 33, 129, 520], ids=str)
@pytest.mark.parametrize("kind", [REP, INCEPTION])
def test_whole_numbers_are_the_same_to_the_bit(kind, width, threads):
    """Sums of few whole numbers are exact in any order, so a rounding that differs anywhere shows."""
    fast = pytest.importorskip("minirep.fast", exc_type=ImportError)
    rng, sizes = np.random.default_rng(width), ((3,),) * 2
    arch = Architecture(kind, width, (1, 1), sizes, sizes, (1, 2), (1, 1), heads={"class": 2}, frames=32)
    net = map_arrays(fuse(random_network(arch)), lambda a: rng.integers(-1, 2, a.shape).astype(a.dtype)
                     * (rng.random(a.shape) < 3 / len(a)))  # fmt: skip
    net = as_precision(net, "bfloat16")
    if not fast.available(net):
        pytest.skip("Numba's compiler is off")
    x, coarse = rng.integers(-99, 100, (2, 36, 12)).astype(np.float32), False
    for (name, y), (_, z) in zip(fast.CompiledNetwork(net, threads).stages(x), network.stages(net, x)):
        assert np.array_equal(y, z) and np.abs(z).max() < 2**24, name
        coarse = coarse or not np.array_equal(z, round_bfloat16(z))
    assert coarse or width == 1  # something was rounded


@given(st.integers(1, 70), st.integers(1, 40), SEEDS)
def test_packed_words_hold_the_same_numbers(k, n, seed):
    """Every backend multiplies by the very bits that the rounding gives."""
    memory = pytest.importorskip("minirep.fast.memory", exc_type=ImportError)
    weight = round_bfloat16(np.random.default_rng(seed).normal(size=(k, n)).astype(np.float32))
    words = memory.pair_up(weight).view(np.uint32)
    rows = np.stack([words << 16, words & 0xFFFF0000], axis=1).reshape(-1, n).view(np.float32)
    assert np.array_equal(rows[:k], weight) and not rows[k:].any()


def test_a_network_of_nan_stays_nan():
    small = Architecture(REP, 16, (1,), ((3,),), ((3,),), (1,), (1,), heads={"class": 3}, frames=32)
    net = as_precision(fuse(random_network(small)), "bfloat16")
    x = log_mels((1, 32, 128), 0)
    x[0, 5, 7] = np.nan
    for run in (Plain(net), compiled(net)):
        assert all(np.isnan(y).any() for _, y in run.stages(x))


OTHERS = {  # names of processors and what they need of this one, all that fits a path through the kernels
    "AVX-512's dot product": ("znver4", "avx512_bf16", lambda f: [x for x in f if "amx" not in x]),
    "AVX-512 without it": ("znver4", "avx512f", lambda f: [x for x in f if "amx" not in x and "bf16" not in x]),
    "AVX2": ("x86-64", "avx2", lambda f: ["+avx2", "+fma"]),
    "SSE2": ("x86-64", "sse2", lambda f: ["+sse2"]),
    "Arm's dot product": ("generic", "bf16", lambda f: ["+neon", "+bf16"]),
    "NEON without it": ("generic", "asimd", lambda f: ["+neon"]),
}
PROGRAM = """
import json, sys
import numpy as np
from minirep import Architecture, fuse, random_network
from minirep.fast import CompiledNetwork, target
from minirep.network import forward, stages
from minirep.precision import as_precision
worst = 0.0
for kind, width in (("AudioRepInceptionNeXt", 24), ("AudioInceptionNeXt", 16)):
    net = as_precision(fuse(random_network(Architecture(kind, width, heads={"class": 5}, frames=64))), "bfloat16")
    x = np.random.default_rng(0).normal(-5, 3, (2, 64, 128)).astype(np.float32)
    for (_, y), (_, z) in zip(CompiledNetwork(net, 1).stages(x), stages(net, x)):
        worst = max(worst, float(np.abs(y - z).max() / np.abs(z).max()))
print(json.dumps({"pairs": target.PAIRS, "tiles": target.TILES, "lanes": target.LANES, "worst": worst}))
"""


@pytest.mark.parametrize("processor", OTHERS)
def test_other_processors(processor, tmp_path):
    """Each way to multiply bfloat16 that this processor can run, beside the one that it would choose."""
    llvm = pytest.importorskip("llvmlite.binding")
    name, needs, choose = OTHERS[processor]
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    if needs not in flags.split():
        pytest.skip(f"this processor has no {needs}")
    features = ",".join(choose(llvm.get_host_cpu_features().flatten().split(",")))
    env = os.environ | {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["pairs"] == processor.endswith("dot product") and not found["tiles"]
    assert found["lanes"] == (16 if "AVX-512" in processor else 8 if processor == "AVX2" else 4)
    assert found["worst"] < 0.01  # a rounding of bfloat16 here and there; a fault moves all by far more


FOR_ARM = """
import llvmlite.binding as llvm, numba, numpy as np
llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
llvm.get_process_triple = lambda: "aarch64-unknown-linux-gnu"
try:
    llvm.Target.from_triple(llvm.get_process_triple())
except RuntimeError:
    print(-1)
    raise SystemExit
numba.config.CPU_FEATURES = "+neon"  # Numba itself may not know of the instruction
from minirep.fast import build, target
assert (target.LANES, target.PAIRS, target.TILES) == (4, 1, 0)
code = build._compile()
words = np.frombuffer(code[: len(code) // 4 * 4], "<u4")
print(np.count_nonzero(words & 0xFFE0FC00 == 0x6E40FC00))  # BFDOT (vector), Arm Architecture Reference Manual, C7.2
"""


def test_the_program_for_arm_has_its_dot_product(tmp_path):
    """Compiled here, for another processor: whether it is right takes an Arm processor, or `programs/arm.sh`."""
    pytest.importorskip("numba")
    env = os.environ | {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+neon,+bf16"}
    env |= {"NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", FOR_ARM], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if int(done.stdout) < 0:
        pytest.skip("this LLVM does not compile for Arm")
    assert int(done.stdout) >= 6 * (4 + 2 + 1)  # rows by vectors, for each width of a panel


# --- what a user sees ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["numpy", "auto"])
def test_load_computes_in_the_precision_asked_for(backend):
    plain, half = load(backend=backend), load(backend=backend, precision="bfloat16")
    assert (plain.precision, half.precision) == ("float32", "bfloat16")
    x = log_mels((3, 96, 128), 0)
    apart = np.abs(half.probabilities(x)["class"] - plain.probabilities(x)["class"]).max()
    assert 0 < apart < 0.05
    again = pickle.loads(pickle.dumps(half))  # as a worker process gets it
    assert np.array_equal(again.probabilities(x)["class"], half.probabilities(x)["class"])
    assert np.array_equal(load(backend=backend, precision="float32").probabilities(x)["class"],
                          plain.probabilities(x)["class"])  # fmt: skip


def test_what_cannot_be_is_refused_by_name(tmp_path):
    small = Architecture(INCEPTION, 4, (1,), ((3,),), ((3,),), (1,), (1,), heads={"class": 3}, frames=32)
    net = random_network(small)
    for precision in ("float16", "int8", "", "BFLOAT16", None):
        with pytest.raises(MinirepError, match="expected float32 or bfloat16"):
            as_precision(net, precision)
    with pytest.raises(MinirepError, match="float64"):
        as_precision(as_type(net, np.float64), "bfloat16")
    rounded = as_precision(net, "bfloat16")
    with pytest.raises(MinirepError, match="expected one in float32"):
        as_precision(rounded, "float32")
    with pytest.raises(MinirepError, match="merge, then round"):
        fuse(rounded)
    with pytest.raises(MinirepError, match="rounded to bfloat16"):
        save(rounded, tmp_path / "x.npz")
    assert not list(tmp_path.iterdir())
    large = map_pointwise(net, lambda conv: replace(conv, weight=np.full_like(conv.weight, 3.4e38)))
    with pytest.raises(MinirepError, match="smaller ones"):
        as_precision(large, "bfloat16")


def test_no_file_says_that_it_is_rounded(tmp_path):
    """A header that claims bfloat16 for weights which are not rounded would pass them off as such."""
    small = Architecture(REP, 4, (1,), ((3,),), ((3,),), (1,), (1,), heads={"class": 3}, frames=32)
    save(random_network(small), tmp_path / "plain.npz")
    with np.load(tmp_path / "plain.npz") as file:
        arrays = dict(file)
    header = bytes(arrays["header"]).decode()
    assert "bfloat16" not in header
    bent = header.replace('"relu": true', '"relu": true, "bfloat16": true').encode()
    np.savez(tmp_path / "bent.npz", **(arrays | {"header": np.frombuffer(bent, np.uint8)}))
    with pytest.raises(MinirepError, match="bfloat16"):
        read_model(tmp_path / "bent.npz")


def test_a_float64_model_is_never_rounded_without_a_word(tmp_path, capsys):
    small = Architecture(REP, 4, (1,), ((3,),), ((3,),), (1,), (1,), heads={"class": 3}, frames=32)
    save(Classifier(as_type(random_network(small), np.float64), RECIPES["vggsound"]), tmp_path / "wide.npz")
    for precision in ("float32", "bfloat16"):
        with pytest.raises(MinirepError, match="float64"):
            load(tmp_path / "wide.npz", precision=precision)
    assert load(tmp_path / "wide.npz").precision == "float64"
    assert main(["verify", str(tmp_path / "wide.npz"), "--precision", "bfloat16"]) == 2
    assert "float64" in capsys.readouterr().err


def test_the_commands_take_a_precision(capsys):
    assert main(["classify", "--demo", "--precision", "bfloat16"]) == 0
    assert "10 of 10 right" in capsys.readouterr().out
    assert main(["classify", "--demo", "--precision", "float16"]) == 2
    assert "bfloat16" in capsys.readouterr().err


def test_verify_finds_a_backend_that_rounds_otherwise(tmp_path, monkeypatch, capsys):
    """A fault a little above what the two roundings allow; and none without a fault."""
    small = Architecture(REP, 8, (1,), ((3,),), ((3,),), (1,), (1,), heads={"class": 3}, frames=32)
    save(Classifier(random_network(small), RECIPES["vggsound"]), tmp_path / "model.npz")
    command = ["verify", str(tmp_path / "model.npz"), "--precision", "bfloat16"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "bfloat16: computed against exact" in out and "bfloat16, numpy: probabilities differ" in out
    coarse = lambda x: network.np.round(x * 8) / np.float32(8)  # noqa: E731
    monkeypatch.setattr(ops, "round_bfloat16", coarse)
    assert main(command) == 1
    assert "NOT WITHIN ITS BOUND: stages.0.0 in bfloat16" in capsys.readouterr().out
