"""Read split lists as the dubbing papers publish them: one utterance per row, fields by ``|``.

====================================  ==========================================================
row                                   published with
====================================  ==========================================================
``name|speaker|{P HH OW1}|raw text``  FastSpeech 2, V2C-Net, HPMDubbing, StyleDubber
``name|raw text``                     DSU-AVO (Chem)
``folder/name.wav|IPA|speaker id``    ProDubber (V2C and GRID); it has no plain text
``name``                              any
====================================  ==========================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from redub.core.errors import ConfigError
from redub.footage.listing import MEDIA_SUFFIXES

LISTED_SPLITS = ("train", "validation", "test", "none")


@dataclass(frozen=True, slots=True)
class SplitLists:
    """``splits``: name → split; ``texts``: name → raw text, if the list has it."""

    splits: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


def read_lists(paths: Mapping[str, Path]) -> SplitLists:
    """Read one list per split.

    Raises:
        ConfigError: E-CFG-LIST with file and line: an unknown split, a file that cannot be read,
            a row without a name, or a name in two splits.

    Rows with 2 or 4 fields have their raw text in the last field.
    """
    splits: dict[str, str] = {}
    texts: dict[str, str] = {}
    for split, path in paths.items():
        if split not in LISTED_SPLITS:
            raise ConfigError(
                f"'{split}' is not a split; legal: {', '.join(LISTED_SPLITS)}", code="E-CFG-LIST"
            )
        for number, row in enumerate(_rows(path), start=1):
            if not row.strip():
                continue
            fields = [cell.strip() for cell in row.split("|")]
            name = name_of(fields[0])
            where = f"{path.name} line {number}"
            if not name:
                raise ConfigError(f"{where} has no name before the first '|'", code="E-CFG-LIST")
            if splits.setdefault(name, split) != split:
                raise ConfigError(
                    f"{where} puts '{name}' into {split}, another list into {splits[name]}",
                    code="E-CFG-LIST",
                )
            text = {2: fields[-1], 4: fields[-1]}.get(len(fields), "")
            if text:
                texts[name] = text
    return SplitLists(splits, texts)


def name_of(cell: str) -> str:
    """Return the name in a cell: ``s6/s6-bwba2a.wav`` → ``s6-bwba2a``; only media suffixes go."""
    path = PurePosixPath(cell.replace("\\", "/"))
    return path.stem if path.suffix.lower() in MEDIA_SUFFIXES else path.name


def _rows(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the split list {path} cannot be read: {error}", code="E-CFG-LIST"
        ) from error
