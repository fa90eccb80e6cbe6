"""Which of several faces speaks: the one whose mouth goes with the sound.

Two traces of every face are compared with the loudness: how much the mouth moves, and how dark its
middle is (an open mouth is dark). The idea of correlating pixels with the sound's energy is Hershey
& Movellan's ("Audio vision", NIPS 1999); the traces and figures here are redub's own. It is no
trained detector: a voice-over, music, or two mouths that move alike mislead it.
Letters: V video frames, N frames of one shot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from redub.core.types import ByteArray, FloatArray
from redub.features.face.following import Track

Floats = NDArray[np.float64]

RIVAL = 0.6  # a track this close to the heaviest may still be the speaker
LOUD_RANGE_DB = 40.0  # below the clip's loudest frame by this much is as good as silent
SMOOTHED = 3  # frames; a mouth opens and closes within a few
NOISE = 1.0  # grey levels a trace wavers by in a still picture; decibels a steady sound wavers by
SHORTEST = 12  # frames; over less than half a second anything agrees with anything
LEAST = 0.25  # of at most 2: below this no face goes with the sound

UPPER, LOWER = (0.15, 0.5), (0.62, 0.95)  # rows of the face box: eyes and brows, mouth and chin
SIDES = (0.2, 0.8)  # columns of the face box
LIPS = (0.35, 0.65, 0.66, 0.92)  # left, right, top, bottom of the mouth's middle


class MouthTraces(NamedTuple):
    """What one face does, frame by frame; all (N,) float64 in grey levels.

    The last frame has no next one to differ from and repeats the motion before it.
    """

    motion: Floats  # change of mouth and chin to the next frame
    head: Floats  # change of eyes and brows: the motion of head, camera and light
    opening: Floats  # how much darker the mouth's middle is than the face


def speaking_track(
    frames: ByteArray, tracks: Sequence[Track], span: tuple[int, int], loudness_db: Floats | None
) -> Track | None:
    """The track of one shot to keep.

    The heaviest; between near equals the one whose mouth goes with the sound; without sound, or
    where no mouth goes with it, the one whose mouth moves most.

    Args:
        span: first frame of the shot, and the first after it.
        loudness_db: (V,) from :func:`loudness_of`; None without sound.
    """
    if not tracks:
        return None
    heaviest = max(track.weight for track in tracks)
    rivals = [track for track in tracks if track.weight >= RIVAL * heaviest]
    if len(rivals) == 1:
        return rivals[0]
    if loudness_db is not None and span[1] - span[0] >= SHORTEST:
        heard = loudness_db[slice(*span)]
        scores = [agreement(mouth_traces(frames, track, span), heard) for track in rivals]
        if max(scores) >= LEAST:
            return rivals[int(np.argmax(scores))]
    return max(rivals, key=lambda track: mouth_motion(frames, track))


def loudness_of(level_db: FloatArray) -> Floats:
    """Decibels below the clip's loudest picture, -40 to 0.

    Args:
        level_db: (V, 1) of the feature ``speech_level``.
    """
    level = level_db[:, 0].astype(np.float64)
    below: Floats = np.maximum(level - level.max(initial=-np.inf), -LOUD_RANGE_DB)
    return below


def agreement(traces: MouthTraces, heard: Floats) -> float:
    """How far a mouth goes with the sound: two correlations added, -2 to 2.

    Motion counts after what the head's own motion explains is taken away; a trace that hardly
    leaves the picture's noise counts for less.
    """
    sound = _smoothed(heard)
    motion, head, opening = (_smoothed(trace) for trace in traces)
    return _correlation(_unexplained(motion, head), sound) + _correlation(opening, sound)


def mouth_traces(frames: ByteArray, track: Track, span: tuple[int, int]) -> MouthTraces:
    """Measure one face in every frame of a shot; its boxes are interpolated between searches."""
    start, end = span
    at = np.fromiter(track.boxes, dtype=np.int64)
    found = np.array([box[:4] for box in track.boxes.values()])  # (hits, 4)
    boxes = np.stack([np.interp(np.arange(start, end), at, column) for column in found.T], axis=1)
    motion, head, opening = (np.zeros(end - start) for _ in range(3))
    for i, box in enumerate(boxes):
        pair = frames[start + i : min(start + i + 2, end)]
        face = _part(pair[:1], box, *SIDES, UPPER[0], LOWER[1])
        opening[i] = _mean(face) - _mean(_part(pair[:1], box, *LIPS))
        if len(pair) == 2:
            head[i] = _mean(_change(_part(pair, box, *SIDES, *UPPER)))
            motion[i] = _mean(_change(_part(pair, box, *SIDES, *LOWER)))
        elif i:
            head[i], motion[i] = head[i - 1], motion[i - 1]
    return MouthTraces(motion, head, opening)


def mouth_motion(frames: ByteArray, track: Track) -> float:
    """How much more the lower third of a face changes than its upper half, in grey levels.

    Measured at the searched frames. The upper half carries the motion of the head and camera,
    which a listener has too.
    """
    lower: list[float] = []
    upper: list[float] = []
    for k, box in track.boxes.items():
        if k + 1 >= len(frames):
            continue
        left, right = max(0, int(box.x + 0.2 * box.w)), int(box.x + 0.8 * box.w)
        rows = [max(0, int(box.y + share * box.h)) for share in (*UPPER, *LOWER)]
        pair = frames[k : k + 2, :, left:right].astype(np.float32)
        change = np.abs(pair[1] - pair[0])
        for part, top, bottom in ((upper, rows[0], rows[1]), (lower, rows[2], rows[3])):
            region = change[top:bottom]
            part.append(float(region.mean()) if region.size else 0.0)
    return float(np.mean(lower) - np.mean(upper)) if lower else 0.0


def _part(
    frames: ByteArray, box: Floats, left: float, right: float, top: float, bottom: float
) -> FloatArray:
    """A part of a face box in some frames; empty where it lies outside the picture."""
    x, y, w, h = box
    rows = slice(max(0, int(y + top * h)), max(0, int(y + bottom * h)))
    columns = slice(max(0, int(x + left * w)), max(0, int(x + right * w)))
    return frames[:, rows, columns].astype(np.float32)


def _change(pair: FloatArray) -> FloatArray:
    change: FloatArray = np.abs(pair[1] - pair[0])
    return change


def _mean(region: FloatArray) -> float:
    return float(region.mean()) if region.size else 0.0


def _smoothed(trace: Floats) -> Floats:
    padded = np.pad(trace, SMOOTHED // 2, mode="edge")
    return np.convolve(padded, np.full(SMOOTHED, 1 / SMOOTHED), mode="valid")


def _unexplained(trace: Floats, cause: Floats) -> Floats:
    """What a straight line through ``cause`` leaves of ``trace``."""
    trace, cause = trace - trace.mean(), cause - cause.mean()
    power = float(cause @ cause)
    return trace - cause * (float(trace @ cause) / power) if power > 0 else trace


def _correlation(trace: Floats, sound: Floats) -> float:
    """Pearson's r, as if both had :data:`NOISE` on top: a still face agrees with nothing."""
    trace, sound = trace - trace.mean(), sound - sound.mean()
    spread = (trace.var() + NOISE**2) * (sound.var() + NOISE**2)
    return float(np.mean(trace * sound) / np.sqrt(spread))
