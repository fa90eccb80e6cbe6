"""What several test files walk through: the quick demo, made once."""

from contextlib import nullcontext

import pytest

from redub.pipeline.demo import run_demo
from redub.pipeline.store.project import open_project


@pytest.fixture(scope="session")
def walked(tmp_path_factory):
    """Six scenes of four lines, two runs of a few steps: the project's folder and what was said."""
    root = tmp_path_factory.mktemp("walk") / "demo"
    said: list[str] = []
    done = run_demo(
        root,
        workers=2,
        seed=3,
        quick=True,
        say=said.append,
        bar=lambda *words: nullcontext(lambda done, total: None),
    )
    assert done.quarantined == 0
    return root, said


@pytest.fixture(scope="session")
def finished(walked):
    """The walked project, for tests that change nothing."""
    return open_project(walked[0])
