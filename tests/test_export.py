"""Models for other programs: .onnx in ONNX Runtime and OpenVINO, .safetensors, and PyTorch."""

import dataclasses
import io
import json
import os
import struct
import sys
from pathlib import Path

import network_bounds
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS, architectures, float_network, log_mels
from trees import same

import minirep
from minirep import RECIPES, Architecture, Classifier, MinirepError, Recipe, fuse, load, random_network, save
from minirep.architecture import INCEPTION, REP
from minirep.cli import main
from minirep.files.modelfile import Model, read_model, write_model
from minirep.files.onnxfile import read_onnx, write_onnx
from minirep.files.safetensorsfile import read_arrays
from minirep.network import forward
from minirep.proof import bounds
from minirep.tree import as_type, map_tree, named_arrays

RECIPE = Recipe("tiny", 8000, 0.64, 20, 10, 64, 2, {"verb": 2, "noun": 3})
LABELS = {"verb": ("cut", "öffnen"), "noun": ("三", "a b", "door")}
KINDS = pytest.mark.parametrize("kind", [REP, INCEPTION])
BRANCHES = pytest.mark.parametrize("branches", [False, True], ids=["merged", "branches"])


def tiny(kind=REP, seed=0) -> Model:
    """A network of two stages with two heads and kernels of several sizes, and what belongs to it."""
    kernels = ((5, 3), (9, 1)), ((3, 7), (5, 3))
    arch = Architecture(kind, 3, (1, 2), *kernels, (1, 2), (1, 2), 2, RECIPE.heads, RECIPE.frames)
    return Model(random_network(arch, seed), RECIPE, LABELS, {"source": "chance"})


def runtimes(path) -> dict:
    """{name: the exported file as a function from its input to its outputs} of every runtime that is installed."""
    found = {}
    if "onnxruntime" in sys.modules or pytest.importorskip("onnxruntime"):
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        found["onnxruntime"] = lambda x: session.run(None, {session.get_inputs()[0].name: x})
    try:
        import openvino
    except ImportError:
        return found
    hints = {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY"}
    compiled = openvino.Core().compile_model(str(path), "CPU", hints)
    return found | {"openvino": lambda x: list(compiled(x).values())}


def expect_within_bound(network, path, x):
    """The exported file's probabilities lie as close to the exact ones as the bound of the whole network allows."""
    known = network_bounds.network_logits(network, x, np.float32)
    exact = forward(as_type(network, np.float64), x)
    for name, run in runtimes(path).items():
        for (head, p), found in zip(exact.items(), run(x), strict=True):
            assert found.shape == p.shape and found.dtype == np.float32
            assert (np.abs(p - found) <= bounds.probabilities(known[head]) + 1e-12).all(), (name, head)


# --- ONNX: the same function ------------------------------------------------------------------------------------------


@KINDS
@BRANCHES
def test_an_exported_network_is_the_same_function(tmp_path, kind, branches):
    """Any batch and any number of frames; a single frame is far less than the head's pooling window."""
    pytest.importorskip("onnx")
    model, path = tiny(kind), tmp_path / "net.onnx"
    write_onnx(path, model, branches)
    for n, frames in ((2, 64), (1, 1), (3, 17), (1, 150)):
        x = log_mels((n, frames, 128), n)
        expect_within_bound(model.network, path, x)
        for name, run in runtimes(path).items():
            for (head, p), found in zip(forward(model.network, x).items(), run(x)):
                assert np.abs(p - found).max() < 1e-6, (name, head, frames)


def test_a_picture_smaller_than_the_window_along_both_axes(tmp_path):
    pytest.importorskip("onnx")
    kernels, strides = ((3, 1),) * 3, (4, 4, 4)
    network = random_network(Architecture(REP, 2, (1, 1, 1), kernels, kernels, strides, strides, frames=256))
    write_onnx(tmp_path / "net.onnx", Model(network, None, {}, {}))
    expect_within_bound(network, tmp_path / "net.onnx", log_mels((2, 100, 128), 0))


@settings(max_examples=12)
@given(architectures(stages=2, blocks=2), SEEDS, st.booleans(), st.integers(1, 70))
def test_any_architecture_is_within_its_bound(tmp_path_factory, arch, seed, branches, frames):
    pytest.importorskip("onnx")
    path = tmp_path_factory.mktemp("any") / "net.onnx"
    network = float_network(arch, seed)
    write_onnx(path, Model(network, None, {}, {}), branches)
    expect_within_bound(network, path, log_mels((2, frames, 128), seed))


@KINDS
@BRANCHES
def test_the_model_is_found_in_the_file_again(tmp_path, kind, branches):
    """Every weight, bit for bit; recipe, labels, provenance and version are in the metadata."""
    onnx = pytest.importorskip("onnx")
    model, path = tiny(kind), tmp_path / "net.onnx"
    write_onnx(path, model, branches)
    back, proto = read_onnx(path)
    assert same(back.network, model.network if branches else fuse(model.network)) and back[1:] == model[1:]
    about = {entry.key: entry.value for entry in proto.metadata_props}
    assert about["minirep"] == proto.producer_version == minirep.__version__
    assert json.loads(about["labels"])["noun"] == ["三", "a b", "door"] and json.loads(about["recipe"])["rate"] == 8000
    onnx.checker.check_model(str(path), full_check=True)
    assert [output.name for output in proto.graph.output] == ["verb", "noun"]
    assert [d.dim_param or d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim] == ["N", "T", 128]
    kinds = {node.op_type for node in proto.graph.node}
    assert ("BatchNormalization" in kinds) == branches


def test_a_collapse_is_exported(tmp_path):
    """AudioInceptionNeXt's expand and project are one convolution: that is what makes the merged file fast."""
    pytest.importorskip("onnx")
    convolutions = []
    for branches in (False, True):
        write_onnx(tmp_path / "net.onnx", tiny(INCEPTION), branches)
        _, proto = read_onnx(tmp_path / "net.onnx")
        convolutions.append(sum(node.op_type == "Conv" for node in proto.graph.node))
    assert convolutions[0] == convolutions[1] - 3  # one less in each of the three blocks


@pytest.mark.parametrize("name", ["tiny", "speech-commands-v2"])
def test_samples_in_give_the_front_end_to_the_last_bits(tmp_path, name):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = tiny()
    recipe = RECIPE if name == "tiny" else dataclasses.replace(RECIPES[name], heads=RECIPE.heads)
    model, path = model._replace(recipe=recipe), tmp_path / "net.onnx"
    write_onnx(path, model, samples=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    sizes = np.array([[0.3], [1e-2], [1e-4], [0]], np.float32)
    x = sizes * np.random.default_rng(0).normal(size=(4, recipe.clip - 1)).astype(np.float32)
    found = session.run(None, {"samples": x})
    views = np.concatenate([minirep.log_mel_views(clip, recipe.rate, recipe, 1) for clip in x])
    for p, expected in zip(found, forward(as_type(model.network, np.float64), views).values()):
        assert np.abs(p - expected).max() < 1e-6
    report = verified(tmp_path, path, model)
    assert report["within"]
    (row,) = (rows[0] for where, rows in report["backends"].items() if where.endswith("samples"))
    assert row["rounding"]["ulps"] <= 1


def test_half_and_double_precision(tmp_path):
    """float16 is widened, which changes no weight; float64 would be rounded, so it is refused."""
    pytest.importorskip("onnx")
    half = as_type(tiny().network, np.float16)
    write_onnx(tmp_path / "net.onnx", tiny()._replace(network=half), branches=True)
    assert same(read_onnx(tmp_path / "net.onnx")[0].network, as_type(half, np.float32))
    double = tiny()._replace(network=as_type(tiny().network, np.float64))
    with pytest.raises(MinirepError, match="found a network in float64, expected float32"):
        write_onnx(tmp_path / "double.onnx", double)
    assert not (tmp_path / "double.onnx").exists()


# --- verify --exported ------------------------------------------------------------------------------------------------


def verified(tmp_path, onnx_path, model, status=0) -> dict:
    """What ``minirep verify --exported --json`` prints."""
    write_model(tmp_path / "model.npz", model)
    out = io.StringIO()
    before, sys.stdout = sys.stdout, out
    try:
        assert main(["verify", str(tmp_path / "model.npz"), "--exported", str(onnx_path), "--json"]) == status
    finally:
        sys.stdout = before
    return json.loads(out.getvalue())


def edited(path, change):
    """The file after a change to its protobuf."""
    import onnx

    proto = onnx.load(str(path))
    change(proto)
    onnx.save(proto, str(path))


@pytest.fixture
def both():
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")


@KINDS
@BRANCHES
def test_verify_accepts_an_export(tmp_path, both, capsys, kind, branches):
    write_onnx(tmp_path / "net.onnx", tiny(kind), branches)
    report = verified(tmp_path, tmp_path / "net.onnx", tiny(kind))
    assert report["within"] and report["given"]["exact"] == report["given"]["total"]
    assert any(where.startswith("ONNX Runtime") for where in report["backends"])
    assert main(["verify", str(tmp_path / "model.npz"), "--exported", str(tmp_path / "net.onnx")]) == 0
    assert "weights are the model's" in capsys.readouterr().out


def initializer(proto, name):
    return next(tensor for tensor in proto.graph.initializer if tensor.name == name)


def scale_weight(proto):
    import onnx

    tensor = initializer(proto, "stages.1.0.entry.weight")
    array = onnx.numpy_helper.to_array(tensor).copy()
    array.flat[0] *= np.float32(1.001)
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))


def bypass(kind, last=True):
    """A change that leaves out a node of a kind."""

    def change(proto):
        nodes = [node for node in proto.graph.node if node.op_type == kind]
        gone = nodes[-1 if last else len(nodes) // 2]
        for node in proto.graph.node:
            for i, name in enumerate(node.input):
                if name == gone.output[0]:
                    node.input[i] = gone.input[0]
        if gone.output[0].startswith("stages"):  # a block's own output keeps its name
            gone.op_type = "Identity"
        else:
            proto.graph.node.remove(gone)

    return change


def attribute(kind, name, values):
    """A change of an attribute of the last node of a kind."""

    def change(proto):
        node = [node for node in proto.graph.node if node.op_type == kind][-1]
        found = next(a for a in node.attribute if a.name == name)
        del found.ints[:]
        found.ints.extend(values)

    return change


def metadata(key, edit):
    """A change of an entry of the metadata."""

    def change(proto):
        entry = next(entry for entry in proto.metadata_props if entry.key == key)
        value = json.loads(entry.value)
        edit(value)
        entry.value = json.dumps(value)

    return change


WRONG = {
    "a weight": (scale_weight, "stages.1.0.entry.weight, input 0, output 0"),
    "a ReLU less": (bypass("Relu", last=False), "in ONNX Runtime"),
    "no ReLU at the end": (bypass("Relu"), "stages.1.1 in ONNX Runtime"),
    "no softmax": (bypass("Softmax"), "probabilities.noun in ONNX Runtime"),
    "the window's scale": (bypass("Mul"), "probabilities.verb in ONNX Runtime"),
    "a window of one frame": (attribute("AveragePool", "kernel_shape", [1, 4]), "probabilities.verb in ONNX Runtime"),
    "labels": (metadata("labels", lambda v: v["noun"].reverse()), "labels.noun"),
    "recipe": (metadata("recipe", lambda v: v.update(rate=9000)), "recipe"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_verify_refuses_a_wrong_export(tmp_path, both, wrong):
    change, where = WRONG[wrong]
    write_onnx(tmp_path / "net.onnx", tiny())
    edited(tmp_path / "net.onnx", change)
    report = verified(tmp_path, tmp_path / "net.onnx", tiny(), status=1)
    assert any(where in line for line in report["outside"]), report["outside"]


def test_verify_refuses_another_model(tmp_path, both):
    write_onnx(tmp_path / "net.onnx", tiny(seed=1))
    outside = verified(tmp_path, tmp_path / "net.onnx", tiny(), status=1)["outside"]
    assert any("(the exported model)" in line for line in outside)


def test_a_front_end_that_is_off_is_refused(tmp_path, both):
    import onnx

    def change(proto):
        node = next(node for node in proto.graph.node if node.op_type == "STFT")
        tensor = initializer(proto, node.input[2])
        window = onnx.numpy_helper.to_array(tensor)
        tensor.CopyFrom(onnx.numpy_helper.from_array(window * (1 + 1e-5), tensor.name))

    write_onnx(tmp_path / "net.onnx", tiny(), samples=True)
    edited(tmp_path / "net.onnx", change)
    outside = verified(tmp_path, tmp_path / "net.onnx", tiny(), status=1)["outside"]
    assert any(line.startswith("log_mels in ONNX Runtime") for line in outside)


@pytest.mark.parametrize("option", ["--merged", "--exported"])
def test_names_from_another_file_stay_on_their_line(tmp_path, monkeypatch, capsys, option):
    """A label may hold line breaks and escape sequences; the report prints neither."""
    monkeypatch.chdir(tmp_path)
    labels = LABELS | {"verb": ("\x1b[31mX\nY", "öffnen")}
    other = tiny()._replace(network=fuse(tiny().network), labels=labels)
    write_model("model.npz", tiny())
    if option == "--exported":
        pytest.importorskip("onnx")
        write_onnx("other", other)
    else:
        write_model("other", other)
    assert main(["verify", "model.npz", option, "other"]) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out and "NOT WITHIN ITS BOUND: labels.verb.0: found '\\x1b[31mX\\nY', expected" in out


def test_an_onnx_is_no_model(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"")
    with pytest.raises(MinirepError, match=r"net\.onnx: found an \.onnx, which is for other programs"):
        load(tmp_path / "net.onnx")


def test_files_that_are_no_export(tmp_path, both, capsys):
    write_model(tmp_path / "model.npz", tiny())
    write_onnx(tmp_path / "net.onnx", tiny())
    content = (tmp_path / "net.onnx").read_bytes()
    changes = {
        "renamed": lambda proto: setattr(initializer(proto, "stem.weight"), "name", "w"),
        "bare": lambda proto: proto.ClearField("metadata_props"),
        "block": lambda proto: setattr(proto.graph.node[3], "op_type", "NoSuchOperator"),
        "output": lambda proto: setattr(proto.graph.output[0], "name", "stem"),
        "swapped": lambda proto: proto.graph.output.reverse(),
        "outputs": lambda proto: proto.graph.ClearField("output"),
        "input": lambda proto: proto.graph.input.append(proto.graph.output[0]),
        "array": lambda proto: proto.graph.initializer.insert(0, proto.graph.initializer[0]),
        "metadata": lambda proto: proto.metadata_props.append(proto.metadata_props[0]),
    }
    for name, change in changes.items():
        (tmp_path / f"{name}.onnx").write_bytes(content)
        edited(tmp_path / f"{name}.onnx", change)
    (tmp_path / "cut.onnx").write_bytes(content[:-1000])
    (tmp_path / "text.onnx").write_bytes(b"hello")
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "folder.onnx").mkdir()
    for name in (*changes, "cut", "text", "empty", "folder", "missing"):
        path = str(tmp_path / f"{name}.onnx")
        assert main(["verify", str(tmp_path / "model.npz"), "--exported", path]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"minirep: error: {path}: ") and error.count("\n") == 1, error


# --- .safetensors -----------------------------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("form", ["stored", "merged", "half"])
def test_safetensors_come_back_bit_for_bit(tmp_path, kind, form):
    model, path = tiny(kind), tmp_path / "net.safetensors"
    if form == "merged":
        model = model._replace(network=fuse(model.network))
    write_model(path, model, half=form == "half")
    assert struct.unpack("<Q", path.read_bytes()[:8])[0] % 8 == 0  # so the numbers are aligned
    back = read_model(path)
    expected = as_type(as_type(model.network, np.float16), np.float32) if form == "half" else model.network
    assert same(back.network, expected) and back[1:] == model[1:]
    clf = load(path, fused=False)
    save(clf, tmp_path / "again.safetensors", half=form == "half")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    assert same(load(path).network, fuse(expected))
    write_model(tmp_path / "model.npz", back)  # and both formats hold the same
    assert same(read_model(tmp_path / "model.npz").network, back.network)


def test_a_safetensors_is_known_by_its_content_too(tmp_path):
    write_model(tmp_path / "net.safetensors", tiny())
    (tmp_path / "net.bin").write_bytes((tmp_path / "net.safetensors").read_bytes())
    assert same(load(tmp_path / "net.bin", fused=False).network, tiny().network)


def test_the_official_package_reads_and_rewrites_them(tmp_path):
    official = pytest.importorskip("safetensors.numpy")
    from safetensors import safe_open

    path, again = tmp_path / "net.safetensors", tmp_path / "again.safetensors"
    write_model(path, tiny())
    arrays = official.load_file(path)
    own = named_arrays(tiny().network)
    assert arrays.keys() == own.keys() and all(same(arrays[name], own[name]) for name in own)
    with safe_open(path, "np") as file:
        about = file.metadata()
    assert about["format"] == "minirep model" and json.loads(about["labels"])["verb"] == ["cut", "öffnen"]
    official.save_file(arrays, again, about)
    assert same(read_model(again).network, tiny().network) and read_model(again)[1:] == tiny()[1:]
    official.save_file(arrays, again)
    with pytest.raises(MinirepError, match="no header of minirep in its metadata"):
        read_model(again)


def take_apart(content: bytes) -> tuple[dict, bytes]:
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def put_together(header, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(header, **changes):
    header["stem.weight"] |= changes


DAMAGE = {  # a change to (header, data), and what the error says
    "overlap": (lambda h, d: entry(h, data_offsets=h["stem.bn.scale"]["data_offsets"]), "expected as many bytes"),
    "behind the end": (lambda h, d: entry(h, data_offsets=[1 << 40, (1 << 40) + 420]), "expected as many bytes"),
    "negative": (lambda h, d: entry(h, data_offsets=[-420, 0]), "expected as many bytes"),
    "negative shape": (lambda h, d: entry(h, shape=[-5, -7, 1, 3]), "expected as many bytes"),
    "huge shape": (lambda h, d: entry(h, shape=[1 << 62, 1 << 62]), "expected as many bytes"),
    "another shape": (lambda h, d: entry(h, shape=[7, 5, 1, 3]), r"found float32 \(7, 5, 1, 3\), expected"),
    "many axes": (lambda h, d: entry(h, shape=[1] * 100), "expected as many bytes"),
    "fractions": (lambda h, d: entry(h, shape=[5.0, 7, 1, 3]), "expected as many bytes"),
    "type": (lambda h, d: entry(h, dtype="I64"), "found type 'I64', expected F16, F32, F64"),
    "size of the type": (lambda h, d: entry(h, dtype="F64"), "expected as many bytes"),
    "missing": (lambda h, d: h.pop("stem.weight"), "expected as many bytes"),
    "no places": (lambda h, d: h.update({"stem.weight": {}}), "not a minirep model: KeyError"),
    "a list": (lambda h, d: h.update({"stem.weight": []}), "not a minirep model: TypeError"),
    "metadata": (lambda h, d: h.update(__metadata__={"format": 3}), "expected a dictionary of text"),
    "format": (lambda h, d: h["__metadata__"].update(format="pt"), "no header of minirep"),
    "version": (lambda h, d: h["__metadata__"].update(version="9"), "version 9"),
    "tree": (lambda h, d: h["__metadata__"].update(network="{"), "not a minirep model"),
    "deep tree": (lambda h, d: h["__metadata__"].update(network="[" * 9999), "not a"),
    "values": (lambda h, d: h["__metadata__"].update(network=f"[{'0,' * 300_000}0]"), "values; expected at most"),
    "surplus": (lambda h, d: (h.update(surplus={"dtype": "F32", "shape": [2], "data_offsets": [len(d), len(d) + 8]}),
                              d.extend(bytes(8))), "header does not name: surplus"),
    "trailing": (lambda h, d: d.extend(b"more"), "bytes of numbers, expected"),
    "cut": (lambda h, d: d.pop(), "bytes of numbers, expected|expected as many bytes"),
    "NaN": (lambda h, d: d.__setitem__(slice(0, 4), struct.pack("<f", np.nan)), "array stem.weight holds NaN"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_safetensors_is_named(tmp_path, damage):
    path, (change, message) = tmp_path / "net.safetensors", DAMAGE[damage]
    write_model(path, tiny())
    header, data = take_apart(path.read_bytes())
    data = bytearray(data)
    change(header, data)
    path.write_bytes(put_together(header, bytes(data)))
    with pytest.raises(MinirepError, match=message) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"PK", bytes(8), b"\xff" * 8 + b"{}", struct.pack("<Q", 3) + b"{}",
                                     put_together(b"[]", b""), put_together(b"\xff\xfe", b"")])  # fmt: skip
def test_what_is_no_safetensors(tmp_path, content):
    (tmp_path / "net.safetensors").write_bytes(content)
    with pytest.raises(MinirepError, match=r"net\.safetensors: "):
        load(tmp_path / "net.safetensors")


def test_a_header_is_bounded_before_it_is_read(tmp_path):
    """Sizes that a file only claims allocate nothing."""

    class Claims(io.BytesIO):
        def read(self, n=-1):
            assert n <= 9, "the header was read"
            return super().read(n)

    for length in (1 << 40, 1 << 23):
        with pytest.raises(MinirepError, match="found a header of"):
            read_arrays(Claims(struct.pack("<Q", length)), 1 << 24, json.loads, 1 << 22)


@settings(max_examples=100)
@given(st.data())
def test_mutated_safetensors_give_a_model_or_one_clear_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("mutated") / "net.safetensors"
    write_model(path, tiny()._replace(network=fuse(tiny().network)))
    content = bytearray(path.read_bytes())
    header = struct.unpack("<Q", content[:8])[0] + 8
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, header))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        assert isinstance(load(path), Classifier)
    except MinirepError as error:
        assert "\n" not in str(error)


# --- the commands -----------------------------------------------------------------------------------------------------


def test_commands_take_a_safetensors_where_they_take_a_model(tmp_path, capsys):
    source, merged = str(tmp_path / "net.safetensors"), str(tmp_path / "merged.safetensors")
    write_model(source, tiny())
    assert main(["fuse", source, "-o", merged]) == 0
    assert same(read_model(merged).network, fuse(tiny().network))
    assert main(["convert", source, "-o", str(tmp_path / "model.npz"), "--keep-branches"]) == 0
    assert same(read_model(tmp_path / "model.npz").network, tiny().network)
    assert main(["verify", source, "--merged", merged]) == 0
    capsys.readouterr()
    assert main(["info", source, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == "minirep model"
    clip = str(Path(minirep.__file__).parent / "data/demo/nine.wav")
    assert main(["classify", clip, "--model", merged, "--json", "--backend", "numpy"]) == 0


def test_export_writes_both_formats(tmp_path, capsys):
    write_model(tmp_path / "model.npz", tiny())
    arguments = ["export", str(tmp_path / "model.npz"), "-o"]
    for flags, network in (([], fuse(tiny().network)), (["--branches"], tiny().network)):
        assert main([*arguments, str(tmp_path / "net.safetensors"), *flags]) == 0
        assert same(read_model(tmp_path / "net.safetensors").network, network)
    assert "written, not merged" in capsys.readouterr().out
    pytest.importorskip("onnx")
    assert main([*arguments, str(tmp_path / "net.onnx")]) == 0
    assert same(read_onnx(tmp_path / "net.onnx")[0].network, fuse(tiny().network))


@pytest.mark.parametrize("arguments, message", [
    (["-o", "net.bin"], "net.bin: expected a name that ends in .onnx or .safetensors"),
    (["-o", "net.onnx", "--half"], "--half needs a .safetensors"),
    (["-o", "net.safetensors", "--samples"], "--samples an .onnx"),
    (["-o", "model.safetensors"], "is the input file"),
    (["-o", "folder.safetensors"], "found a folder, expected a file"),
    (["-o", "no/such/net.safetensors"], "expected a file in an existing folder"),
])  # fmt: skip
def test_arguments_that_cannot_be_used(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    os.mkdir("folder.safetensors")
    write_model("model.safetensors", tiny())
    assert main(["export", "model.safetensors", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert sorted(os.listdir()) == ["folder.safetensors", "model.safetensors"]


@pytest.mark.parametrize("package, arguments", [
    ("onnx", ["export", "model.npz", "-o", "net.onnx"]),
    ("onnx", ["verify", "model.npz", "--exported", "net.onnx"]),
    ("onnxruntime", ["verify", "model.npz", "--exported", "net.onnx"]),
])  # fmt: skip
def test_a_missing_extra_names_its_install(tmp_path, monkeypatch, capsys, package, arguments):
    monkeypatch.chdir(tmp_path)
    write_model("model.npz", tiny())
    if package == "onnxruntime":
        pytest.importorskip("onnx")
        write_onnx("net.onnx", tiny())
    monkeypatch.setitem(sys.modules, package, None)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "pip install 'minirep[onnx]'" in error and f"package {package}," in error and error.count("\n") == 1


@pytest.mark.parametrize("suffix", ["onnx", "safetensors"])
def test_what_cannot_be_stored_leaves_no_file(tmp_path, suffix):
    if suffix == "onnx":
        pytest.importorskip("onnx")
    write = write_onnx if suffix == "onnx" else write_model
    broken = map_tree(tiny().network, lambda name, x: x * np.nan if name == "stem.weight" else x)
    with pytest.raises(MinirepError, match=r"stem\.weight holds NaN"):
        write(tmp_path / f"net.{suffix}", tiny()._replace(network=broken))
    assert list(tmp_path.iterdir()) == []


def test_a_head_that_cannot_name_an_output_is_refused(tmp_path):
    pytest.importorskip("onnx")
    network = tiny().network
    for head in ("stem", "log_mels", "stages.0.0", ""):
        other = dataclasses.replace(network, heads={head: network.heads["verb"]})
        with pytest.raises(MinirepError, match="not written" if head else "expected a printable name"):
            write_onnx(tmp_path / "net.onnx", Model(other, None, {}, {}))
    assert list(tmp_path.iterdir()) == []


# --- PyTorch ----------------------------------------------------------------------------------------------------------


@KINDS
def test_the_weights_load_into_the_module_of_the_guide(tmp_path, kind):
    """docs/guide/deploy-anywhere.md has a PyTorch module whose state_dict has the names of the exported file."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    page = Path(__file__).parents[1] / "docs/guide/deploy-anywhere.md"
    code = next(block for block in page.read_text("utf-8").split("```python\n") if "class Merged" in block)
    namespace: dict = {}
    exec(code.partition("```")[0], namespace)
    write_onnx(tmp_path / "net.onnx", tiny(kind))
    module = namespace["load_merged"](tmp_path / "net.onnx")
    x = log_mels((2, 64, 128), 0)
    with torch.no_grad():
        found = module(torch.from_numpy(x))
    known = network_bounds.network_logits(tiny(kind).network, x, np.float32)
    for head, p in forward(as_type(tiny(kind).network, np.float64), x).items():
        assert (np.abs(p - found[head].numpy()) <= bounds.probabilities(known[head])).all()
        assert np.abs(p - found[head].numpy()).max() < 1e-6
