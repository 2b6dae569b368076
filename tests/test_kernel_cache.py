"""The cache of compiled kernels: nothing is loaded that others can have written, and a fork never leaves it locked."""

import hashlib
import os
import stat
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

import minirep

pytest.importorskip("llvmlite", reason="needs Numba, of the extra fast")
import llvmlite.binding as llvm

from minirep.fast import build

posix_only = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="owners and permissions of POSIX")
CODE = build.OBJECT[0] + bytes(range(256))


def read():
    """What `build._read` gives within ten seconds: a named pipe must not have it wait."""
    found = []
    thread = threading.Thread(target=lambda: found.append(build._read()), daemon=True)
    thread.start()
    thread.join(10)
    assert found, "reading the cache hangs"
    return found[0]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The cache's folder, with a program in it."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    build._keep(CODE)
    assert read() == CODE and [path.name for path in (tmp_path / "cache").iterdir()] == [build._name()]
    return tmp_path / "cache"


def give_away(path, monkeypatch):
    """Make a path another user's: really where we may, else by being another user ourselves."""
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345)
    else:
        me = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: me + 1)


@posix_only
@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022, 0o077])
def test_what_is_kept_is_read_again_whatever_the_umask(tmp_path, monkeypatch, mask):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "a" / "cache"))
    before = os.umask(mask)
    try:
        build._keep(CODE)
    finally:
        os.umask(before)
    assert read() == CODE
    file = tmp_path / "a" / "cache" / build._name()
    assert not (file.stat().st_mode | file.parent.stat().st_mode) & 0o022


def file_becomes(kind):
    def change(file, monkeypatch):
        content = file.read_bytes()
        file.unlink()
        if kind == "link":
            (file.parent / "elsewhere").write_bytes(content)
            file.symlink_to("elsewhere")
        elif kind == "pipe":
            os.mkfifo(file)
        elif kind == "folder":
            file.mkdir()

    return change


def folder_becomes_a_link(file, monkeypatch):
    file.parent.rename(file.parent.with_name("real"))
    file.parent.symlink_to("real")


UNTRUSTED = {
    "folder of another user": lambda file, patch: give_away(file.parent, patch),
    "file of another user": give_away,
    "folder that the group can write": lambda file, _: file.parent.chmod(0o775),
    "folder that all can write": lambda file, _: file.parent.chmod(0o1777),
    "file that the group can write": lambda file, _: file.chmod(0o664),
    "file that all can write": lambda file, _: file.chmod(0o646),
    "link": file_becomes("link"),
    "link to the folder": folder_becomes_a_link,
    "named pipe": file_becomes("pipe"),
    "folder in its place": file_becomes("folder"),
}


@posix_only
@pytest.mark.parametrize("change", UNTRUSTED.values(), ids=UNTRUSTED.keys())
def test_what_others_can_have_put_there_is_not_read(folder, monkeypatch, change):
    change(folder / build._name(), monkeypatch)
    assert read() is None and not build.kept()
    build._keep(CODE)  # as after compiling anew: it finds another place, or none, and never fails
    assert read() in (CODE, None)


@posix_only
@pytest.mark.parametrize("mode", [0o775, 0o1777])
def test_a_folder_for_everybody_gets_one_of_the_users_own(tmp_path, monkeypatch, mode):
    """NUMBA_CACHE_DIR=/tmp is usual in containers, and a umask of 002 makes folders that a group can write."""
    tmp_path.chmod(mode)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    build._keep(CODE)
    (own,) = tmp_path.iterdir()
    assert own.name == f"minirep-{os.geteuid()}" and stat.S_IMODE(own.stat().st_mode) & 0o022 == 0
    assert read() == CODE
    give_away(own, monkeypatch)
    assert read() is None


@posix_only
def test_root_may_install_it_for_all(folder, monkeypatch):
    if os.geteuid() == 0:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        assert read() == CODE
    assert stat.S_IMODE((folder / build._name()).stat().st_mode) == 0o644


@pytest.mark.parametrize("variable", ["NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"])
@pytest.mark.parametrize("value", ["cache", ".", "../x", ""])
def test_a_relative_folder_is_none(tmp_path, monkeypatch, variable, value):
    """Else whoever fills a folder, such as an archive that was unpacked, decides what is run in it."""
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, value)
    assert build._folders()
    assert all(path.is_absolute() and not path.is_relative_to(tmp_path) for path in build._folders())


def test_an_absolute_folder_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert build._folders()[0] == tmp_path and all(path.is_relative_to(tmp_path) for path in build._folders())
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setenv("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", str(tmp_path))
    assert tmp_path / "minirep" in build._folders()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no XDG_CACHE_HOME")
def test_instead_of_a_relative_folder_the_users_own_is_taken(tmp_path, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert tmp_path / ".cache" / "minirep" in build._folders()


DAMAGED = {
    "cut": lambda kept: kept[:-1],
    "longer": lambda kept: kept + b"\0",
    "empty": lambda kept: b"",
    "changed": lambda kept: kept[:100] + bytes([kept[100] ^ 1]) + kept[101:],
    "without its key in the checksum": lambda kept: hashlib.sha256(kept[32:]).digest() + kept[32:],
    "garbage with a right checksum": lambda kept: build._checksum(b"garbage" * 100) + b"garbage" * 100,
    "nothing with a right checksum": lambda kept: build._checksum(b""),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED.keys())
def test_what_is_damaged_is_not_read(folder, damage):
    file = folder / build._name()
    file.write_bytes(damage(file.read_bytes()))
    assert read() is None


CHANGES = {
    "CPU": "another",
    "FEATURES": "+other",
    "TRIPLE": "another-triple",
    "llvmlite.__version__": "0.0.1",
    "__file__": None,  # other sources, and another Numba
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_stale_or_foreign_build_is_not_read_even_under_the_right_name(folder, monkeypatch, tmp_path, name):
    ours = folder / build._name()
    build._key.cache_clear()
    try:
        with monkeypatch.context() as patch:
            if name == "__file__":
                (tmp_path / "build.py").write_text("other sources")
            value = str(tmp_path / "build.py") if name == "__file__" else CHANGES[name]
            patch.setattr(f"minirep.fast.build.{name}", value)
            assert build._name() != ours.name and read() is None
            ours.rename(folder / build._name())
            assert read() is None
    finally:
        build._key.cache_clear()


def test_another_numba_makes_another_key(monkeypatch, tmp_path):
    pytest.importorskip("numba")
    before = build._key()
    (tmp_path / "numba").mkdir()
    (tmp_path / "numba" / "_version.py").write_text("other")
    spec = type("spec", (), {"origin": str(tmp_path / "numba" / "__init__.py")})
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: spec)
    build._key.cache_clear()
    try:
        assert build._key() != before
    finally:
        build._key.cache_clear()


# --- in a process of its own ------------------------------------------------------------------------------------------

USE = """
import sys, threading, time, os
import numpy as np
from minirep import RECIPES, Architecture, Classifier, network, random_network
from minirep.fast import build
net = random_network(Architecture(width=2, depths=(1, 1, 1, 1), heads={"class": 5}, frames=32))
x = np.random.default_rng(0).normal(-5, 3, (1, 32, 128)).astype(np.float32)

def use():
    found = Classifier(net, RECIPES["nsynth"], backend="numba").probabilities(x)["class"]
    np.testing.assert_allclose(found, network.forward(net, x)["class"], rtol=1e-4)
"""


def run(code, cache, timeout=240, **options):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(Path(minirep.__file__).parents[1])}
    code = USE + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=timeout, **options
    )


def forged():
    """An object file whose function ends the process with the status 66: a tripwire."""
    machine = build._machine()
    arguments = ", ".join(f"i64 %a{i}" for i in range(2 + build.ARGUMENTS))
    body = "call void @_exit(i32 66)\n ret i32 0"
    module = llvm.parse_assembly(f"declare void @_exit(i32)\n define i32 @run({arguments}) {{ {body} }}")
    return machine.emit_object(module)


@posix_only
def test_forged_code_does_not_run(tmp_path, monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    build._keep(forged())
    assert run("use()", tmp_path / "cache").returncode == 66, "the tripwire does not work"
    (tmp_path / "cache").chmod(0o777)
    done = run("use(); print('numba' in sys.modules)", tmp_path / "cache")
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    done = run("use(); print('numba' in sys.modules)", tmp_path / "cache")
    assert (done.returncode, done.stdout) == (0, "False\n"), "what was compiled anew has not been kept"


FORK = """
begun = threading.Event()
if {when!r} == "import":
    class Finder:
        def find_spec(self, name, path, target=None):
            if name == "numba.core":
                begun.set()
    sys.meta_path.insert(0, Finder())
else:
    compile = build._compile
    build._compile = lambda: (begun.set(), compile())[1]
thread = threading.Thread(target=use)
thread.start()
assert begun.wait(60)
child = os.fork()
use()
if child == 0:
    os._exit(0)
thread.join()
end = time.monotonic() + 90
while time.monotonic() < end:
    pid, status = os.waitpid(child, os.WNOHANG)
    if pid:
        sys.exit(os.waitstatus_to_exitcode(status))
    time.sleep(0.05)
os.kill(child, 9)
os.waitpid(child, 0)
sys.exit("the child hangs")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("when", ["import", "compile"])
def test_a_fork_while_another_thread_compiles(tmp_path, when):
    pytest.importorskip("numba")
    done = run(FORK.format(when=when), tmp_path / "cache")
    assert done.returncode == 0, done.stderr
