"""Checkpoints: all files of a step appear together, or not at all.

Reads and writes ``step_NNNNNNNN/``:

- ``weights.safetensors``: the weights for synthesis.
- ``state.pt``: what a resume needs: optimiser, raw weights, random states, position in the data.
- ``config.json``: what the weights mean: system, settings, widths, scaler, keys, code version.
- ``manifest.json``: the format, the step and SHA-256 of the other three.

A directory whose bytes do not match its manifest is skipped.
"""

from __future__ import annotations

import json
import logging
import math
import pickle
import random
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, TypedDict, cast

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from redub.core.durable import file_digest, new_folder, write_all
from redub.core.errors import IntegrityError, ModelRefusedError, StorageError
from redub.core.records import Json, JsonRecord

log = logging.getLogger(__name__)

FORMAT = 2  # 1: redub 0.1, with other names of settings and parameters
WEIGHTS, STATE, RECORD, MANIFEST = "weights.safetensors", "state.pt", "config.json", "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The content of one checkpoint.

    weights: tensors by name. state: only nested dicts, lists, tuples, numbers and tensors, so that
    no code runs when it is loaded. record: JSON values.
    """

    step: int
    weights: Mapping[str, Tensor]
    state: Mapping[str, Any]
    record: Mapping[str, Json]
    validation_loss: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest(JsonRecord):
    """``manifest.json``; ``sha256``: file name to digest. Format 1 was not written."""

    ADVICE: ClassVar[str] = "use another checkpoint"

    format: int = 1
    step: int
    validation_loss: float | None
    sha256: Mapping[str, str]


class RandomStates(TypedDict):
    """The states of torch, CUDA, NumPy and Python's generators, as plain values and tensors."""

    torch: Tensor
    cuda: list[Tensor]
    numpy: tuple[str, Tensor, int, int, float]
    python: tuple[int, list[int], float | None]


def directory_of(root: Path, step: int) -> Path:
    """The directory of a step below a run's checkpoints."""
    return root / f"step_{step:08d}"


def step_of(directory: Path) -> int:
    """The step of a checkpoint directory, from its name."""
    return int(directory.name.removeprefix("step_"))


def write(root: Path, snapshot: Snapshot, *, keep: int, keep_best: int = 1) -> Path:
    """Write a checkpoint to a temporary directory, rename it, and delete old checkpoints.

    The newest ``keep`` checkpoints and the ``keep_best`` with the lowest validation losses remain.

    Raises:
        StorageError: the disk is full, read-only or missing.
    """
    target = directory_of(root, snapshot.step)
    try:
        with new_folder(target) as folder:
            weights = {
                name: value.detach().cpu().contiguous() for name, value in snapshot.weights.items()
            }
            write_all(folder / WEIGHTS, safetensors.torch.save(weights))
            _write_state(folder / STATE, snapshot.state)
            write_all(folder / RECORD, _json(snapshot.record))
            sums = {name: file_digest(folder / name) for name in (WEIGHTS, STATE, RECORD)}
            manifest = Manifest(
                format=FORMAT,
                step=snapshot.step,
                validation_loss=snapshot.validation_loss,
                sha256=sums,
            )
            write_all(folder / MANIFEST, _json(manifest.to_json()))
    except OSError as error:  # one that durable.py has no sentence for
        raise StorageError(
            f"cannot write checkpoint {target}: {error}; earlier checkpoints are intact"
        ) from error
    _thin_out(root, keep, keep_best)
    return target


def read(directory: Path) -> Snapshot:
    """Read a checkpoint, after a check of all bytes.

    Raises:
        IntegrityError: a file is missing or changed.
        ModelRefusedError: another version of redub wrote it, in another format.
    """
    manifest = _manifest(directory)
    check_format(manifest.format, str(directory))
    for name, wanted in manifest.sha256.items():
        path = directory / name
        if not path.is_file() or file_digest(path) != wanted:
            raise IntegrityError(f"{path} is not the file that was written; use another checkpoint")
    return Snapshot(
        step=manifest.step,
        weights=safetensors.torch.load((directory / WEIGHTS).read_bytes()),
        state=_loaded_state(directory / STATE),
        record=json.loads((directory / RECORD).read_text(encoding="utf-8")),
        validation_loss=manifest.validation_loss,
    )


def check_format(found: Any, name: str) -> None:
    """Refuse a checkpoint or weights file of another format; ``name`` is for the message.

    Raises:
        ModelRefusedError: written by an older or a newer redub, with what to do.
    """
    if found == FORMAT:
        return
    if isinstance(found, int) and found > FORMAT:
        raise ModelRefusedError(
            f"{name} was written by a newer redub (format {found}; this one reads {FORMAT}); "
            "update redub"
        )
    raise ModelRefusedError(
        f"{name} was written by redub 0.1 (format {found}; this one reads {FORMAT}), which named "
        "settings and parameters differently; train the run again under another name, or use it "
        "with redub 0.1"
    )


def steps_in(root: Path) -> list[Path]:
    """Checkpoint directories, newest first; they may be damaged."""
    named = (path for path in root.glob("step_*") if re.fullmatch(r"step_\d{8,12}", path.name))
    return sorted((path for path in named if path.is_dir()), reverse=True)


def newest(root: Path) -> Snapshot | None:
    """Read the newest intact checkpoint, None if there is none; warn about damaged ones.

    Raises:
        IntegrityError: checkpoints exist, and all are damaged; the run must not silently start
            from the beginning.
    """
    directories = steps_in(root)
    for directory in directories:
        try:
            return read(directory)
        except IntegrityError as error:
            log.warning("Checkpoint %s is damaged and was skipped: %s", directory.name, error)
    if directories:
        raise IntegrityError(
            f"every checkpoint of {root.parent.name} is damaged; restore one from a copy, or start "
            "over without resuming"
        )
    return None


def best(root: Path) -> Path | None:
    """The checkpoint with the lowest validation loss, else the newest; None if there is none."""
    return next(iter([*_ranked(root), *steps_in(root)]), None)


def _ranked(root: Path) -> list[Path]:
    """Checkpoints with a validation loss, lowest loss first; newer ones first among equals."""
    losses = {directory: _loss(directory) for directory in steps_in(root)}
    scored = {directory: loss for directory, loss in losses.items() if loss is not None}
    return sorted(scored, key=scored.__getitem__)


def remove(directory: Path) -> None:
    """Delete a checkpoint; its manifest goes first, so a partly deleted one is never read."""
    (directory / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(directory)


def random_states() -> RandomStates:
    """The random states of torch, NumPy and Python, as plain values for :class:`Snapshot`."""
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    version, numbers, gauss = random.getstate()
    words = torch.from_numpy(np.asarray(keys, np.int64))
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": (str(name), words, int(position), int(has_gauss), float(cached)),
        "python": (version, list(numbers), gauss),
    }


def restore_random_states(states: RandomStates) -> None:
    """Set the random states that :func:`random_states` returned."""
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state(  # noqa: NPY002
        (name, keys.numpy().astype(np.uint32), position, has_gauss, cached)
    )
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))


def _thin_out(root: Path, keep: int, keep_best: int) -> None:
    best_ones = _ranked(root)[:keep_best]
    for directory in steps_in(root)[keep:]:
        if directory not in best_ones:
            remove(directory)


def _loss(directory: Path) -> float | None:
    try:
        return _manifest(directory).validation_loss
    except IntegrityError:
        return None


def _manifest(directory: Path) -> Manifest:
    path = directory / MANIFEST
    try:
        manifest = Manifest.read(path)
    except OSError as error:
        raise IntegrityError(f"{path} cannot be read ({error}); {Manifest.ADVICE}") from error
    loss = manifest.validation_loss
    is_loss = loss is None or math.isfinite(loss)
    is_whole = set(manifest.sha256) == {WEIGHTS, STATE, RECORD}
    if is_whole and is_loss and manifest.step == step_of(directory):
        return manifest
    raise IntegrityError(f"{path} does not describe this checkpoint; {Manifest.ADVICE}")


def _loaded_state(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise IntegrityError(f"{path} cannot be loaded: {error}") from error
    return state


def _write_state(path: Path, state: Mapping[str, Any]) -> None:
    with path.open("wb") as file:
        kept = _Refusals(file)
        try:
            torch.save(dict(state), cast(BinaryIO, kept))
        except RuntimeError:
            if kept.refusal is not None:
                raise kept.refusal from None
            raise


class _Refusals:
    """A file that keeps the OSError of a write; torch reports a full disk as a wrong position."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.refusal: OSError | None = None

    def write(self, data: bytes) -> int:
        """Write bytes; remember and raise an OSError."""
        try:
            return self.file.write(data)
        except OSError as error:
            self.refusal = error
            raise

    def flush(self) -> None:
        """Flush the file."""
        self.file.flush()


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
