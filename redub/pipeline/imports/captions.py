"""Import captions that another program wrote; see :mod:`redub.pipeline.imports.lines`.

Reads a JSON-lines file. Writes ``imports/captions.jsonl`` and the entry ``captions``.
"""

from __future__ import annotations

from pathlib import Path

from redub.features.picture.imported_caption import CAPTIONS
from redub.pipeline.imports.lines import ImportSummary, import_lines


def import_captions(project_root: Path, file: Path) -> ImportSummary:
    """Import scene and face captions; the caller holds the project lock.

    Raises:
        ConfigError: E-CFG-TABLE; nothing was changed.
    """
    return import_lines(project_root, file, CAPTIONS)
