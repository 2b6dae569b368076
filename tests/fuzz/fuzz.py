"""Hostile files: what the readers do with sounds, checkpoints, models, settings and tables that somebody bent.

    python tests/fuzz/fuzz.py TARGET --minutes M --work FOLDER     coverage-guided; needs Linux and pip install atheris
    python tests/fuzz/fuzz.py TARGET --runs N                      N changed seeds, always the same, with NumPy alone
    python tests/fuzz/fuzz.py TARGET --replay FILE|FOLDER ...      what these inputs do

Whatever the bytes, a reader may answer or raise MinirepError, in one line. `check` holds each call to that, and to
`SECONDS` of processor time, `MEMORY` bytes and `TIMES` the size of the file; and it sees to it that nothing is run, no
module is looked for, and no file is written. What it finds is kept in FOLDER/findings, one input for each place.

The inputs grow from the seeds that each target builds. Most changes are made inside of the containers, whose lengths
and checksums are then put right again: a file that is refused for its checksum tests little else.
"""

import codecs
import contextlib
import io
import json
import os
import random
import struct
import sys
import tempfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

instrumented = contextlib.nullcontext()
if __name__ == "__main__":
    HERE = Path(__file__).resolve().parent
    # the builders of the tests, and minirep itself
    sys.path[:0] = [str(HERE.parent / "helpers"), str(HERE.parents[1])]
    if not {"--runs", "--replay"} & set(sys.argv):
        import atheris

        instrumented = atheris.instrument_imports(include=["minirep", "pickletools", "zipfile"])
with instrumented:
    import pickletools

    from minirep import Architecture, Classifier, MinirepError, Recipe, audio, frontend, random_network
    from minirep.audio.pcm import Pcm
    from minirep.evaluate.manifest import read_manifest, rows
    from minirep.files import checkpoint as checkpoints
    from minirep.files import models
    from minirep.files.modelfile import Model, write_model
    from minirep.files.torchfile import StoredTensor
    from minirep.files.yamltext import parse
    from minirep.tree import as_type
import audio_files  # noqa: E402
import pyth  # noqa: E402

SECONDS = float(os.environ.get("FUZZ_SECONDS", 2))  # of processor time for one input; an emulated processor needs more
MEMORY, TIMES = 64 << 20, 64  # bytes that any input may take (a resampler's filters are half of it), and times its size
TRACED = 16  # one input in so many has its memory measured while fuzzing, not its time: that slows the code down
TIMES_GUIDED = 4  # as does code that tells which of its lines are reached: this many times the seconds
codecs.lookup("raw_unicode_escape")  # pickletools decodes text with it: not a module that an input looks for
LARGEST = 1 << 23  # bytes of an input: beyond what any reader takes whole, such as a pickle of 4 MiB
HIDDEN = ("soundfile", "av", "minirep.fast")  # modules that the targets cannot import
TINY = Recipe("tiny", 16000, 0.1, 20, 10, 16, 2, {"class": 2})
NUMBERS = (0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 1 << 24, (1 << 31) - 1, 1 << 31,
           (1 << 32) - 1, 1 << 32, (1 << 62) - 1, (1 << 63) - 1, (1 << 64) - 1)  # fmt: skip


def often(piece, rng: random.Random, usual: int = 50, size: int | None = None):
    """Some bytes, or a list of ``size`` bytes, many times over; now and then as often as the largest input allows."""
    most = LARGEST // max(1, len(piece) if size is None else size)
    return piece * max(1, min(usual, most) if rng.random() < 0.96 else rng.randint(1, max(1, most)))


# --- bytes and what is made of them ----------------------------------------------------------------------------------


def scramble(data: bytes, rng: random.Random, words: tuple = ()) -> bytes:
    """The bytes with one to four things done to them: changed, cut out, doubled, or one of the words put in."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 4, 8, rng.randrange(1, 200)))
        match rng.randrange(6):
            case 0:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                number = rng.choice(NUMBERS) & (1 << 8 * min(length, 8)) - 1
                data[at : at + min(length, 8)] = number.to_bytes(min(length, 8), rng.choice(("little", "big")))
            case 2:
                del data[at : at + length]
            case 3:
                piece = bytes(data[at : at + length])
                data[at:at] = rng.choice((piece, piece, piece * 2, often(piece, rng)))
            case 4:
                other = rng.randrange(len(data) + 1)
                data[at : at + length] = data[other : other + length]
            case 5 if words:
                data[at : at + rng.choice((0, length))] = rng.choice(words)
    return bytes(data)


def in_zip(data: bytes, rng, change: Callable[[str, bytes], bytes]) -> bytes:
    """The same zip with one entry changed, left out or given another's name; checksums and lengths fit."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
    except Exception:
        entries = {}
    if not entries:
        return scramble(data, rng)
    if rng.random() < 0.005:
        entries |= {f"{name}{i}": b"" for name in list(entries)[:1] for i in range(rng.choice((9_000, 22_000)))}
    # Most entries are numbers, and one is much like the other: the first of them tells what all of them mean.
    name = next(iter(entries)) if rng.random() < 0.6 else rng.choice(list(entries))
    match rng.randrange(20):
        case 0:
            del entries[name]
        case 1:
            other = rng.choice(list(entries))
            entries[other] = entries.pop(name)
        case 2:
            entries[scramble(name.encode(), rng).decode("latin-1")[:200]] = entries[name]
        case _:
            entries[name] = change(name, entries[name])
    return pyth.archive(entries)


# --- sounds ----------------------------------------------------------------------------------------------------------


def sounds() -> list[bytes]:
    """A WAV of each kind, and the beginnings of what is none."""
    made = [
        audio_files.wav(audio_files.noise(coding, 200, channels)[0], coding, channels, rate, **more)
        for coding in audio_files.CODINGS
        for channels, rate, more in ((1, 16000, {}), (2, 44100, {"extensible": True}), (3, 8000, {"rf64": True}))
    ]
    listed = audio_files.wav(before=audio_files.chunk(b"LIST", b"INFOISFT"), after=audio_files.chunk(b"id3 ", b"x"))
    return [*made, listed, audio_files.wav(riff_size=0, data_size=0xFFFFFFFF), b"fLaC", b"", bytes(400)]


def bent_sound(data: bytes, rng) -> bytes:
    """Scrambled bytes, or a WAV whose header lies about this and that."""
    if rng.random() < 0.6:
        return scramble(data, rng, (b"data", b"fmt ", b"ds64", b"LIST", b"RF64", b"WAVE", audio_files.GUID_TAIL))
    lies = {"tag": (0, 1, 3, 6, 0xFFFE), "bits": (0, 1, 8, 12, 16, 24, 32, 64, 65535), "frame": (0, 1, 2, 65535),
            "riff_size": (0, 0xFFFFFFFF), "data_size": (0, 1, 3, 1 << 31, 0x7FFFF000, 0xFFFFFFFF)}  # fmt: skip
    told = {lie: rng.choice(lies[lie]) for lie in rng.sample(sorted(lies), rng.choice((0, 0, 1, 2)))}
    return audio_files.wav(
        rng.randbytes(rng.choice((0, 1, 7, 64, 600))),
        rng.choice(audio_files.CODINGS),
        rng.choice((0, 1, 2, 5, 255, 65535)),
        rng.choice((0, 999, 1000, 8000, 11025, 15999, 16000, 48000, rng.randrange(1, 800_000), 768000, (1 << 32) - 1)),
        extensible=rng.random() < 0.3,
        rf64=rng.random() < 0.2,
        **told,
    )


def hear(data: bytes, path: Path) -> None:
    """As a file up to its log-mels, and as a stream up to its samples."""
    with contextlib.suppress(MinirepError):
        frontend.log_mel_views(audio.open_recording(io.BytesIO(data)), None, TINY)
    pcm = Pcm(io.BytesIO(data), "auto", None, None, TINY.rate)
    while pcm.read() is not None:
        pass


# --- checkpoints and their settings ----------------------------------------------------------------------------------

SMALL = {"width": 1, "depths": (1,), "time": (21,), "freq": (21,)}  # of one stage: the fewer bytes, the more inputs
STRIDES = "FREQUENCY_STRIDES: [[1]]\n  TIME_STRIDES: [[1]]"
SMALL_CONFIG = pyth.config(**SMALL, depth=0).replace("TIME_STRIDES: [[1], [2], [2], [2]]", STRIDES)
PROGRAMS = (  # instructions that would run something, or that no file of tensors needs
    b"cos\nsystem\n(X\x04\0\0\0truetR", b"\x8c\x02os\x8c\x06system\x93X\x04\0\0\0true\x85R", b"ctripwire\nC\n)\x81",
    b"(X\x04\0\0\0trueios\nsystem\n", b"cbuiltins\nexec\n(X\x01\0\0\x001tR", b"ctripwire\nC\n)}\x92", b"\x82\x01",
    b"ccollections\nOrderedDict\n)R", b"ctorch\nFloatStorage\n", b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch._utils\n_rebuild_parameter\n", b"(", b"(t", b"](e", b"}(u", b"}", b"]", b")", b"}b", b"Q", b"R", b"0",
    b"2", b"\x85", b"\x86", b"\x87", b"h\x00", b"q\x00", b"j\xff\xff\xff\xff", b"r\xff\xff\xff\xff", b"\x94",
    b"\x8f(K\x01\x90", b"(K\x01\x91", b"C\x01x", b"ccollections\nCounter\n}\x85R", b"cother\nThing\n)\x81}b",
    b"J\xff\xff\xff\xff", b"a", b"s", b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"N", b"\x88", b"\x89",
)  # fmt: skip
SETTINGS = (b"- ", b"- - ", b": ", b"\n", b"\n  ", b"#", b"[", b"]", b"{a: ", b"}", b"'", b'"', b"\\x", b"&a ", b"*a",
            b"|", b"null", b"true", b"1e999", b".5", b"-1", b"99999999999999999999", b"[[[[[[[[[[[[[[[[[[", b"\t",
            b"RESNET:", b"AudioInceptionNeXt", b"65536", b"1000", b"0", b"\xc2\x85")  # fmt: skip


def saved_checkpoints() -> list[bytes]:
    """A small network with its branches, merged, in half precision, and other things that torch.save writes."""
    cfg = SMALL_CONFIG
    made = [pyth.checkpoint(pyth.published_state(**SMALL, merged=merged), cfg) for merged in (None, "both", "alone")]
    made.append(pyth.checkpoint(pyth.tensors(pyth.published_state(**SMALL), "module.", "BFloat16"), cfg))
    scheduler = pyth.Raw(b"ccollections\nCounter\n}K\x07K\x01s\x85R")
    made.append(pyth.checkpoint(pyth.tensors(pyth.published_state(**SMALL), "_orig_mod."), cfg, scheduler=scheduler))
    extras = {"recipe": "own", "licence": "MIT", "labels": {"class": ["a", "b", "c"]}}
    made += [pyth.checkpoint(pyth.published_state(**SMALL), cfg, minirep=extras), {}, [pyth.Stored(np.ones(3))]]
    return [pyth.archive(pyth.entries(value, name="a")) for value in made]


def bent_checkpoint(data: bytes, rng) -> bytes:
    """A change in the pickle, mostly; its settings are changed as settings, its program between two instructions."""

    def change(name, content):
        if not name.endswith("data.pkl") or rng.random() < 0.2:
            return scramble(content, rng, PROGRAMS)
        start = content.find(b"AUDIO_DATA:")
        if start > 4 and rng.random() < 0.4:
            (length,) = struct.unpack("<I", content[start - 4 : start])
            text = bent_settings(content[start : start + length], rng)
            return content[: start - 4] + struct.pack("<I", len(text)) + text + content[start + length :]
        marks = []
        with contextlib.suppress(Exception):
            marks += [position for _, _, position in pickletools.genops(content)]
        if len(marks) < 2:
            return scramble(content, rng, PROGRAMS)
        at = rng.randrange(len(marks) - 1)
        start, stop = marks[at], marks[min(at + rng.choice((0, 0, 1, 2)), len(marks) - 1)]
        copied = rng.randrange(len(marks) - 1)
        copy = content[marks[copied] : marks[min(copied + rng.choice((1, 2, 9)), len(marks) - 1)]]
        return content[:start] + rng.choice((*PROGRAMS, copy, often(copy, rng), b"")) + content[stop:]

    return in_zip(data, rng, change) if rng.random() < 0.85 else scramble(data, rng)


def read_checkpoint(data: bytes, path: Path) -> None:
    """The whole reader."""
    models.read_checkpoint(path)


def written_settings() -> list[bytes]:
    """The published form, and the corners of what is understood."""
    odd = "a: [1, {b: 'c''d', e: \"\\x41\"}]\nlong: one\n  two # three\nlist:\n- - 1\n  - .5\n- 2e3\n\nn: ~\n"
    return [text.encode() for text in (SMALL_CONFIG, pyth.config(classes=(97, 300)), odd, "[[1], {}]")]


def bent_settings(data: bytes, rng) -> bytes:
    """Scrambled bytes, or lines that are doubled, moved, cut, or given another value or indentation."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    match rng.randrange(7):
        case 0:
            lines[at] = b" " * rng.randrange(6) + lines[at].strip()
        case 1:
            lines.insert(rng.randrange(len(lines)), lines[at] if rng.random() < 0.5 else lines.pop(at))
        case 2:
            lines[at] = lines[at].partition(b":")[0] + b": " + rng.choice((*SETTINGS, b"%d" % rng.choice(NUMBERS)))
        case 3:
            lines[at : at + 1] = []
        case 4:
            lines[at] = often(lines[at], rng, 2) + often(rng.choice(SETTINGS), rng, 1)
        case _:
            return scramble(data, rng, SETTINGS)
    return b"\n".join(lines)


class SettingsFile:
    """What a checkpoint with these settings and the weights of a small network looks like to their reader."""

    state = pyth.published_state(**SMALL)
    tensors = {key: StoredTensor(None, 0, array.shape, ()) for key, array in state.items()}

    def __init__(self, text: str):
        self.content = {"cfg": text, "model_state": self.tensors}


def read_settings(data: bytes, path: Path) -> None:
    """The text, and the architecture and the recipe that it means."""
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(ValueError):  # by its contract; what reads settings for a user turns it into MinirepError
        parse(text)
    file = SettingsFile(text)
    config = checkpoints._Settings(file)
    arch = checkpoints._architecture(config, file.tensors)
    checkpoints._recipe(config, arch)


# --- models ----------------------------------------------------------------------------------------------------------


def saved_models() -> list[bytes]:
    """Small networks of both kinds, merged and not, of several types, with a recipe and without."""

    def saved(model, half=False):
        file = io.BytesIO()
        if isinstance(model, Classifier):
            write_model(file, Model(model.network, model.recipe, model.labels, model.provenance), half)
        else:
            write_model(file, Model(model, None, {}, {}), half)
        return file.getvalue()

    def net(**shape):
        values = {"width": 1, "depths": (1,), "time_kernels": ((3, 1),), "freq_kernels": ((3, 1),)}
        values |= {"time_strides": (2,), "freq_strides": (1,), "heads": {"class": 2}, "frames": 16, **shape}
        return random_network(Architecture(**values))

    clf = Classifier(net(), TINY, {"class": ("yes", "nö")}, {"source": "x"}, "numpy")
    inception = Classifier(net(kind="AudioInceptionNeXt"), TINY, backend="numpy")
    double = as_type(net(heads={"a": 1, "b": 2}), np.float64)
    return [saved(clf), saved(clf.fused()), saved(inception), saved(clf, half=True), saved(double)]


VALUES = (None, True, False, 0, 1, -1, 2, 1.5, 1e308, -1e9, float("nan"), float("inf"), 1 << 70, "", "x", "../x",
          [], {}, [1], [0], [1, 1], [-1], [1 << 40, 1 << 40], {"shape": [1]}, {"shape": []}, {"dict": {}},
          {"Conv": {}}, [[]], "\ud800", "x\ny", "float16", "float64", 999_999)  # fmt: skip


def bent_model(data: bytes, rng) -> bytes:
    """A change in the header's JSON, mostly, or another array in an array's place."""

    def change(name, content):
        if rng.random() < 0.2:
            return scramble(content, rng, (b"'descr': '|O'", b"'descr': '<U4'", b"(1,)", b"((((", b"True", b"<f8"))
        if name != "header.npy":
            shape = rng.choice(((), (0,), (1,), (2,), (3, 1), (1, 1), (1, 2), (5, 7, 1, 1), (2, 1, 0)))
            kind = rng.choice(("f2", "f4", "f8", ">f4", "i4", "u1", "c8")) if rng.random() < 0.5 else "f4"
            with np.errstate(all="ignore"):
                return npy(np.full(shape, rng.choice((0, 1, -1, 1e-30, 1e38, np.nan, np.inf))).astype(kind))
        return npy(np.frombuffer(bent_json(content, rng), np.uint8))

    def npy(array):
        file = io.BytesIO()
        np.save(file, array)
        return file.getvalue()

    return in_zip(data, rng, change) if rng.random() < 0.9 else scramble(data, rng)


def bent_json(content: bytes, rng) -> bytes:
    """The text in an array of bytes, with one value somewhere in it replaced, left out, doubled or moved."""
    text = content[10 + int.from_bytes(content[8:10], "little") :]
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        return scramble(text, rng)
    node = parent = tree
    while isinstance(node, (dict, list)) and node and (node is tree or rng.random() < 0.85):
        key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        parent, node = node, node[key]
    if parent is node:
        return scramble(text, rng)
    match rng.randrange(6):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, list):
            parent += rng.choice(([node], [node], often([node], rng, size=len(json.dumps(node)))))
        case 1:
            parent[rng.choice(("x", "weight", "bias", "Conv", "Network", "dict", "shape", "eps", ""))] = node
        case 2:
            parent[key] = tree if rng.random() < 0.1 else [node]
        case _:
            parent[key] = rng.choice(VALUES)
    try:
        return json.dumps(tree).encode()
    except ValueError:  # it was put into itself
        return b"[" * rng.choice((10, 900, 100_000))


def run_model(data: bytes, path: Path) -> None:
    """The reader, and a short sound through what it gives, unless the network is large."""
    clf = models.load(path, "numpy")
    if len(data) < 1 << 16:
        clf.classify(np.zeros(200, np.float32), TINY.rate, views=1).top(3)


# --- manifests -------------------------------------------------------------------------------------------------------

HEADS = ({"class": ("yes", "no", "no")}, {"verb": ("cut", 'a "b"'), "noun": ("ünder", "x,y")})
CELLS = (b",", b'"', b'""', b"\n", b"\r", b"\r\n", b"\0", b"\xff", b"\xef\xbb\xbf", b"path,label\n", b",head\n",
         b"yes", b"noun", b"../x.wav", b"\xe2\x80\xa8", b"x" * 200)  # fmt: skip


def written_manifests() -> list[bytes]:
    """For one head and for two, as different programs write them."""
    one = "path,label\na/b.wav,yes\nc.wav,no\n"
    two = 'path,label,head\nx.wav,"a ""b""",verb\nx.wav,"x,y",noun\n\n'
    return [text.encode() for text in (one, one.replace("\n", "\r\n"), "\ufeff" + one, two, "path,label\n")]


def bent_manifest(data: bytes, rng) -> bytes:
    """Scrambled bytes, or whole rows doubled or cut."""
    if rng.random() < 0.8:
        return scramble(data, rng, CELLS)
    lines = data.splitlines(keepends=True) or [b"\n"]
    at = rng.randrange(len(lines))
    doubled = often(lines[at : at + 1], rng, 100, 16 * len(lines[at]))
    return b"".join(lines[:at] + rng.choice(([], doubled)) + lines[at + 1 :])


def read_manifests(data: bytes, path: Path) -> None:
    """The whole reader, for one head and for two, and as a table that a killed process has left behind."""
    for read in (lambda: read_manifest(path, HEADS[0])[1], lambda: read_manifest(path, HEADS[1])[1],
                 lambda: [(line, "") for line, _ in rows(path, damaged=True)]):  # fmt: skip
        message = ""
        try:
            message = "".join(fault for _, fault in read())
        except MinirepError as error:
            message = str(error)
        if not message.isprintable():
            raise MinirepError(message)  # which is a finding


# --- the targets and the judge ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """Inputs to begin with, how to bend one, and the call; ``suffix`` of a file's name, if it needs one."""

    seeds: Callable[[], list[bytes]]
    bend: Callable[[bytes, random.Random], bytes]
    call: Callable[[bytes, Path], None]
    suffix: str = ""


TARGETS = {
    "wav": Target(sounds, bent_sound, hear),
    "checkpoint": Target(saved_checkpoints, bent_checkpoint, read_checkpoint, ".pyth"),
    "model": Target(saved_models, bent_model, run_model, ".npz"),
    "yaml": Target(written_settings, bent_settings, read_settings),
    "manifest": Target(written_manifests, bent_manifest, read_manifests, ".csv"),
}


class Finding(AssertionError):
    """Something that no file may cause."""


class Judge:
    """Gives inputs to a target and raises `Finding` for what they must not do. Watches the process once it is made."""

    RUNS = ("exec", "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pickle.find_class",
            "ctypes.dlopen", "socket.connect", "shutil.", "os.remove", "os.rename", "os.mkdir", "os.chmod")  # fmt: skip

    def __init__(self, name: str):
        self.target, self.runs, self.seconds = TARGETS[name], 0, 0.0
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name) / f"input{self.target.suffix}"
        self._watching, self._seen = False, []
        # Not ours to judge: what other libraries make of other formats, and Numba's compiler.
        sys.modules.update(dict.fromkeys(HIDDEN))
        sys.addaudithook(self._hook)
        for seed in self.target.seeds():  # now all is imported that has to be
            self.check(seed, warming=True)

    def _hook(self, event: str, args: tuple) -> None:
        if not self._watching:
            return
        if event == "open":
            mode, flags = args[1] or "", args[2] or 0
            written = set("wax+") & set(mode) if isinstance(mode, str) else flags & (os.O_WRONLY | os.O_RDWR)
            if written:
                self._seen.append(f"{args[0]} was written")
        elif event == "import" and args[0] not in (*HIDDEN, "unicodedata"):  # Python's "\\N{DASH}"
            self._seen.append(f"the module {args[0]} was looked for")
        elif event.startswith(self.RUNS):
            self._seen.append(f"{event} {args!r:.100}")

    def check(self, data: bytes, warming: bool = False) -> str:
        """What became of one input: "" or the message of its MinirepError."""
        self._path.write_bytes(data)
        self._seen.clear()
        traced, message = tracemalloc.is_tracing(), ""
        if traced:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
        start, self._watching = time.process_time(), True
        try:
            with np.errstate(all="ignore"):
                self.target.call(data, self._path)
        except MinirepError as error:
            message = str(error)
        finally:
            self._watching = False
            seconds = time.process_time() - start
            self.runs, self.seconds = self.runs + 1, self.seconds + seconds
        if warming:
            return message
        if not message.isprintable():
            raise Finding(f"a message of more than one line, or not of letters: {message!r}")
        if self._seen:
            raise Finding("; ".join(self._seen))
        # A table is read row by row, so a large one takes longer: beyond 1 MiB the limit grows with the size.
        allowed = SECONDS * max(1, len(data) / 2**20) * (TIMES_GUIDED if "atheris" in sys.modules else 1)
        if not traced and seconds > allowed:
            raise Finding(f"{seconds:.1f} s for {len(data)} bytes")
        if traced and (taken := tracemalloc.get_traced_memory()[1] - before) > MEMORY + TIMES * len(data):
            raise Finding(f"{taken >> 20} MiB for {len(data)} bytes")
        return message


def bent(target: Target, count: int, seed: int):
    """(name, input), as many as wanted, each made of a seed in a few steps: always the same ones."""
    rng, seeds = random.Random(seed), target.seeds()
    for i in range(count):
        data = rng.choice(seeds)
        for _ in range(rng.choice((1, 1, 2, 3, 5))):
            data = target.bend(data, rng)[:LARGEST]
        yield f"input {i}", data


# --- with atheris ----------------------------------------------------------------------------------------------------


def fuzz(name: str, minutes: float, work: Path) -> None:
    """Let libFuzzer look for inputs that reach more of the code, and keep what they find."""
    import resource

    judge, found = Judge(name), {}
    corpus, findings = work / name, work / "findings"
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate(judge.target.seeds()):
        (corpus / f"seed{i}").write_bytes(seed)
    said = 0.0

    def one(data: bytes) -> None:
        nonlocal said
        if judge.runs % TRACED == 0:
            tracemalloc.start()
        try:
            judge.check(data)
        except Exception as error:
            trace = error.__traceback__
            while trace.tb_next:
                trace = trace.tb_next
            place = f"{name}-{type(error).__name__}-{Path(trace.tb_frame.f_code.co_filename).stem}-{trace.tb_lineno}"
            if place not in found:
                (findings / place).write_bytes(data)
                print(f"FOUND {place}: {str(error)[:300]!r}", file=sys.stderr, flush=True)
            found[place] = found.get(place, 0) + 1
        finally:
            tracemalloc.stop()
        if (spent := time.process_time()) > said + 30:
            said = spent
            print(f"{name}: {judge.runs} runs, {spent:.0f} s of processor time, found {found}", flush=True)
            if spent > 60 * minutes:
                os._exit(0)

    def bend(data: bytes, largest: int, seed: int) -> bytes:
        rng = random.Random(seed)
        changed = judge.target.bend(data, rng) if rng.random() < 0.7 else atheris.Mutate(data, largest)
        return changed[:largest]

    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))  # beyond it is MemoryError, which would be a finding
    options = [f"-max_len={LARGEST}", "-len_control=0", "-timeout=600", "-report_slow_units=600", "-rss_limit_mb=2048"]
    options += [f"-artifact_prefix={findings}/", str(corpus)]
    atheris.Setup([sys.argv[0], *options], one, custom_mutator=bend)
    atheris.Fuzz()


def try_all(name: str, inputs) -> int:
    """Judge some inputs, (what to call it, bytes) each; the number of findings."""
    judge, bad, count = Judge(name), 0, 0
    for count, (called, data) in enumerate(inputs, 1):
        if count % TRACED == 1:
            tracemalloc.start()
        try:
            judge.check(data)
        except Exception as error:
            bad += 1
            print(f"{called}: {type(error).__name__}: {str(error)[:300]!r}")
        tracemalloc.stop()
    print(f"{name}: {count} inputs, {bad} findings, {judge.seconds:.1f} s of processor time")
    return bad


def files_in(paths: list[Path]):
    """(name, bytes) of the files and of those in the folders."""
    for path in paths:
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            yield file, file.read_bytes()


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=60, help="of processor time (default: 60)")
    parser.add_argument("--work", type=Path, default=Path("fuzz-work"), help="where inputs and findings are kept")
    parser.add_argument("--runs", type=int, metavar="N", help="judge so many changed seeds")
    parser.add_argument("--seed", type=int, default=0, help="of their changes")
    parser.add_argument("--replay", nargs="+", type=Path, metavar="PATH", help="judge these inputs")
    args = parser.parse_args()
    if args.replay:
        sys.exit(try_all(args.target, files_in(args.replay)) > 0)
    if args.runs:
        sys.exit(try_all(args.target, bent(TARGETS[args.target], args.runs, args.seed)) > 0)
    fuzz(args.target, args.minutes, args.work)
