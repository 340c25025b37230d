"""Data sets that give pairs of an image and its class: from arrays, and torchvision's FashionMNIST.

Fashion-MNIST has 60,000 training and 10,000 test images, 28 × 28 grey, 10 classes of clothing.
Source: Xiao, Rasul, Vollgraf 2017, Fashion-MNIST (arXiv:1708.07747).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npmlp.creation import from_numpy
from npmlp.errors import OutsideSubsetError
from npmlp.outside import outside
from npmlp.tensor import Tensor
from npmlp.utils.data import Batch, Dataset
from npmlp.vision.files import CLASSES, TEST, TRAIN
from npmlp.vision.locate import Place, load_splits, search_places
from npmlp.vision.transforms import BatchTransform, ToTensor, batch_steps
from npmlp.vision.transforms.gather import gather_batch, take_batch


class Images(Dataset[tuple[Any, Any]]):
    """Pairs of an image and its class, from arrays.

    Parameters
    ----------
    images: uint8 of shape (N, H, W). labels: int64 of shape (N,).
    transform: called with each PIL image. What npmlp.vision.transforms has, is also applied to
        whole batches, with the same results.
    target_transform: called with each class.

    Attributes
    ----------
    data: uint8 Tensor of shape (N, H, W). targets: int64 Tensor of shape (N,).
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self.data, self.targets = from_numpy(images), from_numpy(labels)
        self.transform = transform
        self.target_transform = target_transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        from PIL import Image

        image: Any = Image.fromarray(self.data.numpy()[index])
        if self.transform is not None:
            image = self.transform(image)
        return image, self._target(index)

    def _target(self, index: int) -> Any:
        target = int(self.targets.numpy()[index])
        return target if self.target_transform is None else self.target_transform(target)

    def __getitems__(self, indices: Sequence[int]) -> Sequence[tuple[Any, Any]]:
        """The samples of a batch, at once where that gives the same numbers as one by one."""
        steps = self._batch_steps()
        if steps is None:
            return [self[i] for i in indices]
        index = np.asarray(indices, np.int64)
        images = from_numpy(gather_batch(steps, self.data.numpy(), index))
        if self.target_transform is None:
            labels = self.targets.numpy().take(index)
            return Batch((images, from_numpy(labels)), lambda i: (images[i], int(labels[i])))
        return [(images[n], self._target(i)) for n, i in enumerate(indices)]

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The batch of some samples, (images, classes), as a part of a step that a plan replays.

        A replay reads the index anew and draws anew; the transform is that of the recording. Where
        images are taken within a step, no Python comes between two batches (`Plan.each`).

        Parameters
        ----------
        index: int64 of shape (N,), from 0.

        Returns
        -------
        What a DataLoader's batch of these samples has, in two Tensors.

        Raises
        ------
        IndexError: an index beyond the images.
        OutsideSubsetError: the transform takes single images only, or there is a target_transform.
        """
        steps = self._batch_steps()
        if steps is None or self.target_transform is not None:
            raise OutsideSubsetError(
                "take: a step takes whole batches, so the transform must be of "
                "npmlp.vision.transforms, with ToTensor(), and target_transform None; "
                "a DataLoader takes any"
            )
        found = take_batch(steps, self.data.numpy(), self.targets.numpy(), index._data)
        return Tensor._wrap(found[0]), Tensor._wrap(found[1])

    def _batch_steps(self) -> list[BatchTransform] | None:
        """The steps of the image transform where they are known throughout and make Tensors.

        A subclass with its own __getitem__ is asked for single samples. A target transform may draw
        random numbers, which would then come in between those of the images.
        """
        steps = batch_steps(self.transform)
        if (
            steps is None
            or type(self).__getitem__ is not Images.__getitem__
            or not any(isinstance(step, ToTensor) for step in steps)
            or (self.target_transform is not None and any(step.draws for step in steps))
        ):
            return None
        return steps


class FashionMNIST(Images):
    """Pairs of an image and its class, 0 to 9.

    Parameters
    ----------
    root: a folder with FashionMNIST/raw in it, as torchvision lays it out, or with the four files.
        None looks at NPMLP_DATA, npmlp's cache, the Debian package's folder and
        data/FashionMNIST/raw.
    train: the training images, or else the test images.
    transform: called with each PIL image. What npmlp.vision.transforms has, is also applied to
        whole batches, with the same results.
    target_transform: called with each class.
    download: look for the files in the other places too where `root` has none, and fetch them into
        root/FashionMNIST/raw where nobody has them.
    verify: False takes other images and labels under the same names.

    Attributes
    ----------
    data: uint8 Tensor of shape (N, 28, 28). targets: int64 Tensor of shape (N,).
    classes: the ten names. class_to_idx: from a name to its number. source: where it was found.

    Raises
    ------
    DataError: not found, or damaged.

    Source: torchvision.datasets.FashionMNIST.
    """

    classes = list(CLASSES)  # noqa: RUF012  (a list, as in torchvision)

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        download: bool = False,
        *,
        verify: bool = True,
    ) -> None:
        self.root = root if root is None else os.path.expanduser(root)
        self.train = train
        places, target = search_places(), None
        if self.root is not None:
            hint = "; leave root out, or set download=True, to have the usual places searched"
            asked = Place(Path(self.root), "root", asked_for=True, hint=hint)
            places = [asked, *places] if download else [asked]
            target = Path(self.root) / "FashionMNIST" / "raw"
        split = TRAIN if train else TEST
        arrays, self.source = load_splits(
            [split], places, download=download, verify=verify, target=target
        )
        super().__init__(*arrays[0], transform, target_transform)

    @property
    def class_to_idx(self) -> dict[str, int]:
        """From the name of a class to its number."""
        return {name: i for i, name in enumerate(self.classes)}

    def extra_repr(self) -> str:
        """A line of the repr that says which split this is."""
        return f"Split: {'Train' if self.train is True else 'Test'}"

    def __repr__(self) -> str:
        body = [f"Number of datapoints: {len(self)}"]
        if self.root is not None:
            body.append(f"Root location: {self.root}")
        body += self.extra_repr().splitlines()
        if self.transform is not None or self.target_transform is not None:
            lines = ["StandardTransform"]  # torchvision indents its first line only
            for head, t in (
                ("Transform: ", self.transform),
                ("Target transform: ", self.target_transform),
            ):
                if t is not None:
                    lines.append(head + repr(t).replace("\n", "\n" + " " * len(head)))
            body.append("\n".join(lines))
        return "\n".join([f"Dataset {type(self).__name__}", *("    " + line for line in body)])


def __getattr__(name: str) -> Any:
    if name[:1].isupper():  # torchvision's classes; anything else is a plain AttributeError
        raise outside(
            f"npmlp.vision.datasets.{name}",
            "npmlp has FashionMNIST; for other data write a class with __getitem__ and __len__, "
            "with npmlp.vision.idx or npmlp.vision.csv to read files",
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
