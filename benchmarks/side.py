"""A side of a comparison is a process of its own, which computes when it is told to.

`Side` is the end that asks, `serve` the end that answers: a JSON object a line, on stdin and
stdout. So no library shares a process, its threads or its memory with one that it is compared with.
Nor does it share a core: while it is not asked, a side is stopped (SIGSTOP). The threads of
OpenBLAS and of OpenMP go on asking for work for up to a tenth of a second, which on two cores
halves the speed of whoever is measured next.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HERE = Path(__file__).parent


class SideError(RuntimeError):
    """A side could not do what it was asked to; the message is its own."""


class SideStopped(RuntimeError):
    """A side was ended from outside: nothing is known of its setting, and nothing may be said."""


_PR_SET_PDEATHSIG = 1  # prctl(2): the signal to get when the parent ends
STOPS = (-signal.SIGTERM, -signal.SIGKILL, -signal.SIGINT)


class Side:
    """A running side.

    Parameters: `script`, a file beside this one that calls `serve`; `setting`, what it is started
    with, as JSON on its command line; `env`, further variables of its environment.
    """

    def __init__(
        self, script: str, setting: Mapping[str, Any], env: Mapping[str, str] | None = None
    ) -> None:
        self.script, self.setting = script, dict(setting)
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / script), json.dumps(self.setting)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )

    def ask(self, do: str, **arguments: Any) -> Any:
        """Let it do something, and wait for what comes of it.

        Raises SideError, and SideStopped where it was ended from outside.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        self._go_on()
        try:
            self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; the next line says so
        line = self.process.stdout.readline()
        if not line:
            status = self.process.wait()
            kind = SideStopped if status in STOPS else SideError
            raise kind(f"{self.script} ended with status {status}")
        self.process.send_signal(signal.SIGSTOP)
        answer = json.loads(line)
        if "error" in answer:
            raise SideError(f"{self.script}: {answer['error']}")
        return answer["result"]

    def _go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self._go_on()
        with contextlib.suppress(BrokenPipeError):  # what it was asked last it never read
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def serve(actions: Mapping[str, Callable[..., Any]]) -> None:
    """Answer the requests on stdin until it is closed.

    Answers go to what was stdout; what a library prints goes to stderr from here on.
    """
    if sys.platform == "linux":  # one that is stopped would not notice that nobody asks any more
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"result": actions[request.pop("do")](**request)}
        except Exception as error:
            traceback.print_exc()
            text = str(error).strip().splitlines()
            answer = {"error": f"{type(error).__name__}: {text[0] if text else ''}"}
        print(json.dumps(answer), file=answers, flush=True)


def setting() -> dict[str, Any]:
    """What this side was started with."""
    found: dict[str, Any] = json.loads(sys.argv[1])
    return found


class Training:
    """Training steps that a side runs: for a check one by one, for a timing in a burst.

    Parameters: `step`, called with 0, 1, 2, … to train on that batch and give its loss, or losses
    where it does `per_call` steps at once; `values`, which makes numbers of what `step` gives, and
    so waits for it.
    """

    def __init__(
        self,
        step: Callable[[int], Any],
        values: Callable[[Any], list[float]],
        per_call: int = 1,
    ) -> None:
        self.step, self.values, self.per_call, self.done = step, values, per_call, 0

    def losses(self, steps: int) -> dict[str, Any]:
        """The losses of the next steps, and the number of the first of them."""
        first = self.done
        found: list[float] = []
        while len(found) < steps:
            found += self.values(self.step(self.done))
            self.done += self.per_call
        return {"first": first, "losses": found}

    def seconds(self, steps: int) -> float:
        """How long the next steps take, from the first input to the last loss in hand."""
        step, done, per_call = self.step, self.done, self.per_call
        self.done += steps
        began = time.perf_counter()
        for i in range(done, done + steps, per_call):
            loss = step(i)
        self.values(loss)
        return time.perf_counter() - began
