"""JAX's side of a training step: the whole step jitted, with its buffers donated.

    jit     a call a step
    scan    a call for all the batches, with lax.scan over them

XLA's CPU client makes as many threads as the process may use cores, so their number is set by the
process's affinity, before JAX is imported. Source: jax issue 1539, "setting the task affinity map
is the correct way to limit JAX's CPU usage".
"""

from __future__ import annotations

import os
from typing import Any

from side import Training, serve, setting
from step_case import BATCHES, Array, Case

HOW: dict[str, Any] = setting() if __name__ == "__main__" else {}
if HOW:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: HOW["threads"]])
    os.environ["XLA_FLAGS"] = HOW.get("xla", "")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from jax import lax  # noqa: E402

from npmlp.recipes import Recipe  # noqa: E402

Arrays = dict[str, Any]
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # Adam's and AdamW's defaults
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class Network:
    """One pass through a recipe's network: weights `p` by name, and the statistics that it leaves.

    `images` is "nchw" or, for the convolutions, "nhwc", which XLA's CPU kernels are written for.
    """

    def __init__(
        self, recipe: Recipe, p: Arrays, statistics: Arrays, key: Any, images: str
    ) -> None:
        self.recipe, self.p, self.key = recipe, p, key
        self.statistics = dict(statistics)
        self.last = images == "nhwc"

    def __call__(self, x: Any) -> Any:
        logits = getattr(self, self.recipe.arch)(x)
        return logits, self.statistics

    def vanilla(self, x: Any) -> Any:
        x = jax.nn.relu(self.linear("fc1", x.reshape(len(x), -1)))
        return self.linear("fc2", self.dropout(x))

    def lenet(self, x: Any) -> Any:
        if self.last:
            x = x.transpose(0, 2, 3, 1)  # one channel: nothing moves
        x = self.pool(jax.nn.relu(self.conv("conv1", x)))
        x = self.pool(jax.nn.relu(self.conv("conv2", x)))
        if self.last:
            x = x.transpose(0, 3, 1, 2)  # fc1's weight counts channels first
        x = x.reshape(len(x), -1)
        x = jax.nn.relu(self.linear("fc1", x))
        return self.linear("fc3", jax.nn.relu(self.linear("fc2", x)))

    def mixer(self, x: Any) -> Any:
        n, c, h, w = x.shape
        s = self.recipe.patch
        x = x.reshape(n, c, h // s, s, w // s, s).transpose(0, 2, 4, 1, 3, 5)
        x = x.reshape(n, (h // s) * (w // s), c * s * s)
        x = self.batch_norm("norm", self.linear("stem", x), axes=(0, 1))
        for block in ("block1", "block2"):
            x = self.mlp(f"{block}.over_patches", x.transpose(0, 2, 1)).transpose(0, 2, 1)
            x = self.mlp(f"{block}.over_features", x)
        return self.linear("output", x.mean(1))

    def residual(self, x: Any) -> Any:
        x = self.hidden("hidden2", self.hidden("hidden1", x.reshape(len(x), -1)))
        x = x + self.hidden("hidden3", x)
        return self.linear("output", self.dropout(self.hidden("hidden4", x)))

    # ---------------------------------------------------------------------------------- layers

    def linear(self, name: str, x: Any) -> Any:
        weight = self.p[f"{name}.weight"]  # (M, K), as PyTorch stores it
        contracted = (((x.ndim - 1,), (1,)), ((), ()))
        return lax.dot_general(x, weight, contracted) + self.p[f"{name}.bias"]

    def mlp(self, name: str, x: Any) -> Any:
        return self.linear(f"{name}.fc2", self.dropout(jax.nn.relu(self.linear(f"{name}.fc1", x))))

    def hidden(self, name: str, x: Any) -> Any:
        x = self.batch_norm(f"{name}.norm", self.linear(f"{name}.linear", x), axes=(0,))
        return jax.nn.gelu(x, approximate=False)

    def conv(self, name: str, x: Any) -> Any:
        layout = "NHWC" if self.last else "NCHW"
        out = lax.conv_general_dilated(
            x, self.p[f"{name}.weight"], (1, 1), "VALID", dimension_numbers=(layout, "OIHW", layout)
        )
        bias = self.p[f"{name}.bias"]
        return out + (bias if self.last else bias[:, None, None])

    def pool(self, x: Any) -> Any:
        if self.last:
            n, h, w, c = x.shape
            return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))
        n, c, h, w = x.shape
        return x.reshape(n, c, h // 2, 2, w // 2, 2).max((3, 5))

    def batch_norm(self, name: str, x: Any, axes: tuple[int, ...]) -> Any:
        """Normalise over all but the last axis; PyTorch's running statistics, unbiased variance."""
        mean = x.mean(axes)
        var = jnp.square(x - mean).mean(axes)
        n = x.size // mean.size
        for field, value in (("running_mean", mean), ("running_var", var * (n / (n - 1)))):
            key = f"{name}.{field}"
            self.statistics[key] = 0.9 * self.statistics[key] + 0.1 * value
        self.statistics[f"{name}.num_batches_tracked"] += 1
        x = (x - mean) * lax.rsqrt(var + 1e-5)
        return x * self.p[f"{name}.weight"] + self.p[f"{name}.bias"]

    def dropout(self, x: Any) -> Any:
        if not self.recipe.dropout:
            return x
        self.key, key = jax.random.split(self.key)
        keep = 1 - self.recipe.dropout
        return jnp.where(jax.random.bernoulli(key, keep, x.shape), x / keep, 0)


def loss_of(
    recipe: Recipe, p: Arrays, statistics: Arrays, key: Any, images: str, x: Any, y: Any
) -> tuple[Any, Arrays]:
    """Cross-entropy with label smoothing, the mean over the batch."""
    logits, statistics = Network(recipe, p, statistics, key, images)(x)
    logs = jax.nn.log_softmax(logits)
    chosen = jnp.take_along_axis(logs, y[:, None], 1).mean()
    smoothing = recipe.label_smoothing
    return -(1 - smoothing) * chosen - smoothing * logs.mean(), statistics


def updated(recipe: Recipe, p: Arrays, grads: Arrays, state: Arrays) -> tuple[Arrays, Arrays]:
    """Clip, then SGD without momentum, Adam without weight decay, or AdamW."""
    if recipe.momentum or (recipe.weight_decay and recipe.optimizer != "adamw"):
        raise NotImplementedError("updated: no momentum, and weight decay of AdamW alone")
    if recipe.clip_norm is not None:
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in grads.values()))
        factor = jnp.minimum(recipe.clip_norm / (norm + 1e-6), 1)
        grads = {name: g * factor for name, g in grads.items()}
    if recipe.optimizer == "sgd":
        return {name: w - recipe.lr * grads[name] for name, w in p.items()}, state
    count = state["count"] + 1
    correction1, correction2 = 1 - BETA1**count, 1 - BETA2**count
    first, second, weights = {}, {}, {}
    for name, w in p.items():
        g = grads[name]
        first[name] = BETA1 * state["first"][name] + (1 - BETA1) * g
        second[name] = BETA2 * state["second"][name] + (1 - BETA2) * jnp.square(g)
        if recipe.weight_decay and (recipe.decay == "all" or w.ndim > 1):
            w = w * (1 - recipe.lr * recipe.weight_decay)
        step = first[name] / (jnp.sqrt(second[name] / correction2) + EPSILON)
        weights[name] = w - recipe.lr / correction1 * step
    return weights, {"count": count, "first": first, "second": second}


def build(case: Case, how: str, images: str = "nchw", keys: str = "threefry2x32") -> Training:
    """A training that is ready for its first step."""
    recipe = case.recipe
    if case.layers is not None:
        raise NotImplementedError("build: the recipes' networks alone")
    weights, xs, ys = case.arrays()
    p = {name: jnp.asarray(w) for name, w in weights.items() if not name.endswith(STATISTICS)}
    statistics = {name: jnp.asarray(w) for name, w in weights.items() if name not in p}
    moments: Arrays = {}
    if recipe.optimizer != "sgd":
        first, second = ({name: jnp.zeros_like(w) for name, w in p.items()} for _ in range(2))
        moments = {"count": jnp.zeros(()), "first": first, "second": second}
    state: Any = (p, statistics, moments, jax.random.key(recipe.seed, impl=keys))

    def step(state: Any, x: Any, y: Any) -> tuple[Any, Any]:
        p, statistics, moments, key = state
        key, own = jax.random.split(key)

        def loss(p: Arrays) -> tuple[Any, Arrays]:
            return loss_of(recipe, p, statistics, own, images, x, y)

        (value, statistics), grads = jax.value_and_grad(loss, has_aux=True)(p)
        p, moments = updated(recipe, p, grads, moments)
        return (p, statistics, moments, key), value

    labels: Array = ys.astype("int32")
    if how == "scan":

        def all_batches(state: Any, xs: Any, ys: Any) -> tuple[Any, Any]:
            return lax.scan(lambda state, batch: step(state, *batch), state, (xs, ys))

        compiled = jax.jit(all_batches, donate_argnums=0)
        stacked = jax.device_put((xs, labels))

        def call(i: int) -> Any:
            nonlocal state
            state, losses = compiled(state, *stacked)
            return losses

    else:
        compiled = jax.jit(step, donate_argnums=0)
        batches = [jax.device_put((xs[i], labels[i])) for i in range(BATCHES)]

        def call(i: int) -> Any:
            nonlocal state
            state, loss = compiled(state, *batches[i % BATCHES])
            return loss

    def values(loss: Any) -> list[float]:
        jax.block_until_ready(state)
        return [float(value) for value in loss.reshape(-1).tolist()]

    return Training(call, values, BATCHES if how == "scan" else 1)


def main() -> None:
    if HOW.get("sync"):
        jax.config.update("jax_cpu_enable_async_dispatch", False)
    state: dict[str, Any] = {}

    def make(case: dict[str, Any]) -> None:
        more = {field: HOW[field] for field in ("images", "keys") if HOW.get(field)}
        state["training"] = build(Case.from_json(case), HOW["how"], **more)

    serve(
        {
            "build": make,
            "losses": lambda steps: state["training"].losses(steps),
            "seconds": lambda steps: state["training"].seconds(steps),
        }
    )


if __name__ == "__main__":
    main()
