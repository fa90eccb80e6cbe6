"""The prosody of a line: a vector per emotion, coupled to adjacent lines, and a pitch curve.

Source: the pitch curve superposes phrase and accent commands as in Fujisaki & Hirose, "Analysis of
voice fundamental frequency contours for declarative sentences of Japanese" (1984). The coupling to
adjacent lines is the context effect that models should find in the demo film.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from redub.core.types import FloatArray
from redub.footage.demo_film.phonetics import SOUNDS, VOWELS
from redub.footage.demo_film.timing import FRAME_SAMPLES, SAMPLE_RATE_HZ, Segment, frame_owner
from redub.footage.demo_film.voice import Style, Voice

F0_KNEE_HZ, F0_CAP_HZ = 330.0, 400.0


class Prosody(NamedTuple):
    """The prosody of one line, relative to the speaker's neutral prosody.

    Attributes:
        level_st: mean pitch in semitones.
        range: size of the accents; 1 is normal.
        slope_st: rise from the first to the last syllable, in semitones.
        rate: log2 of the tempo.
        energy_db, tilt_db: loudness and brightness.
        breath, tremor, evenness: 0–1.
    """

    level_st: float
    range: float
    slope_st: float
    rate: float
    energy_db: float
    tilt_db: float
    breath: float
    tremor: float
    evenness: float


MANNERS: dict[str, Prosody] = {
    #                   level range slope  rate   energy tilt breath tremor even
    "angry": Prosody(4.0, 1.6, -5.0, 0.16, 7.0, 6.0, 0.02, 0.05, 0.0),
    "disgust": Prosody(-2.5, 1.0, -6.0, -0.22, 1.0, 1.0, 0.15, 0.10, 0.0),
    "fear": Prosody(6.0, 0.6, 1.0, 0.26, -3.0, -2.0, 0.35, 0.90, 0.0),
    "happy": Prosody(5.0, 2.0, 0.0, 0.06, 3.5, 3.0, 0.05, 0.05, 0.0),
    "neutral": Prosody(0.0, 0.8, -2.5, 0.0, 0.0, 0.0, 0.05, 0.0, 0.0),
    "sad": Prosody(-3.0, 0.45, -3.0, -0.32, -6.0, -5.0, 0.25, 0.35, 0.0),
    "surprise": Prosody(8.0, 1.7, 7.0, -0.02, 2.5, 2.0, 0.08, 0.10, 0.0),
    "others": Prosody(-0.5, 0.08, 0.0, -0.06, -4.0, -3.0, 0.60, 0.0, 1.0),
}

SPREAD = Prosody(1.4, 0.28, 2.2, 0.10, 2.1, 1.8, 0.08, 0.10, 0.14)
"""Standard deviation of the noise on every line."""

HABIT = Prosody(0.0, 0.12, 0.7, 0.03, 0.7, 0.5, 0.02, 0.02, 0.0)
"""Standard deviation of the constant offset of a speaker."""

LOWEST = Prosody(-8.0, 0.05, -12.0, -0.6, -12.0, -10.0, 0.0, 0.0, 0.0)
HIGHEST = Prosody(11.0, 2.6, 12.0, 0.6, 11.0, 10.0, 0.9, 1.0, 1.0)


def coupled(
    emotion: str, previous: str | None, following: str | None, *, a: float, b: float
) -> Prosody:
    """Add the influence of adjacent lines to the prosody P of an emotion e.

    ``P(e) + a (P(previous) − P(neutral)) + b (P(following) − P(neutral))``, not bounded. A missing
    adjacent line (None) adds nothing.
    """
    neutral = np.array(MANNERS["neutral"])
    vector = np.array(MANNERS[emotion])
    if previous is not None:
        vector = vector + a * (np.array(MANNERS[previous]) - neutral)
    if following is not None:
        vector = vector + b * (np.array(MANNERS[following]) - neutral)
    return Prosody(*vector.tolist())


def habit_of(rng: np.random.Generator) -> Prosody:
    """Draw a speaker's constant offset."""
    return Prosody(*(np.array(HABIT) * rng.standard_normal(len(HABIT))).tolist())


def bounded(prosody: Prosody) -> Prosody:
    """Clip every entry to the range of the synthesiser, ``LOWEST`` to ``HIGHEST``."""
    return Prosody(*np.clip(np.array(prosody), LOWEST, HIGHEST).tolist())


def noisy(clean: Prosody, rng: np.random.Generator, *, noise: float = 1.0) -> Prosody:
    """Add random noise (``noise`` times ``SPREAD``) and clip the result."""
    vector = np.array(clean) + noise * np.array(SPREAD) * rng.standard_normal(len(SPREAD))
    return bounded(Prosody(*vector.tolist()))


def plus(one: Prosody, other: Prosody) -> Prosody:
    """Add two prosody vectors entry by entry."""
    return Prosody(*(np.array(one) + np.array(other)).tolist())


def style_of(prosody: Prosody) -> Style:
    """Return the part of the prosody that controls the synthesiser's voice source."""
    return Style(
        energy_db=prosody.energy_db,
        tilt_db=prosody.tilt_db,
        breath=prosody.breath,
        tremor=prosody.tremor,
    )


def pitch_curve(
    segments: list[Segment], prosody: Prosody, voice: Voice, rng: np.random.Generator
) -> FloatArray:
    """Plan the pitch of a line.

    Returns:
        (frames,) Hz per 5 ms, also in pauses. The mean over voiced frames is the speaker's pitch
        shifted by ``level_st``, unless the soft limit near 400 Hz lowers it.
    """
    frames = segments[-1].end // FRAME_SAMPLES
    clock = (np.arange(frames) + 0.5) * FRAME_SAMPLES / SAMPLE_RATE_HZ
    speech = [s for s in segments if s.symbol != "sil"]
    onset, offset = speech[0].start / SAMPLE_RATE_HZ, speech[-1].end / SAMPLE_RATE_HZ
    phrase_t = np.maximum(clock - onset + 0.2, 0)
    phrase = 2.5 * prosody.range * (3.0 * phrase_t) * np.exp(1 - 3.0 * phrase_t)
    accents = np.zeros(frames)
    for segment in speech:
        if segment.symbol not in VOWELS or not segment.accented:
            continue
        height = prosody.range * 2.6 * (1 + 0.3 * rng.standard_normal())
        start, end = segment.start / SAMPLE_RATE_HZ - 0.06, segment.end / SAMPLE_RATE_HZ - 0.02
        accents += height * (_step(clock - start) - _step(clock - end))
    progress = np.clip((clock - onset) / (offset - onset), 0, 1)
    # Half of the slope is spread over the line; half is at its end, where listeners notice it.
    ending = np.clip((progress - 0.7) / 0.3, 0, 1)
    slope = prosody.slope_st * (0.5 * progress + 0.5 * ending)
    semitones = phrase + accents + slope
    voiced = np.array([SOUNDS[s.symbol].is_voiced for s in segments])[frame_owner(segments)]
    if voiced.any():
        semitones = semitones - semitones[voiced].mean()
    semitones = semitones + 0.7 * prosody.tremor * np.sin(2 * np.pi * 5.5 * clock)
    f0_hz = voice.f0_hz * 2 ** ((prosody.level_st + semitones) / 12)
    room = F0_CAP_HZ - F0_KNEE_HZ
    capped = F0_KNEE_HZ + room * np.tanh(np.maximum(f0_hz - F0_KNEE_HZ, 0) / room)
    curve: FloatArray = np.maximum(np.where(f0_hz > F0_KNEE_HZ, capped, f0_hz), 60.0).astype(
        np.float32
    )
    return curve


def _step(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Response of the accent mechanism to a step: critically damped, 20 rad/s."""
    late = np.maximum(seconds, 0)
    response: NDArray[np.float64] = 1 - (1 + 20 * late) * np.exp(-20 * late)
    return response
