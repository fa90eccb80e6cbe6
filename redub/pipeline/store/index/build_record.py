"""The commit records of the index: what each build was made from, and which files it consists of.

Reads and writes ``index/commits/<number>.json``, one :class:`BuildRecord` per build.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import ClassVar, Self

from redub.core.config import digest_of
from redub.core.durable import check_folder, commit_json, read_json
from redub.core.errors import IntegrityError
from redub.core.records import Json, JsonRecord
from redub.index.base import Metric
from redub.pipeline.store.project import Project
from redub.pipeline.store.settings import FEATURE_SETTINGS, IndexConfig, features_among

log = logging.getLogger(__name__)

BUILD_VERSION = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltWith:
    """Settings of ``[index]`` that change a build; the others are applied at every search.

    Builds of early versions have no transforms of scene, face and text.
    """

    backend: str
    metric: Metric
    audio_transform: str
    scene_transform: str = "identity"
    face_transform: str = "identity"
    text_transform: str = "identity"
    recall_floor: float
    seed: int
    segment_rows: int

    @classmethod
    def of(cls, config: IndexConfig) -> BuiltWith:
        """The settings that a build of this project would have."""
        return cls(**{own.name: getattr(config, own.name) for own in fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildDocument(JsonRecord):
    """Everything that a build depends on; its digest names the build.

    features: name to key. clips: digest of the library's clip rows and of their values.
    """

    version: int
    features: Mapping[str, str]
    clips: str
    config: BuiltWith

    @property
    def build(self) -> str:
        """The name of the build."""
        return digest_of(self.to_json())


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRecord(JsonRecord):
    """One committed build.

    files: folder below ``index/`` to its files and their SHA-256. segments: modality to the names
    of its segments. rows: indexed clips by modality. recall: the lowest measured recall of a
    modality's graphs, None where all segments search exactly. spaces: modality to the digest of its
    fitted transform.
    """

    ADVICE: ClassVar[str] = "`redub index build` makes a new build"

    number: int
    build: str
    document: BuildDocument
    files: Mapping[str, Mapping[str, str]]
    segments: Mapping[str, tuple[str, ...]]
    rows: Mapping[str, int]
    recall: Mapping[str, float | None]
    spaces: Mapping[str, str] = field(default_factory=dict)

    @property
    def features(self) -> dict[str, str]:
        """Modality (scene, face, text, audio) to the feature that the build was made from."""
        return features_among(self.document.features)

    def changed_settings(self, config: IndexConfig) -> list[str]:
        """Settings that changed since the build was made, as ``index.metric dot → cosine``."""
        names = [own.name for own in fields(BuiltWith)]
        built = {name: getattr(self.document.config, name) for name in names}
        built |= {setting: self.features[m] for m, setting in FEATURE_SETTINGS.items()}
        return [
            f"index.{name} {value} → {getattr(config, name)}"
            for name, value in built.items()
            if value != getattr(config, name)
        ]

    def check_files(self, project: Project) -> None:
        """Check every file of the build.

        Raises:
            IntegrityError: a file is gone, or does not have its committed bytes.
        """
        for folder, digests in self.files.items():
            check_folder(project.root / "index" / folder, digests)

    def is_whole(self, project: Project) -> bool:
        """Whether every file has its committed bytes; if not, log that the index is built again."""
        try:
            self.check_files(project)
        except IntegrityError as error:
            log.warning("%s; building the index again", error)
            return False
        return True

    def commit(self, project: Project) -> None:
        """Write the record with its own digest; afterwards the build is the newest one."""
        document: dict[str, Json] = self.to_json()
        document["digest"] = digest_of(document, digits=64)
        commit_json(project.root / "index" / "commits" / f"{self.number:08d}.json", document)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read one commit record and check its own digest.

        Raises:
            IntegrityError: E-INT-JSON, the record is damaged, or an earlier redub wrote it.
        """
        value = read_json(path)
        digest = value.pop("digest", "") if isinstance(value, dict) else ""
        if not digest or digest != digest_of(value, digits=64):
            raise IntegrityError(
                f"{path} is damaged or of an earlier redub; {cls.ADVICE}", code="E-INT-JSON"
            )
        return cls.from_json(value, path)


def records_of_builds(project: Project) -> list[Path]:
    """The commit records of all builds, oldest first."""
    folder = project.root / "index" / "commits"
    return sorted(folder.glob("[0-9]*.json")) if folder.is_dir() else []


def current_build(project: Project) -> BuildRecord | None:
    """The newest committed build's record, or None before the first.

    Raises:
        IntegrityError: see :meth:`BuildRecord.read`.
    """
    records = records_of_builds(project)
    return BuildRecord.read(records[-1]) if records else None
