"""The features of a batch as columns, before they are standardised and padded.

Columns of packed utterances are read from the pack at once, without building each utterance; the
hits of all utterances are copied together. Equal utterances give equal columns, from a pack or not.

Letters: B utterances, M modalities, H hits of one modality over all utterances, T mel frames, W
width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from redub.core.columns import Array
from redub.core.types import MODALITIES, FloatArray
from redub.model.batch import CONTEXT_MODALITIES
from redub.training.data.lines import SIDES, AdjacentUtterance, IntArray, Utterance
from redub.training.data.pack_lines import LOCAL_FACE, SOUND_FRAMES, PackedLines, there

SHORTEST_REFERENCE = 16
"""Fewest frames of a reference mel; a shorter one is repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """One modality of a batch: own vectors, and hits by utterance, best first."""

    lines: Sequence[int]  # which of the B utterances have an own vector
    own: FloatArray  # (len(lines), W), a copy
    hits: FloatArray  # (H, W), a copy


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextColumns:
    """The utterances before, or after, B utterances; views, as in :class:`AdjacentUtterance`."""

    phonemes: Sequence[IntArray | None]
    lips: Sequence[FloatArray | None]
    local_face: Sequence[FloatArray | None]
    sound: Sequence[FloatArray | None]
    mel: Sequence[FloatArray | None]
    f0_hz: Sequence[FloatArray | None]  # (T, 1)
    energy: Sequence[FloatArray | None]  # (T, 1)
    global_features: Mapping[str, Sequence[FloatArray | None]]  # (W,) each


@dataclass(frozen=True, slots=True, kw_only=True)
class LineColumns:
    """The features of B utterances, as :class:`Utterance` defines them; views unless noted.

    ``reference_mels``: the reference mels of the epoch, cut. ``durations``, ``mel``, ``f0_hz`` and
    ``energy`` are None unless all utterances have them, ``sound`` is None if none has it. ``audio``
    and ``scores`` hold all hits: by utterance, then by modality, best first.
    """

    clip_ids: tuple[str, ...]
    mel_frames: list[int]
    emotions: list[int]
    phonemes: Sequence[IntArray]
    durations: Sequence[IntArray] | None
    lips: Sequence[FloatArray | None]
    local_face: Sequence[FloatArray | None]
    reference_mels: Sequence[FloatArray]
    mel: Sequence[FloatArray] | None
    f0_hz: Sequence[FloatArray] | None  # (T, 1)
    energy: Sequence[FloatArray] | None  # (T, 1)
    sound: Sequence[FloatArray | None] | None
    speaker: FloatArray  # (B, W), a copy
    modalities: Mapping[str, Vectors]
    hit_counts: NDArray[np.int64]  # (B, M)
    audio: FloatArray  # (sum of counts, W), a copy
    scores: FloatArray  # (sum of counts,)
    context: Mapping[str, ContextColumns]  # by side; empty without `context`


def columns_of(
    lines: Sequence[Utterance], *, reference_frames: int, epoch: int = 0, context: bool = False
) -> LineColumns:
    """Collect the columns of at least one utterance.

    Args:
        reference_frames: most frames of a reference mel.
        epoch: chooses among an utterance's reference mels, and the start of the cut.
        context: read the adjacent utterances too.

    Raises:
        ClipError: a packed utterance's features do not fit each other.
    """
    if isinstance(lines, PackedLines):
        return _of_pack(lines, reference_frames, epoch, context)
    return _of_lines(lines, reference_frames, epoch, context)


def _of_lines(
    lines: Sequence[Utterance], reference_frames: int, epoch: int, context: bool
) -> LineColumns:
    """The columns of utterances in memory."""
    hits = [[line.hits.get(modality) for modality in MODALITIES] for line in lines]
    found = [one for row in hits for one in row if one is not None]
    modalities = {}
    for m, modality in enumerate(MODALITIES):
        having = [row for row, line in enumerate(lines) if modality in line.vectors]
        modalities[modality] = Vectors(
            lines=having,
            own=_joined([lines[row].vectors[modality][None] for row in having]),
            hits=_joined([one.vectors for row in hits if (one := row[m]) is not None]),
        )
    return LineColumns(
        clip_ids=tuple(line.clip_id for line in lines),
        mel_frames=[line.mel_frames for line in lines],
        emotions=[line.emotion for line in lines],
        phonemes=[line.phonemes for line in lines],
        durations=_all_or_none([line.durations for line in lines]),
        lips=[line.lips for line in lines],
        local_face=[line.local_face for line in lines],
        reference_mels=[
            _cut(line.reference_mels[epoch % len(line.reference_mels)], reference_frames, epoch)
            for line in lines
        ],
        mel=_all_or_none([line.mel for line in lines]),
        f0_hz=_all_or_none([_upright(line.f0_hz) for line in lines]),
        energy=_all_or_none([_upright(line.energy) for line in lines]),
        sound=_if_any([line.sound for line in lines]),
        speaker=np.stack([line.speaker_vector for line in lines]),
        modalities=modalities,
        hit_counts=np.array(
            [[0 if one is None else len(one.scores) for one in row] for row in hits], np.int64
        ),
        audio=_joined([one.audio for one in found]),
        scores=_joined([one.scores for one in found]),
        context={
            side: _context_of([line.context.get(side) for line in lines])
            for side in SIDES
            if context
        },
    )


def _context_of(adjacent: Sequence[AdjacentUtterance | None]) -> ContextColumns:
    known = [AdjacentUtterance() if one is None else one for one in adjacent]
    return ContextColumns(
        phonemes=[one.phonemes for one in known],
        lips=[one.lips for one in known],
        local_face=[one.local_face for one in known],
        sound=[one.sound for one in known],
        mel=[one.mel for one in known],
        f0_hz=[None if one.mel is None else one.f0_hz for one in known],
        energy=[None if one.mel is None else one.energy for one in known],
        global_features={
            name: [one.global_features.get(name) for one in known] for name in CONTEXT_MODALITIES
        },
    )


def _of_pack(lines: PackedLines, reference_frames: int, epoch: int, context: bool) -> LineColumns:
    """The columns of packed utterances, read column by column."""
    links, columns, numbers = lines.pack.links, lines.pack.columns, lines.rows
    rows = links.rows[numbers]  # (B,)
    aligned, mels, f0s, energies = (
        [there(view) for view in columns[name].views(rows)]
        for name in ("durations", "mel", "f0", "energy")
    )
    reference_mels = [links.reference_mels[link] for link in numbers.tolist()]
    if not _fit(lines.mel_frames, aligned, (mels, f0s, energies), reference_mels):
        list(lines)  # building the utterances raises the error with its clip id
    references = links.rows[[own[epoch % len(own)] for own in reference_mels]]  # (B,)
    counts = np.zeros((len(rows), len(MODALITIES)), np.int64)
    modalities, hit_links, scores, owners = {}, [], [], []
    for m, modality in enumerate(MODALITIES):
        column = lines.pack.vectors(modality)
        having = np.flatnonzero(column.has_value(rows))
        hits, counts[having, m] = links.hits[modality].joined(numbers[having])  # (H,) links
        modalities[modality] = Vectors(
            lines=having.tolist(),
            own=column.stacked(rows[having]),
            hits=column.stacked(links.rows[hits]),
        )
        hit_links.append(hits)
        scores.append(links.scores[modality].joined(numbers[having])[0])
        owners.append(np.repeat(np.arange(len(rows)), counts[:, m]))
    by_line = np.argsort(np.concatenate(owners), kind="stable")
    return LineColumns(
        clip_ids=tuple(lines.clip_ids),
        mel_frames=lines.mel_frames.tolist(),
        emotions=links.emotions[numbers].tolist(),
        phonemes=[own[:, 0] for own in aligned],
        durations=[own[:, 1] for own in aligned],
        lips=columns["lips"].views(rows),
        local_face=columns[LOCAL_FACE].views(rows) if LOCAL_FACE in columns else [None] * len(rows),
        reference_mels=[
            _cut(there(mel), reference_frames, epoch) for mel in columns["mel"].views(references)
        ],
        mel=mels,
        f0_hz=f0s,
        energy=energies,
        sound=_if_any(columns[SOUND_FRAMES].views(rows)) if SOUND_FRAMES in columns else None,
        speaker=links.speaker.stacked(numbers),
        modalities=modalities,
        hit_counts=counts,
        audio=links.audio.stacked(np.concatenate(hit_links)[by_line]),
        scores=np.concatenate(scores)[by_line],
        context={
            side: _context_of([lines.pack.adjacent(side, number) for number in numbers.tolist()])
            for side in SIDES
            if context
        },
    )


def _fit(
    mel_frames: NDArray[np.int64],
    aligned: Sequence[Array],
    frames: Sequence[Sequence[Array]],
    reference_mels: Sequence[Array],
) -> bool:
    """Whether all packed utterances pass the checks of :class:`Utterance`."""
    phonemes = [len(row) for row in aligned]
    if 0 in phonemes or 0 in map(len, reference_mels) or mel_frames.min() < 1:
        return False
    wanted: list[int] = mel_frames.tolist()
    if any([len(row) for row in rows] != wanted for rows in frames):
        return False
    starts = np.cumsum([0, *phonemes[:-1]])
    totals: list[int] = np.add.reduceat(np.concatenate(aligned)[:, 1], starts).tolist()
    return totals == wanted


def _cut(mel: FloatArray, most: int, epoch: int) -> FloatArray:
    """Cut a reference mel (T, C) to ``most`` frames, or repeat it up to ``SHORTEST_REFERENCE``."""
    if len(mel) < SHORTEST_REFERENCE:
        return np.take(mel, np.arange(SHORTEST_REFERENCE), axis=0, mode="wrap")
    # The golden ratio spreads the starts of successive epochs over the whole of a long mel.
    start = int((epoch * 0.6180339887) % 1.0 * max(len(mel) - most, 0))
    return mel[start : start + most]


def _joined(rows: Sequence[Array]) -> Array:
    """Concatenate arrays (n, W) into a copy; empty input gives shape (0, 0)."""
    return np.concatenate(rows) if rows else np.zeros((0, 0), np.float32)


def _upright(values: Array | None) -> Array | None:
    """(T,) as (T, 1)."""
    return None if values is None else values[:, None]


def _if_any(values: Sequence[Array | None]) -> Sequence[Array | None] | None:
    return None if all(value is None for value in values) else values


def _all_or_none(rows: Sequence[Array | None]) -> list[Array] | None:
    known = [row for row in rows if row is not None]
    return known if len(known) == len(rows) else None
