"""The files of a run: metrics, records in checkpoints, settings compared, checkpoints in a thread.

Reads and writes ``metrics.jsonl``, one JSON row per step and per validation. Records keep settings
as plain values: another version of redub compares them with its own, or refuses what it does not
know.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, ClassVar

from torch import Tensor

from redub.core.durable import commit_bytes
from redub.core.records import Json, JsonRecord
from redub.training import checkpoint

log = logging.getLogger(__name__)

CHECKPOINTS, METRICS = "checkpoints", "metrics.jsonl"
HARMLESS = ("keep_last", "keep_best", "checkpoint_every", "recompute")
"""Training settings that may change when a run is resumed; they change no number."""


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


def append_row(metrics: IO[str], row: Mapping[str, Any]) -> None:
    """Append one row to ``metrics.jsonl`` and flush it."""
    metrics.write(json.dumps(row) + "\n")
    metrics.flush()


def cut_back(path: Path, step: int) -> None:
    """Drop the rows after ``step``, whose steps will be trained again."""
    if not path.exists():
        if step:
            log.warning("%s is gone; its rows up to step %d are lost", path, step)
        return
    kept, damaged = [], 0
    lines = path.read_bytes().decode("utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            is_kept = int(json.loads(line)["step"]) <= step
        except (ValueError, KeyError, TypeError):
            damaged += number < len(lines)  # an incomplete last row is normal after a kill
            continue
        if is_kept:
            kept.append(line + "\n")
    if damaged:
        log.warning("%s: %d damaged rows were dropped", path, damaged)
    commit_bytes(path, "".join(kept).encode())


def differences(
    record: Mapping[str, Json],
    wanted: Mapping[str, Json],
    *,
    harmless: Iterable[str] = (),
) -> list[str]:
    """Settings of a checkpoint that differ from the wanted ones, as ``keys.retrieval a → b``.

    Args:
        wanted: settings by section; other sections are not compared.
        harmless: names of settings that may differ.
    """
    found = []
    for section, values in wanted.items():
        old = record[section]
        if not isinstance(values, Mapping) or not isinstance(old, Mapping):
            found += [f"{section} {old} → {values}"] if old != values else []
            continue
        found += [
            f"{section}.{name} {old.get(name)} → {values.get(name)}"
            for name in sorted({*old, *values})
            if old.get(name) != values.get(name) and name not in harmless
        ]
    return found


def differing(run_dir: Path, wanted: Mapping[str, Json]) -> list[str]:
    """What a run's newest checkpoint was trained with that is not so now: ``keys.retrieval a → b``.

    Args:
        wanted: settings by section (``model``, ``training``, ``keys``); sections that are left
            out are not compared.
    """
    snapshot = checkpoint.newest(run_dir / CHECKPOINTS)
    if snapshot is None:
        return []
    return differences(snapshot.record, wanted, harmless=HARMLESS)


class Saver:
    """Writes checkpoints in a thread, one at a time; training waits only for the copy.

    An error of the thread is raised by the next :meth:`check`, :meth:`write` or :meth:`wait`. On
    leaving the ``with`` block, also by an exception, the checkpoint in progress is finished.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[Path] | None = None

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=True)

    def write(
        self, root: Path, snapshot: checkpoint.Snapshot, *, keep: int, keep_best: int
    ) -> None:
        """Copy a snapshot and start to write it, after the previous write has ended."""
        self.wait()
        copied = _copied(snapshot)
        self._writing = self._thread.submit(
            checkpoint.write, root, copied, keep=keep, keep_best=keep_best
        )

    @property
    def is_busy(self) -> bool:
        """Whether a checkpoint is being written now."""
        return self._writing is not None and not self._writing.done()

    def check(self) -> None:
        """Raise the error of the last write, if it has ended with one."""
        if not self.is_busy:
            self.wait()

    def wait(self) -> None:
        """Wait for the write in progress; raise its error, if any."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()


def _copied(snapshot: checkpoint.Snapshot) -> checkpoint.Snapshot:
    """A deep copy in CPU memory; a tensor that occurs twice is copied once."""
    known: dict[int, Tensor] = {}

    def copy(value: Any) -> Any:
        """Copy one value and everything in it."""
        if isinstance(value, Tensor):
            if id(value) not in known:
                known[id(value)] = value.detach().to("cpu", copy=True)
            return known[id(value)]
        if isinstance(value, Mapping):
            return {key: copy(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(copy(part) for part in value)
        return value

    return replace(snapshot, weights=copy(snapshot.weights), state=copy(snapshot.state))
