"""Find clips that contain the same recording, by audio fingerprints of their mel frames.

Encoding again, trimming, a gain or some noise do not change where the spectrum of a recording rises
and falls. Two recordings of the same words by the same speaker differ there, because pitch and
timing differ within every syllable.

A fingerprint frame has 32 signs. Each sign states whether the energy difference between two
adjacent bands grows or shrinks within a short lag. Signs of small changes are masked as unreliable.
Candidate pairs share a 32-bit word, computed with wider bands and a longer lag; they are found in
one sorted table of words, without comparing all pairs. A candidate pair is then compared sign by
sign at the offsets that its words propose.

Source: Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System" (ISMIR 2002): signs of
energy differences along band and time, an inverted table of sub-fingerprints, the bit error rate as
the distance. Differences from the paper: frames are those of the cached mel, unreliable signs are
masked, and the words of the table use other bands and lags than the signs. Figures:
``docs/index_audit.md``.

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
"""Function from two (n,) arrays of clip numbers to (n,) bool, True where to compare the pair."""

SAME_BELOW, SAME_BELOW_SHORT = 0.10, 0.05
"""Largest shares of differing signs for the same recording. The second one is for clips with less
than a second in common: the same word said twice by one speaker can reach 0.10."""

SHORT_S = 1.0
SHORTEST_COMMON_S = 0.4
LEAST_COMMON = 0.5  # share of the shorter clip
LEAST_SIGNS = 300  # reliable in both clips; fewer signs may agree by chance
PARTNERS = 24
"""Number of following table entries with the same word that each entry is paired with."""

OFFSETS = 4  # offsets per pair that are tried: those proposed most often
AROUND = 3  # frames on both sides of a proposed offset that are tried, too


class View(NamedTuple):
    """Bands and time scales from which the differences of a fingerprint are computed.

    ``low`` and ``high``: first and last mel channel, as shares of all channels. ``smoothing_s``:
    window length. ``lag_s``: distance in time of the two frames of a difference. ``floor``: added
    to the band power, as a share of the mean band power of loud frames; it hides inaudible power.
    """

    bands: int
    low: float
    high: float
    smoothing_s: float
    lag_s: float
    floor: float


FINE = View(bands=33, low=0.025, high=0.6, smoothing_s=0.05, lag_s=0.04, floor=1e-2)
"""View for the signs. Up to about 2.2 kHz, mel channels resolve single harmonics of a voice."""

LEAST_CHANNELS = 2 * FINE.bands
COARSE = View(bands=17, low=0.025, high=0.85, smoothing_s=0.25, lag_s=0.1, floor=1e-2)
SECOND_HALF_S = 0.12  # a word is 16 signs of one frame and 16 signs of the frame this much later
FEW_WORDS = 64  # about one second; shorter clips get extra words with their weakest signs flipped
SURE_STEP = 0.25  # natural logarithm of power; smaller steps flip with noise and codecs
LOUD = 0.95  # quantile of the frame power that counts as loud
AUDIBLE = 0.05  # share of the loud power; quieter frames get no words


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """F frames of 32 signs, a mask of reliable signs, and W words for the lookup.

    ``hop_s``: time between frames. Word ``i`` belongs to frame ``word_frames[i]``. ``len()`` is F.
    """

    hop_s: float
    signs: Words  # (F,)
    sure: Words  # (F,)
    words: Words  # (W,)
    word_frames: NDArray[np.int32]  # (W,)

    def __len__(self) -> int:
        return len(self.signs)


class Duplicate(NamedTuple):
    """Two clips with the same recording; ``first`` is the smaller clip number.

    ``offset_s``: how much later the recording starts in ``second``. ``common_s``: duration of the
    common part. ``distance``: share of the compared signs that differ.
    """

    first: int
    second: int
    offset_s: float
    common_s: float
    distance: float

    @property
    def is_same(self) -> bool:
        """Whether ``distance`` is small enough for the same recording."""
        return self.distance <= (SAME_BELOW if self.common_s >= SHORT_S else SAME_BELOW_SHORT)


def fingerprint(mel: FloatArray, audio: AudioSpec) -> Fingerprint:
    """Compute the fingerprint of (T, C) natural-log mel magnitudes.

    A clip shorter than about 0.1 s has no frames; a clip shorter than about 0.5 s has no words. In
    silence no sign is marked as reliable.

    Raises:
        ConfigError: fewer than 66 mel channels, too few to resolve harmonics.
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
    """Return (4, W) words: unchanged, and with the weakest, second weakest or both flipped."""
    weakest = np.argsort(np.abs(steps), axis=1)[:, :2].astype(np.uint32)  # (W, 2)
    one, other = (np.uint32(1) << weakest).T
    return np.stack([words, words ^ one, words ^ other, words ^ one ^ other])


def _frames(seconds: float, hop_s: float) -> int:
    return max(1, round(seconds / hop_s))


def _steps(power: Doubles, view: View, hop_s: float) -> tuple[Doubles, Doubles]:
    """Compute the change of band differences, (F, bands - 1), and relative frame power, (F,).

    Uses only frames whose whole window lies inside the clip, so that a trimmed copy has the same
    frames.
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
    """Pack (F, 32) bool into (F,) 32-bit words, the first band in the lowest bit."""
    bits: Words = np.packbits(signs, axis=1, bitorder="little").view("<u4").ravel()
    return bits.astype(np.uint32)


def find_duplicates(
    prints: Sequence[Fingerprint], *, may_pair: MayPair | None = None
) -> list[Duplicate]:
    """Find all pairs of clips that contain the same recording, ordered by clip number.

    Clips shorter than about 0.5 s are not found. If a word occurs in more than 24 clips, each clip
    is paired with 24 of them, in an order that depends on the word. So of a recording with very
    many copies most pairs are found, not all.

    Args:
        may_pair: selects the candidate pairs to compare; None compares all candidates.
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
    """Yield pairs of clips that share words, with the offsets in frames that the words propose."""
    sizes = [len(own.words) for own in prints]
    if not sum(sizes):
        return
    words = np.concatenate([own.words for own in prints])
    clips = np.repeat(np.arange(len(prints)), sizes)
    frames = np.concatenate([own.word_frames for own in prints]).astype(np.int64)
    # A sustained sound repeats its word: only the first frame per word and clip is kept. Clips with
    # the same word are in a pseudo-random order, so that a clip gets other partners at every word.
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
    """Compare two fingerprints at some offsets and return the best alignment.

    Args:
        offsets: delay of ``other`` against ``one``, in frames; three frames on both sides of each
            offset are tried, too.

    Returns:
        A :class:`Duplicate` of the clips 0 and 1, or None where the common part is too short or has
        too few reliable signs.
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
