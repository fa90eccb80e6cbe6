"""Memory of one worker over many clips: its own memory after a warm-up, on the way and at the end.

Extracts the clips of a small demo film again and again in one process, through the real task
(decode in the child, every extractor, Parquet parts), as a worker does; prints the drift. Counted
is anonymous resident memory: pages of libraries come and go as the machine likes.

    python benchmarks/worker_memory.py [--clips 2000]
"""

from __future__ import annotations

import argparse
import gc
import shutil
import tempfile
from pathlib import Path

from redub.footage.demo_film import FilmSpec, make_film
from redub.pipeline.stages.extract import extract_shard, outcome_path, plan_shards
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.store.project import open_project
from redub.pipeline.store.tables import Store
from redub.pipeline.work.decoders import close_decoders
from redub.pipeline.work.executor import Scheduler


def own_memory_mib() -> float:
    gc.collect()
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


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
        done, start, shown = 0, 0.0, 0
        print(f"{'clips':>8} {'own MiB':>9}")
        while done < options.clips:
            for order in orders:
                extract_shard(order)
                outcome_path(project, order.shard).unlink()
                done += len(order.clips)
            shutil.rmtree(root / "features")
            if done * 10 // options.clips > shown:
                shown = done * 10 // options.clips
                end = own_memory_mib()
                start = start or end  # after the first tenth everything has been loaded
                print(f"{done:8} {end:9.1f}", flush=True)
        close_decoders()
    print(f"drift {end / start - 1:+.2%}")


if __name__ == "__main__":
    main()
