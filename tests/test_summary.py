"""The summary of a network: what torchinfo counts for its twin in PyTorch, row by row."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchinfo

import npmlp
import reference_torch.models
import reference_torch.train
from npmlp import commands, models, nn, recipes, train
from npmlp.errors import ShapeError
from npmlp.recipes import RECIPES, Recipe
from npmlp.summary import Summary, summarize

# Beside an array's bytes torchinfo counts the Python object that holds them, by sys.getsizeof.
OBJECT_BYTES = sys.getsizeof(torch.empty(0).untyped_storage())

NETWORKS = [
    RECIPES["vanilla"],
    RECIPES["vanilla-xavier-aug-dropout"],
    RECIPES["vanilla-double-softmax"],
    RECIPES["lenet"],
    RECIPES["mixer"],
    recipes.replace(RECIPES["mixer"], patch=2, batch_size=3),
    recipes.replace(RECIPES["mixer"], patch=7),
    RECIPES["residual"],
    recipes.replace(RECIPES["residual"], output="softmax", batch_size=1),
    recipes.replace(RECIPES["lenet"], dtype="float64"),
]


def counted(recipe: Recipe, shape: Any = (1, 28, 28), classes: int = 10) -> tuple[Summary, Any]:
    """Our summary of a recipe's network, and torchinfo's of its twin."""
    npmlp.set_default_dtype(getattr(npmlp, recipe.dtype))
    ours = summarize(models.build(recipe, shape, classes), (recipe.batch_size, *shape))
    dtype = getattr(torch, recipe.dtype)
    twin = reference_torch.models.build(recipe, shape, classes).to(dtype)
    size = (recipe.batch_size, *shape)
    return ours, torchinfo.summary(twin, size, dtypes=[dtype], device="cpu", verbose=0)


def assert_equal(ours: Summary, theirs: Any) -> None:
    assert ours.parameters == theirs.total_params
    assert ours.trainable == theirs.trainable_params
    assert ours.mult_adds == theirs.total_mult_adds
    assert ours.input_bytes + OBJECT_BYTES == theirs.total_input
    assert ours.activation_bytes == theirs.total_output_bytes
    assert ours.parameter_bytes == theirs.total_param_bytes
    assert [
        (row.depth, row.kind, list(row.input_shape), list(row.output_shape), row.parameters)
        for row in ours.rows
    ] == [
        (info.depth, info.class_name, info.input_size, info.output_size, info.leftover_params()
         if not info.is_leaf_layer else info.num_params)
        for info in theirs.summary_list
    ]  # fmt: skip
    for row, info in zip(ours.rows[1:], theirs.summary_list[1:], strict=True):
        assert row.name == info.var_name
        assert row.mult_adds == (info.macs if info.is_leaf_layer else 0)
        assert row.repeated == info.is_recursive


@pytest.mark.parametrize("recipe", NETWORKS, ids=lambda r: f"{r.name}-{r.patch}-{r.batch_size}")
def test_it_is_what_torchinfo_counts_for_the_twin(recipe: Recipe) -> None:
    assert_equal(*counted(recipe))


def test_it_is_what_torchinfo_counts_for_images_of_another_shape() -> None:
    for name, patch in [("lenet", 4), ("mixer", 8), ("residual", 4)]:
        recipe = recipes.replace(RECIPES[name], patch=patch)
        assert_equal(*counted(recipe, (1, 32, 24), 26))


def test_layers_that_are_shared_held_in_a_list_or_frozen_are_counted_as_torchinfo_does() -> None:
    def make(nn: Any) -> Any:
        class Network(nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.first = nn.Linear(5, 5)
                self.layers = nn.ModuleList([nn.Linear(5, 5, bias=False) for _ in range(2)])
                self.tail = nn.Sequential(nn.ReLU(), nn.Linear(5, 3))
                self.first.weight.requires_grad = False

            def forward(self, x: Any) -> Any:
                x = self.first(self.first(x))
                for layer in self.layers:
                    x = layer(x)
                return self.tail(x)

        return Network()

    ours = summarize(make(nn), (7, 5))
    assert_equal(ours, torchinfo.summary(make(torch.nn), (7, 5), device="cpu", verbose=0))
    assert "as above" in str(ours)
    assert f"{ours.parameters}, {ours.trainable} of them trainable" in str(ours)


def test_the_network_the_generator_and_the_gradients_are_left_as_they_were() -> None:
    model = models.build(RECIPES["residual"])
    model.hidden1.eval()
    modes = [module.training for module in model.modules()]
    state = {name: t.numpy().tobytes() for name, t in model.state_dict().items()}
    draws = npmlp.get_rng_state().numpy().tobytes()
    summarize(model, (4, 1, 28, 28))
    assert [module.training for module in model.modules()] == modes
    assert {name: t.numpy().tobytes() for name, t in model.state_dict().items()} == state
    assert npmlp.get_rng_state().numpy().tobytes() == draws
    assert all(p.grad is None for p in model.parameters())
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks


def test_a_batch_that_the_network_does_not_take_is_refused_and_leaves_no_hook() -> None:
    model = models.build(RECIPES["vanilla"])
    with pytest.raises(ShapeError, match="783"):
        summarize(model, (4, 783))
    assert not any(module._forward_hooks for module in model.modules())


def test_rows_that_linear_layers_work_on_are_counted_beside() -> None:
    ours, _ = counted(recipes.replace(RECIPES["mixer"], batch_size=1))
    by_hand = (
        49 * (16 * 128 + 128) + 2 * 128 + 128 * 10 + 10
        + 2 * (128 * (49 * 64 + 64 + 64 * 49 + 49) + 49 * 2 * (128 * 128 + 128))
    )  # fmt: skip
    assert ours.mult_adds_of_rows == by_hand
    assert f"{by_hand:,} with every row" in str(ours)
    vanilla, _ = counted(RECIPES["vanilla"])
    assert vanilla.mult_adds_of_rows == vanilla.mult_adds
    assert "every row" not in str(vanilla)


# ------------------------------------------------------------------------------------ the command


def test_the_command_prints_the_table_without_data_and_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("npmlp.vision.images.load_image_data", None)
    assert train.main(["--arch", "residual", "--summary"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("residual: a batch of 128 images of 1×28×28, 10 classes\n")
    assert "hidden3 (Hidden)       [128, 128]" in output
    assert "parameters      166,970, all trainable" in output
    assert "multiply-adds   21,372,160 for a batch of 128\n" in output
    assert "memory          2.16 MB: input 0.40, forward and backward 1.09, par" in output
    assert list(tmp_path.iterdir()) == []
    assert train.main(["--arch", "residual", "--batch-size", "1", "--summary"]) == 0
    assert "hidden3 (Hidden)       [1, 128]" in capsys.readouterr().out


def test_the_commands_table_has_torchinfos_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert reference_torch.train.main(["--arch", "lenet", "--summary"]) == 0
    output = capsys.readouterr().out
    assert "├─Conv2d (conv1)" in output and "Total params: 32,998" in output
    assert torch.get_default_dtype() is torch.float32


def test_without_torchinfo_the_reference_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torchinfo", None)
    assert commands.run(reference_torch.train.main, ["--arch", "lenet", "--summary"]) == 2
    assert "--summary: needs torchinfo" in capsys.readouterr().err


def test_a_patch_that_does_not_divide_the_image_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert commands.run(train.main, ["--arch", "mixer", "--patch", "5", "--summary"]) == 2
    assert "--patch 5: does not divide an image of 28×28" in capsys.readouterr().err


def test_the_summary_of_a_run_is_of_its_own_network(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(["--resume", str(finished), "--summary"]) == 0
    assert capsys.readouterr().out.startswith("vanilla: a batch of 32 images")


def test_rows_are_plain_data() -> None:
    row = dataclasses.asdict(counted(RECIPES["vanilla"])[0].rows[2])
    assert row == {
        "depth": 1, "name": "fc1", "kind": "Linear", "is_leaf": True, "parameters": 78_500,
        "repeated": False, "input_shape": (64, 784), "output_shape": (64, 100),
        "output_bytes": 25_600, "mult_adds": 5_024_000,
    }  # fmt: skip
