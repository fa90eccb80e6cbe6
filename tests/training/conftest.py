import pytest

from tests.training import made


@pytest.fixture
def sound():
    return made.SOUND


@pytest.fixture
def small():
    return made.SMALL


@pytest.fixture
def make_line():
    return made.make_line


@pytest.fixture
def lines():
    return made.make_lines()


@pytest.fixture
def quick():
    return made.QUICK
