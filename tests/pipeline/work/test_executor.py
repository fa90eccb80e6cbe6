"""The same rows, byte for byte, under every scheduler; faults of workers and clusters are named."""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import redub
from redub.core.errors import ClusterLostError, StorageError, UsageError
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.store.project import open_project
from redub.pipeline.work import executor
from redub.pipeline.work.executor import Failure, Scheduler, local_cluster
from tests.pipeline.films import make_project, tree_digest

FEATURES = ["mel", "energy", "f0", "scene_emotion", "text_emotion", "lips"]


def double(number):
    return 2 * number


def poison(number):
    if number == 3:
        os._exit(1)
    return number


def sleepy(number):
    time.sleep(0.5)
    return number


def raises_storage(number):
    raise StorageError("planted")


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes for several tests; to start them costs more than what they do here."""
    with local_cluster(2) as running:
        yield running


def test_results_come_in_order_under_processes(cluster):
    scheduler = Scheduler(cluster.scheduler_address, 2)
    assert list(scheduler.run(double, list(range(40)))) == list(range(0, 80, 2))


IN_A_FRESH_PROCESS = """
import sys
from redub.pipeline.work.executor import Scheduler
if __name__ == "__main__":
    assert "distributed" not in sys.modules
    for stage in range(2):
        print(*Scheduler("processes", 1).run(abs, [-1, -2]))
"""


def test_a_process_that_never_imported_dask_runs_two_stages(tmp_path):
    """The server that runs typed commands has imported the program; a user's process has not."""
    script = tmp_path / "stages.py"
    script.write_text(IN_A_FRESH_PROCESS)
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "1 2\n1 2\n"


def test_settings_of_dask_are_changed_in_one_place_only():
    """A second place would need the same import of ``distributed`` before it."""
    files = Path(redub.__file__).parent.rglob("*.py")
    found = [path.name for path in files if "dask.config.set(" in path.read_text()]
    assert found == ["executor.py"]
    assert Path(executor.__file__).read_text().count("dask.config.set(") == 1


def test_a_task_that_kills_its_worker_costs_only_itself():
    results = list(Scheduler("processes", 2).run(poison, list(range(12))))
    lost = [r for r in results if isinstance(r, Failure)]
    assert [r.order for r in lost] == [3]
    assert [r for r in results if not isinstance(r, Failure)] == [*range(3), *range(4, 12)]


@pytest.mark.parametrize("name", ["sync", "processes"])
def test_an_error_of_ours_stops_the_stage_with_its_own_kind(name, cluster):
    address = {"sync": "sync", "processes": cluster.scheduler_address}[name]
    with pytest.raises(StorageError, match="planted"):
        list(Scheduler(address, 1).run(raises_storage, [1, 2]))


def test_no_scheduler_at_an_address_is_a_lost_cluster(monkeypatch):
    monkeypatch.setattr("redub.pipeline.work.executor.CONNECT_S", 1)
    with pytest.raises(ClusterLostError, match=r"tcp://127\.0\.0\.1:9"):
        list(Scheduler("tcp://127.0.0.1:9", 1).run(double, [1]))


def test_a_scheduler_without_workers_is_given_up_with_a_sentence(monkeypatch, caplog):
    monkeypatch.setattr(executor, "WITHOUT_WORKERS_S", 0.5)
    with local_cluster(0) as empty:
        scheduler = Scheduler(empty.scheduler_address, 1)
        with pytest.raises(ClusterLostError, match=r"has had no worker for 0\.5 s"):
            list(scheduler.run(double, [1, 2]))
    assert "has no worker yet" in caplog.text


def test_workers_that_never_come_back_are_given_up_with_a_sentence(monkeypatch, caplog):
    monkeypatch.setattr(executor, "WITHOUT_WORKERS_S", 1.0)
    monkeypatch.setattr(executor, "LOOK_S", 0.2)
    with local_cluster(2) as running:
        results = Scheduler(running.scheduler_address, 2).run(sleepy, list(range(8)))
        next(results)
        running.scale(0)
        running.sync(running.scheduler.retire_workers)
        with pytest.raises(ClusterLostError, match="has had no worker for 1 s"):
            list(results)
    assert "lost all its workers" in caplog.text


def test_a_worker_that_comes_late_is_waited_for():
    with local_cluster(0) as empty:
        results = Scheduler(empty.scheduler_address, 1).run(double, [1, 2])
        threading.Timer(1.0, lambda: empty.scale(1)).start()
        assert list(results) == [2, 4]


@pytest.mark.parametrize("name", ["tcp://[::1]:8786", "tcp://a-b.example.com:1", "tcp://h_1:99"])
def test_addresses_of_schedulers_are_taken(name):
    assert Scheduler(name, 1).name == name


@pytest.mark.parametrize(
    "name",
    ["sinc", "http://x", "", "tcp://", "tcp://host", "tcp://host:x", "tcp://:8786", "tcp://h:0",
     "tcp://h:70000", "tcp://h:٣"],
)  # fmt: skip
def test_an_unknown_scheduler_is_a_usage_error(name):
    with pytest.raises(UsageError, match="scheduler"):
        Scheduler(name, 1)


def listening_addresses() -> set[str]:
    """Local addresses (hex) of every listening TCP socket of this process and its children."""
    tree, todo = set(), [os.getpid()]
    while todo:
        pid = todo.pop()
        tree.add(pid)
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            todo += [int(child) for child in task.read_text().split()]
    inodes = set()
    for pid in tree:
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                inodes.add(os.readlink(descriptor))
    found = set()
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            cells = row.split()
            if cells[3] == "0A" and f"socket:[{cells[9]}]" in inodes:
                found.add(cells[1].split(":")[0])
    return found


def test_a_local_cluster_listens_on_loopback_only(cluster):
    assert cluster.scheduler_address.startswith("tcp://127.0.0.1:")
    assert listening_addresses() == {"0100007F"}  # 127.0.0.1, nothing else


@pytest.mark.parametrize(
    ("sources", "schedulers"),
    [
        pytest.param(2, [("sync", 1), ("address", 2)], id="here and on a cluster"),
        pytest.param(
            4,
            [("sync", 1), ("processes", 1), ("processes", 2), ("address", 2)],
            id="every one",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_store_has_the_same_bytes_under_every_scheduler(tmp_path, cluster, sources, schedulers):
    film = make_project(tmp_path / "film", sources=sources)
    trees = {}
    for name, workers in schedulers:
        root = tmp_path / f"{len(trees)}"
        shutil.copytree(film, root)
        project = open_project(root)
        scheduler = Scheduler(cluster.scheduler_address if name == "address" else name, workers)
        ingest(project, scheduler=scheduler)
        extract(project, scheduler=scheduler, features=FEATURES)
        trees[name, workers] = tree_digest(root)
    first = trees["sync", 1]
    assert any(name.startswith("features/mel/") for name in first)
    for which, tree in trees.items():
        assert tree == first, which
