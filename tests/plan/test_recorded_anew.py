"""capture: what each replay reads, what is recorded anew, what runs eagerly and says why."""

from __future__ import annotations

import warnings

import pytest

import npmlp
from npmlp import nn, optim
from npmlp.errors import GraphError
from tests.plan.trainings import Training, assert_alike, batches, recorded, small


def test_a_learning_rate_is_read_at_every_replay():
    def change(training, i):
        training.optimizer.param_groups[0]["lr"] = 0.1 / (i + 1)

    plan = assert_alike(small, batches((6,), 3, [5] * 4), change)
    assert recorded(plan) == 1


@pytest.mark.parametrize("option", [{"momentum": 0.5}, {"weight_decay": 0.1}, {"nesterov": True}])
def test_other_options_are_read_too(option):
    def change(training, i):
        if i == 2:
            training.optimizer.param_groups[0].update(option)

    assert_alike(small, batches((6,), 3, [5] * 4), change)


def test_a_module_in_another_mode_is_recorded_anew():
    def change(training, i):
        training.model.train(i != 2)

    plan = assert_alike(small, batches((6,), 3, [5] * 5), change)
    assert recorded(plan) == 2


def test_a_parameter_that_is_frozen_is_recorded_anew():
    def change(training, i):
        training.model[0].weight.requires_grad_(i != 2)

    plan = assert_alike(small, batches((6,), 3, [5] * 5), change)
    assert recorded(plan) == 2


def test_another_group_of_parameters_takes_part_at_once():
    def make():
        npmlp.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        return Training(model, optim.Adam(model[0].parameters(), lr=0.01))

    def change(training, i):
        if i == 2:
            training.optimizer.add_param_group({"params": training.model[2].parameters()})

    assert_alike(make, batches((6,), 3, [5] * 5), change)


def test_states_that_are_loaded_are_used():
    saved = {}

    def change(training, i):
        if i == 1:
            saved["model"] = {k: v.clone() for k, v in training.model.state_dict().items()}
            saved["optimizer"] = training.optimizer.state_dict()
        if i == 3:
            training.model.load_state_dict(saved["model"])
            training.optimizer.load_state_dict(saved["optimizer"])

    assert_alike(small, batches((6,), 3, [5] * 5), change)


@pytest.mark.parametrize(
    "read",
    [
        lambda loss: loss.item(), bool, float, lambda loss: loss.detach().numpy(),
        lambda loss: loss.tolist(), lambda loss: 1 if loss > 0 else 2, npmlp.tensor,
    ],
)  # fmt: skip
def test_a_value_that_is_read_while_recording_is_an_error(read):
    training = small()

    def step(x, y):
        loss = training.step(x, y)[0]
        read(loss)
        return loss

    before = training.state()
    with pytest.raises(GraphError, match="read while its step was recorded, and a plan would not"):
        npmlp.capture(step)(*batches((6,), 3, [5])[0])
    assert training.state() == before, "what the step had done was not put back"
    step(*batches((6,), 3, [5])[0])  # and eagerly it works


class Double(npmlp.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, grad_output):
        return 2 * grad_output


def noise(training, x, y):
    return training.step(x + npmlp.randn(*x.shape), y)


def with_a_function(training, x, y):
    return training.step(Double.apply(x), y)


def with_a_hook(training, x, y):
    if not training.model[0]._forward_hooks:
        training.model[0].register_forward_hook(lambda module, args, output: output * 2)
    return training.step(x, y)


def indexed(training, x, y):
    return training.step(x[npmlp.tensor([3, 1, 0, 2])], y[:4])


def no_backward(training, x, y):
    return (training.model(x),)


def computed_in_numpy(training, x, y):
    return training.step(x * npmlp.isnan(x).float() + x, y)


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (noise, "random numbers"), (with_a_function, "Double is a Function"),
        (with_a_hook, "a hook is registered on Linear"), (indexed, "array of indices"),
        (no_backward, "calls no backward"), (computed_in_numpy, "not computed by recorded"),
    ],
)  # fmt: skip
def test_what_no_list_of_calls_repeats_runs_eagerly_and_says_why(step, why):
    data = batches((6,), 3, [5] * 3)
    plain = small()
    expected = [[t.detach().numpy().tobytes() for t in step(plain, *batch)] for batch in data]
    end = plain.state()
    planned = small()
    plan = npmlp.capture(lambda x, y: step(planned, x, y))
    with pytest.warns(UserWarning, match=why):
        got = [plan(*data[0])]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it says so once
        got += [plan(*batch) for batch in data[1:]]
    assert [[t.detach().numpy().tobytes() for t in result] for result in got] == expected
    assert planned.state() == end
    assert why in plan.reason


def test_other_arguments_are_part_of_what_is_recorded():
    training = small()

    def step(x, y, factor):
        loss = training.loss(training.model(x) * factor, y)
        return (loss.detach(),)

    plan = npmlp.capture(step)
    training.model.eval()
    (x, y), *_ = batches((6,), 3, [5])
    with npmlp.no_grad():
        for factor in (1.0, 2.0, 1.0, 2.0):
            assert plan(x, y, factor)[0].item() == step(x, y, factor)[0].item()
    assert recorded(plan) == 2


def test_arguments_that_cannot_be_compared_run_eagerly():
    training = small()
    plan = npmlp.capture(lambda x, y, names: training.step(x, y))
    with pytest.warns(UserWarning, match="cannot be a dictionary's key"):
        result = plan(*batches((6,), 3, [5])[0], ["a", "list"])
    again = small()
    assert result[0].item() == again.step(*batches((6,), 3, [5])[0])[0].item()


def test_one_and_true_are_two_arguments():
    plan = npmlp.capture(lambda x, factor: x * (2.0 if factor is True else 3.0))
    x = npmlp.ones(2)
    with npmlp.no_grad():
        assert [plan(x, f)[0].item() for f in (1, True, 1, True)] == [3.0, 2.0, 3.0, 2.0]


def test_a_plan_that_is_never_the_same_stops_recording():
    training = small()
    plan = npmlp.capture(training.step)
    data = batches((6,), 3, range(2, 12))
    with pytest.warns(UserWarning, match="it was recorded 8 times"):
        for batch in data:
            plan(*batch)
    assert recorded(plan) == 8


def test_an_example_that_requires_a_gradient_is_not_stepped_on():
    training = small()
    x, y = batches((6,), 3, [5])[0]
    before = training.state()
    with pytest.warns(UserWarning, match="requires a gradient"):
        npmlp.capture(training.step, x.requires_grad_(), y)
    assert training.state() == before


def test_explaining_again_and_again_records_once():
    training = small()
    batch = batches((6,), 3, [5])[0]
    plan = npmlp.capture(training.step, *batch)
    plan.explain(*batch)
    plan.explain(*batch)
    assert recorded(plan) == 1
