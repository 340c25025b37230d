"""Scripts written for PyTorch print the same text with npmlp in their import lines.

tests/dropin has three, each a chapter of a beginner's tutorial. Each runs as it is with PyTorch,
and with nothing but its import lines changed with npmlp. In float64 the texts are equal to every
digit. In float32, where PyTorch disagrees with itself when a sum is reordered, words and shapes are
equal, losses of the first 100 steps to 1e-5, and later numbers as nearly as PyTorch's own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from npmlp.vision.datasets import FashionMNIST
from npmlp.vision.files import TEST, TRAIN
from npmlp.vision.idx import write_idx

ROOT = Path(__file__).parents[1]
DROPIN = ROOT / "tests" / "dropin"
SCRIPTS = ("quickstart", "tensors_and_autograd", "custom_dataset")
REORDERED = (1, 2, 3)  # seeds of the orders in which PyTorch adds beside itself

IMPORTS = (
    (r"^import torch$", "import npmlp as torch"),
    (r"^(import|from) torch\.", r"\1 npmlp."),
    (r"^from torch import ", "from npmlp import "),
    (r"^from torchvision import ", "from npmlp.vision import "),
    (r"^from torchvision\.", "from npmlp.vision."),
)


def with_npmlp(script: str) -> str:
    """A script for PyTorch with its import lines, and nothing else, changed to npmlp's."""
    lines = []
    for line in script.splitlines(keepends=True):
        for theirs, ours in IMPORTS:
            line, changed = re.subn(theirs, ours, line)
            if changed:
                break
        lines.append(line)
    return "".join(lines)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the scripts run: Fashion-MNIST lies in data/, as torchvision lays it out."""
    folder = tmp_path_factory.mktemp("dropin")
    raw = folder / "data" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for split, train in ((TRAIN, True), (TEST, False)):
        data = FashionMNIST(train=train, download=True)
        for file, values in ((split.images, data.data), (split.labels, data.targets.byte())):
            with open(raw / file.name, "wb") as opened:
                write_idx(opened, values.numpy())
    return folder


def run(folder: Path, *command: str) -> str:
    """What a Python process prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # no warning with either
    return re.sub(r"0x[0-9a-f]+", "0x…", done.stdout)  # where an object lies in memory


def by_torch(folder: Path, name: str, *arguments: str) -> str:
    return run(folder, str(DROPIN / "run_with_torch.py"), str(DROPIN / f"{name}.py"), *arguments)


def by_npmlp(folder: Path, name: str, *arguments: str) -> str:
    script = folder / f"{name}_with_npmlp.py"
    script.write_text(with_npmlp((DROPIN / f"{name}.py").read_text("utf-8")), "utf-8")
    return run(folder, script.name, *arguments)


# ------------------------------------------------------------------------------ comparing two texts

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d*)?(?:e[+-]?\d+)?(?!\w)")
EARLY = re.compile(r"^first losses: |, step \d\d?: ")  # losses of the first 100 steps
# What the issue asks of these losses. Reordered, PyTorch's own differ by 1e-6 in these scripts.
EARLY_LIMIT = 1e-5
# A reordered run and ours are both off from one trajectory, by independent rounding of equal kind.
# Were the differences normal, a fourth would exceed the largest of three in one of 4 cases, and its
# double in one of 15; a kind of line has many numbers, and in these scripts most differ by no more
# than their last printed place.
TIMES_THEIRS = 2.0


def words(line: str) -> str:
    """A line without its numbers, and without the spaces that bring them to one width."""
    return re.sub(r" +", " ", NUMBER.sub("#", line)).replace("[ #", "[#")


def numbers(line: str) -> list[tuple[float, float]]:
    """Each number of a line, with the size of its last printed place; 0 for whole numbers."""
    found = []
    for text in NUMBER.findall(line):
        mantissa, _, exponent = text.partition("e")
        places = len(mantissa.partition(".")[2])
        unit = 10.0 ** (int(exponent or 0) - places) if "." in mantissa and places else 0.0
        found.append((float(text), unit))
    return found


def differences(a: str, b: str) -> Iterator[tuple[str, float, float]]:
    """(line of a, difference, last printed place) of every number of two texts of equal words."""
    for x, y in zip(a.splitlines(), b.splitlines(), strict=True):
        for (p, unit), (q, other) in zip(numbers(x), numbers(y), strict=True):
            yield x, abs(p - q), max(unit, other)


def disagreements(ours: str, theirs: str, reordered: Sequence[str]) -> list[str]:
    """Lines of PyTorch's text from which ours is further than is allowed, each with why."""
    allowed: dict[str, float] = {}  # by kind of line
    for text in reordered:
        for line, difference, _ in differences(theirs, text):
            kind = words(line)
            allowed[kind] = max(allowed.get(kind, 0.0), TIMES_THEIRS * difference)
    wrong = []
    for line, difference, unit in differences(theirs, ours):
        # each of the two numbers was rounded to its last place by at most half of it
        limit = (EARLY_LIMIT if EARLY.search(line) else allowed[words(line)]) + unit
        if difference > limit:
            wrong.append(f"{line}: off by {difference:.3g}, where {limit:.3g} is allowed")
    return wrong


# -------------------------------------------------------------------------------------- the scripts


@pytest.mark.parametrize("name", SCRIPTS)
def test_only_import_lines_are_changed(name: str) -> None:
    script = (DROPIN / f"{name}.py").read_text("utf-8")
    pairs = zip(script.splitlines(), with_npmlp(script).splitlines(), strict=True)
    changed = [(a, b) for a, b in pairs if a != b]
    assert len(changed) >= 2
    for a, b in changed:
        assert re.match(r"(import|from) torch", a), a
        assert re.match(r"(import|from) npmlp", b), b
    assert "npmlp" not in script


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_in_float64_prints_the_same_text_to_every_digit(name: str, folder: Path) -> None:
    theirs, ours = by_torch(folder, name, "float64"), by_npmlp(folder, name, "float64")
    assert ours.splitlines() == theirs.splitlines()
    assert len(theirs) > 2000


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_in_float32_prints_the_same_words_and_numbers_as_near_as_pytorchs(
    name: str, folder: Path
) -> None:
    theirs, ours = by_torch(folder, name), by_npmlp(folder, name)
    assert [words(line) for line in ours.splitlines()] == [words(x) for x in theirs.splitlines()]
    reordered = [by_torch(folder, name, "--reordered", str(seed)) for seed in REORDERED]
    assert sum(bool(EARLY.search(line)) for line in theirs.splitlines()) >= 10
    assert any(text != theirs for text in reordered), "the order of sums was not changed"
    assert not disagreements(ours, theirs, reordered)


# ----------------------------------------------------------------------------------- the comparison


def test_words_leave_out_numbers_and_their_padding_alone() -> None:
    assert words("tensor([ 1.50, -2.e-05])") == words("tensor([-0.25,  3.1])") == "tensor([#, #])"
    assert words("float32 conv2d x1 of 3") == "float32 conv2d x1 of #"
    assert numbers("a 2.50 b -1e-3 c 7") == [(2.5, 0.01), (-0.001, 0.0), (7.0, 0.0)]


def test_numbers_further_apart_than_pytorchs_are_noticed() -> None:
    theirs = "first losses: 2.300000\nlater 0.50 of 64"
    reordered = ["first losses: 2.300001\nlater 0.53 of 64"]
    assert not disagreements("first losses: 2.300010\nlater 0.55 of 64", theirs, reordered)
    assert len(disagreements("first losses: 2.300020\nlater 0.58 of 64", theirs, reordered)) == 2
    assert len(disagreements("first losses: 2.300000\nlater 0.50 of 65", theirs, reordered)) == 1
