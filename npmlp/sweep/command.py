"""The command line of sweeps."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from npmlp import commands, config, progress, recipes
from npmlp.errors import RecipeError, RunError
from npmlp.recipe_effects import never_with_effect
from npmlp.recipe_fields import flag
from npmlp.recipes import Recipe
from npmlp.sweep import space
from npmlp.sweep.run import Outcome, run_sweep
from npmlp.sweep.spec import Spec, SweepFolder, without_password

PROG = "python -m npmlp.sweep"


@dataclass(frozen=True, kw_only=True)
class SweepFlags:
    """Train a recipe with many values of some fields, and find the best."""

    grid: tuple[str, ...] = ()
    """a field and its values, such as batch_size=10,20,50; once for each field"""
    grid_file: str | None = None
    """a file with a grid and its recipe: lenet-batch-lr, lenet-inputs, or a path"""
    range: tuple[str, ...] = ()
    """a field and its bounds, such as lr=1e-5..1e-1:log; for --sampler tpe"""
    sampler: Literal["grid", "tpe"] | None = None
    """grid, the default, tries every cell; tpe chooses --trials of them by what it has seen"""
    trials: int | None = None
    """how many trainings --sampler tpe does"""
    seeds: str | None = None
    """seeds such as 0,1,2: every cell is trained with each, and ranked by the mean"""
    prune: bool = False
    """stop a training whose held-out accuracy is below the median of the others at its epoch; a
    sweep that goes on without it trains those in full"""
    jobs: int | None = None
    """processes that train at a time, of one thread each; one for each core if not given"""
    dask: str | None = None
    """the address of a Dask scheduler, whose workers train instead of processes; --scheduler
    tcp://host:8786 says the same, while --scheduler cosine is the recipe's"""
    storage: str | None = None
    """an Optuna storage URL for the study; study.db in the sweep's folder if not given"""
    out: str | None = None
    """the sweep's folder; without it sweeps/<recipe>-<fields>-<digest>, the same every time"""
    resume: str | None = None
    """the folder of a sweep to go on with"""
    retry_failed: bool = False
    """do the cells again that have failed, too"""
    data: str | None = None
    """a folder with the data; without it the usual places are searched, then it is fetched"""
    kernels: Literal["numba", "numpy"] | None = None
    """compiled kernels, or the NumPy oracles that compile nothing"""
    debug: bool = False
    """show the whole stack when something goes wrong"""


def parse(argv: Sequence[str]) -> tuple[Spec, SweepFlags]:
    """The sweep that a command line asks for. Raises RecipeError or RunError."""
    argv = _with_dask(argv)
    resume = commands.value_of(argv, "--resume")
    if resume is not None:
        return _parse_resume(argv, resume)
    file_name = commands.value_of(argv, "--grid-file")
    file = None if file_name is None else space.read_grid_file(file_name)
    arch, name = (commands.value_of(argv, f) for f in ("--arch", "--recipe"))
    base = recipes.of_arch(arch or "vanilla")
    if name is not None:
        base = recipes.find(name)
    elif arch is None and file is not None and file.recipe is not None:
        base = file.recipe
    if file is not None:
        base = recipes.replace(base, **file.fields)
    wanted, flags = _parse_flags(argv, base)
    given = [f.name for f in dataclasses.fields(Recipe) if commands.given(argv, f.name)]
    if "validation" in given:
        raise RecipeError(
            "--validation: a sweep always ranks on training images that it holds out; leave it out"
        )
    grid = space.read_grid(flags.grid)
    if file is not None:
        twice = [field for field in grid if field in file.grid]
        if twice:
            raise RecipeError(f"--grid {twice[0]}: is in --grid-file {file_name} already")
        grid = {**file.grid, **grid}
    ranges = space.read_ranges(flags.range)
    seeds = (wanted.seed,) if flags.seeds is None else space.read_seeds(flags.seeds)
    spec = Spec(
        base=wanted,
        grid=grid,
        ranges=ranges,
        seeds=seeds,
        sampler=flags.sampler or "grid",
        trials=flags.trials,
        prune=flags.prune,
        data=flags.data,
        kernels=flags.kernels or config.get_kernels(),
        storage=flags.storage,
    )
    for field in spec.fields:
        if field in given:
            raise RecipeError(f"{flag(field)}: {field} is swept; leave the flag out")
    _check(spec, flags.seeds is not None)
    _check_effects(spec, given)
    return spec, flags


def _check(spec: Spec, several_seeds: bool) -> None:
    """Refuse what does not go together."""
    if not spec.fields:
        raise RecipeError(
            "there is nothing to sweep; add --grid lr=.1,.01 or --grid-file lenet-batch-lr"
        )
    both = sorted(set(spec.grid) & set(spec.ranges))
    if both:
        raise RecipeError(f"--range {both[0]}: is in the grid already; give it once")
    if spec.sampler == "grid":
        if spec.ranges:
            raise RecipeError(
                "--range: a grid has values, no ranges; add --sampler tpe --trials 50"
            )
        if spec.trials is not None:
            raise RecipeError("--trials: a grid does all its cells; it goes with --sampler tpe")
        space.cells(spec.base, spec.grid, spec.seeds)  # values that do not go together
        return
    if spec.trials is None or spec.trials < 1:
        raise RecipeError(f"--trials: got {spec.trials}, expected how many trainings tpe is to do")
    if several_seeds:
        raise RecipeError("--seeds: goes with a grid; tpe trains every cell once")


def _check_effects(spec: Spec, given: Sequence[str]) -> None:
    """Refuse what changes nothing in any cell, whether it is swept or set."""
    choices = spec.grid | {field: (r.low, r.high) for field, r in spec.ranges.items()}
    names = {field: "--grid " + field for field in spec.grid}
    names |= {field: "--range " + field for field in spec.ranges}
    names |= {field: flag(field) for field in given}
    for field, name in names.items():
        why = never_with_effect(spec.base, field, choices)
        if why is not None:
            raise RecipeError(f"{name}: has no effect, for {why}; leave it out")


def _parse_resume(argv: Sequence[str], resume: str) -> tuple[Spec, SweepFlags]:
    """The sweep in a folder, with other storage or trials if that is asked for."""
    spec = SweepFolder(resume).spec()
    if spec is None:
        raise RunError(f"--resume {resume}: is not the folder of a sweep (it has no sweep.json)")
    _, flags = _parse_flags(argv, spec.base)
    refused = ["recipe", "grid", "grid_file", "range", "sampler", "seeds", "out", "data", "kernels",
                *(f.name for f in dataclasses.fields(Recipe))]  # fmt: skip
    given = [flag(name) for name in refused if commands.given(argv, name)]
    if given:
        raise RecipeError(
            f"--resume goes on with the sweep's own recipe and grid; leave out {', '.join(given)}. "
            f"To add values, repeat the sweep's command with them and --out {resume}"
        )
    spec = dataclasses.replace(spec, prune=flags.prune)
    if flags.trials is not None:
        spec = dataclasses.replace(spec, trials=flags.trials)
    if flags.storage is not None:
        spec = dataclasses.replace(spec, storage=flags.storage)
    elif spec.storage is not None and ":***@" in spec.storage:
        raise RecipeError(
            f"--resume {resume}: its storage has a password, which is not kept; add --storage "
            f"{spec.storage} with the password"
        )
    _check(spec, len(spec.seeds) > 1)
    return spec, flags


def _with_dask(argv: Sequence[str]) -> list[str]:
    """The command line with --dask for a --scheduler that has an address.

    Without one, --scheduler is the field of the recipe by which the learning rate changes.
    """
    found = list(argv)
    for i, arg in enumerate(found):
        name, equals, value = arg.partition("=")
        if name == "--scheduler" and ":" in (value if equals else "".join(found[i + 1 : i + 2])):
            found[i] = "--dask" + equals + value
    return found


def _parse_flags(argv: Sequence[str], base: Recipe) -> tuple[Recipe, SweepFlags]:
    import tyro

    names = f"the recipe to start from: {', '.join(recipes.RECIPES)}; or a JSON file with one"
    form = dataclasses.make_dataclass(
        "Flags",
        [
            ("sweep", tyro.conf.OmitArgPrefixes[SweepFlags]),
            ("training", tyro.conf.OmitArgPrefixes[Recipe]),
            ("recipe", Annotated[str | None, tyro.conf.arg(metavar="NAME|FILE", help=names)]),
        ],
    )
    form.__doc__ = SweepFlags.__doc__
    parsed: Any = commands.parse(
        form, argv, PROG, default=form(SweepFlags(), base, None),
        config=(tyro.conf.UseAppendAction,),
    )  # fmt: skip
    if parsed.sweep.jobs is not None and parsed.sweep.jobs < 1:
        raise RecipeError(f"--jobs: got {parsed.sweep.jobs}, expected at least 1")
    if parsed.sweep.jobs is not None and parsed.sweep.dask is not None:
        raise RecipeError("--jobs: is for processes of this machine; leave it out with --scheduler")
    if parsed.sweep.resume is not None and parsed.sweep.out is not None:
        raise RecipeError("--resume goes on in the sweep's own folder; leave out --out")
    return parsed.training, parsed.sweep


def main(argv: Sequence[str]) -> int:
    """`python -m npmlp.sweep`"""
    spec, flags = parse(argv)
    outcome = run_sweep(
        spec,
        flags.resume or flags.out,
        jobs=flags.jobs,
        scheduler=flags.dask,
        retry_failed=flags.retry_failed,
        say=progress.say,
    )
    again = [*PROG.split(), "--resume", str(outcome.folder.path)]
    if flags.jobs is not None:
        again += ["--jobs", str(flags.jobs)]
    if flags.dask is not None:
        again += ["--scheduler", flags.dask]
    if flags.storage is not None and without_password(spec) != spec.storage:
        again += ["--storage", str(without_password(spec))]
    if not outcome.finished:
        again += ["--prune"] if flags.prune else []
        progress.say(f"stopped; what is done is kept. Go on with: {shlex.join(again)}")
        return 130
    return _report(spec, outcome, again)


def _report(spec: Spec, outcome: Outcome, again: list[str]) -> int:
    result = outcome.result or {}
    best = result["best"]
    if result["failed"]:
        once_more = [*again, *(["--prune"] if spec.prune else []), "--retry-failed"]
        progress.say(
            f"failed         {result['failed']} of {result['cells']}, see sweep.csv; again with: "
            f"{shlex.join(once_more)}"
        )
    if result["pruned"]:
        progress.say(
            f"pruned         {result['pruned']} of {result['cells']}, without a rank; in full "
            f"with: {shlex.join(again)}"
        )
    if best is not None:
        held_out, error = best["validation_accuracy"], best["standard_error"]
        seeds = f", mean of {len(best['seeds'])} seeds" if len(best["seeds"]) > 1 else ""
        others = best["as_good_within_it"]
        progress.say(f"best           {space.show_all(best['values'])}")
        progress.say(
            f"held out       {held_out:.4f}  (standard error {error:.4f}, on "
            f"{result['validation_count']:,} training images{seeds}; {others} other cell"
            f"{'' if others == 1 else 's'} within it)"
        )
        progress.say(
            f"test accuracy  {best['test_accuracy']:.4f}  (of the best cell, on "
            f"{best['test_count']:,} images that had no say in the choice{seeds})"
        )
    folder = outcome.folder
    progress.say(f"table          {folder.table}")
    progress.say(f"picture        {folder.heatmap}")
    if best is None:
        progress.say("no cell is done: there is no best recipe")
        return 1
    progress.say(f"best recipe    {folder.best}")
    progress.say(f"to train it    python -m npmlp.train --recipe {shlex.quote(str(folder.best))}")
    return 0
