"""`plan.each`: many steps in one replay, with the bits of as many replays, and of the steps."""

import itertools

import numpy as np
import pytest

import npmlp
from npmlp import nn, optim
from npmlp.plan import recorded
from tests.plan.trainings import batches, small


@pytest.fixture
def replays(monkeypatch):
    """How many steps each replay had."""
    counts = []
    run = recorded.Recording.run

    def counted(self, *inputs):
        counts.append(len(inputs))
        return run(self, *inputs)

    monkeypatch.setattr(recorded.Recording, "run", counted)
    return counts


OPTIMIZERS = {
    "SGD": {"momentum": 0.9, "dampening": 0.1},
    "Adam": {"amsgrad": True},
    "AdamW": {"weight_decay": 0.1},
    "RMSprop": {"centered": True},
}


def make(optimizer, clip=0.5):
    training = small(clip=clip)
    kind = getattr(optim, optimizer)
    parameters = [
        {"params": [p for p in training.model.parameters() if p.ndim > 1]},
        {"params": [p for p in training.model.parameters() if p.ndim <= 1], "lr": 0.05},
    ]
    training.optimizer = kind(parameters, lr=0.01, **OPTIMIZERS[optimizer])
    return training


@pytest.mark.parametrize("kernels", ["numba", "numpy"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_bits_are_those_of_one_step_after_another(optimizer, threads, kernels, replays):
    npmlp.set_kernels(kernels)
    npmlp.set_num_threads(threads)
    data = [batches((6,), 3, sizes) for sizes in ([5] * 4, [5] * 3, [5, 5, 4, 5])]
    npmlp.manual_seed(3)
    plain, expected, states = make(optimizer), [], []
    for epoch in data:
        expected += [plain.step(*batch) for batch in epoch]
        states.append(plain.state())
        plain.optimizer.param_groups[0]["lr"] *= 0.7
    npmlp.manual_seed(3)
    training, found = make(optimizer), []
    plan = npmlp.capture(training.step)
    for epoch, state in zip(data, states, strict=True):
        found += plan.each(epoch)
        assert training.state() == state
        training.optimizer.param_groups[0]["lr"] *= 0.7
    for mine, its in zip(found, expected, strict=True):
        assert [t.numpy().tobytes() for t in mine] == [t.detach().numpy().tobytes() for t in its]
    # the first batch of a size is recorded; what is alone of its size is a replay of one
    assert replays == [3, 3, 2, 1]


def test_nothing_is_done_twice_where_results_are_taken_slowly():
    training = small()
    plan = npmlp.capture(training.step, *batches((6,), 3, [5])[0])
    losses = plan.each(batches((6,), 3, [5] * 3))
    first = next(losses)
    state = training.state()
    rest = list(losses)
    assert training.state() == state
    assert len({loss.item() for loss, _ in [first, *rest]}) == 3


@pytest.mark.parametrize("kernels", ["numba", "numpy"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("bad", [0, 2, 4])
def test_an_error_ends_them_after_the_results_before_it(bad, optimizer, threads, kernels):
    """The state is that of the steps before it; counts of those after it are taken back."""
    npmlp.set_kernels(kernels)
    npmlp.set_num_threads(threads)
    good = batches((6,), 3, [5] * 5)
    data = [(x * np.inf if i == bad else x, y) for i, (x, y) in enumerate(good)]

    def begun():
        npmlp.manual_seed(3)
        training = make(optimizer)

        def step(x, y):
            training.optimizer.zero_grad()
            loss = training.loss(training.model[4:](training.model[0](x)[:, :8]), y)
            npmlp.plan.in_step.require_finite(loss)
            loss.backward()
            training.optimizer.step()
            return loss

        return training, npmlp.capture(step, *good[0])

    training, plan = begun()
    expected = [plan(*batch).item() for batch in [*data[:bad], good[bad]]]
    state = training.state()

    training, plan = begun()
    found = []
    with pytest.raises(FloatingPointError):
        for loss in plan.each(data):
            found.append(loss.item())
    assert found == expected[:bad]
    assert plan(*good[bad]).item() == expected[bad]
    assert training.state() == state


def test_a_label_out_of_range_ends_them_where_it_is():
    training, data = small(), batches((6,), 3, [5] * 4)
    plan = npmlp.capture(training.step, *data[0])
    data[2][1].numpy()[1] = 3
    found = []
    with pytest.raises(ValueError, match=r"target\[1\] is 3"):
        for result in plan.each(data):
            found.append(result)
    assert len(found) == 2


def test_a_recording_that_its_own_step_ends_is_replayed_once(replays):
    """The first step finds no gradients, and those after it add to what they find."""
    x = npmlp.ones(2, requires_grad=True)

    def step(t):
        (x * t).sum().backward()
        return x.grad * 1

    plan = npmlp.capture(step)
    ones = [(npmlp.ones(2),)]
    for _ in range(2):
        x.grad = None
        sums = [g.tolist()[0] for g in plan.each(ones * 5)]
        assert sums == [1, 2, 3, 4, 5]
    assert replays == [3, 1, 4]


@pytest.mark.parametrize("what", ["weight", "gradient"])
def test_what_is_returned_may_be_a_parameter_or_a_gradient(what):
    training = small()

    def step(x, y):
        training.step(x, y)
        weight = training.model[0].weight
        return [weight if what == "weight" else weight.grad]

    data = batches((6,), 3, [5] * 4)
    npmlp.manual_seed(3)
    before = {k: v.numpy().copy() for k, v in training.model.state_dict().items()}
    expected = [[t.detach().numpy().copy() for t in step(*batch)] for batch in data]
    training = small()
    assert all((before[k] == v.numpy()).all() for k, v in training.model.state_dict().items())
    npmlp.manual_seed(3)
    plan = npmlp.capture(step)
    for found, its in zip(plan.each(data), expected, strict=True):
        assert all(np.array_equal(a.numpy(), b) for a, b in zip(found, its, strict=True))


def test_inputs_that_the_step_changes_and_inputs_that_lie_anyhow():
    total = npmlp.zeros(3)

    def step(x):
        x *= 2
        total.add_(x)
        return x + 1

    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    calls = [(npmlp.from_numpy(rows[:, i]),) for i in range(4)]  # each stride is 16 bytes
    expected = rows * 2 + 1
    plan = npmlp.capture(step)
    list(plan.each([(npmlp.zeros(3),)]))
    found = list(plan.each(calls))
    assert np.array_equal(np.stack([t.numpy() for t in found], 1), expected)
    assert total.tolist() == (rows * 2).sum(1).tolist()


def test_a_step_that_cannot_be_recorded_runs_all_the_same():
    linear = nn.Linear(2, 2)
    linear.register_forward_hook(lambda module, args, out: out * 2)
    plan = npmlp.capture(lambda x: linear(x).detach())
    x = npmlp.ones(1, 2)
    with pytest.warns(UserWarning, match="a hook"):
        found = list(plan.each([(x,)] * 3))
    assert all(np.array_equal(t.numpy(), linear(x).detach().numpy()) for t in found)


def test_other_arguments_than_tensors_part_the_replays(replays):
    plan = npmlp.capture(lambda x, k: x * k)
    x = npmlp.ones(2)
    found = list(plan.each((x, k) for k in (2, 2, 2, 3, 3, 2, 2)))
    assert [t.tolist()[0] for t in found] == [2, 2, 2, 3, 3, 2, 2]
    assert replays == [2, 1, 2]


def test_more_steps_than_before_and_fewer():
    training, plain = small(), small()
    plan = npmlp.capture(training.step)
    data = iter(batches((6,), 3, [5] * 12))
    npmlp.manual_seed(4)
    sizes = (2, 6, 1, 3)
    groups = [list(itertools.islice(data, size)) for size in sizes]
    found = [loss.item() for group in groups for loss, _ in plan.each(group)]
    npmlp.manual_seed(4)
    expected = [plain.step(*batch)[0].item() for group in groups for batch in group]
    assert found == expected
    assert training.state() == plain.state()
