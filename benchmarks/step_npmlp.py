"""npmlp's side of a training step: eager, or as a plan where this npmlp has plans."""

from __future__ import annotations

from typing import Any

from side import Training, serve, setting
from step_case import BATCHES, Case, perceptron

import npmlp
from npmlp import models, nn
from npmlp.engine import build_optimizer

HAS_PLANS = hasattr(npmlp, "capture")


def build(case: Case, plan: bool) -> Training:
    """A training that is ready for its first step.

    Recording a plan runs a step, in which the weights may move; then that was the first.
    """
    npmlp.manual_seed(case.recipe.seed)
    model = models.build(case.recipe) if case.layers is None else perceptron(nn, case.layers)
    weights, images, labels = case.arrays()
    model.load_state_dict({name: npmlp.from_numpy(array) for name, array in weights.items()})
    model.train()
    optimizer = build_optimizer(case.recipe, model)
    loss_function = nn.CrossEntropyLoss(label_smoothing=case.recipe.label_smoothing)
    parameters, clip_norm = list(model.parameters()), case.recipe.clip_norm
    npmlp.manual_seed(case.recipe.seed)  # where every side's dropout begins

    def step(x: npmlp.Tensor, y: npmlp.Tensor) -> npmlp.Tensor:
        optimizer.zero_grad()
        loss = loss_function(model(x), y)
        loss.backward()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, clip_norm)
        optimizer.step()
        return loss

    xs = [npmlp.from_numpy(images[i].copy()) for i in range(BATCHES)]
    ys = [npmlp.from_numpy(labels[i].copy()) for i in range(BATCHES)]
    run, done = step, 0
    if plan:
        before = parameters[0].detach().numpy().copy()
        run = npmlp.capture(step, xs[0], ys[0])
        done = int((parameters[0].detach().numpy() != before).any())
    return Training(
        lambda i: run(xs[i % BATCHES], ys[i % BATCHES]),
        lambda loss: [float(loss.item())],
        done=done,
    )


def main() -> None:
    how = setting()
    npmlp.set_num_threads(how["threads"])
    state: dict[str, Any] = {}

    def make(case: dict[str, Any]) -> None:
        state["training"] = build(Case.from_json(case), how["how"] == "plan")

    serve(
        {
            "build": make,
            "losses": lambda steps: state["training"].losses(steps),
            "seconds": lambda steps: state["training"].seconds(steps),
        }
    )


if __name__ == "__main__":
    main()
