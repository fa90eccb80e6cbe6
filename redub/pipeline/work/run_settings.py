"""The settings of a training run: those of the project, of a preset and of the command line."""

from __future__ import annotations

import dataclasses
from typing import Any

from redub.core.config import from_mapping, merged
from redub.core.errors import UsageError
from redub.model.registry import configured, system
from redub.pipeline.store.project import Project
from redub.training.presets import TrainingConfig, training_preset

BASELINE = {"graph": "none", "retrieve": ()}
"""Settings of ``--baseline``: no retrieval and no graphs, rows 7 and 10 of Authentic-Dubber's
ablation table (arXiv:2511.14249) together."""


def training_settings(
    project: Project, *, model: str | None = None, baseline: bool = False
) -> tuple[str, Any, TrainingConfig]:
    """The model's name, its config and the training config, with all overrides.

    Raises:
        UsageError: ``baseline`` for a model without retrieval and graphs.
        ConfigError: an unknown model or key, or a value out of range.
    """
    settings = project.config.train
    name = model or settings.model
    known = {own.name for own in dataclasses.fields(system(name).Config)}
    if baseline and not BASELINE.keys() <= known:
        raise UsageError(f"--baseline leaves out retrieval and graphs; {name} has neither")
    overrides = {**settings.model_settings, **(BASELINE if baseline else {})}
    model_config = configured(name, settings.preset, overrides)
    preset = training_preset(name, settings.preset)
    values = {**dataclasses.asdict(preset), "seed": settings.seed}
    config = from_mapping(TrainingConfig, merged(values, settings.training), where="train.training")
    return name, model_config, config


def with_model(project: Project, name: str) -> Project:
    """The project with another model, since a pack depends on the model that reads it."""
    train = dataclasses.replace(project.config.train, model=name)
    return dataclasses.replace(project, config=dataclasses.replace(project.config, train=train))
