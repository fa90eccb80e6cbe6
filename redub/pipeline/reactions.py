"""Reactions made elsewhere enter a project: checked, copied into it, pinned in its ledger.

Reads a file of JSON lines. Writes ``imports/reactions.jsonl`` and the entry ``reactions``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from redub.core.errors import ConfigError
from redub.features.imported_reaction import read_reactions
from redub.pipeline.files import commit_bytes
from redub.pipeline.project import open_project
from redub.pipeline.store import Store
from redub.pipeline.weights import Entry, add_weights

KIND = "reactions"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSummary:
    """What came in.

    lines: reactions in the file. unknown: those of clips that the project does not have (yet).
    without: clips with words that the file says nothing about; they will have no reaction.
    """

    entry: Entry
    lines: int
    unknown: int
    without: int


def import_reactions(project_root: Path, file: Path) -> ImportSummary:
    """Take a file of reactions into a project; the caller holds the project lock.

    The copy has one line per clip, sorted, with no other fields, so that a file written in another
    order changes no key. An earlier import is replaced.

    Raises:
        ConfigError: E-CFG-TABLE, the file is not there or a line of it is wrong (nothing is
            changed then), or it is about none of the project's clips.
    """
    try:
        reactions = read_reactions(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}", code="E-CFG-TABLE") from error
    except ValueError as error:  # UnicodeDecodeError is one, too
        raise ConfigError(f"{file}: {error}", code="E-CFG-TABLE") from error
    project = open_project(project_root)
    clips = Store(project).clips()
    known = {clip.clip_id for clip in clips}
    if known and known.isdisjoint(reactions):
        raise ConfigError(
            f"{file} is about none of the project's {len(known)} clips; its first clip_id is "
            f"'{next(iter(reactions))}', the project's '{clips[0].clip_id}'",
            code="E-CFG-TABLE",
        )
    lines = (
        json.dumps({"clip_id": clip_id, "reaction": text}, ensure_ascii=False) + "\n"
        for clip_id, text in sorted(reactions.items())
    )
    copy = project.root / "imports" / f"{KIND}.jsonl"
    commit_bytes(copy, "".join(lines).encode())
    return ImportSummary(
        entry=add_weights(project.root, KIND, copy, replace=True),
        lines=len(reactions),
        unknown=len(reactions.keys() - known),
        without=sum(bool(clip.text) and clip.clip_id not in reactions for clip in clips),
    )
