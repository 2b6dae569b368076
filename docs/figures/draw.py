"""Draws the figures of these pages: ``python docs/figures/draw.py [NAME ...]`` writes NAME-light.svg and NAME-dark.svg.

Needs the extras `plot` and `docs`. Pictures of sounds and kernels are computed by minirep; only boxes are drawn by
hand.
"""
# ruff: noqa: RUF001 (a multiplication sign is meant)

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

import minirep
from minirep import audio, frontend, reparam

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "_extensions"))
import interactive  # noqa: E402 (found through the path above)

DEMO = Path(minirep.__file__).parent / "data/demo"
STYLES = {
    "light": {"ink": "#2b2f33", "faint": "#c9ced3", "a": "#0a7d88", "b": "#d2691e", "c": "#7a52a8", "box": "#eef5f6"},
    "dark": {"ink": "#d7dadd", "faint": "#4a5056", "a": "#5cc8d2", "b": "#f2a65a", "c": "#b99be0", "box": "#1f2b2e"},
}
INKED = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
FIGURES = {}


def figure(function):
    FIGURES[function.__name__.replace("_", "-")] = function
    return function


def panel(style, width=4.4, height=2.7):
    fig, ax = plt.subplots(figsize=(width, height), layout="constrained")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return fig, ax


def clip(name="nine"):
    recording = audio.open_recording(DEMO / f"{name}.wav")
    return audio.resample(recording, 16000).read(0, 1 << 20)


def draw_waveform(ax, style):
    """The span of each of some hundred short stretches: what a line through all samples looks like, in less space."""
    samples = clip()
    spans = samples[: len(samples) // 32 * 32].reshape(-1, 32)
    seconds = (np.arange(len(spans)) + 0.5) * 32 / 16000
    ax.fill_between(seconds, spans.min(axis=1), spans.max(axis=1), color=style["a"], lw=0.5)
    ax.set(xlabel="seconds", ylabel="sample", xlim=(0, len(samples) / 16000))


# --- from the sound to the answer -------------------------------------------------------------------------------------

RECIPE = minirep.RECIPES["vggsound"]  # its window is long enough to show harmonics
CENTRE = 4640  # a sample in the first vowel of the word


@figure
def waveform(style):
    fig, ax = panel(style)
    draw_waveform(ax, style)
    start, stop = (CENTRE - RECIPE.window / 2) / 16000, (CENTRE + RECIPE.window / 2) / 16000
    ax.axvspan(start, stop, color=style["b"], alpha=0.45, lw=0)
    ax.set_title("1  samples, and one window of 20 ms")
    return fig


@figure
def windowed(style):
    samples, window = clip(), frontend.hann(RECIPE.window)
    cut = samples[CENTRE - RECIPE.window // 2 :][: RECIPE.window]
    ms = np.arange(len(cut)) / 16
    fig, ax = panel(style)
    ax.plot(ms, cut, color=style["faint"], lw=1)
    ax.plot(ms, np.abs(cut).max() * window, color=style["b"], lw=1.2, ls="--")
    ax.plot(ms, cut * window, color=style["a"], lw=1.3)
    ax.set(xlabel="milliseconds", title="2  times the Hann window", xlim=(0, ms[-1]), yticks=[])
    return fig


def spectrum():
    samples, window = clip(), frontend.hann(RECIPE.window)
    cut = samples[CENTRE - RECIPE.window // 2 :][: RECIPE.window]
    return np.abs(np.fft.rfft(cut * window, frontend.FFT_SIZE))


@figure
def magnitudes(style):
    fig, ax = panel(style)
    ax.plot(np.linspace(0, 8, 1025), spectrum(), color=style["a"], lw=1)
    ax.set(xlabel="kHz", title="3  magnitudes of its Fourier transform", xlim=(0, 8), ylim=0, yticks=[])
    return fig


@figure
def mel_bands(style):
    fig, ax = panel(style)
    bands = frontend.mel_bands(16000)
    for b in range(0, 128, 8):
        ax.plot(np.linspace(0, 8, 1025), bands[:, b], color=style["a" if b % 16 else "b"], lw=1)
    ax.set(xlabel="kHz", title="4  every eighth of the 128 mel bands", xlim=(0, 8), ylim=0, yticks=[0, 1])
    return fig


@figure
def one_column(style):
    fig, ax = panel(style)
    column = np.log(spectrum() @ frontend.mel_bands(16000) + frontend.FLOOR)
    ax.plot(column, color=style["a"], lw=1.2)
    ax.set(xlabel="mel band", title="5  logarithm of the energy in each band", xlim=(0, 127))
    return fig


def draw_log_mel(ax, log_mel, recipe):
    extent = (0, len(log_mel) * recipe.hop / recipe.rate, 0, 128)
    ax.imshow(log_mel.T, origin="lower", aspect="auto", extent=extent, cmap="magma", interpolation="nearest")
    ax.set(xlabel="seconds", ylabel="mel band")


def picture(style, recipe, title, *size):
    log_mel = frontend.log_mel(clip(), recipe)
    fig, ax = panel(style, *size)
    draw_log_mel(ax, log_mel, recipe)
    ax.set_title(title)
    return fig, ax


@figure
def log_mel(style):
    fig, ax = picture(style, RECIPE, "6  one column a window: the picture")
    ax.axvline(CENTRE / 16000, color="white", lw=1, alpha=0.8)
    return fig


@figure
def first_samples(style):
    fig, ax = panel(style, 3, 2.2)
    draw_waveform(ax, style)
    ax.set_title("a spoken nine")
    return fig


@figure
def then_picture(style):
    return picture(style, minirep.RECIPES["speech-commands-v2"], "its log-mel picture", 3, 2.2)[0]


@figure
def last_answer(style):
    top = minirep.load().classify(DEMO / "nine.wav").top(5)[::-1]
    fig, ax = panel(style, 3, 2.2)
    ax.barh([label for label, _ in top], [p for _, p in top], color=style["a"], height=0.6)
    ax.set(xlabel="probability", title="softmax output", xlim=(0, 1))
    return fig


# --- kernels ----------------------------------------------------------------------------------------------------------


@figure
def merge(style):
    """One channel of a first block: its folded branches along time, the identity, and their sum."""
    layer = minirep.random_network(minirep.Architecture(width=8), seed=6).stages[0][0].paths[0][0]
    channel = 2
    kernels = [reparam.pad_kernel(reparam.fold(b).weight, 21)[:, channel] for b in layer.branches]
    identity = np.eye(21)[10]
    names = ["21 taps", "11 taps,\n5 zeros\nat each end", "3 taps,\n9 zeros\nat each end"]
    names += ["identity,\na single 1", "merged:\ntheir sum"]
    merged = reparam.absorb_identity(reparam.merge_branches(layer))
    rows = [*kernels, identity, merged.branches[0].weight[:, channel]]
    assert np.allclose(rows[-1], sum(rows[:-1]), atol=1e-6)
    fig, axes = plt.subplots(5, 1, figsize=(5, 6), layout="constrained", sharex=True, sharey=True)
    taps = np.arange(-10, 11)
    for i, (ax, name, kernel) in enumerate(zip(axes, names, rows)):
        size = (21, 11, 3, 1, 21)[i]
        inside = np.abs(taps) <= size // 2
        colour = style["b"] if i == 4 else style["a"]
        ax.bar(taps[inside], kernel[inside], color=colour, width=0.72)
        ax.plot(taps[~inside], kernel[~inside], "o", ms=3, color=style["faint"])
        ax.axhline(0, color=style["faint"], lw=0.8, zorder=0)
        for side in ("top", "right", "bottom", "left"):
            ax.spines[side].set_visible(False)
        ax.set_yticks([])
        ax.tick_params(bottom=i == 4)
        ax.set_ylabel(name, rotation=0, ha="right", va="center", labelpad=12)
        if i:
            ax.text(-0.06, 1.06, "=" if i == 4 else "+", transform=ax.transAxes, ha="center", va="center", fontsize=15)
    axes[-1].set(xlabel="tap, counted from the centre", xticks=range(-10, 11, 2), xlim=(-10.6, 10.6))
    return fig


@figure
def reach(style):
    """Which inputs one output depends on: computed, by sending a single 1 backwards through the two kernels."""
    from minirep.ops import depthwise_conv

    point = np.zeros((1, 25, 25, 1))
    point[0, 12, 12] = 1
    rng = np.random.default_rng(0)
    fields = []
    for size in (21, 11, 3):
        kernel = rng.uniform(0.5, 1, (size, 1))
        time = depthwise_conv(point, kernel, 1)
        fields.append((time, depthwise_conv(time, kernel, 2)))
    fig, axes = plt.subplots(1, 3, figsize=(5.4, 2.2), layout="constrained")
    shown = [sum(f[0] for f in fields) > 0, sum(depthwise_conv(point, np.ones((k, 1)), 2) for k in (21, 11, 3)) > 0]
    titles = ["along time", "along frequency", "one after the other"]
    for ax, title, field in zip(axes, titles, [*shown, None]):
        image = sum(np.ones_like(f[1]) * (f[1] > 0) for f in fields) if field is None else field
        ax.imshow(
            np.ma.masked_equal(image[0, ..., 0].T, 0),
            cmap=plt.matplotlib.colors.ListedColormap(
                [style["a"]] if field is not None else [style["faint"], style["a"], style["b"]]
            ),
            interpolation="nearest",
        )
        ax.set(title=title, xticks=[], yticks=[], xlabel="time")
        for spine in ax.spines.values():
            spine.set_color(style["faint"])
    axes[0].set_ylabel("frequency")
    return fig


# --- diagrams of blocks -----------------------------------------------------------------------------------------------


class Diagram:
    """Boxes and arrows in a plane of inches."""

    def __init__(self, style, width, height):
        self.style = style
        self.fig = plt.figure(figsize=(width, height))
        self.ax = self.fig.add_axes([0, 0, 1, 1], xlim=(0, width), ylim=(0, height))
        self.ax.axis("off")

    def box(self, x, y, text, width=1.9, height=0.42, colour="a", filled=True):
        style = f"round,pad=0,rounding_size={min(0.12, height / 2)}"
        face = self.style["box"] if filled else "none"
        patch = FancyBboxPatch((x - width / 2, y - height / 2), width, height, boxstyle=style, fc=face,
                               ec=self.style[colour], lw=1.4, zorder=3)  # fmt: skip
        self.ax.add_patch(patch)
        self.ax.text(x, y, text, ha="center", va="center_baseline", fontsize=10, zorder=4)

    def circle(self, x, y, text="+", r=0.15):
        self.ax.add_patch(plt.Circle((x, y), r, fc=self.style["box"], ec=self.style["b"], lw=1.4, zorder=3))
        self.ax.text(x, y - 0.005, text, ha="center", va="center_baseline", fontsize=11, zorder=4)

    def arrow(self, *points, head=True):
        points = np.array(points)
        if len(points) > 2:
            self.ax.plot(*points[:-1].T, color=self.style["ink"], lw=1.2, zorder=1, solid_capstyle="butt")
        look = {"arrowstyle": "-|>" if head else "-", "mutation_scale": 10, "lw": 1.2, "color": self.style["ink"]}
        self.ax.add_patch(FancyArrowPatch(points[-2], points[-1], shrinkA=0, shrinkB=0, zorder=1, **look))

    def note(self, x, y, text, **options):
        self.ax.text(x, y, text, **{"ha": "left", "va": "center", "fontsize": 9, "color": self.style["ink"], **options})


def depthwise_fan(d, y, axis, xs, identity_x, low):
    """Branches that read the same input at height ``y`` and are summed at ``low``; the identity beside them."""
    middle = (y + low) / 2
    for x, k in zip(xs, (21, 11, 3)):
        d.arrow((xs[1], y), (x, y), (x, middle + 0.21))
        d.box(x, middle, f"{k} × 1" if axis == "time" else f"1 × {k}", width=0.82)
        if x == xs[1]:
            d.arrow((x, middle - 0.21), (x, low + 0.15))
        else:
            side = np.sign(x - xs[1])
            d.arrow((x, middle - 0.21), (x, low), (xs[1] + side * 0.15, low))
    d.arrow((xs[1], y), (identity_x, y), (identity_x, low), (xs[1] + 0.15, low))
    d.circle(xs[1], low)


@figure
def block_rep(style):
    d = Diagram(style, 4.3, 7.2)
    c, right, left = 2.15, 3.95, 0.28
    d.arrow((c, 7.15), (c, 6.71))
    d.box(c, 6.5, "1 × 1, ReLU")
    d.arrow((c, 6.29), (c, 5.95), head=False)
    depthwise_fan(d, 5.95, "time", (c - 1, c, c + 1), right - 0.25, 4.7)
    d.note(c + 0.22, 4.47, "ReLU")
    d.arrow((c, 4.55), (c, 4.2), head=False)
    depthwise_fan(d, 4.2, "frequency", (c - 1, c, c + 1), right - 0.25, 2.95)
    d.note(c + 0.22, 2.72, "ReLU")
    d.arrow((c, 2.8), (c, 2.46))
    d.box(c, 2.25, "1 × 1, to 4 C, ReLU")
    d.arrow((c, 2.04), (c, 1.76))
    d.box(c, 1.55, "1 × 1, back to C")
    d.arrow((c, 1.34), (c, 0.85))
    d.circle(c, 0.7)
    d.arrow((c, 6.95), (left, 6.95), (left, 0.7), (c - 0.15, 0.7))
    d.note(left + 0.1, 0.87, "shortcut")
    d.arrow((c, 0.55), (c, 0.05))
    d.note(c + 0.12, 0.33, "ReLU")
    return d.fig


@figure
def block_rep_fused(style):
    d = Diagram(style, 4.3, 5.2)
    c, left = 2.15, 0.28
    d.arrow((c, 5.15), (c, 4.71))
    for y, text, colour in ((4.5, "1 × 1, ReLU", "a"), (3.8, "21 × 1, ReLU", "b"), (3.1, "1 × 21, ReLU", "b"),
                            (2.4, "1 × 1, to 4 C, ReLU", "a"), (1.7, "1 × 1, back to C", "a")):  # fmt: skip
        d.box(c, y, text, colour=colour)
        d.arrow((c, y - 0.21), (c, y - 0.49 if y > 2 else 0.85))
    d.circle(c, 0.7)
    d.arrow((c, 4.95), (left, 4.95), (left, 0.7), (c - 0.15, 0.7))
    d.note(left + 0.1, 0.87, "shortcut")
    d.arrow((c, 0.55), (c, 0.05))
    d.note(c + 0.12, 0.33, "ReLU")
    return d.fig


def inception(style, collapsed):
    d = Diagram(style, 4.3, 5.2 if collapsed else 6.0)
    top = 5.15 if collapsed else 5.95
    c, left, xs = 2.3, 0.28, (1.15, 2.3, 3.45)
    d.arrow((c, top), (c, top - 0.44))
    d.box(c, top - 0.65, "1 × 1")
    d.arrow((c, top - 0.86), (c, top - 1.15), head=False)
    for x, k in zip(xs, (21, 11, 3)):
        d.arrow((c, top - 1.15), (x, top - 1.15), (x, top - 1.44))
        d.box(x, top - 1.65, f"{k} × 1", width=0.95)
        d.note(x + 0.06, top - 1.98, "ReLU", fontsize=8)
        d.arrow((x, top - 1.86), (x, top - 2.14))
        d.box(x, top - 2.35, f"1 × {k}", width=0.95)
        d.note(x + 0.06, top - 2.68, "ReLU", fontsize=8)
        if x == c:
            d.arrow((x, top - 2.56), (x, top - 2.95))
        else:
            d.arrow((x, top - 2.56), (x, top - 3.1), (c + np.sign(x - c) * 0.15, top - 3.1))
    d.circle(c, top - 3.1)
    d.arrow((c, top - 3.25), (c, top - 3.49))
    if collapsed:
        d.box(c, top - 3.7, "1 × 1, C to C", colour="b")
        last = top - 3.7
    else:
        d.box(c, top - 3.7, "1 × 1, to 4 C")
        d.arrow((c, top - 3.91), (c, top - 4.19))
        d.box(c, top - 4.4, "1 × 1, back to C")
        last = top - 4.4
    d.arrow((c, last - 0.21), (c, 0.85))
    d.circle(c, 0.7)
    d.arrow((c, top - 0.2), (left, top - 0.2), (left, 0.7), (c - 0.15, 0.7))
    d.note(left + 0.1, 0.87, "shortcut")
    d.arrow((c, 0.55), (c, 0.05))
    d.note(c + 0.12, 0.33, "ReLU")
    return d.fig


@figure
def block_inception(style):
    return inception(style, False)


@figure
def block_inception_fused(style):
    return inception(style, True)


# --- the interactive figures, for pages without JavaScript ------------------------------------------------------------


@figure
def window_and_hop(style):
    """A short and a long window."""
    fig, axes = plt.subplots(1, 2, figsize=(8.6, 3), layout="constrained", sharey=True)
    for ax, name in zip(axes, ("speech-commands-v2", "vggsound")):
        recipe = minirep.RECIPES[name]
        draw_log_mel(ax, frontend.log_mel(clip(), recipe), recipe)
        ax.set_title(f"window {recipe.window_ms} ms, hop {recipe.hop_ms} ms")
    axes[1].set_ylabel("")
    return fig


@figure
def kernels(style):
    """The kernels as they stand at first, and the outputs of the branches and of the merged kernel."""
    layer, signal = interactive.kernels_layer(), np.array(interactive.kernels()["signal"])
    rows = [reparam.pad_kernel(branch.weight, 21)[:, 0] for branch in layer.branches] + [np.eye(21)[10]]
    outputs = [np.convolve(signal, row[::-1], "same") for row in rows]
    fig, axes = plt.subplots(1, 2, figsize=(8.6, 3.2), layout="constrained")
    names = ("21 taps", "11 taps", "3 taps", "identity", "merged")
    for y, (row, name) in enumerate(zip([*rows, sum(rows)], names)):
        axes[0].bar(np.arange(-10, 11), row * 0.7, bottom=-y, color=style["b" if name == "merged" else "a"], width=0.7)
    axes[0].set(yticks=-np.arange(5), yticklabels=names, xlabel="tap, counted from the centre")
    for output in outputs:
        axes[1].plot(output, color=style["faint"], lw=1)
    axes[1].plot(sum(outputs), color=style["a"], label="sum of the outputs")
    merged = np.convolve(signal, sum(rows)[::-1], "same")
    axes[1].plot(merged, "o", ms=3.5, color=style["b"], label="output of the merged kernel")
    axes[1].legend(frameon=False, fontsize=8)
    axes[1].set(xlabel="time", yticks=[])
    for ax in axes:
        bare(ax)
    return fig


@figure
def stream(style):
    """The averaged probabilities with the usual settings, and the words."""
    data = interactive.stream()
    fig, ax = panel(style, 8.6, 3.2)
    kept = [k for k, label in enumerate(data["labels"]) if label not in data["ignored"]]
    recent = [data["probabilities"][max(0, i + 1 - data["smooth"]) : i + 1] for i in range(len(data["moments"]))]
    means = np.array([np.mean(rows, axis=0) for rows in recent])
    shift = (data["smooth"] - 1) / 2 * data["hop"]
    for k in kept:
        ax.plot(np.array(data["moments"]) - shift, means[:, k], lw=1.3)
    for part, dashes in ((1, "-"), (data["release"], "--")):
        ax.axhline(part * data["threshold"], color=style["b"], ls=dashes)
    for start, end, word in data["words"]:
        ax.axvspan(start, end, color=style["faint"], alpha=0.4, lw=0)
        ax.text((start + end) / 2, 1.04, word, ha="center")
    ax.set(xlabel="seconds", ylabel="averaged probability", xlim=(0, data["seconds"]), ylim=(0, 1.12))
    return fig


@figure
def bound(style):
    """The centre tap, in both precisions."""
    data = interactive.bound()
    fig, axes = plt.subplots(1, 2, figsize=(8.6, 3), layout="constrained", sharey=True)
    for ax, (precision, taps) in zip(axes, data["precisions"].items()):
        apart, allowed = np.array(taps[10][1:]).T
        ax.loglog(data["steps"][1:], allowed, color=style["b"], label="bound")
        ax.loglog(data["steps"][1:], np.maximum(apart, 1e-17), color=style["a"], label="difference")
        ax.set(title=precision, xlabel="the tap is moved by")
        bare(ax)
    axes[0].set_ylabel("output")
    axes[0].legend(frameon=False)
    return fig


# --- the open questions -----------------------------------------------------------------------------------------------

ANSWERS = HERE.parents[1] / "tutorials/open_questions/answers"  # what questions.py beside them measured


def answers(name):
    return [json.loads(line) for line in (ANSWERS / f"{name}.jsonl").read_text().splitlines()]


def bare(ax):
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


@figure
def open_accuracy(style):
    """One dot a seed, a bar at their mean."""
    rows = answers("accuracy")
    variants = list(dict.fromkeys(r["variant"] for r in rows))
    panels = {"known": "known speakers", "new": "a new speaker", "synthetic": "synthetic voices"}
    fig, axes = plt.subplots(1, 3, figsize=(8.6, 4.2), sharey=True, layout="constrained")
    for ax, (what, title) in zip(axes, panels.items()):
        for y, variant in enumerate(variants):
            found = [100 * r[what] for r in rows if r["variant"] == variant]
            ax.plot(found, [y] * len(found), "o", ms=4.5, mew=0, alpha=0.75, color=style["a"])
            ax.plot([np.mean(found)] * 2, [y - 0.33, y + 0.33], color=style["b"], lw=2)
        ax.set(title=title, xlabel="% right")
        ax.grid(axis="x", color=style["faint"], lw=0.5)
        bare(ax)
    axes[0].set_yticks(range(len(variants)), variants)
    axes[0].invert_yaxis()
    return fig


@figure
def open_time(style):
    """Counted against measured: where all dots of a colour lay on a line from 0, the count would tell the time."""
    fig, axes = plt.subplots(1, 2, figsize=(8.6, 3.6), layout="constrained")
    for ax, (backend, title) in zip(axes, {"numba": "compiled kernels", "numpy": "NumPy alone"}.items()):
        for fused, colour, label in ((False, "b", "branches"), (True, "a", "merged")):
            rows = [r for r in answers("time") if r["backend"] == backend and r["fused"] == fused]
            x, y = ([r[key] for r in rows] for key in ("multiply_adds", "milliseconds"))
            ax.plot(np.array(x) / 1e6, y, "o", ms=5, mew=0, alpha=0.8, color=style[colour], label=label)
        ax.set(title=title, xlabel="million multiply-adds", ylabel="ms", xlim=(0, None), ylim=(0, None))
        ax.grid(color=style["faint"], lw=0.5)
        bare(ax)
    axes[0].legend(frameon=False)
    return fig


@figure
def open_lengths(style):
    rows = answers("lengths")
    fig, axes = plt.subplots(1, 2, figsize=(8.6, 3.3), layout="constrained")
    for way, colour in zip(dict.fromkeys(r["way"] for r in rows), "abc"):
        mine = [r for r in rows if r["way"] == way]
        seconds = [r["seconds"] for r in mine]
        axes[0].plot(seconds, [100 * r["right"] for r in mine], "o-", ms=4, color=style[colour], label=way)
        among = [100 * r["right_among_digits"] for r in mine]
        axes[0].plot(seconds, among, "o--", ms=4, mfc="none", lw=1, color=style[colour])
        axes[1].plot(seconds, [r["milliseconds"] for r in mine], "o-", ms=4, color=style[colour])
    axes[0].set(xlabel="seconds of recording", ylabel="% right (dashed: among the digits)", ylim=(0, 102))
    axes[1].set(xlabel="seconds of recording", ylabel="ms", xlim=(0, None), ylim=(0, None))
    axes[0].legend(frameon=False)
    for ax in axes:
        ax.grid(color=style["faint"], lw=0.5)
        bare(ax)
    return fig


@figure
def open_convolutions(style):
    rows = answers("convolutions")
    fig, ax = panel(style, 6.4, 3.8)
    for kind, colour, label in (("depthwise", "a", "depthwise"), ("full", "b", "full"), ("1 x 1", "c", "1 × 1")):
        for channels, marker in ((64, "o"), (256, "s")):
            mine = [r for r in rows if r["layer"].startswith(kind) and r["channels"] == channels]
            x, y = ([r[key] for r in mine] for key in ("multiply_adds", "microseconds"))
            ax.plot(x, y, marker, ms=6, mew=0, color=style[colour], label=f"{label}, {channels} channels")
    ax.set(xscale="log", yscale="log", xlabel="multiply-adds", ylabel="µs")
    ax.grid(color=style["faint"], lw=0.5)
    ax.legend(frameon=False, fontsize=8)
    return fig


def main(names):
    for mode, style in STYLES.items():
        plt.rcParams.update({
            "svg.hashsalt": "minirep", "svg.fonttype": "path", "font.size": 10, "axes.titlesize": 11,
            "axes.titlelocation": "left", "savefig.transparent": True,
            **dict.fromkeys(INKED, style["ink"]),
        })  # fmt: skip
        for name in names or FIGURES:
            fig = FIGURES[name](style)
            fig.savefig(HERE / f"{name}-{mode}.svg", metadata={"Date": None, "Creator": None})
            plt.close(fig)


if __name__ == "__main__":
    main(sys.argv[1:])
