"""Describe a facial expression in English sentences, from measured mouth, brow and head attributes.

A caption states the measurements and the mood words of :func:`mood_words`. The mood words follow
the action units of Ekman & Friesen, "Facial Action Coding System" (1978), in the usual reading:
raised corners (AU 12) joy; lowered corners (AU 15) with inner brows up (AU 1) sadness; drawn brows
(AU 4) anger; high brows (AU 1+2) with a dropped jaw (AU 26) surprise. Action units are not
recognised here; grey-level estimates replace them.
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from typing import ClassVar

from redub.core.types import ClipMedia, VideoSpec
from redub.features.base import FeatureSchema, LocalExtractor, Media
from redub.features.face.attributes import FaceAttributes, attributes_of_clip
from redub.features.text.wording import binned, listed

# Bins: upper bounds, then the words of the bins (one more than bounds).
OPENING = ((0.24, 0.3, 0.4), ("stays nearly closed", "parts", "opens", "opens wide"))
RATE_HZ = ((0.5, 1.5, 2.5), ("seldom", "now and then", "often", "at a fast pace"))
CORNERS = ((-0.045, 0.05), ("drooped", "straight", "raised"))
BROWS = ((0.072, 0.1), ("low", "at mid height", "high"))
SLANT = ((-0.09, 0.09), ("inner ends up", "ends alike", "inner ends drawn down"))
HEAD = ((0.01, 0.03, 0.07), ("rests", "sways a touch", "sways", "swings about"))
LOPSIDED = 0.05  # height difference of the corners, as a fraction of the mouth crop
CORNER_TREND = 0.04  # as a fraction of the mouth crop
LIVELINESS_TREND = 0.02  # normalised grey levels per frame


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceCaptionConfig:
    """Settings of the builtin ``face_caption``; ``video`` gives the frame rate."""

    video: VideoSpec


class FaceCaptionExtractor(LocalExtractor):
    """Compute a paragraph about the expression from frames, face boxes and mouth crops."""

    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"frames"})
    reads: ClassVar[tuple[str, ...]] = ("face_track", "mouth_crop")
    Config: ClassVar[type] = FaceCaptionConfig

    def __init__(self, config: FaceCaptionConfig) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        """One text."""
        return FeatureSchema(kind="text")

    def extract(self, media: ClipMedia) -> str:
        """Describe the face of one clip.

        Raises:
            FeatureAbsent: E-FEAT-NOFACE, the clip has no frames.
        """
        return face_sentences(attributes_of_clip(media, fps=self.config.video.fps))


def face_sentences(face: FaceAttributes) -> str:
    """Write the caption of measured attributes."""
    opening = binned(face.opening_mean, OPENING)
    pace = binned(face.opening_rate_hz, RATE_HZ)
    corners = f"its corners are {binned(face.corner_lift, CORNERS)}"
    if abs(face.corner_trend) >= CORNER_TREND:
        corners += " and " + ("rise" if face.corner_trend > 0 else "sink") + " towards the end"
    if face.skew >= LOPSIDED:
        corners += ", one above the other"
    brows = f"The brows are {binned(face.brow_height, BROWS)}, {binned(face.brow_slant, SLANT)}"
    sentences = [
        f"The mouth {opening} and moves {pace} ({face.opening_rate_hz:.1f} times per second); "
        f"{corners}.",
        f"{brows}, and the head {binned(face.head_range, HEAD)}.",
    ]
    if abs(face.liveliness_trend) >= LIVELINESS_TREND:
        grows = "livelier" if face.liveliness_trend > 0 else "quieter"
        sentences.append(f"The face grows {grows}.")
    sentences.append(f"It looks {listed(mood_words(face))}.")
    return " ".join(sentences)


def mood_words(face: FaceAttributes) -> list[str]:
    """Choose one or two mood words from the heights of mouth corners and brows and their slant."""
    corners = bisect(CORNERS[0], face.corner_lift) - 1
    brows = bisect(BROWS[0], face.brow_height) - 1
    slant = bisect(SLANT[0], face.brow_slant) - 1
    if face.skew >= LOPSIDED:
        sour = face.corner_lift < 0 or slant > 0
        return ["disgusted", "contemptuous"] if sour else ["doubtful", "smug"]
    if corners > 0:
        return ["happy", "cheerful"]
    if corners < 0:
        return ["sad", "miserable"] if slant < 0 else ["angry", "bitter"]
    if slant < 0:
        return ["afraid", "worried"]
    if brows > 0:
        return ["surprised", "astonished"]
    return ["angry"] if slant > 0 and brows < 0 else ["calm"]
