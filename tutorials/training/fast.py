"""The twin's training step as matrix products: the same function, the same batch statistics, several times faster.

PyTorch's depthwise convolutions are slow to train on a processor without a GPU. Here activations are laid out
(C, T, N, F), so that

- a 1x1 convolution is one matrix product (C_out, C) x (C, T N F);
- a depthwise convolution along an axis of length L is one product a channel with the (L, L) band matrix that has the
  kernel on its diagonals: (L, L) x (L, rest);
- batch norm behind a linear map needs no pass over the map's output. Its mean and variance follow from the input's
  sums and Gram matrix G = X X': the variance of y = M X is that of the rows of M G M'. So batch norm is folded into the
  weights *before* they are applied, and parallel branches are merged into one kernel while they are being trained.
  Likewise AudioInceptionNeXt's expand and project convolutions are collapsed into one matrix: M is then their product.
"""

import functools

import torch
from torch.nn import functional
from twin import REP

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
    return (weight @ band_basis(weight.shape[1], length).to(weight)).unflatten(1, (length, length))


def track(bn, mean, var, count):
    """Batch statistics into the running ones, as BatchNorm2d does in training."""
    with torch.no_grad():
        bn.running_mean.lerp_(mean, MOMENTUM)
        bn.running_var.lerp_(var * (count / (count - 1)), MOMENTUM)
        bn.num_batches_tracked += 1


def fold(bn, mean, var, count):
    """gain and bias that batch norm amounts to, for a map whose output has this mean and variance (C,)."""
    if bn.training:
        var = var.clamp_min(0)  # a difference of two sums, which rounding may leave below
        track(bn, mean, var, count)
    else:
        mean, var = bn.running_mean, bn.running_var
    gain = bn.weight * torch.rsqrt(var + EPS)
    return gain, bn.bias - mean * gain


# --- along an axis -------------------------------------------------------------------------------------------------


def axis_sums(branch, axis, x):
    """Sums (C, L) and Gram matrices (C, L, L) of x (C, T, N, F) over everything but channel and axis of length L."""
    dtype = branch.c.weight.dtype  # statistics are taken in the precision of the weights, whatever that of x is
    if axis == "a":
        x = x.flatten(2)  # (C, T, N F)
        return x.sum(2, dtype=dtype), torch.bmm(x, x.transpose(1, 2)).to(dtype)
    x = x.flatten(1, 2)  # (C, T N, F)
    return x.sum(1, dtype=dtype), torch.bmm(x.transpose(1, 2), x).to(dtype)


def merged(branch, axis, suffixes, sums, gram, count):
    """The band matrices (C, L, L) and biases (C,) of the sum over branches of BN(depthwise(x)).

    sums, gram: of x, see `axis_sums`; count: values a channel.
    """
    length = sums.shape[1]
    kernel, bias = 0, 0
    for suffix in suffixes:
        m = bands(getattr(branch, axis + suffix).weight, length)
        mean = torch.bmm(m, sums[:, :, None]).sum((1, 2)) / count
        var = (torch.bmm(m, gram) * m).sum((1, 2)) / count - mean * mean
        gain, shift = fold(getattr(branch, f"{axis}_bn{suffix}"), mean, var, count)
        kernel, bias = kernel + m * gain[:, None, None], bias + shift
    return kernel, bias


def along(branch, axis, suffixes, x, sums, identity):
    """ReLU of the sum of some branches along an axis, and of x itself if `identity`. (C, T, N, F) -> the same shape."""
    kernel, bias = merged(branch, axis, suffixes, *sums, x[0].numel())
    if identity:
        kernel = kernel + torch.eye(kernel.shape[1], dtype=kernel.dtype)
    kernel, bias = kernel.to(x.dtype), bias.to(x.dtype)[:, None, None]
    if axis == "a":
        y = torch.baddbmm(bias, kernel, x.flatten(2))
    else:  # the product from the other side
        y = torch.baddbmm(bias, x.flatten(1, 2), kernel.transpose(1, 2))
    return torch.relu_(y).view(x.shape)


# --- across channels -----------------------------------------------------------------------------------------------


def channel_moments(x, dtype):
    """The means (C,) of x (C, P) and of its products (C, C)."""
    return x.sum(1, dtype=dtype) / x.shape[1], (x @ x.T).to(dtype) / x.shape[1]


def normed(weight, bias, bn, mean, products, count):
    """Weight and bias of batch norm behind `weight @ x + bias`, for an x with these moments."""
    mean = weight @ mean  # without the bias: it does not change the variance, and a large mean would cost precision
    var = ((weight @ products) * weight).sum(1) - mean * mean
    gain, shift = fold(bn, mean + bias, var, count)
    return weight * gain[:, None], shift + gain * bias


def mixed(conv, bn, x, relu=False):
    """Batch norm of a 1x1 convolution, statistics from the input's Gram matrix. x (C, P) -> (C_out, P)."""
    weight = conv.weight.flatten(1)
    weight, bias = normed(weight, 0, bn, *channel_moments(x, weight.dtype), x.shape[1])
    y = torch.addmm(bias.to(x.dtype)[:, None], weight.to(x.dtype), x)
    return torch.relu_(y) if relu else y


def normalised(conv, bn, x):
    """The same with statistics from the output, cheaper where the output is narrow. x (C, P) -> (C_out, P)."""
    y = conv.weight.flatten(1).to(x.dtype) @ x
    return bn(y[None, :, :, None])[0, :, :, 0]  # as an image of one example, P x 1


def collapsed(branch, x):
    """Expand and project with no ReLU between them: what lies between is never computed. x (C, P) -> (C, P)."""
    first, second = branch.c.weight.flatten(1), branch.d.weight.flatten(1)
    moments = channel_moments(x, first.dtype)
    first, bias = normed(first, 0, branch.c_bn, *moments, x.shape[1])
    weight, bias = normed(second @ first, second @ bias, branch.d_bn, *moments, x.shape[1])
    return torch.addmm(bias.to(x.dtype)[:, None], weight.to(x.dtype), x)


# --- the stem ------------------------------------------------------------------------------------------------------


def windows(conv, bn, x):
    """ReLU of batch norm of the stem's convolution, as a product with what each of its windows sees.

    x (N, T, F) -> (C, T/2, N, F/2)
    """
    x = functional.pad(x, (3, 3, 2, 2))
    seen = x.unfold(1, 5, 2).unfold(2, 7, 2)  # (N, T/2, F/2, 5, 7)
    seen = seen.permute(3, 4, 1, 0, 2)
    return mixed(conv, bn, seen.reshape(35, -1), relu=True).unflatten(1, seen.shape[2:])


def pooled(x):
    """Max pooling 3x3 in steps of two, one axis after the other. (C, T, N, F) -> (C, T/2, N, F/2)"""
    columns = functional.max_pool2d(x.flatten(2), (3, 1), (2, 1), (1, 0))  # (C, T/2, N F)
    rows = columns.view(len(x), -1, x.shape[3])  # (C, T/2 N, F)
    return functional.max_pool2d(rows, (1, 3), (1, 2), (0, 1)).unflatten(1, (-1, x.shape[2]))


# --- the walk ------------------------------------------------------------------------------------------------------


def rep_branch(branch, x):
    """AudioRepInceptionNeXt: all branches along one axis, then all along the other. (C, T, N, F) -> (C, T N F)."""
    for axis in branch.options.axes:
        x = along(branch, axis, branch.options.suffixes, x, axis_sums(branch, axis, x), identity=True)
    e = mixed(branch.c, branch.c_bn, x.flatten(1), relu=True)
    return normalised(branch.d, branch.d_bn, e)


def inception_branch(branch, x):
    """AudioInceptionNeXt: a chain over both axes for each branch, then their sum. (C, T, N, F) -> (C, T N F)."""
    first, second = branch.options.axes
    sums = axis_sums(branch, first, x)  # every chain starts from the same input
    total = 0
    for suffix in branch.options.suffixes:
        y = along(branch, first, [suffix], x, sums, identity=False)
        total = total + along(branch, second, [suffix], y, axis_sums(branch, second, y), identity=False)
    return collapsed(branch, total.flatten(1))


def block(module, x):
    """One block of either network. (C_in, T, N, F) -> (C, T', N, F')."""
    branch = module.branch2
    if hasattr(module, "branch1"):
        x = x[:, ::2, :, ::2].contiguous()
    shape = (-1, *x.shape[1:])
    flat = x.flatten(1)
    shortcut = mixed(module.branch1, module.branch1_bn, flat) if hasattr(module, "branch1") else flat
    rep = branch.options.kind == REP
    h = mixed(branch.a_head, branch.a_head_bn, flat, relu=rep).view(shape)
    y = rep_branch(branch, h) if rep else inception_branch(branch, h)
    return torch.relu_(shortcut + y).view(shape)


def forward(twin, x, dtype=torch.float32):
    """What `twin(x)` returns, for any twin without merged kernels. (N, 1, T, 128) -> {head: (N, classes)}."""
    stem = twin.s1.pathway0_stem
    y = pooled(windows(stem["conv"], stem["bn"], x[:, 0].to(dtype)))
    for stage in (twin.s2, twin.s3, twin.s4, twin.s5):
        for module in stage:
            y = block(module, y)
    return twin.head(y.permute(2, 0, 1, 3).to(stem["conv"].weight.dtype))
