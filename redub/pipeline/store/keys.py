"""Feature keys: one digest of everything that a feature's numbers depend on.

The ``key`` of a feature covers its backend, version, frozen config, weight digests, versions of the
libraries that compute it, and the keys of the features it reads. The ``input digest`` of a row
covers the part of the clip that the row depends on: source bytes, time span and decoder for media,
the words for text. Batch size, worker count, scheduler and device are in neither.
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
from redub.features.models.deepfilternet.separation import PACKAGE as SEPARATION
from redub.features.models.deepfilternet.separation import VERSION as SEPARATION_VERSION
from redub.features.models.model_extractor import ModelExtractor
from redub.features.registry import (
    BUILTIN,
    EXTRACTORS,
    FALLBACK_PROFILES,
    backend_of,
    extractor_class,
    extractor_config,
    make_extractor,
    weights_optional,
    weights_wanted,
)
from redub.features.text.own_words import ROLE as OWN_WORDS
from redub.features.text.own_words import own_words_folder
from redub.features.text.phonemes import ReadsWords, WordPhonemes
from redub.features.weights.folder import WeightFolder, understood
from redub.pipeline.store.key_document import ConfigFields, KeyDocument
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
    """The folder that holds the rows of a feature under one key."""
    return project.root / "features" / name / key


@dataclass(frozen=True)
class FeatureKey:
    """One feature under one set of settings; ``document`` is everything that entered the key."""

    feature: str
    key: str
    document: KeyDocument
    schema: FeatureSchema
    reads: tuple[str, ...]
    optional: frozenset[str]
    uses_media: bool
    uses_text: bool

    def input_digest(self, clip: Clip) -> str:
        """The digest of the parts of ``clip`` that this feature's row depends on."""
        return row_digest(media_digest(clip), text_digest(clip), self.uses_media, self.uses_text)


def check_feature_settings(config: ProjectConfig) -> None:
    """Check the tables ``[features.<name>]`` as an extraction does; no extractor is built.

    Raises:
        ConfigError: an unknown key (with the nearest known one) or a bad value.
    """
    for name, overrides in config.features.items():
        backend = backend_of(name, config.profile, overrides)
        extractor_config(
            name, audio=config.audio, video=config.video, overrides=overrides, backend=backend
        )


def media_digest(clip: Clip) -> str:
    """Digest of the source's bytes, the time span, the decoder with version, and off-screen."""
    media = [clip.source_digest, clip.start_frame, clip.end_frame, clip.decoder]
    return digest_of([*media, "off screen"] if clip.off_screen else media)


def text_digest(clip: Clip) -> str:
    """Digest of the clip's words, and of their language if it is not English."""
    return digest_of(clip.text if clip.language == "en" else [clip.text, clip.language])


def row_digest(media: str, text: str, uses_media: bool, uses_text: bool) -> str:
    """Join the digests that a row depends on with ``+``; empty if it depends on neither."""
    parts = ([media] if uses_media else []) + ([text] if uses_text else [])
    return "+".join(parts)


@dataclass(frozen=True)
class FeatureKeys:
    """The keys of all features of a project; a feature comes after the features it reads."""

    project: Project

    @property
    def config(self) -> ProjectConfig:
        """The project's settings."""
        return self.project.config

    @cached_property
    def ledger(self) -> Ledger:
        """The project's weights ledger, read once.

        Raises:
            IntegrityError: ``models.lock`` is damaged, or a newer redub wrote it.
        """
        return read_ledger(self.project.root)

    @cached_property
    def by_name(self) -> KeyTable:
        """Feature to key; each key is computed at its first look-up."""
        config = self.config
        ledger = {name: asdict(entry) for name, entry in self.ledger.entries.items()}
        own_words = own_words_folder(self.project.root)
        settings = digest_of(
            [asdict(config.audio), asdict(config.video), config.profile, config.features, ledger]
            + ([dict(own_words.files)] if own_words else [])
            + ([SEPARATION] if config.separate else [])
        )
        settings = f"{self.project.root} {settings}"  # the folder of committed schemas
        if settings not in _KEYS:
            _KEYS.clear()
            _KEYS[settings] = {}
        return KeyTable(self, _KEYS[settings])

    @cached_property
    def lacking(self) -> dict[str, ModelRefusedError]:
        """Features whose weights are not recorded, each with the error that says what to record."""
        lacking = {}
        for name in EXTRACTORS:
            try:
                _ = self.by_name[name]
            except ModelRefusedError as error:
                lacking[name] = error
        return lacking

    @property
    def usable(self) -> list[str]:
        """Features whose weights, and the weights of all features they read, are recorded."""
        return [name for name in EXTRACTORS if name not in self.lacking]

    @property
    def has_networks(self) -> bool:
        """Whether a neural network computes any feature of the project."""
        return any(
            issubclass(extractor_class(name, self.backend(name)), ModelExtractor)
            for name in EXTRACTORS
        )

    def backend(self, name: str) -> str:
        """The backend that computes a feature, by the profile, ``[features]`` and the weights."""
        return BUILTIN if name in self.fallbacks else self._backend_asked(name)

    def _backend_asked(self, name: str) -> str:
        return backend_of(name, self.config.profile, self.config.features.get(name))

    @cached_property
    def fallbacks(self) -> dict[str, str]:
        """Features that the builtin backend computes for want of weights, each with the reason.

        Only in the profiles of ``FALLBACK_PROFILES``, and not for a feature that has settings of
        its own in ``[features.<name>]``: they are settings of the backend that was asked for.
        """
        if self.config.profile not in FALLBACK_PROFILES:
            return {}
        found = {}
        for name in EXTRACTORS:
            backend = self._backend_asked(name)
            if self.config.features.get(name) or backend == BUILTIN:
                continue
            config = extractor_config(
                name, audio=self.config.audio, video=self.config.video, backend=backend
            )
            try:
                for entry in weights_wanted(name, config, backend).values():
                    self.ledger.folder(*entry)
            except ModelRefusedError as error:
                found[name] = f"builtin instead of {backend}: {error.message}"
        return found

    def separation(self, *, checked: bool) -> WeightFolder | None:
        """The weights that separate speech from other sound; None if ``[audio] separate`` is off.

        Raises:
            ModelRefusedError: the weights are not recorded, or (``checked``) gone or changed.
        """
        if not self.config.separate:
            return None
        return self.recorded_separation(checked=checked)

    def recorded_separation(self, *, checked: bool) -> WeightFolder:
        """The weights that separate speech from other sound; raises as :meth:`separation`."""
        if checked:
            return checked_folder(self.ledger, SEPARATION, SEPARATION)
        return self.ledger.folder(SEPARATION, SEPARATION)

    def configured(self, name: str) -> Any:
        """The frozen config of one extractor in this project."""
        config = self.config
        return extractor_config(
            name,
            audio=config.audio,
            video=config.video,
            overrides=config.features.get(name),
            backend=self.backend(name),
        )

    def folders(self, name: str, *, checked: bool) -> dict[str, WeightFolder]:
        """The weight folders of a feature, by role.

        Args:
            checked: compare the files with the ledger's digests.

        Raises:
            ModelRefusedError: the weights are not recorded, or (``checked``) gone or changed.
        """
        settings, backend = self.configured(name), self.backend(name)
        wanted = weights_wanted(name, settings, backend)
        for role, (entry, kind) in weights_optional(name, settings, backend).items():
            if entry in self.ledger.entries:
                wanted[role] = (entry, kind)
        if checked:
            folders = {role: checked_folder(self.ledger, *own) for role, own in wanted.items()}
        else:
            folders = {role: self.ledger.folder(*own) for role, own in wanted.items()}
        if issubclass(extractor_class(name, backend), WordPhonemes):
            own_words = own_words_folder(self.project.root)
            if own_words:
                folders[OWN_WORDS] = own_words
        return folders

    def make(self, name: str, *, checked: bool = True) -> Extractor:
        """Build the extractor of a feature.

        Args:
            checked: compare its weight files with the ledger's digests.

        Raises:
            ModelRefusedError: the weights are not recorded, or (``checked``) gone or changed.
        """
        config = self.config
        extractor = make_extractor(
            name,
            audio=config.audio,
            video=config.video,
            overrides=config.features.get(name),
            backend=self.backend(name),
            folders=self.folders(name, checked=checked),
            runtime=config.compute,
        )
        if isinstance(extractor, ReadsWords) and "phonemes" in extractor.reads:
            extractor.words_of = self.speaker(checked=checked).words
        return extractor

    def speaker(self, *, checked: bool = True) -> WordPhonemes:
        """Build the project's backend of ``phonemes``, which says what words a text is spoken as.

        Raises:
            ModelRefusedError: as :meth:`make`.
        """
        extractor = self.make("phonemes", checked=checked)
        assert isinstance(extractor, WordPhonemes)
        return extractor

    def key(self, name: str, above: Mapping[str, FeatureKey]) -> FeatureKey:
        """Compute one feature's key from the keys of the features it reads.

        Raises:
            ModelRefusedError: E-MODEL-UNLISTED, the feature needs weights that are not recorded.
        """
        extractor = self.make(name, checked=False)
        folders = dict(extractor.folders) if isinstance(extractor, WeightUser) else {}
        media_used = media_settings(extractor, self.config)
        if "waveform" in extractor.media and (separation := self.separation(checked=False)):
            folders["separation"] = separation
            media_used["separation"] = SEPARATION_VERSION
        reads = {read: above[read].key for read in extractor.reads}
        licences = {folder.licence for folder in folders.values()} or {"Apache-2.0"}
        document = KeyDocument(
            feature=name,
            backend=self.backend(name),
            version=extractor.version,
            settings=ConfigFields(**settings_of(self.configured(name))),
            media=media_used,
            weights={role: dict(folder.files) for role, folder in folders.items()},
            licence=" and ".join(sorted(licences)),
            terms=tuple(sorted({folder.terms for folder in folders.values()} - {""})),
            libraries=_libraries(extractor),
            reads=reads,
        )
        media = set(extractor.media)
        key = digest_of(document.to_json())
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
        """The extractor's schema; if its weights are gone, the schema of the committed rows."""
        folders = extractor.folders if isinstance(extractor, WeightUser) else {}
        try:
            with (
                contextlib.ExitStack() as stack
            ):  # a schema may read its width from a weight folder
                for folder in folders.values():
                    stack.enter_context(understood(folder))
                return extractor.schema
        except (
            ModelRefusedError
        ):  # the weights were moved or removed; committed rows are still readable
            if not (committed / SCHEMA).is_file():
                raise
        return FeatureSchema(**read_json(committed / SCHEMA))


@dataclass(frozen=True, slots=True, eq=False)
class KeyTable(Mapping[str, FeatureKey]):
    """Feature to key, in registry order; each key is computed at its first look-up.

    A project that has recorded only some weights of a profile can therefore extract those features.
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
        return name in EXTRACTORS  # also if its key cannot be computed

    def __iter__(self) -> Iterator[str]:
        return iter(EXTRACTORS)

    def __len__(self) -> int:
        return len(EXTRACTORS)


def media_settings(extractor: Extractor, config: ProjectConfig) -> dict[str, int]:
    """Settings of the decoded media that an extractor reads: frame size, sample rate in Hz."""
    settings = {}
    if "frames" in extractor.media:
        settings["max_side"] = config.video.max_side
    if "waveform" in extractor.media:
        settings["sample_rate_hz"] = config.audio.sample_rate_hz
    return settings


def _libraries(extractor: Extractor) -> dict[str, str]:
    """Name and version of the libraries that an extractor computes with."""
    versions = library_versions(isinstance(extractor, ModelExtractor))
    if isinstance(extractor, WordPhonemes):
        return {**versions, "inflect": importlib.metadata.version("inflect")}
    return versions


_KEYS: dict[str, dict[str, FeatureKey]] = {}
"""Keys under the last used settings, kept because every stage opens the store again and a schema
needs a built extractor."""


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
