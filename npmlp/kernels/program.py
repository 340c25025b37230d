"""A list of compiled calls, made by one compiled loop on all threads at once.

Called from Python, a kernel costs a microsecond before it has done anything, and to wake threads
for it costs more: too much for the small kernels of a small network. A plan knows its calls ahead.
So each thread is given a program, a list of numbers in memory:

    a function's address, then its arguments as the machine passes them         a call
    0                                                                           a barrier
    -1                                                                          the end

Thread t makes the calls of its own program: of a kernel that is divided, the call for its portion;
of one that is not, thread 0 makes the call and the others have none. Where a call may need what
another thread has made, all programs have a barrier: each thread waits there until all have come.
It asks again and again, which takes some tenths of a microsecond when all are at work.

The threads are those of Numba's `prange`, one iteration each. If the system gives fewer, or one
comes too late, thread 0 makes the calls of all programs, up to each barrier one after another: no
portion needs another, and the bits are the same.

How a function is called by its address, by_address.py says.
"""

from __future__ import annotations

import functools
import platform
import struct
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numba import typeof
from numba.core.dispatcher import Dispatcher

from npmlp.kernels.by_address import (
    FLOATING,
    HEAD,
    WHOLE,
    add,
    call_at,
    clock,
    give_way,
    look,
    pause,
    put,
)
from npmlp.kernels.cache import njit, numba, prange
from npmlp.kernels.calls import Call

Array = np.ndarray[Any, np.dtype[Any]]

AVAILABLE = (
    sys.platform in ("linux", "darwin")
    and platform.machine() in ("x86_64", "AMD64")
    and not numba.config.DISABLE_JIT
)
"""Whether calls are made so on this system; elsewhere Python makes them, to the same bits."""

_BARRIER, _END = 0, -1
_STACKS = (0, 16, 32, 48, 64, 96, 128)  # words on the stack, of which a call takes the next size


# ---------------------------------------------------------------------------------- the loops
#
# The threads' common words, each in a cache line of its own.
_ARRIVED, _DECISION, _BARRIERS, _FAILED, _WHERE = 0, 8, 16, 24, 32
_TOGETHER, _ALONE = 1, 2  # the decision
_PATIENCE = 3000  # pauses, some 100 µs: so long thread 0 waits for the others to begin
_ASKS = 2000  # pauses at a barrier before a thread lets other programs run


@njit()
def _follow(codes: Array, t: int, at: int, barriers: int, common: Array, stamps: Array) -> int:
    """Make the calls of program t up to the next barrier, `barriers` of which it has passed.

    After one that raised there are no more: it is noted how many barriers end what all threads do,
    and where the call is. Returns: where the program goes on after the barrier, -1 at its end.
    `stamps`: for each call of the program the clock after it, if there is room.
    """
    code, good = codes[t], True
    while code[at] != _END:
        if code[at] == _BARRIER:
            return at + 1
        stack = code[at + 1]
        if not good:
            at += HEAD + stack
            continue
        status: Any
        if stack <= 16:
            status = call_at(code, at, 16) if stack > 0 else call_at(code, at, 0)  # type: ignore[call-arg]
        elif stack <= 48:
            status = call_at(code, at, 48) if stack > 32 else call_at(code, at, 32)  # type: ignore[call-arg]
        elif stack <= 64:
            status = call_at(code, at, 64)  # type: ignore[call-arg]
        else:
            status = call_at(code, at, 128) if stack > 96 else call_at(code, at, 96)  # type: ignore[call-arg]
        if status != 0:
            put(common, _WHERE, t * code.size + at + 1)  # type: ignore[call-arg]
            put(common, _FAILED, barriers + 1)
            good = False
        at += HEAD + stack
        _stamp(stamps)
    return -1


@njit()
def _stamp(stamps: Array) -> None:
    """Write down what the clock shows now, if there is room: stamps[0] counts what follows it."""
    if stamps.size:
        stamps[0] += 1
        stamps[stamps[0]] = clock()


@njit()
def _wait(common: Array, at: int, least: int) -> None:
    """Until common[at] is `least` or more."""
    asked = 0
    while look(common, at) < least:  # type: ignore[call-arg]
        asked += 1
        if asked < _ASKS:
            pause()
        else:
            give_way()


@njit()
def _decide(common: Array, parties: int) -> bool:
    """Thread 0: whether all others have come."""
    for _ in range(_PATIENCE):
        if look(common, _ARRIVED) == parties - 1:  # type: ignore[call-arg]
            put(common, _DECISION, _TOGETHER)
            return True
        pause()
    put(common, _DECISION, _ALONE)  # type: ignore[call-arg]
    return False


@njit()
def _all_programs(codes: Array, common: Array, stamps: Array) -> None:
    """On one thread: of each program the calls up to a barrier, in turn; then up to the next."""
    at, barriers = np.zeros(codes.shape[0], np.int64), 0
    _stamp(stamps[0])
    while True:
        for t in range(codes.shape[0]):
            at[t] = _follow(codes, t, at[t], barriers, common, stamps[t])
        barriers += 1
        if at[0] < 0 or look(common, _FAILED) != 0:  # type: ignore[call-arg]
            return
        _stamp(stamps[0])


@njit()
def _one_program(codes: Array, t: int, common: Array, stamps: Array) -> None:
    """Thread t of all."""
    parties = codes.shape[0]
    if t == 0:
        if not _decide(common, parties):
            _all_programs(codes, common, stamps)
            return
    else:
        add(common, _ARRIVED, 1)  # type: ignore[call-arg]
        _wait(common, _DECISION, _TOGETHER)
        if look(common, _DECISION) == _ALONE:
            return
    at, barriers = 0, 0
    _stamp(stamps[t])
    while True:
        at = _follow(codes, t, at, barriers, common, stamps[t])
        if at < 0:
            return
        barriers += 1
        add(common, _BARRIERS, 1)  # type: ignore[call-arg]
        _wait(common, _BARRIERS, barriers * parties)
        # one who is ahead may have failed after this barrier: then all go on to the next
        if 0 < look(common, _FAILED) <= barriers:
            return
        _stamp(stamps[t])


@njit(parallel=True)
def _on_threads(codes: Array, common: Array, stamps: Array) -> int:
    """All programs, each on its thread. Returns: 0, or of a call that raised its word, plus 1."""
    common[:] = 0
    for t in prange(codes.shape[0]):
        _one_program(codes, np.int64(t), common, stamps)
    return int(look(common, _WHERE))  # type: ignore[call-arg]


@njit()
def _alone(codes: Array, common: Array, stamps: Array) -> int:
    """All programs on this thread. Returns: as `_on_threads`."""
    common[:] = 0
    _all_programs(codes, common, stamps)
    return int(look(common, _WHERE))  # type: ignore[call-arg]


@njit()
def _tick() -> int:
    return clock()


@functools.cache
def _seconds_per_tick() -> float:
    """Of the processor's clock, whose rate is fixed and written nowhere."""
    ticks, began = _tick(), time.perf_counter()
    while time.perf_counter() < began + 0.02:
        pass
    return (time.perf_counter() - began) / (_tick() - ticks)


# --------------------------------------------------------------------------- calls as numbers


def compiled(call: Call) -> bool:
    """Whether a call can be part of a program: its function is compiled."""
    return AVAILABLE and isinstance(call.function, Dispatcher)


class _Words:
    """The arguments of one call, as the convention sorts them."""

    def __init__(self) -> None:
        self.whole: list[int] = []
        self.floating: list[int] = []
        self.arrays: list[tuple[int, int]] = []  # the number of a word, and the address in it

    def add(self, value: Any) -> None:
        """Append an argument."""
        if isinstance(value, np.ndarray):
            address = value.__array_interface__["data"][0]
            self.arrays.append((len(self.whole) + 4, address))
            self.whole += [0, 0, value.size, value.itemsize, address, *value.shape, *value.strides]
        elif isinstance(value, tuple):
            for part in value:
                self.add(part)
        elif value is None:
            self.whole.append(0)
        elif isinstance(value, (float, np.float64)):
            self.floating.append(*struct.unpack("q", struct.pack("d", value)))
        elif isinstance(value, np.float32):
            self.floating.append(*struct.unpack("q", struct.pack("fxxxx", value)))
        elif isinstance(value, (bool, int, np.integer, np.bool_)):
            self.whole.append(int(value))
        else:
            raise TypeError(f"a program cannot pass on a {type(value).__name__}")


def _address(function: Any, arguments: tuple[Any, ...]) -> int:
    """Where the code for such arguments is; it is compiled, or loaded, if it has to be."""
    signature = tuple(typeof(a) for a in arguments)
    function.compile(signature)
    compiled_for = function.overloads[signature]
    name = compiled_for.fndesc.llvm_func_name
    return int(compiled_for.library.get_pointer_to_function(name))


class Program:
    """Calls that are made one after another, each as if the one before had ended.

    Parameters: `calls`, of which `compiled` is true; `threads`, for how many; `before_error`, which
    is called before a call that raised is made once more, from Python: whoever has given the
    programs other addresses puts into the calls' own arrays what is there.
    """

    def __init__(
        self, calls: Sequence[Call], threads: int, before_error: Callable[[], None] = lambda: None
    ) -> None:
        if not any(len(call.shares) > 1 for call in calls):
            threads = 1  # the others would have nothing to do
        self._before_error = before_error
        self.calls = calls  # and with them all arrays, whose addresses alone are in the programs
        self._place = np.zeros(8 * 8, np.int64)  # for results and errors, and a cache line between
        self._common = np.zeros(8 * 8, np.int64)
        self._nothing = np.zeros((threads, 0), np.int64)
        self._arrays: list[tuple[int, int, int]] = []  # program, place and address of each
        codes: list[list[int]] = [[] for _ in range(threads)]
        self._begins: list[dict[int, int]] = [{} for _ in range(threads)]  # a word, and its call
        self.failed = 0  # the number of the call that raised last
        self._order: list[int] = []  # of the clock's readings in thread 0, for which call each is
        before = True  # whether thread 0 alone has been at work since the last barrier
        for i, call in enumerate(calls):
            divided = threads > 1 and len(call.shares) > 1
            if codes[0] and (divided or not before):
                for code in codes:
                    code.append(_BARRIER)
                self._order.append(i - 1)
            self._order.append(i)
            for t, share in enumerate(call.shares if divided else (call.whole,)):
                words, places = self._call(call, share)
                self._begins[t][len(codes[t])] = i
                self._arrays += [(t, len(codes[t]) + at, address) for at, address in places]
                codes[t] += words
            before = not divided
        length = max(map(len, codes)) + 1
        self._run = _on_threads if threads > 1 else _alone
        self.codes = np.full((threads, length), _END, np.int64)
        for row, code in zip(self.codes, codes, strict=True):
            row[: len(code)] = code

    def places_of(self, array: Array) -> list[tuple[Array, int, int]]:
        """Where the programs have the address of an array, or of a view of its memory: as (program,
        number of the word, bytes from the array's beginning).
        """
        begin = array.__array_interface__["data"][0]
        return [
            (self.codes[t], at, address - begin)
            for t, at, address in self._arrays
            if begin <= address < begin + max(1, array.nbytes)
        ]

    def _call(self, call: Call, share: tuple[int, ...]) -> tuple[list[int], list[tuple[int, int]]]:
        """A call's words, and where among them arrays' addresses are."""
        arguments = (*call.arguments, *share)
        words = _Words()
        result = self._place.__array_interface__["data"][0]
        words.whole += [result, result + 64]
        for argument in arguments:
            words.add(argument)
        stack = next(s for s in _STACKS if s >= len(words.whole) - WHOLE)
        if len(words.floating) > FLOATING:
            raise TypeError("a program passes on eight floating-point numbers at most")
        code = [
            _address(call.function, arguments),
            stack,
            *words.floating, *[0] * (FLOATING - len(words.floating)),
            *words.whole, *[0] * (WHOLE + stack - len(words.whole)),
        ]  # fmt: skip
        return code, [(2 + FLOATING + at, address) for at, address in words.arrays]

    def __call__(self) -> None:
        """Make the calls. Whoever does so has the threads (threads.take).

        Raises: what a kernel raises, after which no more are called but those of other threads up
        to the next barrier.
        """
        self.failed = 0  # an interrupt comes before all of the calls, or after
        where = self._run(self.codes, self._common, self._nothing)
        self.failed = len(self.calls) - 1
        if where:
            self._raise(*divmod(where - 1, self.codes.shape[1]))

    def _raise(self, t: int, at: int) -> None:
        """The error of a call: made from Python once more, it says which."""
        self.failed = self._begins[t][at]
        call = self.calls[self.failed]
        self._before_error()
        call.function(*call.arguments, *call.whole)
        raise RuntimeError(f"{call.function.__name__} raised an error in a plan, and then did not")

    def seconds(self) -> tuple[list[float], float]:
        """Make the calls. Returns: how long each took, and what it took besides to begin and end.

        That all threads have to meet after a call is part of its time.
        """
        stamps = np.zeros((len(self.codes), 2 * len(self.calls) + 2), np.int64)
        began = time.perf_counter()
        self._run(self.codes, self._common, stamps)
        whole = time.perf_counter() - began
        passed = np.diff(stamps[0, 1 : stamps[0, 0] + 1]) * _seconds_per_tick()
        taken = [0.0] * len(self.calls)
        for i, seconds in zip(self._order, passed, strict=True):
            taken[i] += float(seconds)
        return taken, max(0.0, whole - sum(taken))
