"""Streams: the same windows as from whole recordings, bit for bit; events; bounded memory; `minirep listen`."""

import io
import itertools
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from audio_files import chunk, hiss, sound
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_ins import SMALL, Loudness, bursts, tiny_classifier

import minirep
from minirep import RECIPES, MinirepError, Recipe, Stream, audio, log_mel_views
from minirep.cli import main
from minirep.frontend import cut_frames, log_mel_of_frames
from minirep.stream import EventTracker, SlidingLogMel, StreamResampler

ODD = Recipe("odd", 8000, 0.05, 100, 7, 9, 1, {"class": 3})  # its windows are all edges


def classifier():
    return tiny_classifier({"class": 3}, {"class": ("a", "b", "silence")}, SMALL, backend="numpy")


def blocks_of(samples, lengths):
    """The samples in blocks of lengths that come round again and again."""
    start = 0
    for length in itertools.cycle(lengths):
        if start >= len(samples):
            return
        yield samples[start : start + length]
        start += length


# --- the same windows -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_a_frame_does_not_depend_on_its_company(name):
    """What streams rest on: a frame's row has the same bits, in whichever block and place it is computed."""
    recipe = RECIPES[name]
    frames = np.ascontiguousarray(cut_frames(hiss(150 * recipe.hop), 0, 150, recipe))
    whole = log_mel_of_frames(frames, recipe)
    for count in (1, 2, 3, 7, 16, 63, 64, 65, 130):
        for first in range(0, 150 - count, 31):
            part = log_mel_of_frames(frames[first : first + count], recipe)
            np.testing.assert_array_equal(part, whole[first : first + count])


@pytest.mark.parametrize("recipe", [*RECIPES.values(), SMALL, ODD], ids=lambda recipe: recipe.name)
def test_windows_are_those_of_the_whole_recording(recipe):
    """Cut out and computed alone, each window has the same log-mel, to the last bit."""
    samples, windows, taken = hiss(recipe.clip + 130 * recipe.hop + 5), SlidingLogMel(recipe), 0
    starts = np.cumsum([0, 1, 2, 50, 7, 65])  # in frames
    for frame in (int(start) for start in starts):
        start = frame * recipe.hop
        windows.move_to(frame, samples[taken : start + recipe.clip - 1])
        taken = start + recipe.clip - 1
        if frame == 50:
            continue  # nobody asks for its log-mel
        want = log_mel_views(samples[start:taken], recipe.rate, recipe, 1)[0]
        np.testing.assert_array_equal(windows.current(), want)


@settings(max_examples=25)
@given(st.integers(1, 6000), st.lists(st.integers(1, 3000), min_size=1, max_size=5), st.integers(1, 60), st.booleans())
def test_blocks_of_any_size_give_the_same(length, lengths, hop, integers):
    samples = (hiss(length) * 2**15).astype(np.int16) if integers else hiss(length)
    clf = Loudness()
    stream = Stream(clf, 8000, hop=hop / 100)
    events = [event for block in blocks_of(samples, lengths) for event in stream.feed(block)] + stream.close()
    seen, clf.seen = clf.seen, []
    again = Stream(clf, 8000, hop=hop / 100)
    assert again.feed(samples) + again.close() == events and stream.seconds == length / 8000
    np.testing.assert_array_equal(seen, clf.seen)
    frames = max(0, length - SMALL.clip + 1) // SMALL.hop  # the last window's first frame
    assert len(seen) == -(-frames // hop) + 1
    for i, window in enumerate(seen):
        start = min(i * hop, frames) * SMALL.hop
        want = log_mel_views(samples[start : start + SMALL.clip - 1], 8000, SMALL, 1)[0]
        np.testing.assert_array_equal(window, want)


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 11025, 8001, 48000])
def test_another_rate_is_resampled_as_in_a_whole_recording(rate):
    samples = hiss(rate * 2 + 77)
    want = audio.resample(audio.from_array(samples, rate), 8000)
    arriving, got = StreamResampler(rate, 8000), []
    for block in blocks_of(samples, [1, 5000, 333, 20000]):
        arriving.append(block)
        if arriving.settled - arriving.taken > 500:
            got.append(arriving.take(arriving.settled - arriving.taken))
    assert len(arriving._joined()) < 3 * arriving._back + 20000
    late = want.length - sum(map(len, got))
    assert late / 8000 < 0.1  # what has arrived can be had soon
    arriving.close()
    got.append(arriving.take(arriving.settled - arriving.taken))
    np.testing.assert_array_equal(np.concatenate(got), want.read(0, want.length))


@pytest.mark.parametrize("repeat", ["frame", "sample"])
def test_a_short_stream_is_a_short_recording(repeat):
    clf = Loudness(replace(SMALL, repeat=repeat))
    samples = hiss(700)
    stream = Stream(clf, 8000)
    assert stream.feed(samples[:300]) == stream.feed(samples[300:]) == [] and stream.heard == {}
    events = stream.close()
    np.testing.assert_array_equal(clf.seen, log_mel_views(samples, 8000, clf.recipe, 1))
    assert [event.label for event in events] == ["a"] and stream.close() == []


def test_probabilities_are_those_of_classify():
    clf, samples = classifier(), hiss(8000)
    stream = Stream(clf, 8000, hop=0.05, smooth=1)
    for block in blocks_of(samples, [100]):
        stream.feed(block)
        if stream.log_mel is not None:
            start = round(stream.start * 8000)
            want = clf.classify(samples[start : start + SMALL.clip - 1], 8000)
            assert dict(want.top(1)) == dict([stream.heard["class"]])


def test_an_empty_stream():
    stream = Stream(Loudness(), 8000)
    assert stream.feed([]) == stream.feed(np.zeros(0, np.int16)) == stream.close() == []
    with pytest.raises(MinirepError, match="after its end"):
        stream.feed([0.0])


@pytest.mark.parametrize(
    "options",
    [
        {"rate": None},
        {"rate": 0},
        {"hop": 0},
        {"hop": float("nan")},
        {"threshold": 0},
        {"threshold": 2},
        {"smooth": 0},
        {"cooldown": -1},
        {"cooldown": float("nan")},
        {"gate": 1},
        {"gate": float("nan")},
    ],
)
def test_bad_options(options):
    with pytest.raises(MinirepError, match="expected"):
        Stream(Loudness(), **{"rate": 8000, **options})


def test_the_models_own_threshold():
    clf, x = Loudness(), np.zeros(8000, np.float32)

    def limit(stream):
        return stream._trackers[0].threshold

    assert limit(Stream(clf, 8000)) == 0.5
    clf.provenance = {"threshold": "0.9"}
    assert limit(Stream(clf, 8000)) == 0.9 and limit(Stream(clf, 8000, threshold=0.3)) == 0.3
    for wrong in ("high", "", None, [0.9], "nan", "2", "-0.1"):
        clf.provenance = {"threshold": wrong}
        with pytest.raises(MinirepError, match=r"threshold.*expected"):
            Stream(clf, 8000)
        Stream(clf, 8000, threshold=0.5).feed(x)


@pytest.mark.parametrize("samples", [[[0.0, 0.0]], [float("nan")], ["a"], np.zeros(3, complex)])
def test_bad_samples(samples):
    with pytest.raises(MinirepError):
        Stream(Loudness(), 8000).feed(samples)


# --- events -----------------------------------------------------------------------------------------------------------


def tracked(probabilities, **options):
    """The events from the probabilities of label "a", a window every second."""
    options = {"hop": 1.0, "threshold": 0.6, "smooth": 1, "ignore": ("silence",), **options}
    tracker = EventTracker("class", ("a", "b", "silence"), **options)
    events = []
    for moment, p in enumerate(probabilities, 1):
        p = p if isinstance(p, tuple) else (p, (1 - p) / 2, (1 - p) / 2)
        events += [event for event in tracker.add(float(moment), np.float32(p)) if event.end is not None]
    return [(e.label, e.start, e.end, round(e.confidence, 3)) for e in events + tracker.finish()]


def test_an_event_has_a_beginning_and_an_end():
    assert tracked([0, 0, 0.7, 0.9, 0.8, 0, 0]) == [("a", 2.5, 5.5, 0.9)]


def test_one_that_wavers_is_one_event():
    assert tracked([0, 0.7, 0.5, 0.65, 0.4, 0.7, 0.2, 0.5]) == [("a", 1.5, 6.5, 0.7)]
    assert tracked([0, 0.59, 0.5, 0.59]) == []


def test_another_label_ends_it():
    assert tracked([0, 0.7, (0.35, 0.65, 0.0), (0, 0.9, 0.1)]) == [("a", 1.5, 2.5, 0.7), ("b", 2.5, 4.5, 0.9)]
    assert tracked([(0, 0, 1.0), 0.7, (0.35, 0.0, 0.65)]) == [("a", 1.5, 2.5, 0.7)]


def test_silence_is_an_event_where_it_is_asked_for():
    quiet = (0.0, 0.0, 1.0)
    assert [label for label, *_ in tracked([quiet, 1, quiet], ignore=())] == ["silence", "a", "silence"]


def test_smoothing_takes_away_what_lasts_one_window_and_does_not_come_late():
    assert tracked([0, 0, 1, 0, 0], smooth=3) == []
    ((label, start, end, peak),) = tracked([0, 0, 0, 1, 1, 1, 1, 0, 0, 0], smooth=3)
    assert (label, start, peak) == ("a", 3.5, 1.0) and 7.5 <= end <= 8.5  # windows 4 to 7 speak for 3.5 to 7.5


def test_heads_have_events_of_their_own():
    heads = {"verb": ("cut", "wash"), "noun": ("onion", "pan")}
    clf = tiny_classifier({"verb": 2, "noun": 2}, heads, SMALL, backend="numpy")
    stream = Stream(clf, 8000, threshold=0.5)
    events = stream.feed(hiss(16000)) + stream.close()
    assert {event.head for event in events} == {"verb", "noun"} == set(stream.heard)


def test_known_events_are_found_where_they_are():
    stream = Stream(Loudness(), 8000, hop=0.05)
    events = [event for block in bursts(13) for event in stream.feed(block)] + stream.close()
    assert [event.label for event in events] == ["a"] * 4
    for i, event in enumerate(events):
        assert abs((event.start + event.end) / 2 - (1.25 + 3 * i)) < 0.06
        assert 0.3 < event.end - event.start < 0.8


def test_memory_does_not_grow():
    stream = Stream(Loudness(), 44100, hop=0.25)
    clf, peaks = stream.classifier, []
    tracemalloc.start()
    for _ in range(3):
        for block in bursts(6, rate=44100):
            stream.feed(block)
            clf.seen.clear()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.reset_peak()
    tracemalloc.stop()
    assert peaks[-1] < 1.1 * peaks[1] < 8e6


def test_a_slow_machine_skips_whole_windows():
    stream = Stream(Loudness(seconds=0.01), 8000, hop=0.1)
    stream.feed(hiss(8000), catch_up=True)
    assert stream.skipped == 7 and len(stream.classifier.seen) == 1 and stream.load > 0.09
    want = log_mel_views(hiss(8000)[5600 : 5600 + SMALL.clip - 1], 8000, SMALL, 1)
    np.testing.assert_array_equal(stream.classifier.seen, want)
    stream.feed(hiss(8000), catch_up=False)
    assert stream.skipped == 7 and len(stream.classifier.seen) == 11


# --- minirep listen ---------------------------------------------------------------------------------------------------


class Pipe(io.RawIOBase):
    """A pipe's reading end with these bytes in it, delivered some at a time."""

    def __init__(self, data, most=1000):
        self.data, self.most = io.BytesIO(data), most

    def readable(self):
        return True

    def readinto(self, buffer):
        return self.data.readinto(memoryview(buffer)[: self.most])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.npz"
    minirep.save(classifier(), path)
    return str(path)


def listen(monkeypatch, capsys, data, *arguments, most=1000):
    """(exit status, the JSON objects, stderr) of `minirep listen` with these bytes on its standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Pipe(data, most))))
    status = main(["listen", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, [json.loads(line) for line in out.splitlines()], err


def wav(samples, rate, size=None, channels=1, tail=b""):
    """A WAV of 16-bit integers; ``size`` is what its header gives instead of the true number of bytes."""
    size = 2 * len(samples) if size is None else size
    sizes = {"data_size": size, "riff_size": min(size + 36, 2**32 - 1)}
    return sound(samples, rate, "i16", channels=channels, first=chunk(b"LIST", b"abc"), after=tail, **sizes)


@pytest.fixture
def told(monkeypatch):
    """The commands get a classifier that hears loudness."""
    clf = Loudness()
    monkeypatch.setattr("minirep.cli.listen.load", lambda *_, **__: clf)
    return clf


@pytest.mark.parametrize(
    "form", ["s16le", "f32le", "odd", "wav", "endless", "zero", "trailing", "stereo", "48000", "2ch"]
)
def test_every_form_of_sound_gives_the_same_events(told, monkeypatch, capsys, form):
    samples, rate, options = np.concatenate(list(bursts(8))), 8000, ["--rate", 8000]
    if form == "48000":
        rate, options = 48000, ["--rate", 48000]
        samples = np.repeat(samples, 6)
    both = np.repeat(samples, 2)
    integers = np.int16(samples * 2**15).tobytes()
    data = {
        "f32le": samples.astype("<f4").tobytes(), "odd": integers + b"x", "wav": wav(samples, rate),
        "endless": wav(samples, rate, 2**31 - 4096), "zero": wav(samples, rate, 0), "stereo": wav(both, rate, None, 2),
        "trailing": wav(samples, rate, None, 1, b"LIST" + bytes(4000)), "2ch": np.int16(both * 2**15).tobytes(),
    }.get(form, integers)  # fmt: skip
    options += {"f32le": ["--format", "f32le"], "2ch": ["--channels", 2]}.get(form, [])
    if data[:4] == b"RIFF":
        options = options[2:]
    status, events, err = listen(monkeypatch, capsys, data, *options, "--hop", 0.05, "--no-skip")
    assert status == 0 and f"{rate} Hz" in err and err.count("\n") == 1
    assert [(event["event"], event["label"]) for event in events] == [("start", "a"), ("end", "a")] * 3
    assert set(events[0]) == {"event", "start", "end", "head", "label", "confidence", "started", "ended"}
    assert all(event["end"] is event["ended"] is None for event in events[::2])
    assert [event["start"] for event in events[::2]] == [event["start"] for event in events[1::2]]
    for event, middle in zip(events[1::2], (1.25, 4.25, 7.25)):
        assert abs((event["start"] + event["end"]) / 2 - middle) < 0.06


def test_raw_samples_have_the_models_rate_unless_told(told, monkeypatch, capsys):
    _, _, err = listen(monkeypatch, capsys, b"\0\0" * 10, "--hop", 0.123)
    assert err == (
        "minirep: listening to raw s16le, 8000 Hz, 1 channel; "
        "windows of 0.3 s every 0.12 s (0.123 s rounded to whole frames)\n"
    )


@pytest.mark.parametrize("data", [b"", b"x", b"RIFF", wav(np.zeros(0), 8000)[:30], wav(hiss(100), 8000)[:-51]])
def test_streams_that_end_early(told, monkeypatch, capsys, data):
    status, _, err = listen(monkeypatch, capsys, data)
    cut = data[:4] == b"RIFF" and len(data) < 60
    assert (status, "error" in err) == ((2, True) if cut else (0 if len(data) > 1 else 3, False))


@pytest.mark.parametrize(
    ("data", "options", "reason"),
    [
        (b"fLaC" + bytes(100), [], "found FLAC, expected WAV or raw samples"),
        (b"OggS" + bytes(100), [], "found Ogg"),
        (bytes(100), ["--format", "wav"], "found no WAV header"),
        (wav(hiss(100), 8000), ["--rate", "16000"], "found a WAV at 8000 Hz with 1 channels, expected 16000 Hz"),
        (wav(hiss(100), 8000).replace(b"fmt \x10\0\0\0\x01", b"fmt \x10\0\0\0\x55"), [], "compressed WAV"),
        (b"RIFF\0\0\0\0WAVEjunk" + struct.pack("<I", 2**31), [], "header of more than"),
        (bytes(100), ["--rate", "3"], "sample rate of 3"),
        (np.float32([np.nan] * 9000).tobytes(), ["--format", "f32le"], "NaN"),
    ],
)
def test_what_cannot_be_listened_to_gets_one_clear_line(told, monkeypatch, capsys, data, options, reason):
    status, events, err = listen(monkeypatch, capsys, data, *options)
    assert status == 2 and events == [] and reason in err.splitlines()[-1]


@pytest.mark.parametrize(
    "option", ["--hop 0", "--hop x", "--threshold 1.1", "--smooth 0", "--smooth 1.5", "--channels 0", "--rate -3"]
)
def test_bad_arguments(told, monkeypatch, capsys, option):
    status, _, err = listen(monkeypatch, capsys, b"", *option.split())
    assert status == 2 and "expected" in err


@pytest.mark.parametrize("keyboard", [True, False])
def test_without_a_pipe_there_is_nothing_to_listen_to(told, monkeypatch, capsys, keyboard):
    stdin = io.TextIOWrapper(io.BytesIO())
    stdin.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", stdin if keyboard else None)
    assert main(["listen"]) == 2
    assert "found no sound on standard input" in capsys.readouterr().err


def test_a_reading_error_is_told_after_the_events(told, monkeypatch, capsys):
    data = Pipe(np.int16(np.concatenate(list(bursts(2))) * 2**15).tobytes())

    class Broken(Pipe):
        def readinto(self, buffer):
            if data.data.tell() > 24000:
                raise OSError(5, "Input/output error")
            return data.readinto(buffer)

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Broken(b""))))
    assert main(["listen", "--hop", "0.05"]) == 2
    out, err = capsys.readouterr()
    assert '"label": "a"' in out and "Input/output error" in err


def test_a_slow_machine_says_so_and_keeps_up(monkeypatch, capsys):
    told = Loudness(seconds=0.08)
    monkeypatch.setattr("minirep.cli.listen.load", lambda *_, **__: told)

    class Live(Pipe):
        """Delivers a tenth of a second every tenth of a second, whatever happens."""

        def readinto(self, buffer):
            due = begin + self.data.tell() / 16000 + 0.1
            time.sleep(max(0, due - time.monotonic()))
            late.append(time.monotonic() - due)
            return super().readinto(buffer)

    begin, late = time.monotonic(), []
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Live(bytes(24000), 1600))))
    assert main(["listen", "--hop", "0.04"]) == 0
    err = capsys.readouterr().err.splitlines()
    assert "too slow" in err[1] and "windows skipped so far" in err[1] and len(err) <= 4
    assert 3 < len(told.seen) < 25  # of 30
    assert max(late) < 0.5  # the source never had to wait long


def test_on_a_terminal_there_is_a_live_line(told, monkeypatch, capsys):
    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "60")
    listen(monkeypatch, capsys, np.int16(np.concatenate(list(bursts(3))) * 2**15).tobytes(), "--hop", "0.1")
    drawn = screen.getvalue().replace("\n", "\r").split("\r")
    assert all(len(line) < 80 for line in drawn) and not drawn[-1].strip()
    lasting = next(line for line in screen.getvalue().split("\n") if line).split("\r")[-1]
    assert re.match(r"\d\d:\d\d:\d\d  0:00:01.\d\d - \.\.\. +a +\d+\.\d %", lasting)
    assert re.search(r"\d\d:\d\d:\d\d  0:00:01.\d\d - 0:00:01.\d\d  a ", screen.getvalue())
    assert any(line.startswith("0:00:02.") and "silence" in line for line in drawn)


def process(model, *arguments, **options):
    """`minirep listen` in a process of its own, with pipes."""
    command = [sys.executable, "-m", "minirep", "listen", "--model", model, "--backend", "numpy", *arguments]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, **{**pipes, **options})


@pytest.mark.skipif(os.name == "nt", reason="signals and pipes of Unix")
@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_it_with_the_event_that_goes_on(model, number, status):
    for patience in (0.3, 2, 8):  # until the sound is heard, on a busy machine
        with process(model, "--all", "--threshold", "0.01", "--json") as running:
            running.stdin.write(np.int16(hiss(8000) * 2**15).tobytes())
            running.stdin.flush()
            assert b"listening" in running.stderr.readline()
            time.sleep(patience)  # it waits for more, with an event going on
            running.send_signal(number)
            out, err = running.communicate(timeout=60)
        assert running.returncode == status and err == b""
        if out:
            break
    assert [json.loads(line)["end"] for line in out.splitlines()][-1] == 1.0


@pytest.mark.skipif(os.name == "nt", reason="signals and pipes of Unix")
def test_a_closed_pipe_ends_it_quietly(model):
    read, write = os.pipe()
    os.close(read)
    running = process(model, "--all", "--threshold", "0.01", stdout=write)
    os.close(write)
    _, err = running.communicate(np.int16(hiss(8000) * 2**15).tobytes(), timeout=60)
    assert running.returncode == 141 and err.count(b"\n") == 1
