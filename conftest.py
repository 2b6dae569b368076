"""Doctests of the compiled kernels are collected only where Numba is installed."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("numba") else ["minirep/fast/*"]
