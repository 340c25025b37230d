"""Small trainings, taken twice: with the step and with its plan."""

from __future__ import annotations

import numpy as np

import npmlp
from npmlp import models, nn, optim, recipes
from npmlp.from_recipe import build_optimizer


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
