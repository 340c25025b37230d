"""Small trainings drawn from a seed, to be done by npmlp and by PyTorch alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
ACTIVATIONS = ("ReLU", "GELU", "SiLU", "Tanh", "Sigmoid", "LeakyReLU")


@dataclass
class Training:
    """One network, its data and how it is trained. Layers are (class, arguments, keywords)."""

    seed: int
    layers: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    shape: tuple[int, ...] = ()
    classes: int = 3
    count: int = 0
    batch_size: int = 0
    drop_last: bool = False
    smoothing: float = 0.0
    clip_norm: float | None = None
    optimizer: tuple[str, dict[str, Any]] = ("SGD", {})
    scheduler: tuple[str, dict[str, Any]] | None = None
    epochs: int = 3

    def data(self) -> tuple[Array, Array]:
        """Images and classes, not without a relation."""
        rng = np.random.default_rng(self.seed)
        x = rng.standard_normal((self.count, *self.shape))
        direction = rng.standard_normal((int(np.prod(self.shape)), self.classes))
        return x, (x.reshape(self.count, -1) @ direction).argmax(1)


def drawn(seed: int) -> Training:
    """The training of a seed: sizes, layers, options and batches are its draws."""
    rng = np.random.default_rng(seed)
    t = Training(seed, classes=int(rng.integers(2, 6)))
    t.count, t.batch_size = int(rng.integers(40, 90)), int(rng.integers(7, 24))
    t.drop_last = bool(rng.random() < 0.3)
    while t.count % t.batch_size == 1 and not t.drop_last:  # BatchNorm has no variance of one image
        t.count += 1
    t.smoothing = float(rng.choice([0.0, 0.0, 0.1]))
    t.clip_norm = float(rng.uniform(0.3, 2)) if rng.random() < 0.4 else None
    if rng.random() < 0.35:
        _images(t, rng)
    else:
        _rows(t, rng)
    t.optimizer, t.scheduler = _optimizer(rng), _scheduler(rng)
    return t


def _rows(t: Training, rng: np.random.Generator) -> None:
    width = int(rng.integers(4, 20))
    t.shape = (width,)
    for _ in range(int(rng.integers(1, 4))):
        size = int(rng.integers(3, 24))
        t.layers.append(("Linear", (width, size), {"bias": bool(rng.random() < 0.8)}))
        norm = rng.random()
        if norm < 0.35:
            t.layers.append(("BatchNorm1d", (size,), {"momentum": float(rng.uniform(0.05, 0.5))}))
        elif norm < 0.5:
            t.layers.append(("LayerNorm", (size,), {}))
        _after(t, rng)
        width = size
    t.layers.append(("Linear", (width, t.classes), {}))


def _images(t: Training, rng: np.random.Generator) -> None:
    channels, side = int(rng.integers(1, 3)), int(rng.integers(8, 13))
    t.shape = (channels, side, side)
    for _ in range(int(rng.integers(1, 3))):
        out, kernel, padding = int(rng.integers(2, 6)), int(rng.choice([1, 3])), 0
        padding = int(rng.integers(0, 2)) if kernel == 3 else 0
        t.layers.append(("Conv2d", (channels, out, kernel), {"padding": padding}))
        side, channels = side + 2 * padding - kernel + 1, out
        if rng.random() < 0.5:
            t.layers.append(("BatchNorm2d", (channels,), {}))
        _after(t, rng)
        if side >= 6:
            t.layers.append((str(rng.choice(["MaxPool2d", "AvgPool2d"])), (2,), {}))
            side //= 2
    t.layers.append(("Flatten", (), {}))
    t.layers.append(("Linear", (channels * side * side, t.classes), {}))


def _after(t: Training, rng: np.random.Generator) -> None:
    t.layers.append((str(rng.choice(ACTIVATIONS)), (), {}))
    if rng.random() < 0.4:
        t.layers.append(("Dropout", (float(rng.uniform(0.1, 0.6)),), {}))


def _optimizer(rng: np.random.Generator) -> tuple[str, dict[str, Any]]:
    decay = float(rng.choice([0.0, 0.0, 1e-3, 0.1]))
    kind = str(rng.choice(["SGD", "Adam", "AdamW"]))
    if kind != "SGD":
        return kind, {
            "lr": float(10 ** rng.uniform(-3.5, -2)),
            "betas": (float(rng.uniform(0.7, 0.95)), float(rng.uniform(0.9, 0.999))),
            "eps": float(10 ** rng.uniform(-9, -6)),
            "weight_decay": decay,
            "amsgrad": bool(rng.random() < 0.3),
        }
    momentum = float(rng.choice([0.0, 0.5, 0.9]))
    nesterov = bool(momentum and rng.random() < 0.5)
    options = {"lr": float(10 ** rng.uniform(-2.5, -1)), "momentum": momentum}
    options |= {"weight_decay": decay, "nesterov": nesterov}
    if momentum and not nesterov:
        options["dampening"] = float(rng.choice([0.0, 0.2]))
    return "SGD", options


def _scheduler(rng: np.random.Generator) -> tuple[str, dict[str, Any]] | None:
    """One that steps by the epoch, or none."""
    choices: list[tuple[str, dict[str, Any]] | None] = [
        None,
        ("StepLR", {"step_size": int(rng.integers(1, 3)), "gamma": float(rng.uniform(0.1, 0.9))}),
        ("ExponentialLR", {"gamma": float(rng.uniform(0.5, 0.99))}),
        ("CosineAnnealingLR", {"T_max": int(rng.integers(2, 6)), "eta_min": 1e-5}),
        ("LinearLR", {"start_factor": float(rng.uniform(0.2, 0.8)), "total_iters": 3}),
        ("MultiStepLR", {"milestones": [1, 2], "gamma": float(rng.uniform(0.2, 0.9))}),
        ("ReduceLROnPlateau", {"patience": 0, "factor": float(rng.uniform(0.2, 0.8)),
                               "threshold": float(rng.choice([1e-4, 0.5]))}),
    ]  # fmt: skip
    return choices[int(rng.integers(len(choices)))]


@dataclass
class Outcome:
    """What came of a training."""

    losses: Array
    rates: Array
    weights: dict[str, Array]
    gradients: dict[str, Array]
    """of the last step"""
    predictions: Array
    """for every image of the data, in evaluation"""


def train(t: Training, library: Any, loader: Any) -> Outcome:
    """Do it with `library`, npmlp or torch, and `loader`, its utils.data."""
    nn, lr_scheduler = library.nn, library.optim.lr_scheduler
    library.set_default_dtype(library.float64)
    library.manual_seed(t.seed)
    model = nn.Sequential(*(getattr(nn, name)(*args, **kw) for name, args, kw in t.layers))
    x, y = (library.from_numpy(array.copy()) for array in t.data())
    dataset = loader.TensorDataset(x, y)
    batches = loader.DataLoader(dataset, t.batch_size, shuffle=True, drop_last=t.drop_last)
    name, options = t.optimizer
    optimizer = getattr(library.optim, name)(model.parameters(), **options)
    scheduler = None
    if t.scheduler is not None:
        scheduler = getattr(lr_scheduler, t.scheduler[0])(optimizer, **t.scheduler[1])
    loss_function = nn.CrossEntropyLoss(label_smoothing=t.smoothing)
    losses, rates = [], []
    for _ in range(t.epochs):
        model.train()
        of_epoch = []
        for inputs, classes in batches:
            optimizer.zero_grad()
            loss = loss_function(model(inputs), classes)
            loss.backward()
            if t.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), t.clip_norm)
            optimizer.step()
            of_epoch.append(loss.item())
        losses += of_epoch
        if t.scheduler is not None and t.scheduler[0] == "ReduceLROnPlateau":
            scheduler.step(sum(of_epoch) / len(of_epoch))  # type: ignore[union-attr]
        elif scheduler is not None:
            scheduler.step()
        rates.append(float(optimizer.param_groups[0]["lr"]))
    parameters = dict(model.named_parameters())
    model.eval()
    with library.no_grad():
        predictions = model(x).argmax(1).numpy()
    return Outcome(
        np.array(losses),
        np.array(rates),
        {name: p.detach().numpy().copy() for name, p in parameters.items()},
        {name: p.grad.numpy().copy() for name, p in parameters.items()},
        predictions,
    )
