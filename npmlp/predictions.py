"""What a run's network makes of the test images that the run reports on.

The evaluation, the pictures and the page of a run are made from this; it takes the runs of npmlp
and of reference_torch alike, whose parameters have the same names.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from npmlp import checkpoint as checkpoints
from npmlp.checkpoint import Checkpoint
from npmlp.errors import CheckpointError, NpmlpError
from npmlp.preserved import preserved_settings
from npmlp.runs import RunFolder

if TYPE_CHECKING:
    from npmlp import nn
    from npmlp.vision.images import DataFacts

Which = Literal["best", "last"] | int  # a number: the checkpoint of that epoch, from 1


@dataclass(frozen=True)
class Predictions:
    """N test images, and the probabilities of C classes that a network gives each."""

    images: NDArray[np.uint8] = field(repr=False)  # (N, H, W)
    labels: NDArray[np.int64] = field(repr=False)  # (N,)
    probabilities: NDArray[np.float32] = field(repr=False)  # (N, C)
    classes: tuple[str, ...]
    indices: NDArray[np.int64] = field(repr=False)  # (N,): positions in the test file
    loss: float  # the mean, with the recipe's label smoothing
    checkpoint: str  # the file's name
    epoch: int  # after which that checkpoint was written

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class of each, (N,)."""
        return self.probabilities.argmax(axis=1)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether that is its class, (N,)."""
        return np.asarray(self.predicted == self.labels)

    @property
    def accuracy(self) -> float:
        """The share that was classified rightly, 0 to 1."""
        return float(self.right.mean())


def predictions_of(
    folder: RunFolder, data: str | None = None, checkpoint: Which | None = None
) -> Predictions:
    """Classify the test images that a run reports on.

    Parameters: `data`, a folder as in training, by default where the run found it; `checkpoint`,
    by default the one that the run reports: best where there are validation images, else last.
    Raises: NpmlpError where the run or the data cannot be read.
    """
    from npmlp import dtypes, functions, models, nn, random
    from npmlp.autograd import no_grad
    from npmlp.engine import EVALUATION_BATCH
    from npmlp.from_recipe import split_off, test_transform
    from npmlp.utils.data import default_collate
    from npmlp.vision.datasets import Images
    from npmlp.vision.images import load_test_images

    recipe, facts = folder.recipe(), facts_of(folder)
    path, found = _checkpoint(folder, checkpoint)
    with preserved_settings(), no_grad():
        dtypes.set_default_dtype(getattr(dtypes, recipe.dtype))
        random.manual_seed(recipe.seed)
        # its draws come before those of the split, as in training
        model = models.build(recipe, facts.shape, len(facts.classes))
        pixels, labels = load_test_images(facts, data)
        images: Any = Images(pixels, labels, test_transform(recipe, facts))
        indices = np.arange(len(images))
        if recipe.validation == "test":
            images, _ = split_off(recipe, images)
            indices = np.asarray(images.indices)
        _load_weights(model, path, found)
        model.eval()

        loss = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        loss_sum, probabilities = 0.0, []
        for start in range(0, len(images), EVALUATION_BATCH):
            stop = min(start + EVALUATION_BATCH, len(images))
            x, y = default_collate(images.__getitems__(range(start, stop)))
            outputs = model(x)
            loss_sum += loss(outputs, y).item() * len(y)
            if recipe.output == "logits":
                outputs = functions.softmax(outputs, 1)
            probabilities.append(outputs.numpy().astype(np.float32, copy=False))
    return Predictions(
        images=pixels[indices],
        labels=labels[indices],
        probabilities=np.concatenate(probabilities),
        classes=facts.classes,
        indices=indices,
        loss=loss_sum / len(indices),
        checkpoint=path.name,
        epoch=found["position"]["epoch"],
    )


def network_of(folder: RunFolder, checkpoint: Which | None = None) -> nn.Module:
    """A run's network with the weights of a checkpoint, ready to classify (eval mode).

    Parameters and Raises: see `predictions_of`.
    """
    from npmlp import dtypes, models

    recipe, facts = folder.recipe(), facts_of(folder)
    path, found = _checkpoint(folder, checkpoint)
    with preserved_settings():
        dtypes.set_default_dtype(getattr(dtypes, recipe.dtype))
        model = models.build(recipe, facts.shape, len(facts.classes))
    _load_weights(model, path, found)
    return model.eval()


def facts_of(folder: RunFolder) -> DataFacts:
    """What the run keeps of its data. Raises RunError where config.json is damaged."""
    from npmlp.vision.images import DataFacts

    return DataFacts.from_config(folder.config(), str(folder.path / "config.json"))


def _checkpoint(folder: RunFolder, which: Which | None) -> tuple[Path, Checkpoint]:
    """The path and content of a run's checkpoint.

    Raises: RunError where there is none yet, CheckpointError where it is of another recipe.
    """
    recipe = dataclasses.asdict(folder.recipe())
    path = folder.checkpoint(which)
    found = checkpoints.read(path)
    if recipe | found["recipe"] != recipe:  # an older one may lack a field
        raise CheckpointError(
            f"{path}: belongs to another recipe than config.json beside it "
            f"(architecture {found['recipe'].get('arch')}, expected {recipe['arch']})"
        )
    return path, found


def _load_weights(model: nn.Module, path: Path, found: Checkpoint) -> None:
    try:
        model.load_state_dict(found["state"]["model"])
    except (KeyError, NpmlpError, RuntimeError) as error:
        why = " ".join(str(error).split())  # on one line
        raise CheckpointError(
            f"{path}: does not fit the architecture {found['recipe']['arch']} ({why})"
        ) from None
