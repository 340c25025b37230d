"""A planted fault is found: its step, and its layer or what it looks like."""

from __future__ import annotations

import pytest

from npmlp.errors import NpmlpError
from reference_torch.parity.causes import Finding
from reference_torch.parity.command import Flags, run


def finding(inject: str, recipe: str = "residual", dtype: str = "float32") -> Finding:
    """Of five steps with a fault planted in the third."""
    result, _ = run(
        Flags(recipe=recipe, dtype=dtype, steps=5, limit=640, inject=f"{inject},step=3")  # type: ignore[arg-type]
    )
    assert result.finding is not None
    assert not result.agrees
    return result.finding


DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


@DTYPES
def test_a_wrong_gradient_is_named_with_its_layer(dtype: str) -> None:
    found = finding("kind=gradient,layer=hidden3.linear,scale=1.001", dtype=dtype)
    assert (found.step, found.kind, found.layer) == (3, "gradients", "hidden3.linear")


@DTYPES
def test_wrong_weights_are_named_with_their_layer(dtype: str) -> None:
    found = finding("kind=weight,layer=hidden2.linear,scale=1.001", dtype=dtype)
    assert (found.step, found.kind, found.layer) == (3, "weights", "hidden2.linear")
    assert "the weights themselves" in found.cause


@DTYPES
def test_a_wrong_mask_is_named_with_its_layer(dtype: str) -> None:
    found = finding("kind=mask", dtype=dtype)
    assert (found.step, found.kind, found.layer) == (3, "masks", "dropout")
    assert "1 of " in found.what


@DTYPES
def test_another_order_of_a_batch_is_called_so(dtype: str) -> None:
    found = finding("kind=order", dtype=dtype)
    assert (found.step, found.kind) == (3, "batch")
    assert "batch order" in found.cause


@DTYPES
def test_wrong_running_statistics_are_named_with_their_layer(dtype: str) -> None:
    found = finding("kind=statistics,layer=hidden1.norm,scale=1.001", dtype=dtype)
    assert (found.step, found.kind) == (3, "statistics")
    assert found.name == "hidden1.norm.running_mean" and found.layer == "hidden1.norm"


@DTYPES
@pytest.mark.parametrize("recipe, layer", [("residual", "hidden4.linear"), ("lenet", "conv2")])
def test_a_wrong_optimizer_state_is_named_with_its_layer(
    recipe: str, layer: str, dtype: str
) -> None:
    found = finding(f"kind=moment,layer={layer},scale=1.001", recipe, dtype)
    assert (found.step, found.kind, found.layer) == (3, "moments", layer)
    assert "exp_avg" in found.name


@DTYPES
def test_a_wrong_label_is_called_so(dtype: str) -> None:
    found = finding("kind=label", dtype=dtype)
    assert (found.step, found.kind) == (3, "batch")
    assert "labels that went wrong" in found.cause and "1 of 128 labels" in found.what


@DTYPES
def test_another_augmentation_is_called_so(dtype: str) -> None:
    found = finding("kind=augmentation", dtype=dtype)
    assert (found.step, found.kind) == (3, "batch")
    assert "the augmentation" in found.cause and "first image 0" in found.what


@DTYPES
@pytest.mark.parametrize("recipe", ["residual", "lenet"])
def test_another_eps_is_named_with_its_value(recipe: str, dtype: str) -> None:
    found = finding("kind=epsilon,scale=100", recipe, dtype)
    assert (found.step, found.kind) == (3, "weights")
    assert "an eps of 1e-06 in place of 1e-08" in found.cause


@DTYPES
@pytest.mark.parametrize("recipe", ["residual", "lenet"])
def test_a_missing_bias_correction_is_called_so(recipe: str, dtype: str) -> None:
    found = finding("kind=bias_correction", recipe, dtype)
    assert (found.step, found.kind) == (3, "weights")
    assert "without both corrections: the bias correction" in found.cause


def test_a_fault_in_a_network_without_batch_norm_is_found_too() -> None:
    found = finding("kind=gradient,layer=fc3,scale=1.001", "lenet")
    assert (found.step, found.kind, found.layer) == (3, "gradients", "fc3")


@pytest.mark.parametrize(
    "recipe, inject, message",
    [
        ("residual", "kind=gradient,layer=fc3", "has for kind=gradient the layers hidden1.linear"),
        ("residual", "kind=gradeint", "there is no kind 'gradeint'; try gradient"),
        ("residual", "gradient", "is not understood"),
        ("residual", "kind=gradient,scale=much", "scale is a number"),
        ("residual", "kind=gradient,step=9", "is none of the 5 steps"),
        ("residual", "kind=label,layer=output", "is of no layer"),
        ("vanilla", "kind=epsilon", "trains with SGD"),
        ("vanilla", "kind=moment", "keeps nothing without momentum"),
        ("vanilla", "kind=statistics", "has no BatchNorm1d layer"),
    ],
)
def test_a_fault_that_cannot_be_planted_is_refused(recipe: str, inject: str, message: str) -> None:
    with pytest.raises(NpmlpError, match=message):
        run(Flags(recipe=recipe, steps=5, limit=640, inject=inject))
