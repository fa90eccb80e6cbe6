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
    "test_api.py": "walk",
}
"""Files that share a costly session fixture."""


SLOWEST = (
    *TOGETHER,
    "test_paper_profile.py",
    "test_killed_training.py",
    "test_kill.py",
    "test_systems.py",
    "test_cli_vocoder.py",
    "test_replicas.py",
    "test_executor.py",
)
"""Files that take a minute or more; they start first, or one worker ends alone with one of them."""


def pytest_collection_modifyitems(items):
    ranks = {name: rank for rank, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))


class ByFile(LoadScopeScheduling):
    """A file, or files that stand together, to one worker.

    As marks of ``xdist_group`` would say; pytest-xdist 3.8 loses those under pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return TOGETHER.get(PurePosixPath(file).name, file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    config.option.loadscopereorder = False  # by the number of tests, the slowest would come last
    return ByFile(config, log)
