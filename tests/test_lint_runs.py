"""The linter in a training: which recipe raises what, printed and kept once, a resume included."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from npmlp import lint, train, train_command
from npmlp.engine import NpmlpEngine
from npmlp.errors import RunError
from npmlp.lint import Finding
from npmlp.progress import Silent
from npmlp.recipes import RECIPES, Recipe
from npmlp.vision.files import TEST, TRAIN
from npmlp.vision.idx import write_idx
from npmlp.vision.images import load_image_data
from reference_torch import train as torch_train

# what each recipe deserves, in the order in which it is said; all others deserve nothing
DESERVED = {
    "vanilla-zeros": ["zero-init", "loss-at-chance", "dead-relus"],
    "vanilla-double-softmax": ["double-softmax"],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The first 2,000 training and 300 test images of Fashion-MNIST: epochs of a second or less."""
    whole, folder = load_image_data(None), tmp_path_factory.mktemp("data")
    for split, images, labels in [
        (TRAIN, whole.train_images[:2000], whole.train_labels[:2000]),
        (TEST, whole.test_images[:300], whole.test_labels[:300]),
    ]:
        for file, values in [(split.images, images), (split.labels, labels.astype("uint8"))]:
            with open(folder / file.name, "wb") as target:
                write_idx(target, values)
    return str(folder)


class Heard(Silent):
    """Keeps what a terminal would have shown."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)

    def warnings(self) -> list[str]:
        return [line for line in self.lines if line.startswith("warning:")]


def short(name: str, **changes: Any) -> Recipe:
    return dataclasses.replace(RECIPES[name], epochs=2, validation_size=150, **changes)


def fit(fitter: Any, recipe: Recipe, **how: Any) -> tuple[Heard, list[Finding], Path]:
    heard = Heard()
    _, folder = fitter.fit(recipe, fitter.Run(report=False, **how), show=heard)
    return heard, lint.read(folder.path), folder.path


@pytest.fixture(scope="module")
def zeros(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that deserves three warnings, with a checkpoint of each epoch."""
    out = tmp_path_factory.mktemp("runs") / "zeros"
    how = {"data": data, "out": str(out), "keep_checkpoints": "all"}
    return fit(train, short("vanilla-zeros"), **how)[2]


@pytest.fixture
def after_one_epoch(zeros: Path, tmp_path: Path) -> Path:
    """A copy of it as a stop after the first epoch leaves it."""
    folder = tmp_path / "run"
    shutil.copytree(zeros, folder)
    (folder / "summary.json").unlink()
    shutil.copy(
        folder / "checkpoints/epoch-001.safetensors", folder / "checkpoints/last.safetensors"
    )
    return folder


# ---------------------------------------------------------------------------------- the recipes


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_raises_exactly_the_warnings_that_it_deserves(
    name: str, data: str, tmp_path: Path
) -> None:
    limit = 1280 if name == "mixer" else None  # the slowest
    recipe = short(name, limit=limit)
    heard, findings, folder = fit(train, recipe, data=data, out=str(tmp_path / "run"))
    assert [finding.rule for finding in findings] == DESERVED.get(name, [])
    assert (folder / "findings.json").exists() == (name in DESERVED)
    assert heard.warnings() == [finding.line() for finding in findings]


@pytest.mark.parametrize("name", ["vanilla-zeros", "vanilla"])
def test_they_raise_the_same_in_pytorch(name: str, data: str, tmp_path: Path) -> None:
    heard, findings, _ = fit(torch_train, short(name), data=data, out=str(tmp_path / "run"))
    assert [finding.rule for finding in findings] == DESERVED.get(name, [])
    assert heard.warnings() == [finding.line() for finding in findings]


def test_recipes_that_deserve_it_do_so_on_all_images_and_others_do_not(tmp_path: Path) -> None:
    for name, recipe in RECIPES.items():
        linter = lint.Linter(NpmlpEngine(recipe), recipe, tmp_path / name)
        (tmp_path / name).mkdir()
        found = [finding.rule for finding in linter.before_training()]
        assert found == DESERVED.get(name, [])[:1], name


def test_a_choice_on_the_reported_images_is_said_when_training(data: str, tmp_path: Path) -> None:
    recipe = short("vanilla", validation="reported", early_stopping=5)
    heard, findings, _ = fit(train, recipe, data=data, out=str(tmp_path / "run"))
    assert [finding.rule for finding in findings] == ["chosen-on-reported"]
    assert "the best checkpoint and the epoch to stop after are chosen" in heard.warnings()[0]


def test_a_rate_too_high_is_said_when_training(data: str, tmp_path: Path) -> None:
    _, findings, _ = fit(train, short("vanilla", lr=2.0), data=data, out=str(tmp_path / "run"))
    assert "loss-rises" in [finding.rule for finding in findings]


def test_a_loss_that_is_not_finite_stops_with_a_link_to_the_docs(data: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"try a lower --lr \(docs/mistakes\.md#loss-rises\)"):
        fit(train, short("vanilla", lr=1000.0), data=data, out=str(tmp_path / "run"))


# ---------------------------------------------------------------------------- said and kept once


def test_a_finding_is_one_line_with_a_link_to_its_paragraph() -> None:
    assert Finding("zero-init", "so").line() == "warning: so (docs/mistakes.md#zero-init)"
    later = Finding("loss-rises", "so", 3)
    assert later.line() == "warning: after epoch 3: so (docs/mistakes.md#loss-rises)"


def test_findings_are_kept_in_the_folder_with_their_epochs(zeros: Path) -> None:
    kept = json.loads((zeros / "findings.json").read_text())
    assert [(f["rule"], f["epoch"]) for f in kept] == [
        ("zero-init", None), ("loss-at-chance", 1), ("dead-relus", 1)
    ]  # fmt: skip
    assert [Finding(**fields) for fields in kept] == lint.read(zeros)


def test_after_a_resume_nothing_is_said_again(after_one_epoch: Path, data: str) -> None:
    before = (after_one_epoch / "findings.json").read_bytes()
    recipe = short("vanilla-zeros")
    heard, _, _ = fit(train, recipe, data=data, resume=str(after_one_epoch))
    assert len((after_one_epoch / "metrics.jsonl").read_text().splitlines()) == 2
    assert heard.warnings() == []
    assert (after_one_epoch / "findings.json").read_bytes() == before


def test_what_is_found_first_after_a_resume_is_added(after_one_epoch: Path, data: str) -> None:
    path = after_one_epoch / "findings.json"
    path.write_text(json.dumps(json.loads(path.read_text())[:1]))
    recipe = short("vanilla-zeros")
    heard, findings, _ = fit(train, recipe, data=data, resume=str(after_one_epoch))
    assert [(f.rule, f.epoch) for f in findings] == [
        ("zero-init", None), ("loss-at-chance", 2), ("dead-relus", 2)
    ]  # fmt: skip
    assert heard.warnings() == [finding.line() for finding in findings[1:]]


def test_no_lint_says_and_keeps_nothing(data: str, tmp_path: Path) -> None:
    how = {"data": data, "out": str(tmp_path / "run"), "lint": False}
    heard, _, folder = fit(train, short("vanilla-zeros"), **how)
    assert heard.warnings() == [] and not (folder / "findings.json").exists()


def test_the_command_prints_one_line_for_each(data: str, tmp_path: Path) -> None:
    arguments = ["--recipe", "vanilla-zeros", "--epochs", "2", "--no-report", "--data", data]
    done = subprocess.run(
        [sys.executable, "-m", "npmlp.train", *arguments, "--out", str(tmp_path / "run")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("warning:")]
    assert len(lines) == 3
    assert all(line.endswith(")") and "(docs/mistakes.md#" in line for line in lines)


def test_the_command_takes_no_lint() -> None:
    for flags, expected in [([], True), (["--no-lint"], False)]:
        _, run = train_command.parse(flags, "python -m npmlp.train", train.Run)
        assert run.lint is expected


@pytest.mark.parametrize("content", ["{", "[1]", '[{"rule": "a"}]', '{"a": 1}'])
def test_a_damaged_file_of_findings_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "findings.json").write_text(content)
    with pytest.raises(RunError, match=r"findings\.json: is damaged"):
        lint.read(tmp_path)
