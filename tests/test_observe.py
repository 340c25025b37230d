"""What a run says about the inside of its network: dead ReLUs, and histograms in TensorBoard."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import npmlp
from npmlp import checkpoint, observe, train
from npmlp.engine import NpmlpEngine
from npmlp.events import Events
from npmlp.observe import Dead, array
from npmlp.recipes import RECIPES, Recipe
from npmlp.runs import RunFolder
from reference_torch import train as torch_train

# momentum, dropout and augmentation: everything that could differ by one draw
SMALL = Recipe(
    limit=1000, epochs=2, seed=1, lr=0.02, momentum=0.9, dropout=0.2, augment="flip_affine",
    clip_norm=1.0,
)  # fmt: skip
ENGINES = {"npmlp": train, "torch": torch_train}


@pytest.fixture(params=[npmlp, torch], ids=["npmlp", "torch"])
def library(request: pytest.FixtureRequest) -> Any:
    """Networks of both are looked at alike."""
    request.param.manual_seed(0)
    return request.param


@pytest.fixture(scope="module", params=list(ENGINES))
def engine_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def observed(engine_name: str, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with everything that can be observed."""
    out = tmp_path_factory.mktemp(engine_name) / "run"
    run = train.Run(out=str(out), histograms=True, report=False)
    return ENGINES[engine_name].fit(SMALL, run)[1]


def weights(folder: RunFolder) -> dict[str, np.ndarray]:
    return {k: np.asarray(t) for k, t in checkpoint.read(folder.last)["state"]["model"].items()}


def rows(folder: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]


def events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return found


def histogram_steps(folder: Path) -> dict[str, list[int]]:
    """The epochs that each histogram has."""
    found = events(folder)
    return {tag: [event.step for event in found.Tensors(tag)] for tag in found.Tags()["tensors"]}


# ------------------------------------------------------------------------------------ dead ReLUs


def test_units_that_no_image_lights_up_are_counted(library: Any) -> None:
    n = library.nn
    model = n.Sequential(n.Linear(6, 10), n.ReLU(), n.Linear(10, 4), n.ReLU(), n.Linear(4, 2))
    with library.no_grad():
        model[0].bias[:3] = -1e3
        model[2].bias.fill_(1e3)
    found = observe.dead_relus(model, library.randn(50, 6))
    assert found == {"0": Dead(3, 10), "2": Dead(0, 4)}
    assert observe.share(found) == 3 / 14


def test_a_channel_is_dead_where_it_is_nowhere_above_zero(library: Any) -> None:
    n = library.nn
    model = n.Sequential(n.Conv2d(1, 4, 3), n.BatchNorm2d(4), n.ReLU(), n.Flatten())
    with library.no_grad():
        model[1].bias[1] = -1e3
        # above zero in one corner of one image alone
        model[0].weight[2] = 0.0
        model[0].weight[2, 0, 0, 0] = 1.0
        model[0].bias[2] = 0.0
        model[1].bias[2] = -20.0
        x = library.rand(5, 1, 8, 8)
        x[3, 0, 0, 0] = 1e3
    assert observe.dead_relus(model, x) == {"1": Dead(1, 4)}


def test_a_relu_that_is_used_several_times_is_counted_each_time(library: Any) -> None:
    class Net(library.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = library.nn.Linear(6, 5), library.nn.Linear(5, 3)
            self.relu = library.nn.ReLU()

        def forward(self, x: Any) -> Any:
            return self.relu(self.b(self.relu(self.a(x))))

    model = Net()
    with library.no_grad():
        model.b.bias.fill_(-1e3)
    found = observe.dead_relus(model, library.randn(20, 6))
    assert found.keys() == {"a", "b"} and found["b"] == Dead(3, 3)


def test_a_relu_in_place_and_a_network_without_relu(library: Any) -> None:
    n = library.nn
    model = n.Sequential(n.Linear(6, 10), n.ReLU(inplace=True), n.Linear(10, 2))
    with library.no_grad():
        model[0].bias[0] = -1e3
    assert observe.dead_relus(model, library.randn(50, 6))["0"].dead >= 1
    assert observe.dead_relus(n.Sequential(n.Linear(6, 10), n.GELU()), library.randn(50, 6)) == {}


def test_both_engines_count_the_same_dead_units() -> None:
    from reference_torch.engine import TorchEngine

    counts = []
    for make in (NpmlpEngine, TorchEngine):
        engine: Any = make(RECIPES["lenet"])  # the same weights, from the same draws
        counts.append(observe.dead_relus(engine.model, engine.sample("test", 500)[0]))
    assert counts[0] == counts[1]
    assert sum(d.dead for d in counts[0].values()) > 0


def test_every_epochs_row_has_the_share_and_tensorboard_the_layers(observed: RunFolder) -> None:
    shares = [row["dead_relus"] for row in rows(observed)]
    assert len(shares) == 2 and all(0 <= share < 0.5 for share in shares)
    found = events(observed.path)
    for tag in ("dead_relus/all", "dead_relus/fc1"):  # float32 in TensorBoard
        assert [s.step for s in found.Scalars(tag)] == [1, 2]
        assert [s.value for s in found.Scalars(tag)] == [float(np.float32(s)) for s in shares]


def test_a_network_without_relu_has_no_share(tmp_path: Path) -> None:
    recipe = Recipe(arch="residual", limit=200, epochs=1)
    _, folder = train.fit(recipe, train.Run(out=str(tmp_path / "run"), report=False))
    assert "dead_relus" not in rows(folder)[0]
    assert not [t for t in events(folder.path).Tags()["scalars"] if t.startswith("dead_relus")]


# ------------------------------------------------------------------ what it does to the training


def test_observing_changes_no_bit_of_the_training(
    engine_name: str, observed: RunFolder, tmp_path: Path
) -> None:
    run = train.Run(out=str(tmp_path / "run"), lint=False, report=False)
    _, plain = ENGINES[engine_name].fit(SMALL, run)
    ours, theirs = weights(observed), weights(plain)
    assert ours.keys() == theirs.keys()
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)
    a, b = (checkpoint.read(folder.last) for folder in (observed, plain))
    assert a["generator"].tobytes() == b["generator"].tobytes()
    assert events(plain.path).Tags()["tensors"] == []


@pytest.mark.parametrize("name", ["lenet", "residual"])
def test_a_sample_is_what_the_first_epoch_begins_with(name: str) -> None:
    recipe = Recipe(arch=RECIPES[name].arch, limit=300, augment="flip_affine")
    engine = NpmlpEngine(recipe)
    x, y = engine.sample("train", 100)
    images, labels = zip(*engine.batches(0), strict=True)
    np.testing.assert_array_equal(array(x), array(npmlp.cat(images))[:100])
    np.testing.assert_array_equal(array(y), array(npmlp.cat(labels))[:100])


def test_layers_stay_in_the_modes_that_they_were_in(library: Any) -> None:
    n = library.nn
    model = n.Sequential(n.Linear(6, 10), n.BatchNorm1d(10), n.ReLU(), n.Dropout(0.5))
    model.train()
    model[1].eval()
    before = array(model[1].running_mean).copy()
    observe.dead_relus(model, library.randn(50, 6))
    assert [module.training for module in model] == [True, False, True, True]
    np.testing.assert_array_equal(array(model[1].running_mean), before)
    assert not any(module._forward_hooks for module in model)


# ------------------------------------------------------------------------------------ histograms


def histogram(found: Any, tag: str, epoch: int) -> np.ndarray:
    """Rows of (left, right, count)."""
    from tensorboard.util import tensor_util

    assert found.SummaryMetadata(tag).plugin_data.plugin_name == "histograms"
    (event,) = (e for e in found.Tensors(tag) if e.step == epoch)
    return tensor_util.make_ndarray(event.tensor_proto)


def test_there_are_histograms_of_weights_gradients_and_activations_of_every_layer(
    observed: RunFolder,
) -> None:
    found = events(observed.path)
    parameters = {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}
    layers = {"flatten", "fc1", "relu", "dropout", "fc2"}
    assert set(found.Tags()["tensors"]) == (
        {f"weights/{name}" for name in parameters}
        | {f"gradients/{name}" for name in parameters}
        | {f"activations/{name}" for name in layers}
    )
    for tag in found.Tags()["tensors"]:
        assert [event.step for event in found.Tensors(tag)] == [1, 2]
    images = observe.IMAGES_SHOWN
    sizes = {
        "weights/fc1.weight": 78_400,
        "gradients/fc2.bias": 10,
        "activations/relu": 100 * images,
    }
    for tag, size in sizes.items():
        assert histogram(found, tag, 2)[:, 2].sum() == size


def test_a_histogram_is_of_the_weights_in_the_checkpoint(observed: RunFolder) -> None:
    found, kept = events(observed.path), weights(observed)
    for name in ("fc1.weight", "fc2.bias"):
        buckets = histogram(found, f"weights/{name}", 2)
        assert buckets[0, 0] == kept[name].min() and buckets[-1, 1] == kept[name].max()
        counts, _ = np.histogram(kept[name].astype(float), np.append(buckets[:, 0], buckets[-1, 1]))
        # a value on an edge may be counted on either side of it
        assert abs(counts - buckets[:, 2]).sum() <= 2


def test_gradients_are_those_of_the_last_step_after_clipping(tmp_path: Path) -> None:
    norm = 1e-3
    recipe = Recipe(limit=64, epochs=1, clip_norm=norm)
    run = train.Run(out=str(tmp_path / "run"), histograms=True, report=False)
    _, folder = train.fit(recipe, run)
    found = events(folder.path)
    tags = [tag for tag in found.Tags()["tensors"] if tag.startswith("gradients/")]
    ends = [abs(histogram(found, tag, 1)[[0, -1], [0, 1]]).max() for tag in tags]
    assert 0 < max(ends) <= norm * (1 + 1e-5)  # clipping is in float32


# ---------------------------------------------------------------------------------------- resume


def test_a_resumed_run_keeps_the_histograms_of_earlier_epochs_once(
    observed: RunFolder, engine_name: str, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(observed.path, folder)
    (folder / "summary.json").unlink()  # as if it had been stopped at the very end
    before = histogram_steps(folder)
    module = ENGINES[engine_name]
    module.fit(SMALL, module.Run(resume=str(folder), histograms=True, report=False))
    found = events(folder)
    assert histogram_steps(folder) == before
    for tag in ("loss/train", "dead_relus/all", "dead_relus/fc1"):
        assert [s.step for s in found.Scalars(tag)] == [1, 2]
    assert len(list((folder / "tensorboard").iterdir())) == 1


def test_events_of_an_epoch_that_is_done_again_are_dropped(tmp_path: Path) -> None:
    folder = tmp_path / "tensorboard"
    first = Events(folder)
    for epoch in (1, 2, 3):
        first.scalars(epoch, {"mine": epoch, "anew": epoch})
        first.histograms(epoch, [("h", np.arange(epoch + 1.0))])
    first.close()
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-7])  # a kill cuts the last one off
    second = Events(folder, epochs=2, anew=["anew"])
    second.scalars(3, {"mine": 30})
    second.close()
    found = events(tmp_path)
    assert [(s.step, s.value) for s in found.Scalars("mine")] == [(1, 1), (2, 2), (3, 30)]
    assert [e.step for e in found.Tensors("h")] == [1, 2]
    assert "anew" not in found.Tags()["scalars"]
