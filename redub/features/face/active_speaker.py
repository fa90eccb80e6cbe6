"""Find the active speaker among several faces: the face whose mouth correlates with the sound.

Two traces of every face are correlated with the loudness: the motion of the mouth, and the darkness
of its middle (an open mouth is dark). Source of the idea: Hershey & Movellan, "Audio vision" (NIPS
1999), who correlate pixels with the energy of the sound. The traces and constants here have no
source. This is not a trained detector: a voice-over, music, or two mouths with similar motion can
lead to a wrong choice.
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

RIVAL = 0.6  # tracks with at least this part of the largest weight are candidates
LOUD_RANGE_DB = 40.0  # frames this much below the loudest frame count as silent
SMOOTHED = 3  # width of the smoothing in frames; a mouth opens and closes within a few frames
NOISE = 1.0  # assumed noise of a trace (grey levels) and of the loudness (decibels)
SHORTEST = 12  # frames; correlations over less than half a second are meaningless
LEAST = 0.25  # smallest accepted sum of correlations, of at most 2

UPPER, LOWER = (0.15, 0.5), (0.62, 0.95)  # rows of the face box: eyes and brows, mouth and chin
SIDES = (0.2, 0.8)  # columns of the face box
LIPS = (0.35, 0.65, 0.66, 0.92)  # left, right, top, bottom of the mouth's middle


class MouthTraces(NamedTuple):
    """Traces of one face over the frames of a shot; all (N,) float64 in grey levels.

    The last frame has no next frame, so it repeats the motion of the frame before.
    """

    motion: Floats  # change of mouth and chin to the next frame
    head: Floats  # change of eyes and brows: the motion of head, camera and light
    opening: Floats  # brightness of the face minus brightness of the middle of the mouth


def speaking_track(
    frames: ByteArray, tracks: Sequence[Track], span: tuple[int, int], loudness_db: Floats | None
) -> Track | None:
    """Choose the face track of one shot.

    The track with the largest weight wins. If other tracks have nearly the same weight, the track
    whose mouth correlates best with the sound wins. Without sound, or if no mouth correlates with
    it, the track with the most mouth motion wins.

    Args:
        span: first frame of the shot, and the first frame after it.
        loudness_db: (V,) from :func:`loudness_of`; None without sound.

    Returns:
        The track, or None if there is none.
    """
    if not tracks:
        return None
    heaviest = max(track.weight for track in tracks)
    rivals = [track for track in tracks if track.weight >= RIVAL * heaviest]
    if len(rivals) == 1:
        return rivals[0]
    if loudness_db is not None and span[1] - span[0] >= SHORTEST:
        loudness = loudness_db[slice(*span)]
        scores = [agreement(mouth_traces(frames, track, span), loudness) for track in rivals]
        if max(scores) >= LEAST:
            return rivals[int(np.argmax(scores))]
    return max(rivals, key=lambda track: mouth_motion(frames, track))


def loudness_of(level_db: FloatArray) -> Floats:
    """Compute the loudness relative to the loudest frame of the clip, (V,) from -40 to 0 dB.

    Args:
        level_db: (V, 1) of the feature ``speech_level``.
    """
    level = level_db[:, 0].astype(np.float64)
    below: Floats = np.maximum(level - level.max(initial=-np.inf), -LOUD_RANGE_DB)
    return below


def agreement(traces: MouthTraces, loudness_db: Floats) -> float:
    """Measure how well a mouth agrees with the sound: the sum of two correlations, -2 to 2.

    The motion of the head is removed from the motion of the mouth by linear regression. A trace
    that is hardly larger than the image noise gives a small correlation.

    Args:
        loudness_db: (N,) of the frames of the traces.
    """
    sound = _smoothed(loudness_db)
    motion, head, opening = (_smoothed(trace) for trace in traces)
    return _correlation(_unexplained(motion, head), sound) + _correlation(opening, sound)


def mouth_traces(frames: ByteArray, track: Track, span: tuple[int, int]) -> MouthTraces:
    """Measure one face in every frame of a shot; boxes are interpolated between the searches."""
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
    """Measure the mean change of the mouth region minus that of the eye region, in grey levels.

    Measured at the frames in which faces were searched. The eye region has only the motion of head
    and camera, which a silent person shows, too.
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
    """Cut a part of a face box out of some frames; empty if it lies outside the frame."""
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
    """The residual of a linear regression of ``trace`` on ``cause``."""
    trace, cause = trace - trace.mean(), cause - cause.mean()
    power = float(cause @ cause)
    return trace - cause * (float(trace @ cause) / power) if power > 0 else trace


def _correlation(trace: Floats, sound: Floats) -> float:
    """Pearson's r with :data:`NOISE` added to both variances, so a still face gives about 0."""
    trace, sound = trace - trace.mean(), sound - sound.mean()
    spread = (trace.var() + NOISE**2) * (sound.var() + NOISE**2)
    return float(np.mean(trace * sound) / np.sqrt(spread))
