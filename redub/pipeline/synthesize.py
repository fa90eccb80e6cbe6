"""Stage 6 of 7: speak every line of a split with a trained run.

Reads a run's checkpoint, the words and the picture's features; nothing that was recorded of the
line itself. Writes ``runs/<name>/samples/<split>/NNNN.wav`` and ``.npz`` (mel, durations, F0,
graph attention) with an ``index.json`` that names the clip of each.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from redub.core.config import digest_of
from redub.core.errors import ConfigError, IntegrityError, UsageError
from redub.core.types import AudioSpec, Clip, FloatArray, Waveform
from redub.pipeline.files import commit_bytes, commit_file, commit_json, file_digest, read_json
from redub.pipeline.lines import LineMaker
from redub.pipeline.project import FEATURE_SETTINGS, Project, feature_of, features_among
from redub.pipeline.train import run_folder, trained_on
from redub.pipeline.vocoder_weights import open_vocoder, vocoder_key
from redub.training import checkpoint
from redub.training.pretrained import export_weights
from redub.training.synthesis import SpokenLine, TrainedDubber, load_dubber, synthesise
from redub.training.trainer import CHECKPOINTS

LINES_PER_BATCH = 16


@dataclass(frozen=True, slots=True)
class SynthesisSummary:
    lines: int
    left_out: int
    speech_s: float
    seconds: float
    reasons: str = ""

    @property
    def without(self) -> str:
        """The sentence about the lines that are not spoken; empty where all are."""
        return f"lines not spoken: {self.left_out} ({self.reasons})" if self.left_out else ""

    @property
    def rtf(self) -> float:
        """Real-time factor: seconds of work per second of speech."""
        return self.seconds / max(self.speech_s, 1e-9)


def make_vocoder(project: Project) -> Any:
    """The vocoder that ``[vocoder]`` names, at the project's mel settings and on its device.

    Raises:
        ModelRefusedError, ConfigError: see :func:`redub.pipeline.vocoder_weights.open_vocoder`.
    """
    return open_vocoder(project)


def open_dubber(project: Project, run: str) -> TrainedDubber:
    """The best checkpoint of a run (by validation loss), else its newest whole one.

    Raises:
        ConfigError: the run does not exist or has no checkpoint yet.
    """
    return load_dubber(spoken_checkpoint(project, run))


def spoken_checkpoint(project: Project, run: str) -> Path:
    """The checkpoint that a run speaks with."""
    root = run_folder(project, run) / CHECKPOINTS
    place = checkpoint.best(root) if root.is_dir() else None
    if place is None:
        raise ConfigError(
            f"run '{run}' has no checkpoint; run `redub train --run {run}` first",
            code="E-STAGE-TRAIN",
        )
    return place


def export_run(project: Project, run: str, target: Path) -> str:
    """Write the weights that a run speaks with as one file, and say which they are.

    Raises:
        ConfigError: no checkpoint yet. UsageError: the file is there already.
    """
    place = spoken_checkpoint(project, run)
    if target.exists():
        raise UsageError(f"{target} exists already; choose another name")
    card = run_folder(project, run) / "card.md"
    said = card.read_text(encoding="utf-8") if card.is_file() else ""
    commit_file(target, lambda temp: export_weights(place, temp, card=said))
    return f"{run} {place.name}, {target.stat().st_size / 2**20:.1f} MiB"


def _made_from(project: Project, run: str) -> str:
    """A digest of the checkpoint's manifest, which holds the SHA-256 of its weights."""
    place = spoken_checkpoint(project, run)
    return f"{place.name} {file_digest(place / checkpoint.MANIFEST)}"


def check_features(dubber: TrainedDubber, project: Project, maker_keys: dict[str, str]) -> None:
    """Refuse features made otherwise than those the run was trained on.

    Raises:
        IntegrityError: names the feature whose key differs, or the setting that chooses another
            feature (exit 6).
    """
    learnt, here = features_among(dubber.keys), feature_of(project.config.index)
    for modality, setting in FEATURE_SETTINGS.items():
        if learnt.get(modality, here[modality]) != here[modality]:
            raise IntegrityError(
                f"the run was trained with index.{setting} = '{learnt[modality]}', this project "
                f"has '{here[modality]}'; set the project file back or train again",
                code="E-INT-FEATURES",
            )
    for name, key in maker_keys.items():
        trained = dubber.keys.get(name)
        if trained is not None and trained != key:
            raise IntegrityError(
                f"the run was trained on {name} {trained}, this project has {key}; "
                "set the project file back or train again",
                code="E-INT-FEATURES",
            )


def synthesize(
    project: Project,
    *,
    run: str,
    split: str = "test",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SynthesisSummary:
    """Speak every line of a split.

    Raises:
        ConfigError: no checkpoint, or no line that can be spoken.
        IntegrityError: the run was trained on other features than the project has.
    """
    dubber = open_dubber(project, run)
    maker = LineMaker(project, dubber.system)
    check_features(dubber, project, maker.keys())
    if split not in ("train", "validation", "test"):
        raise UsageError(f"unknown split '{split}'; known: train, validation, test")
    published = "ground_truth_length" in getattr(dubber.model.config, "legacy", ())
    report = maker.recorded(split) if published else maker.scripted(split)
    seen = trained_on(project, run)
    leaks = [line.clip_id for line in report.lines if line.clip_id in seen]
    if leaks and split == "test":
        raise ConfigError(
            f"run '{run}' was trained on {len(leaks)} lines that are test lines now "
            f"({leaks[0]}, …); train a new run before it is judged on them",
            code="E-RUN-LEAK",
        )
    if not report.lines:
        raise ConfigError(
            f"no line of split '{split}' can be spoken: {report.reasons() or 'it is empty'}",
            code="E-STAGE-LINES",
        )
    folder = run_folder(project, run) / "samples" / split
    wanted = {
        line.clip_id: take_inputs(maker.by_id[line.clip_id], maker.retrieval)
        for line in report.lines
    }
    spoken_by = vocoder_key(project)
    if _is_spoken(folder, _made_from(project, run), spoken_by, wanted):
        return SynthesisSummary(0, len(report.left_out), 0.0, 0.0, report.reasons())
    voice = make_vocoder(project)
    began = time.perf_counter()
    speech = 0.0
    rows: list[dict[str, Any]] = []
    progress(0, len(report.lines))
    for start in range(0, len(report.lines), LINES_PER_BATCH):
        for spoken in synthesise(dubber, report.lines[start : start + LINES_PER_BATCH]):
            waveform = voice.vocode(spoken.mel)
            speech += waveform.duration_s
            written = _write(folder, len(rows), spoken, waveform)
            rows.append({**written, "inputs": wanted[spoken.clip_id]})
            progress(len(rows), len(report.lines))
    seconds = time.perf_counter() - began
    index = {
        "checkpoint": _made_from(project, run),
        "keys": dubber.keys,
        "vocoder": spoken_by,
        "lines": rows,
        "left_out": report.left_out,
    }
    commit_json(folder / "index.json", index)
    return SynthesisSummary(len(rows), len(report.left_out), speech, seconds, report.reasons())


def has_spoken(project: Project, run: str, split: str) -> bool:
    """Whether a split was spoken by the checkpoint that the run speaks with now."""
    folder = run_folder(project, run) / "samples" / split
    if not (folder / "index.json").is_file():
        return False
    return bool(read_index(folder)["checkpoint"] == _made_from(project, run))


def take_inputs(clip: Clip, retrieval: str) -> str:
    """What a take depends on beside the checkpoint: the clip's row and who was retrieved."""
    return digest_of([asdict(clip), retrieval])


def _is_spoken(folder: Path, made_from: str, spoken_by: str, wanted: dict[str, str]) -> bool:
    """Whether the folder holds exactly these takes of this checkpoint by this vocoder."""
    if not (folder / "index.json").is_file():
        return False
    index = read_index(folder)
    known = {row["clip_id"]: row["inputs"] for row in index["lines"]}
    is_same = index["checkpoint"] == made_from and index.get("vocoder") == spoken_by
    return is_same and known == wanted


def read_index(folder: Path) -> dict[str, Any]:
    """The list of a split's takes.

    Raises:
        IntegrityError: it is not what :func:`synthesize` writes.
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


def unspoken(project: Project, run: str, split: str) -> dict[str, str]:
    """Clip id to why a run has no take of it, as :func:`synthesize` noted it.

    Raises:
        IntegrityError: see :func:`read_index`.
    """
    return dict(read_index(run_folder(project, run) / "samples" / split).get("left_out", {}))


def _write(folder: Path, number: int, spoken: SpokenLine, waveform: Waveform) -> dict[str, Any]:
    name = f"{number:04d}"
    commit_bytes(folder / f"{name}.wav", wav_bytes(waveform))
    arrays: dict[str, Any] = {"mel": spoken.mel, "durations": spoken.durations}
    if spoken.f0_hz is not None:
        arrays["f0_hz"] = spoken.f0_hz
    for graph in spoken.graphs:
        arrays[f"{graph.stage}_between_nodes"] = graph.between_nodes
        arrays[f"{graph.stage}_from_frames"] = graph.from_frames.mean(axis=0)
        arrays[f"{graph.stage}_valid"] = graph.valid
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    commit_bytes(folder / f"{name}.npz", buffer.getvalue())
    digests = {suffix: file_digest(folder / f"{name}.{suffix}") for suffix in ("wav", "npz")}
    return {"clip_id": spoken.clip_id, "name": name, **digests}


def wav_bytes(waveform: Waveform) -> bytes:
    """A waveform as a 16-bit WAV file."""
    buffer = io.BytesIO()
    soundfile.write(
        buffer, waveform.samples, waveform.sample_rate_hz, format="WAV", subtype="PCM_16"
    )
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class Sample:
    """One synthesised line read back."""

    clip_id: str
    waveform: Waveform
    mel: FloatArray
    durations: Any
    inputs: str
    arrays: dict[str, Any]


def read_samples(
    project: Project, run: str, split: str, clip_ids: Collection[str] | None = None
) -> dict[str, Sample]:
    """Synthesised lines of a split by clip id, as the run's present checkpoint spoke them.

    Args:
        clip_ids: only these; all by default.

    Raises:
        ConfigError: the split was not synthesised yet (names the stage to run).
        IntegrityError: a sample file changed.
    """
    folder = run_folder(project, run) / "samples" / split
    if not (folder / "index.json").is_file():
        raise ConfigError(
            f"run '{run}' has not spoken split '{split}'; run `redub synthesize {run}`",
            code="E-STAGE-SYNTHESIZE",
        )
    index = read_index(folder)
    if index["checkpoint"] != _made_from(project, run):
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
