"""Finding and proving Fashion-MNIST: each kind of damage is told apart, and nothing bad is used."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path

import made_data
import numpy as np
import pytest

from npmlp.errors import DataError
from npmlp.vision import locate
from npmlp.vision.files import FILES, TEST, TRAIN, read_split
from npmlp.vision.locate import Place, load_splits, search_places

FILES_MADE = made_data.contents()
SPLITS = made_data.splits_of(FILES_MADE)
TRAIN_IMAGES, TRAIN_LABELS = TRAIN.images.name, TRAIN.labels.name


def load(folder, **kwargs):
    """Load the made-up data from a folder that was asked for, with a cache of its own beside it."""
    places = [Place(folder, "data folder", asked_for=True)]
    return load_splits(SPLITS, places, download=False, cache=folder.parent / "cache", **kwargs)


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("inside", ["", "FashionMNIST/raw"])
def test_a_folder_and_a_torchvision_root_are_read_gzipped_or_not(tmp_path, gzipped, inside):
    made_data.write(tmp_path / "d" / inside, FILES_MADE, gzipped)
    [(train_images, train_labels), (test_images, _)], source = load(tmp_path / "d")
    assert source == str(tmp_path / "d" / inside)
    assert train_images.shape == (30, 28, 28) and test_images.shape == (10, 28, 28)
    assert train_images.dtype == np.uint8 and train_labels.dtype == np.int64
    assert made_data.idx_bytes(train_images) == FILES_MADE[TRAIN_IMAGES]
    assert made_data.idx_bytes(train_labels.astype(np.uint8)) == FILES_MADE[TRAIN_LABELS]


def changed(name, content):
    return {**FILES_MADE, name: content}


def idx_labels(labels):
    return made_data.idx_bytes(np.array(labels, np.uint8))


IMAGES = FILES_MADE[TRAIN_IMAGES]
LABELS = FILES_MADE[TRAIN_LABELS]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has none of Fashion-MNIST's files"),
        ({k: v for k, v in FILES_MADE.items() if k != TRAIN_LABELS}, f"has no {TRAIN_LABELS}"),
        (changed(TRAIN_IMAGES, IMAGES[:-100]), f"{TRAIN_IMAGES}.*: truncated"),
        (changed(TRAIN_IMAGES, b"PK\3\4" + IMAGES), f"{TRAIN_IMAGES}.*: .*magic number"),
        (changed(TRAIN_IMAGES, LABELS), f"{TRAIN_IMAGES}.*: uint8 of 1 dimensions, expected"),
        (changed(TRAIN_LABELS, idx_labels([1] * 29)), "30 images in .* but 29 labels"),
        (changed(TRAIN_LABELS, idx_labels([1] * 29 + [10])), "label 10 at index 29 .* outside 0…9"),
        (changed(TRAIN_IMAGES, IMAGES[:-1] + bytes([IMAGES[-1] ^ 1])), "is not Fashion-MNIST's"),
        (changed(TRAIN_LABELS, idx_labels([1] * 30)), f"{TRAIN_LABELS}.* SHA-256 .* expected"),
        (made_data.contents(seed=1), f"is not Fashion-MNIST's {TRAIN_IMAGES}, or it is damaged"),
    ],
)
@pytest.mark.parametrize("gzipped", [False, True])
def test_each_damage_of_a_folder_that_was_asked_for_is_told(tmp_path, files, message, gzipped):
    made_data.write(tmp_path / "d", files, gzipped)
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path / "d")
    assert str(tmp_path / "d") in str(caught.value)


def test_a_missing_folder_and_a_file_in_its_place_are_told(tmp_path):
    with pytest.raises(DataError, match=r"data folder: there is no folder .*nowhere"):
        load(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file is not a folder"):
        load(tmp_path / "file")


def test_a_gzip_cut_short_is_told(tmp_path):
    made_data.write(tmp_path / "d", FILES_MADE, gzipped=True)
    path = tmp_path / "d" / f"{TRAIN_IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DataError, match=rf"{re.escape(path.name)}: the gzip file is cut short"):
        load(tmp_path / "d")


def test_without_verify_another_data_set_is_let_in_but_not_a_damaged_one(tmp_path):
    made_data.write(tmp_path / "other", made_data.contents(seed=1))
    arrays, _ = load(tmp_path / "other", verify=False)
    assert arrays[0][0].shape == (30, 28, 28)
    made_data.write(tmp_path / "bad", changed(TRAIN_LABELS, idx_labels([1] * 29)))
    with pytest.raises(DataError, match="30 images"):
        load(tmp_path / "bad", verify=False)


def test_real_fashion_mnist_has_the_sizes_and_hashes_of_its_publisher():
    from npmlp.vision.images import load_image_data

    data = load_image_data()  # fetched where this machine has none; proved by SHA-256
    assert data.train_images.shape == (60000, 28, 28) and data.test_images.shape == (10000, 28, 28)
    np.testing.assert_array_equal(np.bincount(data.train_labels), [6000] * 10)
    np.testing.assert_array_equal(np.bincount(data.test_labels), [1000] * 10)
    # shared by everyone who normalises Fashion-MNIST: mean 0.2860, standard deviation 0.3530
    assert round(data.train_images.mean() / 255, 4) == 0.2860
    assert round(data.train_images.std() / 255, 4) == 0.3530
    # a made-up set of the right shapes is not the real one
    assert [spec.size for spec in FILES] == [47_040_016, 60_008, 7_840_016, 10_008]


def test_a_made_up_set_is_refused_as_fashion_mnist_with_file_and_hash(tmp_path):
    made_data.write(tmp_path / "d", FILES_MADE)
    with pytest.raises(
        DataError, match=rf"{TRAIN_IMAGES}: .* {SPLITS[0].images.sha256}, expected c59f"
    ):
        read_split(tmp_path / "d", TRAIN)
    with pytest.raises(DataError, match=f"{TEST.images.name}: .* {SPLITS[1].images.sha256}"):
        read_split(tmp_path / "d", TEST)


# ---- the order of places ---------------------------------------------------------------------


def test_the_places_come_in_the_order_of_the_documentation(monkeypatch):
    monkeypatch.setenv("NPMLP_DATA", "/from/the/environment")
    assert [place.folder for place in search_places()] == [
        Path("/from/the/environment"),
        locate.cache_folder(),
        Path("/usr/share/datasets/fashion-mnist"),
        Path("data/FashionMNIST/raw"),
    ]


def test_a_damaged_place_is_passed_over_and_the_next_one_used(tmp_path):
    made_data.write(tmp_path / "damaged", changed(TRAIN_IMAGES, IMAGES[:-100]))
    made_data.write(tmp_path / "good", FILES_MADE)
    places = [
        Place(tmp_path / "none", "a"),
        Place(tmp_path / "damaged", "b"),
        Place(tmp_path / "good", "c"),
    ]
    _, source = load_splits(SPLITS, places, download=False, cache=tmp_path / "cache")
    assert source == str(tmp_path / "good")


def test_where_no_place_serves_the_error_says_each_and_what_to_type(tmp_path):
    made_data.write(tmp_path / "damaged", changed(TRAIN_IMAGES, IMAGES[:-100]))
    places = [Place(tmp_path / "none", "first"), Place(tmp_path / "damaged", "second")]

    def no_network(target, files, *, cache):
        raise DataError("  a mirror: no connection")

    with pytest.raises(DataError) as caught:
        load_splits(SPLITS, places, cache=tmp_path / "cache", fetch=no_network)
    message = str(caught.value)
    for part in (
        f"first: there is no folder {tmp_path / 'none'}",
        "second: ",
        "truncated",
        "a mirror: no connection",
        "apt-get install dataset-fashion-mnist",
        "--data FOLDER",
        "NPMLP_DATA",
    ):
        assert part in message


def test_what_was_gzipped_is_kept_plain_in_the_cache_and_found_there_first(tmp_path):
    made_data.write(tmp_path / "packed", FILES_MADE, gzipped=True)
    places = [Place(tmp_path / "cache", "cache"), Place(tmp_path / "packed", "packed")]
    first, source = load_splits(SPLITS, places, cache=tmp_path / "cache")
    assert source == str(tmp_path / "packed")
    again, source = load_splits(SPLITS, places, cache=tmp_path / "cache")
    assert source == str(tmp_path / "cache")
    for (a, b), (c, d) in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)
    for name, content in FILES_MADE.items():
        assert (tmp_path / "cache" / name).read_bytes() == content
    assert not list((tmp_path / "cache").glob(".*"))  # no partial file is left


def test_a_folder_that_was_asked_for_is_not_copied_into_the_cache(tmp_path):
    made_data.write(tmp_path / "d", FILES_MADE, gzipped=True)
    load(tmp_path / "d")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["verified.json"]


def test_a_cache_that_cannot_be_written_does_not_stop_a_load(tmp_path):
    made_data.write(tmp_path / "packed", FILES_MADE, gzipped=True)
    (tmp_path / "cache").write_text("a file where the folder should be")
    places = [Place(tmp_path / "packed", "packed")]
    arrays, _ = load_splits(SPLITS, places, cache=tmp_path / "cache")
    assert arrays[0][0].shape == (30, 28, 28)


# ---- proved once -----------------------------------------------------------------------------


def flip_last_byte(path, keep_time):
    stat = path.stat()
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    if keep_time:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    else:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


def test_a_file_that_changed_after_it_was_proved_is_proved_again(tmp_path):
    made_data.write(tmp_path / "d", FILES_MADE)
    load(tmp_path / "d")
    flip_last_byte(tmp_path / "d" / TRAIN_IMAGES, keep_time=False)
    with pytest.raises(DataError, match="is not Fashion-MNIST's"):
        load(tmp_path / "d")


def test_a_file_that_did_not_change_is_not_hashed_again(tmp_path):
    # The one way to see it from outside: a change that keeps size and time is not noticed.
    made_data.write(tmp_path / "d", FILES_MADE)
    load(tmp_path / "d")
    flip_last_byte(tmp_path / "d" / TRAIN_IMAGES, keep_time=True)
    load(tmp_path / "d")


def test_a_note_for_one_data_set_is_no_proof_for_another(tmp_path):
    files = made_data.contents(seed=1)
    made_data.write(tmp_path / "d", files)
    places, cache = [Place(tmp_path / "d", "data folder", asked_for=True)], tmp_path / "cache"
    load_splits(made_data.splits_of(files), places, download=False, cache=cache)
    with pytest.raises(DataError, match="is not Fashion-MNIST's"):
        load_splits(SPLITS, places, download=False, cache=cache)


@pytest.mark.parametrize("content", ["", "[]", "not json", '{"/a": 3}'])
def test_damaged_notes_count_as_none(tmp_path, content):
    made_data.write(tmp_path / "d", FILES_MADE)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "verified.json").write_text(content)
    load(tmp_path / "d")


def test_gzip_files_that_were_recompressed_are_the_same_data(tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    for name, content in FILES_MADE.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content, compresslevel=1, mtime=7))
    load(folder)
