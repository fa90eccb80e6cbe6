"""Reactions made elsewhere: a file of JSON lines, ``{"clip_id": …, "reaction": …}``.

For reactions of a large language model, of a person, or of a COMET that runs on another machine.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from redub.core.errors import FeatureAbsent
from redub.core.types import ClipMedia
from redub.features.base import FeatureSchema, Media, WeightUser
from redub.features.imported_caption import is_text

FIELDS = ("clip_id", "reaction")


def read_reactions(text: str) -> dict[str, str]:
    """Clip id to reaction, stripped; blank lines and further fields are passed over.

    Raises:
        ValueError: with the line's number: no JSON object, a field missing or blank, a clip twice.
    """
    reactions: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number} is not JSON: {error}") from None
        except RecursionError:
            raise ValueError(f"line {number} is no row: brackets within brackets") from None
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is no JSON object")
        for name in FIELDS:
            if not isinstance(row.get(name), str) or not row[name].strip():
                raise ValueError(f"line {number}: '{name}' is {row.get(name)!r}, wanted text")
            if not is_text(row[name]):
                raise ValueError(f"line {number}: '{name}' holds half a character: {row[name]!r}")
        if row["clip_id"] in reactions:
            raise ValueError(f"line {number}: clip '{row['clip_id']}' a second time")
        reactions[row["clip_id"]] = row["reaction"].strip()
    if not reactions:
        raise ValueError("it holds no line")
    return reactions


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedReactionConfig:
    """``weights``: the entry of the weights ledger."""

    weights: str = "reactions"


class ImportedReaction(WeightUser):
    """The clip's line of the file."""

    media: ClassVar[frozenset[Media]] = frozenset({"text"})
    Config: ClassVar[type] = ImportedReactionConfig

    @classmethod
    def weights_wanted(cls, config: Any) -> dict[str, tuple[str, str]]:
        return {"file": (config.weights, "reactions")}

    @property
    def schema(self) -> FeatureSchema:
        return FeatureSchema(kind="text")

    @cached_property
    def reactions(self) -> dict[str, str]:
        """Raises:
        ModelRefusedError: E-MODEL-FILE, no file of reactions.
        """
        folder = self.folders["file"]
        name = folder.one_of(*sorted(folder.files))
        try:
            return read_reactions(folder.text(name))
        except ValueError as error:
            raise folder.refused(f"{name}: {error}", code="E-MODEL-FILE") from error

    def extract(self, media: ClipMedia) -> str:
        """Raises:
        FeatureAbsent: E-FEAT-NOREACTION, the file has no line of this clip.
        """
        reaction = self.reactions.get(media.clip.clip_id)
        if reaction is None:
            raise FeatureAbsent(
                f"the imported file has no reaction for {media.clip.clip_id}",
                code="E-FEAT-NOREACTION",
            )
        return reaction
