"""The README's commands and code run as they stand there."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

# What installs, or is the suite itself, is checked by hand in a clean clone, and by .ci/run.
NOT_HERE = ("make ", "python3 -m venv", ".venv/bin/python -m pip", ".venv/bin/python -m pytest")
TRAIN = "npmlp train --arch vanilla --out runs/vanilla"  # what the commands after it need
SHORT = " --limit 500 --epochs 1 --no-report"  # of the trainings, to see that the line is right

MY_MODULE = """
import torch
from npmlp import nn

class MyLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(784, 3)
    def forward(self, x):
        return self.fc(x).tanh()

class TorchLayer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(784, 3)
    def forward(self, x):
        return self.fc(x).tanh()
"""


def commands() -> list[str]:
    """The indented lines of the README that are commands."""
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    lines = re.findall(r"^    (\S.*)$", prose, flags=re.MULTILINE)
    return [re.sub(r"\s+#.*", "", line) for line in lines]


def run(command: str, folder: Path) -> None:
    program, *args = shlex.split(command.removeprefix(".venv/bin/"))
    if "train" in command and "--arch" in command:
        args += shlex.split(SHORT)
    python = [sys.executable] if program == "python" else [sys.executable, "-m", program]
    done = subprocess.run([*python, *args], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader would stand: with a trained network, a module and a picture of their own."""
    from PIL import Image

    place = tmp_path_factory.mktemp("reader")
    run(TRAIN, place)
    (place / "my_module.py").write_text(MY_MODULE)
    Image.new("L", (60, 80), 255).save(place / "picture.png")
    return place


def test_there_are_commands_to_check() -> None:
    assert len(commands()) > 10
    assert TRAIN in commands()


@pytest.mark.parametrize(
    "command", [c for c in commands() if c != TRAIN and not c.startswith(NOT_HERE)]
)
def test_a_command_of_the_readme_runs(command: str, folder: Path) -> None:
    run(command, folder)


@pytest.mark.parametrize("target", re.findall(r"^    make (\S+)", README, re.MULTILINE))
def test_a_make_target_of_the_readme_exists(target: str) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed here; the README gives Windows other lines")
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_console_command_is_installed_under_its_name() -> None:
    from importlib.metadata import entry_points

    (script,) = entry_points(group="console_scripts", name="npmlp")
    assert script.value == "npmlp.__main__:main"


CODE = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_little_example_of_the_readme_learns(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(CODE[0], "README.md", "exec"), {})
    assert float(capsys.readouterr().out) < 0.2  # the loss at its end


@pytest.mark.usefixtures("compiled")
def test_the_plan_of_the_readme_trains_and_explains_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    exec(compile(CODE[1], "README.md", "exec"), {})
    first, second, third, *table = capsys.readouterr().out.splitlines()
    assert float(first) > float(second) > float(third)
    assert any(line.split()[1:3] == ["linear_relu", "backward"] for line in table)
    assert len(CODE) == 2


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?:)([^)]+)\)", README))
def test_what_the_readme_links_to_is_there(link: str) -> None:
    assert (ROOT / link).exists()
