"""The report of a run that is not at its end: as far as it is, and all of it of one epoch."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from report_runs import (
    history_of,
    move_to,
    report,
    text_of,
    trained,
    unfinished_copy,
)

from npmlp.driver import best_epoch
from npmlp.errors import RunError
from npmlp.report.compare import compare, render_comparison
from npmlp.report.curves import curves_figure
from npmlp.report.page import render_page
from npmlp.report.page_read import read_results, read_run
from npmlp.report.page_run import RunFacts
from npmlp.report.style import png
from npmlp.runs import RunFolder


@pytest.fixture(scope="module")
def validated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with validation images that has kept the checkpoint of every epoch.

    At this rate the accuracy goes up and down.
    """
    place = tmp_path_factory.mktemp("validated") / "validated"
    return trained(place, keep="all", validation="test", lr=1.0, epochs=6)


@pytest.fixture
def passed(validated: Path, tmp_path: Path) -> tuple[Path, int]:
    """A copy that was killed when its newest epoch was not its best, and the best epoch."""
    rows = history_of(validated)
    done = next(n for n in range(2, len(rows)) if best_epoch(rows[:n]) < n)
    return unfinished_copy(validated, tmp_path / "passed", done), best_epoch(rows[:done])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without validation images."""
    return trained(tmp_path_factory.mktemp("plain") / "plain", keep="all", epochs=4)


def page_of(run: Path) -> str:
    return render_page(*read_results(run))


def tiles_of(page: str) -> dict[str, str]:
    """The figures at the top of a page, by what they are."""
    found = re.findall(r"<li><b>(.*?)</b><span>(.*?)</span></li>", page)
    return {name.split(",")[0]: figure for figure, name in found}


# -------------------------------------------------------------------------- as far as it is


def test_a_run_killed_within_its_first_epoch_is_reported_with_its_checkpoint(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = unfinished_copy(finished, tmp_path / "run", epochs=0)
    move_to(RunFolder(run).last, 0, [], batch=3)
    assert report(run, "--out", tmp_path / "page.html") == 0
    assert "none of 3 epochs is done yet" in capsys.readouterr().out
    page = text_of((tmp_path / "page.html").read_text())
    assert "last.safetensors (written within epoch 1)" in page
    assert "Its first epoch has not ended, so there is nothing to draw yet" in page


def test_a_run_killed_in_the_middle_is_reported_as_far_as_it_is(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = unfinished_copy(finished, tmp_path / "run", epochs=2)
    assert report(run, "--out", tmp_path / "page.html") == 0
    assert "is unfinished: 2 of 3 epochs done" in capsys.readouterr().out
    page = text_of((tmp_path / "page.html").read_text())
    accuracy = json.loads((run / "metrics.jsonl").read_text().splitlines()[1])["test_accuracy"]
    assert f"Test accuracy {accuracy:.4f} so far, after epoch 2" in page
    assert "This run is unfinished: 2 of 3 epochs done" in page


def test_a_run_that_is_being_trained_is_said_to_be(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = unfinished_copy(finished, tmp_path / "run", epochs=1)
    trains = RunFolder(run)
    trains.lock()
    try:
        assert report(run, "--out", tmp_path / "page.html") == 0
    finally:
        trains.unlock()
    assert "is being trained right now: 1 of 3 epochs done" in capsys.readouterr().out
    assert "is being trained right now" in text_of((tmp_path / "page.html").read_text())


def test_a_half_written_last_line_is_left_out_and_said(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = unfinished_copy(finished, tmp_path / "run", epochs=2)
    whole = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(whole + '{"epoch": 3, "lr": 0.0')
    assert report(run, "--out", tmp_path / "page.html") == 0
    out = capsys.readouterr().out
    assert "2 of 3 epochs done" in out and "metrics.jsonl is half written" in out
    assert "metrics.jsonl is half written" in text_of((tmp_path / "page.html").read_text())


# --------------------------------------------------------------------------- all of one epoch


def test_with_validation_all_of_a_report_is_of_the_best_epoch_so_far(
    passed: tuple[Path, int], capsys: pytest.CaptureFixture[str]
) -> None:
    run, best = passed
    rows = history_of(run)
    row, done = rows[best - 1], len(rows)
    assert row["test_accuracy"] != rows[-1]["test_accuracy"]  # else the test would see nothing
    assert report(run) == 0

    result = f"est accuracy {row['test_accuracy']:.4f} so far (epoch {best} of {done} done, "
    page = (run / "report.html").read_text()
    text = text_of(page)
    assert result in capsys.readouterr().out and result in text
    assert (
        f"{done} of 6 epochs done. Accuracies, losses, predictions and weights are those of "
        f"epoch {best}, the best so far on 5,000 validation images." in text
    )
    tiles = tiles_of(page)
    assert tiles["test accuracy"] == f"{100 * row['test_accuracy']:.2f}\u00a0%"
    assert tiles["validation accuracy"] == f"{100 * row['val_accuracy']:.2f}\u00a0%"
    assert tiles["training loss"] == f"{row['train_loss']:.4g}"
    assert f"classified by best.safetensors (written after epoch {best})" in text
    assert (
        f"The dotted line is epoch {best}, whose weights had the best validation accuracy "
        "so far: they are the ones reported." in text
    )
    assert f"epoch {best}: training {row['train_loss']:.4g} · validation" in text

    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["epoch"], metrics["accuracy"]) == (best, row["test_accuracy"])
    right = sum(row[i] for i, row in enumerate(metrics["confusion"]))
    counts = re.findall(r'data-true="(\d)" data-predicted="(\d)" data-count="(\d+)"', page)
    assert sum(int(count) for i, j, count in counts if i == j) == right == metrics["correct"]
    curves = curves_figure(rows, "vanilla, seed 0", chosen=best)
    assert (run / "curves.png").read_bytes() == png(curves)


def test_without_validation_it_is_the_newest_epoch(plain: Path, tmp_path: Path) -> None:
    run = unfinished_copy(plain, tmp_path / "run", epochs=2)
    page = page_of(run)
    row = history_of(run)[1]
    assert "weights are those of epoch 2, the newest." in text_of(page)
    assert tiles_of(page)["test accuracy"] == f"{100 * row['test_accuracy']:.2f}\u00a0%"
    assert "classified by last.safetensors (written after epoch 2)" in text_of(page)


def test_weights_from_within_an_epoch_are_said_to_be(finished: Path, tmp_path: Path) -> None:
    run = unfinished_copy(finished, tmp_path / "run", epochs=2)
    move_to(RunFolder(run).last, 2, history_of(run), batch=40)
    text = text_of(page_of(run))
    assert (
        "Accuracies and losses are those of epoch 2, the newest; predictions and weights are "
        "of a checkpoint that was written within epoch 3." in text
    )
    assert "classified by last.safetensors (written within epoch 3)" in text


def test_a_row_that_only_the_checkpoint_has_is_reported(passed: tuple[Path, int]) -> None:
    run, best = passed
    rows = history_of(run)
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[: best - 1]))  # a kill between the two
    assert read_run(run).history == rows[:best]
    (run / "metrics.jsonl").write_text("".join(lines[: best - 1]) + lines[best - 1][:20])
    facts = read_run(run)
    assert facts.history == rows[:best] and facts.reported == rows[best - 1]
    assert "half written" in facts.notes[0] and "has it from the checkpoint" in facts.notes[0]


def test_a_checkpoint_at_odds_with_itself_is_a_sentence(plain: Path, tmp_path: Path) -> None:
    run = unfinished_copy(plain, tmp_path / "run", epochs=2)
    last, rows = RunFolder(run).last, history_of(run)
    for history, message in (
        (rows[:1], r"is damaged \(it is of epoch 2, with 1 rows\)"),
        ([*rows[:1], {"epoch": 2}], r"is damaged \(in its row of epoch 2: it lacks lr"),
    ):
        move_to(last, 2, history)
        (run / "metrics.jsonl").write_text("")
        with pytest.raises(RunError, match=rf"last\.safetensors: {message}"):
            read_run(run)


def test_in_a_comparison_its_figures_are_of_that_epoch_too(passed: tuple[Path, int]) -> None:
    run, best = passed
    runs, _ = compare([run])
    assert runs[0].metrics is not None and runs[0].metrics["epoch"] == best
    page = render_comparison(runs, Path("page.html"))
    accuracy = history_of(run)[best - 1]["test_accuracy"]
    assert f'<td data-label="test accuracy" data-value="{accuracy}">' in page
    assert f"predictions and weights are those of epoch {best}, the best so far" in text_of(page)


def test_a_training_that_goes_on_meanwhile_is_read_again(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time that the predictions are made, a further epoch ends, or a few at first."""
    predict = RunFacts.results  # which does all the work here, too
    for epochs, notes in (([2], 0), ([2, 3], 0), ([2, 3, 4], 1)):
        run, place = tmp_path / f"run-{len(epochs)}", tmp_path / f"later-{len(epochs)}"
        unfinished_copy(plain, run, epochs=1)
        later = iter([unfinished_copy(plain, place / str(n), epochs=n) for n in epochs])

        def while_it_trains(facts: RunFacts, data: Any = None, later: Any = later) -> Any:
            found = predict(facts, data)
            for state in itertools.islice(later, 1):
                shutil.copytree(state, facts.folder.path, dirs_exist_ok=True)
            return found

        monkeypatch.setattr(RunFacts, "results", while_it_trains)
        facts, results = read_results(run)
        assert results is not None and len(facts.notes) == notes
        if not notes:
            assert results.predictions.epoch == facts.reported_epoch == epochs[-1]
