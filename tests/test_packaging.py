"""What redub imports is what pyproject.toml declares, extras included; the lock and the wheel."""

import ast
import importlib
import importlib.metadata
import os
import runpy
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import redub
from redub.core.errors import ConfigError, MissingExtraError
from redub.core.extras import optional

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NOT_LOCKED = {"tensorboard": "tensorboard", "espeakng_loader": "espeakng-loader"}
"""Packages of extras that the tests do not install: module and distribution."""
COMMANDS = {"build", "mypy", "ruff"}  # run by the Makefile, not imported
COMPARED = {"faiss"}  # a benchmark measures itself against it where it is there
PACKAGES = importlib.metadata.packages_distributions()
OUR_OWN = {"redub", "tests", "examples", *(p.stem for p in ROOT.rglob("benchmarks/**/*.py"))}
OUR_OWN |= {"half_installed", "not_there_at_all"} | {
    path.stem for path in ROOT.glob("tests/**/*.py")
}


class Import(NamedTuple):
    module: str
    extra: str | None


def imports(source: str) -> Iterator[Import]:
    """Import statements, and calls of optional, import_module and find_spec with a literal name."""
    for node in ast.walk(ast.parse(source)):
        names, extra = [], None
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func
            called = called.id if isinstance(called, ast.Name) else called
            if called in ("optional", "import_module", "find_spec", "importorskip"):
                names = [str(node.args[0].value)]
            if called == "optional":
                (extra,) = (ast.literal_eval(k.value) for k in node.keywords if k.arg == "extra")
        for name in names:
            if name.partition(".")[0] not in sys.stdlib_module_names:
                yield Import(name, extra)


def distributions(module: str) -> set[str]:
    top = module.partition(".")[0]
    known = NOT_LOCKED.get(top)
    return {canonicalize_name(name) for name in ([known] if known else PACKAGES.get(top, [top]))}


def declared(extra: str = "") -> set[str]:
    lines = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    names: set[str] = set()
    for requirement in map(Requirement, lines):
        if requirement.name == PROJECT["name"]:
            names |= set().union(*map(declared, requirement.extras))
        else:
            names.add(canonicalize_name(requirement.name))
    return names


@cache
def imports_of(folder: str) -> dict[Path, list[Import]]:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files, folder
    found = {file: list(imports(file.read_text(encoding="utf-8"))) for file in files}
    return {
        file: [i for i in lines if i.module.partition(".")[0] not in OUR_OWN]
        for file, lines in found.items()
    }


def undeclared(lines: list[Import]) -> list[Import]:
    """Imports that the core, or for a call of ``optional`` its extra, does not declare."""
    return [
        line
        for line in lines
        if not distributions(line.module) & declared(line.extra or "")
        or (line.extra is None and line.module.partition(".")[0] in NOT_LOCKED)
    ]


def test_every_import_of_redub_is_declared_and_an_extras_package_is_imported_by_its_extra():
    wrong = {
        str(f.relative_to(ROOT)): undeclared(lines) for f, lines in imports_of("redub").items()
    }
    assert {file: lines for file, lines in wrong.items() if lines} == {}


def test_every_declared_package_is_imported():
    lines = [line for file in imports_of("redub").values() for line in file]
    for extra in ("", "paper", "plots", "devices", "tensorboard", "espeak"):
        used = [distributions(line.module) for line in lines if (line.extra or "") == extra]
        assert declared(extra) - set().union(*used) == set(), extra or "core"


def test_tests_benchmarks_and_examples_import_what_the_dev_extra_declares():
    known = declared() | declared("dev")
    folders = ("tests", "benchmarks", "examples")
    files = {file: lines for folder in folders for file, lines in imports_of(folder).items()}
    for file, lines in files.items():
        unknown = {i.module for i in lines if not distributions(i.module) & known}
        assert unknown - COMPARED - set(NOT_LOCKED) == set(), file
    used = set().union(*(distributions(i.module) for lines in files.values() for i in lines))
    extras = declared("paper") | declared("plots") | declared("devices")
    assert declared("dev") - extras - used == COMMANDS
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if name not in makefile] == []


def test_the_site_is_built_with_what_the_docs_extra_declares():
    lines = [line for own in imports_of("docs").values() for line in own]
    assert {
        i.module for i in lines if not distributions(i.module) & (declared() | declared("docs"))
    } == set()
    built_with = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = {"mkdocs-material": "name: material", "mkdocstrings": "- mkdocstrings:"}
    used = set().union(*(distributions(line.module) for line in lines))
    assert declared("docs") - used == set(named)
    assert [words for words in named.values() if words not in built_with] == []


@pytest.mark.parametrize(
    "planted",
    [
        "import pandas",
        "def f():\n    from pandas.io import sql",
        "import matplotlib.figure",
        "import PIL",
        'optional("PIL.Image", extra="plots", purpose="p")',
        'optional("tensorboard", extra="paper", purpose="p")',
        'importlib.import_module("yaml")',
    ],
)
def test_an_undeclared_import_would_be_seen(planted):
    assert len(undeclared(list(imports(planted)))) == 1
    assert undeclared(list(imports('optional("PIL.Image", extra="paper", purpose="p")'))) == []


@pytest.mark.slow
def test_every_module_can_be_imported_without_any_extra():
    extras = set().union(*map(declared, ("paper", "plots", "devices", "tensorboard", "espeak")))
    blocked = {module for module, names in PACKAGES.items() if distributions(module) & extras}
    # What the core's own dependencies import may stay: transformers needs tokenizers, dask yaml.
    blocked -= {"tokenizers", "huggingface_hub", "yaml", "_yaml", "google"}
    assert blocked >= {"PIL", "matplotlib", "kaldi_native_fbank", "accelerate", "sentencepiece"}
    code = (
        "import pkgutil, importlib, sys\n"
        f"for name in {sorted(blocked)!r}: sys.modules[name] = None\n"
        "import redub\n"
        "for found in pkgutil.walk_packages(redub.__path__, 'redub.'):\n"
        "    if not found.name.endswith('__main__'): importlib.import_module(found.name)\n"
        "print(len(sys.modules))"
    )
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1000


@pytest.mark.parametrize(
    ("call", "words", "extra"),
    [
        ("redub.pages.sample_picture:plotting_library", (), "plots"),
        ("redub.features.picture.caption_frames:pillow_image", (), "paper"),
        ("redub.pipeline.store.keys:library_versions", (True,), "paper"),
        ("redub.pipeline.work.replicate:replicate", (["train"], 2), "devices"),
    ],
)
def test_a_missing_extra_is_named_with_what_to_type(call, words, extra, monkeypatch):
    module, _, name = call.partition(":")
    function = getattr(importlib.import_module(module), name)
    function = getattr(function, "__wrapped__", function)  # without its cache
    for blocked in ("matplotlib", "PIL", "PIL.Image", "kaldi_native_fbank", "accelerate"):
        monkeypatch.setitem(sys.modules, blocked, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'redub\[{extra}\]'") as missing:
        function(*words)
    assert isinstance(missing.value, ConfigError)
    assert missing.value.exit_code == 4


def test_a_run_without_the_plots_extra_says_so_once_and_has_no_samples(monkeypatch, caplog):
    from redub.pipeline.stages.train import _shown

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert _shown(None, None, None, 2, None, False) is None
    (record,) = caplog.records
    assert "pip install 'redub[plots]'" in record.message
    assert "train.samples = 0" in record.message


def test_the_doctor_tells_core_packages_from_extras(monkeypatch):
    from redub.pipeline.reports import doctor

    declared_lines = [
        "torch>=2.6",
        "no-such-core",
        'matplotlib>=3; extra == "plots"',
        "ruff; extra == 'dev'",
        'no-such-thing>=1,<2; extra == "paper"',
        'numpy; extra == "paper"',
    ]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: declared_lines)
    report = doctor.examine()
    assert report.sections["extras"] == {
        "plots": "installed",
        "paper": "without no-such-thing; pip install 'redub[paper]'",
    }
    assert set(report.sections["packages"]) == {"torch", "no-such-core"}
    assert report.problems == ["package no-such-core is missing"]


def test_a_package_that_lacks_a_package_of_its_own_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        optional("half_installed", extra="paper", purpose="a test")
    with pytest.raises(MissingExtraError, match=r"a test: the package 'not_there_at_all'"):
        optional("not_there_at_all.part", extra="paper", purpose="a test")


# -- the lock


def lock_lines() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_the_lock_holds_what_redub_needs_in_the_installed_versions_and_no_more():
    locked = runpy.run_path(str(ROOT / ".ci" / "lock.py"))["locked"]()
    assert sorted(lock_lines()) == sorted(locked)


def test_every_locked_version_is_within_the_declared_range():
    locked = lock_lines()
    lines = list(PROJECT["dependencies"])
    for extra in ("paper", "plots", "devices", "dev"):
        lines += PROJECT["optional-dependencies"][extra]
    for requirement in map(Requirement, lines):
        if requirement.name != PROJECT["name"]:
            version = locked[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), requirement
            assert "==" not in str(requirement.specifier), f"{requirement}: a range is wanted"


def test_the_lock_brings_no_gpu_libraries_and_nothing_that_breaks_beside_this_torch():
    names = lock_lines()
    assert [n for n in names if n.startswith(("nvidia", "cuda", "triton"))] == []
    assert {"torchvision", "torchaudio", "timm"} & set(names) == set()


# -- the door and the archives


def test_python_m_redub_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "redub", "--version"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert redub.__version__ in done.stdout


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """A wheel and a source archive, built from a copy so that nothing is left in the checkout."""
    copy = tmp_path_factory.mktemp("source") / "redub"
    keep = shutil.ignore_patterns(
        ".git", ".venv", "build", "dist", "demo", "site", "*.egg-info", "__pycache__", ".*_cache"
    )
    shutil.copytree(ROOT, copy, ignore=keep)
    out = copy.parent / "dist"
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(archives):
    (wheel,) = archives.glob("*.whl")
    assert wheel.name.startswith(f"redub-{redub.__version__}-py3")
    held = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    files = (p for p in (ROOT / "redub").rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    assert held == {str(p.relative_to(ROOT)) for p in files}
    assert {"redub/py.typed", "redub/__main__.py"} <= held


def test_the_source_archive_holds_what_its_tests_need(archives):
    (archive,) = archives.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        held = {name.partition("/")[2] for name in opened.getnames()}
    wanted = ("tests/test_packaging.py", "requirements.lock", "Makefile", "docs", ".ci/lock.py")
    assert [name for name in (*wanted, "LICENSE", "NOTICE") if name not in held] == []
