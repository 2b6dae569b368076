"""A network of minirep as a PyTorch module, with the same weights: what the other runtimes are given.

The unmerged network is the twin of `tutorials/training`, which minirep reads as a checkpoint; the merged one is built
here from minirep's tree.
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tutorials" / "training"))

import twin as twins

import minirep


def pair(kind: str, width: int, heads: dict, frames: int):
    """(the twin with random weights, minirep's network read from it)."""
    module = twins.randomise(twins.Twin(kind, width, heads=heads, frames=frames)).eval()
    for part in module.modules():  # what a block adds to its shortcut stays small, and so do the logits
        if isinstance(part, twins.Branch):
            part.d_bn.weight.data *= 0.05
        elif isinstance(part, nn.Linear):
            part.weight.data *= 0.1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "twin.pyth")
        twins.save_checkpoint(path, module, "epic-sounds")
        return module, minirep.read_checkpoint(path).network


class Merged(nn.Module):
    """A merged network: convolutions with biases, a single kernel in each depthwise layer."""

    def __init__(self, network):
        super().__init__()
        self.stem = conv2d(network.stem, stride=2)
        self.blocks = nn.ModuleList(MergedBlock(block) for block in network.blocks.values())
        self.pool = network.pool
        self.heads = nn.ModuleDict({name: nn.Linear(*linear.weight.shape) for name, linear in network.heads.items()})
        for name, linear in network.heads.items():
            fill(self.heads[name], linear.weight.T, linear.bias)

    def forward(self, x):  # (N, 1, T, 128) -> {head: (N, classes)}
        x = nn.functional.max_pool2d(self.stem(x).relu(), 3, stride=2, padding=1)
        for block in self.blocks:
            x = block(x)
        x = nn.functional.avg_pool2d(x, self.pool, stride=1).flatten(2).transpose(1, 2)
        return {name: linear(x).softmax(-1).mean(1) for name, linear in self.heads.items()}


class MergedBlock(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.entry, self.relu = conv2d(block.entry, block.stride), block.entry.relu
        self.paths = nn.ModuleList(nn.ModuleList(depthwise(layer) for layer in path) for path in block.paths)
        self.expand_project = nn.ModuleList(conv2d(conv) for conv in block.expand_project)
        self.relus = [conv.relu for conv in block.expand_project]
        self.shortcut = None if block.shortcut is None else conv2d(block.shortcut, block.stride)

    def forward(self, x):
        h = self.entry(x)
        h = h.relu() if self.relu else h
        total = 0
        for path in self.paths:
            y = h
            for layer in path:
                y = layer(y).relu()
            total = total + y
        for conv, relu in zip(self.expand_project, self.relus):
            total = conv(total).relu() if relu else conv(total)
        return (total + (x if self.shortcut is None else self.shortcut(x))).relu()


def conv2d(conv, stride=1) -> nn.Conv2d:
    """minirep's (kt, kf, Cin, Cout), or (Cin, Cout) of a 1 x 1 convolution."""
    weight = conv.weight if conv.weight.ndim == 4 else conv.weight[None, None]
    kt, kf, c_in, c_out = weight.shape
    module = nn.Conv2d(c_in, c_out, (kt, kf), stride, (kt // 2, kf // 2))
    return fill(module, weight.transpose(3, 2, 0, 1), conv.bias)


def depthwise(layer) -> nn.Conv2d:
    (conv,) = layer.branches
    k, c = conv.weight.shape
    shape = (k, 1) if layer.axis == "time" else (1, k)
    module = nn.Conv2d(c, c, shape, padding=(shape[0] // 2, shape[1] // 2), groups=c)
    return fill(module, conv.weight.T.reshape(c, 1, *shape), conv.bias)


def fill(module, weight, bias):
    module.weight.data.copy_(torch.tensor(weight.copy()))
    module.bias.data.copy_(torch.tensor(bias))
    return module
