"""The twin's training step as matrix products: the same function, the same batch statistics, several times faster.

PyTorch's depthwise convolutions are slow to train on a processor without a GPU. Here activations are laid out
(C, T, N, F), so that

- a 1x1 convolution is one matrix product (C_out, C) x (C, T N F);
- a depthwise convolution along an axis of length L is one product a channel with the (L, L) band matrix that has the
  kernel on its diagonals: (L, L) x (L, rest);
- batch norm behind a linear map needs no pass over the map's output. Its mean and variance follow from the input's
  sums and Gram matrix G = X X': the variance of y = M X is that of the rows of M G M'. So batch norm is folded into the
  weights *before* they are applied, and parallel branches are merged into one kernel while they are being trained.
"""

import functools

import torch
from torch.nn import functional
from twin import SCALES

EPS, MOMENTUM = 1e-5, 0.1


@functools.cache
def band_basis(kernel, length):
    """(kernel, length * length): 0/1 matrix that spreads tap k over the diagonal j - i = k - kernel // 2."""
    i, j = torch.arange(length)[:, None], torch.arange(length)[None]
    taps = torch.arange(kernel)[:, None, None]
    return (j - i == taps - kernel // 2).float().flatten(1)


def bands(weight, length):
    """Depthwise weight (C, 1, k, 1) or (C, 1, 1, k) -> (C, length, length): bands @ x is the padded convolution."""
    weight = weight.flatten(1)
    return (weight @ band_basis(weight.shape[1], length)).unflatten(1, (length, length))


def track(bn, mean, var, count):
    """Batch statistics into the running ones, as BatchNorm2d does in training."""
    with torch.no_grad():
        bn.running_mean.lerp_(mean, MOMENTUM)
        bn.running_var.lerp_(var * (count / (count - 1)), MOMENTUM)
        bn.num_batches_tracked += 1


def fold(bn, mean, var, count):
    """gain and bias that batch norm amounts to, for a map whose output has this mean and variance (C,)."""
    if bn.training:
        track(bn, mean, var, count)
    else:
        mean, var = bn.running_mean, bn.running_var
    gain = bn.weight * torch.rsqrt(var + EPS)
    return gain, bn.bias - mean * gain


def merged(branch, axis, sums, gram, count):
    """The band matrices (C, L, L) and biases (C,) of `x + sum over scales of BN(depthwise(x))`, branches and all.

    sums (C, L) and gram (C, L, L): of the input over everything but channel and axis; count: values a channel.
    """
    length = sums.shape[1]
    kernel, bias = torch.eye(length), 0  # the identity beside the branches
    for suffix, _ in SCALES:
        m = bands(getattr(branch, axis + suffix).weight, length)
        mean = torch.bmm(m, sums[:, :, None]).sum((1, 2)) / count
        var = (torch.bmm(m, gram) * m).sum((1, 2)) / count - mean * mean
        gain, shift = fold(getattr(branch, f"{axis}_bn{suffix}"), mean, var, count)
        kernel, bias = kernel + m * gain[:, None, None], bias + shift
    return kernel, bias


def along_time(branch, x):
    """All scales along the first axis and the input itself, then ReLU. (C, T, rest) -> the same shape."""
    gram = torch.bmm(x, x.transpose(1, 2)).float()
    kernel, bias = merged(branch, "a", x.sum(2, dtype=torch.float32), gram, x[0].numel())
    return torch.relu_(torch.baddbmm(bias.to(x.dtype)[:, None, None], kernel.to(x.dtype), x))


def along_frequency(branch, x):
    """The same along the last axis: the products from the other side. (C, rest, F) -> the same shape."""
    gram = torch.bmm(x.transpose(1, 2), x).float()
    kernel, bias = merged(branch, "b", x.sum(1, dtype=torch.float32), gram, x[0].numel())
    return torch.relu_(torch.baddbmm(bias.to(x.dtype)[:, None, None], x, kernel.to(x.dtype).transpose(1, 2)))


def mixed(conv, bn, x, relu=False):
    """Batch norm of a 1x1 convolution, statistics from the input's Gram matrix. x (C, P) -> (C_out, P)."""
    weight, count = conv.weight.flatten(1), x.shape[1]
    mean = weight @ x.sum(1, dtype=torch.float32) / count
    var = ((weight @ (x @ x.T).float()) * weight).sum(1) / count - mean * mean
    gain, shift = fold(bn, mean, var, count)
    y = torch.addmm(shift.to(x.dtype)[:, None], (weight * gain[:, None]).to(x.dtype), x)
    return torch.relu_(y) if relu else y


def normalised(conv, bn, x):
    """The same with statistics from the output, cheaper where the output is narrow. x (C, P) -> (C_out, P)."""
    y = conv.weight.flatten(1).to(x.dtype) @ x
    return bn(y[None, :, :, None])[0, :, :, 0]  # as an image of one example, P x 1


def block(module, x):
    """One block of AudioRepInceptionNeXt. (C_in, T, N, F) -> (C, T', N, F')."""
    branch = module.branch2
    if hasattr(module, "branch1"):
        x = x[:, ::2, :, ::2].contiguous()
    shape = (-1, *x.shape[1:])
    flat = x.flatten(1)
    shortcut = mixed(module.branch1, module.branch1_bn, flat) if hasattr(module, "branch1") else flat
    h = mixed(branch.a_head, branch.a_head_bn, flat, relu=True).view(shape)
    t = along_time(branch, h.flatten(2)).view(h.shape)
    f = along_frequency(branch, t.flatten(1, 2)).view(h.shape)
    e = mixed(branch.c, branch.c_bn, f.flatten(1), relu=True)
    return torch.relu_(shortcut + normalised(branch.d, branch.d_bn, e)).view(shape)


def forward(twin, x, dtype=torch.float32):
    """What `twin(x)` returns, for AudioRepInceptionNeXt. (N, 1, T, 128) -> {head: (N, classes)}."""
    stem = twin.s1.pathway0_stem
    y = functional.conv2d(x.to(dtype), stem["conv"].weight.to(dtype), stride=2, padding=(2, 3))
    y = functional.max_pool2d(torch.relu_(stem["bn"](y)), 3, stride=2, padding=1)
    y = y.permute(1, 2, 0, 3).contiguous()  # (C, T, N, F)
    for stage in (twin.s2, twin.s3, twin.s4, twin.s5):
        for module in stage:
            y = block(module, y)
    return twin.head(y.permute(2, 0, 1, 3).float())
