"""The directive ``interactive``: a figure with controls, computed in the page by plain JavaScript.

Its argument is the figure's name. `DATA` computes with minirep, when the site is built, what the page cannot compute;
_static/interactive/NAME.js draws it. The option "alt" says what can be seen; the content is the caption. Without
JavaScript the page shows the drawing of the same name (docs/figures).
"""

import base64
import json
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
from docutils import nodes
from drawing import Drawing

import minirep
from minirep import audio, frontend, ops, reparam
from minirep.network import Conv, Depthwise
from minirep.proof import bounds
from minirep.stream import IGNORED, RELEASE, SMOOTH, usual_threshold

DEMO = Path(minirep.__file__).parent / "data/demo"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def spoken(name: str, rate: int) -> np.ndarray:
    """A demo clip (n,) at a rate."""
    recording = audio.resample(audio.open_recording(DEMO / f"{name}.wav"), rate)
    return recording.read(0, recording.length)


def as_int16(samples: np.ndarray) -> np.ndarray:
    return np.rint(32767 * np.clip(samples, -1, 1)).astype("<i2")


def rounded(values, digits: int = 6) -> list:
    """Nested lists of numbers with a few significant digits, which keeps the page small."""
    return [rounded(v, digits) if np.ndim(v) else float(f"{v:.{digits}g}") for v in values]


# --- what each figure needs -------------------------------------------------------------------------------------------


def window_and_hop() -> dict:
    """A spoken word; the page computes its log-mel spectrogram, as `minirep.log_mel` does."""
    samples = as_int16(spoken("nine", 16000))
    return {
        "rate": 16000,
        "samples": base64.b64encode(samples).decode(),
        "fft": frontend.FFT_SIZE,
        "mels": frontend.MELS,
        "floor": frontend.FLOOR,
    }


def kernels_layer() -> Depthwise:
    """One channel: three branches with random kernels, and the identity."""
    rng = np.random.default_rng(6)
    branches = tuple(Conv(np.array(rounded(rng.normal(0, 0.35, (size, 1)), 2)), np.zeros(1)) for size in (21, 11, 3))
    return Depthwise("time", branches, identity=True)


def kernels() -> dict:
    """The kernels of the branches, and a signal that they filter."""
    layer, rng = kernels_layer(), np.random.default_rng(4)
    signal = np.repeat([0, 1, -0.6, 0.2, 0], [9, 8, 9, 8, 8]) + rng.normal(0, 0.12, 42)
    return {
        "kernels": [branch.weight[:, 0].tolist() for branch in layer.branches],
        "signal": rounded(signal, 3),
    }


def windows() -> tuple[minirep.Stream, int, int]:
    """A stream of the shipped model; samples of its window, and from one window to the next, at the model's rate."""
    stream = minirep.Stream(minirep.load(backend="numpy"), 8000)
    rate = stream.classifier.recipe.rate
    return stream, round(rate * stream.window), round(rate * stream.hop)


@lru_cache(maxsize=1)
def stream_of_digits() -> tuple[np.ndarray, list[tuple[float, float, str]]]:
    """Demo digits in noise at 8 kHz, as long as some number of windows, and (start, end, word) of each in seconds."""
    rng, rate, pieces, words, at = np.random.default_rng(1), 8000, [], [], 0
    for name in ("three", "one", "four", "nine", "five", "two", "six"):
        word, pause = spoken(name, rate), np.zeros(round(rate * rng.uniform(0.5, 1.1)))
        pieces += [pause, word]
        words.append(((at + len(pause)) / rate, (at + len(pause) + len(word)) / rate, name))
        at += len(pause) + len(word)
    samples = np.concatenate([*pieces, np.zeros(2 * rate)])
    stream, _, _ = windows()
    count = int((len(samples) / rate - stream.window) / stream.hop)
    samples = samples[: math.ceil(rate * (stream.window + count * stream.hop))]
    return (samples + rng.normal(0, 0.02, len(samples))).astype(np.float32), words


def stream() -> dict:
    """What a network makes of a stream, window after window. The page averages and finds the events."""
    (samples, words), (stream, window, hop) = stream_of_digits(), windows()
    classifier, recipe = stream.classifier, stream.classifier.recipe
    resampled = audio.resample(audio.from_array(samples, 8000), recipe.rate)
    starts = range(0, resampled.length - window + 1, hop)
    cut = [minirep.log_mel_views(resampled.read(s, s + window), recipe.rate, recipe, views=1)[0] for s in starts]
    return {
        "labels": list(classifier.labels["class"]),
        "ignored": list(IGNORED),
        "moments": rounded([start / recipe.rate + stream.window / 2 for start in starts], 9),
        "probabilities": rounded(classifier.probabilities(np.stack(cut))["class"]),
        "words": [[round(start, 3), round(end, 3), word] for start, end, word in words],
        "seconds": len(samples) / 8000,
        "window": stream.window,
        "hop": stream.hop,
        "threshold": usual_threshold(classifier),
        "smooth": SMOOTH,
        "release": RELEASE,
    }


STEPS = [0.0, *(float(f"{10 ** (e / 4):.2g}") for e in range(-48, -3))]  # how far the tap is moved: 1e-12 to about 0.1


def moved_taps(dtype) -> list:
    """[(largest difference, the bound there)] of a layer and its merged kernel, for each tap and each step."""
    layer = minirep.random_network(minirep.Architecture(width=4), seed=6, dtype=dtype).stages[0][0].paths[0][0]
    x = np.random.default_rng(0).uniform(-1, 1, (1, 64, 1, 4)).astype(dtype)
    before = ops.depthwise(x, layer).astype(np.float64)
    allowed = 2 * bounds.through_depthwise(bounds.start(x, dtype), layer).error
    merged = reparam.absorb_identity(reparam.merge_branches(layer)).branches[0]

    def moved(tap: int, by: float) -> list[float]:
        weight = merged.weight.copy()
        weight[tap] += dtype(by)
        apart = np.abs(ops.depthwise(x, Depthwise("time", (Conv(weight, merged.bias),), identity=False)) - before)
        used = np.divide(apart, allowed, out=np.zeros_like(apart), where=allowed > 0)  # 0: off whatever the rounding
        place = np.unravel_index(np.argmax(used), apart.shape)
        return rounded([apart[place], allowed[place]], 4)

    return [[moved(tap, by) for by in STEPS] for tap in range(len(merged.weight))]


def bound() -> dict:
    """How far rounding carries a layer, and how far a moved tap does, in both precisions."""
    return {"steps": STEPS, "precisions": {dtype.__name__: moved_taps(dtype) for dtype in (np.float32, np.float64)}}


DATA = {"window-and-hop": window_and_hop, "kernels": kernels, "stream": stream, "bound": bound}


# --- the directive ----------------------------------------------------------------------------------------------------


class Interactive(Drawing):
    """The drawing of the same name, which shared.js hides, beside the place and the data of the live figure."""

    def run(self):
        name = self.arguments[0]
        (figure,) = super().run()
        figure["classes"] = ["interactive"]
        figure["ids"], figure["names"] = (
            [f"interactive-{name}"],
            [f"interactive-{name}"],
        )  # [text](#interactive-NAME) leads here
        self.state.document.note_explicit_target(figure)
        figure[0]["classes"].append("fallback")  # the drawing, before its caption
        data = json.dumps(DATA[name](), separators=(",", ":"))
        live = f'<div class="live" data-figure="{name}" data-alt="{nodes.unescape(self.options["alt"])}"></div>'
        figure.insert(0, nodes.raw("", f'{live}<script type="application/json">{data}</script>', format="html"))
        self.env.metadata[self.env.docname].setdefault("interactive", []).append(name)
        return [figure]


def add_scripts(app, pagename, templatename, context, doctree):
    """The scripts of the figures on a page."""
    figures = app.env.metadata.get(pagename, {}).get("interactive", [])
    for name in ["shared", *figures] if figures else []:
        app.add_js_file(f"interactive/{name}.js", loading_method="defer")


def setup(app):
    app.add_directive("interactive", Interactive)
    app.connect("html-page-context", add_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
