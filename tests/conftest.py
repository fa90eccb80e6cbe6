"""How the suite is run: nothing is timed, and tests of one file share a worker and its fixtures.

Two options repeat the suite under other circumstances, on which no test may depend:

``--init-seed N``
    Every call of ``torch.manual_seed(n)`` in the process of the tests seeds with n + N, in the
    tests and in the code under test: other initial weights, other dropout, other trajectories of
    training. Two equal seeds stay equal. Generators of their own (``torch.Generator``, NumPy) and
    processes that a test starts keep their seeds.
``--shuffle-files N``
    The files run in an order drawn with seed N, the same in every worker; tests of one file stay
    in order, and files of one group of ``TOGETHER`` follow each other.

With or without them every test starts with torch's default generator seeded, so that no test
depends on how many random numbers the tests before it drew.
"""

import random
from pathlib import PurePosixPath

import hypothesis
import pytest
import torch
from xdist.scheduler import LoadScopeScheduling

from tests import packaged  # noqa: F401  (no test finds fetched weights unless it asks for them)

pytest_plugins = ["tests.file_costs"]

# Neither a deadline nor the check for slow generation: both measure time.
hypothesis.settings.register_profile(
    "redub", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("redub")

TOGETHER = {
    "test_walk.py": "walk",
    "test_pack.py": "walk",
    "test_train.py": "walk",
    "test_vocoder.py": "walk",
    "test_api.py": "walk",
    "test_demo.py": "walk",
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


def pytest_addoption(parser):
    group = parser.getgroup("redub")
    group.addoption(
        "--init-seed", type=int, default=0, metavar="N", help="torch.manual_seed(n) seeds with n+N"
    )
    group.addoption(
        "--shuffle-files", type=int, metavar="N", help="run the files in an order drawn with seed N"
    )


def pytest_configure(config):
    seed, shift = torch.manual_seed, config.getoption("--init-seed")

    def shifted(number):
        return seed((int(number) + shift) % 2**64)

    def restore():
        torch.manual_seed = torch.random.manual_seed = seed

    if shift:
        torch.manual_seed = torch.random.manual_seed = shifted
        config.add_cleanup(restore)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def group_of(file):
    """What runs on one worker, one file after the other: a group's name or the file's path."""
    return TOGETHER.get(PurePosixPath(file).name, file)


def pytest_collection_modifyitems(config, items):
    seed = config.getoption("--shuffle-files")
    if seed is None:
        ranks = {name: rank for rank, name in enumerate(SLOWEST)}
        items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))
        return
    files = sorted({item.nodeid.partition("::")[0] for item in items})
    random.Random(seed).shuffle(files)
    ranks = {}
    for file in files:
        ranks.setdefault(group_of(file), len(ranks))
    own = {file: (ranks[group_of(file)], rank) for rank, file in enumerate(files)}
    items.sort(key=lambda item: own[item.nodeid.partition("::")[0]])


class ByFile(LoadScopeScheduling):
    """A file, or files that stand together, to one worker.

    As marks of ``xdist_group`` would say; pytest-xdist 3.8 loses those under pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid.partition("::")[0])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    config.option.loadscopereorder = False  # by the number of tests, the slowest would come last
    return ByFile(config, log)
