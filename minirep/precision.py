"""The precision of a network: float32, or bfloat16 for the 1 x 1 convolutions, which are almost all of its arithmetic.

In bfloat16, the two factors of every product in a 1 x 1 convolution of a block are rounded to 8 significant bits: its
weights once, when the model is loaded, and its input each time it runs. Products and sums are float32. So is everything
else: the stem, depthwise convolutions, biases, residuals, the head. Processors with instructions for bfloat16 multiply
twice as many of these numbers at a time; on all others, float32 is rounded to the same numbers. `minirep.proof.bounds`
bounds the effect of the rounding.

Source: Kalamkar et al., "A Study of BFLOAT16 for Deep Learning Training", 2019, section 3.
"""

from dataclasses import replace

import numpy as np

from .errors import expect
from .exact import round_bfloat16
from .network import Block, Conv, Network
from .reparam import fold
from .tree import rounded_once

PRECISIONS = ("float32", "bfloat16")


def precision_of(network: Network) -> str:
    """Return the precision in which a network computes: "bfloat16", or the name of its type."""
    return "bfloat16" if any(conv.bfloat16 for conv in network.convs) else network.dtype.name


def as_precision(network: Network, precision: str) -> Network:
    """Return the network in a precision; merge it first (`minirep.fuse`), as rounded weights cannot be merged any more.

    Raises a MinirepError for a precision other than float32 and bfloat16, for a network of another type than float32,
    which would be rounded silently, and for weights that are too large for bfloat16.
    """
    expect(precision in PRECISIONS, f"precision: found {precision!r}, expected {' or '.join(PRECISIONS)}")
    found = precision_of(network)
    if found == precision:
        return network
    expect(found == "float32", f"precision {precision}: found a network in {found}, expected one in float32")
    return map_pointwise(network, rounded)


def rounded(conv: Conv) -> Conv:
    """Fold a 1 x 1 convolution and round its weight to bfloat16; its bias stays float32."""
    conv = rounded_once(fold, conv)
    with np.errstate(over="ignore"):
        weight = round_bfloat16(conv.weight)
    expect(np.isfinite(weight).all(), "precision bfloat16: found a weight of 3.39e38 or more, expected smaller ones")
    return replace(conv, weight=weight, bfloat16=True)


def map_pointwise(network: Network, change) -> Network:
    """Return the network with every 1 x 1 convolution of its blocks changed."""

    def change_block(block: Block) -> Block:
        return replace(
            block,
            entry=change(block.entry),
            expand_project=tuple(map(change, block.expand_project)),
            shortcut=None if block.shortcut is None else change(block.shortcut),
        )

    return network.map_blocks(change_block)
