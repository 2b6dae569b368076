"""What a training program saves beside weights and settings is skipped: nothing of it is built, called or imported.

`OBJECTS` are written by pickle and by torch.save themselves. Whatever they are, the network is read as without them;
in place of a weight, a setting or a label they are an error that names them.
"""

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import io
import pathlib
import pickle
import random
import sys
import uuid

import numpy as np
import pytest
import pyth
from hypothesis import given
from hypothesis import strategies as st
from malice import MALICE, TRIPWIRE, malicious, tripwire  # noqa: F401  # a fixture
from pyth import Raw
from trees import same

from minirep import MinirepError, read_checkpoint
from minirep.files.checkpoint import read_published, stored_merged
from minirep.files.torchfile import Opaque, Refused, TorchFile, run

SHAPE = {"width": 1, "depths": (1, 1, 1, 1)}
STATE, CONFIG = pyth.published_state(**SHAPE), pyth.config(**SHAPE)


@dataclasses.dataclass
class Settings:
    rate: float = 0.1
    steps: tuple = (1, 2)


class Mode(enum.Enum):
    TRAIN = "train"


Point = collections.namedtuple("Point", "x y")


class Slots:
    __slots__ = ("x",)

    def __init__(self):
        self.x = self


class OwnDict(dict):
    pass


class OwnList(list):
    pass


class Attributes(collections.OrderedDict):
    def __init__(self):
        super().__init__(a=1)
        self.more = {"b": 2}


OBJECTS = {
    "Counter": collections.Counter({80: 1, 100: 1}),
    "defaultdict": collections.defaultdict(list, {"a": [1]}),
    "deque": collections.deque([1, 2, 3], maxlen=5),
    "NumPy scalar": np.float64(0.93),
    "NumPy whole number": np.int64(7),
    "NumPy array": np.arange(12.0).reshape(3, 4),
    "NumPy array of objects": np.array([{}, None]),
    "NumPy dtype": np.dtype("float32"),
    "NumPy random state": np.random.default_rng(0).bit_generator.state,
    "NumPy generator": np.random.default_rng(0),
    "old NumPy random state": np.random.RandomState(0).get_state(),
    "random state": random.Random(0).getstate(),
    "Namespace": argparse.Namespace(lr=0.1, path=pathlib.PurePosixPath("a"), nested=argparse.Namespace(b=1)),
    "set": {1, 2, "x"},
    "frozenset": frozenset({1}),
    "bytes": b"abc",
    "bytearray": bytearray(b"abc"),
    "complex": 1 + 2j,
    "huge number": 1 << 200,
    "very huge number": 1 << 5000,
    "path": pathlib.Path("some/where"),
    "datetime": datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.timezone.utc),
    "timedelta": datetime.timedelta(seconds=5),
    "Decimal": decimal.Decimal("0.1"),
    "Fraction": fractions.Fraction(1, 3),
    "UUID": uuid.UUID(int=5),
    "partial": functools.partial(max, 1, key=abs),
    "function": functools.reduce,
    "class": argparse.ArgumentParser,
    "range": range(5),
    "slice": slice(1, 2),
    "Ellipsis": ...,
    "dataclass": Settings(),
    "enumeration": Mode.TRAIN,
    "named tuple": Point(1, 2),
    "slots and itself": Slots(),
    "own dictionary": OwnDict(a={"b": OwnDict()}),
    "own list": OwnList([1, OwnList()]),
    "ordered with attributes": Attributes(),
    "exception": ValueError("x"),
    "keys": {None: 1, 1.5: 2, (1, "a"): 3, True: 4, b"x": 5, Mode.TRAIN: 6, frozenset(): 7},
    "everything": [{"a": ({1}, [np.float32(1), {"b": Mode.TRAIN}])}, (collections.Counter("aab"),)],
}  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pyth"


@functools.cache
def expected(folder):
    return read_published(pyth.write(folder / "plain.pyth", pyth.checkpoint(STATE, CONFIG)))


def assert_read(path, folder) -> None:
    """The file gives the network, the recipe and the labels that it gives without foreign entries."""
    found, plain = read_published(path), expected(folder)
    assert same(found.network, plain.network) and found[1:3] == plain[1:3]
    assert stored_merged(path) == {}


def refused(path) -> str:
    with pytest.raises(MinirepError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and message.isprintable() and len(message) < 500
    return message


# --- without PyTorch ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", OBJECTS)
def test_foreign_objects_are_skipped(path, tmp_path_factory, name, protocol):
    program = pickle.dumps(OBJECTS[name], protocol)
    start, stop = (2 if protocol < 4 else 11), -1  # between PROTO, and FRAME, and STOP
    value = pyth.checkpoint(STATE, CONFIG, scheduler={"state": Raw(program[start:stop])})
    assert_read(pyth.write(path, value), tmp_path_factory.getbasetemp())


def places(evil) -> dict:
    """Files in which something foreign is in an entry that is read."""
    own = {"recipe": "x", "labels": {"class": ["a", "b", "c"]}}
    state = pyth.tensors(STATE)
    return {
        "all": Raw(b"\x80\x04" + evil + b"."),
        "model_state": {"model_state": evil, "cfg": CONFIG},
        "weight": {"model_state": state | {"s1.pathway0_stem.bn.weight": evil}, "cfg": CONFIG},
        "weight's name": {"model_state": {**state, evil: 1}, "cfg": CONFIG},
        "counter": {"model_state": state | {"s1.pathway0_stem.bn.num_batches_tracked": evil}, "cfg": CONFIG},
        "cfg": {"model_state": state, "cfg": evil},
        "minirep": {"model_state": state, "cfg": CONFIG, "minirep": evil},
        "recipe": {"model_state": state, "cfg": CONFIG, "minirep": {**own, "recipe": evil}},
        "labels": {"model_state": state, "cfg": CONFIG, "minirep": {**own, "labels": evil}},
        "head's labels": {"model_state": state, "cfg": CONFIG, "minirep": {**own, "labels": {"class": evil}}},
        "label": {"model_state": state, "cfg": CONFIG, "minirep": {**own, "labels": {"class": ["a", evil, "c"]}}},
        "head": {"model_state": state, "cfg": CONFIG, "minirep": {**own, "labels": {evil: ["a", "b", "c"]}}},
    }


PLACES = list(places(Raw()))
COUNTER = Raw(b"ccollections\nCounter\n}\x85R")


@pytest.mark.parametrize("place", PLACES)
def test_where_they_are_read_they_are_refused_by_name(path, place):
    pyth.write(path, places(COUNTER)[place])
    message = refused(path)
    assert "'collections.Counter'" in message or place in ("weight's name", "head's labels", "head")
    assert place not in ("weight", "model_state", "cfg", "minirep") or place in message or "s1.pathway0" in message


@pytest.mark.parametrize("place", [*PLACES, "entry", "deep in an entry", "key of an entry"])
@pytest.mark.parametrize("name", MALICE)
def test_nothing_is_run_wherever_it_is(path, tripwire, tmp_path_factory, name, place):  # noqa: F811
    """In an entry that nobody reads the file is read or refused; anywhere else it is refused. The tripwire holds."""
    evil = malicious(MALICE[name], tripwire)
    more = {"entry": {"x": evil}, "deep in an entry": {"x": [{"y": (1, evil)}]}, "key of an entry": {"x": {evil: 1}}}
    pyth.write(path, places(evil)[place] if place in PLACES else pyth.checkpoint(STATE, CONFIG, **more[place]))
    try:
        read = read_published(path)
    except MinirepError as error:
        assert str(error).isprintable()
    else:
        assert place not in PLACES and same(read.network, expected(tmp_path_factory.getbasetemp()).network)
    assert TRIPWIRE not in sys.modules


CALLED = ("os.system", "posix.system", "new protocol", "builtins.exec", "nested getattr", "NEWOBJ", "subprocess",
          "functools", "copyreg", "torch.load in a pickle")  # fmt: skip


@pytest.mark.parametrize("name", CALLED)
def test_a_call_that_nobody_reads_is_not_made(path, tripwire, tmp_path_factory, name):  # noqa: F811
    value = pyth.checkpoint(STATE, CONFIG, extra=malicious(MALICE[name], tripwire))
    assert_read(pyth.write(path, value), tmp_path_factory.getbasetemp())


@pytest.mark.parametrize("program, name", [
    (b"cos\nsystem\n", "os system"),
    (b"\x8c\x02os\x8c\x06system\x93", "os system"),
    (b"cos\nsystem\n\x8c\x01x\x85R", "os system"),
    (b"cos\nsystem\nNR", "os system"),
    (b"ca\nB\n)\x81", "a B"),
    (b"ca\nB\n)}\x92", "a B"),
    (b"ca\nB\n)\x81}b", "a B"),
    (b"ca\nB\n)R(K\x01K\x02e", "a B"),
    (b"ca\nB\n)R(K\x01K\x02u", "a B"),
    (b"ca\nB\n)RK\x01a", "a B"),
    (b"ca\nB\n)RK\x01K\x02s", "a B"),
    (b"ca\nB\n)R)R", "a B"),
    (b"\x8f(K\x01\x90", "builtins set"),
    (b"(K\x01\x91", "builtins frozenset"),
    (b"C\x01x", "builtins bytes"),
    (b"\x96\x01\0\0\0\0\0\0\0x", "builtins bytearray"),
    (b"\x8a\x09" + bytes(8) + b"\x01", "builtins int"),
    (b"(\x8c\x07storagectorch\nQuantisedStorage\n\x8c\x010\x8c\x03cpuK\x01tQ", "torch QuantisedStorage"),
    (b"ctorch._utils\n_rebuild_tensor_v2\n(ctorch\nX\nK\x00))\x89}tR", "torch X"),
    (b"ctorch._utils\n_rebuild_parameter\n(ctorch\nX\n\x88}tR", "torch X"),
])  # fmt: skip
def test_the_name_is_all_that_comes_of_it(program, name):
    value = run(b"\x80\x04" + program + b".")
    assert type(value) is Opaque and value.text == name


@pytest.mark.parametrize("program", [
    b"X\x02\0\0\0os)R", b"}\x85)R", b"ctorch\nFloatStorage\n)R", b"ccollections\nOrderedDict\n)\x81", b"N)\x81",
    b"](K\x01\x90", b"]}b", b"N(K\x01K\x02u", b"N(K\x01e", b"}(]Nu", b"}(}Nu", b"(X\x01\0\0\0xios\nsystem\n",
    b"(cos\nsystem\no", b"\x82\x01", b"Pid\n", b"\x97", b"\x8c\xff" + b"x" * 255 + b"\x8c\x02xx\x93",
])  # fmt: skip
def test_what_makes_no_sense_is_still_refused(program):
    with pytest.raises(Refused):
        run(b"\x80\x04" + program + b".")


plain = st.none() | st.booleans() | st.integers(-(1 << 99), 1 << 99) | st.text(max_size=5) | st.floats() | st.binary()
foreign = (
    plain
    | st.complex_numbers()
    | st.dates()
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.sampled_from(list(Mode))
)
values = st.recursive(
    foreign,
    lambda inner: (
        st.lists(inner) | st.tuples(inner) | st.dictionaries(foreign.filter(lambda x: x == x), inner)
        | st.frozensets(foreign) | st.lists(inner).map(OwnList) | st.builds(Settings, inner, st.tuples(inner))
        | st.builds(argparse.Namespace, a=inner)
    ),
    max_leaves=20,
)  # fmt: skip


@given(values, st.integers(2, 5))
def test_anything_that_pickle_writes_is_skipped(tmp_path_factory, value, protocol):
    program = pickle.dumps(value, protocol)
    start = 2 if protocol < 4 or program[2:3] != b"\x95" else 11
    folder = tmp_path_factory.getbasetemp()
    checkpoint = pyth.checkpoint(STATE, CONFIG, extra=Raw(program[start:-1]))
    assert_read(pyth.write(folder / "any.pyth", checkpoint), folder)


# --- prefixes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", [
    "module.", "_orig_mod.", "model.", "_orig_mod.module.", "module._orig_mod.", "model._orig_mod.module.",
    "module.module.", "model.model.model.",
])  # fmt: skip
def test_prefixes_are_taken_off_in_any_nesting(path, tmp_path_factory, prefix):
    value = pyth.checkpoint(pyth.tensors(STATE, prefix), CONFIG)
    assert_read(pyth.write(path, value), tmp_path_factory.getbasetemp())


@pytest.mark.parametrize("prefix, other, words", [
    ("", "module.", "1 of 242 keys start with 'module.', expected all or none"),
    ("", "model._orig_mod.", "1 of 242 keys start with 'model.'"),
    ("module.", "", "241 of 242 keys start with 'module.'"),
    ("module.", "module._orig_mod.", "1 of 242 keys start with '_orig_mod.'"),
    ("_orig_mod.", "module.", "242 of 242 keys start with"),
    ("backbone.", "backbone.", "blocks in the stages"),
])  # fmt: skip
def test_prefixes_that_some_keys_lack_are_not(path, prefix, other, words):
    first, *keys = STATE
    state = pyth.tensors({other + first: STATE[first]} | {prefix + key: STATE[key] for key in keys})
    assert len(state) == 242 and words in refused(pyth.write(path, pyth.checkpoint(state, CONFIG)))


# --- as PyTorch writes them ---------------------------------------------------------------------------------------


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def torch_objects(torch) -> dict:
    weights = [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2, 2))]
    adam = torch.optim.AdamW(weights, lr=0.1, foreach=True)
    sum((w * w).sum() for w in weights).backward()
    adam.step()
    cycle = torch.optim.lr_scheduler.OneCycleLR(adam, 0.2, total_steps=10)
    swa = torch.optim.swa_utils.AveragedModel(torch.nn.Linear(2, 2))
    return {
        "MultiStepLR": torch.optim.lr_scheduler.MultiStepLR(adam, [3, 5]).state_dict(),
        "OneCycleLR": cycle.state_dict(),
        "LambdaLR": torch.optim.lr_scheduler.LambdaLR(adam, functools.partial(max, 1)).state_dict(),
        "AdamW": adam.state_dict(),
        "the optimizer itself": adam,
        "GradScaler": torch.amp.GradScaler("cpu").state_dict(),
        "AveragedModel": swa.state_dict(),
        "a module": torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2), torch.nn.ReLU()),
        "a parameter with attributes": attributed(torch),
        "Size": torch.Size((2, 3)),
        "dtype": torch.float16,
        "device": torch.device("cpu"),
        "layout": torch.strided,
        "Generator": torch.Generator().get_state(),
        "random state": torch.get_rng_state(),
        "complex tensor": torch.ones(2, dtype=torch.complex64),
        "unsigned": torch.ones(2).to(torch.uint16),
        "float8": torch.ones(2).to(torch.float8_e4m3fn),
        "quantized": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        "sparse": torch.eye(2).to_sparse(),
        "storage": torch.ones(3).untyped_storage(),
        "typed storage": torch.ones(3).storage(),
        "meta": torch.ones(2, device="meta"),
        "empty": torch.ones(0),
        "expanded": torch.ones(1).expand(1000),
        **OBJECTS,
    }


def attributed(torch):
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.note = {"a": Mode.TRAIN}
    return parameter


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_what_torch_saves_beside_the_weights(torch, path, tmp_path_factory, protocol):
    state = collections.OrderedDict((key, torch.from_numpy(np.asarray(a))) for key, a in STATE.items())
    objects = torch_objects(torch)
    for value in objects.values():
        torch.save({"cfg": CONFIG, "extra": value, "model_state": state}, path, pickle_protocol=protocol)
        assert_read(path, tmp_path_factory.getbasetemp())
    torch.save({"cfg": CONFIG, "model_state": state} | objects, path, pickle_protocol=protocol)
    assert_read(path, tmp_path_factory.getbasetemp())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", ["a parameter with attributes", "complex tensor", "float8", "sparse", "storage", "dtype"]
)
def test_what_torch_saves_in_place_of_a_weight_is_named(torch, path, name):
    state = collections.OrderedDict((key, torch.from_numpy(np.asarray(a))) for key, a in STATE.items())
    state["head.projection.bias"] = torch_objects(torch)[name]
    file = io.BytesIO()
    torch.save({"cfg": CONFIG, "model_state": state}, file)
    path.write_bytes(file.getvalue())
    assert "model_state: 'head.projection.bias' holds the disallowed global 'torch" in refused(path)


def test_a_compiled_networks_prefix(torch, path, tmp_path_factory):
    """The keys that torch.compile gives to a module's weights, under DistributedDataParallel's."""
    inner = torch.nn.Module()
    inner.x = torch.nn.Linear(1, 1)
    (key, *_) = torch._dynamo.eval_frame.OptimizedModule(inner, lambda f: f).state_dict()
    assert key == "_orig_mod.x.weight"
    prefix = "module." + key.removesuffix("x.weight")
    state = {prefix + name: torch.from_numpy(np.asarray(a)) for name, a in STATE.items()}
    torch.save({"cfg": CONFIG, "model_state": state}, path)
    assert_read(path, tmp_path_factory.getbasetemp())


def test_content_keeps_the_order_of_entries(path):
    pyth.write(path, {"a": COUNTER, 3: 1, "b": [COUNTER, 2]})
    with TorchFile(path) as file:
        assert list(file.content) == ["a", 3, "b"]
        assert str(file.content["a"]) == "the disallowed global 'collections.Counter'"
        assert isinstance(file.content["b"][0], Opaque) and file.content["b"][1] == 2
