"""Which lines go together, and how they become one padded batch.

The order of an epoch follows from (seed, epoch) alone, so a run can go on in the middle of one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from redub.core.errors import ConfigError
from redub.core.types import MODALITIES, AudioSpec, FloatArray
from redub.model.batch import DubbingBatch, FeatureWidths, Prosody
from redub.training.lines import DubbingLine, FeatureScaler, log_energy, pitch_of

SHORTEST_TIMBRE = 16
"""Frames the voice summary needs; a shorter reference is played in a loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchingConfig:
    """How much goes into one step.

    ``frames_per_batch`` bounds padded mel frames (longest line times lines); a line longer than
    that is a batch of its own. ``timbre_frames`` cuts the reference mel, starting at a place that
    changes with the epoch. ``bucket_batches``: lines are sorted by length within pools of about
    this many batches, so batches are even and their order stays random.
    """

    frames_per_batch: int = 16_000
    lines_per_batch: int = 32
    timbre_frames: int = 400
    bucket_batches: int = 8

    def __post_init__(self) -> None:
        if min(self.frames_per_batch, self.lines_per_batch, self.bucket_batches) < 1:
            raise ConfigError("frames_per_batch, lines_per_batch and bucket_batches want >= 1")
        if self.timbre_frames < SHORTEST_TIMBRE:
            raise ConfigError(f"timbre_frames wants >= {SHORTEST_TIMBRE}")


def widths_of(
    lines: Sequence[DubbingLine], sound: AudioSpec, *, phonemes: int = 88
) -> FeatureWidths:
    """The widths of the training features; a feature that no line has gets width 1."""
    found: dict[str, int] = {}
    for line in lines:
        found.setdefault("speaker", line.speaker_vector.shape[-1])
        if line.lips is not None:
            found.setdefault("lips", line.lips.shape[-1])
        for modality in MODALITIES:
            if modality in line.vectors:
                found.setdefault(modality, line.vectors[modality].shape[-1])
            if modality in line.hits and len(line.hits[modality].scores):
                found.setdefault("audio", line.hits[modality].audio.shape[-1])
    names = ("lips", "speaker", "audio", *MODALITIES)
    widths = {name: found.get(name, 1) for name in names}
    return FeatureWidths(sound=sound, phonemes=phonemes, **widths)


def epoch_batches(
    frames: Sequence[int], config: BatchingConfig, *, seed: int, epoch: int
) -> list[list[int]]:
    """The batches of one epoch, as line numbers; every line is in exactly one of them.

    Args:
        frames: mel frames of every line.
    """
    random = np.random.default_rng((seed, epoch))
    order = [int(number) for number in random.permutation(len(frames))]
    pool_size = config.bucket_batches * config.lines_per_batch
    batches: list[list[int]] = []
    for start in range(0, len(order), pool_size):
        pool = sorted(order[start : start + pool_size], key=lambda number: frames[number])
        batches.extend(_filled(pool, frames, config))
    return [batches[int(place)] for place in random.permutation(len(batches))]


def plain_batches(frames: Sequence[int], config: BatchingConfig) -> list[list[int]]:
    """All lines once, sorted by length: for validation and synthesis."""
    order = sorted(range(len(frames)), key=lambda number: frames[number])
    return list(_filled(order, frames, config))


def _filled(
    numbers: Sequence[int], frames: Sequence[int], config: BatchingConfig
) -> Iterator[list[int]]:
    """Cut lines sorted by length into batches within the budget."""
    batch: list[int] = []
    for number in numbers:
        padded = frames[number] * (len(batch) + 1)  # sorted, so the newest is the longest
        if batch and (padded > config.frames_per_batch or len(batch) == config.lines_per_batch):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def collate(
    lines: Sequence[DubbingLine],
    scaler: FeatureScaler,
    widths: FeatureWidths,
    *,
    timbre_frames: int,
    epoch: int = 0,
) -> DubbingBatch:
    """Standardise and pad lines; the one place where masks are made.

    What only recorded lines have is in the batch if all of its lines have it. ``epoch`` chooses
    among a line's timbre mels and where to cut them.
    """
    phonemes = [torch.as_tensor(np.asarray(line.phonemes, np.int64)) for line in lines]
    lips = [
        np.zeros((0, widths.lips), np.float32) if line.lips is None else line.lips for line in lines
    ]
    timbres = [_timbre(line, timbre_frames, epoch) for line in lines]
    mel_frames = torch.tensor([line.mel_frames for line in lines])
    hits = {modality: _padded_hits(lines, modality, scaler, widths) for modality in MODALITIES}
    scene, face, text = (_vectors(lines, modality, scaler, widths) for modality in MODALITIES)
    return DubbingBatch(
        clip_ids=tuple(line.clip_id for line in lines),
        phonemes=_pad(phonemes),
        phonemes_valid=_real([len(row) for row in phonemes]),
        mel_frames=mel_frames,
        frames_valid=_real([line.mel_frames for line in lines]),
        lips=_pad([torch.from_numpy(scaler.apply("lips", row)) for row in lips], at_least=1),
        lips_valid=_real([len(row) for row in lips], at_least=1),
        speaker=torch.from_numpy(
            scaler.apply("speaker", np.stack([line.speaker_vector for line in lines]))
        ),
        timbre=_pad([torch.from_numpy(scaler.apply("mel", row)) for row in timbres]),
        timbre_valid=_real([len(row) for row in timbres]),
        modalities=(scene, face, text),
        modalities_valid=torch.tensor([[m in line.vectors for m in MODALITIES] for line in lines]),
        hits=(hits["scene"].vectors, hits["face"].vectors, hits["text"].vectors),
        hits_audio=torch.stack([hits[modality].audio for modality in MODALITIES], dim=1),
        hits_score=torch.stack([hits[modality].score for modality in MODALITIES], dim=1),
        hits_valid=torch.stack([hits[modality].valid for modality in MODALITIES], dim=1),
        emotions=torch.tensor([line.emotion for line in lines]),
        durations=_durations(lines),
        mel=_mel(lines, scaler),
        prosody=_prosody(lines, scaler),
    )


@dataclass(frozen=True, slots=True)
class _PaddedHits:
    vectors: Tensor  # (B, K, modality width)
    audio: Tensor  # (B, K, audio)
    score: Tensor  # (B, K)
    valid: Tensor  # (B, K) bool


def _padded_hits(
    lines: Sequence[DubbingLine], modality: str, scaler: FeatureScaler, widths: FeatureWidths
) -> _PaddedHits:
    most = max(
        (len(hits.scores) for line in lines for hits in line.hits.values()), default=0
    )  # K is the same for all modalities, so that their graphs line up
    width = widths.modalities[MODALITIES.index(modality)]
    vectors = torch.zeros(len(lines), most, width)
    audio = torch.zeros(len(lines), most, widths.audio)
    score = torch.zeros(len(lines), most)
    valid = torch.zeros(len(lines), most, dtype=torch.bool)
    for row, line in enumerate(lines):
        hits = line.hits.get(modality)
        if hits is None or not len(hits.scores):
            continue
        count = len(hits.scores)
        vectors[row, :count] = torch.from_numpy(scaler.apply(modality, hits.vectors))
        audio[row, :count] = torch.from_numpy(scaler.apply("audio", hits.audio))
        score[row, :count] = torch.as_tensor(hits.scores)
        valid[row, :count] = True
    return _PaddedHits(vectors, audio, score, valid)


def _vectors(
    lines: Sequence[DubbingLine], modality: str, scaler: FeatureScaler, widths: FeatureWidths
) -> Tensor:
    width = widths.modalities[MODALITIES.index(modality)]
    rows = torch.zeros(len(lines), width)
    for row, line in enumerate(lines):
        if modality in line.vectors:
            rows[row] = torch.from_numpy(scaler.apply(modality, line.vectors[modality]))
    return rows


def _timbre(line: DubbingLine, most: int, epoch: int) -> FloatArray:
    """One of the line's reference mels, cut to ``most`` frames or looped to the shortest legal."""
    mel = line.timbres[epoch % len(line.timbres)]
    if len(mel) < SHORTEST_TIMBRE:
        return np.take(mel, np.arange(SHORTEST_TIMBRE), axis=0, mode="wrap")
    # Successive epochs start at places spread by the golden ratio, so all of a long mel is heard.
    start = int((epoch * 0.6180339887) % 1.0 * max(len(mel) - most, 0))
    return mel[start : start + most]


def _durations(lines: Sequence[DubbingLine]) -> Tensor | None:
    rows = [line.durations for line in lines if line.durations is not None]
    if len(rows) < len(lines):
        return None
    return _pad([torch.as_tensor(np.asarray(row, np.int64)) for row in rows])


def _mel(lines: Sequence[DubbingLine], scaler: FeatureScaler) -> Tensor | None:
    rows = [line.mel for line in lines if line.mel is not None]
    if len(rows) < len(lines):
        return None
    return _pad([torch.from_numpy(scaler.apply("mel", row)) for row in rows])


def _prosody(lines: Sequence[DubbingLine], scaler: FeatureScaler) -> Prosody | None:
    rows = [
        (line.f0_hz, line.energy)
        for line in lines
        if line.f0_hz is not None and line.energy is not None
    ]
    if len(rows) < len(lines):
        return None
    pitch, voiced, energy = [], [], []
    for f0_hz, loudness in rows:
        octaves, is_voiced = pitch_of(f0_hz)
        pitch.append(torch.from_numpy(octaves))
        voiced.append(torch.from_numpy(is_voiced))
        loud = scaler.apply("log_energy", log_energy(loudness)[:, None])[:, 0]
        energy.append(torch.from_numpy(loud))
    return Prosody(_pad(pitch), _pad(voiced), _pad(energy))


def _real(lengths: Sequence[int], *, at_least: int = 0) -> Tensor:
    longest = max(at_least, *lengths)
    return torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)


def _pad(rows: Sequence[Tensor], *, at_least: int = 0) -> Tensor:
    longest = max(at_least, *(len(row) for row in rows))
    padded = torch.zeros(len(rows), longest, *rows[0].shape[1:], dtype=rows[0].dtype)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return padded
