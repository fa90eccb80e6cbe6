"""The fetched packages of weights, for tests that run real networks.

`make test` fetches them in its set-up (`make models`). The suite itself runs with an empty folder
of packages (see ``conftest.py``), as on a machine without them; :func:`packaged` names the real
folder. Without a package a test is skipped, and the skip names what to type.
"""

import os

import pytest

from redub.features.weights import packages

REAL = os.environ.setdefault("REDUB_TEST_MODELS", os.environ.get(packages.ENVIRONMENT, ""))
"""The folder of packages that the suite was started with; workers of the suite inherit it."""

os.environ[packages.ENVIRONMENT] = os.path.join(os.devnull, "models")  # nothing can be put there


def packaged(name):
    """The checked folder of a fetched package; skips the test if it is not there."""
    with pytest.MonkeyPatch.context() as patch:
        use_real_packages(patch)
        folder = packages.fetched(name)
    if folder is None:
        pytest.skip(f"weights '{name}' are not here; type `make models`")
    return folder


def use_real_packages(patch):
    """Let the program find the fetched packages until the patch is undone."""
    if REAL:
        patch.setenv(packages.ENVIRONMENT, REAL)
    else:
        patch.delenv(packages.ENVIRONMENT, raising=False)
