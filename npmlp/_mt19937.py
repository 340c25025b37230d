"""The stream under every random number: MT19937 from a seed, as PyTorch's CPU generator runs it.

Seeding, the draws of 32 and 64 bits, and the state in PyTorch's own layout of 5,056 bytes, so that
each of the two can go on where the other stopped.
"""

from __future__ import annotations

import functools
import importlib
import operator
import os
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from npmlp import config
from npmlp.errors import CheckpointError, DTypeError, NpmlpError
from npmlp.recording import cannot

if TYPE_CHECKING:
    from npmlp.tensor import Tensor

Array = NDArray[Any]

DEFAULT_SEED = 67280421310721  # of a generator that nobody has seeded
_WORDS = 624  # 32-bit words in the state of MT19937
_COMPILE_FROM = 2048  # numbers; for fewer, compiled loops are not worth loading

# PyTorch's layout of a generator's state. `next` is the index of the word that comes, and left − 1
# words remain before all are renewed; right after seeding left is 1 and next 0, later next is
# 625 − left. The cached normal is the second one of a pair (see Generator.normal).
_STATE = np.dtype(
    {
        "names": ["seed", "left", "seeded", "next", "words", "cached_normal", "has_cached_normal"],
        "formats": ["<u8", "<i4", "<i4", "<u8", ("<u8", _WORDS), "<f8", "<i4"],
        "offsets": [0, 8, 12, 16, 24, 5024, 5040],
        "itemsize": 5056,
    }
)


class RandomError(NpmlpError, ValueError, RuntimeError):
    """A seed, range or probability that cannot be drawn from (PyTorch raises either of the two)."""


class MersenneTwister:
    """A stream of 32-bit integers, with the one cached normal that is part of PyTorch's state.

    NumPy's MT19937 makes the integers, from words that are set here: its own way to seed differs.
    Source: Matsumoto and Nishimura 1998, Mersenne Twister.
    """

    def __init__(self) -> None:
        self._bits = np.random.MT19937(0)  # its words are replaced at once
        self.manual_seed(DEFAULT_SEED)

    # --- seed and state ----------------------------------------------------------------------

    def manual_seed(self, seed: int) -> Self:
        """Start the stream of `seed` from its beginning, and forget a cached normal.

        Only the low 32 bits matter: words[0] = seed and
        words[i] = 1812433253·(words[i−1] ^ (words[i−1] >> 30)) + i.

        Parameters
        ----------
        seed : from −2⁶³ to 2⁶⁴ − 1; a negative one is taken in two's complement

        Raises
        ------
        RandomError : not an integer, or outside that range

        Source: Knuth, The Art of Computer Programming 2, section 3.3.4 (3rd edition, p. 106).
        """
        try:
            if isinstance(seed, bool):
                raise TypeError
            value = operator.index(seed)
        except TypeError:
            raise RandomError(f"manual_seed: got {seed!r}, expected an integer") from None
        if not -(2**63) <= value < 2**64:
            raise RandomError(f"manual_seed: got {value}, expected a seed from −2⁶³ to 2⁶⁴ − 1")
        word = value & 0xFFFFFFFF
        words = [word]
        for i in range(1, _WORDS):
            word = (1812433253 * (word ^ (word >> 30)) + i) & 0xFFFFFFFF
            words.append(word)
        self._seed = value & 0xFFFFFFFFFFFFFFFF
        self._cached_normal: float | None = None
        self._set_words(np.array(words, np.uint32), _WORDS)
        self._fresh = True
        return self

    def initial_seed(self) -> int:
        """The seed that this stream began with, as an unsigned 64-bit number."""
        return self._seed

    def seed(self) -> int:
        """Seed with 64 bits of the operating system's randomness, and return them."""
        self.manual_seed(int.from_bytes(os.urandom(8), "little"))
        return self._seed

    def get_state(self) -> Tensor:
        """The state as a uint8 Tensor, shape (5056,), in PyTorch's own layout."""
        from npmlp import from_numpy

        return from_numpy(self.state_bytes())

    def set_state(self, state: Tensor | Array) -> Self:
        """Go on from a state of `get_state`, npmlp's or PyTorch's; see load_state_bytes."""
        self.load_state_bytes(state if isinstance(state, np.ndarray) else state.numpy())
        return self

    def state_bytes(self) -> NDArray[np.uint8]:
        """The state in PyTorch's layout, shape (5056,)."""
        mt = self._bits.state["state"]
        record = np.zeros((), _STATE)
        record["seed"], record["words"] = self._seed, mt["key"]
        record["seeded"] = 1
        record["left"] = 1 if mt["pos"] == _WORDS else _WORDS + 1 - mt["pos"]
        record["next"] = 0 if self._fresh else mt["pos"]
        if self._cached_normal is not None:
            record["cached_normal"], record["has_cached_normal"] = self._cached_normal, 1
        return np.frombuffer(record.tobytes(), np.uint8).copy()

    def load_state_bytes(self, state: Array) -> None:
        """Go on from the state that `state_bytes` gave; a bad one raises and changes nothing.

        Raises
        ------
        DTypeError : not uint8
        CheckpointError : another shape than (5056,), or counters that no generator can have
        """
        state = np.asarray(state)
        if state.dtype != np.uint8:
            raise DTypeError(f"set_state: got dtype {state.dtype}, expected uint8 from get_state()")
        if state.shape != (_STATE.itemsize,):
            raise CheckpointError(
                f"set_state: got shape {state.shape}, expected ({_STATE.itemsize},), "
                f"a state from get_state() of a CPU generator"
            )
        record = np.frombuffer(state.tobytes(), _STATE)[0]
        left, following = int(record["left"]), int(record["next"])
        fresh = (left, following) == (1, 0)
        running = 1 <= left <= _WORDS and following == _WORDS + 1 - left
        if not (record["seeded"] and (fresh or running) and (record["words"] < 2**32).all()):
            raise CheckpointError(
                f"set_state: the {_STATE.itemsize} bytes are not the state of an MT19937 generator "
                f"(left = {left}, next = {following}); they may be damaged, or of another device"
            )
        self._seed = int(record["seed"])
        cached = float(record["cached_normal"])
        self._cached_normal = cached if record["has_cached_normal"] else None
        self._set_words(record["words"].astype(np.uint32), _WORDS if left == 1 else following)
        self._fresh = fresh

    def _set_words(self, words: NDArray[np.uint32], position: int) -> None:
        self._bits.state = {"bit_generator": "MT19937", "state": {"key": words, "pos": position}}

    # --- draws -------------------------------------------------------------------------------

    def raw_uint32(self, n: int) -> NDArray[np.uint32]:
        """The next n draws, shape (n,)."""
        if self._compiled(n):
            return self._filled("draw", np.empty(n, np.uint32))
        return self._draw(n).astype(np.uint32)

    def raw_uint64(self, n: int) -> NDArray[np.uint64]:
        """The next 2·n draws as 64-bit numbers, the first of two in the high word, shape (n,)."""
        pairs = self._draw(2 * n)
        return (pairs[0::2] << np.uint64(32)) | pairs[1::2]

    def _draw(self, n: int) -> NDArray[np.uint64]:
        """n draws of 32 bits, by NumPy; here and in `_filled` the stream moves."""
        if n:
            self._fresh = False
            cannot("random numbers other than a dropout mask are drawn")
        return self._bits.random_raw(n)

    def _compiled(self, n: int) -> bool:
        """Whether n numbers come from the compiled loops."""
        return n >= _COMPILE_FROM and config.get_kernels() == "numba"

    def _filled(self, loop: str, out: Array, *arguments: Any) -> Array:
        """`out`, filled by a compiled loop of npmlp.kernels.random with the same draws."""
        cannot("random numbers other than a dropout mask are drawn")
        compiled = _compiled_loop(loop)
        self._fresh = False
        with self._bits.lock:
            compiled(self._memory(), out, *arguments)
        return out

    def will_draw(self) -> None:
        """A call that was kept is going to draw."""
        self._fresh = False

    def _keep(self, loop: str, out: Array, *arguments: Any) -> None:
        """`_filled` as a call that a plan keeps. While it runs no other thread of Python does."""
        from npmlp.kernels.calls import call

        call(_compiled_loop(loop), self._memory(), out, *arguments)

    def _memory(self) -> NDArray[np.uint32]:
        """The state where NumPy keeps it, shape (625,): the words, then the position.

        It is looked up at each use, since a copy of this generator has memory of its own.
        """
        import ctypes

        address: Any = self._bits.ctypes.state_address
        place: Any = (ctypes.c_uint32 * (_WORDS + 1)).from_address(address)
        return np.frombuffer(place, np.uint32)


@functools.cache
def _compiled_loop(name: str) -> Any:
    return getattr(importlib.import_module("npmlp.kernels.random"), name)
