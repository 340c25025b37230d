"""Batches in plain PyTorch: gathered, augmented and normalised whole, not image by image.

The pixels are those that torchvision's RandomHorizontalFlip, RandomAffine, ToTensor and Normalize
make of PIL images one by one, to the last bit and from the same draws of PyTorch's generator.
N images of H × W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

Batch = tuple[torch.Tensor, torch.Tensor]
Bounds = tuple[float, float]


class Augmentation:
    """Mirror with probability a half; then, where asked, move and scale by the nearest pixel.

    The draws and pixels of torchvision's RandomHorizontalFlip() and, for `affine`, of
    RandomAffine(0, (translate, translate), (1 - scale, 1 + scale)) after it.
    Source: torchvision 0.28, transforms.py, RandomAffine.get_params.
    """

    def __init__(self, affine: bool, translate: float = 0.0, scale: float = 0.0) -> None:
        self.affine, self.translate, self.scale = affine, translate, scale

    def sources(self, n: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw n changes: the source row and column of each pixel, int64 (n, H) and (n, W).

        What comes from outside the image has row H or column W.
        """
        if not self.affine:
            (flip,) = _columns_of_draws(n, [(0.0, 1.0)])
            rows = torch.arange(height).expand(n, height)
            columns = torch.arange(width).expand(n, width)
        else:
            dx, dy = self.translate * width, self.translate * height
            flip, _, tx, ty, scale = _columns_of_draws(
                n, [(0.0, 1.0), (0.0, 0.0), (-dx, dx), (-dy, dy), (1 - self.scale, 1 + self.scale)]
            )
            columns = _nearest(tx, scale, width)
            rows = _nearest(ty, scale, height)
        # the map acts on the mirrored image, so it is mirrored where it reads
        mirrored = torch.where(columns < width, width - 1 - columns, columns)
        return rows, torch.where((flip < 0.5)[:, None], mirrored, columns)


def _columns_of_draws(n: int, bounds: Sequence[Bounds]) -> list[torch.Tensor]:
    """For n images in turn, one number between each of the bounds, as single draws would be.

    uniform_ takes one pair of bounds for a whole block, and how it scales a draw to them (with a
    fused multiply-add on some processors) decides the last bit. So the same stretch of the stream
    is read once for each pair, and one column of it is kept.
    """
    columns = []
    for column, (low, high) in enumerate(bounds):
        last = column == len(bounds) - 1  # the last reading moves the generator on
        stream = torch.default_generator if last else torch.default_generator.clone_state()
        draws = torch.empty(n, len(bounds)).uniform_(low, high, generator=stream)
        columns.append(draws[:, column])
    return columns


def _nearest(shift: torch.Tensor, scale: torch.Tensor, size: int) -> torch.Tensor:
    """Which of an axis' pixels is nearest to where each comes from, int64 (n, size).

    Pixel i comes from (i + ½ - c - shift) / scale + c, with c the middle and the shift rounded to
    whole pixels, half to even. All is float64 in the order in which torchvision
    (_get_inverse_affine_matrix) and Pillow (Geometry.c, ImagingScaleAffine) compute it, adding up
    the step from pixel to pixel; that order decides which side of an edge a pixel is on.
    """
    step = 1.0 / scale.double()
    middle = size * 0.5
    start = step * (-middle - shift.double().round()) + middle
    positions = step[:, None].repeat(1, size)
    positions[:, 0] = start + step * 0.5
    positions = positions.cumsum(1)
    return torch.where((positions < 0) | (positions >= size), size, positions.long())


class Images(Dataset[Batch]):
    """Grey images and their classes; a whole batch at once through `__getitems__`.

    Parameters
    ----------
    images: uint8 (N, H, W). labels: int64 (N,). Batches come to where these are.
    normal: the mean and the deviation that pixels scaled to [0, 1] are normalised with, or None.
    augmentation: random changes, or None.

    Returns of `__getitems__`: pixels (n, 1, H, W) of the default dtype and labels (n,).
    """

    def __init__(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        normal: tuple[float, float] | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.images, self.labels = images, labels
        self.normal, self.augmentation = normal, augmentation

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Batch:
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        chosen = torch.tensor(indices, device=self.images.device)
        pixels = self.images.index_select(0, chosen)
        if self.augmentation is not None:
            pixels = take(pixels, *self.augmentation.sources(*pixels.shape))
        x = pixels[:, None].to(torch.get_default_dtype()).div_(255)
        if self.normal is not None:
            mean, deviation = self.normal
            x = x.sub_(mean).div_(deviation)
        return x, self.labels[chosen]


def take(images: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """The pixels at each image's source rows (n, H) and columns (n, W), black from outside."""
    n, height, width = images.shape
    rows, columns = rows.to(images.device), columns.to(images.device)
    # a frame of one black row and column, where the index of what is outside points to
    framed = torch.nn.functional.pad(images, (0, 1, 0, 1))
    first = torch.arange(n, device=images.device)[:, None] * ((height + 1) * (width + 1))
    rows = first + rows * (width + 1)
    return framed.take(rows[:, :, None] + columns[:, None, :])


def loader(images: Dataset[Batch], batch_size: int) -> DataLoader[Batch]:
    """Batches in PyTorch's random order; `images` is an Images or a Subset of one."""
    return DataLoader(images, batch_size, shuffle=True, collate_fn=_as_it_is)


def _as_it_is(batch: Any) -> Any:  # Images makes batches, not lists of samples
    return batch
