"""minirep: audio networks with mergeable multi-scale kernels, in plain NumPy.

>>> import minirep
>>> minirep.RECIPES["vggsound"].rate
16000
"""

import sys as _sys
from typing import TYPE_CHECKING

try:
    from .architecture import Architecture, random_network
    from .classify import Classifier, Prediction
    from .errors import MinirepError, MinirepWarning
    from .files.models import load, read_checkpoint, save
    from .frontend import log_mel_views
    from .network import Network, stages
    from .recipe import RECIPES, Recipe
    from .reparam import fuse
    from .stream import Stream
except KeyboardInterrupt:  # while NumPy loads: it ends our own program without a traceback
    if _sys.argv[0].endswith(("minirep", "minirep.exe", "-m")):
        raise SystemExit(130) from None
    raise

if TYPE_CHECKING:
    from .proof.prove import prove

__version__ = "0.2.0.dev0"

__all__ = [
    "RECIPES",
    "Architecture",
    "Classifier",
    "MinirepError",
    "MinirepWarning",
    "Network",
    "Prediction",
    "Recipe",
    "Stream",
    "fuse",
    "load",
    "log_mel_views",
    "prove",
    "random_network",
    "read_checkpoint",
    "save",
    "stages",
]


def __getattr__(name: str) -> object:
    if name == "prove":  # a bundle leaves the proofs out
        from .proof.prove import prove

        return prove
    raise AttributeError(f"module 'minirep' has no attribute {name!r}")
