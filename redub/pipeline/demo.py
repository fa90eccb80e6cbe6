"""The whole way, once: film → features → index → training → dubbed scenes → report.

Everything is made here, on the CPU, without a network. Each stage is the one the command line
runs; a second call goes on where the first one stopped.
"""

from __future__ import annotations

import shlex
import time
from pathlib import Path

from redub.core.errors import ConfigError
from redub.footage.demo_film import FilmSpec, make_film
from redub.pipeline.executor import Scheduler
from redub.pipeline.files import commit_bytes
from redub.pipeline.project import FILE_NAME, Project, open_project
from redub.pipeline.stages import (
    Bar,
    Say,
    run_dub_beside,
    run_evaluate,
    run_extract,
    run_index,
    run_ingest,
    run_report,
    run_retrieve,
    run_synthesize,
    run_train_beside,
)
from redub.pipeline.store import Store

PROJECT = """# The demo project: written by `redub demo`, free to be changed.
name = "demo film"

[footage]
root = "footage"
film = "demo"

[index]
exclude_same_scene = true   # a test scene is never in the library: no training scene is either

[train]
max_steps = {steps}
seed = {seed}
threads = 1
"""
FULL, BASELINE = "authentic", "baseline"
STEPS, QUICK_STEPS = 600, 30


def run_demo(folder: Path, *, workers: int, seed: int, quick: bool, say: Say, bar: Bar) -> int:
    """Make the demo project in ``folder``; returns how many rows are quarantined.

    Raises:
        ConfigError: the folder holds another project.
    """
    began = time.perf_counter()
    steps = QUICK_STEPS if quick else STEPS
    project = _project(folder, seed=seed, steps=steps)
    spec = FilmSpec(seed=seed, scenes=6, lines_per_scene=4) if quick else FilmSpec(seed=seed)
    scheduler = Scheduler("processes", workers)

    def told(text: str) -> None:
        say(f"[{time.perf_counter() - began:5.0f} s] {text}")

    with bar("film", "scenes") as progress:
        make_film(project.footage_root, folder / "truth", spec, workers=workers, progress=progress)
    told(f"film: {spec.scenes} scenes in {project.footage_root}")
    with bar("ingest", "files") as progress:
        read = run_ingest(project, scheduler, progress)
    told(f"1 ingest: {read.clips} new clips from {read.sources} files")
    with bar("extract") as progress:
        done = run_extract(project, scheduler, None, progress)
    told(f"2 extract: {done.clips} clips, {done.rows} rows, {done.quarantined} clips set aside")
    told("3 index: " + "; ".join(run_index(project).lines()))
    found = run_retrieve(project)
    told(f"4 retrieve: {found.queries} clips queried, {found.rows} neighbours")
    told(f"5 train: {steps} steps of {FULL} and {BASELINE}, side by side …")
    for trained in run_train_beside(project, {FULL: False, BASELINE: True}, scheduler):
        for sentence in (*trained.training.said(), *trained.lines()):
            told(f"5 train {trained.run.name}: {sentence}")
    for run in (FULL, BASELINE):
        with bar(f"synthesize {run}", "lines") as progress:
            spoken = run_synthesize(project, run=run, split="test", progress=progress)
        told(f"6 synthesize {run}: {spoken.lines} lines, RTF {spoken.rtf:.3f}")
    dubbed = _dub_scenes(project, scheduler, bar)
    told(f"  dubbed {len(dubbed)} test scenes: {dubbed[0].parent}")
    with bar("evaluate", "lines") as progress:
        result = run_evaluate(project, scheduler, runs=[FULL, BASELINE], progress=progress)
    for line in result.headlines():
        told(f"7 evaluate: {line}")
    page = run_report(project, folder / "report.html")
    told(f"report: {page}")
    say("")
    say(f"look at:   {page}")
    say(f"play:      {dubbed[0]}")
    words = ("redub", "index", "query", _a_test_clip(project), "-C", str(project.root))
    say(f"next:      {shlex.join(words)}")
    return len(Store(project).quarantined())


def _project(folder: Path, *, seed: int, steps: int) -> Project:
    text = PROJECT.format(steps=steps, seed=seed)
    path = folder / FILE_NAME
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise ConfigError(
            f"{path} is another project, or a demo with other options; name an empty folder",
            code="E-CFG-EXISTS",
        )
    commit_bytes(path, text.encode())
    return open_project(folder)


def _dub_scenes(project: Project, scheduler: Scheduler, bar: Bar) -> list[Path]:
    """Dub every test scene from its own script, each character in their own voice."""
    scenes = sorted({clip.source for clip in Store(project).clips() if clip.split == "test"})
    if not scenes:
        raise ConfigError("the film has no test scene that could be dubbed", code="E-STAGE-SPLIT")
    folder = project.root / "dubbed"
    folder.mkdir(exist_ok=True)
    videos = [project.footage_root / source for source in scenes]
    outputs = {video: folder / f"{video.stem}.mp4" for video in videos}
    with bar("dub", "scenes") as progress:
        run_dub_beside(project, outputs, run=FULL, scheduler=scheduler, progress=progress)
    return list(outputs.values())


def _a_test_clip(project: Project) -> str:
    return next(clip.clip_id for clip in Store(project).clips() if clip.split == "test")
