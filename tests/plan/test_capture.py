"""capture: a plan does what its step does, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

import npmlp
from npmlp import config, nn, optim
from npmlp.plan.in_step import require_finite
from tests.plan.trainings import assert_alike, batches, of_recipe, recorded, small


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


def test_results_are_one_s_own():
    training, data = small(), batches((6,), 3, [5] * 3)
    plan = npmlp.capture(training.step)
    results = [plan(*batch) for batch in data]
    values = [loss.item() for loss, _ in results]
    assert len(set(values)) == 3
    assert not any(t.requires_grad for result in results for t in result)


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


@pytest.mark.usefixtures("compiled")
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


def test_inputs_are_taken_wherever_they_lie():
    """A plan reads an input in its place, but what lies otherwise than the first, or is read by
    Python too, is copied.
    """
    x, y = batches((6,), 3, [8])[0]
    wide = npmlp.from_numpy(np.random.default_rng(5).standard_normal((16, 12)).astype(np.float32))
    read_only = np.random.default_rng(6).standard_normal((8, 6)).astype(np.float32)
    read_only.setflags(write=False)
    crooked = np.frombuffer(bytearray(8 * 6 * 4 + 1), np.uint8)[1:].view(np.float32).reshape(8, 6)
    crooked[...] = 0.5
    inputs = [
        x, wide[::2, ::2], wide[:8, :6], wide.T[:6, :8].T, npmlp.from_numpy(read_only.copy()), x,
        npmlp.Tensor._wrap(read_only), npmlp.Tensor._wrap(crooked), wide[8:, 6:].contiguous(),
    ]  # fmt: skip
    plain, planned = small(), small()
    plan = npmlp.capture(planned.step)
    for seed, given in enumerate(inputs):
        before = given.numpy().copy()
        npmlp.manual_seed(seed)
        expected = [t.detach().numpy().tobytes() for t in plain.step(given, y)]
        npmlp.manual_seed(seed)
        assert [t.detach().numpy().tobytes() for t in plan(given, y)] == expected
        np.testing.assert_array_equal(given.numpy(), before)
    assert planned.state() == plain.state()
    assert recorded(plan) == 1


def test_an_optimizer_of_ones_own_finds_the_gradients():
    class Plain(optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {"lr": 0.1})

        def _update_group(self, group):
            for p in group["params"]:
                if p.grad is not None:
                    p._data -= group["lr"] * p.grad._data

    def trained(planned):
        training = small()
        training.optimizer = Plain(training.model.parameters())
        (x, y), (x2, y2) = batches((6,), 3, [5, 5])
        step = npmlp.capture(training.step, x, y) if planned else training.step
        npmlp.manual_seed(3)
        losses = []
        for batch in ((x, y), (x2, y2), (x, y)):
            losses.append(step(*batch)[0].item())
            training.optimizer.zero_grad()
        return losses, training.state()

    assert trained(planned=True) == trained(planned=False)


def test_a_tensor_that_is_passed_twice_is_not_taken_for_two():
    rng = np.random.default_rng(8)
    a, b = (npmlp.from_numpy(rng.standard_normal((3, 4)).astype(np.float32)) for _ in range(2))
    plan = npmlp.capture(lambda x, y: x * 2 + y)
    for x, y in ((a, a), (a, b), (b, b), (b, a)):
        assert plan(x, y).numpy().tobytes() == (x * 2 + y).numpy().tobytes()


@pytest.mark.parametrize("kernels", ["numba", "numpy"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "RMSprop"])
def test_a_step_that_requires_a_finite_loss_stops_where_it_is_not(optimizer, kernels, threads):
    config.set_kernels(kernels)
    config.set_num_threads(threads)
    (x, y), *_ = batches((6,), 3, [40])
    spoiled = x.clone()
    spoiled.numpy()[3, 2] = np.inf

    def train(captured):
        training = small()
        training.model[1] = nn.BatchNorm1d(8, track_running_stats=False)  # or NaN would stay there
        training.optimizer = getattr(optim, optimizer)(training.model.parameters(), lr=0.1)

        def step(x, y):
            training.optimizer.zero_grad()
            loss = training.loss(training.model(x), y)
            require_finite(loss)
            loss.backward()
            training.optimizer.step()
            return loss

        step = npmlp.capture(step) if captured else step
        states = []
        for _ in range(3):
            step(x, y)
            with pytest.raises(FloatingPointError):
                step(spoiled, y)
            step(x, y)
            states.append(training.state())
        assert not captured or recorded(step) == 1
        return states

    states = train(captured=True)
    assert states == train(captured=False)
    assert len({state["0.weight"] for state in states}) == 3


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_several_steps_in_one_plan(optimizer):
    """What Python does of a step is done ahead for all of them; each has its own count."""

    def step(training, x, y):
        return [training.step(x, y)[0] for _ in range(3)]

    def make():
        training = small()
        kind = getattr(optim, optimizer)
        training.optimizer = kind(training.model.parameters(), lr=0.01, weight_decay=0.1)
        return training

    plan = assert_alike(make, batches((6,), 3, [5] * 4), step=step)
    assert recorded(plan) == 1
