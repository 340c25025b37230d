"""What a sweep's command line and grid files mean, and which are refused; nothing is trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from npmlp import commands, recipes, sweep
from npmlp.errors import NpmlpError
from npmlp.sweep import space
from npmlp.sweep.command import parse
from npmlp.sweep.spec import Spec

LENET = ("--recipe", "lenet")
NO_SEED = (
    "seed cannot be swept: the best of several seeds is the luckiest; write --seeds 0,1,2, and "
    "every cell is trained with each of them and ranked by the mean"
)


def spec(*args: object) -> Spec:
    return parse([str(arg) for arg in args])[0]


def cells(*args: object) -> list[space.Cell]:
    s = spec(*args)
    return space.cells(s.base, s.grid, s.seeds)


# ----------------------------------------------------------------------------------- what is swept


def test_the_issues_command_means_six_cells_of_ten_epochs() -> None:
    found = cells(
        *LENET, "--grid", "batch_size=10,20,50", "--grid", "lr=.01,.001", "--epochs", "10"
    )
    assert [(c.recipe.batch_size, c.recipe.lr) for c in found] == [
        (b, lr) for b in (10, 20, 50) for lr in (0.01, 0.001)
    ]
    for cell in found:
        assert (cell.recipe.arch, cell.recipe.epochs, cell.recipe.seed) == ("lenet", 10, 0)
        # ranked on 5,000 training images, the same for all cells
        assert (cell.recipe.validation, cell.recipe.validation_size) == ("train", 5000)
        assert cell.digest == recipes.digest(cell.recipe)
    assert len({cell.digest for cell in found}) == 6


def test_lenet_batch_lr_is_the_first_grid_of_the_project() -> None:
    found = cells("--grid-file", "lenet-batch-lr")
    sizes = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
    assert {(c.recipe.batch_size, c.recipe.lr) for c in found} == {
        (size, lr) for size in sizes for lr in (0.01, 0.001, 0.0001, 0.00001)
    }
    assert len(found) == 40
    assert {(c.recipe.arch, c.recipe.optimizer, c.recipe.epochs) for c in found} == {
        ("lenet", "adam", 10)
    }


def test_lenet_inputs_is_the_second() -> None:
    found = cells("--grid-file", "lenet-inputs")
    assert {(c.recipe.batch_size, c.recipe.lr, c.recipe.normalize) for c in found} == {
        (size, lr, inputs)
        for size in (10, 20, 50, 100)
        for lr in (0.01, 0.001)
        for inputs in ("scale", "standardize")
    }
    assert len(found) == 16
    assert {(c.recipe.arch, c.recipe.epochs) for c in found} == {("lenet", 20)}


def test_flags_override_a_grid_file_and_add_to_its_grid(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text('{"recipe": "mixer", "epochs": 3, "limit": 100, "grid": {"patch": [4, 7]}}')
    found = cells("--grid-file", path, "--epochs", 5, "--grid", "dropout=0,.1")
    assert [(c.recipe.patch, c.recipe.dropout) for c in found] == [
        (4, 0.0), (4, 0.1), (7, 0.0), (7, 0.1)
    ]  # fmt: skip
    assert {(c.recipe.arch, c.recipe.epochs, c.recipe.limit) for c in found} == {("mixer", 5, 100)}
    path.write_text('{"recipe": "mixer", "grid": {"lr": [0.1]}}')
    assert cells("--grid-file", path, "--recipe", "residual")[0].recipe.arch == "residual"


def test_values_of_every_kind_are_read() -> None:
    found = spec(
        "--grid", "clip_norm=none,1", "--grid", "batch-size=5", "--grid", "nesterov=true,false",
        "--grid", "init=zeros,default", "--momentum", ".9",
    )  # fmt: skip
    assert found.grid == {
        "clip_norm": (None, 1.0), "batch_size": (5,), "nesterov": (True, False),
        "init": ("zeros", "default"),
    }  # fmt: skip


def test_a_scheduler_with_an_address_is_dasks_and_one_without_the_recipes() -> None:
    swept, flags = parse(["--grid", "lr=.1", "--scheduler", "tcp://host:8786"])
    assert (swept.base.scheduler, flags.dask) == ("plateau", "tcp://host:8786")
    swept, flags = parse(["--grid", "lr=.1", "--scheduler=cosine", "--scheduler=host:8786"])
    assert (swept.base.scheduler, flags.dask) == ("cosine", "host:8786")


def test_a_sweeps_name_stands_for_all_but_the_values() -> None:
    name = spec("--grid", "lr=.1,.2", "--epochs", 3).name
    assert name.startswith("vanilla-lr-")
    assert spec("--grid", "lr=.5", "--epochs", 3).name == name
    assert spec("--grid", "lr=.5", "--epochs", 3, "--seeds", "1,2").name == name
    assert spec("--grid", "lr=.1,.2", "--epochs", 4).name != name
    assert spec("--grid", "lr=.1", "--grid", "momentum=0", "--epochs", 3).name != name
    tpe = ("--sampler", "tpe", "--trials", 3, "--range", "lr=.1..1")
    assert spec(*tpe).name == spec(*tpe, "--trials", 5).name
    assert spec(*tpe, "--seed", 1).name != spec(*tpe).name  # its old trials are of another seed


def test_a_field_may_have_an_effect_in_some_cells_alone() -> None:
    spec("--grid", "scheduler=none,step", "--grid", "step_size=1,2")
    spec("--grid", "arch=vanilla,mixer", "--patch", 7)
    spec("--sampler", "tpe", "--trials", 3, "--range", "weight_decay=0..0.1", "--decay", "weights")


# --------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "there is nothing to sweep; add --grid lr=.1,.01"),
        (("--grid", "batchsize=1"), "--grid: a recipe has no field 'batchsize'; did you mean bat"),
        (("--grid", "lr"), "--grid lr: expected a field and its values, such as"),
        (("--grid", "lr="), "--grid lr=: lr has no values; write such as"),
        (("--grid", "lr=.1,"), "--grid lr=.1,: got '', expected a number above 0"),
        (("--grid", "lr=fast"), "--grid lr=fast: got 'fast', expected a number above 0"),
        (("--grid", "lr=.1,0"), "--grid lr=.1,0: got 0.0, expected a number above 0"),
        (("--grid", "lr=.1,0.1"), "--grid lr=.1,0.1: 0.1 is there twice"),
        (("--grid", "epochs=1.5"), "--grid epochs=1.5: got '1.5', expected a whole number"),
        (("--grid", "init=xavier"), "--grid init=xavier: got 'xavier', expected one of default"),
        (("--grid", "lr=.1", "--grid", "lr=.2"), "lr is in the grid already; give all its values"),
        (("--grid", "lr=.1", "--lr", "1"), "--lr: lr is swept; leave the flag out"),
        (("--grid", "name=a,b"), "name cannot be swept: a name changes no number"),
        (("--grid", "validation=none"), "validation cannot be swept: a sweep ranks its cells on"),
        (("--grid", "lr=.1", "--validation", "test"), "--validation: a sweep always ranks on tr"),
        (("--grid", "seed=0,1,2"), f"--grid seed=0,1,2: {NO_SEED}"),
        (("--sampler", "tpe", "--trials", "3", "--range", "seed=0..9"), f"seed=0..9: {NO_SEED}"),
        (("--grid", "lr=.1", "--seeds", "9999999999999999"), "a study keeps whole numbers up to 2"),
        (("--grid", "optimizer=sgd,adam", "--momentum", ".5"), "the cell optimizer=adam: --moment"),
        (("--grid", "lr=" + ",".join(map(str, range(1, 10002)))), "makes 10,001 cells, and a swe"),
        (("--grid", "patch=4,7"), "--grid patch: has no effect, for vanilla cuts no patches"),
        (("--grid", "lr=.1", "--patch", "7"), "--patch: has no effect, for vanilla cuts no patch"),
        (("--grid", "scheduler=none,cosine", "--factor", ".5"), "--factor: has no effect, for"),
        (("--sampler", "tpe", "--trials", "3", "--range", "step_size=1..9"),
         "--range step_size: has no effect, for --scheduler plateau has none; step has"),
        (("--grid", "lr=.1", "--seeds", "0,0"), "--seeds 0,0: 0 is there twice"),
        (("--grid", "lr=.1", "--seeds", "a"), "--seeds a: got 'a', expected a whole number"),
        (("--grid", "lr=.1", "--seeds", ""), "--seeds : seed has no values; write such as"),
        (("--grid", "lr=.1", "--trials", "3"), "--trials: a grid does all its cells"),
        (("--range", "lr=.1..1"), "--range: a grid has values, no ranges; add --sampler tpe"),
        (("--sampler", "tpe", "--range", "lr=.1..1"), "--trials: got None, expected how many"),
        (("--sampler", "tpe", "--range", "lr=1..1"), "the first bound must be a number below"),
        (("--sampler", "tpe", "--range", "lr=.1..x"), "got 'x', expected a number above 0"),
        (("--sampler", "tpe", "--range", "lr=.1,1"), "expected bounds such as lr=1e-5..1e-1"),
        (("--sampler", "tpe", "--range", "momentum=0..0.9:log"), "both bounds must be above 0"),
        (("--sampler", "tpe", "--range", "init=0..1"), "init is no number; give its values with"),
        (("--sampler", "tpe", "--range", "lr=.1..1", "--grid", "lr=1"), "--range lr: is in the gr"),
        (("--grid", "lr=.1", "--jobs", "0"), "--jobs: got 0, expected at least 1"),
        (("--grid", "lr=.1", "--jobs", "2", "--dask", "a:1"), "--jobs: is for processes of this"),
        (("--recipe", "lennet", "--grid", "lr=.1"), "--recipe: there is no 'lennet'; did you mean"),
        (("--grid-file", "lenet-batch"), "cannot be read (No such file or directory); npmlp ships"),
        (("--grid-file", "lenet-inputs", "--grid", "lr=1"), "--grid lr: is in --grid-file lenet-"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_sentence_and_exit_code_2(
    args: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.run(sweep.main, args) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "expected an object such as"),
        ('{"recipe": "lenet"}', "expected an object such as"),
        ('{"grid": {}}', "the grid has no field"),
        ('{"grid": {"lrr": [1]}}', "a recipe has no field 'lrr'; did you mean lr?"),
        ('{"grid": {"lr": []}}', "lr has no values"),
        ('{"grid": {"lr": 0.1}}', "lr in the grid is no list of plain values"),
        ('{"grid": {"lr": [[0.1]]}}', "lr in the grid is no list of plain values"),
        ('{"grid": {"lr": [-1]}}', "got -1.0, expected a number above 0"),
        ('{"grid": {"batch_size": [1.5]}}', "got '1.5', expected a whole number"),
        ('{"grid": {"lr": [1], "seed": [0, 1]}}', NO_SEED),
        ('{"grid": {"lr": [1]}, "epoch": 3}', "a recipe has no field 'epoch'; did you mean epochs"),
        ('{"grid": {"lr": [1]}, "epochs": "3"}', "epochs: got '3', expected a whole number"),
        ('{"grid": {"lr": [1]}, "recipe": "lennet"}', "there is no 'lennet'; did you mean lenet?"),
    ],
)
def test_a_grid_file_that_makes_no_sense_is_named(
    content: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "grid.json"
    path.write_text(content)
    with pytest.raises(NpmlpError) as error:
        spec("--grid-file", path)
    assert str(error.value).startswith(f"--grid-file {path}: ") and message in str(error.value)


def test_python_is_refused_a_seed_among_the_fields_too() -> None:
    for swept in ({"grid": {"seed": (0, 1)}}, {"grid": {}, "ranges": {"seed": space.Range(0, 9)}}):
        with pytest.raises(NpmlpError) as error:
            Spec(base=recipes.RECIPES["vanilla"], **swept)
        assert str(error.value) == f"Spec: {NO_SEED}"


# ------------------------------------------------------------------------------------- sweep.json


@pytest.mark.parametrize(
    "args",
    [
        ("--grid-file", "lenet-inputs", "--seeds", "1,2", "--prune"),
        ("--sampler", "tpe", "--trials", "9", "--range", "lr=.001..1:log", "--grid", "init=zeros"),
        ("--grid", "clip_norm=none,1", "--grid", "nesterov=false", "--storage", "sqlite:///a.db"),
    ],
)
def test_a_sweep_survives_its_json(args: tuple[str, ...], tmp_path: Path) -> None:
    folder = sweep.SweepFolder(tmp_path / "sweep")
    folder.begin(spec(*args))
    folder.unlock()
    assert folder.spec() == spec(*args)


def test_a_password_is_not_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = sweep.SweepFolder(tmp_path / "sweep")
    folder.begin(spec("--grid", "lr=.1", "--storage", "mysql://me:secret@host/name"))
    folder.unlock()
    assert "secret" not in (folder.path / "sweep.json").read_text()
    assert commands.run(sweep.main, ["--resume", str(folder.path)]) == 2
    assert "add --storage mysql://me:***@host/name" in capsys.readouterr().err


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c.pop("grid"),
        lambda c: c.update(format="npmlp sweep 9"),
        lambda c: c["base"].update(lr="fast"),
        lambda c: c.update(seeds=None),
        lambda c: c.update(surplus=1),
    ],
)
def test_a_damaged_sweep_json_is_one_sentence(
    damage: Callable[[dict[str, object]], object], tmp_path: Path
) -> None:
    folder = sweep.SweepFolder(tmp_path / "sweep")
    folder.begin(spec("--grid", "lr=.1"))
    folder.unlock()
    path = folder.path / "sweep.json"
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    with pytest.raises(NpmlpError, match=r"sweep\.json: is damaged"):
        folder.spec()
