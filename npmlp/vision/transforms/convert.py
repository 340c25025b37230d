"""ToTensor and Normalize: from an image of bytes to a float Tensor, standardised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from npmlp.creation import from_numpy
from npmlp.dtypes import get_default_dtype
from npmlp.errors import OutsideSubsetError, ShapeError
from npmlp.tensor import Tensor
from npmlp.vision.transforms.compose import BatchTransform, is_pil_image

if TYPE_CHECKING:
    from PIL.Image import Image

Array = NDArray[Any]


class ToTensor(BatchTransform):
    """A PIL image or a uint8 array (H, W) or (H, W, C) as a float Tensor (C, H, W): pixel / 255.

    Arrays of other dtypes, and PIL images of mode "F", are not scaled.
    Source: torchvision.transforms.ToTensor.
    """

    def __call__(self, pic: Any) -> Tensor:
        if is_pil_image(pic):
            array = _pil_array(pic)
        elif isinstance(pic, np.ndarray):
            array = pic
        else:
            raise TypeError(f"ToTensor: got {type(pic)}, expected a PIL image or a numpy.ndarray")
        if array.ndim not in (2, 3):
            raise ValueError(f"ToTensor: got {array.ndim} dimensions, expected 2 or 3")
        if array.ndim == 2:
            array = array[:, :, None]
        array = np.ascontiguousarray(array.transpose(2, 0, 1))  # (H, W, C) to (C, H, W)
        return from_numpy(_to_unit(array) if array.dtype == np.uint8 else array)

    def batch(self, images: Array, uniforms: Array) -> Array:
        if images.dtype != np.uint8:
            raise TypeError(
                "ToTensor: got Tensors, expected PIL images or arrays; is it there twice?"
            )
        return _to_unit(images[:, None])

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def _to_unit(pixels: Array) -> Array:
    dtype = get_default_dtype().numpy
    scaled = pixels.astype(dtype)
    scaled /= dtype.type(255)
    return scaled


def _pil_array(image: Image) -> Array:
    if image.mode in ("I", "I;16", "I;16B"):
        raise OutsideSubsetError(
            f'ToTensor: a PIL image of mode "{image.mode}" becomes int32 or int16 in PyTorch, '
            'which npmlp has not; convert it first, with .convert("L") or .convert("F")'
        )
    if image.mode == "1":
        return np.array(image, np.uint8) * np.uint8(255)
    return np.array(image, np.float32 if image.mode == "F" else np.uint8)


class Normalize(BatchTransform):
    """(x − mean) / std per channel, for float Tensors (…, C, H, W).

    Parameters
    ----------
    mean, std: a number for each channel.
    inplace: whether to overwrite the Tensor given.

    Raises
    ------
    TypeError: not a float Tensor. ValueError: a std of zero, or fewer than 3 dimensions.

    Source: torchvision.transforms.Normalize.
    """

    def __init__(self, mean: Any, std: Any, inplace: bool = False) -> None:
        self.mean = mean
        self.std = std
        self.inplace = inplace

    def __call__(self, tensor: Any) -> Tensor:
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"Normalize: got {type(tensor)}, expected a Tensor; put ToTensor() before it"
            )
        if not tensor.is_floating_point():
            raise TypeError(f"Normalize: got {tensor.dtype}, expected a float Tensor")
        if tensor.ndim < 3:
            raise ValueError(f"Normalize: got shape {tensor.shape}, expected (…, C, H, W)")
        mean, std = self.columns(tensor.dtype.numpy)
        if not self.inplace:
            tensor = tensor.clone()
        return tensor.sub_(from_numpy(mean)).div_(from_numpy(std))

    def batch(self, images: Array, uniforms: Array) -> Array:
        if images.dtype == np.uint8:
            raise TypeError("Normalize: got images, expected Tensors; put ToTensor() before it")
        mean, std = self.columns(images.dtype)
        normal = images - mean
        if normal.shape != images.shape:
            raise ShapeError(
                f"Normalize: got Tensors of {images.shape[1]} channels, expected {mean.size}, as "
                "many as mean has numbers"
            )
        normal /= std
        return normal

    def columns(self, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """mean and std in a dtype, a number for each channel as a column of shape (C, 1, 1)."""
        mean, std = np.asarray(self.mean, dtype), np.asarray(self.std, dtype)
        if (std == 0).any():
            raise ValueError(f"Normalize: got std={self.std}, which is zero in {dtype}")
        return tuple(v.reshape(-1, 1, 1) if v.ndim == 1 else v for v in (mean, std))  # type: ignore[return-value]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(mean={self.mean}, std={self.std})"
