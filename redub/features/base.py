"""The interface of extractors: a config dataclass, a class, and an entry in the registry.

An extractor computes one value from one decoded clip. It opens no file and keeps no state between
clips, so a clip gives the same bytes in any worker, alone or in a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from redub.core.types import ClipMedia, Value
from redub.features.runtime import Runtime
from redub.features.weights.folder import WeightFolder

Media = Literal["frames", "waveform", "text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSchema:
    """The shape and type of the values of one feature.

    The kind ``vector`` is an array (width,); ``frames`` is (n, width), where n differs between
    clips; ``text`` is one string (width 0).
    """

    kind: Literal["vector", "frames", "text"]
    width: int = 0
    dtype: Literal["float32", "int16", "int32", "uint8"] = "float32"


class Extractor(Protocol):
    """Computes one feature of a clip.

    Class attributes:
        version: part of the cache key; raise it when a change of the code changes the values.
        media: what must be decoded; a clip without it gets a null with a reason.
        reads: features of the same clip that the extractor gets in ``ClipMedia.features``.
        optional: the members of ``reads`` that may be missing there.
        Config: a frozen keyword-only dataclass. The pipeline fills the fields ``audio``
            (AudioSpec) and ``video`` (VideoSpec). All other fields need defaults and come from
            ``[features.<name>]`` of the project file.
    """

    version: ClassVar[int]
    media: ClassVar[frozenset[Media]]
    reads: ClassVar[tuple[str, ...]]
    optional: ClassVar[frozenset[str]]
    Config: ClassVar[type]

    def __init__(self, config: Any) -> None: ...

    @property
    def schema(self) -> FeatureSchema:
        """The shape and type of the values under this config."""
        ...

    def extract(self, media: ClipMedia) -> Value:
        """Compute the value of one clip.

        Returns:
            An array with the type and shape of ``schema``, finite everywhere; or a string.

        Raises:
            FeatureAbsent: the clip has no such value (no face, silence, no text).
        """
        ...


class LocalExtractor:
    """Default class attributes of extractors that read no other features."""

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[frozenset[str]] = frozenset()


class WeightUser(LocalExtractor):
    """An extractor that reads files of the weights ledger: networks, tables or imported texts.

    Args:
        folders: role → folder, for every role that :meth:`weights_wanted` names for ``config``.
        runtime: device and batch size.
    """

    media: ClassVar[frozenset[Media]]
    Config: ClassVar[type]

    def __init__(self, config: Any, folders: Mapping[str, WeightFolder], runtime: Runtime) -> None:
        self.config = config
        self.folders = folders
        self.runtime = runtime

    @classmethod
    def weights_wanted(cls, config: Any) -> dict[str, tuple[str, str]]:
        """Return the files that a config needs.

        Returns:
            role → (entry of the ledger, kind in :data:`redub.features.weights.kinds.KINDS`).
        """
        raise NotImplementedError

    @classmethod
    def weights_optional(cls, config: Any) -> dict[str, tuple[str, str]]:
        """Return files that a config uses where they are recorded, as :meth:`weights_wanted`."""
        return {}

    @property
    def schema(self) -> FeatureSchema:
        """See :attr:`Extractor.schema`."""
        raise NotImplementedError

    def extract(self, media: ClipMedia) -> Value:
        """See :meth:`Extractor.extract`."""
        raise NotImplementedError


def frames_of(features: Mapping[str, Value], name: str) -> Any:
    """Return a feature array that an extractor reads, typed as ``Any`` for numpy code."""
    return features[name]
