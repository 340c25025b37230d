"""The generator: PyTorch's CPU streams of random numbers from the same seed, bit for bit.

One stream of 32-bit integers (MT19937) feeds everything; each method says how its draws become
numbers. This is below Tensor: NumPy arrays in and out.

u32 is one draw; u64 is two draws, the first one its high word. A number in [0, 1) is made of their
low bits, 24 for float32 and 53 for float64, which is what the mantissa holds.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from npmlp import config, types
from npmlp._mt19937 import MersenneTwister, RandomError
from npmlp._torch_math import fma32, fma64, normals_from_uniforms
from npmlp.errors import DTypeError, OutsideSubsetError, ShapeError

if TYPE_CHECKING:
    from npmlp.tensor import Tensor

Array = NDArray[Any]
Shape = int | Sequence[int]

_LOW_24_BITS, _LOW_53_BITS = np.uint64(2**24 - 1), np.uint64(2**53 - 1)
_UNIFORM = {4: "uniform_32", 8: "uniform_64"}  # the compiled loops, by the bytes of a number
_RANDPERM_LIMIT = 214_748_364  # 2³² / 20: from here on PyTorch shuffles with another algorithm


class Generator(MersenneTwister):
    """A stream of random numbers, equal to `torch.Generator()` on CPU with the same seed.

    Parameters
    ----------
    device : "cpu", the only one

    Notes
    -----
    It draws what PyTorch 2.13 draws on x86-64 with AVX2 or AVX-512. On other processors PyTorch's
    own float32 normals differ from these by a few ulp. Methods that make an array draw nothing for
    an empty one. A dtype is NumPy's float32 or float64.

    Example
    -------
    >>> g = Generator().manual_seed(0)
    >>> g.uniform(2)
    array([0.4962566, 0.7682218], dtype=float32)
    """

    def __init__(self, device: str | types.device = "cpu") -> None:
        self.device = types.device(device)
        super().__init__()

    # --- integers ----------------------------------------------------------------------------

    def random63(self) -> int:
        """One u64 mod 2⁶³, as `random_()` on an int64 tensor: the seed that a DataLoader draws."""
        return int(self.raw_uint64(1)[0]) & (2**63 - 1)

    def randint(self, low: int, high: int, shape: Shape) -> NDArray[np.int64]:
        """Integers of [low, high): low + u32 mod range, with u64 for a range of 2²⁸ or more.

        Raises
        ------
        RandomError : low ≥ high, or bounds that int64 does not hold
        """
        low, high = operator.index(low), operator.index(high)
        if not -(2**63) <= low < high < 2**63:
            raise RandomError(
                f"randint: got low={low}, high={high}, expected low < high, both within int64"
            )
        shape, n = _shape_and_count("randint", shape)
        span = high - low
        draws = self._draw(n) if span < 2**28 else self.raw_uint64(n)
        # In unsigned arithmetic a negative low is its two's complement, and the sum wraps around.
        return (draws % np.uint64(span) + np.uint64(low % 2**64)).view(np.int64).reshape(shape)

    def randperm(self, n: int) -> NDArray[np.int64]:
        """0 … n−1 in random order: for i = 0 … n−2, swap r[i] with r[i + u32 mod (n − i)].

        Raises
        ------
        RandomError : n is negative
        OutsideSubsetError : n ≥ 214,748,364, where PyTorch uses another algorithm

        Source: Fisher and Yates 1938; Knuth, volume 2, section 3.4.2, algorithm P.
        """
        n = operator.index(n)
        if n < 0:
            raise RandomError(f"randperm: got n={n}, expected 0 or more")
        if n >= _RANDPERM_LIMIT:
            raise OutsideSubsetError(
                f"randperm: got n={n}, npmlp has PyTorch's order below {_RANDPERM_LIMIT} only"
            )
        if self._compiled(n):
            from npmlp.kernels.random import shuffle

            out = np.arange(n)
            shuffle(self.raw_uint32(n - 1), out)
            return out
        draws = self._draw(max(n - 1, 0))
        order = list(range(n))  # a list, whose elements Python swaps faster than an array's
        distances = draws % np.arange(n, 1, -1, dtype=np.uint64)
        for i, distance in enumerate(distances.tolist()):
            j = i + distance
            order[i], order[j] = order[j], order[i]
        return np.array(order, np.int64)

    # --- real numbers ------------------------------------------------------------------------

    def uniform(
        self, shape: Shape, low: float = 0.0, high: float = 1.0, dtype: DTypeLike = np.float32
    ) -> Array:
        """Numbers of [low, high), as `Tensor.uniform_`: x·(high − low) + low.

        x = (u32 mod 2²⁴)·2⁻²⁴ in float32, (u64 mod 2⁵³)·2⁻⁵³ in float64. The bounds are rounded to
        the dtype first, the product and the sum together once; a result that reaches high is low.

        Raises
        ------
        RandomError : low > high, or a bound or the range outside the dtype
        """
        dtype = _float_dtype("uniform", dtype)
        largest = float(np.finfo(dtype).max)
        if not (-largest <= low <= high <= largest and high - low <= largest):
            raise RandomError(
                f"uniform: got low={low}, high={high}, expected low <= high, "
                f"both and their difference within {dtype}"
            )
        shape, n = _shape_and_count("uniform", shape)
        start, end = dtype.type(low), dtype.type(high)
        x: Array
        if self._compiled(n) and _fuses(dtype):
            loop = _UNIFORM[dtype.itemsize]
            return self._filled(loop, np.empty(n, dtype), end - start, start, end).reshape(shape)
        if dtype == np.float32:
            x = (self._draw(n) & _LOW_24_BITS).astype(np.float32) * np.float32(2.0**-24)
        else:
            x = (self.raw_uint64(n) & _LOW_53_BITS).astype(np.float64) * 2.0**-53
        if (start, end) != (0, 1):
            fma = fma32 if dtype == np.float32 else fma64
            x = fma(x, end - start, start)
            x[x == end] = start
        return x.reshape(shape)

    def keep_uniform(self, out: Array) -> bool:
        """`uniform` from 0 to 1 into `out`, contiguous, as a call that a plan keeps.

        Returns: as keep_dropout_mask.
        """
        if config.get_kernels() != "numba" or not _fuses(out.dtype):
            return False
        one, zero = out.dtype.type(1), out.dtype.type(0)
        self._keep(_UNIFORM[out.itemsize], out.reshape(-1), one, zero, one)
        return True

    @np.errstate(over="ignore", invalid="ignore")  # infinite mean or std: quietly, as in PyTorch
    def normal(
        self,
        shape: Shape,
        mean: float = 0.0,
        std: float = 1.0,
        dtype: DTypeLike = np.float32,
        contiguous: bool = True,
    ) -> Array:
        """Normally distributed numbers, as `Tensor.normal_`: z·std + mean, rounded once.

        Fewer than 16, in float64 and then rounded to the dtype: from two uniforms u1 and u2,
        r = √(−2·log(1 − u2)) and θ = 2π·u1 give z = r·cos θ now; r·sin θ is kept in the generator
        for the next number made in this way, whichever the dtype, until manual_seed.

        16 or more, in the dtype's precision: n uniforms, turned into normals in blocks of 16 (see
        `normals_from_uniforms`). Where 16 does not divide n, 16 more make the last 16 numbers.

        Parameters
        ----------
        contiguous : False draws as PyTorch fills a non-contiguous tensor, in the order of its
            memory: the way of fewer than 16, for any size

        Raises
        ------
        RandomError : std is negative or NaN

        Source: Box and Muller 1958, A note on the generation of random normal deviates.
        """
        dtype = _float_dtype("normal", dtype)
        if not std >= 0:
            raise RandomError(f"normal: got std={std}, expected 0 or more")
        shape, n = _shape_and_count("normal", shape)
        if n < 16 or not contiguous:
            z = np.array([self._next_normal() for _ in range(n)])
            return fma64(z, std, mean).astype(dtype).reshape(shape)
        whole = n - n % 16
        u = self.uniform(n, dtype=dtype)[:whole]
        if whole < n:
            u = np.concatenate([u, self.uniform(16, dtype=dtype)])
        normals = normals_from_uniforms(u, dtype.type(mean), dtype.type(std))
        out = np.empty(n, dtype)
        out[:whole] = normals[:whole]
        out[-16:] = normals[-16:]
        return out.reshape(shape)

    def _next_normal(self) -> float:
        if self._cached_normal is not None:
            z, self._cached_normal = self._cached_normal, None
            return z
        u1, u2 = self.uniform(2, dtype=np.float64).tolist()
        radius = math.sqrt(-2.0 * math.log1p(-u2))
        theta = 2.0 * math.pi * u1
        self._cached_normal = radius * math.sin(theta)
        return radius * math.cos(theta)

    # --- yes or no ---------------------------------------------------------------------------

    def bernoulli(
        self, shape: Shape, p: float, out: NDArray[np.bool_] | None = None
    ) -> NDArray[np.bool_]:
        """True with probability p, as `Tensor.bernoulli_(p)`: where (u64 mod 2⁵³)·2⁻⁵³ < p.

        It draws for p = 0 and p = 1 too. `out`, contiguous and of this shape, is filled and
        returned.

        Raises
        ------
        RandomError : p is not within 0 … 1
        """
        if not 0 <= p <= 1:
            raise RandomError(f"bernoulli: got p={p}, expected a probability from 0 to 1")
        shape, n = _shape_and_count("bernoulli", shape)
        below = _threshold(p)
        out = np.empty(shape, np.bool_) if out is None else out
        if self._compiled(n):
            self._filled("bernoulli", out.reshape(-1), below)
        else:
            np.less((self.raw_uint64(n) & _LOW_53_BITS).reshape(shape), below, out)
        return out

    def dropout_mask(
        self, shape: Shape, p: float, out: NDArray[np.bool_] | None = None
    ) -> NDArray[np.bool_]:
        """What `F.dropout` keeps: False with probability p, as bernoulli(1 − p).

        p = 0 gives True everywhere and p = 1 False, and neither draws. `out` as of bernoulli.

        Raises
        ------
        RandomError : p is not within 0 … 1
        """
        if not 0 <= p <= 1:
            raise RandomError(f"dropout: got p={p}, expected a probability from 0 to 1")
        if p in (0, 1):
            out = np.empty(_shape_and_count("dropout", shape)[0], np.bool_) if out is None else out
            out.fill(p == 0)
            return out
        return self.bernoulli(shape, 1 - p, out)

    def keep_dropout_mask(self, p: float, out: NDArray[np.bool_]) -> bool:
        """`dropout_mask` as a call that a plan keeps (npmlp.kernels.calls).

        Returns: whether it could be kept; where nothing is drawn, and without the compiled loops,
        it cannot.
        """
        if p in (0, 1) or config.get_kernels() != "numba":
            return False
        self._keep("bernoulli", out.reshape(-1), _threshold(1 - p))
        return True


def _threshold(p: float) -> np.uint64:
    """k·2⁻⁵³ < p as integers: k < ⌈p·2⁵³⌉, and p·2⁵³ is exact."""
    return np.uint64(math.ceil(float(p) * 2.0**53))


@functools.cache
def _fuses(dtype: np.dtype[Any]) -> bool:
    """Whether the compiled a·b + c rounds once here, as on every x86-64 since 2013 with AVX2."""
    from npmlp.kernels.random import multiply_add

    # (1 + 2ᵏ)² - 1 = 2ᵏ⁺¹ + 2²ᵏ, whose last term the rounded product has lost
    a = dtype.type(1) + dtype.type(2.0) ** (-20 if dtype == np.float32 else -40)
    x = np.full(8, a, dtype)
    multiply_add(x, a, -dtype.type(1), dtype.type(9))
    once = fma64(np.full(8, a, np.float64), float(a), -1.0).astype(dtype)
    return bool((x == once).all())


def _float_dtype(operation: str, dtype: DTypeLike) -> np.dtype[Any]:
    found = np.dtype(dtype)
    if found not in (np.float32, np.float64):
        raise DTypeError(f"{operation}: got dtype {found}, expected float32 or float64")
    return found


def _shape_and_count(operation: str, shape: Shape) -> tuple[tuple[int, ...], int]:
    """A shape, given as an integer or a sequence, as a tuple, and its number of elements."""
    dims = (shape,) if isinstance(shape, int | np.integer) else shape
    sizes = tuple(operator.index(d) for d in dims)
    if any(d < 0 for d in sizes):
        raise ShapeError(f"{operation}: got shape {sizes}, expected no negative dimension")
    return sizes, math.prod(sizes)


# --- the generator that everything draws from unless it is given another ---------------------

default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator and return it: the streams are those of `torch.manual_seed`."""
    try:
        seed = int(seed)
    except (TypeError, ValueError, OverflowError):
        raise RandomError(f"manual_seed: got {seed!r}, expected an integer") from None
    return default_generator.manual_seed(seed)


def initial_seed() -> int:
    """The seed that the default generator's stream began with."""
    return default_generator.initial_seed()


def seed() -> int:
    """Seed the default generator from the operating system, and return that seed."""
    return default_generator.seed()


def get_rng_state() -> Tensor:
    """The default generator's state, a uint8 Tensor of shape (5056,)."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor | Array) -> None:
    """Put the default generator into a state of get_rng_state, npmlp's or PyTorch's."""
    default_generator.set_state(new_state)
