"""Emotion recognisers and the lip-audio meter: fitted on the training split, applied to takes.

Reads features of recordings and the takes of runs; opens no media. Writes nothing:
``stages/evaluate.py`` collects the figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from redub.core.metric import Absent
from redub.core.types import Clip
from redub.evaluation.emotion_accuracy import UNLABELLED, emotion_hit
from redub.evaluation.emotion_recogniser import EmotionRecogniser
from redub.evaluation.lip_audio import MAX_SHIFT, LipAudioMeter
from redub.evaluation.takes import GROUND_TRUTH, MEAN_MEL, RESYNTHESIS, LineFigures
from redub.features.sound.audio_emotion import DIMENSIONS
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.takes import read_samples
from redub.pipeline.store.tables import Store

LEAST_LABELLED, LEAST_MOUTHS = 16, 10
"""Training clips that the recognisers and the meter need."""

PROSODY = ("f0_", "level_", "syllable", "spoken_", "pause", "voiced_", "unvoiced_")

PROSODY_DIMENSIONS = [place for place, name in enumerate(DIMENSIONS) if name.startswith(PROSODY)]
"""Dimensions that the first emotion recogniser reads: pitch, level and timing. Spectral
statistics separate a smooth mel from a recording more than they separate emotions; see
docs/decisions/0005."""

NO_RECOGNISER = Absent(
    "E-EVAL-LABELS",
    f"too few labelled training lines: wanted {LEAST_LABELLED} with two emotions or more",
)
NO_METER = Absent(
    "E-EVAL-METER", f"fewer than {LEAST_MOUTHS} training lines have a mel and mouth crops"
)
NO_MOUTH = Absent("E-EVAL-MOUTH", f"fewer than {MAX_SHIFT + 1} mouth crops")
NO_LIPS = Absent("E-EVAL-LIPS", "the lips are compared with recordings and runs only")


def prosody_of(vectors: ArrayLike) -> NDArray[np.float64]:
    """The prosody dimensions of audio emotion vectors (N, D), as (N, d)."""
    found: NDArray[np.float64] = np.asarray(vectors)[:, PROSODY_DIMENSIONS]
    return found


# -- emotions


def recognise_emotions(
    store: Store, clips: Mapping[str, Clip], lines: Sequence[LineFigures]
) -> str | Absent:
    """Write the recognised emotions into the figures of all takes with an emotion vector.

    Args:
        clips: of the lines, by id.

    Returns:
        What the recogniser of prosody is, or why there is none.
    """
    fitted = _emotion_recognisers(store)
    if fitted is None:
        for line in lines:
            absent = NO_RECOGNISER if line.emotion else UNLABELLED
            line.values["emo_acc"] = line.values["emo_acc_all"] = absent
        return NO_RECOGNISER
    prosody, on_all_dimensions = fitted
    audible = [line for line in lines if line.emotion_vector is not None]
    if audible:
        features = np.array([line.emotion_vector for line in audible])
        speakers = [clips[line.clip_id].speaker for line in audible]
        one = prosody.predict(prosody_of(features), speakers)
        other = on_all_dimensions.predict(features, speakers)
        for line, first, second in zip(audible, one, other, strict=True):
            line.recognised_emotion, line.recognised_by_all = first, second
    for line in lines:
        line.values["emo_acc"] = emotion_hit(line.emotion, line.recognised_emotion)
        line.values["emo_acc_all"] = emotion_hit(line.emotion, line.recognised_by_all)
    return f"{prosody.chosen.kind} on prosody of audio_emotion, speaker-normalised"


def _emotion_recognisers(store: Store) -> tuple[EmotionRecogniser, EmotionRecogniser] | None:
    """The recogniser of prosody, and that of all dimensions; fitted on recorded training clips."""
    training = [c for c in store.clips() if c.split == "train" and c.emotion]
    vectors = store.read("audio_emotion", [c.clip_id for c in training])
    training = [c for c in training if c.clip_id in vectors]
    if len({c.emotion for c in training}) < 2 or len(training) < LEAST_LABELLED:
        return None
    features = np.stack([np.asarray(vectors[c.clip_id]) for c in training])
    facts = (
        [c.emotion for c in training],
        [c.speaker for c in training],
        [f"{c.film}/{c.scene}" for c in training],
    )
    prosody = EmotionRecogniser.fit(prosody_of(features), *facts, seed=0)
    return prosody, EmotionRecogniser.fit(features, *facts, seed=0)


# -- lips


def measure_lips(
    project: Project,
    store: Store,
    clips: Mapping[str, Clip],
    runs: Sequence[str],
    split: str,
    lines: Sequence[LineFigures],
) -> None:
    """Write the lip-audio offsets into the figures of the recordings and of the runs' takes."""
    meter = _lip_meter(store)
    mouths = store.read("mouth_crop", list(clips))
    truth = store.read("mel", list(clips))
    takes = {run: read_samples(project, run, split) for run in runs}
    for line in lines:
        mouth = mouths.get(line.clip_id)
        if line.system in (MEAN_MEL, RESYNTHESIS):
            line.values["lip_offset"] = NO_LIPS
        elif meter is None:
            line.values["lip_offset"] = NO_METER
        elif mouth is None or len(mouth) <= MAX_SHIFT:
            line.values["lip_offset"] = NO_MOUTH
        else:
            is_recorded = line.system == GROUND_TRUTH
            mel = truth[line.clip_id] if is_recorded else takes[line.system][line.clip_id].mel
            report = meter.measure(np.asarray(mel), np.asarray(mouth))
            line.offset_frames = report.offset_frames
            line.values["lip_offset"] = float(abs(report.offset_frames))


def _lip_meter(store: Store) -> LipAudioMeter | None:
    ids = [c.clip_id for c in store.clips() if c.split == "train"]
    mels, mouths = store.read("mel", ids), store.read("mouth_crop", ids)
    both = [i for i in ids if i in mels and i in mouths]
    if len(both) < LEAST_MOUTHS:
        return None
    return LipAudioMeter.fit(
        [np.asarray(mels[i]) for i in both], [np.asarray(mouths[i]) for i in both]
    )
