"""The work on each of many files, in any process."""

import os
from dataclasses import dataclass

import numpy as np

from ..audio import open_recording
from ..classify import Classifier
from ..errors import MinirepError
from ..files.write import irregular
from ..text import printable

AHEAD = 4  # files that are submitted ahead for each process or thread, so that none waits for its next one
Answer = dict[str, np.ndarray] | str  # {head: probabilities}, or the reason why there are none


@dataclass(frozen=True)
class Work:
    """The classifier and the settings with which any process classifies a file."""

    classifier: Classifier
    views: int | None
    partial: bool = False
    pipes: bool = True  # whether to read pipes and devices: on the command line yes, but not if a table names them

    def answer(self, file) -> Answer:
        """Return {head: probabilities} of a file (path or binary stream), or the reason why there are none."""
        found = None if self.pipes else irregular(file)
        if found:
            return f"found {found}, expected a sound file"
        try:
            return self.classifier.classify(open_recording(file, self.partial), views=self.views).probabilities
        except MinirepError as error:
            name = printable(file) if isinstance(file, (str, os.PathLike)) else "<stdin>"
            return str(error).removeprefix(f"{name}: ")
