"""The seven stages as commands, and ``run``, which walks them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from redub.commands.apps import app, vocoder_app
from redub.commands.console import OK, finish, no_bar, plain_value, progress_bar, put, say, table
from redub.commands.invocation import (
    HERE,
    INVOCATION,
    as_typed,
    command,
    is_first_process,
    with_profile_option,
)
from redub.commands.options import (
    DryRun,
    Json,
    ProfileName,
    ProjectDir,
    SchedulerName,
    Workers,
    project_of,
    scheduler_of,
)
from redub.commands.project import plan
from redub.core.errors import UsageError

# -- stages


@app.command()
def ingest(
    project: ProjectDir = HERE, workers: Workers = 2, scheduler: SchedulerName = "processes"
) -> None:
    """Stage 1: read new and changed footage into the clip table."""
    from redub.pipeline.stages.ingest import run_ingest

    with progress_bar("ingest", "files") as bar:
        summary = run_ingest(project_of(project), scheduler_of(scheduler, workers), bar)
    say(
        f"{summary.sources} sources read, {summary.unchanged} unchanged, {summary.gone} gone; "
        f"{summary.clips} clips"
    )
    if summary.first_reason:
        say(f"first fault: {summary.first_reason}")
    finish(summary.quarantined, command("extract", project=project), project)


@app.command()
def extract(
    feature: Annotated[
        list[str] | None, typer.Option("-f", "--feature", help="only these (and what they read)")
    ] = None,
    project: ProjectDir = HERE,
    profile: ProfileName = None,
    workers: Workers = 2,
    scheduler: SchedulerName = "processes",
    dry_run: DryRun = False,
) -> None:
    """Stage 2: compute every missing feature of every clip."""
    from redub.pipeline.stages.extract import check_features, run_extract

    names = check_features(feature)
    if dry_run:
        plan(project, profile)
        return
    opened = project_of(project, profile)
    with progress_bar("extract") as bar:
        summary = run_extract(opened, scheduler_of(scheduler, workers), names, bar)
    say(f"{summary.clips} clips, {summary.rows} rows written")
    if opened.config.profile != project_of(project).config.profile:
        say(f'for the later stages, set profile = "{profile}" under [features] in redub.toml')
    words = ("index", "build")
    following = with_profile_option(words, project, opened.config.profile, profile)
    finish(summary.quarantined, following, project)


@app.command()
def retrieve(project: ProjectDir = HERE) -> None:
    """Stage 4: find the K neighbours of every clip, per modality."""
    from redub.pipeline.stages.retrieve import run_retrieve

    summary = run_retrieve(project_of(project))
    say(f"{summary.queries} clips queried, {summary.rows} neighbour rows")
    finish(0, command("train", project=project))


@app.command()
def pack(project: ProjectDir = HERE, as_json: Json = False) -> None:
    """Join clips, features and neighbours into the files a training run reads (`train` does it)."""
    from redub.pipeline.stages.pack import run_pack

    summary, training = run_pack(project_of(project))
    if as_json:
        put({**plain_value(summary), "training": training}, schema="pack")
        return
    for line in (*summary.lines(), *training.said()):
        say(line)
    finish(0, command("train", project=project))


@app.command()
def train(
    model: Annotated[str | None, typer.Argument(help="a model of `redub doctor`")] = None,
    run: Annotated[str, typer.Option(help="name of the run")] = "authentic",
    preset: Annotated[str | None, typer.Option(help="tiny | paper")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="a TOML file with keys of [train]")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of [train], as training.seed=3")
    ] = None,
    resume: Annotated[
        str, typer.Option(help="auto (the newest checkpoint) | none | a checkpoint's folder")
    ] = "auto",
    start_from: Annotated[
        Path | None, typer.Option("--from", help="weights of `redub runs export`, for a new run")
    ] = None,
    max_steps: Annotated[int | None, typer.Option(help="stop after this many steps")] = None,
    overfit: Annotated[
        int | None, typer.Option(help="learn the first so many lines by heart: a test")
    ] = None,
    devices: Annotated[int, typer.Option(help="processes that train together, a GPU each")] = 1,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="print size, memory and time; train nothing")
    ] = False,
    baseline: Annotated[
        bool, typer.Option(help="the same model without retrieval and graphs")
    ] = False,
    project: ProjectDir = HERE,
) -> None:
    """Stage 5: train a dubber from cached features; no media is opened."""
    from redub.pipeline.store.project import with_training

    chosen = with_training(project_of(project), preset=preset, file=config, settings=settings or ())
    if estimate:
        from redub.pipeline.stages.train import run_estimate

        found = run_estimate(
            chosen, model=model, max_steps=max_steps, baseline=baseline, overfit=overfit
        )
        for line in found.text():
            say(line)
        finish(0, as_typed("--estimate="))
    if devices < 1:
        raise UsageError(f"--devices is {devices}; wanted at least 1")
    if devices > 1 and int(os.environ.get("WORLD_SIZE", "1")) == 1:
        from redub.pipeline.stages.train import training_settings
        from redub.pipeline.work.replicate import replicate
        from redub.training.presets import check_replicas

        check_replicas(training_settings(chosen, model=model, baseline=baseline)[2], devices)
        os.chdir(INVOCATION.started_in)  # they read -C again
        raise typer.Exit(replicate(sys.argv[1:], devices))
    from redub.pipeline.stages.train import run_train

    is_first = is_first_process()
    with progress_bar("train", "steps") if is_first else no_bar() as bar:
        summary = run_train(
            chosen,
            run=run,
            model=model,
            max_steps=max_steps,
            baseline=baseline,
            resume=_resumed(resume),
            overfit=overfit,
            start_from=start_from,
            progress=bar,
            say=say,
        )
    if not is_first:
        raise typer.Exit(OK)
    for line in summary.lines():
        say(line)
    finish(0, command("synthesize", run, project=project))


@vocoder_app.command("train")
def vocoder_train(
    run: Annotated[str, typer.Option(help="name of the vocoder run")] = "hifi_gan",
    preset: Annotated[str, typer.Option(help="tiny | paper")] = "tiny",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, as training.batch=4")
    ] = None,
    resume: Annotated[
        str, typer.Option(help="auto (the newest checkpoint) | none (start over)")
    ] = "auto",
    max_steps: Annotated[int | None, typer.Option(help="stop after this many steps")] = None,
    project: ProjectDir = HERE,
) -> None:
    """Train a HiFi-GAN on the training split's cached mels and sound; no media is opened."""
    from redub.pipeline.stages.vocoder import run_vocoder_train

    if resume not in ("auto", "none"):
        raise UsageError(f"--resume {resume}: wanted auto or none")
    with progress_bar("vocoder", "steps") as bar:
        summary = run_vocoder_train(
            project_of(project),
            run=run,
            preset=preset,
            settings=settings or (),
            max_steps=max_steps,
            resume=resume == "auto",
            progress=bar,
        )
    for line in summary.lines():
        say(line)
    following = command("synthesize", project=project)
    finish(0, f'{following}, after name = "hifi_gan" and run = "{run}" under [vocoder]')


def _resumed(resume: str) -> bool | Path:
    """What `--resume` says."""
    if resume in ("auto", "none"):
        return resume == "auto"
    if not Path(resume).is_dir():
        raise UsageError(f"--resume {resume}: wanted auto, none or a checkpoint's folder")
    return Path(resume)


@app.command()
def synthesize(
    run: Annotated[str, typer.Argument(help="name of the run")] = "authentic",
    split: Annotated[str, typer.Option(help="train | validation | test")] = "test",
    project: ProjectDir = HERE,
) -> None:
    """Stage 6: speak every line of a split; WAV files below the run."""
    from redub.pipeline.stages.synthesize import run_synthesize

    opened = project_of(project)
    with progress_bar("synthesize", "lines") as bar:
        summary = run_synthesize(opened, run=run, split=split, progress=bar)
    say(f"{summary.lines} lines, {summary.speech_s:.1f} s of speech, RTF {summary.rtf:.3f}")
    if summary.without:
        say(summary.without)
    judged = opened.config.evaluate.split
    if split != judged:  # `evaluate` measures that one
        finish(0, command("synthesize", run, "--split", judged, project=project))
    finish(0, command("evaluate", run, project=project))


@app.command()
def evaluate(
    run: Annotated[list[str] | None, typer.Argument(help="runs to compare")] = None,
    project: ProjectDir = HERE,
    workers: Workers = 2,
    scheduler: SchedulerName = "processes",
    as_json: Json = False,
) -> None:
    """Stage 7: measure runs on a split; ground truth and resynthesis are always rows."""
    from redub.pipeline.stages.evaluate import run_evaluate

    with progress_bar("evaluate", "lines") as bar:
        result = run_evaluate(
            project_of(project), scheduler_of(scheduler, workers), runs=run, progress=bar
        )
    if as_json:
        put(result, schema="evaluate")
        return
    table(result.columns(), result.text_rows())
    for line in result.headlines():
        say(line)
    finish(0, command("report", project=project))


@app.command()
def run(
    project: ProjectDir = HERE,
    profile: ProfileName = None,
    workers: Workers = 2,
    scheduler: SchedulerName = "processes",
    start: Annotated[str, typer.Option("--from", help="first stage")] = "ingest",
    stop: Annotated[str, typer.Option("--to", help="last stage")] = "evaluate",
    name: Annotated[
        str, typer.Option("--run", help="the run; NAME-2, … after a change of footage or settings")
    ] = "authentic",
    dry_run: DryRun = False,
) -> None:
    """Walk the stages: ingest, extract, index, retrieve, train, synthesize, evaluate."""
    from redub.pipeline.walk import run_all

    if dry_run:
        plan(project, profile)
        return
    held = run_all(
        project_of(project, profile),
        scheduler_of(scheduler, workers),
        start=start,
        stop=stop,
        say=say,
        bar=progress_bar,
        base=name,
    )
    finish(held, with_profile_option(["status"], project, "", profile), project)
