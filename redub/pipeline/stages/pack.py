"""Stage 5 of 7, first half: write the pack that training reads.

Reads committed features, neighbours and the index; opens no media. Writes ``packs/``.
"""

from __future__ import annotations

from dataclasses import dataclass

from redub.pipeline.store.packs.build import PackSummary, build_pack, open_pack
from redub.pipeline.store.packs.training_set import TrainingSet
from redub.pipeline.store.project import Project
from redub.pipeline.store.tables import Store
from redub.pipeline.store.writing import writing


@dataclass(frozen=True, slots=True)
class PackReport:
    """The pack, and what the project's model would be trained on from it."""

    pack: PackSummary
    training: TrainingSet

    def lines(self) -> list[str]:
        """Sentences about the pack, then about the training set."""
        return [*self.pack.lines(), *self.training.said()]


def run_pack(project: Project) -> PackReport:
    """Build the pack, check every byte of it, and count what the project's model trains on."""
    from redub.pipeline.work.train_plan import TrainPlan  # loads torch

    with writing(project, "pack"):
        store = Store(project)
        summary = build_pack(store)
        opened = open_pack(store, summary)  # writes damaged parts again
        return PackReport(summary, TrainPlan.of(project).training_set(opened))
