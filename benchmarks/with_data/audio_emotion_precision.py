"""How often the audio-emotion neighbours of a line from *other* speakers share its emotion.

Reads a folder of RAVDESS-named recordings (``03-01-EMOTION-INTENSITY-STATEMENT-REPETITION-ACTOR``),
which is not part of redub: Livingstone & Russo 2018, CC BY-NC-SA 4.0.

    python benchmarks/with_data/audio_emotion_precision.py FOLDER

Protocol. K = 3 by cosine, candidates are all recordings of all other speakers. Rows without labels
see every recording's speaker and no emotion. The row with labels is fitted once per speaker, on the
emotions of the other speakers only; the held-out speaker's recordings enter its speaker mean and
spread, never the axes. Intervals: 95 %, bootstrap over recordings within each speaker; six speakers
are few, so the column "speakers" gives the lowest and the highest speaker as well.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from redub.core.errors import FeatureAbsent
from redub.core.types import AudioSpec, Waveform
from redub.features.sound.audio_emotion import prosody_vector
from redub.features.sound.f0 import f0_track
from redub.features.sound.mel import log_mel
from redub.index.transform import fit_chain

AUDIO = AudioSpec()
K = 3
RESAMPLES = 2000


class Corpus(NamedTuple):
    vectors: NDArray[np.float32]  # (N, D)
    emotions: NDArray[np.str_]
    speakers: NDArray[np.str_]
    statements: NDArray[np.str_]
    skipped: list[str]


def read_corpus(folder: Path) -> Corpus:
    """All recordings below a folder, in name order."""
    rows, skipped = [], []
    for path in sorted(p for p in folder.rglob("*") if p.suffix in {".flac", ".wav"}):
        _, _, emotion, _, statement, _, actor = path.stem.split("-")
        sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
        mono = soxr.resample(sound.mean(axis=1), rate, AUDIO.sample_rate_hz)
        waveform = Waveform(mono.astype(np.float32), AUDIO.sample_rate_hz)
        try:
            mel, f0 = log_mel(waveform, AUDIO), f0_track(waveform, AUDIO)
            rows.append((prosody_vector(waveform, AUDIO, mel, f0), emotion, actor, statement))
        except FeatureAbsent as reason:
            skipped.append(f"{path.name}: {reason}")
    vectors, emotions, speakers, statements = zip(*rows, strict=True)
    return Corpus(
        np.stack(vectors), np.array(emotions), np.array(speakers), np.array(statements), skipped
    )


def precision(
    vectors: NDArray[np.float32], corpus: Corpus, *, other_text: bool
) -> NDArray[np.float64]:
    """(N,) share of each recording's K nearest from other speakers that have its emotion."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness = unit @ unit.T
    likeness[corpus.speakers[:, None] == corpus.speakers] = -np.inf
    if other_text:
        likeness[corpus.statements[:, None] == corpus.statements] = -np.inf
    nearest = np.argsort(-likeness, axis=1, kind="stable")[:, :K]
    hits: NDArray[np.float64] = (corpus.emotions[nearest] == corpus.emotions[:, None]).mean(axis=1)
    return hits


def unsupervised(corpus: Corpus, *names: str) -> NDArray[np.float32]:
    people = corpus.speakers.tolist()
    return fit_chain(names, corpus.vectors, people).apply(corpus.vectors, people)


def leave_one_speaker_out(corpus: Corpus, *, other_text: bool) -> NDArray[np.float64]:
    """(N,) precision with discriminant axes fitted on all speakers but the recording's own."""
    hits = np.zeros(len(corpus.vectors))
    normal = unsupervised(corpus, "speaker_zscore")
    people = corpus.speakers.tolist()
    for speaker in np.unique(corpus.speakers):
        seen = corpus.speakers != speaker
        axes = fit_chain(
            ("lda",), normal[seen], corpus.speakers[seen].tolist(), corpus.emotions[seen].tolist()
        )
        found = precision(axes.apply(normal, people), corpus, other_text=other_text)
        hits[~seen] = found[~seen]
    return hits


def interval(hits: NDArray[np.float64], speakers: NDArray[np.str_]) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    groups = [np.flatnonzero(speakers == speaker) for speaker in np.unique(speakers)]
    means = [
        np.concatenate([hits[rng.choice(group, len(group))] for group in groups]).mean()
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    corpus = read_corpus(parser.parse_args().folder)
    share = np.array([(corpus.emotions == emotion).mean() for emotion in corpus.emotions])
    print(f"{len(corpus.vectors)} recordings, {len(np.unique(corpus.speakers))} speakers,", end=" ")
    print(f"{corpus.vectors.shape[1]} dimensions, {len(corpus.skipped)} skipped; K = {K}")
    print("\n".join(corpus.skipped))
    print(f"{'vectors':34}{'precision':>10}{'95 %':>16}{'speakers':>16}")
    print(f"{'drawn at random':34}{share.mean():10.3f}")
    for other_text in (False, True):
        rows = {
            "raw": precision(corpus.vectors, corpus, other_text=other_text),
            "speaker_zscore": precision(
                unsupervised(corpus, "speaker_zscore"), corpus, other_text=other_text
            ),
            "speaker_zscore, whiten": precision(
                unsupervised(corpus, "speaker_zscore", "whiten"), corpus, other_text=other_text
            ),
            "speaker_zscore, lda (others' labels)": leave_one_speaker_out(
                corpus, other_text=other_text
            ),
        }
        if other_text:
            print("neighbours that say the other sentence:")
        for name, hits in rows.items():
            low, high = interval(hits, corpus.speakers)
            each = [hits[corpus.speakers == s].mean() for s in np.unique(corpus.speakers)]
            print(
                f"{name:36}{hits.mean():8.3f}{low:9.3f}–{high:.3f}{min(each):9.3f}–{max(each):.3f}"
            )


if __name__ == "__main__":
    main()
