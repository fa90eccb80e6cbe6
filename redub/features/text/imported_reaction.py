"""Reactions made elsewhere: a file of JSON lines, ``{"clip_id": …, "reaction": …}``.

For reactions of a large language model, of a person, or of a COMET that runs on another machine.
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
    """``weights``: the entry of the weights ledger."""

    weights: str = "reactions"


class ImportedReaction(ImportedLines):
    """The clip's line of the file."""

    media: ClassVar[frozenset[Media]] = frozenset({"text"})
    Config: ClassVar[type] = ImportedReactionConfig
    form = REACTIONS
    role = "file"
    several = False  # of several files only the first was ever read, without a word

    def extract(self, media: ClipMedia) -> str:
        """Raises:
        FeatureAbsent: E-FEAT-NOREACTION, the file has no line of this clip.
        """
        row = self.table.get(media.clip.clip_id)
        if row is None:
            raise FeatureAbsent(
                f"the imported file has no reaction for {media.clip.clip_id}",
                code="E-FEAT-NOREACTION",
            )
        return row[0]
