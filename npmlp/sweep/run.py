"""`run_sweep`: a sweep from its description to its files."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npmlp import config
from npmlp.errors import RunError
from npmlp.files import write_atomically
from npmlp.recipes import Recipe
from npmlp.sweep import results
from npmlp.sweep.parent import Parent
from npmlp.sweep.pool import Pool
from npmlp.sweep.results import Group
from npmlp.sweep.spec import Spec, SweepFolder
from npmlp.sweep.study import Study


@dataclass(frozen=True)
class Outcome:
    """What a sweep has come to."""

    folder: SweepFolder
    finished: bool  # False where it was stopped
    groups: list[Group]  # the cells, best first
    result: dict[str, Any] | None  # the content of result.json, once it is finished


def run_sweep(
    spec: Spec,
    out: str | Path | None = None,
    *,
    jobs: int | None = None,
    scheduler: str | None = None,
    retry_failed: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Do what is missing of a sweep.

    Parameters: `spec`, what is swept; `out`, its folder, by default sweeps/<its name>; `jobs`, how
    many processes train at a time, or `scheduler`, the address of a Dask scheduler;
    `retry_failed`, whether failed cells are done again; `say` gets a line for each cell.
    Returns: an Outcome. Raises: NpmlpError, with a sentence, for what the user can put right; what
    is done by then is kept.
    """
    folder = SweepFolder(out or Path("sweeps") / spec.name)
    jobs = jobs or cores()
    folder.begin(spec)
    try:
        study = Study(spec, folder, parallel=2 if scheduler else jobs)
        try:
            parent = Parent(
                spec, folder, study, lambda: _pool(spec, folder, jobs, scheduler), say, retry_failed
            )
            finished = parent.run()
        finally:
            study.close()
        return _finish(spec, folder, study, finished)
    except OSError as error:
        raise RunError(
            f"{error.filename or folder.path}: {error.strerror or error}; what is done so far is "
            f"kept. Once that is put right, go on with --resume {folder.path}"
        ) from None
    finally:
        folder.unlock()


def _pool(spec: Spec, folder: SweepFolder, jobs: int, scheduler: str | None) -> Pool:
    if scheduler is not None:
        from npmlp.sweep.cluster import Cluster

        return Cluster(scheduler, spec.data)
    from npmlp.sweep.processes import Processes

    _check_data(spec)
    return Processes(jobs, folder.running)


def _check_data(spec: Spec) -> None:
    """Find the data, or fetch it, once and before processes do; build what has to fit to it."""
    from npmlp import models
    from npmlp.preserved import preserved_settings
    from npmlp.vision.images import load_image_data

    data = load_image_data(spec.data)
    archs: tuple[Any, ...] = spec.grid.get("arch", (spec.base.arch,))
    patches: tuple[Any, ...] = spec.grid.get("patch", (spec.base.patch,))
    with preserved_settings():
        config.set_kernels("numpy")  # for a few weights nothing needs to be compiled
        for arch, patch in itertools.product(archs, patches):
            models.build(Recipe(arch=arch, patch=patch), data.shape, len(data.classes))
    if spec.base.validation_size >= len(data.train_images):
        raise RunError(
            f"--validation-size {spec.base.validation_size}: there are {len(data.train_images):,} "
            "training images, and some must be left to train on"
        )


def _finish(spec: Spec, folder: SweepFolder, study: Study, finished: bool) -> Outcome:
    from npmlp.sweep.heatmap import draw_sweep

    groups = results.ranking(results.rows_of(spec, study.records))
    draw_sweep(spec, groups, folder.heatmap)
    if not finished:
        return Outcome(folder, False, groups, None)
    result = results.result_of(spec, groups)
    write_atomically(folder.result, json.dumps(result, indent=2) + "\n")
    return Outcome(folder, True, groups, result)


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
