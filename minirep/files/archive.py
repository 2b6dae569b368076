"""Open a zip from an untrusted source: its directory is bounded before `zipfile` builds objects from it."""

import os
import struct
import zipfile
from typing import Any

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
    """Open the zip in a seekable binary file; raise one of `ZIP_ERRORS` if it is damaged or not a zip."""
    bounded = _Bounded(file)
    archive = zipfile.ZipFile(bounded)
    bounded.part, bounded.limit = "part", file.seek(0, os.SEEK_END)  # an entry is no larger than the file
    return archive
