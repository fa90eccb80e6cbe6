"""Voice-like test sounds with known pitch, loudness and borders, and the clips that carry them."""

from __future__ import annotations

import numpy as np
from scipy.signal import butter, lfilter, sosfilt

from redub.core.types import AudioSpec, Clip, ClipMedia, Value, Waveform

AUDIO = AudioSpec()
RATE = AUDIO.sample_rate_hz

VOWELS_HZ = {"AA": (730, 1090, 2440), "IY": (270, 2290, 3010), "UW": (300, 870, 2240)}


def vowel(duration_s: float, f0_hz=120.0, formants_hz=VOWELS_HZ["AA"], level=0.2) -> np.ndarray:
    """Pulses through three resonances; ``f0_hz`` is a number or one value per sample."""
    samples = round(duration_s * RATE)
    phase = np.cumsum(np.broadcast_to(f0_hz, samples) / RATE)
    sound = np.diff(np.floor(phase), prepend=0.0)  # one pulse per period
    sound = lfilter([1.0], [1.0, -0.95], sound)  # the glottis falls by 6 dB per octave
    for centre in formants_hz:
        radius = np.exp(-np.pi * 90.0 / RATE)
        poles = [1.0, -2.0 * radius * np.cos(2.0 * np.pi * centre / RATE), radius**2]
        sound = lfilter([sum(poles)], poles, sound)
    return level * sound / np.abs(sound).max()


def hiss(duration_s: float, low_hz=4000.0, level=0.05, seed=1) -> np.ndarray:
    """A fricative: noise above ``low_hz``."""
    noise = np.random.default_rng(seed).standard_normal(round(duration_s * RATE))
    shaped = sosfilt(butter(6, low_hz, "highpass", fs=RATE, output="sos"), noise)
    return level * shaped / np.abs(shaped).max()


def silence(duration_s: float) -> np.ndarray:
    return np.zeros(round(duration_s * RATE))


def syllables(rate_per_s=4.0, duration_s=2.0, f0_hz=120.0, level=0.2, **voice) -> np.ndarray:
    """A vowel whose loudness swings ``rate_per_s`` times a second: one peak per syllable."""
    sound = vowel(duration_s, f0_hz=f0_hz, level=level, **voice)
    clock = np.arange(len(sound)) / RATE
    return sound * (0.52 - 0.48 * np.cos(2.0 * np.pi * rate_per_s * clock))


def with_noise(samples, snr_db) -> np.ndarray:
    """The same white noise for every sound, ``snr_db`` below it."""
    noise = np.random.default_rng(0).standard_normal(len(samples))
    scale = np.sqrt(np.mean(samples**2) / 10 ** (snr_db / 10))
    return (samples + scale * noise).astype(np.float32)


def wave(samples: np.ndarray, rate: int = RATE) -> Waveform:
    return Waveform(np.asarray(samples, dtype=np.float32), rate)


def media_of(samples=None, *, text="", rate=RATE, features: dict[str, Value] | None = None):
    clip = Clip(
        clip_id="film/0001",
        source="film.mp4",
        source_digest="0" * 64,
        start_frame=0,
        end_frame=25,
        film="film",
        scene="1",
        position=0,
        text=text,
    )
    waveform = None if samples is None else wave(samples, rate)
    return ClipMedia(clip=clip, waveform=waveform, features=features or {})
