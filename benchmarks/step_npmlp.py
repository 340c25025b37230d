"""npmlp's side of a training step.

eager           the step as everybody writes it
plan            the same, recorded once and replayed
plan-8          a plan of eight steps, each with its batch
"""

from __future__ import annotations

from typing import Any

from side import Training, serve, setting
from step_case import BATCHES, Case, perceptron

import npmlp
from npmlp import models, nn
from npmlp.from_recipe import build_optimizer


def build(case: Case, how: str) -> Training:
    """A training that is ready for its first step."""
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

    batches = [
        (npmlp.from_numpy(images[i].copy()), npmlp.from_numpy(labels[i].copy()))
        for i in range(BATCHES)
    ]
    if how == "plan-8":
        planned = npmlp.capture(step, *batches[0])
        return Training(
            lambda i: list(planned.each(batches)),
            lambda losses: [float(loss.item()) for loss in losses],
            BATCHES,
        )
    run = npmlp.capture(step, *batches[0]) if how == "plan" else step
    return Training(lambda i: run(*batches[i % BATCHES]), lambda loss: [float(loss.item())])


def main() -> None:
    how = setting()
    npmlp.set_num_threads(how["threads"])
    state: dict[str, Any] = {}

    def make(case: dict[str, Any]) -> None:
        state["training"] = build(Case.from_json(case), how["how"])

    serve(
        {
            "build": make,
            "losses": lambda steps: state["training"].losses(steps),
            "seconds": lambda steps: state["training"].seconds(steps),
        }
    )


if __name__ == "__main__":
    main()
