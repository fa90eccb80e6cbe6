"""Takes: the utterances that a run synthesised for a split.

Reads ``runs/<run>/samples/<split>/``: ``index.json``, one ``.wav`` and one ``.npz`` per take.
Writes nothing: ``stages/synthesize.py`` makes them.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import soundfile
from numpy.typing import NDArray

from redub.core.config import digest_of
from redub.core.durable import file_digest
from redub.core.errors import ConfigError, IntegrityError
from redub.core.records import JsonRecord
from redub.core.types import Clip, FloatArray, Waveform
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.folders import run_folder, spoken_checkpoint
from redub.pipeline.store.runs.vocoders import vocoder_key
from redub.training import checkpoint

INDEX = "index.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeFiles:
    """One take: ``<name>.wav`` and ``<name>.npz`` with their SHA-256, and :func:`take_inputs`."""

    clip_id: str
    name: str
    wav: str
    npz: str
    inputs: str

    @property
    def digests(self) -> dict[str, str]:
        """File name to SHA-256."""
        return {f"{self.name}.wav": self.wav, f"{self.name}.npz": self.npz}


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeIndex(JsonRecord):
    """The takes of one split: ``index.json``.

    checkpoint: :func:`made_from` at the time. keys: those of the checkpoint. vocoder:
    :func:`vocoder_key` at the time. left_out: clip id to the reason why it has no take.
    """

    ADVICE: ClassVar[str] = "run `redub synthesize` again"

    checkpoint: str
    keys: Mapping[str, str] = field(default_factory=dict)
    vocoder: str = ""
    lines: tuple[TakeFiles, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


def made_from(project: Project, run: str) -> str:
    """The checkpoint that synthesis uses: its name and the SHA-256 of its manifest."""
    place = spoken_checkpoint(project, run)
    return f"{place.name} {file_digest(place / checkpoint.MANIFEST)}"


def has_spoken(project: Project, run: str, split: str) -> bool:
    """Whether a split was synthesised with the run's present :func:`spoken_checkpoint`."""
    folder = run_folder(project, run) / "samples" / split
    if not (folder / INDEX).is_file():
        return False
    return TakeIndex.read(folder / INDEX).checkpoint == made_from(project, run)


def take_inputs(clip: Clip, retrieval: str) -> str:
    """Digest of what a take depends on besides the checkpoint: the clip's row and the retrieval."""
    return digest_of([asdict(clip), retrieval])


def wav_bytes(waveform: Waveform) -> bytes:
    """A waveform as a 16-bit WAV file."""
    buffer = io.BytesIO()
    soundfile.write(
        buffer, waveform.samples, waveform.sample_rate_hz, format="WAV", subtype="PCM_16"
    )
    return buffer.getvalue()


def npz_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Arrays by name as a compressed ``.npz`` file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # none is called allow_pickle
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class Sample:
    """One take, read back and checked.

    mel: (T, C) natural log. durations: (P,) frames per phoneme. inputs: :func:`take_inputs` of the
    take. arrays: all other arrays of its ``.npz`` file.
    """

    clip_id: str
    waveform: Waveform
    mel: FloatArray
    durations: NDArray[Any]
    inputs: str
    arrays: Mapping[str, NDArray[Any]]


def read_samples(
    project: Project, run: str, split: str, clip_ids: Collection[str] | None = None
) -> dict[str, Sample]:
    """Read the takes of a split by clip id.

    Args:
        clip_ids: only these clips; all by default.

    Raises:
        ConfigError: the split was not synthesised yet, or with another checkpoint or vocoder (names
            the stage to run).
        IntegrityError: a file is gone or changed.
    """
    folder = run_folder(project, run) / "samples" / split
    if not (folder / INDEX).is_file():
        raise ConfigError(
            f"run '{run}' has not spoken split '{split}'; run `redub synthesize {run}`",
            code="E-STAGE-SYNTHESIZE",
        )
    index = TakeIndex.read(folder / INDEX)
    if index.checkpoint != made_from(project, run):
        raise ConfigError(
            f"run '{run}' was trained on after it spoke split '{split}'; "
            f"run `redub synthesize {run}`",
            code="E-STAGE-SYNTHESIZE",
        )
    if index.vocoder != (wanted := vocoder_key(project)):
        raise ConfigError(
            f"run '{run}' spoke split '{split}' with the vocoder {index.vocoder}, the "
            f"project's is {wanted} now; run `redub synthesize {run}`",
            code="E-STAGE-SYNTHESIZE",
        )
    samples = {}
    for take in index.lines:
        if clip_ids is not None and take.clip_id not in clip_ids:
            continue
        for name, digest in take.digests.items():
            path = folder / name
            if not path.is_file() or file_digest(path) != digest:
                raise IntegrityError(f"{path} is not what was synthesised")
        samples[take.clip_id] = _read(folder, take)
    return samples


def _read(folder: Path, take: TakeFiles) -> Sample:
    values, rate = soundfile.read(folder / f"{take.name}.wav", dtype="float32")
    with np.load(folder / f"{take.name}.npz", allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return Sample(
        clip_id=take.clip_id,
        waveform=Waveform(values, rate),
        mel=arrays.pop("mel"),
        durations=arrays.pop("durations"),
        inputs=take.inputs,
        arrays=arrays,
    )
