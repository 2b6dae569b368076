"""The server of `minirep web`: who is let in, what is refused, and that its answers are the stream's own."""

import base64
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minirep
from minirep import RECIPES, Architecture, Classifier, Stream, fuse, random_network
from minirep.audio import from_array, open_recording
from minirep.audio.resample import resample
from minirep.cli import main
from minirep.frontend import log_mel
from minirep.tree import map_arrays
from minirep.web import Bench, Server, bench, server

DEMO = Path(minirep.__file__).parent / "data" / "demo"
PAGE = Path(minirep.__file__).parent / "web" / "page"
RECIPE = RECIPES["speech-commands-v2"]
NOISE = np.random.default_rng(0).normal(0, 0.1, 40_000).astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small model with branches, whose answers differ from window to window."""
    arch = Architecture(width=4, depths=(1, 1, 1, 1), heads={"class": 5}, frames=RECIPE.frames)
    network = random_network(arch)
    network.heads["class"].weight[:] *= 20
    path = tmp_path_factory.mktemp("model") / "model.npz"
    minirep.save(Classifier(network, RECIPE, backend="numpy"), path)
    return path


@contextlib.contextmanager
def running(*arguments):
    with Server(*arguments) as running:
        threading.Thread(target=running.serve_forever, args=[0.01], daemon=True).start()
        yield Client(running)
        running.shutdown()


@pytest.fixture(scope="module")
def seen(model):
    return Bench(model, "numpy")


@pytest.fixture(scope="module")
def one_server(seen):
    with running(seen) as client:
        yield client


@pytest.fixture
def web(one_server):
    """The server that all tests share, without sessions that others have left."""
    yield one_server
    for name in list(one_server.server._sessions):
        one_server.server.end(name)


class Client:
    """Sends bytes to a server and takes its answers apart."""

    def __init__(self, server):
        self.server, self.port = server, server.server_address[1]
        self.own = f"Host: 127.0.0.1:{self.port}"

    def connect(self, data=b""):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.sendall(data)
        return connection

    def path(self, name):
        return f"/{self.server.token}/{name}"

    def raw(self, data):
        """(status, headers in lower case, body) of whatever is sent; (None, "", b"") where nothing comes back."""
        with self.connect(data) as connection:
            answer = b""
            with contextlib.suppress(ConnectionError):
                while new := connection.recv(1 << 16):
                    answer += new
        head, _, body = answer.partition(b"\r\n\r\n")
        return (int(head.split()[1]) if head else None), head.decode().lower(), body

    def send(self, name, *headers, method="GET", body=b"", path=None, host=None, length=None):
        lines = [f"{method} {path or self.path(name)} HTTP/1.1", *([self.own] if host is None else host), *headers]
        if method == "POST" and length is None:
            lines.append(f"Content-Length: {len(body)}")
        return self.raw("\r\n".join([*lines, *(length or []), "", ""]).encode("latin-1") + body)

    def post(self, name, body=b"", *headers, **options):
        return self.send(name, *headers, method="POST", body=body, **options)

    def ask(self, name, body=b""):
        status, _, answer = self.post(name, body)
        assert status == 200, answer
        return json.loads(answer)

    def start(self, rate=16000, old=""):
        return self.ask(f"start?rate={rate}&old={old}")["session"]


def error(reply):
    """The status of a refusal, which is one line of JSON."""
    status, head, body = reply
    (message,) = json.loads(body).values()
    assert "content-type: application/json" in head and message.isprintable() and "Traceback" not in message
    return status


def samples(x):
    return np.asarray(x, "<f4").tobytes()


# --- who is let in ----------------------------------------------------------------------------------------------------


def test_the_page_comes_with_what_keeps_others_out(web):
    for name, (file, kind) in server.FILES.items():
        status, head, body = web.send(name)
        assert (status, body) == (200, (PAGE / file).read_bytes()) and f"content-type: {kind}" in head
        for line in (
            "default-src 'none'", "x-content-type-options: nosniff", "referrer-policy: no-referrer", "no-store",
            "frame-ancestors 'none'", "connect-src 'self'", "permissions-policy: microphone=(self)",
        ):  # fmt: skip
            assert line in head
        assert "access-control" not in head and "unsafe" not in head
    assert web.send("", method="HEAD")[::2] == (200, b"")


def test_the_page_asks_for_nothing_from_elsewhere():
    for file in PAGE.iterdir():
        assert not re.search(r"//[\w.]+\.\w|innerHTML|eval\(| on\w+=|style=", file.read_text("utf-8")), file
    page = (PAGE / "index.html").read_text("utf-8")
    assert set(re.findall(r'(?:src|href)="([^"]*)"', page)) <= {*server.FILES, "data:,"}
    assert {path.name for path in PAGE.iterdir()} == {file for file, _ in server.FILES.values()}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_the_token_nothing_is_there(web, method):
    token = web.server.token
    wrong = ["", token[:-1], token + "x", token.swapcase(), "\xe9", "%00"]
    paths = ["/", "//", "/app.js", f"{token}/", f"http://127.0.0.1:{web.port}/{token}/", f"/x/{token}/"]
    for path in [*paths, *(f"/{text}/model" for text in wrong)]:
        assert error(web.send("", method=method, path=path)) == 403, path
    assert len(token) >= 22  # 128 bits


def test_another_name_for_this_computer_is_refused(web):
    port = web.port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LocalHost:{port}", f"[::1]:{port}"):
        assert web.send("model", host=[f"Host: {host}"])[0] == 200
    foreign = [f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}", f"127.0.0.1.evil.example:{port}", ""]
    foreign += [f"a@127.0.0.1:{port}", f"10.0.0.1:{port}", f"localhost:{port}:{port}", "[::1]", "\xe9"]
    for host in [*([f"Host: {name}"] for name in foreign), [], [web.own, web.own]]:
        assert error(web.send("model", host=host)) == 421, host


def test_another_sites_page_is_refused(web):
    own = f"http://127.0.0.1:{web.port}"
    for origin in (
        "http://evil.example",
        "null",
        f"https://127.0.0.1:{web.port}",
        own + "1",
        f"http://localhost:{web.port}",
    ):
        assert error(web.post("start?rate=16000", b"", f"Origin: {origin}")) == 403
    assert error(web.post("start?rate=16000", b"", f"Origin: {own}", "Origin: null")) == 403
    for site in ("cross-site", "same-site", "nonsense"):
        assert error(web.post("start?rate=16000", b"", f"Sec-Fetch-Site: {site}")) == 403
        assert error(web.send("app.js", f"Sec-Fetch-Site: {site}")) == 403
        assert error(web.send("app.js", f"Sec-Fetch-Site: {site}", "Sec-Fetch-Dest: document")) == 403
        assert web.send("", f"Sec-Fetch-Site: {site}", "Sec-Fetch-Dest: document")[0] == 200  # a link to the page
    status, _, body = web.post("start?rate=16000", b"", f"Origin: {own}", "Sec-Fetch-Site: same-origin")
    assert status == 200
    web.post(f"leave?session={json.loads(body)['session']}")


def test_where_all_can_reach_it_names_are_still_refused(seen):
    with running(seen, "0.0.0.0") as web:
        assert not web.server.loopback and web.server.address.startswith("http://localhost:")
        assert web.send("model", host=[f"Host: 192.0.2.7:{web.port}"])[0] == 200
        assert error(web.send("model", host=[f"Host: evil.example:{web.port}"])) == 421
        assert error(web.send("model", host=["Host: 192.0.2.7"])) == 421


# --- what is refused --------------------------------------------------------------------------------------------------


def test_no_path_leads_to_a_file(web):
    up = "../" * 12 + "etc/passwd"
    names = [up, up.replace("/", "%2f"), "/etc/passwd", "..", ".", "..\\server.py", "app.js%00", "a" * 60_000]
    for name in (*names, "app.js/", "page/app.js", "server.py", "APP.JS"):
        assert error(web.send(name)) == 404
    assert error(web.send("", path=web.path("")[:-1])) == 404


def test_other_methods_are_refused(web):
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "nonsense"):
        assert error(web.send("model", method=method)) == 501
    for name in ("start?rate=16000", "feed", "decode"):
        assert error(web.send(name)) == 405
    assert error(web.post("model")) == 405


NO_REQUESTS = {
    b"nonsense\r\n\r\n": 400,
    b"\x16\x03\x01\x02\r\n\r\n": 400,  # how TLS begins
    b"GET / x\r\n\r\n": 400,
    b"GET / HTTP/9.9\r\n\r\n": 505,
    b"GET /\r\n\r\n": 421,  # HTTP/0.9
    b"GET /" + b"a" * 66_000: 414,
    b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n": 431,
}


@pytest.mark.parametrize("data, status", NO_REQUESTS.items(), ids=range(len(NO_REQUESTS)))
def test_what_is_no_request_is_refused(web, data, status):
    found, _, body = web.raw(data)
    assert found == status and set(json.loads(body)) == {"error"}


def test_only_as_much_as_was_announced_is_read(web):
    name = f"feed?session={web.start()}"
    body = samples(NOISE[:100])
    for length in (["Content-Length: 5000000"], [f"Content-Length: {10**30}"], ["Content-Length: 4194308"]):
        assert error(web.post(name, body, length=length)) == 413
    for length in ("-1", "+400", "4e2", "0x10", " ", "\xb2"):
        assert error(web.post(name, body, length=[f"Content-Length: {length}"])) == 400
    assert error(web.post(name, body, length=["Content-Length: 400", "Content-Length: 400"])) == 400
    assert error(web.post(name, body, length=[])) == 411
    assert error(web.post(name, b"190\r\n" + body + b"\r\n0\r\n\r\n", length=["Transfer-Encoding: chunked"])) == 411
    both = ["Content-Length: 400", "Transfer-Encoding: chunked"]
    assert error(web.post(name, body, length=both)) == 411
    assert (
        web.post(name, body + b"GET / HTTP/1.1\r\n\r\n", length=["Content-Length: 400"])[0] == 200
    )  # one request each
    assert error(web.post(name, bytes(4 * server.MOST_SAMPLES + 4))) == 413


def test_a_body_that_ends_early_is_refused(web):
    with web.connect(
        f"POST {web.path('decode')} HTTP/1.1\r\n{web.own}\r\nContent-Length: 9\r\n\r\nRIFF".encode()
    ) as half:
        half.shutdown(socket.SHUT_WR)
        assert half.recv(1 << 16).split()[1] == b"400"


@pytest.mark.parametrize("rate", ["7999", "192001", "-1", "16000.5", "1e4", "nan", "", "0x3e80", "\xb9\xb2", "9" * 40])
def test_rates_are_bounded(web, rate):
    assert error(web.post(f"start?rate={rate}")) == 400
    assert error(web.post("start")) == 400


@pytest.mark.parametrize("body", [b"", b"abc", samples([0, np.nan]), samples([np.inf]), samples(NOISE[:9])[:-1]])
def test_samples_that_are_none_are_refused(web, body):
    assert error(web.post(f"feed?session={web.start()}", body)) == 400


@pytest.fixture(autouse=True)
def no_sessions_stay(web):
    yield
    web.server._sessions = {}


def test_numbers_that_overflow_are_refused(web):
    name = f"feed?session={web.start(44100)}"
    replies = [web.post(name, samples(np.full(9000, 3e38 * sign))) for sign in np.resize([1, -1], 12)]
    assert {reply[0] for reply in replies} <= {200, 400} and all(
        set(json.loads(r[2])) & {"error", "seconds"} for r in replies
    )


def test_odd_queries_are_refused(web):
    name = web.start()
    for query in (
        "&".join(f"k{i}=1" for i in range(9)),
        "session=%ff%fe",
        "session=",
        "",
        f"session={name}x",
        "\xff=\xfe",
    ):
        assert error(web.post(f"close?{query}")) in (400, 404)
    for query in ("name=stage9", "name=", "name=stem&channel=-1", "name=stem&channel=4", "name=stem&channel=x"):
        web.ask(f"feed?session={name}", samples(NOISE[:20_000]))
        assert error(web.post(f"stage?session={name}&{query}")) == 400
    assert error(web.post(f"stage?session={web.start()}&name=stem")) == 400  # no window yet
    web.ask(f"close?session={name}")
    assert error(web.post(f"feed?session={name}", samples([0]))) == 400  # the sound has ended


def test_a_fault_of_our_own_shows_no_traceback(web, monkeypatch, capfd):
    monkeypatch.setattr(bench.Session, "feed", lambda *_: 1 / 0)
    status, _, body = web.post(f"feed?session={web.start()}", samples([0]))
    assert status == 500 and b"ZeroDivisionError" in body and capfd.readouterr() == ("", "")


# --- how long and how many --------------------------------------------------------------------------------------------


def closed(connection):
    """Wait until the server closes a connection; what it sent before."""
    sent = b""
    with contextlib.suppress(ConnectionError):
        while new := connection.recv(1 << 16):
            sent += new
    return sent


@pytest.mark.parametrize("drip", [False, True], ids=["a half", "a byte at a time"])
def test_headers_must_come_in_time(seen, monkeypatch, drip):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(server, "LINGER_SECONDS", 0.1)
    with running(seen) as web, web.connect(b"GET / HTTP/1.1\r\nHost: x\r\nX-") as connection:
        if drip:
            with contextlib.suppress(ConnectionError):
                for _ in range(200):
                    connection.sendall(b"a")
                    time.sleep(0.02)
                pytest.fail("the connection was never closed")
        else:
            assert closed(connection) == b""
        assert web.send("model")[0] == 200


def test_headers_are_bounded(web):
    line = b"X: " + b"a" * 60_000 + b"\r\n"
    assert web.raw(b"GET / HTTP/1.1\r\n" + line * 4 + b"\r\n") == (None, "", b"")  # well below 100 headers


def test_a_body_must_come_in_time(seen, monkeypatch):
    monkeypatch.setattr(server, "BODY_SECONDS", 0.3)
    monkeypatch.setattr(server, "LINGER_SECONDS", 0.1)
    with running(seen) as web:
        head = f"POST {web.path('decode')} HTTP/1.1\r\n{web.own}\r\nContent-Length: 100\r\n\r\nRIFF"
        with web.connect(head.encode()) as connection:
            assert closed(connection).split()[1] == b"408"


def test_connections_are_bounded_and_their_places_come_free(seen, monkeypatch):
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 3)
    monkeypatch.setattr(server, "LINGER_SECONDS", 0.1)
    with running(seen) as web:
        held = [web.connect(b"GET") for _ in range(3)]
        assert web.raw(b"GET") == (None, "", b"")
        for connection in held:
            connection.close()
        end = time.monotonic() + 30
        while web.send("model")[0] is None:
            assert time.monotonic() < end


def test_sessions_are_bounded_and_end(web, monkeypatch):
    names = [web.start() for _ in range(server.MOST_SESSIONS)]
    assert error(web.post("start?rate=16000")) == 503
    names[0] = web.start(old=names[0])  # instead of the old one
    assert error(web.post("start?rate=16000")) == 503
    web.ask(f"leave?session={names[0]}")
    assert error(web.post(f"close?session={names[0]}")) == 404
    web.start()
    monkeypatch.setattr(server, "IDLE", 0.0)
    assert error(web.post(f"close?session={names[1]}")) == 404


# --- what is answered -------------------------------------------------------------------------------------------------


def through(web, x, rate, cuts, session=None):
    """Post samples, cut into requests, and the end: all answers."""
    name = session or web.start(rate)
    pieces = [piece for piece in np.split(x, sorted(cuts)) if len(piece)]
    try:
        return [web.ask(f"feed?session={name}", samples(p)) for p in pieces] + [web.ask(f"close?session={name}")]
    finally:
        web.post(f"leave?session={name}")


def columns(answers):
    """The log-mel that was sent, (n, 128) uint8, held against its own numbering."""
    painted = 0
    for window in (w for answer in answers for w in answer["windows"]):
        new = np.frombuffer(base64.b64decode(window["log_mel"]), np.uint8).reshape(-1, 128)
        assert window["first"] == painted
        painted += len(new)
        yield new


@settings(max_examples=min(30, settings.default.max_examples))
@given(st.integers(1, 40_000), st.sampled_from([8000, 16000, 44100]), st.lists(st.integers(1, 40_000), max_size=4))
def test_answers_are_the_streams_own(web, seen, length, rate, cuts):
    x = NOISE[:length]
    answers = through(web, x, rate, cuts)
    clf, found = seen.merged, [w for answer in answers for w in answer["windows"]]
    stream, windows, events = Stream(clf, rate), [], []
    for start in range(0, length, 1000):  # a hop is longer
        before = stream.log_mel
        events += (stream.feed(x[start : start + 1000]), stream.changes)[1]
        windows += [stream.log_mel] if stream.log_mel is not before else []
    before = stream.log_mel
    stream.close()
    windows += [stream.log_mel] if stream.log_mel is not before else []
    assert [e for a in answers for e in a["events"]] == [vars(e) for e in [*events, *stream.changes]]
    assert len(found) == len(windows) > 0
    for window, own in zip(found, windows):
        assert window["probabilities"] == {h: p[0].tolist() for h, p in clf.probabilities(own[None]).items()}
    assert answers[-1]["seconds"] == stream.seconds and answers[-1]["heard"] == {
        head: list(best) for head, best in stream.heard.items()
    }
    # What was painted is the log-mel of the whole, but for the few frames that see an end of their window.
    whole = resample(from_array(x, rate), RECIPE.rate)
    low, high = bench.LEVELS
    expected = 255 * (log_mel(whole.read(0, whole.length), RECIPE) - low) / (high - low)
    shown = np.concatenate(list(columns(answers)))
    inner = slice(3, min(len(shown), len(expected)) - 3)
    # Where the sound ends with a window, there is no other that would bring the frames that see its end.
    assert -1 <= len(expected) - len(shown) <= -(-RECIPE.window // RECIPE.hop)
    assert abs(shown[inner] - expected[inner]).max(initial=0) <= 0.51
    web.server._sessions = {}


def test_pages_do_not_hear_each_other(web):
    sounds = [NOISE[:30_000], NOISE[5000:40_000] * 3, np.zeros(25_000, np.float32)]
    alone = [through(web, x, 16000, [7000, 19_000]) for x in sounds]
    together, names = {}, [web.start() for _ in sounds]
    threads = [
        threading.Thread(
            target=lambda i=i: together.update({i: through(web, sounds[i], 16000, [7000, 19_000], names[i])})
        )
        for i in range(len(sounds))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for i, answers in enumerate(alone):
        for a, b in zip(answers, together[i], strict=True):
            assert {**a, "load": 0} == {**b, "load": 0}
    assert len({json.dumps(answers[-1]["heard"]) for answers in alone}) > 1


def test_a_page_that_is_late_gets_the_newest_window(web):
    name = web.start()
    answer = web.ask(f"feed?session={name}&late=1", samples(NOISE[:36_000]))
    assert len(answer["windows"]) == 1 and answer["skipped"] > 1
    assert answer["windows"][0]["start"] > 0.9


def test_two_forms_of_one_network_are_compared(web, seen, model):
    answer = web.ask(f"feed?session={(name := web.start())}&compare=1", samples(NOISE[:20_000]))
    log_mels = minirep.log_mel_views(NOISE[: RECIPE.clip - 1], RECIPE.rate, RECIPE, 1)  # the first of them
    unmerged = minirep.load(model, "numpy", fused=False)
    assert seen.branches and web.server.files["model"][0].count(b'"unmerged"') == 1
    first = web.ask(f"feed?session={web.start()}&compare=1", samples(NOISE[: RECIPE.clip]))
    for head, p in unmerged.probabilities(log_mels).items():
        assert first["other"] == {head: p[0].tolist()}
        assert first["difference"] == abs(p - seen.merged.probabilities(log_mels)[head]).max() > 0
    assert "other" not in web.ask(f"feed?session={name}", samples(NOISE[:20_000])) and answer["difference"] < 1e-5
    for stage, activations in minirep.stages(fuse(unmerged.network), log_mels):
        name = web.start()
        web.ask(f"feed?session={name}", samples(NOISE[: RECIPE.clip]))
        found = web.ask(f"stage?session={name}&name={stage}")
        assert found["shape"] == list(activations.shape[1:])
        assert found["channel"] == activations[0].mean(axis=(0, 1)).argmax()
        last = found["shape"][2] - 1
        found = web.ask(f"stage?session={name}&name={stage}&channel={last}")
        others = dict(minirep.stages(unmerged.network, log_mels))[stage]
        assert found["difference"] == abs(activations - others).max() and found["largest"] == abs(activations).max()
        for image, y in zip(found["images"], (activations, others)):
            sent = np.frombuffer(base64.b64decode(image), np.uint8).reshape(found["shape"][:2])
            scale = (found["high"] - found["low"]) / 255
            assert abs(found["low"] + scale * sent - y[0, :, :, last]).max() <= 0.51 * scale
        web.server._sessions = {}


def test_a_merged_model_is_compared_with_itself_in_float64(model, tmp_path):
    clf = minirep.load(model, "numpy")
    minirep.save(clf, tmp_path / "merged.npz")
    seen = Bench(tmp_path / "merged.npz", "numpy")
    assert not seen.branches and seen.facts()["networks"] == ("merged", "merged, in float64")
    assert seen.other.network.dtype == np.float64 and seen.other.labels == seen.merged.labels
    session = bench.Session(seen, 16000)
    assert 0 < session.feed(NOISE[:20_000], compare=True)["difference"] < 1e-5


def test_each_form_has_its_own_picture(seen, monkeypatch):
    """The two forms differ by rounding, which no picture shows: here the second is another network."""
    other = random_network(Architecture(width=4, depths=(1, 1, 1, 1), heads={"class": 5}, frames=RECIPE.frames), seed=9)
    monkeypatch.setattr(seen, "other", Classifier(other, RECIPE, backend="numpy"))
    session = bench.Session(seen, 16000)
    answer = session.feed(NOISE[:20_000], compare=True)
    found = session.stage("stage2", 0)
    assert found["images"][0] != found["images"][1] and found["difference"] > 0.01
    assert answer["other"] != answer["windows"][-1]["probabilities"]


def test_a_sound_file_is_read_as_everywhere(web, monkeypatch):
    content = (DEMO / "nine.wav").read_bytes()
    status, head, body = web.post("decode", content)
    recording = open_recording(DEMO / "nine.wav")
    assert status == 200 and "octet-stream" in head
    np.testing.assert_array_equal(np.frombuffer(body, "<f4"), [recording.rate, *recording.read(0, recording.length)])
    for other in (b"", b"nonsense", content[:30], content[:-1000], b"ID3" + content):
        assert error(web.post("decode", other)) == 415
    assert error(web.post("decode", length=[f"Content-Length: {server.MOST_FILE + 1}"])) == 413
    monkeypatch.setattr(server, "MOST_DECODED", 1000)
    assert error(web.post("decode", content)) == 413


def test_receptive_fields_are_as_far_as_a_change_is_felt():
    """In a network of positive weights a change of one input reaches every output whose field holds it."""
    for arch in (
        Architecture(width=2, depths=(1, 2, 1, 1), frames=768),
        Architecture("AudioInceptionNeXt", width=2, depths=(1, 1, 1, 1), frames=768),
    ):
        network = map_arrays(fuse(random_network(arch)), lambda a: abs(a).astype(np.float64) + 0.01)
        x = np.ones((1, 768, 128))
        changed = x.copy()
        changed[0, 384, 64] = 1e6
        fields = bench.receptive_fields(network)
        for (name, a), (_, b) in zip(minirep.stages(network, x), minirep.stages(network, changed)):
            felt = np.abs(a - b)[0].max(axis=-1) > 0
            for axis, (size, middle) in enumerate([(768, 384), (128, 64)]):
                outputs = np.flatnonzero(felt.any(axis=1 - axis))
                step = size // felt.shape[axis]
                field = fields[name][axis]
                expected = [i for i in range(felt.shape[axis]) if abs(i * step - middle) <= field // 2]
                assert outputs.tolist() == expected, (name, axis)


# --- the command ------------------------------------------------------------------------------------------------------


def test_a_place_that_is_taken_or_none_is_an_error(web, model, capsys):
    for options, what in (
        (["--port", str(web.port)], "cannot listen there"),
        (["--host", "no such host.invalid"], "cannot listen there"),
        (["--host", "\ud800"], "cannot listen there"),
        (["--host", ""], "host: found nothing"),
        (["--port", "65536"], "expected a whole number"),
        (["--port", "-1"], "expected"),
        (["--model", "missing.npz"], "missing.npz"),
    ):
        assert main(["web", "--model", str(model), "--backend", "numpy", *options]) == 2
        out, err = capsys.readouterr()
        assert not out and what in err and "Traceback" not in err


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("host, warns", [("127.0.0.1", False), ("0.0.0.0", True)])
def test_the_command_prints_its_address_and_ends_with_control_c(model, host, warns):
    command = [sys.executable, "-m", "minirep", "web", "--port", "0", "--model", str(model), "--backend", "numpy"]
    process = subprocess.Popen([*command, "--host", host], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline()
        found = re.fullmatch(r"http://(?:127\.0\.0\.1|localhost):(\d+)/([\w-]{22})/\n", address)
        with socket.create_connection(("127.0.0.1", int(found[1])), timeout=30) as connection:
            connection.sendall(f"GET /{found[2]}/ HTTP/1.1\r\nHost: localhost:{found[1]}\r\n\r\n".encode())
            assert b"minirep listens" in closed(connection)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130 and out == "" and "Traceback" not in err
    assert ("unencrypted" in err) == warns and all(line.startswith("minirep: ") for line in err.splitlines())
