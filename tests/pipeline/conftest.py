"""What several test files walk through: the quick demo, made once."""

import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest

from redub.pipeline import demo
from redub.pipeline.store.project import open_project
from redub.pipeline.work.executor import Scheduler
from tests.shared_fixtures import made_once
from tests.typed import LONG_S, Typed

STEPS = 6
"""Training steps of each run of the walk; what the tests claim does not need good speech."""


def walk(place):
    """Six scenes of four lines, two runs of a few steps, all in this process.

    Worker processes give the same bytes, as the slow tests check, and each imports all modules.
    """
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "Scheduler", lambda name, workers: Scheduler("sync", 1))
        here = SimpleNamespace(scheduler_address="sync")
        patch.setattr(demo, "local_cluster", lambda workers: nullcontext(here))
        quick = replace(demo.tour_of(3, quick=True), steps=STEPS)
        patch.setattr(demo, "tour_of", lambda *seed, **options: quick)
        done = demo.run_demo(
            place / "demo",
            workers=1,
            seed=3,
            quick=True,
            say=said.append,
            bar=lambda *words: nullcontext(lambda done, total: None),
        )
    assert done.quarantined == 0
    (place / "said.json").write_text(json.dumps(said))


@pytest.fixture(scope="session")
def walked(tmp_path_factory):
    """The demo's folder, to be read or copied, and what was said."""
    place = made_once(tmp_path_factory, "walk", walk)
    return place / "demo", json.loads((place / "said.json").read_text())


@pytest.fixture(scope="session")
def finished(walked, tmp_path_factory):
    """The walked project, for tests that add to it and change nothing."""
    return open_project(shutil.copytree(walked[0], tmp_path_factory.mktemp("walk") / "demo"))


def type_demo(place):
    demo = Typed("demo", place / "demo", "--quick", "--seed", "3", "--workers", "2")
    done = demo.done(LONG_S)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def typed_demo(tmp_path_factory):
    """The folder of the same demo as a user types it: 30 steps a run, in worker processes."""
    return made_once(tmp_path_factory, "typed_demo", type_demo) / "demo"
