"""The linter's rules on networks and data that deserve them, and on some that do not."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npmlp
from npmlp import lint, nn
from npmlp.engine import NpmlpEngine
from npmlp.lint import rules
from npmlp.observe import array, stuck_at_zero
from npmlp.recipes import RECIPES, Recipe
from npmlp.utils.data import DataLoader, Subset, TensorDataset
from npmlp.vision.images import load_image_data
from tests.linting import batch, found, network, train

DOCS = Path(__file__).parent.parent / lint.DOCS


@pytest.fixture(scope="module")
def pixels() -> dict[str, np.ndarray]:
    """Fashion-MNIST scaled to [0, 1]: 2,000 training and 1,000 test images, and their labels."""
    data = load_image_data(None)
    return {
        "train": data.train_images[:2000, None] / np.float32(255),
        "test": data.test_images[:1000, None] / np.float32(255),
        "train_labels": data.train_labels[:2000],
        "test_labels": data.test_labels[:1000],
    }


# -------------------------------------------------------------------------------------- zero-init


def zero(library: Any, *layers: Any) -> None:
    for layer in layers:
        library.nn.init.zeros_(layer.weight)
        library.nn.init.zeros_(layer.bias)


def test_layers_in_front_of_and_behind_a_relu_that_are_all_zero_are_named(library: Any) -> None:
    model = network(library)
    zero(library, model[1], model[3])
    (finding,) = (
        f
        for f in lint.check(model, library.nn.CrossEntropyLoss(), batch(library))
        if f.rule == "zero-init"
    )
    assert finding.text.startswith("all weights of 1 and 3 are zero")


def test_a_convolution_in_front_of_a_relu_that_is_all_zero_is_named(library: Any) -> None:
    n = library.nn
    conv = n.Conv2d(1, 4, 5)
    zero(library, conv)
    model = n.Sequential(conv, n.ReLU(), n.Flatten(), n.Linear(4 * 24 * 24, 10))
    x, y = batch(library, 8)
    assert stuck_at_zero(model, n.CrossEntropyLoss(), x, y) == ["0"]


def test_zero_layers_are_found_behind_a_relu_that_is_a_function(library: Any) -> None:
    class Net(library.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1 = library.nn.Linear(784, 20)
            self.fc2 = library.nn.Linear(20, 10)

        def forward(self, x: Any) -> Any:
            return self.fc2(library.nn.functional.relu(self.fc1(x.flatten(1))))

    model = Net()
    zero(library, model.fc1, model.fc2)
    stuck = stuck_at_zero(model, library.nn.CrossEntropyLoss(), *batch(library))
    assert stuck == ["fc1", "fc2"]


def test_random_layers_are_not_named(library: Any) -> None:
    model = network(library)
    assert found(model, library.nn.CrossEntropyLoss(), batch(library)) == []


def test_a_last_layer_that_starts_at_zero_learns_and_is_not_named(library: Any) -> None:
    model, loss = network(library), library.nn.CrossEntropyLoss()
    zero(library, model[3])
    x, y = batch(library)
    assert stuck_at_zero(model, loss, x, y) == []
    optimizer = library.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
    assert array(model[3].weight).all()


def test_layers_named_as_stuck_are_zero_after_an_epoch() -> None:
    engine, _ = next(train(dataclasses.replace(RECIPES["vanilla-zeros"], limit=2000, epochs=1)))
    model: Any = engine.model
    assert not array(model.fc1.weight).any() and not array(model.fc2.weight).any()


def test_looking_leaves_gradients_modes_and_running_means_alone(library: Any) -> None:
    n = library.nn
    model = n.Sequential(n.Flatten(), n.Linear(784, 8), n.BatchNorm1d(8), n.ReLU(), n.Linear(8, 10))
    zero(library, model[1], model[4])
    model[2].eval()
    loss, (x, y) = n.CrossEntropyLoss(), batch(library)
    loss(model(x), y).backward()
    gradients = [p.grad for p in model.parameters()]
    state = {name: array(value).copy() for name, value in model.state_dict().items()}
    before = array(library.get_rng_state()).copy()
    lint.check(model, loss, (x, y), (x, y))
    assert all(p.grad is g for p, g in zip(model.parameters(), gradients, strict=True))
    assert [m.training for m in model] == [True, True, False, True, True]
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(array(value), state[name])
    np.testing.assert_array_equal(array(library.get_rng_state()), before)


def test_a_shuffling_loader_gives_the_order_that_it_gives_without_a_look(library: Any) -> None:
    loader_of = library.utils.data
    data = loader_of.TensorDataset(*batch(library))
    loader = loader_of.DataLoader(data, batch_size=16, shuffle=True)
    model, loss = network(library), library.nn.CrossEntropyLoss()
    orders = []
    for look in (False, True):
        library.manual_seed(5)
        if look:
            lint.check(model, loss, loader, loader)
        orders.append([array(y).tolist() for _, y in loader])
    assert orders[0] == orders[1]


# --------------------------------------------------------------------------------- double-softmax


def test_a_softmax_before_cross_entropy_is_found(library: Any) -> None:
    model = network(library, library.nn.Softmax(dim=1))
    assert found(model, library.nn.CrossEntropyLoss(), batch(library)) == ["double-softmax"]
    assert found(model, library.nn.functional.cross_entropy, batch(library)) == ["double-softmax"]


def test_a_softmax_inside_of_forward_is_found_by_the_outputs(library: Any) -> None:
    class Net(library.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = library.nn.Linear(784, 10)

        def forward(self, x: Any) -> Any:
            return library.nn.functional.softmax(self.fc(x.flatten(1)), dim=1)

    assert found(Net(), library.nn.CrossEntropyLoss(), batch(library)) == ["double-softmax"]


def test_a_log_softmax_before_cross_entropy_is_said_to_change_nothing(library: Any) -> None:
    n = library.nn
    model, (x, y) = network(library, n.LogSoftmax(dim=1)), batch(library)
    (finding,) = lint.check(model, n.CrossEntropyLoss(), (x, y))
    assert "changes nothing" in finding.text
    # and so it does: log-softmax of log-probabilities subtracts ln Σ p = 0, up to float32 rounding
    assert n.CrossEntropyLoss()(model(x), y).item() == pytest.approx(
        n.CrossEntropyLoss()(model[:-1](x), y).item(), rel=1e-6
    )


def test_logits_and_log_probabilities_for_nll_loss_are_right(library: Any) -> None:
    n = library.nn
    assert found(network(library), n.CrossEntropyLoss(), batch(library)) == []
    assert found(network(library, n.LogSoftmax(dim=1)), n.NLLLoss(), batch(library)) == []


# -------------------------------------------------------------------------- different-preparation


def prepared(pixels: np.ndarray, mean: float, deviation: float) -> Any:
    return npmlp.from_numpy(((pixels - mean) / deviation).astype(np.float32))


OURS = (0.2860, 0.3530)


@pytest.mark.parametrize(
    "test_side",
    [(0.0, 1.0), (0.5, 0.5), (0.1307, 0.3081), (0.0, 1 / 255), (0.449, 0.226)],
    ids=["scaled only", "to -1 ... 1", "MNIST's figures", "bytes", "ImageNet's figures"],
)
def test_inputs_prepared_differently_are_found(
    pixels: dict[str, np.ndarray], test_side: tuple[float, float]
) -> None:
    model, loss = network(npmlp), nn.CrossEntropyLoss()
    train = prepared(pixels["train"], *OURS), npmlp.from_numpy(pixels["train_labels"])
    labels = npmlp.from_numpy(pixels["test_labels"])
    good = prepared(pixels["test"], *OURS), labels
    bad = prepared(pixels["test"], *test_side), labels
    assert found(model, loss, train, good) == []
    assert found(model, loss, train, bad) == ["different-preparation"]
    assert found(model, loss, bad, good) == ["different-preparation"]


@pytest.mark.parametrize("limit", [20, 200, None])
@pytest.mark.parametrize("translate, scale", [(0.04, 0.04), (0.1, 0.1), (0.3, 0.3)])
def test_augmentation_is_no_different_preparation(
    translate: float, scale: float, limit: int | None
) -> None:
    recipe = Recipe(augment="flip_affine", translate=translate, scale=scale, limit=limit)
    engine = NpmlpEngine(recipe)
    sides = [array(engine.sample(split, 1000)[0]) for split in ("train", "test")]
    assert rules.different_preparation(*sides) is None


def test_a_small_sample_is_no_different_preparation(pixels: dict[str, np.ndarray]) -> None:
    draw = np.random.default_rng(0)
    samples = [pixels["train"][draw.choice(2000, 10, replace=False)] for _ in range(200)]
    units = pixels["test"].std()
    apart = [abs(sample.mean() - pixels["test"].mean()) / units for sample in samples]
    assert max(apart) > rules.MEANS_APART  # by chance, which the standard error allows for
    assert not any(rules.different_preparation(sample, pixels["test"]) for sample in samples)


# -------------------------------------------------------------------------------- missing-labels


def test_a_label_that_no_training_image_has_is_named() -> None:
    recipe = Recipe(limit=2000)
    engine = NpmlpEngine(recipe)
    names = engine.data.classes
    labels, tested = (lint.labels_of(s) for s in (engine.train_set, engine.held_out["test"]))
    assert rules.missing_labels(labels, tested, names) is None
    kept = [i for i in range(2000) if labels[i] not in (3, 9)]
    fewer = lint.labels_of(Subset(engine.train_set, kept))
    finding = rules.missing_labels(fewer, tested, names)
    assert finding is not None
    assert finding.text.startswith("no training image is labelled Dress or Ankle boot, so")
    assert finding.text.endswith("2,000 of 10,000 test images are")


def test_a_label_beyond_the_classes_and_one_that_only_the_test_has_are_named() -> None:
    model, loss = nn.Linear(4, 3), nn.CrossEntropyLoss()
    x, y = npmlp.randn(30, 4), npmlp.tensor([0, 1] * 15)
    test = TensorDataset(x, npmlp.tensor([0, 1, 2] * 10))
    loaders = DataLoader(TensorDataset(x, y), batch_size=8), DataLoader(test, batch_size=8)
    (finding,) = lint.check(model, loss, *loaders)
    assert finding.rule == "missing-labels" and "labelled 2, " in finding.text
    assert rules.missing_labels(array(y), np.array([0, 7]), ("a", "b")) is not None


# ----------------------------------------------------------------------------- chosen-on-reported


@pytest.mark.parametrize("validation", ["none", "train", "test", "reported"])
def test_a_choice_on_the_reported_images_is_found(validation: str, tmp_path: Path) -> None:
    recipe = Recipe(validation=validation, limit=640)  # type: ignore[arg-type]
    found = lint.Linter(NpmlpEngine(recipe), recipe, tmp_path).before_training()
    expected = ["chosen-on-reported"] if validation == "reported" else []
    assert [finding.rule for finding in found] == expected


def test_early_stopping_on_the_reported_images_is_a_choice_too() -> None:
    recipe = Recipe(validation="reported", early_stopping=3)
    assert lint.choices_on_reported(recipe) == ["the best checkpoint", "the epoch to stop after"]
    assert lint.choices_on_reported(Recipe(early_stopping=3)) == []


def test_picking_the_best_of_several_recipes_says_how_much_of_it_is_chance() -> None:
    assert lint.best_of_several([0.9], 10_000) is None
    finding = lint.best_of_several([0.9] * 9, 10_000)
    assert finding is not None and finding.rule == "chosen-on-reported"
    assert finding.text.startswith("picking the best of 9 recipes by test accuracy is a choice")
    said = float(re.search(r"up to ([\d.]+) points", finding.text)[1])  # type: ignore[index]
    # nine networks of accuracy 0.9, each with luck of its own, 20,000 times: the mean of the best
    best = np.random.default_rng(0).binomial(10_000, 0.9, (20_000, 9)).max(axis=1).mean() / 100
    # the sentence has one decimal; the approximation of E_9 is 0.01 standard errors off
    assert said == pytest.approx(best - 90, abs=0.06)


# ----------------------------------------------------------------------------------------- docs


def test_every_rule_has_a_paragraph_in_the_docs_under_its_name() -> None:
    headings = re.findall(r"^## (\S+)$", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert tuple(headings) == lint.RULES
    source = Path(rules.__file__).read_text(encoding="utf-8")
    assert set(re.findall(r'Finding\(\s*"([\w-]+)"', source)) == set(lint.RULES)


def test_the_docs_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    loader = DataLoader(TensorDataset(*batch(npmlp)), batch_size=16, shuffle=True)
    model = network(npmlp, nn.Softmax(dim=1))
    names = {"model": model, "loss": nn.CrossEntropyLoss(), "epoch_losses": [0.6, 0.9]}
    exec(code, names | {"train_loader": loader, "test_loader": loader})
    links = re.findall(r"\((docs/\S+)\)\n", capsys.readouterr().out)
    assert links == ["docs/mistakes.md#double-softmax", "docs/mistakes.md#loss-rises"]


def test_the_example_of_check_runs() -> None:
    import doctest

    from npmlp.lint import apply

    assert doctest.testmod(apply).failed == 0
