"""The whole way, once: film → features → index → training → dubbed scenes → report.

Everything is made here, on the CPU, without a network. Each stage is the one the command line
runs; a second call goes on where the first one stopped.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from redub.core.durable import commit_bytes, commit_json, file_digest, read_json
from redub.core.errors import ConfigError
from redub.core.metric import Absent, Interval
from redub.core.progress import Bar, Say
from redub.evaluation.takes import GROUND_TRUTH
from redub.footage.demo_film import FilmSpec, make_film
from redub.pipeline.dubbing.session import run_dub_parallel
from redub.pipeline.reports.evaluation import run_report
from redub.pipeline.stages.evaluate import run_evaluate
from redub.pipeline.stages.extract import run_extract
from redub.pipeline.stages.index import run_index
from redub.pipeline.stages.ingest import run_ingest
from redub.pipeline.stages.retrieve import run_retrieve
from redub.pipeline.stages.synthesize import run_synthesize
from redub.pipeline.stages.train import run_train, run_train_parallel
from redub.pipeline.store.project import Project, open_project
from redub.pipeline.store.runs.evaluations import Evaluation, is_evaluated, last_evaluation
from redub.pipeline.store.settings import FILE_NAME
from redub.pipeline.store.tables import Store
from redub.pipeline.work.executor import Scheduler, local_cluster

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
AUTHENTIC, BASELINE = "authentic", "baseline"
TITLES = {AUTHENTIC: "Authentic-Dubber", BASELINE: "the same without retrieval and graphs"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSummary:
    """What a demo made; ``dubbed``: the videos of test scenes with new speech."""

    project: Path
    runs: tuple[str, ...]
    dubbed: tuple[Path, ...]
    page: Path
    quarantined: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tour:
    """How much of everything a demo makes.

    runs: name of a run → is it the baseline. dubbed: test scenes that are dubbed as videos. time:
    the wall and CPU time, measured on two idle cores (docs/benchmarks.md).
    """

    film: FilmSpec
    steps: int
    runs: Mapping[str, bool]
    dubbed: int
    time: str


def tour_of(seed: int, *, quick: bool = False, full: bool = False) -> Tour:
    """The tour that the options name.

    Raises:
        ConfigError: both are set.
    """
    if quick and full:
        raise ConfigError("--quick and --full exclude each other; leave one of them out")
    both = {AUTHENTIC: False, BASELINE: True}
    if full:
        return Tour(film=FilmSpec(seed=seed), steps=600, runs=both, dubbed=99, time=FULL_TIME)
    if quick:
        film = FilmSpec(seed=seed, scenes=6, lines_per_scene=4)
        return Tour(film=film, steps=30, runs=both, dubbed=99, time=QUICK_TIME)
    film = FilmSpec(seed=seed, scenes=11, lines_per_scene=14, speakers=4, choices=6)
    return Tour(film=film, steps=250, runs={AUTHENTIC: False}, dubbed=1, time=TIME)


TIME = "about 4 minutes (5 minutes of computing)"
QUICK_TIME = "about 2 minutes (3 minutes of computing)"
FULL_TIME = "about 17 minutes (30 minutes of computing)"


def run_demo(
    folder: Path,
    *,
    workers: int,
    seed: int,
    quick: bool = False,
    full: bool = False,
    say: Say,
    bar: Bar,
) -> DemoSummary:
    """Make the demo project in ``folder``.

    Raises:
        ConfigError: the folder holds another project, or ``quick`` and ``full`` are both set.
    """
    tour = tour_of(seed, quick=quick, full=full)
    project = _project(folder, seed=seed, steps=tour.steps)
    say(
        f"The demo makes a film of {tour.film.scenes} scenes, trains "
        f"{' and '.join(TITLES[run] for run in tour.runs)} on some of them, dubs the others and "
        f"measures the result. On two quiet cores it takes {tour.time}; a busy or slower machine "
        "takes longer. Stop it at any time: the same command goes on where it stopped."
    )
    return _walk(project, tour, workers, say, bar)


@contextmanager
def _working(workers: int) -> Iterator[Scheduler]:
    """Workers for more than one stage, which load their libraries once."""
    with local_cluster(workers) as cluster:
        yield Scheduler(cluster.scheduler_address, workers)


def _walk(project: Project, tour: Tour, workers: int, say: Say, bar: Bar) -> DemoSummary:
    began = time.perf_counter()

    def tell(text: str) -> None:
        say(f"[{time.perf_counter() - began:5.0f} s] {text}")

    _make_footage(project, tour, workers, tell, bar)
    _measure(project, workers, tell, bar)
    _search(project, tell)
    _train(project, tour, workers, tell, bar)
    _synthesize(project, tour, tell, bar)
    with _working(workers) as scheduler:
        dubbed = _dub_scenes(project, tour, scheduler, bar)
        tell(f"  dub: {len(dubbed)} test scene(s) with new speech, in {dubbed[0].parent}")
        if not is_evaluated(project, list(tour.runs)):
            with bar("evaluate", "lines") as progress:
                run_evaluate(project, scheduler, runs=list(tour.runs), progress=progress)
    result = last_evaluation(project)
    tell(f"7 evaluate: {len(result.line_ids)} test lines, which the training has not seen")
    for line in in_words(result):
        say(f"          {line}")
    page = run_report(project, project.root / "report.html")
    tell("report: done")
    say("")
    say(f"look at:   {page}  (open it in a browser; listen to the lines there)")
    say(f"play:      {dubbed[0]}")
    words = ("redub", "index", "query", _a_test_clip(project), "-C", str(project.root))
    say(f"next:      {shlex.join(words)}")
    return DemoSummary(
        project=project.root,
        runs=tuple(tour.runs),
        dubbed=tuple(dubbed),
        page=page,
        quarantined=len(Store(project).quarantined()),
    )


def _make_footage(project: Project, tour: Tour, workers: int, tell: Say, bar: Bar) -> None:
    """Draw the film and speak its lines."""
    spec, truth = tour.film, project.root / "truth"
    with bar("film", "scenes") as progress:
        make_film(project.footage_root, truth, spec, workers=workers, progress=progress)
    tell(
        f"film: {spec.scenes} scenes with {spec.scenes * spec.lines_per_scene} lines of "
        f"{spec.speakers} characters, drawn and spoken by redub, in {project.footage_root}"
    )


def _measure(project: Project, workers: int, tell: Say, bar: Bar) -> None:
    """Stages 1 and 2."""
    with _working(workers) as scheduler:
        with bar("ingest", "files") as progress:
            read = run_ingest(project, scheduler, progress)
        clips = f"{read.clips} new clips, one per line of the subtitles"
        tell(f"1 ingest: {clips if read.clips else 'up to date'}")
        with bar("extract") as progress:
            done = run_extract(project, scheduler, None, progress)
    measured = (
        f"sound, pitch, phonemes, face, lips and emotion of {done.clips} clips measured; "
        f"{done.quarantined} clips could not be used"
    )
    tell(f"2 extract: {measured if done.clips else 'up to date'}")


def _search(project: Project, tell: Say) -> None:
    """Stages 3 and 4."""
    index = run_index(project)
    tell("3 index: " + "; ".join(index.lines()))
    found = run_retrieve(project)
    similar = (
        f"for each of {found.queries} clips the most similar scenes, faces and texts of the index: "
        f"{found.rows} in all"
    )
    tell(f"4 retrieve: {similar if found.queries else 'up to date'}")


def _synthesize(project: Project, tour: Tour, tell: Say, bar: Bar) -> None:
    """Stage 6, for every run."""
    for run in tour.runs:
        with bar(f"synthesize {run}", "lines") as progress:
            spoken = run_synthesize(project, run=run, split="test", progress=progress)
        made = f"{spoken.lines} lines of the test scenes spoken" if spoken.lines else "up to date"
        tell(f"6 synthesize: {TITLES[run]}: {made}")


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


def _train(project: Project, tour: Tour, workers: int, tell: Say, bar: Bar) -> None:
    """One run in this process, where its steps can be shown; several side by side in workers."""
    if len(tour.runs) > 1:
        tell(f"5 train: {tour.steps} steps of {' and '.join(tour.runs)}, side by side …")
        scheduler = Scheduler("processes", workers)
        for trained in run_train_parallel(project, tour.runs, scheduler):
            for sentence in (*trained.training.said(), *trained.lines()):
                tell(f"5 train {trained.run.name}: {sentence}")
        return
    for run, baseline in tour.runs.items():
        with bar("train", "steps") as progress:
            trained = run_train(
                project,
                run=run,
                model=None,
                max_steps=None,
                baseline=baseline,
                resume=True,
                progress=progress,
            )
        for sentence in (*trained.training.said(), *trained.lines()):
            tell(f"5 train: {sentence}")


def in_words(evaluation: Evaluation) -> list[str]:
    """What the figures of an evaluation mean, the recording's beside each run's."""
    truth = evaluation.scores(GROUND_TRUTH).values
    lines = []
    for run in evaluation.runs:
        own, title = evaluation.scores(run).values, TITLES.get(run, run)
        if not isinstance(own["wer"], Absent):
            lines.append(
                f"words: a speech recogniser gets {_figures(evaluation, 'wer', own)} of the words "
                f"of {title} wrong (WER); of the recording, {_figures(evaluation, 'wer', truth)}"
            )
        majority = evaluation.baselines["emo_acc"]
        if not isinstance(own["emo_acc"], Absent) and isinstance(majority, float):
            lines.append(
                f"emotion: the emotion recogniser finds the intended emotion in "
                f"{_figures(evaluation, 'emo_acc', own)} of its lines (EMO-ACC); in the recording, "
                f"{_figures(evaluation, 'emo_acc', truth)}; always answering the commonest "
                f"emotion is right in {evaluation.metric('emo_acc').figure(majority)}"
            )
        if not isinstance(own["phoneme_error_ms"], Absent):
            lines.append(
                f"timing: a phoneme is {_figures(evaluation, 'phoneme_error_ms', own)} "
                "longer or shorter than in the recording; each line fills its slot exactly"
            )
    return [*lines, "(In brackets: 95 % intervals over the lines.)"]


def _figures(evaluation: Evaluation, name: str, values: Mapping[str, Interval | Absent]) -> str:
    metric = evaluation.metric(name)
    return f"{metric.text(values[name])} {metric.unit}"


def _dub_scenes(project: Project, tour: Tour, scheduler: Scheduler, bar: Bar) -> list[Path]:
    """Dub test scenes from their own scripts, each character in their own voice.

    Scenes that this checkpoint dubbed already are left as they are.
    """
    from redub.pipeline.store.runs.folders import spoken_checkpoint
    from redub.training.checkpoint import MANIFEST

    clips = [clip for clip in Store(project).clips() if clip.split == "test"]
    scenes = {clip.source: clip.source_digest for clip in clips}
    chosen = sorted(scenes)[: tour.dubbed]
    if not chosen:
        raise ConfigError("the film has no test scene that could be dubbed", code="E-STAGE-SPLIT")
    folder = project.root / "dubbed"
    folder.mkdir(exist_ok=True)
    outputs = {source: folder / f"{Path(source).stem}.mp4" for source in chosen}
    spoken_by = file_digest(spoken_checkpoint(project, AUTHENTIC) / MANIFEST)
    made_from = {source: f"{scenes[source]} {spoken_by}" for source in chosen}
    noted = folder / "made_from.json"
    before = read_json(noted) if noted.is_file() else {}
    wanted = {
        project.footage_root / source: output
        for source, output in outputs.items()
        if not output.is_file() or before.get(source) != made_from[source]
    }
    with bar("dub", "scenes") as progress:
        run_dub_parallel(project, wanted, run=AUTHENTIC, scheduler=scheduler, progress=progress)
    commit_json(noted, made_from)
    return list(outputs.values())


def _a_test_clip(project: Project) -> str:
    return next(clip.clip_id for clip in Store(project).clips() if clip.split == "test")
