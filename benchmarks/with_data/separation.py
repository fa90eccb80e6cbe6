"""What DeepFilterNet separates, per kind of background, and what it does for retrieval.

Reads a folder of RAVDESS-named recordings, as ``audio_emotion_precision.py``, and the fetched
package (`redub weights get deepfilternet`).

    python benchmarks/with_data/separation.py FOLDER [--each 9] [--processes 2]

First table: signal-to-distortion ratio (dB) of the speech (before, after) and of the background
(the mixture minus the separated speech), medians over every ``--each``-th recording, and how many
recordings have their speech erased. Backgrounds are made: broadband noise, babble of four other
recordings, decaying and sustained chords, and a song (drums, bass, chords). Second table: retrieval
precision, as in ``audio_emotion_precision.py`` (K = 3, other speakers, speaker_zscore), when every
second recording has a song below it.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from redub.core.errors import FeatureAbsent
from redub.core.types import AudioSpec, Waveform
from redub.features.models.deepfilternet.separation import (
    ERASED_DB,
    speech_of_clip,
    speech_of_sound,
)
from redub.features.sound.audio_emotion import prosody_vector
from redub.features.sound.f0 import f0_track
from redub.features.sound.mel import log_mel
from redub.features.weights.packages import fetched

sys.path.insert(0, str(Path(__file__).parent))
from audio_emotion_precision import Corpus, interval, precision, unsupervised

AUDIO = AudioSpec()
RATE = AUDIO.sample_rate_hz
Sound = NDArray[np.float64]
ROOTS_HZ = (110.0, 130.8, 146.8, 164.8, 196.0)
LEVELS_DB = (0.0, 6.0, 12.0)


def speech(path: Path) -> Sound:
    sound, rate = soundfile.read(path, dtype="float64", always_2d=True)
    mono: Sound = soxr.resample(sound.mean(axis=1), rate, RATE)
    return mono


def chords(samples: int, rng: np.random.Generator, *, decay: bool) -> Sound:
    """A major or minor triad with five harmonics every half second."""
    made = np.zeros(samples)
    t = np.arange(samples) / RATE
    for start in range(0, samples, RATE // 2):
        here = t[: samples - start]
        root, third = rng.choice(ROOTS_HZ), rng.choice((1.2, 1.26))
        tones = sum(
            np.sin(2 * np.pi * root * step * k * here + rng.uniform(0, 6)) / k
            for step in (1.0, third, 1.5)
            for k in range(1, 6)
        )
        made[start:] += tones * (np.exp(-here / 0.3) if decay else here < 0.5)
    return made


def song(samples: int, rng: np.random.Generator) -> Sound:
    """Sustained chords, a bass note every quarter second, a kick and a snare in turn."""
    made = chords(samples, rng, decay=False)
    t = np.arange(samples) / RATE
    brush = butter(2, (1_000, 6_000), "bandpass", fs=RATE, output="sos")
    for beat, start in enumerate(range(0, samples, RATE // 4)):
        here = t[: samples - start]
        made[start:] += 2 * np.sin(2 * np.pi * rng.choice(ROOTS_HZ) / 2 * here) * (here < 0.2)
        if beat % 2:
            hit = sosfilt(brush, rng.standard_normal(len(here))) * np.exp(-here / 0.05)
        else:
            hit = 3 * np.sin(2 * np.pi * 60 * here) * np.exp(-here / 0.08)
        made[start:] += 3 * hit
    return made


def background(kind: str, samples: int, seed: int, files: list[Path]) -> Sound:
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.standard_normal(samples)
    if kind == "babble":
        voices = [np.resize(speech(path), samples) for path in rng.choice(np.array(files), 4)]
        return np.sum([voice / (voice.std() + 1e-9) for voice in voices], axis=0)
    if kind == "song":
        return song(samples, rng)
    return chords(samples, rng, decay=kind == "decaying chords")


def at_level(voice: Sound, bed: Sound, ratio_db: float) -> Sound:
    """The background, so loud that the speech is ``ratio_db`` above it."""
    power = np.square(voice).sum() / np.square(bed).sum()
    scaled: Sound = bed * np.sqrt(power) * 10 ** (-ratio_db / 20)
    return scaled


def separated(sound: Sound, *, of_clip: bool) -> Sound:
    """The speech; ``of_clip`` keeps a sound whose speech would be erased, as an extraction does."""
    weights = fetched("deepfilternet")
    assert weights is not None, "type `redub weights get deepfilternet`"
    waveform = Waveform(sound.astype(np.float32), RATE)
    if of_clip:
        return speech_of_clip(waveform, weights)[0].samples.astype(np.float64)
    return speech_of_sound(waveform, weights).samples.astype(np.float64)


def sdr_db(wanted: Sound, found: Sound) -> float:
    return float(10 * np.log10(np.square(wanted).sum() / np.square(wanted - found).sum()))


def measured(kind: str, level_db: float | None, files: list[Path], number: int) -> list[float]:
    """SDR of the speech before and after, of the background; whether the speech was erased."""
    voice = speech(files[number])
    if level_db is None:
        found = separated(voice, of_clip=False)
        return [np.inf, sdr_db(voice, found), np.nan, erased(voice, found)]
    bed = at_level(voice, background(kind, len(voice), number, files), level_db)
    mixed = voice + bed
    found = separated(mixed, of_clip=False)
    background_db = sdr_db(bed, mixed - found)
    return [sdr_db(voice, mixed), sdr_db(voice, found), background_db, erased(mixed, found)]


def erased(sound: Sound, speech: Sound) -> float:
    """1 where an extraction would use the sound as it is, else 0."""
    return float(np.square(speech).sum() < 10 ** (ERASED_DB / 10) * np.square(sound).sum())


def vector(files: list[Path], case: str, number: int) -> NDArray[np.float32] | None:
    """The audio-emotion vector of one recording in one case of the second table."""
    sound = speech(files[number])
    if "song" in case and number % 2:
        sound = sound + at_level(sound, background("song", len(sound), number, files), 6.0)
    if "separated" in case:
        sound = separated(sound, of_clip=True)
    waveform = Waveform(sound.astype(np.float32), RATE)
    try:
        return prosody_vector(waveform, AUDIO, log_mel(waveform, AUDIO), f0_track(waveform, AUDIO))
    except FeatureAbsent:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--each", type=int, default=9)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    files = sorted(p for p in options.folder.rglob("*") if p.suffix in {".flac", ".wav"})
    chosen = range(0, len(files), options.each)
    with ProcessPoolExecutor(options.processes) as pool:
        print(f"{len(chosen)} recordings; SDR in dB, median (lowest)")
        print(f"{'background':18}{'before':>8}{'after':>16}{'background':>18}{'erased':>8}")
        rows: list[tuple[str, float | None]] = [("none", None)]
        for kind in ("noise", "babble", "decaying chords", "sustained chords", "song"):
            rows += [(kind, level_db) for level_db in LEVELS_DB]
        for kind, level_db in rows:
            found = np.array(list(pool.map(partial(measured, kind, level_db, files), chosen)))
            middle, lowest = np.median(found, axis=0), found.min(axis=0)
            print(
                f"{kind:18}{middle[0]:8.1f}{middle[1]:8.1f} ({lowest[1]:5.1f})"
                f"{middle[2]:10.1f} ({lowest[2]:5.1f})"
                f"{int(found[:, 3].sum()):8d}",
                flush=True,
            )
        print(f"\n{'retrieval':30}{'precision':>10}{'95 %':>16}{'refused':>9}")
        for case in ("clean", "clean, separated", "song at 6 dB", "song at 6 dB, separated"):
            vectors = list(pool.map(partial(vector, files, case), range(len(files))))
            kept = [n for n, row in enumerate(vectors) if row is not None]
            labels = [files[n].stem.split("-") for n in kept]
            corpus = Corpus(
                np.stack([row for row in vectors if row is not None]),
                np.array([label[2] for label in labels]),
                np.array([label[6] for label in labels]),
                np.array([label[4] for label in labels]),
                [],
            )
            hits = precision(unsupervised(corpus, "speaker_zscore"), corpus, other_text=False)
            low, high = interval(hits, corpus.speakers)
            refused = len(files) - len(kept)
            print(f"{case:30}{hits.mean():10.3f}{low:10.3f}–{high:.3f}{refused:9d}", flush=True)


if __name__ == "__main__":
    main()
