"""Which of the two published layouts a wav2vec 2.0 folder has, and the order of its labels."""

from __future__ import annotations

import re
from typing import Literal

from redub.features.weights.folder import WeightFolder

SPEECHBRAIN_WIDTH = 768


LABEL_LINE = re.compile(r"'(?P<label>[^']+)' => (?P<number>\d+)")


Layout = Literal["speechbrain", "superb"]


def layout_of(weights: WeightFolder) -> Layout:
    """Return the layout of a folder.

    A folder of speechbrain has the encoder in ``wav2vec2.ckpt``, one of superb has ``config.json``.

    Raises:
        ModelRefusedError: E-MODEL-FILE, the folder has neither.
    """
    known = weights.one_of("wav2vec2.ckpt", "config.json")
    return "speechbrain" if known == "wav2vec2.ckpt" else "superb"


def labels_of(weights: WeightFolder) -> tuple[str, ...]:
    """Read the labels of the classifier in order; empty for speechbrain without a label file.

    Raises:
        ModelRefusedError: E-MODEL-FILE, the labels are not numbered 0, 1, ….
    """
    if layout_of(weights) == "superb":
        source, table = "config.json", weights.json("config.json").get("id2label")
        numbered = {str(k): str(v) for k, v in table.items()} if isinstance(table, dict) else {}
    elif weights.has("label_encoder.txt"):
        source = "label_encoder.txt"
        # Settings of the encoder follow after the line of '=' in the same form.
        lines = re.split(r"^=+\s*$", weights.text(source), flags=re.MULTILINE)[0].splitlines()
        found = [LABEL_LINE.fullmatch(line.strip()) for line in lines]
        numbered = {match["number"]: match["label"] for match in found if match}
    else:
        return ()
    if not numbered or set(numbered) != {str(i) for i in range(len(numbered))}:
        raise weights.refused(
            f"{source}: labels are {numbered!r}, wanted one for 0, 1, …", code="E-MODEL-FILE"
        )
    return tuple(numbered[str(i)] for i in range(len(numbered)))
