"""minirep: audio networks with mergeable multi-scale kernels, in plain NumPy.

>>> import minirep
>>> minirep.RECIPES["vggsound"].rate
16000
"""

from .checkpoint import read_checkpoint
from .classify import Classifier, Prediction
from .config import RECIPES, Architecture, Recipe
from .errors import MinirepError
from .frontend import log_mel_views
from .network import Network, stages
from .reparam import fuse
from .store import load, save
from .stream import Stream

__version__ = "0.1.0"

__all__ = [
    "RECIPES",
    "Architecture",
    "Classifier",
    "MinirepError",
    "Network",
    "Prediction",
    "Recipe",
    "Stream",
    "fuse",
    "load",
    "log_mel_views",
    "read_checkpoint",
    "save",
    "stages",
]
