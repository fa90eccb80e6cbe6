"""The seven stages as commands, and ``run``, which runs them in order."""

from __future__ import annotations

from typing import Annotated

import typer

from redub.commands.apps import app, vocoder_app
from redub.commands.console import OK, finish, no_bar, progress_bar, put, say, say_all, table
from redub.commands.invocation import HERE, command, is_first_process
from redub.commands.options import (
    DryRun,
    Json,
    ProfileName,
    ProjectDir,
    SchedulerName,
    Workers,
    project_of,
    scheduler_of,
    with_profile_option,
)
from redub.commands.project import plan
from redub.commands.training import (
    Baseline,
    Devices,
    EstimateOnly,
    MaxSteps,
    Model,
    Overfit,
    Preset,
    Resume,
    RunName,
    StartFrom,
    TrainFile,
    TrainOptions,
    TrainSettings,
)
from redub.core.errors import UsageError


@app.command()
def ingest(
    project: ProjectDir = HERE,
    workers: Workers = 2,
    scheduler: SchedulerName = "processes",
    as_json: Json = False,
) -> None:
    """Stage 1: read new and changed footage into the clip table."""
    from redub.pipeline.stages.ingest import run_ingest

    with progress_bar("ingest", "files") as bar:
        summary = run_ingest(project_of(project), scheduler_of(scheduler, workers), bar)
    if as_json:
        put(summary, schema="ingest")
    say(
        f"{summary.sources} sources read, {summary.unchanged} unchanged, {summary.gone} gone; "
        f"{summary.clips} clips"
    )
    say_all(summary.remarks())
    if summary.first_reason:
        say(f"first fault: {summary.first_reason}")
    finish(summary.quarantined, command("extract", project=project), project)


@app.command()
def extract(
    feature: Annotated[
        list[str] | None,
        typer.Option("-f", "--feature", help="only this feature and those it reads (repeatable)"),
    ] = None,
    project: ProjectDir = HERE,
    profile: ProfileName = None,
    workers: Workers = 2,
    scheduler: SchedulerName = "processes",
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Stage 2: compute every missing feature of every clip."""
    from redub.pipeline.reports.lines import said_uses
    from redub.pipeline.reports.status import project_status
    from redub.pipeline.stages.extract import check_features, run_extract

    names = check_features(feature)
    if dry_run:
        plan(project, profile, as_json)
        return
    opened = project_of(project, profile)
    with progress_bar("extract") as bar:
        summary = run_extract(opened, scheduler_of(scheduler, workers), names, bar)
    if as_json:
        put(summary, schema="extract")
    say(f"{summary.clips} clips, {summary.rows} rows written")
    if opened.config.profile != project_of(project).config.profile:
        say(f'for the later stages, set profile = "{profile}" under [features] in redub.toml')
    say_all(said_uses(opened))
    words = project_status(opened).next_words
    following = with_profile_option(words, project, opened.config.profile, profile)
    finish(summary.quarantined, following, project)


@app.command()
def retrieve(project: ProjectDir = HERE, as_json: Json = False) -> None:
    """Stage 4: find the K neighbours of every clip, per modality."""
    from redub.pipeline.reports.lines import said_uses
    from redub.pipeline.stages.retrieve import run_retrieve

    opened = project_of(project)
    summary = run_retrieve(opened)
    if as_json:
        put(summary, schema="retrieve")
    say(f"{summary.queries} clips queried, {summary.rows} neighbour rows")
    say_all(said_uses(opened))
    finish(0, command("train", project=project))


@app.command()
def pack(project: ProjectDir = HERE, as_json: Json = False) -> None:
    """Write the files that training reads: clips, features and neighbours (`train` does it too)."""
    from redub.pipeline.reports.lines import said_uses
    from redub.pipeline.stages.pack import run_pack

    opened = project_of(project)
    report = run_pack(opened)
    if as_json:
        put(report, schema="pack")
        return
    for line in report.lines():
        say(line)
    say_all(said_uses(opened))
    finish(0, command("train", project=project))


@app.command()
def train(
    model: Model = None,
    run: RunName = "authentic",
    preset: Preset = None,
    config: TrainFile = None,
    settings: TrainSettings = None,
    resume: Resume = "auto",
    start_from: StartFrom = None,
    max_steps: MaxSteps = None,
    overfit: Overfit = None,
    devices: Devices = 1,
    estimate: EstimateOnly = False,
    baseline: Baseline = False,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Stage 5: train a dubbing model from cached features; no media is opened."""
    from redub.pipeline.store.project import with_training

    chosen = with_training(
        project_of(project), model=model, preset=preset, file=config, settings=settings or ()
    )
    options = TrainOptions(
        model=model,
        run=run,
        max_steps=max_steps,
        baseline=baseline,
        resume=resume,
        overfit=overfit,
        start_from=start_from,
    )
    if estimate:
        options.estimate(chosen, as_json)
    options.start_processes(chosen, devices)
    is_first = is_first_process()
    with progress_bar("train", "steps") if is_first else no_bar() as bar:
        summary = options.train(chosen, bar)
    if not is_first:
        raise typer.Exit(OK)
    if as_json:
        put(summary, schema="train")
    for line in summary.lines():
        say(line)
    finish(0, command("synthesize", run, project=project))


@vocoder_app.command("train")
def vocoder_train(
    run: Annotated[str, typer.Option(help="name of the vocoder run")] = "hifi_gan",
    preset: Annotated[str, typer.Option(help="tiny | paper")] = "tiny",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, such as training.batch=4")
    ] = None,
    resume: Annotated[
        str, typer.Option(help="auto (the newest checkpoint) | none (start over)")
    ] = "auto",
    max_steps: MaxSteps = None,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Train a HiFi-GAN on the cached mels and sound of the training split; no media is opened."""
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
    if as_json:
        put(summary, schema="vocoder.train")
    for line in summary.lines():
        say(line)
    following = command("synthesize", project=project)
    say(f'set name = "hifi_gan" and run = "{run}" under [vocoder] in redub.toml')
    finish(0, following)


@app.command()
def synthesize(
    run: Annotated[str, typer.Argument(help="name of the run")] = "authentic",
    split: Annotated[str, typer.Option(help="train | validation | test")] = "test",
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Stage 6: synthesize every utterance of a split as WAV files in the run's folder."""
    from redub.pipeline.stages.synthesize import run_synthesize

    opened = project_of(project)
    with progress_bar("synthesize", "lines") as bar:
        summary = run_synthesize(opened, run=run, split=split, progress=bar)
    if as_json:
        put(summary, schema="synthesize")
    say(f"{summary.lines} lines, {summary.speech_s:.1f} s of speech, RTF {summary.rtf:.3f}")
    if summary.without:
        say(summary.without)
    judged = opened.config.evaluate.split
    if split != judged:  # `evaluate` measures another split
        finish(0, command("synthesize", run, "--split", judged, project=project))
    finish(0, command("evaluate", run, project=project))


@app.command()
def evaluate(
    run: Annotated[list[str] | None, typer.Argument(help="runs to compare (default: all)")] = None,
    project: ProjectDir = HERE,
    workers: Workers = 2,
    scheduler: SchedulerName = "processes",
    as_json: Json = False,
) -> None:
    """Stage 7: measure runs, the ground truth and its vocoder resynthesis on a split."""
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
    as_json: Json = False,
) -> None:
    """Run the stages in order: ingest, extract, index, retrieve, train, synthesize, evaluate."""
    from redub.pipeline.walk import run_all

    if dry_run:
        plan(project, profile, as_json)
        return
    walk = run_all(
        project_of(project, profile),
        scheduler_of(scheduler, workers),
        start=start,
        stop=stop,
        say=say,
        bar=progress_bar,
        base=name,
    )
    if as_json:
        put(walk, schema="run")
    finish(walk.quarantined, with_profile_option(["status"], project, "", profile), project)
