"""OneCycleLR beside PyTorch's: rates, momenta and betas to the last bit."""

from __future__ import annotations

import itertools

import pytest
import torch

import npmlp
from npmlp.optim.lr_scheduler import OneCycleLR

OPTIONS = [
    {"anneal_strategy": strategy, "three_phase": three, "pct_start": start, **more}
    for strategy, three, start, more in itertools.product(
        ("cos", "linear"),
        (False, True),
        (0.3, 0.25),
        (
            {"total_steps": 61},
            {"epochs": 8, "steps_per_epoch": 9, "cycle_momentum": False},
            {
                "total_steps": 60,
                "base_momentum": [0.7, 0.8],
                "max_momentum": [0.9, 0.99],
                "div_factor": 10.0,
                "final_div_factor": 50.0,
            },
        ),
    )
]


def pair(kind, options):
    sides = []
    for module in (npmlp, torch):
        tensors = [module.ones(2, requires_grad=True) for _ in range(2)]
        groups = [{"params": tensors[:1]}, {"params": tensors[1:], "lr": 0.03}]
        more = {"momentum": 0.9} if kind == "SGD" else {}
        optimizer = getattr(module.optim, kind)(groups, lr=0.1, **more)
        sides.append(module.optim.lr_scheduler.OneCycleLR(optimizer, [0.3, 1.7], **options))
    return sides


def advance(*schedulers):
    for scheduler in schedulers:
        scheduler.optimizer.step()
        scheduler.step()


def assert_equal_now(ours, theirs):
    assert ours.get_last_lr() == theirs.get_last_lr()
    assert ours.state_dict() == theirs.state_dict()
    for group, expected in zip(
        ours.optimizer.param_groups, theirs.optimizer.param_groups, strict=True
    ):
        assert {k: v for k, v in group.items() if k != "params"} == {
            k: v for k, v in expected.items() if k != "params"
        }


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_rates_momenta_and_state_are_pytorchs_to_the_last_bit(kind, options):
    ours, theirs = pair(kind, options)
    assert_equal_now(ours, theirs)
    for _ in range(ours.total_steps):
        advance(ours, theirs)
        assert_equal_now(ours, theirs)


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
@pytest.mark.parametrize("three_phase", [False, True])
def test_state_goes_through_a_file_and_on_to_the_same_rates(kind, three_phase, tmp_path):
    options = {"total_steps": 60, "three_phase": three_phase}
    ours, theirs = pair(kind, options)
    for _ in range(23):
        advance(ours, theirs)
    npmlp.save([ours.state_dict(), ours.optimizer.state_dict()], tmp_path / "state")
    state, optimizer_state = npmlp.load(tmp_path / "state")
    resumed, _ = pair(kind, {"total_steps": 5})
    resumed.load_state_dict(state)
    resumed.optimizer.load_state_dict(optimizer_state)
    assert_equal_now(resumed, theirs)
    for _ in range(37):
        advance(resumed, theirs)
        assert_equal_now(resumed, theirs)


def test_a_step_beyond_the_last_is_refused():
    ours, _ = pair("SGD", {"total_steps": 4})
    for _ in range(4):
        advance(ours)
    with pytest.raises(ValueError, match=r"step 5 is beyond total_steps=4; .* once per batch"):
        advance(ours)


def test_momentum_is_cycled_only_where_there_is_one():
    class Plain(npmlp.optim.Optimizer):
        def _update_group(self, group):
            pass

    optimizer = Plain([npmlp.ones(1)], {"lr": 0.1})
    with pytest.raises(ValueError, match="Plain, which has no momentum and no betas"):
        OneCycleLR(optimizer, 1.0, total_steps=10)
    scheduler = OneCycleLR(optimizer, 1.0, total_steps=10, cycle_momentum=False)
    assert scheduler.get_last_lr() == [optimizer.param_groups[0]["lr"]]


def test_bad_arguments_are_refused():
    optimizer = npmlp.optim.SGD([npmlp.ones(1, requires_grad=True)], momentum=0.9)
    for options, match in [
        ({}, "give total_steps, or both epochs and steps_per_epoch"),
        ({"epochs": 3}, "give total_steps, or both epochs and steps_per_epoch"),
        ({"total_steps": 0}, "total_steps is 0, expected a whole number above 0"),
        ({"total_steps": 2.5}, "total_steps is 2.5"),
        ({"epochs": -1, "steps_per_epoch": 4}, "epochs is -1"),
        ({"total_steps": 9, "pct_start": 1}, "pct_start is 1, expected a float of 0 to 1"),
        ({"total_steps": 9, "pct_start": 1.5}, "pct_start is 1.5"),
        ({"total_steps": 9, "anneal_strategy": "exp"}, "anneal_strategy is 'exp'"),
        ({"total_steps": 9, "base_momentum": [0.8, 0.8]}, "base_momentum has 2 entries"),
    ]:
        with pytest.raises(ValueError, match=f"^OneCycleLR: {match}"):
            OneCycleLR(optimizer, 1.0, **options)
    with pytest.raises(ValueError, match="max_lr has 2 entries, expected one for each of the 1"):
        OneCycleLR(optimizer, [1.0, 2.0], total_steps=9)
