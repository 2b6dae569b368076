"""A sound file, a stream or an array becomes mono samples at the rate that is wanted.

Everything is a `Recording`: it knows its rate and its length, and reads just the stretch it is asked for, so that two
seconds out of an hour cost two seconds' memory. WAV files are read here; other formats through the package soundfile.

Sources: the WAV chunks are those of IBM and Microsoft, "Multimedia Programming Interface and Data Specifications 1.0",
1991, chapter 3, the extensible format of Microsoft's WAVEFORMATEXTENSIBLE and the 64-bit sizes of EBU Tech 3306. The
resampler is the polyphase filter of Crochiere and Rabiner, "Multirate Digital Signal Processing", 1983, with Kaiser's
window, and for ratios of large numbers the polynomials of Farrow, "A continuously variable digital delay element",
1988.
"""

import contextlib
import math
import os
import shutil
import struct
import tempfile
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

import numpy as np

from .errors import MinirepError, MissingExtra

RATES = (1000, 768_000)  # the lowest and the highest sample rate taken, Hz: beyond them a header is damaged or a jest
BLOCK = 1 << 16  # samples decoded at a time, all channels together


class Recording:
    """Mono sound that is read piece by piece.

    ``rate`` in samples a second, ``length`` in samples, ``name`` for messages. A file behind it is closed with the last
    reference to the recording.
    """

    def __init__(self, name: str, rate: int, length: int, fetch: Callable[[int, int], np.ndarray], block: int = BLOCK):
        """``fetch(start, stop)`` gives samples that lie within one block: [i * block, (i + 1) * block) for some i."""
        self.name, self.rate, self.length = name, rate, length
        self._fetch, self._block = fetch, block
        self._lock = threading.Lock()  # a file has one position: two threads must not move it between seek and read

    def read(self, start: int, stop: int) -> np.ndarray:
        """The samples [start, stop), as far as the recording has them: (n,) float32.

        Raises MinirepError where the file cannot be read on or holds NaN or infinite samples.
        """
        start, stop = max(0, int(start)), min(int(stop), self.length)
        samples = np.empty(max(0, stop - start), np.float32)
        # What is too large for a float32 becomes infinite and is refused below: no warning needed.
        with self._lock, np.errstate(over="ignore", invalid="ignore"):
            here = start
            while here < stop:
                end = min(stop, here - here % self._block + self._block)
                try:
                    samples[here - start : end - start] = self._fetch(here, end)
                except OSError as error:
                    raise MinirepError(f"{self.name}: cannot be read on ({error.strerror or error})") from error
                here = end
        if not np.isfinite(samples).all():
            raise MinirepError(
                f"{self.name}: found NaN, infinite or huge samples between {start / self.rate:.2f} and "
                f"{stop / self.rate:.2f} s; expected finite ones"
            )
        return samples

    def __repr__(self):
        return f"Recording({self.name!r}, rate={self.rate}, length={self.length})"


def from_array(samples, rate: int | None) -> Recording:
    """A recording of samples in memory: (n,), real.

    float16, float32 and float64 are taken as they are; int16 and int32 are divided by 2**15 and 2**31, and uint8, as in
    WAV files, is (x - 128) / 128. ``rate``: whole samples a second, 1000 to 768000. Anything else raises MinirepError.

    >>> from_array(np.int16([0, 16384, -32768]), 16000).read(0, 3)
    array([ 0. ,  0.5, -1. ], dtype=float32)
    """
    if rate is None:
        raise MinirepError("an array of samples needs its rate: found None, expected rate=16000 or the like")
    rate = _whole_rate(rate, "array")
    try:
        named = hasattr(samples, "dtype")
        samples = np.asarray(samples)
    except (TypeError, ValueError) as error:  # rows of different lengths, an array on a GPU
        raise MinirepError(f"array: found no array for NumPy ({error}); expected samples in one dimension") from error
    if samples.ndim != 1:
        raise MinirepError(
            f"array: found shape {samples.shape}, expected one dimension: downmix first, e.g. samples.mean(axis=1)"
        )
    if samples.dtype.kind == "i" and not named:
        samples = samples.astype(np.int64)  # Python's integers have no full scale; a 32-bit machine makes int32 of them
    if samples.dtype.kind + str(samples.dtype.itemsize) not in ("f2", "f4", "f8", "i2", "i4", "u1"):
        raise MinirepError(
            f"array: found {samples.dtype}, expected float16, float32, float64, int16, int32 or uint8 samples"
        )
    if not len(samples):
        raise MinirepError("array: found no samples, expected at least one")
    most = np.finfo(np.float32).max
    with np.errstate(invalid="ignore"):
        fits = -most <= samples.min() and samples.max() <= most  # NaN compares false
    if not fits:
        raise MinirepError("array: found NaN, infinite or huge samples, expected finite ones")
    return Recording("array", rate, len(samples), lambda start, stop: _unit_scale(samples[start:stop]))


def open_recording(source) -> Recording:
    """A recording from a sound file's path or a binary stream such as ``sys.stdin.buffer``.

    WAV with integers of 8, 16, 24 or 32 bits or floats of 32 or 64 needs nothing else, with any number of channels
    (their mean is taken), extensible or not, RF64 too. Other formats need the package soundfile; MP3, Vorbis and Opus
    are decoded once to learn their length. A stream is first copied to a temporary file, up to its end. Raises
    MinirepError, and its kind MissingExtra where soundfile is needed and not there.
    """
    name = _name(source)
    try:
        file = _open(source)
    except (OSError, EOFError, ValueError, TypeError) as error:  # ValueError: a NUL in a path; TypeError: text
        reason = getattr(error, "strerror", None) or error
        raise MinirepError(f"{name}: cannot be read ({reason}); expected a sound file or a binary stream") from error
    try:
        recording = _from_file(file, name)
    except BaseException:
        file.close()
        raise
    weakref.finalize(recording, file.close)
    return recording


def _name(source) -> str:
    """What to call a path or a stream in a message: always one printable line."""
    name = getattr(source, "name", None) if hasattr(source, "read") else source
    try:
        name = os.fsdecode(name)
    except TypeError:
        name = "stream" if hasattr(source, "read") else type(source).__name__
    return name if name.isprintable() else ascii(name)


def _open(source) -> BinaryIO:
    """A file that can be sought in: the one at a path, or a copy of what a stream, pipe or device delivers."""
    if hasattr(source, "read"):
        copy = tempfile.SpooledTemporaryFile(max_size=1 << 24)  # noqa: SIM115 (on disk only beyond 16 MiB)
        try:
            shutil.copyfileobj(source, copy)
        except BaseException:
            copy.close()
            raise
        return copy
    file = open(os.fspath(source), "rb")  # noqa: SIM115 (the recording closes it)
    if file.seekable():
        return file
    with file:
        return _open(file)


def _from_file(file: BinaryIO, name: str) -> Recording:
    try:
        file.seek(0, os.SEEK_END)
        size = file.tell()
        if not size:
            raise MinirepError(f"{name}: found an empty file, expected sound")
        wav = _wav_layout(file, size, name)
        return _wav(file, wav, name) if wav else _soundfile(file, name)
    except OSError as error:
        raise MinirepError(f"{name}: cannot be read ({error.strerror or error})") from error


def _whole_rate(rate, name: str) -> int:
    try:
        if RATES[0] <= rate <= RATES[1] and rate == int(rate):
            return int(rate)
    except (TypeError, ValueError):
        pass
    raise MinirepError(
        f"{name}: found a sample rate of {rate!r}, expected a whole number from {RATES[0]} to {RATES[1]}"
    )


def _unit_scale(samples: np.ndarray) -> np.ndarray:
    """Integers divided by their full scale, floats as they are: any shape -> float64, the same shape."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float64)
    full = 2.0 ** (8 * samples.dtype.itemsize - 1)
    return (samples - full) / full if samples.dtype.kind == "u" else samples / full


# --- WAV ----------------------------------------------------------------------------------------------------------
# "RIFF", a size, "WAVE", then chunks: a name of four letters, a size, that many bytes and one more if they are odd in
# number. The chunk "fmt " says what the samples are, and "data" holds them, one after the other channel by channel.

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # format tags; an extensible format has its true tag in the first bytes of a GUID
GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
CODINGS = {(PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32), (FLOAT, 64)}  # (tag, bits) that are read here
MOST_CHUNKS = 1000  # before the samples: real files have a handful


@dataclass(frozen=True)
class _Wav:
    """Where the samples of a WAV file are and what they mean."""

    rate: int
    channels: int
    tag: int
    width: int  # bytes a sample
    offset: int  # of the first sample in the file
    length: int  # samples a channel

    @property
    def frame(self) -> int:
        """Bytes of one sample of every channel."""
        return self.channels * self.width


def _wav_layout(file: BinaryIO, size: int, name: str) -> _Wav | None:
    """What a header says, checked against its file's ``size``; None for what is not integers or floats in a WAV."""
    file.seek(0)
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:] != b"WAVE":
        return None
    chunks = _chunks(file, size, name)
    tag, channels, rate, _, frame, bits = struct.unpack("<HHIIHH", _body(file, chunks, b"fmt ", 16, name))
    if tag == EXTENSIBLE:
        tag, tail = struct.unpack("<24xH14s", _body(file, chunks, b"fmt ", 40, name))
        tag = tag if tail == GUID_TAIL else EXTENSIBLE
    if tag not in (PCM, FLOAT):
        return None
    if tag == PCM:
        bits += -bits % 8  # integers of 12 bits are kept in the upper part of 16
    if (tag, bits) not in CODINGS or not channels or frame != channels * bits // 8:
        kind = "integers" if tag == PCM else "floats"
        raise MinirepError(
            f"{name}: found a WAV header with {channels} channels of {bits}-bit {kind} in {frame} bytes; expected at "
            "least one channel, integers of 8, 16, 24 or 32 bits or floats of 32 or 64, and bytes to match"
        )
    offset, promised = chunks[b"data"]
    if promised == 0xFFFFFFFF and b"ds64" in chunks:  # it did not fit into 32 bits: this chunk has it in 64
        promised = struct.unpack("<8xQ", _body(file, chunks, b"ds64", 16, name))[0]
    there = size - offset
    finished = struct.unpack("<4xI4x", head)[0] == size - 8  # the size in the head fits: so 0 samples are meant
    if (promised == 0 and not finished) or (promised > there and _is_placeholder(promised)):
        promised = there
    if promised > there:
        raise MinirepError(f"{name}: truncated: found {there} of the {promised} bytes of samples its header promises")
    if promised < frame:
        raise MinirepError(f"{name}: found a WAV file with no samples, expected at least one")
    return _Wav(_whole_rate(rate, name), channels, tag, bits // 8, offset, promised // frame)


def _chunks(file: BinaryIO, size: int, name: str) -> dict[bytes, tuple[int, int]]:
    """The chunks up to the samples, {name: (offset, bytes)}. What follows "data" is of no use here."""
    chunks, position = {}, 12
    for _ in range(MOST_CHUNKS):
        file.seek(min(position, size))  # streams in memory cannot look 2 GiB ahead on a 32-bit machine
        header = file.read(8)
        if len(header) < 8:
            raise MinirepError(f"{name}: truncated: found no samples up to its end, expected a WAV file's 'data' chunk")
        kind, length = struct.unpack("<4sI", header)
        chunks.setdefault(kind, (position + 8, length))
        if kind == b"data":
            return chunks
        position += 8 + length + length % 2
    raise MinirepError(f"{name}: found {MOST_CHUNKS} chunks and no samples, expected a WAV file's 'data' chunk before")


def _body(file: BinaryIO, chunks: dict, kind: bytes, least: int, name: str) -> bytes:
    """The first ``least`` bytes in a chunk."""
    offset, length = chunks.get(kind, (0, 0))
    file.seek(offset)
    body = file.read(least)
    if length < least or len(body) < least:
        raise MinirepError(
            f"{name}: found {length} bytes in the WAV chunk {kind.decode()!r}, expected at least {least}"
        )
    return body


def _is_placeholder(size: int) -> bool:
    """Whether a size of samples is one that programs write ahead of a stream whose end they do not know.

    FFmpeg writes 2**32 - 1, arecord 2**31, SoX and eSpeak 2**31 - 4096: all just below a multiple of 2 GiB.
    """
    return -size % 2**31 <= 4096


def _wav(file: BinaryIO, wav: _Wav, name: str) -> Recording:
    def fetch(start, stop):
        file.seek(wav.offset + start * wav.frame)
        raw = file.read((stop - start) * wav.frame)
        if len(raw) < (stop - start) * wav.frame:
            raise MinirepError(f"{name}: truncated while it was being read")
        return _decode(raw, wav.tag, wav.width).reshape(-1, wav.channels).mean(axis=1)

    return Recording(name, wav.rate, wav.length, fetch, max(1, BLOCK // wav.channels))


def _decode(raw: bytes, tag: int, width: int) -> np.ndarray:
    """The bytes of n samples -> (n,) float64, full scale +-1."""
    if tag == FLOAT:
        return _unit_scale(np.frombuffer(raw, f"<f{width}"))
    if width == 3:  # the upper three bytes of a 32-bit integer
        padded = np.zeros((len(raw) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        return _unit_scale(padded.view("<i4")[:, 0])
    return _unit_scale(np.frombuffer(raw, np.uint8 if width == 1 else f"<i{width}"))


# --- Other formats ---------------------------------------------------------------------------------------------------

ENDLESS = 1 << 48  # a length beyond is libsndfile's way to say that a header does not tell
KEPT = 1 << 20  # samples of a sound that is decoded from its beginning on: 24 s at 44.1 kHz, 4 MiB


def _soundfile(file: BinaryIO, name: str) -> Recording:
    try:
        import soundfile
    except ImportError as error:
        raise MissingExtra("soundfile", "audio", f"{name}: found no WAV of integers or floats: other sound") from error
    except OSError as error:  # the package is there, the C library under it is not
        raise MinirepError(f"{name}: soundfile cannot load libsndfile, which has to be installed ({error})") from error
    path = getattr(file, "name", None)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_failures(name, "found no sound", "; expected WAV, FLAC, OGG, MP3 or the like"))
        if not isinstance(path, (str, bytes)):  # a stream's copy has no name, and libsndfile knows MP3s by path alone
            named = stack.enter_context(tempfile.NamedTemporaryFile())
            file.seek(0)
            shutil.copyfileobj(file, named)
            named.flush()
            path = named.name
        sound = soundfile.SoundFile(path)
    rate = _whole_rate(sound.samplerate, name)
    if sound.format == "RAW":  # libsndfile took the name's ending for its word
        raise MinirepError(f"{name}: found no header that tells what its samples are; expected WAV, FLAC, OGG, MP3 ...")
    if not sound.seekable():  # a few old telephone codings
        raise MinirepError(f"{name}: found {sound.subtype_info}, which is read in one go only; convert it to WAV")
    sound.seekable = lambda: False  # or soundfile itself seeks after each read to where it is: in an MP3 that does harm
    inexact = sound.subtype.startswith(("VORBIS", "OPUS", "MPEG")) or sound.frames > ENDLESS
    decoder = (_Forwards if inexact else _Seeking)(sound, name)
    if decoder.length < 1:
        raise MinirepError(f"{name}: found no samples, expected at least one")
    return Recording(name, rate, decoder.length, decoder.fetch, decoder.block)


@contextlib.contextmanager
def _failures(name: str, found: str, expected: str = ""):
    """Turn what soundfile raises into a MinirepError."""
    try:
        yield
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        raise MinirepError(f"{name}: {found} ({getattr(error, 'error_string', error)}){expected}") from error


class _Seeking:
    """Decodes a stretch of a sound by going there."""

    def __init__(self, sound, name: str):
        self.sound, self.name, self.length = sound, name, sound.frames
        self.block = max(1, BLOCK // sound.channels)
        self.position = 0  # of the next sample to be decoded

    def fetch(self, start: int, stop: int) -> np.ndarray:
        """The samples [start, stop), mono: (stop - start,)."""
        self.go_to(start)
        return self.decode(stop - start)

    def go_to(self, position: int):
        with _failures(self.name, "damaged"):
            self.sound.seek(position)
        self.position = position

    def decode(self, count: int, may_end: bool = False) -> np.ndarray:
        """The next ``count`` samples, mono: (count,), or fewer if they ``may_end`` here."""
        with _failures(self.name, "damaged"):
            samples = self.sound.read(count, "float64", always_2d=True)  # (n, channels)
        self.position += len(samples)
        if len(samples) < count and not may_end:
            raise MinirepError(
                f"{self.name}: truncated: found {self.position} of the {self.sound.frames} samples its header promises"
            )
        return samples.mean(axis=1)


class _Forwards(_Seeking):
    """Decodes from the beginning on, whatever the stretch, and keeps the last samples for a reader that steps back.

    This is for Vorbis, Opus and MP3: libsndfile's seeks in them do not always lead to the same samples, and its lengths
    are estimates, so that everything is decoded once just to count it.
    """

    def __init__(self, sound, name: str):
        super().__init__(sound, name)
        self.last = np.zeros(0, np.float32)  # the samples before position
        while self.advance(self.block, may_end=True):
            pass
        self.length = self.position
        if self.length < 0.98 * sound.frames < ENDLESS:
            self.decode(1)  # says that it is truncated

    def fetch(self, start: int, stop: int) -> np.ndarray:
        if start < self.position - len(self.last):
            self.go_to(0)
            self.last = self.last[:0]
        while self.position < stop:
            self.advance(min(stop - self.position, self.block))
        kept = self.position - len(self.last)  # where the last samples start
        return self.last[start - kept : stop - kept]

    def advance(self, count: int, may_end: bool = False) -> int:
        """Decode the next samples; their number."""
        new = self.decode(count, may_end)
        self.last = np.concatenate([self.last, new.astype(np.float32)])[-KEPT:]
        return len(new)


# --- Resampling ------------------------------------------------------------------------------------------------------
# Put a pulse on every sample, as high as the sample, and add them up: that is the sound between the samples too, and
# the new samples are read off it. The pulse holds only frequencies that both rates can carry; without this, whatever
# lies above half the new rate would come back as a false, lower pitch (an alias). A new sample depends on the few old
# ones whose pulses reach it, and as the pattern of their distances repeats, a small matrix does it: a polyphase filter.

STOP_DB = 80  # aliases and images lie about this far below
PASS = 0.9  # of the smaller Nyquist frequency (half a rate): flat up to here, nothing left from 1.0 on
# Kaiser's formulas for his window: its shape, and half its length in samples of the slower rate.
BETA = 0.1102 * (STOP_DB - 8.7)
HALF_LENGTH = (STOP_DB - 7.95) / (2.285 * math.pi * (1 - PASS)) / 2
SIZE = 1 << 14  # outputs computed at a time, at the most
MOST = 1 << 20  # numbers in one matrix
MOST_VIEWED = 1 << 27  # numbers in a view whose rows overlap: counted as if they did not, 32-bit machines allow 2 GiB
ORDER = 12  # coefficients of Farrow's polynomials: their error is below 1e-8 of the largest sample


def low_pass(times: np.ndarray, up: int, down: int) -> np.ndarray:
    """The pulse at ``times`` from its centre, in input samples, where output and input rate are as ``up`` to ``down``.

    It is a sinc, which would be the ideal low-pass filter if it had an end, under Kaiser's window, which gives it one;
    its cutoff lies midway between pass band and stop band.
    """
    cutoff = (1 + PASS) / 2 * min(1.0, up / down)  # as a part of the input's Nyquist frequency
    inside = np.maximum(0.0, 1.0 - (times / reach(up, down)) ** 2)
    window = (np.i0(BETA * np.sqrt(inside)) - 1.0) / (np.i0(BETA) - 1.0)  # less its small step at both ends
    return cutoff * np.sinc(cutoff * times) * window


def reach(up: int, down: int) -> int:
    """Half the pulse's length in input samples, rounded up: then it is smooth from any whole sample to the next."""
    return math.ceil(HALF_LENGTH * max(1.0, down / up))


def resample(recording: Recording, rate: int) -> Recording:
    """The recording at another rate, ``ceil(length * rate / recording.rate)`` samples long.

    Sample m lies at the time ``m / rate``; beyond its ends the recording is taken as silent. The filter is flat within
    0.01 dB up to 0.9 of the smaller Nyquist frequency and 75 dB down from 1.0 on. Samples are computed as they are
    read, and always in the same blocks: a stretch is the same, bit for bit, whichever way it is read.
    """
    rate = _whole_rate(rate, recording.name)
    if rate == recording.rate:
        return recording
    common = math.gcd(rate, recording.rate)
    up, down = rate // common, recording.rate // common
    periods = -(-64 // up)  # of the pattern, computed together: fewer than 64 outputs are not worth a matrix product
    if periods * up * (periods * down + 2 * reach(up, down)) <= MOST:
        size, compute = _polyphase(recording, up, down, periods)
    else:
        size, compute = _farrow(recording, up, down)

    def fetch(start, stop):
        first = start - start % size
        return compute(first)[start - first : stop - first]

    return Recording(recording.name, rate, -(-recording.length * up // down), fetch, size)


def _stretch(recording: Recording, start: int, stop: int) -> np.ndarray:
    """The samples [start, stop) with silence beyond both ends: (stop - start,) float64."""
    stretch = np.zeros(stop - start)
    inside = recording.read(start, stop)
    stretch[max(0, -start) : max(0, -start) + len(inside)] = inside
    return stretch


@lru_cache(maxsize=4)
def _pulses(up: int, down: int, periods: int) -> np.ndarray:
    """The matrix (inputs, outputs) that makes a row of outputs from the inputs around it.

    After ``up`` outputs, which are ``down`` inputs, everything repeats: this is one period's pulses, or several's.
    """
    half = reach(up, down)
    inputs = np.arange(-half, periods * down + half)
    outputs = np.arange(periods * up) * (down / up)  # their times in input samples
    matrix = np.empty((len(inputs), len(outputs)))
    for row in range(0, len(inputs), 64):  # a few at a time: the pulse takes several arrays as large as its times
        matrix[row : row + 64] = low_pass(inputs[row : row + 64, None] - outputs, up, down)
    return matrix


def _polyphase(recording: Recording, up: int, down: int, periods: int):
    """Outputs in a block and the function that computes the block from its first one on, where the pulses repeat."""
    matrix = _pulses(up, down, periods)
    width, outputs = matrix.shape
    step = periods * down  # inputs from one row to the next
    rows = max(1, min(SIZE // outputs, MOST // width))

    def compute(first):
        start = first // up * down - reach(up, down)
        stretch = _stretch(recording, start, start + (rows - 1) * step + width)
        steps = step * stretch.itemsize, stretch.itemsize
        windows = np.lib.stride_tricks.as_strided(stretch, (rows, width), steps, writeable=False)
        return (np.ascontiguousarray(windows) @ matrix).ravel()

    return rows * outputs, compute


@lru_cache(maxsize=4)
def _farrow_filters(up: int, down: int) -> np.ndarray:
    """Filters (inputs, 12) whose outputs are the coefficients of a polynomial: the sound from one input to the next.

    It goes through the exact values at 12 Chebyshev points; its variable is -1 at the one input and 1 at the other.
    """
    points = np.cos(np.pi * (np.arange(ORDER) + 0.5) / ORDER)
    half = reach(up, down)
    exact = low_pass(np.arange(-half, half + 2)[:, None] - (points + 1) / 2, up, down)  # (inputs, points)
    return exact @ np.linalg.inv(np.vander(points)).T


def _farrow(recording: Recording, up: int, down: int):
    """The same for such rates as 44101 to 16000, where the pattern repeats too late: 16000 pulses of 280 samples."""
    filters = _farrow_filters(up, down)
    half = reach(up, down)
    size = max(1, min(SIZE, MOST // len(filters), MOST_VIEWED * up // (down * len(filters))))

    def compute(first):
        start, phase = divmod(first * down, up)  # the first output lies phase / up after the input at start
        before, phases = np.divmod(phase + np.arange(size, dtype=np.int64) * down, up)  # and so on for all outputs
        stretch = _stretch(recording, start - half, start + int(before[-1]) + half + 2)
        windows = np.lib.stride_tricks.sliding_window_view(stretch, len(filters))[before]  # (size, inputs)
        powers = np.vander(2.0 * phases / up - 1.0, ORDER)
        return np.einsum("mp,mp->m", windows @ filters, powers)

    return size, compute
