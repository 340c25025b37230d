"""How good a network is, class by class: precision, recall and F1, as metrics.json has them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from npmlp.report.confusion import confusion_counts

if TYPE_CHECKING:
    from npmlp.predictions import Predictions

_AVERAGED = ("precision", "recall", "f1")


def class_metrics(predictions: Predictions) -> dict[str, Any]:
    """The content of metrics.json: numbers and names, no NaN.

    precision = right / predicted as the class; recall = right / images of the class (support);
    F1 = 2 · precision · recall / (precision + recall); 0 where a denominator is 0.

    Returns: accuracy, correct, support, loss (None where it is not finite), checkpoint and epoch;
    "classes", by name: precision, recall, f1, support; "macro" and "weighted", their means over the
    classes, plain and by support; "confusion", the counts with a row per true class. Classes that
    neither occur nor are predicted stay out of the plain mean.
    Source: scikit-learn, precision_recall_fscore_support.
    """
    from sklearn.metrics import precision_recall_fscore_support

    labels, predicted = predictions.labels, predictions.predicted
    count = len(predictions.classes)
    scores = precision_recall_fscore_support(
        labels, predicted, labels=np.arange(count), zero_division=0.0
    )
    *per_class, support = (np.asarray(values) for values in scores)
    result: dict[str, Any] = {
        "accuracy": float(predictions.accuracy),
        "correct": int(predictions.right.sum()),
        "support": len(labels),
        "loss": float(predictions.loss) if math.isfinite(predictions.loss) else None,
        "checkpoint": predictions.checkpoint,
        "epoch": predictions.epoch,
        "classes": {
            name: {
                **{key: float(values[i]) for key, values in zip(_AVERAGED, per_class, strict=True)},
                "support": int(support[i]),
            }
            for i, name in enumerate(distinct(predictions.classes))
        },
    }
    for average in ("macro", "weighted"):
        means = precision_recall_fscore_support(
            labels, predicted, average=average, zero_division=0.0
        )
        result[average] = {key: float(mean) for key, mean in zip(_AVERAGED, means, strict=False)}
    result["confusion"] = confusion_counts(predictions).tolist()
    return result


def distinct(classes: tuple[str, ...]) -> list[str]:
    """The names of classes, with the index behind one that another class has, too."""
    return [f"{c} ({i})" if classes.count(c) > 1 else c for i, c in enumerate(classes)]
