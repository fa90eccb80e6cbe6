"""Stage 6 of 7: synthesise every utterance of a split with a trained run.

Reads a run's checkpoint, the words and the visual features; nothing of the recorded sound of the
utterance itself. Writes ``runs/<name>/samples/<split>/NNNN.wav`` and ``.npz`` (mel, durations, F0,
graph attention), and an ``index.json`` that names the clip of each.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from redub.core.durable import commit_bytes, file_digest
from redub.core.errors import ConfigError, UsageError
from redub.core.progress import Progress
from redub.core.types import Waveform
from redub.pipeline.store.packs.lines import LineReport, UtteranceBuilder
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.folders import run_folder, trained_on
from redub.pipeline.store.runs.takes import (
    INDEX,
    TakeFiles,
    TakeIndex,
    made_from,
    npz_bytes,
    take_inputs,
    wav_bytes,
)
from redub.pipeline.store.runs.vocoders import vocoder_key
from redub.pipeline.store.tables import Store
from redub.pipeline.store.writing import writing
from redub.pipeline.work.speaking import check_features, make_vocoder, open_dubber
from redub.training.synthesis import SpokenLine, synthesise

LINES_PER_BATCH = 16


@dataclass(frozen=True, slots=True)
class SynthesisSummary:
    """Utterances spoken and left out, seconds of speech, and seconds of work.

    ``lines`` is 0 where the takes were up to date. ``reasons``: why utterances were left out.
    """

    lines: int
    left_out: int
    speech_s: float
    seconds: float
    reasons: str = ""

    @property
    def without(self) -> str:
        """A sentence about the utterances that are not spoken; empty where all are."""
        return f"lines not spoken: {self.left_out} ({self.reasons})" if self.left_out else ""

    @property
    def rtf(self) -> float:
        """Real-time factor: seconds of work per second of speech."""
        return self.seconds / max(self.speech_s, 1e-9)


def synthesize(
    project: Project,
    *,
    run: str,
    split: str = "test",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SynthesisSummary:
    """Synthesise every utterance of a split, unless the takes are up to date.

    Args:
        split: train, validation or test.
        progress: given the number of utterances spoken, and of all.

    Raises:
        UsageError: an unknown split.
        ConfigError: no checkpoint, no utterance that can be spoken, or E-RUN-LEAK, the run was
            trained on utterances that are in the test split now.
        IntegrityError: the run was trained on other features than the project has.
    """
    dubber = open_dubber(project, run)
    builder = UtteranceBuilder(Store(project), dubber.system)
    check_features(dubber, project, builder.keys())
    if split not in ("train", "validation", "test"):
        raise UsageError(f"unknown split '{split}'; known: train, validation, test")
    published = "ground_truth_length" in getattr(dubber.model.config, "legacy", ())
    report = builder.recorded(split) if published else builder.scripted(split)
    _check_lines(project, run, split, report)
    folder = run_folder(project, run) / "samples" / split
    wanted = {
        line.clip_id: take_inputs(builder.by_id[line.clip_id], builder.retrieval)
        for line in report.lines
    }
    spoken_by = vocoder_key(project)
    if _is_spoken(folder, made_from(project, run), spoken_by, wanted):
        return SynthesisSummary(0, len(report.left_out), 0.0, 0.0, report.reasons())
    voice = make_vocoder(project)
    began = time.perf_counter()
    speech = 0.0
    takes: list[TakeFiles] = []
    progress(0, len(report.lines))
    for start in range(0, len(report.lines), LINES_PER_BATCH):
        for spoken in synthesise(dubber, report.lines[start : start + LINES_PER_BATCH]):
            waveform = voice.vocode(spoken.mel)
            speech += waveform.duration_s
            takes.append(_write(folder, len(takes), spoken, waveform, wanted[spoken.clip_id]))
            progress(len(takes), len(report.lines))
    seconds = time.perf_counter() - began
    index = TakeIndex(
        checkpoint=made_from(project, run),
        keys=dubber.keys,
        vocoder=spoken_by,
        lines=tuple(takes),
        left_out=report.left_out,
    )
    index.write(folder / INDEX)
    return SynthesisSummary(len(takes), len(report.left_out), speech, seconds, report.reasons())


def _check_lines(project: Project, run: str, split: str, report: LineReport) -> None:
    """Refuse an empty split, and a test split with utterances that the run was trained on.

    Raises:
        ConfigError: E-RUN-LEAK, E-STAGE-LINES.
    """
    seen = trained_on(project, run)
    leaks = [line.clip_id for line in report.lines if line.clip_id in seen]
    if leaks and split == "test":
        raise ConfigError(
            f"run '{run}' was trained on {len(leaks)} lines that are test lines now "
            f"({leaks[0]}, …); train a new run before you evaluate on them",
            code="E-RUN-LEAK",
        )
    if not report.lines:
        raise ConfigError(
            f"no line of split '{split}' can be spoken: {report.reasons() or 'it is empty'}",
            code="E-STAGE-LINES",
        )


def _is_spoken(folder: Path, made_from: str, spoken_by: str, wanted: dict[str, str]) -> bool:
    """Whether the folder holds exactly these takes, by this checkpoint and this vocoder."""
    if not (folder / INDEX).is_file():
        return False
    index = TakeIndex.read(folder / INDEX)
    known = {take.clip_id: take.inputs for take in index.lines}
    is_same = index.checkpoint == made_from and index.vocoder == spoken_by
    return is_same and known == wanted


def unspoken(project: Project, run: str, split: str) -> dict[str, str]:
    """Why a run has no take of some clips: clip id → reason, as :func:`synthesize` wrote it.

    Raises:
        IntegrityError: the index of the takes is damaged.
    """
    return dict(TakeIndex.read(run_folder(project, run) / "samples" / split / INDEX).left_out)


def _write(
    folder: Path, number: int, spoken: SpokenLine, waveform: Waveform, inputs: str
) -> TakeFiles:
    name = f"{number:04d}"
    commit_bytes(folder / f"{name}.wav", wav_bytes(waveform))
    arrays: dict[str, NDArray[Any]] = {"mel": spoken.mel, "durations": spoken.durations}
    if spoken.f0_hz is not None:
        arrays["f0_hz"] = spoken.f0_hz
    for graph in spoken.graphs:
        arrays[f"{graph.stage}_between_nodes"] = graph.between_nodes
        arrays[f"{graph.stage}_from_frames"] = graph.from_frames.mean(axis=0)
        arrays[f"{graph.stage}_valid"] = graph.valid
    commit_bytes(folder / f"{name}.npz", npz_bytes(arrays))
    return TakeFiles(
        clip_id=spoken.clip_id,
        name=name,
        wav=file_digest(folder / f"{name}.wav"),
        npz=file_digest(folder / f"{name}.npz"),
        inputs=inputs,
    )


def run_synthesize(
    project: Project, *, run: str, split: str, progress: Progress
) -> SynthesisSummary:
    """Run stage 6 under the project lock; see :func:`synthesize`."""
    with writing(project, "synthesize", run):
        return synthesize(project, run=run, split=split, progress=progress)
