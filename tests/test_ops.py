"""The plain operations against loops that say what they mean, and against SciPy."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minirep import ops
from minirep.network import BatchNorm, Conv

sizes = st.integers(1, 9)
seeds = st.integers(0, 2**31)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


@settings(max_examples=30, deadline=None)
@given(seeds, sizes, sizes, sizes, st.sampled_from([1, 3, 5, 21]), st.sampled_from([1, 2]))
def test_depthwise_is_correlation_along_one_axis(seed, t, f, c, k, axis):
    x, w = normal(seed, 2, t, f, c), normal(seed + 1, k, c)
    got = ops.depthwise_conv(x, w, axis)
    lines, out = np.moveaxis(x, axis, -1), np.moveaxis(got, axis, -1)
    for n, i, channel in ((0, 0, 0), (1, lines.shape[1] - 1, c - 1)):
        # x is (N, T, F, C) with the axis moved last: (N, other, C, L)
        line = lines[n, i, channel]
        want = np.correlate(np.pad(line, k // 2), w[:, channel], "valid")
        np.testing.assert_allclose(out[n, i, channel], want, atol=1e-12)


def test_depthwise_matches_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    for axis, shape in ((1, (2, 75, 7, 3)), (2, (2, 30, 7, 3)), (2, (1, 4, 70, 3))):  # a long axis is cut into pieces
        x, w = normal(0, *shape), normal(1, 21, 3)
        got = ops.depthwise_conv(x, w, axis)
        for c in range(3):
            want = ndimage.correlate1d(x[..., c], w[:, c], axis=axis, mode="constant")
            np.testing.assert_allclose(got[..., c], want, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    seeds, sizes, sizes, st.integers(1, 3), st.sampled_from([1, 3, 5]), st.sampled_from([1, 3, 7]), st.integers(1, 3)
)
def test_conv2d_is_a_sum_over_the_patch(seed, t, f, c, kt, kf, stride):
    x, w = normal(seed, 1, t, f, c), normal(seed + 1, kt, kf, c, 2)
    got = ops.conv2d(x, w, (stride, stride), (kt // 2, kf // 2))
    padded = np.pad(x, ((0, 0), (kt // 2,) * 2, (kf // 2,) * 2, (0, 0)))
    for i in range(got.shape[1]):
        for j in range(got.shape[2]):
            patch = padded[0, i * stride :, j * stride :][:kt, :kf]
            np.testing.assert_allclose(got[0, i, j], np.tensordot(patch, w, 3), atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(seeds, sizes, sizes)
def test_max_pool_is_the_largest_neighbour(seed, t, f):
    x = normal(seed, 2, t, f, 3)
    got = ops.max_pool(x)
    assert got.shape == (2, -(-t // 2), -(-f // 2), 3)
    for i in range(got.shape[1]):
        for j in range(got.shape[2]):
            near = x[:, max(0, 2 * i - 1) : 2 * i + 2, max(0, 2 * j - 1) : 2 * j + 2]
            np.testing.assert_array_equal(got[:, i, j], near.max(axis=(1, 2)))


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), st.integers(1, 6))
def test_average_pool(seed, t, f, wt, wf):
    wt, wf = min(wt, t), min(wf, f)
    x = normal(seed, 2, t, f, 2)
    got = ops.average_pool(x, (wt, wf))
    assert got.shape == (2, t - wt + 1, f - wf + 1, 2)
    np.testing.assert_allclose(got[:, -1, -1], x[:, t - wt :, f - wf :].mean(axis=(1, 2)), atol=1e-12)


def test_softmax_and_batch_norm():
    p = ops.softmax(np.array([[1000.0, 1000.0], [0.0, -2000.0]]))
    np.testing.assert_allclose(p, [[0.5, 0.5], [1.0, 0.0]])
    bn = BatchNorm(np.array([2.0]), np.array([3.0]), np.array([5.0]), np.array([4.0]), eps=0.0)
    assert ops.batch_norm(np.array([9.0]), bn) == [7.0]  # (9 - 5) / 2 * 2 + 3


def test_roots_of_fractions_are_exact_or_refused():
    assert ops.sqrt(np.array([Fraction(9, 4)], object))[0] == Fraction(3, 2)
    with pytest.raises(ValueError, match="no rational square root"):
        ops.sqrt(np.array([Fraction(2)], object))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_type_of_the_input_is_kept(dtype):
    x = normal(0, 1, 8, 8, 4).astype(dtype)
    conv = Conv(normal(1, 4, 4).astype(dtype), bias=normal(2, 4).astype(dtype), relu=True)
    outputs = (ops.pointwise(x, conv, (2, 2)), ops.max_pool(x), ops.average_pool(x, (2, 2)), ops.softmax(x))
    assert all(y.dtype == dtype for y in outputs)
