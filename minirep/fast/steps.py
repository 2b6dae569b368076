"""The kinds of steps in a plan: `plan` records a step by these names, and `program` and the kernels read it by them.

A step is stored as 64-bit integers, its **words**: the number of its kind, then its fields in order. A field is a size,
a flag (0 or 1), or the address of an array; address 0 means that there is none. While a plan is recorded, a step holds
a `plan.PlannedTensor`; a `plan.Workspace` replaces it by the address of its memory.

One step worked through: the strided entry convolution of a block, from 64 to 128 channels.

1. `network.block_forward` calls ``ops.pointwise(x, block.entry, (2, 2))`` with x (1, 104, 32, 64), and
   `plan.Recorder.pointwise` records a step. The output has 52 x 16 = 832 positions, the rows of a matrix product:

   >>> step = PointwiseStep(x=0x4000, time=104, freq=32, channels=64, time_stride=2, freq_stride=2, rows=832,
   ...                      conv=0x1000, relu=1, residual=0, out=0x8000)

2. `plan.Workspace` stores its words in a table, here with made-up addresses:

   >>> words(step)
   [1, 16384, 104, 32, 64, 2, 2, 832, 4096, 1, 0, 32768]

3. `program.run` reads the first word, 1 = POINTWISE, and calls
   ``pointwise_kernel(thread, threads, scratch, read(PointwiseStep, address))``.
4. `matmul.pointwise_kernel` reads ``PackedConv(k=64, n=128, weight, bias)`` at address 0x1000. A single thread goes
   through four tiles of up to 210 rows. For each, it lists the addresses of the rows of x and of out, and calls
   `matmul.multiply`, which computes 6 rows by 64 channels of out at a time (with AVX-512; see `target`).
"""

from collections import namedtuple

# A 1 x 1 convolution, or the stem's as a matrix product. Sizes: k input channels (of the stem: numbers in a patch), and
# n output channels, padded. Addresses: weight, packed by `memory.pack_matrix`, and bias.
# Where ``bfloat16`` is 1, x is rounded first, and k counts words of 32 bits: pairs of bfloat16 with `target.PAIRS`, or
# else floats.
PackedConv = namedtuple("PackedConv", "k n weight bias bfloat16")

# In all steps: addresses x and out of activations; conv, expand and project of a PackedConv; channels are padded.

# The first convolution and its max pooling. x has a border of zeros around (n, time, freq) that fits the patch.
StemStep = namedtuple("StemStep", "x n time freq patch_time patch_freq conv relu out")

# A 1 x 1 convolution at every stride-th position, plus residual, then ReLU. rows: positions of out, over all examples.
PointwiseStep = namedtuple("PointwiseStep", "x time freq channels time_stride freq_stride rows conv relu residual out")

# Depthwise branches along the axis ``length`` of x (outer, length, inner, channels), summed with bias and identity,
# then ReLU, plus total (the sum over earlier paths of the block). branches: address of ``branch_count`` pairs (address
# of a kernel, packed by `memory.pack_kernel`, and its number of taps). bias: address of the sum over the branches.
DepthwiseStep = namedtuple(
    "DepthwiseStep", "x outer length inner channels branches branch_count bias identity total out"
)

# Two 1 x 1 convolutions, with a ReLU between them if ``relu``, plus residual, then ReLU.
ExpandProjectStep = namedtuple("ExpandProjectStep", "x rows channels expand project relu residual out")

# Average pooling over a window that moves in steps of one. vectors: of channels.
PoolStep = namedtuple("PoolStep", "x n time freq vectors window_time window_freq out")

# Softmax over the classes of x (n, positions, classes), then the mean over the positions. vectors: of classes.
SoftmaxStep = namedtuple("SoftmaxStep", "x n positions vectors out")

KINDS = StemStep, PointwiseStep, DepthwiseStep, ExpandProjectStep, PoolStep, SoftmaxStep
STEM, POINTWISE, DEPTHWISE, EXPAND_PROJECT, POOL, SOFTMAX = range(len(KINDS))
Kind = namedtuple("Kind", "number")  # the first word of a step
WORDS = 1 + max(len(kind._fields) for kind in KINDS)  # of the longest step


def words(step: tuple) -> list:
    """Return the number of a step's kind, and its fields."""
    return [KINDS.index(type(step)), *step]
