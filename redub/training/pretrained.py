"""Exported weights: written from one run, loaded strictly into another one (pre-training).

Reads and writes one safetensors file. Its metadata says what the weights mean: system, settings,
widths, feature scales, feature keys, and the run and step that they come from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from redub.core.config import from_mapping, settings_of
from redub.core.errors import ConfigError, ModelRefusedError
from redub.core.types import MODALITIES
from redub.model.batch import CONTEXT_MODALITIES, FeatureWidths
from redub.model.registry import system as system_class
from redub.model.registry import system_spec
from redub.training import checkpoint
from redub.training.data.lines import FeatureScaler

META = "redub"
ABSENT = 1  # the width of a feature that no training utterance had
OF_THE_DATA = ("clips", "retrieval", "frames", "values", "reference_mels", "overfit")
"""Keys of the training data, not of the features; they differ between corpora."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretrained:
    """Exported weights and what they mean; ``name`` is for messages."""

    name: str
    system: str
    model: Mapping[str, Any]
    widths: Mapping[str, Any]
    scaler: FeatureScaler
    keys: Mapping[str, str]
    weights: Mapping[str, Tensor]

    def grows_into(self, system: str) -> bool:
        """Whether a system is an extension of this one."""
        return system_spec(system).grown_from == self.system

    def new_parameters(self, system: str, model: torch.nn.Module) -> set[str]:
        """Tensors of a grown system's model that the system of these weights does not have."""
        if not self.grows_into(system):
            return set()
        kind = system_class(self.system)
        with torch.device("meta"):
            base = kind(
                from_mapping(kind.Config, self.model), from_mapping(FeatureWidths, self.widths)
            )
        return set(model.state_dict()) - set(base.state_dict())

    def check(
        self, system: str, model_config: Any, widths: FeatureWidths, keys: Mapping[str, str]
    ) -> None:
        """Refuse weights of another model or of other features than a run has.

        An extended system may start from the weights of its base system; settings and features that
        only the extended system has are then not compared.

        Raises:
            ModelRefusedError: E-MODEL-OTHER, names three of the settings and keys that differ.
        """
        wanted, here = settings_of(model_config)["fields"], settings_of(widths)["fields"]
        # A feature that only one side reads replaces another feature at some input.
        features = sorted({*self.keys, *keys} - {*OF_THE_DATA})
        pairs: list[tuple[str, Any, Any]] = [("system", self.system, system)]
        if self.grows_into(system):
            pairs = []
            wanted = {name: value for name, value in wanted.items() if name in self.model}
            here = {n: v for n, v in here.items() if self.widths.get(n) != ABSENT}
            features = [name for name in features if name in self.keys]
        pairs += [(f"model.{n}", self.model.get(n), v) for n, v in sorted(wanted.items())]
        pairs += [(f"widths.{n}", self.widths.get(n), v) for n, v in sorted(here.items())]
        pairs += [(f"keys.{n}", self.keys.get(n), keys.get(n)) for n in features]
        differing = [f"{name} {old} → {new}" for name, old, new in pairs if old != new]
        if differing:
            more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
            raise ModelRefusedError(
                f"{self.name} does not fit this run: {'; '.join(differing[:3])}{more}",
                code="E-MODEL-OTHER",
            )


def export_weights(directory: Path, target: Path, *, card: str = "") -> None:
    """Write a checkpoint's weights (the averaged ones, if the run averages) to one file.

    Args:
        card: the run's card (voices, terms), stored in the file.

    Raises:
        IntegrityError: the checkpoint is damaged.
    """
    snapshot = checkpoint.read(directory)
    record = snapshot.record
    meaning = {
        "format": checkpoint.FORMAT,
        "of": f"{directory.parents[1].name} {directory.name}",
        "card": card,
        **{name: record[name] for name in ("system", "model", "widths", "scaler", "keys")},
    }
    weights = {name: value.contiguous() for name, value in snapshot.weights.items()}
    # Not save_file: it reports a full disk by another exception than OSError.
    target.write_bytes(safetensors.torch.save(weights, metadata={META: json.dumps(meaning)}))


def read_weights(path: Path) -> Pretrained:
    """Read what :func:`export_weights` wrote.

    Raises:
        ModelRefusedError: no such file, not safetensors, without redub's metadata, or with values
            that a run does not write.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            meaning = json.loads((file.metadata() or {})[META])
        weights = safetensors.torch.load_file(path)
        checkpoint.check_format(meaning["format"], str(path))
        widths = from_mapping(FeatureWidths, meaning["widths"])
        scaler = FeatureScaler.from_json(meaning["scaler"])
        _check(widths, scaler, meaning["keys"], weights)
        return Pretrained(
            name=f"{path.name} ({meaning['of']})",
            system=meaning["system"],
            model=dict(meaning["model"]),
            widths=settings_of(widths)["fields"],
            scaler=scaler,
            keys=meaning["keys"],
            weights=weights,
        )
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        ConfigError,
        safetensors.SafetensorError,
    ) as error:
        raise ModelRefusedError(
            f"{path} holds no weights of a redub run ({error!r}); write some with "
            "`redub runs export RUN FILE`",
            code="E-MODEL-FILE",
        ) from error


def _check(
    widths: FeatureWidths, scaler: FeatureScaler, keys: Any, weights: Mapping[str, Tensor]
) -> None:
    """Raise ValueError for scales, keys or weights that a run does not write."""
    if not isinstance(keys, dict) or not keys:
        raise ValueError("it has no feature keys")
    wide = {
        "mel": widths.mel,
        "lips": widths.lips,
        "local_face": widths.local_face,
        "speaker": widths.speaker,
        "audio": widths.audio,
        "log_energy": 1,
        "local_audio": widths.local_audio,
        **dict(zip(MODALITIES, widths.modalities, strict=True)),
        **{
            f"global_{m}": w
            for m, w in zip(CONTEXT_MODALITIES, widths.global_features, strict=True)
        },
    }
    for name, scale in scaler.scales.items():
        for values in (scale.mean, scale.deviation):
            if values.shape != (wide.get(name),) or not np.isfinite(values).all():
                raise ValueError(f"the scale of '{name}' is not {wide.get(name)} finite numbers")
        if not (scale.deviation > 0).all():
            raise ValueError(f"the scale of '{name}' has deviations of 0 or less")
    for name, value in weights.items():
        if value.is_floating_point() and value.dtype != torch.float32:
            raise ValueError(f"'{name}' is {value.dtype}, a run writes float32")
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"'{name}' holds NaN or infinite values")
