"""As a service: limits that hold against real sockets, a unit that comes back, signals at any moment."""

import json
import logging
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import wave
from pathlib import Path

import numpy as np
import pytest

import minirep
from minirep import RECIPES, Architecture, Classifier, random_network
from minirep.cli import main
from minirep.files.bundle import bundle

GUIDE = Path(__file__).parents[1] / "docs" / "guide"
DEMO = Path(minirep.__file__).parent / "data" / "demo"
CLIP = (DEMO / "one.wav").read_bytes()
SPEECH = RECIPES["speech-commands-v2"]
posix_only = pytest.mark.skipif(os.name == "nt", reason="signals and shells of POSIX")


@pytest.fixture(scope="module")
def clf():
    arch = Architecture(width=2, depths=(1, 1, 1, 1), heads={"class": 5}, frames=SPEECH.frames)
    return Classifier(random_network(arch), SPEECH, backend="numpy")


@pytest.fixture(scope="module")
def model(clf, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.npz"
    minirep.save(clf, path)
    return str(path)


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", (GUIDE / page).read_text("utf-8"), re.M | re.S)


def request(body=CLIP, headers=(), path="/classify", length=None):
    """The bytes of a POST request; without a length of its own, with the right one."""
    length = len(body) if length is None else length
    lines = [f"POST {path} HTTP/1.1", "Host: here", f"Content-Length: {length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def reply(connection):
    """(status, content, headers) of what comes until the server closes the connection."""
    data = b""
    while new := connection.recv(1 << 16):
        data += new
    head, _, content = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(content), head.lower()


class Client:
    """Sends to a running server; all of its connections end with it."""

    def __init__(self, port):
        self.port, self.open = port, []

    def send(self, data):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        self.open.append(connection)
        connection.sendall(data)
        return connection

    def ask(self, *arguments, **options):
        return reply(self.send(request(*arguments, **options)))

    def half_headers(self, count):
        return [self.send(b"POST /classify HTTP/1.1\r\nHost: here\r\nX-") for _ in range(count)]

    def close(self):
        for connection in self.open:
            connection.close()


def is_closed(connection, seconds):
    """Whether the server closes a connection within so many seconds, instead of an answer."""
    connection.settimeout(seconds)
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    except TimeoutError:
        return False
    return True


# --- with FastAPI and uvicorn -----------------------------------------------------------------------------------------


@pytest.fixture
def page(clf, monkeypatch):
    """The page's module."""
    for package in ("fastapi", "uvicorn"):
        pytest.importorskip(package, reason="of the extra programs")
    monkeypatch.setattr(minirep, "load", lambda *_, **__: clf)
    names = {"__name__": "service"}
    exec(compile("\n".join(blocks("serve.md", "py")), "serve.md", "exec"), names)
    yield names
    names["pool"].shutdown()


@pytest.fixture
def serve(page, caplog):
    """Start the page's service with its own settings, or others; gives a client. Its log never holds a traceback."""
    import uvicorn

    caplog.set_level(logging.INFO)
    started = []

    def start(**other):
        config = uvicorn.Config(page["app"], port=0, log_config=None, **{**page["settings"], **other})
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        end = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < end
            time.sleep(0.01)
        started.append((server, thread, Client(server.servers[0].sockets[0].getsockname()[1])))
        return started[-1][2]

    yield start
    for server, thread, client in started:
        client.close()
        server.should_exit = True
        thread.join(30)
    records = [*caplog.get_records("call"), *caplog.records]
    assert records and not any(record.exc_info or "Traceback" in record.getMessage() for record in records)


def test_a_request_is_answered_and_its_connection_closed(serve, clf):
    status, content, headers = serve().ask(path="/classify?top=2")
    best = clf.classify(str(DEMO / "one.wav")).top(2)
    assert (status, content) == (200, {"top": [{"label": label, "probability": p} for label, p in best]})
    assert b"connection: close" in headers


def test_half_sent_headers_take_nothing_from_the_others(serve, page):
    page["MOST_SECONDS"] = 1
    client = serve()
    waiting = client.half_headers(100)
    assert client.ask()[0] == 200
    assert all(is_closed(connection, 30) for connection in waiting)
    assert client.ask()[0] == 200


def test_half_sent_headers_beyond_the_limit_are_gone_after_a_while(serve, page):
    page["MOST_SECONDS"] = 0.5
    client = serve(limit_concurrency=20)
    waiting = client.half_headers(25)
    connection = client.send(request())
    connection.settimeout(30)
    assert connection.recv(100).startswith(b"HTTP/1.1 503")
    assert all(is_closed(connection, 30) for connection in waiting)
    assert client.ask()[0] == 200


def test_without_its_own_connections_it_would_not_hold(serve, page):
    """What the page says of uvicorn: else its class would be of no use."""
    page["MOST_SECONDS"] = 0.2
    (waiting,) = serve(http="h11").half_headers(1)
    assert not is_closed(waiting, 2)


def test_a_slow_body_is_let_go(serve, page):
    page["MOST_SECONDS"] = 0.5
    status, content, _ = reply(serve().send(request(CLIP[:500], length=len(CLIP))))
    assert (status, content) == (503, {"detail": "not done within 0.5 s"})


def test_a_body_byte_by_byte_is_let_go(serve, page):
    page["MOST_SECONDS"] = 0.5
    client = serve()
    connection = client.send(request(b"", length=1000))
    begin = time.monotonic()
    with pytest.raises(OSError):
        while time.monotonic() < begin + 30:
            connection.sendall(b"x")
            time.sleep(0.05)
    assert time.monotonic() < begin + 30


def test_no_more_requests_at_a_time(serve, page):
    client = serve()
    slow = [client.send(request(CLIP[:500], length=len(CLIP))) for _ in range(page["MOST_REQUESTS"])]
    end = time.monotonic() + 30
    while not page["room"].locked():
        assert time.monotonic() < end
        time.sleep(0.01)
    assert client.ask()[:2] == (503, {"detail": "20 requests are in progress"})
    for connection in slow:
        connection.sendall(CLIP[500:])
    assert [reply(connection)[0] for connection in slow] == [200] * 20
    assert client.ask()[0] == 200


@pytest.mark.parametrize("body", [b"", CLIP[:500]])
def test_a_client_that_disconnects_leaves_no_traceback(serve, page, body):
    """The fixture looks into the log."""
    body_of, ended = page["body_of"], threading.Event()

    async def watched(request):
        try:
            return await body_of(request)
        finally:
            ended.set()

    page["body_of"] = watched
    client = serve()
    client.send(request(body, length=len(CLIP))).close()
    assert ended.wait(5), "the request has not ended before its time"
    assert client.ask()[0] == 200


def test_a_form_is_told_how_to_send_a_file(serve):
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + CLIP + b"\r\n--x--\r\n"
    status, content, _ = serve().ask(body, ["Content-Type: multipart/form-data; boundary=x"])
    assert status == 415 and "curl --data-binary" in content["detail"]


def test_strangers_are_not_told_to_install_anything(serve, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    monkeypatch.setitem(sys.modules, "av", None)
    status, content, _ = serve().ask(b"fLaC" + bytes(100))
    assert (status, content) == (415, {"detail": "found no WAV file, expected one"})


def test_headers_without_an_end(serve):
    connection = serve().send(b"POST /classify HTTP/1.1\r\nHost: here\r\nX: " + b"x" * 40_000)
    connection.settimeout(30)
    assert connection.recv(100).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("top", ["0", "-1", "101", "x"])
def test_unusable_numbers(serve, top):
    assert serve().ask(path=f"/classify?top={top}")[0] == 422


# --- with the standard library ----------------------------------------------------------------------------------------


@pytest.fixture
def plain(clf, monkeypatch, capfd):
    """The page's server, running: (its names, a client). Nothing is printed to standard error."""
    monkeypatch.setattr(minirep, "load", lambda *_, **__: clf)
    names = {}
    for block in blocks("in-a-service.md", "python")[:2]:
        exec(compile(block, "in-a-service.md", "exec"), names)
    assert {"clf", "Handler", "Server"} <= names.keys()
    server = names["Server"](("127.0.0.1", 0), names["Handler"])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    client = Client(server.server_port)
    yield names, client
    client.close()
    server.shutdown()
    server.server_close()
    thread.join(30)
    assert capfd.readouterr().err == ""


def test_the_plain_server_answers(plain, clf):
    status, content, _ = plain[1].ask()
    best = clf.classify(str(DEMO / "one.wav")).top(3)
    assert (status, content) == (200, {label: round(p, 4) for label, p in best})


def test_the_plain_server_lets_the_silent_go(plain):
    names, client = plain
    assert 0 < names["Handler"].timeout <= 30
    names["Handler"].timeout = 0.5
    waiting = client.half_headers(25)
    waiting.append(client.send(request(CLIP[:500], length=len(CLIP))))
    assert client.ask()[0] == 200
    assert all(is_closed(connection, 30) for connection in waiting)


@pytest.mark.parametrize("start", [b"POST / HTTP/1.1\r\nX: ", request(b"", length=10_000)], ids=["headers", "body"])
def test_the_plain_server_lets_the_slow_go(plain, start):
    names, client = plain
    names["Server"].seconds = 1
    connection = client.send(start)
    begin = time.monotonic()
    with pytest.raises(OSError):
        while time.monotonic() < begin + 30:
            connection.sendall(b"x")
            time.sleep(0.05)
    assert time.monotonic() < begin + 30 and client.ask()[0] == 200


def test_the_plain_server_has_so_many_connections_and_no_more(plain):
    names, client = plain
    assert names["Server"].room._value == 100
    names["Server"].room, names["Server"].seconds = threading.Semaphore(5), 8
    waiting = client.half_headers(5)
    connection = client.send(request())
    connection.settimeout(30)
    try:
        answer = connection.recv(100)
    except ConnectionError:
        answer = b""
    assert answer == b"", "the sixth is not turned away"
    assert all(is_closed(connection, 30) for connection in waiting)
    end = time.monotonic() + 30
    while True:
        try:
            assert client.ask()[0] == 200
            break
        except (IndexError, ConnectionError):  # their places are not free yet
            assert time.monotonic() < end
            time.sleep(0.05)


def test_the_plain_server_and_clients_that_go(plain):
    _, client = plain
    for data in (b"", b"POST / HT", request(CLIP[:500], length=len(CLIP)), request()):
        connection = client.send(data)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # not even a goodbye
        connection.close()
    assert client.ask()[0] == 200


@pytest.mark.parametrize("length", ["", "x", "-1", "0", "1e3", "\u0661", "9" * 5000, "10000001"])
def test_the_plain_server_and_odd_lengths(plain, length):
    data = request(b"").replace(b"Content-Length: 0", f"Content-Length: {length}".encode())
    assert reply(plain[1].send(data))[0] == 413


def test_the_plain_server_tells_nobody_to_install_anything(plain, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    monkeypatch.setitem(sys.modules, "av", None)
    assert plain[1].ask(b"--x\r\n" + bytes(1000))[:2] == (415, {"error": "found no WAV file, expected one as the body"})


# --- as a unit of systemd ---------------------------------------------------------------------------------------------


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def unit(tmp_path, model):
    """Start the unit's own command line with a microphone that is a shell script."""
    (text,) = blocks("listen.md", "ini")
    line = re.search(r"^ExecStart=(.*)$", text, re.M)[1]
    assert "/opt/minirep/bin/minirep listen" in line and "/var/log/minirep/heard.jsonl" in line and "arecord" in line
    options = f"--model {model} --backend numpy --threshold 0.01 --all"
    program(tmp_path / "minirep", f'exec {shlex.quote(sys.executable)} -m minirep "$@" {options}')
    line = line.replace("/opt/minirep/bin", str(tmp_path)).replace(
        "/var/log/minirep/heard.jsonl", str(tmp_path / "heard")
    )
    with wave.open(str(DEMO / "one.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    (tmp_path / "sound").write_bytes(np.repeat(samples, 2).tobytes())  # 8 kHz, taken for 16

    def start(microphone):
        program(tmp_path / "arecord", microphone.replace("SOUND", str(tmp_path / "sound")))
        environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        return subprocess.Popen(
            shlex.split(line), env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    start.text, start.heard = text, tmp_path / "heard"
    return start


@posix_only
def test_the_unit_starts_again_whatever_has_ended_it(unit):
    """systemd gives up after 5 starts in 10 seconds (StartLimitBurst, StartLimitIntervalSec)."""
    assert re.search(r"^Restart=always$", unit.text, re.M)
    assert int(re.search(r"^RestartSec=(\d+)$", unit.text, re.M)[1]) * 5 > 10


def test_the_unit_is_valid_and_hardened(unit, tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd")
    path = tmp_path / "heard.service"
    path.write_text(unit.text, "utf-8")
    verified = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, timeout=60)
    assert (verified.returncode, verified.stderr) == (
        0,
        "",
    ) or "Failed to" in verified.stderr  # where nothing is set up
    command = ["systemd-analyze", "security", "--offline=true", path]
    rated = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ | {"LC_ALL": "C.UTF-8"})
    if rated.returncode == 0:  # the option is of systemd 250
        assert float(re.search(r"exposure level for \S+: (\d+\.\d)", rated.stdout)[1]) <= 1.5


@posix_only
def test_the_unit_tells_a_missing_microphone_from_one_that_is_lost(unit):
    with unit("echo 'arecord: audio open error' >&2; exit 1") as running:
        _, err = running.communicate(timeout=60)
    assert running.returncode == 3 and "is the microphone there?" in err.splitlines()[-1]
    with unit("cat SOUND; exit 1") as running:
        _, err = running.communicate(timeout=60)
    assert running.returncode == 0 and "microphone" not in err
    events = unit.heard.read_text().splitlines()
    assert events and all(json.loads(event)["label"] for event in events)
    with unit("cat SOUND; exit 1") as running:  # as systemd would: what has been heard before stays
        running.communicate(timeout=60)
    again = [json.loads(event) for event in unit.heard.read_text().splitlines()]
    times = ("started", "ended")
    assert [{k: v for k, v in event.items() if k not in times} for event in again] == [
        {k: v for k, v in json.loads(event).items() if k not in times} for event in events * 2
    ]


@posix_only
def test_the_unit_is_stopped_with_its_last_event(unit):
    """`systemctl stop` sends SIGTERM to all processes of the unit."""
    with unit("cat SOUND; exec sleep 600") as running:
        assert "listening" in running.stderr.readline()
        time.sleep(2)  # so that the sound has been heard, on a busy machine too
        os.killpg(running.pid, signal.SIGTERM)
        running.communicate(timeout=60)
    assert running.returncode in (0, -signal.SIGTERM)  # of the shell; to systemd either is a clean end
    assert json.loads(unit.heard.read_text().splitlines()[-1])["label"]


@pytest.mark.parametrize("options", [[], ["--format", "wav"], ["--format", "s16le"], ["--format", "f32le"]])
def test_no_sound_has_a_status_of_its_own(model, options):
    command = [sys.executable, "-m", "minirep", "listen", "--model", model, "--backend", "numpy", *options]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=60)
    assert done.returncode == 3 and b"ended before its first sample" in done.stderr.splitlines()[-1]
    some = subprocess.run(command[: len(command) - len(options)], input=b"\0\0", capture_output=True, timeout=60)
    assert some.returncode == 0


def test_the_statuses_are_documented(capsys):
    assert main(["listen", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    page = (GUIDE / "listen.md").read_text("utf-8")
    for status in (0, 3, 130):
        assert re.search(rf"\b{status} (the|no|Ctrl)", text) and f"\n| {status} | " in page


# --- signals at any moment --------------------------------------------------------------------------------------------


def wait_for_handler(pid):
    """Wait until a process handles SIGTERM itself (Linux), or long enough."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            caught = re.search(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.M)
        except OSError:
            return time.sleep(5)
        if int(caught[1], 16) >> (signal.SIGTERM - 1) & 1:
            return None
        time.sleep(0.005)
    raise AssertionError("there is no handler for SIGTERM")


STATUS = [(signal.SIGTERM, 0), (signal.SIGINT, 130)]


@posix_only
@pytest.mark.parametrize(("number", "status"), STATUS)
@pytest.mark.parametrize("sent", [b"", b"RI"])
def test_a_signal_before_the_first_bytes(model, number, status, sent):
    command = [sys.executable, "-m", "minirep", "listen", "--model", model, "--backend", "numpy"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    for patience in (0, 2):  # at once, while the model is loading, and when nothing is left to do but wait
        with subprocess.Popen(command, **pipes) as running:
            running.stdin.write(sent)
            running.stdin.flush()
            wait_for_handler(running.pid)
            time.sleep(patience)
            running.send_signal(number)
            try:
                assert running.wait(30) == status
            finally:
                running.kill()
            assert running.stdout.read() == running.stderr.read() == b""


IMPORT = "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(30)"


@posix_only
@pytest.mark.parametrize("start", ["program", "module", "bundle", "other"])
def test_ctrl_c_while_numpy_is_imported(tmp_path, model, start):
    """It ends our own programs without a traceback; to others it is what it always was."""
    bundle(model, tmp_path / "app.pyz")
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "numpy.py").write_text(IMPORT)
    script = "import sys; from minirep.cli import main; sys.exit(main())"  # as pip writes it
    for name in ("minirep", "other"):
        (tmp_path / name).write_text(script)
    commands = {
        "module": ["-m", "minirep"],
        "bundle": [str(tmp_path / "app.pyz")],
        "program": [str(tmp_path / "minirep")],
    }
    command = [sys.executable, *commands.get(start, [str(tmp_path / "other")]), "classify", "--demo"]
    path = os.pathsep.join([str(tmp_path / "modules"), str(Path(minirep.__file__).parents[1])])
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, timeout=60)
    if start == "other":
        assert done.returncode != 0 and b"KeyboardInterrupt" in done.stderr
    else:
        assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


@posix_only
@pytest.mark.parametrize("package", ["matplotlib", "numba"])
def test_ctrl_c_while_an_extra_is_imported(tmp_path, model, package):
    pytest.importorskip("llvmlite" if package == "numba" else "matplotlib")
    (tmp_path / f"{package}.py").write_text(IMPORT)
    path = os.pathsep.join([str(tmp_path), str(Path(minirep.__file__).parents[1])])
    environment = os.environ | {"PYTHONPATH": path, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    options = ["--timeline", "--plot", str(tmp_path / "x.png")] if package == "matplotlib" else ["--backend", "numba"]
    command = [sys.executable, "-m", "minirep", "classify", "--model", model, str(DEMO / "one.wav"), *options]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


# --- folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_examples_do_not_wait_for_named_pipes():
    """Every example in the guides that goes through a folder looks whether what it finds is a file."""
    for page in GUIDE.glob("*.md"):
        for line in page.read_text("utf-8").splitlines():
            if ".rglob(" in line and page.name != "measure.md":  # that one writes a manifest; eval looks itself
                assert "is_file()" in line, f"{page.name}: {line}"
