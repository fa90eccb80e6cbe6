"""What an extractor is: a config dataclass, a class, one registry word.

An extractor turns one decoded clip into one value. It opens no file and keeps no state between
clips, so the same clip gives the same bytes in any worker, alone or in a batch.
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
    """The shape of one feature's column.

    vector: (width,); frames: (n, width), n varies by clip; text: one string (width 0).
    """

    kind: Literal["vector", "frames", "text"]
    width: int = 0
    dtype: Literal["float32", "int16", "int32", "uint8"] = "float32"


class Extractor(Protocol):
    """One feature.

    Class attributes:
        version: raise it when the code changes what it computes; it enters the key.
        media: what must be decoded; a clip without it gets a null with a reason.
        reads: features of the same clip that are handed over in ``ClipMedia.features``.
        optional: the members of ``reads`` that may be missing from the mapping.
        Config: a frozen keyword-only dataclass. Fields named ``audio`` (AudioSpec) and ``video``
            (VideoSpec) are filled by the pipeline; all others need defaults and come from
            ``[features.<name>]`` of the project file.
    """

    version: ClassVar[int]
    media: ClassVar[frozenset[Media]]
    reads: ClassVar[tuple[str, ...]]
    optional: ClassVar[frozenset[str]]
    Config: ClassVar[type]

    def __init__(self, config: Any) -> None: ...

    @property
    def schema(self) -> FeatureSchema: ...

    def extract(self, media: ClipMedia) -> Value:
        """Compute the value.

        Returns:
            An array of ``schema.dtype`` and shape, finite everywhere; or a string.

        Raises:
            FeatureAbsent: the clip has no such value (no face, silence, no text).
        """
        ...


class LocalExtractor:
    """Defaults for extractors without upstream features."""

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[frozenset[str]] = frozenset()


class WeightUser(LocalExtractor):
    """An extractor that reads files of the weights ledger: networks, tables, texts from outside.

    Its constructor takes ``(config, folders, runtime)``, with a folder for every role that
    :meth:`weights_wanted` names under the same config.
    """

    media: ClassVar[frozenset[Media]]
    Config: ClassVar[type]

    def __init__(self, config: Any, folders: Mapping[str, WeightFolder], runtime: Runtime) -> None:
        self.config = config
        self.folders = folders
        self.runtime = runtime

    @classmethod
    def weights_wanted(cls, config: Any) -> dict[str, tuple[str, str]]:
        """Role to (entry of the ledger, kind of :data:`redub.features.weights.kinds.KINDS`)."""
        raise NotImplementedError

    @property
    def schema(self) -> FeatureSchema:
        raise NotImplementedError

    def extract(self, media: ClipMedia) -> Value:
        raise NotImplementedError


def frames_of(features: Mapping[str, Value], name: str) -> Any:
    """An upstream array, with the type that numpy code wants."""
    return features[name]
