"""The HTTP server behind the page: access, limits on size and on time.

Only the page itself can use the server. Requests need the token in the address. The check of the Host header prevents
DNS rebinding, and the checks of Origin and Sec-Fetch-Site refuse pages of other sites. Each connection has one request
and a time limit. Files come from a fixed table in memory: nothing in a request is used as a path.
"""

import contextlib
import hmac
import io
import ipaddress
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from importlib import resources
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import parse_qs

import numpy as np

from ..audio import open_recording
from ..errors import MinirepError, expect
from ..text import one_line, quoted
from .bench import RATES, Bench, Session

MOST_CONNECTIONS, MOST_SESSIONS = 64, 8  # a session: a page that has sound
IDLE = 300.0  # seconds until an unused session ends
MOST_HEAD, MOST_SAMPLES = 1 << 16, 1 << 20  # bytes of a request's headers; samples in one request
MOST_FILE, MOST_DECODED = 1 << 25, 1 << 24  # bytes of a sound file; samples in it
HEAD_SECONDS, BODY_SECONDS, LINGER_SECONDS = 10.0, 30.0, 1.0
TEXT, JSON, BYTES = "text/{}; charset=utf-8", "application/json", "application/octet-stream"
FILES = {  # by their name in the address: (in the package, type)
    "": ("index.html", TEXT.format("html")),
    "app.js": ("app.js", TEXT.format("javascript")),
    "worklet.js": ("worklet.js", TEXT.format("javascript")),
    "style.css": ("style.css", TEXT.format("css")),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cache-Control": "no-store",
    "Connection": "close",
}


class Refused(Exception):
    """A request that is answered with an HTTP status and one line."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class Server(ThreadingTCPServer):
    """Serve one model to the pages that have its ``address``. Raises a MinirepError if it cannot listen there."""

    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # on Windows, that would let another program take over the port
    request_queue_size = 32

    def __init__(self, bench: Bench, host: str = "127.0.0.1", port: int = 0):
        page = resources.files(__package__).joinpath("page")
        self.files = {name: (page.joinpath(file).read_bytes(), kind) for name, (file, kind) in FILES.items()}
        self.files["model"] = json.dumps(bench.facts(), allow_nan=False).encode(), JSON
        self.bench, self.token = bench, secrets.token_urlsafe(16)
        self.decoding = threading.Lock()  # one file at a time
        self._sessions: dict[str, Session] = {}
        self._changing = threading.Lock()
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        host = host.strip("[]").lower()
        try:
            expect(host, "host: found nothing, expected a name or an address such as 127.0.0.1")
            self.address_family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            super().__init__(address[:2], Handler)  # type: ignore[arg-type]
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            where = f"host {quoted(host)}, port {port}: cannot listen there"
            raise MinirepError(f"{where} ({reason}); --port 0 takes any port that is free") from None
        ip = ipaddress.ip_address(str(self.server_address[0]).partition("%")[0])
        self.loopback, self._everywhere, self._port = ip.is_loopback, ip.is_unspecified, self.server_address[1]
        shown = "localhost" if self._everywhere else f"[{host}]" if ":" in host else host
        self._names = {"127.0.0.1", "localhost", "[::1]", shown}
        self.address = f"http://{shown}:{self._port}/{self.token}/"

    def allows(self, host: str) -> bool:
        """Return whether a Host header has a name of this server, or any IP address if it listens on all addresses."""
        name, _, port = host.lower().rpartition(":") if host[-1:] != "]" and ":" in host else (host.lower(), "", "80")
        if port == str(self._port) and self._everywhere:
            with contextlib.suppress(ValueError):
                return bool(ipaddress.ip_address(name.strip("[]")))
        return port == str(self._port) and name in self._names

    def start(self, rate: int, old: str) -> str:
        """End the page's ``old`` session, start a new one, and return its name."""
        session, name = Session(self.bench, rate), secrets.token_urlsafe(9)
        self.end(old)
        with self._changing:
            if len(self._sessions) >= MOST_SESSIONS:
                raise Refused(503, f"found {MOST_SESSIONS} pages that have sound, expected fewer: close one")
            self._sessions[name] = session
        return name

    def session(self, name: str) -> Session:
        self.end(None)
        with self._changing:
            if name not in self._sessions:
                raise Refused(404, "found no such session, expected one that was used lately: start again")
            self._sessions[name].used = time.monotonic()
            return self._sessions[name]

    def end(self, name: str | None) -> None:
        """End this session, and all sessions that have been unused for `IDLE` seconds."""
        with self._changing:
            latest = time.monotonic() - IDLE
            self._sessions = {n: s for n, s in self._sessions.items() if n != name and s.used > latest}

    def process_request(self, request, client_address) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request, client_address) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request, client_address) -> None:
        """Ignore errors of a connection, such as a client that leaves early."""


class Bounded(io.RawIOBase):
    """The input of a connection up to a deadline, however slowly it arrives, and up to a number of bytes."""

    def __init__(self, connection: socket.socket):
        self._connection, self.end, self.most = connection, time.monotonic() + HEAD_SECONDS, MOST_HEAD

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        left = self.end - time.monotonic()
        if left <= 0 or self.most < 0:
            raise TimeoutError
        self._connection.settimeout(left)
        count = self._connection.recv_into(buffer)
        self.most -= count
        return count


class Handler(BaseHTTPRequestHandler):
    """One connection: one request, one answer."""

    server: Server
    protocol_version, default_request_version = "HTTP/1.1", "HTTP/1.0"
    server_version, sys_version = "minirep", ""

    def setup(self) -> None:
        super().setup()
        self._bounded = Bounded(self.connection)
        self.rfile = io.BufferedReader(self._bounded)

    def finish(self) -> None:
        """Read on for a moment: closing a connection with unread bytes resets it, and its answer is lost."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self._bounded.end, self._bounded.most = time.monotonic() + LINGER_SECONDS, 1 << 30
            while self.rfile.read1(1 << 16):
                pass
        super().finish()

    def do_GET(self) -> None:
        try:
            self._reply(200, *self._answer())
        except Refused as refused:
            self.send_error(refused.status, str(refused))
        except MinirepError as error:
            self.send_error(400, str(error))
        except TimeoutError:
            self.send_error(408, f"found no whole request within {BODY_SECONDS:g} s")
        except ConnectionError:
            raise
        except Exception as error:  # a fault of ours
            self.send_error(500, f"found a fault of minirep's own ({type(error).__name__}); please report it")

    do_HEAD = do_POST = do_GET

    def _answer(self) -> tuple[bytes, str]:
        path, _, query = self.path.partition("?")
        parts = path.split("/", 2)  # "", the token, the name of the page or the action
        self._expect_ours(parts)
        name = parts[2] if len(parts) == 3 else "no slash"
        posts: dict[str, Callable[[], Any]] = {
            "start": self._start, "feed": self._feed, "stage": self._stage,
            "close": self._close, "leave": self._leave, "decode": self._decode,
        }  # fmt: skip
        if name not in posts and name not in self.server.files:
            raise Refused(404, "found no such page")
        if (self.command == "POST") != (name in posts):
            raise Refused(405, f"found {self.command}, expected {'POST' if name in posts else 'GET'}")
        if name not in posts:
            return self.server.files[name]
        try:
            self._query = {key: values[0] for key, values in parse_qs(query, max_num_fields=8).items()}
        except ValueError:
            raise Refused(400, "query: found more than 8 fields") from None
        answer = posts[name]()
        return (answer, BYTES) if isinstance(answer, bytes) else (json.dumps(answer, allow_nan=False).encode(), JSON)

    def _expect_ours(self, parts: list[str]) -> None:
        """Refuse requests that do not come from our own page."""
        hosts, token = self.headers.get_all("Host", []), parts[1] if parts[0] == "" and len(parts) > 1 else ""
        if len(hosts) != 1 or not self.server.allows(hosts[0]):
            found = quoted(", ".join(hosts))
            raise Refused(421, f"Host: found {found}, expected that of the address that minirep printed")
        if not hmac.compare_digest(token.encode("latin-1"), self.server.token.encode()):
            raise Refused(403, "found no valid token, expected the whole address that minirep printed")
        if any(origin.lower() != f"http://{hosts[0].lower()}" for origin in self.headers.get_all("Origin", [])):
            raise Refused(403, "Origin: found another site, expected this one")
        # A link to the page itself may be followed from anywhere, as it contains the token.
        visit = self.command == "GET" and parts[2:] == [""] and self.headers.get("Sec-Fetch-Dest") == "document"
        if self.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none") and not visit:
            raise Refused(403, "found a request from another site, expected one from this page")

    def _start(self) -> dict[str, Any]:
        return {"session": self.server.start(self._number("rate", *RATES), self._query.get("old", ""))}

    def _feed(self) -> dict[str, Any]:
        body = self._body(4 * MOST_SAMPLES)
        if not body or len(body) % 4:
            raise Refused(400, f"samples: found {len(body)} bytes, expected some 32-bit floats, little-endian")
        return self._fed(np.frombuffer(body, "<f4").astype(np.float32))

    def _close(self) -> dict[str, Any]:
        return self._fed(None)

    def _fed(self, samples: np.ndarray | None) -> dict[str, Any]:
        return self._session().feed(samples, self._query.get("late") == "1", self._query.get("compare") == "1")

    def _stage(self) -> dict[str, Any]:
        channel = self._number("channel", 0, 1 << 20) if "channel" in self._query else None
        return self._session().stage(self._query.get("name", ""), channel)

    def _leave(self) -> dict[str, Any]:
        self.server.end(self._query.get("session"))
        return {}

    def _decode(self) -> bytes:
        """Return the rate of a sound file and then its samples, all as 32-bit floats."""
        with self.server.decoding:
            try:
                file: Any = io.BytesIO(self._body(MOST_FILE))
                file.name = "the file"  # in messages
                recording = open_recording(file)
            except MinirepError as error:  # the browser may be able to decode it
                raise Refused(415, str(error)) from None
            if recording.length > MOST_DECODED:
                raise Refused(413, f"found {recording.length} samples, expected at most {MOST_DECODED}")
            samples = recording.read(0, recording.length)
            return np.concatenate([np.array([recording.rate], np.float32), samples]).astype("<f4", copy=False).tobytes()

    def _session(self) -> Session:
        return self.server.session(self._query.get("session", ""))

    def _number(self, name: str, low: int, high: int) -> int:
        text = self._query.get(name, "")
        if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
            raise Refused(400, f"{name}: found {quoted(text)}, expected a whole number from {low} to {high}")
        return int(text)

    def _body(self, most: int) -> bytes:
        lengths = self.headers.get_all("Content-Length", [])
        if "Transfer-Encoding" in self.headers or not lengths:
            raise Refused(411, "found no length of the body, expected Content-Length")
        if len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdigit()):
            raise Refused(400, f"Content-Length: found {quoted(', '.join(lengths))}, expected one whole number")
        if len(lengths[0]) > 12 or int(lengths[0]) > most:
            raise Refused(413, f"found a body of {lengths[0][:20]} bytes, expected at most {most}")
        self._bounded.end, self._bounded.most = time.monotonic() + BODY_SECONDS, most
        body = self.rfile.read(int(lengths[0]))
        if len(body) < int(lengths[0]):
            raise Refused(400, f"found {len(body)} bytes of the body, expected {lengths[0]}")
        return body

    def _reply(self, status: int, body: bytes, kind: str) -> None:
        self.connection.settimeout(BODY_SECONDS)
        self.close_connection = True
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a request that is refused, here or by the base class, with one line as JSON."""
        self._reply(code, json.dumps({"error": one_line(message or f"status {int(code)}")}).encode(), JSON)

    def log_message(self, format: str, *args: Any) -> None:
        """Do not log requests."""
