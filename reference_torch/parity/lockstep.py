"""The trainings side by side: npmlp's and PyTorch's from one seed, each on its own, and a judge.

Two trainings that part by a rounding error drift further apart with every step, so at step 500
their difference says little about step 500. Therefore each step is judged by itself, too: PyTorch
takes it from npmlp's own state, twice, once with rounding noise (rounding.py). What the two differ
by is what rounding allows. The update is judged from npmlp's own gradients, for Adam divides by
their root, and where a gradient is near 0 all of its quotient is rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from npmlp.checkpoint import Array
from npmlp.engine import NpmlpEngine
from npmlp.engine_protocol import NotFiniteError
from npmlp.errors import RunError
from npmlp.recipes import Recipe
from reference_torch.engine import TorchEngine
from reference_torch.parity import compare
from reference_torch.parity.compare import Difference
from reference_torch.parity.faults import Fault, Planted
from reference_torch.parity.record import Record, Watch, of_npmlp, of_torch, plain
from reference_torch.parity.torch_step import TorchStep, draw_masks_on_cpu


@dataclass
class Batches:
    """What both sides drew for a step."""

    ours: tuple[Array, Array]
    theirs: tuple[Array, Array]
    same_place: bool
    """whether the generators are in the same place after it"""

    @property
    def images_equal(self) -> bool:
        return self.ours[0].tobytes() == self.theirs[0].tobytes()

    @property
    def labels_equal(self) -> bool:
        return bool(np.array_equal(self.ours[1], self.theirs[1]))

    @property
    def equal(self) -> bool:
        return self.images_equal and self.labels_equal and self.same_place


@dataclass
class Step:
    """What came of one step."""

    number: int
    """counted from 1"""
    batches: Batches
    options: list[tuple[str, float, float]]
    """options of the optimizers that differ: name, npmlp's, PyTorch's"""
    differences: list[Difference]
    """from the same state, in causal order"""
    turned: dict[str, int]
    """decisions that rounding turned around, by layer"""
    zero: list[str]
    """parameters whose gradient is nothing but rounding"""
    before: dict[str, Any]
    """npmlp's state before the step"""
    judged: Record
    """PyTorch's step from it"""
    taken: Record
    """npmlp's step"""
    losses: tuple[float, float, float]
    """of the trainings on their own: npmlp's, PyTorch's, PyTorch's with rounding noise"""
    drift: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    """by parameter, sums of squares: of npmlp's difference from PyTorch's own training, of the one
    with noise from it, and of the parameter"""


class Lockstep:
    """Trains a recipe in npmlp and in PyTorch at once.

    Parameters: `recipe`; `data`, a folder, see npmlp.train; `device`, PyTorch's; `fault`, planted
    in npmlp's side.
    Raises: RunError as the engines do, and where the fault does not fit the recipe.
    """

    def __init__(
        self, recipe: Recipe, data: str | None = None, device: str = "cpu",
        fault: Fault | None = None,
    ) -> None:  # fmt: skip
        self.recipe = recipe
        self.ours, self.theirs = (
            NpmlpEngine(recipe, data, eager=True),
            TorchEngine(recipe, data, device),
        )
        if device != "cpu":
            torch.backends.cudnn.allow_tf32 = False  # else a float32 convolution has 10 bits
            draw_masks_on_cpu(self.theirs.model)
        self.planted = Planted(fault, self.ours)
        self.our_watch = Watch(self.ours.model, of_npmlp)
        facts = self.theirs.data
        sides = (recipe, facts.shape, len(facts.classes), self.theirs.device)
        self.judge, self.noisy = TorchStep(*sides), TorchStep(*sides)
        self.noisy.load(self.theirs.state())
        self.weights_equal = same_weights(self.ours, self.theirs)
        self.done = 0
        self.loss_sums = [0.0, 0.0, 0.0]
        self.batches_done = 0

    def steps(self, count: int) -> Iterator[Step]:
        """Up to `count` steps, fewer where the recipe has fewer."""
        last = min(count, self.recipe.epochs * self.ours.batches_per_epoch)
        while self.done < last:
            pairs = zip(self.ours.batches(0), self.theirs.batches(0), strict=True)
            for pair in pairs:
                self.done += 1
                yield self._step(*pair)
                if self.done == last:
                    return
            self._end_epoch()

    def _end_epoch(self) -> None:
        means = [total / self.batches_done for total in self.loss_sums]
        self.ours.end_epoch(means[0])
        self.theirs.end_epoch(means[1])
        self.noisy.training.end_epoch(means[2])
        self.loss_sums, self.batches_done = [0.0, 0.0, 0.0], 0

    def _step(self, our_batch: Any, their_batch: Any) -> Step:
        our_batch = self.planted.batch(our_batch)
        draws, their_draws = self.ours.generator_state(), torch.get_rng_state()
        batches = Batches(
            (of_npmlp(our_batch[0]), of_npmlp(our_batch[1])),
            (of_torch(their_batch[0]), of_torch(their_batch[1])),
            draws.tobytes() == their_draws.numpy().tobytes(),
        )
        before = plain(self.ours.state())
        try:
            taken = self._take(our_batch)
            judged, noise = self._judge(before, draws, their_batch, taken)
            losses = self._on_their_own(taken, their_batch, their_draws)
        except NotFiniteError as error:
            raise RunError(f"step {self.done}: {error.what}") from None
        self.batches_done += 1
        for i, loss in enumerate(losses):
            self.loss_sums[i] += loss
        return Step(
            number=self.done,
            batches=batches,
            options=unequal_options(self.ours.optimizer, self.theirs.optimizer),
            differences=[
                *compare.differences(taken, judged, noise, before, self.recipe.clip_norm),
                *compare.wrong_decisions(taken, judged, noise),
            ],
            turned=compare.turned(taken, judged),
            zero=[n for n in judged.gradients if compare.is_nothing_but_rounding(n, judged, noise)],
            before=before,
            judged=judged,
            taken=taken,
            losses=losses,
            drift=self._drift(),
        )

    def _take(self, batch: Any) -> Record:
        """npmlp's step, with what is planted in it."""
        record = self.our_watch.begin()
        score = self.ours.gradients(batch)
        self.planted.after_gradients()
        self.our_watch.after_backward(score.loss)
        self.planted.update()
        self.our_watch.after_update(self.ours.optimizer)
        return record

    def _judge(
        self, before: dict[str, Any], draws: Array, batch: Any, taken: Record
    ) -> tuple[Record, Record]:
        """PyTorch's step from npmlp's state, without noise and with it."""

        def run(**how: Any) -> Record:
            torch.set_rng_state(torch.from_numpy(draws.copy()))
            self.judge.load(before)
            return self.judge.gradients(batch, **how)

        judged = run()
        noisy = run(noise=True, decisions=judged.decisions)
        if compare.turned(taken, judged) and not any(compare.wrong_decisions(taken, judged, noisy)):
            # a gradient jumps where a decision turns, so go npmlp's way, which is as right
            noisy = run(noise=True, decisions=taken.decisions)
            own, judged = judged, run(decisions=taken.decisions)
            judged.decisions, judged.margins = own.decisions, own.margins
        else:
            judged = run()  # once more, for the state in which it leaves the network
        self.judge.update(taken.gradients)
        return judged, noisy

    def _on_their_own(
        self, taken: Record, batch: Any, draws: torch.Tensor
    ) -> tuple[float, float, float]:
        """The step of PyTorch's own training, and of the one with noise."""
        torch.set_rng_state(draws)
        noisy = self.noisy.gradients(batch, noise=True).loss
        self.noisy.update()
        torch.set_rng_state(draws)
        return taken.loss, self.theirs.step(batch).loss, noisy

    def _drift(self) -> dict[str, tuple[float, float, float]]:
        ours, noisy = (dict(m.named_parameters()) for m in (self.ours.model, self.noisy.model))
        drift = {}
        for name, parameter in self.theirs.model.named_parameters():
            theirs = of_torch(parameter).astype(np.float64)
            apart = (of_npmlp(ours[name]) - theirs, of_torch(noisy[name]) - theirs, theirs)
            drift[name] = tuple(float(np.sum(np.square(a))) for a in apart)
        return drift  # type: ignore[return-value]


def same_weights(ours: NpmlpEngine, theirs: TorchEngine) -> bool:
    """Whether all weights and buffers have the same names, order and bits."""
    mine, torchs = ours.model.state_dict(), theirs.model.state_dict()
    return list(mine) == list(torchs) and all(
        of_npmlp(mine[name]).tobytes() == of_torch(torchs[name]).tobytes() for name in mine
    )


def unequal_options(ours: Any, theirs: Any) -> list[tuple[str, float, float]]:
    """Numbers in the parameter groups that differ by more than a rounding or two."""
    found = []
    for i, (mine, torchs) in enumerate(zip(ours.param_groups, theirs.param_groups, strict=True)):
        for name in ("lr", "momentum", "weight_decay", "betas", "eps"):
            values = zip(
                np.ravel(mine.get(name, 0.0)), np.ravel(torchs.get(name, 0.0)), strict=True
            )
            for a, b in values:
                if abs(a - b) > 1e-14 * abs(b):
                    found.append((f"{name} of group {i}", float(a), float(b)))
    return found
