"""Count what a network costs: parameters, and multiply-adds (which the papers call FLOPs).

Parameters are the learnable ones (of a batch norm: scale and shift). Multiply-adds are the products of convolutions and
linear layers; biases, ReLU, pooling, softmax and the identity are not counted. The papers' totals also contain two
operations for each element that passes a batch norm. They are ``norm_ops`` here; a published figure is the sum of both.
"""

from dataclasses import dataclass

from .network import Conv, Network
from .recipe import MELS


@dataclass(frozen=True)
class Cost:
    """One row of the table: the output shape and the cost of a part of the network, for one example."""

    name: str
    shape: tuple[int, ...]  # of its output: (T, F, C), or (classes,)
    parameters: int
    multiply_adds: int
    norm_ops: int  # 2 for each element that passes a batch norm

    @property
    def published(self) -> int:
        """Operations as the papers count them."""
        return self.multiply_adds + self.norm_ops


def parameters(conv: Conv) -> int:
    """Count the learnable parameters of a convolution with its bias and its batch norm."""
    bias = 0 if conv.bias is None else conv.bias.size
    norm = 0 if conv.bn is None else conv.bn.scale.size + conv.bn.shift.size
    return conv.weight.size + bias + norm


def _norm_ops(conv: Conv, positions: int) -> int:
    return 0 if conv.bn is None else 2 * positions * conv.bn.scale.size


def costs(network: Network, frames: int, mels: int = MELS) -> list[Cost]:
    """Return the costs of the stem, each stage and each head, for one example of ``frames`` x ``mels``."""
    stem, t, f = network.stem, -(-frames // 2), -(-mels // 2)
    sums = parameters(stem), t * f * stem.weight.size, _norm_ops(stem, t * f)
    t, f = -(-t // 2), -(-f // 2)  # the pooling
    rows = [Cost("stem", (t, f, stem.weight.shape[-1]), *sums)]
    for number, blocks in enumerate(network.stages, 1):
        params = adds = norms = 0
        for block in blocks:
            t, f = -(-t // block.stride[0]), -(-f // block.stride[1])
            # At each position a 1 x 1 convolution multiplies every weight once, and so does a depthwise one.
            adds += t * f * sum(conv.weight.size for conv in block.convs)
            norms += sum(_norm_ops(conv, t * f) for conv in block.convs)
            params += sum(parameters(conv) for conv in block.convs)
        c = blocks[-1].expand_project[-1].weight.shape[-1]
        rows.append(Cost(f"stage{number}", (t, f, c), params, adds, norms))
    positions = max(1, t - network.pool[0] + 1) * max(1, f - network.pool[1] + 1)
    for name, linear in network.heads.items():
        size = linear.weight.size
        rows.append(Cost(f"head {name}", linear.bias.shape, size + linear.bias.size, positions * size, 0))
    return rows


def total(rows: list[Cost]) -> Cost:
    """Return the sum of all rows; the shape is the last row's."""
    sums = (sum(getattr(row, name) for row in rows) for name in ("parameters", "multiply_adds", "norm_ops"))
    return Cost("total", rows[-1].shape, *sums)
