"""Every feature redub can compute: ``name → "module:Class"``, in an order where reads come first.

Adding an extractor is one file, one line here, and its test.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from redub.core.config import from_mapping, nearest
from redub.core.errors import ConfigError
from redub.core.registry import load
from redub.core.types import AudioSpec, VideoSpec
from redub.features.base import Extractor

EXTRACTORS: dict[str, str] = {
    # signals
    "waveform": "redub.features.waveform:WaveformExtractor",
    "mel": "redub.features.mel:MelExtractor",
    "f0": "redub.features.f0:F0Extractor",
    "energy": "redub.features.energy:EnergyExtractor",
    "phonemes": "redub.features.phonemes:PhonemeExtractor",
    "durations": "redub.features.durations:DurationExtractor",
    "face_track": "redub.features.face_track:FaceTrackExtractor",
    "mouth_crop": "redub.features.mouth_crop:MouthCropExtractor",
    # captions
    "scene_caption": "redub.features.scene_caption:SceneCaptionExtractor",
    "face_caption": "redub.features.face_caption:FaceCaptionExtractor",
    # emotion vectors of the reference footage library
    "scene_emotion": "redub.features.scene_emotion:SceneEmotionExtractor",
    "face_emotion": "redub.features.face_emotion:FaceEmotionExtractor",
    "text_emotion": "redub.features.text_emotion:TextEmotionExtractor",
    "audio_emotion": "redub.features.audio_emotion:AudioEmotionExtractor",
    # context features, sentence level and frame level
    "global_face": "redub.features.global_face:GlobalFaceExtractor",
    "local_face": "redub.features.local_face:LocalFaceExtractor",
    "global_audio": "redub.features.global_audio:GlobalAudioExtractor",
    "local_audio": "redub.features.local_audio:LocalAudioExtractor",
    "global_text": "redub.features.global_text:GlobalTextExtractor",
    # lips and voice
    "lips": "redub.features.lips:LipExtractor",
    "speaker": "redub.features.speaker:SpeakerExtractor",
}


def extractor_class(name: str) -> type[Extractor]:
    """The class behind a feature name; an unknown name answers with the nearest known one."""
    kind: type[Extractor] = load(EXTRACTORS, name, kind="feature")
    return kind


def extractor_config(
    name: str, *, audio: AudioSpec, video: VideoSpec, overrides: Mapping[str, Any] | None = None
) -> Any:
    """One extractor's frozen config, from the run's specs and ``[features.<name>]``.

    Raises:
        ConfigError: an unknown key (with the nearest known one) or a bad value.
    """
    kind = extractor_class(name)
    own = {f.name for f in dataclasses.fields(kind.Config)}
    given = dict(overrides or {})
    for fixed in ("audio", "video"):
        if fixed in given:
            raise ConfigError(
                f"'features.{name}.{fixed}' is set in the [{fixed}] table only", code="E-CFG-KEY"
            )
    unknown = sorted(set(given) - own)
    if unknown:
        hint = nearest(unknown[0], own - {"audio", "video"})
        raise ConfigError(f"unknown key 'features.{name}.{unknown[0]}'; {hint}", code="E-CFG-KEY")
    specs = {key: spec for key, spec in (("audio", audio), ("video", video)) if key in own}
    defaults = dataclasses.asdict(kind.Config(**specs))
    return from_mapping(kind.Config, {**defaults, **given}, where=f"features.{name}")


def make_extractor(
    name: str, *, audio: AudioSpec, video: VideoSpec, overrides: Mapping[str, Any] | None = None
) -> Extractor:
    """Build one extractor; see :func:`extractor_config`."""
    config = extractor_config(name, audio=audio, video=video, overrides=overrides)
    return extractor_class(name)(config)
