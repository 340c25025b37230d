"""scikit-learn's side of an epoch: MLPClassifier on images that are prepared and in memory."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
from side import serve, setting
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from step_case import Case
from threadpoolctl import threadpool_limits

from npmlp.recipes import Recipe
from npmlp.vision.images import load_image_data

CLASSES = np.arange(10)


def network(recipe: Recipe, shuffle: bool) -> MLPClassifier:
    """vanilla: 784 → 100 → ReLU → 10, plain SGD, which is here without momentum and L2."""
    return MLPClassifier(
        hidden_layer_sizes=(100,), activation="relu", solver="sgd", alpha=0.0,
        batch_size=recipe.batch_size, learning_rate="constant", learning_rate_init=recipe.lr,
        momentum=0.0, nesterovs_momentum=False, shuffle=shuffle, max_iter=1, random_state=0,
    )  # fmt: skip


def mean_loss(case: dict[str, Any], rounds: int) -> float:
    """The mean loss over some rounds of a case's batches, from its weights, in its order."""
    found = Case.from_json(case)
    weights, images, labels = found.arrays()
    x, y = images.reshape(-1, 784), labels.reshape(-1)
    model = network(found.recipe, shuffle=False)
    size = found.recipe.batch_size
    model.partial_fit(x[:size], y[:size], classes=CLASSES)  # which makes the arrays
    for i, layer in enumerate(("fc1", "fc2")):
        # in place: its optimizer holds these very arrays
        model.coefs_[i][:] = weights[f"{layer}.weight"].T
        model.intercepts_[i][:] = weights[f"{layer}.bias"]
    model.partial_fit(np.tile(x, (rounds, 1)), np.tile(y, rounds))
    return float(model.loss_)


class Epochs:
    """Trains with "partial_fit", an epoch a call, or with "fit", which begins anew each time."""

    def __init__(self, recipe: Recipe, how: str) -> None:
        data = load_image_data()
        pixels = data.train_images[: recipe.limit].reshape(-1, 784).astype(np.float32) / 255
        self.x = (pixels - np.float32(data.mean)) / np.float32(data.deviation)
        self.y = data.train_labels[: recipe.limit]
        self.model, self.how = network(recipe, shuffle=True), how

    def epoch(self) -> dict[str, Any]:
        """Train an epoch."""
        began = time.perf_counter()
        if self.how == "partial_fit":
            self.model.partial_fit(self.x, self.y, classes=CLASSES)
        else:
            self.model.fit(self.x, self.y)
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "images": len(self.y), "loss": float(self.model.loss_)}


def main() -> None:
    how = setting()
    warnings.filterwarnings("ignore", category=ConvergenceWarning)  # after one epoch: of course
    found: list[Epochs] = []

    def build(recipe: dict[str, Any]) -> None:
        found[:] = [Epochs(Recipe(**recipe), how["how"])]

    with threadpool_limits(how["threads"]):
        serve({"build": build, "mean_loss": mean_loss, "epoch": lambda: found[0].epoch()})


if __name__ == "__main__":
    main()
