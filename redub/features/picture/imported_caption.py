"""Imported captions, written by another model or by people.

Each line of a file is a JSON object: ``{"clip_id": "film/scene/3", "scene": "…", "face": "…"}``.
One of the texts may be missing or empty; the clip then has no such caption.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from redub.core.errors import FeatureAbsent
from redub.core.types import ClipMedia
from redub.features.base import Media
from redub.features.text.imported_lines import ImportedLines, LineForm

CAPTIONS = LineForm(kind="captions", columns=("scene", "face"), may_lack=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedCaptionConfig:
    """Settings of the backend for imported captions; ``weights`` is the entry of the ledger."""

    weights: str = "captions"


class ImportedCaption(ImportedLines):
    """Look up the imported text of a clip by its id; frames and sound are not used."""

    media: ClassVar[frozenset[Media]] = frozenset()
    Config: ClassVar[type] = ImportedCaptionConfig
    form = CAPTIONS
    role = "captions"
    several = True
    column: ClassVar[Literal["scene", "face"]]

    def extract(self, media: ClipMedia) -> str:
        """Return the text of one clip.

        Raises:
            FeatureAbsent: E-FEAT-NOCAPTION, no row or an empty text.
        """
        row = self.table.get(media.clip.clip_id)
        if row is None:
            raise FeatureAbsent("the captions have no row for this clip", code="E-FEAT-NOCAPTION")
        text = row[CAPTIONS.columns.index(self.column)]
        if not text:
            raise FeatureAbsent(
                f"the captions give this clip no {self.column} text", code="E-FEAT-NOCAPTION"
            )
        return text


class ImportedSceneCaption(ImportedCaption):
    """Imported scene captions: the column ``scene``."""

    column = "scene"


class ImportedFaceCaption(ImportedCaption):
    """Imported face captions: the column ``face``."""

    column = "face"
