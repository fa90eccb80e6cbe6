"""What the suite says of itself: CPU seconds of children count; costly folders are made once."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from tests.file_costs import Costs, cpu_seconds
from tests.shared_fixtures import made_once

BURN = """
import sys, time
while time.process_time() < 0.4:
    pass
print("burnt", flush=True)
sys.stdin.read()
"""


def test_cpu_seconds_of_a_child_count_while_it_runs_and_once_after_it_ended():
    before = cpu_seconds()
    child = subprocess.Popen(
        [sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout.readline() == b"burnt\n"
    running = cpu_seconds()
    child.communicate()
    after = cpu_seconds()
    assert running - before > 0.35  # the kernel counts in hundredths
    assert -0.05 < after - running < 0.35  # not a second time


def test_the_table_adds_phases_up_by_file_and_names_costly_fixtures():
    costs, lines = Costs(), []
    for node, when, seconds in (
        ("tests/a.py::test_one", "setup", 3.0),
        ("tests/a.py::test_one", "call", 0.5),
        ("tests/a.py::test_two[x::y]", "call", 0.25),
        ("tests/b.py::test_one", "call", 5.0),
    ):
        fixtures = [("tests::film", 2.5), ("tests::small", 0.1)] if when == "setup" else []
        costs.pytest_runtest_logreport(
            SimpleNamespace(nodeid=node, when=when, cpu_s=seconds, fixtures_cpu_s=fixtures)
        )
    costs.pytest_terminal_summary(
        SimpleNamespace(write_line=lines.append, section=lambda title: lines.append(title))
    )
    assert [line.split() for line in lines if "tests/" in line] == [
        ["5.0", "s", "1", "tests", "tests/b.py"],
        ["3.8", "s", "2", "tests", "tests/a.py"],
    ]
    assert lines[-1].split() == ["2.5", "s", "tests::film"]


def test_a_costly_folder_is_made_once_and_again_after_a_failure(tmp_path):
    made = []

    def make(place):
        made.append(sorted(path.name for path in place.iterdir()))
        (place / "half").touch()
        if len(made) == 1:
            raise OSError("planted")

    temporary = SimpleNamespace(getbasetemp=lambda: tmp_path / "gw0")
    (tmp_path / "gw0").mkdir()
    with pytest.raises(OSError, match="planted"):
        made_once(temporary, "film", make)
    places = {made_once(temporary, "film", make) for _ in range(3)}
    assert made == [[], []]  # twice in all, each time from an empty folder
    assert len(places) == 1
    assert (places.pop() / "half").exists()


def test_all_workers_of_a_run_read_one_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    places = set()
    for worker in ("gw0", "gw1"):
        (tmp_path / worker).mkdir()
        temporary = SimpleNamespace(getbasetemp=lambda worker=worker: tmp_path / worker)
        places.add(made_once(temporary, "film", lambda place, own=worker: (place / own).touch()))
    assert len(places) == 1
    assert [path.name for path in places.pop().iterdir()] == ["gw0"]
