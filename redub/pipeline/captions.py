"""Take captions that were written elsewhere into a project.

Reads a JSON-lines file. Writes ``imports/captions.jsonl`` and its line in ``models.lock``; the
features are then made by the maker ``import``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from redub.core.errors import ConfigError
from redub.features.imported_caption import parse_captions
from redub.pipeline.files import commit_bytes
from redub.pipeline.project import open_project
from redub.pipeline.store import Store
from redub.pipeline.weights import add_weights

PLACE = Path("imports") / "captions.jsonl"
SHOWN = 10  # faulty lines that a message quotes


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionImport:
    """What was taken in.

    ``rows``: clips with a row; ``scenes`` and ``faces``: texts that are not empty. ``clips``: live
    clips of the project; ``without``: those that no row is about; ``strange``: ids in the file that
    no live clip has, in the file's order.
    """

    path: Path
    rows: int
    scenes: int
    faces: int
    clips: int
    without: int
    strange: tuple[str, ...]


def import_captions(project_root: Path, file: Path) -> CaptionImport:
    """Check every line, copy the file into the project and record it; replaces earlier captions.

    The caller holds the project lock. Rows about clips that are not there (yet) are kept.

    Raises:
        ConfigError: E-CFG-CAPTIONS, the file is missing, not UTF-8, empty, or has faulty lines
            (they are named); nothing was changed.
    """
    content = _content(file)
    found = parse_captions(content.decode("utf-8"))
    if found.faults:
        more = len(found.faults) - SHOWN
        lines = "; ".join(found.faults[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
        raise ConfigError(
            f"{file}: {len(found.faults)} lines cannot be used: {lines}. Nothing was imported",
            code="E-CFG-CAPTIONS",
        )
    if not found.captions:
        raise ConfigError(f"{file} holds no captions", code="E-CFG-CAPTIONS")
    project = open_project(project_root)
    target = project.root / PLACE
    commit_bytes(target, content)
    add_weights(project.root, "captions", target, replace=True)
    live = set(Store(project).clip_frame()["clip_id"])
    return CaptionImport(
        path=target,
        rows=len(found.captions),
        scenes=sum(bool(row.scene) for row in found.captions.values()),
        faces=sum(bool(row.face) for row in found.captions.values()),
        clips=len(live),
        without=len(live - found.captions.keys()),
        strange=tuple(clip_id for clip_id in found.captions if clip_id not in live),
    )


def _content(file: Path) -> bytes:
    if not file.is_file():
        raise ConfigError(
            f"{file} is not there; wanted a file of JSON lines", code="E-CFG-CAPTIONS"
        )
    content = file.read_bytes()
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{file}, line {line} is not UTF-8; save it as UTF-8", code="E-CFG-CAPTIONS"
        ) from error
    return content
