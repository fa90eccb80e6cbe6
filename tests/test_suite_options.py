"""The suite's own options: another initialisation and another order, the same in all workers."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CONFTEST = Path(__file__).with_name("conftest.py")
FILES = ("test_a.py", "test_b.py", "test_pack.py", "test_y.py", "test_train.py", "test_z.py")
DRAWS = """
import torch

def test_draws():
    torch.manual_seed(5)
    print("drawn", torch.rand(1).item())
"""

pytestmark = pytest.mark.slow  # each test runs suites of its own


@pytest.fixture
def suite(pytester):
    """Run a suite of small files under this suite's conftest; files in the order they ran."""
    pytester.makeconftest(CONFTEST.read_text())
    for name in FILES:
        (pytester.path / name).write_text("def test_one(): pass\ndef test_two(): pass\n")

    def run(*options):
        done = pytester.runpytest_inprocess("-v", "-p", "no:cacheprovider", *options)
        done.assert_outcomes(passed=2 * len(FILES))
        ran = [row.split("::")[0].split()[-1] for row in done.outlines if "PASSED" in row]
        return list(dict.fromkeys(ran))

    return run


def test_files_run_in_another_order_and_groups_stay_together(suite):
    orders = [suite("--shuffle-files", str(seed)) for seed in (1, 2, 3, 1)]
    assert orders[0] == orders[3]
    assert len({tuple(order) for order in orders}) > 1
    for order in orders:
        assert sorted(order) == sorted(FILES)
        assert abs(order.index("test_pack.py") - order.index("test_train.py")) == 1


def test_workers_agree_on_the_order(suite):
    assert sorted(suite("--shuffle-files", "2", "-n", "2", "--dist", "loadscope")) == sorted(FILES)


def test_the_seed_of_every_test_moves_and_comes_back(pytester):
    import torch

    pytester.makeconftest(CONFTEST.read_text())
    pytester.makepyfile(DRAWS)
    for shift in (0, 3):
        done = pytester.runpytest_inprocess("-s", "--init-seed", str(shift))
        torch.manual_seed(5 + shift)
        wanted = torch.rand(1).item()
        done.stdout.fnmatch_lines([f"*drawn {wanted}*"])
