"""minirep: audio networks with mergeable multi-scale kernels, in plain NumPy.

>>> import minirep
>>> minirep.RECIPES["vggsound"].rate
16000
"""

from .architecture import Architecture, random_network
from .classify import Classifier, Prediction
from .errors import MinirepError, MinirepWarning
from .files.models import load, read_checkpoint, save
from .frontend import log_mel_views
from .network import Network, stages
from .proof.prove import prove
from .recipe import RECIPES, Recipe
from .reparam import fuse
from .stream import Stream

__version__ = "0.1.0"

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
