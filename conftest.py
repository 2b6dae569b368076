"""What pytest does not collect doctests from: benchmarks, and the compiled kernels where Numba is missing."""

import os
from importlib.util import find_spec

collect_ignore_glob = ["tests/benchmarks/*"] + ([] if find_spec("numba") else ["minirep/fast/*"])
# Small matrix products on several threads of a busy machine mostly wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
