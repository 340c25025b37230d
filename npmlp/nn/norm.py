"""BatchNorm and LayerNorm: y = (x - mean) / √(var + eps) · weight + bias.

BatchNorm takes mean and variance per channel over the batch, LayerNorm per sample over its last
dimensions. N batch, C channels or features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from npmlp.creation import ones, tensor, zeros
from npmlp.dtypes import int64
from npmlp.errors import ShapeError
from npmlp.nn import functional as F
from npmlp.nn import init
from npmlp.nn.arguments import checked_size, new_parameter
from npmlp.nn.functional.arguments import check_tensor
from npmlp.nn.module import Module
from npmlp.nn.parameter import Parameter
from npmlp.nn.state import Report
from npmlp.recording import Repeatable, cannot, do
from npmlp.tensor import Tensor


class _BatchNorm(Module):
    """What BatchNorm1d and BatchNorm2d share.

    While training, it normalises with the batch's mean and biased variance (Σ(x - mean)²/n), and
    moves the running statistics towards the batch's mean and *unbiased* variance (…/(n - 1)):
    running ← (1 - momentum) · running + momentum · batch. In evaluation it uses these.

    Parameters
    ----------
    num_features : C
    eps : added to the variance
    momentum : the weight of the new batch; None takes the mean over all batches so far
    affine : whether there are a weight and a bias
    track_running_stats : without it, evaluation uses the batch's statistics too
    device, dtype : "cpu"; float32 or float64, None for the default dtype
    bias : whether there is a bias beside the weight

    Attributes
    ----------
    weight, bias : shape (C,), from ones and zeros; None without `affine`
    running_mean, running_var, num_batches_tracked : buffers, from 0, 1 and 0; or None

    Source: Ioffe and Szegedy 2015, Batch normalization, algorithm 1.
    """

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    _shapes: dict[int, str]  # what it takes, by number of dimensions

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = checked_size(type(self).__name__, "num_features", num_features)
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            new = new_parameter((self.num_features,), dtype, device) if wanted else None
            self.register_parameter(name, new)
        self._register_running_stats(dtype, device)
        self.reset_parameters()

    def _register_running_stats(self, dtype: Any, device: Any) -> None:
        mean = var = count = None
        if self.track_running_stats:
            mean = zeros(self.num_features, dtype=dtype, device=device)
            var = ones(self.num_features, dtype=dtype, device=device)
            count = tensor(0, dtype=int64)
        self.register_buffer("running_mean", mean)
        self.register_buffer("running_var", var)
        self.register_buffer("num_batches_tracked", count)

    def reset_running_stats(self) -> None:
        """Forget the batches that were seen."""
        if self.track_running_stats:
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Forget the batches, and set the weight to 1 and the bias to 0."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        check_tensor(type(self).__name__, "input", input)
        if input.ndim not in self._shapes:
            expected = " or ".join(f"{n}D {shape}" for n, shape in self._shapes.items())
            raise ShapeError(
                f"{type(self).__name__}({self.num_features}): expected {expected} input, got "
                f"{input.ndim}D input of shape {tuple(input.shape)}"
            )
        momentum = 0.0 if self.momentum is None else self.momentum
        tracked = self.track_running_stats
        if self.training and tracked and self.num_batches_tracked is not None:
            count = self.num_batches_tracked
            do("count batches", _count, count, writes=(count._data,))
            if self.momentum is None:  # the mean over all batches
                cannot("a BatchNorm with momentum=None weighs every batch differently")
                momentum = 1.0 / float(count._data)
        # while training, statistics that are not tracked must not be touched
        use_running = not self.training or tracked
        return F.batch_norm(
            input,
            self.running_mean if use_running else None,
            self.running_var if use_running else None,
            self.weight,
            self.bias,
            self.training or (self.running_mean is None and self.running_var is None),
            momentum,
            self.eps,
        )

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, report: Report
    ) -> None:
        # states from before PyTorch 0.4.1 have no count; as there, that is no missing key
        if self.num_batches_tracked is not None:
            state_dict.setdefault(f"{prefix}num_batches_tracked", self.num_batches_tracked)
        super()._load_from_state_dict(state_dict, prefix, report)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


def _count_one(batches: Tensor) -> None:
    count = batches._data  # in place, without a way through autograd
    count.fill(count.item() + 1)  # for a 0-d array ten times as fast as += 1
    batches._storage.version += 1


def _count_back(batches: Tensor) -> None:
    batches._data.fill(batches._data.item() - 1)


_count = Repeatable(_count_one, first=_count_one, undo=_count_back)


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of features (N, C), or of sequences (N, C, L) over N and L.

    Parameters: num_features, eps, momentum, affine, track_running_stats, bias; see _BatchNorm.
    Raises: ShapeError where the input has other dimensions.
    """

    _shapes = {2: "(N, C)", 3: "(N, C, L)"}  # noqa: RUF012 - a constant


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images (N, C, H, W), over N, H and W.

    Parameters: num_features, eps, momentum, affine, track_running_stats, bias; see _BatchNorm.
    Raises: ShapeError where the input has other dimensions.
    """

    _shapes = {4: "(N, C, H, W)"}  # noqa: RUF012 - a constant


class LayerNorm(Module):
    """Normalisation of each sample over its last dimensions, with the biased variance.

    Parameters
    ----------
    normalized_shape : the sizes of these dimensions, or one size for the last
    eps : added to the variance
    elementwise_affine : whether there are a weight and a bias
    bias : whether there is a bias beside the weight
    device, dtype : "cpu"; float32 or float64, None for the default dtype

    Attributes
    ----------
    weight, bias : of shape `normalized_shape`, from ones and zeros; or None

    Source: Ba, Kiros and Hinton 2016, Layer normalization, equation 4.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        sizes = normalized_shape if isinstance(normalized_shape, Sequence) else (normalized_shape,)
        self.normalized_shape = tuple(
            checked_size("LayerNorm", "normalized_shape", n) for n in sizes
        )
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        wanted = {"weight": elementwise_affine, "bias": elementwise_affine and bias}
        for name, is_wanted in wanted.items():
            new = new_parameter(self.normalized_shape, dtype, device) if is_wanted else None
            self.register_parameter(name, new)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to 1 and the bias to 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )
