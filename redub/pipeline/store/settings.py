"""The settings of a project: the tables of ``redub.toml`` as frozen dataclasses."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from redub.core.config import from_mapping, nearest, parse_toml, unknown_key
from redub.core.errors import ConfigError
from redub.core.records import Json
from redub.core.types import AudioSpec, VideoSpec
from redub.features.registry import BUILTIN, EXTRACTORS, PROFILES, backend_of
from redub.features.runtime import Runtime
from redub.footage.language import is_language_tag, known_language
from redub.footage.limits import check_share
from redub.model.vocoder.registry import VOCODERS

FILE_NAME = "redub.toml"

SearchTransform = Literal["identity", "speaker_zscore", "whiten", "lda"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FootageConfig:
    """Where clips come from, and the limits of one decode.

    ``decoder``: ``auto`` uses decord for sources that it reads correctly and PyAV for others;
    ``pyav`` uses PyAV for all. ``max_clip_s``, ``wall_s``: seconds. ``memory_mib``: MiB.
    ``max_concealed_share``: share of a clip's frames that the decoder may find damaged and conceal.
    ``dialogue_styles``: styles of ASS subtitles that are spoken although they look like signs.
    ``language``: of the dialogue (``en``, ``en-GB``, ``de``), where ``languages.csv`` names none.
    ``subtitles_language``: language of the subtitles to read; empty: those without a language in
    their name, else the only language, else English.
    """

    root: str = "footage"
    decoder: Literal["auto", "pyav"] = "auto"
    film: str = ""
    allow_audio_only: bool = False
    dialogue_styles: tuple[str, ...] = ()
    language: str = "en"
    subtitles_language: str = ""
    max_clip_s: float = 60.0
    memory_mib: int = 1500
    wall_s: float = 60.0
    max_concealed_share: float = 0.0

    def __post_init__(self) -> None:
        check_share("footage.max_concealed_share", self.max_concealed_share)
        known_language(self.subtitles_language, "footage.subtitles_language")
        if Path(self.root) in (Path(), Path("..")):
            raise ConfigError(
                "footage.root is the project itself; name another folder", code="E-CFG-VALUE"
            )
        if not is_language_tag(self.language):
            raise ConfigError(
                f"footage.language is '{self.language}'; wanted a tag like en, en-GB or de",
                code="E-CFG-VALUE",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreConfig:
    """How rows are grouped into files; does not change any value."""

    shard_clips: int = 16
    sources_per_commit: int = 64

    def __post_init__(self) -> None:
        for name in ("shard_clips", "sources_per_commit"):
            if getattr(self, name) < 1:
                raise ConfigError(f"store.{name} must be at least 1", code="E-CFG-VALUE")


MOST_NEIGHBOURS = 100

MODALITY_FEATURES = {
    "scene": ("scene_emotion", "global_scene"),
    "face": ("face_emotion", "global_face"),
    "text": ("text_emotion",),
    "audio": ("audio_emotion",),
}
"""Features that a modality may use. The first one is what the systems were designed for (scene and
face: an embedding of a caption); the second one is computed from the video alone."""

FEATURE_SETTINGS = {"scene": "scene_feature", "face": "face_feature"}
"""Modality to the setting of ``[index]`` that chooses its feature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexConfig:
    """The reference footage library, which clips may be retrieved, and how hits are chosen.

    ``backend`` to ``segment_rows`` (most rows of one segment) change the build; the other settings
    apply at every search and need no new build. ``scene_feature`` and ``face_feature`` are
    searched, packed and read by models; :data:`MODALITY_FEATURES` lists the legal names. Transforms
    are fitted on the library: ``audio_transform`` changes what models read, the others only the
    search. See :class:`redub.index.policy.Policy` for the clips that may be retrieved and
    :class:`redub.index.selection.Selection` for the choice among them.
    """

    backend: Literal["auto", "exact", "hnsw"] = "auto"
    metric: Literal["cosine", "dot", "negative_euclidean"] = "cosine"
    scene_feature: str = MODALITY_FEATURES["scene"][0]
    face_feature: str = MODALITY_FEATURES["face"][0]
    audio_transform: Literal["identity", "speaker_zscore"] = "speaker_zscore"
    scene_transform: SearchTransform = "identity"
    face_transform: SearchTransform = "identity"
    text_transform: SearchTransform = "identity"
    recall_floor: float = 0.99
    seed: int = 0
    segment_rows: int = 1_000_000
    k: int = 3
    min_score: float | None = None
    adaptive: Literal["fixed", "gap"] = "fixed"
    diversity: float = 0.0
    speaker: Literal["any", "same", "other"] = "any"
    exclude_same_scene: bool = False
    adjacent_lines: int = 0
    films: tuple[str, ...] = ()
    rights: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for modality, setting in FEATURE_SETTINGS.items():
            named, known = getattr(self, setting), MODALITY_FEATURES[modality]
            if named not in known:
                raise ConfigError(
                    f"index.{setting} is '{named}'; {nearest(named, known)}", code="E-CFG-NAME"
                )
        if not 0 <= self.k <= MOST_NEIGHBOURS:
            raise ConfigError(
                f"index.k is {self.k}; legal: 0 to {MOST_NEIGHBOURS}", code="E-CFG-VALUE"
            )
        if self.min_score is not None and not math.isfinite(self.min_score):
            raise ConfigError(
                f"index.min_score is {self.min_score}; wanted a number", code="E-CFG-VALUE"
            )
        for name, most in (("recall_floor", 1.0), ("diversity", 0.999)):
            if not 0.0 <= getattr(self, name) <= most:
                raise ConfigError(
                    f"index.{name} is {getattr(self, name)}; legal: 0 to {most}", code="E-CFG-VALUE"
                )
        if self.segment_rows < 1:
            raise ConfigError(
                f"index.segment_rows is {self.segment_rows}; wanted at least 1", code="E-CFG-VALUE"
            )
        if self.adjacent_lines < 0:
            raise ConfigError(
                f"index.adjacent_lines is {self.adjacent_lines}; wanted 0 or more",
                code="E-CFG-VALUE",
            )


def feature_of(config: IndexConfig) -> dict[str, str]:
    """Modality (scene, face, text, audio) to the feature that the settings choose for it."""
    chosen = {name: getattr(config, setting) for name, setting in FEATURE_SETTINGS.items()}
    return {name: chosen.get(name, known[0]) for name, known in MODALITY_FEATURES.items()}


def features_among(names: Container[str]) -> dict[str, str]:
    """Infer each modality's feature from the feature names of a build or a run.

    The first known feature of a modality wins: it is named only if the modality uses it, while the
    second one may be named for another reason (as context, for example).
    """
    found = {m: [name for name in known if name in names] for m, known in MODALITY_FEATURES.items()}
    return {modality: own[0] for modality, own in found.items() if own}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run; ``model`` is a name of ``model/registry.py``.

    ``model_settings`` are the other keys of the table ``[train.model]``: they override single keys
    of the model's preset, as ``training`` does for the training preset. Both are checked against
    their dataclasses before anything runs. ``reference_mels``: number of
    reference mels, from other utterances of the same voice. ``frames``: dtype in which a pack
    stores frame features (vectors are kept as extracted). ``samples``: utterances that are
    synthesised and plotted at every validation. ``tensorboard``: also write TensorBoard event
    files.
    """

    model: str = "authentic_dubber"
    preset: Literal["tiny", "paper"] = "tiny"
    max_steps: int = 600
    seed: int = 0
    threads: int = 2
    reference_mels: int = 4
    frames: Literal["float16", "float32"] = "float16"
    samples: int = 2
    tensorboard: bool = False
    model_settings: dict[str, Json] = field(default_factory=dict)
    training: dict[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("max_steps", "threads", "reference_mels"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"train.{name} is {getattr(self, name)}; wanted at least 1", code="E-CFG-VALUE"
                )
        if self.samples < 0:
            raise ConfigError(
                f"train.samples is {self.samples}; wanted 0 or more", code="E-CFG-VALUE"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """How runs are evaluated.

    ``asr``: transcribe the takes for the word error rate. ``bootstrap``: resamples of an interval.
    """

    split: Literal["train", "validation", "test"] = "test"
    asr: bool = True
    bootstrap: int = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class VocoderConfig:
    """The vocoder; ``name`` is a name of ``model/vocoder/registry.py``.

    ``weights``: an entry of ``models.lock``, by default the entry with the vocoder's name. ``run``:
    instead, a vocoder that was trained in this project. griffin_lim needs neither.
    """

    name: str = "griffin_lim"
    weights: str = ""
    run: str = ""

    def __post_init__(self) -> None:
        if self.name not in VOCODERS:
            raise ConfigError(
                f"'vocoder.name' is {self.name!r}; {nearest(self.name, VOCODERS)}",
                code="E-CFG-NAME",
            )
        wrong = ""
        if self.weights and self.run:
            wrong = "vocoder.weights and vocoder.run are both set; keep one of them"
        elif self.name == "griffin_lim" and (self.weights or self.run):
            key = "weights" if self.weights else "run"
            wrong = f"vocoder.{key} is set and griffin_lim has no weights; set vocoder.name too"
        elif self.run and self.name != "hifi_gan":
            wrong = f"vocoder.run is set and name is '{self.name}'; hifi_gan alone is trained here"
        if wrong:
            raise ConfigError(wrong, code="E-CFG-VALUE")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectConfig:
    """All settings of ``redub.toml``, checked.

    ``profile`` and ``features`` are ``[features]``: the profile, and single settings by feature.
    ``separate`` is a key of ``[audio]``: all sound features are computed from the speech that
    DeepFilterNet separates from the sound.
    """

    name: str = "project"
    audio: AudioSpec = field(default_factory=AudioSpec)
    video: VideoSpec = field(default_factory=VideoSpec)
    footage: FootageConfig = field(default_factory=FootageConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    index: IndexConfig = field(default_factory=IndexConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    vocoder: VocoderConfig = field(default_factory=VocoderConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    compute: Runtime = field(default_factory=Runtime)
    separate: bool = False
    profile: str = BUILTIN
    features: dict[str, dict[str, Json]] = field(default_factory=dict)


def parse_config(text: str, *, where: str = FILE_NAME) -> ProjectConfig:
    """Parse and check a project file.

    Args:
        where: name of the file in messages.

    Raises:
        ConfigError: not TOML, an unknown key (with the nearest known one), a bad value.
    """
    own = parse_toml(text, where=where)
    features = own.pop("features", {})
    profile = features.pop("profile", BUILTIN) if isinstance(features, dict) else BUILTIN
    for key, table in (("profile", "features"), ("separate", "audio")):
        if key in own:
            raise ConfigError(f"unknown key '{key}'; it is a key of [{table}]", code="E-CFG-KEY")
    train = train_config(own.pop("train", {}))
    own["separate"] = _separate(own)
    config = from_mapping(ProjectConfig, own)
    _check_tables("features", features)
    if profile not in PROFILES:
        raise ConfigError(
            f"'features.profile' is {profile!r}; {nearest(str(profile), PROFILES)}",
            code="E-CFG-NAME",
        )
    for name in features:
        if name not in EXTRACTORS:
            raise ConfigError(
                f"unknown feature 'features.{name}'; {nearest(name, EXTRACTORS)}", code="E-CFG-KEY"
            )
        backend_of(name, profile, features[name])
    return dataclasses.replace(config, features=features, profile=profile, train=train)


def _separate(own: dict[str, Any]) -> bool:
    """Take ``separate`` out of the table ``[audio]``; its other keys are those of an AudioSpec.

    Raises:
        ConfigError: an unknown key of the table (with the nearest known one), or no boolean.
    """
    table = own.get("audio", {})
    if not isinstance(table, Mapping):
        return False  # refused later, as every value that is no table
    known = {field.name for field in dataclasses.fields(AudioSpec)} | {"separate"}
    if unknown := sorted(table.keys() - known):
        raise unknown_key(f"audio.{unknown[0]}", known)
    rest = dict(table)
    separate = rest.pop("separate", False)
    if not isinstance(separate, bool):
        raise ConfigError(f"'audio.separate' wants bool, found {separate!r}", code="E-CFG-TYPE")
    if "audio" in own:
        own["audio"] = rest
    return separate


def train_config(values: Any) -> TrainConfig:
    """Build the settings of training from the table ``[train]``.

    ``model`` is a name, or a table with ``name`` and settings of that model.

    Raises:
        ConfigError: an unknown key (with the nearest known one), a bad value, or no table.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"'train' wants a table, found {values!r}", code="E-CFG-TYPE")
    own = dict(values)
    known = {own.name for own in dataclasses.fields(TrainConfig)} - {"model_settings"}
    if unknown := sorted(own.keys() - known):
        raise unknown_key(f"train.{unknown[0]}", known)
    model = own.pop("model", {})
    table = {"name": model} if isinstance(model, str) else model
    training = own.pop("training", {})
    for key, value in (("model", table), ("training", training)):
        if not isinstance(value, Mapping):
            raise ConfigError(f"'train.{key}' wants a table", code="E-CFG-TYPE")
    if "system" in training:
        raise ConfigError(
            "unknown key 'train.training.system'; 'train.model' chooses the model",
            code="E-CFG-KEY",
        )
    settings = dict(table)
    if "name" in settings:
        own["model"] = settings.pop("name")
    built = from_mapping(TrainConfig, own, where="train")
    return dataclasses.replace(built, model_settings=settings, training=dict(training))


def train_values(config: TrainConfig) -> dict[str, Json]:
    """The table ``[train]`` that :func:`train_config` reads as these settings."""
    values = dataclasses.asdict(config)
    values["model"] = {"name": config.model, **values.pop("model_settings")}
    return values


def _check_tables(key: str, values: Any) -> None:
    if not isinstance(values, Mapping) or not all(isinstance(v, Mapping) for v in values.values()):
        raise ConfigError(f"'{key}' wants tables like [{key}.f0]", code="E-CFG-TYPE")
