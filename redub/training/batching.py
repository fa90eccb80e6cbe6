"""Which lines go together, and how they become one padded batch.

The order of an epoch follows from (seed, epoch) alone, so a run can go on in the middle of one.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from redub.core.errors import ConfigError
from redub.core.types import MODALITIES, AudioSpec, FloatArray
from redub.model.batch import DubbingBatch, FeatureWidths, Prosody
from redub.training.lines import (
    CLIP_AT,
    DubbingLine,
    FeatureScaler,
    IntArray,
    Scale,
    log_energy,
    pitch_of,
)
from redub.training.pack import PackedLines

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


def recorded_frames(lines: Sequence[DubbingLine]) -> list[int]:
    """Mel frames of every line, 0 where it was not recorded."""
    if isinstance(lines, PackedLines):  # it knows without making a line
        known: list[int] = lines.mel_frames.tolist()
        return known
    return [line.mel_frames if line.is_recorded else 0 for line in lines]


def widths_of(
    lines: Iterable[DubbingLine], sound: AudioSpec, *, phonemes: int = 88
) -> FeatureWidths:
    """The widths of the training features; a feature that no line has gets width 1."""
    names = ("lips", "speaker", "audio", *MODALITIES)
    found: dict[str, int] = {}
    for line in lines:
        if len(found) == len(names):
            break
        found.setdefault("speaker", line.speaker_vector.shape[-1])
        if line.lips is not None:
            found.setdefault("lips", line.lips.shape[-1])
        for modality in MODALITIES:
            if modality in line.vectors:
                found.setdefault(modality, line.vectors[modality].shape[-1])
            if modality in line.hits and len(line.hits[modality].scores):
                found.setdefault("audio", line.hits[modality].audio.shape[-1])
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
    _warn_no_more()
    recorded = all(line.mel is not None for line in lines)
    lips, lips_valid = _frames(
        [line.lips for line in lines], scaler.scales.get("lips"), widths.lips, at_least=1
    )
    timbre, timbre_valid = _frames(
        [_timbre(line, timbre_frames, epoch) for line in lines],
        scaler.scales.get("mel"),
        widths.mel,
    )
    mel_frames = [line.mel_frames for line in lines]
    phonemes, phonemes_valid = _numbers([line.phonemes for line in lines])
    hits = [_hits(lines, modality, scaler, widths) for modality in MODALITIES]
    scene, face, text = (_vectors(lines, modality, scaler, widths) for modality in MODALITIES)
    return DubbingBatch(
        clip_ids=tuple(line.clip_id for line in lines),
        phonemes=phonemes,
        phonemes_valid=phonemes_valid,
        mel_frames=torch.tensor(mel_frames),
        frames_valid=_real(mel_frames),
        lips=lips,
        lips_valid=lips_valid,
        speaker=torch.from_numpy(
            scaler.apply("speaker", np.stack([line.speaker_vector for line in lines]))
        ),
        timbre=timbre,
        timbre_valid=timbre_valid,
        modalities=(scene, face, text),
        modalities_valid=torch.tensor([[m in line.vectors for m in MODALITIES] for line in lines]),
        hits=(hits[0].vectors, hits[1].vectors, hits[2].vectors),
        hits_audio=torch.stack([own.audio for own in hits], dim=1),
        hits_score=torch.stack([own.score for own in hits], dim=1),
        hits_valid=torch.stack([own.valid for own in hits], dim=1),
        emotions=torch.tensor([line.emotion for line in lines]),
        durations=_durations(lines),
        mel=_frames([line.mel for line in lines], scaler.scales.get("mel"), widths.mel)[0]
        if recorded
        else None,
        prosody=_prosody(lines, scaler),
    )


@cache
def _warn_no_more() -> None:
    """Values out of Arrow are read-only views, which torch warns about once per process."""
    with warnings.catch_warnings(action="ignore"):
        torch.from_numpy(np.broadcast_to(np.zeros(1, np.float32), 1))


@dataclass(frozen=True, slots=True)
class _Hits:
    vectors: Tensor  # (B, K, modality width)
    audio: Tensor  # (B, K, audio)
    score: Tensor  # (B, K)
    valid: Tensor  # (B, K) bool


def _hits(
    lines: Sequence[DubbingLine], modality: str, scaler: FeatureScaler, widths: FeatureWidths
) -> _Hits:
    most = max(
        (len(hits.scores) for line in lines for hits in line.hits.values()), default=0
    )  # K is the same for all modalities, so that their graphs line up
    width = widths.modalities[MODALITIES.index(modality)]
    vectors = torch.empty(len(lines), most, width)
    audio = torch.empty(len(lines), most, widths.audio)
    score = torch.zeros(len(lines), most)
    counts = [0] * len(lines)
    own, heard = scaler.scales.get(modality), scaler.scales.get("audio")
    for row, line in enumerate(lines):
        hits = line.hits.get(modality)
        if hits is not None:
            count = counts[row] = len(hits.scores)
            _standardise(hits.vectors, own, vectors[row, :count])
            _standardise(hits.audio, heard, audio[row, :count])
            score[row, :count] = torch.from_numpy(hits.scores)
        for padded in (vectors, audio):
            padded[row, counts[row] :] = 0.0
    valid = torch.arange(most) < torch.tensor(counts).unsqueeze(1)
    return _Hits(vectors, audio, score, valid)


def _vectors(
    lines: Sequence[DubbingLine], modality: str, scaler: FeatureScaler, widths: FeatureWidths
) -> Tensor:
    width = widths.modalities[MODALITIES.index(modality)]
    rows = np.zeros((len(lines), width), np.float32)
    having = [row for row, line in enumerate(lines) if modality in line.vectors]
    if having:
        rows[having] = scaler.apply(
            modality, np.stack([lines[row].vectors[modality] for row in having])
        )
    return torch.from_numpy(rows)


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
    return _numbers(rows)[0] if len(rows) == len(lines) else None


def _prosody(lines: Sequence[DubbingLine], scaler: FeatureScaler) -> Prosody | None:
    rows = [
        (line.f0_hz, line.energy)
        for line in lines
        if line.f0_hz is not None and line.energy is not None
    ]
    if len(rows) < len(lines):
        return None
    longest = max(len(f0_hz) for f0_hz, _ in rows)
    pitch = np.zeros((len(lines), longest), np.float32)
    voiced = np.zeros((len(lines), longest), np.bool_)
    energy = np.zeros((len(lines), longest), np.float32)
    for place, (f0_hz, loudness) in enumerate(rows):
        own = (place, slice(len(f0_hz)))
        pitch[own], voiced[own] = pitch_of(f0_hz)
        energy[own] = scaler.apply("log_energy", log_energy(loudness)[:, None])[:, 0]
    return Prosody(*(torch.from_numpy(array) for array in (pitch, voiced, energy)))


def _real(lengths: Sequence[int], *, at_least: int = 0) -> Tensor:
    longest = max(at_least, *lengths)
    return torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)


def _frames(
    rows: Sequence[FloatArray | None], scale: Scale | None, width: int, *, at_least: int = 0
) -> tuple[Tensor, Tensor]:
    """Rows (n, W) of any float type as standardised float32 (B, longest, W), and what is real."""
    lengths = [0 if row is None else len(row) for row in rows]
    padded = torch.empty(len(rows), max(at_least, *lengths), width)
    for place, row in enumerate(rows):
        if row is not None:
            _standardise(row, scale, padded[place, : len(row)])
        padded[place, lengths[place] :] = 0.0
    return padded, _real(lengths, at_least=at_least)


def _standardise(rows: FloatArray, scale: Scale | None, into: Tensor) -> None:
    """:meth:`Scale.apply` to (n, W) rows of any float type, written where they belong.

    By torch: numpy takes thirty times as long to widen float16.
    """
    if scale is None:
        into.copy_(torch.from_numpy(rows))
        return
    torch.sub(torch.from_numpy(rows), torch.from_numpy(scale.mean), out=into)
    into.div_(torch.from_numpy(scale.deviation)).clamp_(-CLIP_AT, CLIP_AT)


def _numbers(rows: Sequence[IntArray]) -> tuple[Tensor, Tensor]:
    """Whole numbers (n,) as int64 (B, longest), and what is real."""
    lengths = [len(row) for row in rows]
    padded = np.zeros((len(rows), max(lengths)), np.int64)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return torch.from_numpy(padded), _real(lengths)
