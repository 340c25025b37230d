"""Train a network: `python -m npmlp.train --arch vanilla`, or `npmlp.train.fit(recipe)`."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from npmlp import commands, progress, recipes
from npmlp.compiling import announced
from npmlp.driver import Driver, Engine
from npmlp.errors import RecipeError, RunError
from npmlp.preserved import preserved_settings
from npmlp.progress import Progress
from npmlp.recipes import Recipe
from npmlp.runs import Keep, RunFolder
from npmlp.vision.images import DataFacts

if TYPE_CHECKING:
    from npmlp.plan.explain import Explanation


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where and how a recipe is run: what changes no number."""

    data: str | None = None
    """a folder with images as IDX or CSV; without it Fashion-MNIST is searched, then fetched"""
    out: str | None = None
    """the run's folder; without it runs/<recipe>-<time>"""
    resume: str | None = None
    """the folder of a run to go on with, from its last checkpoint and with its own recipe"""
    threads: int | None = None
    """threads for compiled kernels, all cores if not given; the numbers do not depend on it"""
    kernels: Literal["numba", "numpy"] | None = None
    """compiled kernels, or the NumPy oracles that compile nothing"""
    eager: bool = False
    """compute every operation on its own, instead of replaying a step that was recorded once; the
    numbers are the same to the bit"""
    checkpoint_seconds: float = 30.0
    """seconds between two checkpoints within an epoch; there is one at every epoch's end, too"""
    keep_checkpoints: Keep | None = None
    """which epochs' checkpoints stay beside the last one: best (the default), last (none other, and
    the last epoch is the one reported), all, or a number: the best and that many of the newest"""
    histograms: bool = False
    """write histograms of weights, activations and gradients to tensorboard/, an epoch each"""
    lint: bool = True
    """warn of training mistakes, which docs/mistakes.md describes"""
    summary: bool = False
    """print the network's layers with their sizes and what a batch costs, and do not train"""
    explain: bool = False
    """print what every kernel of a training step costs beside the least that this machine could
    take, write that into a picture, explain-<recipe>.png, and do not train"""
    report: bool = True
    """write pictures, metrics.json and report.html at the end"""
    debug: bool = False
    """show the whole stack when something goes wrong"""

    def __post_init__(self) -> None:
        keep = self.keep_checkpoints
        a_number = isinstance(keep, int) and not isinstance(keep, bool) and keep >= 1
        if not a_number and keep not in (None, "all", "best", "last"):
            raise RecipeError(
                f"--keep-checkpoints: got {keep!r}, expected all, best, last or a whole number of "
                "at least 1"
            )
        if self.threads is not None and self.threads < 1:
            raise RecipeError(f"--threads: got {self.threads}, expected at least 1")
        if not self.checkpoint_seconds > 0:
            raise RecipeError(
                f"--checkpoint-seconds: got {self.checkpoint_seconds}, expected a number above 0"
            )


R = TypeVar("R", bound=Run)


def fit(
    recipe: Recipe | str,
    run: Run | None = None,
    *,
    show: Progress | None = None,
    live: bool = False,
) -> tuple[dict[str, Any], RunFolder]:
    """Train a recipe, or go on with a run of it.

    Parameters: `recipe`, or its name, or a JSON file with one; `run`, where and how; `show`, where
    progress is reported (nowhere if None); `live`, whether a notebook shows the curves while it
    trains, in one figure (elsewhere there are lines instead).
    Returns: the content of summary.json, and the run's folder.
    Raises: NpmlpError, with a sentence, for what the user can put right; driver.Stopped after
    Ctrl-C.
    """
    from npmlp import config
    from npmlp.engine import NpmlpEngine

    recipe = recipes.find(recipe, "fit") if isinstance(recipe, str) else recipe
    show = watching(recipe, show, live)
    run = as_before(run or Run(), "kernels")
    with preserved_settings():
        if run.kernels is not None:
            config.set_kernels(run.kernels)
        compiled = config.get_kernels() == "numba"
        if run.threads is not None and compiled:
            config.set_num_threads(run.threads)
        with announced(show) if compiled else contextlib.nullcontext(show) as show:
            return drive(
                lambda: NpmlpEngine(recipe, run.data, eager=run.eager), recipe, run, "npmlp", show,
                kernels=config.get_kernels(), threads=config.get_num_threads() if compiled else 1,
            )  # fmt: skip


def watching(recipe: Recipe, show: Progress | None, live: bool) -> Progress:
    """Where a training reports how far it is, for the arguments of `fit`."""
    if not live:
        return show or progress.Silent()
    from npmlp.live import progress_for

    return progress_for(f"{recipe.name}, seed {recipe.seed}", show)


def as_before(run: R, *fields: str) -> R:
    """A resumed run with the settings that its numbers depend on, as its config.json has them.

    Raises RecipeError where the command line asks for others.
    """
    if run.resume is None:
        return run
    config = RunFolder(run.resume).config()
    if run.data is None:
        run = dataclasses.replace(run, data=DataFacts.from_config(config, run.resume).folder())
    kept = {field: config[field] for field in fields if field in config}
    for field, value in kept.items():
        if getattr(run, field) not in (None, value):
            raise RecipeError(
                f"--resume goes on with --{field} {value}, as the run began; leave out --{field}"
            )
    return dataclasses.replace(run, **kept)


def summarize(recipe: Recipe, shape: tuple[int, int, int], classes: int) -> str:
    """A table of the recipe's network, for a batch of the recipe's size."""
    from npmlp import dtypes, models, summary

    with preserved_settings():
        dtypes.set_default_dtype(getattr(dtypes, recipe.dtype))
        model = models.build(recipe, shape, classes)
        return str(summary.summarize(model, (recipe.batch_size, *shape)))


def explain(recipe: Recipe, run: Run) -> tuple[Explanation, Path]:
    """What a training step costs, kernel by kernel, and the file of the picture of that."""
    from npmlp import config
    from npmlp.engine import NpmlpEngine

    with preserved_settings():
        if run.kernels is not None:
            config.set_kernels(run.kernels)
        if run.threads is not None and config.get_kernels() == "numba":
            config.set_num_threads(run.threads)
        engine = NpmlpEngine(recipe, run.data)
        explanation = engine.explain()
    path = Path(f"explain-{recipe.name}.png")
    explanation.write_png(path)
    return explanation, path


def drive(
    make_engine: Callable[[], Engine],
    recipe: Recipe,
    run: Run,
    name: str,
    show: Progress,
    **facts: Any,
) -> tuple[dict[str, Any], RunFolder]:
    """`fit` for any engine; `facts` go into config.json."""

    def driver(engine: Engine, folder: RunFolder, keep: Keep) -> Driver:
        return Driver(
            engine, recipe, folder, show, run.checkpoint_seconds, keep, run.lint, run.histograms
        )

    if run.resume is None:
        engine = make_engine()  # before the folder: without data there is no run
        _check_last_batch(recipe, len(engine.train_set))
        keep = run.keep_checkpoints or "best"
        folder = RunFolder.create(
            run.out, recipe, name, data=engine.data.facts(), keep_checkpoints=keep, **facts
        )
        try:
            return _reported(driver(engine, folder, keep).run(), folder, run, show)
        finally:
            folder.unlock()
    folder = RunFolder(run.resume)
    config = folder.config()
    if config.get("engine") != name:
        raise RunError(f"--resume {folder.path}: is a run of {config.get('engine')}, not of {name}")
    finished = folder.summary()
    if finished is not None:
        return finished, folder
    try:
        folder.lock()
        engine = make_engine()
        DataFacts.from_config(config, run.resume).check(engine.data)
        keep = run.keep_checkpoints or config.get("keep_checkpoints", "best")
        if keep != config.get("keep_checkpoints", "best"):
            folder.write_config(config | {"keep_checkpoints": keep})
        resumed = driver(engine, folder, keep)
        if folder.last.exists():
            resumed.resume()
        return _reported(resumed.run(f", {resumed.place()}"), folder, run, show)
    except OSError as error:
        raise RunError(f"--resume {folder.path}: {error.strerror or error}") from None
    finally:
        folder.unlock()


def _check_last_batch(recipe: Recipe, count: int) -> None:
    """Raises RunError where residual's BatchNorm would have to normalise a batch of one image.

    Its inputs have one value a channel and image, and one value has no variance.
    """
    if recipe.arch == "residual" and (count % recipe.batch_size == 1 or recipe.batch_size == 1):
        raise RunError(
            f"--batch-size {recipe.batch_size}: of {count:,} training images a batch would have "
            "only one, and residual's BatchNorm needs two; choose another --batch-size or --limit"
        )


def _reported(
    summary: dict[str, Any], folder: RunFolder, run: Run, show: Progress
) -> tuple[dict[str, Any], RunFolder]:
    """A finished run, with its report if it is wanted. A report that fails takes nothing away."""
    if run.report:
        from npmlp.report import write_report

        try:
            write_report(folder, run.data)
        except (Exception, KeyboardInterrupt) as error:
            if run.debug:
                raise
            why = " ".join(str(error).split()) or type(error).__name__
            text = (
                f"the report could not be written ({why}); the run is whole, and python -m "
                f"npmlp.report {folder.path} tries again"
            )
            show.note(text)
            if isinstance(show, progress.Silent):
                warnings.warn(text, stacklevel=4)
    return summary, folder


def main(argv: Sequence[str]) -> int:
    """`python -m npmlp.train`"""
    from npmlp.train_command import command

    return command(argv, "python -m npmlp.train", Run, _fit_alone, summarize, explain)


def _fit_alone(
    recipe: Recipe, run: Run, *, show: Progress | None = None
) -> tuple[dict[str, Any], RunFolder]:
    """`fit`, in a process that does nothing else: what is imported stays to the end, so the garbage
    collector need never look through it.
    """
    from npmlp import config

    gc.disable()
    try:
        if (as_before(run, "kernels").kernels or config.get_kernels()) == "numba":
            import npmlp.kernels.cache  # noqa: F401 - which imports Numba
        gc.freeze()
    finally:
        gc.enable()
    return fit(recipe, run, show=show)


if __name__ == "__main__":
    sys.exit(commands.run(main))
