"""Ledger entries of made checkpoints, and pickles that would run code."""

from __future__ import annotations

import os
from pathlib import Path

from redub.core.durable import folder_digests
from redub.features.runtime import Runtime
from redub.features.weights.folder import WeightFolder
from redub.features.weights.kinds import KINDS

CPU = Runtime(device="cpu")


def folder_of(path: Path, kind: str) -> WeightFolder:
    """What ``redub weights add`` would record of a folder, every file of it."""
    return WeightFolder(
        name=kind, path=path, files=folder_digests(path), licence=KINDS[kind].licence
    )


class Payload:
    """Pickles into a call that writes a marker file: where it exists, code of a checkpoint ran."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (os.system, (f"touch '{self.marker}'",))
