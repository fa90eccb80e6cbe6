"""Audio emotion vector of the builtin profile: statistics of the prosody of an utterance.

It has the level, movement and rhythm of pitch, loudness, spectral balance and voice quality. Values
are not normalised per speaker here; ``redub.index.transform`` does that, because it knows the
speakers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from redub.core.types import AudioSpec, ClipMedia, FloatArray, Waveform
from redub.features.base import FeatureSchema, LocalExtractor, Media
from redub.features.sound.prosody import (
    BANDS,
    CEPSTRA,
    Flags,
    Track,
    VoiceTracks,
    runs_of,
    slope_at,
    slope_of,
    spoken_tracks,
    tracks_of_clip,
)

Named = dict[str, float]

SPREADS = ("mean", "spread", "low", "high")  # of a track: mean, standard deviation, 10 %, 90 %
QUALITY_TRACKS = (
    "tilt", "alpha_db", "hammarberg_db", "centroid_oct", "flux", "flatness_db",
    "prominence_db", "harmonicity_db", "first_oct", "second_oct",
)  # fmt: skip
MODULATION_HZ = ((1.0, 2.0), (2.0, 4.0), (4.0, 8.0), (8.0, 16.0))
FINAL_S = 0.25  # length of the onset and of the cadence of the voice
NUCLEUS_DIP_DB = 2.0  # two loudness peaks are two syllables if the dip between them is this deep
SYLLABLE_S = 0.06  # loudness is smoothed over this time before peaks are counted


def _spread_names(*tracks: str) -> tuple[str, ...]:
    return tuple(f"{track}_{kind}" for track in tracks for kind in SPREADS)


DIMENSIONS: tuple[str, ...] = (
    # pitch of voiced frames, semitones above 55 Hz; slopes per second, moves per frame
    *_spread_names("f0_st"),
    "f0_st_median", "f0_st_bottom", "f0_st_top", "f0_st_middle_range", "f0_st_range",
    "f0_slope", "f0_onset", "f0_cadence", "f0_peak_place",
    "f0_move", "f0_rise", "f0_fall", "f0_rising_share", "f0_shake", "f0_run_spread",
    # loudness of active frames, dB of full scale
    *_spread_names("level_db"),
    "level_db_median", "level_db_top", "level_db_range", "level_db_voiced", "level_skew",
    "level_slope", "level_onset", "level_cadence", "level_peak_place",
    "level_rise", "level_fall", "level_move", "shimmer_db",
    # rhythm of the spoken span, seconds
    "spoken_log_s", "syllables_per_s", "syllable_gap_log_s", "syllable_gap_spread",
    "pause_share", "pauses_per_s", "voiced_share", "voiced_runs_per_s",
    "voiced_run_s", "voiced_run_spread_s", "unvoiced_run_s",
    # spectral balance and voice quality of voiced frames
    *_spread_names(*QUALITY_TRACKS),
    # timbre: mel cepstra and 12 mel bands
    *(f"cepstrum_{k}_{kind}" for k in range(1, CEPSTRA) for kind in ("mean", "spread", "move")),
    *(f"band_{band}_{kind}" for band in range(BANDS) for kind in ("mean", "spread", "loud")),
    # log power of the modulation of loudness and pitch at 1–16 Hz
    *(
        f"{track}_modulation_{low:g}_{high:g}_hz"
        for track in ("level", "pitch")
        for low, high in MODULATION_HZ
    ),
)  # fmt: skip
"""Names of the dimensions of the vector, in order."""


def emotion_statistics(tracks: VoiceTracks) -> Named:
    """Compute all statistics: name → finite value, in the order of :data:`DIMENSIONS`.

    ``tracks`` must have at least one voiced frame.
    """
    return {
        **_pitch(tracks),
        **_loudness(tracks),
        **_rhythm(tracks),
        **_quality(tracks),
        **_timbre(tracks),
        **_modulation(tracks),
    }


def _spreads(name: str, values: Track) -> Named:
    low, high = np.percentile(values, (10, 90))
    numbers = (float(values.mean()), float(values.std()), float(low), float(high))
    return {f"{name}_{kind}": number for kind, number in zip(SPREADS, numbers, strict=True)}


def _pitch(tracks: VoiceTracks) -> Named:
    pitch = tracks.f0_st[tracks.voiced]
    clock_s = np.flatnonzero(tracks.voiced) / tracks.frames_per_s
    runs = runs_of(tracks.voiced)
    steps = [np.diff(tracks.f0_st[start:end]) for start, end in runs]
    moves = np.concatenate(steps) if steps else np.zeros(0)
    jumps = [np.abs(np.diff(step)) for step in steps]
    shakes = np.concatenate(jumps) if jumps else np.zeros(0)
    edge = max(1, round(FINAL_S * tracks.frames_per_s))
    mean = float(pitch.mean())
    quartiles = np.percentile(pitch, (5, 25, 50, 75, 95))
    rising = moves[moves > 0]
    falling = moves[moves < 0]
    return {
        **_spreads("f0_st", pitch),
        "f0_st_median": float(quartiles[2]),
        "f0_st_bottom": float(quartiles[0]),
        "f0_st_top": float(quartiles[4]),
        "f0_st_middle_range": float(quartiles[3] - quartiles[1]),
        "f0_st_range": float(quartiles[4] - quartiles[0]),
        "f0_slope": slope_at(clock_s, pitch),
        "f0_onset": float(pitch[:edge].mean()) - mean,
        "f0_cadence": float(pitch[-edge:].mean()) - mean,
        "f0_peak_place": float(pitch.argmax() / len(pitch)),
        "f0_move": float(np.abs(moves).mean()) if len(moves) else 0.0,
        "f0_rise": float(rising.mean()) if len(rising) else 0.0,
        "f0_fall": float(falling.mean()) if len(falling) else 0.0,
        "f0_rising_share": len(rising) / len(moves) if len(moves) else 0.5,
        "f0_shake": float(shakes.mean()) if len(shakes) else 0.0,
        "f0_run_spread": float(np.mean([tracks.f0_st[a:b].std() for a, b in runs])),
    }


def _loudness(tracks: VoiceTracks) -> Named:
    level = tracks.level_db[tracks.active]
    moves = np.diff(tracks.level_db)
    rising, falling = moves[moves > 0], moves[moves < 0]
    edge = max(1, round(FINAL_S * tracks.frames_per_s))
    centred = level - level.mean()
    spread = float(level.std())
    return {
        **_spreads("level_db", level),
        "level_db_median": float(np.median(level)),
        "level_db_top": float(np.percentile(level, 98)),
        "level_db_range": float(np.percentile(level, 95) - np.percentile(level, 5)),
        "level_db_voiced": float(tracks.level_db[tracks.voiced].mean()),
        "level_skew": float((centred**3).mean()) / spread**3 if spread > 1e-6 else 0.0,
        "level_slope": slope_of(tracks.level_db, tracks.frames_per_s),
        "level_onset": float(tracks.level_db[:edge].mean() - level.mean()),
        "level_cadence": float(tracks.level_db[-edge:].mean() - level.mean()),
        "level_peak_place": float(tracks.level_db.argmax() / len(tracks.level_db)),
        "level_rise": float(rising.mean()) if len(rising) else 0.0,
        "level_fall": float(falling.mean()) if len(falling) else 0.0,
        "level_move": float(np.abs(moves).mean()) if len(moves) else 0.0,
        "shimmer_db": _shimmer(tracks.level_db, tracks.voiced),
    }


def _shimmer(level_db: Track, voiced: Flags) -> float:
    bends = [np.abs(np.diff(level_db[start:end], n=2)) for start, end in runs_of(voiced)]
    together = np.concatenate(bends) if bends else np.zeros(0)
    return float(together.mean()) if len(together) else 0.0


def _rhythm(tracks: VoiceTracks) -> Named:
    duration_s = len(tracks.level_db) / tracks.frames_per_s
    peaks = syllable_nuclei(tracks)
    gaps_s = np.diff(peaks) / tracks.frames_per_s
    pauses = runs_of(~tracks.active)
    voiced_runs = np.array([end - start for start, end in runs_of(tracks.voiced)], dtype=float)
    unvoiced_runs = np.array([end - start for start, end in runs_of(~tracks.voiced)], dtype=float)
    per_s = tracks.frames_per_s
    return {
        "spoken_log_s": float(np.log(duration_s)),
        "syllables_per_s": len(peaks) / duration_s,
        "syllable_gap_log_s": float(np.log(gaps_s.mean())) if len(gaps_s) else float(np.log(0.5)),
        "syllable_gap_spread": float(gaps_s.std()) if len(gaps_s) else 0.0,
        "pause_share": float(1.0 - tracks.active.mean()),
        "pauses_per_s": len(pauses) / duration_s,
        "voiced_share": float(tracks.voiced.mean()),
        "voiced_runs_per_s": len(voiced_runs) / duration_s,
        "voiced_run_s": float(voiced_runs.mean()) / per_s,
        "voiced_run_spread_s": float(voiced_runs.std()) / per_s,
        "unvoiced_run_s": float(unvoiced_runs.mean()) / per_s if len(unvoiced_runs) else 0.0,
    }


def syllable_nuclei(tracks: VoiceTracks) -> Track:
    """Return the frame indices of syllable nuclei: voiced loudness peaks with dips of 2 dB between.

    Source: de Jong & Wempe (2009), syllable nuclei from intensity and voicing.
    """
    width = max(1, round(SYLLABLE_S * tracks.frames_per_s))
    kernel = np.hanning(width + 2)[1:-1]
    padded = np.pad(tracks.level_db, (width // 2, width - 1 - width // 2), mode="edge")
    smooth = np.convolve(padded, kernel / kernel.sum(), mode="valid")
    loud = smooth > np.percentile(tracks.level_db, 95) - 25.0
    peaks: list[int] = []
    best, valley = -1, np.inf
    for frame, level in enumerate(smooth):
        if best >= 0 and level < smooth[best]:
            valley = min(valley, level)
        if not (loud[frame] and tracks.voiced[frame]):
            continue
        if best < 0 or (level - valley > NUCLEUS_DIP_DB and smooth[best] - valley > NUCLEUS_DIP_DB):
            peaks.append(frame)
            best, valley = frame, np.inf
        elif level > smooth[best]:
            peaks[-1] = best = frame
            valley = np.inf
    return np.array(peaks, dtype=np.float64)


def _quality(tracks: VoiceTracks) -> Named:
    voiced = tracks.voiced
    numbers: Named = {}
    for name in QUALITY_TRACKS:
        numbers.update(_spreads(name, getattr(tracks, name)[voiced]))
    return numbers


def _timbre(tracks: VoiceTracks) -> Named:
    voiced = tracks.voiced
    numbers: Named = {}
    for k in range(1, CEPSTRA):
        cepstrum = tracks.cepstra[voiced, k]
        moves = np.diff(tracks.cepstra[:, k])
        numbers[f"cepstrum_{k}_mean"] = float(cepstrum.mean())
        numbers[f"cepstrum_{k}_spread"] = float(cepstrum.std())
        numbers[f"cepstrum_{k}_move"] = float(np.abs(moves).mean()) if len(moves) else 0.0
    loud = tracks.level_db >= np.median(tracks.level_db[tracks.active])
    for band in range(BANDS):
        level = tracks.bands_db[:, band]
        numbers[f"band_{band}_mean"] = float(level[voiced].mean())
        numbers[f"band_{band}_spread"] = float(level[voiced].std())
        numbers[f"band_{band}_loud"] = float(level[loud].mean())
    return numbers


def _modulation(tracks: VoiceTracks) -> Named:
    numbers: Named = {}
    pitch = np.where(tracks.voiced, tracks.f0_st, np.nan)
    filled = _held_over_gaps(pitch)
    for name, track in (("level", tracks.level_db), ("pitch", filled)):
        centred = (track - track.mean()) * np.hanning(len(track) + 2)[1:-1]
        length = max(256, 1 << (len(track) - 1).bit_length())
        power = np.abs(np.fft.rfft(centred, n=length)) ** 2 / len(track)
        rates_hz = np.fft.rfftfreq(length, 1.0 / tracks.frames_per_s)
        for low, high in MODULATION_HZ:
            band = power[(rates_hz >= low) & (rates_hz < high)]
            numbers[f"{name}_modulation_{low:g}_{high:g}_hz"] = float(np.log(band.mean() + 1e-3))
    return numbers


def _held_over_gaps(pitch: Track) -> Track:
    """Interpolate the pitch linearly over unvoiced frames (NaN)."""
    known = np.flatnonzero(np.isfinite(pitch))
    held: Track = np.interp(np.arange(len(pitch)), known, pitch[known])
    return held


def prosody_vector(
    waveform: Waveform, audio: AudioSpec, mel: FloatArray, f0: FloatArray
) -> FloatArray:
    """Compute the prosody statistics of one clip, (len(DIMENSIONS),) float32.

    Args:
        mel: (T, C) from :func:`redub.features.sound.mel.log_mel`, same waveform and audio.
        f0: (T,) Hz from :func:`redub.features.sound.f0.f0_track`.

    Raises:
        ClipError: another sample rate, or a sample that is not finite.
        FeatureAbsent: E-FEAT-SHORT, E-FEAT-SILENT, or E-FEAT-UNVOICED (noise, a whisper).
    """
    return vector_of(spoken_tracks(waveform, audio, mel, f0))


def vector_of(tracks: VoiceTracks) -> FloatArray:
    """Compute the vector, (len(DIMENSIONS),) float32; ``tracks`` must have a voiced frame."""
    return np.array(list(emotion_statistics(tracks).values()), dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioEmotionConfig:
    """Settings of the builtin feature ``audio_emotion``."""

    audio: AudioSpec


class AudioEmotionExtractor(LocalExtractor):
    """Compute a vector of prosody statistics from sound, mel and F0."""

    media: ClassVar[frozenset[Media]] = frozenset({"waveform"})
    reads: ClassVar[tuple[str, ...]] = ("mel", "f0")
    Config: ClassVar[type] = AudioEmotionConfig

    def __init__(self, config: AudioEmotionConfig) -> None:
        self.audio = config.audio

    @property
    def schema(self) -> FeatureSchema:
        """One vector of ``len(DIMENSIONS)`` numbers."""
        return FeatureSchema(kind="vector", width=len(DIMENSIONS))

    def extract(self, media: ClipMedia) -> FloatArray:
        """Compute the vector of one clip; raises as :func:`prosody_vector`."""
        return vector_of(tracks_of_clip(media, self.audio))
