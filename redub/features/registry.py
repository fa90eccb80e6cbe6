"""The registry of features, their backends, and the three profiles.

:data:`EXTRACTORS` lists all features with their builtin extractors; a feature comes after the
features that it reads. :data:`FEATURE_BACKENDS` lists the other backends of a feature: networks
with trained weights, or imported files. A project has a profile and can choose the backend of
single features with ``[features.<name>] backend = "…"``. A new extractor needs one file, one line
here, and its test.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from redub.core.config import from_mapping, nearest, unknown_key
from redub.core.errors import ConfigError
from redub.core.registry import load
from redub.core.types import AudioSpec, VideoSpec
from redub.features.base import Extractor, WeightUser
from redub.features.runtime import Runtime
from redub.features.weights.folder import WeightFolder

BUILTIN = "builtin"

EXTRACTORS: dict[str, str] = {
    # signals
    "waveform": "redub.features.sound.waveform:WaveformExtractor",
    "mel": "redub.features.sound.mel:MelExtractor",
    "f0": "redub.features.sound.f0:F0Extractor",
    "energy": "redub.features.sound.energy:EnergyExtractor",
    "speech_level": "redub.features.sound.speech_level:SpeechLevelExtractor",
    "phonemes": "redub.features.text.phonemes:PhonemeExtractor",
    "durations": "redub.features.sound.durations:DurationExtractor",
    "face_track": "redub.features.face.track:FaceTrackExtractor",
    "face_source": "redub.features.face.source:FaceSourceExtractor",
    "landmarks": "redub.features.face.landmarks:LandmarkExtractor",
    "mouth_crop": "redub.features.mouth.crop:MouthCropExtractor",
    "mouth_source": "redub.features.mouth.source:MouthSourceExtractor",
    # captions, and the reaction to an utterance
    "scene_caption": "redub.features.picture.scene_caption:SceneCaptionExtractor",
    "face_caption": "redub.features.face.caption:FaceCaptionExtractor",
    "reaction": "redub.features.text.reaction:ReactionExtractor",
    # emotion vectors of the reference footage library
    "scene_emotion": "redub.features.picture.scene_emotion:SceneEmotionExtractor",
    "face_emotion": "redub.features.face.emotion:FaceEmotionExtractor",
    "text_emotion": "redub.features.text.text_emotion:TextEmotionExtractor",
    "audio_emotion": "redub.features.sound.audio_emotion:AudioEmotionExtractor",
    "scene_emotion_probs": "redub.features.text.emotion_probs:SceneEmotionProbabilities",
    "face_emotion_probs": "redub.features.text.emotion_probs:FaceEmotionProbabilities",
    "text_emotion_probs": "redub.features.text.emotion_probs:TextEmotionProbabilities",
    # context features, sentence level and frame level
    "global_scene": "redub.features.picture.global_scene:GlobalSceneExtractor",
    "global_face": "redub.features.face.global_face:GlobalFaceExtractor",
    "local_face": "redub.features.face.local_face:LocalFaceExtractor",
    "global_audio": "redub.features.sound.global_audio:GlobalAudioExtractor",
    "local_audio": "redub.features.sound.local_audio:LocalAudioExtractor",
    "global_text": "redub.features.text.global_text:GlobalTextExtractor",
    # lips and voice
    "lips": "redub.features.mouth.lips:LipExtractor",
    "speaker": "redub.features.sound.speaker:SpeakerExtractor",
}

FEATURE_BACKENDS: dict[str, dict[str, str]] = {
    "phonemes": {
        "lexicon": "redub.features.text.lexicon:LexiconPhonemes",
        "espeak": "redub.features.text.espeak:EspeakPhonemes",
    },
    "durations": {
        "textgrid": "redub.features.sound.textgrid:TextGridDurations",
        "ctc": "redub.features.models.ctc.extractor:CtcDurations",
        "hama": "redub.features.models.hama.extractor:HamaDurations",
    },
    "scene_caption": {
        "videollama2": "redub.features.models.videollama2.extractor:VideoLlama2SceneCaption",
        "videollama3": "redub.features.models.videollama3.extractor:VideoLlama3SceneCaption",
        "import": "redub.features.picture.imported_caption:ImportedSceneCaption",
    },
    "face_caption": {
        "videollama2": "redub.features.models.videollama2.extractor:VideoLlama2FaceCaption",
        "videollama3": "redub.features.models.videollama3.extractor:VideoLlama3FaceCaption",
        "import": "redub.features.picture.imported_caption:ImportedFaceCaption",
    },
    "reaction": {
        "comet": "redub.features.models.comet.extractor:ReactionModel",
        "import": "redub.features.text.imported_reaction:ImportedReaction",
    },
    "scene_emotion": {
        "roberta": "redub.features.models.roberta_emotion.extractor:RobertaSceneEmotion"
    },
    "face_emotion": {
        "face_api": "redub.features.models.face_api.extractor:ExpressionOfClip",
        "roberta": "redub.features.models.roberta_emotion.extractor:RobertaFaceEmotion",
    },
    "text_emotion": {
        "roberta": "redub.features.models.roberta_emotion.extractor:RobertaTextEmotion"
    },
    "global_text": {"roberta": "redub.features.models.roberta_emotion.extractor:RobertaGlobalText"},
    "scene_emotion_probs": {
        "roberta": "redub.features.models.roberta_emotion.extractor:RobertaSceneProbabilities"
    },
    "face_emotion_probs": {
        "roberta": "redub.features.models.roberta_emotion.extractor:RobertaFaceProbabilities"
    },
    "text_emotion_probs": {
        "roberta": "redub.features.models.roberta_emotion.extractor:RobertaTextProbabilities"
    },
    "audio_emotion": {
        "emotion2vec": "redub.features.models.emotion2vec.extractor:Emotion2vecExtractor"
    },
    "local_audio": {
        "npc": "redub.features.models.npc.extractor:NpcExtractor",
        "emotion2vec_frames": (
            "redub.features.models.emotion2vec.extractor:Emotion2vecFramesExtractor"
        ),
    },
    "speaker": {"ge2e": "redub.features.models.ge2e.extractor:Ge2eExtractor"},
    "face_track": {"mediapipe": "redub.features.models.mediapipe_face.track:MediaPipeTrack"},
    "speech_level": {"silero_vad": "redub.features.models.silero_vad.extractor:SileroSpeechLevel"},
    "landmarks": {
        "face_api": "redub.features.models.face_api.landmarks:FaceApiLandmarks",
        "mediapipe": "redub.features.models.mediapipe_face.landmarks:MediaPipeLandmarks",
        "emonet": "redub.features.models.emonet.extractor:EmoNetLandmarkExtractor",
    },
    "global_face": {"mae_dfer": "redub.features.models.mae_dfer.extractor:MaeDferExtractor"},
    "local_face": {
        "face_api": "redub.features.models.face_api.extractor:ExpressionFrames",
        "emonet": "redub.features.models.emonet.extractor:EmoNetExtractor",
    },
    "lips": {
        "lrw": "redub.features.models.lrw_lips.extractor:LrwLipExtractor",
        "import": "redub.features.mouth.imported_lips:ImportedLips",
    },
    "global_audio": {
        "wav2vec2": "redub.features.models.wav2vec2_iemocap.extractor:Wav2vec2GlobalAudio"
    },
}

PROFILES: dict[str, dict[str, str]] = {
    BUILTIN: {},
    "paper": {
        "scene_caption": "videollama2",
        "face_caption": "videollama2",
        "scene_emotion": "roberta",
        "face_emotion": "roberta",
        "text_emotion": "roberta",
        "scene_emotion_probs": "roberta",
        "face_emotion_probs": "roberta",
        "text_emotion_probs": "roberta",
        "audio_emotion": "emotion2vec",
        "local_audio": "npc",
        "speaker": "ge2e",
        "global_text": "roberta",
        "landmarks": "emonet",
        "global_face": "mae_dfer",
        "local_face": "emonet",
        "lips": "lrw",
        "global_audio": "wav2vec2",
    },
    "packaged": {
        "speaker": "ge2e",
        "face_track": "mediapipe",
        "landmarks": "mediapipe",
    },
}
"""Profile → feature → backend; features that a profile does not name use the builtin backend."""

FALLBACK_PROFILES = frozenset({"packaged"})
"""Profiles in which the builtin backend answers for a feature whose weights are not recorded."""


def backend_of(name: str, profile: str, overrides: Mapping[str, Any] | None = None) -> str:
    """Return a feature's backend: ``backend`` of ``[features.<name>]``, else that of the profile.

    Raises:
        ConfigError: an unknown feature, profile or backend, with the nearest known name.
    """
    _known_feature(name)
    if profile not in PROFILES:
        raise ConfigError(f"unknown profile '{profile}'; {nearest(profile, PROFILES)}")
    backend = (overrides or {}).get("backend", PROFILES[profile].get(name, BUILTIN))
    backends = {BUILTIN, *FEATURE_BACKENDS.get(name, {})}
    if backend not in backends:
        raise ConfigError(
            f"'features.{name}.backend' is {backend!r}; {nearest(str(backend), backends)}",
            code="E-CFG-NAME",
        )
    return str(backend)


def extractor_class(name: str, backend: str = BUILTIN) -> type[Extractor]:
    """Return the extractor class of a feature and backend.

    Raises:
        ConfigError: an unknown feature or backend, with the nearest known name.
    """
    _known_feature(name)
    table = {BUILTIN: EXTRACTORS[name], **FEATURE_BACKENDS.get(name, {})}
    kind: type[Extractor] = load(table, backend, kind=f"backend of {name}")
    return kind


def _known_feature(name: str) -> None:
    if name not in EXTRACTORS:
        raise ConfigError(f"unknown feature '{name}'; {nearest(name, EXTRACTORS)}")


def extractor_config(
    name: str,
    *,
    audio: AudioSpec,
    video: VideoSpec,
    overrides: Mapping[str, Any] | None = None,
    backend: str = BUILTIN,
) -> Any:
    """Build the config of an extractor from the run's specs and ``[features.<name>]``.

    Raises:
        ConfigError: an unknown key (with the nearest known key) or a bad value.
    """
    kind = extractor_class(name, backend)
    own = {f.name for f in dataclasses.fields(kind.Config)}
    given = {key: value for key, value in (overrides or {}).items() if key != "backend"}
    for fixed in ("audio", "video"):
        if fixed in given:
            raise ConfigError(
                f"'features.{name}.{fixed}' is set in the [{fixed}] table only", code="E-CFG-KEY"
            )
    unknown = sorted(set(given) - own)
    if unknown:
        raise unknown_key(f"features.{name}.{unknown[0]}", {*own, "backend"} - {"audio", "video"})
    specs = {key: spec for key, spec in (("audio", audio), ("video", video)) if key in own}
    defaults = dataclasses.asdict(kind.Config(**specs))
    return from_mapping(kind.Config, {**defaults, **given}, where=f"features.{name}")


def weights_wanted(name: str, config: Any, backend: str = BUILTIN) -> dict[str, tuple[str, str]]:
    """Return role → (entry of the weights ledger, kind) of the files that an extractor reads."""
    kind = extractor_class(name, backend)
    return kind.weights_wanted(config) if issubclass(kind, WeightUser) else {}


def weights_optional(name: str, config: Any, backend: str = BUILTIN) -> dict[str, tuple[str, str]]:
    """Return the files that an extractor reads if they are recorded; as :func:`weights_wanted`."""
    kind = extractor_class(name, backend)
    return kind.weights_optional(config) if issubclass(kind, WeightUser) else {}


def make_extractor(
    name: str,
    *,
    audio: AudioSpec,
    video: VideoSpec,
    overrides: Mapping[str, Any] | None = None,
    backend: str = BUILTIN,
    folders: Mapping[str, WeightFolder] | None = None,
    runtime: Runtime | None = None,
) -> Extractor:
    """Build one extractor; see :func:`extractor_config`.

    Args:
        folders: role → folder, for each role of :func:`weights_wanted`.
        runtime: device and batch size; by default those of :class:`Runtime`.
    """
    config = extractor_config(name, audio=audio, video=video, overrides=overrides, backend=backend)
    kind = extractor_class(name, backend)
    if issubclass(kind, WeightUser):
        user: type[WeightUser] = kind
        return user(config, folders or {}, runtime or Runtime())
    return kind(config)
