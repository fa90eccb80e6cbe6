"""What a training run trains: the model, its settings, and the utterances of a pack for it.

Reads the settings and the keys of the store. Writes nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from redub.core.config import settings_of
from redub.core.errors import ConfigError, UsageError
from redub.core.records import Json
from redub.model.registry import system_spec
from redub.pipeline.store.index.builds import open_index
from redub.pipeline.store.packs.build import pack_keys
from redub.pipeline.store.packs.training_set import (
    TrainingSet,
    context_triples,
    said_reasons,
    training_set,
)
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.folders import run_folder
from redub.pipeline.store.tables import Store
from redub.pipeline.work.run_settings import training_settings, with_model
from redub.training.data.pack import Pack
from redub.training.data.pack_lines import PackedLines
from redub.training.presets import TrainingConfig
from redub.training.run_files import differing


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainPlan:
    """A model with all overrides, and the project whose pack it reads.

    ``model``: its name in ``model/registry.py``. ``project`` has that model in its settings, since
    a pack depends on the model that reads it.
    """

    project: Project
    model: str
    model_config: Any
    config: TrainingConfig

    @classmethod
    def of(cls, project: Project, *, model: str | None = None, baseline: bool = False) -> TrainPlan:
        """The plan of a model, by default of the project's ``train.model``.

        Raises:
            UsageError: ``baseline`` for a model without retrieval and graphs.
            ConfigError: an unknown model or key, or a value out of range.
        """
        name, model_config, config = training_settings(project, model=model, baseline=baseline)
        return cls(
            project=with_model(project, name),
            model=name,
            model_config=model_config,
            config=config,
        )

    @property
    def triples(self) -> bool:
        """Whether only utterances with both adjacent utterances are trained on."""
        return context_triples(self.model_config)

    def lines(self, pack: Pack, overfit: int | None) -> tuple[PackedLines, PackedLines]:
        """Utterances to train on and to validate on.

        Args:
            overfit: train and validate on the first so many utterances; None for all.

        Raises:
            ConfigError: E-STAGE-LINES, there is no utterance to train on.
            UsageError: ``overfit`` is below 1.
        """
        lines, validation = (
            pack.lines(split, context=system_spec(self.model).context, triples=self.triples)
            for split in ("train", "validation")
        )
        if not len(lines):
            left_out = Counter(pack.record.left_out.get("train", {}).values())
            reasons = said_reasons(dict(left_out.most_common())) or "the training split is empty"
            if self.triples and len(pack.lines("train")):
                reasons = "no line has both a previous and a following line in its scene"
            raise ConfigError(f"no line can be trained on: {reasons}", code="E-STAGE-LINES")
        if overfit is None:
            return lines, validation
        if overfit < 1:
            raise UsageError(f"--overfit is {overfit}; wanted at least 1")
        return lines[:overfit], lines[:overfit]

    def training_set(self, pack: Pack, overfit: int | None = None) -> TrainingSet:
        """How many utterances of a pack are trained on, and why the others are not."""
        return training_set(
            pack,
            self.config,
            preset=self.project.config.train.preset,
            triples=self.triples,
            overfit=overfit,
        )


def next_run(project: Project, base: str, *, baseline: bool = False) -> str:
    """The name of the run for the project's present footage and settings.

    It is ``base`` as long as that run can continue. After a change of footage, index or settings
    it is ``base-2``, ``base-3``, …; earlier runs are not changed.
    """
    plan, store = TrainPlan.of(project, baseline=baseline), Store(project)
    wanted: dict[str, Json] = {
        "model": settings_of(plan.model_config)["fields"],
        "training": settings_of(plan.config)["fields"],
        "keys": dict(pack_keys(store, open_index(store))),
    }
    name, number = base, 1
    while differing(run_folder(project, name), wanted):
        number += 1
        name = f"{base}-{number}"
    return name
