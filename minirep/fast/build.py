"""The program as machine code: compiled by Numba once, kept on disk, and loaded by later processes without Numba.

Loading takes some hundredths of a second, where importing Numba takes several tenths. What is kept is a plain object
file of our own functions; it needs nothing from Python or from Numba. Its name tells the sources, the compiler and the
processor it was made from, so that a change in any of them leads to a new one.
"""

import contextlib
import ctypes
import gc
import hashlib
import os
import sys
import tempfile
import threading
from functools import lru_cache
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

from ..errors import MinirepError
from .target import CPU, FEATURES, TRIPLE

SYSTEM_FUNCTIONS = {"sched_yield", "memset", "memcpy", "memmove"}  # all that the program may call
_lock = threading.Lock()


@lru_cache(maxsize=1)
def _name() -> str:
    sources = b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py")))
    made_from = (sources, llvmlite.__version__, TRIPLE, CPU, FEATURES)
    return f"program-{hashlib.sha256(repr(made_from).encode()).hexdigest()[:24]}.o"


def _folders() -> list[Path]:
    """Where the object file may lie: where Numba is told to keep its own; else beside the sources, or with the user."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        return [Path(os.environ["NUMBA_CACHE_DIR"])]
    folders = [Path(__file__).parent / "__pycache__"]
    cache = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    with contextlib.suppress(RuntimeError):  # where there is no home folder
        folders.append(Path(cache or Path.home() / ".cache") / "minirep")
    return folders


def _read() -> bytes | None:
    """The object file, unless there is none or it is damaged: its checksum stands in front of it."""
    for folder in _folders():
        try:
            found = (folder / _name()).read_bytes()
        except OSError:
            continue
        if hashlib.sha256(found[32:]).digest() == found[:32]:
            return found[32:]
    return None


def _keep(code: bytes) -> None:
    """Write the object file where it is possible; where it is not, the next process compiles again."""
    for folder in _folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".program-", delete=False) as file:
                try:
                    file.write(hashlib.sha256(code).digest() + code)
                    file.close()
                    os.chmod(file.name, 0o644)
                    os.replace(file.name, folder / _name())  # at once, so that nobody reads half a file
                except OSError:
                    os.unlink(file.name)
                    raise
            return
        except OSError:
            continue


@contextlib.contextmanager
def _without_collection():
    """No search for garbage meanwhile: Numba makes so many objects that it would take a tenth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@_without_collection()
def _compile() -> bytes:
    """Numba's translation of `program.run`, less what it adds for Python, as an object file."""
    from numba import njit, types

    from . import emit, program

    signature = types.void(*[types.int64] * program.ARGUMENTS)
    options = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    compiled = njit(signature, **options)(program.run).overloads[signature.args]
    module = llvm.parse_assembly(compiled.library.get_llvm_str().replace(emit.UNTOUCHED, ""))
    entry = compiled.fndesc.llvm_func_name
    for function in module.functions:
        if not function.is_declaration:
            function.linkage = "external" if function.name == entry else "internal"
    module.get_function(entry).name = "run"
    _optimise(module)
    called = {f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")}
    if not called <= SYSTEM_FUNCTIONS:
        raise MinirepError(f"the compiled program calls {', '.join(sorted(called))}, expected {SYSTEM_FUNCTIONS}")
    return _machine().emit_object(module)


def _optimise(module) -> None:
    """LLVM's passes for the whole program, by whichever interface this llvmlite has for them.

    Without its search for vectors and its unrolling of loops: the kernels' are written out already.
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
    _initialise()
    return llvm.Target.from_triple(TRIPLE).create_target_machine(cpu=CPU, features=FEATURES, opt=3, jit=True)


@lru_cache(maxsize=1)
def _initialise() -> None:
    with contextlib.suppress(RuntimeError):  # newer versions do this themselves
        llvm.initialize()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


def kept() -> bool:
    """Whether an earlier process has left the compiled program."""
    return _read() is not None


def program():
    """The program as a function of integers; while it runs, other Python threads do too."""
    with _lock:
        return _program()


@lru_cache(maxsize=1)
def _program():
    code = _read()
    if code is None:
        code = _compile()
        _keep(code)
    _initialise()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    # Numba's way to call: room for a result and for an exception come first, and there is neither.
    words = [ctypes.c_int64] * 9
    function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *words)(
        engine.get_function_address("run")
    )
    nothing = ctypes.create_string_buffer(16)
    place = ctypes.addressof(nothing)

    def run(*integers):
        function(place, place, *integers)

    run.keep = engine, nothing
    return run
