"""Leave out the doctests of the benchmarks, and those of the compiled kernels where Numba is missing."""

import os
from importlib.util import find_spec

collect_ignore_glob = ["tests/benchmarks/*"] + ([] if find_spec("numba") else ["minirep/fast/*"])
# On a busy machine, several threads that share a small matrix product spend most of the time waiting.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
