"""Trees compared bit by bit, and their layers by path."""

import dataclasses

import numpy as np


def layer_at(net, path: str):
    """Return the depthwise layer of a network at a path such as "stages.0.2.paths.0.1"."""
    block, _, place = path.partition(".paths.")
    i, j = place.split(".")
    return net.blocks[block].paths[int(i)][int(j)]


def same(a, b) -> bool:
    """Whether two trees are built alike and hold the same bits."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if dataclasses.is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return a == b
