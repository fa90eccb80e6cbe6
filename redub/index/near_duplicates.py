"""Clips that carry the same recording, found from their mel frames alone.

A recording that was encoded again, trimmed, made louder or got some noise keeps where its spectrum
rises and falls. Two readings of one line by one voice do not share that, even with the same words
in the same mood: pitch and timing drift apart within a syllable.

Each frame becomes 32 signs: does the step from one band to the next grow or shrink over the next
moment? Signs whose step is small say nothing sure and are not compared. Pairs are proposed by equal
32-bit words of a coarser view (wider bands, longer moments) in one sorted table, so no two clips
are compared for nothing; a proposed pair is compared sign by sign at the offsets its words propose.

Source: Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System" (ISMIR 2002): signs of
energy differences along band and time, an inverted table of sub-fingerprints, the bit error rate as
the distance. Changed here: frames are those of the cached mel, unsure signs are masked, and the
words of the table come from a view of their own. Figures: ``docs/index_audit.md``.

Letters: T mel frames, C mel channels, F fingerprint frames, N clips.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from redub.core.errors import ConfigError
from redub.core.types import AudioSpec, FloatArray
from redub.index.base import BoolArray, IntArray

Words = NDArray[np.uint32]
Doubles = NDArray[np.float64]
MayPair = Callable[[IntArray, IntArray], BoolArray]
"""Two (n,) lists of clip numbers to (n,) bool, True where the pair is worth looking at."""

SAME_BELOW, SAME_BELOW_SHORT = 0.10, 0.05
"""Shares of differing signs up to which two clips carry one recording; the second where they have
less than a second in common: one word that a voice says twice comes near 0.10."""

SHORT_S = 1.0
SHORTEST_COMMON_S = 0.4
LEAST_COMMON = 0.5  # of the shorter clip
LEAST_SIGNS = 300  # sure on both sides; fewer agree by chance
PARTNERS = 24
"""Entries of one word that each entry is paired with; a word that more clips share is common."""

OFFSETS = 4  # proposed offsets of a pair that are tried, the most proposed ones
AROUND = 3  # frames on both sides of a proposed offset that are tried as well


class View(NamedTuple):
    """How frames become steps.

    ``low`` and ``high`` are shares of the mel channels; ``floor`` is a share of the loud frames'
    mean band power, below which there is nothing to hear.
    """

    bands: int
    low: float
    high: float
    smoothing_s: float
    lag_s: float
    floor: float


FINE = View(bands=33, low=0.025, high=0.6, smoothing_s=0.05, lag_s=0.04, floor=1e-2)
"""Up to about 2.2 kHz the channels still tell one harmonic of a voice from the next."""

LEAST_CHANNELS = 2 * FINE.bands
COARSE = View(bands=17, low=0.025, high=0.85, smoothing_s=0.25, lag_s=0.1, floor=1e-2)
SECOND_HALF_S = 0.12  # a word is 16 signs, and 16 more this much later
FEW_WORDS = 64  # a clip of about a second; it is also found by words with weak signs turned
SURE_STEP = 0.25  # natural logarithm of power; smaller steps flip with noise and codecs
LOUD = 0.95  # quantile of the frame power that counts as loud
AUDIBLE = 0.05  # of the loud power; quieter frames make no words


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """F frames of 32 signs, which of them are sure, and the words to be found by.

    ``hop_s`` is the time between frames; word ``i`` was made at frame ``word_frames[i]``.
    """

    hop_s: float
    signs: Words  # (F,)
    sure: Words  # (F,)
    words: Words  # (W,)
    word_frames: NDArray[np.int32]  # (W,)

    def __len__(self) -> int:
        return len(self.signs)


class Duplicate(NamedTuple):
    """Two clips with one recording: numbers of the clips, ``first`` the smaller.

    ``offset_s``: how much later the recording comes in ``second``. ``common_s``: for how long both
    have it. ``distance``: share of the compared signs that differ.
    """

    first: int
    second: int
    offset_s: float
    common_s: float
    distance: float

    @property
    def is_same(self) -> bool:
        """Whether so few signs differ that this is one recording."""
        return self.distance <= (SAME_BELOW if self.common_s >= SHORT_S else SAME_BELOW_SHORT)


def fingerprint(mel: FloatArray, audio: AudioSpec) -> Fingerprint:
    """The fingerprint of (T, C) natural-log mel magnitudes.

    A clip shorter than about 0.1 s has no frames, one shorter than about 0.5 s no words; silence
    has signs but none that is sure.

    Raises:
        ConfigError: too few mel channels to tell harmonics apart.
    """
    if mel.shape[1] < LEAST_CHANNELS:
        raise ConfigError(
            f"fingerprints need at least {LEAST_CHANNELS} mel channels, found {mel.shape[1]}",
            code="E-CFG-VALUE",
        )
    hop_s = audio.hop_samples / audio.sample_rate_hz
    power = np.exp(2.0 * mel.astype(np.float64))  # (T, C)
    fine, _ = _steps(power, FINE, hop_s)
    coarse, loudness = _steps(power, COARSE, hop_s)
    later = _frames(SECOND_HALF_S, hop_s)
    count = max(0, len(coarse) - later)
    pairs = np.concatenate([coarse[:count], coarse[later : later + count]], axis=1)  # (W, 32)
    audible = (loudness[:count] > AUDIBLE) & (loudness[later : later + count] > AUDIBLE)
    words, word_frames = _packed(pairs > 0)[audible], np.flatnonzero(audible)
    if len(words) < FEW_WORDS:
        turned = _turned(words, pairs[audible])
        words, word_frames = turned.ravel(), np.tile(word_frames, len(turned))
    return Fingerprint(
        hop_s=hop_s,
        signs=_packed(fine > 0),
        sure=_packed(np.abs(fine) > SURE_STEP),
        words=words,
        word_frames=word_frames.astype(np.int32),
    )


def _turned(words: Words, steps: Doubles) -> Words:
    """(4, W) words: as they are, and with the weakest, second weakest or both signs turned."""
    weakest = np.argsort(np.abs(steps), axis=1)[:, :2].astype(np.uint32)  # (W, 2)
    one, other = (np.uint32(1) << weakest).T
    return np.stack([words, words ^ one, words ^ other, words ^ one ^ other])


def _frames(seconds: float, hop_s: float) -> int:
    return max(1, round(seconds / hop_s))


def _steps(power: Doubles, view: View, hop_s: float) -> tuple[Doubles, Doubles]:
    """How the steps between bands change, (F, bands - 1), and each frame's share of loudness, (F,).

    Only frames whose whole window lies inside the clip are kept, so that a trimmed copy has the
    same ones.
    """
    channels = power.shape[1]
    edges = np.linspace(view.low * channels, view.high * channels, view.bands + 1).round()
    bounds = edges.astype(np.intp)
    width, lag = _frames(view.smoothing_s, hop_s), _frames(view.lag_s, hop_s)
    if len(power) < width + lag:
        return np.zeros((0, view.bands - 1)), np.zeros(0)
    sums = np.add.reduceat(power[:, : bounds[-1]], bounds[:-1], axis=1)  # (T, bands)
    window = np.hanning(width + 2)[1:-1]
    running = np.lib.stride_tricks.sliding_window_view(sums, width, axis=0)
    smooth = running @ (window / window.sum())  # (F + lag, bands)
    frame_power = smooth.mean(axis=1)
    loud = max(float(np.quantile(frame_power, LOUD)), np.finfo(float).tiny)
    across = np.diff(np.log(smooth / loud + view.floor), axis=1)
    quieter = np.minimum(frame_power[lag:], frame_power[:-lag])
    return across[lag:] - across[:-lag], quieter / loud


def _packed(signs: BoolArray) -> Words:
    """(F, 32) bool to (F,) words, the first band in the lowest bit."""
    bits: Words = np.packbits(signs, axis=1, bitorder="little").view("<u4").ravel()
    return bits.astype(np.uint32)


def find_duplicates(
    prints: Sequence[Fingerprint], *, may_pair: MayPair | None = None
) -> list[Duplicate]:
    """All pairs of clips that carry one recording, in order of their numbers.

    Args:
        may_pair: asked for proposed pairs before they are compared; None looks at every pair.

    A clip shorter than about 0.5 s is not found. A word that occurs in more than 24 clips pairs
    each of them with 24 others drawn by the word, so a recording that occurs very often is found in
    most, not in all of its copies.
    """
    found = []
    for first, second, offsets in _proposed(prints, may_pair):
        best = compare(prints[first], prints[second], offsets)
        if best is not None and best.is_same:
            found.append(best._replace(first=first, second=second))
    return found


def _proposed(
    prints: Sequence[Fingerprint], may_pair: MayPair | None
) -> Iterator[tuple[int, int, list[int]]]:
    """Pairs of clips that share words, with the offsets in frames that the words propose."""
    sizes = [len(own.words) for own in prints]
    if not sum(sizes):
        return
    words = np.concatenate([own.words for own in prints])
    clips = np.repeat(np.arange(len(prints)), sizes)
    frames = np.concatenate([own.word_frames for own in prints]).astype(np.int64)
    # A held sound repeats its word: its first frame speaks for it. Within a word the clips stand in
    # a drawn order, so that of a common word each clip meets others at every word.
    drawn = (clips * 2654435761 + words.astype(np.int64) * 40503) % 4294967291
    order = np.lexsort((frames, clips, drawn, words))
    words, clips, frames = words[order], clips[order], frames[order]
    is_first = np.ones(len(words), dtype=np.bool_)
    is_first[1:] = (words[1:] != words[:-1]) | (clips[1:] != clips[:-1])
    words, clips, frames = words[is_first], clips[is_first], frames[is_first]
    kept: list[IntArray] = []
    for apart in range(1, PARTNERS + 1):
        places = np.flatnonzero(words[apart:] == words[:-apart])
        if not len(places):
            break
        one, other = clips[places], clips[places + apart]
        offset = frames[places + apart] - frames[places]
        swapped = one > other
        one, other = np.where(swapped, other, one), np.where(swapped, one, other)
        rows = np.stack([one, other, np.where(swapped, -offset, offset)])
        if may_pair is not None:
            rows = rows[:, may_pair(one, other)]
        kept.append(rows)
    if not kept:
        return
    rows = np.concatenate(kept, axis=1)  # (3, proposals)
    rows = rows[:, np.lexsort(rows[::-1])]
    starts = np.flatnonzero(np.r_[True, (rows[:2, 1:] != rows[:2, :-1]).any(axis=0)])
    for start, stop in zip(starts, [*starts[1:], rows.shape[1]], strict=True):
        if start < stop:
            votes = Counter(rows[2, start:stop].tolist())
            offsets = [offset for offset, _ in votes.most_common(OFFSETS)]
            yield int(rows[0, start]), int(rows[1, start]), offsets


def compare(one: Fingerprint, other: Fingerprint, offsets: Sequence[int]) -> Duplicate | None:
    """The best alignment at some offsets in frames, or None where too little is in common.

    Args:
        offsets: how many frames later ``other`` has what ``one`` has; the three frames on both
            sides of each are tried as well.

    Returns:
        ``first`` and ``second`` are 0 and 1.
    """
    tried = sorted({o + a for o in offsets for a in range(-AROUND, AROUND + 1)})
    shorter = min(len(one), len(other))
    least = max(_frames(SHORTEST_COMMON_S, one.hop_s), round(LEAST_COMMON * shorter))
    best: Duplicate | None = None
    for offset in tried:
        start, stop = max(0, -offset), min(len(one), len(other) - offset)
        if stop - start < least:
            continue
        mine, theirs = slice(start, stop), slice(start + offset, stop + offset)
        sure = one.sure[mine] & other.sure[theirs]
        signs = int(np.bitwise_count(sure).sum())
        if signs < LEAST_SIGNS:
            continue
        wrong = int(np.bitwise_count((one.signs[mine] ^ other.signs[theirs]) & sure).sum())
        if best is None or wrong / signs < best.distance:
            seconds = (stop - start) * one.hop_s
            best = Duplicate(0, 1, offset * one.hop_s, seconds, wrong / signs)
    return best
