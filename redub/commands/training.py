"""The options of ``redub train``, and its ways to run: an estimate, one process, or several."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from redub.commands.console import finish, put, say
from redub.commands.invocation import INVOCATION, as_typed
from redub.core.errors import UsageError

if TYPE_CHECKING:
    from redub.pipeline.stages.train import TrainSummary

Model = Annotated[str | None, typer.Argument(help="a model that `redub doctor` lists")]
RunName = Annotated[str, typer.Option("--run", help="name of the run")]
Preset = Annotated[str | None, typer.Option(help="tiny | paper")]
TrainFile = Annotated[Path | None, typer.Option("--config", help="TOML file with keys of [train]")]
TrainSettings = Annotated[
    list[str] | None, typer.Option("--set", help="KEY=VALUE of [train], such as training.seed=3")
]
Resume = Annotated[
    str, typer.Option(help="auto (the newest checkpoint) | none | folder of a checkpoint")
]
StartFrom = Annotated[
    Path | None, typer.Option("--from", help="start a new run from weights of `redub runs export`")
]
MaxSteps = Annotated[int | None, typer.Option(help="stop after this many steps")]
Overfit = Annotated[
    int | None, typer.Option(help="train and validate on the first N utterances only (a test)")
]
Devices = Annotated[int, typer.Option(help="number of processes, each with its own GPU")]
EstimateOnly = Annotated[
    bool, typer.Option("--estimate", help="print size, memory and time; train nothing")
]
Baseline = Annotated[bool, typer.Option(help="the same model without retrieval and graphs")]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """What one training run does, as it was typed."""

    model: str | None
    run: str
    max_steps: int | None
    baseline: bool
    resume: str
    overfit: int | None
    start_from: Path | None

    def checkpoint(self) -> bool | Path:
        """Where to go on: True for the newest checkpoint, False for none, or a folder.

        Raises:
            UsageError: ``--resume`` names no folder.
        """
        if self.resume in ("auto", "none"):
            return self.resume == "auto"
        if not Path(self.resume).is_dir():
            raise UsageError(f"--resume {self.resume}: wanted auto, none or a checkpoint's folder")
        return Path(self.resume)

    def train(self, project: Any, progress: Callable[..., None]) -> TrainSummary:
        """Train the run in this process."""
        from redub.pipeline.stages.train import run_train

        return run_train(
            project,
            run=self.run,
            model=self.model,
            max_steps=self.max_steps,
            baseline=self.baseline,
            resume=self.checkpoint(),
            overfit=self.overfit,
            start_from=self.start_from,
            progress=progress,
            say=say,
        )

    def estimate(self, project: Any, as_json: bool) -> NoReturn:
        """Print what the run would take, and end the command."""
        from redub.pipeline.stages.train import run_estimate

        found = run_estimate(
            project,
            model=self.model,
            max_steps=self.max_steps,
            baseline=self.baseline,
            overfit=self.overfit,
        )
        if as_json:
            put(found, schema="train.estimate")
        for line in found.text():
            say(line)
        finish(0, as_typed("--estimate="))

    def start_processes(self, project: Any, devices: int) -> None:
        """With several devices, start one process for each and end with their exit code.

        Returns where this process trains itself: on one device, or because ``torchrun`` started it.

        Raises:
            UsageError: fewer than one device.
        """
        if devices < 1:
            raise UsageError(f"--devices is {devices}; wanted at least 1")
        if devices == 1 or int(os.environ.get("WORLD_SIZE", "1")) > 1:
            return
        from redub.pipeline.work.replicate import replicate
        from redub.pipeline.work.run_settings import training_settings
        from redub.training.presets import check_replicas

        training = training_settings(project, model=self.model, baseline=self.baseline)[2]
        check_replicas(training, devices)
        os.chdir(INVOCATION.started_in)  # the processes read -C again
        raise typer.Exit(replicate(sys.argv[1:], devices))
