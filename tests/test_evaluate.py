"""Evaluating a run: the figure that the run reports, from the test images alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_config import change_everything, settings

from npmlp import checkpoint, commands, train
from npmlp.errors import CheckpointError, DataError
from npmlp.evaluate import evaluate, main
from npmlp.predictions import predictions_of
from npmlp.preserved import preserved_settings
from npmlp.recipes import Recipe
from npmlp.runs import RunFolder
from npmlp.vision.files import TEST, find_file
from npmlp.vision.images import load_image_data

WHICH = ["none", "train", "test", "reported"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run for each way to hold images out."""
    folder = tmp_path_factory.mktemp("runs")
    for validation in WHICH:
        recipe = Recipe(
            limit=500, epochs=2, seed=3, validation=validation, dropout=0.1, label_smoothing=0.1
        )
        with preserved_settings():
            train.fit(recipe, train.Run(out=str(folder / validation), report=False))
    return {validation: folder / validation for validation in WHICH}


@pytest.fixture(scope="module")
def test_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the two files of the test set and no others."""
    folder = tmp_path_factory.mktemp("data")
    origin = Path(load_image_data().source)
    for spec in (TEST.images, TEST.labels):
        found = find_file(origin, spec.name)
        assert found is not None
        (folder / found.name).symlink_to(found.resolve())
    return folder


@pytest.mark.parametrize("validation", WHICH)
def test_it_is_the_figure_of_the_runs_summary(runs: dict[str, Path], validation: str) -> None:
    summary = RunFolder(runs[validation]).summary()
    assert summary is not None
    found = evaluate(runs[validation])
    assert found.count == summary["test_count"] == (5000 if validation == "test" else 10_000)
    assert found.correct == summary["test_correct"]
    assert found.accuracy == summary["test_accuracy"]
    assert sum(correct for _, correct, _ in found.per_class) == found.correct
    assert sum(count for _, _, count in found.per_class) == found.count


def test_validation_on_the_reported_images_sees_the_very_same(runs: dict[str, Path]) -> None:
    rows = [
        json.loads(row) for row in (runs["reported"] / "metrics.jsonl").read_text().splitlines()
    ]
    assert len(rows) == 2
    for row in rows:
        assert row["val_accuracy"] == row["test_accuracy"]
    assert predictions_of(RunFolder(runs["reported"])).indices.tolist() == list(range(10_000))


def test_the_loss_is_the_engines_to_the_last_bit(runs: dict[str, Path]) -> None:
    from npmlp.engine import NpmlpEngine

    folder = RunFolder(runs["test"])
    with preserved_settings():
        engine = NpmlpEngine(folder.recipe())
        engine.load_state(checkpoint.read(folder.best)["state"])
        assert evaluate(folder.path).loss == engine.evaluate("test").loss


def test_it_needs_the_test_images_only(runs: dict[str, Path], test_files: Path) -> None:
    assert evaluate(runs["none"], str(test_files)) == evaluate(runs["none"])


def test_errors_about_the_data_speak_of_the_flag(runs: dict[str, Path], tmp_path: Path) -> None:
    for folder, problem in [(tmp_path / "nowhere", "no folder"), (tmp_path, "no data set")]:
        with pytest.raises(DataError, match=rf"^--data: .*{problem}.*leave it out") as error:
            evaluate(runs["none"], str(folder))
        assert "root" not in str(error.value).replace(str(tmp_path), "")


def test_it_leaves_settings_as_they_were(runs: dict[str, Path]) -> None:
    with preserved_settings():
        change_everything()
        before = settings()
        evaluate(runs["test"])
        assert settings() == before


def test_a_checkpoint_of_another_architecture_is_refused(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    from npmlp.predict import predict

    folder = RunFolder(tmp_path)
    folder.last.parent.mkdir()
    (tmp_path / "config.json").write_bytes((runs["none"] / "config.json").read_bytes())
    content = checkpoint.read(RunFolder(runs["none"]).last)
    content["recipe"] |= {"arch": "other"}
    checkpoint.write(folder.last, content)
    message = r"another recipe than config.json beside it \(architecture other, expected vanilla\)"
    with pytest.raises(CheckpointError, match=message):
        evaluate(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        predict(tmp_path, ["0"])


def test_a_checkpoint_whose_weights_do_not_fit_is_refused(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path)
    folder.last.parent.mkdir()
    (tmp_path / "config.json").write_bytes((runs["none"] / "config.json").read_bytes())
    content = checkpoint.read(RunFolder(runs["none"]).last)
    del content["state"]["model"]["fc1.weight"]
    checkpoint.write(folder.last, content)
    with pytest.raises(CheckpointError, match=r"does not fit the architecture vanilla .*fc1"):
        evaluate(tmp_path)


def test_the_command_prints_accuracy_loss_and_classes(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    summary = json.loads((runs["test"] / "summary.json").read_text())
    assert commands.run(main, ["--run", str(runs["test"])]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"({summary['test_correct']:,} of 5,000 images), mean loss" in lines[0]
    assert len(lines) == 11
