"""Import reactions that another program wrote; see :mod:`redub.pipeline.imports.lines`.

Reads a file of JSON lines. Writes ``imports/reactions.jsonl`` and the entry ``reactions``.
"""

from __future__ import annotations

from pathlib import Path

from redub.features.text.imported_reaction import REACTIONS
from redub.pipeline.imports.lines import ImportSummary, import_lines


def import_reactions(project_root: Path, file: Path) -> ImportSummary:
    """Import reactions of clips that have words; the caller holds the project lock.

    Raises:
        ConfigError: E-CFG-TABLE; nothing was changed.
    """
    return import_lines(project_root, file, REACTIONS, is_for=lambda clip: bool(clip.text))
