"""Extraction: one decode per clip against every extractor opening the media itself.

Prints clips per second and ratios measured in one run on a small demo film:

* apart: the same extractors one after the other, each decoding every clip again (the way of the
  dubbing repositories), upstream features handed over from memory;
* bare loop: decode once, call every extractor, write nothing; one process;
* sync: `redub extract` in one process; its cost over the bare loop is the pipeline's own;
* workers: `redub extract` with N worker processes, start-up included.

    python benchmarks/extract.py [--scenes 12] [--lines 14] [--workers 2]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from redub.core.errors import FeatureAbsent
from redub.core.types import ClipMedia, Value
from redub.features.registry import EXTRACTORS
from redub.footage.decode import decode_in_process
from redub.footage.demo_film import FilmSpec, make_film
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.store.project import Project, open_project
from redub.pipeline.store.tables import Store
from redub.pipeline.work.decoders import close_decoders
from redub.pipeline.work.executor import Scheduler
from redub.pipeline.work.extraction import Toolbox


def fresh(footage: Path, root: Path) -> Project:
    root.mkdir()
    (root / "redub.toml").write_text(f'[footage]\nroot = "{footage}"\n')
    project = open_project(root)
    ingest(project, scheduler=Scheduler("sync", 1))
    return project


def call(tools: Toolbox, name: str, media: ClipMedia, known: dict[str, Value]) -> None:
    extractor = tools.extractor(name)
    reads = {read: known[read] for read in extractor.reads if read in known}
    if len(reads) < len([r for r in extractor.reads if r not in extractor.optional]):
        return
    given = replace(media, features=reads)
    try:
        known[name] = extractor.extract(given)
    except FeatureAbsent:
        return


def apart(project: Project) -> float:
    tools, clips = Toolbox(project), Store(project).clips()
    known: dict[str, dict[str, Value]] = {clip.clip_id: {} for clip in clips}
    began = time.perf_counter()
    for name in EXTRACTORS:
        wanted = tools.extractor(name).media
        for clip in clips:
            frames = waveform = None
            if wanted & {"frames", "waveform"}:
                decoded = decode_in_process(
                    project.footage_root / clip.source,
                    start_frame=clip.start_frame,
                    end_frame=clip.end_frame,
                    video=project.config.video,
                    audio=project.config.audio,
                    decoder=clip.decoder.partition(" ")[0],
                    frames="frames" in wanted,
                    waveform="waveform" in wanted,
                )
                frames, waveform = decoded.frames, decoded.waveform
            media = ClipMedia(clip=clip, frames=frames, waveform=waveform)
            call(tools, name, media, known[clip.clip_id])
    return time.perf_counter() - began


def bare_loop(project: Project) -> float:
    tools, clips = Toolbox(project), Store(project).clips()
    began = time.perf_counter()
    for clip in clips:
        decoded = tools.decode(clip, frames=True, sound=True)
        media = ClipMedia(clip=clip, frames=decoded.frames, waveform=decoded.waveform)
        known: dict[str, Value] = {}
        for name in EXTRACTORS:
            call(tools, name, media, known)
    close_decoders()
    return time.perf_counter() - began


def pipeline(project: Project, scheduler: Scheduler) -> float:
    began = time.perf_counter()
    extract(project, scheduler=scheduler)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--lines", type=int, default=14)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        spec = FilmSpec(seed=7, scenes=options.scenes, lines_per_scene=options.lines)
        make_film(root / "footage", root / "truth", spec, workers=options.workers)
        first = fresh(root / "footage", root / "a")
        clips = len(Store(first).clips())
        pipeline(first, Scheduler("sync", 1))  # warms models and the page cache
        seconds = {
            "apart": apart(first),
            "bare loop": bare_loop(first),
            "sync": pipeline(fresh(root / "footage", root / "b"), Scheduler("sync", 1)),
            "workers": pipeline(
                fresh(root / "footage", root / "c"), Scheduler("processes", options.workers)
            ),
        }
    print(f"{clips} clips, {len(EXTRACTORS)} features, {options.workers} workers")
    print(f"{'way':10} {'s':>8} {'clips/s':>8} {'against apart':>14}")
    for name, value in seconds.items():
        ratio = seconds["apart"] / value
        print(f"{name:10} {value:8.1f} {clips / value:8.2f} {ratio:13.2f}x")
    cost = seconds["sync"] / seconds["bare loop"] - 1
    print(f"pipeline cost over the bare loop: {cost:+.1%}")


if __name__ == "__main__":
    main()
