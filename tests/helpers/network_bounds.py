"""The bound of `minirep.proof.bounds` through a whole network: errors add up from block to block."""

import numpy as np

from minirep.proof import bounds


def through_stages(network, log_mels, dtype):
    """Yield ("stem", known), ("stage1", known) ..., as `minirep.stages` yields activations."""
    known = bounds.through_stem(bounds.start(np.asarray(log_mels, dtype)[..., None], dtype), network.stem)
    yield "stem", known
    for i, blocks in enumerate(network.stages, 1):
        for node in blocks:
            known = bounds.through_block(known, node)
        yield f"stage{i}", known


def network_logits(network, log_mels, dtype) -> dict[str, bounds.Known]:
    """Bounds on the logits: {head: (N, T', F', classes)}, for inputs (N, frames, mels)."""
    *_, (_, known) = through_stages(network, log_mels, dtype)
    return {name: bounds.through_head(known, network.pool, linear) for name, linear in network.heads.items()}
