"""Import texts that another program wrote: check them, copy them, record them in the ledger.

Reads a JSON-lines file. Writes ``imports/KIND.jsonl`` and the entry ``KIND`` of ``models.lock``.
The backend ``import`` then serves the features from that file.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from redub.core.durable import commit_bytes
from redub.core.errors import ConfigError
from redub.core.types import Clip
from redub.features.text.imported_lines import LineForm, Texts, canonical_lines, parse_lines, quoted
from redub.pipeline.store.project import open_project
from redub.pipeline.store.tables import Store
from redub.pipeline.store.weights import Entry, add_weights

FOLDER = "imports"
SHOWN = 10  # faulty lines that a message quotes

NO_FILES = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSummary:
    """What an import did.

    ``rows``: clips in the file. ``texts``: by column, how many of these clips have a text.
    ``clips``: live clips that can have such a text. ``without``: those of ``clips`` that the file
    does not have. ``strange``: clip ids of the file that no live clip has, in file order.
    """

    path: Path
    entry: Entry
    rows: int
    texts: dict[str, int]
    clips: int
    without: int
    strange: tuple[str, ...]


def import_lines(
    project_root: Path,
    file: Path,
    form: LineForm,
    *,
    is_for: Callable[[Clip], bool] = lambda clip: True,
) -> ImportSummary:
    """Import a file into a project; it replaces an earlier file of the same kind.

    The caller holds the project lock. Rows of clips that the project does not have (yet) are kept,
    but the file must have at least one clip of the project.

    Raises:
        ConfigError: E-CFG-TABLE, the file cannot be read, is empty, has faulty lines (the message
            quotes them), or has no clip of the project; nothing was changed.
    """
    rows = _rows(file, form)
    project = open_project(project_root)
    clips = Store(project).clips()
    live = {clip.clip_id for clip in clips}
    if live and live.isdisjoint(rows):
        raise _refused(
            f"{file} has none of the project's {len(live)} clips; its first clip_id is "
            f"{quoted(next(iter(rows)))}, the project's first is '{clips[0].clip_id}'"
        )
    target = project.root / FOLDER / f"{form.kind}.jsonl"
    commit_bytes(target, canonical_lines(rows, form))
    concerned = {clip.clip_id for clip in clips if is_for(clip)}
    return ImportSummary(
        path=target,
        entry=add_weights(project.root, form.kind, target, replace=True),
        rows=len(rows),
        texts={
            name: sum(bool(texts[column]) for texts in rows.values())
            for column, name in enumerate(form.columns)
        },
        clips=len(concerned),
        without=len(concerned - rows.keys()),
        strange=tuple(clip_id for clip_id in rows if clip_id not in live),
    )


def _rows(file: Path, form: LineForm) -> dict[str, Texts]:
    content = _content(file)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _refused(f"{file}, line {line} is not UTF-8; save it as UTF-8") from error
    rows, faults = parse_lines(text, form)
    if faults:
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        count = "one line" if len(faults) == 1 else f"{len(faults)} lines"
        raise _refused(
            f"{file}: {count} cannot be used: {'; '.join(faults[:SHOWN])}{more}. Nothing was "
            "imported"
        )
    if not rows:
        raise _refused(f"{file} holds no {form.kind}")
    return rows


def _content(file: Path) -> bytes:
    try:
        kind = stat.S_IFMT(file.stat().st_mode)
        if kind != stat.S_IFREG:  # reading a pipe may block; /dev/zero never ends
            raise _refused(
                f"{file} is {NO_FILES.get(kind, 'no file')}; wanted a regular file of JSON lines"
            )
        return file.read_bytes()
    except FileNotFoundError as error:
        raise _refused(f"{file} does not exist; wanted a file of JSON lines") from error
    except OSError as error:
        raise _refused(f"{file} cannot be read: {error.strerror}") from error


def _refused(message: str) -> ConfigError:
    return ConfigError(message, code="E-CFG-TABLE")
