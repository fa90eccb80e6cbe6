"""Samples of a training run: a few fixed utterances, synthesised and plotted at every validation.

Reads utterances of the pack. Writes ``runs/<run>/progress/step_NNNNNNNN/`` (each folder appears
whole or not at all): ``line_NN.png`` and ``line_NN.wav`` per utterance, and ``index.json`` with
their SHA-256 and the distances from the recording.

Letters: T mel frames.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from redub.core.durable import commit_bytes, file_digest, new_folder
from redub.core.errors import ClipError, IntegrityError, StorageError
from redub.core.phonemes import PAUSES, id_of, symbol_of
from redub.core.records import JsonRecord
from redub.core.types import AudioSpec, FloatArray, Waveform
from redub.evaluation.duration_error import phoneme_error_ms
from redub.pages.sample_picture import Reading, comparison_png, plotting_library
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.folders import step_folder
from redub.pipeline.store.runs.takes import wav_bytes
from redub.pipeline.work.speaking import make_vocoder
from redub.training.data.lines import Utterance
from redub.training.data.pack import Pack
from redub.training.synthesis import SpokenLine, TrainedDubber, synthesise

log = logging.getLogger(__name__)

INDEX = "index.json"
_PAUSES = [id_of(symbol) for symbol in PAUSES]


class Distances(NamedTuple):
    """Distances of a synthesised utterance from its recording; None where not defined.

    ``mel_l1``: mean absolute difference of the log mels. ``f0_rmse_cents``: over frames voiced in
    both. ``duration_error_ms``: mean absolute difference per phoneme, pauses left out.
    """

    mel_l1: float | None
    f0_rmse_cents: float | None
    duration_error_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFiles:
    """One fixed utterance at one step: its files (kind to SHA-256) and :class:`Distances`."""

    clip_id: str
    name: str
    files: Mapping[str, str]
    mel_l1: float | None = None
    f0_rmse_cents: float | None = None
    duration_error_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleIndex(JsonRecord):
    """``index.json``: the samples of one step, from one split."""

    step: int
    split: str
    clips: tuple[SampleFiles, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressSample:
    """One fixed utterance at one step, read back and checked."""

    step: int
    clip_id: str
    split: str
    picture: bytes  # PNG
    waveform: Waveform
    distances: Distances


def sample_writer(
    project: Project,
    pack: Pack,
    folder: Path,
    *,
    count: int = 2,
    overfit: int | None = None,
    triples: bool = False,
) -> Callable[[int, TrainedDubber], None]:
    """Make the function that writes samples of the same few utterances at each validation.

    Args:
        folder: the run's.
        count: utterances, spread evenly over the validation split, else over the training split.
        overfit: if the run trains on the first utterances only, their number; samples are then
            taken from these.
        triples: only utterances with both adjacent utterances, as in the run's training.

    Returns:
        A function of the step and the averaged model. If synthesis or plotting fails, it logs one
        warning and writes no samples of that step; only a StorageError is raised.

    Raises:
        MissingExtraError: the extra 'plots' is not installed.
    """
    plotting_library()
    split, lines = _fixed_lines(pack, count, overfit, triples=triples)
    audio = project.config.audio
    vocoder = make_vocoder(project)

    def write(step: int, dubber: TrainedDubber) -> None:
        """Write the samples of one step."""
        try:
            spoken = [_whole(line) for line in synthesise(dubber, lines)]
            with new_folder(step_folder(folder, step)) as temp:
                rows = []
                for number, (line, take) in enumerate(zip(lines, spoken, strict=True)):
                    name = f"line_{number:02d}"
                    commit_bytes(temp / f"{name}.png", _picture(line, take, step, audio))
                    commit_bytes(temp / f"{name}.wav", wav_bytes(vocoder.vocode(take.mel)))
                    files = {kind: file_digest(temp / f"{name}.{kind}") for kind in ("png", "wav")}
                    measured = distances(line, take, audio)._asdict()
                    rows.append(
                        SampleFiles(clip_id=line.clip_id, name=name, files=files, **measured)
                    )
                SampleIndex(step=step, split=split, clips=tuple(rows)).write(temp / INDEX)
        except StorageError:
            raise
        except Exception as error:  # failed samples must not end hours of training
            log.warning("No samples of step %d: %s", step, str(error) or type(error).__name__)

    return write


def _fixed_lines(
    pack: Pack, count: int, overfit: int | None = None, *, triples: bool = False
) -> tuple[str, list[Utterance]]:
    has_validation = len(pack.lines("validation", triples=triples)) > 0
    split = "validation" if overfit is None and has_validation else "train"
    # With adjacent utterances, also for a system that does not read them.
    lines = pack.lines(split, context=True, triples=triples)[:overfit]
    count = min(count, len(lines))
    return split, [lines[place * len(lines) // count] for place in range(count)]


def distances(line: Utterance, spoken: SpokenLine, audio: AudioSpec) -> Distances:
    """Compare a synthesised utterance with its recording, frame by frame; both have T frames."""
    recorded = _recorded(line)
    hop_ms = 1000.0 * audio.hop_samples / audio.sample_rate_hz
    true, predicted = (
        np.stack([line.phonemes, lasts], axis=1).astype(np.int64)
        for lasts in (recorded.durations, spoken.durations)
    )
    return Distances(
        mel_l1=_known(np.abs(spoken.mel - recorded.mel).mean()),
        f0_rmse_cents=f0_rmse_cents(recorded.f0_hz, spoken.f0_hz),
        duration_error_ms=_known(
            phoneme_error_ms(true, predicted, frame_ms=hop_ms, pauses=_PAUSES)
        ),
    )


def f0_rmse_cents(recorded_hz: FloatArray | None, spoken_hz: FloatArray | None) -> float | None:
    """RMS interval in cents between two F0 tracks (T,), over frames voiced in both.

    None without F0 or without such a frame.
    """
    if recorded_hz is None or spoken_hz is None:
        return None
    voiced = (recorded_hz > 0) & (spoken_hz > 0)
    if not voiced.any():
        return None
    ratio = spoken_hz[voiced].astype(np.float64) / recorded_hz[voiced].astype(np.float64)
    return _known(np.sqrt(np.mean((1200.0 * np.log2(ratio)) ** 2)))


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _whole(spoken: SpokenLine) -> SpokenLine:
    if not np.isfinite(spoken.mel).all():
        raise ClipError(f"the mel of {spoken.clip_id} is not finite", code="E-SAMPLE-MEL")
    return spoken


def _recorded(line: Utterance) -> Reading:
    assert line.mel is not None  # a pack's lines are recorded
    assert line.durations is not None
    return Reading(np.asarray(line.mel, np.float32), line.f0_hz, line.durations)


def _picture(line: Utterance, spoken: SpokenLine, step: int, audio: AudioSpec) -> bytes:
    return comparison_png(
        Reading(spoken.mel, spoken.f0_hz, spoken.durations),
        _recorded(line),
        [symbol_of(int(phoneme)) for phoneme in line.phonemes],
        title=f"step {step}: {line.clip_id}",
        hop_s=audio.hop_samples / audio.sample_rate_hz,
    )


# -- read back


def read_sample(folder: Path, step: int, number: int = 0) -> ProgressSample:
    """Read the sample of one fixed utterance at one step.

    Args:
        number: of the utterance, from 0.

    Raises:
        IntegrityError: the index or a file is gone or changed.
    """
    place = step_folder(folder, step)
    index = _index(place)
    if number >= len(index.clips):
        raise IntegrityError(f"{_shown(place / INDEX)} is damaged", code="E-INT-JSON")
    row = index.clips[number]
    content = {}
    for kind in ("png", "wav"):
        path = place / f"line_{number:02d}.{kind}"
        if not path.is_file() or file_digest(path) != row.files.get(kind):
            raise IntegrityError(f"{_shown(path)} is gone or is not what training wrote")
        content[kind] = path.read_bytes()
    try:
        samples, rate = soundfile.read(io.BytesIO(content["wav"]), dtype="float32")
    except soundfile.LibsndfileError as error:
        raise IntegrityError(f"{_shown(path)} cannot be read") from error
    return ProgressSample(
        step=step,
        clip_id=row.clip_id,
        split=index.split,
        picture=content["png"],
        waveform=Waveform(samples, rate),
        distances=Distances(row.mel_l1, row.f0_rmse_cents, row.duration_error_ms),
    )


def _index(place: Path) -> SampleIndex:
    path = place / INDEX
    try:
        return SampleIndex.read(path)
    except (OSError, IntegrityError) as error:
        raise IntegrityError(f"{_shown(path)} is gone or damaged", code="E-INT-JSON") from error


def _shown(path: Path) -> str:
    """The last four parts of a path, from the run's folder on, for messages."""
    return "/".join(path.parts[-4:])
