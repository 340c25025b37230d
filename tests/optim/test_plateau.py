"""ReduceLROnPlateau beside PyTorch's, through every option, and by hand where it is often wrong."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import npmlp
from npmlp.optim.lr_scheduler import ReduceLROnPlateau

OPTIONS = [
    {
        "mode": mode,
        "threshold_mode": threshold_mode,
        "threshold": threshold,
        "patience": patience,
        "cooldown": cooldown,
        "factor": factor,
    }
    for mode, threshold_mode, threshold, patience, cooldown, factor in itertools.product(
        ("min", "max"), ("rel", "abs"), (0.0, 1e-4, 0.05), (0, 2), (0, 3), (0.1, 0.7)
    )
]


def metrics(count=90):
    """Losses that fall and then wander, with ties with the best (of either mode), and one NaN."""
    rng = np.random.default_rng(3)
    seen = []
    for t in range(count):
        seen.append(2 * 0.9 ** min(t, 30) + 0.03 * float(rng.standard_normal()))
        if t % 9 > 6:
            seen[-1] = min(seen) if t % 9 == 7 else max(seen)
        yield float("nan") if t == 40 else seen[-1]


def pair(**options):
    sides = []
    for module in (npmlp, torch):
        tensors = [module.ones(2, requires_grad=True) for _ in range(2)]
        optimizer = module.optim.SGD(
            [{"params": tensors[:1]}, {"params": tensors[1:], "lr": 0.03}], lr=0.5
        )
        sides.append(module.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options))
    return sides


def assert_equal_now(ours, theirs):
    lrs = [[g["lr"] for g in s.optimizer.param_groups] for s in (ours, theirs)]
    assert lrs[0] == lrs[1] == ours.get_last_lr() == theirs.get_last_lr()
    assert ours.state_dict() == theirs.state_dict()
    assert ours.in_cooldown == theirs.in_cooldown


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: ",".join(map(str, o.values())))
def test_rates_and_state_are_pytorchs_at_every_step(options):
    ours, theirs = pair(**options)
    assert_equal_now(ours, theirs)
    for metric in metrics():
        ours.step(metric)
        theirs.step(metric)
        assert_equal_now(ours, theirs)
    assert ours.get_last_lr()[0] < 0.5


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"min_lr": 0.004},
        {"min_lr": [0.01, 0.002]},
        {"min_lr": (0.01, 0.2)},  # more than the second group's rate
        {"eps": 0.005},
        {"eps": 0.0, "min_lr": [1e-9, 0.0]},
    ],
)
def test_least_rates_and_least_changes_are_pytorchs(options):
    ours, theirs = pair(patience=1, factor=0.4, **options)
    for metric in metrics():
        ours.step(metric)
        theirs.step(metric)
        assert_equal_now(ours, theirs)


def test_patience_counts_bad_steps_in_a_row_and_is_exceeded_not_reached():
    ours, _ = pair(patience=2)
    seen = []
    for loss in [1.0, 0.9, 0.95, 0.9, 0.9, 0.5, 0.6, 0.6, 0.4, 0.5, 0.5, 0.5]:
        ours.step(loss)
        seen.append(ours.get_last_lr()[0])
    # third bad step in a row: at 0.95, 0.9, 0.9 (a tie is bad), and at the three 0.5 at the end
    assert seen == [0.5] * 4 + [0.5 * 0.1] * 7 + [0.5 * 0.1 * 0.1]


def test_cooldown_forgives_bad_steps_and_then_counts_again():
    ours, _ = pair(patience=0, cooldown=2)
    seen = []
    for loss in [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]:
        ours.step(loss)
        seen.append((round(ours.get_last_lr()[0], 9), ours.in_cooldown))
    assert seen == [
        (0.5, False),
        (0.05, True),  # reduced
        (0.05, True),  # forgiven
        (0.05, False),  # forgiven
        (0.005, True),
        (0.005, True),
    ]


def test_the_metric_may_be_a_tensor_that_requires_a_gradient():
    ours, _ = pair()
    x = npmlp.tensor(3.0, requires_grad=True)
    ours.step((x * x).sum())
    assert ours.best == 9.0


def test_state_goes_through_a_file_and_on_to_the_same_rates(tmp_path):
    options = {"patience": 1, "cooldown": 2, "factor": 0.5, "min_lr": [1e-3, 1e-4]}
    ours, theirs = pair(**options)
    values = list(metrics())
    for metric in values[:33]:
        ours.step(metric)
        theirs.step(metric)
    npmlp.save([ours.state_dict(), ours.optimizer.state_dict()], tmp_path / "state")
    state, optimizer_state = npmlp.load(tmp_path / "state")
    resumed, _ = pair()
    resumed.load_state_dict(state)
    resumed.optimizer.load_state_dict(optimizer_state)
    for metric in values[33:]:
        resumed.step(metric)
        theirs.step(metric)
        assert_equal_now(resumed, theirs)


def test_before_the_first_step_infinity_survives_the_file(tmp_path):
    ours, _ = pair()
    npmlp.save(ours.state_dict(), tmp_path / "state")
    fresh, _ = pair(mode="max")
    fresh.load_state_dict(npmlp.load(tmp_path / "state"))
    assert fresh.state_dict() == ours.state_dict()


def test_a_group_added_later_gets_the_least_rate_or_is_asked_for():
    ours, theirs = pair(patience=0, min_lr=0.2)
    ours.optimizer.add_param_group({"params": npmlp.ones(1), "lr": 3.0})
    theirs.optimizer.add_param_group({"params": torch.ones(1), "lr": 3.0})
    for _ in range(3):
        ours.step(1.0)
        theirs.step(1.0)
        assert_equal_now(ours, theirs)

    ours, _ = pair(patience=0, min_lr=[0.1, 0.2])
    ours.optimizer.add_param_group({"params": npmlp.ones(1)})
    ours.step(1.0)
    with pytest.raises(ValueError, match=r"min_lrs has 2 entries, .* append its least rate"):
        ours.step(1.0)


def test_step_with_an_epoch_counts_from_there_and_warns_as_in_pytorch():
    ours, theirs = pair(patience=0)
    for epoch in (3, 7):
        for scheduler in (ours, theirs):
            with pytest.warns(UserWarning, match="deprecated"):
                scheduler.step(1.0, epoch)
        assert_equal_now(ours, theirs)


def test_bad_arguments_are_refused():
    optimizer = npmlp.optim.SGD([npmlp.ones(1, requires_grad=True)])
    with pytest.raises(ValueError, match=r"factor is 1\.0, expected below 1"):
        ReduceLROnPlateau(optimizer, factor=1.0)
    with pytest.raises(ValueError, match='mode is \'down\', expected "min" or "max"'):
        ReduceLROnPlateau(optimizer, mode="down")
    with pytest.raises(ValueError, match="threshold_mode is 'log'"):
        ReduceLROnPlateau(optimizer, threshold_mode="log")
    with pytest.raises(ValueError, match="min_lr has 2 entries, expected one for each of the 1"):
        ReduceLROnPlateau(optimizer, min_lr=[0.1, 0.1])
    with pytest.raises(TypeError, match="optimizer is a list"):
        ReduceLROnPlateau([optimizer])
