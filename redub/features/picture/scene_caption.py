"""Describe a scene in English sentences, from measured colour, light, contrast and motion.

A caption states the measurements and the mood words of the tables below. It does not know what the
frames show. Source of the tables: pleasure and arousal of brightness and saturation after Valdez &
Mehrabian (1994). The moods of hues are this project's reading of film convention (red anger, blue
sadness, green disgust, yellow joy), not a measurement.
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from typing import ClassVar

from redub.core.errors import FeatureAbsent
from redub.core.types import ClipMedia
from redub.features.base import FeatureSchema, Media, frames_of
from redub.features.picture.attributes import (
    FrameAttributes,
    colour_affect,
    hue_family,
    measure_frames,
)
from redub.features.picture.small_frames import small_frames
from redub.features.text.wording import binned, listed

# Bins: upper bounds, then the words of the bins (one more than bounds).
LIGHTNESS = (
    (0.2, 0.36, 0.48, 0.62, 0.85),
    ("very dark", "dark", "dim", "evenly lit", "bright", "glowing"),
)
SATURATION = ((0.12, 0.3, 0.55), ("pale", "muted", "full", "vivid"))
CONTRAST = (
    (0.06, 0.13, 0.22),
    ("low contrast", "soft contrast", "medium contrast", "hard contrast"),
)
MOTION = (
    (0.0008, 0.004, 0.015),
    (
        "it stays motionless",
        "it moves slowly",
        "it moves steadily",
        "it moves quickly and abruptly",
    ),
)
WARMTH = ((-0.25, 0.25), ("cold", "mixed in colour", "warm"))
TREND = 0.05  # a larger change of L* / 100 gets a sentence

MOODS: dict[str, tuple[str, str, str]] = {
    "red": ("angry, threatening", "angry, hostile", "fierce, furious"),
    "orange": ("bitter", "warm, pleasant", "happy, cheerful"),
    "yellow": ("stale, sour", "happy, golden", "happy, joyful"),
    "green": ("murky, disgusting", "foul, disgusting", "sour, unpleasant"),
    "teal": ("strange, doubtful", "awkward, doubtful", "curious, restless"),
    "blue": ("sad, gloomy", "sad, melancholy", "wistful, calm"),
    "violet": ("fearful, haunted", "afraid, uneasy", "mysterious, uneasy"),
    "pink": ("startling, tense", "surprising, strange", "surprising, amazing"),
    "grey": ("bleak", "neutral, ordinary", "neutral, calm"),
}
"""Mood words of a hue if it is dark, medium or light."""

DARK, LIGHT = 0.35, 0.65  # bounds of L* / 100 between dark, medium and light
AROUSING, SOOTHING = 0.15, -0.3  # an arousal above or below these gets one more mood word
STRENGTHS = ("deep ", "", "pale ")


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneCaptionConfig:
    """No settings: words and bounds are the tables of this module."""


class SceneCaptionExtractor:
    """Compute a paragraph about the scene from frames; with a face track, without the person."""

    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"frames"})
    reads: ClassVar[tuple[str, ...]] = ("face_track",)
    optional: ClassVar[frozenset[str]] = frozenset({"face_track"})
    Config: ClassVar[type] = SceneCaptionConfig

    def __init__(self, config: SceneCaptionConfig) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        """One text."""
        return FeatureSchema(kind="text")

    def extract(self, media: ClipMedia) -> str:
        """Describe the scene of one clip.

        Raises:
            FeatureAbsent: E-FEAT-NOFRAMES, the clip has no frames.
        """
        return scene_sentences(measure_scene(media))


def measure_scene(media: ClipMedia) -> FrameAttributes:
    """Measure the scenery of a clip, around the person if ``face_track`` is present.

    Raises:
        FeatureAbsent: E-FEAT-NOFRAMES, the clip has no frames.
    """
    if media.frames is None or len(media.frames) == 0:
        raise FeatureAbsent("the clip has no video frame to describe", code="E-FEAT-NOFRAMES")
    known = "face_track" in media.features
    track = frames_of(media.features, "face_track") if known else None
    small = media.once(small_frames, media.frames)
    return media.once(measure_frames, media.frames, track, small=small)


def scene_sentences(attributes: FrameAttributes) -> str:
    """Write the caption of measured attributes."""
    family = hue_family(attributes)
    light = binned(attributes.lightness, LIGHTNESS)
    looks = f"{binned(attributes.contrast, CONTRAST)}, and {binned(attributes.motion, MOTION)}"
    if family == "grey":
        opening = f"The scene is {light}: grey, {looks}."
    else:
        warmth = binned(attributes.warm_share - attributes.cool_share, WARMTH)
        depth = STRENGTHS[_depth(attributes)]
        opening = (
            f"The scene is {light} and {warmth}: mostly {depth}{family} "
            f"({attributes.hue_deg:.0f} degrees), {binned(attributes.saturation, SATURATION)} "
            f"colours, {looks}."
        )
    sentences = [opening]
    if abs(attributes.lightness_trend) >= TREND:
        grows = "brighter" if attributes.lightness_trend > 0 else "darker"
        sentences.append(f"It grows {grows} towards the end.")
    sentences.append(f"It feels {listed(mood_words(attributes))}.")
    return " ".join(sentences)


def mood_words(attributes: FrameAttributes) -> list[str]:
    """Return the mood words of the hue, and one more for a high or low arousal of the colours."""
    moods = MOODS[hue_family(attributes)][_depth(attributes)].split(", ")
    affect = colour_affect(attributes)
    if affect.arousal > AROUSING:
        moods.append("lively" if affect.pleasure > 0 else "tense")
    elif affect.arousal < SOOTHING:
        moods.append("gentle" if affect.pleasure > 0 else "dreary")
    return moods


def _depth(attributes: FrameAttributes) -> int:
    return bisect((DARK, LIGHT), attributes.lightness)
