"""Record fetched packages in the weights ledger of a project."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from redub.core.config import nearest
from redub.core.errors import ConfigError, ModelRefusedError, UsageError
from redub.features.registry import BUILTIN
from redub.features.weights.packages import PACKAGES, fetched, is_fetched, package_folder
from redub.pipeline.store.lock import project_lock
from redub.pipeline.store.project import NewProject, init_project
from redub.pipeline.store.weights import add_weights

ALL = "all"
PACKAGED = "packaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedPackage:
    """What became of one package.

    Attributes:
        name: of the package and of its entry in models.lock.
        package: name and version on the package index.
        folder: of its files; empty if it was not fetched.
        downloaded: whether it was downloaded now.
        recorded: whether models.lock names it now.
        licence: of the weights.
        problem: why it was not fetched or not recorded; empty: all is right.
    """

    name: str
    package: str
    folder: str
    downloaded: bool
    recorded: bool
    licence: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class FetchedPackages:
    """What `redub weights get` did, in the order of the packages."""

    packages: tuple[FetchedPackage, ...]


def package_names(names: Sequence[str]) -> list[str]:
    """The named packages without repetition; ``all`` names every package.

    Raises:
        UsageError: an unknown package, with the nearest known name.
    """
    for name in names:
        if name != ALL and name not in PACKAGES:
            raise UsageError(f"no package '{name}'; {nearest(name, [*PACKAGES, ALL])}")
    return list(PACKAGES) if ALL in names else list(dict.fromkeys(names))


def get_package(
    name: str, root: Path | None, *, replace: bool = False, again: bool = False
) -> FetchedPackage:
    """Download a package if it is not here, and record it in a project.

    Args:
        root: the project; None: the package is only downloaded.
        replace: overwrite an entry of models.lock that has other files.
        again: download it although it is here.

    Raises:
        StorageError: the disk is full, read-only or missing.
    """
    from redub.features.weights.download import fetch

    package = PACKAGES[name]
    wanted = again or not _is_whole(name)
    problem = ""
    recorded = False
    try:
        if wanted:
            fetch(name)
        if root is not None:
            record_package(name, root, replace=replace)
            recorded = True
    except (ModelRefusedError, ConfigError) as error:
        problem = str(error)
    here = is_fetched(name)
    return FetchedPackage(
        name=name,
        package=f"{package.package} {package.version}",
        folder=str(package_folder(name)) if here else "",
        downloaded=wanted and here,
        recorded=recorded,
        licence=package.licence,
        problem=problem,
    )


def _is_whole(name: str) -> bool:
    try:
        return fetched(name) is not None
    except ModelRefusedError:  # damaged: download it again
        return False


def start_project(
    root: Path, profile: str | None = None, footage: Path | None = None
) -> NewProject:
    """Start a project that uses the packages that were fetched before.

    Args:
        footage: an existing footage folder to use instead of the project's own.
        profile: of the features; by default ``packaged`` if a package is here, else ``builtin``.

    Raises:
        ConfigError: E-CFG-EXISTS, the folder holds a project already, or there is no such profile;
            E-CFG-FOOTAGE, ``footage`` is no folder.
        ModelRefusedError: E-MODEL-CHANGED, a fetched file is not the published one.
    """
    here = [name for name in PACKAGES if fetched(name) is not None]
    made = init_project(root, profile or (PACKAGED if here else BUILTIN), footage)
    if made.profile == BUILTIN:
        return made
    for name in here:
        record_package(name, root)
    return dataclasses.replace(made, weights=tuple(here))


def record_package(name: str, root: Path, *, replace: bool = False) -> None:
    """Record a fetched package in models.lock, with version, licence and origin.

    Raises:
        ConfigError: E-CFG-EXISTS, the entry has other files, and ``replace`` is False.
        ModelRefusedError: the package is not here.
    """
    package = PACKAGES[name]
    with project_lock(root):
        add_weights(
            root,
            name,
            package_folder(name),
            licence=package.licence,
            terms=package.terms,
            source=f"{package.source} {package.version}",
            replace=replace,
        )
