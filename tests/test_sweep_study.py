"""The study: which cells it gives, and what it remembers; nothing is trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NoReturn

import pytest

from npmlp.recipes import RECIPES
from npmlp.sweep import Spec, SweepFolder
from npmlp.sweep.parent import Parent
from npmlp.sweep.space import Grid, Range, cells
from npmlp.sweep.study import Asked, Study

GRIDS: dict[str, Grid] = {
    "one cell": {"lr": (0.1,)},
    "numbers": {"lr": (0.1, 1e-5), "batch_size": (10, 2**53)},
    "words and none": {
        "init": ("zeros", "default"),
        "nesterov": (False,),
        "clip_norm": (None, 1.0),
    },
    "zero is not none": {"patience": (0, 1), "dropout": (0.0, 0.5), "limit": (None,)},
}


def opened(spec: Spec, folder: Path) -> Study:
    place = SweepFolder(folder)
    place.path.mkdir(exist_ok=True)
    return Study(spec, place)


def result(accuracy: float) -> dict[str, float]:
    return {"validation_accuracy": accuracy, "validation_loss": 1.0}


def ask(study: Study) -> Asked:
    asked = study.ask()
    assert asked is not None
    study.started(asked)
    return asked


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("seeds", [(0,), (-(2**53), 2**53)])
def test_a_new_study_gives_every_cell_once(
    grid: Grid, seeds: tuple[int, ...], tmp_path: Path
) -> None:
    spec = Spec(base=RECIPES["vanilla"], grid=grid, seeds=seeds)
    wanted = cells(spec.base, spec.grid, spec.seeds)
    study = opened(spec, tmp_path)
    assert study.fresh
    given = [ask(study).cell for _ in wanted]
    assert sorted(c.digest for c in given) == sorted(c.digest for c in wanted)
    by_digest = {c.digest: c for c in wanted}
    for cell in given:
        assert cell == by_digest[cell.digest]
    study.close()


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_what_is_remembered_is_what_was_told(grid: Grid, tmp_path: Path) -> None:
    spec = Spec(base=RECIPES["vanilla"], grid=grid)
    wanted = cells(spec.base, spec.grid, spec.seeds)
    study = opened(spec, tmp_path)
    first = ask(study)
    study.done(first, result(0.75))
    others = [ask(study) for _ in wanted[1:]]
    for asked in others[:1]:
        study.failed(asked, "it would not")
    study.close()  # and the rest is in flight: its parent is gone

    study = opened(spec, tmp_path)
    states = {digest: record.state for digest, record in study.records.items()}
    expected = {first.cell.digest: "done"} | {a.cell.digest: "missing" for a in others}
    if others:
        expected[others[0].cell.digest] = "failed"
    assert states == expected
    assert study.records[first.cell.digest].result == result(0.75)
    assert not study.fresh
    assert {trial.state.name for trial in study.study.trials} <= {"COMPLETE", "FAIL"}
    for asked in others[1:]:  # asked for by name, they are those
        again = study.ask(asked.cell)
        assert again is not None and again.cell is asked.cell
        study.started(again)
        study.done(again, result(0.5))
        assert study.records[asked.cell.digest].attempts == 2
    study.close()


def test_a_grid_grows_by_numbers_words_and_none(tmp_path: Path) -> None:
    before: Grid = {"lr": (0.1,), "clip_norm": (1.0,), "init": ("zeros",), "nesterov": (False,)}
    after: Grid = {
        "lr": (0.1, 3.0), "clip_norm": (1.0, None), "init": ("zeros", "default"),
        "nesterov": (False,),
    }  # fmt: skip
    study = opened(Spec(base=RECIPES["vanilla"], grid=before), tmp_path)
    study.done(ask(study), result(0.5))
    study.close()
    study = opened(Spec(base=RECIPES["vanilla"], grid=after), tmp_path)
    wanted = cells(study.spec.base, after, (0,))
    new = [cell for cell in wanted if cell.digest not in study.records]
    assert len(new) == 7
    for cell in new:
        asked = study.ask(cell)
        assert asked is not None
        study.started(asked)
        study.done(asked, result(0.5))
    study.close()


def test_what_a_cell_came_to_last_counts_and_a_result_for_good(tmp_path: Path) -> None:
    spec = Spec(base=RECIPES["vanilla"], grid={"lr": (0.1, 0.2, 0.3, 0.4)})
    study = opened(spec, tmp_path)

    def again(first: Asked, ending: str) -> None:
        asked = study.ask(first.cell)
        assert asked is not None
        study.started(asked)
        if ending == "done":
            study.done(asked, result(0.75))
        elif ending == "failed":
            study.failed(asked, "it would not")
        else:
            study.lost(asked)

    given = [ask(study) for _ in range(4)]
    for asked in given:
        study.pruned(asked, result(0.25))
    for asked, ending in zip(given[1:], ("done", "failed", "lost"), strict=True):
        again(asked, ending)
    expected = {
        asked.cell.digest: state
        for asked, state in zip(given, ("pruned", "done", "failed", "pruned"), strict=True)
    }
    for _ in range(2):  # as it went, and as it is read again
        assert {digest: record.state for digest, record in study.records.items()} == expected
        assert study.records[given[1].cell.digest].result == result(0.75)
        study.close()
        study = opened(spec, tmp_path)
    study.close()


def test_a_cell_that_is_done_again_is_no_further_choice_of_the_samplers(tmp_path: Path) -> None:
    spec = Spec(
        base=RECIPES["vanilla"], grid={}, ranges={"lr": Range(0.1, 0.5)}, sampler="tpe", trials=3
    )
    study = opened(spec, tmp_path)
    first, second, third = (ask(study) for _ in range(3))
    study.done(first, result(0.75))
    study.pruned(second, result(0.25))
    study.failed(third, "it would not")
    for asked in (second, third):
        again = study.ask(asked.cell)
        assert again is not None
        study.started(again)
        study.done(again, result(0.5))
    study.close()
    study = opened(spec, tmp_path)
    assert study.settled == 3
    assert [record.attempts for record in study.records.values()] == [1, 2, 2]
    study.close()


def test_of_tpe_too_what_was_pruned_is_trained_once_pruning_is_off(tmp_path: Path) -> None:
    spec = Spec(
        base=RECIPES["vanilla"], grid={}, ranges={"lr": Range(0.1, 0.5)}, sampler="tpe", trials=5,
        seeds=(3,),
    )  # fmt: skip
    study = opened(spec, tmp_path)
    done, pruned, failed = (ask(study) for _ in range(3))
    study.done(done, result(0.75))
    study.pruned(pruned, result(0.25))
    study.failed(failed, "it would not")
    study.close()

    study = opened(spec, tmp_path)
    for prune, retry_failed, expected in (
        (True, False, []),
        (False, False, [pruned]),
        (True, True, [failed]),
        (False, True, [pruned, failed]),
    ):
        spec = dataclasses.replace(spec, prune=prune)
        parent = Parent(spec, SweepFolder(tmp_path), study, no_pool, print, retry_failed)
        assert list(parent.again) == [asked.cell for asked in expected]
        assert parent.choices == 2  # the others of the five
    study.close()


def no_pool() -> NoReturn:
    raise AssertionError("nothing is to be trained")
