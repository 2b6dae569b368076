"""`minirep classify --timeline`: the events and the picture of long recordings."""

import csv
import io
import json
import tracemalloc

import numpy as np
import pytest
from audio_files import hiss, sound
from stand_ins import SMALL, Loudness, bursts

from minirep import Stream, audio
from minirep.cli import main
from minirep.figures import MAX_COLUMNS, LongLogMel
from minirep.frontend import log_mel
from minirep.stream import events_of


@pytest.fixture(autouse=True)
def told(monkeypatch):
    """The commands get a classifier that hears loudness."""
    clf = Loudness()
    monkeypatch.setattr("minirep.cli.classify.load", lambda *_, **__: clf)
    return clf


@pytest.fixture
def recording(tmp_path):
    """Ten seconds with bursts at 1, 4 and 7 s."""
    path = tmp_path / "long.wav"
    path.write_bytes(sound(np.concatenate(list(bursts(10))), 8000))
    return str(path)


def run(*arguments):
    return main(["classify", "--timeline", *map(str, arguments)])


def test_for_people(recording, capsys):
    assert run(recording) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head == f"{recording}: 0:00:10.00" and len(lines) == 3
    assert lines[0].startswith("  0:00:01.") and " a " in lines[0] and "%" in lines[0]


def test_for_programs(recording, tmp_path, capsys):
    (tmp_path / "quiet.wav").write_bytes(sound(np.zeros(8000), 8000))
    assert run(recording, tmp_path / "quiet.wav", "--json", "--hop", 0.1) == 0
    loud, quiet = json.loads(capsys.readouterr().out)
    assert loud["seconds"] == 10 and quiet == {"file": str(tmp_path / "quiet.wav"), "seconds": 1.0, "events": []}
    assert run(recording, "--csv", "--hop", 0.1) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out, newline="")))
    assert [float(row["start"]) for row in rows] == [event["start"] for event in loud["events"]]
    assert all(abs(event["start"] - start) < 0.3 for event, start in zip(loud["events"], (1, 4, 7)))
    assert set(rows[0]) == {"file", *loud["events"][0]}


def test_a_stream_of_the_same_sound_has_the_same_events(recording):
    sound = audio.open_recording(recording)
    stream = Stream(Loudness(), 8000)
    want = stream.feed(sound.read(0, sound.length)) + stream.close()
    assert [e for ended in events_of(sound, Stream(Loudness(), 8000)) for e in ended] == want


def test_damage_is_told_behind_what_was_heard_before(recording, tmp_path, capsys):
    samples = np.concatenate(list(bursts(10)))
    samples[-100] = np.nan
    (tmp_path / "bad.wav").write_bytes(sound(samples, 8000))
    assert run(tmp_path / "bad.wav", tmp_path / "none.wav", recording, "--json") == 1
    out, err = capsys.readouterr()
    bad, none, good = json.loads(out)
    assert len(bad["events"]) == 3 and "NaN" in bad["error"]
    assert none["events"] == [] and "cannot be read" in none["error"] and "error" not in good
    assert err.count("\n") == 2
    assert run(tmp_path / "bad.wav") == 1 and run(tmp_path / "none.wav", "--csv") == 1


@pytest.mark.parametrize("options", [["--top", 2], ["--views", 2], ["--hop", 0], ["--smooth", 0]])
def test_what_does_not_go_together(recording, capsys, options):
    assert run(recording, *options) == 2
    assert str(options[0]) in capsys.readouterr().err


def test_options_that_need_one_recording_or_a_timeline(recording, capsys):
    for options in (["--plot", "x.png"], ["--hop", "0.5"], ["--threshold", "0.6"], ["--smooth", "2"], ["--all"]):
        assert main(["classify", recording, *options]) == 2
        assert f"{options[0]} needs --timeline" in capsys.readouterr().err
    assert run(recording, recording, "--plot", "x.png") == 2
    assert "found 2 recordings" in capsys.readouterr().err


def test_the_picture(recording, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    for name, magic in (("a.png", b"\x89PNG"), ("a.SVG", b"<?xml")):
        assert run(recording, "--plot", tmp_path / name) == 0
        assert (tmp_path / name).read_bytes().startswith(magic)
    capsys.readouterr()
    assert run(recording, "--plot", tmp_path / "a.docx") == 2
    assert "found no picture format" in capsys.readouterr().err
    (tmp_path / "short.wav").write_bytes(sound(hiss(500), 8000))
    assert run(tmp_path / "short.wav", "--plot", tmp_path / "short.png", "--all") == 0


@pytest.mark.parametrize("hop", [0.05, 0.1])
def test_the_picture_shows_every_frame_once(hop):
    samples = hiss(20000)
    picture, stream = LongLogMel(2.5, SMALL), Stream(Loudness(), 8000, hop=hop)
    for _ in events_of(audio.from_array(samples, 8000), stream):
        if stream.log_mel is not None:
            picture.add(stream.start, stream.log_mel)
    picture.add(stream.start, stream.log_mel, last=True)
    want = log_mel(samples, SMALL)
    assert picture.columns.shape == want.shape
    np.testing.assert_array_equal(picture.columns[1:-3], want[1:-3])  # but at its ends


def test_the_picture_of_hours_is_no_larger():
    long = LongLogMel(3 * 3600, SMALL)
    assert len(long.columns) <= MAX_COLUMNS
    row = np.zeros((SMALL.frames, 128), np.float32)
    long.add(1.5 * 3600, row)
    lit = np.flatnonzero(long.columns[:, 0] == 0)
    assert abs(lit[0] - len(long.columns) / 2) < 2 and len(lit) <= 2


def test_memory_does_not_grow():
    sound = audio.Recording("long", 8000, 8000 * 10000, lambda start, stop: np.zeros(stop - start))
    picture, peaks = LongLogMel(10000, SMALL), []
    stream = Stream(Loudness(), 8000, hop=0.25)
    tracemalloc.start()
    for i, _ in enumerate(events_of(sound, stream)):
        if stream.log_mel is not None:
            picture.add(stream.start, stream.log_mel)
        stream.classifier.seen.clear()
        if i in (40, 120):
            peaks.append(tracemalloc.get_traced_memory()[1])
            if i == 120:
                break
    tracemalloc.stop()
    assert peaks[1] < peaks[0] + 1e5 and peaks[1] < 8e6
