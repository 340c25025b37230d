"""Several runs on one page: their means, what differs, and what must not be compared."""

from __future__ import annotations

import dataclasses
import json
import re
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_runs import copy_of, report, summary_of, text_of, trained, unfinished_copy
from vision.made_data import patterns, write_patterns

from npmlp import lint
from npmlp.report.compare import compare, groups_of, render_comparison
from npmlp.report.compare_groups import Compared
from npmlp.report.page_read import read_run
from npmlp.report.page_run import RunFacts
from reference_torch.train import Run as TorchRun
from reference_torch.train import fit as torch_fit


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compared")


@pytest.fixture(scope="module")
def seeds(place: Path) -> list[Path]:
    """Three seeds of a recipe."""
    return [trained(place / f"seed-{seed}", seed=seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="module")
def slower(place: Path) -> Path:
    return trained(place / "slower", lr=0.01, validation="train", validation_size=100)


@pytest.fixture(scope="module")
def compared(seeds: list[Path], slower: Path) -> list[Compared]:
    return compare([*seeds, slower])[0]


def page_of(runs: list[Compared]) -> str:
    return render_comparison(runs, Path("comparison.html"))


def like(run: Compared, **changes: Any) -> Compared:
    """The same run with other facts."""
    return dataclasses.replace(run, facts=dataclasses.replace(run.facts, **changes))


def summary(run: Compared) -> dict[str, Any]:
    return summary_of(run.facts.folder.path)


def rows_of(page: str, section: str) -> list[list[str]]:
    """The texts of a section's table, row by row."""
    found = re.search(rf'(?s)<section id="{section}">.*?</section>', page)
    assert found is not None
    rows = re.findall(r"(?s)<tr>(.*?)</tr>", found[0])
    return [[text_of(c) for c in re.findall(r"(?s)<t[hd]\b.*?</t[hd]>", row)] for row in rows]


def test_seeds_of_a_recipe_have_their_mean_and_spread(
    compared: list[Compared], seeds: list[Path]
) -> None:
    accuracies = [100 * summary_of(path)["test_accuracy"] for path in seeds]
    losses = [summary_of(path)["train_loss"] for path in seeds]
    (row,) = rows_of(page_of(compared), "means")[1:]
    assert row[:3] == [
        "vanilla, lr 0.1, validation none, validation_size 5000", "1, 2, 3",
        f"{np.mean(accuracies):.2f} ± {np.std(accuracies, ddof=1):.2f} %",
    ]  # fmt: skip
    assert row[4] == f"{np.mean(losses):.4f} ± {np.std(losses, ddof=1):.4f}"


def test_each_run_has_its_figures(compared: list[Compared]) -> None:
    header, *rows = rows_of(page_of(compared), "runs")
    for run, row in zip(compared, rows, strict=True):
        cells = dict(zip(header, row, strict=True))
        s = summary_of(run.facts.folder.path)
        assert cells["run"] == run.facts.name
        assert cells["seed"] == str(s["seed"])
        assert cells["test accuracy"] == f"{100 * s['test_accuracy']:.2f} %"
        assert cells["training loss"] == f"{s['train_loss']:.4g}"
        assert cells["epochs"] == "2 of 2" and cells["parameters"] == "79,510"
        assert run.metrics is not None
        assert cells["macro F1"] == f"{run.metrics['macro']['f1']:.4f}"
        assert re.fullmatch(r"[\d.]+ s", cells["an epoch"])
    assert cells["validation accuracy"] == f"{100 * s['val_accuracy']:.2f} %"
    changed = {"lr 0.01", "epochs 2", "validation train", "validation_size 100", "limit 600"}
    assert set(cells["changed"].split(", ")) == changed


def test_the_fields_that_differ_stand_side_by_side(compared: list[Compared]) -> None:
    header, *rows = rows_of(page_of(compared), "recipes")
    assert len(header) == 3
    assert rows == [
        ["lr", "0.1", "0.01"], ["validation", "none", "train"], ["validation_size", "5000", "100"],
    ]  # fmt: skip


def test_classes_have_the_mean_f1_of_the_seeds(compared: list[Compared]) -> None:
    _, *rows = rows_of(page_of(compared), "classes")
    assert len(rows) == 11
    for name, *values in rows:
        f1 = [
            run.metrics["macro" if name == "macro mean" else "classes"]
            for run in compared
            if run.metrics is not None
        ]
        f1 = [m["f1"] if name == "macro mean" else m[name]["f1"] for m in f1]
        assert values == [f"{statistics.fmean(f1[:3]):.3f}", f"{f1[3]:.3f}"]


def test_taking_the_best_of_several_recipes_is_called_a_choice(compared: list[Compared]) -> None:
    text = text_of(page_of(compared))
    assert "chosen-on-reported : picking the best of 2 recipes by test accuracy" in text
    means = [
        statistics.fmean(s["test_accuracy"] for s in map(summary, those))
        for those in (compared[:3], compared[3:])
    ]
    finding = lint.best_of_several(means, 10_000)
    assert finding is not None and finding.text in text


def test_where_nobody_chooses_there_is_no_word_of_a_choice(
    compared: list[Compared], slower: Path, tmp_path: Path
) -> None:
    by_torch = like(compared[0], config=compared[0].facts.config | {"engine": "torch"})
    renamed = dataclasses.replace(compared[1].facts.recipe, name="another")
    for runs in (
        compared[:1],
        compared[:3],  # seeds
        [compared[0], by_torch],
        [*compared[:3], by_torch, like(compared[1], recipe=renamed)],
        [compared[0], *compare([unfinished_copy(slower, tmp_path / "half", 1)])[0]],
    ):
        assert "chosen-on-reported" not in text_of(page_of(runs))


def test_runs_of_pytorch_are_taken_and_named_so(
    seeds: list[Path], compared: list[Compared], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = compared[0].facts.recipe
    torch_fit(recipe, TorchRun(out=str(place / "torch"), report=False, threads=1))
    out = place / "engines.html"
    assert report(seeds[0], place / "torch", "--out", out) == 0
    assert re.search(r"torch +PyTorch +vanilla, seed 1", capsys.readouterr().out)
    header, *rows = rows_of(out.read_text(), "runs")
    assert [row[header.index("engine")] for row in rows] == ["npmlp", "PyTorch"]
    heads, *_ = rows_of(out.read_text(), "classes")
    assert heads == ["class", "vanilla", "vanilla, PyTorch"]  # two groups, though one recipe
    assert 'id="means"' not in out.read_text()


def test_different_data_sets_are_said_and_kept_apart(compared: list[Compared], place: Path) -> None:
    data = write_patterns(place / "stripes", patterns((12, 10), 3))
    run = trained(place / "on-stripes", data=str(data), limit=None)
    runs = [*compared[2:], *compare([run])[0]]
    page = page_of(runs)
    text = text_of(page)
    assert "The runs are of 2 data sets (Fashion-MNIST, stripes)" in text
    section = re.search(r'(?s)<section id="classes">.*?</section>', page)
    assert section is not None and section[0].count("<table") == 2
    assert "Ankle boot" in section[0].split("<table")[1]
    assert "Ankle boot" not in section[0].split("<table")[2]
    header, *rows = rows_of(page, "runs")
    assert [row[header.index("data")] for row in rows] == ["Fashion-MNIST"] * 2 + ["stripes"]
    assert "the best of 2 recipes" in text and "of 3 recipes" not in text  # of one data set


def test_runs_that_test_on_other_images_are_said(compared: list[Compared]) -> None:
    assert "the same test images" not in text_of(page_of(compared))
    half = dataclasses.replace(compared[0].facts.recipe, validation="test")
    runs = [like(compared[0], recipe=half), *compared[1:]]
    assert "do not report on the same test images" in text_of(page_of(runs))


def test_an_unfinished_run_is_shown_and_stays_out_of_the_means(
    compared: list[Compared], seeds: list[Path], tmp_path: Path
) -> None:
    half = unfinished_copy(seeds[2], tmp_path / "half", epochs=1)
    begun = unfinished_copy(seeds[2], tmp_path / "begun", epochs=0)
    (begun / "checkpoints" / "last.safetensors").unlink()
    runs = [*compared[:2], *compare([half, begun])[0]]
    page = page_of(runs)
    text = text_of(page)
    assert "half is unfinished: 1 of 2 epochs done" in text
    assert "begun is unfinished: none of 2 epochs is done yet" in text
    (row,) = rows_of(page, "means")[1:]
    assert row[1] == "1, 2"
    header, *rows = rows_of(page, "runs")
    figures = dict(zip(header, rows[3], strict=True))
    assert figures["test accuracy"] == figures["macro F1"] == figures["an epoch"] == ""


def test_many_recipes_are_told_apart_by_colour_mark_and_dashes(compared: list[Compared]) -> None:
    runs = [
        like(compared[0], recipe=dataclasses.replace(compared[0].facts.recipe, batch_size=n))
        for n in range(1, 21)
    ]
    assert len(groups_of(runs)) == 20
    page = page_of(runs)
    legend = re.search(r'(?s)<ul class="legend">(.*?)</ul>', page)
    assert legend is not None
    keys = re.findall(r"(?s)<svg class=\"key\".*?</svg>", legend[1])
    assert len(set(keys)) == 20


def test_runs_of_the_same_name_are_told_by_their_paths(
    seeds: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = copy_of(seeds[1], tmp_path / seeds[0].name)
    assert report(seeds[0], same, "--out", tmp_path / "page.html") == 0
    out = capsys.readouterr().out
    assert str(seeds[0]) in out and str(same) in out
    facts: list[RunFacts] = [read_run(seeds[0]), read_run(same)]
    assert facts[0].name == facts[1].name
    config = json.loads((same / "config.json").read_text())
    assert config["seed"] == 2
