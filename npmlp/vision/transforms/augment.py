"""Augmentation: RandomHorizontalFlip and RandomAffine, drawing as torchvision's draw.

A flip takes one uniform number of the default dtype from the default generator; an affine map takes
its angle, then the shift along x and y, the scale, and the shear, as far as each was asked for.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from npmlp._torch_math import fma32, fma64
from npmlp.creation import from_numpy
from npmlp.errors import OutsideSubsetError
from npmlp.tensor import Tensor
from npmlp.vision.transforms.compose import BatchTransform, draw, is_pil_image
from npmlp.vision.transforms.pixels import (
    inverse_matrices,
    pillow_sources,
    take_pixels,
    torch_sources,
)

if TYPE_CHECKING:
    from PIL.Image import Image

Array = NDArray[Any]


class RandomHorizontalFlip(BatchTransform):
    """Mirror left and right with probability p: where a uniform number is below p.

    Takes a PIL image, an array (H, W) or a Tensor (…, H, W).
    Source: torchvision.transforms.RandomHorizontalFlip.
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def __call__(self, img: Any) -> Any:
        if not self.flips(draw(1, 1))[0, 0]:
            return img
        if is_pil_image(img):
            from PIL import Image

            return img.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if isinstance(img, Tensor):
            return from_numpy(np.ascontiguousarray(img.detach().numpy()[..., ::-1]))
        if isinstance(img, np.ndarray) and img.ndim == 2:
            return img[:, ::-1]
        raise TypeError(
            f"RandomHorizontalFlip: got {type(img)}, expected a PIL image, array (H, W) or Tensor"
        )

    @property
    def draws(self) -> int:
        return 1

    def batch(self, images: Array, uniforms: Array) -> Array:
        flips = self.flips(uniforms[:, 0])
        flipped = images.copy()
        flipped[flips] = images[flips][..., ::-1]
        return flipped

    def flips(self, uniform: Array) -> Array:
        """Which images are mirrored, for as many uniform numbers."""
        return uniform < uniform.dtype.type(self.p)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p})"


class InterpolationMode(Enum):
    """How a pixel is made of its neighbours; of these npmlp has NEAREST."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


class RandomAffine(BatchTransform):
    """Rotate, shift, scale and shear by random amounts, taking the nearest pixel.

    Parameters
    ----------
    degrees: the angle is uniform in (−degrees, degrees), or in a pair (least, most); 0 for none.
    translate: shifts are uniform up to these fractions of (width, height), in whole pixels.
    scale: the factor is uniform in this pair.
    shear: degrees along x as for `degrees`; four numbers shear along x and along y.
    interpolation: InterpolationMode.NEAREST, the only one here.
    fill: the value of what comes from outside the image, or one for each channel.
    center: (x, y) of what stays in place, in pixels from the upper left; None is the middle.

    Raises
    ------
    ValueError, TypeError: arguments that make no sense.
    OutsideSubsetError: another interpolation; rotation or shear of a Tensor.

    Notes
    -----
    Exact to the pixel against torchvision, with Pillow's rule for PIL images and arrays (H, W), and
    PyTorch's for Tensors: the two differ. The angle is drawn even where degrees is 0.

    Source: torchvision.transforms.RandomAffine.
    """

    def __init__(
        self,
        degrees: Any,
        translate: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
        shear: Any = None,
        interpolation: InterpolationMode | int = InterpolationMode.NEAREST,
        fill: Any = 0,
        center: Sequence[float] | None = None,
    ) -> None:
        self.degrees = _angles("degrees", degrees, (2,))
        self.translate = _sequence("translate", translate, (2,))
        self.scale = _sequence("scale", scale, (2,))
        self.shear = None if shear is None else _angles("shear", shear, (2, 4))
        self.center = _sequence("center", center, (2,))
        self.fill = 0 if fill is None else fill
        self.interpolation = interpolation
        if translate is not None and not all(0.0 <= t <= 1.0 for t in translate):
            raise ValueError(
                f"RandomAffine: got translate={translate}, expected values from 0 to 1"
            )
        if scale is not None and not 0 < scale[0] <= scale[1]:
            raise ValueError(
                f"RandomAffine: got scale={scale}, expected two positive numbers, the smaller first"
            )
        if not isinstance(self.fill, (Sequence, numbers.Number)):
            raise TypeError(f"RandomAffine: got fill={fill!r}, expected a number or a sequence")
        if interpolation not in (InterpolationMode.NEAREST, 0):
            raise OutsideSubsetError(
                f"RandomAffine: got interpolation={interpolation}, npmlp has NEAREST only"
            )
        self.interpolation = InterpolationMode.NEAREST

    @property
    def draws(self) -> int:
        return (
            1
            + (2 if self.translate is not None else 0)
            + (1 if self.scale is not None else 0)
            + (len(self.shear) // 2 if self.shear is not None else 0)
        )

    def __call__(self, img: Any) -> Any:
        uniforms = draw(1, self.draws)
        if is_pil_image(img):
            from PIL import Image

            matrix = self._matrices(uniforms, img.height, img.width, by_pillow=True)[0]
            return img.transform(
                img.size,
                Image.Transform.AFFINE,
                matrix.tolist(),
                Image.Resampling.NEAREST,
                fillcolor=_pil_fill(self.fill, img),
            )
        if isinstance(img, Tensor):
            planes = img.detach().numpy()
            channels = img.shape[-3] if img.ndim > 2 else 1
            planes = planes.reshape(-1, channels, *img.shape[-2:])
            return from_numpy(self._by_torch(planes, uniforms).reshape(img.shape))
        if isinstance(img, np.ndarray) and img.ndim == 2 and img.dtype == np.uint8:
            return self.batch(img[None], uniforms)[0]
        raise TypeError(
            f"RandomAffine: got {type(img)}, expected a PIL image, a uint8 array (H, W) or a Tensor"
        )

    def batch(self, images: Array, uniforms: Array) -> Array:
        if images.dtype != np.uint8:
            return self._by_torch(images, uniforms)
        height, width = images.shape[1:]
        matrices = self._matrices(uniforms, height, width, by_pillow=True)
        rows, columns = pillow_sources(matrices, height, width)
        return take_pixels(images[:, None], rows, columns, self.pixel_fill)[:, 0]

    @property
    def pixel_fill(self) -> NDArray[np.uint8]:
        """The fill as Pillow makes a pixel of a number, of one dimension."""
        if isinstance(self.fill, int):  # by far the most frequent
            return np.array([min(max(self.fill, 0), 255)], np.uint8)
        return np.clip(np.trunc(np.atleast_1d(self.fill)), 0, 255).astype(np.uint8)

    @property
    def is_axis_parallel(self) -> bool:
        """Whether rows stay rows, and columns columns."""
        return not any(self.degrees) and not any(self.shear or ())

    def ranges(self, height: int, width: int) -> list[tuple[float, float]]:
        """What is drawn for an image, from where to where: the angle, shifts along x and y if they
        were asked for, the scale likewise, and the shears.
        """
        ranges = [(self.degrees[0], self.degrees[1])]
        if self.translate is not None:
            most_x, most_y = float(self.translate[0] * width), float(self.translate[1] * height)
            ranges += [(-most_x, most_x), (-most_y, most_y)]
        if self.scale is not None:
            ranges.append((self.scale[0], self.scale[1]))
        if self.shear is not None:
            ranges += [(self.shear[i], self.shear[i + 1]) for i in range(0, len(self.shear), 2)]
        return ranges

    def axis_maps(self, uniforms: Array, height: int, width: int) -> Array:
        """Where columns and rows come from by Pillow's rule, float64 of shape (N, 4), if parallel.

        The first column's place in the source, the step to the next, and the same of the rows.
        """
        _, shifts, scale, _ = self._drawn(uniforms, height, width)
        maps = np.empty((len(uniforms), 4))
        step = 1.0 / scale
        for i, (middle, shift) in enumerate(zip(self.middle(height, width), shifts, strict=True)):
            maps[:, 2 * i] = (step * (-middle - shift) + middle) + step * 0.5
            maps[:, 2 * i + 1] = step
        return maps

    def _by_torch(self, images: Array, uniforms: Array) -> Array:
        height, width = images.shape[-2:]
        matrices = self._matrices(uniforms, height, width, by_pillow=False)
        dtype = images.dtype if images.dtype.kind == "f" else np.dtype(np.float32)
        return take_pixels(images, *torch_sources(matrices, height, width, dtype), self.fill)

    def _matrices(self, uniforms: Array, height: int, width: int, by_pillow: bool) -> Array:
        """Uniforms of shape (N, draws) as inverse maps of shape (N, 6)."""
        angle, shifts, scale, shear = self._drawn(uniforms, height, width)
        if by_pillow:
            x, y = self.middle(height, width)
        elif self.center is None:
            x, y = 0.0, 0.0
        else:  # PyTorch counts from the middle
            x, y = self.center[0] - width * 0.5, self.center[1] - height * 0.5
        return inverse_matrices((x, y), angle, shifts, scale, shear)

    def middle(self, height: int, width: int) -> tuple[float, float]:
        """(x, y) of what stays in place."""
        x, y = (width * 0.5, height * 0.5) if self.center is None else self.center
        return x, y

    def _drawn(
        self, uniforms: Array, height: int, width: int
    ) -> tuple[Array, tuple[Array, Array], Array, tuple[Array, Array]]:
        """Uniforms of shape (N, draws) as N angles, shifts along x and y, scales, and shears."""
        drawn = iter(_between(uniforms, self.ranges(height, width)).T.astype(np.float64))

        zero = np.zeros(len(uniforms))
        angle, tx, ty, scale = next(drawn), zero, zero, zero + 1
        if self.translate is not None:
            tx, ty = np.rint(next(drawn)), np.rint(next(drawn))  # half to even, as Python rounds
        if self.scale is not None:
            scale = next(drawn)
        return angle, (tx, ty), scale, (next(drawn, zero), next(drawn, zero))

    def __repr__(self) -> str:
        parts = [f"degrees={self.degrees}"]
        parts += [
            f"{name}={value}"
            for name, value, hidden in (
                ("translate", self.translate, None),
                ("scale", self.scale, None),
                ("shear", self.shear, None),
                ("fill", self.fill, 0),
                ("center", self.center, None),
            )
            if value != hidden
        ]
        return f"{type(self).__name__}({', '.join(parts)})"


def _between(uniforms: Array, ranges: Sequence[tuple[float, float]]) -> Array:
    """Uniforms of [0, 1), a column for each range, as Generator.uniform(low, high) makes them."""
    start, end = np.array(ranges, uniforms.dtype).T
    if uniforms.dtype == np.float32:
        between = fma32(uniforms, end - start, start)
    else:
        columns = zip(uniforms.T, (end - start).tolist(), start.tolist(), strict=True)
        between = np.stack([fma64(*column) for column in columns], axis=1)
    return np.where(between == end, start, between)


def _sequence(name: str, value: Any, lengths: tuple[int, ...]) -> Any:
    if value is None:
        return None
    expected = f"a sequence of {' or '.join(map(str, lengths))} numbers"
    if not isinstance(value, Sequence):
        raise TypeError(f"RandomAffine: got {name}={value!r}, expected {expected}")
    if len(value) not in lengths:
        raise ValueError(f"RandomAffine: got {name}={value!r}, expected {expected}")
    return value


def _angles(name: str, value: Any, lengths: tuple[int, ...]) -> list[float]:
    if isinstance(value, numbers.Number):
        if value < 0:  # type: ignore[operator]
            raise ValueError(
                f"RandomAffine: got {name}={value}, a single number must not be negative"
            )
        value = [-value, value]  # type: ignore[operator]
    return [float(v) for v in _sequence(name, value, lengths)]


def _pil_fill(fill: Any, image: Image) -> Any:
    """The fill as Pillow takes it: a whole number, or one for each band."""
    bands = len(image.getbands())
    values = list(fill) if isinstance(fill, (list, tuple)) else [fill] * bands
    if len(values) == 1:
        values = values * bands
    if len(values) != bands:
        raise ValueError(
            f"RandomAffine: got {len(values)} values of fill, the image has {bands} bands"
        )
    if image.mode != "F":
        values = [int(v) for v in values]
    return values[0] if bands == 1 else tuple(values)
