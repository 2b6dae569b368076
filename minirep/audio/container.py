"""M4A, AAC, WMA, WebM, MP4 and other formats, decoded by the package av (extra ``av``), which contains FFmpeg.

FFmpeg also reads playlists, which name other files. Only formats that contain sound themselves are allowed.
"""

import re
from collections.abc import Iterator
from typing import IO

import numpy as np

from ..errors import MinirepError, expect
from .compressed import DELAY, ForwardDecoder, Section, Unreadable
from .formats import HEAD, find_mp3
from .recording import CUT, LOWEST, Recording, unit_scale, whole_rate

DEMUXERS = "aac,ac3,aiff,amr,ape,asf,au,avi,caf,eac3,flac,matroska,webm,mov,mp4,mp3,nistsphere,ogg,tta,voc,w64,wav,wv"
MATROSKA_DURATION = re.compile(rb"^\x1aE\xdf\xa3.*\x44\x89[\x84\x88]", re.DOTALL)  # else FFmpeg guesses it
MAX_CHANNELS = 8  # FFmpeg stores the samples of more elsewhere, where PyAV does not find them if a file is damaged
SLACK = 0.15  # seconds of the promised length that may be missing: a codec needs them to start
OPTIONS = {"format_whitelist": DEMUXERS, "protocol_whitelist": "none"}


def read_container(file: IO[bytes], size: int, name: str, partial: bool) -> Recording:
    """Open the first audio stream of a file with FFmpeg. Raises Unreadable if FFmpeg cannot read it."""
    try:
        import av
    except ImportError as error:
        raise Unreadable from error
    section = Section(file, 0, size)

    def open_container():
        section.seek(0)
        try:
            return av.open(section, options=OPTIONS, metadata_errors="replace")
        except TypeError:  # from version 19 on there is no other way
            return av.open(section, options=OPTIONS)

    def blocks() -> Iterator[np.ndarray]:
        """Yield all samples, mono, frame by frame."""
        try:
            with open_container() as container:
                for frame in _frames(container, av.error.InvalidDataError):
                    change = f"{name}: found a change to {_form(frame)}, expected {form}: ffmpeg -i FILE out.wav"
                    expect(_form(frame) == form, change)  # FFmpeg's program converts this
                    yield _mono(frame)
            if section.failed:
                raise section.failed
        except MinirepError:
            raise
        except Exception as error:  # PyAV lets through what Python raises inside it, too
            raise MinirepError(f"{name}: damaged ({getattr(error, 'strerror', error)}){CUT}") from error

    try:
        with open_container() as container:
            expect(container.streams.audio, f"{name}: found no sound in it, expected a stream of sound")
            if container.streams.audio[0].codec_context is None:  # without a decoder, version 17 would crash
                raise Unreadable("FFmpeg has no decoder for it")
            first = next(container.decode(audio=0), None)
            seconds = _promised(container, file, size)
    except MinirepError:
        raise
    except Exception as error:
        raise Unreadable(str(getattr(error, "strerror", error))) from error
    if first is None:
        raise MinirepError(f"{name}: found no samples, expected at least one")
    rate, form = whole_rate(first.sample_rate, name, LOWEST), _form(first)
    expect(len(first.layout.channels) <= MAX_CHANNELS, f"{name}: found {form}, expected at most {MAX_CHANNELS}")
    decoder = ForwardDecoder(blocks, name, seconds * rate, SLACK * rate, partial)
    return Recording(name, rate, decoder.length, decoder.fetch)


def _promised(container, file: IO[bytes], size: int) -> float:
    """Return the seconds of sound that the header promises; 0 if they are an estimate, or the length of a video."""
    stream = container.streams.audio[0]
    if "mp4" in container.format.name:
        return float((stream.duration or 0) * stream.time_base)
    if container.format.name == "mp3" and (mp3 := find_mp3(file, 0, size)):
        return (mp3.promised - DELAY) / stream.rate
    file.seek(0)
    known = MATROSKA_DURATION.search(file.read(HEAD)) and len(container.streams) == 1
    return (container.duration or 0) / 1e6 if known else 0.0


def _frames(container, damaged: type[Exception]) -> Iterator:
    """Yield the decoded frames of the first audio stream. A truncated last packet ends it."""
    failed = None
    for packet in container.demux(audio=0):
        if failed and packet.size:
            raise failed
        try:
            yield from packet.decode()
        except damaged as error:
            failed = error


def _form(frame) -> str:
    """Describe what must be the same in all frames: the rate and the number of channels."""
    return f"{frame.sample_rate} Hz and {len(frame.layout.channels)} channels"


def _mono(frame) -> np.ndarray:
    """Return the samples of a frame, averaged over its channels: (n,) float64."""
    samples = unit_scale(frame.to_ndarray())  # (channels, n), or (1, n * channels) if they are interleaved
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(frame.layout.channels)).T
    return samples.mean(axis=0)
