"""Memory of one worker over many clips: resident size after a warm-up and at the end.

Extracts the clips of a small demo film again and again in one process, through the real task
(decode in the child, every extractor, Parquet parts), as a worker does; prints the drift.

    python benchmarks/worker_memory.py [--clips 2000]
"""

from __future__ import annotations

import argparse
import gc
import resource
import shutil
import tempfile
from pathlib import Path

from redub.footage.demo_film import FilmSpec, make_film
from redub.pipeline.decoders import close_decoders
from redub.pipeline.executor import Scheduler
from redub.pipeline.extract import extract_shard, outcome_path, plan_shards
from redub.pipeline.ingest import ingest
from redub.pipeline.project import open_project
from redub.pipeline.store import Store


def resident_mib() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=2000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_film(
            root / "footage",
            root / "truth",
            FilmSpec(seed=7, scenes=4, lines_per_scene=4),
            workers=2,
        )
        (root / "redub.toml").write_text('name = "memory"\n')
        project = open_project(root)
        ingest(project, scheduler=Scheduler("sync", 1))
        orders = plan_shards(Store(project), list(Store(project).keys.by_name))
        done, start = 0, 0.0
        print(f"{'clips':>8} {'resident MiB':>13}")
        while done < options.clips:
            for order in orders:
                extract_shard(order)
                outcome_path(project, order.shard).unlink()
                done += len(order.clips)
            shutil.rmtree(root / "features")
            if not start and done >= options.clips // 10:
                start = resident_mib()
                print(f"{done:8} {start:13.1f}")
        close_decoders()
        end = resident_mib()
    print(f"{done:8} {end:13.1f}")
    print(f"drift {end / start - 1:+.2%}")


if __name__ == "__main__":
    main()
