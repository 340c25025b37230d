"""Predicting: what becomes of pictures of every kind, and what is said about bad arguments."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from test_config import change_everything, settings

from npmlp import commands, train
from npmlp.errors import DataError
from npmlp.predict import MOST_PIXELS, main, predict, read_image
from npmlp.preserved import preserved_settings
from npmlp.recipes import Recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("runs") / "run"
    with preserved_settings():
        train.fit(Recipe(limit=500, epochs=1, seed=3), train.Run(out=str(folder), report=False))
    return str(folder)


def saved(folder: Path, picture: Image.Image, name: str = "picture.png", **kwargs: Any) -> Path:
    picture.save(folder / name, **kwargs)
    return folder / name


def ramp(most: int) -> np.ndarray[Any, Any]:
    """A bright square on black, its rows from dark to `most`."""
    values = np.zeros((28, 28))
    values[4:24, 4:24] = np.linspace(0.1, 1, 20)[:, None] * most
    return values


@pytest.mark.parametrize("side", [10_000, 20_000])
def test_a_picture_that_is_too_large_is_refused_with_its_size(tmp_path: Path, side: int) -> None:
    path = saved(tmp_path, Image.new("1", (side, side)))
    code = f"from npmlp.predict import read_image; read_image({str(path)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "Warning" not in done.stderr
    with pytest.raises(DataError) as error:
        read_image(path)
    size = f"{side:,} × {side:,}" if side == 10_000 else f"{side * side:,}"
    assert str(error.value) == (
        f"{path}: the picture has {size} pixels, and the limit is {MOST_PIXELS:,} pixels; make it "
        "smaller"
    )


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_sixteen_bits_of_grey_are_scaled_to_eight(tmp_path: Path, mode: str) -> None:
    values = ramp(65535).astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode])
    path = saved(tmp_path, Image.fromarray(values), "grey.tiff")
    with Image.open(path) as picture:
        assert picture.mode == mode
    pixels, note = read_image(path)
    # each value is rounded once from the exact quotient
    assert np.abs(pixels - values / 257.0).max() <= 0.501
    assert note == "0 … 65535 brought to 0 … 255"


def test_a_png_of_sixteen_bits_is_as_its_version_of_eight(tmp_path: Path) -> None:
    eight = ramp(255).astype(np.uint8)
    deep = saved(tmp_path, Image.fromarray(eight.astype(np.uint16) * 257), "deep.png")
    pixels, note = read_image(deep)
    assert pixels.tobytes() == eight.tobytes()
    assert note == "0 … 65535 brought to 0 … 255"


def test_floats_up_to_one_are_scaled_from_one(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(ramp(1).astype(np.float32)), "f.tiff")
    pixels, note = read_image(path)
    assert pixels.max() == 255
    assert note == "0 … 1 brought to 0 … 255"


def test_floats_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    values = ramp(1).astype(np.float32)
    values[0, 0] = np.nan
    path = saved(tmp_path, Image.fromarray(values), "f.tiff")
    with pytest.raises(DataError, match="not finite"):
        read_image(path)


@pytest.mark.parametrize(("colour", "behind"), [("black", "white"), ("white", "black")])
def test_a_drawing_on_a_transparent_background_is_bright_on_black(
    tmp_path: Path, colour: str, behind: str
) -> None:
    picture = Image.new("RGBA", (28, 28), (0, 0, 0, 0))
    ImageDraw.Draw(picture).rectangle((8, 8, 19, 19), fill=colour)
    pixels, note = read_image(saved(tmp_path, picture))
    expected = np.zeros((28, 28), np.uint8)
    expected[8:20, 8:20] = 255
    assert pixels.tolist() == expected.tolist()
    assert f"what is transparent made {behind}" in note
    assert ("inverted" in note) == (behind == "white")


def test_a_picture_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    values = np.zeros((28, 28), np.uint8)
    values[2:6, 4:24] = 255  # a bar at the top
    picture = Image.fromarray(values)
    exif = picture.getexif()
    exif[0x0112] = 6  # orientation: to be turned clockwise by a quarter
    pixels, _ = read_image(saved(tmp_path, picture, exif=exif))
    assert pixels.tolist() == np.rot90(values, -1).tolist()


def test_what_is_not_a_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(DataError, match=r"text.png: is not a picture"):
        read_image(tmp_path / "text.png")
    with pytest.raises(DataError, match="no such picture"):
        read_image(tmp_path / "nothing.png")


@pytest.mark.parametrize("name", ["²", "--5", "٣", "1_0"])
def test_what_only_resembles_a_number_is_a_file(run: str, name: str) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(name)}: there is no such picture"):
        predict(run, [name])


@pytest.mark.parametrize("index", ["-1", "10000", "9" * 5000])
def test_an_index_outside_the_test_set_is_refused(run: str, index: str) -> None:
    with pytest.raises(DataError, match="expected an index of 0 to 9999"):
        predict(run, [index])


def test_a_file_whose_name_is_a_number_is_named_with_its_folder(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, Image.fromarray(ramp(255).astype(np.uint8)), "12", format="PNG")
    monkeypatch.chdir(tmp_path)
    picture, image = predict(run, ["./12", "12"])
    assert (picture.name, image.name) == ("./12", "test image 12")


def test_the_folder_in_an_error_is_called_by_its_flag(run: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^--data: there is no folder"):
        predict(run, ["3"], str(tmp_path / "nowhere"))


def test_it_leaves_settings_as_they_were(run: str) -> None:
    with preserved_settings():
        change_everything()
        before = settings()
        assert len(predict(run, ["3", "4"])) == 2
        assert settings() == before


def test_top_says_how_many_classes_are_shown(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run(main, ["--run", run, "--top", "2", "3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    for top in ("0", "-1"):
        assert commands.run(main, ["--run", run, f"--top={top}", "3"]) == 2
        assert capsys.readouterr().err == f"error: --top: got {top}, expected at least 1\n"


def test_the_help_says_how_to_name_a_file_called_12(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "./12" in capsys.readouterr().out
