"""The page of `minirep web` in a real Chromium without a screen.

A fake microphone plays a demo clip, and the word is read from the page.
"""

import contextlib
import shutil
import threading
import wave
from pathlib import Path

import numpy as np
import pytest

import minirep
from minirep import RECIPES, Architecture, Classifier, random_network
from minirep.audio import open_recording
from minirep.audio.resample import resample
from minirep.web import Bench, Server

playwright = pytest.importorskip("playwright.sync_api", reason="of the extra programs")
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("needs Debian's chromium", allow_module_level=True)
DEMO = Path(minirep.__file__).parent / "data" / "demo"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
]  # fmt: skip
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A spoken seven as a microphone of 48 kHz delivers it, with silence before and after."""
    path, recording = (
        tmp_path_factory.mktemp("microphone") / "seven.wav",
        resample(open_recording(DEMO / "seven.wav"), 48000),
    )
    x = np.concatenate([np.zeros(72_000), recording.read(0, recording.length), np.zeros(144_000)])
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48000)
        file.writeframes(np.rint(32767 * x.clip(-1, 1)).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="module")
def branches(tmp_path_factory):
    """A small model that is stored with its branches."""
    recipe = RECIPES["speech-commands-v2"]
    network = random_network(Architecture(width=4, depths=(1, 1, 1, 1), heads={"class": 35}, frames=recipe.frames))
    path = tmp_path_factory.mktemp("model") / "model.npz"
    minirep.save(Classifier(network, recipe, backend="numpy"), path)
    return path


@contextlib.contextmanager
def serving(model=None):
    with Server(Bench(model, "numpy")) as server:
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def server():
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def chromium(clip, tmp_path_factory):
    with playwright.sync_playwright() as p:
        fake = f"--use-file-for-fake-audio-capture={clip}%noloop"
        folder = tmp_path_factory.mktemp("profile")
        context = p.chromium.launch_persistent_context(
            folder, executable_path=CHROMIUM, headless=True, args=[*FLAGS, fake], viewport=WIDE, color_scheme="light"
        )
        yield context
        context.close()


@pytest.fixture
def page(chromium, server):
    """A page that has loaded; neither its console nor a failed request may complain, and it asks nobody else."""
    page, complaints, asked = chromium.new_page(), [], set()
    page.set_default_timeout(30_000)
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda fault: complaints.append(str(fault)))
    page.on("request", lambda request: asked.add(request.url))
    page.goto(server.address)
    page.wait_for_selector("#stages input")
    page.asked = asked
    yield page
    page.close()
    assert [complaint for complaint in complaints if "415 (Unsupported Media Type)" not in complaint] == []


def until(page, expression):
    """Wait until an expression holds. Playwright's own way evaluates text in the page, which the page forbids."""
    for _ in range(600):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never came true: {expression}")


def word(page, label):
    """Wait until the page's list shows this event as ended."""
    page.wait_for_selector(f'#events li:has(b:text-is("{label}")):not(:has-text("..."))')


def choose(page, name):
    page.set_input_files("#file", name if isinstance(name, dict) else DEMO / f"{name}.wav")


def test_the_microphone_is_heard(page, server, tmp_path):
    page.click("#listen")
    until(page, "document.getElementById('decibel').textContent.includes('dBFS')")
    page.wait_for_selector('#events li:has(b:text-is("seven")):has-text("...")')  # it has started, and goes on
    word(page, "seven")
    assert page.locator("#events li").count() == 1
    until(page, "document.getElementById('word').textContent === 'silence'")
    assert page.inner_text("#events b") == "seven" and page.is_enabled("#stop") and page.is_disabled("#listen")
    page.click("#stop")
    page.wait_for_selector("#listen:enabled")
    assert page.is_hidden("#error") and page.is_disabled("#stop")
    page.screenshot(path=tmp_path / "microphone.png", full_page=True)
    origin = server.address[: server.address.index("/", 7)]
    assert all(url.startswith((origin, "data:", "blob:" + origin)) for url in page.asked if "//" in url)


def test_a_file_is_chosen_and_dropped(page):
    choose(page, "nine")
    word(page, "nine")
    assert page.inner_text("#word") == "nine" and "nine.wav: 0.86 s at 8000 Hz" in page.inner_text("#status")
    best = minirep.load(backend="numpy").classify(DEMO / "nine.wav").top(1)[0][1]
    assert page.inner_text("#classes .best .value") == f"{100 * best:.1f} %"
    content = list((DEMO / "four.wav").read_bytes())
    page.evaluate(
        """(content) => {
            const files = new DataTransfer();
            files.items.add(new File([new Uint8Array(content)], "four.wav"));
            dispatchEvent(new DragEvent("dragover", { dataTransfer: files, cancelable: true }));
            dispatchEvent(new DragEvent("drop", { dataTransfer: files, cancelable: true }));
        }""",
        content,
    )
    word(page, "four")
    assert page.inner_text("#events").count("nine") == 0  # one sound at a time


def test_a_file_is_played_aloud_at_its_own_pace(page):
    page.check("#aloud")
    choose(page, "two")
    word(page, "two")
    page.wait_for_selector("#listen:enabled")


def test_what_is_no_sound_gets_one_line(page):
    choose(page, "four")
    word(page, "four")
    choose(page, {"name": "<b>notes</b>.txt", "mimeType": "text/plain", "buffer": b"no sound at all"})
    page.wait_for_selector("#error:visible")
    assert "found no" in page.inner_text("#error") and page.is_enabled("#listen")
    assert page.inner_text("#word") != "four" and not page.locator("#events li").count()  # nothing of the sound before
    choose(page, "nine")  # and the page goes on
    word(page, "nine")
    assert page.is_hidden("#error")


def test_a_stage_is_clicked_and_its_channels_are_walked_through(page, server):
    choose(page, "nine")
    word(page, "nine")
    page.click("#stages label:has-text('stage2')")
    page.wait_for_selector("#inside:visible")
    x = minirep.log_mel_views(open_recording(DEMO / "nine.wav"), None, server.bench.merged.recipe)
    y = dict(minirep.stages(server.bench.merged.network, x))["stage2"][0]
    strongest = int(y.mean(axis=(0, 1)).argmax())
    until(page, f"document.getElementById('channelno').value.startsWith('{strongest} of')")
    page.focus("#channel")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    until(page, "document.getElementById('channelno').value.startsWith('1 of')")
    assert f"{y[:, :, 1].max():#.3g} (bright)" in page.inner_text("#cap0") and "float64" in page.inner_text("#cap1")
    painted = page.evaluate(
        """() => {
            const map = document.getElementById("map0"), { width, height } = map;
            const all = map.getContext("2d").getImageData(0, 0, width, height).data, half = (i) => (i + 0.5) / 16;
            const pixel = (t, f) => 4 * (Math.floor(height * half(15 - f)) * width + Math.floor(width * half(t)));
            const at = (t, f) => all.slice(pixel(t, f), pixel(t, f) + 3);
            return Array.from({ length: 256 }, (_, i) => at(i >> 4, i & 15).reduce((a, b) => a + b));
        }"""
    )
    order = np.argsort(y[:, :, 1].ravel())  # brightness rises with the activation, time to the right, frequency upwards
    assert np.corrcoef(np.sqrt(np.array(painted)[order]), np.sqrt(np.abs(y[:, :, 1].ravel()[order])))[0, 1] > 0.9
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowRight")  # radio buttons
    until(page, "document.getElementById('stagenote').textContent.includes('of stage3: 8')")


def test_two_forms_are_shown_with_their_difference(page):
    choose(page, "nine")
    word(page, "nine")
    assert page.inner_text("#form1") == "merged, in float64" and "stored merged" in page.inner_text("#formsnote")
    assert 0 < float(page.inner_text("#difference")) < 1e-5
    assert page.inner_text("#forms td") == "nine"


def test_merged_and_unmerged_are_side_by_side(chromium, branches):
    with serving(branches) as server:
        page = chromium.new_page()
        page.goto(server.address)
        page.wait_for_selector("#stages input")
        choose(page, "nine")
        until(page, "document.getElementById('difference').value.includes('e')")
        page.click("#stages label:has-text('stage4')")
        until(page, "document.getElementById('stagediff').value.includes('e')")
        assert page.inner_text("#form0") == "merged" and page.inner_text("#form1") == "unmerged"
        assert 0 < float(page.inner_text("#difference")) < 1e-5
        difference, largest = page.inner_text("#stagediff").replace(")", "").split(" (largest value ")
        assert 0 < float(difference) < 1e-5 * float(largest)
        assert page.locator("#classes li").count() == 12  # of 35 classes, the most probable
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_wide_and_narrow_in_light_and_dark(page, scheme, tmp_path):
    choose(page, "nine")
    word(page, "nine")
    page.click("#stages label:has-text('stage2')")
    page.wait_for_selector("#inside:visible")
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    for size in (WIDE, NARROW):
        page.set_viewport_size(size)
        page.wait_for_timeout(600)  # for the pictures to be drawn anew
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        small = page.evaluate(
            """() => [...document.querySelectorAll("body *")].filter((e) => e.checkVisibility() && e.textContent.trim()
                && parseFloat(getComputedStyle(e).fontSize) < 14).map((e) => e.outerHTML)"""
        )
        assert small == []
        unnamed = page.evaluate(
            """() => [...document.querySelectorAll("canvas, button, input:not([hidden]), select, [role=meter]")]
                .filter((e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.length))
                .filter((e) => !e.hasAttribute("aria-labelledby")).map((e) => e.outerHTML)"""
        )
        assert unnamed == []
        page.screenshot(path=tmp_path / f"{scheme}-{size['width']}.png", full_page=True)
    contrast = page.evaluate(
        """() => {
            const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            const light = (c) => c.match(/[\\d.]+/g).slice(0, 3)
                .reduce((sum, v, i) => sum + linear(v / 255) * [0.2126, 0.7152, 0.0722][i], 0.05);
            const style = (e) => getComputedStyle(document.querySelector(e)), card = style(".card").backgroundColor;
            const pairs = [["main", card], [".caption", card], ["#error", card], ["#stop", card],
                ["#open", style("#open").backgroundColor]];
            return pairs.map(([e, ground]) => [light(style(e).color), light(ground)].sort((a, b) => b - a))
                .map(([a, b]) => a / b);
        }"""
    )
    assert min(contrast) >= 4.5, contrast  # of WCAG 2, level AA


def test_another_sites_page_cannot_use_it(chromium, server):
    """A page of another origin, which even knows the address."""
    page, before = chromium.new_page(), set(server._sessions)
    page.route("http://other.example/", lambda route: route.fulfill(content_type="text/html", body="<p>another site"))
    page.goto("http://other.example/")
    reached = page.evaluate(
        """async (address) => {
            const found = [];
            for (const [name, options] of [["model", {}], ["start?rate=16000", { method: "POST" }],
                ["start?rate=16000", { method: "POST", mode: "no-cors" }]]) {
                try { found.push((await fetch(address + name, options)).type); } catch (error) { found.push("failed"); }
            }
            const frame = document.createElement("iframe");
            frame.src = address;
            const done = new Promise((resolve) => (frame.onload = resolve));
            document.body.append(frame);
            await done;
            try { found.push(frame.contentDocument?.title ?? "hidden"); } catch { found.push("hidden"); }
            return found;
        }""",
        server.address,
    )
    assert reached[:2] == ["failed", "failed"] and reached[2] in ("failed", "opaque") and reached[3] == "hidden"
    assert set(server._sessions) <= before
    page.close()


def test_the_session_ends_with_its_page(chromium, server):
    page = chromium.new_page()
    page.goto(server.address)
    page.wait_for_selector("#stages input")
    choose(page, "nine")
    word(page, "nine")
    before = set(server._sessions)
    assert before
    page.goto("about:blank")
    for _ in range(600):
        if set(server._sessions) < before:
            break
        page.wait_for_timeout(50)
    assert set(server._sessions) < before
    page.close()
