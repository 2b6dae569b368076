"""Compiled code is kept on disk, and found again only as long as no source of this folder has changed.

Numba looks at the file of the function that is cached, not at those of the functions it calls; so the sources' checksum
becomes a part of the function's name.
"""

import zlib
from pathlib import Path

from numba import njit

STAMP = zlib.crc32(b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py"))))


def cached(function):
    """Compile on the first call, without the interpreter's lock, and keep the result on disk."""
    function.__name__ = function.__qualname__ = f"{function.__name__}_{STAMP:08x}"
    return njit(nogil=True, cache=True)(function)
