"""Draws the README's picture: the log-mel of a demo clip and what the default model says of it.

python docs/figures/readme.py docs/figures/readme.png
"""

import sys
from importlib.resources import files

import matplotlib
import numpy as np

import minirep
from minirep.audio import open_recording
from minirep.frontend import hertz_to_mel

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def main(path: str, word: str = "nine") -> None:
    clip = files("minirep") / f"data/demo/{word}.wav"
    clf = minirep.load()
    recording = open_recording(clip)
    picture = minirep.log_mel_views(recording, None, clf.recipe)[0]  # (frames, 128)
    seconds = recording.length / recording.rate
    top = clf.classify(clip).top(4)[::-1]

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.9), width_ratios=(1.7, 1), layout="constrained")
    span = len(picture) * clf.recipe.hop / clf.recipe.rate
    left.imshow(picture.T, origin="lower", aspect="auto", cmap="magma", extent=(0, span, 0, 128))
    left.set_xlim(0, min(span, seconds))
    hertz = np.array([250, 500, 1000, 2000, 4000, 8000])
    left.set_yticks(hertz_to_mel(hertz) / hertz_to_mel(clf.recipe.rate / 2) * 128, [f"{h:,}" for h in hertz])
    left.set(xlabel="seconds", ylabel="Hz, on the mel scale", title=f'"{word}" as the network sees it')
    bars = right.barh([label for label, _ in top], [p for _, p in top], color="#7a3b8f")
    right.bar_label(bars, [f"{p:.1%}" for _, p in top], padding=4)
    right.set(xlim=(0, 1.2), xticks=(0, 0.5, 1), title="what it says")
    right.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main(*sys.argv[1:])
