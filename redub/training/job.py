"""The input and the result of a training run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redub.core.types import AudioSpec
from redub.training.data.lines import Utterance
from redub.training.presets import TrainingConfig
from redub.training.step import StepReport
from redub.training.synthesis import TrainedDubber

Show = Callable[[int, TrainedDubber], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainReport:
    """The result of one call of :func:`redub.training.trainer.train`.

    ``first_step``: the step that the call started from, 0 without a resume. ``losses``: the
    unweighted terms of the last step. ``validation_losses``: the terms of the last validation,
    empty without validation utterances. ``stopped``: ``stop`` ended the call before a limit.
    """

    first_step: int
    last_step: int
    seconds: float
    lines: int
    lines_without_recording: int
    trained_parameters: int
    loss: float
    losses: Mapping[str, float]
    validation_loss: float | None
    validation_losses: Mapping[str, float]
    started_from: str
    checkpoint: Path
    best_checkpoint: Path
    stopped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """The data and settings of a run, and its directory.

    ``lines_train``: utterances; those without a recording are counted and left out.
    ``model_config``: the config of ``config.system``. ``audio``: the mel settings. ``keys``:
    feature keys, recorded in every checkpoint.
    """

    lines_train: Sequence[Utterance]
    lines_validation: Sequence[Utterance]
    config: TrainingConfig
    run_dir: Path
    model_config: Any
    audio: AudioSpec
    keys: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainCallbacks:
    """Functions that a run calls during training; none of them changes a number.

    ``began``: once, with the step it starts from, when everything has been checked. ``progress``:
    after every step. ``stop``: after every step; True ends the call with a checkpoint, as a limit
    does. ``show``: at each validation, with the step and the averaged model. ``observe``: with
    every row of ``metrics.jsonl``. ``guard``: before each epoch and each checkpoint; raises an
    error if the data changed.
    """

    began: Callable[[int], None] = lambda step: None
    progress: Callable[[StepReport], None] | None = None
    stop: Callable[[], bool] = lambda: False
    show: Show | None = None
    observe: Callable[[Mapping[str, Any]], None] | None = None
    guard: Callable[[], None] = lambda: None
