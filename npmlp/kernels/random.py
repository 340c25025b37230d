"""Random numbers in bulk: the draws of MT19937, what becomes of them, and the loop of randperm.

`state`, shape (625,), is the generator's own memory, the 624 words w and then the position of the
word that comes; the draws move it on. The draws are those of `MersenneTwister._draw` in NumPy, ten
times as fast: all 624 words are renewed in vectors, and numbers are made of them while they are in
the first-level cache.

Source: Matsumoto and Nishimura 1998, Mersenne Twister.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from npmlp.kernels.cache import njit
from npmlp.kernels.vectors import wide

Array = np.ndarray[Any, np.dtype[Any]]
Words = NDArray[np.uint32]

_WORDS, _SHIFT = 624, 397
_PIECE = 1024  # numbers that are made at a time: their draws, 8 kB, stay in the cache
_UPPER, _LOWER, _TWIST = np.uint32(0x80000000), np.uint32(0x7FFFFFFF), np.uint32(0x9908B0DF)


@njit(cache=True)
def draw(state: Words, out: Words) -> None:
    """The next draws, as many as `out` takes."""
    words = state[:_WORDS]
    position: Any = np.int64(state[_WORDS])  # unsigned, the sums below would be floats
    done = 0
    while done < out.size:
        if position == _WORDS:
            _renew(words)
            position = 0
        n = min(_WORDS - position, out.size - done)
        _temper(words[position:], out[done : done + n])
        position += n
        done += n
    state[_WORDS] = position


@njit(cache=True)
def _renew(w: Words) -> None:
    """w[i] ← w[i + 397] ^ twist(upper bit of w[i], the others of w[i + 1]), indices modulo 624.

    A renewed word is read again 227 words later at the earliest, so the compiler computes 8 or 16
    of them at once.
    """
    wide()  # type: ignore[call-arg]
    for i in range(_WORDS - _SHIFT):
        w[i] = w[i + _SHIFT] ^ _twist(w[i], w[i + 1])
    for i in range(_WORDS - _SHIFT, _WORDS - 1):
        w[i] = w[i + _SHIFT - _WORDS] ^ _twist(w[i], w[i + 1])
    w[_WORDS - 1] = w[_SHIFT - 1] ^ _twist(w[_WORDS - 1], w[0])


@njit(cache=True)
def _twist(word: np.uint32, following: np.uint32) -> Any:
    y = (word & _UPPER) | (following & _LOWER)
    return (y >> np.uint32(1)) ^ (_TWIST if y & np.uint32(1) else np.uint32(0))


@njit(cache=True)
def _temper(words: Words, out: Words) -> None:
    """Draws are the words with their bits mixed, which makes up for the simple recurrence."""
    for i in range(out.size):
        out[i] = _tempered(words[i])


@njit(cache=True)
def _tempered(y: np.uint32) -> Any:
    y ^= y >> np.uint32(11)
    y ^= (y << np.uint32(7)) & np.uint32(0x9D2C5680)
    y ^= (y << np.uint32(15)) & np.uint32(0xEFC60000)
    return y ^ (y >> np.uint32(18))


# ------------------------------------------------------------------------- what draws are made into


@njit(cache=True)
def _low_53_bits(pairs: Words, i: int) -> Any:
    """The i-th number of 53 bits: two draws, the first one higher, less their 11 highest bits."""
    high = np.uint64(pairs[2 * i] & np.uint32(2**21 - 1))
    return (high << np.uint64(32)) | np.uint64(pairs[2 * i + 1])


@njit(cache=True)
def uniform_32(
    state: Words, out: NDArray[np.float32], span: np.float32, low: np.float32, high: np.float32
) -> None:
    """(u32 mod 2²⁴) · 2⁻²⁴ · span + low"""
    draws = np.empty(_PIECE, np.uint32)
    for start in range(0, out.size, _PIECE):
        to = out[start : start + _PIECE]
        draw(state, draws[: to.size])
        for i in range(to.size):
            to[i] = np.float32(draws[i] & np.uint32(2**24 - 1)) * np.float32(2.0**-24)
        multiply_add(to, span, low, high)


@njit(cache=True)
def uniform_64(
    state: Words, out: NDArray[np.float64], span: np.float64, low: np.float64, high: np.float64
) -> None:
    """(u64 mod 2⁵³) · 2⁻⁵³ · span + low"""
    pairs = np.empty(2 * _PIECE, np.uint32)
    for start in range(0, out.size, _PIECE):
        to = out[start : start + _PIECE]
        draw(state, pairs[: 2 * to.size])
        for i in range(to.size):
            to[i] = np.float64(_low_53_bits(pairs, i)) * 2.0**-53
        multiply_add(to, span, low, high)


# contract alone of the flags of fastmath: the product and the sum become the one instruction that
# rounds once, which is what PyTorch computes. random.py asks first whether the processor has it
@njit(cache=True, fastmath={"contract"})
def multiply_add(x: Array, span: Any, low: Any, high: Any) -> None:
    """x ← x · span + low in place, rounded once; what reaches high is low."""
    for i in range(x.size):
        value = x[i] * span + low
        x[i] = low if value == high else value


@njit(cache=True)
def bernoulli(state: Words, out: NDArray[np.bool_], below: np.uint64) -> None:
    """u64 mod 2⁵³ < below

    Of a number's two draws the first is its higher half, which decides unless it is that of
    `below`: once in two million times. So the second is not even tempered, and halves are compared.
    """
    words = state[:_WORDS]
    position: Any = np.int64(state[_WORDS])
    done = 0
    while done < out.size:
        if position == _WORDS:
            _renew(words)
            position = 0
        pairs = min((_WORDS - position) // 2, out.size - done)
        if pairs > 0:
            these = words[position : position + 2 * pairs]
            if position % 2:  # no address for numbers of 64 bits
                these = these.copy()
            _below(these, out[done : done + pairs], below)
            position += 2 * pairs
            done += pairs
        else:  # one word is left, and its partner comes after all are renewed
            pair = np.empty(2, np.uint32)
            pair[0] = words[position]
            _renew(words)
            pair[1] = words[0]
            position = 1
            _below(pair, out[done : done + 1], below)
            done += 1
    state[_WORDS] = position


@njit(cache=True)
def _below(words: Words, out: NDArray[np.bool_], below: np.uint64) -> None:
    """For words in pairs, before they are tempered.

    A pair is read as one number of 64 bits, whose lower half is the first word, so that no vector
    has to be sorted into first and second ones.
    """
    wide()  # type: ignore[call-arg]
    high = below >> np.uint64(32)
    undecided = np.uint64(0)
    pairs = words.view(np.uint64)
    for i in range(out.size):
        half = _tempered_half(pairs[i])
        out[i] = half < high
        undecided |= np.uint64(half == high)
    if undecided:
        low = np.uint32(below & np.uint64(2**32 - 1))
        for i in range(out.size):
            if _tempered_half(pairs[i]) == high:
                out[i] = _tempered(words[2 * i + 1]) < low


@njit(cache=True)
def _tempered_half(pair: np.uint64) -> Any:
    """`_tempered` of the lower 32 bits, and of that the lowest 21: where a 53-bit number begins."""
    y = pair & np.uint64(0xFFFFFFFF)
    y ^= y >> np.uint64(11)
    y ^= (y << np.uint64(7)) & np.uint64(0x9D2C5680)
    y ^= (y << np.uint64(15)) & np.uint64(0xEFC60000)
    return (y ^ (y >> np.uint64(18))) & np.uint64(2**21 - 1)


@njit(cache=True)
def shuffle(draws: Words, out: NDArray[np.int64]) -> None:
    """Shuffle `out`, shape (N,), in place: element i changes places with one of i … N−1.

    `draws`, shape (N − 1,), says which: the one that is `draws[i] mod (N − i)` places further.
    Oracle: the loop in `npmlp.random.Generator.randperm`. One swap after another is what NumPy
    cannot do in bulk.
    """
    n = out.size
    for i in range(n - 1):
        j = i + np.int64(draws[i] % np.uint32(n - i))
        out[i], out[j] = out[j], out[i]
