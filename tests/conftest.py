"""How the suite is run: nothing is timed, and tests of one file share a worker and its fixtures."""

from pathlib import PurePosixPath

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

hypothesis.settings.register_profile("redub", deadline=None)
hypothesis.settings.load_profile("redub")

TOGETHER = {
    "test_walk.py": "walk",
    "test_pack.py": "walk",
    "test_train.py": "walk",
    "test_vocoder.py": "walk",
}
"""Files that share a costly session fixture."""


class ByFile(LoadScopeScheduling):
    """A file, or files that stand together, to one worker.

    As marks of ``xdist_group`` would say; pytest-xdist 3.8 loses those under pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return TOGETHER.get(PurePosixPath(file).name, file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return ByFile(config, log)
