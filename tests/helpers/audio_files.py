"""WAV files for tests, built byte by byte from the format's description; any field can hold a false value."""

import struct

import numpy as np

PCM, FLOAT, ALAW, EXTENSIBLE = 1, 3, 6, 0xFFFE
CODINGS = ("u8", "i16", "i24", "i32", "f32", "f64")
GUID_TAIL = b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"


def chunk(kind: bytes, body: bytes, size: int | None = None) -> bytes:
    """One chunk, padded to an even length; ``size`` is what it says of itself, if not the truth."""
    return kind + struct.pack("<I", len(body) if size is None else size) + body + b"\0" * (len(body) % 2)


def hiss(count: int, seed: int = 0) -> np.ndarray:
    """White noise, (count,) float32."""
    return np.random.default_rng(seed).normal(0, 0.1, count).astype(np.float32)


def noise(coding: str, frames: int, channels: int, seed: int = 0) -> tuple[bytes, np.ndarray]:
    """Random samples as the bytes of a data chunk, and as the (frames, channels) float64 that they mean."""
    rng = np.random.default_rng(seed)
    bits = int(coding[1:])
    if coding[0] == "f":
        values = rng.uniform(-1, 1, (frames, channels)).astype(f"<f{bits // 8}")
        return values.tobytes(), values.astype(np.float64)
    values = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (frames, channels))
    raw = values + 128 if coding == "u8" else values
    octets = [(raw >> shift & 255).astype(np.uint8) for shift in range(0, bits, 8)]  # little end first
    return np.stack(octets, axis=-1).tobytes(), values / 2.0 ** (bits - 1)


def wav(
    data: bytes = bytes(64),
    coding: str = "i16",
    channels: int = 1,
    rate: int = 16000,
    *,
    tag: int | None = None,
    bits: int | None = None,
    frame: int | None = None,
    extensible: bool = False,
    rf64: bool = False,
    riff_size: int | None = None,
    data_size: int | None = None,
    first: bytes = b"",
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A WAV file; every field of its header can be set to a false value.

    Other chunks can stand ``first``, ``before`` the samples or ``after`` them.
    """
    tag = (FLOAT if coding[0] == "f" else PCM) if tag is None else tag
    bits = int(coding[1:]) if bits is None else bits
    frame = channels * int(coding[1:]) // 8 if frame is None else frame
    fmt = struct.pack(
        "<HHIIHH", EXTENSIBLE if extensible else tag, channels, rate, rate * frame % 2**32, frame % 2**16, bits
    )
    if extensible:
        fmt += struct.pack("<HHIH", 22, bits, 0, tag) + GUID_TAIL
    body = b"WAVE" + first + chunk(b"fmt ", fmt) + before
    size = len(data) if data_size is None else data_size
    if rf64:
        ds64 = struct.pack("<QQQI", 0, size, 0, 0)
        body = b"WAVE" + chunk(b"ds64", ds64) + body[4:] + chunk(b"data", data, 0xFFFFFFFF) + after
        return b"RF64" + struct.pack("<I", 0xFFFFFFFF) + body
    body += chunk(b"data", data, size) + after
    return b"RIFF" + struct.pack("<I", len(body) if riff_size is None else riff_size) + body


def sound(samples, rate: int = 16000, coding: str = "f32", **header) -> bytes:
    """A WAV file of mono samples between -1 and 1; ``header``: what `wav` takes."""
    samples = np.asarray(samples)
    values = samples if coding[0] == "f" else samples * 2 ** (int(coding[1:]) - 1)
    return wav(values.astype(f"<{coding[0]}{int(coding[1:]) // 8}").tobytes(), coding, rate=rate, **header)
