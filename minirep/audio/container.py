"""M4A, AAC, WMA, WebM, MP4 and other formats, decoded by the package av (extra ``av``), which is FFmpeg's libraries.

FFmpeg also reads playlists, which name other files. Only formats that hold sound themselves are let in.
"""

from collections.abc import Iterator
from typing import IO

import numpy as np

from ..errors import MinirepError, expect
from .compressed import ForwardDecoder, Section, Unreadable
from .recording import BLOCK, CUT, LOWEST, Recording, unit_scale, whole_rate

DEMUXERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,eac3,flac,flv,matroska,webm,mov,mp4,mp3,nistsphere,ogg,tta,voc,w64,wav,wv"
)
OPTIONS = {"format_whitelist": DEMUXERS, "protocol_whitelist": "none"}


def read_container(file: IO[bytes], name: str, partial: bool) -> Recording:
    """The recording in a file that FFmpeg reads: its first stream of sound. Raises Unreadable."""
    try:
        import av
    except ImportError as error:
        raise Unreadable from error

    section = Section(file, 0, None, endless=False)

    def open_container():
        section.seek(0)
        return av.open(section, options=OPTIONS, metadata_errors="replace")

    def blocks() -> Iterator[np.ndarray]:
        """All samples, mono, in blocks of at least `BLOCK` but for the last."""
        pieces, waiting = [], 0
        try:
            with open_container() as container:
                for frame in container.decode(audio=0):
                    if frame.sample_rate != rate:
                        raise MinirepError(
                            f"{name}: found a sample rate that changes from {rate} to {frame.sample_rate}"
                        )
                    pieces.append(_mono(frame))
                    waiting += len(pieces[-1])
                    if waiting >= BLOCK:
                        yield np.concatenate(pieces)
                        pieces, waiting = [], 0
            if section.failed:
                raise section.failed
        except (av.error.FFmpegError, OSError) as error:
            raise MinirepError(f"{name}: damaged ({error.strerror or error}){CUT}") from error
        if pieces:
            yield np.concatenate(pieces)

    try:
        with open_container() as container:
            expect(container.streams.audio, f"{name}: found no sound in it, expected a stream of sound")
            first = next(container.decode(audio=0), None)
            stream = container.streams.audio[0]
            known = (
                "mp4" in container.format.name and stream.duration
            )  # elsewhere it is that of the pictures, or a guess
            seconds = float(stream.duration * stream.time_base) if known else 0
    except (av.error.FFmpegError, OSError) as error:
        raise Unreadable(str(error.strerror or error)) from error
    if first is None:
        raise MinirepError(f"{name}: found no samples, expected at least one")
    rate = whole_rate(first.sample_rate, name, LOWEST)
    decoder = ForwardDecoder(blocks, name, int((0.98 * seconds - 0.5) * rate), partial)
    return Recording(name, rate, decoder.length, decoder.fetch)


def _mono(frame) -> np.ndarray:
    """The samples of a frame, the mean over its channels: (n,) float64."""
    samples = unit_scale(frame.to_ndarray())  # (channels, n), or (1, n * channels) where they take turns
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(frame.layout.channels)).T
    return samples.mean(axis=0)
