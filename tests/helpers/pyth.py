"""Writes checkpoints in the published format with NumPy alone, byte by byte: for tests of what reads them.

`write` makes the file; `published_state` the weights of a whole network under the published keys, from the list in the
description of the format and not from minirep's own table; `config` the text that goes with them.
"""

import collections
import io
import struct
import zipfile
from dataclasses import dataclass, field

import numpy as np


class Raw(bytes):
    """Instructions that stand in the pickle as they are."""


@dataclass
class Stored:
    """A tensor: ``array`` are the numbers of its storage, the rest says how they are looked at."""

    array: np.ndarray
    kind: str = "Float"  # FloatStorage
    shape: tuple | None = None
    strides: tuple | None = None
    offset: int = 0
    count: int | None = None  # what the pickle says of the storage's length, the truth unless given
    key: str | None = None  # of the storage, the next free one unless given
    call: str = "ctorch._utils\n_rebuild_tensor_v2\n"

    @property
    def numbers(self):
        if self.kind == "BFloat16":  # the upper halves of float32
            return (np.ascontiguousarray(self.array, "<f4").view("<u4") >> 16).astype("<u2")
        kinds = {"Float": "<f4", "Double": "<f8", "Half": "<f2", "Long": "<i8", "Int": "<i4"}
        return np.ascontiguousarray(self.array, kinds.get(self.kind, "<f4"))


@dataclass
class Writer:
    """Turns values into a pickle of protocol 2 and collects the storages on the way."""

    storages: dict = field(default_factory=dict)

    def pickle(self, value) -> bytes:
        return b"\x80\x02" + self.value(value) + b"."

    def value(self, v) -> bytes:
        if isinstance(v, Raw):
            return bytes(v)
        if isinstance(v, Stored):
            return self.tensor(v)
        if v is None or isinstance(v, bool):
            return {None: b"N", True: b"\x88", False: b"\x89"}[v]
        if isinstance(v, int) and -(1 << 31) <= v < 1 << 31:
            return b"J" + struct.pack("<i", v)
        if isinstance(v, int):
            data = v.to_bytes(v.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(data)]) + data
        if isinstance(v, float):
            return b"G" + struct.pack(">d", v)
        if isinstance(v, str):
            data = v.encode("utf-8", "surrogatepass")
            return b"X" + struct.pack("<I", len(data)) + data
        if isinstance(v, tuple):
            return b"(" + b"".join(map(self.value, v)) + b"t"
        if isinstance(v, list):
            return b"](" + b"".join(map(self.value, v)) + b"e"
        items = b"(" + b"".join(self.value(key) + self.value(item) for key, item in v.items()) + b"u"
        if isinstance(v, collections.OrderedDict):  # with the attribute that a state_dict has
            return b"ccollections\nOrderedDict\n)R" + items + b"}X\x09\0\0\0_metadata}sb"
        return b"}" + items

    def tensor(self, t: Stored) -> bytes:
        numbers = t.numbers
        key = str(len(self.storages)) if t.key is None else t.key
        self.storages[key] = numbers.tobytes()
        shape = t.array.shape if t.shape is None else t.shape
        strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape))) if t.strides is None else t.strides
        count = numbers.size if t.count is None else t.count
        reference = self.value(("storage", Raw(f"ctorch\n{t.kind}Storage\n".encode()), key, "cpu", count)) + b"Q"
        hooks = Raw(b"ccollections\nOrderedDict\n)R")
        return t.call.encode() + self.value((Raw(reference), t.offset, shape, strides, False, hooks)) + b"R"


def archive(entries: dict[str, bytes], compression=zipfile.ZIP_STORED) -> bytes:
    """A zip of the entries."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as z:
        for name, data in entries.items():
            z.writestr(zipfile.ZipInfo(name), data, compression)
    return file.getvalue()


def entries(content, name="archive") -> dict[str, bytes]:
    """What torch.save puts into a file: {entry: bytes}. ``content``: a value, or a whole pickle as Raw."""
    writer = Writer()
    program = bytes(content) if isinstance(content, Raw) else writer.pickle(content)
    storages = {f"{name}/data/{key}": data for key, data in writer.storages.items()}
    return {f"{name}/data.pkl": program, f"{name}/byteorder": b"little", **storages, f"{name}/version": b"3\n"}


def write(path, content, **options):
    """A file as torch.save(content) writes it; returns its path."""
    path.write_bytes(archive(entries(content, **options)))
    return path


# --- a whole network -------------------------------------------------------------------------------------------------

SUFFIXES = ("", "_medium", "_small")


def published_state(
    width=2,
    depths=(1, 2, 1, 1),
    time=(21,) * 4,
    freq=(21,) * 4,
    heads=None,
    merged=None,
    seed=0,
    small=(11, 3),
    expansion=4,
):
    """{published key: array} with random values, in PyTorch's shapes. merged: None, "both" or "alone"."""
    rng = np.random.default_rng(seed)
    state = {}

    def conv(key, *shape, bias=False):
        state[f"{key}.weight"] = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype(np.float32)
        if bias:
            state[f"{key}.bias"] = rng.normal(0, 0.1, shape[0]).astype(np.float32)

    def norm(key, channels):
        state[f"{key}.weight"] = rng.uniform(0.5, 1.5, channels).astype(np.float32)
        state[f"{key}.bias"] = rng.normal(0, 0.1, channels).astype(np.float32)
        state[f"{key}.running_mean"] = rng.normal(0, 0.1, channels).astype(np.float32)
        state[f"{key}.running_var"] = rng.uniform(0.5, 1.5, channels).astype(np.float32)
        state[f"{key}.num_batches_tracked"] = np.int64(7)

    conv("s1.pathway0_stem.conv", width, 1, 5, 7)
    norm("s1.pathway0_stem.bn", width)
    for i, depth in enumerate(depths):
        c = width * 2**i
        for j in range(depth):
            block = f"s{i + 2}.pathway0_res{j}"
            c_in = c // 2 if i and j == 0 else c
            if c_in != c:
                conv(f"{block}.branch1", c, c_in, 1, 1)
                norm(f"{block}.branch1_bn", c)
            block += ".branch2."
            conv(f"{block}a_head", c, c_in, 1, 1)
            norm(f"{block}a_head_bn", c)
            for axis, k, shape in (("a", time[i], lambda k: (k, 1)), ("b", freq[i], lambda k: (1, k))):
                for suffix, size in zip(SUFFIXES, (k, *small)) if merged != "alone" else ():
                    conv(f"{block}{axis}{suffix}", c, 1, *shape(size))
                    norm(f"{block}{axis}_bn{suffix}", c)
                if merged:
                    conv(f"{block}{axis}_reparam", c, 1, *shape(k), bias=True)
            conv(f"{block}c", expansion * c, c, 1, 1)
            norm(f"{block}c_bn", expansion * c)
            conv(f"{block}d", c, expansion * c, 1, 1)
            norm(f"{block}d_bn", c)
    heads = heads or {"class": 3}
    for head, classes in heads.items():
        conv("head.projection" + ("" if len(heads) == 1 else f"_{head}"), classes, c, bias=True)
    return state


CONFIG = """\
AUDIO_DATA:
  CLIP_SECS: {clip}
  HOP_LENGTH: {hop}
  NUM_FRAMES: {frames}
  NUM_FREQUENCIES: 128
  SAMPLING_RATE: {rate}
  WINDOW_LENGTH: {window}
MODEL:
  HEAD_ACT: softmax
  MODEL_NAME: {kind}
  NUM_CLASSES: {classes}
RESNET:
  DEPTH: {depth}
  FREQ_KERNEL_SIZES: {freq}
  NUM_BLOCK_TEMP_KERNEL: {depths}
  NUM_GROUPS: 1
  TEMP_KERNEL_SIZES: {time}
  TIME_STRIDES: [[1], [2], [2], [2]]
  TRANS_FUNC: ms_threeway_dw_bottleneck_transform
  WIDTH_PER_GROUP: {width}
TEST:
  NUM_ENSEMBLE_VIEWS: {views}
TRAIN:
  DATASET: {dataset}
"""


def config(
    kind="AudioRepInceptionNeXt",
    width=2,
    depths=(1, 2, 1, 1),
    time=(21,) * 4,
    freq=(21,) * 4,
    classes=(3,),
    dataset="speechcommandv2",
    rate=16000,
    clip=1.023,
    hop=2,
    window=5,
    frames=512,
    views=1,
    depth=50,
):
    """The configuration's text."""
    nested = {"time": [[[k]] for k in (5, *time)], "freq": [[[k]] for k in (7, *freq)], "depths": [[d] for d in depths]}
    values = dict(kind=kind, width=width, classes=list(classes), dataset=dataset, rate=rate, clip=clip, hop=hop,
                  window=window, frames=frames, views=views, depth=depth)  # fmt: skip
    return CONFIG.format(**values, **nested)


def tensors(state: dict, prefix="", kind="Float") -> collections.OrderedDict:
    """The arrays as a state_dict of tensors; whole numbers as LongStorage."""
    kinds = {key: "Long" if np.asarray(a).dtype.kind == "i" else kind for key, a in state.items()}
    return collections.OrderedDict((prefix + key, Stored(np.asarray(a), kinds[key])) for key, a in state.items())


def checkpoint(state=None, cfg=None, **more) -> dict:
    """The dictionary that the published trainer saves. ``state``: arrays, or tensors as `tensors` makes them."""
    state = published_state() if state is None else state
    if not isinstance(state, collections.OrderedDict):
        state = tensors(state)
    return {"epoch": 3, "model_state": state, "optimizer_state": None, "cfg": config() if cfg is None else cfg, **more}
