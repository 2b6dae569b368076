"""Files that minirep writes: whole or not at all, through links, never over a device, and to standard output."""

import io
import os
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minirep
from minirep import RECIPES, Architecture, Classifier, MinirepError, random_network
from minirep.cli import main
from minirep.files import write
from minirep.files.write import irregular, replacing, writable

DEMO = Path(minirep.__file__).parent / "data" / "demo"
SPEECH = RECIPES["speech-commands-v2"]
links_only = pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
pipes_only = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.npz"
    arch = Architecture(width=2, depths=(1, 1, 1, 1), heads={"class": 3}, frames=SPEECH.frames)
    minirep.save(Classifier(random_network(arch), SPEECH, {"class": ("a", "b", "c")}, backend="numpy"), path)
    return str(path)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    path = tmp_path_factory.mktemp("manifest") / "manifest.csv"
    path.write_text(f"path,label\n{DEMO / 'one.wav'},a\n{DEMO / 'two.wav'},b\n", "utf-8")
    return str(path)


def put(path, content):
    with replacing(path) as file:
        file.write(content)


# --- whole or not at all ----------------------------------------------------------------------------------------------


@given(
    name=st.text("ab[]*?. öß-", min_size=1, max_size=60).filter(lambda s: s.strip(". ") and s != "-"), new=st.binary()
)
def test_it_is_written_whole_and_nothing_else_is_left(tmp_path_factory, name, new):
    folder = tmp_path_factory.mktemp("folder")
    for content in (b"old", new):
        put(folder / name, content)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {name: content}


def test_the_longest_name_can_be_written(tmp_path):
    put(tmp_path / ("n" * 255), b"x")


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_permissions_are_those_of_any_new_file(tmp_path, mask, model, capsys):
    before = os.umask(mask)
    try:
        put(tmp_path / "file", b"")
        assert main(["bundle", model, "-o", str(tmp_path / "app")]) == 0
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("file", "app")]
    assert modes == [0o666 & ~mask, 0o777 & ~mask]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_fails_on_the_way_changes_nothing(tmp_path, error):
    put(tmp_path / "file", b"old")
    with pytest.raises(error), replacing(tmp_path / "file") as file:
        file.write(b"new")
        raise error
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_what_a_killed_process_has_left_goes_with_the_next_one(tmp_path, monkeypatch):
    """And nothing else goes: not what another process is writing now, and no file of the user's."""

    def killed(*_):
        raise KeyboardInterrupt  # in the moment before the file gets its name; nothing is cleaned up after a kill

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        patch.setattr(os, "unlink", lambda _: None)
        with pytest.raises(KeyboardInterrupt):
            put(tmp_path / "a", b"new")
        with pytest.raises(KeyboardInterrupt):
            put(tmp_path / "other", b"new")
    (left,), (other,) = tmp_path.glob(".a.*"), tmp_path.glob(".other.*")
    mine = tmp_path / ".a.mine"
    mine.write_bytes(b"")
    put(tmp_path / "a", b"new")
    assert left.exists()
    old = time.time() - write.STALE - 10
    for path in (left, other, mine):
        os.utime(path, (old, old))
    put(tmp_path / "a", b"new")
    assert not left.exists() and other.exists() and mine.exists()


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
@pytest.mark.parametrize("room", [0, 100, 10_000])
@pytest.mark.parametrize("command", ["convert", "bundle"])
def test_a_full_disk_is_one_line(model, tmp_path, command, room):
    """A limit on the size of files fails as a full disk does, in the middle of the file."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}));"
    ignore = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
    code = f"{limit} {ignore} import sys; from minirep.cli import main; sys.exit(main(sys.argv[1:]))"
    target = tmp_path / "out"
    done = subprocess.run([sys.executable, "-B", "-c", code, command, model, "-o", str(target)], capture_output=True)
    assert done.returncode == 2 and done.stdout == b""
    assert done.stderr.decode() == f"minirep: error: {target}: cannot be written: File too large\n"
    assert list(tmp_path.iterdir()) == []


# --- what is in the way -----------------------------------------------------------------------------------------------


@links_only
def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "store").mkdir()
    for old in (None, b"old"):
        real = tmp_path / "store" / f"real-{old}"
        if old is not None:
            real.write_bytes(old)
        (tmp_path / "inner").unlink(missing_ok=True)
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "inner").symlink_to(real)
        (tmp_path / "link").symlink_to("inner")
        put(tmp_path / "link", b"new")
        assert (tmp_path / "link").is_symlink() and (tmp_path / "inner").is_symlink() and not real.is_symlink()
        assert real.read_bytes() == b"new"


def in_the_way(kind, folder):
    path = folder / kind
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a circle of links":
        path.symlink_to(path.name)
    elif kind == "a device":
        path.symlink_to("/dev/null")
    elif kind == "an open file":  # of this process: what it writes later would be lost with the file
        path.symlink_to("/dev/stderr")
    return path


KINDS = ["a named pipe", "a folder", "a circle of links", "a device"]
KINDS += ["an open file"] if os.path.isdir("/proc/self/fd") else []


@links_only
@pipes_only
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_a_file_is_replaced(kind, tmp_path, model, manifest, capsys):
    """Whichever command writes: each says in one line what it found, before its work, and leaves that as it is."""
    path = str(in_the_way(kind, tmp_path))
    before = os.lstat(path)
    commands = [["convert", model, "-o", path], ["fuse", model, "-o", path], ["bundle", model, "-o", path]]
    commands += [["eval", manifest, "--model", model, option, path] for option in ("--confusion", "--predictions")]
    for command in commands:
        assert main(command) == 2, command
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1
        assert err.startswith(f"minirep: error: {path}: cannot be written: found {kind}, expected a file")
    with pytest.raises(MinirepError, match=f"found {kind}"):
        minirep.save(minirep.load(model), path)
    after = os.lstat(path)
    assert (before.st_ino, before.st_mode) == (after.st_ino, after.st_mode) and len(os.listdir(tmp_path)) == 1


@links_only
@pytest.mark.parametrize("option", ["--confusion-picture", "--calibration-picture", "--plot"])
def test_pictures_too(option, tmp_path, model, manifest, capsys):
    pytest.importorskip("matplotlib")
    path = tmp_path / "picture.png"
    path.symlink_to("/dev/null")
    if option == "--plot":
        command = ["classify", "--model", model, "--timeline", str(DEMO / "one.wav"), option, str(path)]
    else:
        command = ["eval", manifest, "--model", model, option, str(path)]
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert out == "" and "found a device" in err and path.is_symlink()


def test_what_is_there_has_a_name(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert irregular(tmp_path / "file") is None and irregular(tmp_path / "nothing") is None
    assert irregular("with a zero\0byte") is None
    assert irregular(tmp_path) == "a folder"
    assert os.name == "nt" or irregular("/dev/null") == "a device"


def test_where_no_folder_is_nothing_can_be_written(tmp_path):
    for path in (tmp_path / "no" / "file", str(tmp_path / "no" / "file")):
        with pytest.raises(MinirepError, match="cannot be written: expected a file in an existing folder"):
            put(path, b"")
    assert writable(tmp_path / "file") == os.path.realpath(tmp_path / "file")


# --- standard output --------------------------------------------------------------------------------------------------


def run(*arguments, **options):
    command = [sys.executable, "-m", "minirep", *arguments]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 120, **options}
    return subprocess.run(command, **options)


@pytest.mark.parametrize("name", ["-", pytest.param("/dev/stdout", marks=links_only)])
@pytest.mark.parametrize("command", ["convert", "fuse", "bundle"])
def test_bytes_and_nothing_else_go_to_standard_output(command, name, model, tmp_path):
    done = run(command, model, "-o", name, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert run(command, model, "-o", "file", cwd=tmp_path).returncode == 0
    assert done.stdout == (tmp_path / "file").read_bytes()
    assert zipfile.is_zipfile(io.BytesIO(done.stdout)) and os.listdir(tmp_path) == ["file"]


@links_only
def test_standard_output_may_be_a_file_of_the_same_name(model, tmp_path):
    """With `> out` the shell has opened the file already; the bytes must arrive there, whatever it is called."""
    (tmp_path / "link").symlink_to("/dev/stdout")
    for name in ("/dev/stdout", *([str(tmp_path / "link")] if os.path.isdir("/proc/self/fd") else [])):
        with open(tmp_path / "out", "wb") as out:
            assert run("convert", model, "-o", name, stdout=out).returncode == 0
            assert os.fstat(out.fileno()).st_ino == os.stat(tmp_path / "out").st_ino
        assert minirep.load(tmp_path / "out").labels == {"class": ("a", "b", "c")}
    assert os.path.islink("/dev/stdout")  # as it was


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a terminal")
def test_a_terminal_gets_no_bytes(model):
    leader, follower = os.openpty()
    done = run("convert", model, "-o", "-", stdout=follower)
    os.close(follower)
    os.close(leader)
    assert done.returncode == 2 and b"-: found no file or pipe as standard output, expected one" in done.stderr


def test_standard_output_that_is_closed(model):
    read, out = os.pipe()
    os.close(read)
    done = run("convert", model, "-o", "-", stdout=out)
    os.close(out)
    assert done.returncode == 141 and done.stderr == b""


def test_from_a_program(model, tmp_path, monkeypatch, capsysbinary):
    minirep.save(minirep.load(model), "-")
    copy = tmp_path / "copy.npz"
    copy.write_bytes(capsysbinary.readouterr().out)
    for one, other in zip(minirep.load(copy).network.heads.values(), minirep.load(model).network.heads.values()):
        np.testing.assert_array_equal(one.weight, other.weight)
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(MinirepError, match="standard output"):
        minirep.save(minirep.load(model), "-")


@pytest.mark.parametrize("option", ["--confusion", "--predictions"])
def test_eval_keeps_its_tables_apart(option, manifest, model, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["eval", manifest, "--model", model, option, "-"]) == 2
    assert "-: found standard output, where eval prints its results" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


# --- what is read -----------------------------------------------------------------------------------------------------


@pipes_only
@pytest.mark.parametrize("command", ["info", "verify", "convert -o x", "fuse -o x", "bundle -o x", "bench"])
def test_a_model_is_a_file(command, tmp_path, capsys):
    pipe = tmp_path / "model.npz"
    os.mkfifo(pipe)
    for path, kind in ((pipe, "a named pipe"), (tmp_path, "a folder"), (Path(os.devnull), "a device")):
        name, *rest = command.split()
        assert main([name, str(path), *rest]) == 2
        assert f"{path}: found {kind}, expected a file: model.npz or checkpoint.pyth" in capsys.readouterr().err
    with pytest.raises(MinirepError, match="a named pipe"):
        minirep.read_checkpoint(pipe)


@pipes_only
def test_pipes_and_devices_in_a_folder_are_left_out(model, tmp_path, capsys):
    os.mkfifo(tmp_path / "a.wav")
    (tmp_path / "b.wav").symlink_to("/dev/zero")
    (tmp_path / "c.wav").write_bytes((DEMO / "one.wav").read_bytes())
    (tmp_path / "d.wav").mkdir()
    for options in ([], ["--timeline"], ["--json"], ["--csv"]):
        assert main(["classify", "--model", model, str(tmp_path), *options]) == 0
        out, err = capsys.readouterr()
        assert "c.wav" in out and "a.wav" not in out and "b.wav" not in out
        assert err.splitlines() == [
            f"minirep: {tmp_path / 'a.wav'}: skipped: found a named pipe, expected a file",
            f"minirep: {tmp_path / 'b.wav'}: skipped: found a device, expected a file",
        ]
    (tmp_path / "c.wav").unlink()
    assert main(["classify", "--model", model, str(tmp_path)]) == 1
    assert "found no sound in this folder" in capsys.readouterr().err


@pipes_only
def test_a_pipe_that_is_named_is_read(model, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "minirep", "classify", "--model", model, str(pipe)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        pipe.write_bytes((DEMO / "one.wav").read_bytes())
        out, err = running.communicate(timeout=60)
    assert running.returncode == 0 and out.startswith(str(pipe).encode()) and err == b""


@pipes_only
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_table_that_names_a_pipe_does_not_wait_for_it(model, tmp_path, jobs, capsys):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "manifest.csv").write_text(f"path,label\npipe.wav,a\n/dev/zero,b\n{DEMO / 'one.wav'},a\n", "utf-8")
    assert main(["eval", str(tmp_path / "manifest.csv"), "--model", model, "--jobs", jobs]) == 1
    err = capsys.readouterr().err
    assert "line 2: pipe.wav: found a named pipe, expected a sound file" in err
    assert "line 3: /dev/zero: found a device" in err and "2 of 3 rows failed" in err
