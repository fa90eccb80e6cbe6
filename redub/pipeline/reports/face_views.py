"""Face crops as the extractors of a project cut them, for the contact sheet.

Letters: V video frames, H and W frame height and width.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial

from redub.core.types import ByteArray, FloatArray
from redub.features.face.crops import WHOLE_FACE, grey_crops
from redub.pipeline.store.keys import FeatureKeys

View = Callable[[ByteArray, FloatArray, int], ByteArray]
"""Frames (V, H, W, 3), track (V, 5) and a frame number → the crop that an extractor gets."""

SHOWN = ("global_face", "local_face", "face_emotion", "face_caption")  # features of the whole face
NETWORK_SIDE = 96  # pixels on the sheet; networks get larger crops
BUILTIN_SIDE = 64  # pixels, the size of the builtin extractors' crops


def face_views(keys: FeatureKeys) -> dict[str, View]:
    """One crop function for each group of features that share it; keys are the feature names."""
    labels: dict[tuple[str, float], list[str]] = defaultdict(list)
    for name in SHOWN:
        margin = getattr(keys.configured(name), "margin", None)
        if name in ("face_emotion", "face_caption"):
            if margin is not None:  # the builtin ones measure what global_face measures
                way = "square" if name == "face_emotion" else "inside"
                labels[way, margin].append(name)
        else:
            labels["builtin" if margin is None else "square", margin or 0.0].append(name)
    ways: dict[str, Callable[..., ByteArray]] = {
        "builtin": _builtin_face,
        "square": _square_face,
        "inside": _inside_face,
    }
    return {
        ", ".join(names): partial(ways[way], margin=margin)
        for (way, margin), names in labels.items()
    }


def _builtin_face(frames: ByteArray, track: FloatArray, k: int, *, margin: float) -> ByteArray:
    face: ByteArray = grey_crops(frames[k : k + 1], track[k : k + 1], WHOLE_FACE, BUILTIN_SIDE)[0]
    return face


def _square_face(frames: ByteArray, track: FloatArray, k: int, *, margin: float) -> ByteArray:
    from redub.features.face.rgb_crops import cut_faces

    face: ByteArray = cut_faces(frames, track, NETWORK_SIDE, margin, [k]).crops[0]
    return face


def _inside_face(frames: ByteArray, track: FloatArray, k: int, *, margin: float) -> ByteArray:
    from redub.features.picture.caption_frames import face_square

    return face_square(frames[k], track[k], margin=margin)
