"""Open what synthesis needs: the vocoder and a trained run."""

from __future__ import annotations

from typing import Any

from redub.core.errors import IntegrityError
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.folders import spoken_checkpoint
from redub.pipeline.store.runs.vocoders import open_vocoder
from redub.pipeline.store.settings import FEATURE_SETTINGS, feature_of, features_among
from redub.training.synthesis import TrainedDubber, load_dubber


def make_vocoder(project: Project) -> Any:
    """Open the vocoder that ``[vocoder]`` names, at the project's mel settings and on its device.

    Raises:
        ModelRefusedError, ConfigError: see :func:`redub.pipeline.store.runs.vocoders.open_vocoder`.
    """
    return open_vocoder(project)


def open_dubber(project: Project, run: str) -> TrainedDubber:
    """Open the checkpoint of a run with the lowest validation loss, else the newest one.

    Raises:
        ConfigError: the run does not exist or has no checkpoint yet.
    """
    return load_dubber(spoken_checkpoint(project, run))


def check_features(dubber: TrainedDubber, project: Project, feature_keys: dict[str, str]) -> None:
    """Refuse features that were computed otherwise than those of the run's training.

    Args:
        feature_keys: feature to its key in this project.

    Raises:
        IntegrityError: names the feature whose key differs, or the setting that chooses another
            feature (exit 6).
    """
    of_run, here = features_among(dubber.keys), feature_of(project.config.index)
    for modality, setting in FEATURE_SETTINGS.items():
        if of_run.get(modality, here[modality]) != here[modality]:
            raise IntegrityError(
                f"the run was trained with index.{setting} = '{of_run[modality]}', this project "
                f"has '{here[modality]}'; set the project file back or train again",
                code="E-INT-FEATURES",
            )
    for name, key in feature_keys.items():
        trained = dubber.keys.get(name)
        if trained is not None and trained != key:
            raise IntegrityError(
                f"the run was trained on {name} {trained}, this project has {key}; "
                "set the project file back or train again",
                code="E-INT-FEATURES",
            )
