"""Keys: what a feature's numbers depend on, as one digest that changes when they may change.

``key`` of a feature = its maker, version, frozen config, weight digests, versions of the
libraries that compute it, and the keys of the features it reads. ``input digest`` of a row = the
part of the clip it depends on: source bytes, time span and decoder for media, the words for text.
Batch size, worker count, scheduler and device are in neither.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from redub.core.config import digest_of, settings_of
from redub.core.durable import read_json
from redub.core.errors import ModelRefusedError
from redub.core.extras import optional
from redub.core.types import Clip
from redub.features.base import Extractor, FeatureSchema, WeightUser
from redub.features.models.model_extractor import ModelExtractor
from redub.features.registry import (
    EXTRACTORS,
    extractor_class,
    extractor_config,
    make_extractor,
    maker_of,
    weights_wanted,
)
from redub.features.weights.folder import WeightFolder, understood
from redub.pipeline.store.project import Project
from redub.pipeline.store.settings import ProjectConfig
from redub.pipeline.store.weights import Ledger, checked_folder, read_ledger

COMPUTING_LIBRARIES = (
    "numpy",
    "scipy",
    "librosa",
    "opencv-python-headless",
    "pocketsphinx",
    "pyworld-prebuilt",
    "scikit-learn",
    "soxr",
)

NETWORK_LIBRARIES = ("torch", "transformers", "tokenizers", "funasr", "kaldi-native-fbank")


SCHEMA = "schema.json"


def key_folder(project: Project, name: str, key: str) -> Path:
    """Where the rows of a feature under one key lie."""
    return project.root / "features" / name / key


@dataclass(frozen=True)
class FeatureKey:
    """One feature under one set of settings; ``document`` is everything that entered the key."""

    feature: str
    key: str
    document: dict[str, Any]
    schema: FeatureSchema
    reads: tuple[str, ...]
    optional: frozenset[str]
    uses_media: bool
    uses_text: bool

    def input_digest(self, clip: Clip) -> str:
        """The digest of what this feature's row depends on in ``clip``."""
        return row_digest(media_digest(clip), text_digest(clip), self.uses_media, self.uses_text)


def media_digest(clip: Clip) -> str:
    """Bytes of the source, time span, and the decoder (with version) that reads it."""
    return digest_of([clip.source_digest, clip.start_frame, clip.end_frame, clip.decoder])


def text_digest(clip: Clip) -> str:
    return digest_of(clip.text)


def row_digest(media: str, text: str, uses_media: bool, uses_text: bool) -> str:
    parts = ([media] if uses_media else []) + ([text] if uses_text else [])
    return "+".join(parts)


@dataclass(frozen=True)
class FeatureKeys:
    """The keys of all features of a project, reads first."""

    project: Project

    @property
    def config(self) -> ProjectConfig:
        return self.project.config

    @cached_property
    def ledger(self) -> Ledger:
        return read_ledger(self.project.root)

    @cached_property
    def by_name(self) -> KeyTable:
        """Every feature's key, worked out when it is asked for."""
        config = self.config
        ledger = {name: asdict(entry) for name, entry in self.ledger.entries.items()}
        settings = digest_of(
            [asdict(config.audio), asdict(config.video), config.profile, config.features, ledger]
        )
        settings = f"{self.project.root} {settings}"  # where committed shapes lie
        if settings not in _KEYS:
            _KEYS.clear()
            _KEYS[settings] = {}
        return KeyTable(self, _KEYS[settings])

    @cached_property
    def lacking(self) -> dict[str, ModelRefusedError]:
        """Features that cannot be made yet, with what says what to record."""
        lacking = {}
        for name in EXTRACTORS:
            try:
                _ = self.by_name[name]
            except ModelRefusedError as error:
                lacking[name] = error
        return lacking

    @property
    def usable(self) -> list[str]:
        """Features whose weights, and those of all they read, are recorded; reads first."""
        return [name for name in EXTRACTORS if name not in self.lacking]

    @property
    def has_networks(self) -> bool:
        """Whether any feature comes out of a network."""
        return any(
            issubclass(extractor_class(name, self.maker(name)), ModelExtractor)
            for name in EXTRACTORS
        )

    def maker(self, name: str) -> str:
        return maker_of(name, self.config.profile, self.config.features.get(name))

    def configured(self, name: str) -> Any:
        """The frozen config of one extractor in this project."""
        config = self.config
        return extractor_config(
            name,
            audio=config.audio,
            video=config.video,
            overrides=config.features.get(name),
            maker=self.maker(name),
        )

    def folders(self, name: str, *, checked: bool) -> dict[str, WeightFolder]:
        """What a feature reads from outside, by role; ``checked``: their bytes are looked at.

        Raises:
            ModelRefusedError: not recorded, gone or changed.
        """
        wanted = weights_wanted(name, self.configured(name), self.maker(name))
        if checked:
            return {role: checked_folder(self.ledger, *entry) for role, entry in wanted.items()}
        return {role: self.ledger.folder(*entry) for role, entry in wanted.items()}

    def make(self, name: str, *, checked: bool = True) -> Extractor:
        """The extractor of a feature, its weights being what was recorded."""
        config = self.config
        return make_extractor(
            name,
            audio=config.audio,
            video=config.video,
            overrides=config.features.get(name),
            maker=self.maker(name),
            folders=self.folders(name, checked=checked),
            runtime=config.compute,
        )

    def key(self, name: str, above: Mapping[str, FeatureKey]) -> FeatureKey:
        """One feature's key, made from the keys of what it reads.

        Raises:
            ModelRefusedError: E-MODEL-UNLISTED, it needs weights that are not recorded.
        """
        extractor = self.make(name, checked=False)
        folders = extractor.folders if isinstance(extractor, WeightUser) else {}
        reads = {read: above[read].key for read in extractor.reads}
        licences = {folder.licence for folder in folders.values()} or {"Apache-2.0"}
        document = {
            "feature": name,
            "maker": self.maker(name),
            "version": extractor.version,
            "settings": settings_of(self.configured(name)),
            "media": media_settings(extractor, self.config),
            "weights": {role: dict(folder.files) for role, folder in folders.items()},
            "licence": " and ".join(sorted(licences)),
            "terms": sorted({folder.terms for folder in folders.values()} - {""}),
            "libraries": library_versions(isinstance(extractor, ModelExtractor)),
            "reads": reads,
        }
        media = set(extractor.media)
        key = digest_of(document)
        return FeatureKey(
            feature=name,
            key=key,
            document=document,
            schema=self._schema(extractor, key_folder(self.project, name, key)),
            reads=tuple(extractor.reads),
            optional=frozenset(extractor.optional),
            uses_media=bool(media & {"frames", "waveform"})
            or any(above[read].uses_media for read in reads),
            uses_text="text" in media or any(above[read].uses_text for read in reads),
        )

    def _schema(self, extractor: Extractor, committed: Path) -> FeatureSchema:
        """The shape of a feature's values, as its rows have it where there are rows."""
        folders = extractor.folders if isinstance(extractor, WeightUser) else {}
        try:
            with contextlib.ExitStack() as stack:  # a width may be read from a configuration there
                for folder in folders.values():
                    stack.enter_context(understood(folder))
                return extractor.schema
        except ModelRefusedError:  # moved or gone since: what was committed is there all the same
            if not (committed / SCHEMA).is_file():
                raise
        return FeatureSchema(**read_json(committed / SCHEMA))


@dataclass(frozen=True, slots=True, eq=False)
class KeyTable(Mapping[str, FeatureKey]):
    """Feature to key, in registry order; a key is made the first time it is asked for.

    So a project in which one network of a profile is recorded can extract what that one gives.
    """

    keys_of: FeatureKeys
    made: dict[str, FeatureKey]

    def __getitem__(self, name: str) -> FeatureKey:
        if name not in self.made:
            if name not in EXTRACTORS:
                raise KeyError(name)
            self.made[name] = self.keys_of.key(name, self)
        return self.made[name]

    def __contains__(self, name: object) -> bool:
        return name in EXTRACTORS  # also where its key cannot be made

    def __iter__(self) -> Iterator[str]:
        return iter(EXTRACTORS)

    def __len__(self) -> int:
        return len(EXTRACTORS)


def media_settings(extractor: Extractor, config: ProjectConfig) -> dict[str, int]:
    """How large the pictures and how dense the samples are that an extractor is given."""
    settings = {}
    if "frames" in extractor.media:
        settings["max_side"] = config.video.max_side
    if "waveform" in extractor.media:
        settings["sample_rate_hz"] = config.audio.sample_rate_hz
    return settings


_KEYS: dict[str, dict[str, FeatureKey]] = {}
"""The last settings' keys: every stage opens the store anew, and schemas cost building
extractors."""


@lru_cache(maxsize=2)
def library_versions(networks: bool) -> dict[str, str]:
    """Versions of the libraries whose arithmetic ends up in features.

    Raises:
        MissingExtraError: ``networks`` and the extra 'paper' is not installed.
    """
    if networks:
        optional("kaldi_native_fbank", extra="paper", purpose="features by networks with weights")
    names = (*COMPUTING_LIBRARIES, *(NETWORK_LIBRARIES if networks else ()))
    return {name: importlib.metadata.version(name) for name in names}


def differing_fields(old: dict[str, Any], new: dict[str, Any], *, prefix: str = "") -> list[str]:
    """The dotted names of what differs between two key documents, with both values."""
    lines: list[str] = []
    for name in sorted(old.keys() | new.keys()):
        a, b = old.get(name), new.get(name)
        if a == b:
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            lines += differing_fields(a, b, prefix=f"{prefix}{name}.")
        else:
            lines.append(f"{prefix}{name} {a!r}→{b!r}")
    return lines
