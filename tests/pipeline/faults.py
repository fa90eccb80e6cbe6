"""Damage done to a project's index, and what must follow: a refusal or the right answer.

Used by a test (a few faults) and by ``benchmarks/index_faults.py`` (many).
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from pathlib import Path

from redub.core.errors import RedubError
from redub.core.types import MODALITIES
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.index import build_index
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.store.index.build_record import current_build
from redub.pipeline.store.project import open_project
from redub.pipeline.store.tables import Store
from redub.pipeline.work.executor import Scheduler
from redub.pipeline.work.query import query_clip
from tests.pipeline.films import INDEXED, add_source, make_project
from tests.typed import forked

SYNC = Scheduler("sync", 1)
Answers = dict[str, list[tuple[str, float]]]


def build_until(root: Path, place: int) -> None:
    """Build the index again, in a process that ends just before its ``place``-th rename."""
    left = place
    replace = os.replace

    def counted(source: str | Path, target: str | Path) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os._exit(137)  # nothing is flushed or cleaned up, as by kill -9
        replace(source, target)

    os.replace = counted
    Path.replace = lambda self, target: counted(self, target)
    build_index(open_project(root), compact=True)


def answers(root: Path) -> Answers:
    """Hits and scores of one clip in every modality."""
    project = open_project(root)
    clip = Store(project).clips()[0]
    found = query_clip(project, clip.clip_id)
    return {name: [(hit.clip_id, hit.score) for hit in found[name]] for name in MODALITIES}


def make_indexed(root: Path, backend: str) -> Path:
    """A small project whose index has two segments a modality, so that compacting changes it."""
    make_project(root, sources=2, toml=f'[index]\nbackend = "{backend}"\n')
    for sources in (2, 3):
        if sources == 3:
            add_source(root / "footage", "scene_2", seed=2)
        project = open_project(root)
        ingest(project, scheduler=SYNC)
        extract(project, scheduler=SYNC, features=INDEXED)
        build_index(project)
    return root


def index_files(root: Path) -> list[Path]:
    return sorted(path for path in (root / "index").rglob("*") if path.is_file())


def mutated(content: bytes, draw: random.Random) -> bytes:
    """One fault: a flipped bit, a cut, zeros, another tail, a repeated part, or nothing left."""
    kind = draw.randrange(6)
    place = draw.randrange(len(content)) if content else 0
    if kind == 0 and content:
        flipped = content[place] ^ (1 << draw.randrange(8))
        return content[:place] + bytes([flipped]) + content[place + 1 :]
    if kind == 1:
        return content[:place]
    if kind == 2:
        end = min(len(content), place + draw.randrange(1, 64))
        return content[:place] + bytes(end - place) + content[end:]
    if kind == 3:
        return content + draw.randbytes(draw.randrange(1, 32))
    if kind == 4:
        return content[:place] + content[max(0, place - 16) :]
    return b""


def mutation_sweep(root: Path, count: int, *, seed: int = 0) -> Counter[str]:
    """Damage one file of the index at a time and ask.

    Returns:
        How often the index was refused, answered rightly although a byte differs (a file that no
        answer depends on), or wrongly. Wrong answers and dead processes must not be.
    """
    draw = random.Random(seed)
    right = answers(root)
    files = index_files(root)
    outcome: Counter[str] = Counter()
    for _ in range(count):
        path = draw.choice(files)
        content = path.read_bytes()
        if draw.randrange(8) == 0:  # two files that took each other's place
            changed = draw.choice(files).read_bytes()
        else:
            changed = mutated(content, draw)
        if changed == content:
            continue
        path.write_bytes(changed)
        try:
            outcome["right" if answers(root) == right else f"wrong: {path.name}"] += 1
        except RedubError:
            outcome["refused"] += 1
        finally:
            path.write_bytes(content)
    assert answers(root) == right
    return outcome


def kill_sweep(root: Path, places: list[int]) -> Counter[str]:
    """Kill a new build just before its n-th rename; the build before it must go on answering.

    Returns:
        How many builds were killed and how many came to their end.
    """
    outcome: Counter[str] = Counter()
    right, number = answers(root), current_build(open_project(root)).number
    for place in places:
        copy = root.parent / f"killed-{place}"
        shutil.copytree(root, copy)
        status = forked(build_until, copy, place).returncode
        assert status in (0, 137)
        outcome["killed" if status else "finished"] += 1
        assert answers(copy) == right
        held = current_build(open_project(copy)).number
        assert held == (number if status else number + 1)
        shutil.rmtree(copy)
    return outcome
