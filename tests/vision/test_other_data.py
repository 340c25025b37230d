"""Every network trains on another data set than Fashion-MNIST, and evaluate and predict follow."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import made_data
import numpy as np
import pytest
from PIL import Image

from npmlp import commands, recipes, train
from npmlp.errors import DataError, RecipeError, RunError
from npmlp.evaluate import evaluate
from npmlp.predict import predict
from npmlp.predictions import network_of, predictions_of
from npmlp.preserved import preserved_settings
from npmlp.runs import RunFolder

SHAPE, N_CLASSES = (20, 24), 3
ARRAYS = made_data.patterns(SHAPE, N_CLASSES, n_train=600, n_test=90)
ARCHS = ("vanilla", "lenet", "mixer", "residual")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = made_data.write_patterns(tmp_path_factory.mktemp("data") / "bands", ARRAYS)
    (folder / "classes.txt").write_text("top\nmiddle\nbottom\n")
    return folder


def small(arch: str) -> recipes.Recipe:
    recipe = recipes.RECIPES[arch]
    size = 30 if recipe.validation != "none" else recipe.validation_size
    return dataclasses.replace(recipe, epochs=1, batch_size=20, validation_size=size)


def trained(arch: str, folder: Path, data: Path) -> RunFolder:
    with preserved_settings():
        return train.fit(
            small(arch), train.Run(out=str(folder / arch), data=str(data), report=False)
        )[1]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, data) -> dict[str, RunFolder]:
    """A run of each network on images of 20 × 24 pixels in three classes."""
    folder = tmp_path_factory.mktemp("runs")
    return {arch: trained(arch, folder, data) for arch in ARCHS}


@pytest.mark.parametrize("arch", ARCHS)
def test_it_is_learned_and_evaluated(runs, data, arch):
    folder = runs[arch]
    summary = folder.summary()
    assert summary is not None
    assert summary["test_accuracy"] > 0.6  # chance is 0.33
    for where in (None, str(data)):
        found = evaluate(folder.path, where)
        assert found.correct == summary["test_correct"] and found.count == summary["test_count"]
        assert [name for name, _, _ in found.per_class] == ["top", "middle", "bottom"]
    assert found.count == (60 if arch == "residual" else 90)


@pytest.mark.parametrize("arch", ARCHS)
def test_predictions_are_of_the_images_that_the_run_reports(runs, arch):
    found = predictions_of(runs[arch])
    n = 60 if arch == "residual" else 90
    assert found.images.shape == (n, *SHAPE) and found.images.dtype == np.uint8
    assert found.probabilities.shape == (n, N_CLASSES) and found.probabilities.dtype == np.float32
    np.testing.assert_array_equal(found.images, ARRAYS["test images"][found.indices])
    np.testing.assert_array_equal(found.labels, ARRAYS["test labels"][found.indices])
    assert len(set(found.indices.tolist())) == n
    # float32 probabilities of up to a thousand images, each sum rounded a few times
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-6)
    assert found.epoch == 1
    assert found.checkpoint == ("best.safetensors" if arch == "residual" else "last.safetensors")
    summary = runs[arch].summary()
    assert summary is not None and found.accuracy == summary["test_accuracy"]


def test_the_network_of_a_run_gives_its_predictions(runs):
    from npmlp import functions, no_grad
    from npmlp.from_recipe import one_image
    from npmlp.predictions import facts_of

    model, found = network_of(runs["lenet"]), predictions_of(runs["lenet"])
    assert not model.training
    recipe, facts = runs["lenet"].recipe(), facts_of(runs["lenet"])
    with no_grad():
        for i in (0, 1, 89):
            alone = functions.softmax(model(one_image(found.images[i], recipe, facts)), 1)
            # float32, and products of one row and of 90 are summed in different orders
            np.testing.assert_allclose(alone.numpy()[0], found.probabilities[i], atol=1e-5)


def test_the_run_keeps_the_facts_of_its_data(runs, data):
    facts = runs["vanilla"].config()["data"]
    assert facts["name"] == "bands" and facts["shape"] == [1, *SHAPE]
    assert facts["classes"] == ["top", "middle", "bottom"]
    unit = ARRAYS["train images"] / 255
    assert (facts["mean"], facts["deviation"]) == (round(unit.mean(), 4), round(unit.std(), 4))


def test_a_picture_takes_the_size_of_the_data_sets_images(runs, tmp_path):
    picture = Image.fromarray(ARRAYS["test images"][5]).resize((240, 200), Image.Resampling.NEAREST)
    picture.save(tmp_path / "large.png")
    Image.fromarray(ARRAYS["test images"][5]).save(tmp_path / "same.png")
    by_index, large, same = predict(
        runs["mixer"].path,
        ["5", f"{tmp_path / 'large.png'}", f"{tmp_path / 'same.png'}"],
        invert="no",
    )
    label = ["top", "middle", "bottom"][ARRAYS["test labels"][5]]
    assert by_index.note == f"labelled {label}"
    assert same.classes == by_index.classes and same.note == ""
    assert large.note == "scaled from 240 × 200"
    assert large.classes[0][0] == by_index.classes[0][0]


def test_a_size_that_the_network_cannot_take_is_a_sentence(tmp_path):
    made_data.write_patterns(tmp_path, made_data.patterns((13, 13), 3))
    for arch, message in [("mixer", "--patch 4: does not divide"), ("lenet", "13")]:
        with preserved_settings(), pytest.raises(RecipeError, match=message):
            train.fit(
                small(arch), train.Run(out=str(tmp_path / arch), data=str(tmp_path), report=False)
            )


def test_the_command_says_that_it_is_another_data_set(data, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "npmlp.train", "--epochs", "1", "--no-report", "--data", str(data)]
        + ["--out", str(tmp_path / "run")],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        f"vanilla: 48,403 parameters, 600 training images from {data} (this is not Fashion-MNIST "
        "but another data set: bands, 20 × 24 pixels, 3 classes); run folder"
    )


def test_a_resumed_run_goes_on_with_its_data(data, tmp_path):
    recipe = dataclasses.replace(small("vanilla"), epochs=2)
    _, whole = train.fit(
        recipe, train.Run(out=str(tmp_path / "whole"), data=str(data), report=False)
    )
    folder = tmp_path / "stopped"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.json").write_bytes((whole.path / "config.json").read_bytes())
    summary, _ = train.fit(recipe, train.Run(resume=str(folder), report=False))
    expected = whole.summary()
    assert expected is not None and summary["train_loss"] == expected["train_loss"]


def test_a_resumed_run_takes_its_data_from_a_folder_of_another_name(runs, data, tmp_path):
    folder = tmp_path / "stopped"
    (folder / "checkpoints").mkdir(parents=True)
    config = runs["vanilla"].config()
    config["data"]["source"] = str(tmp_path / "gone")
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copytree(data, tmp_path / "renamed")
    run = train.Run(resume=str(folder), data=str(tmp_path / "renamed"), report=False)
    with preserved_settings():
        summary, _ = train.fit(small("vanilla"), run)
    expected = runs["vanilla"].summary()
    assert expected is not None and summary["train_loss"] == expected["train_loss"]


def test_a_resumed_run_refuses_other_data(runs, data, tmp_path):
    folder = tmp_path / "stopped"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.json").write_bytes((runs["vanilla"].path / "config.json").read_bytes())
    other = made_data.write_patterns(tmp_path / "other", made_data.patterns(SHAPE, N_CLASSES))
    run = train.Run(resume=str(folder), data=str(other))
    with preserved_settings(), pytest.raises(RunError, match="was trained on other data, bands"):
        train.fit(small("vanilla"), run)


def test_a_run_whose_data_is_gone_asks_for_it(runs, tmp_path, capsys):
    config = runs["vanilla"].config()
    config["data"]["source"] = str(tmp_path / "gone")
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("best", "last"):
        source = runs["vanilla"].path / "checkpoints" / f"{name}.safetensors"
        (folder / "checkpoints" / source.name).write_bytes(source.read_bytes())
    with pytest.raises(
        DataError, match=rf"trained on bands from {tmp_path / 'gone'}, which is not there"
    ):
        evaluate(folder)
    from npmlp.evaluate import main

    assert commands.run(main, ["--run", str(folder)]) == 2
    assert "gone" in capsys.readouterr().err


def test_the_summary_is_of_the_data_that_is_named(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(["--arch", "mixer", "--data", str(data), "--summary"]) == 0
    monkeypatch.setenv("NPMLP_DATA", str(data))
    assert train.main(["--arch", "mixer", "--summary"]) == 0
    first, second = capsys.readouterr().out.split("mixer: ")[1:]
    assert first == second and first.startswith("a batch of 128 images of 1×20×24, 3 classes")
