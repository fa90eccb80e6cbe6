"""How the suite is run: nothing is timed, and tests of one file share a worker and its fixtures."""

import hypothesis
import pytest

hypothesis.settings.register_profile("redub", deadline=None)
hypothesis.settings.load_profile("redub")

TOGETHER = {"test_walk.py": "walk", "test_pack.py": "walk"}
"""Files that share a costly session fixture."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        group = TOGETHER.get(item.path.name, item.path.as_posix())
        item.add_marker(pytest.mark.xdist_group(group))
