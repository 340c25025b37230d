"""Any data set in a folder: what is found, what is made of it, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import made_data
import numpy as np
import pytest

from npmlp.errors import DataError, RunError
from npmlp.vision.files import CLASSES, FILES, TEST, TRAIN, find_file
from npmlp.vision.images import (
    FASHION_MNIST_FACTS,
    DataFacts,
    load_image_data,
    load_test_images,
)

SHAPE, N_CLASSES = (12, 20), 3
ARRAYS = made_data.patterns(SHAPE, N_CLASSES)
NAMES = made_data.IDX_NAMES


@pytest.fixture(autouse=True)
def no_folder_is_named(monkeypatch):
    monkeypatch.delenv("NPMLP_DATA", raising=False)


@pytest.fixture(scope="module")
def fashion():
    """The folder that has Fashion-MNIST on this machine."""
    return Path(load_image_data().source)


@pytest.fixture
def copy_of_fashion(fashion, tmp_path):
    """A folder with links to the four files, to put others in their places."""
    for spec in FILES:
        found = find_file(fashion, spec.name)
        (tmp_path / found.name).symlink_to(found.resolve())
    return tmp_path


def same_arrays(data, arrays=ARRAYS):
    for role, values in arrays.items():
        found = getattr(data, role.replace(" ", "_"))
        np.testing.assert_array_equal(found, values)
        assert found.dtype == (np.uint8 if "images" in role else np.int64)


# ---- what is found ---------------------------------------------------------------------------


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("prefix", ["", "emnist-letters-"])
@pytest.mark.parametrize("inside", ["", "KMNIST/raw"])
def test_the_files_of_any_data_set_are_found(tmp_path, gzipped, prefix, inside):
    made_data.write_patterns(tmp_path / "d" / inside, ARRAYS, prefix, gzipped)
    data = load_image_data(tmp_path / "d")
    same_arrays(data)
    assert data.shape == (1, *SHAPE)
    assert data.classes == ("0", "1", "2")
    assert data.name == ("emnist-letters" if prefix else "KMNIST" if inside else "d")
    assert data.source == str(tmp_path / "d" / inside)


@pytest.mark.parametrize(
    "names",
    [
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
        ("t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"),
        ("test-images-idx3-ubyte", "test-labels-idx1-ubyte"),
    ],
)
def test_other_spellings_of_the_names_are_found(tmp_path, names):
    made_data.write_patterns(tmp_path, ARRAYS)
    part = "train" if names[0].startswith("train") else "test"
    for which, name in zip(("images", "labels"), names, strict=True):
        (tmp_path / NAMES[f"{part} {which}"]).rename(tmp_path / name)
    same_arrays(load_image_data(tmp_path))


def test_a_folder_with_several_data_sets_asks_for_one_of_them(tmp_path):
    other = made_data.patterns((8, 8), 4)
    raw = tmp_path / "EMNIST" / "raw"
    made_data.write_patterns(raw, ARRAYS, "emnist-letters-")
    made_data.write_patterns(raw, other, "emnist-digits-")
    with pytest.raises(DataError, match=f"several data sets; name one: {raw}/emnist-digits, "):
        load_image_data(tmp_path)
    same_arrays(load_image_data(raw / "emnist-letters"))
    same_arrays(load_image_data(raw / "emnist-digits"), other)
    made_data.write_patterns(tmp_path / "two" / "MNIST" / "raw", ARRAYS)
    made_data.write_patterns(tmp_path / "two" / "KMNIST" / "raw", ARRAYS)
    with pytest.raises(DataError, match=r"--data: .*name one: .*KMNIST/raw, .*/MNIST/raw$"):
        load_image_data(tmp_path / "two")


def test_of_several_in_a_torchvision_root_fashion_mnist_is_taken(tmp_path, copy_of_fashion):
    root = tmp_path / "root"
    made_data.write_patterns(root / "MNIST" / "raw", ARRAYS)
    (root / "FashionMNIST").mkdir()
    shutil.copytree(copy_of_fashion, root / "FashionMNIST" / "raw", ignore=lambda *_: ["root"])
    assert load_image_data(root).name == "Fashion-MNIST"


def test_the_environment_may_name_another_data_set(tmp_path, monkeypatch):
    monkeypatch.setenv("NPMLP_DATA", str(made_data.write_patterns(tmp_path / "d", ARRAYS)))
    assert load_image_data().name == "d"
    assert load_image_data(None).source == str(tmp_path / "d")
    (tmp_path / "d" / NAMES["train labels"]).unlink()
    with pytest.raises(DataError, match="no file with the train labels"):
        load_image_data()  # and not Fashion-MNIST in its place
    for empty in (tmp_path / "none", tmp_path):
        monkeypatch.setenv("NPMLP_DATA", str(empty))
        assert load_image_data().name == "Fashion-MNIST"


# ---- what is made of it ----------------------------------------------------------------------


def test_mean_and_deviation_are_those_of_the_training_pixels(tmp_path):
    data = load_image_data(made_data.write_patterns(tmp_path, ARRAYS))
    unit = ARRAYS["train images"] / 255
    assert data.mean == round(unit.mean(), 4)
    assert data.deviation == round(unit.std(), 4)


def test_labels_that_begin_with_one_make_a_class_that_never_occurs(tmp_path):
    letters = made_data.patterns((28, 28), 27, first=1)  # as in EMNIST letters
    data = load_image_data(made_data.write_patterns(tmp_path, letters))
    assert data.classes == tuple(map(str, range(27)))
    assert data.train_labels.min() == 1


def test_a_classes_txt_may_name_only_the_labels_that_there_are(tmp_path):
    folder = made_data.write_patterns(tmp_path, made_data.patterns((28, 28), 27, first=1))
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    (folder / "classes.txt").write_text("\n".join(letters))
    assert load_image_data(folder).classes == ("0", *letters)
    (folder / "classes.txt").write_text("\n".join(letters[:-1]))
    message = "has 25 names, expected 26: the labels go from 1 to 26"
    with pytest.raises(DataError, match=message):
        load_image_data(folder)


@pytest.mark.parametrize(
    "text", ["sock\nhat\nglove\n", "sock \r\nhat\r\nglove", "sock\nhat\nglove\n\n"]
)
def test_class_names_come_from_classes_txt(tmp_path, text):
    made_data.write_patterns(tmp_path, ARRAYS)
    (tmp_path / "classes.txt").write_text(text)
    assert load_image_data(tmp_path).classes == ("sock", "hat", "glove")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"sock\nhat\n", "has 2 names, expected 3: the labels go from 0 to 2"),
        (b"sock\n\nglove\n", "line 2 is empty"),
        (b"", "has 0 names, expected 3"),
        (b"s\xf6ck\nhat\nglove\n", "cannot be read .*utf-8"),
    ],
)
def test_a_wrong_classes_txt_is_refused(tmp_path, content, message):
    made_data.write_patterns(tmp_path, ARRAYS)
    (tmp_path / "classes.txt").write_bytes(content)
    with pytest.raises(DataError, match=f"classes.txt: {message}"):
        load_image_data(tmp_path)


def test_the_facts_of_a_data_set_are_json_and_come_back(tmp_path):
    data = load_image_data(made_data.write_patterns(tmp_path / "d", ARRAYS))
    config = json.loads(json.dumps({"data": data.facts()}))
    facts = DataFacts.from_config(config, "config.json")
    assert facts.shape == data.shape and facts.classes == data.classes
    assert (facts.train_count, facts.test_count) == (240, 60)
    assert facts.folder() == str(tmp_path / "d")
    facts.check(data)
    images, labels = load_test_images(facts)
    same = dataclasses.replace(data, test_images=images, test_labels=labels)
    same_arrays(same)


def test_a_run_from_before_has_the_facts_of_fashion_mnist():
    data = load_image_data()
    facts = DataFacts.from_config({}, "config.json")
    assert facts is FASHION_MNIST_FACTS
    facts.check(data)
    assert load_test_images(facts)[0].shape == (10_000, 28, 28)


@pytest.mark.parametrize("data", [3, None, {}, {"name": "x"}, {"shape": 3}])
def test_damaged_facts_are_refused(data):
    with pytest.raises(RunError, match=r"^run/config.json: its facts about the data are damaged"):
        DataFacts.from_config({"data": data}, "run/config.json")


@pytest.mark.parametrize("change", ["test images", "test labels", "train images", "classes"])
def test_other_data_than_the_runs_is_noticed(tmp_path, change):
    data = load_image_data(made_data.write_patterns(tmp_path / "d", ARRAYS))
    facts = DataFacts.from_config({"data": data.facts()}, "")
    arrays = {role: values.copy() for role, values in ARRAYS.items()}
    other = made_data.write_patterns(tmp_path / "other", arrays)
    if change == "classes":
        (other / "classes.txt").write_text("a\nb\nc")
    elif change == "test labels":
        arrays[change] = 2 - arrays[change]
    elif change == "test images":
        arrays[change][7, 3, 3] ^= 1
    else:
        arrays[change] //= 2
    made_data.write_patterns(other, arrays)
    with pytest.raises(RunError, match=r"was trained on other data, d from .*/d; name that folder"):
        facts.check(dataclasses.replace(load_image_data(other), name="d"))
    if "test" in change:
        with pytest.raises(DataError, match=r"not the test images of the run, which are d's from"):
            load_test_images(facts, other)


# ---- Fashion-MNIST, and what is not ----------------------------------------------------------


def test_fashion_mnist_is_known_by_its_content(fashion, copy_of_fashion):
    for folder in (None, fashion, copy_of_fashion):
        data = load_image_data(folder)
        assert (data.name, data.classes) == ("Fashion-MNIST", CLASSES)
        assert (data.mean, data.deviation) == (0.2860, 0.3530)
        assert "not Fashion-MNIST" not in data.origin


def test_another_data_set_says_so_plainly(tmp_path):
    data = load_image_data(made_data.write_patterns(tmp_path / "d", ARRAYS))
    assert data.origin == (
        f"{tmp_path / 'd'} (this is not Fashion-MNIST but another data set: d, 12 × 20 pixels, "
        "3 classes)"
    )


@pytest.mark.parametrize("spec", FILES, ids=lambda spec: spec.name)
def test_fashion_mnist_with_one_other_file_is_damaged(copy_of_fashion, fashion, spec):
    path = find_file(copy_of_fashion, spec.name)
    path.unlink()
    split, dims = (TRAIN if spec.name.startswith("train") else TEST), (28, 28)
    n = 60_000 if split is TRAIN else 10_000
    values = np.zeros((n, *dims) if spec is split.images else n, np.uint8)
    (copy_of_fashion / spec.name).write_bytes(made_data.idx_bytes(values))
    with pytest.raises(DataError, match=f"this is not Fashion-MNIST's {spec.name}, or it is damag"):
        load_image_data(copy_of_fashion)


# ---- what is refused -------------------------------------------------------------------------


def changed(**roles):
    return ARRAYS | {role.replace("_", " "): values for role, values in roles.items()}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (changed(train_labels=ARRAYS["train labels"][:-1]), "240 images in .* but 239 labels"),
        (changed(test_labels=ARRAYS["test labels"][:-1]), "60 images in .* but 59 labels"),
        (
            changed(test_labels=np.r_[ARRAYS["test labels"][:-1], 3].astype(np.uint8)),
            "t10k-labels.*: label 3 at index 59 is beyond the largest training label, 2",
        ),
        (
            changed(test_images=np.zeros((60, 20, 12), np.uint8)),
            "t10k-images-idx3-ubyte: images of 20 × 12 pixels, but those in .* have 12 × 20",
        ),
        (changed(train_images=ARRAYS["train labels"]), "train-images.*: uint8 of 1 dimensions"),
        (
            changed(train_images=np.zeros((240, *SHAPE), np.uint8)),
            "train-images-idx3-ubyte: all pixels are alike",
        ),
        (
            changed(train_labels=np.zeros(240, np.uint8)),
            "train-labels-idx1-ubyte: all labels are 0",
        ),
        (
            changed(test_images=np.zeros((0, *SHAPE), np.uint8), test_labels=np.zeros(0, np.uint8)),
            "t10k-images-idx3-ubyte: has no images",
        ),
        ({k: v for k, v in ARRAYS.items() if k != "test labels"}, "no file with the test labels"),
    ],
)
def test_damage_is_told_by_file_and_reason(tmp_path, arrays, message):
    made_data.write_patterns(tmp_path / "d", arrays)
    with pytest.raises(DataError, match=message) as caught:
        load_image_data(tmp_path / "d")
    assert str(tmp_path / "d") in str(caught.value)


@pytest.mark.parametrize("role", NAMES)
def test_a_file_cut_short_is_told(tmp_path, role):
    made_data.write_patterns(tmp_path, ARRAYS)
    path = tmp_path / NAMES[role]
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match=f"{path}: truncated"):
        load_image_data(tmp_path)


def test_a_folder_that_is_not_there_or_empty_or_a_file_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    for path, message in [
        (tmp_path / "none", "there is no folder"),
        (tmp_path, "has no data set"),
        (tmp_path / "file", "is not a folder"),
    ]:
        with pytest.raises(DataError, match=rf"^--data: .*{message}.*; leave it out to have"):
            load_image_data(path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]  # nothing is fetched into it
