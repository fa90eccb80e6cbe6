"""Retrieval policy: the rules that decide which library clips a query may retrieve.

Two leaks must be prevented. A training clip that retrieves itself, or a clip overlapping it,
receives its own audio vector, which is not available when dubbing. A library that contains
held-out clips leaks test data into training. The policy excludes such rows and states the reason
for each row.

Letters: N library rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from redub.core.config import nearest
from redub.core.errors import ConfigError
from redub.core.types import Clip
from redub.index.base import BoolArray

if TYPE_CHECKING:
    from redub.index.library import LibraryTable

SPLITS = ("train", "validation", "test", "none")
HELD_OUT = ("validation", "test")


class Reason(IntFlag):
    """Reasons why a row may not be retrieved; flags can be combined, 0 means eligible."""

    ITSELF = 1  # the query's own clip id
    OVERLAP = 2  # another clip cut from the same seconds of the same file
    SPLIT = 4
    SPEAKER = 8
    SCENE = 16
    FILM = 32
    RIGHTS = 64
    ADJACENT = 128  # an utterance close to the query in the same scene
    EXCLUDED = 256  # listed in ``exclude``
    NOT_INCLUDED = 512  # not listed in a non-empty ``include``

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the set flags in lower case, such as ``("overlap", "scene")``."""
        return tuple(str(flag.name).lower() for flag in Reason if flag in self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFacts:
    """Facts about a query clip that the policy needs.

    ``position``: number of the utterance in its scene. ``start_frame`` and ``end_frame``: units of
    1/25 s; the end is exclusive.
    """

    clip_id: str
    film: str
    scene: str
    position: int
    speaker: str
    source_digest: str
    start_frame: int
    end_frame: int

    @classmethod
    def of(cls, clip: Clip) -> ClipFacts:
        """Copy the facts from a clip."""
        return cls(
            clip_id=clip.clip_id,
            film=clip.film,
            scene=clip.scene,
            position=clip.position,
            speaker=clip.speaker,
            source_digest=clip.source_digest,
            start_frame=clip.start_frame,
            end_frame=clip.end_frame,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Rules for retrieval; frozen, so that it can be part of a cache key.

    Attributes:
        exclude_self: exclude the query clip and clips that overlap it in the same source file.
            False is the published behaviour, in which a training clip retrieves itself first.
        splits: splits that may be retrieved.
        allow_held_out: must be True to allow a held-out split in ``splits``.
        speaker: ``same`` or ``other`` than the query's speaker, or ``any``. With ``same`` and
            ``other``, clips of unknown speaker are excluded, and a query of unknown speaker
            retrieves nothing.
        exclude_same_scene: exclude the query's scene (same film and scene).
        adjacent_lines: exclude utterances of the query's scene at most this many positions away; 0
            excludes none.
        films: films that may be retrieved; empty allows all.
        rights_required: accepted values of the row's rights; empty accepts all.
        include: clip ids; if not empty, only these clips may be retrieved.
        exclude: clip ids that may not be retrieved.
    """

    exclude_self: bool = True
    splits: tuple[str, ...] = ("train",)
    speaker: Literal["any", "same", "other"] = "any"
    exclude_same_scene: bool = False
    adjacent_lines: int = 0
    films: tuple[str, ...] = ()
    rights_required: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    allow_held_out: bool = False

    def __post_init__(self) -> None:
        for split in self.splits:
            if split not in SPLITS:
                raise ConfigError(f"policy: unknown split '{split}'; {nearest(split, SPLITS)}")
            if split in HELD_OUT and not self.allow_held_out:
                raise ConfigError(
                    f"policy: split '{split}' is held out; retrieving it leaks evaluation data. "
                    "Set allow_held_out to allow it"
                )
        if not self.splits:
            raise ConfigError("policy: no split may be retrieved; name at least one")
        if self.adjacent_lines < 0:
            raise ConfigError(f"policy: adjacent_lines is {self.adjacent_lines}; wanted 0 or more")
        if self.speaker not in ("any", "same", "other"):
            raise ConfigError(f"policy: speaker '{self.speaker}'; legal: any, same, other")

    def eligible(self, query: ClipFacts, library: LibraryTable) -> BoolArray:
        """Return (N,) bool, True where :meth:`reasons` is 0: the row may be retrieved."""
        eligible: BoolArray = self.reasons(query, library) == 0
        return eligible

    def reasons(self, query: ClipFacts, library: LibraryTable) -> NDArray[np.uint16]:
        """Return (N,) uint16 codes of :class:`Reason` flags; decode by ``Reason(code)``."""
        reasons = self.standing_reasons(library)
        if self.exclude_self:
            reasons[library.is_value("clip_id", query.clip_id)] |= Reason.ITSELF.value
            overlaps = library.is_value("source_digest", query.source_digest)
            overlaps &= library.start_frame < query.end_frame
            overlaps &= library.end_frame > query.start_frame
            if query.source_digest:  # unknown sources do not count as the same source
                reasons[overlaps] |= Reason.OVERLAP.value
        if self.speaker != "any":
            is_same = library.is_value("speaker", query.speaker)
            is_wrong = ~is_same if self.speaker == "same" else is_same
            is_unknown = library.is_value("speaker", "") | (query.speaker == "")
            reasons[is_wrong | is_unknown] |= Reason.SPEAKER.value
        if self.exclude_same_scene or self.adjacent_lines:
            is_same = library.is_value("film", query.film) & library.is_value("scene", query.scene)
            if self.exclude_same_scene:
                reasons[is_same] |= Reason.SCENE.value
            if self.adjacent_lines:
                apart = np.abs(library.position - query.position)
                reasons[is_same & (apart <= self.adjacent_lines)] |= Reason.ADJACENT.value
        return reasons

    def standing_reasons(self, library: LibraryTable) -> NDArray[np.uint16]:
        """Return (N,) uint16, the flags independent of the query: split, film, rights, ids."""
        reasons = np.zeros(len(library), dtype=np.uint16)
        reasons[~library.is_one_of("split", self.splits)] |= Reason.SPLIT.value
        if self.films:
            reasons[~library.is_one_of("film", self.films)] |= Reason.FILM.value
        if self.rights_required:
            reasons[~library.is_one_of("rights", self.rights_required)] |= Reason.RIGHTS.value
        if self.include:
            reasons[~library.is_one_of("clip_id", self.include)] |= Reason.NOT_INCLUDED.value
        reasons[library.is_one_of("clip_id", self.exclude)] |= Reason.EXCLUDED.value
        return reasons
