"""The rooms and who may import whom; every registry line resolves; nothing heavy at the door."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import redub
from redub.core.registry import load

ROOT = Path(redub.__file__).parent
MAY_IMPORT = {
    "core": set(),
    "footage": {"core"},
    "features": {"core"},
    "index": {"core"},
    "model": {"core"},
    "pages": {"core"},
    "training": {"core", "model"},
    "evaluation": {"core"},
    "pipeline": {
        "core",
        "footage",
        "features",
        "index",
        "model",
        "training",
        "evaluation",
        "pages",
    },
}
HEAVY = {"torch", "transformers", "funasr", "cv2", "av", "decord", "pyarrow", "polars", "dask"}


def imported_rooms(file: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("redub.")}
    return rooms - {"__version__"}


PUBLIC = {"api", "metrics"}
"""Modules above the rooms: the names that `import redub` offers."""


def test_no_room_imports_the_public_names():
    for file in sorted(ROOT.rglob("*.py")):
        if file.parent != ROOT:
            assert imported_rooms(file) & PUBLIC == set(), file
    assert imported_rooms(ROOT / "api.py") <= set(MAY_IMPORT)
    assert imported_rooms(ROOT / "metrics.py") == {"evaluation"}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_point_one_way(room):
    files = sorted((ROOT / room).rglob("*.py"))
    assert len(files) > 1, f"no code in {room}"
    for file in files:
        assert imported_rooms(file) <= MAY_IMPORT[room] | {room}, file


def test_every_folder_of_the_package_is_a_known_room():
    rooms = {p.name for p in ROOT.iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    assert rooms == set(MAY_IMPORT)


def test_a_forbidden_import_would_be_seen(tmp_path):
    planted = tmp_path / "planted.py"
    planted.write_text("from redub.pipeline.store import Store\nimport redub.model.batch\n")
    assert imported_rooms(planted) == {"pipeline", "model"}


def registries():
    from redub.evaluation.registry import METRICS
    from redub.features.registry import EXTRACTORS, MAKERS
    from redub.footage.corpora.registry import LAYOUTS
    from redub.index.registry import BACKENDS
    from redub.index.transform import TRANSFORMS
    from redub.model.registry import SYSTEMS
    from redub.model.vocoder.registry import VOCODERS

    makers = {f"{f} by {m}": line for f, lines in MAKERS.items() for m, line in lines.items()}
    tables = (METRICS, LAYOUTS, EXTRACTORS, makers, BACKENDS, TRANSFORMS, SYSTEMS, VOCODERS)
    return [(table, name) for table in tables for name in table]


@pytest.mark.parametrize(("table", "name"), registries())
def test_every_registry_line_resolves(table, name):
    line = table[name]
    found = load({name: line if isinstance(line, str) else line.target}, name, kind="line")
    assert callable(found)


@pytest.mark.parametrize("module", ["redub", "redub.cli", "redub.features.registry"])
def test_the_door_imports_nothing_heavy(module):
    code = f"import {module}, sys; print(*sorted(m.split('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def test_plans_and_keys_load_no_network_library():
    code = (
        "import sys; from redub.features.registry import MAKERS, extractor_class\n"
        "for feature, makers in MAKERS.items():\n"
        "    for maker in makers: extractor_class(feature, maker)\n"
        "print(*sorted(m.split('.')[0] for m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "funasr"} & set(done.stdout.split())


def test_nothing_that_breaks_beside_this_torch_is_installed():
    from importlib.util import find_spec

    assert [name for name in ("torchvision", "torchaudio", "timm") if find_spec(name)] == []


def test_no_source_names_an_absolute_home():
    # A path of one machine in the repository is a bug on every other machine.
    for file in sorted(ROOT.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        assert "/home/" not in text, file
        assert "/work/" not in text, file
