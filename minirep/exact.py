"""Numbers that NumPy lacks: square roots of fractions, arrays of double-doubles, and bfloat16.

The proofs run `minirep.reparam` and `minirep.ops` on fractions. `minirep.fuse` merges float32 networks as
double-doubles and rounds each weight once, at the end. A double-double is the unevaluated sum of two float64 and has
about 106 significant bits.

Source: Dekker, "A floating-point technique for extending the available precision", Numerische Mathematik 18, 1971;
Hida, Li, Bailey, "Algorithms for quad-double precision floating point arithmetic", 2001; for `DoubleDouble.rounded`,
Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008 (rounding to odd).
"""

from __future__ import annotations

import math
from fractions import Fraction
from numbers import Rational
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

Array = np.ndarray
SPLITTER = 2.0**27 + 1  # Dekker's: cuts a float64 into two halves of 26 bits
CHUNK = 1 << 20  # products computed at a time in `_matmul`


def sqrt(x: Array) -> Array:
    """Compute square roots: of fractions exactly (ValueError if a root is irrational), of symbols as ``x ** (1/2)``."""
    if x.dtype != object:
        return np.sqrt(x)
    known = (Rational, float)
    roots = [_rational_root(Fraction(v)) if isinstance(v, known) else v ** Fraction(1, 2) for v in x.ravel()]
    return np.array(roots, object).reshape(x.shape)


def _rational_root(value: Fraction) -> Fraction:
    root = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
    if root * root != value:
        raise ValueError(f"{value} has no rational square root")
    return root


def round_bfloat16(x: Array) -> Array:
    """Round float32 to the nearest bfloat16, ties to even; the result is float32 with 16 zero bits at its end.

    A bfloat16 is the upper half of a float32: its sign, its exponent, and 7 of its 23 fraction bits. Adding just under
    half of the lower half's range, and one more if the upper half is odd, carries exactly if rounding goes up.

    >>> round_bfloat16(np.float32([1 + 2**-8, 1 + 3 * 2**-8, 3.14159]))  # two ties, and a number in between
    array([1.      , 1.015625, 3.140625], dtype=float32)
    """
    bits = x.view(np.uint32)
    rounded = (bits + (0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)
    return np.where(np.isnan(x), x, rounded)


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Return s, e with s = fl(a + b) and s + e = a + b exactly."""
    s = a + b
    other = s - a
    return s, (a - (s - other)) + (b - other)


def two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """Return p, e with p = fl(a b) and p + e = a b exactly, unless something overflows or underflows."""
    p = a * b
    a_high, b_high = (x * SPLITTER - (x * SPLITTER - x) for x in (a, b))
    a_low, b_low = a - a_high, b - b_high
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


class DoubleDouble(NDArrayOperatorsMixin):
    """An array of numbers ``high + low``; ``low`` is at most half a unit in the last place (ulp) of ``high``."""

    def __init__(self, high: Any, low: Any = 0.0):
        self.high = np.asarray(high, np.float64)
        low = np.asarray(low, np.float64)
        self.low = low if low.shape == self.high.shape else np.full(self.high.shape, low)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.high.shape

    @property
    def dtype(self) -> np.dtype:
        return self.high.dtype

    def __len__(self) -> int:
        return len(self.high)

    def __getitem__(self, index: Any) -> DoubleDouble:
        return DoubleDouble(self.high[index], self.low[index])

    def __setitem__(self, index: Any, value: Any) -> None:
        value = _as_pair(value)
        self.high[index], self.low[index] = value.high, value.low

    def copy(self) -> DoubleDouble:
        return DoubleDouble(self.high.copy(), self.low.copy())

    def rounded(self, dtype: Any) -> Array:
        """Round each number once, to nearest, ties to even, to float16 or float32.

        Rounding ``high`` alone would go wrong halfway between two numbers of the type. So if ``low`` is not zero and
        the last bit of ``high`` is even, ``high`` is first moved to its neighbour towards ``low`` (rounding to odd).
        """
        odd = self.high.view(np.int64) & 1 == 1
        toward = np.nextafter(self.high, np.copysign(np.inf, self.low))
        exact = (self.low == 0) | odd | ~np.isfinite(self.high)
        with np.errstate(over="ignore"):  # numbers too large for the type become infinite, and are never stored
            return np.where(exact, self.high, toward).astype(dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **settings: Any) -> Any:
        known = method == "__call__" and ufunc in OPERATIONS and not settings.get("out")
        return OPERATIONS[ufunc](*map(_as_pair, inputs)) if known else NotImplemented

    def __array_function__(self, function: Any, types: Any, args: Any, settings: Any) -> Any:
        if function is not np.pad:
            return NotImplemented
        array, *rest = args
        return DoubleDouble(np.pad(array.high, *rest), np.pad(array.low, *rest))


def _as_pair(x: Any) -> DoubleDouble:
    return x if isinstance(x, DoubleDouble) else DoubleDouble(x)


def _normal(high: Array, low: Array) -> DoubleDouble:
    """Return ``high + low`` as a double-double; ``high`` must be the larger number."""
    s = high + low
    return DoubleDouble(s, low - (s - high))


def _add(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    s, e = two_sum(a.high, b.high)
    t, f = two_sum(a.low, b.low)
    near = _normal(s, e + t)
    return _normal(near.high, near.low + f)


def _subtract(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    return _add(a, DoubleDouble(-b.high, -b.low))


def _multiply(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    p, e = two_product(a.high, b.high)
    return _normal(p, e + (a.high * b.low + a.low * b.high))


def _divide(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    """Divide by long division: three digits of 53 bits, each from the remainder that the last one leaves."""
    digits = []
    for _ in range(3):
        digits.append(a.high / b.high)
        a = _subtract(a, _multiply(DoubleDouble(digits[-1]), b))
    return _add(_normal(digits[0], digits[1]), DoubleDouble(digits[2]))


def _sqrt(a: DoubleDouble) -> DoubleDouble:
    """Take one step of Newton's method from the float64 root, which doubles its digits."""
    root = np.sqrt(a.high)
    square = DoubleDouble(*two_product(root, root))
    correction = np.divide(_subtract(a, square).high, 2 * root, out=np.zeros_like(root), where=root > 0)
    return _normal(root, correction)


def _matmul(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    """Multiply (m, k) or (k,) by (k, n), precisely enough for one rounding to float32.

    The product is computed in float64, with a bound on its error (Higham, 2002, section 3.5). If two float32 are within
    it, double-double follows (Ziv, "Fast evaluation of elementary mathematical functions", 1991).
    """
    k, right = len(b), DoubleDouble(b.high.T, b.low.T)
    if len(a.shape) == 1:  # a bias: more is added to it, so all its digits are needed
        return _sum_last(a * right)
    found = DoubleDouble(a.high @ b.high)
    bound = (k + 4) * 2.0**-53 * (np.abs(a.high) @ np.abs(b.high)) * (1 + 2.0**-20)
    with np.errstate(over="ignore"):
        open_ = (found.high - bound).astype(np.float32) != (found.high + bound).astype(np.float32)
    places, step = np.argwhere(open_), max(1, CHUNK // k)
    for start in range(0, len(places), step):
        i, j = places[start : start + step].T
        found[i, j] = _sum_last(a[i] * right[j])
    return found


def _sum_last(x: DoubleDouble) -> DoubleDouble:
    """Return the sums along the last axis, computed by adding one half to the other (pairwise summation)."""
    while x.shape[-1] > 1:
        half = x.shape[-1] // 2
        rest = x[..., 2 * half :]
        x = x[..., :half] + x[..., half : 2 * half]
        if rest.shape[-1]:
            x[..., :1] = x[..., :1] + rest
    return x[..., 0]


OPERATIONS: dict[Any, Any] = {np.add: _add, np.subtract: _subtract, np.multiply: _multiply}
OPERATIONS |= {np.true_divide: _divide, np.sqrt: _sqrt, np.matmul: _matmul}
