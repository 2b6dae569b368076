"""Show that two forms of a part of a network are the same function (`prove`), also for networks of other projects.

A *form* is a tree or a function of one array. Trees are made of minirep's own nodes (`Conv`, `Depthwise`, `Block`,
`Network`, `BatchNorm`) and of those below: `Conv2d`, `Scale`, `Pad`, `Sum`, `Chain`. Functions are written with plain
operations: sums, products, matrix products, padding, slicing, and `numpy.maximum` for ReLU and pooling.

Both forms run on `fractions.Fraction`, where they must be equal with ``==``, and in floating point, where they may
differ by rounding errors. The bound on these errors comes from one more run, on `Sized` numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, is_dataclass, replace
from fractions import Fraction
from math import isqrt, sqrt
from numbers import Rational
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .. import ops
from ..check import check
from ..errors import MinirepError, expect
from ..network import Array, BatchNorm, Block, Conv, Depthwise, Network, block_forward, walk
from ..text import one_line
from ..tree import map_arrays, map_tree, named_arrays
from .bounds import ROUNDINGS, SLACK, gamma

Form = Any  # a tree, or a function of one array of activations (N, H, W, C)
Compared = tuple[Array, Array, Any]  # the outputs of two forms, and the bound on their difference


@dataclass(frozen=True)
class Conv2d(Conv):
    """A convolution over both axes, with ``weight`` (kh, kw, Cin / groups, Cout); `minirep.reparam.fold` folds it."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)  # zeros at both ends of each axis
    dilation: tuple[int, int] = (1, 1)  # from one tap to the next
    groups: int = 1

    def __call__(self, x: Array) -> Array:
        (kh, kw, c_in, c_out), (dh, dw), groups = self.weight.shape, self.dilation, self.groups
        expect(x.shape[3] == c_in * groups, f"Conv2d: found {x.shape[3]} channels, expected {c_in} x {groups} groups")
        x = np.pad(x, ((0, 0), *((size, size) for size in self.padding), (0, 0)))
        patches = sliding_window_view(x, (dh * (kh - 1) + 1, dw * (kw - 1) + 1), axis=(1, 2))
        patches = patches[:, :: self.stride[0], :: self.stride[1], :, ::dh, ::dw]  # (N, H', W', Cin, kh, kw)
        rows = patches.reshape(-1, groups, c_in * kh * kw).swapaxes(0, 1)  # (groups, positions, Cin / groups kh kw)
        kernels = self.weight.transpose(2, 0, 1, 3).reshape(-1, groups, c_out // groups).swapaxes(0, 1)
        return ops.epilogue((rows @ kernels).swapaxes(0, 1).reshape(*patches.shape[:3], c_out), self)


@dataclass(frozen=True)
class Scale:
    """Layer scale (Touvron et al., 2021): multiply each channel by its own factor, (C,)."""

    factor: Array

    def __call__(self, x: Array) -> Array:
        return x * self.factor


@dataclass(frozen=True)
class Pad:
    """Pad both ends of both axes with one value per channel, (C,)."""

    size: tuple[int, int]
    value: Array

    def __call__(self, x: Array) -> Array:
        (n, height, width, c), (h, w) = x.shape, self.size
        y = np.empty((n, height + 2 * h, width + 2 * w, c), np.result_type(x, self.value))
        y[...] = self.value
        y[:, h : h + height, w : w + width] = x
        return y


@dataclass(frozen=True)
class Sum:
    """The sum of branches that read the same input."""

    branches: tuple[Form, ...]

    def __call__(self, x: Array) -> Array:
        return sum(run(branch, x) for branch in self.branches)  # type: ignore[return-value]


@dataclass(frozen=True)
class Chain:
    """Nodes, or functions such as `minirep.ops.relu`, one after the other; an empty chain is the identity."""

    nodes: tuple[Form, ...]

    def __call__(self, x: Array) -> Array:
        for node in self.nodes:
            x = run(node, x)
        return x


def run(form: Form, x: Array) -> Array:
    """Run a form on ``x`` (N, H, W, C). For a network, ``x`` is (N, frames, mels), and all its logits are returned."""
    if callable(form):
        return form(x)
    if isinstance(form, Network):
        *_, (_, y) = walk(check(form), x[..., None])
        return np.concatenate([ops.logits(y, form.pool, form.heads[head]) for head in sorted(form.heads)], axis=-1)
    runs: dict[type, Callable[[Any, Any], Array]] = {
        BatchNorm: ops.batch_norm, Conv: ops.pointwise, Depthwise: ops.depthwise,
        Block: lambda x, block: block_forward(block, x),
    }  # fmt: skip
    expect(type(form) in runs, f"found a {type(form).__name__}, expected a node of minirep or a function")
    return runs[type(form)](x, form)


class Sized:
    """Bounds on a number, for any way to compute it: the size of its terms, and the most roundings of one term.

    A function of plain operations that runs on such numbers gives the error bound that `minirep.proof.bounds` explains:
    gamma(roundings) * sum of |t|. A ReLU enlarges no error, so it does nothing here. ``least`` is a term for underflow.
    """

    def __init__(self, size: float, least: float, depth: int = 0, terms: int = 1):
        self.size, self.least, self.depth, self.terms = size, least, depth, terms

    @property
    def roundings(self) -> int:
        """The roundings of one term, before this sum and in it, for any order of summation."""
        return self.depth + self.terms - 1

    def __add__(self, other: Any) -> Sized:
        if not isinstance(other, Sized):
            other = Sized(abs(float(other)), self.least)
        size = self.size + other.size + self.least
        return Sized(size, self.least, max(self.depth, other.depth), self.terms + other.terms)

    def __mul__(self, weight: Any) -> Sized:  # by a number that is known but for rounding
        size = self.size * abs(float(weight)) + (1 + self.size) * self.least
        return Sized(size, self.least, self.roundings + ROUNDINGS)

    def __truediv__(self, weight: Any) -> Sized:
        return self * (1 / float(weight))

    def __ge__(self, other: Any) -> bool:
        """Prepare `numpy.maximum`, which returns one of two numbers: give each the bounds that hold for both."""
        if isinstance(other, Sized):
            self.size = other.size = max(self.size, other.size)
            self.depth = other.depth = max(self.roundings, other.roundings)
            self.terms = other.terms = 1
        return True if isinstance(other, Sized) or other <= 0 else NotImplemented

    def __le__(self, other: Any) -> bool:  # the same with a plain number first, which is not kept
        return NotImplemented if isinstance(other, Sized) or other > 0 else False

    __radd__ = __sub__ = __rsub__ = __add__
    __rmul__ = __mul__
    __neg__ = __abs__ = lambda self: self


def fractions(array: Array, name: str = "input") -> Array:
    """Convert an array to exact fractions; raise a MinirepError if a number is not finite."""
    try:
        return np.array([Fraction(v) for v in array.ravel().tolist()], object).reshape(array.shape)
    except (TypeError, ValueError, OverflowError) as error:
        raise MinirepError(f"prove: {name}: {error}; expected finite numbers") from error


def exactly(form: Form, name: str = "") -> Form:
    """Convert the weights of a tree to exact fractions; return a function as it is.

    The square root in a batch norm is usually irrational, and merging is correct for any value of it. So a variance
    whose root is irrational is replaced by a nearby one, whose root is the float64 root.
    """

    def rational_root(value: Fraction) -> Fraction:
        root = Fraction(isqrt(value.numerator), isqrt(value.denominator))
        return root if root * root == value else Fraction(sqrt(value))

    def convert(name: str, node: Any) -> Any:
        if isinstance(node, np.ndarray):
            return fractions(node, name)
        if not isinstance(node, BatchNorm):
            return node
        node, eps = map_arrays(node, lambda array: fractions(array, name)), Fraction(node.eps)
        lowest = min(node.variance + eps)
        expect(lowest > 0, f"prove: {name}: found variance + eps = {float(lowest):.3g}, expected more than 0")
        return replace(node, variance=np.array([rational_root(v + eps) ** 2 - eps for v in node.variance]), eps=eps)

    return map_tree(form, convert, name)


def in_type(form: Form, dtype: Any) -> Form:
    """Convert the weights of a tree to a floating-point type; return a function as it is."""
    form = map_tree(form, lambda _, node: replace(node, eps=float(node.eps)) if isinstance(node, BatchNorm) else node)
    return map_arrays(form, lambda array: array.astype(dtype))


@dataclass(frozen=True)
class Proof:
    """The result of `prove`; as a truth value, it is ``equal``."""

    equal: bool
    exact: bool | None  # equal on fractions; None if fractions decide nothing, because weights had been rounded
    compared: int  # number of output values
    dtype: str
    difference: float  # in floating point, at the place where the largest share of the bound is used
    bound: float  # at that place
    used: float  # difference / bound
    first: str | None = None  # the first difference, in words
    place: tuple[int, ...] = ()  # its index in the output
    source: list[tuple[int, ...]] = field(default_factory=list)  # indices of the input that are not zero

    def __bool__(self) -> bool:
        return self.equal

    def __str__(self) -> str:
        if self.first:
            return f"before and after differ\n  {self.first}"
        fractions = "rounded weights decide nothing" if self.exact is None else f"all {self.compared} numbers are equal"
        floats = f"{self.difference:.2g} apart where the bound is {self.bound:.2g}, {100 * self.used:.2g} % of it"
        return f"before and after are equal\n  on fractions: {fractions}\n  in {self.dtype}: {floats}"


def attempt(name: str, form: Form, x: Any) -> Any:
    """Run one form on an input, or a merge on a tree; an exception becomes a MinirepError of one line."""
    try:
        return run(form, x.copy() if isinstance(x, np.ndarray) else x)
    except Exception as error:  # whatever a function raises
        kind = "" if isinstance(error, MinirepError) else f"{type(error).__name__}: "
        raise MinirepError(one_line(f"prove: {name}: {kind}{error}")) from error


def on_fractions(forms: dict[str, Form], x: Array) -> Compared:
    """Run both forms on exact fractions; their outputs must not differ at all."""
    found = [np.asarray(attempt(name, form, x)) for name, form in forms.items()]
    for name, y in zip(forms, found):
        kinds = {type(v).__name__ for v in y.ravel() if not isinstance(v, Rational)}
        expect(not kinds, f"prove: {name}: of fractions it makes {', '.join(kinds)}; expected exact weights throughout")
    return found[0], found[1], 0


def in_floats(forms: dict[str, Form], x: Array) -> Compared:
    """Run both forms in floating point, and bound the effect of rounding on their difference."""
    info, roundings, sizes = np.finfo(x.dtype), 0, []
    for name, form in forms.items():
        least = float(info.tiny / info.eps)
        known = np.array([Sized(abs(float(v)), least) for v in x.ravel()], object).reshape(x.shape)
        y = np.asarray(attempt(name, in_type(form, np.float64), known))
        found = [v if isinstance(v, Sized) else Sized(abs(float(v)), least) for v in y.ravel()]
        sizes.append(np.array([v.size for v in found]).reshape(y.shape))
        roundings += ROUNDINGS + max(v.roundings for v in found)
    # Either form is within gamma * sum of |t| of the exact one, also with weights that were summed up in merging.
    size = np.maximum(*sizes) * SLACK
    bound = 2 * gamma(roundings, x.dtype) * np.where(size < info.max, size, np.inf)
    before, after = (np.asarray(attempt(name, form, x)).astype(np.float64) for name, form in forms.items())
    return before, after, np.where(np.isfinite(bound), bound, np.nan)


def wrong(compared: Compared) -> Array:
    """Return where two forms differ by more than their bound."""
    before, after, bound = compared
    return ~np.asarray(abs(after - before) <= bound, bool)


def narrowed(shows: Callable[[Array], bool], x: Array) -> Array:
    """Set numbers of an input to 0 as long as it still shows a difference, and a single remaining number to 1."""

    def kept(places: Array) -> Array:
        y = np.zeros_like(x)
        y.flat[places] = x.flat[places]
        return y

    places = np.flatnonzero(x)
    if shows(kept(places[:0])):
        return kept(places[:0])
    while len(places) > 1:  # a linear map that is not zero for a sum is not zero for all its summands
        smaller = (sign * kept(half) for sign in (1, -1) for half in np.array_split(places, 2))  # a ReLU may want -x
        found = next(filter(shows, smaller), None)
        if found is None:
            return x
        x, places = found, np.flatnonzero(found)
    one = np.where(x != 0, 1, 0).astype(x.dtype)
    return one if shows(one) else x


def first_difference(compare: Callable[[Array], Compared], x: Array) -> dict[str, Any]:
    """Return the first difference of two forms and its cause in the input, as fields of a `Proof`."""
    x = narrowed(lambda y: bool(wrong(compare(y)).any()), x)
    before, after, _ = compared = compare(x)
    place, *_ = (tuple(map(int, index)) for index in np.argwhere(wrong(compared)))
    source = [tuple(map(int, index)) for index in np.argwhere(x)]
    cause = f" but for {float(x[source[0]]):.6g} at {source[0]}" if len(source) == 1 else ""
    cause = f"{len(source)} numbers of the input" if len(source) > 1 else f"an input of zeros{cause}"
    values = f"{float(before[place]):.9g} before, {float(after[place]):.9g} after"
    return {"first": f"{values}, at {place} of the output for {cause}", "place": place, "source": source}


def as_inputs(inputs: Any) -> Iterator[Array]:
    """Yield inputs as arrays of fractions; for a shape, draw random numbers between -4 and 4 with 53 bits."""
    for given in inputs if isinstance(inputs, list) and inputs else [inputs]:
        shape = given if isinstance(given, tuple) else np.shape(given)
        fits = isinstance(given, (tuple, np.ndarray)) and shape and all(isinstance(n, int) and n > 0 for n in shape)
        expect(fits, f"prove: found {one_line(repr(given), 60)}; expected an array, a shape, or a list of these")
        drawn = np.random.default_rng(0).integers(-(2**52), 2**52, shape)
        yield fractions(drawn) / 2**50 if isinstance(given, tuple) else fractions(given)


@np.errstate(all="ignore")  # where something overflows, no difference is within the bound
def prove(before: Form, after: Form, inputs: Any) -> Proof:
    """Show that two forms of a linear or piecewise linear part are equal, or find their first difference.

    Parameters
    ----------
    before, after : tree or function
        Nodes of minirep or of `minirep.proof.prove`, or functions of one array. If ``before`` is a tree and ``after`` a
        function, this function is the merge: it takes a tree, also one with exact weights, and returns the merged tree.
    inputs : array, shape, or list of these
        Activations (N, H, W, C), or log-mels (N, frames, mels) for a network. For a shape, they are drawn at random.

    Returns
    -------
    Proof
        It is true if the forms are equal: on fractions with ``==``, and in floating point within the bound. For linear
        parts, equality on one random input implies equality on all inputs of its shape, except with a probability of
        2^-53 (the Schwartz-Zippel lemma). With a ReLU, it holds for the given inputs. Merged weights that are given as
        floats have been rounded, so the forms can differ on fractions; then the bound alone decides.

    Raises
    ------
    MinirepError
        If a form cannot run: shapes do not fit, a number is not finite, or a function needs other operations.

    Examples
    --------
    >>> import minirep
    >>> block = minirep.random_network(minirep.Architecture(width=2)).stages[0][0]
    >>> bool(minirep.prove(block, minirep.reparam.fuse_block, (1, 4, 4, 2)))
    True
    """
    merging = is_dataclass(before) and not is_dataclass(after)
    merge = (lambda tree: attempt("the merge", after, tree)) if merging else (lambda _: after)
    floating = [array.dtype for array in named_arrays((before, after)).values() if array.dtype.kind == "f"]
    dtype = max(floating, key=lambda kind: np.finfo(kind).eps, default=np.dtype(np.float64))  # the coarsest
    exact, typed = exactly(before, "before"), in_type(before, dtype)
    exact_forms = {"before": exact, "after": exactly(merge(exact), "after")}
    float_forms = {"before": typed, "after": in_type(merge(typed), dtype)}

    proof = Proof(True, True, 0, dtype.name, 0.0, 0.0, 0.0)
    for x in as_inputs(inputs):
        exacts = on_fractions(exact_forms, x)
        if exacts[0].shape != exacts[1].shape:
            first = f"the outputs are {exacts[0].shape} before, {exacts[1].shape} after"
            return replace(proof, equal=False, exact=False, first=first)
        proof = replace(proof, compared=proof.compared + exacts[0].size)
        if wrong(exacts).any():
            if merging or not floating:
                found = first_difference(lambda x: on_fractions(exact_forms, x), x)
                return replace(proof, equal=False, exact=False, **found)
            proof = replace(proof, exact=None)
        floats = in_floats(float_forms, x.astype(dtype))
        apart, bound = abs(floats[1] - floats[0]), floats[2]
        used = np.nan_to_num(apart / np.maximum(bound, np.finfo(dtype).tiny), nan=np.inf)
        place = np.unravel_index(np.argmax(used), used.shape)
        if used[place] >= proof.used:
            largest, most, allowed = (float(a[place]) for a in (apart, used, bound))
            proof = replace(proof, difference=largest, bound=allowed, used=most)
        if wrong(floats).any():
            found = first_difference(lambda x: in_floats(float_forms, x), x.astype(dtype))
            return replace(proof, equal=False, **found)
    return proof
