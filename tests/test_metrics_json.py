"""metrics.json: precision, recall and F1 per class, against sums done by hand and scikit-learn."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from sklearn.metrics import classification_report

from npmlp.predictions import Predictions
from npmlp.report.metrics import class_metrics


def predictions(
    labels: list[int], predicted: list[int], classes: tuple[str, ...], loss: float = 0.5
) -> Predictions:
    n = len(labels)
    return Predictions(
        images=np.zeros((n, 28, 28), np.uint8),
        labels=np.array(labels, np.int64),
        probabilities=np.eye(len(classes), dtype=np.float32)[predicted],
        classes=classes,
        indices=np.arange(n),
        loss=loss,
        checkpoint="last.safetensors",
        epoch=7,
    )


# true: 4 cats, 2 dogs, 2 cows. cat is predicted 3 times, 3 of them rightly; dog 4 times, 2 rightly;
# cow once, rightly
LABELS, PREDICTED = [0, 0, 0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 1, 2, 1]
ANIMALS = ("cat", "dog", "cow")


def test_precision_recall_and_f1_are_those_counted_by_hand() -> None:
    found = class_metrics(predictions(LABELS, PREDICTED, ANIMALS))
    by_hand = {
        "cat": {"precision": 3 / 3, "recall": 3 / 4, "f1": 6 / 7, "support": 4},
        "dog": {"precision": 2 / 4, "recall": 2 / 2, "f1": 4 / 6, "support": 2},
        "cow": {"precision": 1 / 1, "recall": 1 / 2, "f1": 2 / 3, "support": 2},
    }
    assert list(found["classes"]) == list(ANIMALS)
    for name, values in by_hand.items():
        # some roundings of float64
        assert found["classes"][name] == pytest.approx(values, rel=1e-15)
    assert found["accuracy"] == 6 / 8 and found["correct"] == 6 and found["support"] == 8
    assert found["confusion"] == [[3, 1, 0], [0, 2, 0], [0, 1, 1]]
    for key in ("precision", "recall", "f1"):
        a, b, c = (by_hand[name][key] for name in ANIMALS)
        assert found["macro"][key] == pytest.approx((a + b + c) / 3, rel=1e-15)
        assert found["weighted"][key] == pytest.approx((4 * a + 2 * b + 2 * c) / 8, rel=1e-15)


def test_the_checkpoint_that_the_figures_are_of_is_named() -> None:
    found = class_metrics(predictions(LABELS, PREDICTED, ANIMALS))
    assert (found["checkpoint"], found["epoch"], found["loss"]) == ("last.safetensors", 7, 0.5)


def test_figures_equal_scikit_learns_report() -> None:
    random = np.random.default_rng(0)
    classes = tuple(f"class {i}" for i in range(10))
    labels = random.integers(0, 10, 2000)
    predicted = np.where(random.random(2000) < 0.7, labels, random.integers(0, 10, 2000))
    found = class_metrics(predictions(labels.tolist(), predicted.tolist(), classes))
    report = classification_report(labels, predicted, target_names=classes, output_dict=True)
    for ours, theirs in [
        *((found["classes"][name], report[name]) for name in classes),
        (found["macro"], report["macro avg"]),
        (found["weighted"], report["weighted avg"]),
    ]:
        for key, their_key in (("precision",) * 2, ("recall",) * 2, ("f1", "f1-score")):
            assert ours[key] == theirs[their_key]
    assert found["accuracy"] == report["accuracy"]


def test_a_class_that_never_occurs_makes_no_nan_and_no_warning() -> None:
    """EMNIST's letters have labels 1 to 26, so class 0 never occurs; "fig" is never predicted."""
    classes = ("none", "a", "fig", "b")
    found = class_metrics(predictions([1, 1, 2, 3], [1, 1, 3, 3], classes))
    nothing = {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    assert found["classes"]["none"] == nothing | {"support": 0}
    assert found["classes"]["fig"] == nothing | {"support": 1}
    assert found["macro"]["recall"] == pytest.approx((1 + 0 + 1) / 3, rel=1e-15)  # without "none"
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_null_in_json(loss: float) -> None:
    found = class_metrics(predictions(LABELS, PREDICTED, ANIMALS, loss))
    assert found["loss"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_classes_of_one_name_are_told_apart_by_their_index() -> None:
    found = class_metrics(predictions(LABELS, PREDICTED, ("cat", "dog", "cat")))
    assert {name: c["support"] for name, c in found["classes"].items()} == {
        "cat (0)": 4,
        "dog": 2,
        "cat (2)": 2,
    }
