"""An epoch in PyTorch without detours: all images in memory, whole batches augmented on tensors.

No DataLoader, no transforms, and nothing that waits for a number before the epoch's end. N images
of H × W pixels.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from side import serve, setting
from step_torch import make_step
from torch import nn

from npmlp.recipes import Recipe
from npmlp.vision.images import load_image_data
from reference_torch import models

Draws = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def draw(n: int, recipe: Recipe, height: int, width: int) -> Draws:
    """For n images: whether mirrored, moved by how many pixels along x and y, scaled by what."""
    uniform = torch.rand(4, n)
    flip = uniform[0] < 0.5
    signed = uniform * 2 - 1
    tx = (signed[1] * (recipe.translate * width)).round()
    ty = (signed[2] * (recipe.translate * height)).round()
    return flip, tx, ty, 1 + signed[3] * recipe.scale


def by_index(framed: torch.Tensor, index: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Gather the pixels at source rows and columns; (n, H, W) of `framed` (N, H + 1, W + 1).

    A map without rotation moves rows and columns by themselves. What is outside comes from a black
    row and column that frame each image.
    """
    flip, tx, ty, scale = draws
    height, width = framed.shape[1] - 1, framed.shape[2] - 1
    columns = _sources(tx, scale, width)
    mirrored = torch.where(columns < width, width - 1 - columns, columns)
    columns = torch.where(flip[:, None], mirrored, columns)
    rows = _sources(ty, scale, height)
    first = (index * ((height + 1) * (width + 1)))[:, None] + rows * (width + 1)
    return framed.view(-1)[(first[:, :, None] + columns[:, None, :])]


def _sources(shift: torch.Tensor, scale: torch.Tensor, size: int) -> torch.Tensor:
    """Pixel i comes from (i + ½ − c − shift) / scale + c, with c the middle; `size` if outside."""
    c = size / 2
    position = (torch.arange(size) + (0.5 - c) - shift[:, None]) / scale[:, None] + c
    return torch.where((position < 0) | (position >= size), size, position.long())


def by_grid(images: torch.Tensor, index: torch.Tensor, draws: Draws) -> torch.Tensor:
    """The same with affine_grid and grid_sample on pixels (N, 1, H, W) of 0 … 1."""
    flip, tx, ty, scale = draws
    height, width = images.shape[2:]
    sign = torch.where(flip, -1.0, 1.0)
    zero = torch.zeros_like(sign)
    # from output to input, in coordinates of −1 … 1; the image is mirrored before it is moved
    theta = torch.stack(
        [
            torch.stack([sign / scale, zero, -sign * tx * (2 / width) / scale], 1),
            torch.stack([zero, 1 / scale, -ty * (2 / height) / scale], 1),
        ],
        1,
    )
    size = [len(index), 1, height, width]
    grid = nn.functional.affine_grid(theta, size, align_corners=False)
    return nn.functional.grid_sample(images[index], grid, mode="nearest", align_corners=False)


class Epochs:
    """Trains and evaluates a recipe. `augment` is "index" or "grid"; `how` as in step_torch."""

    def __init__(self, recipe: Recipe, how: str, optimizer: str, augment: str) -> None:
        torch.manual_seed(recipe.seed)
        data = load_image_data()
        self.recipe, self.augment, self.how = recipe, augment, how
        self.mean, self.deviation = data.mean, data.deviation
        images = torch.from_numpy(data.train_images)[: recipe.limit]
        self.labels = torch.from_numpy(data.train_labels)[: recipe.limit]
        if recipe.augment != "flip_affine":
            self.images = self._normalised(images[:, None].float().div_(255))
        elif augment == "index":
            self.images = nn.functional.pad(images, (0, 1, 0, 1))
        else:
            self.images = images[:, None].float().div_(255)
        self.test = self._normalised(torch.from_numpy(data.test_images)[:, None].float().div_(255))
        self.test_labels = torch.from_numpy(data.test_labels)
        self.model = models.build(recipe, data.shape, len(data.classes))
        self.loss = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        if how.startswith("whole"):  # what was built before may have left them out
            torch.compiler.set_stance(skip_guard_eval_unsafe=False)
        self.step = make_step(recipe, self.model, self.loss, how, optimizer)
        self.epochs = 0

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.sub_(self.mean).div_(self.deviation)

    def batch(self, index: torch.Tensor) -> torch.Tensor:
        """The images of a batch as the network gets them."""
        if self.recipe.augment != "flip_affine":
            return self.images[index]
        height, width = self.test.shape[2:]
        draws = draw(len(index), self.recipe, height, width)
        if self.augment == "index":
            pixels = by_index(self.images, index, draws)[:, None].float().div_(255)
        else:
            pixels = by_grid(self.images, index, draws)
        return self._normalised(pixels)

    def epoch(self, evaluate: bool = True) -> dict[str, Any]:
        """Train an epoch, and evaluate on the test images."""
        if self.how.startswith("whole") and self.epochs == 1:  # both sizes of batches are compiled
            torch.compiler.set_stance(skip_guard_eval_unsafe=True)
        self.epochs += 1
        began = time.perf_counter()
        total = torch.zeros(())
        self.model.train()
        for index in torch.randperm(len(self.labels)).split(self.recipe.batch_size):
            total += self.step(self.batch(index), self.labels[index]) * len(index)
        correct = self._correct() if evaluate else 0
        loss = float(total) / len(self.labels)
        return {
            "seconds": time.perf_counter() - began, "images": len(self.labels), "loss": loss,
            "evaluated": len(self.test) if evaluate else 0, "correct": correct,
        }  # fmt: skip

    @torch.no_grad()
    def _correct(self) -> int:
        self.model.eval()
        correct, loss = torch.zeros((), dtype=torch.int64), torch.zeros(())
        for x, y in zip(self.test.split(1000), self.test_labels.split(1000), strict=True):
            logits = self.model(x)
            loss += self.loss(logits, y)
            correct += (logits.argmax(1) == y).sum()
        return int(correct)


def augmentation_apart() -> dict[str, float]:
    """The share of pixels in which each way differs from torchvision's, for the same draws.

    reference_torch.batches has torchvision's pixels to the bit; here positions are rounded in
    float32, so that one exactly between two pixels may fall to the other side.
    """
    from npmlp.recipes import RECIPES
    from reference_torch.batches import _nearest, take

    torch.manual_seed(0)
    recipe = RECIPES["residual"]
    images = torch.randint(1, 256, (512, 28, 28), dtype=torch.uint8)
    index = torch.arange(len(images))
    flip, tx, ty, scale = draws = draw(len(images), recipe, 28, 28)
    mirrored = torch.where(flip[:, None, None], images.flip(2), images)
    expected = take(mirrored, _nearest(ty, scale, 28), _nearest(tx, scale, 28))
    found = {
        "index": by_index(nn.functional.pad(images, (0, 1, 0, 1)), index, draws),
        "grid": by_grid(images[:, None].float(), index, draws)[:, 0].to(torch.uint8),
    }
    return {way: float((pixels != expected).float().mean()) for way, pixels in found.items()}


def main() -> None:
    how = setting()
    torch.set_num_threads(how["threads"])
    found: list[Epochs] = []

    def build(recipe: dict[str, Any]) -> None:
        more = how["how"], how.get("optimizer", "fused"), how.get("augment", "index")
        found[:] = [Epochs(Recipe(**recipe), *more)]

    serve(
        {
            "build": build,
            "augmentation_apart": augmentation_apart,
            "epoch": lambda evaluate=True: found[0].epoch(evaluate),
        }
    )


if __name__ == "__main__":
    main()
