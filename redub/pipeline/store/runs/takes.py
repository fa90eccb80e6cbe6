"""Takes: the utterances that a run synthesised for a split.

Reads ``runs/<run>/samples/<split>/``: ``index.json``, one ``.wav`` and one ``.npz`` per take.
Writes nothing: ``stages/synthesize.py`` makes them.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from redub.core.config import digest_of
from redub.core.durable import file_digest, read_json
from redub.core.errors import ConfigError, IntegrityError
from redub.core.types import AudioSpec, Clip, FloatArray, Waveform
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.folders import run_folder, spoken_checkpoint
from redub.pipeline.store.runs.vocoders import vocoder_key
from redub.training import checkpoint


def made_from(project: Project, run: str) -> str:
    """The checkpoint that synthesis uses: its name and the SHA-256 of its manifest."""
    place = spoken_checkpoint(project, run)
    return f"{place.name} {file_digest(place / checkpoint.MANIFEST)}"


def has_spoken(project: Project, run: str, split: str) -> bool:
    """Whether a split was synthesised with the run's present :func:`spoken_checkpoint`."""
    folder = run_folder(project, run) / "samples" / split
    if not (folder / "index.json").is_file():
        return False
    return bool(read_index(folder)["checkpoint"] == made_from(project, run))


def take_inputs(clip: Clip, retrieval: str) -> str:
    """Digest of what a take depends on besides the checkpoint: the clip's row and the retrieval."""
    return digest_of([asdict(clip), retrieval])


def read_index(folder: Path) -> dict[str, Any]:
    """Read the index of a split's takes.

    Raises:
        IntegrityError: it lacks what ``redub synthesize`` writes.
    """
    index = read_json(folder / "index.json")
    rows = index.get("lines") if isinstance(index, dict) else None
    names = {"clip_id", "name", "wav", "npz", "inputs"}
    if not isinstance(rows, list) or "checkpoint" not in index or any(names - set(r) for r in rows):
        raise IntegrityError(
            f"{folder / 'index.json'} is damaged; run `redub synthesize` again", code="E-INT-JSON"
        )
    found: dict[str, Any] = index
    return found


def wav_bytes(waveform: Waveform) -> bytes:
    """A waveform as a 16-bit WAV file."""
    buffer = io.BytesIO()
    soundfile.write(
        buffer, waveform.samples, waveform.sample_rate_hz, format="WAV", subtype="PCM_16"
    )
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
    durations: Any
    inputs: str
    arrays: dict[str, Any]


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
    if not (folder / "index.json").is_file():
        raise ConfigError(
            f"run '{run}' has not spoken split '{split}'; run `redub synthesize {run}`",
            code="E-STAGE-SYNTHESIZE",
        )
    index = read_index(folder)
    if index["checkpoint"] != made_from(project, run):
        raise ConfigError(
            f"run '{run}' was trained on after it spoke split '{split}'; "
            f"run `redub synthesize {run}`",
            code="E-STAGE-SYNTHESIZE",
        )
    if index.get("vocoder") != (wanted := vocoder_key(project)):
        raise ConfigError(
            f"run '{run}' spoke split '{split}' with the vocoder {index.get('vocoder')}, the "
            f"project's is {wanted} now; run `redub synthesize {run}`",
            code="E-STAGE-SYNTHESIZE",
        )
    samples = {}
    for row in index["lines"]:
        if clip_ids is not None and row["clip_id"] not in clip_ids:
            continue
        for suffix in ("wav", "npz"):
            path = folder / f"{row['name']}.{suffix}"
            if not path.is_file() or file_digest(path) != row[suffix]:
                raise IntegrityError(f"{path} is not what was synthesised")
        samples[row["clip_id"]] = _read(folder, row, project.config.audio)
    return samples


def _read(folder: Path, row: dict[str, Any], audio: AudioSpec) -> Sample:
    values, rate = soundfile.read(folder / f"{row['name']}.wav", dtype="float32")
    with np.load(folder / f"{row['name']}.npz", allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return Sample(
        clip_id=row["clip_id"],
        waveform=Waveform(values, rate),
        mel=arrays.pop("mel"),
        durations=arrays.pop("durations"),
        inputs=row["inputs"],
        arrays=arrays,
    )
