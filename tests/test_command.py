"""The command `npmlp`: its version, its help, and where --debug may stand."""

from __future__ import annotations

import subprocess
import sys

import npmlp


def command(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "npmlp", *args], capture_output=True, text=True, timeout=60
    )


def test_it_prints_its_version() -> None:
    done = command("--version")
    assert (done.returncode, done.stdout) == (0, f"npmlp {npmlp.__version__}\n")


def test_debug_may_stand_before_the_verb_and_after_it() -> None:
    for args in (
        ["--debug", "evaluate", "--run", "nowhere"],
        ["evaluate", "--run", "nowhere", "--debug"],
    ):
        done = command(*args)
        assert done.returncode == 1
        assert "Traceback" in done.stderr and "RunError: nowhere" in done.stderr
    done = command("evaluate", "--run", "nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("error: nowhere") and done.stderr.count("\n") == 1


def test_debug_alone_shows_the_usage() -> None:
    done = command("--debug")
    assert done.returncode == 0 and done.stdout.startswith("usage: npmlp VERB")
