"""The program as machine code: compiled with Numba once, cached on disk, and loaded by later processes without Numba.

Loading takes some hundredths of a second; importing Numba takes several tenths. The cache is a plain object file with
the functions of this package; it needs nothing from Python or from Numba. Its name and its checksum depend on the
sources, the compiler and the processor, so a change in any of them leads to a new file.

Loading this file executes it. So it is read only if no one but this user or root can have written the file and its
folder (docs/project/security.md). Otherwise, the program is compiled again.
"""

import contextlib
import ctypes
import gc
import hashlib
import importlib.util
import logging  # noqa: F401 (see below)
import os
import stat
import sys
import threading
from functools import lru_cache
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

from ..errors import MinirepError, expect
from ..files.write import replacing
from .target import CPU, FEATURES, PAIRS, TILES, TRIPLE

ARGUMENTS = 9  # of `program.run`, all of them 64-bit integers
SYSTEM_FUNCTIONS = {"sched_yield", "memset", "memcpy", "memmove"}  # the only functions that the program may call
OBJECT = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\x64\x86", b"\x64\xaa")  # the start of ELF, Mach-O and COFF (x86, Arm)
LONGEST = 120  # seconds that a fork waits
# Links are not followed, and opening a FIFO does not block.
OPEN = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_lock = threading.RLock()  # held while the compiler is imported or runs, and while its output is loaded


def _release() -> None:
    with contextlib.suppress(RuntimeError):  # it was not acquired in time
        _lock.release()


def _renew_lock() -> None:
    global _lock
    _lock = threading.RLock()


# A fork waits for the compiler, whose own locks would stay locked in the child. Such hooks run in the reverse order of
# their registration, so this one runs before that of logging, which takes locks that the compiler's modules need.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _lock.acquire(timeout=LONGEST), after_in_parent=_release, after_in_child=_renew_lock
    )


@lru_cache(maxsize=1)
def _key() -> bytes:
    """Return a digest of everything that the program is made from."""
    sources = b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py")))
    numba = b""
    with contextlib.suppress(Exception):  # its version, without importing it; it may not be in a folder
        numba = Path(importlib.util.find_spec("numba").origin).with_name("_version.py").read_bytes()
    made_from = (2, sources, numba, llvmlite.__version__, TRIPLE, CPU, FEATURES, PAIRS, TILES)  # 2: the file's format
    return hashlib.sha256(repr(made_from).encode()).digest()


def _name() -> str:
    return f"program-{_key().hex()[:24]}.o"


def _checksum(code: bytes) -> bytes:
    """Return the checksum of the code and of everything it is made from, so that a renamed file does not match."""
    return hashlib.sha256(_key() + code).digest()


def _folders() -> list[Path]:
    """Return the folders for the object file: Numba's cache folder; else beside the sources, or in the user's cache.

    In a folder that others can write, such as /tmp, the user's own subfolder is used. A relative path is ignored, as it
    depends on the folder in which the program is started.
    """
    asked = Path(os.environ.get("NUMBA_CACHE_DIR", ""))
    beside = [] if asked.is_absolute() else [Path(__file__).parent / "__pycache__"]
    if beside:
        asked = Path(os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", "")) / "minirep"
        with contextlib.suppress(RuntimeError):  # if there is no home folder
            asked = asked if asked.is_absolute() else Path.home() / ".cache" / "minirep"
    own = asked / f"minirep-{os.geteuid() if hasattr(os, 'geteuid') else 'own'}"
    return [folder for folder in (*beside, asked, own) if folder.is_absolute()]


@contextlib.contextmanager
def _trusted(path, is_kind, folder: int | None = None):
    """Open a folder or file that only this user or root can have written; raise OSError for any other."""
    descriptor = os.open(path, OPEN, dir_fd=folder)
    try:
        status = os.fstat(descriptor)
        if not is_kind(status.st_mode) or status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
            raise PermissionError
        yield descriptor
    finally:
        os.close(descriptor)


def _content(folder: Path) -> bytes:
    if not hasattr(os, "geteuid"):  # Windows: a user's folders are the user's own, unless an administrator opens them
        return (folder / _name()).read_bytes()
    with (
        _trusted(folder, stat.S_ISDIR) as place,
        _trusted(_name(), stat.S_ISREG, place) as descriptor,
        open(descriptor, "rb", closefd=False) as file,
    ):
        return file.read()


def _read() -> bytes | None:
    """Return the object file; None if it is missing, damaged or not safe to load."""
    for folder in _folders():
        try:
            found = _content(folder)
        except OSError:
            continue
        code = found[32:]
        if found[:32] == _checksum(code) and code.startswith(OBJECT):
            return code
    return None


def _keep(code: bytes) -> None:
    """Write the object file to the first folder from which it can be read; else, the next process compiles it again."""
    for folder in _folders():
        with contextlib.suppress(OSError, MinirepError):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            if hasattr(os, "geteuid"):
                with _trusted(folder, stat.S_ISDIR):
                    pass
            with replacing(folder / _name(), mode=0o644) as file:
                file.write(_checksum(code) + code)
            if _read() == code:
                return


@contextlib.contextmanager
def _without_collection():
    """Switch the garbage collector off: Numba creates so many objects that it would take a tenth of the time."""
    change_back = gc.enable if gc.isenabled() else gc.disable
    gc.disable()
    try:
        yield
    finally:
        change_back()


@_without_collection()
def _compile() -> bytes:
    """Compile `program.run` with Numba, without Numba's wrappers for Python, to an object file."""
    from numba import njit, types

    from . import emit, program

    llvm.add_symbol(emit.BFDOT[0], 1)  # an address for what Numba links and nobody calls
    signature = types.void(*[types.int64] * ARGUMENTS)
    compiled = njit(signature, **emit.OPTIONS)(program.run).overloads[signature.args]
    module = llvm.parse_assembly(compiled.library.get_llvm_str().replace(emit.DEFERRED, "").replace(*emit.BFDOT))
    entry = compiled.fndesc.llvm_func_name
    for function in module.functions:
        if not function.is_declaration:
            function.linkage = "external" if function.name == entry else "internal"
    module.get_function(entry).name = "run"
    _optimise(module)
    called = {f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")}
    found = ", ".join(sorted(called))
    expect(called <= SYSTEM_FUNCTIONS, f"the compiled program calls {found}, expected {SYSTEM_FUNCTIONS}")
    return _machine().emit_object(module)


def _optimise(module) -> None:
    """Run LLVM's passes on the whole program, through whichever interface this llvmlite has.

    Vectorization and loop unrolling are off, because the kernels spell out both.
    """
    if hasattr(llvm, "create_pass_builder"):
        options = llvm.create_pipeline_tuning_options(speed_level=3)
        options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
        builder = llvm.create_pass_builder(_machine(), options)
        builder.getModulePassManager().run(module, builder)
    else:
        builder = llvm.create_pass_manager_builder()
        builder.opt_level = 3
        passes = llvm.create_module_pass_manager()
        builder.populate(passes)
        passes.run(module)


@lru_cache(maxsize=1)
def _machine():
    with contextlib.suppress(RuntimeError):  # newer versions do this themselves
        llvm.initialize()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_triple(TRIPLE).create_target_machine(cpu=CPU, features=FEATURES, opt=3, jit=True)


def compiling():
    """Hold a lock while the compiler is imported or runs; a fork waits for it."""
    return _lock


def kept() -> bool:
    """Return whether the compiled program is cached."""
    return _read() is not None


def program():
    """Return the program as a function of integers. It runs without the GIL."""
    with compiling():
        return _program()


@lru_cache(maxsize=1)
def _program():
    code = _read()
    if code is None:
        code = _compile()
        _keep(code)
    machine = _machine()  # first, because it initialises LLVM
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    address = engine.get_function_address("run")
    expect(address, "the compiled program has no function to run; expected one")
    # In Numba's calling convention, pointers to a result and to an exception come first. The program has neither.
    words = [ctypes.c_int64] * ARGUMENTS
    function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *words)(address)
    nothing = ctypes.create_string_buffer(16)
    place = ctypes.addressof(nothing)

    def run(*integers):
        function(place, place, *integers)

    run.keep = engine, nothing
    return run
