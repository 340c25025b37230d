"""npmlp's engine for the driver: a recipe's network, data, optimizer and scheduler, and one step.

This is what a training script looks like; the driver around it does the files.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from npmlp import creation, dtypes, models, nn, observe, random
from npmlp.autograd import no_grad
from npmlp.checkpoint import Array
from npmlp.engine_protocol import NotFiniteError, Score
from npmlp.errors import CheckpointError, NpmlpError
from npmlp.from_recipe import (
    build_optimizer,
    build_scheduler,
    split_off,
    test_transform,
    train_transform,
)
from npmlp.optim import lr_scheduler
from npmlp.plan.in_step import count_correct, require_finite
from npmlp.plan.replay import capture
from npmlp.recipes import Recipe
from npmlp.tensor import Tensor
from npmlp.utils.data import DataLoader, Dataset, Subset, default_collate
from npmlp.utils.data.loader import DataLoaderIter
from npmlp.vision.datasets import Images
from npmlp.vision.images import load_image_data

if TYPE_CHECKING:
    from npmlp.plan.explain import Explanation

EVALUATION_BATCH = 1000
AT_ONCE = 8  # steps in a replay, which share what Python does once for it, some 40 µs


class NpmlpEngine:
    """Trains a recipe with npmlp, under its seed and dtype; see engine_protocol.Engine.

    `eager`: every operation goes through Python, instead of a plan that was recorded once.
    """

    def __init__(self, recipe: Recipe, data: str | None = None, *, eager: bool = False) -> None:
        self.recipe = recipe
        dtypes.set_default_dtype(getattr(dtypes, recipe.dtype))
        random.manual_seed(recipe.seed)
        self.data = load_image_data(data)
        # PyTorch's order of draws: weights, then the split, then what the epochs draw
        self.model = models.build(recipe, self.data.shape, len(self.data.classes))
        self.optimizer = build_optimizer(recipe, self.model)
        self.scheduler = build_scheduler(recipe, self.optimizer)
        self.loss = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        self._split_data()
        self._planned = self._step if eager else capture(self._step)
        self._taking = None if eager else capture(self._take_and_step)
        self._logits = self._forward if eager else capture(self._forward)
        self.loader = DataLoader(self.train_set, batch_size=recipe.batch_size, shuffle=True)
        self.batches_per_epoch = len(self.loader)
        size = sum(p.numel() for p in self.model.parameters())
        self.description = (
            f"{recipe.name}: {size:,} parameters, {len(self.train_set):,} training images "
            f"from {self.data.origin}"
        )

    def _split_data(self) -> None:
        recipe, data = self.recipe, self.data
        self.train_set: Any = Images(
            data.train_images, data.train_labels, train_transform(recipe, data)
        )
        test = Images(data.test_images, data.test_labels, test_transform(recipe, data))
        self.held_out: dict[str, Dataset[Any]] = {"test": test}
        self.has_validation = recipe.validation != "none"
        if recipe.validation == "reported":
            self.held_out["validation"] = test
        elif self.has_validation:
            self._split_off(self.train_set, test)
        if recipe.limit is not None:
            first = range(min(recipe.limit, len(self.train_set)))
            self.train_set = Subset(self.train_set, first)
        self._images, self._places = _source(self.train_set)

    def _split_off(self, train: Images, test: Images) -> None:
        """Hold images out for validation, a random choice by the recipe's seed."""
        recipe = self.recipe
        whole = train if recipe.validation == "train" else test
        rest, chosen = split_off(recipe, whole)
        if recipe.validation == "train":
            self.train_set = rest
            held_in = copy.copy(train)  # the same images, without augmentation
            held_in.transform = test.transform
            self.held_out["validation"] = Subset(held_in, chosen.indices)
        else:
            self.held_out |= {"test": rest, "validation": chosen}

    # ---------------------------------------------------------------------------------- train

    @property
    def lr(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def batches(self, skip: int) -> DataLoaderIter:
        batches = iter(self.loader)
        if skip:
            batches.skip(skip)
        self.model.train()
        return batches

    def step(self, batch: Any) -> Score:
        return self._score(self._planned, batch)

    def steps(self, skip: int) -> Iterator[list[Score]]:
        batches = self.batches(skip)  # now, with the random numbers that it draws
        if self._taking is None:
            return ([self.step(batch)] for batch in batches)
        return self._in_one_go(batches.indices())

    def _in_one_go(self, indices: Iterator[Any]) -> Iterator[list[Score]]:
        """`AT_ONCE` steps after another, each of which takes its images itself."""
        assert self._taking is not None
        while together := list(itertools.islice(indices, AT_ONCE)):
            places = list(map(self._places_of, together))
            scores: list[Score] = []
            try:
                for loss, correct in self._taking.each([(at,) for at in places]):
                    count = len(places[len(scores)])
                    scores.append(Score(loss.item(), int(correct.item()), count))
            except FloatingPointError:
                if scores:
                    yield scores
                x, y = self._images.take(places[len(scores)])
                raise self._first_not_finite(x, y) from None
            yield scores

    def _places_of(self, index: Any) -> Tensor:
        """Where the samples of a batch are among the images."""
        if self._places is None:
            return creation.from_numpy(np.asarray(index))
        return creation.from_numpy(self._places[index])

    def _take_and_step(self, places: Tensor) -> tuple[Tensor, Tensor]:
        return self._step(*self._images.take(places))

    def gradients(self, batch: Any) -> Score:
        """The first half of a step: the gradients of a batch's loss, in the parameters' `grad`."""
        return self._score(self._gradients, batch)

    def update(self) -> None:
        """The second half: clip the gradients and move the weights."""
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self.optimizer.step()

    def _step(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        found = self._gradients(x, y)
        self.update()
        return found

    def _gradients(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Of a batch: its loss, and how many images got their own class."""
        self.optimizer.zero_grad()
        logits = self.model(x)
        loss = self.loss(logits, y)
        require_finite(loss)  # or no gradients, and weights as they are
        loss.backward()
        return loss, count_correct(logits, y)

    def _score(self, way: Callable[..., tuple[Tensor, Tensor]], batch: Any) -> Score:
        x, y = batch
        try:
            loss, correct = way(x, y)
        except FloatingPointError:
            raise self._first_not_finite(x, y) from None
        return Score(loss.item(), int(correct.item()), len(y))

    def _forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return logits

    def explain(self) -> Explanation:
        """What the kernels of a whole step cost, measured on the first batch of an epoch."""
        before = self.generator_state()
        index = next(self.batches(0).indices())
        self.set_generator_state(before)
        return capture(self._take_and_step).explain(self._places_of(index))

    def end_epoch(self, train_loss: float) -> None:
        if isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(train_loss)
        elif self.scheduler is not None:
            self.scheduler.step()

    def evaluate(self, split: Literal["validation", "test"]) -> Score:
        loss_sum, correct, count = 0.0, 0, 0
        for logits, y in self.predictions(split):
            loss_sum += self.loss(logits, y).item() * len(y)
            correct += int(count_correct(logits, y).item())
            count += len(y)
        return Score(loss_sum / count, correct, count)

    def predictions(self, split: str) -> Iterator[tuple[Tensor, Tensor]]:
        """(logits, classes) of held-out images in order, without a draw from the generator."""
        images: Any = self.held_out[split]
        self.model.eval()
        with no_grad():
            for start in range(0, len(images), EVALUATION_BATCH):
                stop = min(start + EVALUATION_BATCH, len(images))
                x, y = default_collate(images.__getitems__(range(start, stop)))
                yield self._logits(x), y
        self.model.train()

    def sample(self, split: Literal["train", "test"], count: int) -> tuple[Tensor, Tensor]:
        if split == "test":
            images: Any = self.held_out["test"]
            chosen: tuple[Tensor, Tensor] = default_collate(
                images.__getitems__(observe.spread(len(images), count))
            )
            return chosen
        before = self.generator_state()
        inputs, classes = observe.first(self.batches(0), count)
        self.set_generator_state(before)
        return inputs, classes

    # ----------------------------------------------------------------------------------- state

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": {} if self.scheduler is None else self.scheduler.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.scheduler is not None:
                self.scheduler.load_state_dict(state["scheduler"])
        except (KeyError, NpmlpError) as error:
            raise CheckpointError(
                f"the checkpoint does not fit the network {self.recipe.arch}: {error}"
            ) from None

    def generator_state(self) -> Array:
        return random.default_generator.state_bytes()

    def set_generator_state(self, state: Array) -> None:
        random.default_generator.load_state_bytes(state)

    def not_finite(self) -> str | None:
        for name, tensor in self.model.state_dict().items():
            if not np.isfinite(tensor.numpy()).all():
                return name
        return None

    def _first_not_finite(self, x: Tensor, y: Tensor) -> NotFiniteError:
        """Where the numbers first go wrong, for a batch whose loss is not finite."""
        culprit: list[str] = []
        hooks = [
            module.register_forward_hook(_watch(f"{name} ({type(module).__name__})", culprit))
            for name, module in self.model.named_modules()
            if not list(module.children())
        ]
        with no_grad():  # once more, with other draws of dropout
            loss = self.loss(self.model(x), y).item()
        for hook in hooks:
            hook.remove()
        found = f"the loss is {loss}" if not math.isfinite(loss) else "the loss was not finite"
        if not np.isfinite(x.numpy()).all():
            return NotFiniteError(
                f"{found}, and the input has values that are not finite", advice="look at the data"
            )
        name = self.not_finite()
        if name is not None:
            return NotFiniteError(f"{found}, and {name} is not finite since the step before")
        where = f"first in the output of {culprit[0]}" if culprit else "in the loss itself"
        return NotFiniteError(f"{found}, {where}")


def _watch(name: str, culprit: list[str]) -> Any:
    def hook(module: nn.Module, args: Any, output: Tensor) -> None:
        if not np.isfinite(output.numpy()).all():
            culprit.append(name)

    return hook


def _source(dataset: Any) -> tuple[Images, NDArray[np.int64] | None]:
    """The images that a data set is of, and where its samples are among them; None: one by one."""
    places = None
    while isinstance(dataset, Subset):
        indices = np.asarray(dataset.indices, np.int64)
        places = indices if places is None else indices[places]
        dataset = dataset.dataset
    return dataset, places
