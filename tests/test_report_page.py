"""The page of a run: what it says is what the run's files say, and it is whole in itself."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_runs import copy_of, text_of, trained

from npmlp import recipes, train, train_command
from npmlp.predictions import Predictions, network_of, predictions_of
from npmlp.recipes import RECIPES, Recipe
from npmlp.report.metrics import class_metrics
from npmlp.report.page import render_page
from npmlp.report.page_docs import safe_html
from npmlp.report.page_images import RIGHT_PER_CLASS, make_sheet
from npmlp.report.page_read import read_run
from npmlp.report.page_run import Results, RunFacts, command_line
from npmlp.runs import RunFolder


@pytest.fixture(scope="module")
def facts(finished: Path) -> RunFacts:
    return read_run(finished)


@pytest.fixture(scope="module")
def results(facts: RunFacts) -> Results:
    found = facts.results()
    assert found is not None
    return found


@pytest.fixture(scope="module")
def page(facts: RunFacts, results: Results) -> str:
    return render_page(facts, results)


def images_of(page: str) -> dict[str, Any]:
    """What the page says of the test images that it holds."""
    found = re.search(r'id="test-images">(.*?)</script>', page)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


# ------------------------------------------------------------------------------- what it says


def test_the_recipe_begins_with_what_differs_from_the_defaults(facts: RunFacts, page: str) -> None:
    changed, same = text_of(page).split("fields at their defaults", 1)
    said = {"None": "none", "False": "no", "True": "yes"}

    def text(recipe: Recipe, name: str) -> str:
        value = getattr(recipe, name)
        return f"{value:g}" if isinstance(value, float) else said.get(str(value), str(value))

    for name in {field.name for field in dataclasses.fields(Recipe)} - {"name"}:
        here, default = text(facts.recipe, name), text(Recipe(), name)
        if here != default:
            assert f" {name} {here} default {default} " in changed
        else:
            assert f" {name} {here} " in same
    assert " momentum 0.9 default 0 SGD's momentum, 0 to below 1 " in changed


def test_result_time_versions_machine_and_data_are_those_of_the_run(
    facts: RunFacts, page: str
) -> None:
    text = text_of(page)
    s = facts.summary
    assert s is not None
    assert f"Test accuracy {s['test_accuracy']:.4f} ({s['test_correct']:,} of 10,000" in text
    for value in facts.config["versions"].values():
        assert value in text
    for value in facts.config["machine"].values():
        assert str(value) in text
    assert f"{facts.config['kernels']} Threads {facts.config['threads']} Seed 1" in text
    assert "60,000, the first 6,010 used" in text
    assert "mean 0.286, deviation 0.353" in text
    assert "79,510 parameters" in text


def test_every_epoch_is_in_the_table_below_the_curves(facts: RunFacts, page: str) -> None:
    text = text_of(page)
    for row in facts.history:
        assert re.search(
            rf"{row['epoch']} {row['lr']:.4g} {row['train_loss']:.4g} "
            rf"{100 * row['train_accuracy']:.2f} % .*?{100 * row['test_accuracy']:.2f} %",
            text,
        )


def test_the_class_table_has_the_metrics(results: Results, page: str) -> None:
    text = text_of(page)
    for name, m in results.metrics["classes"].items():
        scores = f"{m['precision']:.3f} {m['recall']:.3f} {m['f1']:.3f} {m['support']:,}"
        assert f"{name} {scores}" in text
    for kind in ("macro", "weighted"):
        m = results.metrics[kind]
        assert f"{kind} mean {m['precision']:.3f} {m['recall']:.3f} {m['f1']:.3f} 10,000" in text


def test_the_matrix_has_the_counts_and_the_percentages_of_their_rows(
    results: Results, page: str
) -> None:
    cells = re.findall(
        r'<td data-true="(\d)" data-predicted="(\d)" data-count="(\d+)"[^>]*>(.*?)</td>', page
    )
    assert len(cells) == 100
    p = results.predictions
    for i, j, count, content in cells:
        of_class = p.labels == int(i)
        here = int((of_class & (p.predicted == int(j))).sum())
        assert int(count) == here
        if here:
            share = 100 * here / of_class.sum()
            written = re.fullmatch(r"(\d+)<small>([\d.]+)</small>", content)
            assert written is not None and int(written[1]) == here
            # shown with one digit, so at most half of its last place away
            assert abs(float(written[2]) - share) <= 0.05 + 1e-9


def test_mistakes_begin_with_the_most_confident(results: Results, page: str) -> None:
    section = text_of(re.search(r'(?s)<section id="mistakes">.*?</section>', page)[0])  # type: ignore[index]
    p = results.predictions
    wrong = np.flatnonzero(~p.right)
    worst = wrong[np.argmax(p.probabilities[wrong].max(axis=1))]
    assert section.startswith(
        f"Most confident mistakes {p.classes[p.predicted[worst]]} "
        f"{100 * p.probabilities[worst].max():.1f} % is {p.classes[p.labels[worst]]}"
    )


def test_a_warning_of_the_linter_has_its_paragraph_of_the_docs(
    finished: Path, tmp_path: Path
) -> None:
    run = copy_of(finished, tmp_path / "run")
    found = [{"rule": "zero-init", "text": "fc1 & fc2: all weights are zero", "epoch": None},
             {"rule": "dead-relus", "text": "half of the units are dead", "epoch": 2}]  # fmt: skip
    (run / "findings.json").write_text(json.dumps(found))
    page = render_page(read_run(run), None)
    text = text_of(page)
    assert "zero-init : fc1 & fc2: all weights are zero" in text
    assert "dead-relus (after epoch 2) : half of the units are dead" in text
    docs = (Path(__file__).parent.parent / "docs" / "mistakes.md").read_text()
    for rule in ("zero-init", "dead-relus"):
        assert f"docs/mistakes.md#{rule}" in text
        paragraph = re.search(rf"(?s)\n## {rule}\n\n(.*?)\n\n", docs)
        assert paragraph is not None
        assert " ".join(re.sub(r"[*`]", "", paragraph[1]).split()) in text


def test_the_docs_links_and_html_are_text_on_the_page() -> None:
    html = safe_html("See [rules.py](../npmlp/lint/rules.py), **and** <script>x</script>.")
    assert html == ("<p>See rules.py, <strong>and</strong> &lt;script&gt;x&lt;/script&gt;.</p>\n")


def test_predictions_that_differ_from_the_runs_count_are_said(
    finished: Path, results: Results, tmp_path: Path
) -> None:
    assert "The run counted" not in render_page(read_run(finished), results)
    run = copy_of(finished, tmp_path / "run")
    summary = json.loads((run / "summary.json").read_text())
    summary["test_correct"] += 3
    (run / "summary.json").write_text(json.dumps(summary))
    right = int(results.predictions.right.sum())
    assert f"The run counted {right + 3:,} of 10,000 test images as right, and" in text_of(
        render_page(read_run(run), results)
    )


@pytest.mark.parametrize("name", RECIPES)
def test_the_command_line_gives_the_same_recipe(facts: RunFacts, name: str) -> None:
    changed = {"seed": 7, "limit": 100, "nesterov": True, "momentum": 0.5, "optimizer": "sgd"}
    for changes in ({}, changed | {"clip_norm": 2.5, "name": "a 'name' of mine"}):
        recipe = recipes.from_dict(dataclasses.asdict(RECIPES[name]) | changes, "here")
        words = shlex.split(command_line(dataclasses.replace(facts, recipe=recipe)))
        assert words[:3] == ["python", "-m", "npmlp.train"]
        assert train_command.parse(words[3:], "npmlp.train", train.Run)[0] == recipe


# --------------------------------------------------------------------------- whole in itself


def test_a_page_asks_for_nothing_from_outside(page: str) -> None:
    without_images = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "data:", page)
    assert not re.search(r"https?:|//[a-z]", without_images.replace("// ", ""))
    for attribute in re.findall(r'(?:src|href|action|srcset)="([^"]*)"', without_images):
        assert attribute.startswith(("#", "data:"))
    assert set(re.findall(r"url\(([^)]*)\)", without_images)) == {"data:"}
    assert not re.search(r"@import|<link(?! rel=\"icon\")|<iframe|<script src|fetch\(", page)
    assert "default-src 'none'" in page


def test_names_are_text_and_not_html(finished: Path, results: Results, tmp_path: Path) -> None:
    run = copy_of(finished, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    evil = "<script>alert('x')<\u2044script>\"&"
    config["recipe"]["name"] = evil
    config["machine"]["system"] = evil
    (run / "config.json").write_text(json.dumps(config))
    p = dataclasses.replace(results.predictions, classes=(evil, *results.predictions.classes[1:]))
    page = render_page(read_run(run), Results(p, results.network, class_metrics(p)))
    assert "<script>alert" not in page
    assert images_of(page)["classes"][0] == evil
    assert text_of(page).count(evil) >= 5  # title, class table, matrix, images, machine


def test_a_page_stays_small_even_where_everything_is_wrong(
    facts: RunFacts, results: Results, page: str
) -> None:
    assert len(page) < 2_500_000
    p = results.predictions
    rng = np.random.default_rng(0)
    none_right = np.roll(np.eye(10, dtype=np.float32)[p.labels], rng.integers(1, 10), axis=1)
    wrong = dataclasses.replace(p, probabilities=none_right)
    crowded = render_page(facts, Results(wrong, results.network, class_metrics(wrong)))
    assert len(crowded) < 2_500_000
    kept = re.search(r"the ([\d,]+) most confident of 10,000 mistakes", text_of(crowded))
    assert kept is not None
    count = int(kept[1].replace(",", ""))
    assert count == len(images_of(crowded)["tiles"]) > 2000  # of 450 bytes each, 1.5 MB


def test_it_holds_every_mistake_and_its_pixels(results: Results, page: str) -> None:
    from PIL import Image

    p = results.predictions
    uri = re.search(r"\.thumb \{ background-image: url\(data:image/png;base64,([^)]+)\)", page)
    assert uri is not None
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri[1]))))
    tiles = images_of(page)["tiles"]
    assert {t[2] for t in tiles if t[3] != t[4]} == set(p.indices[~p.right].tolist())
    for actual in range(10):
        right = p.indices[(p.labels == actual) & p.right][:RIGHT_PER_CLASS]
        assert set(right.tolist()) <= {t[2] for t in tiles if t[3] == t[4] == actual}
    position = {int(index): i for i, index in enumerate(p.indices)}
    for x, y, index, actual, predicted, probability, probability_of_actual in tiles:
        i = position[index]
        assert np.array_equal(pixels[28 * y : 28 * y + 28, 28 * x : 28 * x + 28], p.images[i])
        assert (actual, predicted) == (p.labels[i], p.predicted[i])
        # four digits are kept
        assert abs(probability - float(p.probabilities[i].max())) <= 5e-5 + 1e-9
        assert abs(probability_of_actual - p.probabilities[i, actual]) <= 5e-5 + 1e-9


# ------------------------------------------------------------------------------- other data


def test_images_and_classes_of_any_size_have_a_page(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for shape, count, classes in (((9, 40), 300, 47), ((96, 96), 30, 2), ((28, 28), 1, 1)):
        p = Predictions(
            images=rng.integers(0, 256, (count, *shape), np.uint8),
            labels=rng.integers(0, classes, count),
            probabilities=rng.dirichlet(np.ones(classes), count).astype(np.float32),
            classes=tuple(f"class {i}" for i in range(classes)),
            indices=np.arange(count),
            loss=1.0,
            checkpoint="last.safetensors",
            epoch=1,
        )
        sheet = make_sheet(p, [0])
        assert len(sheet.tiles) >= int((~p.right).sum())
        few = make_sheet(p, [0], most_bytes=1)
        assert few.wrong_left_out + sum(t.actual != t.predicted for t in few.tiles.values()) == int(
            (~p.right).sum()
        )


def test_a_run_with_validation_marks_the_epoch_that_it_reports(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", name="chosen", validation="test", epochs=3)
    facts = read_run(run)
    folder = RunFolder(run)
    p = predictions_of(folder)
    page = render_page(facts, Results(p, network_of(folder), class_metrics(p)))
    text = text_of(page)
    assert f"epoch {facts.chosen_epoch} of 3, the best on 5,000 validation images" in text
    assert page.count('class="chosen"') == page.count('<figure class="chart">') >= 3
    assert "5,000 of the test images, which are not reported on" in text
    assert f"5,000 test images, classified by {p.checkpoint}" in text
