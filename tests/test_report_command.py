"""`python -m npmlp.report` from the outside: what it writes, what it says, what it refuses."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from report_runs import copy_of, files_of, report, summary_of, text_of, trained

from npmlp import checkpoint, commands
from npmlp.__main__ import dispatch
from npmlp.report import write_report
from npmlp.runs import RunFolder

FILES = [
    "curves.png", "confusion.png", "samples.png", "mistakes.png", "weights.png", "metrics.json",
    "report.html",
]  # fmt: skip


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return copy_of(finished, tmp_path / "runs" / "one")


@pytest.fixture
def begun(run: Path) -> Path:
    """A run that was killed before its first epoch ended."""
    for path in (run / "summary.json", run / "metrics.jsonl", *run.glob("checkpoints/*")):
        path.unlink()
    return run


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("other") / "other", seed=5)


# ------------------------------------------------------------------------------------- one run


def test_write_report_writes_pictures_figures_and_the_page(run: Path) -> None:
    before = files_of(run)
    written = write_report(RunFolder(run))
    assert [path.name for path in written] == FILES
    assert all(path.parent == run and path.stat().st_size > 500 for path in written)
    assert {name: content for name, content in files_of(run).items() if name in before} == before
    assert files_of(run).keys() - before.keys() == set(FILES)


def test_the_command_says_the_result_and_where_the_page_is(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert commands.run(dispatch, ["report", str(run), "--out", str(page)]) == 0
    lines = capsys.readouterr().out.splitlines()
    s = summary_of(run)
    assert f"test accuracy {s['test_accuracy']:.4f} ({s['test_correct']:,} of 10,000" in lines[0]
    assert lines[-1].split() == ["report", str(page)]


def test_out_takes_the_page_elsewhere_and_leaves_the_folder_alone(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_of(run)
    assert report(run, "--out", tmp_path / "page.html") == 0
    assert files_of(run) == before
    assert "</html>" in (tmp_path / "page.html").read_text()
    assert str(tmp_path / "page.html") in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_a_sentence(
    begun: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not hasattr(os, "geteuid"):
        pytest.skip("folders have no owner here")
    root = os.geteuid() == 0  # whom nothing stops: for a moment the test is another user
    with tempfile.TemporaryDirectory() as place:  # pytest's own folders are closed to others
        Path(place).chmod(0o755)
        kept = copy_of(begun, Path(place) / "run")
        kept.chmod(0o555)
        try:
            if root:
                os.seteuid(65534)
            code = report(kept)
        finally:
            if root:
                os.seteuid(0)
            kept.chmod(0o755)
        assert files_of(kept).keys() == {"config.json", "run.lock"}
    assert code == 2
    assert re.fullmatch(
        r"error: \S+/report\.html: cannot be written \(Permission denied\); .*--out.*\n",
        capsys.readouterr().err,
    )


def test_a_run_before_its_first_epoch_is_reported(
    begun: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(begun) == 0
    out = capsys.readouterr().out
    assert "is unfinished: none of 3 epochs is done yet" in out
    page = text_of((begun / "report.html").read_text())
    assert "none of 3 epochs is done yet" in page and "There is no checkpoint yet" in page
    assert files_of(begun).keys() == {"config.json", "run.lock", "report.html"}


# --------------------------------------------------------------------------------- broken runs


def replaced(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        text = (run / name).read_text()
        assert old in text
        (run / name).write_text(text.replace(old, new, 1))

    return change


def with_content(name: str, content: str) -> Callable[[Path], None]:
    return lambda run: (run / name).write_text(content) and None


def appended(name: str, text: str) -> Callable[[Path], None]:
    return lambda run: (run / name).write_text((run / name).read_text() + text) and None


def removed(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).unlink()


def cut(name: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[: len(content) // 2])

    return change


def of_another_recipe(run: Path) -> None:
    path = run / "checkpoints" / "last.safetensors"
    content = checkpoint.read(path)
    content["recipe"] |= {"lr": 0.7}
    checkpoint.write(path, content)


LAST = "checkpoints/last.safetensors"
BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "no config": (removed("config.json"), r"is not the folder of a run \(config\.json"),
    "config cut": (cut("config.json"), r"config\.json: is damaged"),
    "config is a list": (with_content("config.json", "[]"), r"config\.json: is damaged"),
    "config without recipe": (replaced("config.json", '"recipe"', '"x"'), r"json: has no recipe"),
    "config versions": (replaced("config.json", '"versions": {', '"versions": 3, "v": {'),
                        r"config\.json: is damaged \('versions'"),
    "config data": (replaced("config.json", '"mean"', '"means"'), r"config\.json: .*damaged"),
    "no metrics": (removed("metrics.jsonl"), r"metrics\.jsonl: has 0 rows"),
    "metrics cut": (replaced("metrics.jsonl", "}\n", "\n"), r"metrics\.jsonl, line 1: is damaged"),
    "metrics last line": (appended("metrics.jsonl", "{\n"),
                          r"metrics\.jsonl, line 4: is damaged"),
    "metrics row lost": (replaced("metrics.jsonl", '{"epoch": 1', '{"epoch": 2'),
                         r"metrics\.jsonl, line 1: is damaged \(it is of epoch 2, expected 1"),
    "metrics field lost": (replaced("metrics.jsonl", '"lr"', '"rl"'),
                           r"metrics\.jsonl, line 1: is damaged \(it lacks lr"),
    "metrics text": (replaced("metrics.jsonl", '"train_loss": ', '"train_loss": "?", "x": '),
                     r"metrics\.jsonl, line 1: is damaged \(train_loss is '\?'"),
    "metrics binary": (lambda run: (run / "metrics.jsonl").write_bytes(b"\xff\x00") and None,
                       r"metrics\.jsonl: is damaged"),
    "summary cut": (cut("summary.json"), r"summary\.json: is damaged"),
    "summary text": (replaced("summary.json", '"test_count": ', '"test_count": "?", "x": '),
                     r"summary\.json: is damaged \(test_count"),
    "summary of another run": (replaced("summary.json", '"epochs": 3', '"epochs": 9'),
                               r"metrics\.jsonl: has 3 rows and summary\.json speaks of 9 epochs"),
    "findings": (with_content("findings.json", '[{"rule": 1}]'), r"findings\.json: is damaged"),
    "no checkpoint": (removed(LAST), r"has no checkpoint last\.safetensors.*missing"),
    "checkpoint cut": (cut(LAST), r"last\.safetensors"),
    "checkpoint of another run": (of_another_recipe, r"last\.safetensors: belongs to another"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_run_is_a_sentence_that_names_the_file(
    what: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, message = BROKEN[what]
    damage(run)
    before = files_of(run)
    assert report(run) == 2
    said = capsys.readouterr()
    assert re.fullmatch(rf"error: .*{message}.*\n", said.err), said.err
    assert str(run) in said.err and not said.out
    assert files_of(run) == before


def test_what_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for args, message in [
        ([tmp_path / "nowhere"], r"nowhere: is not the folder of a run"),
        ([tmp_path], r"is not the folder of a run"),
        ([], r"which run\?"),
    ]:
        assert report(*args) == 2
        assert re.search(rf"^error: .*{message}", capsys.readouterr().err)


def test_a_page_has_the_name_of_a_page(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files_of(run)
    assert report(run, "--out", run / "config.json") == 2
    assert "expected the name of a page" in capsys.readouterr().err
    assert report(run, "--out", run / "no" / "page.html") == 2
    assert "page.html: cannot be written" in capsys.readouterr().err
    assert files_of(run) == before


# -------------------------------------------------------------------------------- several runs


def test_the_page_that_compares_is_written_beside_the_first_run_and_over_no_other(
    run: Path, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soon = [time.strftime("%Y%m%d-%H%M%S", time.localtime(time.time() + s)) for s in range(60)]
    for moment in soon:
        (run.parent / f"comparison-{moment}.html").write_text("an earlier page")
    assert report(run, other) == 0
    earlier = [run.parent / f"comparison-{moment}.html" for moment in soon]
    assert {page.read_text() for page in earlier} == {"an earlier page"}
    (page,) = set(run.parent.glob("comparison-*.html")) - set(earlier)
    out = capsys.readouterr().out
    assert f"report         {page}" in out and "</html>" in page.read_text()
    assert "one    npmlp" in out and "other  npmlp" in out


BROKEN_AMONG_OTHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no run": (shutil.rmtree, r"is not the folder of a run \(config\.json"),
    "no config": (removed("config.json"), r"is not the folder of a run \(config\.json"),
    "no checkpoint": (removed(LAST), r"has no checkpoint last\.safetensors"),
    "checkpoint cut": (cut(LAST), r".*/broken/checkpoints/last\.safetensors is not a whole file"),
    "no data": (replaced("config.json", '"test_sha256": "', '"test_sha256": "0'),
                r".*: these are not the test images of the run"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN_AMONG_OTHERS)
def test_of_several_runs_a_broken_one_is_left_out_and_named(
    what: str, run: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, message = BROKEN_AMONG_OTHERS[what]
    broken = copy_of(other, run.parent / "broken")
    damage(broken)
    out = tmp_path / "page.html"
    assert report(broken, run, other, "--out", out) == 1
    said = capsys.readouterr()
    assert re.fullmatch(rf"warning: left out {broken}: {message}.*\n", said.err), said.err
    first_words = [line.split()[0] for line in said.out.splitlines()]
    assert first_words == ["one", "other", "report"]
    page = out.read_text()
    (note,) = re.findall(r'<p class="notice" role="note">(.*?)</p>', page)
    assert re.fullmatch(rf"Left out {broken}: {message}.*", note)
    assert page.index("Left out") < page.index('id="runs"')
    assert "2 of 3 runs compared" in text_of(page)


def test_one_run_that_can_be_read_is_enough_for_the_page_beside_it(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(tmp_path / "nowhere" / "a", run, tmp_path / "nowhere" / "b") == 1
    (page,) = run.parent.glob("comparison-*.html")
    assert "1 of 3 runs compared" in page.read_text()
    assert capsys.readouterr().err.count("warning: left out") == 2
    assert report(run.parent, run, "--out", page, "--debug") == 1
    assert "Traceback" in capsys.readouterr().err


def test_where_no_run_can_be_read_nothing_is_written(
    run: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = copy_of(other, run.parent / "broken")
    for path in (run, broken):
        cut(LAST)(path)
    before = files_of(tmp_path)
    assert report(run, broken) == 2
    said = capsys.readouterr()
    assert (
        re.fullmatch(r"error: .*one/checkpoints/last\.safetensors.*\n", said.err) and not said.out
    )
    assert files_of(tmp_path) == before


def test_runs_star_works_again_beside_the_pages_of_before(
    run: Path, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy_of(other, run.parent / "two")
    for pages in (0, 1):
        assert report(*sorted(run.parent.iterdir())) == 0
        out = capsys.readouterr().out
        assert out.count("left out") == pages
    assert report(run, run.parent / "one" / ".") == 2
    assert "named twice" in capsys.readouterr().err
