"""How far apart two right answers may be: a step of training with rounding noise in every layer.

A sum of k rounded products is off by about u·√k, u being half a unit in the last place, whichever
way it is added up: of the root of the sum of their squares where signs are mixed, and of the sum
itself where they are alike, for then the partial sums grow. So each layer's inputs, its outputs,
the gradients that come to it and those of its parameters are multiplied with 1 + δ, δ random within
±u·√k. The result of such a step differs from the result of the plain one by what rounding makes of
it: more where terms cancel, as in the gradient of a bias in front of BatchNorm, whose true value
is 0.

The mean and the deviation of a BatchNorm have noise of their own, one number a channel: an error
there is the same for all that they serve, and does not average out in a sum over the batch. Nor are
such errors always as small as u·√k: where many terms are equal, as a mixer's are of black patches,
each addition rounds as the one before, and the error grows with k. How far off PyTorch's own mean
and variance are is measured, beside sums in pairs and in double precision; the running averages,
which the two move, have that noise as well.

Sources: Parker 1997, Monte Carlo arithmetic (UCLA CSD-970002), for the noise; Higham, Mary 2019, A
new approach to probabilistic rounding error analysis (SIAM J. Sci. Comput. 41), for √k.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from reference_torch.parity.record import leaves

FUNCTION = 4.0  # what exp, erf, a square root or a quotient is off, in u; two libraries differ so
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
EXACT = ("Flatten", "Patchify", "ReLU", "MaxPool2d", "Dropout", "Identity")  # they round nothing


class RoundingNoise:
    """Makes noise in a network while it is on. Its random numbers are its own."""

    def __init__(self, model: nn.Module, seed: int = 0) -> None:
        self.on = False
        self.terms: dict[nn.Module, float] = {}  # of each layer's gradients, in this batch
        parameter = next(model.parameters())
        self.u = torch.finfo(parameter.dtype).eps / 2
        self.stream = torch.Generator(parameter.device).manual_seed(seed)
        for _, module in leaves(model):
            if type(module).__name__ not in EXACT:
                module.register_forward_pre_hook(self._before)
                module.register_forward_hook(self._after)
                for parameter in module.parameters(recurse=False):
                    parameter.register_hook(self._of_parameter(module))

    def _before(self, module: nn.Module, args: Any) -> Any:
        if not self.on:
            return None
        return (self.times_noise(args[0], math.sqrt(_terms_forward(module, args[0]))),)

    def _after(self, module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor | None:
        if not self.on:
            return None
        noisy = self.times_noise(output, math.sqrt(_terms_forward(module, args[0])))
        if isinstance(module, BATCH_NORMS) and module.training:
            noisy = self._in_the_statistics(module, args[0], noisy)
        if noisy.requires_grad:
            self.terms[module] = _terms_backward(module, output)
            size = math.sqrt(self.terms[module])
            noisy.register_hook(lambda gradient: self.times_noise(gradient, size))
        return noisy

    def _of_parameter(self, module: nn.Module) -> Any:
        def hook(gradient: torch.Tensor) -> torch.Tensor:
            if not self.on:
                return gradient
            return self.times_noise(gradient, math.sqrt(self.terms[module]))

        return hook

    def times_noise(self, x: torch.Tensor, size: float) -> torch.Tensor:
        """x, each entry off by up to `size` times u of itself."""
        return x + x * self._uniform(x, size)

    def _in_the_statistics(self, module: Any, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """The output of a BatchNorm with noise in the mean and the deviation of every channel. Its
        running averages get the same.

        An error of the mean, a share of the root of the mean square, moves a channel by that over
        its deviation; one of the deviation scales what it divides.
        """
        root, deviation, of_mean, of_deviation = _statistics(x.detach(), module.eps)
        least = math.sqrt(_terms_forward(module, x)) * self.u
        shape = [1, -1] + [1] * (x.ndim - 2)
        gamma = 1.0 if module.weight is None else module.weight.detach()
        beta = 0.0 if module.bias is None else module.bias.detach().reshape(shape)
        in_mean = self._uniform(root, max(least, of_mean) / self.u)
        in_deviation = self._uniform(root, max(least, of_deviation) / self.u)
        if module.running_mean is not None:
            share = module.momentum
            if share is None:
                share = 1 / int(module.num_batches_tracked)
            # by way of data: autograd has kept both, and in training reads neither
            module.running_mean.data += share * root * in_mean
            module.running_var.data += share * deviation.square() * 2 * in_deviation
        moved = (gamma * root / deviation * in_mean).reshape(shape)
        return out + moved + (out - beta) * in_deviation.reshape(shape)

    def in_the_loss(self, logits: torch.Tensor) -> None:
        """The noise in the gradient of softmax cross-entropy, p - y over the batch's size.

        p is rounded where it is near 1, whatever is left of it once y is taken away.
        """
        if self.on:
            each = 1 / len(logits)
            logits.register_hook(lambda gradient: gradient + each * self._uniform(gradient))

    def _uniform(self, like: torch.Tensor, size: float = FUNCTION) -> torch.Tensor:
        draws = torch.rand(like.shape, generator=self.stream, dtype=like.dtype, device=like.device)
        return (2 * draws - 1) * (size * self.u)


def _statistics(x: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor, float, float]:
    """Of every channel the root of the mean square, and the deviation that a BatchNorm divides by;
    and how far PyTorch's mean and deviation are off in the worst channel.

    The mean's error as a share of the root of the mean square, the deviation's of itself. All of it
    is counted in double precision.
    """
    others = [d for d in range(x.ndim) if d != 1]
    exact, count = x.double(), x[:, 0].numel()
    root = exact.square().mean(others).sqrt()
    exact_mean = exact.mean(others, keepdim=True)
    squares = (exact - exact_mean).square().sum(others)
    mean, variance = torch.zeros(2, x.shape[1], dtype=x.dtype, device=x.device)
    nn.functional.batch_norm(x, mean, variance, training=True, momentum=1.0)
    of_mean = (mean - exact_mean.flatten()).abs() / root
    of_variance = (variance * (count - 1) - squares).abs() / squares
    # a channel of zeros has no share to speak of
    worst = [float(x.nan_to_num(0.0, posinf=0.0).max()) for x in (of_mean, of_variance)]
    deviation = (squares / count + eps).sqrt()
    return root.to(x.dtype), deviation.to(x.dtype), worst[0], worst[1] / 2


def _terms_forward(module: nn.Module, x: torch.Tensor) -> float:
    """How many products make an entry of the output."""
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        return module.weight[0].numel()
    if isinstance(module, BATCH_NORMS):
        return x.numel() / x.shape[1]
    return FUNCTION**2


def _terms_backward(module: nn.Module, output: torch.Tensor) -> float:
    """How many products make an entry of the gradient of the weights, or of the input."""
    if isinstance(module, nn.Linear):
        return max(output.numel() / output.shape[-1], output.shape[-1])
    if isinstance(module, (nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d)):
        return max(output.numel() / output.shape[1], output.shape[1])
    return FUNCTION**2
