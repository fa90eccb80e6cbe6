"""The settings of a run: ``config.toml``, or those of its newest checkpoint.

Reads and writes ``config.toml`` in the folder of a training run or a vocoder run.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from redub.core.durable import commit_bytes, read_json
from redub.core.errors import IntegrityError
from redub.core.records import Json
from redub.training import checkpoint
from redub.training.run_files import CHECKPOINTS

CONFIG = "config.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """A run's settings.

    model: name of the model; empty where it is not known. values: all settings by dotted name
    (``training.seed``), those that are None left out. fault: a sentence about what could not be
    read; empty if nothing is damaged.
    """

    model: str
    values: Mapping[str, Json]
    fault: str = ""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read ``config.toml``, or the newest checkpoint if that file is missing or damaged."""
        fault = ""
        path = folder / CONFIG
        if path.is_file():
            try:
                values = dotted(tomllib.loads(path.read_text(encoding="utf-8")))
                if isinstance(model := values.get("model.name"), str):
                    return cls(model=model, values=values)
                fault = f"{CONFIG} names no model"
            except ValueError as error:  # of TOML and of UTF-8
                fault = f"{CONFIG} is damaged: {error}"
        record = _newest_record(folder / CHECKPOINTS)
        if record is None:
            unknown = "its settings are not known: no step was finished yet"
            return cls(model="", values={}, fault=fault or unknown)
        name = record.get("system")
        tables: dict[str, Json] = {
            "model": {"name": name, **settings_table(record, "model")},
            "training": dict(settings_table(record, "training")),
        }
        return cls(
            model=name if isinstance(name, str) else "",
            values=dotted(tables),
            fault=fault and f"{fault}; the newest checkpoint's is shown",
        )


def write_run_settings(folder: Path, model: str, model_config: Any, training: Any) -> None:
    """Write the settings of a training run; :meth:`RunSettings.read` reads them.

    Args:
        model: name of the model.
        model_config, training: config dataclasses.
    """
    tables = {"model": {"name": model, **asdict(model_config)}, "training": asdict(training)}
    commit_bytes(folder / CONFIG, (toml_text(tables) + "\n").encode())


def write_config(folder: Path, config: Any) -> None:
    """Write a config dataclass as ``config.toml``; nested dataclasses become tables."""
    commit_bytes(folder / CONFIG, (toml_text(asdict(config)) + "\n").encode())


def toml_text(values: Mapping[str, Any], *, prefix: str = "") -> str:
    """Nested settings as TOML; None, which TOML cannot express, is left out."""
    plain = {k: v for k, v in values.items() if not isinstance(v, Mapping) and v is not None}
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    for key, value in values.items():
        if isinstance(value, Mapping):
            name = f"{prefix}{key}"
            lines += ["", f"[{name}]", toml_text(value, prefix=f"{name}.")]
    return "\n".join(lines)


def dotted(values: Mapping[str, Json], prefix: str = "") -> dict[str, Json]:
    """Flatten nested tables to dotted names; None is left out."""
    flat: dict[str, Json] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= dotted(value, f"{prefix}{name}.")
        elif value is not None:
            flat[f"{prefix}{name}"] = value
    return flat


def settings_table(record: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    """A table of a checkpoint's record; empty if it is missing or no table."""
    found = record.get(name)
    return found if isinstance(found, dict) else {}


def _newest_record(root: Path) -> Mapping[str, Json] | None:
    """``config.json`` of the newest checkpoint in which it can be read."""
    for place in checkpoint.steps_in(root):
        try:
            record = read_json(place / checkpoint.RECORD)
        except (OSError, IntegrityError):
            continue
        if isinstance(record, dict):
            return record
    return None
