"""The command line of npmlp.train and reference_torch.train: flags in, the result in words out."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from npmlp import commands, progress, recipes
from npmlp.driver import Stopped
from npmlp.errors import RecipeError
from npmlp.recipe_effects import check_effects
from npmlp.recipes import Recipe
from npmlp.runs import RunFolder
from npmlp.vision.images import DataFacts

if TYPE_CHECKING:
    from npmlp.train import Run


def parse(argv: Sequence[str], prog: str, form: type[Run]) -> tuple[Recipe, Run]:
    """The recipe and the run that a command line asks for."""
    import tyro

    # the flags' defaults are the values of the recipe that --arch, --recipe or --resume names
    resume = commands.value_of(argv, "--resume")
    if resume is not None:
        if commands.value_of(argv, "--recipe") is not None:
            raise RecipeError("--resume goes on with the run's own recipe; leave out --recipe")
        base = RunFolder(resume).recipe()
    else:
        arch, recipe = (commands.value_of(argv, f) for f in ("--arch", "--recipe"))
        base = recipes.of_arch(arch or "vanilla")
        if recipe is not None:
            base = recipes.find(recipe)

    names = (
        f"the recipe to start from: {', '.join(recipes.RECIPES)}; or a JSON file with a recipe's "
        "fields, such as a sweep's best or a run's config.json, where fields left out are as in "
        "the recipe that its name, or else its arch, names"
    )
    flags = dataclasses.make_dataclass(
        "Flags",
        [
            ("training", tyro.conf.OmitArgPrefixes[Recipe]),
            ("run", tyro.conf.OmitArgPrefixes[form]),  # type: ignore[valid-type, misc]
            ("recipe", Annotated[str | None, tyro.conf.arg(metavar="NAME|FILE", help=names)]),
        ],
    )
    flags.__doc__ = "Train a network on Fashion-MNIST."
    parsed: Any = commands.parse(flags, argv, prog, default=flags(base, form(), None))
    what, how = parsed.training, parsed.run
    if resume is not None and what != base:
        changed = [
            recipes.flag(f.name)
            for f in dataclasses.fields(base)
            if getattr(what, f.name) != getattr(base, f.name)
        ]
        raise RecipeError(
            f"--resume goes on with the run's own recipe; leave out {', '.join(changed)}"
        )
    if resume is not None and how.out is not None:
        raise RecipeError("--resume goes on in the run's own folder; leave out --out")
    if resume is None:
        fields = (f.name for f in dataclasses.fields(Recipe))
        check_effects(what, [field for field in fields if commands.given(argv, field)])
    return what, how


def command(
    argv: Sequence[str],
    prog: str,
    form: type[Run],
    fit: Callable[..., tuple[dict[str, Any], RunFolder]],
    summarize: Callable[[Recipe, tuple[int, int, int], int], str],
    explain: Callable[[Recipe, Run], tuple[Any, Any]] | None = None,
) -> int:
    """A train command: parse, say what is done, train, say where the results are."""
    began = time.perf_counter()
    recipe, run = parse(argv, prog, form)
    if run.summary:
        shape, classes = _images_of(run)
        size = "×".join(map(str, shape))
        print(
            f"{recipe.name}: a batch of {recipe.batch_size} images of {size}, {classes} classes\n"
        )
        print(summarize(recipe, shape, classes))
        return 0
    if run.explain:
        if explain is None:
            raise RecipeError("--explain: is for npmlp.train; PyTorch has a profiler of its own")
        explanation, path = explain(recipe, run)
        print(f"{recipe.name}: a training step of {recipe.batch_size} images\n")
        print(explanation)
        print(f"\npicture  {path}")
        return 0
    if run.resume is not None:
        finished = RunFolder(run.resume).summary()
        if finished is not None:
            print(f"{run.resume} is a finished run; there is nothing left to do")
            _report(finished, RunFolder(run.resume), finished["seconds"])
            return 0
    try:
        summary, folder = fit(recipe, run, show=progress.for_this_output())
    except Stopped as stopped:
        path = stopped.folder.path
        print(f"stopped; the training so far is kept. Go on with: {prog} --resume {path}")
        return 130
    _report(summary, folder, time.perf_counter() - began)
    return 0


def _images_of(run: Run) -> tuple[tuple[int, int, int], int]:
    """The shape of an image and the number of classes.

    They are of --data, of the run, of NPMLP_DATA, or of Fashion-MNIST, which need not be there.
    """
    facts: Any = None
    if run.data is not None or (run.resume is None and os.environ.get("NPMLP_DATA")):
        from npmlp.vision.images import load_image_data

        facts = load_image_data(run.data)
    elif run.resume is not None:
        facts = DataFacts.from_config(RunFolder(run.resume).config(), run.resume)
    return ((1, 28, 28), 10) if facts is None else (facts.shape, len(facts.classes))


def _report(summary: dict[str, Any], folder: RunFolder, seconds: float) -> None:
    s = summary
    progress.say(
        f"test accuracy  {s['test_accuracy']:.4f}  ({s['test_correct']:,} of {s['test_count']:,} "
        f"images, {_epoch_reported(s, folder.recipe())})"
    )
    progress.say(f"wall time      {seconds:.1f} s")
    progress.say(f"run folder     {folder.path}")
    for what, names in (("pictures", folder.PICTURES), ("report", folder.REPORT)):
        files = [name for name in names if (folder.path / name).exists()]
        if files:
            progress.say(
                f"{what:14} {folder.path / files[0]}{''.join(f', {f}' for f in files[1:])}"
            )


def _epoch_reported(s: dict[str, Any], recipe: Recipe) -> str:
    chosen = s.get("chosen_epoch", s["epochs"])
    if recipe.validation == "none" or (chosen == s["epochs"] != s["best_epoch"]):
        return f"after {s['epochs']} epoch{'s' if s['epochs'] > 1 else ''}"
    on = f"{recipe.validation_size:,} validation images"
    if recipe.validation == "reported":
        on = "these very images"
    best = "the best" if chosen == s["best_epoch"] else "the best kept"
    return f"epoch {chosen} of {s['epochs']}, {best} on {on}"
