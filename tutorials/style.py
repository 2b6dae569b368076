"""How the tutorials look and sound: `from style import ...` in a notebook beside this file.

    fig, ax = plt.subplots()
    ax.plot(x, y, color=INK)
    show(fig, "A line that rises from 0 to 1.")  # the figure as SVG, with its alternative text
    play(samples, 8000, "the word “seven”")      # a player for the sound

Importing it sets Matplotlib's defaults. The background of a figure is transparent, and every colour below has a
contrast of at least 3:1 with white and with the site's dark theme (#131416): one figure fits light and dark pages.
"""

import io
import re
from html import escape

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Audio, display

INK = "#7b7f84"  # axes, labels, guide lines: about 4:1 with both backgrounds
TEAL, ORANGE, PURPLE, RED, GREEN, BLUE, PINK = (
    "#0f8f9b", "#cf6a1f", "#9068c4", "#d9534f", "#4b8f4a", "#4a86d8", "#c9547c",
)  # fmt: skip
COLOURS = (TEAL, ORANGE, PURPLE, RED, GREEN, BLUE, PINK, INK)  # "C0" to "C7" in Matplotlib
DIVERGING = "RdBu_r"  # a colour map for values of both signs; "magma" is the default for all others
DPI = 144  # of pixels in a figure: two for one on an ordinary screen

plt.rcParams.update(
    {
        "axes.edgecolor": INK,
        "axes.facecolor": "none",
        "axes.labelcolor": INK,
        "axes.prop_cycle": plt.cycler(color=COLOURS),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": "medium",
        "figure.constrained_layout.use": True,
        "figure.facecolor": "none",
        "figure.figsize": (8, 2.7),
        "figure.titlesize": "medium",
        "font.sans-serif": ["DejaVu Sans"],  # part of Matplotlib; others are narrower, so text that fits still fits
        "font.size": 10,
        "image.cmap": "magma",
        "legend.frameon": False,
        "savefig.facecolor": "none",
        "svg.fonttype": "none",  # text as text: smaller than outlines
        "svg.hashsalt": "minirep",  # the same figure is the same file
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
)


def show(figure, alt: str) -> None:
    """Display a figure as SVG with its alternative text, and close it.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    alt : str
        What can be seen, for readers who cannot see it: one or two sentences, not the name of the figure.
    """
    figure.canvas.draw()  # lays out the axes
    for ax in figure.axes:
        box = ax.get_window_extent()
        for image in ax.images:  # (rows, columns): few pixels are stored as they are, many at the size shown
            few = image.get_array().shape[0] < box.height * 2 and image.get_array().shape[1] < box.width * 2
            image.set_interpolation("none" if few else "auto")
    file = io.StringIO()
    figure.savefig(file, format="svg", dpi=DPI, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    svg = file.getvalue()
    svg = re.sub("(?s)<!--.*?-->", "", svg[svg.index("<svg") :])  # without the XML declaration and comments
    svg = re.sub(r">\s+<", "><", re.sub(r"\s+", " ", svg))
    svg = re.sub(' d="[^"]+"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), svg)  # 0.01 pt is enough
    display(
        {"image/svg+xml": svg, "text/plain": alt},
        metadata={"image/svg+xml": {"alt": alt}},
        raw=True,
    )


def play(samples, rate: int, title: str) -> None:
    """Display a player for a sound; its samples are stored in the notebook (16 bits each).

    Parameters
    ----------
    samples : (n,) array
        Between -1 and 1; samples beyond are clipped. Nothing is made louder.
    rate : int
        Samples a second, at least 3000 (browsers refuse less).
    title : str
        What can be heard.
    """
    player = Audio(np.clip(samples, -1, 1), rate=rate, normalize=False)._repr_html_()
    player = " ".join(player.split()).replace("<audio", f'<audio aria-label="{escape(title)}"')
    figure = f'<figure style="margin: 0.5em 0">{player}<figcaption>{escape(title)}</figcaption></figure>'
    display({"text/html": figure, "text/plain": title}, raw=True)
