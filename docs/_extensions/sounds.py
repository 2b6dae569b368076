"""The directive ``sound``: players for the sounds named, one beside the other; the content is the caption.

The files are made when the site is built, and lie in _sounds.
"""

import wave
from pathlib import Path

import numpy as np
from docutils import nodes
from interactive import DEMO, DIGITS, as_int16, spoken, stream_of_digits
from sphinx.util.docutils import SphinxDirective

from minirep import audio


def chirp() -> np.ndarray:
    """A tone that rises from 200 Hz to 7.5 kHz in 3 s, at 16 kHz: (48000,)."""
    t = np.arange(3 * 16000) / 16000
    return 0.25 * np.sin(2 * np.pi * (200 * t + (7500 - 200) * t**2 / 6))


def filtered_chirp() -> np.ndarray:
    recording = audio.resample(audio.from_array(chirp(), 16000), 8000)
    return recording.read(0, recording.length)


def demo_sound(name: str) -> np.ndarray:
    recording = audio.open_recording(DEMO.parent / f"demo-sounds/{name}.wav")
    return recording.read(0, recording.length)


ENVIRONMENT = ("rooster", "baby-cry", "rain", "fire-crackling")
SOUNDS = {  # name: what stands above its player; its rate; its samples
    "chirp": ("16 kHz", 16000, chirp),
    "aliased-chirp": ("8 kHz, every second sample", 8000, lambda: chirp()[::2]),
    "filtered-chirp": ("8 kHz, resampled by minirep", 8000, filtered_chirp),
    "stream": ("the stream", 8000, lambda: stream_of_digits()[0]),
    **{name: (name, 8000, lambda name=name: spoken(name, 8000)) for name in DIGITS},
    **{name: (name.replace("-", " "), 16000, lambda name=name: demo_sound(name)) for name in ENVIRONMENT},
}


class Sound(SphinxDirective):
    required_arguments = 1
    optional_arguments = 12
    has_content = True

    def run(self):
        players = ""
        for name in self.arguments:
            title = SOUNDS[name][0]
            source = f"{'../' * self.env.docname.count('/')}_sounds/{name}.wav"
            players += f'<figure class="sound"><figcaption>{title}</figcaption>'
            players += f'<audio controls preload="metadata" src="{source}" aria-label="{title}"></audio></figure>'
        figure = nodes.container(classes=["figure"])
        figure += nodes.raw("", f'<div class="sounds">{players}</div>', format="html")
        if self.content:
            caption = nodes.container(classes=["drawing-caption"])
            self.state.nested_parse(self.content, self.content_offset, caption)
            figure += caption
        return [figure]


def write_sounds(app, error):
    if error or app.builder.format != "html":
        return
    folder = Path(app.outdir) / "_sounds"
    folder.mkdir(exist_ok=True)
    for name, (_, rate, make) in SOUNDS.items():
        with wave.open(str(folder / f"{name}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(as_int16(make()).tobytes())


def setup(app):
    app.add_directive("sound", Sound)
    app.connect("build-finished", write_sounds)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
