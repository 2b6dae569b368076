"""Sound from a pipe, which cannot be rewound: raw samples or a WAV, as `arecord`, `ffmpeg` or `sox` write them.

`minirep.audio.wav` decodes the samples. For files, see `minirep.audio.open`.
"""

import time
from typing import Any

import numpy as np

from ..errors import MinirepError, expect, warn
from .formats import HEAD, frame, recognise
from .recording import ENDLESS
from .wav import FLOAT, PCM, WavLayout, wav_layout

RAW = {"s16le": (PCM, 2), "f32le": (FLOAT, 4)}  # name: (WAV format tag, bytes a sample)
CHUNK = 1 << 14  # most bytes read at a time
MAX_HEADER = 1 << 20  # bytes before the samples of a WAV
QUIET = 1 / 128  # of full scale: samples without sound do not exceed it
CLIPPED = 0.99  # of full scale: samples at the limits of their type exceed it
LOOKED_AT = 1 << 16  # bytes of raw samples that are checked: 2 s of s16le at 16 kHz
DECODE = ": ffmpeg -i FILE -f wav - | minirep listen"


def _arrived(file, most: int) -> bytes:
    """Read at least one byte, unless the stream has ended."""
    while (new := file.read(most)) is None:  # a pipe that does not wait
        time.sleep(0.01)
    return new


class _Beginning:
    """The beginning of a stream, in which `wav_layout` can seek. It reads no more of the stream than is requested."""

    def __init__(self, file):
        self.file, self.content, self.position = file, bytearray(), 0

    def seek(self, position: int) -> None:
        self.position = position

    def read(self, count: int) -> bytes:
        end = self.position + count
        expect(end <= MAX_HEADER, f"standard input: found a WAV header of more than {MAX_HEADER} bytes")
        while (missing := end - len(self.content)) > 0 and (new := _arrived(self.file, missing)):
            self.content += new
        found = bytes(self.content[self.position : end])
        self.position += len(found)
        return found


class Pcm:
    """Mono samples from a binary file or pipe, as they arrive.

    ``coding`` is "s16le", "f32le" or "wav"; "auto" means WAV if the input has a WAV header, else s16le. ``rate`` (Hz)
    and ``channels`` describe raw samples; if given, they must agree with a WAV header. ``usual_rate`` applies to raw
    samples if ``rate`` is None. Raises a MinirepError for other input.
    """

    def __init__(self, file, coding: str, rate: int | None, channels: int | None, usual_rate: int):
        self._file, self._rest = file, b""  # bytes not decoded yet
        self._begin: bytearray | None = bytearray()  # of raw samples, until they have been checked
        self._quiet = self._pace = self._spectrum = ""  # what may be wrong if no event is found
        self._level: list[np.ndarray] | None = []  # samples whose level is not checked yet; None: it was reported
        self._sound = False  # whether any were loud enough to hold sound
        beginning: Any = _Beginning(file)  # for `wav_layout`, a file
        begin = b"" if coding in RAW else beginning.read(12)
        if frame(begin):  # of MP3 or AAC, perhaps: only the next ones can tell
            begin += beginning.read(HEAD)
        kind = recognise(begin)
        if kind == "WAV":
            coding, wav = "wav", wav_layout(beginning, None, "standard input")
            if wav is None or not wav.width:
                raise MinirepError(f"standard input: found a compressed WAV, expected integers or floats{DECODE}")
            found = f"found a WAV at {wav.rate} Hz with {wav.channels} channels"
            agrees = rate in (None, wav.rate) and channels in (None, wav.channels)
            expected = f"expected {rate or wav.rate} Hz and {channels or wav.channels}"
            expect(agrees, f"standard input: {found}, {expected}")
            self._begin = None
        else:
            raw = not kind and (coding != "wav" or not begin)
            expect(raw, f"standard input: found {kind or 'no WAV header'}, expected WAV or raw samples{DECODE}")
            self._rest, coding = begin, coding if coding in RAW else "s16le"
            wav = WavLayout(rate or usual_rate, channels or 1, *RAW[coding], "<", 0, ENDLESS)
        self.coding, self.rate, self.channels, self._layout = coding, wav.rate, wav.channels, wav
        self._left = ENDLESS if wav.size == ENDLESS else wav.length * wav.frame  # bytes to come

    def read(self) -> np.ndarray | None:
        """Return the mono samples (n,) float32 that have arrived; None at the end. An incomplete sample is omitted."""
        new = _arrived(self._file, min(CHUNK, self._left + 13)) if self._left else b""
        new, after = new[: self._left], new[self._left :]  # what has come with the last samples
        self._left -= len(new)
        if "WAV" in (recognise(after), recognise(after[1:])):
            warn("standard input: found another WAV behind the first; only the first is read")
        raw = self._rest + new
        whole = len(raw) - len(raw) % self._layout.frame
        raw, self._rest = raw[:whole], raw[whole:]
        if self._begin is not None:
            self._look(raw, last=not new)
        if not new and not whole:
            self._look_at_level(np.zeros((0, self.channels)), last=True)
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            samples = self._layout.decode(raw)
            mono = samples.mean(axis=1).astype(np.float32)
            finite = np.isfinite(mono).all()
            expect(finite, "standard input: found NaN, infinite or huge samples, expected finite ones")
            self._look_at_level(samples)
        return mono

    @property
    def doubt(self) -> str:
        """What may be wrong with the samples if no event was found; an empty text if nothing."""
        return self._pace or self._spectrum or self._quiet

    def _look_at_level(self, samples: np.ndarray, last: bool = False) -> None:
        """Warn once if two seconds of samples, (n, channels), are clipped or have a large offset (mean)."""
        if self._level is None:
            return
        self._level.append(samples)
        if sum(map(len, self._level)) < (self.rate // 2 if last else 2 * self.rate):
            return
        x = np.concatenate(self._level)
        if np.abs(x).max() <= QUIET:
            found = "hardly any sound" if x.any() else "digital silence, every sample 0"
            hint = f"found {found}: is the microphone muted, or is its level low?"
            self._quiet, self._level = "" if self._sound else hint, []
            return
        if self._begin is not None:  # first of all it must be sound
            return
        self._quiet, self._sound, self._level = "", True, []
        clipped, offset = np.mean(np.abs(x) > CLIPPED), float(np.abs(x.mean(axis=0)).max())
        if clipped > 0.02:
            warn(f"standard input: {100 * clipped:.0f} % of the samples are at full scale (clipped): lower the level")
            self._level = None
        elif offset > max(0.1, x.std() / 2):  # deep noise wanders by less
            warn(f"standard input: the samples' mean is {offset:.2f} of full scale, expected 0: is --format right?")
            self._level = None

    def _look(self, raw: bytes, last: bool) -> None:
        """Warn once if the first samples that are not silent seem to have another format."""
        assert self._begin is not None
        self._begin += raw
        enough = 8 if self.coding == "f32le" else LOOKED_AT  # before `read` refuses samples that are not finite
        while len(self._begin) >= enough or (last and len(self._begin) >= 4000):
            begin, self._begin = bytes(self._begin[:LOOKED_AT]), self._begin[LOOKED_AT:]
            whole = begin[: len(begin) // 8 * 8]
            numbers = self.coding != "f32le" or np.isfinite(np.frombuffer(whole, "<f4")).all()
            if not numbers or np.abs(np.frombuffer(whole, "<i2").astype(int)).max() > 256:
                found, self._spectrum = doubts(begin, self.coding, self.channels, self.rate)
                if found:
                    warn(f"standard input: these samples look like {found}")
                    self._level = None  # one hint is enough
                self._begin = None
                return

    def look_at_pace(self, found: float) -> None:
        """Note in `doubt` that the rate may be wrong, if a live source delivers ``found`` samples per second."""
        if self.coding != "wav" and not 0.9 < found / self.rate < 1.1 and found < 7 * self.rate:
            self._pace = f"{found:.0f} samples arrive in a second: if the sound is live, is --rate {self.rate} right?"


@np.errstate(over="ignore", invalid="ignore")
def doubts(raw: bytes, coding: str, channels: int, rate: int) -> tuple[str, str]:
    """Return (another format that raw samples seem to have, what may be wrong if no event is found), or empty texts.

    Sound is smooth: it changes less from one sample to the next than over two samples. If two channels are interleaved,
    the even samples differ from the odd ones, or the steps within pairs from those between pairs.
    """
    raw = raw[: len(raw) // 8 * 8]
    x = np.frombuffer(raw, "<i2").astype(np.float64)
    if coding == "f32le":
        loud = ~(np.abs(np.frombuffer(raw, "<f4")) < 1000)  # or NaN
        return ("s16le: --format s16le" if loud.mean() > 0.01 else ""), ""
    if _step(x, 2) > 1.5:  # a tone at a quarter of the rate, of which the even samples differ from the odd ones, too
        return "", ""
    if _like_floats(raw) > 0.9 and _like_floats(raw[2:-2]) < 0.5:
        return "f32le: --format f32le", ""
    held = np.sum((x[2:] == x[:-2]) & (x[2:] != 0)) / np.sum(x != 0)  # repeated samples come in pairs, too
    odd = max(_odd(x[::2], x[1::2]), _odd((x[1::2] - x[::2])[1:], x[2::2] - x[1:-1:2]))
    if channels == 1 and held < 0.3 and (odd > 0.12 or (odd > 0.05 and _step(x, 2) < 0.5 * _step(x, 1))):
        return "two channels: --channels 2", ""
    if channels == 2 and odd < 0.02 and _step(x, 1) < min(0.3, _step(x, 2)):
        return "one channel: --channels 1", ""
    if np.mean(np.abs(x) > 32000) > 0.3:
        return "no s16le, or far too loud: most are near full scale", ""
    power = np.square(np.abs(np.fft.rfft(x[: len(x) // 512 * 512].reshape(-1, 512) * np.hanning(512)))).sum(axis=0)
    hollow = channels == 1 and power[103:].sum() < 1e-4 * power.sum()
    return "", f"hardly any sound above {rate // 5} Hz: is --rate {rate} right, or is it higher?" if hollow else ""


def _like_floats(raw: bytes) -> float:
    """Return the share of the 32-bit words in these bytes that would be sound as floats; zeros do not count."""
    y = np.abs(np.frombuffer(raw, "<f4"))
    return float(np.mean((y > 1e-12) & (y < 8))) / max(float(np.mean(y != 0)), 1e-9)


def _odd(a: np.ndarray, b: np.ndarray) -> float:
    """Return how much louder one of two series is than the other, 0 to 1: the median of eight stretches."""
    a, b = (x[: len(b) // 8 * 8].reshape(8, -1).std(axis=1) + 1e-9 for x in (a, b))
    return float(abs(np.sort((a - b) / (a + b))[3:5].mean()))


def _step(x: np.ndarray, lag: int) -> float:
    """Return how much the samples change over ``lag``, relative to their variance: 1 for white noise."""
    return float(np.square(x[lag:] - x[:-lag]).mean() / (2 * x.var() + 1e-9))
