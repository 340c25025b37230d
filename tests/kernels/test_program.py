"""Programs: compiled calls made by their addresses, on one thread and on several."""

from __future__ import annotations

import numpy as np
import pytest

from npmlp.kernels import program, threads
from npmlp.kernels.cache import numba
from npmlp.kernels.calls import Call
from npmlp.kernels.program import Program, compiled

pytestmark = pytest.mark.skipif(not program.AVAILABLE, reason="calls by address are for x86-64")


@numba.njit
def every_kind(
    x, shape, none, flag, count, small, large, tuple_of, y, last_flag, out, first, last
):  # fmt: skip
    for i in range(first, last):
        for j in range(out.shape[1]):
            value = x[i, j] * small + large + count * y[j] + tuple_of[0] - tuple_of[2]
            if none is not None:
                value = 0
            if flag and not last_flag:
                value += shape[0] + shape[1]
            out[i, j] = value


def arguments(dtype, layout):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((7, 9)).astype(dtype)
    x = {"C": x, "F": np.asfortranarray(x), "A": np.repeat(x, 2, 1)[:, ::2]}[layout]
    y = rng.standard_normal(9)
    return x, (3, 4), None, True, -5, np.float32(1.5), 0.25, (7, 8, 9), y, False


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", ["C", "F", "A"])
def test_arguments_of_every_kind_arrive(dtype, layout):
    given = arguments(dtype, layout)
    out, expected = np.zeros((7, 9)), np.zeros((7, 9))
    every_kind(*given, expected, 0, 7)
    call = Call(every_kind, (*given, out), (0, 7))
    assert compiled(call)
    Program([call], 1)()
    assert out.tobytes() == expected.tobytes()


@numba.njit
def gives(x):
    return x[0] + 1


@numba.njit
def refuses(x):
    if x[0] > 0:
        raise ValueError("no")


@numba.njit
def doubles(x):
    x[0] *= 2


def test_a_kernel_that_raises_ends_the_program_with_its_own_error():
    x = np.ones(3)
    run = Program([Call(gives, (x,)), Call(refuses, (x,)), Call(doubles, (x,))], 1)
    with pytest.raises(ValueError, match=r"^no$"):
        run()
    assert x[0] == 1
    x[0] = -1
    run()
    assert x[0] == -2


@numba.njit
def neighbours(x, out, first, last):
    """Each entry from two that other threads may have written."""
    n = x.size
    for i in range(first, last):
        out[i] = (x[(i + n // 2) % n] + x[n - 1 - i]) % 1000 + 1


@numba.njit
def rotate(x, first, last):
    """Alone: it reads and writes everything."""
    kept = x[0]
    for i in range(x.size - 1):
        x[i] = x[i + 1]
    x[x.size - 1] = kept


def chain(divided):
    a, b = np.arange(64.0), np.zeros(64)
    shares = ((0, 32), (32, 64)) if divided else ()
    calls = []
    for _ in range(25):
        calls += [
            Call(neighbours, (a, b), (0, 64), shares), Call(rotate, (b,), (0, 64)),
            Call(neighbours, (b, a), (0, 64), shares),
        ]  # fmt: skip
    return calls, a, b


def expected_of_chain(times):
    calls, a, b = chain(divided=False)
    for _ in range(times):
        for call in calls:
            call.make()
    return a.tobytes() + b.tobytes()


@pytest.fixture
def two_threads():
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("a processor with one core")
    assert threads.take()
    before = numba.get_num_threads()
    numba.set_num_threads(2)
    yield
    numba.set_num_threads(before)
    threads.give_back()


def test_a_call_sees_what_all_threads_have_done_before(two_threads):
    calls, a, b = chain(divided=True)
    run = Program(calls, 2)
    for _ in range(200):
        run()
    assert a.tobytes() + b.tobytes() == expected_of_chain(200)


def test_a_thread_that_nobody_joins_does_it_all():
    calls, a, b = chain(divided=True)
    run = Program(calls, 2)
    none = np.zeros((2, 0), np.int64)
    for _ in range(3):
        run._common[:] = 0
        program._one_program(run.codes, 0, run._common, none)
        program._one_program(run.codes, 1, run._common, none)  # too late: it must not do it again
    assert a.tobytes() + b.tobytes() == expected_of_chain(3)


def test_the_times_are_those_of_the_calls(two_threads):
    calls, *_ = chain(divided=True)
    for run in (Program(calls, 1), Program(calls, 2)):
        each, besides = run.seconds()
        assert len(each) == len(calls)
        assert all(0 <= t < 1 for t in each) and sum(each) > 0 and besides >= 0


def test_an_input_is_read_where_it_lies():
    x, other, out = np.arange(6.0), np.arange(6.0) * 10, np.zeros(6)
    whole, part = Call(neighbours, (x, out), (0, 6)), Call(neighbours, (x[2:], out[2:]), (0, 4))
    run = Program([whole, part], 1)
    places = run.places_of(x)
    assert [offset for _, _, offset in places] == [0, 16]
    for code, at, offset in places:
        code[at] = other.ctypes.data + offset
    run()
    expected = np.zeros(6)
    neighbours(other, expected, 0, 6)
    neighbours(other[2:], expected[2:], 0, 4)
    assert out.tobytes() == expected.tobytes()


def test_what_cannot_be_passed_on_is_refused():
    @numba.njit
    def takes(x):
        pass

    with pytest.raises(TypeError, match="cannot pass on a str"):
        Program([Call(takes, ("text",))], 1)


@numba.njit
def refuses_in(x, which, first, last):
    if first <= which[0] < last:
        raise ValueError("no")


@pytest.mark.parametrize("many", [1, 2])
@pytest.mark.parametrize("which", [0, 63])
def test_a_portion_that_raises_ends_all_threads_programs(two_threads, which, many):
    """At the same place whichever thread it was, and again and again."""
    x, out, counter = np.arange(64.0), np.zeros(64), np.ones(1)
    wanted = np.array([-1])
    shares = ((0, 32), (32, 64))
    calls = [
        Call(neighbours, (x, out), (0, 64), shares), Call(doubles, (counter,)),
        Call(refuses_in, (out, wanted), (0, 64), shares), Call(doubles, (counter,)),
        Call(neighbours, (out, x), (0, 64), shares), Call(doubles, (counter,)),
    ]  # fmt: skip
    run = Program(calls, many)
    for _ in range(100):
        x[:] = np.arange(64)
        counter[0], wanted[0] = 1, which
        with pytest.raises(ValueError, match=r"^no$"):
            run()
        assert counter[0] == 2
        assert x.tobytes() == np.arange(64.0).tobytes()
        wanted[0] = -1
        run()
        assert counter[0] == 2 * 8
    assert x.tobytes() != np.arange(64.0).tobytes()
