"""Print a lock: what redub and its extras need, in the versions installed here.

    python .ci/lock.py > requirements.lock
    python .ci/lock.py docs > docs/requirements.lock      # what the site needs beside the first

`make lock` runs this in a new environment that pip resolved, and so moves every version forward.
`make setup` installs the lock with ``--no-deps``: the list is complete, but for :data:`UNUSED`.
"""

from __future__ import annotations

import importlib.metadata
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("paper", "plots", "devices", "dev")
UNUSED = {
    "hydra-core", "jaconv", "jamo", "jieba", "modelscope", "oss2", "tensorboardx", "tiktoken",
    "torch-complex", "umap-learn", "websockets",
}  # fmt: skip
"""What funasr declares for its other models, its downloads and its training. redub takes one model
class of funasr, which imports none of them. `pip install redub` installs them all the same."""

HEADER = """\
# The exact versions that redub is tested with. `make setup` installs them, `make lock` renews them.
# Written by .ci/lock.py. Ranges for use beside other libraries are in pyproject.toml.
"""
DOCS_HEADER = """\
# What `make docs` installs beside requirements.lock. Written by .ci/lock.py (`make lock`).
"""


def declared(extras: tuple[str, ...] = EXTRAS) -> list[Requirement]:
    """Requirements of pyproject.toml: the core, and the extras with those they name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = [Requirement(line) for line in project["dependencies"]]
    waiting = list(extras)
    while waiting:
        for line in project["optional-dependencies"][waiting.pop()]:
            requirement = Requirement(line)
            if requirement.name == project["name"]:
                waiting += sorted(requirement.extras)
            else:
                found.append(requirement)
    return found


def locked(extras: tuple[str, ...] = EXTRAS) -> dict[str, str]:
    """Canonical name and installed version of every package in the closure, but the unused."""
    versions: dict[str, str] = {}
    waiting = [(requirement.name, tuple(requirement.extras)) for requirement in declared(extras)]
    while waiting:
        name, extras = waiting.pop()
        key = canonicalize_name(name)
        if key in versions or key in UNUSED:
            continue
        package = importlib.metadata.distribution(name)
        versions[key] = package.version.partition("+")[0]  # torch's build is the machine's choice
        for line in package.requires or []:
            requirement = Requirement(line)
            marker = requirement.marker
            wanted = marker is None or any(
                marker.evaluate({"extra": extra}) for extra in ("", *extras)
            )
            if wanted:
                waiting.append((requirement.name, tuple(requirement.extras)))
    return versions


def written(versions: dict[str, str], header: str) -> str:
    return header + "\n".join(f"{name}=={version}" for name, version in sorted(versions.items()))


if __name__ == "__main__":
    if sys.argv[1:] == ["docs"]:
        beside = locked()
        own = {n: v for n, v in locked((*EXTRAS, "docs")).items() if n not in beside}
        print(written(own, DOCS_HEADER))
    else:
        print(written(locked(), HEADER))
