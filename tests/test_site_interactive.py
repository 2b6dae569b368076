"""The interactive figures and the players of the built site in a real Chromium: they show what minirep computes."""

import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from built_site import DOCS, NARROW, WIDE, require

import minirep
from minirep import frontend, ops, reparam
from minirep.network import Conv
from minirep.stream import EventTracker

require()
sys.path.insert(0, str(DOCS / "_extensions"))
import interactive  # noqa: E402 (found through the path above)

PAGES = {
    "window-and-hop": "concepts/front-end", "kernels": "concepts/merging", "bound": "concepts/why-merged-is-equal",
    "stream": "guide/listen",
}  # fmt: skip
DATA = "const data = JSON.parse(document.querySelector('[data-figure=\"{}\"] + script').textContent);"


@pytest.fixture
def figure(open_page):
    """Open the page of a figure: gives the figure, its status line, and a way to run JavaScript with its data."""

    def show(name, **options):
        page = open_page(PAGES[name], **options)
        place = page.locator(f"#interactive-{name}")
        place.locator("svg").first.wait_for()

        def run(code, *arguments):
            return page.evaluate(f"(given) => {{ {DATA.format(name)} return {code}; }}", list(arguments))

        return place, place.locator(".status"), run

    return show


def press(place, label, key, times=1):
    """Move a slider by the keyboard; gives its value."""
    slider = place.get_by_role("slider", name=label, exact=True)
    slider.focus()
    for _ in range(times):
        slider.press(key)
    return float(slider.input_value())


def numbers(text):
    """The numbers of a text, whose minus may be a hyphen or a sign of its own, with or without a space."""
    text = text.replace("\N{MINUS SIGN}", "-").replace("- ", "-")
    return [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?", text)]


# --- window and hop ---------------------------------------------------------------------------------------------------


def log_mel_of_the_page(run, window_ms, hop_ms):
    code = "interactive.logMel(interactive.samplesOf(data.samples), data, given[0] * 16, given[1] * 16)"
    return np.array(run(code, window_ms, hop_ms))


def test_the_spectrogram_is_minireps(figure):
    _, _, run = figure("window-and-hop")
    samples = np.array(run("[...interactive.samplesOf(data.samples)]"))
    assert np.abs(samples - interactive.spoken("nine", 16000)).max() < 1e-4
    for window_ms, hop_ms in ((20, 10), (5, 2), (2, 32), (63, 7)):
        recipe = replace(minirep.RECIPES["vggsound"], window_ms=window_ms, hop_ms=hop_ms)
        expected = frontend.log_mel(samples, recipe)
        found = log_mel_of_the_page(run, window_ms, hop_ms)
        assert found.shape == expected.shape and np.abs(found - expected).max() < 1e-5


def test_window_and_hop_move_by_the_keyboard(figure):
    place, status, run = figure("window-and-hop")
    samples = len(run("[...interactive.samplesOf(data.samples)]"))
    picture = place.locator("svg image").get_attribute("href")
    assert press(place, "Window", "ArrowLeft", 10) == 10
    hop = press(place, "Hop", "ArrowRight", 3)
    assert hop == 13
    shown = numbers(status.inner_text())
    assert shown[:2] == [1 + samples // (13 * 16), 128] and 2000 / 10 in shown and 10 in shown
    assert place.locator("svg image").get_attribute("href") != picture


# --- kernels ----------------------------------------------------------------------------------------------------------


def test_the_kernels_add_up_as_minireps(figure):
    place, status, run = figure("kernels")
    strengths = [press(place, "21 taps, times", "ArrowLeft", 3), press(place, "11 taps, times", "ArrowRight", 5),
                 press(place, "3 taps, times", "ArrowLeft", 15)]  # fmt: skip
    assert strengths == [0.7, 1.5, -0.5]
    layer = interactive.kernels_layer()
    scaled = replace(layer, branches=tuple(Conv(b.weight * s, b.bias) for b, s in zip(layer.branches, strengths)))
    for identity in (True, False):
        layer = replace(scaled, identity=identity)
        place.get_by_role("checkbox").set_checked(identity)
        merged = reparam.absorb_identity(reparam.merge_branches(layer)).branches[0].weight
        press(place, "Show tap", "Home")
        for tap in range(21):
            expected = [reparam.pad_kernel(b.weight, 21)[tap, 0] for b in layer.branches]
            expected += [identity * (tap == 10), merged[tap, 0]]
            assert np.allclose(numbers(status.inner_text()), [tap - 10, *expected], atol=5.1e-4)
            press(place, "Show tap", "ArrowRight")
        signal = np.array(run("data.signal")).reshape(1, -1, 1, 1)
        expected = ops.depthwise_conv(signal, merged, 1)[0, :, 0, 0]
        found = run("interactive.filter(data.signal, given)", *merged[:, 0].tolist())
        assert np.allclose(found, expected, rtol=0, atol=1e-14)
        (apart, *_) = numbers(place.locator(".more").inner_text())
        assert apart < 1e-14


# --- the stream -------------------------------------------------------------------------------------------------------


def events_of_minirep(data, threshold, smooth):
    labels = tuple(data["labels"])
    tracker = EventTracker("class", labels, data["hop"], threshold, smooth, set(data["ignored"]))
    changes = [c for m, p in zip(data["moments"], data["probabilities"]) for c in tracker.add(m, np.array(p))]
    return [e for e in changes + tracker.finish(data["seconds"]) if e.end is not None]


def as_tuples(events):
    return [(e["label"], e["start"], e["end"], e["confidence"]) for e in events]


def test_the_events_are_minireps(figure):
    _, _, run = figure("stream")
    data = run("data")
    counts = set()
    for threshold in (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 1.0):
        for smooth in (1, 2, 3, 5, 10):
            expected = events_of_minirep(data, threshold, smooth)
            found = as_tuples(run("interactive.events(data, ...given)", threshold, smooth))
            assert [f[0] for f in found] == [e.label for e in expected]
            assert np.allclose([f[1:] for f in found], [(e.start, e.end, e.confidence) for e in expected], atol=1e-9)
            counts.add(len(expected))
    assert len(counts) > 3  # the settings matter


def test_the_events_are_those_of_a_stream(figure):
    _, _, run = figure("stream")
    data = run("data")
    samples, words = interactive.stream_of_digits()
    assert [[round(start, 3), round(end, 3), word] for start, end, word in words] == data["words"]
    for threshold, smooth in ((0.5, 1), (0.5, 3), (0.9, 3)):
        stream = minirep.Stream(minirep.load(backend="numpy"), 8000, threshold=threshold, smooth=smooth)
        expected = stream.feed(samples) + stream.close()
        found = as_tuples(run("interactive.events(data, ...given)", threshold, smooth))
        assert [f[0] for f in found] == [e.label for e in expected]
        assert np.allclose([f[1:] for f in found], [(e.start, e.end, e.confidence) for e in expected], atol=1e-5)


def test_threshold_and_smoothing_move_by_the_keyboard(figure):
    place, status, run = figure("stream")
    data, seen = run("data"), set()
    for label, key in (
        [("Threshold", "ArrowLeft")] * 12 + [("Windows averaged", "ArrowLeft")] * 2 + [("Windows averaged", "End")]
    ):
        press(place, label, key)
        threshold, smooth = (
            float(place.get_by_label(name, exact=True).input_value()) for name in ("Threshold", "Windows averaged")
        )
        events = events_of_minirep(data, threshold, int(smooth))
        count, found, words, wrong, latency = numbers(status.inner_text())
        assert count == len(events) and words == len(data["words"])
        hit = [any(e.label == w and e.start < end and e.end > start for e in events) for start, end, w in data["words"]]
        true = [
            any(e.label == w and e.start < end and e.end > start for start, end, w in data["words"]) for e in events
        ]
        assert found == sum(hit) and wrong == len(events) - sum(true)
        assert abs(latency - (data["window"] + smooth * data["hop"]) / 2) < 0.006
        seen.add(count)
    assert len(seen) > 1


# --- error and bound --------------------------------------------------------------------------------------------------


def test_rounding_alone_stays_below_the_bound_and_a_moved_tap_does_not():
    data = interactive.bound()
    for taps in data["precisions"].values():
        for steps in taps:
            apart, bound = np.array(steps).T
            assert apart[0] < 0.5 * bound[0] and apart[-1] > 1000 * bound[-1]
            assert apart[-1] < 1.01 * data["steps"][-1]  # the input is up to 1


def test_a_tap_moves_by_the_keyboard(figure):
    place, status, _ = figure("bound")
    data = interactive.bound()
    verdicts = set()
    for precision in ("float32", "float64"):
        place.get_by_label("Computed in").select_option(precision)
        for tap in (0, -10):
            press(place, "Tap", "Home" if tap == -10 else "ArrowRight", 1 if tap == -10 else 0)
            press(place, "Move a tap by", "Home")
            for step in range(0, len(data["steps"]), 5):
                apart, bound = data["precisions"][precision][
                    int(place.get_by_label("Tap", exact=True).input_value()) + 10
                ][step]
                shown = numbers(status.inner_text())
                assert np.allclose(shown[:2], [apart, bound], rtol=0.06)
                share = apart / bound if apart > bound else 100 * apart / bound
                assert np.isclose(shown[2], share, rtol=0.06)
                assert ("Rounding cannot explain" in status.inner_text()) == (apart > bound)
                verdicts.add((precision, apart > bound))
                press(place, "Move a tap by", "ArrowRight", 5)
    assert len(verdicts) == 4


# --- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
def test_a_figure_fits_and_follows_the_scheme(figure, name, viewport):
    colours = set()
    for scheme in ("light", "dark"):
        place, status, run = figure(name, viewport=viewport, color_scheme=scheme)
        assert run("document.documentElement.scrollWidth") <= viewport["width"]
        assert not place.locator(".fallback").is_visible() and status.inner_text()
        for svg in place.locator("svg").all():
            box, around = svg.bounding_box(), place.bounding_box()
            assert box["x"] >= around["x"] and box["x"] + box["width"] <= around["x"] + around["width"]
        assert all(control.get_attribute("aria-valuetext") for control in place.get_by_role("slider").all())
        colours.add(run("getComputedStyle(document.querySelector('.interactive svg text')).fill"))
    assert len(colours) == 2


@pytest.mark.parametrize("name", PAGES)
def test_without_javascript_there_is_a_drawing(open_page, name):
    page = open_page(PAGES[name], java_script_enabled=False)
    place = page.locator(f"#interactive-{name}")
    drawing = place.locator(".fallback img:visible")
    assert drawing.count() == 1 and drawing.bounding_box()["height"] > 80
    assert drawing.get_attribute("alt") and not place.locator("input").count()


@pytest.mark.parametrize(("name", "count"), [("guide/quickstart", 14), ("concepts/front-end", 4), ("guide/listen", 1)])
def test_sounds_can_be_played(open_page, name, count):
    page = open_page(name)
    players = page.locator("audio[controls]")
    assert players.count() == count
    for player in players.all():
        assert player.get_attribute("aria-label")
        length = player.evaluate(
            "(a) => new Promise((done, fail) => { a.onloadedmetadata = () => done(a.duration);"
            "a.onerror = () => fail(a.error.message); a.load(); })"
        )
        assert 0.5 < length < 20
