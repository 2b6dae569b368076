"""What is done with each of many files, in whichever process."""

import os
from dataclasses import dataclass

import numpy as np

from ..audio import open_recording
from ..classify import Classifier
from ..errors import MinirepError
from ..files.write import irregular
from ..text import printable

AHEAD = 4  # files that are handed out for each process or thread, so that none waits for its next one
Answer = dict[str, np.ndarray] | str  # {head: probabilities}, or why there are none


@dataclass(frozen=True)
class Work:
    """What is done with each file, by whichever process."""

    classifier: Classifier
    views: int | None
    partial: bool = False
    pipes: bool = True  # whether what never ends is read: a table may name it; on the command line it is meant

    def answer(self, file) -> Answer:
        """{head: probabilities} of a file (path or binary stream), or why there are none."""
        found = None if self.pipes else irregular(file)
        if found:
            return f"found {found}, expected a sound file"
        try:
            return self.classifier.classify(open_recording(file, self.partial), views=self.views).probabilities
        except MinirepError as error:
            name = printable(file) if isinstance(file, (str, os.PathLike)) else "<stdin>"
            return str(error).removeprefix(f"{name}: ")
