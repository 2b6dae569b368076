"""Maps from trees to trees: one map over the nodes of a tree (`minirep.network`), on which all others are built."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from .exact import DoubleDouble
from .network import Array, Network


def map_tree(node: Any, change: Callable[[str, Any], Any], name: str = "") -> Any:
    """Return the same tree with nodes replaced: ``change(path, node)`` returns the node itself, or what replaces it.

    The children of a replaced node are not visited. Paths are those of `minirep.architecture.build`.
    """
    changed = change(name, node)
    if changed is not node:
        return changed
    if dataclasses.is_dataclass(node):
        children: dict[Any, Any] = {f.name: getattr(node, f.name) for f in dataclasses.fields(node)}
    else:
        children = node if isinstance(node, dict) else dict(enumerate(node)) if isinstance(node, tuple) else {}
    mapped = {key: map_tree(child, change, f"{name}.{key}".lstrip(".")) for key, child in children.items()}
    if dataclasses.is_dataclass(node):
        return dataclasses.replace(node, **mapped)  # type: ignore[type-var]
    return mapped if isinstance(node, dict) else tuple(mapped.values()) if isinstance(node, tuple) else node


def map_arrays(node: Any, function: Callable[[Array], Any]) -> Any:
    """Return the same tree with ``function`` applied to every array."""
    return map_tree(node, lambda _, part: function(part) if isinstance(part, np.ndarray) else part)


def named_arrays(node: Any) -> dict[str, Array]:
    """Return every array of a tree by its path, such as "stages.0.2.entry.bias"."""
    found: dict[str, Array] = {}
    map_tree(node, lambda name, part: found.setdefault(name, part) if isinstance(part, np.ndarray) else part)
    return found


def as_type(network: Network, dtype: Any) -> Network:
    """Return the network with its weights in another floating-point type; every eps keeps its value."""
    return map_arrays(network, lambda array: array.astype(dtype))


def rounded_once(merge: Callable[[Any], Any], node: Any) -> Any:
    """Return ``merge(node)`` with each weight rounded once: at most half an ulp from its true value.

    float32 is merged as double-doubles (`minirep.exact`); float64 and exact fractions are merged as they are.
    """
    dtype = next(iter(named_arrays(node).values())).dtype
    if dtype.kind != "f" or dtype.itemsize > 4:
        return merge(node)
    merged = merge(map_arrays(node, DoubleDouble))
    merged = map_tree(merged, lambda _, part: part.rounded(dtype) if isinstance(part, DoubleDouble) else part)
    return map_arrays(merged, lambda array: array.astype(dtype, copy=False))  # a bias of zeros is made in float64
