"""What a training run was started with: how many steps it should have, and how to continue it.

Reads and writes ``request.json`` in the folder of a run.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from redub.core.records import Json, JsonRecord
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.folders import run_folder
from redub.pipeline.store.runs.run_settings import dotted
from redub.pipeline.store.settings import train_values
from redub.training.checkpoint import step_of, steps_in
from redub.training.run_files import CHECKPOINTS

REQUEST = "request.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest(JsonRecord):
    """``request.json``: the arguments of the last `redub train` of a run.

    model, baseline, overfit, max_steps: as for ``RunRequest``, with the defaults filled in.
    settings: the table ``[train]`` that was in force, by dotted name, without the model's name and
    ``max_steps``.
    """

    ADVICE: ClassVar[str] = "remove it and train the run again"

    model: str
    baseline: bool
    overfit: int | None
    max_steps: int
    settings: Mapping[str, Json]

    @classmethod
    def of(
        cls, project: Project, *, model: str, baseline: bool, overfit: int | None, max_steps: int
    ) -> Self:
        """The request of a training with the project's settings (file, preset, ``--set``)."""
        return cls(
            model=model,
            baseline=baseline,
            overfit=overfit,
            max_steps=max_steps,
            settings=_settings(project),
        )

    def words(self, project: Project, run: str) -> list[str]:
        """The command that continues the run, without ``redub``.

        Options whose values are those of the project's present settings are left out.
        """
        words = ["train"]
        if self.model != project.config.train.model:
            words.append(self.model)
        words += ["--run", run]
        if self.max_steps != project.config.train.max_steps:
            words += ["--max-steps", str(self.max_steps)]
        if self.baseline:
            words.append("--baseline")
        if self.overfit is not None:
            words += ["--overfit", str(self.overfit)]
        present = _settings(project)
        for name, value in self.settings.items():
            if name not in present or present[name] != value:
                words += ["--set", f"{name}={_option_text(value)}"]
        return words


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedRun:
    """A run with fewer steps than were requested.

    step: that of the newest checkpoint, 0 without one. max_steps: the requested number.
    next_words: the words of the command that continues it, without ``redub``.
    """

    run: str
    step: int
    max_steps: int
    next_words: list[str]

    def __str__(self) -> str:
        return f"step {self.step} of {self.max_steps}"


def unfinished_run(project: Project, run: str) -> UnfinishedRun | None:
    """How far an unfinished run is; None if it has all steps, or if its request is not known.

    Raises:
        IntegrityError: ``request.json`` is damaged.
    """
    folder = run_folder(project, run)
    path = folder / REQUEST
    if not path.is_file():
        return None
    request = TrainRequest.read(path)
    saved = steps_in(folder / CHECKPOINTS)
    step = step_of(saved[0]) if saved else 0
    if step >= request.max_steps:
        return None
    words = request.words(project, run)
    return UnfinishedRun(run=run, step=step, max_steps=request.max_steps, next_words=words)


def write_request(folder: Path, request: TrainRequest) -> None:
    """Write the request into the folder of a run."""
    request.write(folder / REQUEST)


def _settings(project: Project) -> dict[str, Json]:
    values = json.loads(json.dumps(train_values(project.config.train)))  # tuples become lists
    return {
        name: value
        for name, value in dotted(values).items()
        if name not in ("model.name", "max_steps")
    }


def _option_text(value: Json) -> str:
    """A value as ``--set`` reads it: TOML, where text needs no quotes if it cannot be TOML."""
    if not isinstance(value, str):
        return json.dumps(value)
    try:
        tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return value
    return json.dumps(value)
