"""`.safetensors`: named arrays in one file, in a simple format that many programs read.

Eight bytes, little-endian, hold the length of a JSON header. The header gives the type, the shape and the position of
each array, and text by name under "__metadata__". The numbers follow, without gaps. Reading executes nothing, and
allocates nothing before every position has been compared with the size of the file.

Source: the format's description, https://github.com/huggingface/safetensors#format.
"""

import json
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ..errors import expect
from ..text import quoted

SUFFIX, METADATA = ".safetensors", "__metadata__"
DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
MAX_AXES = 8


def write_arrays(file: Any, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Write arrays of floating-point numbers, and text by name, into a binary file."""
    header: dict[str, Any] = {METADATA: metadata}
    start = 0
    for name, array in arrays.items():
        stop = start + array.nbytes
        header[name] = {"dtype": f"F{8 * array.itemsize}", "shape": array.shape, "data_offsets": (start, stop)}
        start = stop
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers are aligned
    file.write(len(text).to_bytes(8, "little") + text)
    for array in arrays.values():
        file.write(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())


def looks_like(start: bytes, size: int) -> bool:
    """Return whether a file of ``size`` bytes, of which ``start`` has the first nine, looks like a .safetensors."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size - 8


def read_arrays(file: Any, size: int, parse: Callable[[bytes], Any], most: int) -> tuple[dict, set, Callable]:
    """Read the header of a binary file of ``size`` bytes: (metadata, names, a function that reads an array by name).

    ``parse`` parses JSON, and ``most`` is the largest size of the header in bytes. Raises a MinirepError for positions
    that are outside the file, overlap, leave gaps or do not fit their shapes.
    """
    length = int.from_bytes(file.read(8), "little")
    found = f"not a whole {SUFFIX} file: found a header of {length} bytes in a file of {size}"
    expect(2 <= length <= min(size - 8, most), f"{found}, expected at most {max(0, min(size - 8, most))}")
    header = parse(file.read(length))
    metadata, end = header.pop(METADATA, {}), 0
    text = isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())
    expect(text, f"{METADATA}: found other values, expected a dictionary of text")
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        dtype, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
        where = f"array {quoted(name)}"
        expect(dtype in DTYPES, f"{where}: found type {quoted(dtype)}, expected {', '.join(DTYPES)}")
        whole = len(shape) <= MAX_AXES and all(type(n) is int and 0 <= n <= size for n in (*shape, start, stop))
        expect(whole and start == end and stop - start == prod(shape) * np.dtype(DTYPES[dtype]).itemsize,
               f"{where}: found {dtype} {quoted(shape)} in bytes {quoted((start, stop))}, expected as many bytes as it "
               f"takes, from {end} on")  # fmt: skip
        end = stop
    expect(end == size - 8 - length, f"found {size - 8 - length} bytes of numbers, expected {end}, as the header gives")

    def fetch(name: str) -> np.ndarray:
        (start, stop), shape = header[name]["data_offsets"], header[name]["shape"]
        file.seek(8 + length + start)
        return np.frombuffer(file.read(stop - start), DTYPES[header[name]["dtype"]]).reshape(shape)

    return metadata, set(header), fetch
