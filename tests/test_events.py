"""Starts and ends of events in `minirep listen`, and the commands that it runs for them."""

import http.server
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from audio_files import sound
from stand_ins import SMALL, Loudness, bursts

import minirep
from minirep import MinirepError
from minirep.cli import hook as hooks
from minirep.cli import main
from minirep.cli.events import as_json
from minirep.cli.hook import Hook
from minirep.stream import Event

PAGE = Path(__file__).parents[1] / "docs/guide/listen.md"
DEMO = Path(minirep.__file__).parent / "data/demo"
posix_only = pytest.mark.skipif(os.name != "posix", reason="needs signals and programs of Unix")
PYTHON = shlex.quote(sys.executable)
NASTY = ("silence", 'it\'s "a"; $(touch hacked) `touch hacked`\n\x1b[31m\0 --version', "b")


@pytest.fixture
def told(monkeypatch):
    """The command gets a classifier that hears loudness, and labels that a careless program would execute."""
    clf = Loudness(labels=NASTY)
    monkeypatch.setattr("minirep.cli.listen.load", lambda *_, **__: clf)
    return clf


def listen(monkeypatch, capsys, samples, *arguments):
    """(exit status, JSON objects, lines of stderr) of `minirep listen`."""
    data = np.int16(np.asarray(samples) * 2**15).tobytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))
    status = main(["listen", "--no-skip", "--hop", "0.05", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, [json.loads(line) for line in out.splitlines()], err.splitlines()[1:]


SOUND = np.concatenate(list(bursts(8)))


# --- starts and ends --------------------------------------------------------------------------------------------------


@posix_only
def test_a_start_does_not_wait_for_a_source_that_stalls(tmp_path):
    """Transcript of real time: the start is there while no more sound comes, the end when it goes on."""
    if not (DEMO.parent / "digits.npz").exists():
        pytest.skip("the default model has not been made yet (minirep/data/digits.npz)")
    clip = np.frombuffer((DEMO / "nine.wav").read_bytes()[44:], "<i2")
    quiet = np.zeros(8000, "<i2")
    command = [sys.executable, "-m", "minirep", "listen", "--rate", "8000", "--backend", "numpy"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as running:
        before = time.time()
        running.stdin.write(np.concatenate([quiet, clip, quiet[:6000]]).tobytes())
        running.stdin.flush()
        start = json.loads(running.stdout.readline())  # though the source says nothing more
        after = time.time()
        running.stdin.write(np.concatenate([quiet, quiet]).tobytes())
        running.stdin.flush()
        end = json.loads(running.stdout.readline())
        out, _ = running.communicate(timeout=60)
    assert out == b"" and running.returncode == 0
    assert (start["event"], start["label"], start["end"], start["ended"]) == ("start", "nine", None, None)
    assert (end["event"], end["label"], end["start"]) == ("end", "nine", start["start"]) and end["end"] > end["start"]
    assert start["started"] == end["started"]
    started = datetime.fromisoformat(start["started"])
    assert started.tzinfo is not None and before - 3 < started.timestamp() < after


def test_clock_times_are_those_of_the_sound(told, monkeypatch, capsys):
    """The clock when the sound arrived, less what of the sound was after the event."""
    monkeypatch.setattr("minirep.cli.listen.time.time", lambda: 1_800_000_000.0)
    _, events, _ = listen(monkeypatch, capsys, SOUND[: 8000 * 3])
    for event in events:
        for name, moment in (("start", "started"), ("end", "ended")):
            if event[name] is not None:
                late = 1_800_000_000 - datetime.fromisoformat(event[moment]).timestamp()
                assert 0 <= late < 3.1 and re.search(r"\.\d{3}[+-]\d\d:\d\d$", event[moment])
    assert {event["event"] for event in events} == {"start", "end"}
    assert events[0]["started"] == events[1]["started"]
    first, last = (datetime.fromisoformat(events[1][name]).timestamp() for name in ("started", "ended"))
    assert last - first == pytest.approx(events[1]["end"] - events[1]["start"], abs=2e-3)
    monkeypatch.setattr("minirep.cli.listen.time.time", iter(range(1_800_000_000, 0, -1)).__next__)
    for event in listen(monkeypatch, capsys, SOUND)[1][1::2]:  # a file arrives before it has sounded
        first, last = (datetime.fromisoformat(event[name]).timestamp() for name in ("started", "ended"))
        assert last - first == pytest.approx(event["end"] - event["start"], abs=2e-3)


def test_cooldown_and_gate_reach_the_stream(told, monkeypatch, capsys):
    """Bursts come every three seconds."""
    count = {s: len(listen(monkeypatch, capsys, SOUND, "--cooldown", s)[1]) // 2 for s in (0, 2, 4, 60)}
    assert count == {0: 3, 2: 3, 4: 2, 60: 1}
    told.seen.clear()
    plain = listen(monkeypatch, capsys, SOUND)[1]
    whole = len(told.seen)
    told.seen.clear()
    gated = listen(monkeypatch, capsys, SOUND, "--gate", "-50")[1]
    assert 0 < len(told.seen) < whole / 2
    times = ("started", "ended")  # of two runs
    assert [{k: v for k, v in e.items() if k not in times} for e in gated] == [
        {k: v for k, v in e.items() if k not in times} for e in plain
    ]


@pytest.mark.parametrize(
    "option", ["--gate nan", "--gate 3", "--gate x", "--cooldown -1", "--cooldown nan", "--cooldown inf"]
)
def test_bad_numbers(told, monkeypatch, capsys, option):
    assert main(["listen", *option.split()]) == 2
    assert "expected" in capsys.readouterr().err


def test_a_timeline_has_a_gate_too(told, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("minirep.cli.classify.load", lambda *_, **__: told)
    (tmp_path / "a.wav").write_bytes(sound(SOUND, 8000))
    command = ["classify", "--timeline", "--json", str(tmp_path / "a.wav"), "--hop", "0.05"]
    assert main(command) == 0
    whole, plain = len(told.seen), capsys.readouterr().out
    told.seen.clear()
    assert main([*command, "--gate=-50"]) == 0
    assert capsys.readouterr().out == plain and len(told.seen) < whole / 2
    assert main(["classify", str(tmp_path / "a.wav"), "--gate", "-50"]) == 2
    assert "--gate needs --timeline" in capsys.readouterr().err


# --- commands ---------------------------------------------------------------------------------------------------------


def keeping(path) -> str:
    """A command that adds its standard input to a file."""
    return f"{PYTHON} -c \"import sys; open({str(path)!r}, 'ab').write(sys.stdin.buffer.read())\""


def test_the_command_gets_what_is_printed(told, monkeypatch, capsys, tmp_path):
    """Each start and end, in order, a line each; labels are data."""
    monkeypatch.chdir(tmp_path)
    status, events, complaints = listen(monkeypatch, capsys, SOUND, "--exec", keeping("kept"))
    assert status == 0 and complaints == []
    lines = (tmp_path / "kept").read_text("ascii").splitlines()
    assert [json.loads(line) for line in lines] == events and len(events) == 6
    assert {event["label"] for event in events} == {NASTY[1]} and os.listdir() == ["kept"]


@pytest.mark.parametrize("command", ["", "  ", "'", "no-such-program", "/etc/passwd", "/", "\0", "./missing -x"])
def test_what_cannot_be_run_is_told_at_the_start(told, capsys, monkeypatch, command):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(b""))))
    assert main(["listen", "--exec", command]) == 2
    err = capsys.readouterr().err
    assert err.startswith("minirep: error: --exec: found ") and err.count("\n") == 1 and "expected" in err


@posix_only
@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("false", "false failed with status 1 (no message)"),
        ("sh -c 'echo one >&2; printf \"two\\033[2J\" >&2; exit 3'", "sh failed with status 3 (two\\x1b[2J)"),
        ("sh -c 'kill -9 $$'", "sh failed with status -9"),
        ("sleep 60", "sleep took longer than"),
        ("sh -c 'trap \"\" TERM INT HUP; sleep 60; sleep 60'", "sh took longer than"),
        ("yes", "yes took longer than"),
        ("sh -c 'yes >&2'", "sh took longer than"),
    ],
)
def test_failures_are_a_line_each_and_nothing_is_left(told, monkeypatch, capsys, command, words):
    monkeypatch.setattr(hooks, "LIMIT", 0.4)
    before = children()
    status, events, complaints = listen(monkeypatch, capsys, SOUND[: 8000 * 3], "--exec", command)
    assert status == 0 and len(events) == 2
    assert complaints[0].startswith(f"minirep: --exec: {words}") and len(complaints) == 2
    assert children() == before


def children() -> list[str]:
    """What this process has started and not waited for (Linux)."""
    path = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    return path.read_text().split() if path.exists() else []


@posix_only
def test_what_a_command_leaves_behind_is_killed(tmp_path, monkeypatch):
    """The group of one that hangs, and of one that has ended."""
    monkeypatch.setattr(hooks, "LIMIT", 0.5)
    for script in ("sleep 100 & echo $! > pid", "sleep 100 & echo $! > pid; sleep 100"):
        hook = Hook(shlex.join(["sh", "-c", f"cd {shlex.quote(str(tmp_path))}; {script}"]))
        hook.add("{}")
        until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
        hook.close()
        until(lambda: gone(int((tmp_path / "pid").read_text())))
        (tmp_path / "pid").unlink()


def until(holds) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie whose parent has not heard of it yet has."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    path = Path(f"/proc/{pid}/stat")
    return path.exists() and path.read_text().rpartition(")")[2].split()[0] == "Z"


@posix_only
def test_a_slow_command_does_not_hold_up_the_sound(told, monkeypatch, capsys):
    """An event is handed over at once, and no more wait than may."""
    monkeypatch.setattr(hooks, "WAITING", 3)
    monkeypatch.setattr(hooks, "LIMIT", 0.5)
    begin = time.monotonic()
    hook = Hook("sleep 60")
    for i in range(8):
        hook.add(json.dumps(i))
    assert time.monotonic() - begin < 0.3
    err = capsys.readouterr().err.splitlines()
    assert 4 <= len(err) <= 5 and all("event dropped, as 3 events are waiting" in line for line in err)
    hook.close()
    assert time.monotonic() - begin < 3
    *_, last = capsys.readouterr().err.splitlines()
    assert re.search(r"events dropped at the end, .*: [23]$", last)


@posix_only
def test_events_larger_than_a_pipe_reach_one_that_reads_slowly(tmp_path):
    path = tmp_path / "kept"
    hook = Hook(f"{PYTHON} -c \"import sys, time; time.sleep(.2); open({str(path)!r}, 'w').write(sys.stdin.read())\"")
    hook.add("x" * 1_000_000)
    hook.close()
    assert len(path.read_text()) == 1_000_001


@posix_only
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_still_runs_the_command_for_the_end(number, tmp_path):
    """Ctrl-C goes to all processes of the terminal, but not to the command."""
    model = tmp_path / "model.npz"
    clf = minirep.Classifier(
        minirep.random_network(minirep.Architecture(width=2, depths=(1, 1, 1, 1), frames=30, heads={"class": 3})), SMALL
    )
    minirep.save(clf, model)
    command = [
        sys.executable,
        "-m",
        "minirep",
        "listen",
        "--model",
        str(model),
        "--backend",
        "numpy",
        "--threshold",
        "0.01",
    ]
    kept, begun = str(tmp_path / "kept"), tmp_path / "begun"
    script = "open(sys.argv[1], 'w'); time.sleep(.3); open(sys.argv[2], 'a').write(sys.stdin.read())"
    slow = f'{PYTHON} -c "import sys, time; {script}" {str(begun)!r} {kept!r}'
    with subprocess.Popen(
        [*command, "--exec", slow], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as running:  # fmt: skip
        running.stdin.write(np.int16(SOUND[:16000] * 2**15).tobytes())
        running.stdin.flush()
        first = running.stdout.readline()
        limit = time.monotonic() + 60
        while not begun.exists():  # before it has left minirep's process group, the signal would reach the command, too
            assert time.monotonic() < limit
            time.sleep(0.01)
        os.killpg(running.pid, number)
        out, err = running.communicate(timeout=60)
    assert running.returncode == {signal.SIGINT: 130, signal.SIGTERM: 0}[number], err
    lines = (tmp_path / "kept").read_bytes().splitlines()
    assert lines == (first + out).splitlines() and json.loads(lines[-1])["event"] == "end"


def test_json_has_an_end_only_when_it_is_over():
    assert as_json(Event(0.5, None, "a", 0.75)) == {
        "start": 0.5, "end": None, "head": "class", "label": "a", "confidence": 0.75
    }  # fmt: skip


# --- what the guide shows ---------------------------------------------------------------------------------------------


def shown(word: str) -> str:
    """The command of the guide's example that has this word in it."""
    lines = re.findall(r"^arecord .*--exec .*$", PAGE.read_text("utf-8"), re.M)
    (line,) = [line for line in lines if word in line]
    words = shlex.split(line.partition("| ")[2])
    return words[words.index("--exec") + 1]


@posix_only
def test_the_line_for_mqtt(told, monkeypatch, capsys, tmp_path):
    """A stand-in for mosquitto_pub writes down its arguments; -l publishes each line of its standard input."""
    (tmp_path / "mosquitto_pub").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/topics; cat >> {tmp_path}/messages\n')
    (tmp_path / "mosquitto_pub").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    _, events, complaints = listen(monkeypatch, capsys, SOUND[: 8000 * 3], "--exec", shown("mosquitto_pub"))
    assert not complaints and [json.loads(line) for line in (tmp_path / "messages").read_text().splitlines()] == events
    topics = (tmp_path / "topics").read_text().splitlines()
    assert len(topics) == len(events) == 2 and all(" -t minirep/heard -s" in line for line in topics)


@posix_only
@pytest.mark.parametrize(("word", "path"), [(":8080/heard", "/heard"), ("webhook", "/api/webhook/minirep")])
def test_the_lines_for_web_hooks(told, monkeypatch, capsys, word, path):
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    got = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, self.headers["Content-Type"], json.loads(body)))
            self.send_response(200 if len(got) < 2 else 500)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = re.sub(r"http://[\w.]+:\d+", f"http://127.0.0.1:{server.server_port}", shown(word))
        _, events, complaints = listen(monkeypatch, capsys, SOUND[: 8000 * 3], "--exec", command)
        server.shutdown()
    assert got == [(path, "application/json", event) for event in events] and len(events) == 2
    assert len(complaints) == 1 and "curl failed with status 22" in complaints[0]  # it was told of the status 500


def test_commands_are_split_as_a_shell_would():
    with pytest.raises(MinirepError, match="No closing quotation"):
        Hook("sh -c 'x")
    assert Hook("sh -c 'a b' \"c\"")._words == ["sh", "-c", "a b", "c"]


@posix_only
def test_a_second_signal_ends_the_command(tmp_path):
    """And leaves nothing of it behind."""
    command = f"sh -c 'echo $$ > {tmp_path}/pid; exec sleep 100'"
    hook = (
        "import signal; from minirep.cli.hook import Hook; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"h = Hook({command!r}); h.add('x'); print('up', flush=True); h.close()"
    )
    with subprocess.Popen([sys.executable, "-c", hook], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        running.stdout.readline()
        until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
        running.send_signal(signal.SIGINT)
        begin = time.monotonic()
        running.communicate(timeout=60)
    assert time.monotonic() - begin < 8 and gone(int((tmp_path / "pid").read_text()))
