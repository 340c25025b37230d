"""The step of all parameters at once: the bits of a step one by one, whatever the parameters are
and whatever is changed between two steps.
"""

from __future__ import annotations

import copy
import weakref

import numba
import numpy as np
import pytest
import torch
from parameters import KINDS, parameter, with_gradient
from torch_twins import array, assert_same_bits

import npmlp
from npmlp import config
from npmlp.errors import GraphError, ShapeError
from npmlp.kernels import threads


@pytest.fixture(autouse=True)
def compiled():
    """Unless a test takes both kernels in turn."""
    config.set_kernels("numba")


OPTIONS = [
    ("SGD", {}),
    ("SGD", {"weight_decay": 0.1, "maximize": True}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"weight_decay": 0.1, "amsgrad": True}),
    ("Adam", {"betas": (0.3, 0.9), "maximize": True, "decoupled_weight_decay": True}),
    ("AdamW", {"weight_decay": 0.1}),
    ("AdamW", {"weight_decay": 0.1, "amsgrad": True, "maximize": True}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"centered": True, "eps": 1.0, "maximize": True}),
    ("RMSprop", {"centered": True, "eps": 1.0, "momentum": 0.9}),
]
EVERY = pytest.mark.parametrize(("kind", "options"), OPTIONS, ids=str)
# one of each that keeps all it can
FULLEST = pytest.mark.parametrize(("kind", "options"), [OPTIONS[i] for i in (3, 6, 9, 13)], ids=str)


def one_by_one(monkeypatch):
    """From here on nothing has a place in a table, so each parameter takes the path of its own."""
    monkeypatch.setattr("npmlp.optim.step_table.place_of", lambda a, dtype: 0)


class Network:
    """Parameters of all sorts in three groups, and gradients, from a seed."""

    def __init__(self, kind, options, sizes=((9, 31), (64,), (70,))):
        self.rng = np.random.default_rng(5)
        self.tied = self.made(sizes[0])
        self.params = [
            *(self.made(size) for size in sizes),
            self.made(()),
            self.made((0, 4)),
            self.tied,
            self.made((3, 5), np.float64),
            self.made((8, 5), np.float64),
            npmlp.from_numpy(self.rng.standard_normal((6, 4)).T).requires_grad_(),
            npmlp.ones(3),  # frozen
        ]
        groups = [
            {"params": self.params[:3]},
            {"params": self.params[3:7], "lr": 0.002},
            {"params": self.params[7:], "lr": 0.03, "weight_decay": 0.02},
        ]
        self.optimizer = getattr(npmlp.optim, kind)(groups, **{"lr": 0.01, **options})

    def made(self, shape, dtype=np.float32):
        return npmlp.from_numpy(np.asarray(self.rng.standard_normal(shape), dtype)).requires_grad_()

    def draw(self, absent=0.15):
        """Gradients with zeros in them; some parameters have none."""
        for p in self.params[:-1]:
            g = np.asarray(self.rng.standard_normal(p.shape), p._data.dtype)
            g = np.where(self.rng.random(p.shape) < 0.1, g.dtype.type(0), g)
            p.grad = None if self.rng.random() < absent else npmlp.from_numpy(g)
        # two uses of one parameter: backward adds their gradients up
        self.tied.grad = None
        scale = npmlp.from_numpy(np.asarray(self.rng.standard_normal(self.tied.shape), np.float32))
        ((self.tied * scale).sum() + (self.tied * self.tied).sum()).backward()

    def train(self, steps, absent=0.15):
        for _ in range(steps):
            self.draw(absent)
            self.optimizer.step()

    def bits(self):
        state = [
            (i, key, value.tolist() if key == "step" else array(value).tobytes())
            for i, entries in self.optimizer.state_dict()["state"].items()
            for key, value in entries.items()
        ]
        return [array(p).tobytes() for p in self.params], state


def edit(optimizer, kind):
    """Options of the first two groups, changed by hand as a user may."""
    first, second = optimizer.param_groups[:2]
    first["lr"], second["weight_decay"] = 0.004, 0.05
    if kind == "SGD":
        first["momentum"], second["momentum"] = 0.0 if first["momentum"] else 0.7, 0.5
    elif kind == "RMSprop":
        first["momentum"], second["centered"] = 0.5, not second["centered"]
    else:
        first["amsgrad"], second["betas"] = not first["amsgrad"], (0.7, 0.95)


@EVERY
def test_a_step_has_the_bits_of_a_step_parameter_by_parameter(kind, options, monkeypatch):
    def trained():
        network = Network(kind, options)
        network.train(8)
        edit(network.optimizer, kind)
        network.train(6)
        network.optimizer.load_state_dict(copy.deepcopy(network.optimizer.state_dict()))
        network.train(3)
        # a new group, and a step in which all but the frozen one have a gradient
        network.params.append(network.made(5))
        network.optimizer.add_param_group({"params": network.params[-1], "lr": 0.5})
        network.train(2, absent=0)
        return network

    ours = trained()
    table = ours.optimizer._table
    assert len(table.rows) == 10 and len(table.alone) == 1  # the transposed one
    one_by_one(monkeypatch)
    others = trained()
    assert len(others.optimizer._table.alone) == 10 and not others.optimizer._table.blocks
    assert ours.bits() == others.bits()


@FULLEST
def test_a_step_has_the_same_bits_for_any_number_of_threads(kind, options, monkeypatch):
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("one thread only")
    before = numba.get_num_threads()
    monkeypatch.setattr("npmlp.kernels.tables._THREADS_FROM", 1)
    calls = []
    parts = npmlp.kernels.tables.Table.parts
    monkeypatch.setattr(
        "npmlp.kernels.tables.Table.parts", lambda t, n: (calls.append(n), parts(t, n))[1]
    )
    results = []
    try:
        for count in (1, 2):
            numba.set_num_threads(count)
            network = Network(kind, options, sizes=((40, 31), (64,), (129,)))
            network.train(5)
            results.append(network.bits())
            assert (max(calls) > 1) == (count == 2 and threads._state["usable"])
    finally:
        numba.set_num_threads(before)
    assert results[0] == results[1]


def test_parameters_that_share_memory_are_updated_one_after_the_other(monkeypatch):
    def trained():
        memory = npmlp.from_numpy(np.linspace(-1, 1, 200))
        params = [memory[:150].detach().requires_grad_(), memory[20:].detach().requires_grad_()]
        optimizer = npmlp.optim.SGD(params, lr=0.1, weight_decay=0.5)
        for _ in range(3):
            for i, p in enumerate(params):
                p.grad = npmlp.ones_like(p) * (i + 1)
            optimizer.step()
        return array(memory)

    monkeypatch.setattr("npmlp.kernels.tables._THREADS_FROM", 1)
    ours = trained()
    one_by_one(monkeypatch)
    assert ours.tobytes() == trained().tobytes()


# ------------------------------------------------------------------------- between two eager steps


def replace_data(p, optimizer, key):
    p.data = npmlp.tensor([5.0, 6.0])


def write_data(p, optimizer, key):
    p._write(np.array([5.0, 6.0], np.float32))


def replace_buffer(p, optimizer, key):
    optimizer.state[p][key] = npmlp.tensor([0.25, 0.5])


def write_buffer(p, optimizer, key):
    optimizer.state[p][key]._write(np.array([0.25, 0.5], np.float32))


def replace_state(p, optimizer, key):
    optimizer.state[p] = {k: t.clone() for k, t in optimizer.state[p].items()}


def nothing(p, optimizer, key):
    pass


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("replace", "write"),
    [
        (replace_data, write_data),
        (replace_buffer, write_buffer),
        (replace_state, nothing),
    ],
)
def test_what_is_replaced_by_hand_is_noticed(replace, write, kind, kernels):
    options = {"momentum": 0.5} if kind in ("SGD", "RMSprop") else {}
    key = {"SGD": "momentum_buffer", "RMSprop": "square_avg"}.get(kind, "exp_avg")
    p, q = with_gradient(), with_gradient()
    ours, other = (getattr(npmlp.optim, kind)([t], **options) for t in (p, q))
    ours.step()
    other.step()
    replace(p, ours, key)
    write(q, other, key)
    for _ in range(2):
        ours.step()
        other.step()
    assert_same_bits(p, q)
    for name, entry in other.state[q].items():
        assert_same_bits(ours.state[p][name], entry)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_in_another_order_is_taken_and_the_next_one_is_in_the_table_again(kind):
    rng = np.random.default_rng(0)
    start, grads = rng.standard_normal((3, 5)), rng.standard_normal((4, 3, 5))
    p, q = (npmlp.from_numpy(start.copy()).requires_grad_() for _ in range(2))
    ours, other = (getattr(npmlp.optim, kind)([t]) for t in (p, q))
    for i, g in enumerate(grads):
        p.grad = npmlp.from_numpy(np.asfortranarray(g) if i == 1 else g.copy())
        q.grad = npmlp.from_numpy(g.copy())
        ours.step()
        other.step()
        assert len(ours._table.alone) == (i == 1)
        # RMSprop by itself is NumPy's text, and equal to the kernel; the others are one function
        assert_same_bits(p, q)


@pytest.mark.parametrize("kind", KINDS)
def test_a_parameter_that_can_no_longer_be_written_is_refused(kind, kernels):
    p = with_gradient()
    optimizer = getattr(npmlp.optim, kind)([p])
    optimizer.step()
    p._data.setflags(write=False)
    with pytest.raises(GraphError, match="expanded or read-only"):
        optimizer.step()


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_that_is_refused_changes_no_parameter(kind, kernels):
    p, q = with_gradient(), with_gradient()
    optimizer = getattr(npmlp.optim, kind)([p, q])
    q.data = npmlp.ones(3)
    with pytest.raises(ShapeError, match=r"has shape \(3,\), and its gradient or state \(2,\)"):
        optimizer.step()
    assert p.tolist() == [1.0, 2.0]


def test_the_first_step_after_a_refused_one_is_still_the_first_with_momentum(kernels):
    p, q = with_gradient(), with_gradient()
    twin = torch.tensor([1.0, 2.0], requires_grad=True)
    optimizer = npmlp.optim.SGD([p, q], lr=0.5, momentum=0.5, dampening=0.25)
    theirs = torch.optim.SGD([twin], lr=0.5, momentum=0.5, dampening=0.25)
    q._data.setflags(write=False)
    with pytest.raises(GraphError):
        optimizer.step()
    q._data.setflags(write=True)
    for _ in range(2):
        optimizer.step()
        twin.grad = torch.ones(2)
        theirs.step()
    for tensor in (p, q):
        assert tensor.tolist() == twin.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_zero_grad_frees_the_gradients(kind, kernels):
    p = with_gradient()
    optimizer = getattr(npmlp.optim, kind)([p])
    grad = weakref.ref(p.grad._data)
    optimizer.step()
    optimizer.zero_grad()
    assert grad() is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_has_addresses_of_its_own(kind):
    p = with_gradient()
    optimizer = getattr(npmlp.optim, kind)([p])
    optimizer.step()
    q, twin = copy.deepcopy((p, optimizer))
    assert twin._table is None
    before = p.tolist()
    q.grad = npmlp.ones_like(q)
    twin.step()
    assert p.tolist() == before != q.tolist()


# ------------------------------------------------------------------------------- a recorded step


@EVERY
def test_a_table_gathered_once_is_good_for_all_steps_to_come(kind, options, kernels):
    """New gradients in the same arrays, options changed by hand, state loaded; eager steps with
    other gradients in between."""
    ours, other = Network(kind, options), Network(kind, options)
    for network in (ours, other):
        network.draw(absent=0)
        network.optimizer.step()
    kept = [p.grad for p in ours.params]
    table = ours.optimizer._gather()

    def both(steps, replay=True):
        nonlocal table
        for _ in range(steps):
            ours.draw(absent=0 if replay else 0.2)
            other.draw(absent=0 if replay else 0.2)
            if replay:
                for p, grad in zip(ours.params, kept, strict=True):
                    if grad is not None:
                        grad._data[...] = p.grad._data
                        p.grad = grad
                table = ours.optimizer._apply(table)
            else:
                ours.optimizer.step()
            other.optimizer.step()
        assert ours.bits() == other.bits()

    versions = [p._storage.version for p in ours.params]
    both(3)
    changed = [p._storage.version - v for p, v in zip(ours.params, versions, strict=True)]
    assert changed == [3] * 9 + [0]
    both(2, replay=False)
    both(2)
    for network in (ours, other):
        edit(network.optimizer, kind)
    both(3)
    for network in (ours, other):
        network.optimizer.load_state_dict(copy.deepcopy(network.optimizer.state_dict()))
    both(3)
    for group in (*ours.optimizer.param_groups, *other.optimizer.param_groups):
        group["lr"] = 1e-4
    both(2)


def test_a_learning_rate_in_a_tensor_is_read_at_every_replay(kernels):
    p, lr = parameter(), npmlp.tensor(0.5)
    optimizer = npmlp.optim.SGD([p], lr)
    p.grad = npmlp.ones(2)
    table = optimizer._gather()
    table = optimizer._apply(table)
    lr.fill_(0.25)
    optimizer._apply(table)
    assert p.tolist() == [0.25, 1.25]
