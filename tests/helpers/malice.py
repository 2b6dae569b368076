"""Pickles that would run something if they were unpickled, and a tripwire that tells whether they did."""

import struct
import sys

import pytest
from pyth import Raw

TRIPWIRE = "tripwire_module"
# Instructions that would call or import something, or that torch.save does not write. X{command} is text, put in below.
MALICE = {
    "os.system": b"cos\nsystem\n(X{command}tR",
    "posix.system": b"cposix\nsystem\n(X{command}tR",
    "new protocol": b"\x8c\x02os\x8c\x06system\x93X{command}\x85R",
    "builtins.exec": b"cbuiltins\nexec\n(X{python}tR",
    "__builtin__.eval": b"c__builtin__\neval\n(X{python}tR",
    "nested getattr": b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(X\x02\0\0\0ostRX\x06\0\0\0systemtR(X{command}tR",
    "dotted name": b"\x8c\x02os\x8c\x0epath.os.system\x93X{command}\x85R",
    "import alone": b"ctripwire_module\nanything\n0N",
    "subprocess": b"csubprocess\nPopen\n((X\x05\0\0\0touchX{sprung}ttR",
    "INST": b"(X{command}ios\nsystem\n",
    "OBJ": b"(cos\nsystem\nX{command}o",
    "NEWOBJ": b"ctripwire_module\nC\n)\x81",
    "NEWOBJ_EX": b"ctripwire_module\nC\n)}\x92",
    "extension registry": b"\x82\x01",
    "extension registry, long": b"\x84\x01\0\0\0",
    "persistent id as text": b"Pstorage\n",
    "persistent id of a call": b"(\x8c\x07storagecos\nsystem\n\x8c\x010\x8c\x03cpuK\x01tQ",
    "state of an object": b"ccollections\nOrderedDict\n}b",
    "state of a list": b"]}b",
    "a dictionary's own method": b"ccollections\nOrderedDict.fromkeys\n)R",
    "arguments for a dictionary": b"ccollections\nOrderedDict\n(](cos\nsystem\netR",
    "call of text": b"X\x02\0\0\0os)R",
    "call of a type": b"ctorch\nFloatStorage\n)R",
    "call of a result": b"ccollections\nOrderedDict\n)R)R",
    "torch.load in a pickle": b"ctorch.storage\n_load_from_bytes\n(X{command}tR",
    "numpy": b"cnumpy.core.multiarray\n_reconstruct\n)R",
    "functools": b"cfunctools\npartial\n(cos\nsystem\ntR",
    "copyreg": b"ccopy_reg\n_reconstructor\n(cos\nsystem\nc__builtin__\nobject\nNtR",
    "module with a space": b"\x8c\x17collections OrderedDict\x8c\x00\x93)R",
    "name that is no text": b"]]\x93",
    "bytes": b"C\x01x",
    "a set": b"\x8f",
    "text numbers": b"I1\n",
    "text strings": b"S'x'\n",
    "buffers": b"\x97",
}


def malicious(program: bytes, sprung) -> Raw:
    """The instructions with the command, the file or the Python text put in, each behind its length."""

    def text(value):
        return struct.pack("<I", len(value)) + value.encode()

    blanks = {"command": f"touch {sprung}", "python": f"open({str(sprung)!r}, 'w').close()", "sprung": str(sprung)}
    for blank, value in blanks.items():
        program = program.replace(b"{%s}" % blank.encode(), text(value))
    return Raw(program)


def sprung_program(program, sprung):
    return b"\x80\x04" + bytes(malicious(program, sprung)) + b"."


@pytest.fixture
def tripwire(tmp_path, monkeypatch):
    """A file that appears when malice is done: a command of the pickle makes it, or the import of a module."""
    sprung = tmp_path / "sprung"
    (tmp_path / f"{TRIPWIRE}.py").write_text(f"open({str(sprung)!r}, 'w').close()\n\n\nclass C: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield sprung
    assert not sprung.exists() and TRIPWIRE not in sys.modules
