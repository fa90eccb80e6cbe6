"""`kill -9` at random moments: the resumed store has the bytes of one that was never disturbed."""

import random
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from redub.pipeline.store.project import open_project
from redub.pipeline.store.tables import Store
from tests.pipeline.films import make_project, tree_digest
from tests.typed import Typed


def start(root: Path) -> Typed:
    return Typed("run", "--scheduler", "sync", "--to", "retrieve", "-C", root)


def finish(process: Typed) -> str:
    done = process.done()
    assert done.returncode in (0, 3), done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A finished project with one file that is quarantined, and how long it took."""
    root = make_project(tmp_path_factory.mktemp("undisturbed"), sources=2)
    (root / "footage" / "broken.mp4").write_bytes(b"not a film at all" * 50)
    began = time.monotonic()
    finish(start(root))
    return root, time.monotonic() - began


def disturbed(root: Path, film: Path, moments: list[float]) -> tuple[dict[str, str], int]:
    """Run, kill after each moment, run to the end; the tree and how many kills hit.

    A machine that is faster now than it was may finish before the first moment: then all of it
    again, with earlier ones.
    """
    hits = 0
    while not hits:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(film / "footage", root / "footage")
        shutil.copy(film / "redub.toml", root)
        hits, moments = killed(root, moments), [moment / 2 for moment in moments]
    finish(start(root))
    return tree_digest(root), hits


def killed(root: Path, moments: list[float]) -> int:
    """Start and kill after each moment; how many kills hit."""
    hits = 0
    for moment in moments:
        process = start(root)
        if not process.ended(moment):
            process.kill()
            hits += 1
        process.done()
    return hits


@pytest.mark.parametrize(
    ("projects", "kills"),
    [
        pytest.param(1, 1, id="once"),
        # Two kills per project, so that a resumed run is killed as well.
        pytest.param(10, 2, id="twenty times", marks=pytest.mark.slow),
    ],
)
def test_killed_runs_end_with_the_bytes_of_an_undisturbed_one(
    undisturbed, tmp_path, projects, kills
):
    film, seconds = undisturbed
    expected = tree_digest(film)
    assert any(name.startswith("neighbours/") for name in expected)
    assert any(name.startswith("quarantine/") for name in expected)
    draw = random.Random(25)
    moments = [
        [draw.uniform(0, seconds), draw.uniform(0, 0.9 * seconds)][:kills] for _ in range(projects)
    ]
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(disturbed, tmp_path / str(i), film, pair) for i, pair in enumerate(moments)
        ]
        results = [job.result() for job in jobs]
    assert sum(hits for _, hits in results) >= projects  # the others found the work done
    for tree, _ in results:
        assert tree == expected


def test_nothing_of_a_killed_run_lives_on(tmp_path):
    root = make_project(tmp_path, sources=3)
    process = start(root)
    deadline = time.monotonic() + 60
    children: list[int] = []
    while not children and time.monotonic() < deadline and not process.ended(0):
        path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        children = [int(pid) for pid in path.read_text().split()]
        time.sleep(0.01)
    assert children, "the run never started a decoder child"
    process.kill()
    process.done()
    for _ in range(100):
        if not any(alive(pid) for pid in children):
            return
        time.sleep(0.05)
    pytest.fail(f"still alive: {[pid for pid in children if alive(pid)]}")


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_finished_shard_is_adopted_not_computed_again(tmp_path):
    from redub.pipeline.stages.extract import extract
    from redub.pipeline.stages.ingest import ingest
    from redub.pipeline.work.executor import Scheduler
    from redub.pipeline.work.shards import extract_shard, plan_shards

    root = make_project(tmp_path, sources=2)
    project = open_project(root)
    ingest(project, scheduler=Scheduler("sync", 1))
    orders = plan_shards(Store(project), ["mel"])
    outcome = extract_shard(orders[1])  # the second shard finished, the run died
    made = root / "features" / "mel" / Store(project).keys.by_name["mel"].key
    part = made / f"part-{outcome.shard}.parquet"
    written = part.stat().st_mtime_ns
    extract(project, scheduler=Scheduler("sync", 1), features=["mel"])
    assert part.stat().st_mtime_ns == written
    assert len(Store(project).live_features("mel")) == 4
    assert list((root / ".redub" / "work").iterdir()) == []
