"""minirep: audio networks with mergeable multi-scale kernels, in plain NumPy."""

from .config import RECIPES, Architecture, Recipe
from .errors import MinirepError
from .frontend import log_mel_views
