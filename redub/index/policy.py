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
    NEIGHBOUR = 128  # a line next to the query in its own scene
    EXCLUDED = 256  # named in ``exclude``
    NOT_INCLUDED = 512  # ``include`` names others only

    @property
    def names(self) -> tuple[str, ...]:
        """The single reasons in lower case: ``("overlap", "scene")``."""
        return tuple(str(flag.name).lower() for flag in Reason if flag in self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFacts:
    """What a policy must know of a query clip; frames count 1/25 s, the end is exclusive.

    ``position``: place of the line in its scene.
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
    """The rules; frozen, so that it can be part of a result's key.

    Attributes:
        exclude_self: never the query's clip, nor one that overlaps it in the same source file.
            False is the published behaviour, in which a training clip finds itself first.
        splits: splits that may be retrieved.
        allow_held_out: must be set to name a held-out split in ``splits``.
        speaker: ``same`` and ``other`` need both speakers known; an unknown speaker is neither.
        exclude_same_scene: no row of the query's own scene of its own film.
        neighbour_lines: no row of that scene whose place is at most so many lines away; 0 for all.
        films: films that may be retrieved; empty for all.
        rights_required: the row's rights must be one of these; empty for any.
        include: clip ids; if any are named, no other clip may be retrieved.
        exclude: clip ids that may never be retrieved.
    """

    exclude_self: bool = True
    splits: tuple[str, ...] = ("train",)
    speaker: Literal["any", "same", "other"] = "any"
    exclude_same_scene: bool = False
    neighbour_lines: int = 0
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
                    f"policy: split '{split}' is held out; retrieving it leaks the answers of the "
                    "evaluation. Set allow_held_out if that is what you want"
                )
        if not self.splits:
            raise ConfigError("policy: no split may be retrieved; name at least one")
        if self.neighbour_lines < 0:
            raise ConfigError(
                f"policy: neighbour_lines is {self.neighbour_lines}; wanted 0 or more"
            )
        if self.speaker not in ("any", "same", "other"):
            raise ConfigError(f"policy: speaker '{self.speaker}'; legal: any, same, other")

    def eligible(self, query: ClipFacts, library: LibraryTable) -> BoolArray:
        """(N,) bool, True where the row may be retrieved: exactly where it has no reason."""
        eligible: BoolArray = self.reasons(query, library) == 0
        return eligible

    def reasons(self, query: ClipFacts, library: LibraryTable) -> NDArray[np.uint16]:
        """(N,) uint16, the :class:`Reason` flags of every row; read one with ``Reason(code)``."""
        reasons = self.standing_reasons(library)
        if self.exclude_self:
            reasons[library.is_value("clip_id", query.clip_id)] |= Reason.ITSELF.value
            overlaps = library.is_value("source_digest", query.source_digest)
            overlaps &= library.start_frame < query.end_frame
            overlaps &= library.end_frame > query.start_frame
            if query.source_digest:  # two unknown sources are not one source
                reasons[overlaps] |= Reason.OVERLAP.value
        if self.speaker != "any":
            is_same = library.is_value("speaker", query.speaker)
            is_wrong = ~is_same if self.speaker == "same" else is_same
            is_unknown = library.is_value("speaker", "") | (query.speaker == "")
            reasons[is_wrong | is_unknown] |= Reason.SPEAKER.value
        if self.exclude_same_scene or self.neighbour_lines:
            is_same = library.is_value("film", query.film) & library.is_value("scene", query.scene)
            if self.exclude_same_scene:
                reasons[is_same] |= Reason.SCENE.value
            if self.neighbour_lines:
                apart = np.abs(library.position - query.position)
                reasons[is_same & (apart <= self.neighbour_lines)] |= Reason.NEIGHBOUR.value
        return reasons

    def standing_reasons(self, library: LibraryTable) -> NDArray[np.uint16]:
        """(N,) uint16, the reasons that hold whatever is asked: split, film, rights, lists."""
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
