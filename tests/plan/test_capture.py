"""capture: a plan does what its step does, to the bit, and records anew or says why if it must."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import npmlp
from npmlp import config, models, nn, optim, recipes
from npmlp.engine import build_optimizer
from npmlp.errors import GraphError


@pytest.fixture(autouse=True)
def settings():
    kernels, threads = config.get_kernels(), config.get_num_threads()
    yield
    config.set_kernels(kernels)
    config.set_num_threads(threads)


class Training:
    """A small network, or a recipe's, with its step."""

    def __init__(self, model, optimizer=None, loss=None, clip=None):
        self.model, self.clip = model, clip
        self.optimizer = optimizer or optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        self.loss = loss or nn.CrossEntropyLoss()

    def step(self, x, y):
        self.optimizer.zero_grad()
        logits = self.model(x)
        loss = self.loss(logits, y)
        loss.backward()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        return loss, logits

    def state(self):
        """All that training changes, as bytes."""
        state = {k: v.numpy().tobytes() for k, v in self.model.state_dict().items()}
        for i, s in self.optimizer.state_dict()["state"].items():
            state |= {f"{i}.{k}": v.numpy().tobytes() for k, v in s.items()}
        for name, p in self.model.named_parameters():
            state[f"{name}.grad"] = None if p.grad is None else p.grad.numpy().tobytes()
        state["generator"] = npmlp.get_rng_state().numpy().tobytes()
        return state


def small(seed=0, **options):
    npmlp.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(0.4), nn.Linear(8, 8), nn.ReLU(),
        nn.Linear(8, 3),
    )  # fmt: skip
    return Training(model, **options)


def of_recipe(name, dtype):
    recipe = recipes.find(name)
    npmlp.manual_seed(recipe.seed)
    model = models.build(recipe, (1, 28, 28), 10).to(getattr(npmlp, dtype))
    loss = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    return Training(model, build_optimizer(recipe, model), loss, recipe.clip_norm)


def batches(shape, classes, sizes, dtype="float32", seed=1):
    rng = np.random.default_rng(seed)
    return [
        (
            npmlp.from_numpy(rng.standard_normal((n, *shape)).astype(dtype)),
            npmlp.from_numpy(rng.integers(0, classes, n)),
        )
        for n in sizes
    ]


def assert_alike(make, data, change=lambda training, i: None, step=Training.step):
    """Train twice, with the step and with its plan: the same bits after every batch."""
    npmlp.manual_seed(3)
    plain, expected = make(), []
    for i, batch in enumerate(data):
        change(plain, i)
        result = step(plain, *batch)
        expected.append(([t.detach().numpy().tobytes() for t in result], plain.state()))
    npmlp.manual_seed(3)
    planned = make()
    plan = npmlp.capture(lambda x, y: step(planned, x, y))
    for i, (batch, (results, state)) in enumerate(zip(data, expected, strict=True)):
        change(planned, i)
        result = plan(*batch)
        assert [t.numpy().tobytes() for t in result] == results, f"results of step {i}"
        assert planned.state() == state, f"state after step {i}"
    assert plan.reason is None
    return plan


def recorded(plan):
    return sum(map(len, plan._recordings.values()))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["vanilla", "vanilla-xavier-aug-dropout", "lenet", "residual"])
def test_a_recipe_s_plan_has_the_bits_of_its_step(name, dtype, threads):
    config.set_num_threads(threads)
    data = batches((1, 28, 28), 10, [20, 20, 12, 20, 12, 20], dtype)
    plan = assert_alike(lambda: of_recipe(name, dtype), data)
    assert recorded(plan) == 2  # one for each size of batch


def test_the_mixer_s_plan_has_the_bits_of_its_step():
    assert_alike(lambda: of_recipe("mixer", "float32"), batches((1, 28, 28), 10, [8, 8, 8]))


def test_with_numpy_kernels_too():
    config.set_kernels("numpy")
    assert_alike(small, batches((6,), 3, [5, 5, 4, 5]))


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


def test_gradients_that_are_added_up_go_on_adding_up():
    def step(training, x, y):
        loss = training.loss(training.model(x), y)
        loss.backward()
        return (loss,)

    def change(training, i):
        if i == 4:
            training.optimizer.step()
            training.optimizer.zero_grad()

    assert_alike(small, batches((6,), 3, [5] * 7), change, step)


@pytest.mark.parametrize("set_to_none", [True, False])
def test_gradients_may_be_dropped_at_the_end_of_a_step(set_to_none):
    def step(training, x, y):
        loss = training.loss(training.model(x), y)
        loss.backward()
        training.optimizer.step()
        training.optimizer.zero_grad(set_to_none)
        return (loss,)

    assert_alike(small, batches((6,), 3, [5] * 5), step=step)


def test_two_backwards_and_tensors_in_place_within_a_step():
    def step(training, x, y):
        training.optimizer.zero_grad()
        h = training.model[0](x)
        h.add_(1.0)
        loss = training.loss(training.model[4](h.relu()), y % 8)
        loss.backward(retain_graph=True)
        (h * 2).sum().backward()
        training.optimizer.step()
        return loss, h

    assert_alike(small, batches((6,), 3, [5] * 4), step=step)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_an_example_records_and_changes_nothing(optimizer):
    training = small()
    training.optimizer = getattr(optim, optimizer)(training.model.parameters(), lr=0.1)
    (x, y), (x2, y2) = batches((6,), 3, [5, 5])
    before = training.state()
    plan = npmlp.capture(training.step, x, y)
    assert training.state() == before
    assert recorded(plan) == 1
    loss = plan(x2, y2)[0].item()
    after = training.state()
    assert recorded(plan) == 1

    again = small()
    again.optimizer = getattr(optim, optimizer)(again.model.parameters(), lr=0.1)
    assert again.step(x2, y2)[0].item() == loss
    assert again.state() == after


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


def test_results_are_one_s_own():
    training, data = small(), batches((6,), 3, [5] * 3)
    plan = npmlp.capture(training.step)
    results = [plan(*batch) for batch in data]
    values = [loss.item() for loss, _ in results]
    assert len(set(values)) == 3
    assert not any(t.requires_grad for result in results for t in result)


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


def test_a_label_out_of_range_is_found_at_a_replay_too():
    (x, y), *_ = batches((6,), 3, [5])
    wrong = y.clone()
    wrong[2] = 3

    def train(training, step):
        losses = [step(x, y)[0].item()]
        with pytest.raises(npmlp.errors.DataError, match=r"target\[2\] is 3"):
            step(x, wrong)
        losses.append(step(x, y)[0].item())
        return losses, training.state()

    plain = small()
    expected = train(plain, plain.step)
    planned = small()
    assert train(planned, npmlp.capture(planned.step)) == expected


def test_a_replay_makes_no_new_arrays_but_its_results():
    import tracemalloc

    training = of_recipe("vanilla", "float32")
    plan = npmlp.capture(training.step)
    (batch,) = batches((1, 28, 28), 10, [64])
    for _ in range(3):
        plan(*batch)
    tracemalloc.start()
    plan(*batch)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # the loss, 64 × 10 logits in float32, Python's own objects; the hidden layer alone has 25 kB
    assert peak < 64 * 10 * 4 + 12_000


def test_an_update_alone_follows_the_gradients_that_are_there():
    def train(planned):
        training = small(clip=0.1)
        data = batches((6,), 3, [5, 5, 4, 5, 4])

        def gradients(x, y):
            training.optimizer.zero_grad()
            loss = training.loss(training.model(x), y)
            loss.backward()
            return (loss,)

        def update():
            nn.utils.clip_grad_norm_(training.model.parameters(), 0.1)
            training.optimizer.step()

        if planned:
            gradients, update = npmlp.capture(gradients), npmlp.capture(update)
        states = []
        for batch in data:
            gradients(*batch)
            update()
            states.append(training.state())
        return states, update

    expected, _ = train(False)
    got, plan = train(True)
    assert got == expected
    assert recorded(plan) == 2  # the gradients of each size of batch are arrays of their own
