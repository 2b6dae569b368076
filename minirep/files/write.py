"""Files written whole or not at all, and the checksum of a file."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import MinirepError
from ..text import printable


@contextlib.contextmanager
def replacing(path) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` and move it there when all went well: never half a file under its name."""
    path = Path(path)
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise MinirepError(f"{printable(path)}: cannot be written: {error.strerror or error}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(temporary, 0o666 & ~umask())  # mkstemp's files are private; a saved model need not be
        os.replace(temporary, path)
    except OSError as error:
        raise MinirepError(f"{printable(path)}: cannot be written: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def umask() -> int:
    """Return the permissions that new files do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sha256(path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise MinirepError(f"{printable(path)}: cannot be read: {error.strerror or error}") from None
    return digest.hexdigest()
