"""First half of stage 5: write the pack that training reads.

Reads committed features, neighbours and the index; never media. Writes ``packs/``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redub.pipeline.store.project import Project
from redub.pipeline.store.writing import writing

if TYPE_CHECKING:  # each stage's imports are its own: `redub ingest` loads no torch
    from redub.pipeline.store.packs.build import PackSummary
    from redub.pipeline.store.packs.training_set import TrainingSet


def run_pack(project: Project) -> tuple[PackSummary, TrainingSet]:
    """First half of stage 5, and what the project's model would be trained on."""
    from redub.pipeline.stages.train import project_training_set
    from redub.pipeline.store.packs.build import build_pack, open_pack

    with writing(project, "pack"):
        summary = build_pack(project)
        # Every byte is checked, and made again where it is damaged.
        opened = open_pack(project, summary)
        return summary, project_training_set(project, opened)
