"""CTC forced alignment: find the frames of the labels of an utterance, and time its phonemes.

Source: Graves et al. 2006 (CTC); Kürzinger et al. 2020 (arXiv:2007.09127) for alignment by CTC.
The search is exact: it finds the most probable path that spells the text.
Letters: F frames of the network, N labels of the utterance.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from redub.core.errors import FeatureAbsent
from redub.features.sound.durations import TimedPhone
from redub.features.sound.speech_input import RATE_HZ


def best_path(
    labels: NDArray[np.float64], blank: NDArray[np.float64], repeats: Sequence[bool]
) -> NDArray[np.int64]:
    """Find the most probable path through the labels in order, with optional blanks between.

    Args:
        labels: (F, N) log-probability of each label of the utterance in each frame, N > 0.
        blank: (F,) log-probability of the blank.
        repeats: (N,) True where a label equals the label before; CTC then needs at least one blank
            between the two.

    Returns:
        (N, 2) first frame of each label and the first frame after it; the frames of a label are
        contiguous. Of equally probable paths the path that stays longer in its state wins.

    Raises:
        FeatureAbsent: E-ALIGN-FAILED, fewer frames than labels and needed blanks, or every path has
            zero probability.
    """
    frames, count = labels.shape
    check_room(frames, count, sum(repeats))
    # State 2n is the blank before label n, state 2n + 1 the label itself, state 2N the last blank.
    emitted = np.empty((frames, 2 * count + 1))
    emitted[:, 0::2] = blank[:, None]
    emitted[:, 1::2] = labels
    may_skip = np.zeros(2 * count + 1, dtype=bool)
    may_skip[3::2] = [not again for again in repeats[1:]]
    score = np.full(2 * count + 1, -np.inf)
    score[:2] = emitted[0, :2]
    steps = np.zeros((frames, 2 * count + 1), dtype=np.int8)
    for frame in range(1, frames):
        by_one = np.concatenate([[-np.inf], score[:-1]])
        by_two = np.where(may_skip, np.concatenate([[-np.inf, -np.inf], score[:-2]]), -np.inf)
        options = np.stack([score, by_one, by_two])
        steps[frame] = options.argmax(axis=0)
        score = options.max(axis=0) + emitted[frame]
    state = int(2 * count - 1 + (score[-1] > score[-2]))
    if score[state] == -np.inf:
        raise FeatureAbsent("the network gives the text a probability of 0", code="E-ALIGN-FAILED")
    spans = np.zeros((count, 2), dtype=np.int64)
    for frame in range(frames - 1, -1, -1):
        if state % 2:
            spans[state // 2, 0] = frame
            spans[state // 2, 1] = max(spans[state // 2, 1], frame + 1)
        state -= int(steps[frame, state])
    return spans


def check_room(frames: int, labels: int, repeats: int) -> None:
    """Check that the sound is long enough for the text.

    Raises:
        FeatureAbsent: E-ALIGN-FAILED, ``frames`` is less than ``labels`` plus ``repeats``.
    """
    if frames < labels + repeats:
        raise FeatureAbsent(
            f"{labels} labels with {repeats} forced blanks want {labels + repeats} frames of the "
            f"network, the sound has {frames}; check that the text is what the speaker says",
            code="E-ALIGN-FAILED",
        )


class Piece(NamedTuple):
    """The phonemes of a run of labels: those of a word, or one phoneme."""

    labels: int  # number of labels
    phonemes: tuple[int, ...]


def timed_phones(
    spans: NDArray[np.int64],
    pieces: Sequence[Piece],
    *,
    window: int,
    step: int,
    pause_s: float,
    end_s: float,
) -> list[TimedPhone]:
    """Compute the times of the phonemes from the frames of the labels.

    A border lies midway between the centres of the windows of two frames. CTC networks emit mostly
    blanks, so a gap of up to ``pause_s`` is not a pause: each of the two adjacent phones gets half
    of it. Such a gap before the first or after the last phone belongs to that phone. The phonemes
    of one piece get equal times.

    Args:
        spans: (N, 2) from :func:`best_path`.
        window, step: samples at 16 kHz per frame of the network, and between frames.
        pause_s: longest gap in seconds that is not a pause.
        end_s: length of the sound in seconds.
    """
    lead = (window - step) / 2.0
    times: list[list[float]] = []
    phonemes: list[tuple[int, ...]] = []
    place = 0
    for piece in pieces:
        first, last = spans[place], spans[place + piece.labels - 1]
        place += piece.labels
        if piece.phonemes:
            ends = (first[0] * step + lead, last[1] * step + lead)
            times.append([float(sample) / RATE_HZ for sample in ends])
            phonemes.append(piece.phonemes)
    if times[0][0] <= pause_s:
        times[0][0] = 0.0
    if end_s - times[-1][1] <= pause_s:
        times[-1][1] = end_s
    for before, after in pairwise(times):
        if after[0] - before[1] <= pause_s:
            before[1] = after[0] = (before[1] + after[0]) / 2.0
    timed = []
    for (start_s, stop_s), own in zip(times, phonemes, strict=True):
        borders = np.linspace(start_s, stop_s, len(own) + 1)
        timed += [
            TimedPhone(phoneme, float(start), float(end))
            for phoneme, (start, end) in zip(own, pairwise(borders), strict=True)
        ]
    return timed
