"""What pytest does not collect doctests from: benchmarks, and the compiled kernels where Numba is missing."""

from importlib.util import find_spec

collect_ignore_glob = ["tests/benchmarks/*"] + ([] if find_spec("numba") else ["minirep/fast/*"])
