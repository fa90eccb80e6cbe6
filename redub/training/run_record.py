"""What the weights of a checkpoint mean: a record of dubbing runs, and one of vocoders.

Settings are kept as plain values, because another version of redub may read them: it compares them
with its own, or builds its config dataclasses from them and refuses what it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from redub.core.records import Json, JsonRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord(JsonRecord):
    """A checkpoint of a dubbing run.

    system: a name of ``model/registry.py``. model, training, widths: the fields of the system's
    config, of the training config and of the feature widths. keys: those of the pack. scaler: see
    :class:`redub.training.data.lines.FeatureScaler`. started_from: the weights that a new run
    started from, empty for random ones.
    """

    ADVICE: ClassVar[str] = "use another checkpoint"

    system: str
    model: Mapping[str, Json]
    training: Mapping[str, Json]
    widths: Mapping[str, Json]
    keys: Mapping[str, str]
    scaler: Mapping[str, Mapping[str, tuple[float, ...]]]
    trained_parameters: tuple[str, ...]
    started_from: str
    code_version: str

    @property
    def settings(self) -> dict[str, Json]:
        """What must be equal where a run is resumed."""
        names = ("system", "model", "training", "widths", "keys")
        return {name: value for name, value in self.to_json().items() if name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class VocoderRecord(JsonRecord):
    """A checkpoint of a vocoder run: the fields of its configs, and its features' keys."""

    ADVICE: ClassVar[str] = "use another checkpoint"

    generator: Mapping[str, Json]
    discriminators: Mapping[str, Json]
    training: Mapping[str, Json]
    keys: Mapping[str, str]
    code_version: str

    @property
    def settings(self) -> dict[str, Json]:
        """What must be equal where a run is resumed."""
        return {name: value for name, value in self.to_json().items() if name != "code_version"}
