"""Group utterances into batches, and collate them: standardise, pad, make masks.

The order of an epoch depends on (seed, epoch) alone, so a run can resume in the middle of an epoch.

Letters: B utterances, P phonemes, T mel frames, V video frames, M modalities, K hits per modality,
H hits of all utterances, A frames of local audio, W width, n rows of one utterance.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from redub.core.columns import Array
from redub.core.errors import ConfigError
from redub.core.types import MODALITIES, AudioSpec, FloatArray
from redub.model.batch import CONTEXT_MODALITIES, Context, DubbingBatch, FeatureWidths, Prosody
from redub.training.data.columns import (
    SHORTEST_REFERENCE,
    ContextColumns,
    LineColumns,
    Vectors,
    columns_of,
)
from redub.training.data.lines import (
    CLIP_AT,
    FeatureScaler,
    IntArray,
    Scale,
    Utterance,
    log_energy,
    pitch_of,
)
from redub.training.data.pack_lines import PackedLines

OF_CONTEXT = ("global_face", "global_text", "global_audio", "local_audio")
"""Names of the features that only context systems read."""

SHORTEST_FACE = 4
"""Fewest rows of a frame-level face feature, because its rate is halved twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchingConfig:
    """The size of a batch.

    ``frames_per_batch``: most padded mel frames (longest utterance times utterances); a longer
    utterance is a batch alone. ``reference_frames``: most frames of the reference mel; the start of
    the cut changes with the epoch. ``bucket_batches``: utterances are sorted by length within pools
    of about this many batches, so that lengths in a batch are similar and the order stays random.
    """

    frames_per_batch: int = 16_000
    lines_per_batch: int = 32
    reference_frames: int = 400
    bucket_batches: int = 8

    def __post_init__(self) -> None:
        if min(self.frames_per_batch, self.lines_per_batch, self.bucket_batches) < 1:
            raise ConfigError("frames_per_batch, lines_per_batch and bucket_batches must be >= 1")
        if self.reference_frames < SHORTEST_REFERENCE:
            raise ConfigError(f"reference_frames must be >= {SHORTEST_REFERENCE}")


def recorded_frames(lines: Sequence[Utterance]) -> list[int]:
    """Mel frames of every utterance, 0 without a recording."""
    if isinstance(lines, PackedLines):  # known without building an utterance
        known: list[int] = lines.mel_frames.tolist()
        return known
    return [line.mel_frames if line.is_recorded else 0 for line in lines]


def widths_of(lines: Iterable[Utterance], sound: AudioSpec, *, phonemes: int = 88) -> FeatureWidths:
    """The widths of the features; a feature that no utterance has gets width 1."""
    names = ("lips", "local_face", "speaker", "audio", *MODALITIES, *OF_CONTEXT)
    found: dict[str, int] = {}
    for line in lines:
        if len(found) == len(names):
            break
        if line.sound is not None:
            found.setdefault("local_audio", line.sound.shape[-1])
        for adjacent in line.context.values():
            if adjacent.sound is not None:
                found.setdefault("local_audio", adjacent.sound.shape[-1])
            for name, vector in adjacent.global_features.items():
                found.setdefault(f"global_{name}", vector.shape[-1])
        found.setdefault("speaker", line.speaker_vector.shape[-1])
        if line.lips is not None:
            found.setdefault("lips", line.lips.shape[-1])
        if line.local_face is not None:
            found.setdefault("local_face", line.local_face.shape[-1])
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
    """The batches of one epoch, as lists of utterance numbers; each number is in one batch.

    Args:
        frames: mel frames of every utterance.
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
    """Batches of all utterances, sorted by length, for validation and synthesis."""
    order = sorted(range(len(frames)), key=lambda number: frames[number])
    return list(_filled(order, frames, config))


def _filled(
    numbers: Sequence[int], frames: Sequence[int], config: BatchingConfig
) -> Iterator[list[int]]:
    """Cut utterances, sorted by length, into batches within the limits."""
    batch: list[int] = []
    for number in numbers:
        padded = frames[number] * (len(batch) + 1)  # sorted, so the newest is the longest
        if batch and (padded > config.frames_per_batch or len(batch) == config.lines_per_batch):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def chosen(lines: Sequence[Utterance], numbers: Sequence[int]) -> Sequence[Utterance]:
    """The utterances with these numbers, for :func:`collate`; packed ones are not built."""
    if isinstance(lines, PackedLines):
        return lines.take(numbers)
    return [lines[number] for number in numbers]


def collate(
    lines: Sequence[Utterance],
    scaler: FeatureScaler,
    widths: FeatureWidths,
    *,
    reference_frames: int,
    epoch: int = 0,
    context: bool = False,
) -> DubbingBatch:
    """Standardise and pad one utterance or more, and make all masks.

    Mel, durations and prosody are in the batch if every utterance has them, ``sound`` if any
    utterance has it. ``epoch`` chooses the reference mel of each utterance and the start of its
    cut; ``context`` adds the adjacent utterances.

    Raises:
        ClipError: a packed utterance's features do not fit each other.
    """
    _warn_once()
    rows = columns_of(lines, reference_frames=reference_frames, epoch=epoch, context=context)
    scales = scaler.scales
    frames_valid = _real(rows.mel_frames)
    counts = torch.from_numpy(rows.hit_counts)  # (B, M)
    most = int(counts.max())  # one K for all modalities, so that their graphs have one size
    hits_valid = torch.arange(most) < counts.unsqueeze(2)  # (B, M, K)
    modalities, hits = _modalities(rows, hits_valid, scales, widths)
    sound, sound_valid = _sound(rows, scales, widths)
    return DubbingBatch(
        clip_ids=rows.clip_ids,
        phonemes=_numbers(rows.phonemes),
        phonemes_valid=_real(_lengths(rows.phonemes)),
        mel_frames=torch.tensor(rows.mel_frames),
        frames_valid=frames_valid,
        lips=_frames(rows.lips, scales.get("lips"), widths.lips, at_least=1),
        lips_valid=_real(_lengths(rows.lips), at_least=1),
        speaker=_standardised(rows.speaker, scales.get("speaker")),
        reference_mel=_frames(rows.reference_mels, scales.get("mel"), widths.mel),
        reference_valid=_real(_lengths(rows.reference_mels)),
        modalities=modalities,
        modalities_valid=_having(rows),
        hits=hits,
        hits_audio=_hits(rows.audio, hits_valid, scales.get("audio"), widths.audio),
        hits_score=_hits(rows.scores[:, None], hits_valid, None, 1)[..., 0],
        hits_valid=hits_valid,
        emotions=torch.tensor(rows.emotions),
        local_face=_frames(
            rows.local_face,
            scales.get("local_face"),
            widths.local_face,
            at_least=SHORTEST_FACE,
        ),
        local_face_valid=_real(_lengths(rows.local_face), at_least=SHORTEST_FACE),
        durations=None if rows.durations is None else _numbers(rows.durations),
        mel=None if rows.mel is None else _frames(rows.mel, scales.get("mel"), widths.mel),
        prosody=_prosody(rows, scales.get("log_energy"), frames_valid),
        sound=sound,
        sound_valid=sound_valid,
        previous=_context(rows.context.get("previous"), scales, widths),
        following=_context(rows.context.get("following"), scales, widths),
    )


def _modalities(
    rows: LineColumns, hits_valid: Tensor, scales: Mapping[str, Scale], widths: FeatureWidths
) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
    """Own vectors (B, W) and hits (B, K, W) of scene, face and text.

    Args:
        hits_valid: (B, M, K) bool.
    """
    count = len(rows.clip_ids)
    scene, face, text = (
        _vectors(rows.modalities[modality], count, scales.get(modality), width)
        for modality, width in zip(MODALITIES, widths.modalities, strict=True)
    )
    hits_of_scene, hits_of_face, hits_of_text = (
        _hits(rows.modalities[modality].hits, hits_valid[:, m], scales.get(modality), width)
        for m, (modality, width) in enumerate(zip(MODALITIES, widths.modalities, strict=True))
    )
    return (scene, face, text), (hits_of_scene, hits_of_face, hits_of_text)


def _sound(
    rows: LineColumns, scales: Mapping[str, Scale], widths: FeatureWidths
) -> tuple[Tensor | None, Tensor | None]:
    """Frame-level audio (B, A, W) and its mask (B, A); None if no utterance has it."""
    if rows.sound is None:
        return None, None
    frames = _frames(rows.sound, scales.get("local_audio"), widths.local_audio)
    return frames, _real(_lengths(rows.sound))


def _context(
    rows: ContextColumns | None, scales: Mapping[str, Scale], widths: FeatureWidths
) -> Context | None:
    """Adjacent utterances of one side; a feature that utterances have too shares their scale."""
    if rows is None:
        return None
    words = [np.zeros(0, np.int64) if own is None else own for own in rows.phonemes]
    has = [
        [vector is not None for vector in rows.global_features[name]] for name in CONTEXT_MODALITIES
    ]
    face, text, audio = (
        _frames(
            [None if own is None else own[None] for own in rows.global_features[name]],
            scales.get(f"global_{name}"),
            width,
            at_least=1,
        )[:, 0]
        for name, width in zip(CONTEXT_MODALITIES, widths.global_features, strict=True)
    )

    def framed(name: str, own: Sequence[Array | None], width: int, at_least: int) -> Any:
        """Padded frames (B, longest, W) and their mask (B, longest)."""
        frames = _frames(own, scales.get(name), width, at_least=at_least)
        return frames, _real(_lengths(own), at_least=at_least)

    lips, lips_valid = framed("lips", rows.lips, widths.lips, 1)
    local_face, local_face_valid = framed(
        "local_face", rows.local_face, widths.local_face, SHORTEST_FACE
    )
    sound, sound_valid = framed("local_audio", rows.sound, widths.local_audio, SHORTEST_REFERENCE)
    mel, mel_valid = framed("mel", rows.mel, widths.mel, 1)
    return Context(
        phonemes=_numbers(words, at_least=1),
        phonemes_valid=_real(_lengths(words), at_least=1),
        lips=lips,
        lips_valid=lips_valid,
        local_face=local_face,
        local_face_valid=local_face_valid,
        sound=sound,
        sound_valid=sound_valid,
        global_features=(face, text, audio),
        global_valid=torch.tensor(has).T.contiguous(),
        mel=mel,
        mel_valid=mel_valid,
        prosody=_pitch_and_energy(
            _padded(rows.f0_hz, 1, at_least=mel.size(1)),
            _padded(rows.energy, 1, at_least=mel.size(1)),
            scales.get("log_energy"),
            mel_valid,
        ),
    )


@cache
def _warn_once() -> None:
    """Trigger and ignore torch's warning about read-only arrays; it comes once per process."""
    with warnings.catch_warnings(action="ignore"):
        torch.from_numpy(np.broadcast_to(np.zeros(1, np.float32), 1))


def _hits(flat: FloatArray, valid: Tensor, scale: Scale | None, width: int) -> Tensor:
    """Place hits (H, W), standardised, where a mask (..., K) is True: (..., K, W), else zeros."""
    if len(flat) == valid.numel() > 0:
        return _standardised(flat, scale).view(*valid.shape, width)
    spread = torch.zeros(*valid.shape, width)
    if len(flat):
        spread[valid] = _standardised(flat, scale)
    return spread


def _vectors(own: Vectors, lines: int, scale: Scale | None, width: int) -> Tensor:
    """Own vectors (B, W), standardised; zeros for utterances without one."""
    if len(own.lines) == lines:
        return _standardised(own.own, scale)
    rows = torch.zeros(lines, width)
    if len(own.lines):
        rows[own.lines] = _standardised(own.own, scale)
    return rows


def _having(rows: LineColumns) -> Tensor:
    """(B, M) bool, whether an utterance has a vector in each modality."""
    has = np.zeros((len(rows.clip_ids), len(MODALITIES)), np.bool_)
    for m, modality in enumerate(MODALITIES):
        has[rows.modalities[modality].lines, m] = True
    return torch.from_numpy(has)


def _prosody(rows: LineColumns, scale: Scale | None, frames_valid: Tensor) -> Prosody | None:
    if rows.f0_hz is None or rows.energy is None:
        return None
    return _pitch_and_energy(_padded(rows.f0_hz, 1), _padded(rows.energy, 1), scale, frames_valid)


def _pitch_and_energy(f0_hz: Array, energy: Array, scale: Scale | None, valid: Tensor) -> Prosody:
    """Prosody from padded F0 and energy, (B, T, 1) each; padding is unvoiced."""
    pitch, voiced = pitch_of(_float32(f0_hz)[..., 0])
    standard = _standardised(log_energy(_float32(energy)), scale)[..., 0]
    return Prosody(
        torch.from_numpy(pitch), torch.from_numpy(voiced), standard.masked_fill_(~valid, 0.0)
    )


def _lengths(rows: Sequence[Array | None]) -> list[int]:
    return [0 if row is None else len(row) for row in rows]


def _real(lengths: Sequence[int], *, at_least: int = 0) -> Tensor:
    """(B, longest) bool mask, True within each length."""
    clock = np.arange(max(at_least, *lengths))
    return torch.from_numpy(clock < np.array(lengths)[:, None])


def _frames(
    rows: Sequence[FloatArray | None], scale: Scale | None, width: int, *, at_least: int = 0
) -> Tensor:
    """Standardise rows (n, W) of any float type, pad with zeros: (B, longest, W) float32."""
    frames = _standardised(_padded(rows, width, at_least=at_least), scale)
    values = frames.numpy()
    for place, length in enumerate(_lengths(rows)):
        values[place, length:] = 0.0
    return frames


def _padded(rows: Sequence[Array | None], width: int, *, at_least: int = 0) -> Array:
    """Pad rows (n, W) with zeros, in their stored dtype: (B, longest, W)."""
    lengths = _lengths(rows)
    kinds = {row.dtype for row in rows if row is not None} or {np.dtype(np.float32)}
    padded = np.empty((len(rows), max(at_least, *lengths), width), np.result_type(*kinds))
    for place, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        if row is not None:
            padded[place, :length] = row
        padded[place, length:] = 0
    return padded


def _standardised(values: FloatArray, scale: Scale | None) -> Tensor:
    """:meth:`Scale.apply` to (..., W) of any float type; float32 is overwritten.

    Uses torch, because numpy takes thirty times as long to widen float16.
    """
    scaled = torch.from_numpy(values).to(torch.float32)
    if scale is None:
        return scaled
    scaled.sub_(torch.from_numpy(scale.mean)).div_(torch.from_numpy(scale.deviation))
    return scaled.clamp_(-CLIP_AT, CLIP_AT)


def _float32(values: FloatArray) -> FloatArray:
    widened: FloatArray = torch.from_numpy(values).to(torch.float32).numpy()
    return widened


def _numbers(rows: Sequence[IntArray], *, at_least: int = 0) -> Tensor:
    """Pad integers (n,) with zeros: (B, longest) int64."""
    lengths = _lengths(rows)
    padded = np.zeros((len(rows), max(at_least, *lengths)), np.int64)
    for place, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        padded[place, :length] = row
    return torch.from_numpy(padded)
