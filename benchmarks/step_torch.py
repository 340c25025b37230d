"""PyTorch's side of a training step, as fast as it is known to be on a CPU.

eager           the step as everybody writes it
compile         forward and loss in torch.compile, which compiles their backward with them
compile-max     the same with mode="max-autotune-no-cudagraphs"
whole           the whole step in one compiled graph: torch.func's gradient and the update in place,
                with the guards skipped that look at every call whether anything has changed
whole-cpp       and with the C++ wrapper around its kernels
whole-8         eight steps in one compiled graph, each with its batch, with that wrapper
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from side import Training, serve, setting
from step_case import BATCHES, Case, perceptron
from torch import nn

from npmlp.recipes import Recipe
from reference_torch import models

Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # Adam's and AdamW's defaults, in both libraries


def build(case: Case, how: str, optimizer: str, channels_last: bool = False) -> Training:
    """A training that is ready for its first step."""
    weights, images, labels = case.arrays()
    model = models.build(case.recipe) if case.layers is None else perceptron(nn, case.layers)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    model.train()
    loss = nn.CrossEntropyLoss(label_smoothing=case.recipe.label_smoothing)
    torch.manual_seed(case.recipe.seed)
    torch._dynamo.reset()
    step: Any = make_step(case.recipe, model, loss, how, optimizer)
    if how.startswith("whole"):
        step = without_guards(step)
    xs = [torch.from_numpy(images[i].copy()) for i in range(BATCHES)]
    if channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        xs = [x.contiguous(memory_format=torch.channels_last) for x in xs]
    ys = [torch.from_numpy(labels[i].copy()) for i in range(BATCHES)]
    if how == "whole-8":
        return Training(lambda i: step(xs, ys), torch.Tensor.tolist, BATCHES)
    return Training(
        lambda i: step(xs[i % BATCHES], ys[i % BATCHES]), lambda loss: [float(loss.item())]
    )


def make_step(
    recipe: Recipe, model: nn.Module, loss_function: nn.Module, how: str, optimizer: str
) -> Step:
    """A step in one of the ways above; `optimizer` is "plain", "foreach" or "fused"."""
    if how.startswith("whole"):
        return in_one_graph(recipe, model, loss_function, how)
    return with_optimizer(recipe, model, loss_function, how, optimizer)


def with_optimizer(
    recipe: Recipe, model: nn.Module, loss_function: nn.Module, how: str, which: str
) -> Step:
    """The step that a training script has, with the forward compiled where `how` says so."""
    optimizer = make_optimizer(recipe, model, which)
    parameters = list(model.parameters())

    def forward(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = loss_function(model(x), y)
        return result

    if how.startswith("compile"):
        mode = "max-autotune-no-cudagraphs" if how == "compile-max" else None
        forward = torch.compile(forward, dynamic=False, mode=mode)

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = forward(x, y)
        loss.backward()
        if recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
        optimizer.step()
        return loss.detach()

    return step


def make_optimizer(recipe: Recipe, model: nn.Module, which: str) -> torch.optim.Optimizer:
    """The recipe's optimizer, "plain" (a loop), "foreach" or "fused"."""
    groups: Any = list(model.parameters())
    if recipe.decay == "weights":
        groups = [
            {"params": [p for p in groups if p.ndim > 1]},
            {"params": [p for p in groups if p.ndim <= 1], "weight_decay": 0.0},
        ]
    kind: Any = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    more: dict[str, Any] = {"foreach": which == "foreach", "fused": which == "fused"}
    if recipe.optimizer == "sgd":
        more |= {"momentum": recipe.momentum, "nesterov": recipe.nesterov}
    optimizer: torch.optim.Optimizer = kind[recipe.optimizer](
        groups, recipe.lr, weight_decay=recipe.weight_decay, **more
    )
    return optimizer


def in_one_graph(recipe: Recipe, model: nn.Module, loss_function: nn.Module, how: str) -> Step:
    """The whole step as one compiled function, which moves the model's own weights; with "whole-8"
    a step for each pair of batches in two lists.

    The optimizers of torch.optim break the graph in two, so the update is written out here. Of SGD
    without momentum, Adam without weight decay and AdamW, which the recipes have.
    """
    import torch._inductor.config
    from torch.func import functional_call, grad_and_value

    if recipe.momentum or (recipe.weight_decay and recipe.optimizer != "adamw"):
        raise NotImplementedError("in_one_graph: no momentum, and weight decay of AdamW alone")
    torch._inductor.config.cpp_wrapper = how != "whole"
    weights = {name: p.detach() for name, p in model.named_parameters()}  # the same memory
    buffers = dict(model.named_buffers())
    first, second = ({name: torch.zeros_like(w) for name, w in weights.items()} for _ in range(2))
    count = torch.zeros(())

    def loss_of(w: Any, b: Any, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, Any]:
        return loss_function(functional_call(model, (w, b), (x,)), y), b

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        # torch.func refuses to change in place what it was not given: BatchNorm's statistics are
        # copied in and out, which the compiler turns into no more than the writes
        copies = {name: b.clone() for name, b in buffers.items()}
        gradient = grad_and_value(loss_of, has_aux=True)
        grads, (loss, copies) = gradient(weights, copies, x, y)
        with torch.no_grad():
            for name, b in buffers.items():
                b.copy_(copies[name])
            if recipe.clip_norm is not None:
                norm = torch.stack([g.square().sum() for g in grads.values()]).sum().sqrt()
                factor = (recipe.clip_norm / (norm + 1e-6)).clamp(max=1.0)
                grads = {name: g * factor for name, g in grads.items()}
            update(grads)
        return loss

    def update(grads: dict[str, torch.Tensor]) -> None:
        if recipe.optimizer == "sgd":
            for name, w in weights.items():
                w.sub_(grads[name], alpha=recipe.lr)
            return
        count.add_(1)
        correction1, correction2 = 1 - BETA1**count, 1 - BETA2**count
        for name, w in weights.items():
            g, m, v = grads[name], first[name], second[name]
            if recipe.weight_decay and (recipe.decay == "all" or w.ndim > 1):
                w.mul_(1 - recipe.lr * recipe.weight_decay)
            m.lerp_(g, 1 - BETA1)
            v.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
            w.sub_(recipe.lr / correction1 * m / ((v / correction2).sqrt() + EPSILON))

    def steps(xs: list[torch.Tensor], ys: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack([step(x, y) for x, y in zip(xs, ys, strict=True)])

    function = steps if how == "whole-8" else step
    compiled: Step = torch.compile(function, dynamic=False, fullgraph=True)
    return compiled


def without_guards(compiled: Step) -> Step:
    """Look at everything that the compiled code depends on in the first calls, then no more."""
    calls = 0

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:  # by now it is compiled, for what comes after a first call too
            torch.compiler.set_stance(skip_guard_eval_unsafe=True)
        return compiled(x, y)

    torch.compiler.set_stance(skip_guard_eval_unsafe=False)
    return step


def main() -> None:
    how = setting()
    torch.set_num_threads(how["threads"])
    state: dict[str, Any] = {}

    def make(case: dict[str, Any]) -> None:
        last = how.get("images") == "channels_last"
        state["training"] = build(
            Case.from_json(case), how["how"], how.get("optimizer", "fused"), last
        )

    serve(
        {
            "build": make,
            "losses": lambda steps: state["training"].losses(steps),
            "seconds": lambda steps: state["training"].seconds(steps),
        }
    )


if __name__ == "__main__":
    main()
