"""autograd.Function beside PyTorch's: the same class, subclassed from each, gives the same."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from beside_torch import LIBRARIES, assert_same, assert_same_gradients, both, leaf, numbers

import npmlp
from npmlp.errors import GraphError, OutsideSubsetError, ShapeError

NAMES = [library.__name__ for library in LIBRARIES]
each = pytest.mark.parametrize("lib", LIBRARIES, ids=NAMES)


def legendre(lib: Any) -> Any:
    """The example of PyTorch's tutorials."""

    class LegendrePolynomial3(lib.autograd.Function):
        @staticmethod
        def forward(ctx: Any, input: Any) -> Any:
            ctx.save_for_backward(input)
            return 0.5 * (5 * input**3 - 3 * input)

        @staticmethod
        def backward(ctx: Any, grad_output: Any) -> Any:
            (input,) = ctx.saved_tensors
            return grad_output * 1.5 * (5 * input**2 - 1)

    return LegendrePolynomial3


def scaled(lib: Any) -> Any:
    """Two tensors and a number; an output that is saved; attributes; gradients on demand."""

    class Scaled(lib.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any, factor: float) -> Any:
            out = (x * y).exp() * factor
            ctx.save_for_backward(x, y, out)
            ctx.seen = tuple(x.shape)
            return out

        @staticmethod
        def backward(ctx: Any, grad_output: Any) -> Any:
            x, y, out = ctx.saved_tensors
            assert ctx.seen == tuple(x.shape)
            dx = grad_output * out * y if ctx.needs_input_grad[0] else None
            dy = grad_output * out * x if ctx.needs_input_grad[1] else None
            assert not ctx.needs_input_grad[2]
            return dx, dy, None

    return Scaled


def test_a_function_of_ones_own_is_recorded_like_any_other() -> None:
    small = 0.3 * numbers((3, 4))  # the sine of something large would lose digits with both
    assert_same_gradients(lambda lib, x: (legendre(lib).apply(x * 2) * x).sin(), small, tol=1e-14)
    x, y = numbers((3,)), numbers((3,), seed=1)
    assert_same_gradients(lambda lib, x, y: scaled(lib).apply(x, y, 0.5), x, y, tol=1e-14)
    assert_same_gradients(lambda lib, x, y: scaled(lib).apply(x.detach(), y, 2), x, y, tol=1e-14)


def test_forward_may_leave_the_context_to_setup_context() -> None:
    def function(lib: Any) -> Any:
        class Cube(lib.autograd.Function):
            @staticmethod
            def forward(x: Any, power: int) -> Any:
                return x**power

            @staticmethod
            def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
                x, ctx.power = inputs
                ctx.save_for_backward(x, output)

            @staticmethod
            def backward(ctx: Any, grad_output: Any) -> Any:
                x, _ = ctx.saved_tensors
                return grad_output * ctx.power * x ** (ctx.power - 1), None

        return Cube

    assert_same_gradients(lambda lib, x: function(lib).apply(x, 3), numbers((4,)), tol=1e-14)


@each
def test_its_node_bears_its_name(lib: Any) -> None:
    x = lib.ones(2, requires_grad=True)
    y = legendre(lib).apply(x)
    assert y.grad_fn.name() == "LegendrePolynomial3Backward"
    assert re.match(r"<.*LegendrePolynomial3Backward object at 0x", repr(y.grad_fn))
    assert repr(y) == "tensor([1., 1.], grad_fn=<LegendrePolynomial3Backward>)"
    assert y.grad_fn.next_functions[0][0].name() == "torch::autograd::AccumulateGrad"


@each
def test_it_is_not_recorded_without_need(lib: Any) -> None:
    function, x = legendre(lib), lib.ones(2)
    assert not function.apply(x).requires_grad
    with lib.no_grad():
        assert not function.apply(lib.ones(2, requires_grad=True)).requires_grad


def test_it_is_not_made_into_an_object() -> None:
    with pytest.raises(GraphError, match=r"LegendrePolynomial3.apply\(\.\.\.\)"):
        legendre(npmlp)()


@each
def test_its_saved_tensors_are_freed_and_guarded(lib: Any) -> None:
    x = lib.ones(2, requires_grad=True)
    y = legendre(lib).apply(x).sum()
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()
    z = x * 1
    y = legendre(lib).apply(z).sum()
    with lib.no_grad():
        z.add_(1)
    with pytest.raises(RuntimeError, match=r"in.?place"):
        y.backward()


@each
def test_an_input_that_is_handed_on_is_a_tensor_of_its_own(lib: Any) -> None:
    class Reversed(lib.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.view_as(x)

        @staticmethod
        def backward(ctx: Any, grad_output: Any) -> Any:
            return -grad_output

    class Same(Reversed):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x

    for function in (Reversed, Same):
        x = lib.ones(2, requires_grad=True)
        (function.apply(x) * 3 + x).sum().backward()
        assert x.grad.tolist() == [-2, -2]
        assert x.is_leaf


@each
def test_outputs_without_a_gradient_stand_beside_the_one_that_has_one(lib: Any) -> None:
    class Largest(lib.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            index, half = x.argmax(), x / 2
            ctx.mark_non_differentiable(half)
            ctx.set_materialize_grads(True)
            ctx.save_for_backward(index, None)
            ctx.size = len(x)
            return x.max() * 1, index, half

        @staticmethod
        def backward(ctx: Any, grad_output: Any, *others: Any) -> Any:
            index, nothing = ctx.saved_tensors
            assert nothing is None
            dx = grad_output.new_zeros(ctx.size)
            dx[index] = grad_output
            return dx

    x = lib.tensor([1.0, 3.0, 2.0], requires_grad=True)
    value, index, half = Largest.apply(x)
    assert (value.requires_grad, index.requires_grad, half.requires_grad) == (True, False, False)
    (value * 2).backward()
    assert x.grad.tolist() == [0, 2, 0]


def test_a_gradient_may_be_that_of_what_the_argument_was_broadcast_to() -> None:
    def function(lib: Any) -> Any:
        class Sum(lib.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: Any, y: Any) -> Any:
                return x + y

            @staticmethod
            def backward(ctx: Any, grad_output: Any) -> Any:
                return grad_output, grad_output

        return Sum

    x, y = numbers((3, 4)), numbers((4,), seed=1)
    assert_same_gradients(lambda lib, x, y: function(lib).apply(x, y), x, y, tol=1e-14)


def returning(lib: Any, gradient: Any) -> Any:
    class Returning(lib.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any) -> Any:
            return x * y

        @staticmethod
        def backward(ctx: Any, grad_output: Any) -> Any:
            return gradient(lib)

    return Returning


@pytest.mark.parametrize(
    ("gradient", "error", "message"),
    [
        (lambda lib: lib.ones(2), GraphError, r"returned 1 gradients, expected 2"),
        (lambda lib: (lib.ones(2),) * 3, GraphError, r"returned 3 gradients, expected 2"),
        (lambda lib: (lib.ones(3), None), ShapeError, r"shape \(3,\), expected the argument's"),
        (lambda lib: (1.0, None), GraphError, r"gradient 0 is a float, expected a Tensor or None"),
    ],
)
def test_a_wrong_gradient_is_refused_by_both(gradient: Any, error: Any, message: str) -> None:
    for lib in LIBRARIES:
        x = lib.ones(2, requires_grad=True)
        y = returning(lib, gradient).apply(x, lib.ones(2))
        expected = error if lib is npmlp else (RuntimeError, TypeError)
        with pytest.raises(expected, match=message if lib is npmlp else None):
            y.sum().backward()


def test_gradients_of_an_argument_twice_and_of_none_add_up_as_in_pytorch() -> None:
    x, y = both(numbers((3,)), requires_grad=True)
    for lib, leaf_ in ((npmlp, x), (torch, y)):
        out = returning(lib, lambda lib: (lib.ones(3), None)).apply(leaf_, leaf_)
        (out.sum() + leaf_.sum()).backward()
    assert_same(x.grad, y.grad)


def test_what_a_function_of_ones_own_cannot_do_is_said() -> None:
    class Two(npmlp.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 1, x * 2

    with pytest.raises(OutsideSubsetError, match="2 outputs that have gradients"):
        Two.apply(leaf(2))

    class Dirty(npmlp.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.mark_dirty(x)

    with pytest.raises(OutsideSubsetError, match="mark_dirty"):
        Dirty.apply(npmlp.ones(2))
    with pytest.raises(OutsideSubsetError, match=r"npmlp\.autograd\.Variable.*requires_grad=True"):
        _ = npmlp.autograd.Variable
