"""Optuna's words for a sweep: distributions, samplers and the pruner."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from npmlp.sweep.space import KINDS, Value
from npmlp.sweep.spec import Spec

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def as_param(field: str, value: Value) -> Any:
    """A field's value as Optuna keeps it: numbers of an optional field are all above 0, 0 is none.

    Optuna lets a study's numbers grow new values, and its choices not.
    """
    return 0 if value is None and KINDS[field].type in (int, float) else value


def as_value(field: str, param: Any) -> Any:
    """The field's value of what Optuna keeps."""
    return None if param == 0 and KINDS[field].optional else param


def distributions_of(spec: Spec) -> dict[str, BaseDistribution]:
    """The swept fields' distributions."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    found: dict[str, BaseDistribution] = {}
    for field, values in spec.grid.items() if spec.sampler == "tpe" else _space(spec).items():
        params: list[Any] = [as_param(field, value) for value in values]
        kind = KINDS[field]
        if spec.sampler == "tpe":  # choices without an order
            found[field] = CategoricalDistribution(params)
        elif kind.choices or kind.type is bool:
            found[field] = CategoricalDistribution(kind.choices or (False, True))
        elif kind.type is int:
            found[field] = IntDistribution(min(params), max(params))
        else:
            found[field] = FloatDistribution(min(params), max(params))
    for field, r in spec.ranges.items():
        if KINDS[field].type is int:
            found[field] = IntDistribution(int(r.low), int(r.high), log=r.log)
        else:
            found[field] = FloatDistribution(r.low, r.high, log=r.log)
    return found


def sampler_of(spec: Spec, trials: int, parallel: int) -> Any:
    """The sampler of a study that has so many trials, for so many trainings at a time."""
    import optuna

    class Grid(optuna.samplers.GridSampler):
        """Optuna's grid, without its end: it would stop `optimize`, and this study is asked."""

        def after_trial(self, *args: Any) -> None:
            pass

    if spec.sampler == "grid":
        return Grid({f: [as_param(f, v) for v in values] for f, values in _space(spec).items()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=(spec.base.seed + trials) % 2**32,  # going on, it must not draw its first points
            constant_liar=parallel > 1,  # those in flight are not asked for again
        )


def pruner_of(spec: Spec) -> Any:
    """Ends trainings below the median of the others after as many epochs, if that is wanted."""
    import optuna

    if not spec.prune:
        return optuna.pruners.NopPruner()
    # not before four trainings are over, and not by a first epoch
    return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2)


def _space(spec: Spec) -> dict[str, tuple[Value, ...]]:
    """The grid, with the seeds where there are several."""
    return spec.grid | ({"seed": spec.seeds} if len(spec.seeds) > 1 else {})
