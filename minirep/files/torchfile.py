"""Reads what ``torch.save`` writes, without PyTorch and without running anything that stands in the file.

Such a file is a zip of uncompressed entries: ``<name>/data.pkl``, a pickle of the saved object, and ``<name>/data/0``,
``<name>/data/1`` ...: the raw numbers of its tensors, one entry a *storage*.

A pickle is not data. It is a program for a small stack machine, and two of its instructions make it dangerous: GLOBAL
finds any function of any installed module by its name, and REDUCE calls it. Whoever wrote the file decides what runs
on the computer that unpickles it. So nothing is unpickled here. `pickletools.genops` takes the program apart and runs
nothing; `run` carries out the harmless instructions that ``torch.save`` uses. Its GLOBAL looks nothing up: a name stays
a name. Its REDUCE knows the three names that tensors need, and to "call" them is to make a plain value. Whatever would
come of another name, such as a scheduler's counter or a NumPy scalar, is `Opaque`: the name of something that is never
built. That does no harm where nobody looks; whoever finds it in place of a weight or a setting refuses it
(`TorchFile.known`). Every other instruction is an error that says what was found.

Source: the instructions are described in the standard library's module pickletools; a listing of any pickle comes from
``python -m pickletools data.pkl``.
"""

import io
import math
import pickletools
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import MinirepError
from ..text import quoted
from .archive import ZIP_ERRORS, open_zip

# A published file has 0.15 MB of pickle, 30,000 instructions and 900 entries. These bounds leave room for networks six
# times as deep, and keep a hostile file from taking more than a moment.
MAX_PICKLE = 1 << 22  # bytes
MAX_INSTRUCTIONS = 200_000
MAX_LINE = 256  # bytes of a module's or a function's name
MAX_DIMENSIONS = 8

# The legacy formats of torch.save: before 1.6 a bare pickle that starts with this number, long before that a tar.
LEGACY_PICKLE, LEGACY_TAR = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", b"ustar"

BFLOAT16 = "bfloat16"  # NumPy has no such type: the upper half of a float32
DTYPES = {
    "torch DoubleStorage": "<f8",
    "torch FloatStorage": "<f4",
    "torch HalfStorage": "<f2",
    "torch BFloat16Storage": BFLOAT16,
    "torch LongStorage": "<i8",
    "torch IntStorage": "<i4",
    "torch ShortStorage": "<i2",
    "torch CharStorage": "|i1",
    "torch ByteStorage": "|u1",
    "torch BoolStorage": "|u1",
}
ITEM_SIZES = {dtype: 2 if dtype == BFLOAT16 else np.dtype(dtype).itemsize for dtype in DTYPES.values()}


# --- what the program leaves behind ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Name:
    """A module and a name in it, "torch FloatStorage": never looked up."""

    text: str


@dataclass(frozen=True, eq=False)
class Opaque:
    """Something that is not built, in an entry that nobody reads: ``text`` is the name that would have made it."""

    text: str

    def __str__(self) -> str:
        return f"the foreign name {quoted(self.text.replace(' ', '.'))}"


@dataclass(frozen=True)
class Storage:
    """A run of ``count`` numbers, the zip's entry data/``key``."""

    dtype: str
    key: str
    count: int


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor's numbers lie in a storage: element (i, j ...) at offset + i * strides[0] + j * strides[1] ..."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def is_float(self) -> bool:
        return self.storage.dtype in ("<f8", "<f4", "<f2", BFLOAT16)

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """How many bytes they take in the file."""
        return self.size * ITEM_SIZES[self.storage.dtype]


class Refused(ValueError):
    """Something in a pickle that is not carried out; the message says what."""


# --- the three calls and the one reference that tensors need ---------------------------------------------------------


def _is_count(value) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _ordered_dict() -> dict:
    return {}  # Python's dictionaries keep their order


def _tensor(storage, offset, shape, strides, requires_grad=False, hooks=None, metadata=None) -> StoredTensor:
    whole = isinstance(storage, Storage) and isinstance(shape, tuple) and isinstance(strides, tuple)
    if not whole or len(shape) != len(strides) or len(shape) > MAX_DIMENSIONS:
        raise Refused(f"a tensor without storage, or not of 0 to {MAX_DIMENSIONS} dimensions with a stride each")
    if not all(map(_is_count, (offset, *shape, *strides))):
        raise Refused("a tensor whose offset, shape or strides are not whole numbers from 0")
    return StoredTensor(storage, offset, shape, strides)


def _parameter(data, requires_grad=False, hooks=None) -> StoredTensor:
    if not isinstance(data, StoredTensor):
        raise Refused("a parameter that holds no tensor")
    return data


CALLS = {
    "collections OrderedDict": _ordered_dict,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
}


def _name(module: str, name: str) -> Name | Opaque:
    if len(module) + len(name) > MAX_LINE:
        raise Refused(f"a name of more than {MAX_LINE} characters")
    text = module + " " + name
    return Name(text) if text in CALLS or text in DTYPES else Opaque(text)


def _call(function, arguments):
    """Return what a function makes of its arguments; an opaque function or argument makes it opaque."""
    if isinstance(function, Opaque):
        return function
    if not isinstance(function, Name) or function.text not in CALLS or not isinstance(arguments, tuple):
        raise Refused("a call of something that is not a function")
    opaque = [argument for argument in arguments if isinstance(argument, Opaque)]
    return opaque[0] if opaque else CALLS[function.text](*arguments)


def _storage(reference) -> Storage | Opaque:
    """What torch.save writes in place of a storage: ("storage", type, key, device it was on, length)."""
    kind, dtype, key, _, count = reference
    if isinstance(dtype, Opaque):
        return dtype
    if kind != "storage" or not isinstance(dtype, Name) or not isinstance(key, str) or not _is_count(count):
        raise Refused("a persistent reference that is not a storage")
    return Storage(DTYPES[dtype.text], key, count)


def _opaque(value) -> Opaque:
    """Return what stands for a value of no use here: bytes, a huge number, a key that is neither text nor number."""
    return value if isinstance(value, Opaque) else Opaque(f"builtins {type(value).__name__}")


# --- the machine -----------------------------------------------------------------------------------------------------


class _Program(io.BytesIO):
    """Bytes whose lines end early: those of a pickle hold a name or a small number."""

    def readline(self, size=-1):
        return super().readline(MAX_LINE)


def run(program: bytes):
    """The object that a pickle describes, of None, bool, int, float, str, tuple, list, dict, `StoredTensor`, `Opaque`.

    Raises `Refused` for an instruction or a value that torch.save does not write, and ValueError, TypeError,
    LookupError or AttributeError for a program that makes no sense.
    """
    stack: list = []
    outer: list[list] = []  # MARK puts the stack aside here and starts a new one
    memo: dict = {}

    def since_mark() -> list:
        nonlocal stack
        items, stack = stack, outer.pop()
        return items

    def put(items: list) -> None:
        """Key, value, key, value ... into the dictionary on top. A nested key could exhaust hash(): it is opaque."""
        target, keys = on_top("dictionary items without a dictionary", dict), items[::2]
        if len(items) % 2 or any(isinstance(key, (list, dict)) for key in keys):
            raise Refused("a dictionary item without a value, or whose key is a list or a dictionary")
        if isinstance(target, dict):
            target.update(zip((key if type(key) in (str, int) else _opaque(key) for key in keys), items[1::2]))

    def extend(items: list) -> None:
        target = on_top("list items without a list", list)
        if isinstance(target, list):
            target.extend(items)

    def on_top(fault: str, *kinds: type):
        """What is on top of the stack: of one of these kinds, or opaque."""
        if not isinstance(stack[-1], (*kinds, Opaque)):
            raise Refused(fault)
        return stack[-1]

    for count, (instruction, argument, position) in enumerate(pickletools.genops(_Program(program))):
        if count >= MAX_INSTRUCTIONS:
            raise Refused(f"more than {MAX_INSTRUCTIONS} instructions")
        match instruction.name:
            # plain values
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "BINPUT" | "LONG_BINPUT":  # the memo is a dictionary: a huge index costs no more than a small one
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BININT" | "BININT1" | "BININT2" | "BINFLOAT" | "BINUNICODE" | "SHORT_BINUNICODE":
                stack.append(argument)
            case "LONG1" | "LONG4":
                small = isinstance(argument, int) and -(1 << 63) <= argument < 1 << 63
                stack.append(argument if small else _opaque(argument))
            case "BINBYTES" | "SHORT_BINBYTES" | "BINBYTES8" | "BYTEARRAY8":
                stack.append(_opaque(argument))
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[instruction.name])
            # containers
            case "MARK":
                outer.append(stack)
                stack = []
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE":
                items = since_mark()
                stack.append(tuple(items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                size = int(instruction.name[-1])
                stack[-size:] = [tuple(stack[-size:])]
            case "EMPTY_LIST":
                stack.append([])
            case "APPEND":
                item = stack.pop()
                extend([item])
            case "APPENDS":
                items = since_mark()
                extend(items)
            case "EMPTY_DICT":
                stack.append({})
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                put([key, value])
            case "SETITEMS":
                items = since_mark()
                put(items)
            case "EMPTY_SET":
                stack.append(Opaque("builtins set"))
            case "ADDITEMS":
                since_mark()
                on_top("items of a set without a set")
            case "FROZENSET":
                since_mark()
                stack.append(Opaque("builtins frozenset"))
            # names, and what is made of them
            case "GLOBAL":
                stack.append(_name(*str(argument).split(" ", 1)))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_name(module, name))  # a TypeError unless both are text
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_call(function, arguments))
            case "NEWOBJ" | "NEWOBJ_EX":  # an object of a class, from a tuple and, if EX, named arguments
                del stack[-len(instruction.stack_before) + 1 :]
                on_top("an object of something that is not a class")
            case "BINPERSID":
                stack.append(_storage(stack.pop()))
            case "BUILD":  # attributes of an OrderedDict: state_dict's version numbers, of no use here
                stack.pop()
                on_top("attributes of something that is not a dictionary", dict)
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                (result,) = stack
                if outer:
                    raise ValueError("a MARK without its end")
                return result
            case other:
                raise Refused(f"the instruction {other} at byte {position}, which torch.save does not write")


# --- the file --------------------------------------------------------------------------------------------------------

# What the program of a damaged file raises.
PICKLE_ERRORS = (ValueError, TypeError, LookupError, AttributeError, OverflowError, struct.error)


class TorchFile:
    """A file of ``torch.save``, open: ``content`` is the saved object with `StoredTensor` in place of its tensors.

    A tensor's numbers are read when `read` asks for them, and a storage once however many tensors are parts of it. What
    nobody asks for, like the state of an optimizer, stays on disk. To be used in a ``with`` statement.

    Raises MinirepError, with the file's name, for anything that is not such a file or does not hold what it promises.
    """

    def __init__(self, path) -> None:
        self.path = Path(path)
        self._shared: dict[str, bytes] = {}  # storages read so far in which there is more than one tensor
        try:
            if not self.path.is_file():
                raise self.error("not a file" if self.path.exists() else "no such file")
            self._file = io.FileIO(self.path)
        except (OSError, ValueError) as error:
            raise self.error(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
        try:
            self.size = self.path.stat().st_size
            self._require_zip()
            self._zip = self._opened()
            self._entries = self._checked_entries()
            self.content = self._content()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "TorchFile":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def error(self, message: str) -> MinirepError:
        """An error that starts with the file's name."""
        return MinirepError(f"{self.path}: {message}")

    def known(self, value, where: str):
        """Return the value itself, or raise the error that it is `Opaque`: ``where`` has something else to hold."""
        if isinstance(value, Opaque):
            raise self.error(f"{where} holds {value}; expected tensors, numbers and text alone")
        return value

    def read(self, tensor: StoredTensor) -> np.ndarray:
        """A tensor's numbers as a new array of its shape; bfloat16 becomes float32.

        The array is C-contiguous, whatever the strides in the file. No tensor may have more elements than its storage:
        torch could expand a single number to any size, a file of weights has no use for it.
        """
        storage, shape = self.known(tensor, "its pickle").storage, tensor.shape
        last = tensor.offset + sum((n - 1) * stride for n, stride in zip(shape, tensor.strides))
        if not tensor.size or last >= storage.count or tensor.size > storage.count:
            raise self.error(
                f"a tensor of shape {shape}, strides {tensor.strides} and offset {tensor.offset} "
                f"is empty or goes beyond its storage of {storage.count} numbers"
            )
        numbers = self._numbers(storage, keep=tensor.size < storage.count)[tensor.offset :]
        steps = [stride * numbers.itemsize if n > 1 else 0 for n, stride in zip(shape, tensor.strides)]
        array = np.lib.stride_tricks.as_strided(numbers, shape, steps, writeable=False)  # in bounds, as checked above
        if storage.dtype == BFLOAT16:
            return (array.astype(np.uint32, order="C") << 16).view(np.float32)
        return np.array(array, order="C")

    # --- steps of opening

    def _require_zip(self) -> None:
        start = self._file.read(512)
        self._file.seek(0)
        if start.startswith(LEGACY_PICKLE) or start[257:262] == LEGACY_TAR:
            raise self.error("the format of torch.save before 1.6; open it with torch 1.6 or later and save it again")
        if not start.startswith(b"PK\x03\x04"):
            raise self.error("not a checkpoint; expected a zip file as torch.save (1.6 or later) writes it")

    def _opened(self) -> zipfile.ZipFile:
        try:
            return open_zip(self._file)
        except ZIP_ERRORS as error:
            raise self.error(f"damaged or cut short: {quoted(str(error))}") from None

    def _checked_entries(self) -> dict[str, zipfile.ZipInfo]:
        """The zip's entries by their names without the leading "<name>/".

        As torch.save stores all entries as they are, they cannot be larger than the file together: whoever reads them
        is safe from zip bombs, from overlapping entries too. (Nothing is ever written to disk: names do no harm.)
        """
        infos = self._zip.infolist()
        names = [info.filename for info in infos]
        pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise self.error(f"found {len(pickles)} entries <name>/data.pkl, expected one, as torch.save writes it")
        top = pickles[0].removesuffix("data.pkl")
        for info in infos:
            if not info.filename.startswith(top):
                raise self.error(f"found the entry {quoted(info.filename)}, expected all to be in {quoted(top)}")
            if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 1:
                raise self.error(f"the entry {quoted(info.filename)} is compressed or encrypted; expected neither")
        entries = {info.filename.removeprefix(top): info for info in infos}
        if len(entries) < len(infos):
            raise self.error("found several entries of one name, expected one of each")
        if sum(info.file_size for info in infos) > self.size:
            raise self.error("its entries are larger than the file together: damaged or forged")
        return entries

    def _content(self):
        if "byteorder" in self._entries and self._bytes("byteorder", 16) != b"little":
            raise self.error("written on a big-endian machine, which is not supported; expected byte order little")
        program = self._bytes("data.pkl", MAX_PICKLE)
        try:
            return self.known(run(program), "its pickle")
        except Refused as error:
            raise self.error(f"its pickle holds {error}") from None
        except PICKLE_ERRORS as error:
            raise self.error(f"its pickle is damaged: {type(error).__name__}, {quoted(str(error))}") from None

    # --- reading entries

    def _bytes(self, name: str, limit: int) -> bytes:
        info = self._entries.get(name)
        if info is None:
            raise self.error(f"the entry {quoted(name)} is missing")
        if info.file_size > limit:
            raise self.error(f"the entry {quoted(name)} has {info.file_size} bytes, expected at most {limit}")
        try:
            data = self._zip.read(info)  # checks the checksum, too
        except ZIP_ERRORS as error:
            raise self.error(f"the entry {quoted(name)} is damaged: {quoted(str(error))}") from None
        if len(data) != info.file_size:
            raise self.error(f"the entry {quoted(name)} has {len(data)} bytes, expected {info.file_size}")
        return data

    def _numbers(self, storage: Storage, keep: bool) -> np.ndarray:
        """(count,) numbers of one storage, those of bfloat16 as uint16. ``keep``: other tensors may want it, too."""
        dtype = np.dtype("<u2" if storage.dtype == BFLOAT16 else storage.dtype)
        data = self._shared.get(storage.key)
        if data is None:
            data = self._bytes(f"data/{storage.key}", self.size)
        if keep:
            self._shared[storage.key] = data
        if len(data) != storage.count * dtype.itemsize:
            raise self.error(
                f"the storage {quoted(storage.key)} has {len(data)} bytes, expected {storage.count} x {dtype.itemsize}"
            )
        return np.frombuffer(data, dtype)
