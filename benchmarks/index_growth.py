"""Ten clips more in a project of N: what `redub index build` takes, whole, in seconds.

    python benchmarks/index_growth.py                                # N = 10,000
    python benchmarks/index_growth.py --rows 10000 100000 1000000

A project is made whose clip table and four emotion features hold N training clips (random vectors,
the built-in extractors' widths), and it is indexed exactly. Then ten clips are added and it is
indexed again, in a process of its own as a user's command is. The rows "add" are the parts of that
second build; "all" is the whole of it, start of Python included. For comparison, "segment": the new
rows' own segment built, saved and opened, which is all that depends on the ten alone.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from redub.core.types import Clip
from redub.index.segments import Segment
from redub.pipeline.stages.index import build_index
from redub.pipeline.store.index.builds import features_of
from redub.pipeline.store.project import init_project, open_project
from redub.pipeline.store.schemas import SOURCE_SCHEMA
from redub.pipeline.store.tables import Store, clip_table

NEW = 10
PART = 20_000
ROW = "{:>9} {:34} {:>9} {:>9}"
PARTS = {
    "_library": "clip table and live audio rows",
    "_document": "name of the build",
    "_committed": "commits read",
    "_write_library": "library table and audio vectors",
    "folder_digests": "hashes of the library",
    "_wanted": "live rows (three modalities)",
    "_segments": "segments compared, new one built",
    "_commit": "commit",
}
"""Functions of redub.pipeline.stages.index, in their order, and what they do."""


def clips(start: int, count: int) -> list[Clip]:
    return [
        Clip(
            clip_id=f"film{k // 2000:04d}_scene{k // 20:06d}_line{k % 20:02d}",
            source=f"film{k // PART:04d}-{start}.mkv",
            source_digest=f"{k // PART:064x}",
            start_frame=50 * k,
            end_frame=50 * k + 49,
            film=f"film{k // 2000:04d}",
            scene=f"scene{k // 20:06d}",
            position=k % 20,
            speaker=f"speaker{k % 37}",
            text=f"It was never about the money, was it? {k}",
        )
        for k in range(start, start + count)
    ]


def add(store: Store, start: int, count: int) -> None:
    """Commit some clips with all four vectors, as ingest and extract would have."""
    everyone = clips(start, count)
    rng = np.random.default_rng(start)
    for part in range(0, count, PART):
        some = everyone[part : part + PART]
        name = f"part-{start + part:08d}.parquet"
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
        for feature in features_of(store).values():
            key = store.keys.by_name[feature]
            values = rng.standard_normal(len(some) * key.schema.width, dtype=np.float32)
            columns = {
                "clip_id": [clip.clip_id for clip in some],
                "clip_digest": [key.input_digest(clip) for clip in some],
                "value": pa.FixedSizeListArray.from_arrays(pa.array(values), key.schema.width),
                "valid": [True] * len(some),
                "why_not": [""] * len(some),
                "seconds": [0.0] * len(some),
            }
            table = store.feature_parts(feature)
            _commit(table, name, pa.table(columns))


def _commit(table, name: str, rows: pa.Table) -> None:
    table.commit([table.write_part(name, rows, shard=name)])


def measure(count: int, folder: Path, audio_transform: str) -> None:
    init_project(folder)
    (folder / "redub.toml").write_text(
        f'name = "growth"\n[index]\nbackend = "exact"\naudio_transform = "{audio_transform}"\n'
    )
    project = open_project(folder)
    add(Store(project), 0, count)
    start = time.perf_counter()
    build_index(project)
    print(ROW.format(count, "first build", "", f"{time.perf_counter() - start:.2f}"), flush=True)
    add(Store(project), count, NEW)
    subprocess.run([sys.executable, __file__, "--grow", str(folder)], check=True)


def grow(folder: Path) -> None:
    """One profiled build of a project that has grown, and its parts."""
    project = open_project(folder)
    vectors = np.random.default_rng(1).standard_normal((NEW, 1024), dtype=np.float32)
    begun, cpu = time.perf_counter(), time.process_time()
    profile = cProfile.Profile()
    profile.enable()
    summary = build_index(project)
    profile.disable()
    took, cpu = time.perf_counter() - begun, time.process_time() - cpu
    stats = pstats.Stats(profile).stats
    for name, words in PARTS.items():
        own = [row for (_, _, called), row in stats.items() if called == name]
        print(ROW.format(summary.library, words, "", f"{sum(row[3] for row in own):.3f}"))
    print(ROW.format(summary.library, "add: all of `build_index`", f"{cpu:.2f}", f"{took:.2f}"))
    with tempfile.TemporaryDirectory() as name:
        start = time.perf_counter()
        ids = [f"clip{k}" for k in range(NEW)]
        built = Segment.build("face", ids, ids, vectors)
        Segment.load(Path(name), built.save(Path(name)))
        took = time.perf_counter() - start
    print(ROW.format(summary.library, "segment of the ten alone", "", f"{took:.3f}"), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000])
    parser.add_argument("--audio-transform", default="speaker_zscore")
    parser.add_argument("--grow", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.grow is not None:
        grow(options.grow)
        return
    print(ROW.format("clips", "part", "CPU s", "wall s"), flush=True)
    for count in options.rows:
        with tempfile.TemporaryDirectory() as name:
            measure(count, Path(name) / "project", options.audio_transform)


if __name__ == "__main__":
    main()
