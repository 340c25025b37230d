"""The schedules beside PyTorch's: the same rates to the last bit, and the same state."""

from __future__ import annotations

import inspect
import itertools
import warnings

import numpy as np
import pytest
import torch

import npmlp
from npmlp.errors import CheckpointError, OutsideSubsetError
from npmlp.optim import lr_scheduler

STEPS = 60


class Decay:
    """A callable object, whose attributes are part of state_dict."""

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, t):
        return self.rate**t


CASES = [
    ("StepLR", {"step_size": 7}),
    ("StepLR", {"step_size": 1, "gamma": 0.97}),
    ("MultiStepLR", {"milestones": [3, 10, 10, 41], "gamma": 0.3}),
    ("MultiStepLR", {"milestones": []}),
    ("ExponentialLR", {"gamma": 0.93}),
    ("CosineAnnealingLR", {"T_max": 50}),
    ("CosineAnnealingLR", {"T_max": 7, "eta_min": 0.003}),  # beyond T_max, up and down again
    ("CosineAnnealingLR", {"T_max": 1, "eta_min": 0.01}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.1, "end_factor": 0.7, "total_iters": 31}),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 13}),
    ("LambdaLR", {"lr_lambda": lambda t: 1 / (1 + t)}),
    ("LambdaLR", {"lr_lambda": [lambda t: 0.95**t, Decay(0.9)]}),
]
CLOSED_FORMS = [case for case in CASES if case[0] != "LambdaLR"]


def optimizer_of(module, lr=0.1, **options):
    tensors = [module.ones(2, requires_grad=True) for _ in range(2)]
    groups = [{"params": tensors[:1]}, {"params": tensors[1:], "lr": 0.037}]
    return module.optim.SGD(groups, lr=lr, **options)


def pair(name, options, **more):
    """The scheduler here and in PyTorch, each with two groups."""
    sides = []
    for module in (npmlp, torch):
        cls = getattr(module.optim.lr_scheduler, name)
        sides.append(cls(optimizer_of(module, **more), **options))
    return sides


def rates(scheduler):
    return [group["lr"] for group in scheduler.optimizer.param_groups]


def assert_equal_now(ours, theirs):
    assert rates(ours) == rates(theirs)
    assert ours.get_last_lr() == theirs.get_last_lr()
    if "lr_lambdas" not in ours.__dict__:
        assert ours.state_dict() == theirs.state_dict()
    for group, expected in zip(
        ours.optimizer.param_groups, theirs.optimizer.param_groups, strict=True
    ):
        assert {k: v for k, v in group.items() if k != "params"} == {
            k: v for k, v in expected.items() if k != "params"
        }


def advance(*schedulers, steps=1):
    for _ in range(steps):
        for scheduler in schedulers:
            scheduler.optimizer.step()
            scheduler.step()


@pytest.mark.parametrize(
    "name", ["LRScheduler", "ReduceLROnPlateau", "OneCycleLR", *{n: 0 for n, _ in CASES}]
)
def test_names_order_and_defaults_are_pytorchs(name):
    def parameters(module):
        signature = inspect.signature(getattr(module.optim.lr_scheduler, name))
        return [(p.name, p.kind, p.default) for p in signature.parameters.values()]

    assert parameters(npmlp) == parameters(torch)


@pytest.mark.parametrize("name, options", CASES)
def test_rates_and_state_are_pytorchs_to_the_last_bit(name, options):
    ours, theirs = pair(name, options)
    assert_equal_now(ours, theirs)
    for _ in range(STEPS):
        advance(ours, theirs)
        assert_equal_now(ours, theirs)


@pytest.mark.parametrize("first, second", list(itertools.combinations(CLOSED_FORMS[::2], 2)))
def test_two_schedules_on_one_optimizer_act_as_in_pytorch(first, second):
    results = []
    for module in (npmlp, torch):
        optimizer = optimizer_of(module)
        schedulers = [
            getattr(module.optim.lr_scheduler, name)(optimizer, **options)
            for name, options in (first, second)
        ]
        seen = []
        for _ in range(STEPS):
            optimizer.step()
            for scheduler in schedulers:
                scheduler.step()
            seen.append(rates(schedulers[0]))
        results.append(seen)
    assert results[0] == results[1]


@pytest.mark.parametrize("name, options", CASES)
def test_a_rate_edited_by_hand_is_taken_up_as_in_pytorch(name, options):
    ours, theirs = pair(name, options)
    for _ in range(3):
        advance(ours, theirs, steps=4)
        for scheduler in (ours, theirs):
            scheduler.optimizer.param_groups[0]["lr"] *= 0.3
    advance(ours, theirs)
    assert_equal_now(ours, theirs)


@pytest.mark.parametrize("name, options", CLOSED_FORMS)
def test_step_with_an_epoch_jumps_there_and_warns_as_in_pytorch(name, options):
    ours, theirs = pair(name, options)
    for epoch in (5, 3, 20, 50):
        for scheduler in (ours, theirs):
            scheduler.optimizer.step()
            with pytest.warns(UserWarning, match="deprecated"):
                scheduler.step(epoch)
        assert_equal_now(ours, theirs)


@pytest.mark.parametrize("name, options", CLOSED_FORMS)
def test_the_closed_form_is_what_the_steps_lead_to(name, options):
    # 60 steps round by a few 1e-16 each. The cosine's ratio of (1 + cos) loses digits near its
    # lowest point, where 1 + cos is as small as (π / T_max)² / 2 = 0.002: some 1e-13 in all. At the
    # point itself the rate is 0 but for the rounding of cos: 0.1 · 1e-16.
    ours, _ = pair(name, options)
    for _ in range(min(STEPS, options.get("T_max", STEPS))):
        advance(ours)
        np.testing.assert_allclose(ours.get_last_lr(), ours._get_closed_form_lr(), 1e-12, 1e-15)


@pytest.mark.parametrize("name, options", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_rate_that_is_a_tensor_is_filled_in_place(name, options, dtype):
    sides = []
    for module in (npmlp, torch):
        lr = module.tensor(0.1, dtype=getattr(module, dtype))
        optimizer = module.optim.SGD([module.ones(2, requires_grad=True)], lr=lr)
        if isinstance(options.get("lr_lambda"), list):
            options = {"lr_lambda": options["lr_lambda"][:1]}
        sides.append((lr, getattr(module.optim.lr_scheduler, name)(optimizer, **options)))
    (lr, ours), (their_lr, theirs) = sides
    for _ in range(STEPS):
        advance(ours, theirs)
        assert lr.item() == their_lr.item()
        assert ours.get_last_lr()[0].item() == lr.item()
        assert ours.get_last_lr()[0] is not lr
    assert ours.optimizer.param_groups[0]["lr"] is lr


@pytest.mark.parametrize("name, options", CASES)
def test_state_goes_through_a_file_and_on_to_the_same_rates(name, options, tmp_path):
    ours, _ = pair(name, options)
    advance(ours, steps=25)
    npmlp.save([ours.state_dict(), ours.optimizer.state_dict()], tmp_path / "state")
    state, optimizer_state = npmlp.load(tmp_path / "state")
    fresh, _ = pair(name, options, lr=9.0)
    fresh.load_state_dict(state)
    fresh.optimizer.load_state_dict(optimizer_state)
    for _ in range(35):
        advance(ours, fresh)
        assert_equal_now(fresh, ours)
    if name == "MultiStepLR":  # whose milestones come back as a plain dict
        assert fresh._get_closed_form_lr() == ours._get_closed_form_lr()


@pytest.mark.parametrize("name, options", CASES)
def test_a_schedule_of_pytorch_goes_on_here(name, options):
    ours, theirs = pair(name, options)
    advance(theirs, steps=25)
    ours.load_state_dict(theirs.state_dict())
    ours.optimizer.load_state_dict(theirs.optimizer.state_dict())
    for _ in range(35):
        advance(ours, theirs)
        assert_equal_now(ours, theirs)


@pytest.mark.parametrize("name, options", CASES)
def test_last_epoch_resumes_from_initial_lr_as_in_pytorch(name, options):
    sides = []
    for module in (npmlp, torch):
        optimizer = optimizer_of(module)
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"] * 2
        cls = getattr(module.optim.lr_scheduler, name)
        sides.append(cls(optimizer, **options, last_epoch=11))
    assert_equal_now(*sides)
    for _ in range(STEPS):
        advance(*sides)
        assert_equal_now(*sides)
    with pytest.raises(KeyError, match=r"last_epoch=3 resumes .* has no initial_lr"):
        getattr(lr_scheduler, name)(optimizer_of(npmlp), **options, last_epoch=3)


def test_attributes_of_a_callable_object_are_saved_and_functions_are_not():
    ours, theirs = pair("LambdaLR", {"lr_lambda": [lambda t: 1.0, Decay(0.9)]})
    assert ours.state_dict()["lr_lambdas"] == [None, {"rate": 0.9}]
    assert ours.state_dict() == theirs.state_dict()
    state = ours.state_dict()
    fresh, _ = pair("LambdaLR", {"lr_lambda": [lambda t: 0.5, Decay(0.1)]})
    fresh.load_state_dict(state)
    assert state["lr_lambdas"] == [None, {"rate": 0.9}]
    assert fresh.lr_lambdas[1].rate == 0.9
    assert fresh.lr_lambdas[0](0) == 0.5


# ------------------------------------------------------------------------------ warnings and errors


@pytest.mark.parametrize("module", [npmlp, torch])
def test_stepping_the_schedule_before_the_optimizer_warns(module):
    scheduler = module.optim.lr_scheduler.StepLR(optimizer_of(module), 2)
    with pytest.warns(UserWarning, match=r"before `?optimizer\.step\(\)"):
        scheduler.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler.step()  # once is enough


@pytest.mark.parametrize("module", [npmlp, torch])
def test_get_lr_from_outside_warns(module):
    scheduler = module.optim.lr_scheduler.StepLR(optimizer_of(module), 2)
    with pytest.warns(UserWarning, match="get_last_lr"):
        scheduler.get_lr()


def test_initial_lr_stays_in_the_groups():
    scheduler, _ = pair("ExponentialLR", {"gamma": 0.5})
    advance(scheduler, steps=3)
    assert [g["initial_lr"] for g in scheduler.optimizer.param_groups] == [0.1, 0.037]
    assert scheduler.base_lrs == [0.1, 0.037]


def test_bad_arguments_are_refused():
    optimizer = optimizer_of(npmlp)
    with pytest.raises(TypeError, match="StepLR: optimizer is a float"):
        lr_scheduler.StepLR(0.1, 3)
    with pytest.raises(ValueError, match="StepLR: step_size is 0"):
        lr_scheduler.StepLR(optimizer, 0)
    with pytest.raises(ValueError, match="CosineAnnealingLR: T_max is 0"):
        lr_scheduler.CosineAnnealingLR(optimizer, 0)
    for options in ({"start_factor": 0.0}, {"start_factor": 1.5}, {"end_factor": -0.1}):
        with pytest.raises(ValueError, match=f"LinearLR: {next(iter(options))} is"):
            lr_scheduler.LinearLR(optimizer, **options)
    with pytest.raises(ValueError, match="LinearLR: total_iters is 0"):
        lr_scheduler.LinearLR(optimizer, total_iters=0)
    with pytest.raises(ValueError, match=r"lr_lambda has 3 entries, .* the 2 parameter groups"):
        lr_scheduler.LambdaLR(optimizer, [Decay(1), Decay(1), Decay(1)])
    with pytest.raises(OutsideSubsetError, match="CyclicLR"):
        _ = lr_scheduler.CyclicLR
    assert all("initial_lr" not in group for group in optimizer.param_groups)


def test_the_state_of_another_scheduler_is_refused():
    scheduler, _ = pair("StepLR", {"step_size": 3})
    other, _ = pair("CosineAnnealingLR", {"T_max": 3})
    before = scheduler.state_dict()
    with pytest.raises(CheckpointError, match="the state has no 'step_size'"):
        scheduler.load_state_dict(other.state_dict())
    assert scheduler.state_dict() == before
