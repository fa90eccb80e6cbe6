"""Who may be retrieved for whom: one object, asked before every search.

A training clip that finds itself, or a clip overlapping it, is handed its own audio vector, which
it will not have when it dubs; a library with held-out clips in it leaks the answers of the test.
Both are refused here, by rule, with a reason that can be shown for every single row.

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
    """Why a row may not be retrieved; several may hold at once, 0 means it may."""

    ITSELF = 1  # the query's own clip id
    OVERLAP = 2  # another clip cut from the same seconds of the same file
    SPLIT = 4
    SPEAKER = 8
    SCENE = 16
    FILM = 32
    RIGHTS = 64

    @property
    def names(self) -> tuple[str, ...]:
        """The single reasons in lower case: ``("overlap", "scene")``."""
        return tuple(str(flag.name).lower() for flag in Reason if flag in self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFacts:
    """What a policy must know of a query clip; frames count 1/25 s, the end is exclusive."""

    clip_id: str
    film: str
    scene: str
    speaker: str
    source_digest: str
    start_frame: int
    end_frame: int

    @classmethod
    def of(cls, clip: Clip) -> ClipFacts:
        return cls(
            clip_id=clip.clip_id,
            film=clip.film,
            scene=clip.scene,
            speaker=clip.speaker,
            source_digest=clip.source_digest,
            start_frame=clip.start_frame,
            end_frame=clip.end_frame,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rules; frozen, so that it can be part of a result's key.

    Attributes:
        exclude_self: never the query's clip, nor one that overlaps it in the same source file.
            False is the published behaviour, in which a training clip finds itself first.
        splits: splits that may be retrieved.
        allow_held_out: must be set to name a held-out split in ``splits``.
        speaker: ``same`` and ``other`` need both speakers known; an unknown speaker is neither.
        exclude_same_scene: no row of the query's own scene of its own film.
        films: films that may be retrieved; empty for all.
        rights_required: the row's rights must be one of these; empty for any.
    """

    exclude_self: bool = True
    splits: tuple[str, ...] = ("train",)
    speaker: Literal["any", "same", "other"] = "any"
    exclude_same_scene: bool = False
    films: tuple[str, ...] = ()
    rights_required: tuple[str, ...] = ()
    allow_held_out: bool = False

    def __post_init__(self) -> None:
        for split in self.splits:
            if split not in SPLITS:
                raise ConfigError(f"policy: unknown split '{split}'; {nearest(split, SPLITS)}")
            if split in HELD_OUT and not self.allow_held_out:
                raise ConfigError(
                    f"policy: split '{split}' is held out; retrieving it leaks the answers of the "
                    "evaluation. Set allow_held_out if that is what you want"
                )
        if not self.splits:
            raise ConfigError("policy: no split may be retrieved; name at least one")
        if self.speaker not in ("any", "same", "other"):
            raise ConfigError(f"policy: speaker '{self.speaker}'; legal: any, same, other")

    def eligible(self, query: ClipFacts, library: LibraryTable) -> BoolArray:
        """(N,) bool, True where the row may be retrieved: exactly where it has no reason."""
        eligible: BoolArray = self.reasons(query, library) == 0
        return eligible

    def reasons(self, query: ClipFacts, library: LibraryTable) -> NDArray[np.uint8]:
        """(N,) uint8, the :class:`Reason` flags of every row; read one with ``Reason(code)``."""
        reasons = self.standing_reasons(library)
        if self.exclude_self:
            reasons[library.is_value("clip_id", query.clip_id)] |= np.uint8(Reason.ITSELF)
            overlaps = library.is_value("source_digest", query.source_digest)
            overlaps &= library.start_frame < query.end_frame
            overlaps &= library.end_frame > query.start_frame
            if query.source_digest:  # two unknown sources are not one source
                reasons[overlaps] |= np.uint8(Reason.OVERLAP)
        if self.speaker != "any":
            is_same = library.is_value("speaker", query.speaker)
            is_wrong = ~is_same if self.speaker == "same" else is_same
            is_unknown = library.is_value("speaker", "") | (query.speaker == "")
            reasons[is_wrong | is_unknown] |= np.uint8(Reason.SPEAKER)
        if self.exclude_same_scene:
            is_same = library.is_value("film", query.film) & library.is_value("scene", query.scene)
            reasons[is_same] |= np.uint8(Reason.SCENE)
        return reasons

    def standing_reasons(self, library: LibraryTable) -> NDArray[np.uint8]:
        """(N,) uint8, the reasons that hold whatever is asked: split, film, rights."""
        reasons = np.zeros(len(library), dtype=np.uint8)
        reasons[~library.is_one_of("split", self.splits)] |= np.uint8(Reason.SPLIT)
        if self.films:
            reasons[~library.is_one_of("film", self.films)] |= np.uint8(Reason.FILM)
        if self.rights_required:
            reasons[~library.is_one_of("rights", self.rights_required)] |= np.uint8(Reason.RIGHTS)
        return reasons
