"""Whether operations are recorded is each thread's own setting, beside torch."""

from __future__ import annotations

import threading

import pytest
from beside_torch import LIBRARIES

NAMES = [library.__name__ for library in LIBRARIES]


@pytest.mark.parametrize("lib", LIBRARIES, ids=NAMES)
def test_a_thread_begun_under_no_grad_records(lib) -> None:
    seen = []

    def work() -> None:
        x = lib.ones(2, requires_grad=True)
        seen.extend([lib.is_grad_enabled(), (x * 3).requires_grad])

    with lib.no_grad():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert not lib.is_grad_enabled()
    assert seen == [True, True]


@pytest.mark.parametrize("lib", LIBRARIES, ids=NAMES)
def test_no_grad_in_one_thread_leaves_another_recording(lib) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def work() -> None:
        with lib.no_grad():
            entered.set()
            go_on.wait(60)

    thread = threading.Thread(target=work)
    thread.start()
    entered.wait(60)
    assert (lib.ones(2, requires_grad=True) * 3).requires_grad
    go_on.set()
    thread.join()
    assert lib.is_grad_enabled()


@pytest.mark.parametrize("lib", LIBRARIES, ids=NAMES)
def test_set_grad_enabled_holds_from_now_on_or_until_the_end_of_with(lib) -> None:
    lib.set_grad_enabled(False)
    assert not lib.is_grad_enabled()
    with lib.set_grad_enabled(True):
        assert lib.is_grad_enabled()
        with lib.set_grad_enabled(False):
            assert not lib.is_grad_enabled()
        assert lib.is_grad_enabled()
    assert not lib.is_grad_enabled()
    lib.set_grad_enabled(True)
    assert lib.is_grad_enabled()


@pytest.mark.parametrize("lib", LIBRARIES, ids=NAMES)
def test_set_grad_enabled_decorates_a_function_alone(lib) -> None:
    @lib.set_grad_enabled(False)
    def inside() -> bool:
        return lib.is_grad_enabled()

    assert lib.is_grad_enabled()
    assert not inside()
    assert lib.is_grad_enabled()


@pytest.mark.parametrize("lib", LIBRARIES, ids=NAMES)
def test_inference_mode_is_a_context_and_a_decorator(lib) -> None:
    x = lib.ones(2, requires_grad=True)
    with lib.inference_mode():
        assert not (x * 2).requires_grad
        with lib.inference_mode(False):
            assert (x * 2).requires_grad
        assert not lib.is_grad_enabled()
    with lib.no_grad(), lib.inference_mode(mode=False):
        assert lib.is_grad_enabled()

    @lib.inference_mode()
    def decorated() -> bool:
        return (x * 2).requires_grad

    @lib.inference_mode
    def bare() -> bool:
        return (x * 2).requires_grad

    assert not decorated() and not bare()
    assert lib.is_grad_enabled()
