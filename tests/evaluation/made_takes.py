"""Measured takes and an evaluation that are written down by hand."""

import numpy as np

from redub.core.metric import Absent
from redub.evaluation.pitch_errors import PitchErrors
from redub.evaluation.takes import GROUND_TRUTH, MEAN_MEL, RESYNTHESIS, LineFigures, TakeSignals

EMOTIONS = ("happy", "happy", "sad", "angry")
WORDS = ("we go home now", "stay here", "no", "run for the door")


def take(place, system, *, right=True, mcd=4.0, gross=1, transcript="", **changes):
    """Utterance number ``place`` by one system; of its 100 frames 50 are voiced in both."""
    label = EMOTIONS[place]
    recognised = label if right else "fear"
    figures = {
        "clip_id": f"film/scene/{place}",
        "system": system,
        "text": WORDS[place],
        "emotion": label,
        "values": {
            "emo_acc": float(recognised == label),
            "emo_acc_all": float(recognised == label),
            "mcd_dtw": mcd,
            "mcd_dtw_mel": mcd,
            "f0_correlation": 0.5,
            "slot_error_ms": 0.0,
            "phoneme_error_ms": Absent("E-EVAL-DURATIONS", "the take has no phoneme durations"),
            "lip_offset": 2.0,
        },
        "pitch": PitchErrors(pairs=100, voiced_in_both=50, voicing_errors=10, gross_errors=gross),
        "transcript": transcript,
        "emotion_vector": [0.0, 1.5],
        "recognised_emotion": recognised,
        "recognised_by_all": recognised,
        "offset_frames": -2,
    }
    return LineFigures(**{**figures, **changes})


def takes_of(system, **changes):
    """The four utterances by one system."""
    return [take(place, system, **changes) for place in range(len(EMOTIONS))]


def takes_of_runs(better, worse):
    """Two runs, of which the first is better by every metric, and the other measured systems."""
    return {
        GROUND_TRUTH: takes_of(GROUND_TRUTH, mcd=0.0, gross=0),
        RESYNTHESIS: takes_of(RESYNTHESIS, mcd=1.0),
        better: takes_of(better, mcd=4.0, gross=5),
        worse: takes_of(worse, right=False, mcd=5.5, gross=20),
        MEAN_MEL: takes_of(MEAN_MEL, right=False, mcd=9.0, gross=30, transcript=None),
    }


def take_of_sound(waveform, **weights):
    """A take of which only the sound matters, and the weights of the networks that rate it."""
    none = np.zeros((1, 80), np.float32)
    return TakeSignals(
        system="run",
        waveform=waveform,
        slot_samples=len(waveform.samples),
        hop_ms=10.0,
        mel=none,
        sound_mel=none,
        f0_hz=none[:, 0],
        durations=None,
        recorded_mel=none,
        recorded_f0_hz=none[:, 0],
        recorded_durations=None,
        weights=weights,
    )
