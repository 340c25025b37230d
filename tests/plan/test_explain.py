"""explain: counts by hand, nothing left changed, and what a person reads."""

from __future__ import annotations

import numpy as np
import pytest

import npmlp
from npmlp import nn, optim, train
from npmlp.errors import GraphError
from npmlp.plan.tape import Backward, Forward
from npmlp.plan.work import work_of


def training(optimizer="Adam", clip=True):
    npmlp.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(20, 16), nn.BatchNorm1d(16), nn.GELU(), nn.Dropout(0.5), nn.Linear(16, 3)
    )
    steps = getattr(optim, optimizer)(model.parameters(), lr=0.01)

    def step(x, y):
        steps.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        steps.step()
        return loss

    rng = np.random.default_rng(0)
    x = npmlp.from_numpy(rng.standard_normal((8, 20)).astype(np.float32))
    return model, steps, step, (x, npmlp.from_numpy(rng.integers(0, 3, 8)))


def state(model, steps):
    found = [v.numpy().tobytes() for v in model.state_dict().values()]
    found += [t.numpy().tobytes() for s in steps.state_dict()["state"].values() for t in s.values()]
    found += [None if p.grad is None else p.grad.numpy().tobytes() for p in model.parameters()]
    return [*found, npmlp.get_rng_state().numpy().tobytes()]


@pytest.mark.parametrize("steps_before", [0, 2])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_everything_is_put_back(optimizer, steps_before):
    model, steps, step, batch = training(optimizer)
    plan = npmlp.capture(step)
    for _ in range(steps_before):
        plan(*batch)
    before = state(model, steps)
    plan.explain(*batch)
    assert state(model, steps) == before
    loss = plan(*batch).item()

    model, steps, step, batch = training(optimizer)
    losses = [step(*batch).item() for _ in range(steps_before + 1)]
    assert loss == losses[-1]


def test_operations_are_counted_as_by_hand():
    _, _, step, batch = training()
    plan = npmlp.capture(step, *batch)
    ((recording,),) = plan._recordings.values()
    flops = {
        (e.name, e.spec.name): work_of(e).flops
        for e in recording.entries
        if isinstance(e, (Forward, Backward)) and e.inputs
    }
    # N K M multiplications and as many additions, and N M additions of the bias
    n, k, m = 8, 16, 3
    assert flops["linear", "linear"] == 2 * n * k * m + n * m  # the last one
    assert {work_of(e).flops for e in recording.entries if e.name == "linear backward"} == {
        2 * (2 * n * k * m) + n * m,  # dx and dweight, and the sum for dbias
        2 * n * 20 * 16 + n * 16,  # the first layer's: nobody wants the gradient of the images
    }


@pytest.mark.usefixtures("compiled")
def test_a_convolution_with_its_pooling_is_counted_before_it():
    x = npmlp.randn(5, 1, 28, 28)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(864, 2)
    )
    plan = npmlp.capture(lambda x: model(x).sum().backward(), x)
    ((recording,),) = plan._recordings.values()
    found = {e.name: work_of(e).flops for e in recording.entries if e.name.startswith("conv_relu")}
    entries = 5 * 6 * 24 * 24
    # forward, and backward the gradient of the weight alone; an addition for the bias each
    assert found == {
        "conv_relu_pool": 2 * entries * 25 + entries,
        "conv_relu_pool backward": 2 * entries * 25 + entries,
    }


def test_bytes_are_those_of_the_arrays():
    _, _, step, batch = training(clip=False)
    plan = npmlp.capture(step, *batch)
    ((recording,),) = plan._recordings.values()
    first = next(e for e in recording.entries if e.name == "linear")
    floats = 8 * 20 + 16 * 20 + 16 + 8 * 16  # x, weight, bias, out
    assert work_of(first).bytes == 4 * floats
    plan(*batch)
    step_entry = next(e for e in recording.entries if e.name == "Adam step")
    parameters = 20 * 16 + 16 + 16 + 16 + 16 * 3 + 3
    # parameter and two moments read and written, the gradient read
    assert work_of(step_entry).bytes == 7 * 4 * parameters


@pytest.mark.usefixtures("compiled")
def test_a_person_reads_rows_shares_and_the_total(tmp_path):
    _, _, step, batch = training()
    explanation = npmlp.capture(step).explain(*batch)
    text = str(explanation)
    for words in ("linear", "batch_norm_gelu backward", "Adam step", "together", "of limit"):
        assert words in text
    assert sum(row.seconds for row in explanation.rows) == pytest.approx(explanation.seconds)
    assert all(row.limit >= 0 and row.bytes > 0 for row in explanation.rows)
    assert max(map(len, text.splitlines())) <= 120
    explanation.write_png(tmp_path / "explain.png")
    assert (tmp_path / "explain.png").read_bytes()[:4] == b"\x89PNG"
    labels = [t.get_text() for t in explanation.figure().axes[0].get_yticklabels()]
    assert labels == [row.name for row in explanation.rows]


def test_where_nothing_is_recorded_there_is_nothing_to_explain():
    _, _, step, batch = training()
    with pytest.raises(GraphError, match="no step has been recorded"):
        npmlp.capture(step).explain()

    def noisy(x, y):
        return step(x + npmlp.randn(*x.shape), y)

    plan = npmlp.capture(noisy)
    with pytest.warns(UserWarning, match="random numbers"):
        plan(*batch)
    with pytest.raises(GraphError, match="the step runs eagerly, since random numbers"):
        plan.explain()


def test_the_command_prints_it_and_trains_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["--arch", "vanilla", "--explain", "--batch-size", "8", "--kernels", "numba"]
    assert train.main(flags) == 0
    out = capsys.readouterr().out
    assert "vanilla: a training step of 8 images" in out
    assert "linear_relu backward" in out and "SGD step" in out
    assert [p.name for p in tmp_path.iterdir()] == ["explain-vanilla.png"]
