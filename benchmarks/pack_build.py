"""Building a pack of N clips: MiB written per second against the disk's own rate, and memory.

    python benchmarks/pack_build.py [--clips 10000]

A project is made whose clip table and features hold N clips of 1 to 4 s: random numbers at the
paper profile's widths, put into the store as extraction would put them (the clips' features repeat
after 256, and are compressed as one part at a time). The index is really built and searched, with
the exact backend. Then a process of its own runs ``build_pack`` on it. Its memory is its anonymous
memory, sampled twenty times a second; the disk's rate is that of writing as many bytes, one MiB
at a time, and syncing them, in the same process before and after.

Needs about 0.35 MiB of disk per clip, twice that while it measures the disk.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from redub.core.types import Clip
from redub.pipeline.stages.index import build_index
from redub.pipeline.stages.retrieve import retrieve
from redub.pipeline.store.index.builds import features_of
from redub.pipeline.store.packs.build import build_pack
from redub.pipeline.store.packs.lines import features_read
from redub.pipeline.store.project import Project, init_project, open_project
from redub.pipeline.store.schemas import SOURCE_SCHEMA, FeatureRow, feature_table
from redub.pipeline.store.tables import Store, clip_table

PAPER = {
    "lips": 512,
    "speaker": 256,
    "scene_emotion": 1024,
    "face_emotion": 1024,
    "text_emotion": 2048,
    "audio_emotion": 1024,
}
"""Widths of the paper profile where they differ from the built-in extractors'."""
PART, DISTINCT = 256, 256
ROW = "{:44} {:>10}"
STEPS = {
    "_contents": "what every clip's values were made from",
    "_write_part": "parts: read, packed, written",
    "_packed": "  of that, joined and narrowed",
    "read_one": "  of that, and before: parts of the store read",
    "_links": "links: neighbours, voices, references",
    "file_digest": "hashes of everything read and written",
}
"""Functions under ``build_pack`` and what they do; some hold others."""


def paper_widths(project: Project) -> Store:
    """The store, with the paper's widths in the process's own table of keys."""
    store = Store(project)
    keys = store.keys.by_name
    for name, width in PAPER.items():
        keys.made[name] = replace(keys[name], schema=replace(keys[name].schema, width=width))
    return store


def clips(start: int, count: int, pictures: NDArray[np.int64]) -> list[Clip]:
    return [
        Clip(
            clip_id=f"film{k // 1024:04d}_line{k % 1024:04d}",
            source=f"film{k // 1024:04d}_{k // PART:06d}.mkv",
            source_digest=f"{k // PART:064x}",
            start_frame=100 * k,
            end_frame=100 * k + int(pictures[k % DISTINCT]),
            film=f"film{k // 1024:04d}",
            scene=f"scene{k // 20:06d}",
            position=k % 20,
            speaker=f"speaker{k % 37}",
            emotion="neutral",
            text=f"It was never about the money, was it? {k}",
        )
        for k in range(start, start + count)
    ]


def features(pictures: NDArray[np.int64]) -> list[dict[str, NDArray[Any]]]:
    """Values of ``DISTINCT`` clips."""
    rng = np.random.default_rng(0)
    made = []
    for count in pictures.tolist():
        frames, phones = 4 * count, max(2, count // 3)
        durations = np.full(phones, frames // phones)
        durations[0] += frames - durations.sum()
        ids = rng.integers(1, 80, phones)

        def normal(*shape: int) -> NDArray[np.float32]:
            return rng.standard_normal(shape, dtype=np.float32)

        made.append(
            {
                "mel": normal(frames, 80) - 5,
                "f0": np.abs(normal(frames, 1)) * 50 + 100,
                "energy": np.abs(normal(frames, 1)),
                "phonemes": ids[:, None].astype(np.int32),
                "durations": np.stack([ids, durations], axis=1).astype(np.int32),
                "lips": normal(count, PAPER["lips"]),
                **{name: normal(width) for name, width in PAPER.items() if name != "lips"},
            }
        )
    return made


def fill(store: Store, count: int) -> None:
    """Commit the clips and their features part by part, as ingest and extract would have."""
    pictures = np.random.default_rng(1).integers(25, 101, DISTINCT)
    made = features(pictures)
    for start in range(0, count, PART):
        some = clips(start, min(PART, count - start), pictures)
        name = f"part-{start:08d}.parquet"
        source = {
            "source": [some[0].source],
            "fingerprint": [name],
            "source_digest": [some[0].source_digest],
            "info": ["{}"],
            "clips": [len(some)],
            "faults": [0],
        }
        _commit(store.sources, name, pa.table(source, schema=SOURCE_SCHEMA))
        _commit(store.clip_parts, name, clip_table(some, [name] * len(some), 25))
        for feature in (*features_read(store.project.config), features_of(store)["audio"]):
            key = store.keys.by_name[feature]
            rows = [
                FeatureRow(clip.clip_id, key.input_digest(clip), own[feature], "", 0.0)
                for clip, own in zip(some, made, strict=False)
            ]
            _commit(store.feature_parts(feature), name, feature_table(key.schema, rows))


def _commit(table: Any, name: str, rows: pa.Table) -> None:
    table.commit([table.write_part(name, rows, shard=name)])


def disk_rate(folder: Path, mib: int) -> float:
    """MiB/s of writing and syncing ``mib`` MiB one after another."""
    block = np.random.default_rng(2).bytes(2**20)
    path = folder / "sequential"
    start = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(mib):
            file.write(block)
        os.fsync(file.fileno())
    took = time.perf_counter() - start
    path.unlink()
    return mib / took


def anonymous_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise OSError("this kernel does not say RssAnon")


@contextmanager
def watched() -> Iterator[list[float]]:
    """Anonymous MiB of this process, twenty times a second while the block runs."""
    seen, done = [anonymous_mib()], threading.Event()

    def look() -> None:
        while not done.wait(0.05):
            seen.append(anonymous_mib())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


def build(root: Path) -> None:
    """One profiled build, the disk's rate around it, and what it took."""
    project = open_project(root)
    paper_widths(project)
    profile = cProfile.Profile()
    with watched() as seen:
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        profile.enable()
        summary = build_pack(project)
        profile.disable()
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    mib = summary.written / 2**20
    rates = [disk_rate(root, round(mib)) for _ in range(2)]
    print(ROW.format("clips", sum(summary.splits.values())))
    print(ROW.format("MiB written", f"{mib:.0f}"))
    print(ROW.format("seconds, wall", f"{wall_s:.1f}"))
    print(ROW.format("seconds, processor", f"{cpu_s:.1f}"))
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for name, words in STEPS.items():
        own = [row[3] for (_, _, called), row in stats.items() if called == name]
        print(ROW.format(f"  {words}", f"{sum(own):.1f}"))
    print(ROW.format("MiB/s", f"{mib / wall_s:.0f}"))
    print(ROW.format("the disk alone, MiB/s", " ".join(f"{rate:.0f}" for rate in rates)))
    print(ROW.format("against the disk (mean)", f"{mib / wall_s / np.mean(rates):.2f}"))
    print(ROW.format("anonymous memory at the start, MiB", f"{seen[0]:.0f}"))
    print(ROW.format("at most, MiB", f"{max(seen):.0f}"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build is not None:
        build(options.build)
        return
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "project"
        init_project(root)
        (root / "redub.toml").write_text('name = "packing"\n[index]\nbackend = "exact"\n')
        project = open_project(root)
        fill(paper_widths(project), options.clips)
        build_index(project)
        retrieve(project)
        subprocess.run([sys.executable, __file__, "--build", str(root)], check=True)


if __name__ == "__main__":
    main()
