"""Write files completely or not at all, find paths that are not regular files, and compute checksums."""

import contextlib
import hashlib
import io
import os
import re
import stat
import sys
import time
from collections.abc import Iterator

from ..errors import MinirepError, expect, naming
from ..text import printable

STANDARD_OUTPUT = ("-", "/dev/stdout", "/dev/fd/1")
KINDS = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a named pipe", stat.S_ISSOCK: "a socket"}
UNFINISHED = ".minirep"  # suffix of temporary files
STALE = 3600  # seconds after which no process is still writing one


@contextlib.contextmanager
def replacing(path, mode: int = 0o666) -> Iterator[io.BytesIO]:
    """Collect what is written, and move it to ``path`` if there was no error, so that no file is left incomplete.

    A link is followed, and its target is replaced. The permissions are ``mode`` without the umask. "-" and /dev/stdout
    are standard output. Raises a MinirepError if ``path`` cannot be written or is not a regular file.
    """
    target = writable(path)
    content = io.BytesIO()  # so that a full disk interrupts no writer that must close something, such as a zip
    yield content
    if target is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(content.getbuffer())
        sys.stdout.flush()
        return
    folder, name = os.path.split(target)
    prefix = f".{name[:40]}."
    temporary = os.path.join(folder, f"{prefix}{os.urandom(6).hex()}{UNFINISHED}")
    try:
        _sweep(folder, prefix)
        with open(temporary, "xb", opener=lambda file, flags: os.open(file, flags, mode)) as file:
            file.write(content.getbuffer())
        os.replace(temporary, target)
    except OSError as error:
        raise MinirepError(f"{printable(path)}: cannot be written: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def writable(path) -> str | None:
    """Return the file at the end of all links of ``path``, None for standard output; MinirepError if not writable."""
    descriptor = _descriptor(os.fspath(path))
    if os.fspath(path) in STANDARD_OUTPUT or descriptor == (str(os.getpid()), "1"):
        piped = hasattr(sys.stdout, "buffer") and not sys.stdout.isatty()
        expect(piped, f"{path}: found no file or pipe as standard output, expected one")
        return None
    target, refused = os.path.realpath(path), f"{printable(path)}: cannot be written"
    found = "a circle of links" if os.path.islink(target) else "an open file" if descriptor else irregular(target)
    expect(not found, f"{refused}: found {found}, expected a file, or - for standard output")
    expect(os.path.isdir(os.path.dirname(target)), f"{refused}: expected a file in an existing folder")
    return target


def _descriptor(path: str, links: int = 40) -> tuple[str, str] | None:
    """Return (process, number) if a path such as /dev/stderr leads to an open file, which must not be replaced."""
    folder, name = os.path.split(path)
    found = re.fullmatch(r"/proc/(\d+)(?:/task/\d+)?/fd", os.path.realpath(folder))
    if found:
        return found[1], name
    return _descriptor(os.path.join(folder, os.readlink(path)), links - 1) if links and os.path.islink(path) else None


def irregular(path) -> str | None:
    """Return what is at a path, such as "a named pipe"; None for a regular file, or if nothing is there."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return None
    return None if stat.S_ISREG(mode) else next((kind for is_it, kind in KINDS.items() if is_it(mode)), "a device")


def _sweep(folder: str, prefix: str) -> None:
    """Remove temporary files of the same target that killed processes have left."""
    for entry in os.scandir(folder):
        if entry.name.startswith(prefix) and entry.name.endswith(UNFINISHED):
            with contextlib.suppress(OSError):  # another process may have removed it
                if time.time() - entry.stat(follow_symlinks=False).st_mtime > STALE:
                    os.unlink(entry)


def sha256(path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with naming(path), open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
