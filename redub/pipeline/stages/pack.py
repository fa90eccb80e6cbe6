"""Stage 5 of 7, first half: write the pack that training reads.

Reads committed features, neighbours and the index; opens no media. Writes ``packs/``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from redub.pipeline.store.project import Project
from redub.pipeline.store.writing import writing

if TYPE_CHECKING:  # torch is loaded when the pack is built, not when this file is imported
    from redub.pipeline.store.packs.build import PackSummary
    from redub.pipeline.store.packs.training_set import TrainingSet


def run_pack(project: Project) -> tuple[PackSummary, TrainingSet]:
    """Write the pack under the project lock.

    Returns:
        The pack's summary, and the utterances that the project's model would be trained on.
    """
    from redub.pipeline.stages.train import project_training_set
    from redub.pipeline.store.packs.build import build_pack, open_pack

    with writing(project, "pack"):
        summary = build_pack(project)
        # Opening checks every byte and writes damaged files again.
        opened = open_pack(project, summary)
        return summary, project_training_set(project, opened)
