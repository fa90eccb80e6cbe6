"""What the small files of a RoBERTa emotion folder say: token ids and the order of its labels."""

from __future__ import annotations

from redub.features.weights.folder import WeightFolder

TokenIds = tuple[int, ...]


def labels_of(weights: WeightFolder) -> tuple[str, ...]:
    """Read the labels of the classifier, in order, from ``config.json``.

    Raises:
        ModelRefusedError: E-MODEL-FILE, there is not a label for each of 0, 1, ….
    """
    table = weights.json("config.json").get("id2label")
    labels = table if isinstance(table, dict) else {}
    if not labels or set(labels) != {str(i) for i in range(len(labels))}:
        raise weights.refused(
            f"config.json: id2label is {table!r}, wanted a label for 0, 1, …", code="E-MODEL-FILE"
        )
    return tuple(str(labels[str(i)]) for i in range(len(labels)))
