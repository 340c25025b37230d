"""A sweep's folder, and the description in it by which the sweep goes on.

sweep.json           what is swept: the recipe, the grid, the sampler; written first
sweep.lock           locked while a process drives the sweep
study.db             Optuna's study, where no --storage is given: every trial with its result
sweep.csv            a row per cell, written anew after each
best.json            the recipe of the best cell so far, for --recipe
result.json, heatmap.png   written at the end, the picture also when the sweep is stopped
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from npmlp import recipes
from npmlp.errors import NpmlpError, RunError
from npmlp.files import write_atomically
from npmlp.recipe_fields import flag
from npmlp.recipes import Recipe
from npmlp.sweep.space import Grid, Range, check_sweepable

FORMAT = "npmlp sweep 1"
Sampler = Literal["grid", "tpe"]

# what may lie in a folder that was killed before its sweep.json was written
_OURS = {"sweep.lock", "study.db"}


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What a sweep does. Raises RecipeError for a field that no sweep can try."""

    base: Recipe  # whose validation images are training images, whatever it says itself
    grid: Grid
    ranges: dict[str, Range] = dataclasses.field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    sampler: Sampler = "grid"
    trials: int | None = None
    prune: bool = False
    data: str | None = None
    kernels: str = "numba"
    storage: str | None = None  # an Optuna storage URL; None is study.db in the folder

    def __post_init__(self) -> None:
        for field in self.fields:
            check_sweepable(field, "Spec")
        object.__setattr__(self, "base", dataclasses.replace(self.base, validation="train"))

    @property
    def fields(self) -> list[str]:
        """The fields that are swept."""
        return [*self.grid, *self.ranges]

    def identity(self) -> dict[str, Any]:
        """What makes two sweeps one study: all but the values that are tried."""
        recipe = dataclasses.asdict(self.base)
        # a grid may get further seeds; all of tpe's choices are made for one
        seeds = ("seed",) if self.sampler == "grid" else ()
        for field in ("name", *seeds, *self.fields):
            recipe.pop(field, None)
        return {
            **recipe, "fields": sorted(self.fields), "ranges": sorted(self.ranges),
            "sampler": self.sampler, "kernels": self.kernels, "data": self.data,
        }  # fmt: skip

    @property
    def name(self) -> str:
        """The study's name, and that of the folder where none is given."""
        text = json.dumps(self.identity(), sort_keys=True)
        mark = hashlib.sha256(text.encode()).hexdigest()[:6]
        return "-".join([self.base.name, *self.fields, mark])

    def to_json(self) -> str:
        """The content of sweep.json; a storage with a password in it is left out."""
        content = dataclasses.asdict(self) | {"format": FORMAT, "storage": without_password(self)}
        return json.dumps(content, indent=2) + "\n"


def without_password(spec: Spec) -> str | None:
    """The storage's URL with *** in place of a password."""
    if spec.storage is None:
        return None
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(spec.storage).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return spec.storage


class SweepFolder:
    """The files of one sweep."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.table = self.path / "sweep.csv"
        self.best = self.path / "best.json"
        self.result = self.path / "result.json"
        self.heatmap = self.path / "heatmap.png"
        self.running = self.path / "running"  # runs in flight, removed as they end
        self._lock: Any = None

    def spec(self) -> Spec | None:
        """What sweep.json says, or None where there is none. Raises RunError if it is damaged."""
        path = self.path / "sweep.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found.pop("format") != FORMAT:
                raise ValueError(f"its format is not {FORMAT!r}")
            found["base"] = recipes.from_dict(found["base"], str(path))
            found["grid"] = {field: tuple(values) for field, values in found["grid"].items()}
            found["ranges"] = {field: Range(**r) for field, r in found["ranges"].items()}
            found["seeds"] = tuple(found["seeds"])
            return Spec(**found)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RunError(f"{path}: cannot be read ({error.strerror})") from None
        except (ValueError, KeyError, TypeError, AttributeError, NpmlpError) as error:
            raise RunError(f"{path}: is damaged ({error})") from None

    def begin(self, spec: Spec) -> None:
        """Make the folder or go on in it: lock it and write sweep.json.

        Raises RunError where it cannot be written, is in use, or holds another sweep or anything
        else.
        """
        try:
            others = {f.name for f in self.path.iterdir()} if self.path.exists() else set()
            before = self.spec()
            if before is None and {o for o in others if not o.endswith(".tmp")} - _OURS:
                raise RunError(
                    f"--out {self.path}: holds something else than a sweep; choose another folder"
                )
            if before is not None:
                self._check_same(before, spec)
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock()
            write_atomically(self.path / "sweep.json", spec.to_json())
        except OSError as error:
            raise RunError(
                f"--out {self.path}: cannot be written ({error.strerror}); choose another folder"
            ) from None

    def _check_same(self, before: Spec, now: Spec) -> None:
        was, is_now = before.identity(), now.identity()
        if was == is_now:
            return
        if was["fields"] != is_now["fields"] or was["ranges"] != is_now["ranges"]:
            raise RunError(
                f"--out {self.path}: holds a sweep of {', '.join(before.fields)}, not of "
                f"{', '.join(now.fields)}; values may be added to it, fields may not. Choose "
                "another folder"
            )
        differ = [
            f"{flag(f)} ({was[f]} there, {is_now[f]} here)" for f in was if was[f] != is_now[f]
        ]
        raise RunError(
            f"--out {self.path}: holds a sweep that differs in {', '.join(differ)}; choose "
            "another folder"
        )

    def lock(self) -> None:
        """Keep other processes from driving this sweep. The lock ends with the process."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / "sweep.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise RunError(f"{self.path}: another process is driving this sweep") from None
        self._lock = lock

    def unlock(self) -> None:
        """Let other processes drive it."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
