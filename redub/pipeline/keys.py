"""Keys: what a feature's numbers depend on, as one digest that changes when they may change.

``key`` of a feature = extractor name, version, frozen config, weight digests, versions of the
libraries that compute it, and the keys of the features it reads. ``input digest`` of a row = the
part of the clip it depends on: source bytes, time span and decoder for media, the words for text.
Batch size, worker count, scheduler and device are in neither.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from typing import Any

from redub.core.config import digest_of, settings_of
from redub.core.types import Clip
from redub.features.base import Extractor, FeatureSchema
from redub.features.registry import EXTRACTORS, extractor_config, make_extractor
from redub.pipeline.project import ProjectConfig

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

    config: ProjectConfig

    @cached_property
    def by_name(self) -> dict[str, FeatureKey]:
        config = self.config
        settings = digest_of([asdict(config.audio), asdict(config.video), config.features])
        if settings not in _KEYS:
            _KEYS.clear()
            keys: dict[str, FeatureKey] = {}
            for name in EXTRACTORS:
                keys[name] = self._key(name, keys)
            _KEYS[settings] = keys
        return _KEYS[settings]

    def configured(self, name: str) -> Any:
        """The frozen config of one extractor in this project."""
        config = self.config
        return extractor_config(
            name, audio=config.audio, video=config.video, overrides=config.features.get(name)
        )

    def make(self, name: str) -> Extractor:
        config = self.config
        return make_extractor(
            name, audio=config.audio, video=config.video, overrides=config.features.get(name)
        )

    def _key(self, name: str, above: dict[str, FeatureKey]) -> FeatureKey:
        extractor = self.make(name)
        reads = {read: above[read].key for read in extractor.reads}
        document = {
            "feature": name,
            "version": extractor.version,
            "settings": settings_of(self.configured(name)),
            "weights": {},
            "profile": "builtin",
            "licence": "Apache-2.0",
            "libraries": library_versions(),
            "reads": reads,
        }
        media = set(extractor.media)
        return FeatureKey(
            feature=name,
            key=digest_of(document),
            document=document,
            schema=extractor.schema,
            reads=tuple(extractor.reads),
            optional=frozenset(extractor.optional),
            uses_media=bool(media & {"frames", "waveform"})
            or any(above[read].uses_media for read in reads),
            uses_text="text" in media or any(above[read].uses_text for read in reads),
        )


_KEYS: dict[str, dict[str, FeatureKey]] = {}
"""The last settings' keys: every stage opens the store anew, and schemas cost building
extractors."""


@lru_cache(maxsize=1)
def library_versions() -> dict[str, str]:
    """Versions of the libraries whose arithmetic ends up in features."""
    return {name: importlib.metadata.version(name) for name in COMPUTING_LIBRARIES}


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
