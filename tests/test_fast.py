"""The compiled backend: equal to the plain one within what rounding allows, and at home on any computer.

`test_laws` holds both backends against exact values on small networks. Here the sizes are such that every path through
the kernels is taken: panels of 4, 2 and 1 vectors, sums over more than one depth, tiles that end anywhere, few rows and
many, more threads than work.
"""

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path

import network_bounds
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import SEEDS, Plain, float_network, log_mels

pytest.importorskip("numba")

from minirep import RECIPES, Classifier, MinirepError, fuse, load, network, ops, random_network, save
from minirep.architecture import INCEPTION, ORDERS, REP, Architecture
from minirep.architecture import build as assemble
from minirep.cli import main
from minirep.errors import MissingExtra
from minirep.fast import available, build, compiled, memory, supports, target
from minirep.fast import threads as teams
from minirep.fast.compiled import CompiledNetwork
from minirep.tree import as_type

JIT_OFF = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
compiled_only = pytest.mark.skipif(JIT_OFF, reason="Numba's compiler is off")


def within_bounds(net, x, threads=1) -> bool:
    """Every stage and every probability is as near to the exact ones as rounding lets them be."""
    fast = CompiledNetwork(net, threads) if available(net) else Plain(net)
    known = list(network_bounds.through_stages(net, x, "float32"))
    found = list(fast.stages(x))
    assert [name for name, _ in found] == [name for name, _ in known]
    for (name, y), (_, k) in zip(found, known):
        error, allowed = np.abs(y - k.value), k.value_error + k.error
        assert y.dtype == np.float32 and y.shape == k.value.shape
        assert (error <= allowed).all(), f"{name}: off by {error.max()}, allowed {allowed.max()}"
    plain = network.forward(net, x)
    for head, p in fast(x).items():
        assert p.shape == plain[head].shape
        np.testing.assert_allclose(p, plain[head], rtol=1e-4, atol=1e-6)
    return True


@st.composite
def wide_architectures(draw):
    """Widths around whole vectors and panels, one or two stages, any kernels and strides."""
    kind = draw(st.sampled_from((REP, INCEPTION)))
    stages = draw(st.integers(1, 2))
    sizes = st.lists(st.integers(0, 12).map(lambda n: 2 * n + 1), min_size=2, max_size=2).map(tuple)
    return Architecture(
        kind=kind,
        width=draw(st.sampled_from((1, 3, 4, 8, 15, 16, 17, 24, 33, 64, 80))),
        depths=(1,) * stages,
        time_kernels=tuple(draw(sizes) for _ in range(stages)),
        freq_kernels=tuple(draw(sizes) for _ in range(stages)),
        time_strides=tuple(draw(st.integers(1, 3)) for _ in range(stages)),
        freq_strides=tuple(draw(st.integers(1, 3)) for _ in range(stages)),
        expansion=draw(st.integers(1, 4)),
        heads={"class": 3},
        frames=32,
        order=draw(st.sampled_from(ORDERS)),
    )


@given(
    wide_architectures(), st.integers(0, 99), st.tuples(*[st.integers(1, n) for n in (3, 70, 70)]), st.integers(1, 4)
)
def test_any_shape_equals_the_plain_backend(arch, seed, shape, threads):
    net = float_network(arch, seed)
    for form in (net, fuse(net)):
        assert within_bounds(form, log_mels(shape, seed), threads)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    "width, frames, mels",
    [(16, 4 * 239, 4), (16, 4 * 240, 4), (16, 4 * 241, 4), (72, 60, 120), (136, 20, 12), (300, 9, 5)],
    ids=lambda n: str(n),
)
@pytest.mark.parametrize("kind", [REP, INCEPTION])
def test_tiles_panels_and_depths_that_end_anywhere(kind, width, frames, mels, threads):
    """Rows around a tile's 240, and sums over 1200 channels, which is more than the 512 taken at a time."""
    arch = Architecture(kind, width, (1,), ((21, 3),), ((5, 3),), (1,), (1,), heads={"class": 2}, frames=32)
    net = float_network(arch, width)
    for form in (net, fuse(net)):
        assert within_bounds(form, log_mels((1, frames, mels), 0), threads)


def test_the_published_architecture():
    for kind in (REP, INCEPTION):
        net = random_network(Architecture(kind, 8, frames=64, heads={"verb": 5, "noun": 7}))
        assert within_bounds(net, log_mels((2, 100, 128), 0), threads=2)
        assert within_bounds(fuse(net), log_mels((1, 64, 128), 0), threads=2)


@compiled_only
def test_results_belong_to_the_caller():
    """The next call computes in the same memory and must not write into what an earlier one returned."""
    net = random_network(Architecture(REP, 8, frames=64, heads={"class": 5}))
    fast, x = CompiledNetwork(net), log_mels((1, 64, 128), 0)
    probabilities, walked = fast(x)["class"], list(fast.walk(x))
    before = probabilities.copy(), [y.copy() for _, y in walked]
    fast(x + 1), list(fast.walk(x + 1))
    assert np.array_equal(probabilities, before[0])
    assert all(np.array_equal(y, b) for (_, y), b in zip(walked, before[1]))


@compiled_only
def test_plans_are_kept_for_the_latest_shapes_alone():
    fast = CompiledNetwork(random_network(Architecture(REP, 4, frames=64, heads={"class": 2})))
    for frames in range(32, 32 + 3 * compiled.PLANS):
        fast(log_mels((1, frames, 128), 0))
    assert len(fast._known) == compiled.PLANS and (1, frames, 128) in fast._known


@compiled_only
@given(st.lists(st.tuples(st.integers(0, 35), st.integers(0, 35)), min_size=1, max_size=4), SEEDS)
def test_nan_reaches_the_same_places_of_the_stem(places, seed):
    """Whatever neighbour of a pooling window is NaN, its maximum is."""
    net = float_network(Architecture(REP, 5, (1,), ((3,),), ((3,),), (1,), (1,), heads={"class": 2}, frames=36), seed)
    x = log_mels((1, 36, 36), seed)
    for t, f in places:
        x[0, t, f] = np.nan
    (_, y), *_ = CompiledNetwork(net).stages(x)
    (_, plain), *_ = network.stages(net, x)
    assert np.isnan(plain).any() and np.array_equal(np.isnan(y), np.isnan(plain))


def with_logits(values):
    """A network whose head says ``values``, whatever it hears."""
    arch = Architecture(width=4, depths=(1,), time_kernels=((3,),), freq_kernels=((3,),), time_strides=(1,),
                        freq_strides=(1,), heads={"class": len(values)}, frames=32)  # fmt: skip
    net = random_network(arch)
    head = net.heads["class"]
    silent = replace(head, weight=np.zeros_like(head.weight), bias=np.array(values, np.float32))
    return replace(net, heads={"class": silent})


@compiled_only
@given(
    st.lists(st.floats(-2e4, 2e4, width=32) | st.floats(-20, 20, width=32), min_size=1, max_size=40),
    st.integers(1, 6),
)
def test_softmax_of_any_logits(values, positions):
    """Some 2^-24 of relative error for each step of an exponential, and for each number that is added up."""
    net = with_logits(values)
    p = CompiledNetwork(net)(log_mels((2, 4 * (net.pool[0] + positions - 1), 4 * net.pool[1]), 0))["class"]
    exact = ops.softmax(np.float64(values))
    assert p.shape == (2, len(values))
    np.testing.assert_allclose(p, np.stack([exact, exact]), rtol=(10 + len(values) + positions) * 2**-24, atol=1e-37)


@compiled_only
@pytest.mark.parametrize("values", [(np.nan, 0, 1), (np.inf, 0, 1), (-np.inf, -np.inf), (0.0, np.nan) * 9])
def test_softmax_of_what_is_no_number(values):
    assert np.isnan(CompiledNetwork(with_logits(values))(log_mels((1, 32, 128), 0))["class"]).all()


@given(st.integers(1, 70), st.integers(1, 300), st.integers(0, 99))
def test_packing_only_moves_weights(k, n, seed):
    weight = np.random.default_rng(seed).normal(size=(k, n)).astype(np.float32)
    packed = memory.pack_matrix(weight)
    assert packed.ctypes.data % memory.CACHE_LINE == 0 and packed.size == k * memory.padded(n)
    column = 0
    while column < n:
        width = memory.panel_width(memory.padded(n) - column)
        panel = packed[column * k : (column + width) * k].reshape(k, width)
        assert np.array_equal(panel[:, : n - column], weight[:, column : column + width])
        assert not panel[:, n - column :].any()
        column += width
    kernel = memory.pack_kernel(weight)
    taps = kernel[:, memory.BORDER : memory.BORDER + k].transpose(1, 0, 2).reshape(k, -1)
    assert np.array_equal(taps[:, :n], weight) and kernel.sum(dtype=float) == pytest.approx(
        weight.sum(dtype=float), abs=1e-3
    )


def test_any_number_of_threads_gives_the_same():
    net = fuse(random_network(Architecture(width=16, frames=64, heads={"class": 9})))
    x = log_mels((1, 64, 128), 0)
    one, two, five = (Classifier(net, RECIPES["nsynth"], threads=n).probabilities(x)["class"] for n in (1, 2, 5))
    np.testing.assert_allclose(two, one, rtol=1e-5)
    np.testing.assert_allclose(five, one, rtol=1e-5)


def test_what_is_not_a_number_is_not_hidden():
    net = random_network(Architecture(width=4, depths=(1,), time_kernels=((3,),), freq_kernels=((3,),),
                                      time_strides=(1,), freq_strides=(1,), heads={"class": 2}, frames=32))  # fmt: skip
    block = net.stages[0][0]
    expand, project = block.expand_project
    broken = replace(block, expand_project=(expand, replace(project, weight=np.full_like(project.weight, np.nan))))
    broken = replace(net, stages=((broken,),))
    assert np.isnan(CompiledNetwork(broken)(log_mels((1, 32, 128), 0))["class"]).all()
    with pytest.raises(MinirepError, match="head class: found NaN among the probabilities"):
        Classifier(broken, RECIPES["nsynth"]).probabilities(log_mels((1, 32, 128), 0))


# --- threads ------------------------------------------------------------------------------------------------------


def small_classifier(**options):
    return Classifier(
        random_network(Architecture(width=8, heads={"class": 4}, frames=32)), RECIPES["nsynth"], **options
    )


def test_several_python_threads_share_a_classifier():
    clf = small_classifier(threads=2)
    inputs = [log_mels((1 + i % 3, 32 + 16 * (i % 2), 128), i) for i in range(12)]
    expected = [clf.probabilities(x)["class"] for x in inputs]
    wrong = []

    def work(first):
        for turn in range(20):
            i = (first + turn) % len(inputs)
            if not np.allclose(clf.probabilities(inputs[i])["class"], expected[i], rtol=1e-5, atol=1e-7):
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(first,)) for first in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def _in_child(clf, x, queue):
    queue.put(clf.probabilities(x)["class"])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own():
    clf, x = small_classifier(threads=2), log_mels((2, 32, 128), 0)
    expected = clf.probabilities(x)["class"]  # the parent's team exists from here on
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(clf, x, queue))
    child.start()
    np.testing.assert_allclose(queue.get(timeout=60), expected, rtol=1e-5)
    child.join()


def test_the_number_of_threads(monkeypatch):
    monkeypatch.delenv("MINIREP_NUM_THREADS", raising=False)
    assert 1 <= teams.allowed_threads() <= (os.cpu_count() or 1)
    monkeypatch.setenv("MINIREP_NUM_THREADS", "3")
    assert teams.allowed_threads() == 3 and teams.allowed_threads(2) == 2
    for bad in ("0", "many", "-1", "1000"):
        monkeypatch.setenv("MINIREP_NUM_THREADS", bad)
        with pytest.raises(MinirepError, match=f"MINIREP_NUM_THREADS: found '{bad}', expected a whole number"):
            teams.allowed_threads()
    with pytest.raises(MinirepError, match="threads: found 0"):
        teams.allowed_threads(0)


def test_threads_as_far_as_there_is_work_for_them(monkeypatch):
    monkeypatch.delenv("MINIREP_NUM_THREADS", raising=False)
    monkeypatch.setattr(teams, "allowed_cores", lambda: 3)
    net = fuse(random_network(Architecture(width=8, heads={"class": 3}, frames=32)))

    def threads(shape, asked=None):
        compiled = CompiledNetwork(net, asked)
        compiled(log_mels(shape, 0))
        (plan, _) = compiled._known[shape]
        return plan.threads

    small, large = (1, 32, 128), (40, 200, 128)
    assert threads(small) == 1 and threads(large) == 3
    assert threads(small, asked=2) == 2, "who asks for two gets two"
    monkeypatch.setenv("MINIREP_NUM_THREADS", "2")
    assert threads(small) == threads(large) == 2


@pytest.mark.parametrize(
    "files, cores",
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "nonsense"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_a_container(tmp_path, files, cores):
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert teams._quota(str(tmp_path)) == cores


# --- which backend ------------------------------------------------------------------------------------------------


@compiled_only
def test_numba_is_the_automatic_choice():
    assert small_classifier().backend == small_classifier(backend="numba").backend == "numba"
    assert small_classifier(backend="numpy").backend == "numpy"


def test_what_the_kernels_do_not_cover_goes_to_numpy():
    net = random_network(Architecture(width=2, depths=(1,) * 4, heads={"class": 2}, frames=32))
    assert supports(net)
    double = as_type(net, np.float64)
    even = assemble(Architecture(width=2, heads={"class": 2}), lambda name, shape: np.ones(shape, np.float32))
    even = network.Network(network.Conv(np.ones((4, 4, 1, 2), np.float32)), even.stages, even.pool, even.heads)
    for other in (double, even):
        assert not supports(other)
        assert Classifier(other, RECIPES["nsynth"], backend="numba").backend == "numpy"


def test_without_numba(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "minirep.fast", None)
    monkeypatch.delattr("minirep.fast", raising=False)
    assert small_classifier().backend == "numpy"
    wanting = small_classifier(backend="numba")  # the backend is chosen at its first use
    with pytest.raises(MissingExtra, match=r"pip install 'minirep\[fast\]'"):
        wanting.prepare()
    with pytest.raises(MissingExtra):
        wanting.probabilities(log_mels((1, 32, 128), 0))
    save(wanting, tmp_path / "model.npz")
    with pytest.raises(MissingExtra):
        load(tmp_path / "model.npz", backend="numba")


@compiled_only
def test_a_numba_that_cannot_be_imported(monkeypatch, tmp_path):
    (tmp_path / "numba.py").write_text("raise ImportError('Numba needs NumPy 9.9 or less.\\nGot NumPy 10.0.')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    monkeypatch.setattr(build, "kept", lambda: False)
    assert small_classifier().backend == "numpy"
    with pytest.raises(MinirepError, match=r"cannot be imported: Numba needs NumPy 9.9 or less.$"):
        small_classifier(backend="numba").prepare()


def test_a_classifier_travels_between_processes():
    clf, x = small_classifier(threads=1), log_mels((1, 32, 128), 0)
    again = pickle.loads(pickle.dumps(clf))
    assert again.threads == 1 and again.backend == clf.backend
    assert np.array_equal(again.probabilities(x)["class"], clf.probabilities(x)["class"])


# --- the compiled program -----------------------------------------------------------------------------------------


@compiled_only
def test_a_cache_that_cannot_be_written_or_is_damaged_costs_only_time(monkeypatch, tmp_path):
    code = build._read() or build._compile()
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder")
    monkeypatch.setattr(build, "_folders", lambda: [in_the_way / "cache"])
    build._keep(code)
    assert build._read() is None and not build.kept()
    monkeypatch.setattr(build, "_folders", lambda: [in_the_way / "cache", tmp_path / "cache"])
    build._keep(code)
    assert build._read() == code
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    assert build._read() is None


PROGRAM = textwrap.dedent(
    """
    import sys
    import numpy as np
    from minirep import RECIPES, Classifier, fuse, network, random_network
    from minirep.architecture import Architecture, INCEPTION, REP
    for kind in (REP, INCEPTION):
        for width in (4, 20):
            kernels = ((21, 11, 3), (5, 3, 3))
            arch = Architecture(kind, width, (1, 1), kernels, kernels, (1, 2), (1, 2), heads={"class": 5}, frames=32)
            net = random_network(arch)
            x = np.random.default_rng(0).normal(-5, 3, (2, 50, 128)).astype(np.float32)
            for form in (net, fuse(net)):
                clf = Classifier(form, RECIPES["nsynth"])
                assert clf.backend == sys.argv[1], clf.backend
                np.testing.assert_allclose(clf.probabilities(x)["class"], network.forward(form, x)["class"], rtol=1e-4)
    if sys.argv[1] == "numba":
        from minirep.fast import target
        print(target.LANES, "numba" in sys.modules)
    """
)


def in_another_process(tmp_path, backend, **environment):
    here = {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    environment = {**os.environ, **here, **environment}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, backend], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@compiled_only
def test_the_next_process_does_not_need_numba(tmp_path):
    assert in_another_process(tmp_path, "numba") == [str(target.LANES), "True"]
    assert in_another_process(tmp_path, "numba") == [str(target.LANES), "False"]


@compiled_only
def test_any_computer_of_this_kind(tmp_path):
    """Code for the plainest processor of this family, with the narrowest vectors."""
    lanes, _ = in_another_process(tmp_path, "numba", NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")
    assert lanes == "4"


@compiled_only
@pytest.mark.skipif("+avx2" not in target.FEATURES, reason="no AVX2 here")
def test_the_vectors_of_avx2(tmp_path):
    lanes, _ = in_another_process(tmp_path, "numba", NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES="+avx2,+fma")
    assert lanes == "8"


def test_with_the_compiler_off(tmp_path):
    in_another_process(tmp_path, "numpy", NUMBA_DISABLE_JIT="1")


# --- minirep bench ------------------------------------------------------------------------------------------------


@compiled_only
def test_bench_adds_up(tmp_path, capsys):
    path = str(tmp_path / "model.npz")
    net = random_network(Architecture(width=2, depths=(1,) * 4, heads={"class": 11}, frames=416))
    save(Classifier(net, RECIPES["nsynth"]), path)
    assert main(["bench", path, "--threads", "1,2", "--repeat", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(r["backend"], r["threads"]) for r in found["results"]] == [("numpy", None), ("numba", 1), ("numba", 2)]
    for result in found["results"]:
        assert [p["name"] for p in result["parts"]] == ["stem", "stage1", "stage2", "stage3", "stage4", "whole"]
        assert all(p["seconds"] > 0 and p["flops"] > 0 for p in result["parts"])
    assert main(["bench", path, "--threads", "1", "--repeat", "1"]) == 0
    assert "GFLOP/s" in capsys.readouterr().out
    for bad in (["--threads", "0"], ["--threads", "1,x"], ["--repeat", "0"], ["--batch", "0"]):
        assert main(["bench", path, *bad]) == 2
