"""Open a zip from an untrusted source: its directory is bounded, and no entry is larger than it looks."""

import os
import struct
import zipfile
from typing import Any

from ..errors import expect
from ..text import quoted

MAX_DIRECTORY = 1 << 21  # bytes: some 25,000 entries; a published checkpoint has 900

# What zipfile raises for a file that is damaged or not a zip.
ZIP_ERRORS = (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, LookupError, OverflowError, struct.error)


class _Bounded:
    """A binary file that refuses to read more than ``limit`` bytes at once; zipfile reads a directory of any length."""

    def __init__(self, file: Any):
        self._file, self.part, self.limit = file, "directory", MAX_DIRECTORY

    def read(self, size: int = -1) -> bytes:
        if size > self.limit:
            raise ValueError(f"found a {self.part} of {size} bytes, expected at most {self.limit}")
        content: bytes = self._file.read(size)
        return content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def open_zip(file: Any) -> zipfile.ZipFile:
    """Open the zip in a seekable binary file; raise one of `ZIP_ERRORS` if it is damaged or not a zip.

    Each entry must be there once and stored plainly, and all together must not be larger than the file. This protects
    from zip bombs and overlapping entries. Raises a MinirepError otherwise.
    """
    bounded = _Bounded(file)
    archive = zipfile.ZipFile(bounded)
    bounded.part, bounded.limit = "part", file.seek(0, os.SEEK_END)  # an entry is no larger than the file
    infos = archive.infolist()
    for info in infos:
        plain = info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size
        plain = plain and not info.flag_bits & 1
        expect(plain, f"the entry {quoted(info.filename)} is compressed or encrypted; expected it stored plainly")
    once = len({info.filename for info in infos}) == len(infos)
    expect(once, "found several entries of one name, expected one of each")
    total = sum(info.file_size for info in infos)
    expect(total <= bounded.limit, "its entries are larger than the file together: damaged or forged")
    return archive
