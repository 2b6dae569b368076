"""Read files of ``torch.save``, without PyTorch and without executing code from the file.

Such a file is a zip of uncompressed entries: ``<name>/data.pkl``, a pickle of the saved object, and ``<name>/data/0``,
``<name>/data/1`` ..., the raw numbers of its tensors. Each of these entries is called a *storage*.

A pickle is not data. It is a program for a small stack machine, and two of its instructions make it dangerous: GLOBAL
finds any function of any installed module by its name, and REDUCE calls it. So the author of the file decides what runs
on the computer that unpickles it (arbitrary code execution). Nothing is unpickled here. `pickletools.genops` lists the
instructions and executes nothing; `run` carries out the harmless ones that ``torch.save`` uses. Its GLOBAL imports
nothing: a name remains a name. Its REDUCE accepts the three globals that tensors need, and makes plain values. Objects
of any other class, such as a scheduler's counter or a NumPy scalar, are not built: an `Opaque` represents them. It does
no harm in an entry that is not read; as a weight or a setting, it is an error (`known`). Every other instruction is an
error that names it.

Source: the module pickletools of the standard library describes the instructions; ``python -m pickletools data.pkl``
lists those of any pickle.
"""

import io
import math
import os
import pickletools
import re
import struct
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import MinirepError, expect, naming
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

BFLOAT16 = "bfloat16"  # the upper half of a float32, a type that NumPy lacks
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


@dataclass(frozen=True)
class Name:
    """A module and a name in it, such as "torch FloatStorage", which is never imported."""

    text: str


@dataclass(frozen=True, eq=False)
class Opaque:
    """An object that is not built; ``text`` is the global that would have made it."""

    text: str

    def __str__(self) -> str:
        return f"the disallowed global {quoted(self.text.replace(' ', '.'))}"


@dataclass(frozen=True)
class Storage:
    """A storage: ``count`` numbers in the entry data/``key`` of the zip."""

    dtype: str
    key: str
    count: int

    @property
    def stored(self) -> np.dtype:
        """The NumPy type of its numbers in the file; uint16 for bfloat16."""
        return np.dtype("<u2" if self.dtype == BFLOAT16 else self.dtype)


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a storage: element (i, j ...) is number offset + i * strides[0] + j * strides[1] ..."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def is_float(self) -> bool:
        return self.storage.dtype in ("<f8", "<f4", "<f2", BFLOAT16)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size of the elements in bytes."""
        return self.size * self.storage.stored.itemsize


class Refused(ValueError):
    """An instruction or a value in a pickle is not supported; the message names it."""


_require = partial(expect, error=Refused)


def _is_count(value) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _tensor(storage, offset, shape, strides, requires_grad=False, hooks=None, metadata=None) -> StoredTensor:
    whole = isinstance(storage, Storage) and isinstance(shape, tuple) and isinstance(strides, tuple)
    whole = whole and len(shape) == len(strides) and len(shape) <= MAX_DIMENSIONS
    _require(whole, f"a tensor without storage, or not of 0 to {MAX_DIMENSIONS} dimensions with a stride each")
    counts = all(map(_is_count, (offset, *shape, *strides)))
    _require(counts, "a tensor whose offset, shape or strides are not whole numbers from 0")
    return StoredTensor(storage, offset, shape, strides)


def _parameter(data, requires_grad=False, hooks=None) -> StoredTensor:
    _require(isinstance(data, StoredTensor), "a parameter that holds no tensor")
    return data


CALLS: dict[str, Callable] = {
    "collections OrderedDict": lambda: {},  # Python's dictionaries keep their order
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
}


def _name(module: str, name: str) -> Name | Opaque:
    _require(len(module) + len(name) <= MAX_LINE, f"a name of more than {MAX_LINE} characters")
    text = module + " " + name
    return Name(text) if text in CALLS or text in DTYPES else Opaque(text)


def _call(function, arguments):
    """Return the result of one of `CALLS`; it is opaque if an argument is."""
    known = isinstance(function, Name) and function.text in CALLS
    _require(known and isinstance(arguments, tuple), "a call of something that is not a function")
    opaque = [argument for argument in arguments if isinstance(argument, Opaque)]
    return opaque[0] if opaque else CALLS[function.text](*arguments)


def _storage(reference) -> Storage | Opaque:
    """Make a storage from what torch.save writes for it: ("storage", type, key, device it was on, length)."""
    kind, dtype, key, _, count = reference
    if isinstance(dtype, Opaque):
        return dtype
    whole = kind == "storage" and isinstance(dtype, Name) and isinstance(key, str) and _is_count(count)
    _require(whole, "a persistent reference that is not a storage")
    return Storage(DTYPES[dtype.text], key, count)


def _opaque(value) -> Opaque:
    """Return an `Opaque` for a value of no use here: bytes, a huge number, a key that is neither text nor number."""
    return value if isinstance(value, Opaque) else Opaque(f"builtins {type(value).__name__}")


def _extend(target, items: list) -> list:
    _require(isinstance(target, list), "list items without a list")
    target.extend(items)
    return target


def _update(target, items: list) -> dict:
    """Add key, value, key, value ... to a dictionary. A nested key could exhaust hash(), so it becomes opaque."""
    keys = items[::2]
    whole = isinstance(target, dict) and len(items) % 2 == 0 and not any(isinstance(key, (list, dict)) for key in keys)
    _require(whole, "a dictionary item without a dictionary or a value, or whose key is a list or a dictionary")
    target.update(zip((key if type(key) in (str, int) else _opaque(key) for key in keys), items[1::2]))
    return target


def _build(target, attributes) -> dict:
    """Ignore the attributes of an OrderedDict: state_dict's version numbers."""
    _require(isinstance(target, dict), "attributes of something that is not a dictionary")
    return target


def _foreign(*_) -> None:
    raise Refused("an object of something that is not a class")


# The value that each instruction puts on the stack, made from its argument in the program or from the values that it
# takes off the stack. `pickletools` lists how many these are; all values since the last MARK come as one list.
EFFECTS: dict[str, Callable] = {
    # plain values
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "BINFLOAT"), lambda number: number),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE"), lambda text: text),
    **dict.fromkeys(("LONG1", "LONG4"), lambda number: number if -(1 << 63) <= number < 1 << 63 else _opaque(number)),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), _opaque),
    # containers
    **dict.fromkeys(("EMPTY_TUPLE", "TUPLE"), tuple),
    **dict.fromkeys(("TUPLE1", "TUPLE2", "TUPLE3"), lambda *items: items),
    "EMPTY_LIST": list,
    "APPEND": lambda target, item: _extend(target, [item]),
    "APPENDS": _extend,
    "EMPTY_DICT": dict,
    "SETITEM": lambda target, key, value: _update(target, [key, value]),
    "SETITEMS": _update,
    "EMPTY_SET": lambda: Opaque("builtins set"),
    "FROZENSET": lambda items: Opaque("builtins frozenset"),
    # names, and what is made of them
    "GLOBAL": lambda text: _name(*text.split(" ", 1)),
    "STACK_GLOBAL": _name,  # a TypeError unless both are text
    "REDUCE": _call,
    **dict.fromkeys(("NEWOBJ", "NEWOBJ_EX", "ADDITEMS"), _foreign),
    "BINPERSID": _storage,
    "BUILD": _build,
}
# What is called, filled or built upon. If it is opaque, it stays as it is, whatever the other values are.
ON_OBJECTS = {"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "REDUCE", "NEWOBJ", "NEWOBJ_EX", "BUILD"}


class _Program(io.BytesIO):
    """Bytes with lines of limited length: a line of a pickle contains a name or a small number."""

    def readline(self, size=-1):
        return super().readline(MAX_LINE)


def run(program: bytes):
    """Return the value of a pickle: None, bool, int, float, str, tuple, list, dict, `StoredTensor` or `Opaque`.

    Raises `Refused` for an instruction or a value that torch.save does not write, and ValueError, TypeError,
    LookupError or AttributeError for an invalid program.
    """
    stack: list = []
    outer: list[list] = []  # MARK puts the stack aside here and starts a new one
    memo: dict = {}
    for count, (instruction, argument, position) in enumerate(pickletools.genops(_Program(program))):
        if count >= MAX_INSTRUCTIONS:
            raise Refused(f"more than {MAX_INSTRUCTIONS} instructions")
        match instruction.name:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                outer.append(stack)
                stack = []
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "BINPUT" | "LONG_BINPUT":  # the memo is a dictionary: a huge index costs no more than a small one
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "STOP":
                (result,) = stack
                if outer:
                    raise ValueError("a MARK without its end")
                return result
            case name if effect := EFFECTS.get(name):
                taken, operands = instruction.stack_before, [argument] if instruction.arg else []
                if pickletools.markobject in taken:
                    taken, operands, stack = taken[:-2], [stack], outer.pop()
                operands += [stack.pop() for _ in taken]
                ignored = name in ON_OBJECTS and isinstance(operands[-1], Opaque)
                stack.append(operands[-1] if ignored else effect(*reversed(operands)))
            case other:
                raise Refused(f"the instruction {other} at byte {position}, which torch.save does not write")


# What the program of a damaged file raises.
PICKLE_ERRORS = (ValueError, TypeError, LookupError, AttributeError, OverflowError, struct.error)


def known(value, where: str):
    """Return the value itself; raise a MinirepError if it is `Opaque`. ``where`` names its place in the file."""
    if isinstance(value, Opaque):
        raise MinirepError(f"{where} holds {value}; expected tensors, numbers and text alone")
    return value


class TorchFile(AbstractContextManager):
    """An open file of ``torch.save``; ``content`` is the saved object with a `StoredTensor` for each tensor.

    `read` reads the numbers of a tensor. It reads each storage only once, even if several tensors share it. Numbers
    that are not requested, such as the state of an optimizer, are not read. Use it in a ``with`` statement.

    Raises a MinirepError with the file's name for a file that is damaged or not of this format.
    """

    def __init__(self, path) -> None:
        self.path = Path(path)
        self._shared: dict[str, bytes] = {}  # storages read so far in which there is more than one tensor
        with naming(self.path), ExitStack() as opened:
            self._file = opened.enter_context(open(self.path, "rb"))
            self.size = self._file.seek(0, os.SEEK_END)
            self._zip = self._opened()
            self._entries = self._by_name()
            self.content = self._content()
            opened.pop_all()

    def __exit__(self, *_) -> None:
        self._file.close()

    def read(self, tensor: StoredTensor) -> np.ndarray:
        """Read a tensor's numbers into a new array of its shape; bfloat16 becomes float32.

        The array is C-contiguous, whatever the strides in the file. A tensor with more elements than its storage is an
        error: torch can expand a single number to any size, but weights do not need it.
        """
        with naming(self.path):
            storage, shape = known(tensor, "its pickle").storage, tensor.shape
            last = tensor.offset + sum((n - 1) * stride for n, stride in zip(shape, tensor.strides))
            inside = tensor.size and last < storage.count and tensor.size <= storage.count
            found = f"a tensor of shape {shape}, strides {tensor.strides} and offset {tensor.offset}"
            expect(inside, f"{found} is empty or goes beyond its storage of {storage.count} numbers")
            data = self._shared.get(storage.key) or self._bytes(f"data/{storage.key}", self.size)
            if tensor.size < storage.count:
                self._shared[storage.key] = data
            found, itemsize = f"the storage {quoted(storage.key)} has {len(data)} bytes", storage.stored.itemsize
            expect(len(data) == storage.count * itemsize, f"{found}, expected {storage.count} x {itemsize}")
        numbers = np.frombuffer(data, storage.stored)[tensor.offset :]
        steps = [stride * itemsize if n > 1 else 0 for n, stride in zip(shape, tensor.strides)]
        array = np.lib.stride_tricks.as_strided(numbers, shape, steps, writeable=False)  # in bounds, as checked above
        if storage.dtype == BFLOAT16:
            return (array.astype(np.uint32, order="C") << 16).view(np.float32)
        return np.array(array, order="C")

    def _opened(self) -> zipfile.ZipFile:
        self._file.seek(0)
        start = self._file.read(512)
        old = start.startswith(LEGACY_PICKLE) or start[257:262] == LEGACY_TAR
        expect(not old, "the format of torch.save before 1.6; open it with torch 1.6 or later and save it again")
        is_zip = start.startswith(b"PK\x03\x04")
        expect(is_zip, "not a checkpoint; expected a zip file as torch.save (1.6 or later) writes it")
        try:
            return open_zip(self._file)
        except ZIP_ERRORS as error:
            raise MinirepError(f"damaged or cut short: {quoted(str(error))}") from None

    def _by_name(self) -> dict[str, zipfile.ZipInfo]:
        """Return the zip's entries by their names without the leading "<name>/". None is ever written to disk."""
        infos = self._zip.infolist()
        tops = [info.filename[:-8] for info in infos if re.fullmatch(r"[^/]*/data\.pkl", info.filename)]
        expect(len(tops) == 1, f"found {len(tops)} entries <name>/data.pkl, expected one, as torch.save writes it")
        for info in infos:
            name, inside = quoted(info.filename), info.filename.startswith(tops[0])
            expect(inside, f"found the entry {name}, expected all to be in {quoted(tops[0])}")
        return {info.filename.removeprefix(tops[0]): info for info in infos}

    def _content(self):
        little = "byteorder" not in self._entries or self._bytes("byteorder", 16) == b"little"
        expect(little, "written on a big-endian machine, which is not supported; expected byte order little")
        program = self._bytes("data.pkl", MAX_PICKLE)
        try:
            return known(run(program), "its pickle")
        except Refused as error:
            raise MinirepError(f"its pickle holds {error}") from None
        except PICKLE_ERRORS as error:
            raise MinirepError(f"its pickle is damaged: {type(error).__name__}, {quoted(str(error))}") from None

    def _bytes(self, name: str, limit: int) -> bytes:
        entry = f"the entry {quoted(name)}"
        expect(name in self._entries, f"{entry} is missing")
        size = self._entries[name].file_size
        expect(size <= limit, f"{entry} has {size} bytes, expected at most {limit}")
        try:
            return self._zip.read(self._entries[name])  # checks the checksum, too
        except ZIP_ERRORS as error:
            raise MinirepError(f"{entry} is damaged: {quoted(str(error))}") from None
