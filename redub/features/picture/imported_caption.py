"""Captions that were written elsewhere: by another model, or by people.

One JSON object a line: ``{"clip_id": "film/scene/3", "scene": "…", "face": "…"}``. Either text may
be left out or empty; the clip then has no such caption.
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
    """``weights``: entry of the ledger."""

    weights: str = "captions"


class ImportedCaption(ImportedLines):
    """The clip's name in, the recorded text out; media are not looked at."""

    media: ClassVar[frozenset[Media]] = frozenset()
    Config: ClassVar[type] = ImportedCaptionConfig
    form = CAPTIONS
    role = "captions"
    several = True
    column: ClassVar[Literal["scene", "face"]]

    def extract(self, media: ClipMedia) -> str:
        """The text.

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
    """The column ``scene``."""

    column = "scene"


class ImportedFaceCaption(ImportedCaption):
    """The column ``face``."""

    column = "face"
