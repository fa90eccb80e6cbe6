"""Imported reactions: a file of JSON lines, ``{"clip_id": …, "reaction": …}``.

For reactions by a large language model, by a person, or by COMET on another machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from redub.core.errors import FeatureAbsent
from redub.core.types import ClipMedia
from redub.features.base import Media
from redub.features.text.imported_lines import ImportedLines, LineForm

REACTIONS = LineForm(kind="reactions", columns=("reaction",), may_lack=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedReactionConfig:
    """Settings of the backend for imported reactions; ``weights`` is the entry of the ledger."""

    weights: str = "reactions"


class ImportedReaction(ImportedLines):
    """Look up the imported reaction of a clip by its id."""

    media: ClassVar[frozenset[Media]] = frozenset({"text"})
    Config: ClassVar[type] = ImportedReactionConfig
    form = REACTIONS
    role = "file"
    several = False

    def extract(self, media: ClipMedia) -> str:
        """Return the reaction of one clip.

        Raises:
            FeatureAbsent: E-FEAT-NOREACTION, the file has no line for this clip.
        """
        row = self.table.get(media.clip.clip_id)
        if row is None:
            raise FeatureAbsent(
                f"the imported file has no reaction for {media.clip.clip_id}",
                code="E-FEAT-NOREACTION",
            )
        return row[0]
