"""Faults of the index in large numbers: damaged files, and builds killed at every rename.

For each backend: N mutations of random files of a small project's index, each followed by a search,
which must be refused or answered rightly; then a new build killed before its 1st, 2nd, … rename
until it comes to its end, the build before it answering every time.

    python benchmarks/index_faults.py [--mutations 5000]
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.pipeline.faults import kill_sweep, make_indexed, mutation_sweep


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mutations", type=int, default=5000)
    options = parser.parse_args()
    for backend in ("exact", "hnsw"):
        with tempfile.TemporaryDirectory() as folder:
            root = make_indexed(Path(folder) / "project", backend)
            outcome = mutation_sweep(root, options.mutations)
            print(f"{backend}: mutations: {dict(outcome)}")
            kills = 0
            for place in itertools.count():
                if kill_sweep(root, [place])["finished"]:
                    break
                kills += 1
            print(f"{backend}: killed at each of {kills} renames; the build before answered")


if __name__ == "__main__":
    main()
