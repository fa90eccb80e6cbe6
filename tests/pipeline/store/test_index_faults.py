"""Damaged and half-written indexes; ``benchmarks/index_faults.py`` does the same far more often."""

import pytest

from redub.pipeline.store.index.build_record import current_build
from redub.pipeline.store.project import open_project
from tests.pipeline.faults import kill_sweep, make_indexed, mutation_sweep


@pytest.fixture(scope="module", params=["exact", "hnsw"])
def root(request, tmp_path_factory):
    return make_indexed(tmp_path_factory.mktemp(request.param) / "project", request.param)


def test_a_damaged_file_is_refused_or_makes_no_difference(root):
    outcome = mutation_sweep(root, 60)
    assert not [what for what in outcome if what.startswith("wrong")]
    assert outcome["refused"] > 40


def test_a_build_that_is_killed_leaves_the_one_before(root):
    assert len(current_build(open_project(root)).segments["scene"]) == 2
    outcome = kill_sweep(root, [0, 3, 7, 1000])
    assert outcome == {"killed": 3, "finished": 1}
