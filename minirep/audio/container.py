"""M4A, AAC, WMA, WebM, MP4 and other formats, decoded by the package av (extra ``av``), which is FFmpeg's libraries.

FFmpeg also reads playlists, which name other files. Only formats that hold sound themselves are let in.
"""

import re
from collections.abc import Iterator
from typing import IO

import numpy as np

from ..errors import MinirepError, expect
from .compressed import DELAY, ForwardDecoder, Section, Unreadable
from .formats import HEAD, find_mp3
from .recording import BLOCK, CUT, LOWEST, Recording, unit_scale, whole_rate

DEMUXERS = "aac,ac3,aiff,amr,ape,asf,au,avi,caf,eac3,flac,matroska,webm,mov,mp4,mp3,nistsphere,ogg,tta,voc,w64,wav,wv"
MATROSKA_DURATION = re.compile(rb"^\x1aE\xdf\xa3.*\x44\x89[\x84\x88]", re.DOTALL)  # else FFmpeg guesses it
MAX_CHANNELS = 8  # FFmpeg keeps the samples of more elsewhere, and where a file is damaged, PyAV does not find them
SLACK = 0.15  # seconds that may be missing from what a header promises: what a codec needs to begin
OPTIONS = {"format_whitelist": DEMUXERS, "protocol_whitelist": "none"}


def read_container(file: IO[bytes], size: int, name: str, partial: bool) -> Recording:
    """Open the first audio stream of a file that FFmpeg reads. Raises Unreadable."""
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
        """All samples, mono, in blocks of at least `BLOCK` but for the last."""
        pieces, waiting, failed = [], 0, None
        try:
            with open_container() as container:
                for frame in _frames(container, av.error.InvalidDataError):
                    change = f"{name}: found a change to {_form(frame)}, expected {form}: ffmpeg -i FILE out.wav"
                    expect(_form(frame) == form, change)  # FFmpeg's program converts this
                    pieces.append(_mono(frame))
                    waiting += len(pieces[-1])
                    if waiting >= BLOCK:
                        yield np.concatenate(pieces)
                        pieces, waiting = [], 0
            if section.failed:
                raise section.failed
        except MinirepError:
            raise
        except Exception as error:  # PyAV lets through what Python raises inside it, too
            failed = error
        if pieces:
            yield np.concatenate(pieces)
        if failed:
            reason = getattr(failed, "strerror", failed)
            raise MinirepError(f"{name}: damaged ({reason}){CUT}") from failed

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
    """How many seconds of sound the header promises; 0 where it is a guess, or the length of the pictures."""
    stream = container.streams.audio[0]
    if "mp4" in container.format.name:
        return float((stream.duration or 0) * stream.time_base)
    if container.format.name == "mp3" and (mp3 := find_mp3(file, 0, size)):
        return (mp3.promised - DELAY) / stream.rate
    file.seek(0)
    known = MATROSKA_DURATION.search(file.read(HEAD)) and len(container.streams) == 1
    return (container.duration or 0) / 1e6 if known else 0.0


def _frames(container, damaged: type[Exception]) -> Iterator:
    """The decoded frames of the first stream of sound. A last packet that was cut is the end."""
    failed = None
    for packet in container.demux(audio=0):
        if failed and packet.size:
            raise failed
        try:
            yield from packet.decode()
        except damaged as error:
            failed = error


def _form(frame) -> str:
    """What must stay the same from frame to frame."""
    return f"{frame.sample_rate} Hz and {len(frame.layout.channels)} channels"


def _mono(frame) -> np.ndarray:
    """The samples of a frame, the mean over its channels: (n,) float64."""
    samples = unit_scale(frame.to_ndarray())  # (channels, n), or (1, n * channels) where they take turns
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(frame.layout.channels)).T
    return samples.mean(axis=0)
