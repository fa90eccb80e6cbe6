"""The timing of phones: segments on a 5 ms grid that cover a line without gaps.

Source: Klatt, "Synthesis by rule of segmental durations in English sentences" (1979): a phone lasts
``shortest + (inherent - shortest) · product of rules``.
Letters: P phones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from redub.footage.demo_film.lexicon import Phone
from redub.footage.demo_film.phonetics import SOUNDS, VOWELS

SAMPLE_RATE_HZ = 16_000
FRAME_SAMPLES = 80  # 5 ms, the synthesiser's control period
VIDEO_FRAME_SAMPLES = 640  # one video frame at 25 fps
SHORTEST_SAMPLES = 7 * FRAME_SAMPLES  # 35 ms; a recogniser's three-state model needs 30 ms


class Segment(NamedTuple):
    """One phone with its time.

    ``start`` and ``end`` are samples from the start of the line, the end is exclusive; ``word`` is
    -1 in pauses.
    """

    symbol: str
    accented: bool
    word: int
    start: int
    end: int


def duration_ms(phones: list[Phone], index: int, *, evenness: float = 0.0) -> float:
    """Compute the duration of one phone at normal rate, in milliseconds, by Klatt's rules.

    ``evenness`` 0–1 weakens the rules that make syllables unequal; at 1 no rule has an effect.
    """
    phone, sound = phones[index], SOUNDS[phones[index].symbol]
    following = phones[index + 1] if index + 1 < len(phones) else None
    is_vowel = phone.symbol in VOWELS
    in_word = [p.symbol for p in phones if p.word == phone.word]
    syllables = sum(symbol in VOWELS for symbol in in_word)
    is_last_syllable = not any(p.symbol in VOWELS for p in phones[index + 1 :])
    factor = 0.9
    if is_last_syllable:
        factor *= 1.35  # lengthening before the pause
    if is_vowel and syllables > 2:
        factor *= 0.85
    if is_vowel and not phone.accented:
        factor *= 0.6
    if is_vowel and following and following.word == phone.word:
        factor *= 0.8 if not SOUNDS[following.symbol].is_voiced else 1.0
    adjacent = [following, phones[index - 1] if index else None]
    if not is_vowel and any(p and p.symbol not in VOWELS for p in adjacent):
        factor *= 0.75  # consonants of a cluster are shorter
    if not is_vowel and following and following.accented and following.word == phone.word:
        factor *= 1.15
    factor += evenness * (0.75 - factor)
    return sound.shortest_ms + (sound.duration_ms - sound.shortest_ms) * factor


def schedule(phones: list[Phone], *, rate: float = 1.0, evenness: float = 0.0) -> list[Segment]:
    """Place the phones in time, with silence before and after.

    Args:
        rate: 1.0 is normal, 1.2 is 20 % faster.
        evenness: see :func:`duration_ms`.

    Returns:
        Segments without gaps from sample 0. The total is a whole number of video frames (640
        samples); every bound is a multiple of 80 samples. At least 60 ms of silence on each side.
    """
    bounds, clock = [0], 60.0
    bounds.append(12 * FRAME_SAMPLES)
    shortest_ms = SHORTEST_SAMPLES * 1000 / SAMPLE_RATE_HZ
    for index in range(len(phones)):
        clock += max(duration_ms(phones, index, evenness=evenness) / rate, shortest_ms)
        bounds.append(round(clock * SAMPLE_RATE_HZ / 1000 / FRAME_SAMPLES) * FRAME_SAMPLES)
    least_end = bounds[-1] + 12 * FRAME_SAMPLES
    end = -(-least_end // VIDEO_FRAME_SAMPLES) * VIDEO_FRAME_SAMPLES
    pause = Phone("sil", False, -1)
    row = [pause, *phones, pause]
    return [
        Segment(phone.symbol, phone.accented, phone.word, start, stop)
        for phone, start, stop in zip(row, bounds, [*bounds[1:], end], strict=True)
    ]


def frame_owner(segments: list[Segment]) -> NDArray[np.intp]:
    """Return (frames,) int, the index of the segment of each 5 ms frame."""
    lengths = [(s.end - s.start) // FRAME_SAMPLES for s in segments]
    return np.repeat(np.arange(len(segments)), lengths)
