"""The benchmarks' sides compute the same, in npmlp and in the peers, before anything is timed."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
NETWORKS = (("vanilla", 16), ("residual", 32), ("lenet", 8), ("mixer", 64))


def needs(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed here; make bench has it in .venv-bench")


@pytest.fixture(scope="module")
def sides() -> Iterator[Callable[[str, dict[str, Any]], Any]]:
    """Sides by script and setting, started once."""
    sys.path.insert(0, str(BENCHMARKS))
    from side import Side

    running: dict[str, Any] = {}

    def start(script: str, setting: dict[str, Any]) -> Any:
        key = script + json.dumps(setting)
        if key not in running:
            running[key] = Side(script, setting)
        return running[key]

    yield start
    for side in running.values():
        side.close()
    sys.path.remove(str(BENCHMARKS))


def losses(side: Any, case: Any) -> dict[str, Any]:
    side.ask("build", case=case.as_json())
    found: dict[str, Any] = side.ask("losses", steps=24)
    return found


OURS = ("step_npmlp.py", {"how": "eager", "threads": 1})
PYTORCHS = ("step_torch.py", {"how": "eager", "optimizer": "fused", "threads": 1})


@pytest.mark.parametrize(("name", "size"), NETWORKS)
def test_npmlps_and_pytorchs_steps_have_the_same_losses(
    name: str, size: int, sides: Any, tmp_path: Path
) -> None:
    from bench_step import tolerance
    from compare import losses_apart
    from step_case import make_case

    case = make_case(name, size, str(tmp_path / "case.npz"))
    ours = losses(sides(*OURS), case)
    assert len(set(ours["losses"])) == 24  # it trains
    assert losses_apart(ours, losses(sides(*PYTORCHS), case)) < tolerance(name)
    # the bound is not so wide that another training would pass
    changed = dataclasses.replace(case.recipe, lr=1.1 * case.recipe.lr)
    other = losses(sides(*PYTORCHS), dataclasses.replace(case, recipe=changed))
    assert losses_apart(ours, other) > tolerance(name)


def test_perceptrons_of_any_size_have_the_same_losses(sides: Any, tmp_path: Path) -> None:
    from bench_scaling import RATE, layers
    from bench_step import TOLERANCE
    from compare import losses_apart
    from step_case import make_case

    shape = layers(width=32, depth=3, batch=8)
    case = make_case("vanilla", 8, str(tmp_path / "case.npz"), shape, lr=RATE)
    assert losses_apart(losses(sides(*OURS), case), losses(sides(*PYTORCHS), case)) < TOLERANCE


@pytest.mark.parametrize("how", ["whole", "whole-8"])
@pytest.mark.parametrize(("name", "size"), NETWORKS)
def test_the_step_in_one_graph_is_pytorchs_step(
    name: str, size: int, how: str, sides: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from bench_step import tolerance
    from compare import losses_apart
    from step_case import make_case
    from step_torch import build

    # its equations, which compiling takes over; to compile them takes half a minute
    monkeypatch.setattr(torch, "compile", lambda step, **options: step)
    case = make_case(name, size, str(tmp_path / "case.npz")).without_dropout()
    found = build(case, how, "").losses(24)
    torch.compiler.set_stance("default")
    assert losses_apart(losses(sides(*PYTORCHS), case), found) < tolerance(name)


@pytest.mark.parametrize("how", ["jit", "scan"])
@pytest.mark.parametrize(("name", "size"), NETWORKS)
def test_jaxs_steps_have_the_same_losses(
    name: str, size: int, how: str, sides: Any, tmp_path: Path
) -> None:
    needs("jax")
    from bench_step import tolerance
    from compare import losses_apart
    from step_case import make_case

    case = make_case(name, size, str(tmp_path / "case.npz")).without_dropout()
    ours = losses(sides(*OURS), case)
    theirs = losses(sides("step_jax.py", {"how": how, "threads": 1}), case)
    assert losses_apart(ours, theirs) < tolerance(name)


def test_scikit_learns_epoch_has_the_same_losses() -> None:
    needs("sklearn")
    from bench_sklearn import TOLERANCE, check

    assert check() < TOLERANCE


def test_augmenting_whole_batches_gives_torchvisions_pixels() -> None:
    from bench_epoch import PIXELS_APART
    from epoch_torch import augmentation_apart

    found = augmentation_apart()
    assert found.keys() == {"index", "grid"}
    assert max(found.values()) < PIXELS_APART


def test_image_by_image_is_npmlps_training(sides: Any) -> None:
    from bench_step import TOLERANCE
    from compare import losses_apart

    from npmlp.recipes import RECIPES

    recipe = dataclasses.asdict(RECIPES["vanilla-xavier-aug"])
    found = []
    for script, setting in (
        ("epoch_npmlp.py", {"threads": 1}),
        ("epoch_torchvision.py", {"workers": 0, "threads": 1}),
    ):
        side = sides(script, setting)
        side.ask("build", recipe=recipe)
        found.append(side.ask("losses", steps=24))
    assert losses_apart(*found) < TOLERANCE


# -------------------------------------------------------------------------------- matrix products


def test_the_products_are_those_of_the_networks() -> None:
    from matmul_products import Product, products_of_recipes

    found = products_of_recipes()
    assert found[Product(64, 784, 100, False, True, "linear")] == ["vanilla-64 fc1 forward"]
    assert Product(64, 100, 784, False, False, "linear") not in found  # no gradient of the images
    assert found[Product(12, 150, 64, False, False, "conv")] == ["lenet-20 conv2 forward"]
    mixer = found[Product(16384, 64, 49, False, True, "linear")]
    assert mixer == [f"mixer-128 block{i}.over_patches.fc2 forward" for i in (1, 2)]
    assert found[Product(128, 96, 144, True, False, "linear")]  # residual's last batch


@pytest.mark.parametrize("module", ["matmul_npmlp", "matmul_numpy", "matmul_torch"])
def test_every_side_computes_every_product(module: str) -> None:
    import matmul_products

    prepare = importlib.import_module(module).prepare
    squares = [matmul_products.Product(33, 33, 33)]
    for product in [*matmul_products.products_of_recipes(), *squares]:
        a, b = product.factors()
        call, out = prepare(product, a, b)
        call()
        assert matmul_products._error(a, b, np.asarray(out)) < 1, product
        wrong = np.roll(np.asarray(out), 1, axis=0)
        assert matmul_products._error(a, b, wrong) > 1, product


# ------------------------------------------------------------------------------------- the others


def test_the_first_step_is_reported_and_ends_the_command(tmp_path: Path) -> None:
    from first_step import MARK

    done = subprocess.run(
        [
            sys.executable, str(BENCHMARKS / "first_step.py"), "npmlp.train", "--recipe",
            "vanilla", "--kernels", "numpy", "--out", str(tmp_path / "run"),
        ],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == MARK
    assert not (tmp_path / "run" / "metrics.jsonl").read_text()  # not a whole epoch


def test_the_scaling_counts_the_flops_of_a_step() -> None:
    from bench_scaling import flops, points

    # vanilla by hand: 784 → 100 → 10, forward and dweight of both layers, dx of the second
    assert flops(width=100, depth=1, batch=64) == 2 * 64 * (2 * 78_400 + 3 * 1_000)
    sizes = list(points())
    assert [size["width"] for what, size in sizes if what == "width"][-1] == 4096
    assert [size["depth"] for what, size in sizes if what == "depth"] == [1, 2, 4, 8, 16]
    assert [size["batch"] for what, size in sizes if what == "batch"][::12] == [1, 4096]


@pytest.mark.parametrize("how", ["plan", "plan-8"])
@pytest.mark.parametrize(("name", "size"), [("vanilla", 16), ("residual", 32)])
def test_a_plan_of_one_step_or_eight_has_the_bits_of_the_steps(
    name: str, size: int, how: str, sides: Any, tmp_path: Path
) -> None:
    from compare import losses_apart
    from step_case import make_case

    case = make_case(name, size, str(tmp_path / "case.npz"))
    found = losses(sides("step_npmlp.py", {"how": how, "threads": 1}), case)
    assert losses_apart(found, losses(sides(*OURS), case)) == 0
